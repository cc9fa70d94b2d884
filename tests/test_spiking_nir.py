"""NIR graphs: equal when read back, of equal meaning to an interpreter that knows nothing of this package."""

import json
import os
import zipfile
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

nir = pytest.importorskip("nir")
pytest.importorskip("numba")

from vilfredo.spiking import NetworkError, Properties, SpikingNetwork  # noqa: E402
from vilfredo.spiking import nir as ours  # noqa: E402
from vilfredo.spiking.kernels import dense  # noqa: E402
from vilfredo.spiking.nir.lines import Lines, through  # noqa: E402
from vilfredo.spiking.processors.risp import Processor  # noqa: E402

DATA = Path(os.environ.get("VILFREDO_DATA", "nowhere"))
LIF = DATA / "nir" / "paper" / "01_lif"
PARAMS = {
    "min_weight": -5,
    "max_weight": 5,
    "min_threshold": 1,
    "max_threshold": 6,
    "min_potential": -(2**20),
    "max_delay": 6,
    "discrete": True,
    "spike_value_factor": 4,
}


def interpret(graph, inputs: np.ndarray, dt: float) -> np.ndarray:
    """What comes out of a NIR graph, (steps, outputs), for inputs (steps, inputs): its equations by Euler's
    method, with a strict threshold, one node after the other."""
    before: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for a, b in graph.edges:
        before[b].append(a)
    voltage, lines = {}, {}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.IF | nir.LIF):
            voltage[name] = np.zeros(len(node.v_threshold))
        if isinstance(node, nir.Delay):
            steps = round(float(node.delay[0]) / dt)
            lines[name] = deque([np.zeros(len(node.delay))] * steps)
    (entry,) = (name for name, node in graph.nodes.items() if isinstance(node, nir.Input))
    (leave,) = (name for name, node in graph.nodes.items() if isinstance(node, nir.Output))
    out = []
    for now in inputs:
        known = {entry: now} | {name: line.popleft() for name, line in lines.items()}

        def value(name, known=known):
            if name in known:
                return known[name]
            node, x = graph.nodes[name], sum(value(other) for other in before[name])
            if isinstance(node, nir.Linear):
                x = node.weight @ x
            elif isinstance(node, nir.IF | nir.LIF):
                v = voltage[name]
                if isinstance(node, nir.IF):
                    v = v + dt * node.r * x
                else:
                    v = v + dt / node.tau * (node.v_leak - v + node.r * x)
                x = (v > node.v_threshold).astype(float)
                voltage[name] = np.where(x > 0, node.v_reset, v)
            known[name] = x
            return x

        out.append(value(leave))
        for name, line in lines.items():
            line.append(sum(value(other) for other in before[name]))
    return np.array(out)


def random_network(rng: np.random.Generator, whole: bool = True, names: bool = True) -> SpikingNetwork:
    size = int(rng.integers(2, 12))
    numbers = rng.permutation(3 * size)[:size].tolist()
    pairs = sorted({(int(a), int(b)) for a, b in rng.integers(0, size, (3 * size, 2))})
    draw = (lambda low, high: int(rng.integers(low, high + 1))) if whole else rng.uniform
    return SpikingNetwork.build(
        [(n, {"Threshold": draw(1, 6)}) for n in numbers],
        [
            (numbers[a], numbers[b], {"Weight": draw(-5, 5), "Delay": int(rng.integers(1, 7))})
            for a, b in pairs
        ],
        rng.permutation(numbers)[: int(rng.integers(1, size + 1))].tolist(),
        rng.permutation(numbers)[: int(rng.integers(1, size + 1))].tolist(),
        names={numbers[0]: "first"} if names else {},
    )


def spikes_of(processor: Processor, network: SpikingNetwork, inputs: np.ndarray) -> np.ndarray:
    """Outputs (steps, outputs) of a processor for normalised inputs (steps, inputs)."""
    processor.load_network(network)
    numbers = network.ids[network.inputs].tolist()
    processor.apply_spikes([(numbers[i], int(t), float(inputs[t, i])) for t, i in np.argwhere(inputs)])
    processor.run(len(inputs))
    out = np.zeros((len(inputs), len(network.outputs)))
    for i, times in enumerate(processor.output_vectors()):
        out[np.array(times, int), i] = 1
    return out


