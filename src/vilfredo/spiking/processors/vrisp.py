"""VRISP, TENNLab's RISP for vector instructions: charges, weights and thresholds of 8 bits, all neurons in
every step.

Results are those of the reference simulator, overflow included: charges wrap (100 + 100 is −56), counts of
firings do so above 255, times of the last firing above 127. Other than the reference, rasters and totals can
be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from vilfredo.spiking import parameters
from vilfredo.spiking.kernels import dense
from vilfredo.spiking.network import Floats, Ints, Properties, Property, SpikingNetwork
from vilfredo.spiking.processors.driver import Driver, Engine, Lowered, lower
from vilfredo.spiking.program import Program
from vilfredo.trial import JSON


@dataclass(frozen=True)
class Parameters:
    """VRISP's parameters, in TENNLab's names; all but spike_value_factor are whole numbers.

    min_weight, max_weight, min_threshold, max_threshold: within −128 to 127. min_potential: charges never
    stay below it; 0 or less. tracked_timesteps: delays and the times of inputs are below it.
    spike_value_factor: the charge that a normalised input of 1 gives, cut to a whole number; by default
    max_weight. leak_mode: "none", "all" (what does not fire at once is lost), "configurable" (the neuron's
    Leak says which).
    """

    min_weight: int
    max_weight: int
    max_delay: int
    min_threshold: int
    max_threshold: int
    min_potential: int
    tracked_timesteps: int
    leak_mode: Literal["none", "all", "configurable"] = "none"
    spike_value_factor: float | None = None

    def __post_init__(self) -> None:
        problem = self._contradiction()
        if problem:
            raise ValueError(f"vrisp: {problem}")
        if self.spike_value_factor is None:
            object.__setattr__(self, "spike_value_factor", float(self.max_weight))

    def _contradiction(self) -> str:
        for name in ("min_weight", "max_weight", "min_threshold", "max_threshold"):
            if not -128 <= getattr(self, name) <= 127:
                return f"{name} is {getattr(self, name)}, which 8 bits do not hold (-128 to 127)"
        for low, high in (("min_weight", "max_weight"), ("min_threshold", "max_threshold")):
            if getattr(self, low) > getattr(self, high):
                return f"{low} is {getattr(self, low)}, above {high}, {getattr(self, high)}"
        if self.min_potential > 0:
            return f"min_potential is {self.min_potential}; it must be 0 or less"
        if not 1 <= self.max_delay <= 255:
            return f"max_delay is {self.max_delay}, not from 1 to 255"
        if self.max_delay >= self.tracked_timesteps:
            return (
                f"max_delay is {self.max_delay}; it must be below tracked_timesteps, {self.tracked_timesteps}"
            )
        return ""


def _preset(
    weight: tuple[int, int],
    threshold: tuple[int, int],
    min_potential: int,
    tracked: int = 16,
    delay: int = 15,
) -> dict[str, JSON]:
    return {
        "min_weight": weight[0],
        "max_weight": weight[1],
        "min_threshold": threshold[0],
        "max_threshold": threshold[1],
        "min_potential": min_potential,
        "max_delay": delay,
        "tracked_timesteps": tracked,
    }


PRESETS: Mapping[str, Mapping[str, JSON]] = {
    "vrisp_1": _preset((-1, 1), (0, 1), -1),
    "vrisp_7": _preset((-7, 7), (1, 7), -7),
    "vrisp_64": _preset((-64, 64), (1, 64), -64, 64),
    "vrisp_127": _preset((-127, 127), (0, 127), -127, 128, 127),
    "vrisp_1_plus": _preset((1, 1), (1, 1), 0),
    "vrisp_15_plus": _preset((1, 15), (1, 15), 0),
}  # TENNLab's own, with a normalised input of 1 worth max_weight in all of them
DEFAULT = "vrisp_127"


class Processor(Driver):
    """VRISP. `params` as `Parameters` has them; None: the preset `vrisp_127`. Raises `ValueError`.

    Normalised inputs are from −1 to 1, others whole numbers; their times are below `tracked_timesteps`.
    """

    name = "vrisp"
    DEFAULTS = PRESETS[DEFAULT]  # what a spec's table need not say
    params: Parameters
    lowest: ClassVar[float] = -1.0

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.params = parameters.read(Parameters, PRESETS[DEFAULT] if params is None else params, "vrisp")
        self.horizon = self.params.tracked_timesteps

    @property
    def properties(self) -> Properties:
        p = self.params
        neurons = [Property("Threshold", "int", p.min_threshold, p.max_threshold)]
        if p.leak_mode == "configurable":
            neurons.append(Property("Leak", "bool", 0, 1, 1))
        weight = Property("Weight", "int", p.min_weight, p.max_weight)
        return Properties(tuple(neurons), (weight, Property("Delay", "int", 1, p.max_delay, 1)))

    @property
    def one(self) -> float:
        return self.charge(1.0, True)

    def charge(self, value: float, normalized: bool) -> float:
        if normalized:
            return float(int(value * (self.params.spike_value_factor or 0.0)))
        if value != int(value) or abs(value) >= 2**31:
            raise ValueError(f"its value {value:g} is not a whole number of 32 bits")
        return value

    def program(self, network: SpikingNetwork) -> Program:
        self.check(network)
        p = self.params
        # the reference lifts a charge to min_potential before it compares, so such thresholds are always met
        threshold = np.where(network.threshold <= p.min_potential, -128.0, network.threshold)
        return lower(
            network,
            threshold=threshold,
            leak=network.neurons["Leak"] != 0 if p.leak_mode == "configurable" else p.leak_mode == "all",
            exact=True,
            lazy=False,
            wrap=True,
            floor=max(p.min_potential, -128),
            one=self.one,
            limits=(p.min_weight, p.max_weight),
            threshold_limits=(p.min_threshold, p.max_threshold),
            delay_limits=(1, p.max_delay),
        )

    def engine(self, network: SpikingNetwork) -> Engine:
        return Wrapped(self.program(network))

    def copy(
        self, network: SpikingNetwork, program: Program, weight: Floats, threshold: Floats, delay: Ints
    ) -> Engine:
        return Wrapped(replace(program, weight=weight, threshold=threshold, delay=delay))

    def shown(self, counts: Ints) -> Ints:
        return counts & 255

    def seen(self, run: dense.Run) -> dense.Run:
        return replace(run, counts=self.shown(run.counts), last=wrapped(run.last))

    def get_processor_properties(self) -> dict[str, JSON]:
        return {**super().get_processor_properties(), "binary_input": True}


class Wrapped(Lowered):
    """The reference keeps a neuron's charge where the charges of the next timestep arrive. So at the end of a
    run it is read with them, and lifted to min_potential with them."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._lift: list[tuple[int, int, float]] = []  # what the kernel will find less in the next timestep

    def reset(self) -> None:
        super().reset()
        self._lift = []

    def run(self, steps: int, record: bool) -> dense.Run:
        self.waiting = self._lift + self.waiting
        self._given -= len(self._lift)  # they are nobody's inputs
        self._lift = []
        run = super().run(steps, record)
        charge = self._merged()
        lift = np.maximum(wrapped(charge), int(self.program.floor)) - charge
        self._lift = [(0, i, float(lift[i])) for i in np.flatnonzero(lift).tolist()]
        return run

    def charges(self) -> Floats:
        return wrapped(self._merged()).astype(np.float64)

    def _merged(self) -> Ints:
        """Charges with all that will arrive in the next timestep."""
        charge = super().charges().astype(np.int64)
        times, neurons, weights = self.flight()
        np.add.at(charge, neurons[times == 0], weights[times == 0].astype(np.int64))
        for time, neuron, value in self._lift + self.waiting:
            if time == 0:
                charge[neuron] += int(value)
        return charge


def wrapped(numbers: Ints) -> Ints:
    """In 8 bits, two's complement."""
    return (numbers + 128) % 256 - 128
