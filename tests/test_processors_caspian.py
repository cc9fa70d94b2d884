"""Caspian: by hand, against a slow event queue in the public simulator's order, and what it refuses."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from vilfredo.spiking import NetworkError, SpikingNetwork
from vilfredo.spiking.processors.caspian import Processor


def neuron(threshold, leak=-1, delay=0):
    return {"Threshold": threshold, "Leak": leak, "Delay": delay}


def synapse(weight, delay=0):
    return {"Weight": weight, "Delay": delay}


def fires(network, spikes, steps, **params):
    """Firing times by neuron, charges given as they are."""
    processor = Processor(params)
    processor.load_network(network)
    processor.apply_spikes(spikes, normalized=False)
    processor.run(steps)
    return processor.neuron_vectors(), processor.neuron_charges()


def alone(threshold, leak=-1):
    return SpikingNetwork.build([(0, neuron(threshold, leak))], [], [0], [0])


def test_fires_strictly_above_the_threshold():
    assert fires(alone(5), [(0, 0, 5)], 3) == ([[]], [5])
    assert fires(alone(5), [(0, 0, 5), (0, 2, 1)], 3) == ([[2]], [0])
    assert fires(alone(0), [(0, 1, 0)], 3) == ([[]], [0])
    assert fires(alone(0), [(0, 1, 1)], 3) == ([[1]], [0])


def test_both_delays_and_one_more():
    network = SpikingNetwork.build(
        [(0, neuron(0, delay=2)), (1, neuron(0))], [(0, 1, synapse(1, 3))], [0], [1]
    )
    assert fires(network, [(0, 4, 1)], 20)[0] == [[4], [10]]
    at_once = SpikingNetwork.build([(0, neuron(0)), (1, neuron(0))], [(0, 1, synapse(1))], [0], [1])
    assert fires(at_once, [(0, 4, 1)], 20)[0] == [[4], [5]]


def test_leak_by_hand():
    for leak, gap, left in (
        (0, 1, 50),  # halves in one step
        (0, 7, 0),  # 100 / 128
        (1, 1, 70),  # 100 * 724 >> 10
        (1, 2, 50),
        (1, 3, 35),
        (2, 1, 84),  # 100 * 861 >> 10
        (4, 1, 95),  # 100 * 981 >> 10
        (4, 16, 50),
        (4, 17, 47),
        (-1, 900, 100),
    ):
        assert fires(alone(127, leak), [(0, 0, 100), (0, gap, 0)], gap + 1) == ([[]], [left]), (leak, gap)
        assert fires(alone(127, leak), [(0, 0, -100), (0, gap, 0)], gap + 1) == ([[]], [-left]), (leak, gap)
    assert fires(alone(127, 0), [(0, 0, 100)], 9)[1] == [100]  # nothing is computed between arrivals


def test_soft_reset_keeps_what_is_above_the_threshold():
    spikes = [(0, 0, 25), (0, 3, 0), (0, 5, 0), (0, 6, 0)]
    assert fires(alone(10), spikes, 9) == ([[0]], [0])
    assert fires(alone(10), spikes, 9, Soft_Reset=True) == ([[0, 3]], [5])


def test_inputs_are_scaled_and_cut():
    processor = Processor({"Max_Threshold": 300})
    processor.load_network(alone(300))
    processor.apply_spikes([(0, 0, 0.5), (0, 1, 0.01)])
    processor.run(2)
    assert processor.neuron_charges() == [127 + 2]
    assert processor.one == 255


def test_charge_has_a_floor():
    network = alone(10)
    assert fires(network, [(0, t, -32000) for t in range(3)], 3)[1] == [-32768]


class Slow:
    """The public simulator's order: check those marked last step, then inputs, then what synapses bring."""

    def __init__(self, network, soft):
        ids = network.ids.tolist()
        self.threshold = dict(zip(ids, network.neurons["Threshold"].tolist(), strict=True))
        self.leak = dict(zip(ids, network.neurons["Leak"].tolist(), strict=True))
        axon = dict(zip(ids, network.neurons["Delay"].tolist(), strict=True))
        self.out = defaultdict(list)
        for a, b, w, d in zip(
            network.source, network.target, network.weight.tolist(), network.delay.tolist(), strict=True
        ):
            self.out[ids[a]].append((ids[b], w, d + axon[ids[a]]))
        self.soft = soft
        self.charge = dict.fromkeys(ids, 0)
        self.last = dict.fromkeys(ids, 0)
        self.marked, self.queue, self.now = set(), defaultdict(list), 0
        self.fired = []

    def bring(self, number, charge):
        gone = self.now - self.last[number]
        if gone and self.leak[number] >= 0:
            tau = 2 ** int(self.leak[number])
            kept = round(1024 * 2 ** (-(gone % tau) / tau))
            size = int(abs(self.charge[number])) * kept // 1024 // 2 ** (gone // tau)
            self.charge[number] = size if self.charge[number] > 0 else -size
        if gone:
            self.charge[number] = max(self.charge[number], -32768)
        self.last[number] = self.now
        self.charge[number] += charge
        if self.charge[number] > self.threshold[number]:
            self.marked.add(number)

    def step(self, inputs):
        for number in sorted(self.marked):
            if self.charge[number] > self.threshold[number]:
                self.charge[number] = self.charge[number] - self.threshold[number] if self.soft else 0
                self.fired.append((self.now, number))
                for there, weight, delay in self.out[number]:
                    self.queue[self.now + delay].append((there, weight))
        self.marked = set()
        for number, charge in inputs:
            self.bring(number, charge)
        for number, charge in self.queue.pop(self.now, ()):
            self.bring(number, charge)
        self.now += 1


