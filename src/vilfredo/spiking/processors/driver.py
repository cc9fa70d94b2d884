"""What all processors share: the interface that users of the TENNLab reference know, and one call for many
networks.

A processor is one file with a class `Processor(Driver)` that has a `name`, frozen `params`, `properties` and
`program`; everything else is here. A processor whose networks are more than a `Program` also has an `engine`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from vilfredo.protocols import Fault
from vilfredo.spiking import limits, parameters, population
from vilfredo.spiking.copies import copies as perturbed
from vilfredo.spiking.costs import Cost, chip, cost_of
from vilfredo.spiking.kernels import dense
from vilfredo.spiking.lowering import Engine, Lowered, lower
from vilfredo.spiking.network import Floats, Ints, NetworkError, Properties, Property, SpikingNetwork
from vilfredo.spiking.program import Activity, Program
from vilfredo.trial import JSON

__all__ = ["AnySpike", "Driver", "Engine", "Lowered", "Spike", "lower"]
TYPES = {"int": 73, "float": 68, "bool": 66}  # how TENNLab's JSON calls them


class Spike(NamedTuple):
    """One spike into an input neuron: the neuron's number, timesteps from the beginning of the next run,
    value."""

    id: int
    time: float
    value: float


AnySpike: TypeAlias = "Spike | tuple[int, float, float]"


@dataclass(frozen=True, eq=False)
class Addresses:
    """How the neurons of a network are called."""

    numbers: tuple[int, ...]  # ascending
    place: Mapping[int, int]  # of a number among them
    inputs: frozenset[int]  # numbers
    outputs: tuple[int, ...]  # places

    @classmethod
    def of(cls, network: SpikingNetwork) -> Addresses:
        numbers = tuple(sorted(network.ids.tolist()))
        place = {number: i for i, number in enumerate(numbers)}
        inputs, outputs = (network.ids[ends].tolist() for ends in (network.inputs, network.outputs))
        return cls(numbers, place, frozenset(inputs), tuple(place[number] for number in outputs))


@dataclass(eq=False)
class Loaded:
    """A network on the processor, and what its last run came to."""

    network: SpikingNetwork
    names: Addresses
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

    def cells(self, network: SpikingNetwork) -> Program:
        """The program whose weights, thresholds and delays are in the cells that faults act on."""
        return self.program(network)

    def copy(
        self, network: SpikingNetwork, program: Program, weight: Floats, threshold: Floats, delay: Ints
    ) -> Engine:
        """A copy of a network at work, with other contents of its `cells`, which are `program`."""
        return Lowered(replace(program, weight=weight, threshold=threshold, delay=delay))

    def perturbed_engines(
        self, network: SpikingNetwork, faults: Sequence[Fault], count: int, rng: np.random.Generator
    ) -> list[Engine]:
        """Copies of a network at work, each on a device of its own with its own draw of the faults."""
        program = self.cells(network)
        made = perturbed(program, faults, count, rng, self.device_weights(program, count, rng))
        delays = [program.delay] * count if made.delays is None else made.delays
        rows = zip(made.weights, made.thresholds, delays, strict=True)
        return [self.copy(network, program, *row) for row in rows]

    def run_together(
        self,
        networks: Sequence[SpikingNetwork],
        cells: Sequence[population.Cells],
        entries: Sequence[population.Entries],
        steps: int,
    ) -> list[Activity]:
        """Networks with the contents of their cells, all in one compiled call, from rest; one `Activity`
        each, whose `first` is of all neurons."""
        return population.in_lanes(self, networks, cells, entries, steps)

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

    def addresses(self, network: SpikingNetwork) -> Addresses:
        """How spikes find the neurons of a network."""
        return Addresses.of(network)

    def shown(self, counts: Ints) -> Ints:
        """What the processor's counters show of so many firings."""
        return counts

    def seen(self, run: dense.Run) -> dense.Run:
        """What the processor shows of a run."""
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
        names = self.addresses(network)
        tracked = set(range(len(names.numbers)))
        self._networks[network_id] = Loaded(network, names, self.engine(network), tracked)
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
        it.engine.give(*self.entries(it.names, spikes, normalized))

    def entries(
        self, names: Addresses, spikes: Sequence[AnySpike], normalized: bool = True
    ) -> tuple[list[int], list[int], list[float]]:
        """Neurons, times and charges for an engine. Raises `ValueError` for the first spike that cannot
        be."""
        neurons, times, charges = [], [], []
        for spike in spikes:
            try:
                number, time, value = spike
                if number not in names.inputs or not 0 <= time < self.horizon or time != int(time):
                    raise ValueError
                if not abs(value) < np.inf or (normalized and not self.lowest <= value <= 1):
                    raise ValueError
                charges.append(self.entry(value, normalized))
                neurons.append(names.place[number])
                times.append(int(time))
            except (ValueError, TypeError, OverflowError):
                raise ValueError(self._refused(names, spike, normalized)) from None
        return neurons, times, charges

    def _refused(self, names: Addresses, spike: Any, normalized: bool) -> str:
        """What is wrong with a spike, in one sentence."""
        try:
            number, time, value = spike
        except (TypeError, ValueError):
            return f"a spike is (neuron's number, time, value), not {spike!r}"
        if not _number(number) or number not in names.place:
            return f"spike to neuron {number}, which is not in the network"
        if number not in names.inputs:
            return f"spike to neuron {number}, which is no input; inputs are {_some(sorted(names.inputs))}"
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

    def run_population(
        self,
        networks: Sequence[SpikingNetwork],
        inputs: Sequence[Any],
        steps: float,
        copies: int = 1,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        normalized: bool = True,
    ) -> population.Population:
        """Run P networks with K = `copies` perturbed copies of each, all from rest and in one compiled
        parallel call; networks that are loaded are left alone. Each result is the one of `load_network`,
        `apply_spikes` and `run`, bit for bit.

        `inputs` are spikes (neuron's number, time, value) for all networks, or a list of spikes for each.
        Copies have the processor's own imperfection and, one after the other, the `faults` (see
        `vilfredo.faults`), drawn from `seed` for each network anew; one copy without faults is the network as
        it would be loaded. Raises `NetworkError` and `ValueError`.
        """
        return population.run(self, networks, inputs, self.steps(steps), copies, faults, seed, normalized)

    # results

    def output_count(self, output_id: int, network_id: int = 0) -> int:
        """How often an output fired in the last run."""
        return self.output_counts(network_id)[self._output(output_id, network_id)]

    def output_counts(self, network_id: int = 0) -> list[int]:
        """How often each output fired in the last run."""
        counts = self._counts(network_id)
        return [counts[place] for place in self._networks[network_id].names.outputs]

    def output_last_fire(self, output_id: int, network_id: int = 0) -> float:
        """When an output fired last in the last run; −1: it did not."""
        return self.output_last_fires(network_id)[self._output(output_id, network_id)]

    def output_last_fires(self, network_id: int = 0) -> list[float]:
        """When each output fired last in the last run; −1: it did not."""
        last = self._lasts(network_id)
        return [last[place] for place in self._networks[network_id].names.outputs]

    def output_vector(self, output_id: int, network_id: int = 0) -> list[float]:
        """All times at which an output fired in the last run, if it is tracked."""
        return self.output_vectors(network_id)[self._output(output_id, network_id)]

    def output_vectors(self, network_id: int = 0) -> list[list[float]]:
        """All times at which each output fired in the last run, if it is tracked."""
        vectors = self.neuron_vectors(network_id)
        return [list(vectors[place]) for place in self._networks[network_id].names.outputs]

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
            it.vectors = [[] for _ in it.names.numbers]
            if it.run is not None and len(it.run.times):
                order = np.argsort(it.run.neurons, kind="stable")
                ends = np.searchsorted(it.run.neurons[order], np.arange(len(it.names.numbers) + 1))
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
        if node_id not in it.names.place:
            return False
        (it.tracked.add if track else it.tracked.discard)(it.names.place[node_id])
        return True

    def track_output_events(self, output_id: int, track: bool = True, network_id: int = 0) -> bool:
        """The same for an output. False: there is no such output."""
        it = self._loaded(network_id)
        if not 0 <= output_id < len(it.names.outputs):
            return False
        return self.track_neuron_events(it.names.numbers[it.names.outputs[output_id]], track, network_id)

    def track_all_neuron_events(self, track: bool = True, network_id: int = 0) -> None:
        """The same for all neurons; runs are fastest with none."""
        it = self._loaded(network_id)
        it.tracked = set(range(len(it.names.numbers))) if track else set()

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
        outputs = len(self._loaded(network_id).names.outputs)
        if not 0 <= output_id < outputs:
            raise ValueError(
                f"there is no output {output_id}; the network declares {outputs}, counted from 0"
            )
        return output_id

    def _counts(self, network_id: int) -> list[int]:
        it = self._loaded(network_id)
        return [0] * len(it.names.numbers) if it.run is None else it.run.counts.tolist()

    def _lasts(self, network_id: int) -> list[float]:
        it = self._loaded(network_id)
        return [-1.0] * len(it.names.numbers) if it.run is None else it.run.last.astype(np.float64).tolist()


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
