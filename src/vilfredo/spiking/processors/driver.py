"""What all processors share: the interface that users of the TENNLab reference know, and one call for many
networks.

A processor is one file with a class `Processor(Driver)` that has a `name`, frozen `params`, `properties` and
`program`; everything else is here. A processor whose networks are more than a `Program` also has an `engine`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np

from vilfredo.spiking import limits, parameters
from vilfredo.spiking.costs import Cost, chip, cost_of
from vilfredo.spiking.kernels import dense
from vilfredo.spiking.network import Floats, Ints, NetworkError, Properties, Property, SpikingNetwork
from vilfredo.spiking.program import Activity, Program
from vilfredo.trial import JSON

TYPES = {"int": 73, "float": 68, "bool": 66}  # how TENNLab's JSON calls them


class Spike(NamedTuple):
    """One spike into an input neuron: the neuron's number, timesteps from the beginning of the next run,
    value."""

    id: int
    time: float
    value: float


AnySpike: TypeAlias = "Spike | tuple[int, float, float]"


class Engine(Protocol):
    """One loaded network at work. Neurons are positions in ascending order of their numbers."""

    @property
    def accumulates(self) -> int: ...  # charges that arrived since the network was loaded, those of 0, too
    def give(self, neurons: Sequence[int], times: Sequence[int], charges: Sequence[float]) -> None: ...
    def run(self, steps: int, record: bool) -> dense.Run: ...
    def charges(self) -> Floats: ...
    def reset(self) -> None: ...  # at rest, time 0


@dataclass(eq=False)
class Loaded:
    """A network on the processor, and what its last run came to."""

    network: SpikingNetwork
    numbers: tuple[int, ...]  # of the neurons, ascending
    place: Mapping[int, int]  # of a neuron's number among them
    inputs: frozenset[int]  # neurons' numbers
    outputs: tuple[int, ...]  # places
    engine: Engine
    tracked: set[int]  # places
    run: dense.Run | None = None
    time: int = 0
    fired: int = 0
    accumulates: int = 0  # how many of the engine's have been read
    vectors: list[list[float]] | None = field(default=None)


class Driver(ABC):
    """A processor with its parameters; it holds any number of networks by `network_id`.

    Numbers, times and results are those of the TENNLab reference. Results are of the last run: they are
    cleared when the next one begins, while charges and what is on its way in the synapses persist. Lists over
    neurons are in ascending order of the neurons' numbers, lists over outputs in the order of the network's
    outputs; `output_id` is a place in that order. Other than in the reference, spikes are addressed to a
    neuron's number, all neurons are tracked unless `track_neuron_events` says otherwise, `run(0)` does
    nothing, and mistakes are a `ValueError` (for networks: `NetworkError`) with one sentence.
    """

    name: ClassVar[str]
    params: Any
    lowest: ClassVar[float] = 0.0  # a normalised input value is from here to 1
    chip: ClassVar[str] = "risp_fpga"  # whose costs in `costs.CHIPS` a run has
    horizon: float = np.inf  # the time of an input is below this

    def __init__(self) -> None:
        self._networks: dict[int, Loaded] = {}

    # what a processor has to say

    @property
    @abstractmethod
    def properties(self) -> Properties:
        """What neurons and synapses have here, with their ranges."""

    @abstractmethod
    def program(self, network: SpikingNetwork) -> Program:
        """The network as integrate-and-fire arithmetic. Raises `NetworkError` for a network that the
        processor cannot hold, and `ValueError` where its options are more than a program can say."""

    def engine(self, network: SpikingNetwork) -> Engine:
        """A network that passed `check`, at work. By default: its program."""
        return Lowered(self.program(network))

    @property
    def lanes(self) -> bool:
        """Whether every network is a program that the kernels for many networks run with the same result."""
        return True

    def device_weights(self, program: Program, copies: int, rng: np.random.Generator) -> Floats:
        """The weights (K, s) that the devices of K copies hold: the processor's own imperfection; by default
        none."""
        return np.repeat(program.weight[None], copies, axis=0)

    def cost(self, program: Program, activity: Activity) -> Cost:
        """Energy and time of these runs, with the range that published constants leave."""
        return cost_of(chip(self.chip), program, activity)

    def charge(self, value: float, normalized: bool) -> float:
        """What an input value brings to its neuron."""
        return value * self.one if normalized else value

    def entry(self, value: float, normalized: bool) -> float:
        """What is handed to the engine for an input value: by default its charge."""
        return self.charge(value, normalized)

    @property
    def one(self) -> float:
        """The charge that a normalised input of 1 gives."""
        return 1.0

    def seen(self, run: dense.Run) -> dense.Run:
        """What the processor's counters show of a run."""
        return run

    def check(self, network: SpikingNetwork) -> None:
        """Raise `NetworkError` naming the neuron or synapse that this processor cannot hold."""
        limits.check(network, self.properties, self.name)

    # networks

    def load_network(self, network: SpikingNetwork, network_id: int = 0) -> bool:
        """Put a network on the processor, in place of the one that had this id. Raises `NetworkError`."""
        if not isinstance(network, SpikingNetwork):
            raise NetworkError(
                f"{self.name} loads a SpikingNetwork, not {type(network).__name__}; "
                "read TENNLab files with SpikingNetwork.from_tennlab"
            )
        self.check(network)
        order = np.argsort(network.ids, kind="stable")
        numbers = tuple(network.ids[order].tolist())
        place = {number: i for i, number in enumerate(numbers)}
        self._networks[network_id] = Loaded(
            network,
            numbers,
            place,
            frozenset(network.ids[network.inputs].tolist()),
            tuple(place[number] for number in network.ids[network.outputs].tolist()),
            self.engine(network),
            set(range(len(numbers))),
        )
        return True

    def load_networks(self, networks: Sequence[SpikingNetwork]) -> bool:
        """Put many networks on the processor, with ids 0, 1, 2, …; all of them or, after an error, none."""
        for network in networks:
            self.check(network)
        for i, network in enumerate(networks):
            self.load_network(network, i)
        return True

    def clear(self, network_id: int = 0) -> None:
        """Take a network off the processor."""
        self._loaded(network_id)
        del self._networks[network_id]

    def clear_activity(self, network_id: int = 0) -> None:
        """At rest, at time 0: no charges, nothing on its way, no results. Totals stay as they are."""
        it = self._loaded(network_id)
        it.engine.reset()
        it.run, it.vectors, it.time = None, None, 0

    # input

    def apply_spike(self, spike: AnySpike, normalized: bool = True, network_id: int = 0) -> None:
        """One spike; see `apply_spikes`."""
        self.apply_spikes((spike,), normalized, network_id)

    def apply_spikes(self, spikes: Sequence[AnySpike], normalized: bool = True, network_id: int = 0) -> None:
        """Queue spikes (neuron's number, time, value) for the next run, whose first timestep is time 0; those
        beyond its end wait for later runs. A normalised value from 0 to 1 is a share of the processor's full
        input; otherwise the value is the charge. All are applied or, after a `ValueError`, none."""
        it = self._loaded(network_id)
        neurons, times, charges = [], [], []
        for spike in spikes:
            try:
                number, time, value = spike
                if number not in it.inputs or time < 0 or time != int(time) or value != value:
                    raise ValueError
                if (normalized and not self.lowest <= value <= 1) or abs(value) == np.inf:
                    raise ValueError
                charges.append(self.entry(value, normalized))
                neurons.append(it.place[number])
                times.append(int(time))
            except (ValueError, TypeError, OverflowError):
                raise ValueError(self._refused(it, spike, normalized)) from None
        if neurons:
            it.engine.give(neurons, times, charges)

    def _refused(self, it: Loaded, spike: Any, normalized: bool) -> str:
        """What is wrong with a spike, in one sentence."""
        try:
            number, time, value = spike
        except (TypeError, ValueError):
            return f"a spike is (neuron's number, time, value), not {spike!r}"
        if number not in it.place:
            return f"spike to neuron {number}, which is not in the network"
        if number not in it.inputs:
            return f"spike to neuron {number}, which is no input; inputs are {_some(sorted(it.inputs))}"
        if not _number(time) or time != time or abs(time) == np.inf or time != int(time):
            return f"spike to neuron {number} at time {time!r}, which is no whole timestep"
        if time < 0:
            return f"spike to neuron {number} at time {time}, which is in the past; a run begins at time 0"
        if time >= self.horizon:
            return f"spike to neuron {number} at time {time}, which is not below {self.horizon:g}"
        if not _number(value) or not abs(value) < np.inf:
            return f"spike to neuron {number} at time {time}: its value {value!r} is not a finite number"
        if normalized and not self.lowest <= value <= 1:
            return (
                f"spike to neuron {number} at time {time}: its value {value} is not from {self.lowest:g} "
                "to 1; charges as they are need normalized=False"
            )
        try:
            self.entry(value, normalized)
        except ValueError as problem:
            return f"spike to neuron {number} at time {time}: {problem}"
        return f"spike to neuron {number} at time {time} with value {value} cannot be"

    # running

    def steps(self, duration: float) -> int:
        """Timesteps of a run of this duration."""
        if not _number(duration) or not np.isfinite(duration) or duration < 0 or duration != int(duration):
            raise ValueError(f"a run lasts a whole number of timesteps from 0, not {duration!r}")
        return int(duration)

    def run(self, duration: float, network_id: int = 0) -> None:
        """Run a network. What the last run fired is forgotten now."""
        it = self._loaded(network_id)
        steps = self.steps(duration)
        if steps:
            run = it.engine.run(steps, bool(it.tracked))
            it.run, it.vectors = self.seen(run), None
            it.time += steps
            it.fired += int(run.counts.sum())

    def get_time(self, network_id: int = 0) -> float:
        """Timesteps since the network was loaded or `clear_activity` was called."""
        return float(self._loaded(network_id).time)

    # results

    def output_count(self, output_id: int, network_id: int = 0) -> int:
        """How often an output fired in the last run."""
        return self.output_counts(network_id)[self._output(output_id, network_id)]

    def output_counts(self, network_id: int = 0) -> list[int]:
        """How often each output fired in the last run."""
        counts = self._counts(network_id)
        return [counts[place] for place in self._networks[network_id].outputs]

    def output_last_fire(self, output_id: int, network_id: int = 0) -> float:
        """When an output fired last in the last run; −1: it did not."""
        return self.output_last_fires(network_id)[self._output(output_id, network_id)]

    def output_last_fires(self, network_id: int = 0) -> list[float]:
        """When each output fired last in the last run; −1: it did not."""
        last = self._lasts(network_id)
        return [last[place] for place in self._networks[network_id].outputs]

    def output_vector(self, output_id: int, network_id: int = 0) -> list[float]:
        """All times at which an output fired in the last run, if it is tracked."""
        return self.output_vectors(network_id)[self._output(output_id, network_id)]

    def output_vectors(self, network_id: int = 0) -> list[list[float]]:
        """All times at which each output fired in the last run, if it is tracked."""
        vectors = self.neuron_vectors(network_id)
        return [list(vectors[place]) for place in self._networks[network_id].outputs]

    def neuron_counts(self, network_id: int = 0) -> list[int]:
        """How often each neuron fired in the last run."""
        return self._counts(network_id)

    def neuron_last_fires(self, network_id: int = 0) -> list[float]:
        """When each neuron fired last in the last run; −1: it did not."""
        return self._lasts(network_id)

    def neuron_vectors(self, network_id: int = 0) -> list[list[float]]:
        """All times at which each neuron fired in the last run; empty for those that are not tracked."""
        it = self._loaded(network_id)
        if it.vectors is None:
            it.vectors = [[] for _ in it.numbers]
            if it.run is not None and len(it.run.times):
                order = np.argsort(it.run.neurons, kind="stable")
                ends = np.searchsorted(it.run.neurons[order], np.arange(len(it.numbers) + 1))
                times = it.run.times[order].astype(np.float64)
                for place in it.tracked:
                    it.vectors[place] = times[ends[place] : ends[place + 1]].tolist()
        return [list(vector) for vector in it.vectors]

    def neuron_charges(self, network_id: int = 0) -> list[float]:
        """The charge of each neuron now."""
        charges: list[float] = self._loaded(network_id).engine.charges().tolist()
        return charges

    def total_neuron_counts(self, network_id: int = 0) -> int:
        """How often all neurons fired in all runs since this was asked last."""
        it = self._loaded(network_id)
        total, it.fired = it.fired, 0
        return total

    def total_neuron_accumulates(self, network_id: int = 0) -> int:
        """How many charges arrived at all neurons in all runs since this was asked last."""
        it = self._loaded(network_id)
        total, it.accumulates = it.engine.accumulates - it.accumulates, it.engine.accumulates
        return total

    def synapse_weights(self, network_id: int = 0) -> tuple[list[int], list[int], list[float]]:
        """Numbers of the neurons from and to, and Weight, of each synapse."""
        net = self._loaded(network_id).network
        order = np.lexsort((net.ids[net.target], net.ids[net.source]))
        sides = (net.ids[net.source], net.ids[net.target], net.weight)
        source, target, weight = (side[order].tolist() for side in sides)
        return source, target, weight

    # tracking

    def track_neuron_events(self, node_id: int, track: bool = True, network_id: int = 0) -> bool:
        """Whether the firing times of a neuron are kept in runs from now on. False: there is no such
        neuron."""
        it = self._loaded(network_id)
        if node_id not in it.place:
            return False
        (it.tracked.add if track else it.tracked.discard)(it.place[node_id])
        return True

    def track_output_events(self, output_id: int, track: bool = True, network_id: int = 0) -> bool:
        """The same for an output. False: there is no such output."""
        it = self._loaded(network_id)
        if not 0 <= output_id < len(it.outputs):
            return False
        return self.track_neuron_events(it.numbers[it.outputs[output_id]], track, network_id)

    def track_all_neuron_events(self, track: bool = True, network_id: int = 0) -> None:
        """The same for all neurons; runs are fastest with none."""
        it = self._loaded(network_id)
        it.tracked = set(range(len(it.numbers))) if track else set()

    # facts

    def get_name(self) -> str:
        return self.name

    def get_params(self) -> dict[str, JSON]:
        """The parameters, defaults included, in TENNLab's names."""
        return parameters.write(self.params)

    def get_network_properties(self) -> dict[str, JSON]:
        """`properties` as TENNLab's JSON has them."""
        sides = ("node", self.properties.neurons), ("edge", self.properties.synapses)
        return {
            f"{side}_properties": [_row(p) for p in sorted(declared, key=lambda p: p.name)]
            for side, declared in (*sides, ("network", self.properties.network))
        }

    def get_processor_properties(self) -> dict[str, JSON]:
        """What an application may ask about a processor."""
        return {
            "binary_input": False,
            "spike_raster_info": True,
            "plasticity": "none",
            "integration_delay": False,
        }

    # inside

    def _loaded(self, network_id: int) -> Loaded:
        try:
            return self._networks[network_id]
        except KeyError:
            raise ValueError(f"no network is loaded as network_id {network_id!r}") from None

    def _output(self, output_id: int, network_id: int) -> int:
        outputs = len(self._loaded(network_id).outputs)
        if not 0 <= output_id < outputs:
            raise ValueError(
                f"there is no output {output_id}; the network declares {outputs}, counted from 0"
            )
        return output_id

    def _counts(self, network_id: int) -> list[int]:
        it = self._loaded(network_id)
        return [0] * len(it.numbers) if it.run is None else it.run.counts.tolist()

    def _lasts(self, network_id: int) -> list[float]:
        it = self._loaded(network_id)
        return [-1.0] * len(it.numbers) if it.run is None else it.run.last.astype(np.float64).tolist()


