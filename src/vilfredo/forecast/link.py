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
    beta: Array  # (m, d + 1), the intercept first
    inverse: Array  # (m, d + 1, d + 1): posterior covariance over noise variance
    noise: Array  # (m,) sd

    def __call__(self, features: Array) -> tuple[Array, Array, Array]:
        """For features (n, d): the models' means and sds (n, m) and their weights (m,)."""
        z = np.clip((features - self.center) / self.scale, -FAR, FAR)
        x = np.concatenate([np.ones((len(z), 1)), z], axis=1)
        leverage = np.einsum("ni,mij,nj->nm", x, self.inverse, x)
        return x @ self.beta.T, self.noise * np.sqrt(1.0 + leverage), self.weights


def learn(features: Array, target: Array, models: NDArray[np.bool_], others: Array) -> tuple[Link, Array]:
    """The link that n cases teach, and the weights of the `others`.

    `features` (n, d), `target` (n,); `models` (m, d): which features each model may use; each is tried
    with every one of `RIDGES`. `others` (n, o): log densities that competitors outside gave the targets.
    The weights of all of them together are proportional to their leave-one-out predictive densities.
    """
    count, d = features.shape
    center = np.median(features, axis=0)
    scale = features.std(axis=0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    z = np.clip((features - center) / scale, -FAR, FAR)
    x = np.concatenate([np.ones((count, 1)), z], axis=1)
    middle = float(np.median(target))
    size = 1.4826 * float(np.median(np.abs(target - middle)))
    size = max(size, 0.1 * float(target.std()), 1e-9)
    target = np.clip(target, middle - FAR * size, middle + FAR * size)
    penalties = np.concatenate([np.where(models, ridge, 1e6) for ridge in RIDGES])
    penalties = np.concatenate([np.full((len(penalties), 1), 1e-2), penalties], axis=1)
    gram = (x.T @ x)[None] + penalties[:, :, None] * np.eye(d + 1)
    inverse = np.linalg.inv(gram)
    beta = inverse @ (x.T @ target)
    hat = np.einsum("ni,mij,nj->mn", x, inverse, x)
    out = (target - beta @ x.T) / np.maximum(1.0 - hat, 0.05)
    # each case's error against the size of all the other cases' errors
    square = out**2
    doubt = (DOUBT * size) ** 2
    variance = (square.sum(axis=1, keepdims=True) - square + doubt) / count
    density = (t_density(out, np.sqrt(variance))).sum(axis=1)
    total = np.concatenate([density, others.sum(axis=0)])
    weights = np.exp(total - total.max())
    weights /= weights.sum()
    noise = np.sqrt((square.sum(axis=1) + doubt) / count)
    link = Link(center, scale, weights[: len(density)], beta, inverse, noise)
    return link, weights[len(density) :]


def t_density(error: Array, sd: Array) -> Array:
    """Log density of Student's t with `TAILS` degrees of freedom whose standard deviation is `sd`."""
    scale = sd * math.sqrt((TAILS - 2) / TAILS)
    constant = math.lgamma((TAILS + 1) / 2) - math.lgamma(TAILS / 2) - 0.5 * math.log(TAILS * math.pi)
    return np.asarray(constant - np.log(scale) - (TAILS + 1) / 2 * np.log1p((error / scale) ** 2 / TAILS))
