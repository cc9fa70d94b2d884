"""How much a search may spend: a number of trials, a time, or whichever of the two is reached first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vilfredo.trial import JSON

_SECONDS: Mapping[str, float] = {
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_PART = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]+)\s*")


@dataclass(frozen=True, slots=True)
class Budget:
    """`trials` is a count, `seconds` a wall time over all sessions of the run; None: no such limit.

    Raises `ValueError` unless at least one is given and both are positive.
    """

    trials: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials is None and self.seconds is None:
            raise ValueError("a budget needs a number of trials, a time, or both")
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"a budget of {self.trials} trials is none; give at least 1")
        if self.seconds is not None and not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise ValueError(f"a budget of {self.seconds} seconds is none; give a positive time")

    def spent(self, trials: int, seconds: float) -> float:
        """The share of the budget that is used up, 1 when the search is over."""
        shares = [0.0]
        if self.trials is not None:
            shares.append(trials / self.trials)
        if self.seconds is not None:
            shares.append(seconds / self.seconds)
        return max(shares)

    def __str__(self) -> str:
        parts = [] if self.trials is None else [f"{self.trials} trials"]
        if self.seconds is not None:
            parts.append(duration_text(self.seconds))
        return " or ".join(parts)


def duration(value: JSON) -> float:
    """Seconds from a number of seconds or from text such as "10min", "2h", "1h 30min".

    Raises `ValueError`, one sentence that lists the units.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        text, total, position = value.strip(), 0.0, 0
        while match := _PART.match(text, position):
            scale = _SECONDS.get(match[2])
            if scale is None:
                break
            total += float(match[1]) * scale
            position = match.end()
        if text and position == len(text):
            return total
    raise ValueError(f"cannot read {value!r} as a time; write for example '90s', '10min' or '1h 30min'")


def duration_text(seconds: float) -> str:
    """`seconds` as text that `duration` reads back: "10min", "1h 30min", "0.5s"."""
    parts = []
    for unit, scale in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        count = int(seconds // scale)
        if count:
            parts.append(f"{count}{unit}")
            seconds -= count * scale
    if seconds > 0 or not parts:
        parts.append(f"{seconds:.12g}s")
    return " ".join(parts)


def parse(value: JSON) -> Budget:
    """A budget from 200 or "200" (trials), "10min" (time) or {"trials": 200, "time": "10min"}.

    Raises `ValueError` with one sentence for anything else.
    """
    if isinstance(value, Budget):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*\d+\s*", value):
        return Budget(trials=int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Budget(trials=value)
    if isinstance(value, str):
        try:
            return Budget(seconds=duration(value))
        except ValueError as problem:
            if "cannot read" not in str(problem):
                raise
    if isinstance(value, Mapping) and value and set(value) <= {"trials", "time"}:
        trials, time = value.get("trials"), value.get("time")
        if trials is None or (isinstance(trials, int) and not isinstance(trials, bool)):
            return Budget(trials, None if time is None else duration(time))
    raise ValueError(
        f"cannot read {value!r} as a budget; write a number of trials (200), a time ('10min', '2h') "
        "or { trials = 200, time = '10min' }"
    )


def to_json(budget: Budget) -> dict[str, JSON]:
    """What `parse` gives back as an equal budget."""
    data: dict[str, JSON] = {}
    if budget.trials is not None:
        data["trials"] = budget.trials
    if budget.seconds is not None:
        data["time"] = budget.seconds
    return data
