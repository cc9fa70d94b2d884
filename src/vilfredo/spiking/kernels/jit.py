"""Numba's decorator with our settings, typed; and the one sentence for those who do not have Numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

try:
    import numba
except ModuleNotFoundError as problem:
    raise ModuleNotFoundError(
        'spiking networks need Numba; install it with: pip install "vilfredo[spiking]"', name=problem.name
    ) from problem


def jit(**options: Any) -> Callable[[F], F]:
    """`numba.njit`, compiled once and kept on disk. `options` are Numba's (`parallel`, `inline`, …)."""
    decorate: Callable[[F], F] = numba.njit(cache=True, **options)
    return decorate
