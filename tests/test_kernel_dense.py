"""The compiled simulation of one network against a slow reading of `Program`: random programs, every flag."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from vilfredo.spiking.kernels import dense
from vilfredo.spiking.program import Program


def program(threshold, synapses, **rest):
    """`synapses`: {(source, target): (weight, delay)}."""
    n = len(threshold)
    rows = [(*ends, *synapses[ends]) for ends in sorted(synapses)]
    source = np.array([row[0] for row in rows], np.int64)
    rest.setdefault("leak", np.zeros(n, bool))
    return Program(
        numbers=np.arange(n),
        threshold=np.array(threshold, float),
        first=np.searchsorted(source, np.arange(n + 1)),
        target=np.array([row[1] for row in rows], np.int64),
        weight=np.array([row[2] for row in rows], float),
        delay=np.array([row[3] for row in rows], np.int64),
        origin=np.arange(len(rows)),
        inputs=np.arange(n),
        outputs=np.arange(n),
        **rest,
    )


class Slow:
    """`Program`'s docstring, line by line, with dictionaries."""

    def __init__(self, program):
        self.p, self.t = program, 0
        self.charge = [0.0] * program.size
        self.fired_at = [-(10**9)] * program.size
        self.sum = defaultdict(float)
        self.came = set()
        self.came_at = [0] * program.size
        self.inputs = defaultdict(list)

    def run(self, events, steps):
        p, spikes, synops = self.p, [], 0
        for time, neuron, charge in events:
            self.inputs[self.t + time].append((neuron, charge))
        for step in range(steps):
            t = self.t
            for neuron, charge in self.inputs.pop(t, ()):
                self.sum[t, neuron] += charge
                self.came.add((t, neuron))
            for i in range(p.size):
                x = self.sum.pop((t, i), 0.0)
                period = p.rests[i] if len(p.rests) else p.refractory
                resting = period > 0 and t - self.fired_at[i] < period + 1
                c = self.charge[i]
                if len(p.halving) and p.halving[i] >= 0 and (t, i) in self.came:
                    whole, part = divmod(t - self.came_at[i], 2 ** int(p.halving[i]))
                    kept = round(1024 * 2 ** (-part / 2 ** int(p.halving[i])))
                    c = int(np.sign(c)) * (int(abs(c)) * kept // 1024 // 2**whole)
                    self.came_at[i] = t
                c += 0.0 if resting else x
                if p.wrap:
                    c = (c + 128) % 256 - 128
                if not resting and c >= p.threshold[i] and ((t, i) in self.came or not p.lazy):
                    spikes.append((step, i))
                    self.fired_at[i] = t
                    c = c - (p.threshold[i] - p.above) if p.soft else 0.0
                    for s in range(p.first[i], p.first[i + 1]):
                        synops += 1
                        self.sum[t + p.delay[s], p.target[s]] += p.weight[s]
                        self.came.add((t + p.delay[s], p.target[s]))
                elif p.leak[i]:
                    c = 0.0
                if len(p.decay):
                    c *= p.decay[i]
                self.charge[i] = max(c, p.floor)
            self.t += 1
        return spikes, synops


def compare(program, runs):
    """Run both from run to run; all that can be read is equal."""
    slow, state, silent = Slow(program), dense.start(program), dense.start(program)
    for events, steps in runs:
        spikes, synops = slow.run(events, steps)
        got = dense.run(program, state, dense.Events.of(events), steps, record=True)
        assert list(zip(got.times.tolist(), got.neurons.tolist(), strict=True)) == spikes
        fired = [[t for t, i in spikes if i == neuron] for neuron in range(program.size)]
        for run in (got, dense.run(program, silent, dense.Events.of(events), steps)):
            assert run.counts.tolist() == [len(times) for times in fired]
            assert run.first.tolist() == [times[0] if times else -1 for times in fired]
            assert run.last.tolist() == [times[-1] if times else -1 for times in fired]
            assert (run.steps, run.synops) == (steps, synops)
        assert dense.charges(program, state).tolist() == slow.charge
        assert dense.charges(program, silent).tolist() == slow.charge
        assert state.time == slow.t


@st.composite
def programs(draw, exact):
    n = draw(st.integers(1, 9))
    number = st.integers(-9, 9) if exact else st.floats(-3, 3, width=32)
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    synapse = st.tuples(number, st.integers(1, draw(st.sampled_from([1, 3, 15]))))
    synapses = draw(st.dictionaries(pairs, synapse, max_size=4 * n))
    lowest = draw(st.sampled_from([-4, 1]))
    threshold = st.integers(lowest, 9) if exact else st.floats(lowest / 2, 3, width=32)
    plain = draw(st.booleans())
    rest = {}
    if not plain:
        rest["refractory"] = draw(st.integers(0, 3))
        rest["soft"] = draw(st.booleans())
        rest["above"] = float(draw(st.integers(0, 1)))
        rest["wrap"] = exact and draw(st.booleans())
        if draw(st.booleans()):
            rest["rests"] = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
        if exact and draw(st.booleans()):
            rest["halving"] = np.array(draw(st.lists(st.integers(-1, 4), min_size=n, max_size=n)))
        if not exact and draw(st.booleans()):
            rest["decay"] = np.array(draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    return program(
        draw(st.lists(threshold, min_size=n, max_size=n)),
        synapses,
        exact=exact,
        lazy=draw(st.booleans()),
        leak=np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))),
        floor=draw(st.sampled_from([-np.inf, -7.0, -1.0, 0.0])),
        **rest,
    )


