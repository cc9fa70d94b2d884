"""Resilience: what the scores of perturbed copies come to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Resilience(NamedTuple):
    """Task scores under faults; more is better. Each has the shape of the scores without their last axis."""

    mean: NDArray[np.float64]
    q05: NDArray[np.float64]
    worst: NDArray[np.float64]


def resilience(scores: NDArray[np.float64]) -> Resilience:
    """Mean, 5 % quantile and worst of `scores` (…, K), one score for each of K perturbed copies.

    The quantile interpolates linearly between order statistics: with x₀ ≤ … ≤ x₍K₋₁₎ it lies at position 0.05
    · (K − 1) (type 7 of R. J. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages", The American
    Statistician 50(4), 1996; NumPy's default). Below 21 copies it lies between the worst and the second
    worst, so it is little else than a smoother worst; the chance that no copy at all comes from the worst 5 %
    is 0.95^K: 36 % with K = 20, 4 % with K = 64. For confirmation take K ≥ 100, where five copies lie below
    it.

    Raises `ValueError` if there are no copies or a score is not finite.
    """
    scores = _checked(scores)
    return Resilience(scores.mean(-1), np.quantile(scores, 0.05, axis=-1), scores.min(-1))


def standard_errors(
    scores: NDArray[np.float64], draws: int = 200, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard errors of mean and 5 % quantile of `scores` (…, K), over the draw of copies.

    That of the mean is s / √K, with K − 1 in s. That of the quantile is the standard deviation over `draws`
    bootstrap samples of the copies, drawn with `seed`; with fewer than some 50 copies it is too small. The
    worst has none. Both are 0 for one copy.
    """
    scores = _checked(scores)
    count = scores.shape[-1]
    if count == 1:
        return np.zeros(scores.shape[:-1]), np.zeros(scores.shape[:-1])
    samples = np.random.default_rng(seed).integers(count, size=(draws, count))
    quantiles = np.quantile(scores[..., samples], 0.05, axis=-1)  # (…, draws)
    least = 1e-12 * np.abs(scores).max(-1)  # what is below comes from rounding, with scores that are equal
    mean, q05 = scores.std(-1, ddof=1) / np.sqrt(count), quantiles.std(-1, ddof=1)
    return np.where(mean > least, mean, 0.0), np.where(q05 > least, q05, 0.0)


def _checked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError("resilience needs the scores of at least one perturbed copy")
    if not np.isfinite(scores).all():
        raise ValueError("a score of a perturbed copy is not finite")
    return scores
