"""Numba's decorator with our settings, typed; and the one sentence for those who do not have Numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
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

    def decorate(function: F) -> F:
        made: F = numba.njit(cache=True, **options)(function)
        # What is kept on disk has the code of the functions that it calls in it, but Numba looks at the
        # file of the function alone to see whether it is out of date.
        kept = getattr(getattr(made, "_cache", None), "_cache_file", None)
        if kept is not None and hasattr(kept, "_source_stamp"):
            kept._source_stamp = (kept._source_stamp, SOURCES)
        return made

    return decorate


def sources() -> str:
    """A digest of all that kernels are made of."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.glob("*.py"), here.parent / "pole.py", here.parent / "program.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


SOURCES = sources()
