"""A mixed-signal memristive processor like mrDANNA: twin memristors as synapses, analogue integrate-and-fire.

G. Chakma, M. M. Adnan, A. R. Wyer, R. Weiss, C. D. Schuman, G. S. Rose, "Memristive Mixed-Signal Neuromorphic
Systems: Energy-Efficient Learning at the Circuit-Level", IEEE JETCAS 8(1), 2018,
doi:10.1109/JETCAS.2017.2777181: synapses of two memristors, one driving the neuron up and one down, and
neurons that integrate and fire in step with a clock. M. Dimovska et al., arXiv:2002.01406, evolve networks
for it that bear with variations of their weights. No simulator of it is public; what follows is our model.

A weight is the difference of two conductances from G_min to G_max, each of which has `levels` levels:

    w = W (G⁺ − G⁻) / (G_max − G_min), where W is `max_weight`

Programming w sets G⁺ (for w > 0) or G⁻ (w < 0) to the level nearest to `G_min + |w| (G_max − G_min) / W`, the
other one to G_min: there are 2·levels − 1 weights, and w is rounded to the nearest. What devices make of it,
for each cell on its own, in this order::

    write    G ← G + write · (G_max − G_min) · N(0, 1), within 0 to G_max
    drift    G ← G · (age / settle)^(−ν),  ν ~ N(drift, drift_sd), not below 0;  age in s since programming
    stuck    G ← G_max with probability stuck_on, else G_min with probability stuck_off; these do not drift
    read     G ← G · (1 + read · N(0, 1)), not below 0

Read noise of memristors is mostly slow (1/f, random telegraph), a run of a network is quick: so it is drawn
once for each device, with the rest, and stands for the whole run. `device_weights` draws devices; a network
that is loaded sits on one device, drawn from `seed`.

In timestep t, for each neuron with threshold T and charge v, in double precision::

    v ← v + Σ w arriving
    if something arrived and v ≥ T:  the neuron fires, v ← 0
    v ← max(v · (1 − leak), min_potential)

With `device` "ideal" nothing of this but the levels is left. "pcm" has the figures of a million phase-change
cells (Joshi et al. 2020, doi:10.1038/s41467-020-16108-9, and Nandakumar et al. 2019, as IBM's aihwkit states
them): write 1.06 of 25 µS at the top, ν 0.05 (0.05 to 0.1 by state) with deviation 0.01, settle 20 s, read
3.7 % (0.0088 of 1/f noise over 20 s at 250 ns); its 32 levels are ours. "hfox", hafnium oxide as in mrDANNA,
is our assumption throughout: 16 levels, write 5 %, read 2 %, a faint drift. No device has stuck cells unless
asked for; published arrays of hafnium oxide have up to 10 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from vilfredo.spiking import parameters
from vilfredo.spiking.network import Floats, Properties, Property, SpikingNetwork
from vilfredo.spiking.processors.driver import Driver, Engine, Lowered, lower
from vilfredo.spiking.program import Program
from vilfredo.trial import JSON

DEVICES: Mapping[str, Mapping[str, float]] = {
    "ideal": {"levels": 16, "g_min": 5, "g_max": 200, "settle": 1, "age": 3600},
    "hfox": {
        "levels": 16,
        "g_min": 5,
        "g_max": 200,
        "write": 0.05,
        "read": 0.02,
        "drift": 0.005,
        "drift_sd": 0.002,
        "settle": 1,
        "age": 3600,
    },
    "pcm": {
        "levels": 32,
        "g_min": 0.1,
        "g_max": 25,
        "write": 0.042,
        "read": 0.037,
        "drift": 0.05,
        "drift_sd": 0.01,
        "settle": 20,
        "age": 3600,
    },
}


@dataclass(frozen=True)
class Parameters:
    """What the chip has. Where None stands, the `device` says (see `DEVICES`), otherwise it is 0.

    levels: of a memristor. g_min, g_max: its range in µS. write: standard deviation of programming as a
    share of the range. read: of reading, as a share of the conductance. drift, drift_sd: of the exponent ν.
    settle, age: s; by default an hour has gone by. stuck_on, stuck_off: shares of cells. seed: of the device
    under a loaded network.
    max_weight: W. min_threshold, max_threshold: range. max_delay: in timesteps, from 1. refractory: timesteps
    in which a neuron that fired ignores what arrives. leak: share of the charge that is lost in a timestep.
    min_potential: charges never stay below it; 0 or less.
    """

    device: Literal["ideal", "hfox", "pcm"] = "ideal"
    levels: int | None = None
    g_min: float | None = None
    g_max: float | None = None
    write: float | None = None
    read: float | None = None
    drift: float | None = None
    drift_sd: float | None = None
    settle: float | None = None
    age: float | None = None
    stuck_on: float | None = None
    stuck_off: float | None = None
    seed: int = 0
    max_weight: float = 1.0
    min_threshold: float = 0.0
    max_threshold: float = 1.0
    max_delay: int = 15
    refractory: int = 0
    leak: float = 0.0
    min_potential: float = -1.0

    def __post_init__(self) -> None:
        known = DEVICES[self.device]
        for name in ("levels", "g_min", "g_max", "write", "read", "drift", "drift_sd", "settle", "age"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, known.get(name, 0.0))
        for name in ("stuck_on", "stuck_off"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, 0.0)
        problem = self._contradiction()
        if problem:
            raise ValueError(f"mrdanna: {problem}")

    def _contradiction(self) -> str:
        value = {name: float(getattr(self, name)) for name in self.__dataclass_fields__ if name != "device"}
        for name in ("g_min", "write", "read", "drift", "drift_sd", "age", "stuck_on", "stuck_off", "seed"):
            if value[name] < 0:
                return f"{name} is {value[name]:g}; it is 0 at least"
        if value["levels"] < 2:
            return f"levels is {value['levels']:g}; a memristor has 2 at least"
        if value["g_min"] >= value["g_max"]:
            return f"g_min is {value['g_min']:g}, not below g_max, {value['g_max']:g}"
        if value["stuck_on"] + value["stuck_off"] > 1:
            return "stuck_on and stuck_off are more than all cells"
        if value["settle"] <= 0:
            return f"settle is {value['settle']:g}; it is above 0"
        if value["max_weight"] <= 0:
            return f"max_weight is {value['max_weight']:g}; it is above 0"
        if value["min_threshold"] > value["max_threshold"]:
            return "min_threshold is above max_threshold"
        if value["max_delay"] < 1:
            return f"max_delay is {self.max_delay}; a delay is 1 at least"
        if value["refractory"] < 0:
            return f"refractory is {self.refractory}; it is 0 at least"
        if not 0 <= value["leak"] <= 1:
            return f"leak is {value['leak']:g}, not a share from 0 to 1"
        if value["min_potential"] > 0:
            return f"min_potential is {value['min_potential']:g}; it must be 0 or less"
        return ""

    @property
    def ideal(self) -> bool:
        """Whether a device holds exactly what was written."""
        drifts = self.aged and (self.drift or self.drift_sd)
        return not (self.write or self.read or self.stuck_on or self.stuck_off or drifts)

    @property
    def aged(self) -> bool:
        return (self.age or 0.0) > (self.settle or 0.0)


class Processor(Driver):
    """The chip. `params` as `Parameters` has them; None: an ideal device. Raises `ValueError`."""

    name = "mrdanna"
    chip: ClassVar[str] = "mrdanna"
    params: Parameters

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.params = parameters.read(Parameters, params or {}, "mrdanna")

    @property
    def properties(self) -> Properties:
        p = self.params
        return Properties(
            (Property("Threshold", "float", p.min_threshold, p.max_threshold),),
            (
                Property("Weight", "float", -p.max_weight, p.max_weight),
                Property("Delay", "int", 1, p.max_delay, 1),
            ),
        )

    @property
    def one(self) -> float:
        return self.params.max_weight

    def program(self, network: SpikingNetwork) -> Program:
        """With the weights of an ideal device: rounded to its levels."""
        p = self.params
        self.check(network)
        return lower(
            network,
            weight=self.rounded(network.weight),
            decay=np.full(network.size, 1 - p.leak) if p.leak else None,
            exact=False,
            floor=p.min_potential,
            refractory=p.refractory,
            one=self.one,
            limits=(-p.max_weight, p.max_weight),
            threshold_limits=(p.min_threshold, p.max_threshold),
            delay_limits=(1, p.max_delay),
        )

    def engine(self, network: SpikingNetwork) -> Engine:
        program = self.program(network)
        weight = self.device_weights(program, 1, np.random.default_rng(self.params.seed))[0]
        return Lowered(replace(program, weight=weight))

    def rounded(self, weight: Floats) -> Floats:
        """The weights that a device of this many levels can hold, nearest to `weight`."""
        p, steps = self.params, self._steps
        rounded: Floats = np.rint(weight / p.max_weight * steps) / steps * p.max_weight
        return rounded

    def device_weights(self, program: Program, copies: int, rng: np.random.Generator) -> Floats:
        """What `copies` devices, drawn from `rng`, hold of the weights (s,) of a program: (copies, s)."""
        p, shape = self.params, (copies, len(program.weight))
        if copies < 1:
            raise ValueError(f"mrdanna: {copies} devices were asked for; give 1 or more")
        if p.ideal:
            return np.broadcast_to(self.rounded(program.weight), shape).copy()
        share = self.rounded(program.weight) / p.max_weight
        up, down = (self._cells(np.maximum(sign * share, 0.0), copies, rng) for sign in (1, -1))
        weights: Floats = p.max_weight * (up - down)
        return weights

    def _cells(self, share: Floats, copies: int, rng: np.random.Generator) -> Floats:
        """Conductances of cells that were told to be at `share` (s,) of the range: (copies, s), as shares of
        the range, from G_min. As many numbers are drawn whatever the parameters are."""
        p, shape = self.params, (copies, len(share))
        low, high = p.g_min or 0.0, p.g_max or 0.0
        g = low + (high - low) * share
        written, exponent, read = (rng.standard_normal(shape) for _ in range(3))
        lot = rng.random(shape)
        g = np.clip(g + (p.write or 0.0) * (high - low) * written, 0.0, high)
        if p.aged:
            nu = np.maximum((p.drift or 0.0) + (p.drift_sd or 0.0) * exponent, 0.0)
            g = g * ((p.age or 1.0) / (p.settle or 1.0)) ** -nu
        on, off = p.stuck_on or 0.0, p.stuck_off or 0.0
        g = np.where(lot < on, high, np.where(lot < on + off, low, g))
        g = np.maximum(g * (1 + (p.read or 0.0) * read), 0.0)
        return (g - low) / (high - low)

    @property
    def _steps(self) -> int:
        return int(self.params.levels or 2) - 1

    def get_processor_properties(self) -> dict[str, JSON]:
        return {
            **super().get_processor_properties(),
            "input_scaling_value": self.params.max_weight,
            "threshold_inclusive": True,
            "run_time_inclusive": False,
        }
