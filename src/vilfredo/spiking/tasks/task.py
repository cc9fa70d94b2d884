"""What a task is. A user's own is one class with `reset` and `step`, or with `samples`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@runtime_checkable
class Control(Protocol):
    """An environment in which a network acts. A new object for each episode is not needed: `reset` begins anew.

    `ranges`: (low, high) of each number of an observation, for the encoder. `actions`: how many there are.
    `steps`: after how many an episode ends at the latest. `window`: timesteps that the network runs for one step.
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
