"""What the options of all faults are held to, and the draw that they share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rate(fault: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is a probability."""
    if not _number(value) or not 0 <= value <= 1:
        raise ValueError(f"{fault}: rate is {value!r}; give a probability from 0 to 1")


def deviation(fault: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is a standard deviation: a finite number from 0."""
    if not _number(value) or value < 0:
        raise ValueError(f"{fault}: sd is {value!r}; give a finite number from 0, such as 0.1")


def one_of(fault: str, option: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises `ValueError` unless `value` is among `known`."""
    if value not in known:
        raise ValueError(f"{fault}: {option} is {value!r}; it can be {', '.join(known)}")


def yes_or_no(fault: str, option: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{fault}: {option} is {value!r}; give true or false")


def hit(size: int, probability: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions in 0 … size − 1, each hit with `probability`, independently of the others; in no order.

    How many are hit is drawn first, then which: the work goes with the hits, not with the size.
    """
    count = int(rng.binomial(size, probability))
    places: NDArray[np.int64] = rng.choice(size, count, replace=False, shuffle=False).astype(np.int64)
    return places


def _number(value: Any) -> bool:
    plain = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return plain and math.isfinite(value)
