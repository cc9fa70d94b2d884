"""Families of learning curves, and exact inference over all of them at once.

Every family here is a curve y(t) = a + b·φ(t; θ) of the epoch t = 1 … E. Once its shape θ is fixed it is
linear in the other two, so a grid over θ makes the inference exact and quick: for each shape, each noise
level and a normal prior of (a, b), the posterior and the evidence are in closed form, and the
forecast is the mixture of all of them. φ is scaled to φ(1) = 1 and φ(E) = 0: then a is the value at the
end of training, the very thing that is asked for, and b how far it is from there to the first epoch.

The families, with the shapes φ before scaling (the asymptote and the amplitude of the published
formulas are in a and b):

* `pow3`: t^−α, the power law c − a·t^−α
* `pow4`: (t + β)^−α, the shifted power law c − (a·t + b)^−α
* `exponential`: exp(−κt), "exp3"
* `weibull`: exp(−κ·t^δ) with δ < 1, Weibull's α − (α − β)·exp(−(κt)^δ), also "exp4"
* `janoschek`: exp(−κ·t^δ) with δ > 1, Janoschek's α − (α − β)·exp(−κ·t^δ). It is Weibull's curve with
  another name for κ; so they share the work: Weibull's grid has the stretched, this one the
  sigmoid curves
* `mmf`: 1/(1 + (κt)^δ), Morgan, Mercer and Flodin's α − (α − β)/(1 + (κt)^δ); Hill's curve is the same
* `ilog`: 1/log(t + s), "ilog2": c − a/log t
* `vapor`: exp(β/t)·t^γ, the vapour pressure exp(α + β/t + γ·log t)
* `peers`: the median curve of the networks that finished in this search, and blends of it with the
  straight line: what they share, a schedule of the learning rate above all, no formula knows

Sources: T. Domhan, J. T. Springenberg, F. Hutter, "Speeding up automatic hyperparameter optimization of
deep neural networks by extrapolation of learning curves", IJCAI 2015, table 1; P. Kolachina et al.,
"Prediction of learning curves in machine translation", ACL 2012, table 1 (pow3, exp3, ilog2); T. Viering,
M. Loog, "The shape of learning curves: a review", IEEE TPAMI 45(6), 2023, table 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NAMES = ("pow3", "pow4", "exponential", "weibull", "janoschek", "mmf", "ilog", "vapor", "peers")
TAILS = 3.0  # degrees of freedom of the noise: spikes of a validation curve count little
ROUNDS = 3  # of reweighting by these tails


@dataclass(frozen=True)
class Shapes:
    """The grid: `phi` (G, E), 1 at the first epoch and 0 at the last; `family` (G,) indexes `NAMES`."""

    phi: Array
    square: Array  # phi²
    family: NDArray[np.int64]


@dataclass(frozen=True)
class Prior:
    """What is believed of a curve before it is seen. `mean` (2,) and `precision` (2, 2) of (a, b);
    log weights of the shapes (G,) and of the noise levels `sigmas` (S,); `profile` (E,): the noise
    of each epoch relative to `sigmas`."""

    mean: Array
    precision: Array
    shapes: Array
    sigmas: Array
    levels: Array
    profile: Array


@dataclass(frozen=True)
class Fit:
    """Mixtures for P curves, as moments. `end` and `sd` (P,): the value at the last epoch, noise of that
    epoch included; `curve` (P, E) the mean curve; `first` (P,) mean of b; `noise` (P,) mean noise level;
    `shapes` (P, G) and `levels` (P, S): posterior weights."""

    end: Array
    sd: Array
    first: Array
    curve: Array
    noise: Array
    shapes: Array
    levels: Array


@lru_cache(maxsize=16)
def shapes(epochs: int) -> Shapes:
    """The grid over all families but `peers`, for trainings of `epochs` epochs (2 at least)."""
    t = np.arange(1.0, epochs + 1)
    rows: list[tuple[str, Array]] = []
    rows += [("pow3", t**-a) for a in (0.1, 0.3, 0.6, 1.0, 1.5, 2.5)]
    rows += [("pow4", (t + s * epochs) ** -a) for s in (0.04, 0.2, 1.0) for a in (0.5, 1.0, 2.0, 4.0)]
    rows += [("exponential", np.exp(-k * t / epochs)) for k in (0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)]
    rows += [
        ("weibull", np.exp(-((k * t / epochs) ** d))) for d in (0.4, 0.7) for k in (0.5, 1.5, 4.0, 12.0, 36.0)
    ]
    rows += [
        ("janoschek", np.exp(-((k * t / epochs) ** d))) for d in (1.5, 2.5) for k in (1.0, 2.0, 4.0, 8.0)
    ]
    rows += [("mmf", 1 / (1 + (k * t / epochs) ** d)) for d in (1.0, 2.0, 4.0) for k in (1.0, 3.0, 8.0, 20.0)]
    rows += [("ilog", 1 / np.log(t + s)) for s in (0.5, 1.0, math.e, 10.0)]
    rows += [
        ("vapor", np.exp(b / t) * t**c)
        for b, c in ((1.0, -0.1), (1.0, -0.5), (2.0, -0.2), (-0.5, -0.5), (-1.0, -1.0), (2.0, 0.2))
    ]
    return _scaled([name for name, _ in rows], np.array([row for _, row in rows]))


def _scaled(names: list[str], raw: Array) -> Shapes:
    drop = raw[:, :1] - raw[:, -1:]
    keep = np.isfinite(raw).all(axis=1) & (np.abs(drop[:, 0]) > 1e-9)
    phi = (raw[keep] - raw[keep, -1:]) / drop[keep]
    family = np.array([NAMES.index(name) for name, kept in zip(names, keep, strict=True) if kept])
    return Shapes(phi, phi**2, family)


def with_peers(grid: Shapes, curves: Array) -> Shapes:
    """The grid and the family `peers`, from finished curves (P, E) in the scale in which they are fitted."""
    epochs = curves.shape[1]
    if not np.isfinite(curves).any(axis=0).all():
        return grid
    middle = np.nanmedian(curves, axis=0)
    drop = middle[0] - middle[-1]
    if not np.isfinite(middle).all() or abs(drop) < 1e-9:
        return grid
    shape = (middle - middle[-1]) / drop
    straight = np.linspace(1.0, 0.0, epochs)
    rows = np.array([shape, 0.75 * shape + 0.25 * straight, 1.25 * shape - 0.25 * straight])
    phi = np.vstack([grid.phi, rows])
    return Shapes(phi, phi**2, np.concatenate([grid.family, np.full(3, NAMES.index("peers"))]))


def weights_of(grid: Shapes) -> Array:
    """Log prior weights (G,): every family the same, within a family every shape the same."""
    counts = np.bincount(grid.family, minlength=len(NAMES))
    return np.asarray(-np.log(counts[grid.family]) - math.log((counts > 0).sum()))


def fit(y: Array, grid: Shapes, prior: Prior) -> Fit:
    """The mixtures of the curves `y` (P, k), k ≤ E, NaN where nothing is known.

    Heavy tails by iterated reweighting: t-distributed noise of `TAILS` degrees of freedom as a normal one
    whose variance is larger where a curve is far from its mean.
    """
    k = y.shape[1]
    known = np.isfinite(y)
    y = np.where(known, y, 0.0)
    phi, square = np.ascontiguousarray(grid.phi[:, :k]), np.ascontiguousarray(grid.square[:, :k])
    columns = np.ascontiguousarray(grid.phi.T)
    base = known / prior.profile[:k] ** 2
    variance = prior.sigmas**2
    p00, p01, p11 = prior.precision[0, 0], prior.precision[0, 1], prior.precision[1, 1]
    h0, h1 = prior.precision @ prior.mean
    constant = float(prior.mean @ prior.precision @ prior.mean)
    logp = prior.shapes[:, None] + prior.levels[None, :]
    weight = base
    for turn in range(ROUNDS + 1):
        wy = weight * y
        effective = np.where(base > 0, weight / np.where(base > 0, base, 1.0), 0.0).sum(axis=1)
        a00 = p00 + weight.sum(axis=1)[:, None, None] / variance
        a01 = p01 + _each(weight, phi)[:, :, None] / variance
        a11 = p11 + _each(weight, square)[:, :, None] / variance
        g0 = h0 + wy.sum(axis=1)[:, None, None] / variance
        g1 = h1 + _each(wy, phi)[:, :, None] / variance
        det = np.maximum(a00 * a11 - a01**2, 1e-300)
        a = (a11 * g0 - a01 * g1) / det
        b = (a00 * g1 - a01 * g0) / det
        rest = (wy * y).sum(axis=1)[:, None, None] / variance + constant - (g0 * a + g1 * b)
        evidence = logp - 0.5 * (rest + np.log(det) + effective[:, None, None] * np.log(variance))
        w = np.exp(evidence - evidence.max(axis=(1, 2), keepdims=True))
        w /= w.sum(axis=(1, 2), keepdims=True)
        wa, wb = (w * a).sum(axis=2), (w * b).sum(axis=2)
        noise2 = (w.sum(axis=1) * variance).sum(axis=1)
        if turn < ROUNDS:
            residual = y - (wa.sum(axis=1)[:, None] + _each(wb, columns[:k]))
            weight = base * (TAILS + 1) / (TAILS + residual**2 * base / noise2[:, None])
    end = wa.sum(axis=1)
    spread = (w * (a - end[:, None, None]) ** 2).sum(axis=(1, 2)) + (w * (a11 / det)).sum(axis=(1, 2))
    return Fit(
        end=end,
        sd=np.sqrt(spread + noise2 * prior.profile[-1] ** 2),
        first=wb.sum(axis=1),
        curve=end[:, None] + _each(wb, columns),
        noise=np.sqrt(noise2),
        shapes=w.sum(axis=2),
        levels=w.sum(axis=1),
    )


def _each(rows: Array, others: Array) -> Array:
    """rows (P, n) times others (m, n), transposed: (P, m). Not by BLAS: there the last digits of a row
    depend on how many rows there are, and a forecast on what else was forecast with it."""
    return np.asarray((rows[:, None, :] * others).sum(axis=2))


def vague(grid: Shapes, epochs: int, center: float, scale: float, drop: float) -> Prior:
    """A prior that knows only a scale: the value at the end about `center` ± 3 scales, `drop` ± 1.5 scales
    above it at the first epoch; noise between 1/300 of the scale and all of it."""
    deviation = np.array([3.0 * scale, 1.5 * scale])
    sigmas = scale * np.array([0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
    return Prior(
        mean=np.array([center, drop]),
        precision=np.diag(1 / deviation**2),
        shapes=weights_of(grid),
        sigmas=sigmas,
        levels=np.full(len(sigmas), -math.log(len(sigmas))),
        profile=np.ones(epochs),
    )


def learned(curves: Array, least: float) -> tuple[Shapes, Prior]:
    """Grid and prior from finished curves (P, E), P ≥ 2: mean and covariance of their (a, b), the noise of
    each epoch, weights of shapes and noise levels. Empirical Bayes, shrunk to the vague prior by a
    few curves' worth."""
    count, epochs = curves.shape
    known = curves[np.isfinite(curves)]
    low, high = np.quantile(known, (0.1, 0.9)) if len(known) else (0.0, 0.0)
    scale = max(float(high - low), least)
    grid = with_peers(shapes(epochs), curves)
    center = _median(curves[:, -1])
    drop = _median(curves[:, 0] - curves[:, -1])
    prior = vague(grid, epochs, center, scale, drop)
    for _ in range(2):
        found = fit(curves, grid, prior)
        points = np.stack([found.end, found.first], axis=1)
        mean = np.median(points, axis=0)
        away = np.clip(points - mean, -4 * scale, 4 * scale)
        broad = np.diag(np.array([1.0, 1.0]) * scale**2)
        covariance = (away.T @ away + 2.0 * broad) / (count + 1.0)
        residual = np.abs(curves - found.curve) / np.maximum(found.noise, 1e-12)[:, None]
        profile = _profile(residual)
        shape = np.log(found.shapes.sum(axis=0) + 2.0 * np.exp(prior.shapes)) - math.log(count + 2.0)
        level = np.log(found.levels.sum(axis=0) + 0.2) - math.log(count + 0.2 * len(prior.sigmas))
        prior = Prior(mean, np.linalg.inv(covariance), weights_of(grid), prior.sigmas, level, profile)
    return grid, Prior(prior.mean, prior.precision, shape, prior.sigmas, prior.levels, prior.profile)


def _median(values: Array) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else 0.0


def _profile(residual: Array) -> Array:
    """The noise of each epoch (E,) from relative residuals (P, E): their mean size over the networks and the
    epochs next to it, geometric mean 1, within a factor of 30, shrunk to 1 where networks are few."""
    count = len(residual)
    seen = np.isfinite(residual)
    total = np.where(seen, np.minimum(residual, 5.0), 0.0).sum(axis=0)
    size = (total + 1e-3) / (seen.sum(axis=0) + 1e-3)
    padded = np.concatenate([size[:1], size, size[-1:]])
    smooth = np.maximum((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, 1e-6)
    logs = np.log(smooth)
    logs = (logs - logs.mean()) * count / (count + 3.0)
    return np.asarray(np.exp(np.clip(logs, -1.7, 1.7)))
