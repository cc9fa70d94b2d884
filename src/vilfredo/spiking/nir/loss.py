"""What did not survive a change of format; and what both directions need of the package `nir`."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY = "vilfredo"  # of the metadata, and its text of JSON
ARRAYS = ("weight", "bias", "delay", "tau", "r", "v_leak", "v_threshold", "v_reset", "scale", "threshold")


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing that the other format cannot say.

    `where` it was ("neurons 3, 7", "the network"), `what` it is, as a sentence, and whether it is `kept` in
    the metadata, so that reading the graph with this package restores it.
    """

    where: str
    what: str
    kept: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}{' (kept in the metadata)' if self.kept else ''}"


def package() -> Any:
    """The package `nir`. Raises `ModuleNotFoundError` that says how to install it."""
    try:
        return importlib.import_module("nir")
    except ModuleNotFoundError as absent:
        raise ModuleNotFoundError(
            "NIR graphs need the package nir: pip install 'vilfredo[spiking]'", name=absent.name
        ) from absent


def fingerprint(nodes: dict[str, Any], edges: Sequence[tuple[str, str]]) -> str:
    """Of all numbers of a graph and its edges; another one means that the graph was changed."""
    content = hashlib.sha256()
    for name in sorted(nodes):
        content.update(f"{name} {type(nodes[name]).__name__}".encode())
        for field in ARRAYS:
            value = getattr(nodes[name], field, None)
            if value is not None:
                content.update(field.encode())
                content.update(np.ascontiguousarray(value, np.float64).tobytes())
    content.update(repr(sorted((str(a), str(b)) for a, b in edges)).encode())
    return content.hexdigest()


def listed(what: str, numbers: Sequence[Any] | NDArray[Any]) -> str:
    """ "neuron 3", "neurons 3, 7", or "neurons 1, 2, 3, … (40)"."""
    shown = ", ".join(str(number) for number in numbers[:6])
    if len(numbers) > 6:
        shown += f", … ({len(numbers)})"
    return f"{what}{'' if len(numbers) == 1 else 's'} {shown}"
