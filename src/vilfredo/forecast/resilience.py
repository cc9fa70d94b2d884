"""Learns from the networks measured so far which of the next need no measuring: for goals that cost thousands
of faulty inferences.

Faults of one kind at one rate are one goal, and each goal has its own model: from features of a network
(`vilfredo.topology`, and gains of its weights where they are known) to the goal, with its uncertainty.

The model is an average of Gaussian processes (Rasmussen and Williams, "Gaussian processes for machine
learning", MIT Press, 2006) with linear and Matérn kernels over the same features, which differ in how much
more the features that rank the known networks weigh than the others. Each counts by how well it predicts the
networks that it is not told of (leave one out, equation 5.12). Ours. Shares are modelled as log odds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vilfredo.forecast import chances, curves
from vilfredo.goal import Goal, numbers, violation
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import FEATURE, Trial, Value

Array = NDArray[np.float64]

MOST = 128  # networks that a model learns from: the last ones
SCREENS = (0.0, 1.0, 2.0)  # powers of the rank correlation that features weigh by
LENGTHS = (1.0, 2.0, 4.0)  # of the Matérn kernel, in units of the typical distance
LINEAR = (0.0, 0.5, 1.0)  # shares of the linear kernel
NOISES = (0.1, 0.3, 1.0)  # variances, in units of the kernel's
EDGE = 1e-4  # shares are kept this far from 0 and 1
SHARPNESS = 0.1  # of their weights in the average: densities of a search's few networks are noisy


class Resilience:
    """After the last epoch it forecasts the goals that are measured under faults; who need not be measured
    keeps the forecast. It ends no training.

    A network is measured if one of these holds: fewer than `full` networks have been measured; the forecast
    is unsure, its standard deviation above `unsure` times that of all measured networks; its chance to enter
    the front, by the forecasts and by what is known of the other goals, is at least `cut`; a limit is as
    near.

    * `names`: the goals to forecast; by default those that say that they are measured under faults.

    Features are values of the preview (`feature.<name>`), and metrics of the last epoch of that name, which
    replace them. Raises `ValueError` for options that make no sense.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        *,
        names: Sequence[str] = (),
        full: int = 12,
        unsure: float = 0.6,
        cut: float = 0.1,
    ) -> None:
        if full < 3:
            raise ValueError(f"resilience: full is {full}; at least 3 networks have to be measured")
        if unsure <= 0:
            raise ValueError(f"resilience: unsure is {unsure}; give a share above 0, such as 0.6")
        if not 0 < cut < 1:
            raise ValueError(f"resilience: cut is {cut}; give a chance between 0 and 1, such as 0.1")
        known = {g.name for g in goals}
        if lost := [name for name in names if name not in known]:
            raise ValueError(f"resilience: {lost[0]!r} is no goal; there are {', '.join(sorted(known))}")
        self.goals = tuple(goals)
        self.names = tuple(names) or tuple(g.name for g in goals if g.stage == "measure" and g.under_faults)
        self.full, self.unsure, self.cut = full, unsure, cut
        # Memo of a pure function: the networks that a model was learned from, and the model.
        self._models: dict[str, tuple[tuple[tuple[int, float], ...], Model]] = {}

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        if not self.names or not trial.epochs or trial.epochs[-1].index < epochs:
            return GO
        row = features(trial)
        if not row:
            goals = ", ".join(self.names)
            return Verdict(reason=f"nothing to forecast {goals} by: no value or metric is called {FEATURE}…")
        others = sorted((p for p in peers if p.number != trial.number), key=lambda p: p.number)
        forecast: dict[str, Value] = {}
        unsure = False
        for name in self.names:
            found = self._forecast(name, row, others)
            if found is None:
                return GO
            value, doubt = found
            forecast[name] = value
            unsure |= doubt > self.unsure
        if not forecast:
            return GO
        if unsure or self._matters(trial, others, forecast, epochs):
            return Verdict("go", forecast)
        return Verdict("go", forecast, spared=frozenset(forecast))

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return ()

    def _forecast(
        self, name: str, row: Mapping[str, float], peers: Sequence[Trial]
    ) -> tuple[Value, float] | None:
        """The forecast, and its standard deviation in units of that of the known ones."""
        taught = []
        for peer in peers:
            value = peer.value(name)
            whole = peer.state == "complete"  # others were measured half trained, if at all
            if whole and value is not None and value.origin == "measured" and features(peer):
                taught.append((peer, value.mean))
        taught = taught[-MOST:]
        if len(taught) < self.full:
            return None
        key = tuple((peer.number, value) for peer, value in taught)
        known = self._models.get(name)
        if known is None or known[0] != key:
            model = fit([features(peer) for peer, _ in taught], [value for _, value in taught])
            self._models[name] = known = key, model
        model = known[1]
        latent = model.latent([row])[1]
        mean, sd = model.predict([row])
        if not (np.isfinite(mean).all() and np.isfinite(sd).all()):
            return None
        doubt = float(latent[0]) / model.scale if model.scale > 0 else 0.0
        return Value(float(mean[0]), float(sd[0]), 1, "forecast"), doubt

    def _matters(
        self, trial: Trial, peers: Sequence[Trial], forecast: Mapping[str, Value], epochs: int
    ) -> bool:
        """Whether it may enter the front, or a limit."""
        for goal in self.goals:
            value = forecast.get(goal.name)
            for limit in (goal.max, goal.min) if value is not None else ():
                if limit is not None:
                    assert value is not None
                    below = chances.below(value.mean, value.sd, limit)
                    if min(below, 1 - below) >= self.cut:
                        return True
        ranked = [g for g in self.goals if g.ranked]
        signs = np.array([1.0 if g.sense == "min" else -1.0 for g in ranked])
        rows = []
        for peer in peers:
            values = numbers(peer, self.goals)
            known_all = peer.state != "failed" and all(g.name in values for g in ranked)
            if known_all and violation(values, self.goals) == 0:
                rows.append([values[g.name] for g in ranked])
        points = np.array(rows, dtype=float).reshape(-1, len(ranked)) * signs
        own = {name: (value.mean, value.sd) for name, value in forecast.items()}
        curve = curves.read(trial, self.goals, epochs)
        mean, sd = np.zeros(len(ranked)), np.zeros(len(ranked))
        for at, goal in enumerate(ranked):
            if goal.name in own:
                mean[at], sd[at] = signs[at] * own[goal.name][0], own[goal.name][1]
                continue
            known = math.nan
            if curve is not None:
                last = float(curve.val[-1])
                known = last if curve.goal.name == goal.name else curve.others.get(goal.name, math.nan)
            elif (value := trial.value(goal.name)) is not None:
                known = signs[at] * value.mean
            # Of what nobody knows yet the best is assumed.
            mean[at] = known if math.isfinite(known) else float(points[:, at].min(initial=0.0)) - 1.0
        return chances.enters(mean, sd, points) >= self.cut


