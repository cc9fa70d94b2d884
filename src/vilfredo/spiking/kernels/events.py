"""RISP event by event, in the reference simulator's own order: for what a `Program` cannot say.

Sums in floating point depend on their order, noise on the order of its draws. So events of a timestep are
kept in the order in which they were queued, and the synapses of a neuron in the order in which the reference
has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.kernels import threads
from vilfredo.spiking.kernels.dense import Run
from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.network import Floats, Ints
from vilfredo.spiking.program import Activity

# places in `State.marks`
SLOT, DRAWN, SPARE, FIRING, EVENT, ARRIVED, SPIKES, SYNOPS = range(8)
DROPPED = 19  # draws that the reference drops after seeding


Inputs: TypeAlias = tuple[Ints, Ints, Floats]  # times, neurons, charges; (k,) each
NOTHING: Inputs = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True, eq=False)
class Circuit:
    """A network of n neurons, by ascending number, and s synapses, grouped by source in the reference's
    order."""

    threshold: Floats  # (n,)
    leak: NDArray[np.bool_]  # (n,)
    first: Ints  # (n + 1,)
    target: Ints  # (s,)
    delay: Ints  # (s,)
    weight: Floats  # (s,)
    spread: Floats  # (s,) standard deviation of each delivery; unused without `noisy`
    origin: Ints  # (s,) place of each synapse in the network's own arrays
    floor: float
    noisy: bool = False
    ravens: bool = False  # a firing is recorded, and the charge reset, one step later
    seed: int = 0

    @property
    def slots(self) -> int:
        return int(self.delay.max(initial=1)) + 1


@dataclass(eq=False)
class State:
    """Where a network is between two runs; changed in place."""

    charge: Floats  # (n,)
    many: Ints  # (slots,) events of each timestep to come; the next one is in slot marks[SLOT]
    who: NDArray[np.int32]  # (slots, room) their neurons; a synapse brings one event to a timestep at most
    value: Floats  # (slots, room) and charges
    marks: Ints
    key: NDArray[np.uint32]  # (624,) of the generator
    spare: Floats  # (1,) the second normal number of a pair
    firing: Ints  # (n,) who is to fire in the next step
    checked: NDArray[np.bool_]  # (n,)
    waiting: Inputs = field(default_factory=lambda: NOTHING)


def start(circuit: Circuit) -> State:
    """At rest, with a fresh generator."""
    n, room = len(circuit.threshold), len(circuit.target)
    marks = np.zeros(8, np.int64)
    marks[DRAWN] = 624
    state = State(
        charge=np.zeros(n),
        many=np.zeros(circuit.slots, np.int64),
        who=np.empty((circuit.slots, room), np.int32),
        value=np.empty((circuit.slots, room)),
        marks=marks,
        key=seeded(circuit.seed) if circuit.noisy else np.zeros(624, np.uint32),
        spare=np.zeros(1),
        firing=np.zeros(n, np.int64),
        checked=np.zeros(n, np.bool_),
    )
    if circuit.noisy:
        _skip(DROPPED, state.key, marks)
    return state


def seeded(seed: int, name: str = "noisy_risp") -> NDArray[np.uint32]:
    """The Mersenne twister's state for a seed and the djb2 hash of a name."""
    hashed = 5381
    for letter in name.encode():
        hashed = (33 * hashed + letter) % 2**32
    state: Any = np.random.RandomState(seed ^ hashed).get_state()
    return np.array(state[1], np.uint32)


def rest(state: State) -> None:
    """No charges, no events; the generator and the count of arrivals go on."""
    state.charge[:] = 0
    state.many[:] = 0
    for mark in (SLOT, FIRING, EVENT, SPIKES, SYNOPS):
        state.marks[mark] = 0
    state.waiting = NOTHING