@st.composite
def networks(draw):
    n = draw(st.integers(1, 6))
    rows = [
        (i, neuron(draw(st.integers(0, 127)), draw(st.integers(-1, 4)), draw(st.integers(0, 3))))
        for i in range(n)
    ]
    pairs = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=3 * n))
    synapses = [
        (a, b, synapse(draw(st.integers(-127, 127)), draw(st.integers(0, 5)))) for a, b in sorted(pairs)
    ]
    return SpikingNetwork.build(rows, synapses, list(range(n)), [n - 1])


@settings(max_examples=150, deadline=None)
@given(
    networks(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(-60, 255)), max_size=40),
    st.integers(0, 30),
)
def test_equals_the_public_order_but_for_one_step(network, soft, spikes, split):
    spikes = [(number % network.size, time, charge) for number, time, charge in spikes]
    slow = Slow(network, soft)
    for _ in range(61):
        slow.step([(number, charge) for number, time, charge in spikes if time == slow.now])
    processor = Processor({"Soft_Reset": soft})
    processor.load_network(network)
    processor.apply_spikes(spikes, normalized=False)
    got = []
    for begin, end in ((0, split), (split, 60)):
        processor.run(end - begin)
        if end > begin:
            for number, times in enumerate(processor.neuron_vectors()):
                got += [(begin + time + 1, number) for time in times]
    assert sorted(got) == [(time, number) for time, number in slow.fired]


def test_program_has_the_delays_added_up():
    network = SpikingNetwork.build(
        [(3, neuron(4, 2, 5)), (1, neuron(7, -1, 1))],
        [(3, 1, synapse(-2, 9)), (1, 3, synapse(3, 0))],
        [3],
        [1],
    )
    program = Processor().program(network)
    assert program.numbers.tolist() == [1, 3]
    assert program.threshold.tolist() == [8, 5]
    assert program.delay.tolist() == [2, 15]
    assert program.halving.tolist() == [-1, 2]
    assert program.exact
    assert program.one == 255
    assert program.threshold_limits == (1, 128)
    assert program.delay_limits == (1, 271)
    assert not len(Processor().program(alone(3)).halving)


@pytest.mark.parametrize(
    ("neurons", "synapses", "says"),
    [
        ([(0, neuron(128))], [], "neuron 0: its Threshold is 128"),
        ([(0, neuron(1.5))], [], "neuron 0: its Threshold is 1.5, not a whole number"),
        ([(0, neuron(1, 5))], [], "neuron 0: its Leak is 5"),
        ([(0, neuron(1, 0, 16))], [], "neuron 0: its Delay is 16"),
        ([(0, neuron(1))], [(0, 0, synapse(128))], "synapse 0 -> 0: its Weight is 128"),
        ([(0, neuron(1))], [(0, 0, synapse(1, -1))], "synapse 0 -> 0: its Delay is -1"),
        ([(0, {"Threshold": 1})], [], "neurons of the network have no Leak"),
    ],
)
def test_networks_that_do_not_fit(neurons, synapses, says):
    network = SpikingNetwork.build(neurons, synapses, [0], [0])
    with pytest.raises(NetworkError, match=says):
        Processor().load_network(network)
    with pytest.raises(NetworkError, match=says):
        Processor().program(network)


def test_leak_can_be_disabled():
    with pytest.raises(NetworkError, match="Leak is 0"):
        Processor({"Leak_Enable": False}).check(alone(1, 0))
    Processor({"Leak_Enable": False}).check(alone(1, -1))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"Max_Treshold": 3}, "did you mean 'Max_Threshold'"),
        ({"Min_Weight": 5, "Max_Weight": 4}, "Min_Weight is 5, above Max_Weight, 4"),
        ({"Max_Leak": 5}, "Leak is from -1 to 4"),
        ({"Min_Threshold": -1}, "Min_Threshold is -1"),
        ({"Min_Synapse_Delay": -1}, "delay is 0 at least"),
        ({"Backend": "uCaspian_USB"}, "Backend is 'uCaspian_USB'"),
        ({"Verilator": {}}, "no hardware"),
        ({"Max_Weight": 10**6}, "32767 at most"),
        ({"Input_Scaling": -1}, "Input_Scaling"),
        ({"Max_Axon_Delay": 1.5}, "not a whole number"),
    ],
)
def test_bad_parameters(params, says):
    with pytest.raises(ValueError, match=says):
        Processor(params)


def test_bad_charges():
    processor = Processor()
    processor.load_network(alone(3))
    for charge in (1.5, 40000, float("nan")):
        with pytest.raises(ValueError, match="neuron 0"):
            processor.apply_spikes([(0, 0, charge)], normalized=False)
    assert np.isfinite(processor.neuron_charges()).all()
