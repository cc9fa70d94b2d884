"""A small Gaussian process: what the value of a new genome probably is, judging by those that are known.

Rasmussen and Williams, "Gaussian processes for machine learning", MIT Press, 2006 (equation numbers
are theirs). Plain numpy, a fraction of a millisecond for a few hundred points.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISES = (1e-4, 1e-2, 1e-1)
SPARE = 64


class Process:
    """The posterior after `x` (n, d) and `y` (n,); `predict` gives mean and standard deviation.

    `length` is the scale of the Matérn kernel, `noise` the variance of the noise in units of the
    kernel's. With `shift` and `scale`, y = shift + scale * (what is modelled); its variance is `signal`.
    """

    def __init__(
        self, x: Array, target: Array, length: float, noise: float, shift: float, scale: float
    ) -> None:
        n, d = x.shape
        self.length, self.noise, self.shift, self.scale = length, noise, shift, scale
        self._n = n
        # Room for more points, so that adding one copies nothing.
        self._x = np.zeros((n + SPARE, d))
        self._squares, self._target = np.zeros(n + SPARE), np.zeros(n + SPARE)
        self._inverse = np.zeros((n + SPARE, n + SPARE))
        self._x[:n], self._target[:n] = x, target
        self._squares[:n] = (x * x).sum(axis=1)
        kernel = _matern(_squared(x, x, self._squares[:n]), length) if scale else np.zeros((n, n))
        self._inverse[:n, :n] = np.linalg.inv(kernel + noise * np.eye(n))
        self._weights = self._inverse[:n, :n] @ target
        self.signal = max(float(target @ self._weights) / n, 1e-12) if scale else 0.0

    def squared(self, x: Array) -> Array:
        """Squared distances (k, n) of `x` (k, d) from the points, however they are scored."""
        return _squared(x, self._x[: self._n], self._squares[: self._n])

    def predict(self, squared: Array, uncertain: int | None = None) -> tuple[Array, Array]:
        """Mean (k,) and standard deviation of the noiseless value; eq. 2.25 and 2.26.

        `squared` is that of the places asked for; the standard deviation is of the first `uncertain`.
        """
        across = _matern(squared, self.length)
        mean = self.shift + self.scale * (across @ self._weights)
        some = across[:uncertain]
        known = np.einsum("kn,kn->k", some @ self._inverse[: self._n, : self._n], some)
        return mean, self.scale * np.sqrt(np.maximum(1.0 - known, 0.0) * self.signal)

    def add(self, x: Array, y: float, squared: Array) -> None:
        """One more point, `x` (d,), with the same hyperparameters (block inverse); `SPARE` at most.

        `squared` is that of `x`, (1, n).
        """
        n = self._n
        self._x[n], self._squares[n] = x, x @ x
        self._n = n + 1
        if self.scale == 0:
            self._weights = np.zeros(n + 1)
            return
        across = _matern(squared, self.length)[0]
        inverse = self._inverse
        solved = inverse[:n, :n] @ across
        rest = max(1.0 + self.noise - float(across @ solved), 1e-12)
        inverse[:n, :n] += np.outer(solved, solved / rest)
        inverse[:n, n] = inverse[n, :n] = -solved / rest
        inverse[n, n] = 1.0 / rest
        self._target[n] = (y - self.shift) / self.scale
        self._weights = inverse[: n + 1, : n + 1] @ self._target[: n + 1]


def fit(x: Array, y: Array, sample: int = 100) -> Process:
    """The process with the most probable of a few lengths and noises (eq. 2.30, 5.8).

    `x` (n, d), `y` (n,); lengths are in units of the typical distance between points. They are chosen
    by at most `sample` of the points, evenly spread over the rows.
    """
    shift, scale = float(y.mean()), float(y.std())
    squares = (x * x).sum(axis=1)
    n = len(x)
    if not scale > 1e-12 * max(1.0, abs(shift)):
        # All equal: nothing to tell apart, and nothing that is uncertain.
        return Process(x, np.zeros(n), 1.0, 1.0, shift, 0.0)
    target = (y - shift) / scale
    distances = _squared(x, x, squares)
    typical = math.sqrt(float(distances.sum()) / max(n * (n - 1), 1)) or 1.0
    some = np.linspace(0, n - 1, min(n, sample)).astype(np.int64)
    part = distances[np.ix_(some, some)]
    kernels = {length: _matern(part, length * typical) for length in LENGTHS}
    # The length at the middle noise, then the noise at that length: not the whole grid.
    length = max(LENGTHS, key=lambda v: _likelihood(kernels[v], NOISES[1], target[some]))
    noise = max(NOISES, key=lambda v: _likelihood(kernels[length], v, target[some]))
    return Process(x, target, length * typical, noise, shift, scale)


def _likelihood(kernel: Array, noise: float, target: Array) -> float:
    """Log marginal likelihood, the signal's variance at its most probable value, up to a constant."""
    covariance = kernel + noise * np.eye(len(target))
    n = len(target)
    signal = max(float(target @ np.linalg.solve(covariance, target)) / n, 1e-12)
    lower = np.linalg.cholesky(covariance)
    return -0.5 * n * math.log(signal) - float(np.log(np.diag(lower)).sum())


def _squared(x: Array, others: Array, squares: Array) -> Array:
    """Squared distances, (k, n)."""
    return np.asarray(np.maximum((x * x).sum(axis=1)[:, None] + squares - 2.0 * (x @ others.T), 0.0))


def _matern(squared: Array, length: float) -> Array:
    """Matérn kernel with smoothness 5/2 (eq. 4.17)."""
    r = np.sqrt(squared) * (math.sqrt(5.0) / length)
    return np.asarray((1.0 + r + r * r / 3.0) * np.exp(-r))
