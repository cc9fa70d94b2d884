"""The numbers that a neuron or synapse has: what they may be, and rows of them checked and scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vilfredo.protocols import Impossible
from vilfredo.trial import JSON

Kind = Literal["int", "float", "bool"]

_QUARTILES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_LARGEST = 2**31  # numbers of neurons are below


@dataclass(frozen=True)
class Range:
    """What one property of a neuron or synapse may be: whole numbers (`int`, `bool`) or real ones, both ends
    included. Raises `ValueError`, one sentence, for what is no range."""

    name: str
    kind: Kind
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.kind not in ("int", "float", "bool"):
            raise ValueError(f"{self.name} is of kind {self.kind!r}; there are int, float and bool")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"{self.name} needs finite bounds, not [{self.low}, {self.high}]")
        if self.kind != "float":
            if self.low != math.floor(self.low) or self.high != math.floor(self.high):
                raise ValueError(f"{self.name} needs whole bounds, not [{self.low}, {self.high}]")
            object.__setattr__(self, "low", int(self.low))
            object.__setattr__(self, "high", int(self.high))

    @property
    def constant(self) -> bool:
        return self.low == self.high

    def draw(self, u: float) -> float:
        """The value at `u` of a uniform distribution over [0, 1)."""
        if self.kind == "float":
            return self.low + u * (self.high - self.low)
        return self.low + int(u * (self.high - self.low + 1))

    def redraw(self, value: float, u: float) -> float:
        """Another value than this one, uniformly drawn; the same if there is no other."""
        if self.kind == "float" or self.constant:
            return self.draw(u)
        other = self.low + int(u * (self.high - self.low))
        return other + 1 if other >= value else other

    def allowed(self) -> str:
        whole = "a number" if self.kind == "float" else "a whole number"
        return f"{whole} from {self.low} to {self.high}"


class RangeLike(Protocol):
    """Whatever says the same, such as a property of a processor."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def in_order(rows: list[Any], first: int, ranges: Sequence[Range]) -> bool:
    """Whether all rows are surely in order, column by column."""
    if set(map(type, rows)) != {list}:
        return False
    try:
        columns = list(zip(*rows, strict=True))
    except ValueError:
        return False
    if len(columns) != first + len(ranges):
        return False
    for column in columns[:first]:
        if set(map(type, column)) != {int} or min(column) < 0 or max(column) >= _LARGEST:
            return False
    for column, item in zip(columns[first:], ranges, strict=True):
        types = set(map(type, column))
        if not types <= ({int, float} if item.kind == "float" else {int}):
            return False
        total = sum(column) if float in types else 0
        if total != total or min(column) < item.low or max(column) > item.high:  # NaN first
            return False
    return True


def complain(rows: list[Any], first: int, ranges: Sequence[Range], what: str, form: str) -> None:
    """Raises `Impossible` for the first row that is not in order."""
    for row in rows:
        if not isinstance(row, list) or len(row) != first + len(ranges):
            shape = form.format(", ".join(item.name for item in ranges))
            raise Impossible(f"a {what} is {shape}, not {_short(row)}")
        for number in row[:first]:
            if type(number) is not int or not 0 <= number < _LARGEST:
                raise Impossible(f"{_short(number)} is not the number of a neuron")
        name = f"{what} {' -> '.join(str(number) for number in row[:first])}"
        for value, item in zip(row[first:], ranges, strict=True):
            kinds = (int, float) if item.kind == "float" else (int,)
            if type(value) not in kinds or not item.low <= value <= item.high:
                raise Impossible(f"{name}: {item.name} is {_short(value)}, not {item.allowed()}")
    if not rows:
        raise Impossible(f"there is no {what}")


def _short(value: JSON) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def twice(values: Sequence[Any]) -> Any:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def scaled(values: NDArray[np.float64], ranges: Sequence[Range]) -> NDArray[np.float64]:
    """Columns as their place in the ranges, in [0, 1]."""
    low = np.array([item.low for item in ranges])
    span = np.array([max(item.high - item.low, 1e-300) for item in ranges])
    return np.asarray((values - low) / span)


def summary(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean, twice the standard deviation and quartiles of each column; 0.5 where there are no rows."""
    count = len(values)
    if count == 0:
        return np.full(7 * values.shape[1], 0.5)
    quartiles = np.sort(values, axis=0)[np.rint(_QUARTILES * (count - 1)).astype(np.int64)]
    mean = values.sum(axis=0) / count
    spread = np.sqrt(((values - mean) ** 2).sum(axis=0) / count)
    return np.concatenate([mean, 2 * spread, quartiles.ravel()])
