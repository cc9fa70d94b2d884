"""RISP, the Reduced Instruction Spiking Processor of TENNLab: integrate and fire with nothing to spare.

J. S. Plank, C. Zheng, B. Gullett, N. Skuda, C. Rizzo, C. D. Schuman, G. S. Rose, "The Case for RISP: A
Reduced Instruction Spiking Processor", arXiv 2206.14016. Results are those of the reference simulator, in
discrete networks exactly, in others to the last digit of a sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from vilfredo.spiking import parameters
from vilfredo.spiking.kernels import dense, events
from vilfredo.spiking.network import Floats, Ints, Properties, Property, SpikingNetwork
from vilfredo.spiking.population import Cells, Entries
from vilfredo.spiking.processors.driver import Driver, Engine, Lowered, lower
from vilfredo.spiking.program import Activity, Program
from vilfredo.trial import JSON

FORMER = {
    "input_scaling_value": "it is spike_value_factor now",
    "non_negative_charge": "set min_potential to 0",
    "specific_weights": "give the list as weights",
    "noisy_weights": "give their deviations as stds",
}


@dataclass(frozen=True)
class Parameters:
    """RISP's parameters, in TENNLab's names.

    discrete: thresholds, weights and normalised inputs are whole numbers.
    min_weight, max_weight: the range of a weight; or weights: the list that a synapse's Weight is an index
    of.
    inputs_from_weights: with `weights` only, and then required: an input's value is such an index, too.
    spike_value_factor: the charge that a normalised input of 1 gives; by default max_weight.
    min_potential: charges never stay below it. It is 0 or less.
    leak_mode: "none", "all" (what does not fire at once is lost), "configurable" (the neuron's Leak says
    which).
    run_time_inclusive: run(d) runs d + 1 timesteps. threshold_inclusive: fire at, not above the threshold.
    fire_like_ravens: a firing is recorded, and the charge reset, one timestep later.
    noisy_stddev, or stds by index into `weights`: standard deviation of Gaussian noise on every charge that a
    firing synapse or an input brings. noisy_seed: of that noise (0 is a seed like any other here).
    """

    max_delay: int
    min_threshold: float
    max_threshold: float
    min_potential: float
    discrete: bool
    min_weight: float | None = None
    max_weight: float | None = None
    weights: tuple[float, ...] | None = None
    inputs_from_weights: bool | None = None
    spike_value_factor: float | None = None
    leak_mode: Literal["none", "all", "configurable"] = "none"
    run_time_inclusive: bool = False
    threshold_inclusive: bool = True
    fire_like_ravens: bool = False
    noisy_seed: int = 0
    noisy_stddev: float = 0.0
    stds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and not self.weights:
            object.__setattr__(self, "weights", None)  # an empty list is none, as in the reference
        if self.stds is not None and not self.stds:
            object.__setattr__(self, "stds", None)
        problem = self._contradiction()
        if problem:
            raise ValueError(f"risp: {problem}")
        if self.weights is None and self.spike_value_factor is None:
            object.__setattr__(self, "spike_value_factor", self.max_weight)

    def _contradiction(self) -> str:
        if self.weights is not None:
            for name in ("min_weight", "max_weight"):
                if getattr(self, name) is not None:
                    return f"weights and {name} cannot go together"
            if self.inputs_from_weights is None:
                return "weights need inputs_from_weights, true or false"
            if list(self.weights) != sorted(self.weights):
                return "weights must be in ascending order"
            if self.inputs_from_weights and self.spike_value_factor is not None:
                return "spike_value_factor has no meaning if inputs_from_weights is true"
            if not self.inputs_from_weights and self.spike_value_factor is None:
                return "needs the parameter 'spike_value_factor' if inputs_from_weights is false"
        else:
            for name in ("min_weight", "max_weight"):
                if getattr(self, name) is None:
                    return f"needs the parameter {name!r} (or a list of weights)"
            if self.inputs_from_weights is not None:
                return "inputs_from_weights has no meaning without weights"
            if self.stds is not None:
                return "stds have no meaning without weights"
        for low, high in (("min_weight", "max_weight"), ("min_threshold", "max_threshold")):
            if getattr(self, low) is not None and getattr(self, low) > getattr(self, high):
                return f"{low} is {getattr(self, low):g}, above {high}, {getattr(self, high):g}"
        if self.max_delay < 1:
            return f"max_delay is {self.max_delay}; a delay is 1 at least"
        if self.min_potential > 0:
            return f"min_potential is {self.min_potential:g}; it must be 0 or less"
        if self.stds is not None and self.weights is not None and len(self.stds) != len(self.weights):
            return f"there are {len(self.weights)} weights and {len(self.stds)} stds"
        if self.stds is not None and self.noisy_stddev:
            return "stds and noisy_stddev cannot go together"
        if self.noisy_stddev < 0 or min(self.stds or (0.0,)) < 0:
            return "a standard deviation cannot be negative"
        if not 0 <= self.noisy_seed < 2**32:
            return f"noisy_seed is {self.noisy_seed}, not a number of 32 bits"
        if self.discrete:
            if self.noisy_stddev or self.stds is not None:
                return "noise and discrete networks cannot go together"
            for name in ("min_weight", "max_weight", "min_threshold", "max_threshold", "min_potential"):
                value = getattr(self, name)
                if value is not None and value != math.floor(value):
                    return f"{name} is {value:g}, but discrete networks have whole numbers"
            for value in self.weights or ():
                if value != math.floor(value):
                    return f"{value:g} is among the weights, but discrete networks have whole numbers"
        return ""


def _preset(
    weight: tuple[int, int],
    threshold: tuple[int, int],
    min_potential: int,
    max_delay: int = 15,
    discrete: bool = True,
) -> dict[str, JSON]:
    return {
        "min_weight": weight[0],
        "max_weight": weight[1],
        "min_threshold": threshold[0],
        "max_threshold": threshold[1],
        "min_potential": min_potential,
        "max_delay": max_delay,
        "discrete": discrete,
    }


PRESETS: Mapping[str, Mapping[str, JSON]] = {
    "risp_1": _preset((-1, 1), (0, 1), -1),
    "risp_7": _preset((-7, 7), (0, 7), -7),
    "risp_127": _preset((-127, 127), (0, 127), -127, 127),
    "risp_1_plus": _preset((1, 1), (1, 1), 0),
    "risp_15_plus": _preset((1, 15), (1, 15), 0),
    "risp_255_plus": _preset((1, 255), (1, 255), 0, 255),
    "risp_f": _preset((-1, 1), (-1, 1), -1, discrete=False),
    "risp_f_plus": _preset((0, 1), (0, 1), 0, discrete=False),
}  # TENNLab's own
DEFAULT = "risp_127"


class Processor(Driver):
    """RISP. `params` as `Parameters` has them; None: the preset `risp_127`. Raises `ValueError`."""

    name = "risp"
    DEFAULTS = PRESETS[DEFAULT]  # what a spec's table need not say
    params: Parameters

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.params = parameters.read(
            Parameters, PRESETS[DEFAULT] if params is None else params, "risp", FORMER
        )

    @property
    def properties(self) -> Properties:
        p = self.params
        number: Literal["int", "float"] = "int" if p.discrete else "float"
        neurons = [Property("Threshold", number, p.min_threshold, p.max_threshold)]
        if p.leak_mode == "configurable":
            neurons.append(Property("Leak", "bool", 0, 1, 1))
        if p.weights is not None:
            weight = Property("Weight", "int", 0, len(p.weights) - 1)
        else:
            weight = Property("Weight", number, *self.range)
        return Properties(tuple(neurons), (weight, Property("Delay", "int", 1, p.max_delay, 1)))

    @property
    def one(self) -> float:
        p = self.params
        if p.inputs_from_weights and p.weights is not None:
            return p.weights[-1]
        factor = p.spike_value_factor or 0.0
        return float(math.floor(factor)) if p.discrete else factor

    def charge(self, value: float, normalized: bool) -> float:
        p = self.params
        if p.inputs_from_weights and p.weights is not None:
            return p.weights[self.index(value, normalized)]
        if not normalized:
            return value
        charge = value * (p.spike_value_factor or 0.0)
        return float(math.floor(charge)) if p.discrete else charge

    def index(self, value: float, normalized: bool) -> int:
        """Of an input among the weights."""
        size = len(self.params.weights or ())
        if normalized:
            return min(int(value * size), size - 1)
        if not 0 <= value < size:
            raise ValueError(f"its value {value:g} is no index of the {size} weights")
        return int(value)

    def entry(self, value: float, normalized: bool) -> float:
        """With `stds` inputs from weights are handed on as indices, because their noise goes by these."""
        if self.params.stds is not None and self.params.inputs_from_weights:
            return self.index(value, normalized)
        return self.charge(value, normalized)

    def engine(self, network: SpikingNetwork) -> Engine:
        if self.lanes:
            return Discrete(self.program(network), lambda: self.circuit(network))
        return self._faithful(self.circuit(network))

    def copy(
        self, network: SpikingNetwork, program: Program, weight: Floats, threshold: Floats, delay: Ints
    ) -> Engine:
        circuit = self.circuit(network)
        place = np.argsort(program.origin)[circuit.origin]  # of the circuit's synapses in the program
        circuit = replace(circuit, weight=weight[place], threshold=threshold, delay=delay[place])
        if not self.lanes:
            return self._faithful(circuit)
        return Discrete(replace(program, weight=weight, threshold=threshold, delay=delay), lambda: circuit)

    def run_together(
        self,
        networks: Sequence[SpikingNetwork],
        cells: Sequence[Cells],
        entries: Sequence[Entries],
        steps: int,
    ) -> list[Activity]:
        if self.lanes and not any(odd(entry[2]) for entry in entries):
            return super().run_together(networks, cells, entries, steps)
        circuits, states, places = [], [], []
        for network, cell, entry in zip(networks, cells, entries, strict=True):
            engine = self._faithful(self.circuit(network))
            engine.give(*entry)
            engine.flush()
            circuits.append(engine.circuit)
            states.append(engine.state)
            places.append(np.argsort(cell.program.origin)[engine.circuit.origin])
        own = [cell.program.delay[None] if cell.delays is None else cell.delays for cell in cells]
        return events.run_many(
            circuits,
            states,
            [cell.weights[:, place] for cell, place in zip(cells, places, strict=True)],
            [cell.thresholds for cell in cells],
            [delays[:, place] for delays, place in zip(own, places, strict=True)],
            steps,
        )

    def _faithful(self, circuit: events.Circuit) -> Faithful:
        p = self.params
        if p.stds is not None and p.inputs_from_weights:
            return Faithful(circuit, np.array(p.weights), np.array(p.stds))
        return Faithful(circuit, spread=np.full(1, p.noisy_stddev) if p.noisy_stddev else None)

    def circuit(self, network: SpikingNetwork) -> events.Circuit:
        """The network for the kernel that goes event by event."""
        p, ids = self.params, network.ids
        order = np.argsort(ids, kind="stable")
        place = np.empty(network.size, np.int64)
        place[order] = np.arange(network.size)
        origin = np.arange(len(network.source))
        if not p.discrete:  # in whole numbers no order matters
            origin = events.order(ids[network.source], ids[network.target])
        origin = origin[np.argsort(place[network.source][origin], kind="stable")]
        first = np.zeros(network.size + 1, np.int64)
        first[1:] = np.cumsum(np.bincount(network.source[origin], minlength=network.size)[order])
        spread = np.full(len(origin), p.noisy_stddev)
        if p.stds is not None:
            spread = np.array(p.stds)[network.weight.astype(np.int64)[origin]]
        return events.Circuit(
            threshold=self.thresholds(network)[order],
            leak=np.broadcast_to(np.asarray(self.leaks(network), np.bool_), network.size)[order],
            first=first,
            target=place[network.target][origin],
            delay=network.delay[origin].astype(np.int64),
            weight=self.weights(network)[origin],
            spread=spread,
            origin=origin,
            floor=p.min_potential,
            noisy=bool(p.noisy_stddev) or p.stds is not None,
            ravens=p.fire_like_ravens,
            seed=p.noisy_seed,
        )

    def steps(self, duration: float) -> int:
        return super().steps(duration) + self.params.run_time_inclusive

    @property
    def lanes(self) -> bool:
        """In whole numbers no order matters; otherwise the reference's is kept, event by event."""
        return self.params.discrete and not self.params.fire_like_ravens

    def program(self, network: SpikingNetwork) -> Program:
        p = self.params
        for name in ("fire_like_ravens", "noisy_stddev", "stds"):
            if getattr(p, name):
                raise ValueError(f"risp with {name} is more than a program can say")
        return self.cells(network)

    def cells(self, network: SpikingNetwork) -> Program:
        p = self.params
        self.check(network)
        return lower(
            network,
            threshold=self.thresholds(network),
            weight=self.weights(network),
            leak=self.leaks(network),
            exact=p.discrete,
            lazy=True,
            floor=p.min_potential,
            one=self.one,
            limits=self.range,
            threshold_limits=(p.min_threshold + self.above, p.max_threshold + self.above),
            delay_limits=(1, p.max_delay),
        )

    @property
    def range(self) -> tuple[float, float]:
        """Of the charge that a synapse brings, without noise."""
        p = self.params
        ends = (p.min_weight, p.max_weight) if p.weights is None else (p.weights[0], p.weights[-1])
        return ends[0] or 0.0, ends[1] or 0.0

    @property
    def above(self) -> float:
        """What `threshold_inclusive` = false adds to a threshold."""
        return 0.0 if self.params.threshold_inclusive else 1.0 if self.params.discrete else 0.0000001

    def thresholds(self, network: SpikingNetwork) -> Floats:
        return network.threshold + self.above

    def weights(self, network: SpikingNetwork) -> Floats:
        """The charges that synapses bring, without noise."""
        if self.params.weights is None:
            return network.weight
        return np.array(self.params.weights)[network.weight.astype(np.int64)]

    def leaks(self, network: SpikingNetwork) -> Any:
        if self.params.leak_mode == "configurable":
            return network.neurons["Leak"] != 0
        return self.params.leak_mode == "all"

    def get_processor_properties(self) -> dict[str, JSON]:
        p = self.params
        return {
            **super().get_processor_properties(),
            "spike_value_factor": p.spike_value_factor,
            "run_time_inclusive": p.run_time_inclusive,
            "threshold_inclusive": p.threshold_inclusive,
        }