@st.composite
def stimuli(draw, size, exact):
    charge = st.integers(-9, 15) if exact else st.floats(-4, 4, width=32)
    event = st.tuples(st.integers(0, 30), st.integers(0, size - 1), charge)
    return draw(st.lists(st.tuples(st.lists(event, max_size=20), st.integers(0, 40)), min_size=1, max_size=3))


@pytest.mark.parametrize("exact", [True, False])
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_equals_the_slow_interpreter(exact, data):
    drawn = data.draw(programs(exact))
    compare(drawn, data.draw(stimuli(drawn.size, exact)))


def test_a_larger_network_over_many_steps():
    rng = np.random.default_rng(0)
    n, s = 200, 2_000
    places = rng.choice(n * n, s, replace=False)
    synapses = {
        divmod(int(place), n): (
            int(rng.integers(1, 8)) * (1 if rng.random() < 0.5 else -1),
            int(rng.integers(1, 16)),
        )
        for place in places
    }
    drawn = program(rng.integers(3, 8, n), synapses, floor=-7.0)
    events = [(int(rng.integers(40)), int(rng.integers(n)), 7) for _ in range(200)]
    compare(drawn, [(events, 100), ([], 150)])


@pytest.mark.parametrize("seed", range(18))
def test_networks_of_many_sizes(seed):
    """Blocks of neurons that are full or not, chunks of synapses narrow and wide, all widths of numbers."""
    rng = np.random.default_rng(seed)
    n, exact = int(rng.choice([1, 63, 64, 65, 130, 200])), seed % 3 > 0
    largest = [1, 7, 200, 40_000, 2**33][int(rng.integers(5))] if exact else 3.0
    synapses = {}
    for source in range(n):
        for target in rng.choice(n, int(rng.integers(0, min(n, 100 if seed % 2 else 8) + 1)), replace=False):
            weight = rng.integers(-largest, largest + 1) if exact else rng.normal(0, largest)
            synapses[source, int(target)] = (float(weight), int(rng.integers(1, 1 + rng.choice([1, 5, 20]))))
    drawn = program(
        rng.integers(seed % 2, 3 * largest + 1, n) if exact else rng.uniform(0.1, 2 * largest, n),
        synapses,
        exact=exact,
        floor=float(-rng.integers(0, 3 * largest + 1)),
        lazy=bool(rng.integers(2)),
        leak=rng.random(n) < rng.choice([0, 0.3]),
        rests=rng.integers(0, 3, n) * int(rng.integers(2)),
    )
    events = [(int(rng.integers(40)), int(rng.integers(n)), int(3 * largest)) for _ in range(6 * n)]
    compare(drawn, [(events[::2], 30), (events[1::2], 30)])


