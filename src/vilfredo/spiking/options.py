"""Checks of options that encoders, decoders and tasks share: one clear sentence each."""

from __future__ import annotations

import math


def whole(owner: object, name: str, value: object, low: int) -> None:
    """Raises `ValueError` unless `value` is a whole number from `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{_name(owner)}: `{name}` must be a whole number from {low}, not {value!r}")


def share(owner: object, name: str, value: object) -> None:
    """Raises `ValueError` unless `value` is a number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"{_name(owner)}: `{name}` must be a number above 0 and at most 1, not {value!r}")


def spacing(owner: object, name: str, value: object) -> None:
    """Raises `ValueError` unless `value` is a finite number from 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ValueError(f"{_name(owner)}: `{name}` must be a number from 1, not {value!r}")


def interval(owner: object, low: float, high: float) -> None:
    """Raises `ValueError` unless a value from `low` to `high` can be encoded."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"{_name(owner)}: a range must go from a number to a larger one, not {low} to {high}"
        )


def _name(owner: object) -> str:
    return type(owner).__name__