def give(
    circuit: Circuit, state: State, times: Ints, neurons: Ints, charges: Floats, spread: Floats | None = None
) -> None:
    """Queue inputs in this order; with `spread` (standard deviations), their noise is drawn now."""
    if spread is not None:
        _blur(charges, spread, state.key, state.marks, state.spare)
    before = state.waiting
    times = np.concatenate([before[0], times])
    order = np.argsort(times, kind="stable")
    neurons, charges = np.concatenate([before[1], neurons]), np.concatenate([before[2], charges])
    state.waiting = times[order], neurons[order], charges[order]


def run(circuit: Circuit, state: State, steps: int, record: bool) -> Run:
    """Run `steps` timesteps. Of the result only what was recorded is in the list of spikes."""
    n = len(circuit.threshold)
    counts, last = np.zeros(n, np.int64), np.full(n, -1)
    first = last.copy()
    times, neurons, charges = state.waiting
    room = n + min(steps * n, 2**16) if record else 0
    parts: list[tuple[Ints, Ints]] = []
    done, marks = 0, state.marks
    _make_room(state, circuit)
    marks[EVENT] = marks[SYNOPS] = 0
    while done < steps:
        spikes = np.empty(room, np.int64), np.empty(room, np.int64)
        marks[SPIKES] = 0
        done = _advance(
            done, steps, circuit.first, circuit.target, circuit.delay, circuit.weight, circuit.spread,
            circuit.noisy, circuit.threshold, circuit.leak, circuit.floor, circuit.ravens,
            state.charge, state.many, state.who, state.value, marks,
            times, neurons, charges, state.key, state.spare, state.firing, state.checked,
            counts, first, last, *spikes,
        )  # fmt: skip
        parts.append((spikes[0][: marks[SPIKES]], spikes[1][: marks[SPIKES]]))
        room *= 2
    used = int(marks[EVENT])
    state.waiting = times[used:] - steps, neurons[used:], charges[used:]
    _settle(circuit.leak, circuit.floor, state.charge)
    fired_at, fired = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return Run(counts, first, last, steps, int(marks[SYNOPS]), fired_at, fired)


def run_many(
    circuits: Sequence[Circuit],
    states: Sequence[State],
    weights: Sequence[Floats],
    thresholds: Sequence[Floats],
    delays: Sequence[Ints],
    steps: int,
) -> list[Activity]:
    """Networks with K rows of weights (K, s), thresholds (K, n) and delays (K or 1, s) for `steps` timesteps,
    all at once; `states` are at rest, with their inputs. In the results, `first` is of all neurons."""
    copies = len(weights[0])
    at_neuron = _starts([len(circuit.threshold) for circuit in circuits])
    at_synapse = _starts([len(circuit.target) for circuit in circuits])
    at_input = _starts([len(state.waiting[0]) for state in states])
    times, neurons, charges = (np.concatenate([s.waiting[part] for s in states]) for part in range(3))
    counts = np.zeros((copies, at_neuron[-1]), np.int64)
    first = np.full((copies, at_neuron[-1]), -1)
    synops = np.zeros((copies, len(circuits)), np.int64)
    weight, threshold = (np.ascontiguousarray(np.concatenate(rows, axis=1)) for rows in (weights, thresholds))
    full = [np.broadcast_to(d, w.shape) for d, w in zip(delays, weights, strict=True)]
    delay = np.ascontiguousarray(np.concatenate(full, axis=1))
    threads.count()  # before Numba asks by itself
    _together(
        steps, copies, at_neuron, at_synapse, at_input,
        np.concatenate([c.first for c in circuits]), np.concatenate([c.target for c in circuits]),
        delay, weight, np.concatenate([c.spread for c in circuits]), circuits[0].noisy,
        threshold, np.concatenate([c.leak for c in circuits]), circuits[0].floor, circuits[0].ravens,
        times, neurons, charges, np.array([s.key for s in states]), np.array([s.marks for s in states]),
        np.array([s.spare for s in states]), counts, first, synops,
    )  # fmt: skip
    cut = at_neuron[1:-1]
    parts = zip(np.split(counts, cut, axis=1), np.split(first, cut, axis=1), synops.T, strict=True)
    return [Activity(some, when, np.full(copies, steps), sent) for some, when, sent in parts]