def some_inputs(rng: np.random.Generator, network: SpikingNetwork, steps: int = 50) -> np.ndarray:
    return (rng.random((steps, len(network.inputs))) < 0.3).astype(float)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from(["none", "all"]), st.sampled_from([1.0, 1e-3, 0.25]), st.booleans()
)
def test_the_graph_means_the_same(seed, leak, dt, inclusive):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    processor = Processor(PARAMS | {"leak_mode": leak, "threshold_inclusive": inclusive})
    graph, losses = ours.graph(network, processor.program(network), dt)
    inputs = some_inputs(rng, network)
    wanted = spikes_of(processor, network, inputs)
    assert (interpret(graph, inputs, dt) == wanted).all()
    assert not [loss for loss in losses if "charge decays" in loss.what]
    # read from its nodes alone, it is another network that does the same: one step later where the input
    # of 1 is no charge of 1
    again, _ = ours.network(graph, metadata=True)
    assert again == network
    bare, found = ours.network(graph, dt, metadata=False)
    late = int(any("one timestep later" in loss.what for loss in found))
    other = Processor(bare.data["proc_params"])
    shifted = spikes_of(other, bare, np.vstack([inputs, np.zeros((1, inputs.shape[1]))]))
    assert (shifted[late : late + len(wanted)] == wanted).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_without_a_program_and_in_floating_point(seed, whole):
    rng = np.random.default_rng(seed)
    network = random_network(rng, whole)
    params = PARAMS | {"discrete": whole, "spike_value_factor": 1, "min_potential": -1e6}
    inputs = some_inputs(rng, network)
    wanted = spikes_of(Processor(params), network, inputs)
    graph, _ = ours.graph(network)
    if whole:
        assert (interpret(graph, inputs, 1.0) == wanted).all()
    bare, losses = ours.network(graph, metadata=False)
    assert losses == ()
    order = np.argsort(network.ids)
    assert (bare.threshold == network.threshold[order]).all()
    assert (spikes_of(Processor(bare.data["proc_params"]), bare, inputs) == wanted).all()


def test_all_of_a_network_comes_back(tmp_path):
    network = replace(
        random_network(np.random.default_rng(3)),
        properties=Processor(PARAMS).properties,
        data={"other": {"proc_name": "risp"}, "mine": [1, None]},
        values=(),
        extras={"file": {"by": "me"}},
    )
    losses = ours.write(network, tmp_path / "net.nir", dt=0.5)
    again, lost = ours.read(tmp_path / "net.nir")
    assert again == network
    assert lost == ()
    said = " ".join(str(loss) for loss in losses)
    for what in ("names", "numbers", "ranges", "associated data", "what else its file said"):
        assert what in said
    assert all(loss.kept for loss in losses)
    bare = replace(network, properties=Properties(), data={}, extras={}, names={})
    ours.write(bare, tmp_path / "net.nir")
    assert ours.read(tmp_path / "net.nir")[0] == bare


def test_nodes_of_the_graph():
    network = SpikingNetwork.build(
        [(4, {"Threshold": 2}), (7, {"Threshold": 3}), (9, {"Threshold": 1})],
        [
            (4, 7, {"Weight": 2, "Delay": 3}),
            (7, 9, {"Weight": -1, "Delay": 3}),
            (9, 9, {"Weight": 5, "Delay": 1}),
            (7, 7, {"Weight": 0, "Delay": 2}),
        ],
        [4],
        [9, 4],
    )
    graph, losses = ours.graph(network, dt=0.5)
    assert set(graph.nodes) == {"input", "input_weights", "neurons", "output_weights", "output"} | {
        f"{what}_{delay}" for what in ("delay", "weights") for delay in (1, 2, 3)
    }
    neurons = graph.nodes["neurons"]
    assert isinstance(neurons, nir.IF)
    assert neurons.v_threshold.tolist() == [1.5, 2.5, 0.5]
    assert neurons.r.tolist() == [2, 2, 2]
    assert graph.nodes["delay_3"].delay.tolist() == [1.5, 1.5, 1.5]
    assert graph.nodes["weights_3"].weight.tolist() == [[0, 0, 0], [2, 0, 0], [0, -1, 0]]
    assert graph.nodes["output_weights"].weight.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert [str(loss) for loss in losses] == [
        "synapse from 7 to 7: a synapse of weight 0 is none in a matrix (kept in the metadata)",
        "neurons 4, 7, 9: their numbers and order (kept in the metadata)",
    ]