@pytest.mark.parametrize("lowest", [0, 3])
def test_inputs_too_large_for_the_present_type(lowest):
    """Charges go on in wider numbers, and what is on its way and who rests go along."""
    drawn = program(
        [3, lowest, 50, 100],
        {(0, 1): (4, 5), (0, 3): (-5, 9), (1, 2): (3, 2), (2, 0): (7, 1), (1, 0): (3, 1)},
        floor=-100.0,
        rests=np.array([2, 0, 1, 0]),
    )
    small = [(t, 0, 3) for t in range(0, 9, 2)]
    runs = [(small, 9)]
    for size in (100, 20_000, 2**20, 2**40):
        runs += [([(1, 3, -size), (2, 2, size), (3, 2, -size), (4, 3, 25)], 7), (small, 9)]
    state = dense.start(drawn)
    types = []
    for events, steps in runs:
        dense.run(drawn, state, dense.Events.of(events), steps)
        types.append(state.charge.dtype.itemsize)
    assert sorted(types) == types
    assert set(types) == {1, 2, 4, 8}
    compare(drawn, runs)


def test_clear_is_start():
    drawn = program([2, 2], {(0, 1): (2, 7), (1, 0): (2, 3)}, rests=np.array([3, 0]))
    events = dense.Events.of([(0, 0, 2), (1, 1, 1), (50, 1, 2)])
    used, fresh = dense.start(drawn), dense.start(drawn)
    dense.run(drawn, used, events, 20)
    dense.clear(used)
    assert used.time == 0
    assert dense.charges(drawn, used).tolist() == [0, 0]
    for steps in (20, 40):
        runs = [dense.run(drawn, state, events, steps, record=True) for state in (used, fresh)]
        assert runs[0].times.tolist() == runs[1].times.tolist()
        assert runs[0].counts.sum() > 0


def test_two_runs_equal_one():
    drawn = program([2, 2, 3], {(0, 1): (2, 3), (1, 2): (3, 15), (2, 0): (2, 1)})
    events = dense.Events.of([(0, 0, 2), (25, 0, 5)])
    one, two = dense.start(drawn), dense.start(drawn)
    whole = dense.run(drawn, one, events, 60, record=True)
    parts = [dense.run(drawn, two, events, 17, record=True), dense.run(drawn, two, steps=43, record=True)]
    assert whole.times.tolist() == parts[0].times.tolist() + [17 + t for t in parts[1].times]
    assert whole.counts.tolist() == (parts[0].counts + parts[1].counts).tolist()
    assert dense.charges(drawn, one).tolist() == dense.charges(drawn, two).tolist()


def test_more_spikes_than_the_first_buffer_holds():
    drawn = program([1] * 40, {(i, i): (1, 1) for i in range(40)})
    events = dense.Events.of([(0, i, 1) for i in range(40)])
    run = dense.run(drawn, dense.start(drawn), events, 5_000, record=True)
    assert len(run.times) == 40 * 5_000 == run.synops
    assert run.times.tolist() == np.repeat(np.arange(5_000), 40).tolist()
    assert run.neurons.tolist() == np.tile(np.arange(40), 5_000).tolist()


def test_nothing_to_run():
    empty = program([], {})
    assert dense.run(empty, dense.start(empty), steps=3).counts.tolist() == []
    drawn = program([1], {})
    state = dense.start(drawn)
    assert dense.run(drawn, state, dense.Events.of([(0, 0, 1)]), 0, record=True).times.tolist() == []
    assert dense.run(drawn, state, steps=1).counts.tolist() == [1]  # the input waited


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ((-1, 0, 1), "time -1"),
        ((0, 1, 1), "neuron 1"),
        ((0, -1, 1), "neuron -1"),
        ((0, 0, 0.5), "neuron 0: the charge 0.5 is not a whole number"),
        ((0, 0, float("nan")), "neuron 0: the charge nan"),
    ],
)
def test_bad_events(event, sentence):
    drawn = program([1], {})
    with pytest.raises(ValueError, match=sentence):
        dense.run(drawn, dense.start(drawn), dense.Events.of([event]), 3)