def _starts(sizes: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _make_room(state: State, circuit: Circuit) -> None:
    """For all inputs that come at one time, beside what is there and what synapses can bring then."""
    room = len(circuit.target) + int(state.many.max()) + together(state.waiting[0])
    slots, old = state.who.shape
    if room > old:
        who, value = np.empty((slots, room), np.int32), np.empty((slots, room))
        who[:, :old], value[:, :old] = state.who, state.value
        state.who, state.value = who, value


def together(times: Ints) -> int:
    """The most inputs that have one time; `times` ascend."""
    if not len(times):
        return 0
    ends = np.concatenate([np.flatnonzero(np.diff(times)) + 1, [len(times)]])
    return int(np.diff(ends, prepend=0).max())


@jit(error_model="numpy", parallel=True)
def _together(
    steps: int,
    copies: int,
    at_neuron: Ints,
    at_synapse: Ints,
    at_input: Ints,
    first: Ints,
    target: Ints,
    delay: Ints,
    weight: Floats,
    spread: Floats,
    noisy: bool,
    threshold: Floats,
    leak: NDArray[np.bool_],
    floor: float,
    ravens: bool,
    times: Ints,
    neurons: Ints,
    charges: Floats,
    keys: NDArray[np.uint32],
    marked: Ints,
    spares: Floats,
    counts: Ints,
    firsts: Ints,
    synops: Ints,
) -> None:
    for job in numba.prange((len(at_neuron) - 1) * copies):
        p, k = job // copies, job % copies
        a, b, s, e = at_neuron[p], at_neuron[p + 1], at_synapse[p], at_synapse[p + 1]
        i, j = at_input[p], at_input[p + 1]
        synops[k, p] = _alone(
            steps, first[a + p : b + p + 1], target[s:e], delay[k, s:e], weight[k, s:e], spread[s:e], noisy,
            threshold[k, a:b], leak[a:b], floor, ravens, times[i:j], neurons[i:j], charges[i:j],
            keys[p], marked[p], spares[p], counts[k, a:b], firsts[k, a:b],
        )  # fmt: skip


@jit(error_model="numpy")
def _alone(
    steps: int,
    first: Ints,
    target: Ints,
    delay: Ints,
    weight: Floats,
    spread: Floats,
    noisy: bool,
    threshold: Floats,
    leak: NDArray[np.bool_],
    floor: float,
    ravens: bool,
    times: Ints,
    neurons: Ints,
    charges: Floats,
    key: NDArray[np.uint32],
    marks: Ints,
    spare: Floats,
    counts: Ints,
    firsts: Ints,
) -> Any:
    """One copy of one network from rest; how much its synapses delivered."""
    n, slots = len(threshold), 2
    for synapse in range(len(target)):
        slots = max(slots, delay[synapse] + 1)
    key, marks, spare = key.copy(), marks.copy(), spare.copy()
    marks[SLOT], marks[EVENT], marks[SYNOPS] = 0, 0, 0
    alike = most = 0
    for i in range(len(times)):
        alike = alike + 1 if i and times[i] == times[i - 1] else 1
        most = max(most, alike)
    room = len(target) + most
    many, who, value = np.zeros(slots, np.int64), np.empty((slots, room), np.int32), np.empty((slots, room))
    charge, firing, checked = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.bool_)
    last, none = np.zeros(n, np.int64), np.zeros(0, np.int64)
    _advance(
        0, steps, first, target, delay, weight, spread, noisy, threshold, leak, floor, ravens,
        charge, many, who, value, marks, times, neurons, charges,
        key, spare, firing, checked, counts, firsts, last, none, none,
    )  # fmt: skip
    return marks[SYNOPS]


