"""The data sets that come with scikit-learn, and the one sentence for those who do not have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def load(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features (n, f) and labels (n,) of "iris", "wine", "breast_cancer" or "digits"."""
    try:
        from sklearn import datasets
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            f'the data set {name} comes with scikit-learn; install it with: pip install "vilfredo[spiking]"',
            name=problem.name,
        ) from problem
    read: Callable[..., Any] = getattr(datasets, f"load_{name}")
    x, y = read(return_X_y=True)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.int64)
