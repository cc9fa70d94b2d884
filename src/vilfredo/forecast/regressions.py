"""Linear regressions averaged by how well each predicts what it has not seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TAILS = 5.0  # degrees of freedom of the errors
RIDGES = (0.3, 3.0)  # prior precision of a standardised coefficient, relative to the noise's
DOUBT = 0.3  # one more error of this size, relative to the target's spread, than was seen
FAR = 6.0  # robust standard deviations beyond which a target is drawn in


@dataclass(frozen=True)
class Link:
    """A mixture of ridge regressions of a target on standardised features."""

    center: Array  # (d,)
    scale: Array  # (d,)
    weights: Array  # (m,)
    leans: Array  # (m,) 1 where the model corrects a guess, 0 where it does without
    beta: Array  # (m, d + 1), the intercept first
    inverse: Array  # (m, d + 1, d + 1): posterior covariance over noise variance
    noise: Array  # (m,) sd

    def __call__(self, features: Array, guess: Array) -> tuple[Array, Array, Array]:
        """For features (n, d) and guesses (n,): the models' means and sds (n, m) and their weights (m,)."""
        x = _design((features - self.center) / self.scale)
        leverage = np.einsum("ni,mij,nj->nm", x, self.inverse, x, optimize=True)
        means = x @ self.beta.T + guess[:, None] * self.leans
        return means, self.noise * np.sqrt(1.0 + leverage), self.weights


def learn(
    features: Array, guess: Array, target: Array, models: NDArray[np.bool_], leans: Array, others: Array
) -> tuple[Link, Array, Array]:
    """The link that n cases teach, the weights of the `others` (o,) and the cases' errors (n,), each as the
    link's own models, averaged, would have made it without that case.

    `features` (n, d); `guess` and `target` (n,); `models` (m, d): which features each model may use;
    `leans` (m,): 1 for models of target − guess, 0 for models of the target. Each model is tried with
    every one of `RIDGES`. `others` (n, o): log densities that competitors outside gave the targets. The
    weights of all of them together are proportional to their leave-one-out predictive densities.
    """
    count, d = features.shape
    center = np.asarray(np.median(features, axis=0))
    scale = np.asarray(features.std(axis=0))
    scale[scale < 1e-12] = 1.0
    x = _design((features - center) / scale)
    leans = np.asarray(np.tile(leans, len(RIDGES)), dtype=np.float64)
    # targets far out are drawn in
    wanted = np.stack([target, target - guess])
    middle = np.median(wanted, axis=1, keepdims=True)
    size = 1.4826 * np.median(np.abs(wanted - middle), axis=1, keepdims=True)
    size = np.maximum(np.maximum(size, 0.1 * wanted.std(axis=1, keepdims=True)), 1e-9)
    near = np.clip(wanted, middle - FAR * size, middle + FAR * size)
    kind = leans.astype(int)
    y, beyond = near[kind], (wanted - near)[kind]
    doubt = (DOUBT * size[kind]) ** 2
    penalties = np.concatenate([np.where(models, ridge, 1e6) for ridge in RIDGES])
    penalties = np.concatenate([np.full((len(penalties), 1), 1e-2), penalties], axis=1)
    gram = (x.T @ x)[None] + penalties[:, :, None] * np.eye(d + 1)
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    beta = np.asarray(np.einsum("mij,mj->mi", inverse, y @ x), dtype=np.float64)
    hat = np.einsum("ni,mij,nj->mn", x, inverse, x, optimize=True)
    out = (y - beta @ x.T) / np.maximum(1.0 - hat, 0.05)
    # each case's error against the size of all the other cases' errors
    square = out**2
    variance = (square.sum(axis=1, keepdims=True) - square + doubt) / count
    errors = out + beyond
    density = t_density(errors, np.sqrt(variance)).sum(axis=1)
    total = np.concatenate([density, others.sum(axis=0)])
    weights = np.exp(total - total.max())
    weights /= weights.sum()
    noise: Array = np.sqrt((square.sum(axis=1) + doubt[:, 0]) / count, dtype=np.float64)
    inside, outside = weights[: len(density)], weights[len(density) :]
    return Link(center, scale, inside, leans, beta, inverse, noise), outside, inside @ errors


def _design(z: Array) -> Array:
    return np.concatenate([np.ones((len(z), 1)), np.clip(z, -FAR, FAR)], axis=1)


def t_density(error: Array, sd: Array | float) -> Array:
    """Log density of Student's t with `TAILS` degrees of freedom whose standard deviation is `sd`."""
    scale = sd * math.sqrt((TAILS - 2) / TAILS)
    constant: float = math.lgamma((TAILS + 1) / 2) - math.lgamma(TAILS / 2) - 0.5 * math.log(TAILS * math.pi)
    return np.asarray(constant - np.log(scale) - (TAILS + 1) / 2 * np.log1p((error / scale) ** 2 / TAILS))
