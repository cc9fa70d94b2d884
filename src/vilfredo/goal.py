"""Goals: what is minimised or maximised, in which unit, within which limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vilfredo.trial import Split, Trial

Sense = Literal["min", "max"]
Stage = Literal["preview", "measure"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal of a search.

    `max` and `min` are limits in the goal's unit; a candidate beyond one is infeasible. A goal with
    `ranked=False` only limits: it takes no part in dominance. One that is measured under faults
    (`under_faults`) is dear, and the same network without faults says little of it.
    """

    name: str
    sense: Sense = "min"
    unit: str = ""
    max: float | None = None
    min: float | None = None
    ranked: bool = True
    stage: Stage = "measure"
    under_faults: bool = False

    def excess(self, value: float) -> float:
        """By how much `value` breaks the limits, relative to the limit; 0 where it keeps them."""
        over = 0.0
        if self.max is not None and value > self.max:
            over += (value - self.max) / (abs(self.max) or 1.0)
        if self.min is not None and value < self.min:
            over += (self.min - value) / (abs(self.min) or 1.0)
        return over


KNOWN: Mapping[str, Goal] = {
    goal.name: goal
    for goal in (
        Goal("error", unit="fraction"),
        Goal("loss"),
        Goal("reward", "max"),
        Goal("parameters", unit="count", stage="preview"),
        Goal("macs", unit="count", stage="preview"),
        Goal("weight_bytes", unit="B", stage="preview"),
        Goal("neurons", unit="count", stage="preview"),
        Goal("synapses", unit="count", stage="preview"),
        Goal("timesteps", unit="count", stage="preview"),
        Goal("latency", unit="s"),
        Goal("energy", unit="J", stage="preview"),
        Goal("synops", unit="count"),
        Goal("spikes", unit="count"),
        Goal("resilience_mean", "max", under_faults=True),
        Goal("resilience_q05", "max", under_faults=True),
        Goal("resilience_worst", "max", under_faults=True),
        Goal("ccr", unit="fraction", under_faults=True),
        Goal("asi", stage="preview"),
        Goal("adcr", stage="preview"),
        Goal("train_seconds", unit="s"),
    )
}
"""The goals whose names mean the same everywhere (unit, sense, stage)."""


def goal(name: str, **changes: object) -> Goal:
    """A known goal, or a new one to be minimised, with changes: `goal("latency", max="2 ms")`.

    Limits may be numbers in the goal's unit or text with a unit (`parse_quantity`).
    Raises `ValueError` for a limit that cannot be read.
    """
    known = KNOWN.get(name, Goal(name))
    for limit in ("max", "min"):
        if isinstance(changes.get(limit), str):
            unit = str(changes.get("unit", known.unit))
            changes[limit] = parse_quantity(str(changes[limit]), unit)
    return replace(known, **changes)  # type: ignore[arg-type]


_UNITS: Mapping[str, Mapping[str, float]] = {
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0},
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12},
    "B": {
        "B": 1.0,
        "kB": 1e3,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    "count": {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9},
    "fraction": {"": 1.0, "%": 0.01},
}
_NUMBER = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\s\d]*)\s*")


def parse_quantity(text: str, unit: str) -> float:
    """`text` ("2 ms", "64 KiB", "1.5M", "3 %") as a number in `unit`.

    Raises `ValueError`, one sentence that lists the units that would do.
    """
    scales = _UNITS.get(unit, {"": 1.0, unit: 1.0})
    match = _NUMBER.fullmatch(text)
    if match:
        number, suffix = match.groups()
        if suffix == "" or suffix in scales:
            return float(number) * scales.get(suffix, 1.0)
    known = ", ".join(sorted(s for s in scales if s))
    advice = f"write a number and one of these units: {known}" if known else "write a plain number"
    raise ValueError(f"cannot read {text!r} as a quantity; {advice}")


def violation(values: Mapping[str, float], goals: Iterable[Goal]) -> float:
    """Sum of the relative excesses over the limits of those goals that have a value (Deb's rule)."""
    return sum(g.excess(values[g.name]) for g in goals if g.name in values)


def as_trained(trial: Trial, goals: Iterable[Goal]) -> dict[str, float]:
    """Of goals that are also measured in training (as the metric `val_<goal>`), what they were after the last
    epoch: the network in floats, before it was deployed in other numbers."""
    metrics = trial.epochs[-1].metrics if trial.epochs else {}
    return {g.name: metrics[f"val_{g.name}"] for g in goals if f"val_{g.name}" in metrics}


def numbers(trial: Trial, goals: Iterable[Goal], split: Split = "validation") -> dict[str, float]:
    """The trial's means by goal name, of those goals that have a value on `split`."""
    found = {g.name: trial.value(g.name, split) for g in goals}
    return {name: value.mean for name, value in found.items() if value is not None}
