"""Networks as programs, and programs at work: what is between processors and kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vilfredo.spiking.kernels import dense
from vilfredo.spiking.network import Floats, Ints, SpikingNetwork
from vilfredo.spiking.program import Program


class Engine(Protocol):
    """One network at work. Neurons are positions in ascending order of their numbers."""

    @property
    def accumulates(self) -> int: ...  # charges that arrived since the network was loaded, those of 0, too
    def give(self, neurons: Sequence[int], times: Sequence[int], charges: Sequence[float]) -> None: ...
    def run(self, steps: int, record: bool) -> dense.Run: ...
    def charges(self) -> Floats: ...
    def reset(self) -> None: ...  # at rest, time 0


class Lowered:
    """The engine of a processor whose networks are programs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.span = int(program.delay.max(initial=1))  # how long a charge can be on its way
        self.state = dense.start(program)
        self._arrived = 0  # before the last reset
        self._begin()

    def reset(self) -> None:
        self._arrived = self.accumulates
        dense.clear(self.state)
        self._begin()

    def _begin(self) -> None:
        self.waiting: list[tuple[int, int, float]] = []  # inputs to come: times, neurons, charges
        self.recent = (
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
        )  # spikes of the last `span` steps, from now
        self._given = self._synops = 0

    @property
    def accumulates(self) -> int:
        """What has been sent, but for what is on its way."""
        return self._arrived + self._given + self._synops - len(self.flight()[0])

    def give(self, neurons: Sequence[int], times: Sequence[int], charges: Sequence[float]) -> None:
        self.waiting.extend(zip(times, neurons, charges, strict=True))

    def run(self, steps: int, record: bool) -> dense.Run:
        """The last steps are recorded in any case, because it is from their spikes that charges are on their
        way when the run ends."""
        now = [row for row in self.waiting if row[0] < steps]
        self.waiting = [(row[0] - steps, row[1], row[2]) for row in self.waiting if row[0] >= steps]
        events, tail = dense.Events.of(now), min(steps, self.span)
        if record or tail == steps:
            last = run = dense.run(self.program, self.state, events, steps, True)
        else:
            run = dense.run(self.program, self.state, events, steps - tail, False)
            last = dense.run(self.program, self.state, dense.NOTHING, tail, True)
            run = join(run, last)
        cut = np.searchsorted(last.times, last.steps - self.span)
        times = np.concatenate([self.recent[0] - steps, last.times[cut:] - last.steps])
        neurons = np.concatenate([self.recent[1], last.neurons[cut:]])
        late = times >= -self.span
        self.recent = times[late], neurons[late]
        self._given += len(now)
        self._synops += run.synops
        return run

    def charges(self) -> Floats:
        return dense.charges(self.program, self.state)

    def flight(self) -> tuple[Ints, Ints, Floats]:
        """Times, neurons and charges of what synapses bring in steps to come, in the order of sending."""
        times, neurons = self.recent
        begin, many = (
            self.program.first[neurons],
            self.program.first[neurons + 1] - self.program.first[neurons],
        )
        synapse = np.arange(many.sum()) + np.repeat(begin - np.cumsum(many) + many, many)
        arrival = np.repeat(times, many) + self.program.delay[synapse]
        ahead = arrival >= 0
        synapse = synapse[ahead]
        return arrival[ahead], self.program.target[synapse], self.program.weight[synapse]


def join(before: dense.Run, after: dense.Run) -> dense.Run:
    """Two runs, one after the other, as one, without the list of spikes."""
    shift = before.steps
    later = np.where(after.first >= 0, after.first + shift, -1)
    nobody = np.zeros(0, np.int64)
    return dense.Run(
        before.counts + after.counts,
        np.where(before.first >= 0, before.first, later),
        np.where(after.last >= 0, after.last + shift, before.last),
        shift + after.steps,
        before.synops + after.synops,
        nobody,
        nobody,
    )


def lower(
    network: SpikingNetwork,
    *,
    threshold: Floats | None = None,
    weight: Floats | None = None,
    delay: Floats | None = None,
    leak: Any = False,
    decay: Floats | None = None,
    rests: Floats | None = None,
    halving: Floats | None = None,
    **options: Any,
) -> Program:
    """A program of a network: arrays are by the network's own neurons and synapses, None: its Threshold,
    Weight and Delay. `options` are further fields of `Program`."""
    ids, size = network.ids, network.size
    order = np.argsort(ids, kind="stable")
    place = np.empty(size, np.int64)
    place[order] = np.arange(size)
    source, target = place[network.source], place[network.target]
    origin = np.lexsort((target, source))
    first = np.zeros(size + 1, np.int64)
    first[1:] = np.cumsum(np.bincount(source, minlength=size))
    none = np.zeros(0, np.int64)
    return Program(
        numbers=ids[order],
        threshold=(network.threshold if threshold is None else threshold)[order],
        leak=np.broadcast_to(np.asarray(leak, np.bool_), size)[order],
        first=first,
        target=target[origin],
        delay=(network.delay if delay is None else delay)[origin].astype(np.int64),
        weight=(network.weight if weight is None else weight)[origin],
        origin=origin,
        inputs=place[network.inputs],
        outputs=place[network.outputs],
        decay=np.ones(0) if decay is None else decay[order],
        rests=none if rests is None else rests[order].astype(np.int64),
        halving=none if halving is None else halving[order].astype(np.int64),
        **options,
    )