@jit(error_model="numpy")
def _advance(
    done: int,
    steps: int,
    first: Ints,
    target: Ints,
    delay: Ints,
    weight: Floats,
    spread: Floats,
    noisy: bool,
    threshold: Floats,
    leak: NDArray[np.bool_],
    floor: float,
    ravens: bool,
    charge: Floats,
    many: Ints,
    who: NDArray[np.int32],
    value: Floats,
    marks: Ints,
    times: Ints,
    neurons: Ints,
    charges: Floats,
    key: NDArray[np.uint32],
    spare: Floats,
    firing: Ints,
    checked: NDArray[np.bool_],
    counts: Ints,
    firsts: Ints,
    lasts: Ints,
    spike_times: Ints,
    spike_neurons: Ints,
) -> int:
    """Steps from `done` on; returns where it stopped: at `steps`, or earlier where spikes have no room."""
    slots, n, room = len(many), len(charge), len(spike_times)
    slot, due, spikes, arrived, synops = marks[SLOT], marks[EVENT], 0, 0, 0
    reached = steps
    for step in range(done, steps):
        if room and room - spikes < n:
            reached = step
            break
        # an input stands before whatever synapses bring in this run to the same timestep
        while due < len(times) and times[due] < step + slots:
            there = (slot + times[due] - step) % slots
            who[there, many[there]] = neurons[due]
            value[there, many[there]] = charges[due]
            many[there] += 1
            due += 1
        for i in range(marks[FIRING]):
            neuron = firing[i]
            charge[neuron] = 0.0
            counts[neuron] += 1
            lasts[neuron] = step
            if firsts[neuron] < 0:
                firsts[neuron] = step
            if room:
                spike_times[spikes] = step
                spike_neurons[spikes] = neuron
                spikes += 1
        marks[FIRING] = 0
        events = many[slot]
        for event in range(events):
            neuron = who[slot, event]
            if not checked[neuron]:
                checked[neuron] = True
                if leak[neuron]:
                    charge[neuron] = 0.0
                if charge[neuron] < floor:
                    charge[neuron] = floor
            charge[neuron] += value[slot, event]
        arrived += events
        for event in range(events):
            neuron = who[slot, event]
            if checked[neuron] and charge[neuron] >= threshold[neuron]:
                synops += first[neuron + 1] - first[neuron]
                for synapse in range(first[neuron], first[neuron + 1]):
                    there = slot + delay[synapse]
                    if there >= slots:
                        there -= slots
                    place = many[there]
                    who[there, place] = target[synapse]
                    value[there, place] = weight[synapse]
                    many[there] = place + 1
                    if noisy:
                        value[there, place] = _normal(weight[synapse], spread[synapse], key, marks, spare)
                if ravens:
                    firing[marks[FIRING]] = neuron
                    marks[FIRING] += 1
                else:
                    charge[neuron] = 0.0
                    counts[neuron] += 1
                    lasts[neuron] = step
                    if firsts[neuron] < 0:
                        firsts[neuron] = step
                    if room:
                        spike_times[spikes] = step
                        spike_neurons[spikes] = neuron
                        spikes += 1
            checked[neuron] = False
        many[slot] = 0
        slot = slot + 1 if slot + 1 < slots else 0
    marks[SLOT], marks[EVENT], marks[SPIKES] = slot, due, spikes
    marks[ARRIVED] += arrived
    marks[SYNOPS] += synops
    return reached


@jit(error_model="numpy")
def _settle(leak: NDArray[np.bool_], floor: float, charge: Floats) -> None:
    """What the end of a run does to all neurons."""
    for i in range(len(charge)):
        if leak[i]:
            charge[i] = 0.0
        if charge[i] < floor:
            charge[i] = floor


