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

from vilfredo.spiking.kernels.dense import Run
from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.network import Floats, Ints
from vilfredo.spiking.program import Activity

# places in `State.marks`
SLOT, FREE, ROOM, DRAWN, SPARE, FIRING, EVENT, ARRIVED, SPIKES, SYNOPS = range(10)
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
    head: Ints  # (slots,) the first event of each timestep to come, −1: none
    tail: Ints
    link: Ints  # (room,) the event after this one, or the next free place
    who: Ints
    value: Floats
    marks: Ints
    key: NDArray[np.uint32]  # (624,) of the generator
    spare: Floats  # (1,) the second normal number of a pair
    firing: Ints  # (n,) who is to fire in the next step
    checked: NDArray[np.bool_]  # (n,)
    waiting: Inputs = field(default_factory=lambda: NOTHING)


def start(circuit: Circuit) -> State:
    """At rest, with a fresh generator."""
    n, room = len(circuit.threshold), 2 * len(circuit.target) + len(circuit.threshold) + 16
    marks = np.zeros(10, np.int64)
    marks[ROOM], marks[DRAWN] = room, 624
    state = State(
        charge=np.zeros(n),
        head=np.full(circuit.slots, -1),
        tail=np.full(circuit.slots, -1),
        link=np.arange(1, room + 1),
        who=np.zeros(room, np.int64),
        value=np.zeros(room),
        marks=marks,
        key=seeded(circuit.seed),
        spare=np.zeros(1),
        firing=np.zeros(n, np.int64),
        checked=np.zeros(n, np.bool_),
    )
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
    room = len(state.link)
    state.charge[:] = 0
    state.head[:] = -1
    state.tail[:] = -1
    state.link[:] = np.arange(1, room + 1)
    for mark in (SLOT, FREE, FIRING, EVENT, SPIKES, SYNOPS):
        state.marks[mark] = 0
    state.marks[ROOM] = room
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
    marks[EVENT] = marks[SYNOPS] = 0
    while done < steps:
        spikes = np.empty(room, np.int64), np.empty(room, np.int64)
        marks[SPIKES] = 0
        done = _advance(
            done, steps, circuit.first, circuit.target, circuit.delay, circuit.weight, circuit.spread,
            circuit.noisy, circuit.threshold, circuit.leak, circuit.floor, circuit.ravens,
            state.charge, state.head, state.tail, state.link, state.who, state.value, marks,
            times, neurons, charges, state.key, state.spare, state.firing, state.checked,
            counts, first, last, *spikes,
        )  # fmt: skip
        parts.append((spikes[0][: marks[SPIKES]], spikes[1][: marks[SPIKES]]))
        if done < steps:
            room *= 2
            need = len(circuit.target) + len(times) - int(marks[EVENT])
            if marks[ROOM] < need:
                state.link, state.who, state.value = _grown(state.link, state.who, state.value, marks, need)
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
    n, slots, room = len(threshold), 2, 2 * len(target) + len(threshold) + 16
    for synapse in range(len(target)):
        slots = max(slots, delay[synapse] + 1)
    key, marks, spare = key.copy(), marks.copy(), spare.copy()
    marks[FREE], marks[ROOM], marks[SLOT], marks[EVENT] = 0, room, 0, 0
    link, who, value = np.arange(1, room + 1), np.zeros(room, np.int64), np.zeros(room)
    head, tail, none = np.full(slots, -1), np.full(slots, -1), np.zeros(0, np.int64)
    charge, firing, checked = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.bool_)
    last, done = np.zeros(n, np.int64), 0
    while done < steps:
        done = _advance(
            done, steps, first, target, delay, weight, spread, noisy, threshold, leak, floor, ravens,
            charge, head, tail, link, who, value, marks, times, neurons, charges,
            key, spare, firing, checked, counts, firsts, last, none, none,
        )  # fmt: skip
        if done < steps:
            link, who, value = _grown(link, who, value, marks, len(target) + len(times))
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
    head: Ints,
    tail: Ints,
    link: Ints,
    who: Ints,
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
    """Steps from `done` on; returns where it stopped: at `steps`, or earlier where there is no room."""
    slots, n, room = len(head), len(charge), len(spike_times)
    for step in range(done, steps):
        due = marks[EVENT]
        while due < len(times) and times[due] < step + slots:
            due += 1
        if marks[ROOM] < len(target) + due - marks[EVENT] or (room and room - marks[SPIKES] < n):
            return step
        # an input stands before whatever synapses bring in this run to the same timestep
        for i in range(marks[EVENT], due):
            slot = (marks[SLOT] + times[i] - step) % slots
            _push(slot, neurons[i], charges[i], head, tail, link, who, value, marks)
        marks[EVENT] = due
        for i in range(marks[FIRING]):
            _fire(firing[i], step, charge, counts, firsts, lasts, spike_times, spike_neurons, marks)
        marks[FIRING] = 0
        slot = marks[SLOT]
        event = head[slot]
        while event >= 0:
            neuron = who[event]
            if leak[neuron]:
                charge[neuron] = 0.0
            if charge[neuron] < floor:
                charge[neuron] = floor
            event = link[event]
        event = head[slot]
        while event >= 0:
            checked[who[event]] = True
            charge[who[event]] += value[event]
            marks[ARRIVED] += 1
            event = link[event]
        event = head[slot]
        while event >= 0:
            neuron = who[event]
            if checked[neuron] and charge[neuron] >= threshold[neuron]:
                for synapse in range(first[neuron], first[neuron + 1]):
                    brought = weight[synapse]
                    if noisy:
                        brought = _normal(brought, spread[synapse], key, marks, spare)
                    there = (slot + delay[synapse]) % slots
                    _push(there, target[synapse], brought, head, tail, link, who, value, marks)
                marks[SYNOPS] += first[neuron + 1] - first[neuron]
                if ravens:
                    firing[marks[FIRING]] = neuron
                    marks[FIRING] += 1
                else:
                    _fire(neuron, step, charge, counts, firsts, lasts, spike_times, spike_neurons, marks)
            checked[neuron] = False
            after = link[event]
            link[event] = marks[FREE]
            marks[FREE] = event
            marks[ROOM] += 1
            event = after
        head[slot] = -1
        tail[slot] = -1
        marks[SLOT] = (slot + 1) % slots
    return steps