class Faithful:
    """The engine that goes event by event. With `levels` inputs are indices of these charges; `spread` are
    the standard deviations of inputs, by the same index or one for all; None: no noise."""

    def __init__(
        self, circuit: events.Circuit, levels: Floats | None = None, spread: Floats | None = None
    ) -> None:
        self.circuit, self.levels, self.spread = circuit, levels, spread
        self.state = events.start(circuit)
        self._waiting: list[tuple[int, int, float]] = []

    @property
    def accumulates(self) -> int:
        return int(self.state.marks[events.ARRIVED])

    def give(self, neurons: Sequence[int], times: Sequence[int], charges: Sequence[float]) -> None:
        self._waiting.extend(zip(times, neurons, charges, strict=True))

    def flush(self) -> None:
        """Inputs go to the kernel, where their noise is drawn in the order in which they were given."""
        if not self._waiting:
            return
        times, neurons, values = zip(*self._waiting, strict=True)
        self._waiting = []
        spread, charges = self.spread, np.array(values, np.float64)
        if self.levels is not None:
            index = charges.astype(np.int64)
            charges, spread = self.levels[index], None if spread is None else spread[index]
        elif spread is not None:
            spread = np.broadcast_to(spread, len(charges))
        events.give(self.circuit, self.state, np.array(times), np.array(neurons), charges, spread)

    def run(self, steps: int, record: bool) -> dense.Run:
        self.flush()
        return events.run(self.circuit, self.state, steps, record)

    def charges(self) -> Floats:
        return self.state.charge

    def reset(self) -> None:
        self.flush()  # the noise of inputs that nobody will see is drawn all the same
        events.rest(self.state)


