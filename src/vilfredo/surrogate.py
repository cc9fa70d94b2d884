"""A small Gaussian process: what the value of a new genome probably is, judging by those that are known.

Rasmussen and Williams, "Gaussian processes for machine learning", MIT Press, 2006 (equation numbers
are theirs). Plain numpy, a fraction of a millisecond for a few hundred points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISES = (1e-4, 1e-2, 1e-1)
SAMPLE = 100


@dataclass(frozen=True, slots=True)
class Process:
    """The posterior after `x` (n, d) and `y` (n,); `predict` gives mean and standard deviation.

    `length` is the scale of the Matérn kernel, `noise` the variance of the noise in units of the
    kernel's. `shift`, `scale`: y = shift + scale * (what is modelled).
    """

    x: Array
    squares: Array  # (n,) of x
    target: Array  # (n,) standardised y
    inverse: Array  # (n, n) of kernel + noise
    weights: Array  # (n,) inverse @ target
    length: float
    noise: float
    shift: float
    scale: float
    signal: float

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean (k,) and standard deviation (k,) of the noiseless value at `x` (k, d); eq. 2.25 and 2.26."""
        across = _matern(_squared(x, self.x, self.squares), self.length)
        mean = across @ self.weights
        known = ((across @ self.inverse) * across).sum(axis=1)
        sd = np.sqrt(np.maximum(1.0 - known, 0.0) * self.signal)
        return self.shift + self.scale * mean, self.scale * sd

    def add(self, x: Array, y: float) -> Process:
        """The posterior after one more point, with the same hyperparameters (block inverse)."""
        across = _matern(_squared(x[None], self.x, self.squares), self.length)[0]
        solved = self.inverse @ across
        rest = max(1.0 + self.noise - float(across @ solved), 1e-12)
        n = len(self.x)
        inverse = np.empty((n + 1, n + 1))
        inverse[:n, :n] = self.inverse + np.outer(solved, solved / rest)
        inverse[:n, n] = inverse[n, :n] = -solved / rest
        inverse[n, n] = 1.0 / rest
        target = np.append(self.target, (y - self.shift) / self.scale)
        return Process(
            np.vstack([self.x, x]),
            np.append(self.squares, x @ x),
            target,
            inverse,
            inverse @ target,
            self.length,
            self.noise,
            self.shift,
            self.scale,
            self.signal,
        )


def fit(x: Array, y: Array) -> Process:
    """The process with the most probable of a few lengths and noises (eq. 2.30, 5.8).

    `x` (n, d), `y` (n,); lengths are in units of the typical distance between points. They are chosen
    by at most `SAMPLE` of the points, evenly spread over the rows.
    """
    shift, scale = float(y.mean()), float(y.std())
    squares = (x * x).sum(axis=1)
    n = len(x)
    if not scale > 1e-12 * max(1.0, abs(shift)):
        # All equal: nothing to tell apart, and nothing that is uncertain.
        return Process(x, squares, np.zeros(n), np.eye(n), np.zeros(n), 1.0, 1.0, shift, 0.0, 0.0)
    target = (y - shift) / scale
    distances = _squared(x, x, squares)
    typical = math.sqrt(float(distances.sum()) / max(n * (n - 1), 1)) or 1.0
    some = np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)
    part = distances[np.ix_(some, some)]
    best: tuple[float, float, float] | None = None
    for length in LENGTHS:
        kernel = _matern(part, length * typical)
        for noise in NOISES:
            likelihood = _likelihood(kernel + noise * np.eye(len(some)), target[some])
            if best is None or likelihood > best[0]:
                best = (likelihood, length * typical, noise)
    assert best is not None
    _, length, noise = best
    inverse = np.asarray(np.linalg.inv(_matern(distances, length) + noise * np.eye(n)), dtype=np.float64)
    weights = inverse @ target
    signal = max(float(target @ weights) / n, 1e-12)
    return Process(x, squares, target, inverse, weights, length, noise, shift, scale, signal)


def _likelihood(covariance: Array, target: Array) -> float:
    """Log marginal likelihood, the signal's variance at its most probable value, up to a constant."""
    n = len(target)
    signal = max(float(target @ np.linalg.solve(covariance, target)) / n, 1e-12)
    return -0.5 * n * math.log(signal) - 0.5 * float(np.linalg.slogdet(covariance)[1])


def _squared(x: Array, others: Array, squares: Array) -> Array:
    """Squared distances, (k, n)."""
    return np.asarray(np.maximum((x * x).sum(axis=1)[:, None] + squares - 2.0 * (x @ others.T), 0.0))


def _matern(squared: Array, length: float) -> Array:
    """Matérn kernel with smoothness 5/2 (eq. 4.17)."""
    r = np.sqrt(squared) * (math.sqrt(5.0) / length)
    return np.asarray((1.0 + r + r * r / 3.0) * np.exp(-r))
