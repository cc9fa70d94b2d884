"""The digital grid: by hand, against a slow interpreter; placements, and what finds no place."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from vilfredo.spiking import NetworkError, SpikingNetwork
from vilfredo.spiking.kernels.placement import place
from vilfredo.spiking.processors.danna2 import Processor


def neuron(threshold=1, refractory=0):
    return {"Threshold": threshold, "Refractory": refractory}


def synapse(weight=1, delay=1):
    return {"Weight": weight, "Delay": delay}


def graph(n, pairs, **rest):
    """n neurons of threshold 1, synapses of weight 1."""
    rows = [(i, neuron()) for i in range(n)]
    return SpikingNetwork.build(rows, [(a, b, synapse()) for a, b in pairs], [0], [n - 1], **rest)


def fires(network, spikes, steps, **params):
    processor = Processor(params)
    processor.load_network(network)
    processor.apply_spikes(spikes, normalized=False)
    processor.run(steps)
    return processor.neuron_vectors(), processor.neuron_charges()


def alone(threshold, refractory=0):
    return SpikingNetwork.build([(0, neuron(threshold, refractory))], [], [0], [0])


def test_fires_at_the_threshold_and_starts_anew():
    assert fires(alone(5), [(0, 0, 3), (0, 4, 1), (0, 6, 1), (0, 7, 9)], 9) == ([[6, 7]], [0])
    assert fires(alone(0), [(0, 2, 0)], 5) == ([[2]], [0])  # not by itself
    assert fires(alone(9), [(0, t, -1000) for t in range(3)], 3) == ([[]], [-1023])


def test_refractory_neurons_ignore_what_arrives():
    spikes = [(0, t, 5) for t in range(8)]
    assert fires(alone(5), spikes, 8)[0] == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert fires(alone(5, 1), spikes, 8)[0] == [[0, 2, 4, 6]]
    assert fires(alone(5, 3), spikes, 8)[0] == [[0, 4]]
    assert fires(alone(10, 2), spikes, 8) == ([[1, 5]], [0])


def test_refractory_periods_are_of_each_neuron():
    network = SpikingNetwork.build([(0, neuron(1, 0)), (1, neuron(1, 4))], [(0, 1, synapse(1, 2))], [0], [1])
    assert fires(network, [(0, t, 1) for t in range(6)], 12)[0] == [[0, 1, 2, 3, 4, 5], [2, 7]]


def test_inputs_are_scaled_and_cut():
    processor = Processor()
    processor.load_network(alone(1023))
    processor.apply_spikes([(0, 0, 0.5)])
    processor.run(1)
    assert processor.neuron_charges() == [511]


class Slow:
    """The docstring, step by step."""

    def __init__(self, network):
        ids = network.ids.tolist()
        self.threshold = dict(zip(ids, network.neurons["Threshold"].tolist(), strict=True))
        self.period = dict(zip(ids, network.neurons["Refractory"].tolist(), strict=True))
        self.into = defaultdict(list)
        for a, b, w, d in zip(
            network.source, network.target, network.weight.tolist(), network.delay.tolist(), strict=True
        ):
            self.into[ids[b]].append((ids[a], w, d))
        self.fired = {number: [] for number in ids}
        self.charge = dict.fromkeys(ids, 0)

    def run(self, inputs, steps):
        for t in range(steps):
            now = []
            for i, v in self.charge.items():
                came = [w for a, w, d in self.into[i] if t - d in self.fired[a]]
                came += [charge for number, time, charge in inputs if (number, time) == (i, t)]
                if self.fired[i] and t - self.fired[i][-1] <= self.period[i]:
                    came = []
                self.charge[i] = max(v + sum(came), -1023)
                if came and self.charge[i] >= self.threshold[i]:
                    now.append(i)
            for i in now:
                self.fired[i].append(t)
                self.charge[i] = 0


@st.composite
def networks(draw):
    n = draw(st.integers(1, 6))
    rows = [(i, neuron(draw(st.integers(0, 1023)), draw(st.integers(0, 4)))) for i in range(n)]
    pairs = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=3 * n))
    synapses = [
        (a, b, synapse(draw(st.integers(-1023, 1023)), draw(st.integers(1, 5)))) for a, b in sorted(pairs)
    ]
    return SpikingNetwork.build(rows, synapses, list(range(n)), [n - 1])


@settings(max_examples=150, deadline=None)
@given(
    networks(),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(-500, 1023)), max_size=40),
)
def test_equals_the_slow_interpreter(network, spikes):
    spikes = [(number % network.size, time, charge) for number, time, charge in spikes]
    slow = Slow(network)
    slow.run(spikes, 50)
    vectors, charges = fires(network, spikes, 50)
    assert vectors == list(slow.fired.values())
    assert charges == list(slow.charge.values())


def test_program():
    network = SpikingNetwork.build([(3, neuron(4, 2)), (1, neuron(7, 0))], [(3, 1, synapse(-2, 9))], [3], [1])
    program = Processor().program(network)
    assert program.rests.tolist() == [0, 2]
    assert program.exact
    assert program.lazy
    assert (program.one, program.floor) == (1023, -1023)
    assert program.limits == (-1023, 1023)
    assert program.threshold_limits == (0, 1023)
    assert not len(Processor().program(alone(3)).rests)


# placement


def test_a_small_network_is_a_block():
    found = Processor().place(graph(20, [(a, b) for a in range(20) for b in range(20)]))
    assert sorted(set(zip(found.column.tolist(), found.row.tolist(), strict=True)))
    assert np.ptp(found.column) <= 4
    assert np.ptp(found.row) <= 4


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40)
        )
    ),
    st.integers(6, 9),
    st.integers(5, 7),
    st.integers(0, 4),
)
def test_placements_keep_what_they_promise(drawn, width, height, reach):
    n, pairs = drawn
    source = np.array([a for a, _ in pairs], np.int64)
    target = np.array([b for _, b in pairs], np.int64)
    column, row, excess = place(n, source, target, width, height, reach)
    assert len(set(zip(column.tolist(), row.tolist(), strict=True))) == n
    assert ((column >= 0) & (column < width) & (row >= 0) & (row < height)).all()
    long = np.maximum(abs(column[source] - column[target]), abs(row[source] - row[target])) - reach
    joined = {(min(a, b), max(a, b)): too for (a, b), too in zip(pairs, long.tolist(), strict=True)}
    assert excess == sum(max(too, 0) for too in joined.values())
    again = place(n, source, target, width, height, reach)
    assert (again[0] == column).all()
    assert (again[1] == row).all()


def test_a_grid_graph_finds_its_grid():
    """Where only neighbours reach each other, a chain, a ring and a mesh still find their places."""
    chain = [(i, i + 1) for i in range(24)]
    ring = [*chain, (24, 0)]
    mesh = [(i, i + 1) for i in range(24) if i % 5 < 4] + [(i, i + 5) for i in range(20)]
    for pairs in (chain, ring, mesh):
        Processor({"width": 6, "height": 6, "reach": 1}).check(graph(25, pairs))


def test_a_hundred_neurons_find_places():
    rng = np.random.default_rng(0)
    pairs = {
        (int(a), int((a + d) % 100))
        for a, d in zip(rng.permutation(100), rng.integers(1, 9, 100), strict=True)
    }
    found = Processor().place(graph(100, sorted(pairs)))
    assert len(found.column) == 100


def test_what_finds_no_place_is_named():
    with pytest.raises(
        NetworkError, match="neuron 4 has no place: the network has 5 neurons, the grid 2 × 2"
    ):
        Processor({"width": 2, "height": 2}).load_network(graph(5, []))
    star = graph(12, [(0, i) for i in range(1, 12)])
    with pytest.raises(NetworkError, match="neuron 0 has no place: it is joined to 11 others"):
        Processor({"width": 9, "height": 9, "reach": 1}).program(star)
    full = graph(8, [(a, b) for a in range(8) for b in range(a)])
    with pytest.raises(NetworkError, match=r"synapse \d -> \d has no place: it would go from element"):
        Processor({"width": 3, "height": 3, "reach": 1}).check(full)


def test_coordinates_of_the_network_can_be_kept():
    at = {0: (0.0, 0.0), 1: (2.0, 1.0)}
    network = graph(2, [(0, 1)], coordinates=at)
    found = Processor({"placement": "coordinates", "reach": 2}).place(network)
    assert (found.column.tolist(), found.row.tolist()) == ([0, 2], [0, 1])
    for reach, coordinates, says in (
        (1, at, r"synapse 0 -> 1 has no place: it would go from element \(0, 0\) to \(2, 1\)"),
        (2, {0: (0.0, 0.0)}, "neuron 1 has no coordinates"),
        (2, {0: (0.0, 0.0), 1: (0.0, 0.0)}, "neuron 1 has no place: neuron 0 is at"),
        (2, {0: (0.0, 0.0), 1: (15.0, 0.0)}, r"neuron 1 has no place: there is no element \(15, 0\)"),
        (2, {0: (0.0, 0.0), 1: (0.5, 0.0)}, "neuron 1 has no place"),
    ):
        with pytest.raises(NetworkError, match=says):
            Processor({"placement": "coordinates", "reach": reach}).check(
                graph(2, [(0, 1)], coordinates=coordinates)
            )


@pytest.mark.parametrize(
    ("neurons", "synapses", "says"),
    [
        ([(0, neuron(1024))], [], "neuron 0: its Threshold is 1024"),
        ([(0, neuron(-1))], [], "neuron 0: its Threshold is -1"),
        ([(0, neuron(1, 16))], [], "neuron 0: its Refractory is 16"),
        ([(0, neuron())], [(0, 0, synapse(1024))], "synapse 0 -> 0: its Weight is 1024"),
        ([(0, neuron())], [(0, 0, synapse(0.5))], "synapse 0 -> 0: its Weight is 0.5, not a whole number"),
        ([(0, neuron())], [(0, 0, synapse(1, 0))], "synapse 0 -> 0: its Delay is 0"),
    ],
)
def test_networks_that_do_not_fit(neurons, synapses, says):
    with pytest.raises(NetworkError, match=says):
        Processor().program(SpikingNetwork.build(neurons, synapses, [0], [0]))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"with": 3}, "did you mean 'width'"),
        ({"width": 0}, "width is 0; it is 1 at least"),
        ({"reach": -1}, "reach is -1"),
        ({"max_weight": 1024}, "1023 at most"),
        ({"placement": "guess"}, "placement is 'guess'"),
    ],
)
def test_bad_parameters(params, says):
    with pytest.raises(ValueError, match=says):
        Processor(params)


def test_bad_charges():
    processor = Processor()
    processor.load_network(alone(3))
    with pytest.raises(ValueError, match="not a whole number"):
        processor.apply_spikes([(0, 0, 1.5)], normalized=False)