@jit(error_model="numpy")
def _push(
    slot: int,
    neuron: int,
    brought: float,
    head: Ints,
    tail: Ints,
    link: Ints,
    who: Ints,
    value: Floats,
    marks: Ints,
) -> None:
    place = marks[FREE]
    marks[FREE] = link[place]
    marks[ROOM] -= 1
    link[place] = -1
    who[place] = neuron
    value[place] = brought
    if tail[slot] < 0:
        head[slot] = place
    else:
        link[tail[slot]] = place
    tail[slot] = place


@jit(error_model="numpy")
def _fire(
    neuron: int,
    step: int,
    charge: Floats,
    counts: Ints,
    firsts: Ints,
    lasts: Ints,
    spike_times: Ints,
    spike_neurons: Ints,
    marks: Ints,
) -> None:
    charge[neuron] = 0.0
    counts[neuron] += 1
    lasts[neuron] = step
    if firsts[neuron] < 0:
        firsts[neuron] = step
    if len(spike_times):
        spike_times[marks[SPIKES]] = step
        spike_neurons[marks[SPIKES]] = neuron
        marks[SPIKES] += 1


@jit(error_model="numpy")
def _settle(leak: NDArray[np.bool_], floor: float, charge: Floats) -> None:
    """What the end of a run does to all neurons."""
    for i in range(len(charge)):
        if leak[i]:
            charge[i] = 0.0
        if charge[i] < floor:
            charge[i] = floor


@jit(error_model="numpy")
def _grown(link: Ints, who: Ints, value: Floats, marks: Ints, need: int) -> tuple[Ints, Ints, Floats]:
    """The store of events with at least `need` more places."""
    old = len(link)
    size = 2 * old + need
    more, neurons, values = np.empty(size, np.int64), np.zeros(size, np.int64), np.zeros(size)
    more[:old], neurons[:old], values[:old] = link, who, value
    for i in range(old, size):
        more[i] = i + 1
    more[size - 1] = marks[FREE]
    marks[FREE] = old
    marks[ROOM] += size - old
    return more, neurons, values


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
