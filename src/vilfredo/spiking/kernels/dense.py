"""One network, simulated as fast as possible: its state lives on from run to run.

`start` lays a `Program` out for the kernels, `run` runs it, `charges` reads it. Neurons are positions in the
program (0 … n − 1); times are relative to the beginning of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.network import Floats, Ints
from vilfredo.spiking.program import HALVES, Program

HUGE = 2**60  # in place of infinity in integers: no sum of a run comes near it


class Events(NamedTuple):
    """Charges given from outside: k of them, in any order; those of one time and neuron are added up."""

    time: Ints  # (k,) steps from the beginning of the run, from 0
    neuron: Ints  # (k,) positions in the program
    charge: Floats  # (k,)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, float]]) -> Events:
        """From rows `(time, neuron, charge)`."""
        time, neuron, charge = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(np.array(time, np.int64), np.array(neuron, np.int64), np.array(charge, np.float64))


NOTHING = Events.of(())


@dataclass(eq=False)
class State:
    """Where a network is between two runs. Plain data; `run` changes it in place."""

    charge: NDArray[Any]  # (n,)
    ring: NDArray[Any]  # (slots, n) what will arrive at time t is in row t % slots
    arrived: NDArray[np.uint8]  # (slots, n) 1: something arrives
    rest: Ints  # (n,) steps that a neuron still is refractory
    weight: NDArray[Any]  # (s,) in the kernel's type of number
    threshold: NDArray[Any]  # (n,)
    since: Ints  # (n,) when something last arrived at each neuron; kept for `halving` only
    time: int = 0  # steps since the start
    waiting: Events = field(
        default_factory=lambda: NOTHING
    )  # inputs after the last run's end, by absolute time


@dataclass(frozen=True, eq=False)
class Run:
    """What happened in one run. Times are steps from its beginning; −1: never."""

    counts: Ints  # (n,) spikes
    first: Ints  # (n,) the first step in which each neuron fired
    last: Ints  # (n,) the last one
    steps: int
    synops: int  # deliveries: spikes times fan-out
    times: Ints  # (spikes,) ascending, and
    neurons: Ints  # (spikes,) who fired then, ascending within a step; both empty if nothing was recorded


def start(program: Program) -> State:
    """A network at rest: all charges 0, nothing on its way."""
    kind: Any = np.int64 if program.exact else np.float64
    slots = int(program.delay.max(initial=1)) + 1
    threshold = np.clip(program.threshold, -HUGE, HUGE) if program.exact else program.threshold
    return State(
        charge=np.zeros(program.size, kind),
        ring=np.zeros((slots, program.size), kind),
        arrived=np.zeros((slots, program.size), np.uint8),
        rest=np.zeros(program.size, np.int64),
        weight=program.weight.astype(kind),
        threshold=threshold.astype(kind),
        since=np.zeros(program.size, np.int64),
    )


def charges(program: Program, state: State) -> Floats:
    """Of every neuron, (n,), after the last step that was run."""
    return state.charge.astype(np.float64)


def run(
    program: Program, state: State, events: Events = NOTHING, steps: int = 1, record: bool = False
) -> Run:
    """Run `steps` timesteps, from 0 on. Events at `steps` or later wait for the runs that follow.

    With `record` the result has every spike. Raises `ValueError` for an event before the run's beginning, at
    a neuron that is none, or with a charge that is not finite or, in an integer program, not whole.
    """
    check(program, events)
    if steps < 0:
        raise ValueError(f"cannot run {steps} timesteps")
    now, state.waiting = _due(state, events, steps)
    counts, last = np.zeros(program.size, np.int64), np.full(program.size, -1)
    first = last.copy()
    floor: Any = max(program.floor, -HUGE) if program.exact else program.floor
    decay = program.decay if len(program.decay) else np.ones(program.size)
    room = program.size + min(steps * program.size, 2**16) if record else 0
    parts: list[tuple[Ints, Ints]] = []
    done = used = synops = 0
    while done < steps:
        times, neurons = np.empty(room, np.int64), np.empty(room, np.int64)
        done, used, spikes, deliveries = _general(
            program.exact,
            program.lazy,
            program.soft,
            state.charge.dtype.type(program.above),
            program.wrap,
            program.resting,
            program.halving,
            state.charge.dtype.type(floor),
            state.threshold,
            program.leak,
            decay,
            program.first,
            program.target,
            program.delay,
            state.weight,
            state.charge,
            state.ring,
            state.arrived,
            state.rest,
            state.since,
            state.time,
            done,
            steps,
            now.time,
            now.neuron,
            now.charge.astype(state.charge.dtype),
            used,
            counts,
            first,
            last,
            times,
            neurons,
        )
        synops += deliveries
        parts.append((times[:spikes], neurons[:spikes]))
        room *= 2
    state.time += steps
    times, neurons = (np.concatenate([part[side] for part in parts] or [last[:0]]) for side in (0, 1))
    return Run(counts, first, last, steps, synops, times, neurons)


def check(program: Program, events: Events) -> None:
    """Raise `ValueError` with one sentence if an event cannot be."""
    if not len(events.time):
        return
    if events.time.min() < 0:
        raise ValueError(f"input at time {events.time.min()}: a run begins at time 0")
    wrong = (events.neuron < 0) | (events.neuron >= program.size)
    if wrong.any():
        raise ValueError(f"input at neuron {events.neuron[wrong][0]} of a network of {program.size} neurons")
    wrong = ~np.isfinite(events.charge)
    if program.exact:
        wrong |= events.charge != np.trunc(events.charge)
    if wrong.any():
        number, charge = program.numbers[events.neuron[wrong][0]], events.charge[wrong][0]
        whole = "a whole number" if program.exact else "a finite number"
        raise ValueError(f"input at neuron {number}: the charge {charge} is not {whole}")


def _due(state: State, events: Events, steps: int) -> tuple[Events, Events]:
    """What arrives in this run, by time from its beginning, and what waits for later, by absolute time."""
    whole = events
    if len(state.waiting.time):
        waiting = state.waiting
        whole = Events(
            np.concatenate([waiting.time - state.time, events.time]),
            np.concatenate([waiting.neuron, events.neuron]),
            np.concatenate([waiting.charge, events.charge]),
        )
    order = np.argsort(whole.time, kind="stable")
    cut = int(np.searchsorted(whole.time[order], steps))
    now, later = order[:cut], order[cut:]
    return (
        Events(whole.time[now], whole.neuron[now], whole.charge[now]),
        Events(whole.time[later] + state.time, whole.neuron[later], whole.charge[later]),
    )


@jit(inline="always")
def halved(charge: Any, elapsed: int, code: int) -> Any:
    """`charge` (whole) after `elapsed` steps of a leak that halves it in 2^code steps; see `Program`."""
    part = (elapsed & ((1 << code) - 1)) << (4 - code)
    left = ((abs(np.int64(charge)) * HALVES[part]) >> 10) >> min(elapsed >> code, 62)
    return left if charge > 0 else -left


@jit(error_model="numpy")
def _general(
    exact: bool,
    lazy: bool,
    soft: bool,
    above: Any,
    wrap: bool,
    resting: Ints,
    halving: Ints,
    floor: Any,
    threshold: NDArray[Any],
    leak: NDArray[np.bool_],
    decay: Floats,
    first: Ints,
    target: Ints,
    delay: Ints,
    weight: NDArray[Any],
    charge: NDArray[Any],
    ring: NDArray[Any],
    arrived: NDArray[np.uint8],
    rest: Ints,
    since: Ints,
    began: int,
    done: int,
    steps: int,
    event_time: Ints,
    event_neuron: Ints,
    event_charge: NDArray[Any],
    event: int,
    counts: Ints,
    firsts: Ints,
    lasts: Ints,
    times: Ints,
    neurons: Ints,
) -> tuple[int, int, int, int]:
    """Every flag of a program, in int64 or float64. Stops early where `times` is full."""
    n, slots, room = len(charge), len(ring), len(times)
    spikes, synops = 0, 0
    for step in range(done, steps):
        if room and room - spikes < n:
            return step, event, spikes, synops
        slot = (began + step) % slots
        while event < len(event_time) and event_time[event] == step:
            ring[slot, event_neuron[event]] += event_charge[event]
            arrived[slot, event_neuron[event]] = 1
            event += 1
        for i in range(n):
            came, x = arrived[slot, i], ring[slot, i]
            ring[slot, i] = 0
            arrived[slot, i] = 0
            rests = rest[i] > 0
            if rests:
                rest[i] -= 1
                x = x * 0
            c = charge[i]
            if exact and came and len(halving) and halving[i] >= 0:
                c = halved(c, began + step - since[i], halving[i])
                since[i] = began + step
            c += x
            if wrap:
                c -= 256 * ((c + 128) // 256)
            if not rests and c >= threshold[i] and (came or not lazy):
                rest[i] = resting[i]
                counts[i] += 1
                lasts[i] = step
                if firsts[i] < 0:
                    firsts[i] = step
                if room:
                    times[spikes] = step
                    neurons[spikes] = i
                    spikes += 1
                synops += first[i + 1] - first[i]
                for synapse in range(first[i], first[i + 1]):
                    there = (slot + delay[synapse]) % slots
                    ring[there, target[synapse]] += weight[synapse]
                    arrived[there, target[synapse]] = 1
                c = c - (threshold[i] - above) if soft else c * 0
            elif leak[i]:
                c = c * 0
            if not exact:
                c = c * decay[i]
            charge[i] = max(c, floor)
    return steps, event, spikes, synops
