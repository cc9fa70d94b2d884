"""What a task is. A user's own is one class with `reset` and `step`, or with `samples`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@runtime_checkable
class Control(Protocol):
    """An environment in which a network acts. A new object for each episode is not needed: `reset` begins
    anew.

    `ranges`: (low, high) of each number of an observation, for the encoder. `actions`: how many there are.
    `steps`: after how many an episode ends at the latest. `window`: timesteps that the network runs for one
    step.
    """

    ranges: Sequence[tuple[float, float]]
    actions: int
    steps: int

    def reset(self, seed: int) -> Floats: ...  # the first observation
    def step(self, action: int) -> tuple[Floats, float, bool]: ...  # observation, reward, over


@runtime_checkable
class Classification(Protocol):
    """Samples with labels. `ranges`: (low, high) of each feature; `classes`: how many."""

    ranges: Sequence[tuple[float, float]]
    classes: int

    def samples(self, split: str) -> tuple[Floats, NDArray[np.int64]]: ...  # "search" or "test": (m, f), (m,)


PARTS = {
    "control": ("reset", "step", "ranges", "actions", "steps"),
    "classification": ("samples", "ranges", "classes"),
}


def kind(task: object) -> Literal["control", "classification"]:
    """Which of the two a task is. Raises `ValueError` with one sentence about what it lacks, or has wrong."""
    name = type(task).__name__
    found: Literal["control", "classification"] = "control"
    if hasattr(task, "samples") and not hasattr(task, "step"):
        found = "classification"
    missing = [part for part in PARTS[found] if not hasattr(task, part)]
    if missing:
        raise ValueError(
            f"{name} lacks {_listed(missing)}: a task has either {_listed(PARTS['control'])}, "
            f"or {_listed(PARTS['classification'])}"
        )
    for count, least in (("actions", 2), ("steps", 1)) if found == "control" else (("classes", 2),):
        value = getattr(task, count)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: `{count}` must be a whole number from {least}, not {value!r}")
    ranges: Sequence[tuple[float, float]] = getattr(task, "ranges", ())
    if not len(ranges):
        raise ValueError(f"{name}: `ranges` is empty; give (low, high) of each number that is observed")
    for place, pair in enumerate(ranges):
        try:
            low, high = (float(end) for end in pair)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: range {place} is {pair!r}, not (low, high)") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"{name}: range {place} must go from a number to a larger one, not {low} to {high}"
            )
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
