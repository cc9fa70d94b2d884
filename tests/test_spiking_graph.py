"""Pruning: what goes, what stays, and that outputs never notice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo.spiking import SpikingNetwork
from vilfredo.spiking.graph import induced, prune, reached, reaching
from vilfredo.spiking.processors.risp import Processor

PARAMS = {
    "min_weight": -3,
    "max_weight": 3,
    "min_threshold": -1,
    "max_threshold": 3,
    "min_potential": -3,
    "max_delay": 4,
    "discrete": True,
}


def chain(*pairs: tuple[int, int], thresholds=(), inputs=(0,), outputs=(1,), **rest) -> SpikingNetwork:
    """Neurons 0, 1 and all that are named, of threshold 1 if not given, synapses of weight and delay 1."""
    numbers = sorted({0, 1, *inputs, *outputs, *(end for pair in pairs for end in pair)})
    given = dict(thresholds)
    return SpikingNetwork.build(
        [(n, {"Threshold": given.get(n, 1)}) for n in numbers],
        [(a, b, {"Weight": 1, "Delay": 1}) for a, b in pairs],
        inputs,
        outputs,
        **rest,
    )


def kept(network: SpikingNetwork) -> tuple[list[int], list[tuple[int, int]]]:
    ends = network.ids[network.source].tolist(), network.ids[network.target].tolist()
    return network.ids.tolist(), list(zip(*ends, strict=True))


def test_what_leads_to_no_output_goes():
    net = chain((0, 2), (2, 1), (2, 3), (3, 4), (4, 3), (1, 5), names={3: "lost", 2: "kept"})
    assert kept(prune(net)) == ([0, 1, 2], [(0, 2), (2, 1)])
    assert prune(net).names == {2: "kept"}
    assert reaching(net).tolist() == [True, True, True, False, False, False]


def test_what_never_fires_goes_unless_told_otherwise():
    net = chain((0, 1), (2, 3), (3, 1), (3, 3))
    assert kept(prune(net)) == ([0, 1], [(0, 1)])
    assert kept(prune(net, silent=False)) == kept(net)
    assert reached(net).tolist() == [True, True, False, False]


def test_neurons_that_fire_by_themselves_stay():
    net = chain((0, 1), (2, 3), (3, 1), thresholds=[(2, 0)])
    assert kept(prune(net)) == kept(net)


def test_inputs_and_outputs_stay_in_their_order():
    net = chain((3, 5), (5, 3), (7, 6), inputs=(3, 0), outputs=(6, 1))
    pruned = prune(net)
    assert kept(pruned) == ([0, 1, 3, 6], [])
    assert pruned.ids[pruned.inputs].tolist() == [3, 0]
    assert pruned.ids[pruned.outputs].tolist() == [6, 1]


def test_synapses_of_an_output_to_what_matters_stay():
    net = chain((0, 1), (1, 2), (2, 1), (1, 3))
    assert kept(prune(net)) == ([0, 1, 2], [(0, 1), (1, 2), (2, 1)])


def test_nothing_to_prune_is_the_same_network():
    net = chain((0, 1))
    assert prune(net) is net
    empty = SpikingNetwork.build([], [], [], [])
    assert prune(empty) == empty


def test_extras_of_what_goes_go_too():
    extras = {
        "file": {"by": "me"},
        "nodes": {2: {"a": 1}, 0: {"b": 2}},
        "edges": {0: {2: {"c": 3}, 1: {"d": 4}}},
    }
    pruned = prune(chain((0, 1), (0, 2), extras=extras))
    assert pruned.extras == {"file": {"by": "me"}, "nodes": {0: {"b": 2}}, "edges": {0: {1: {"d": 4}}}}


def test_a_part_of_a_network():
    net = chain((0, 2), (2, 1), (0, 1))
    part = induced(net, np.array([True, False, True]), np.ones(3, bool))
    assert kept(part) == ([0, 2], [(0, 2)])
    assert part.outputs.tolist() == []


@st.composite
def networks(draw) -> SpikingNetwork:
    size = draw(st.integers(2, 9))
    numbers = draw(st.permutations(range(size)))
    pairs = st.tuples(st.sampled_from(numbers), st.sampled_from(numbers))
    edges = draw(st.lists(pairs, unique=True, max_size=14))
    some = st.lists(st.sampled_from(numbers), unique=True, min_size=1, max_size=2)
    return SpikingNetwork.build(
        [(n, {"Threshold": draw(st.integers(-1, 3))}) for n in numbers],
        [(a, b, {"Weight": draw(st.integers(-3, 3)), "Delay": draw(st.integers(1, 4))}) for a, b in edges],
        draw(some),
        draw(some),
    )


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(0, 2**31), st.booleans(), st.sampled_from(["none", "all"]))
def test_outputs_never_notice(net, seed, silent, leak):
    rng = np.random.default_rng(seed)
    inputs = net.ids[net.inputs]
    spikes = [(int(rng.choice(inputs)), int(rng.integers(20)), float(rng.random())) for _ in range(25)]
    heard = []
    for network in (net, prune(net, silent)):
        processor = Processor(PARAMS | {"leak_mode": leak})
        processor.load_network(network)
        processor.apply_spikes(spikes)
        processor.run(40)
        heard.append(processor.output_vectors())
    assert heard[0] == heard[1]


@pytest.mark.parametrize("silent", [True, False])
def test_pruning_twice_is_pruning_once(silent):
    rng = np.random.default_rng(5)
    for _ in range(30):
        pairs = {(int(a), int(b)) for a, b in rng.integers(0, 12, (14, 2))}
        net = prune(chain(*sorted(pairs)), silent)
        assert prune(net, silent) is net
