"""The memristive processor: levels, devices, dynamics by hand and against a slow interpreter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from vilfredo.spiking import NetworkError, SpikingNetwork
from vilfredo.spiking.lowering import Lowered
from vilfredo.spiking.processors.mrdanna import DEVICES, Processor


def network(synapses, thresholds=(0.5,), inputs=(0,)):
    rows = [(i, {"Threshold": threshold}) for i, threshold in enumerate(thresholds)]
    links = [(a, b, {"Weight": w, "Delay": d}) for a, b, w, d in synapses]
    return SpikingNetwork.build(rows, links, list(inputs), [len(rows) - 1])


def many(size=400, seed=0):
    """As many synapses as a statistic needs, at all weights."""
    n = 20
    weights = np.random.default_rng(seed).uniform(-1, 1, size)
    return network([(k // n, k % n, w, 1) for k, w in enumerate(weights)], [0.5] * n)


def fires(net, spikes, steps, **params):
    processor = Processor(params)
    processor.load_network(net)
    processor.apply_spikes(spikes, normalized=False)
    processor.run(steps)
    return processor.neuron_vectors(), processor.neuron_charges()


def test_by_hand():
    alone = network([], [0.75])
    assert fires(alone, [(0, 0, 0.5), (0, 3, 0.25)], 5) == ([[3]], [0])
    assert fires(alone, [(0, 0, 0.5), (0, 3, 0.125)], 5) == ([[]], [0.625])
    assert fires(alone, [(0, 0, -0.75), (0, 1, -0.75)], 2) == ([[]], [-1])  # the floor
    assert fires(alone, [(0, 0, 0.5), (0, 2, 0.5)], 3, leak=0.5) == ([[]], [0.3125])
    assert fires(alone, [(0, t, 1) for t in range(6)], 6, refractory=2)[0] == [[0, 3]]
    chain = network([(0, 1, 0.8, 3)], [0.5, 0.5])
    assert fires(chain, [(0, 1, 0.5)], 9)[0] == [[1], [4]]


def test_weights_are_rounded_to_levels():
    processor = Processor({"levels": 5})
    weights = np.array([0.0, 0.12, 0.13, 0.9, 1.0, -0.4, -1.0])
    assert processor.rounded(weights).tolist() == [0, 0, 0.25, 1, 1, -0.5, -1]
    net = network([(0, k, w, 1) for k, w in enumerate(weights)], [0.5] * 7)
    assert processor.program(net).weight.tolist() == [0, 0, 0.25, 1, 1, -0.5, -1]
    wide = Processor({"levels": 5, "max_weight": 2.0})
    assert wide.rounded(np.array([0.7, -1.9])).tolist() == [0.5, -2]
    assert wide.one == 2


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.integers(2, 40))
def test_rounding_is_to_the_nearest_level_and_once(weights, levels):
    processor = Processor({"levels": levels})
    rounded = processor.rounded(np.array(weights))
    assert (abs(rounded - weights) <= 0.5 / (levels - 1) + 1e-12).all()
    assert (processor.rounded(rounded) == rounded).all()
    assert (processor.rounded(-np.array(weights)) == -rounded).all()


def test_an_ideal_device_holds_the_rounded_weights():
    processor = Processor()
    program = processor.program(many())
    held = processor.device_weights(program, 3, np.random.default_rng(1))
    assert held.shape == (3, 400)
    assert (held == program.weight).all()
    exact = Processor({"write": 0.0, "read": 0.0, "drift": 0.0, "stuck_on": 0.0})
    assert (exact.device_weights(program, 1, np.random.default_rng(1)) == program.weight).all()


def test_what_each_imperfection_does():
    net, copies = many(), 50

    def held(**params):
        processor = Processor({"levels": 17, "g_min": 0, **params})
        program = processor.program(net)
        return program.weight, processor.device_weights(program, copies, np.random.default_rng(2))

    weight, written = held(write=0.02)
    middle = (abs(weight) > 0.2) & (abs(weight) < 0.8)
    spread = (written - weight)[:, middle].std()  # two cells vary; that at 0 cannot go below it
    assert spread == pytest.approx(0.02 * np.sqrt(1 + 0.5), rel=0.03)
    assert abs(written).max() <= 1

    weight, drifted = held(drift=0.1, age=1000)
    assert drifted == pytest.approx(np.broadcast_to(weight * 1000**-0.1, drifted.shape))
    weight, young = held(drift=0.1, age=1)
    assert (young == weight).all()
    weight, spread_out = held(drift=0.1, drift_sd=0.02, age=1000)
    some = weight != 0
    factors = spread_out[:, some] / weight[some]
    assert np.log(factors).mean() == pytest.approx(-0.1 * np.log(1000), rel=0.01)
    assert np.log(factors).std() == pytest.approx(0.02 * np.log(1000), rel=0.03)

    weight, noisy = held(read=0.05)
    some = weight != 0
    assert (noisy[:, some] / weight[some] - 1).std() == pytest.approx(0.05, rel=0.03)
    assert (noisy[:, weight == 0] == 0).all()

    weight, on = held(stuck_on=0.1)
    changed = ~np.isclose(on, weight)  # one of two cells, and not where the upper one was there already
    assert changed[:, abs(weight) < 0.9].mean() == pytest.approx(0.18, abs=0.01)
    assert set(np.round(on[changed], 6)) <= set(
        np.round([*(1 - abs(weight)), *(abs(weight) - 1), 1, -1, 0], 6)
    )
    weight, off = held(stuck_off=0.1)
    assert (off == 0).mean() - (weight == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (abs(off) <= abs(weight)).all()


def test_the_conductances_from_which_a_weight_drifts():
    """With G_min above 0 both cells drift, and the difference drifts as one."""
    processor = Processor({"levels": 2, "g_min": 50, "g_max": 100, "drift": 0.5, "age": 4})
    program = processor.program(network([(0, 0, 1.0, 1)]))
    assert processor.device_weights(program, 1, np.random.default_rng(0))[0] == pytest.approx([0.5])
    stuck = Processor({"levels": 2, "g_min": 50, "g_max": 100, "drift": 0.5, "age": 4, "stuck_off": 1.0})
    assert stuck.device_weights(program, 1, np.random.default_rng(0))[0] == pytest.approx([0])


@pytest.mark.parametrize("device", ["hfox", "pcm"])
def test_devices_differ_and_can_be_drawn_again(device):
    processor = Processor({"device": device})
    program = processor.program(many())
    held = processor.device_weights(program, 4, np.random.default_rng(3))
    assert (held == processor.device_weights(program, 4, np.random.default_rng(3))).all()
    assert len({row.tobytes() for row in held}) == 4
    assert 0.01 < (held - program.weight * np.polyfit(program.weight, held[0], 1)[0]).std() < 0.2
    assert processor.get_params()["write"] == DEVICES[device]["write"]


def test_a_loaded_network_sits_on_one_device():
    net = network([(0, 1, 0.5, 1)], [0.5, 1.0])

    def charge(**params):
        return fires(net, [(0, 0, 0.5)], 2, **params)[1][1]

    assert charge(levels=3) == 0.5
    noisy = charge(levels=3, write=0.1, seed=1)
    assert noisy != 0.5
    assert noisy == charge(levels=3, write=0.1, seed=1)
    assert noisy != charge(levels=3, write=0.1, seed=2)
    processor = Processor({"levels": 3, "write": 0.1, "seed": 1})
    drawn = processor.device_weights(processor.program(net), 1, np.random.default_rng(1))
    assert noisy == drawn[0, 0]


def test_copies_are_devices():
    net = network([(0, 1, 0.7, 1), (1, 1, 0.4, 2), (0, 2, -0.6, 1), (1, 2, 0.9, 1)], [0.4, 0.9, 0.6])
    processor = Processor({"device": "pcm", "write": 0.2})
    spikes = [(0, t, 0.5) for t in range(0, 40, 2)]
    found = processor.run_population([net, net], spikes, 60, copies=20, seed=3)
    held = processor.device_weights(processor.program(net), 20, np.random.default_rng(3))
    seen = []
    for weights in held:
        engine = Lowered(replace(processor.program(net), weight=weights))
        engine.give([0] * 20, [t for _, t, _ in spikes], [0.5] * 20)
        seen.append(engine.run(60, False).counts.tolist())
    assert found.neurons[0].tolist() == found.neurons[1].tolist() == seen
    assert len({tuple(row) for row in seen}) > 1
    alone = processor.run_population([net], spikes, 60)
    processor.load_network(net)
    processor.apply_spikes(spikes)
    processor.run(60)
    assert alone.neurons[0].tolist() == [processor.neuron_counts()]
    cost = processor.cost(processor.program(net), found.activity[0])
    assert cost.energy.n == 20
    assert cost.seconds.mean == pytest.approx(60 * 5e-8)


@st.composite
def networks(draw):
    n = draw(st.integers(1, 5))
    pairs = sorted(draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=2 * n)))
    rows = [(a, b, draw(st.floats(-1, 1)), draw(st.integers(1, 4))) for a, b in pairs]
    return network(rows, [draw(st.floats(0, 1)) for _ in range(n)], range(n))


@settings(max_examples=100, deadline=None)
@given(
    networks(),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30), st.floats(-1, 1)), max_size=30),
    st.sampled_from([0.0, 0.25]),
    st.integers(0, 2),
)
def test_equals_a_slow_interpreter(net, spikes, leak, refractory):
    spikes = [(number % net.size, time, value) for number, time, value in spikes]
    processor = Processor({"leak": leak, "refractory": refractory, "device": "hfox", "seed": 5})
    processor.load_network(net)
    processor.apply_spikes(spikes, normalized=False)
    processor.run(40)
    program = processor.program(net)
    weight = processor.device_weights(program, 1, np.random.default_rng(5))[0]
    charge, fired = [0.0] * net.size, [[] for _ in range(net.size)]
    for t in range(40):
        for i in range(net.size):
            came = []
            for a in range(net.size):
                for s in range(program.first[a], program.first[a + 1]):
                    if program.target[s] == i and t - program.delay[s] in fired[a]:
                        came.append((t - program.delay[s], a, weight[s]))
            came = [w for _, _, w in sorted(came)] + [v for k, time, v in spikes if (k, time) == (i, t)]
            if fired[i] and t - fired[i][-1] <= refractory:
                came = []
            x = 0.0
            for w in came:
                x += w
            charge[i] += x
            if came and charge[i] >= net.threshold[i]:
                fired[i].append(t)
                charge[i] = 0.0
            charge[i] = max(charge[i] * (1 - leak), -1.0)
    assert processor.neuron_vectors() == fired
    assert processor.neuron_charges() == charge


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (network([], [1.5]), "neuron 0: its Threshold is 1.5"),
        (network([(0, 0, -1.25, 1)]), "synapse 0 -> 0: its Weight is -1.25"),
        (network([(0, 0, 0.5, 0)]), "synapse 0 -> 0: its Delay is 0"),
        (network([(0, 0, 0.5, 16)]), "synapse 0 -> 0: its Delay is 16"),
    ],
)
def test_networks_that_do_not_fit(net, says):
    with pytest.raises(NetworkError, match=says):
        Processor().program(net)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"level": 3}, "did you mean 'levels'"),
        ({"levels": 1}, "2 at least"),
        ({"device": "sram"}, "device is 'sram'"),
        ({"g_min": 300}, "not below g_max"),
        ({"write": -0.1}, "write is -0.1"),
        ({"stuck_on": 0.6, "stuck_off": 0.6}, "more than all cells"),
        ({"settle": 0}, "settle is 0"),
        ({"max_weight": 0}, "max_weight is 0"),
        ({"leak": 1.5}, "leak is 1.5"),
        ({"min_threshold": 2}, "min_threshold is above"),
        ({"min_potential": 1}, "0 or less"),
        ({"max_delay": 0}, "max_delay is 0"),
        ({"refractory": -1}, "refractory is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_parameters(params, says):
    with pytest.raises(ValueError, match=says):
        Processor(params)


def test_no_devices():
    processor = Processor()
    with pytest.raises(ValueError, match="0 devices"):
        processor.device_weights(processor.program(many()), 0, np.random.default_rng(0))
