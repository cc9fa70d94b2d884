"""Laws that every processor keeps; whoever adds one gets them checked without a line here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="needs the extra spiking")

import slow_risp
import vilfredo.spiking.processors as folder
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.stuck import Stuck
from vilfredo.spiking import NetworkError, Properties, SpikingNetwork
from vilfredo.spiking.processors import risp, vrisp
from vilfredo.spiking.processors.driver import Driver

NAMES = sorted(
    path.stem for path in Path(folder.__path__[0]).glob("*.py") if path.stem not in ("__init__", "driver")
)
F = risp.PRESETS["risp_f"]
MORE: list[tuple[str, dict[str, Any]]] = [
    ("risp", {**risp.PRESETS["risp_7"], "leak_mode": "configurable", "run_time_inclusive": True}),
    ("risp", {**risp.PRESETS["risp_7"], "leak_mode": "all", "threshold_inclusive": False}),
    ("risp", {**risp.PRESETS["risp_7"], "fire_like_ravens": True, "min_threshold": -3}),
    ("risp", {**risp.PRESETS["risp_7"], "min_threshold": -7, "leak_mode": "configurable"}),
    ("risp", {**F, "leak_mode": "configurable"}),
    ("risp", {**F, "noisy_stddev": 0.2, "noisy_seed": 5}),
    ("vrisp", {**vrisp.PRESETS["vrisp_7"], "leak_mode": "configurable"}),
    ("caspian", {"Soft_Reset": True, "Max_Synapse_Delay": 3}),
    ("danna2", {"width": 4, "height": 3, "max_refractory": 2, "max_weight": 7, "max_threshold": 7}),
    ("mrdanna", {"device": "pcm", "stuck_on": 0.02, "seed": 3, "leak": 0.25, "refractory": 1}),
]
ALL = [(name, None) for name in NAMES] + MORE
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def make(name: str, params: dict[str, Any] | None) -> Driver:
    module = importlib.import_module(f"vilfredo.spiking.processors.{name}")
    processor: Driver = module.Processor(params)
    return processor


def draw(rng: np.random.Generator, properties: Properties, most: int = 9) -> SpikingNetwork:
    """A random network; neurons and synapses come in any order, thresholds rather low."""
    n = int(rng.integers(2, most + 1))
    ids = rng.permutation(3 * n)[:n].tolist()
    pairs = [(a, b) for a in ids for b in ids]
    chosen = rng.permutation(len(pairs))[: int(rng.integers(1, min(len(pairs), 4 * n) + 1))]
    inputs = rng.permutation(ids)[: int(rng.integers(1, n + 1))].tolist()
    outputs = rng.permutation(ids)[: int(rng.integers(1, n + 1))].tolist()
    known = {p.name: p for p in properties.neurons}
    low = {name: min((p.draw(rng) for _ in range(3)), key=abs) for name, p in known.items()}
    rows = [
        {p.name: p.draw(rng) if rng.random() < 0.5 else low[p.name] for p in properties.neurons} for _ in ids
    ]
    return SpikingNetwork.build(
        list(zip(ids, rows, strict=True)),
        [(*pairs[i], {p.name: p.draw(rng) for p in properties.synapses}) for i in chosen],
        inputs,
        outputs,
    )


def spikes(rng: np.random.Generator, network: SpikingNetwork, window: int, share: float = 0.7) -> list[Any]:
    inputs = network.ids[network.inputs].tolist()
    count = int(rng.integers(0, 4 * len(inputs)))
    value = [1.0 if rng.random() < share else float(rng.random()) for _ in range(count)]
    return [(int(rng.choice(inputs)), int(rng.integers(window)), v) for v in value]


def state(processor: Driver) -> tuple[Any, ...]:
    return (
        processor.neuron_counts(),
        processor.neuron_vectors(),
        processor.neuron_charges(),
        processor.get_time(),
    )


@pytest.mark.parametrize(("name", "params"), ALL)
@few
@given(seed=seeds, a=st.integers(1, 30), b=st.integers(1, 30))
def test_one_run_is_two(name: str, params: dict[str, Any] | None, seed: int, a: int, b: int) -> None:
    rng = np.random.default_rng(seed)
    whole, parts = make(name, params), make(name, params)
    network = draw(rng, whole.properties)
    given = spikes(rng, network, 15)
    for processor in (whole, parts):
        processor.load_network(network)
        processor.apply_spikes(given)
    more = whole.steps(0)  # what run_time_inclusive adds to each run
    whole.run(a + b + more)
    parts.run(a)
    first = parts.neuron_vectors()
    parts.run(b)
    shifted = [[time + a + more for time in times] for times in parts.neuron_vectors()]
    assert whole.neuron_vectors() == [x + y for x, y in zip(first, shifted, strict=True)]
    assert whole.neuron_charges() == parts.neuron_charges()
    assert whole.get_time() == parts.get_time() == a + b + 2 * more
    assert whole.total_neuron_counts() == parts.total_neuron_counts() == sum(map(len, whole.neuron_vectors()))
    assert whole.total_neuron_accumulates() == parts.total_neuron_accumulates()
    whole.run(a)
    parts.run(a)
    assert state(whole)[:3] == state(parts)[:3]


@pytest.mark.parametrize(("name", "params"), ALL)
@few
@given(seed=seeds)
def test_clear_activity_is_the_beginning(name: str, params: dict[str, Any] | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    processor = make(name, {} if params is None and name not in ("risp", "vrisp") else params)
    if getattr(processor.params, "noisy_stddev", 0):
        return  # the generator goes on
    network = draw(rng, processor.properties)
    processor.load_network(network)
    before = state(processor)
    given = spikes(rng, network, 15)
    seen = []
    for _ in range(2):
        processor.apply_spikes(given)
        processor.run(20)
        seen.append(state(processor))
        processor.apply_spikes(spikes(rng, network, 5))
        processor.run(5)
        processor.apply_spikes(spikes(rng, network, 5))
        processor.clear_activity()
        assert state(processor) == before
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("name", "params"), ALL)
@few
@given(seed=seeds)
def test_a_population_is_its_networks(name: str, params: dict[str, Any] | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    processor = make(name, params)
    networks = [draw(rng, processor.properties) for _ in range(3)]
    inputs = [spikes(rng, network, 15) for network in networks]
    found = processor.run_population(networks, inputs, 40)
    widest = max(len(network.outputs) for network in networks)
    assert found.counts.shape == found.first.shape == (3, 1, widest)
    for p, network in enumerate(networks):
        processor.load_network(network)
        processor.apply_spikes(inputs[p])
        processor.run(40)
        outputs = len(network.outputs)
        assert found.neurons[p].tolist() == [processor.neuron_counts()]
        assert found.counts[p, 0, :outputs].tolist() == processor.output_counts()
        first = [times[0] if times else -1 for times in processor.output_vectors()]
        assert found.first[p, 0, :outputs].tolist() == first
        assert found.spikes[p, 0] == processor.total_neuron_counts()
        assert not found.counts[p, 0, outputs:].any()


@pytest.mark.parametrize(("name", "params"), ALL)
@few
@given(seed=seeds)
def test_copies_of_a_population(name: str, params: dict[str, Any] | None, seed: int) -> None:
    """As the same copies run one by one; and the same again from the same seed."""
    rng = np.random.default_rng(seed)
    processor = make(name, params)
    network = draw(rng, processor.properties)
    given = spikes(rng, network, 15)
    faults = [Gaussian(sd=0.4), Gaussian(sd=0.4, site="thresholds"), Stuck(rate=0.1)]
    if rng.random() < 0.5:
        faults.append(Gaussian(sd=0.3, site="delays"))
    found = processor.run_population([network, network], given, 30, copies=3, faults=faults, seed=seed)
    assert (found.neurons[0] == found.neurons[1]).all()
    engines = processor.perturbed_engines(network, faults, 3, np.random.default_rng(seed))
    processor.load_network(network)
    names = processor._networks[0].names
    for k, engine in enumerate(engines):
        engine.give(*processor.entries(names, given))
        run = engine.run(processor.steps(30), False)
        assert processor.shown(run.counts).tolist() == found.neurons[0][k].tolist()
        assert run.synops == found.synops[0, k]


@pytest.mark.parametrize(("name", "params"), ALL)
def test_what_cannot_be_is_refused_by_name(name: str, params: dict[str, Any] | None) -> None:
    processor = make(name, params)
    network = draw(np.random.default_rng(3), processor.properties)
    ids, source, target = network.ids, network.source, network.target
    rest = {
        "ids": ids,
        "source": source,
        "target": target,
        "inputs": network.inputs,
        "outputs": network.outputs,
    }
    for p in processor.properties.neurons:
        for value in (p.low - 1, p.high + 1, *([p.low + 0.5] if p.kind != "float" else [])):
            changed = network.neurons[p.name].copy()
            changed[1] = value
            odd = SpikingNetwork(
                neurons={**network.neurons, p.name: changed}, synapses=network.synapses, **rest
            )
            with pytest.raises(NetworkError, match=rf"neuron {network.ids[1]}: its {p.name} is"):
                processor.load_network(odd)
    for p in processor.properties.synapses:
        for value in (p.low - 1, p.high + 1, *([p.low + 0.5] if p.kind != "float" else [])):
            changed = network.synapses[p.name].copy()
            changed[-1] = value
            odd = SpikingNetwork(
                neurons=network.neurons, synapses={**network.synapses, p.name: changed}, **rest
            )
            ends = network.ids[network.source[-1]], network.ids[network.target[-1]]
            with pytest.raises(NetworkError, match=rf"synapse {ends[0]} -> {ends[1]}: its {p.name} is"):
                processor.load_network(odd)
    strange = {**network.neurons, "Charm": network.threshold}
    lacking = {name: row for name, row in network.neurons.items() if name != "Threshold"}
    for neurons, said in ((strange, "Charm"), (lacking, "Threshold")):
        odd = SpikingNetwork(neurons=neurons, synapses=network.synapses, **rest)
        with pytest.raises(NetworkError, match=said):
            processor.load_network(odd)
    with pytest.raises(ValueError, match="no network is loaded"):
        processor.run(3)
    processor.load_network(network)
    known = int(network.ids[network.inputs[0]])
    for spike, said in (
        ((999, 0, 1.0), "not in the network"),
        ((known, -1, 1.0), "past"),
        ((known, 0.5, 1.0), "whole timestep"),
        ((known, float("nan"), 1.0), "whole timestep"),
        ((known, 0, float("nan")), "finite"),
        ((known, 0, float("inf")), "finite"),
        ((known, 0, 1.5), "from .* to 1"),
        ((known, 0, -1.5), "from .* to 1"),
        ((known, 0, "1"), "finite"),
        ((known, 0), "time, value"),
    ):
        with pytest.raises(ValueError, match=said):
            processor.apply_spikes([(known, 0, 1.0), spike])  # type: ignore[list-item]
    assert not any(processor.neuron_charges())  # nothing of it was applied
    for duration in (-1, 2.5, float("nan"), "3"):
        with pytest.raises(ValueError, match="whole number of timesteps"):
            processor.run(duration)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="output 99"):
        processor.output_count(99)


@pytest.mark.parametrize(("name", "params"), ALL)
def test_parameters(name: str, params: dict[str, Any] | None) -> None:
    processor = make(name, params)
    known = processor.get_params()
    assert make(name, known).params == processor.params
    first = next(iter(known))
    with pytest.raises(ValueError, match=f"{name} has no parameter '{first}s'; did you mean '{first}'"):
        make(name, {**known, f"{first}s": 1})
    with pytest.raises(ValueError, match=f"{name}: {first} is"):
        make(name, {**known, first: ["?"]})
    declared = processor.get_network_properties()
    assert len(declared["node_properties"]) == len(processor.properties.neurons)  # type: ignore[arg-type]


def test_properties_of_another_processor() -> None:
    network = draw(np.random.default_rng(1), make("risp", None).properties)
    mine, other = make("risp", None), make("risp", dict(risp.PRESETS["risp_7"]))
    names = ("ids", "neurons", "source", "target", "synapses", "inputs", "outputs")
    rows: dict[str, Any] = {name: getattr(network, name) for name in names}
    own = SpikingNetwork(**rows, properties=mine.properties)
    assert mine.load_network(own)
    with pytest.raises(NetworkError, match="Threshold of the neurons is int from 0 to 127"):
        other.load_network(own)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_delay": 0}, "max_delay"),
        ({"max_delay": 1.5}, "whole number"),
        ({"min_potential": 1}, "0 or less"),
        ({"min_weight": 9}, "above max_weight"),
        ({"min_weight": -0.5}, "whole numbers"),
        ({"leak_mode": "some"}, "'configurable'"),
        ({"discrete": 1}, "true or false"),
        ({"noisy_stddev": 0.1}, "noise"),
        ({"weights": [1, 2]}, "min_weight"),
        ({"stds": [1, 2]}, "without weights"),
        ({"inputs_from_weights": True}, "without weights"),
        ({"non_negative_charge": True}, "min_potential"),
        ({"threshold_inclusiv": True}, "did you mean 'threshold_inclusive'"),
    ],
)
def test_bad_parameters_of_risp(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        risp.Processor({**risp.PRESETS["risp_7"], **change})


def random_params(rng: np.random.Generator) -> dict[str, Any]:
    discrete = bool(rng.random() < 0.5)
    reach: float = int(rng.choice([1, 7, 127])) if discrete else 1
    params: dict[str, Any] = {
        "discrete": discrete,
        "max_delay": int(rng.integers(1, 16)),
        "min_threshold": -reach if rng.random() < 0.3 else 0,
        "max_threshold": reach,
        "min_potential": -int(rng.choice([0, reach, 3 * reach])),
        "leak_mode": str(rng.choice(["none", "all", "configurable"])),
        "run_time_inclusive": bool(rng.random() < 0.3),
        "threshold_inclusive": bool(rng.random() < 0.6),
        "fire_like_ravens": bool(rng.random() < 0.3),
    }
    if rng.random() < 0.3:
        weights = rng.integers(-reach, reach + 1, 5) if discrete else rng.uniform(-1, 1, 5)
        params.update(weights=sorted(weights.tolist()), inputs_from_weights=bool(rng.random() < 0.5))
        if not params["inputs_from_weights"]:
            params["spike_value_factor"] = float(reach)
    else:
        params.update(min_weight=-reach, max_weight=reach)
        if rng.random() < 0.3:
            params["spike_value_factor"] = float(rng.uniform(0, 3 * reach))
    if not discrete and rng.random() < 0.4:
        params["noisy_seed"] = int(rng.integers(2**32))
        if "weights" in params and rng.random() < 0.5:
            params["stds"] = rng.uniform(0, 0.3, 5).tolist()
        else:
            params["noisy_stddev"] = 0.25
    return params


def slow(kind: Any, network: SpikingNetwork, params: dict[str, Any]) -> Any:
    leak = network.neurons.get("Leak", np.zeros(network.size))
    numbers = network.ids.tolist()
    both = zip(network.threshold.tolist(), (leak != 0).tolist(), strict=True)
    neurons = dict(zip(numbers, both, strict=True))
    ends = network.ids[network.source].tolist(), network.ids[network.target].tolist()
    edges = list(zip(*ends, network.weight.tolist(), map(int, network.delay), strict=True))
    return kind(neurons, edges, network.ids[network.inputs].tolist(), params)


@settings(max_examples=150, deadline=None)
@given(seed=seeds)
def test_risp_as_the_rules_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    params = random_params(rng)
    processor = risp.Processor(params)
    network = draw(rng, processor.properties, 12)
    processor.load_network(network)
    rules = slow(slow_risp.Risp, network, params)
    for _ in range(int(rng.integers(1, 5))):
        duration = int(rng.integers(1, 40))
        for normalized in (True, False):
            for number, time, value in spikes(rng, network, 50, 0.4):
                if not normalized and params.get("inputs_from_weights"):
                    value = int(rng.integers(5))
                elif not normalized:
                    value = float(rng.choice([-3.0, 1.0, 0.0, 2.5, 1e6, -1e9, 3e15, 1e-3]))
                processor.apply_spike((number, time, value), normalized)
                rules.apply(number, time, value, normalized)
        if rng.random() < 0.1:
            processor.clear_activity()
            rules.clear()
        processor.run(duration)
        rules.run(duration)
        assert processor.neuron_vectors() == list(rules.times.values())
        assert processor.neuron_charges() == list(rules.charge.values())
        outputs = network.ids[network.outputs].tolist()
        assert processor.output_counts() == [len(rules.times[i]) for i in outputs]
        assert processor.neuron_last_fires() == [times[-1] if times else -1 for times in rules.times.values()]
    assert processor.total_neuron_counts() == rules.fired_in_all
    assert processor.total_neuron_accumulates() == rules.arrived_in_all


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_vrisp_as_the_rules_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reach = int(rng.choice([1, 7, 64, 127]))
    params = {
        "min_weight": -reach,
        "max_weight": reach,
        "min_threshold": -reach if rng.random() < 0.3 else 0,
        "max_threshold": reach,
        "min_potential": -int(rng.choice([0, reach, 200])),
        "max_delay": int(rng.integers(1, 16)),
        "tracked_timesteps": int(rng.integers(16, 30)),
        "leak_mode": str(rng.choice(["none", "all", "configurable"])),
    }
    processor = vrisp.Processor(params)
    network = draw(rng, processor.properties, 12)
    processor.load_network(network)
    rules = slow(slow_risp.Vrisp, network, params)
    for _ in range(int(rng.integers(1, 5))):
        for normalized in (True, False):
            for number, time, value in spikes(rng, network, 16, 0.4):
                value = value if normalized else int(rng.choice([-200, 3, 0, 1000, 127]))
                processor.apply_spike((number, time, value), normalized)
                rules.apply(number, time, value, normalized)
        assert processor.neuron_charges() == list(rules.charge.values())
        duration = int(rng.choice([1, 5, 17, 40, 300]))
        processor.run(duration)
        rules.run(duration)
        assert processor.neuron_vectors() == list(rules.times.values())
        assert processor.neuron_charges() == list(rules.charge.values())
        assert processor.neuron_counts() == [len(times) % 256 for times in rules.times.values()]
        last = [(times[-1] + 128) % 256 - 128 if times else -1 for times in rules.times.values()]
        assert processor.neuron_last_fires() == last
