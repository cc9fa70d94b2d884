"""One network, simulated as fast as possible: its state lives on from run to run.

`start` lays a `Program` out for the kernels, `run` runs it, `charges` reads it. Neurons are positions in the
program (0 … n − 1); times are relative to the beginning of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.kernels.packed import SLACK, Packed, aligned, kernel, pack
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
class Odd:
    """What the slow kernel needs of a program that `packed` cannot take, and of its state."""

    weight: NDArray[Any]  # (s,) int64 or float64
    threshold: NDArray[Any]  # (n,)
    rest: Ints  # (n,) steps that a neuron still is refractory
    since: Ints  # (n,) when something last arrived at each neuron; kept for `halving` only


@dataclass(eq=False)
class State:
    """Where a network is between two runs. Plain data; `run` changes it in place.

    `charge` is (n, and some more that stay 0). `ring` is what is on its way: packed, rows · padded n cells,
    of which those from `row` on are the coming steps; else (slots, n), what arrives at time t in row
    t % slots. `arrived`, where it matters, says in the same layout at which cells something arrives.
    """

    charge: NDArray[Any]
    ring: NDArray[Any]
    arrived: NDArray[np.uint8] | None
    layout: Packed | Odd
    rest: NDArray[np.int32] | None = None  # (padded n,) steps that a neuron still is refractory, if packed
    row: int = 0
    time: int = 0  # steps since the start
    waiting: Events = NOTHING  # inputs after the last run's end, by absolute time


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
    layout = pack(program)
    return _odd(program) if layout is None else _packed(layout)


def clear(state: State) -> None:
    """Back to rest and to time 0, inputs that wait forgotten."""
    state.charge.fill(0)
    state.ring.fill(0)
    for part in (state.arrived, state.rest):
        if part is not None:
            part.fill(0)
    if isinstance(state.layout, Odd):
        state.layout.rest.fill(0)
        state.layout.since.fill(0)
    state.row, state.time, state.waiting = 0, 0, NOTHING


def charges(program: Program, state: State) -> Floats:
    """Of every neuron, (n,), after the last step that was run."""
    return state.charge[: program.size].astype(np.float64)


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
    _widen(program, state, now)
    given = now.charge.astype(np.int64 if program.exact else np.float64).astype(state.charge.dtype)
    n, kind = program.size, np.int32 if steps < 2**31 else np.int64
    counts, first, last = np.zeros(n, kind), np.full(n, -1, kind), np.full(n, -1, kind)
    stretches = _odd_stretches if isinstance(state.layout, Odd) else _packed_stretches
    parts = list(
        stretches(program, state, (now.time, now.neuron, given), steps, (counts, first, last), record)
    )
    state.time += steps
    times, neurons = (np.concatenate([NOTHING.time, *(part[side] for part in parts)]) for side in (0, 1))
    counts, first, last = (part.astype(np.int64) for part in (counts, first, last))
    synops = int(counts @ np.diff(program.first))
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
    if not len(events.time) and not len(state.waiting.time):
        return NOTHING, NOTHING
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


def _packed(layout: Packed) -> State:
    kind, padded = layout.threshold.dtype, len(layout.threshold)
    return State(
        charge=aligned(padded, kind),
        ring=aligned(layout.rows * padded, kind),
        arrived=aligned(layout.rows * padded, np.uint8) if layout.awaits else None,
        layout=layout,
        rest=None if layout.resting is None else aligned(padded, np.int32),
    )


def _odd(program: Program) -> State:
    n, slots = program.size, int(program.delay.max(initial=1)) + 1
    kind: Any = np.int64 if program.exact else np.float64
    threshold = np.clip(program.threshold, -HUGE, HUGE) if program.exact else program.threshold
    return State(
        charge=np.zeros(n, kind),
        ring=np.zeros((slots, n), kind),
        arrived=np.zeros((slots, n), np.uint8),
        layout=Odd(
            weight=program.weight.astype(kind),
            threshold=threshold.astype(kind),
            rest=np.zeros(n, np.int64),
            since=np.zeros(n, np.int64),
        ),
    )


def _rows(state: State, layout: Packed, cells: NDArray[Any]) -> NDArray[Any]:
    """The coming steps that deliveries can be on their way to, (depth − 1, padded n)."""
    rows: NDArray[Any] = cells.reshape(layout.rows, -1)[state.row : state.row + layout.depth - 1]
    return rows


def _widen(program: Program, state: State, events: Events) -> None:
    """Go on in a wider type if these inputs may be too much for the present one."""
    layout, n = state.layout, program.size
    if isinstance(layout, Odd) or not len(events.time):
        return
    least, most = np.minimum(events.charge, 0), np.maximum(events.charge, 0)
    if layout.fits(least.sum(), most.sum()):
        return
    _, together = np.unique(events.time * n + events.neuron, return_inverse=True)
    low, high = np.bincount(together, least).min(), np.bincount(together, most).max()
    if layout.fits(low, high):
        return
    wider, rows = pack(program, low, high), _rows(state, layout, state.ring)
    there = None if state.arrived is None else _rows(state, layout, state.arrived)
    if wider is not None:
        new = _packed(wider)
        _rows(new, wider, new.ring)[:] = rows
        if new.arrived is not None and there is not None:
            _rows(new, wider, new.arrived)[:] = there
        if new.rest is not None and state.rest is not None:
            new.rest[:] = state.rest
    else:
        new = _odd(program)
        assert isinstance(new.layout, Odd)
        assert new.arrived is not None
        slots = (state.time + np.arange(len(rows))) % len(new.ring)
        new.ring[slots] = rows[:, :n]
        new.arrived[slots] = 1 if there is None else there[:, :n]  # 1 where it makes no difference
        if state.rest is not None:
            new.layout.rest[:] = state.rest[:n]
    new.charge[:n] = state.charge[:n]
    state.charge, state.ring, state.arrived = new.charge, new.ring, new.arrived
    state.layout, state.rest, state.row = new.layout, new.rest, 0


def _packed_stretches(
    program: Program,
    state: State,
    events: tuple[Any, ...],
    steps: int,
    results: tuple[Any, ...],
    record: bool,
) -> Iterator[tuple[Ints, Ints]]:
    """Run, as long as there is room for who fires; then give times and neurons and go on with more room."""
    layout, done, used = cast(Packed, state.layout), 0, 0
    least = len(state.charge) + SLACK
    room = least + (min(steps * program.size, 2**16) if record else 0)
    ends = np.zeros(steps + 1 if record else 1, np.int64)
    while done < steps:
        fired, began = np.empty(room, np.uint32), done
        ends[done if record else 0] = 0
        done, state.row, used = kernel(layout.width, not program.exact)(
            state.charge,
            state.ring,
            state.arrived,
            state.rest,
            layout.threshold,
            layout.leaks,
            layout.decay,
            layout.floor,
            layout.soft,
            layout.above,
            layout.resting,
            layout.words,
            layout.weight,
            layout.begin,
            layout.depth,
            state.row,
            layout.chunks,
            done,
            steps,
            *events,
            used,
            *results,
            fired,
            ends,
            record,
        )
        if record:
            times = np.repeat(np.arange(began, done), np.diff(ends[began : done + 1]))
            yield times, fired[: len(times)].astype(np.int64)
        room *= 2


def _odd_stretches(
    program: Program,
    state: State,
    events: tuple[Any, ...],
    steps: int,
    results: tuple[Any, ...],
    record: bool,
) -> Iterator[tuple[Ints, Ints]]:
    """The same with the slow kernel."""
    layout, done, used = cast(Odd, state.layout), 0, 0
    exact, number = program.exact, state.charge.dtype.type
    simulate: Callable[..., tuple[int, int, int]] = _simulate
    room = program.size + min(steps * program.size, 2**16) if record else 0
    while done < steps:
        times, neurons = np.empty(room, np.int64), np.empty(room, np.int64)
        done, used, spikes = simulate(
            exact,
            program.lazy,
            program.soft,
            number(program.above),
            program.wrap,
            program.resting,
            program.halving,
            number(max(program.floor, -HUGE) if exact else program.floor),
            layout.threshold,
            program.leak,
            program.decay if len(program.decay) else np.ones(program.size),
            program.first,
            program.target,
            program.delay,
            layout.weight,
            state.charge,
            state.ring,
            state.arrived,
            layout.rest,
            layout.since,
            state.time,
            done,
            steps,
            *events,
            used,
            *results,
            times,
            neurons,
        )
        yield times[:spikes], neurons[:spikes]
        room *= 2


@jit(error_model="numpy")
def _simulate(
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
    counts: NDArray[np.int32],
    firsts: NDArray[np.int32],
    lasts: NDArray[np.int32],
    times: Ints,
    neurons: Ints,
) -> tuple[int, int, int]:
    """Every flag of a program, in int64 or float64. Stops early where `times` is full."""
    n, slots, room = len(charge), len(ring), len(times)
    spikes = 0
    for step in range(done, steps):
        if room and room - spikes < n:
            return step, event, spikes
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
    return steps, event, spikes
