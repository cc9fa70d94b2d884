"""Energy and time of a run, from what happened in it: synaptic operations, neuron updates and timesteps.

    energy = synops · e_synop + neurons · steps · e_update        (J)
    time   = steps · t_step                                       (s)

A synop is one delivery over one synapse; every neuron of the network is updated once in every timestep.
Static power, input and output and the host are not counted. The constants come with a low, a typical and a
high figure and where each is from: published figures for one chip differ by up to 300 times, because some
count only the memory access of a synapse and others the whole chip divided by the number of synops. Compare
networks on one chip with them, not chips with each other.

Low and high energies take all constants low or all high. A figure that nobody published is marked `assumed`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.program import Activity, Program
from vilfredo.trial import Value


@dataclass(frozen=True, slots=True)
class Constant:
    """One figure with its range, in the unit of its use (J or s), and where its numbers are from."""

    low: float
    typical: float
    high: float
    source: str
    assumed: bool = False  # ours: no publication gives it for this chip

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.typical <= self.high < float("inf"):
            raise ValueError(
                f"a constant needs 0 <= low <= typical <= high, not {self.low}, {self.typical}, {self.high}"
            )

    def times(self, factor: float, source: str) -> Constant:
        return Constant(self.low * factor, self.typical * factor, self.high * factor, source, assumed=True)


@dataclass(frozen=True, slots=True)
class Chip:
    """What one piece of hardware costs: J per synop, J per neuron update, s per timestep."""

    title: str
    synop: Constant
    update: Constant
    step: Constant


@dataclass(frozen=True, slots=True)
class Cost:
    """Energy (J) and time (s) of one run: typical (`mean`), `low` and `high`; origin "estimated".

    Of several runs `mean` is their mean, `sd` their spread and `n` their number; `low` and `high` are of the
    mean, too: they bound what the constants leave open, not how runs differ.
    """

    energy: Value
    seconds: Value


_SENECA = "SENECA (Tang et al. 2023, PMC10326429), table 3"
_KERAS = "KerasSpiking, ModelEnergy"
_LOIHI = "Davies et al. 2018, Loihi (doi:10.1109/MM.2018.112130359)"
_TRUENORTH = "Merolla et al. 2014, TrueNorth (doi:10.1126/science.1254642)"
_DVFS = "Höppner et al. 2019 (arXiv:1903.08941)"
_GAP = "Kuon & Rose 2007 (doi:10.1109/TCAD.2006.884574): an FPGA takes 14 times the dynamic power of an ASIC"
_COUNTED = "nothing apart: counted in the energy per synop"

_DIGITAL = Constant(
    1.54e-12,
    12.7e-12,
    26e-12,
    f"our assumption: as fixed-function digital chips; Tianjic 1.54, ODIN 12.7, µBrain 26 pJ in {_SENECA}",
    assumed=True,
)
_DIGITAL_UPDATE = Constant(
    0.0,
    12.7e-12,
    81e-12,
    f"our assumption: from nothing (counted in the synop) over one synop of ODIN to Loihi's 81 pJ ({_LOIHI})",
    assumed=True,
)


def _fpga(title: str, step: Constant) -> Chip:
    note = f"our assumption: 14 times a digital ASIC ({_GAP}); the ASIC's figure: {{}}"
    return Chip(
        title,
        _DIGITAL.times(14, note.format(_DIGITAL.source)),
        _DIGITAL_UPDATE.times(14, note.format(_DIGITAL_UPDATE.source)),
        step,
    )


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        "truenorth": Chip(
            "IBM TrueNorth",
            Constant(
                2.5e-12,
                26e-12,
                26e-12,
                f"low: {_SENECA}; typical and high: {_TRUENORTH}, 26 pJ per synaptic event",
            ),
            Constant(0.0, 0.0, 0.0, _COUNTED),
            Constant(1e-3, 1e-3, 1e-3, f"1 kHz tick: {_TRUENORTH}"),
        ),
        "loihi": Chip(
            "Intel Loihi",
            Constant(
                23.6e-12,
                27.1e-12,
                27.1e-12,
                f"low: {_SENECA}, after {_LOIHI}; typical, high: {_KERAS} (23.6 + 3.5 pJ)",
            ),
            Constant(
                52e-12,
                81e-12,
                81e-12,
                f"low: idle neuron, {_LOIHI}; typical, high: active neuron, the same and {_KERAS}",
            ),
            Constant(
                1e-6,
                9e-6,
                1e-3,
                "low: barrier of 0.1 to 0.5 µs and a few neurons; typical: the 1024 neurons of a core, "
                f"8.4 ns each, and the barrier, both {_LOIHI}; high: real time",
                assumed=True,
            ),
        ),
        "spinnaker": Chip(
            "SpiNNaker",
            Constant(45e-12, 13.3e-9, 13.3e-9, f"low: {_SENECA}; typical, high: {_KERAS}, after {_DVFS}"),
            Constant(0.0, 26e-9, 26e-9, f"low: {_COUNTED}; typical, high: {_KERAS}, after {_DVFS}"),
            Constant(1e-4, 1e-3, 1e-3, f"1 ms of real time as in {_DVFS}; low: our assumption", assumed=True),
        ),
        "spinnaker2": Chip(
            "SpiNNaker2",
            Constant(10e-12, 450e-12, 450e-12, f"low: {_SENECA}; typical, high: {_KERAS}, after {_DVFS}"),
            Constant(0.0, 2.19e-9, 2.19e-9, f"low: {_COUNTED}; typical, high: {_KERAS}, after {_DVFS}"),
            Constant(1e-4, 1e-3, 1e-3, f"1 ms of real time as in {_DVFS}; low: our assumption", assumed=True),
        ),
        "seneca": Chip(
            "imec SENECA",
            Constant(2.8e-12, 2.8e-12, 2.8e-12, f"{_SENECA}: the only figure"),
            Constant(0.0, 0.0, 0.0, _COUNTED),
            Constant(1e-6, 1e-3, 1e-3, "our assumption: real time; faster where events allow", assumed=True),
        ),
        "odin": Chip(
            "ODIN",
            Constant(12.7e-12, 12.7e-12, 12.7e-12, f"{_SENECA}: the only figure, after Frenkel et al. 2018"),
            Constant(0.0, 0.0, 0.0, _COUNTED),
            Constant(1e-6, 1e-3, 1e-3, "our assumption: real time; faster where events allow", assumed=True),
        ),
        "risp_fpga": _fpga(
            "RISP on an FPGA",
            Constant(
                1e-8,
                1e-7,
                1e-6,
                "our assumption: one timestep in a clock cycle, 1 to 100 MHz, typically 10 MHz",
                assumed=True,
            ),
        ),
        "caspian_fpga": _fpga(
            "Caspian on a small FPGA",
            Constant(
                1e-6,
                1e-5,
                1e-4,
                "our assumption: neurons and synapses share one pipeline (µCaspian on an iCE40 UP5K), "
                "hundreds of cycles a timestep at 10 to 50 MHz",
                assumed=True,
            ),
        ),
        "danna2": Chip(
            "DANNA2 as an ASIC",
            _DIGITAL,
            _DIGITAL_UPDATE,
            Constant(
                1e-9,
                1e-8,
                1e-6,
                "our assumption: one timestep in a clock cycle of 1 MHz to 1 GHz, typically 100 MHz; "
                "published is only that the chip of DANNA, its predecessor, is clocked ten times faster than "
                "the FPGA (University of Tennessee thesis: DANNA, A Neuromorphic Computing VLSI Chip)",
                assumed=True,
            ),
        ),
        "danna2_fpga": _fpga(
            "DANNA2 on an FPGA",
            Constant(
                1e-8,
                1e-7,
                1e-6,
                "our assumption: one timestep in a clock cycle, 1 to 100 MHz, typically 10 MHz",
                assumed=True,
            ),
        ),
        "mrdanna": Chip(
            "mrDANNA, 65 nm with HfO2 memristors",
            Constant(
                0.016e-12,
                1.25e-12,
                58e-12,
                "our assumption: V² (G⁺ + G⁻) t of a twin memristor with 0.2 V, 20 µS, 20 ns; 0.5 V, 100 µS, "
                "50 ns; 1.2 V, 400 µS, 100 ns. Found published for whole networks only: 1.66 µJ per "
                "classification (Schuman et al. 2017, Neuromorphic computing for temporal scientific data "
                "classification) and 23 nJ per addition of the virtual neuron (arXiv:2208.07468)",
                assumed=True,
            ),
            Constant(
                0.5e-12,
                5e-12,
                50e-12,
                "our assumption for an analogue integrate-and-fire neuron and its comparator",
                assumed=True,
            ),
            Constant(
                2e-8, 5e-8, 1e-6, "our assumption: synchronous, 1 to 50 MHz, typically 20 MHz", assumed=True
            ),
        ),
    }
)


def chip(name: str) -> Chip:
    """The chip of that name in `CHIPS`; raises `ValueError` that names near ones."""
    try:
        return CHIPS[name]
    except KeyError:
        near = difflib.get_close_matches(name, CHIPS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(CHIPS)}."
        raise ValueError(f"no constants for a chip {name!r}; {hint}") from None


def cost(
    chip: Chip,
    synops: NDArray[np.generic] | float,
    updates: NDArray[np.generic] | float,
    steps: NDArray[np.generic] | float,
) -> Cost:
    """Cost of runs with so many synops, neuron updates and timesteps: numbers, or arrays, one entry a run.

    Raises `ValueError` for a number below 0 or not finite, and for no run at all.
    """
    counts = [np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (synops, updates, steps)]
    s, u, t = np.broadcast_arrays(*counts)
    for name, x in zip(("synops", "neuron updates", "timesteps"), (s, u, t), strict=True):
        if x.size == 0:
            raise ValueError("a cost needs at least one run")
        if not (np.isfinite(x).all() and (x >= 0).all()):
            raise ValueError(f"the number of {name} of a run must be 0 or more, not {float(x.min()):g}")
    energy = [s * a + u * b for a, b in zip(_range(chip.synop), _range(chip.update), strict=True)]
    seconds = [t * a for a in _range(chip.step)]
    return Cost(_value(*energy), _value(*seconds))


def cost_of(chip: Chip, program: Program, activity: Activity) -> Cost:
    """Cost of the runs of one network: `activity` of p lanes gives the mean over the lanes."""
    steps = np.asarray(activity.steps, dtype=np.float64)
    return cost(chip, np.asarray(activity.synops), steps * program.size, steps)


def _range(constant: Constant) -> tuple[float, float, float]:
    return constant.low, constant.typical, constant.high


def _value(low: NDArray[np.float64], typical: NDArray[np.float64], high: NDArray[np.float64]) -> Value:
    n = typical.size
    sd = float(typical.std(ddof=1)) if n > 1 else 0.0
    return Value(float(typical.mean()), sd, n, "estimated", float(low.mean()), float(high.mean()))
