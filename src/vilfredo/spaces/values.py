"""What one parameter may be: a number in a range or one of several options; how its values are drawn, changed
and encoded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vilfredo.trial import JSON

as_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class Float:
    """A real number in [low, high]; with `log`, uniform in its logarithm; with `step`, low + k step.

    `when` names the values of other parameters at which this one is active:
    `{"optimizer": "sgd"}` or `{"optimizer": ["sgd", "rmsprop"]}`.
    Raises `ValueError`, one sentence, for bounds that make no range.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: Mapping[str, JSON] = field(default_factory=dict)
    _digits: int = field(init=False, repr=False, compare=False, default=0)
    _from: float = field(init=False, repr=False, compare=False, default=0.0)
    _span: float = field(init=False, repr=False, compare=False, default=0.0)
    _places: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        if not all(is_number(x) for x in (self.low, self.high)) or self.low > self.high:
            raise ValueError(f"a float needs finite bounds [low, high], not [{self.low}, {self.high}]")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale needs a low above 0, not {self.low}")
        if self.step is not None and not (is_number(self.step) and self.step > 0):
            raise ValueError(f"a step must be a number above 0, not {self.step}")
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if self.step is not None:
            # Grid points are rounded to the decimals of low and step: 0.3, not 0.1 + 2 * 0.1.
            object.__setattr__(self, "_digits", max(_decimals(self.low), _decimals(self.step)))
            object.__setattr__(self, "_places", math.floor((self.high - self.low) / self.step + 1e-9) + 1)
        start, stop = _scaled(self.low, self.high, self.log)
        object.__setattr__(self, "_from", start)
        object.__setattr__(self, "_span", stop - start)

    @property
    def constant(self) -> bool:
        return self.low == self.high or self._places == 1

    def draw(self, u: float) -> float:
        """The value at `u` of a uniform distribution over [0, 1)."""
        if self.step is None:
            return self.from_unit(u)
        if not self.log:
            return self._at(int(u * self._places))
        return self._at(_log_cell(self.low, self.step, self._places, u))

    def from_unit(self, u: float) -> float:
        """The value at `u` in [0, 1] of the (log) scale; the nearest one where there are steps."""
        x = self._from + u * self._span
        value = min(max(math.exp(x) if self.log else x, self.low), self.high)
        return value if self.step is None else self._at(round((value - self.low) / self.step))

    def to_unit(self, value: float) -> float:
        """Where `value` lies on the (log) scale, in [0, 1]."""
        if self._span == 0:
            return 0.0
        x = math.log(value) if self.log else value
        return min(max((x - self._from) / self._span, 0.0), 1.0)

    def accepts(self, value: JSON) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        return self.step is None or math.isclose(self.normal(value), value, rel_tol=1e-9, abs_tol=1e-12)

    def normal(self, value: JSON) -> float:
        """`value` as it is kept: a float, exactly on the grid."""
        if self.step is None:
            return float(value)
        return self._at(round((value - self.low) / self.step))

    def nudge(self, value: float, u: float, eta: float) -> float:
        """Polynomial mutation of `value` by the uniform number `u`: another value, unless constant."""
        here = self.to_unit(value)
        if self.step is None:
            # On a bound half of the moves point outwards and lead nowhere: those are turned round.
            for v in (u, 1.0 - u, 0.25, 0.75):
                moved = self.from_unit(_polynomial(here, v, eta))
                if moved != value:
                    break
            return moved
        k = round((value - self.low) / self.step)
        there = round((self.from_unit(_polynomial(here, u, eta)) - self.low) / self.step)
        return self._at(_another(k, there, u, self._places))

    def encode(self, value: float) -> tuple[float, ...]:
        return (self.to_unit(value),)

    @property
    def blank(self) -> tuple[float, ...]:
        """What stands in an encoding where the parameter is inactive."""
        return (0.0,)

    def allowed(self) -> str:
        grid = "" if self.step is None else f" in steps of {self.step}"
        return f"a number in [{self.low}, {self.high}]{grid}"

    def _at(self, k: int) -> float:
        k = min(max(k, 0), self._places - 1)
        return round(self.low + k * float(self.step or 0.0), self._digits)


