"""How likely a network, known only by a forecast, is to be among the best."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 512  # where more than one goal is uncertain


def below(mean: float, sd: float, bound: float) -> float:
    """P(y < bound) of a normal y; at sd 0, whether mean < bound."""
    if bound == math.inf:
        return 1.0
    if sd <= 0:
        return float(mean < bound)
    return 0.5 * math.erfc((mean - bound) / (sd * math.sqrt(2.0)))


def normal(z: Array) -> Array:
    """P(standard normal < z) of each, to 3e-4 (tanh approximation of E. Page, 1977)."""
    return np.asarray(0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))), dtype=float)


def enters(mean: Array, sd: Array, points: Array) -> float:
    """P(no row of `points` (n, m) dominates y), y independent normals of `mean` (m,) and `sd` (m,).

    All goals to be minimised. Exact where one goal at most is uncertain: then y enters if it is below
    the smallest value of that goal among the points that are no worse in all others. Otherwise the mean
    over `DRAWS` fixed draws (the same ones at every call).
    """
    if len(points) == 0:
        return 1.0
    uncertain = np.flatnonzero(sd > 0)
    if len(uncertain) <= 1:
        goal = int(uncertain[0]) if len(uncertain) else 0
        rest = np.delete(np.arange(len(mean)), goal)
        rivals = points[(points[:, rest] <= mean[rest]).all(axis=1), goal]
        return below(float(mean[goal]), float(sd[goal]), float(rivals.min(initial=math.inf)))
    draws = mean + sd * _draws(len(mean))
    beaten = np.zeros(len(draws), dtype=bool)
    for point in points:
        beaten |= (point <= draws).all(axis=1)
    return float(1.0 - beaten.mean())


@cache
def _draws(goals: int) -> Array:
    """Fixed standard normal draws, `DRAWS` × `goals`: a Latin hypercube."""
    rng = np.random.default_rng(20210101)
    normal = NormalDist()
    levels = np.array([normal.inv_cdf((i + 0.5) / DRAWS) for i in range(DRAWS)])
    return np.stack([rng.permutation(levels) for _ in range(goals)], axis=1)