def features(trial: Trial) -> dict[str, float]:
    """What is known of a network that a model can learn from, by name."""
    found = {
        key.goal.removeprefix(FEATURE): value.mean
        for key, value in trial.values.items()
        if key.goal.startswith(FEATURE)
    }
    for epoch in trial.epochs[-1:]:
        for name, metric in epoch.metrics.items():
            if name.startswith(FEATURE) and math.isfinite(metric):
                found[name.removeprefix(FEATURE)] = metric
    return found


@dataclass(frozen=True)
class Expert:
    """One Gaussian process. `weights` (d,) of the standardised features."""

    weights: Array
    linear: float
    length: float
    noise: float
    signal: float
    share: float  # in the average
    alpha: Array  # (n,)
    inverse: Array  # (n, n)


@dataclass(frozen=True)
class Model:
    """What `fit` has learned. `names` (d,) are the features used; `x` (n, d) is standardised."""

    names: tuple[str, ...]
    centre: Array
    spread: Array
    x: Array
    experts: tuple[Expert, ...]
    shift: float
    scale: float
    odds: bool

    def predict(self, rows: Sequence[Mapping[str, float]]) -> tuple[Array, Array]:
        """Mean and standard deviation (k,) of the value that would be measured, in its own unit.

        A feature that a row lacks is taken to be average.
        """
        mean, sd = self.latent(rows)
        if not self.odds:
            return mean, sd
        value = 1.0 / (1.0 + np.exp(-mean))
        return value, np.minimum(sd * np.maximum(value * (1.0 - value), EDGE), 0.5)

    def latent(self, rows: Sequence[Mapping[str, float]]) -> tuple[Array, Array]:
        """The same where shares are log odds."""
        if not self.experts:
            return np.full(len(rows), self.shift), np.full(len(rows), self.scale)
        x = (table(rows, self.names, self.centre) - self.centre) / self.spread
        x = np.clip(x, -5.0, 5.0)
        total, square = np.zeros(len(x)), np.zeros(len(x))
        for expert in self.experts:
            across = kernel(x, self.x, expert.weights, expert.linear, expert.length)
            own = diagonal(x, expert.weights, expert.linear)
            mean = across @ expert.alpha
            known = np.einsum("kn,nm,km->k", across, expert.inverse, across)
            variance = (np.maximum(own - known, 0.0) + expert.noise) * expert.signal
            total += expert.share * mean
            square += expert.share * (variance + mean**2)
        sd = np.sqrt(np.maximum(square - total**2, 0.0))
        return self.shift + self.scale * total, self.scale * sd