def test_what_a_processor_does_that_nir_cannot_say():
    network = SpikingNetwork.build(
        [(0, {"Threshold": 0, "Leak": 1}), (1, {"Threshold": 3, "Leak": 0})], [], [0], [1]
    )
    params = PARAMS | {"leak_mode": "configurable", "min_threshold": 0, "min_potential": -5}
    program = Processor(params).program(network)
    _, losses = ours.graph(network, program)
    assert [str(loss) for loss in losses] == [
        "neuron 0: they lose their charge after every step, others do not",
        "neuron 0: with a threshold of 0 or less they fire only if something arrives, in a graph always",
        "neurons 0, 1: a charge below -5 (min_potential) is raised to it; potentials have no floor",
        "the neurons: their Leak (kept in the metadata)",
    ]
    odd = replace(
        program, soft=True, wrap=True, refractory=2, decay=np.array([0.5, 1]), halving=np.array([-1, 2])
    )
    said = " ".join(str(loss) for loss in ours.graph(network, odd)[1])
    for what in ("refractory", "takes away the threshold", "8 bits", "charge decays", "halves"):
        assert what in said


def test_a_graph_that_was_changed_counts_as_it_is(tmp_path):
    network = random_network(np.random.default_rng(1), names=False)
    ours.write(network, tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    graph.nodes["neurons"].v_threshold += 1
    nir.write(tmp_path / "net.nir", graph)
    again, losses = ours.read(tmp_path / "net.nir")
    assert (again.threshold == network.threshold[np.argsort(network.ids)] + 1).all()
    assert "changed" in str(losses[0])


def test_networks_that_no_graph_can_be():
    neuron = [(0, {"Threshold": 1})]
    with pytest.raises(NetworkError, match="the network has no inputs"):
        ours.graph(SpikingNetwork.build(neuron, [], [], [0]))
    with pytest.raises(NetworkError, match="the network has no outputs"):
        ours.graph(SpikingNetwork.build(neuron, [], [0], []))
    with pytest.raises(
        NetworkError, match="the synapse from 0 to 0: its Delay is 0, not a whole number from 1"
    ):
        ours.graph(SpikingNetwork.build(neuron, [(0, 0, {"Weight": 1, "Delay": 0})], [0], [0]))
    with pytest.raises(NetworkError, match="has no Threshold"):
        ours.graph(SpikingNetwork.build([(0, {"Leak": 1})], [], [0], [0]))
    big = SpikingNetwork.build([(i, {"Threshold": 1}) for i in range(9000)], [], [0], [0])
    with pytest.raises(NetworkError, match="too many for NIR"):
        ours.graph(big)
    with pytest.raises(ValueError, match="dt is the length of a timestep"):
        ours.graph(SpikingNetwork.build(neuron, [], [0], [0]), dt=0)


# -- graphs of others -----------------------------------------------------------------------------


def made(nodes, *edges):
    nodes = {"in": nir.Input({"input": np.array([1])}), "out": nir.Output({"output": np.array([1])})} | nodes
    ways = edges or (("in", "a"), ("a", "out"))
    return nir.NIRGraph(nodes, list(ways), type_check=False)


def if_node(size=1, **changes):
    ones = np.ones(size)
    return nir.IF(**({"r": ones, "v_threshold": 0.5 * ones, "v_reset": 0 * ones} | changes))


def lif(tau=4.0, size=1, **changes):
    ones = np.ones(size)
    given = {"tau": tau * ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones, "v_reset": 0 * ones}
    return nir.LIF(**(given | changes))


def test_layers_scales_subgraphs_and_leaks():
    inner = nir.NIRGraph(
        {
            "i": nir.Input({"input": np.array([2])}),
            "w": nir.Linear(np.array([[1.0, 2.0]])),
            "o": nir.Output({"output": np.array([1])}),
        },
        [("i", "w"), ("w", "o")],
    )
    graph = made(
        {
            "in": nir.Input({"input": np.array([2])}),
            "a": if_node(2),
            "sub": inner,
            "scale": nir.Scale(np.array([3.0])),
            "wait": nir.Delay(np.array([2.0])),
            "b": lif(1.0, r=np.array([2.0]), v_threshold=np.array([6.5])),
        },
        ("in", "a"), ("a", "sub"), ("sub", "scale"), ("scale", "wait"), ("wait", "b"), ("b", "out"),
    )  # fmt: skip
    network, losses = ours.network(graph)
    assert losses == ()
    assert network.names == {0: "a.0", 1: "a.1", 2: "b"}
    assert network.threshold.tolist() == [1, 1, 7]
    assert network.weight.tolist() == [6, 12]
    assert network.delay.tolist() == [2, 2]
    assert network.neurons["Leak"].tolist() == [0, 0, 1]
    assert network.data["proc_params"]["leak_mode"] == "configurable"
    assert Processor(network.data["proc_params"]).load_network(network)
    assert (network.inputs.tolist(), network.outputs.tolist()) == ([0, 1], [2])


def test_inputs_with_weights_get_neurons_of_their_own():
    graph = made({"w": nir.Linear(np.array([[3.0]])), "a": if_node()}, ("in", "w"), ("w", "a"), ("a", "out"))
    network, losses = ours.network(graph)
    assert network.names == {0: "a", 1: "in"}
    assert (network.inputs.tolist(), network.outputs.tolist()) == ([1], [0])
    assert (network.weight.tolist(), network.delay.tolist()) == ([3], [1])
    assert str(losses[0]) == "node in: 1 neurons of their own pass on spikes of value 1, one timestep later"


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("padding", "stride"),
    [((0, 0), (1, 1)), ((2, 1), (1, 1)), ((2, 1), (2, 3)), ("same", (1, 1)), ("valid", (2, 3))],
)
@pytest.mark.parametrize(("groups", "dilation"), [(1, (1, 1)), (2, (2, 1))])
def test_convolutions_are_those_of_torch(padding, groups, dilation, stride):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    weight, x = rng.normal(size=(6, 4 // groups, 3, 2)), rng.normal(size=(4, 9, 8))
    wanted = torch.nn.functional.conv2d(
        torch.tensor(x)[None], torch.tensor(weight), None, stride, padding, dilation, groups
    )[0]
    node = nir.Conv2d(None, weight, stride, padding, dilation, groups, np.zeros(6))
    found = through("conv", node, Lines.of(x.shape), 1.0)
    assert found.shape == tuple(wanted.shape)
    assert found.matrices[0] @ x.reshape(-1) == pytest.approx(wanted.numpy().reshape(-1))


def test_other_windows_are_those_of_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).normal(size=(3, 7, 6))
    pooled = torch.nn.functional.avg_pool2d(torch.tensor(x)[None], (3, 2), (2, 2), (1, 0))[0].numpy()
    shape = (np.array([3, 2]), np.array([2, 2]), np.array([1, 0]))
    for node, wanted in ((nir.AvgPool2d(*shape), pooled), (nir.SumPool2d(*shape), 6 * pooled)):
        found = through("pool", node, Lines.of(x.shape), 1.0)
        assert found.shape == wanted.shape
        assert found.matrices[0] @ x.reshape(-1) == pytest.approx(wanted.reshape(-1))
    weight, line = np.random.default_rng(2).normal(size=(4, 3, 5)), x[:, :, 0]
    wanted = torch.nn.functional.conv1d(torch.tensor(line)[None], torch.tensor(weight), None, 2, 1)[0].numpy()
    found = through("conv", nir.Conv1d(7, weight, 2, 1, 1, 1, np.zeros(4)), Lines.of(line.shape), 1.0)
    assert found.shape == wanted.shape
    assert found.matrices[0] @ line.reshape(-1) == pytest.approx(wanted.reshape(-1))


def test_windows_that_do_not_fit():
    conv = nir.Conv2d(None, np.ones((2, 3, 3, 3)), 1, 0, 1, 1, np.zeros(2))
    for shape, sentence in (
        ((9,), "node 'c', a Conv2d, needs channels and 2 more dimensions, but gets 9"),
        ((4, 5, 5), r"node 'c', a Conv2d, has weights of shape \(2, 3, 3, 3\) for 4 channels"),
        ((3, 2, 5), "node 'c', a Conv2d, has a window larger than what it moves over"),
    ):
        with pytest.raises(NetworkError, match=sentence):
            through("c", conv, Lines.of(shape), 1.0)


def test_connections_without_delay_take_a_timestep():
    graph = made({"a": if_node(), "b": if_node()}, ("in", "a"), ("a", "b"), ("b", "out"))
    network, losses = ours.network(graph)
    assert network.delay.tolist() == [1]
    assert str(losses[0]) == "node b: connections without delay take one timestep here"


REFUSED = [
    (made({"a": lif(4.0, v_leak=np.array([1.2]))}), "node 'a', an LIF, has v_leak 1.2: a constant drive"),
    (made({"a": if_node(v_reset=np.array([-1.0]))}), "node 'a', an IF, has v_reset -1: a reset to another"),
    (made({"a": lif(0.5)}), "node 'a', an LIF, has tau 0.5, less than a timestep of 1; give a smaller dt"),
    (made({"a": if_node(v_threshold=np.array([np.nan]))}), "node 'a', an IF, has a v_threshold that is not"),
    (made({"a": nir.LI(*np.ones((3, 1)))}), "node 'a' is an LI, which a spiking network cannot express"),
    (
        made({"a": nir.CubaLIF(*np.array([[2.0], [2.0], [1.0], [0.0], [1.0], [0.0], [1.0]]))}),
        "node 'a', a CubaLIF, has a synaptic current that lasts",
    ),
    (
        made({"w": nir.Affine(np.ones((1, 1)), np.ones(1)), "a": if_node()},
             ("in", "w"), ("w", "a"), ("a", "out")),
        "node 'w', an Affine, has a bias of 1",
    ),
    (
        made({"w": nir.Linear(np.ones((1, 3))), "a": if_node()}, ("in", "w"), ("w", "a"), ("a", "out")),
        r"node 'w' has weights of shape \(1, 3\) for 1 elements",
    ),
    (
        made({"d": nir.Delay(np.array([1.5])), "a": if_node()},
             ("in", "a"), ("a", "d"), ("d", "a"), ("a", "out")),
        "node 'd', a Delay, has a delay of 1.5, no multiple of a timestep of 1",
    ),
    (
        made(
            {"d": nir.Delay(np.array([2.0])), "e": nir.Delay(np.array([3.0])), "a": if_node()},
            ("in", "a"), ("a", "d"), ("a", "e"), ("d", "a"), ("e", "a"), ("a", "out"),
        ),
        "the connection from 'a' to 'a' has two delays, (2 and 3|3 and 2) timesteps",
    ),
    (
        made({"w": nir.Linear(np.array([[0.5]])), "a": if_node()}, ("in", "a"), ("a", "w"), ("w", "out")),
        "node 'w' gives the output 'out' other than the spikes of one neuron each",
    ),
    (
        made({"d": nir.Delay(np.ones(1)), "w": nir.Linear(np.ones((1, 1))), "a": if_node()},
             ("in", "w"), ("w", "d"), ("d", "w"), ("w", "a"), ("a", "out")),
        "node 'w' is in a loop without a neuron",
    ),
    (made({}, ("in", "out")), "the graph has no neurons"),
    (made({"a": if_node()}, ("in", "a")), "node 'out', an Output, is not connected"),
    (made({"a": if_node()}, ("in", "a"), ("a", "out"), ("in", "out")), "node 'in' leads to the output 'out'"),
    (made({"a": if_node()}, ("in", "a"), ("a", "ou")), "the edge from 'a' to 'ou': there is no node 'ou'"),
    (made({"a": if_node(3)}, ("in", "a"), ("a", "out")), "node 'a' has 3 neurons, node 'in' gives 1 values"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_what_a_network_cannot_express_is_refused(graph, sentence):
    with pytest.raises(NetworkError, match=sentence):
        ours.network(graph)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "net.nir"
    path.write_text(json.dumps({}))
    with pytest.raises(NetworkError, match=r"net\.nir: it is no NIR file"):
        ours.read(path)
    with pytest.raises(FileNotFoundError):
        ours.read(tmp_path / "other.nir")


@pytest.mark.skipif(not LIF.is_dir(), reason="needs nir in $VILFREDO_DATA")
@pytest.mark.parametrize("who", ["exact", "norse", "nengo", "snntorch", "spinnaker2"])
def test_a_published_lif_neuron_fires_as_its_simulators_say(who):
    """The graph of the NIR paper's first figure, read with the paper's timestep of 0.1 ms."""
    recorded = np.loadtxt(LIF / f"lif_{who}.csv", delimiter=",")
    network, losses = ours.read(LIF / "lif_norse.nir", dt=1e-4)
    late = sum("one timestep later" in loss.what for loss in losses)
    assert late == 1
    assert network.neurons["Decay"] == pytest.approx([0.96, 1.0])
    program = ours.program(network)
    events = [(int(t), int(program.inputs[0]), 1.0) for t in np.flatnonzero(recorded[:, 0])]
    run = dense.run(program, dense.start(program), dense.Events.of(events), len(recorded) + late, True)
    spikes = run.times[run.neurons == program.outputs[0]] - late
    assert spikes.tolist() == np.flatnonzero(recorded[:, 2]).tolist() == [460, 510, 710, 760]


PUBLISHED = {
    "two_lif_neurons.nir": "node 'lif1', an LIF, has v_leak 1.2: a constant drive",
    "braille_noDelay_bias_zero.nir": "node 'lif1.lif', a CubaLIF, has a synaptic current that lasts",
    "braille_noDelay_noBias_subtract.nir": "node 'lif1.lif', a CubaLIF, has a synaptic current that lasts",
    "braille_noDelay_bias_zero_subgraph.nir": "the package nir cannot read it: Edge .* does not exist",
    "braille_noDelay_noBias_subtract_subgraph.nir": "the package nir cannot read it: Edge .* does not exist",
}


@pytest.mark.skipif(not LIF.is_dir(), reason="needs nir in $VILFREDO_DATA")
def test_published_graphs_are_read_or_refused_by_node():
    paths = {path.name: path for path in (DATA / "nir").rglob("*.nir")}
    assert len(paths) == 8
    for name, sentence in PUBLISHED.items():
        with pytest.raises(NetworkError, match=f"{name}: {sentence}"):
            ours.read(paths[name], dt=1e-4)
    sizes = {name: ours.read(paths[name], dt=1e-4)[0].size for name in paths.keys() - PUBLISHED.keys()}
    assert sizes == {"lif_norse.nir": 2, "lif_rockpool.nir": 2, "cnn_sinabs.nir": 11282}
    with pytest.raises(NetworkError, match=r"has tau 0\.0025, less than a timestep of 1; give a smaller dt"):
        ours.read(paths["lif_norse.nir"])


@pytest.mark.skipif(
    not (DATA / "nmnist").is_dir() or not LIF.is_dir(), reason="needs nir and nmnist in $VILFREDO_DATA"
)
def test_a_published_convolutional_network_reads_digits():
    """The NIR paper's network for N-MNIST, bins of 1 ms; its simulators read 97 to 98 % of the test set."""
    network, losses = ours.read(LIF.parent / "02_cnn" / "cnn_sinabs.nir")
    assert (network.size, len(losses)) == (11282, 2)
    program = ours.program(network)
    right = []
    with zipfile.ZipFile(DATA / "nmnist" / "Test.zip") as archive:
        for name in [n for n in archive.namelist() if n.endswith(".bin")][:10]:
            rows = np.frombuffer(archive.read(name), np.uint8).reshape(-1, 5)
            x, y, high, middle, low = rows.T.astype(int)
            step = ((high & 127) << 16 | middle << 8 | low) // 1000
            element = (high >> 7) * 34 * 34 + y * 34 + x
            bins = np.unique(np.stack([step, program.inputs[element]]), axis=1)
            events = dense.Events(bins[0], bins[1], np.ones(bins.shape[1]))
            run = dense.run(program, dense.start(program), events, int(step.max()) + 6)
            right.append(int(run.counts[program.outputs].argmax()) == int(name.split("/")[-2]))
    assert sum(right) >= 9
