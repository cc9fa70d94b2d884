"""Bars and stripes: whether a picture has a full column, a full row, both or none."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilfredo.spiking import options
from vilfredo.spiking.tasks.classification import Samples, stratified

Pictures = NDArray[np.int64]

NONE, BAR, STRIPE, BOTH = range(4)
SMALL = 4  # up to this size all pictures are listed
TRIES = 200  # rounds of drawing before there are too few pictures


class BarsAndStripes(Samples):
    """Pictures of `size` × `size` pixels, 0.0 or 1.0, row by row. Class 0: no column and no row is all ones;
    1: a column is, a bar; 2: a row is, a stripe; 3: both.

    `samples` different pictures, as many of each class (fewer where a class has no more): drawn with a share
    `density` of ones, one full column, row or both added, by `seed`. A share `test` of each class is put
    aside. D. Maheshwari et al., "An FPGA-Based Neuromorphic Processor with All-to-All Connectivity", ICRC
    2023.

    Raises `ValueError` for sizes below 2, and if there are not that many pictures.
    """

    def __init__(
        self, size: int = 7, samples: int = 400, density: float = 0.3, test: float = 0.25, seed: int = 0
    ) -> None:
        options.whole(self, "size", size, 2)
        options.whole(self, "samples", samples, 8)
        options.whole(self, "seed", seed, 0)
        options.share(self, "density", density)
        options.share(self, "test", test)
        rng = np.random.default_rng(seed)
        count = samples // 4
        drawn = _listed(size, count, rng) if size <= SMALL else _drawn(size, count, density, rng)
        x = np.concatenate(drawn)
        y = np.repeat(np.arange(4), [len(pictures) for pictures in drawn])
        aside = stratified(y, test, seed)
        features = x.reshape(len(x), -1).astype(np.float64)
        name = f"bars and stripes {size} × {size}"
        self._set((features[~aside], y[~aside]), (features[aside], y[aside]), name)


def label(pictures: ArrayLike) -> NDArray[np.int64]:
    """The class (n,) of pictures (n, s, s) of zeros and ones."""
    full = np.asarray(pictures) != 0
    bar = full.all(axis=1).any(axis=1)
    stripe = full.all(axis=2).any(axis=1)
    return np.asarray(bar + 2 * stripe, dtype=np.int64)


def _listed(size: int, count: int, rng: np.random.Generator) -> list[Pictures]:
    """Of all pictures of this size, `count` of each class, or all that there are."""
    numbers = np.arange(2 ** (size * size))[:, None] >> np.arange(size * size) & 1
    pictures = numbers.reshape(-1, size, size)
    classes = label(pictures)
    return [pictures[rng.permutation(np.flatnonzero(classes == c))[:count]] for c in range(4)]


def _drawn(size: int, count: int, density: float, rng: np.random.Generator) -> list[Pictures]:
    """`count` different pictures of each class."""
    found: list[dict[bytes, Pictures]] = [{} for _ in range(4)]
    for _ in range(TRIES):
        for wanted, kept in enumerate(found):
            pictures = (rng.random((count, size, size)) < density).astype(np.int64)
            rows = np.arange(count)
            column, row = rng.integers(size, size=(2, count))
            if wanted in (BAR, BOTH):
                pictures[rows, :, column] = 1
            if wanted in (STRIPE, BOTH):
                pictures[rows, row, :] = 1
            for picture in pictures[label(pictures) == wanted]:
                if len(kept) < count:
                    kept.setdefault(picture.tobytes(), picture)
        if all(len(kept) == count for kept in found):
            return [np.stack(list(kept.values())) for kept in found]
    raise ValueError(
        f"BarsAndStripes: there are hardly {4 * count} different pictures of {size} × {size} with a density "
        f"of {density}; use fewer `samples` or another `density`"
    )