def fit(
    rows: Sequence[Mapping[str, float]], values: Sequence[float], groups: Sequence[int] | None = None
) -> Model:
    """The model of `values` (n,) by the features of n networks, n ≥ 3; rows of equal `groups` are left out
    together when experts are compared (a network quantised in two ways). Names of features may have a
    family before a dot (`gains.margin`): experts also look at one family alone.

    Raises `ValueError` if there are fewer, or values that are not finite.
    """
    y = np.asarray(values, dtype=float)
    if len(y) < 3 or len(rows) != len(y) or not np.isfinite(y).all():
        raise ValueError(
            f"{len(rows)} networks with {len(y)} values teach nothing; give 3 or more finite ones"
        )
    odds = bool(((y >= 0) & (y <= 1)).all())
    if odds:
        clipped = np.clip(y, EDGE, 1 - EDGE)
        y = np.log(clipped / (1 - clipped))
    names = tuple(sorted({name for row in rows for name in row}))
    raw = table(rows, names, np.full(len(names), np.nan))
    with np.errstate(all="ignore"):
        known = np.isfinite(raw)
        centre = np.where(known, raw, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        filled = np.where(known, raw, centre)
    spread = filled.std(axis=0)
    varied = spread > 1e-9 * (1.0 + np.abs(centre))
    names = tuple(name for name, used in zip(names, varied, strict=True) if used)
    centre, spread, x = centre[varied], spread[varied], filled[:, varied]
    x = (x - centre) / spread
    shift, scale = float(y.mean()), float(y.std())
    if not names or scale < 1e-9:
        scale = scale if scale >= 1e-9 else 0.0
        return Model(names, centre, spread, x, (), shift, scale, odds)
    target = (y - shift) / scale
    blocks = _blocks(groups, len(y))
    made: list[tuple[float, Expert]] = []
    correlation = np.abs(np.array([spearman(column, target) for column in x.T]))
    for screen, own in itertools.product(SCREENS, _families(names)):
        weights = np.where(own, np.maximum(correlation, 0.02) ** screen, 0.0)
        weights = weights / math.sqrt(float((weights**2).sum()))
        for linear in LINEAR:
            for length in LENGTHS if linear < 1 else LENGTHS[:1]:
                covariance = kernel(x, x, weights, linear, length)
                for noise in NOISES:
                    inverse = np.asarray(np.linalg.inv(covariance + noise * np.eye(len(y))), dtype=np.float64)
                    alpha = inverse @ target
                    density, signal = _left_out(inverse, alpha, target, blocks)
                    made.append(
                        (density, Expert(weights, linear, length, noise, signal, 0.0, alpha, inverse))
                    )
    best = max(density for density, _ in made)
    shares = np.array([math.exp(SHARPNESS * (density - best)) for density, _ in made])
    shares /= shares.sum()
    experts = tuple(
        Expert(e.weights, e.linear, e.length, e.noise, e.signal, float(share), e.alpha, e.inverse)
        for share, (_, e) in zip(shares, made, strict=True)
        if share > 0.01 / len(made)
    )
    return Model(names, centre, spread, x, experts, shift, scale, odds)


def table(rows: Sequence[Mapping[str, float]], names: Sequence[str], missing: Array) -> Array:
    """The features of the rows, (k, d); `missing` (d,) where a row has none that is finite."""
    values = np.array([[row.get(name, math.nan) for name in names] for row in rows], dtype=float)
    values = values.reshape(len(rows), len(names))
    return np.where(np.isfinite(values), values, missing)


def kernel(x: Array, others: Array, weights: Array, linear: float, length: float) -> Array:
    """Covariances (k, n), 1 for typical networks: a line in the features and a smooth function of them."""
    a, b = x * weights, others * weights
    product = a @ b.T
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * product
    r = np.sqrt(np.maximum(squares, 0.0)) * (math.sqrt(5.0 / 2.0) / length)
    return np.asarray(linear * product + (1 - linear) * (1 + r + r * r / 3) * np.exp(-r))


def diagonal(x: Array, weights: Array, linear: float) -> Array:
    return np.asarray(linear * ((x * weights) ** 2).sum(axis=1) + (1 - linear))


def spearman(a: Array, b: Array) -> float:
    """Rank correlation of two arrays (n,), ties at their mean rank; 0 where one is constant."""
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    length = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / length if length > 0 else 0.0


def ranks(a: Array) -> Array:
    """Ranks from 0, equal values at their mean."""
    _, inverse, counts = np.unique(a, return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    return np.asarray((starts + (counts - 1) / 2)[inverse.reshape(-1)], dtype=float)


def _families(names: Sequence[str]) -> list[NDArray[np.bool_]]:
    """All features, and those of each family by itself: what stands before the first dot of their names."""
    of = [name.split(".", 1)[0] if "." in name else "" for name in names]
    found = [np.ones(len(names), dtype=bool)]
    if len(set(of)) > 1:
        found += [np.array([own == family for own in of]) for family in sorted(set(of))]
    return found


def _blocks(groups: Sequence[int] | None, count: int) -> list[NDArray[np.int64]]:
    """The rows of each group, groups of a size together: (groups, size)."""
    keys = np.arange(count) if groups is None else np.asarray(groups)
    rows = [np.flatnonzero(keys == key) for key in np.unique(keys)]
    sizes = sorted({len(row) for row in rows})
    return [np.stack([row for row in rows if len(row) == size]) for size in sizes]


def _left_out(
    inverse: Array, alpha: Array, target: Array, blocks: Sequence[NDArray[np.int64]]
) -> tuple[float, float]:
    """Log predictive density of the networks left out in turn, and the signal's variance that suits it."""
    errors, variances = np.zeros(len(target)), np.zeros(len(target))
    for block in blocks:
        part = np.linalg.inv(inverse[block[:, :, None], block[:, None, :]])
        errors[block] = (part @ alpha[block][:, :, None])[:, :, 0]
        variances[block] = np.diagonal(part, axis1=1, axis2=2)
    variances = np.maximum(variances, 1e-9)
    signal = max(float((errors**2 / variances).mean()), 1e-9)
    density = -0.5 * float(np.log(signal * variances).sum()) - 0.5 * len(target)
    return density, signal
