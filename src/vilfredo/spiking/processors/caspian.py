"""Caspian, Oak Ridge's event-driven processor for small FPGAs: leak, accumulate, check.

J. P. Mitchell, C. D. Schuman, R. M. Patton, T. E. Potok, "Caspian: A Neuromorphic Development Platform",
NICE 2020, doi:10.1145/3381755.3381764; its simulator is public as github.com/ORNL/Caspian. From that
simulator are, exactly:

* the leak: whenever a charge arrives, the neuron's charge v first decays by 2^(−e/τ), e timesteps after the
  last arrival, τ = 2^Leak; in integers as `((|v| · k) >> 10) >> ⌊e/τ⌋`, k = round(1024 · 2^(−(e mod τ)/τ)),
  the sign kept. Between arrivals nothing is computed: `neuron_charges` shows v as the last arrival left it;
* the check: strictly above the threshold, after all charges of the timestep, and only where one arrived;
* the reset: to 0 (hard), or by the threshold (soft), where what is left above it waits for the next arrival;
* a firing at t arrives at t + axonal delay + synaptic delay + 1; charges are held at −32768 at least;
* the parameters' names, and that a normalised input of 1 brings 255, cut to a whole number.

Our reading: a neuron fires in the timestep in which the charge arrives. The public simulator checks at the
beginning of the next one, so that it reports each firing one step later, and firings of a run's last step in
the next run; all intervals are the same. The ranges are the usual ones of published networks (thresholds to
127, synaptic delays to 255); those of the public code, 255 and 15, can be given as parameters. Its upper
bound of a charge, 32767, is not modelled: only more than 258 full charges in one timestep could pass it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vilfredo.spiking import parameters
from vilfredo.spiking.network import Properties, Property, SpikingNetwork
from vilfredo.spiking.processors.driver import Driver, lower
from vilfredo.spiking.program import Program
from vilfredo.trial import JSON

FLOOR = -32768
FORMER = {
    "Verilator": "there is no hardware behind it here",
    "Trace_File": "there is no hardware behind it here",
}


@dataclass(frozen=True)
class Parameters:
    """Caspian's parameters, in TENNLab's names.

    Min_Threshold to Max_Synapse_Delay: ranges. Leak −1 is no leak, 0 to 4 halve the charge in 1, 2, 4, 8, 16
    timesteps; Leak_Enable false leaves −1 only. Axon_Delay is of a neuron, Synapse_Delay of a synapse; both
    from 0.
    Soft_Reset: a firing takes the threshold from the charge instead of all of it.
    Input_Scaling: charge of a normalised input of 1.
    Backend, Debug, Allow_Lazy: taken because parameter files have them; they change nothing.
    """

    Min_Threshold: int = 0
    Max_Threshold: int = 127
    Leak_Enable: bool = True
    Min_Leak: int = -1
    Max_Leak: int = 4
    Min_Weight: int = -127
    Max_Weight: int = 127
    Min_Axon_Delay: int = 0
    Max_Axon_Delay: int = 15
    Min_Synapse_Delay: int = 0
    Max_Synapse_Delay: int = 255
    Soft_Reset: bool = False
    Input_Scaling: int = 255
    Backend: Literal["Event_Simulator"] = "Event_Simulator"
    Debug: bool = False
    Allow_Lazy: bool = False

    def __post_init__(self) -> None:
        problem = self._contradiction()
        if problem:
            raise ValueError(f"caspian: {problem}")

    def _contradiction(self) -> str:
        for what in ("Threshold", "Leak", "Weight", "Axon_Delay", "Synapse_Delay"):
            low, high = (getattr(self, f"{end}_{what}") for end in ("Min", "Max"))
            if low > high:
                return f"Min_{what} is {low}, above Max_{what}, {high}"
        if self.Min_Threshold < 0:
            return f"Min_Threshold is {self.Min_Threshold}; a threshold is 0 at least"
        if max(self.Max_Threshold, -self.Min_Weight, self.Max_Weight, abs(self.Input_Scaling)) > -FLOOR - 1:
            return f"thresholds, weights and Input_Scaling are {-FLOOR - 1} at most"
        if self.Min_Leak < -1 or self.Max_Leak > 4:
            return f"Leak is from -1 to 4, not {self.Min_Leak} to {self.Max_Leak}"
        if self.Input_Scaling < 0:
            return f"Input_Scaling is {self.Input_Scaling}; it is 0 at least"
        if self.Min_Axon_Delay < 0 or self.Min_Synapse_Delay < 0:
            return "a delay is 0 at least"
        if max(self.Max_Axon_Delay, self.Max_Synapse_Delay) > 65535:
            return "a delay is 65535 at most"
        return ""


class Processor(Driver):
    """Caspian. `params` as `Parameters` has them; None: the defaults. Raises `ValueError`."""

    name = "caspian"
    chip: ClassVar[str] = "caspian_fpga"
    params: Parameters

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.params = parameters.read(Parameters, params or {}, "caspian", FORMER)

    @property
    def properties(self) -> Properties:
        p = self.params
        leak = (p.Min_Leak, p.Max_Leak) if p.Leak_Enable else (-1, -1)
        return Properties(
            (
                Property("Threshold", "int", p.Min_Threshold, p.Max_Threshold),
                Property("Leak", "int", *leak, 1),
                Property("Delay", "int", p.Min_Axon_Delay, p.Max_Axon_Delay, 2),
            ),
            (
                Property("Weight", "int", p.Min_Weight, p.Max_Weight),
                Property("Delay", "int", p.Min_Synapse_Delay, p.Max_Synapse_Delay, 1),
            ),
        )

    @property
    def one(self) -> float:
        return float(self.params.Input_Scaling)

    def charge(self, value: float, normalized: bool) -> float:
        if normalized:
            return float(int(value * self.params.Input_Scaling))
        if value != int(value) or not FLOOR <= value < -FLOOR:
            raise ValueError(f"its value {value:g} is not a whole number of 16 bits")
        return float(value)

    def program(self, network: SpikingNetwork) -> Program:
        """Strictly above the threshold is at the threshold + 1; the delays are added up."""
        p = self.params
        self.check(network)
        leak = network.of_neurons("Leak")
        return lower(
            network,
            threshold=network.threshold + 1,
            delay=network.delay + network.of_neurons("Delay")[network.source] + 1,
            halving=leak if (leak >= 0).any() else None,
            floor=FLOOR,
            soft=p.Soft_Reset,
            above=1.0,
            one=self.one,
            limits=(p.Min_Weight, p.Max_Weight),
            threshold_limits=(p.Min_Threshold + 1, p.Max_Threshold + 1),
            delay_limits=(
                p.Min_Axon_Delay + p.Min_Synapse_Delay + 1,
                p.Max_Axon_Delay + p.Max_Synapse_Delay + 1,
            ),
        )

    def get_processor_properties(self) -> dict[str, JSON]:
        return {
            **super().get_processor_properties(),
            "input_scaling_value": self.params.Input_Scaling,
            "threshold_inclusive": False,
            "run_time_inclusive": False,
        }