class Lowered:
    """The engine of a processor whose networks are programs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.accumulates = 0
        self.reset()

    def reset(self) -> None:
        self.state = dense.start(self.program)
        self._waiting: list[tuple[int, int, float]] = []
        self._flight = np.zeros(int(self.program.delay.max(initial=1)), np.int64)  # arrivals in steps to come
        self._inputs: list[int] = []  # times of inputs that have not arrived

    def give(self, neurons: Sequence[int], times: Sequence[int], charges: Sequence[float]) -> None:
        self._waiting.extend(zip(times, neurons, charges, strict=True))
        self._inputs.extend(times)

    def run(self, steps: int, record: bool) -> dense.Run:
        """The last steps are recorded in any case, because it is from their spikes that charges are on their
        way when the run ends."""
        tail = min(steps, len(self._flight))
        events = dense.Events.of(self._waiting)
        self._waiting = []
        if record or tail == steps:
            run = dense.run(self.program, self.state, events, steps, True)
            tail_run = run
        else:
            before = dense.run(self.program, self.state, events, steps - tail, False)
            after = dense.run(self.program, self.state, dense.NOTHING, tail, True)
            tail_run, run = after, join(before, after)
        self._count(tail_run, steps, run.synops)
        return run

    def _count(self, tail: dense.Run, steps: int, synops: int) -> None:
        program, span = self.program, len(self._flight)
        earlier = int(self._flight.sum())
        flight = np.zeros(span, np.int64)
        if steps < span:
            flight[: span - steps] = self._flight[steps:]
        late = np.flatnonzero(tail.times >= tail.steps - span)
        for time, neuron in zip(tail.times[late].tolist(), tail.neurons[late].tolist(), strict=True):
            ahead = program.delay[program.first[neuron] : program.first[neuron + 1]] + (time - tail.steps)
            np.add.at(flight, ahead[ahead >= 0], 1)
        self._flight = flight
        arrived = sum(time < steps for time in self._inputs)
        self._inputs = [time - steps for time in self._inputs if time >= steps]
        self.accumulates += earlier + synops - int(flight.sum()) + arrived

    def charges(self) -> Floats:
        return dense.charges(self.program, self.state)

    def flight(self) -> tuple[Ints, Ints, Floats]:
        """Times, neurons and charges of what synapses bring in steps to come. Charges that arrive together
        are one sum; further events of no charge make up their number."""
        ring, arrived = self.state.ring, self.state.arrived
        slots = (self.state.time + np.arange(len(ring))) % len(ring)
        times, neurons = np.nonzero(arrived[slots])
        charges = ring[slots][times, neurons].astype(np.float64)
        missing = self._flight - np.bincount(times, minlength=len(ring))[: len(self._flight)]
        partner = np.array(
            [neurons[np.searchsorted(times, t)] for t in np.repeat(np.arange(len(missing)), missing)]
        )
        return (
            np.concatenate([times, np.repeat(np.arange(len(missing)), missing)]),
            np.concatenate([neurons, partner.astype(np.int64)]),
            np.concatenate([charges, np.zeros(len(partner))]),
        )

    def waiting(self) -> tuple[list[int], list[int], list[float]]:
        """Neurons, times and charges of inputs that have not arrived, in the order in which they were
        given."""
        later = self.state.waiting
        rows = list(
            zip(
                (later.time - self.state.time).tolist(),
                later.neuron.tolist(),
                later.charge.tolist(),
                strict=True,
            )
        )
        rows += self._waiting
        return [row[1] for row in rows], [row[0] for row in rows], [row[2] for row in rows]


def join(before: dense.Run, after: dense.Run) -> dense.Run:
    """Two runs, one after the other, as one; only what both recorded is in the list of spikes."""
    shift = before.steps
    later = np.where(after.first >= 0, after.first + shift, -1)
    return dense.Run(
        before.counts + after.counts,
        np.where(before.first >= 0, before.first, later),
        np.where(after.last >= 0, after.last + shift, before.last),
        shift + after.steps,
        before.synops + after.synops,
        before.times,
        before.neurons,
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


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown + ", …" if len(numbers) > 8 else shown or "none"


def _row(p: Property) -> dict[str, JSON]:
    return {
        "name": p.name,
        "type": TYPES[p.kind],
        "index": p.index,
        "size": p.size,
        "min_value": p.low,
        "max_value": p.high,
    }
