"""Labelled samples as a task, and how they are split."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilfredo.spiking import options

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


class Samples:
    """`x` (n, f) numbers, `y` (n,) labels from 0; a `Classification` for `classify` and `search`.

    A share `test` of each class, drawn by `seed`, is put aside as the split "test"; the rest is the split
    "search". `ranges` are (low, high) of each feature in the split "search", the encoder's; values beyond
    are encoded as the nearest end. `of` takes two splits as they are.

    Raises `ValueError` for arrays that are no samples, and classes too small to be split.
    """

    window = 24  # timesteps of the network for one sample

    def __init__(self, x: ArrayLike, y: ArrayLike, test: float = 0.3, seed: int = 0, name: str = "") -> None:
        samples, labels = _checked(x, y)
        if isinstance(test, bool) or not 0 < test < 1:
            raise ValueError(f"{type(self).__name__}: `test` must be a share between 0 and 1, not {test!r}")
        options.whole(self, "seed", seed, 0)
        aside = stratified(labels, test, seed)
        self._set((samples[~aside], labels[~aside]), (samples[aside], labels[aside]), name)

    @classmethod
    def of(
        cls, search: tuple[ArrayLike, ArrayLike], test: tuple[ArrayLike, ArrayLike], name: str = ""
    ) -> Samples:
        """From two splits (x, y), which are kept as they are. Raises `ValueError`."""
        made = object.__new__(Samples)
        made._set(_checked(*search), _checked(*test), name)
        return made

    def _set(self, search: tuple[Floats, Labels], test: tuple[Floats, Labels], name: str) -> None:
        if search[0].shape[1] != test[0].shape[1]:
            raise ValueError(
                f"the split 'search' has {search[0].shape[1]} features, the split 'test' {test[0].shape[1]}"
            )
        self.name = name or type(self).__name__
        self.classes = int(max(search[1].max(), test[1].max())) + 1
        if self.classes < 2:
            raise ValueError(f"{self.name}: all samples have the same label; a task has at least two classes")
        low, high = search[0].min(axis=0), search[0].max(axis=0)
        # A feature that never changes has no range of its own.
        high = np.where(high > low, high, low + 1)
        self.ranges = tuple(zip(low.tolist(), high.tolist(), strict=True))
        self._splits = {"search": search, "test": test}

    def samples(self, split: str) -> tuple[Floats, Labels]:
        """(m, f) features and (m,) labels of "search" or "test". Raises `ValueError` for another split."""
        if split not in self._splits:
            raise ValueError(f"{self.name} has the splits 'search' and 'test', not {split!r}")
        return self._splits[split]


def stratified(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """Which samples (n,) are put aside: of each class the share, rounded, at least one and not all.

    Raises `ValueError` for a class with a single sample.
    """
    rng = np.random.default_rng(seed)
    aside = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        if len(places) < 2:
            raise ValueError(f"class {label} has one sample only and cannot be split")
        aside[places[: min(max(round(share * len(places)), 1), len(places) - 1)]] = True
    return aside


def _checked(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Labels]:
    samples = np.asarray(x, dtype=np.float64)
    labels = np.asarray(y)
    samples = samples.reshape(len(samples), -1) if samples.ndim > 2 else samples
    if samples.ndim != 2 or 0 in samples.shape or labels.shape != samples.shape[:1]:
        raise ValueError(
            f"samples are x (n, f) with labels y (n,), not arrays of shape {samples.shape} and {labels.shape}"
        )
    if not np.isfinite(samples).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(samples))[0])
        raise ValueError(f"sample {row}: feature {column} is {samples[row, column]}")
    if labels.dtype.kind not in "iub" or labels.min() < 0:
        raise ValueError(f"labels must be whole numbers from 0, not {labels.dtype} from {labels.min()}")
    return samples, labels.astype(np.int64)