class Discrete:
    """A program, as long as all charges are whole; after others, event by event until the next reset."""

    def __init__(self, program: Program, circuit: Callable[[], events.Circuit]) -> None:
        self.lowered, self.circuit = Lowered(program), circuit
        self.now: Lowered | Faithful = self.lowered
        self.before = 0  # arrivals of which `now` does not know

    @property
    def accumulates(self) -> int:
        return self.before + self.now.accumulates

    def give(self, neurons: Sequence[int], times: Sequence[int], charges: Sequence[float]) -> None:
        if self.now is self.lowered and odd(charges):
            self.now = self._faithful()
        self.now.give(neurons, times, charges)

    def run(self, steps: int, record: bool) -> dense.Run:
        return self.now.run(steps, record)

    def charges(self) -> Floats:
        return self.now.charges()

    def reset(self) -> None:
        self.before = self.accumulates
        self.lowered.reset()
        self.before -= self.lowered.accumulates
        self.now = self.lowered

    def _faithful(self) -> Faithful:
        """An engine in the same state."""
        old, new = self.lowered, Faithful(self.circuit())
        new.state.charge[:] = old.charges()
        events.give(new.circuit, new.state, *old.flight())
        if old.waiting:
            times, neurons, charges = zip(*old.waiting, strict=True)
            new.give(neurons, times, charges)
        self.before = self.accumulates
        return new


def odd(charges: Sequence[float]) -> bool:
    """Whether a discrete network leaves the whole numbers, or those that never come near an overflow."""
    return any(c != int(c) or abs(c) > 2**40 for c in charges)