@dataclass(frozen=True)
class Int:
    """An integer low + k step up to `high`; with `log`, uniform in its logarithm. `when`: as in `Float`.

    Raises `ValueError`, one sentence, for bounds that make no range.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: Mapping[str, JSON] = field(default_factory=dict)
    _from: float = field(init=False, repr=False, compare=False, default=0.0)
    _span: float = field(init=False, repr=False, compare=False, default=0.0)
    _places: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        if not (is_int(self.low) and is_int(self.high)) or self.low > self.high:
            raise ValueError(f"an int needs whole bounds [low, high], not [{self.low}, {self.high}]")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale needs a low above 0, not {self.low}")
        if not (is_int(self.step) and self.step > 0):
            raise ValueError(f"a step of integers must be a whole number above 0, not {self.step}")
        places = (self.high - self.low) // self.step + 1
        object.__setattr__(self, "_places", places)
        start, stop = _scaled(self.low, self.low + (places - 1) * self.step, self.log)
        object.__setattr__(self, "_from", start)
        object.__setattr__(self, "_span", stop - start)

    @property
    def constant(self) -> bool:
        return self._places == 1

    def draw(self, u: float) -> int:
        """The value at `u` of a uniform distribution over [0, 1)."""
        if self.log:
            return self._at(_log_cell(self.low, self.step, self._places, u))
        return self._at(int(u * self._places))

    def from_unit(self, u: float) -> int:
        """The value nearest to `u` in [0, 1] of the (log) scale."""
        x = self._from + u * self._span
        return self._at(round(((math.exp(x) if self.log else x) - self.low) / self.step))

    def to_unit(self, value: int) -> float:
        """Where `value` lies on the (log) scale, in [0, 1]."""
        if self._span == 0:
            return 0.0
        x = math.log(value) if self.log else value
        return min(max((x - self._from) / self._span, 0.0), 1.0)

    def accepts(self, value: JSON) -> bool:
        return is_int(value) and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def normal(self, value: JSON) -> int:
        """`value` as it is kept."""
        return int(value)

    def nudge(self, value: int, u: float, eta: float) -> int:
        """Polynomial mutation of `value` by the uniform number `u`: another value, unless constant."""
        there = self.from_unit(_polynomial(self.to_unit(value), u, eta))
        k = (value - self.low) // self.step
        return self._at(_another(k, (there - self.low) // self.step, u, self._places))

    def encode(self, value: int) -> tuple[float, ...]:
        return (self.to_unit(value),)

    @property
    def blank(self) -> tuple[float, ...]:
        """What stands in an encoding where the parameter is inactive."""
        return (0.0,)

    def allowed(self) -> str:
        grid = "" if self.step == 1 else f" in steps of {self.step}"
        return f"a whole number in [{self.low}, {self.high}]{grid}"

    def _at(self, k: int) -> int:
        return self.low + min(max(k, 0), self._places - 1) * self.step


@dataclass(frozen=True)
class Choice:
    """One of `options`, JSON values without an order. `when`: as in `Float`.

    Raises `ValueError`, one sentence, for no options, equal ones, or what JSON cannot hold.
    """

    options: Sequence[JSON]
    when: Mapping[str, JSON] = field(default_factory=dict)
    _index: Mapping[Any, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.options, str) or not isinstance(self.options, Sequence) or not self.options:
            raise ValueError(f"a choice needs a list of options, not {self.options!r}")
        try:
            options = tuple(json.loads(as_json(list(self.options))))
        except (TypeError, ValueError) as problem:
            raise ValueError(f"the options of a choice must be JSON values: {problem}") from problem
        index = {identity(option): i for i, option in enumerate(options)}
        if len(index) < len(options):
            raise ValueError(f"the options of a choice must differ, unlike those of {list(options)!r}")
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "_index", index)

    @property
    def constant(self) -> bool:
        return len(self.options) == 1

    def draw(self, u: float) -> JSON:
        """The option at `u` of a uniform distribution over [0, 1)."""
        return self.options[int(u * len(self.options))]

    def accepts(self, value: JSON) -> bool:
        return self.where(value) is not None

    def where(self, value: JSON) -> int | None:
        """The index of an option, None if it is none. True is not 1; 1.0 is."""
        try:
            return self._index.get(identity(value))
        except (TypeError, ValueError):
            return None

    def normal(self, value: JSON) -> JSON:
        """The option equal to `value`."""
        return self.options[self._index[identity(value)]]

    def nudge(self, value: JSON, u: float, eta: float) -> JSON:
        """Another option, all equally likely; the same if there is only one."""
        count = len(self.options)
        if count == 1:
            return self.options[0]
        here = self._index[identity(value)]
        return self.options[(here + 1 + int(u * (count - 1))) % count]

    def encode(self, value: JSON) -> tuple[float, ...]:
        here = self._index[identity(value)]
        return tuple(1.0 if i == here else 0.0 for i in range(len(self.options)))

    @property
    def blank(self) -> tuple[float, ...]:
        """What stands in an encoding where the parameter is inactive."""
        return (0.0,) * len(self.options)

    def allowed(self) -> str:
        return f"one of {', '.join(as_json(option) for option in self.options)}"


Parameter: TypeAlias = Float | Int | Choice


def _polynomial(x: float, u: float, eta: float) -> float:
    """Polynomial mutation within [0, 1] (Deb et al. 2002; the bounded form of Deb's own code)."""
    power = 1.0 / (eta + 1.0)
    moved: float
    if u < 0.5:
        y = 2.0 * u + (1.0 - 2.0 * u) * (1.0 - x) ** (eta + 1.0)
        moved = x + y**power - 1.0
    else:
        y = 2.0 * (1.0 - u) + 2.0 * (u - 0.5) * x ** (eta + 1.0)
        moved = x + 1.0 - y**power
    return min(max(moved, 0.0), 1.0)


def _another(here: int, there: int, u: float, places: int) -> int:
    """`there`, or where that is `here` the next place in the direction in which `u` points."""
    if there != here or places == 1:
        return there
    step = -1 if u < 0.5 else 1
    return here + step if 0 <= here + step < places else here - step


def _log_cell(low: float, step: float, places: int, u: float) -> int:
    """Which grid point holds `u` if each gets its cell, half a step to either side, of the log scale."""
    start = math.log(low - min(step, low) / 2)
    stop = math.log(low + (places - 0.5) * step)
    return math.floor((math.exp(start + u * (stop - start)) - low) / step + 0.5)


def _scaled(low: float, high: float, log: bool) -> tuple[float, float]:
    return (math.log(low), math.log(high)) if log else (float(low), float(high))


def _decimals(number: float) -> int:
    """How many digits `number` has after the point, as it is written."""
    mantissa, _, exponent = repr(float(number)).partition("e")
    digits = len(mantissa.partition(".")[2].rstrip("0"))
    return max(digits - int(exponent or 0), 0)


def identity(value: JSON) -> Any:
    """Hashable; equal for equal JSON values, where True is not 1."""
    if type(value) is bool:
        return ("bool", value)
    if isinstance(value, list | tuple | dict):
        return ("json", as_json(value))
    return value


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