@jit(error_model="numpy")
def _raw(key: NDArray[np.uint32], marks: Ints) -> Any:
    """32 bits of the Mersenne twister MT19937 (Matsumoto and Nishimura 1998)."""
    if marks[DRAWN] >= 624:
        for k in range(624):
            y = (key[k] & np.uint32(0x80000000)) | (key[(k + 1) % 624] & np.uint32(0x7FFFFFFF))
            mixed = key[(k + 397) % 624] ^ (y >> np.uint32(1))
            if y & np.uint32(1):
                mixed = mixed ^ np.uint32(0x9908B0DF)
            key[k] = mixed
        marks[DRAWN] = 0
    y = key[marks[DRAWN]]
    marks[DRAWN] += 1
    y ^= y >> np.uint32(11)
    y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
    y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
    y ^= y >> np.uint32(18)
    return y & np.uint32(0xFFFFFFFF)


@jit(error_model="numpy")
def _normal(mean: float, deviation: float, key: NDArray[np.uint32], marks: Ints, spare: Floats) -> Any:
    """A normal number by Marsaglia's polar method; the second of each pair is kept for the next call."""
    if marks[SPARE]:
        marks[SPARE] = 0
        return spare[0] * deviation + mean
    while True:
        u = float(_raw(key, marks)) / 4294967295.0 * 2.0 - 1.0
        v = float(_raw(key, marks)) / 4294967295.0 * 2.0 - 1.0
        s = u * u + v * v
        if 0.0 < s < 1.0:
            break
    s = np.sqrt(-2.0 * np.log(s) / s)
    spare[0] = v * s
    marks[SPARE] = 1
    return u * s * deviation + mean


@jit(error_model="numpy")
def _skip(count: int, key: NDArray[np.uint32], marks: Ints) -> None:
    for _ in range(count):
        _raw(key, marks)


@jit(error_model="numpy")
def _blur(charges: Floats, spread: Floats, key: NDArray[np.uint32], marks: Ints, spare: Floats) -> None:
    for i in range(len(charges)):
        charges[i] = _normal(charges[i], spread[i], key, marks, spare)


def order(sources: Sequence[int] | Ints, targets: Sequence[int] | Ints) -> Ints:
    """In which order the reference goes through synapses (by numbers of neurons) that it read in the order
    given.

    It keeps them in a hash table with Robin Hood probing: twice the buckets whenever half of them are taken,
    and its own mixing of the two numbers. Positions in the given order, (s,).
    """
    found: Ints = _order(np.asarray(sources, np.uint64), np.asarray(targets, np.uint64))
    return found


@jit(error_model="numpy")
def _mixed(number: Any) -> Any:
    h = np.uint64(number) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(16)
    h *= np.uint64(0x85EBCA6B)
    h ^= h >> np.uint64(13)
    h *= np.uint64(0xC2B2AE35)
    h ^= h >> np.uint64(16)
    return h


@jit(error_model="numpy")
def _order(sources: NDArray[np.uint64], targets: NDArray[np.uint64]) -> Ints:
    size = 0
    table, away = np.full(size, -1), np.full(size, -1)
    hashes = np.empty(len(sources), np.uint64)
    for i in range(len(sources)):
        left, right = _mixed(sources[i]), _mixed(targets[i])
        hashes[i] = left ^ (right + np.uint64(0x9E3779B9) + (left << np.uint64(6)) + (left >> np.uint64(2)))
        if i >= size // 2:
            old, size = table, max(2, 2 * size)
            table, away = np.full(size, -1), np.full(size, -1)
            for item in old:
                if item >= 0:
                    _place(item, hashes[item], table, away)
        _place(i, hashes[i], table, away)
    return table[table >= 0]


@jit(error_model="numpy")
def _place(item: int, hashed: int, table: Ints, away: Ints) -> None:
    """Put an item where one that is nearer to its own bucket stands, which moves on in turn."""
    bucket, distance = np.int64(hashed & np.uint64(len(table) - 1)), 0
    while table[bucket] >= 0:
        if distance > away[bucket]:
            item, table[bucket] = table[bucket], item
            distance, away[bucket] = away[bucket], distance
        bucket, distance = (bucket + 1) % len(table), distance + 1
    table[bucket], away[bucket] = item, distance
