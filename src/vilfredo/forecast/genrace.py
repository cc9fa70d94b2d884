"""A population-aware race: train a few networks in full, probe the others, finish those that may be among
the best.

What is ours: the race. What it is made of: conjugate Bayesian linear regression (normal-inverse-gamma),
models averaged by how well they predict what they have not seen.

Let y be the transformed final value of a network (log10 where the finished ones are all positive), and
after k epochs t_k its transformed training metric, v_k the validation metric, m_k the best of v_1 … v_k,
c the transformed goals that were known before training (sizes, MACs). For every k, from the networks
that have *finished in this search* alone, a handful of models (`MODELS`)

    y = a + X b + e,   e ~ N(0, s²),   b ~ N(0, s² g I),   s² ~ IG(A, A s0²),   a flat,

X standardised columns of t_k, t_1, t_k², v_k, m_k, c, give each a Student-t predictive density; one more
says "nothing changes any more", y = a + v_k + e. They are mixed in proportion to exp(sum of the logs of
their leave-one-out densities), and the mixture is described by its mean and standard deviation.

A network may be among the best if P(y is below the value that the `top` share of all networks reaches)
is at least `cut`; with several goals, if P(nobody dominates it) is. Else it is paused (or, without
`resume`, stopped), and comes back if the others turn out worse than it was thought.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vilfredo.forecast import chances, curves
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial, Value

Array = NDArray[np.float64]

# Columns of the models: t, t1, tt = t², v, m, and c (all previewed goals). "=v": y − v has no slope.
MODELS = (
    "",
    "t",
    "t c",
    "t t1",
    "t t1 c",
    "t tt",
    "t tt c",
    "v",
    "m",
    "t m",
    "t v",
    "t t1 m c",
    "t t1 v c",
    "=v",
)
PRIOR_A = 1.0  # how many observations (half of them) the prior on the noise weighs
PRIOR_S = 0.3  # sd of the noise a priori, in sds of y
PRIOR_G = 10.0  # prior variance of a slope, in units of the noise variance


@dataclass(frozen=True, slots=True)
class Fit:
    """One model: Student-t(nu) around [1, x] beta, scale² = s2 (1 + [1, x] cov [1, x]')."""

    columns: tuple[str, ...]
    centre: Array
    width: Array
    beta: Array
    cov: Array
    s2: float
    nu: float
    weight: float
    follow: bool


class Genrace:
    """The race.

    * `probe`: epochs after which a network is judged for the first time.
    * `full`: how many networks are trained in full before anyone is judged.
    * `top`: the share of the networks that counts as the best (one goal).
    * `cut`: the chance to be among the best (or on the front) below which a network is not trained on.
    * `resume`: whether paused networks may come back; without it they are stopped for good.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        *,
        metric: str = "",
        train_metric: str = "",
        probe: int = 2,
        full: int = 5,
        top: float = 0.2,
        cut: float = 0.3,
        resume: bool = True,
    ) -> None:
        if probe < 1 or full < 2:
            raise ValueError("genrace: probe must be at least 1 epoch and full at least 2 networks")
        if not (0 < top < 1 and 0 < cut < 1):
            raise ValueError("genrace: top and cut are shares; give numbers between 0 and 1")
        self.goals = tuple(goals)
        self.metric, self.train_metric = metric, train_metric
        self.probe, self.full, self.top, self.cut, self.resume = probe, full, top, cut, resume
        self._rows: dict[int, tuple[Trial, int, curves.Curve | None]] = {}
        self._last: Population | None = None

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        curve = self._read(trial, epochs)
        if curve is None or len(curve.val) < self.probe or len(curve.val) >= epochs:
            return GO
        population = self._population(peers, epochs)
        learned = population.learned
        if len(learned.y) < self.full:
            return GO
        mean, spread = (float(x[0]) for x in learned.predict(_table([curve], len(curve.val))))
        chance = self._chances(population, [curve], np.array([mean]), np.array([spread]), {trial.number})[0]
        forecast = learned.forecast(curve, mean, spread)
        if chance >= self.cut or not forecast:
            return Verdict("go", forecast)
        value = forecast[curve.goal.name]
        place = "the front" if self._several else f"the best {self.top:.0%}"
        reason = f"{chance:.0%} chance to enter {place} (forecast {value.mean:.3g} ± {value.sd:.1g})"
        return Verdict("pause" if self.resume else "stop", forecast, reason)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        if not self.resume or not any(t.state == "paused" for t in trials):
            return []
        population = self._population(trials, 0)
        if len(population.learned.y) < self.full:
            return []
        paused = [i for i in range(len(population.trials)) if population.trials[i].state == "paused"]
        if not paused:
            return []
        chance = self._chances(
            population, [population.rows[i] for i in paused], population.y[paused], population.sd[paused]
        )
        order = sorted(
            (-c, population.trials[i].number) for c, i in zip(chance, paused, strict=True) if c >= self.cut
        )
        return [number for _, number in order]

    def posteriors(self, trials: Sequence[Trial]) -> Mapping[int, Mapping[str, Value]]:
        """What the race now thinks of every paused or stopped network, by number and goal."""
        population = self._population(trials, 0)
        if len(population.learned.y) < self.full:
            return {}
        return {
            r.number: population.learned.forecast(r, float(y), float(sd))
            for r, y, sd in zip(population.rows, population.y, population.sd, strict=True)
            if r.final is None
        }

    @property
    def _several(self) -> bool:
        return sum(g.ranked for g in self.goals) > 1

    def _read(self, trial: Trial, epochs: int) -> curves.Curve | None:
        known = self._rows.get(trial.number)
        if known is not None and known[0] is trial:
            return known[2]
        row = curves.read(trial, self.goals, epochs, self.metric, self.train_metric)
        self._rows[trial.number] = (trial, epochs, row)
        return row

    def _population(self, trials: Sequence[Trial], epochs: int) -> Population:
        last = self._last
        if last is not None and len(last.all) == len(trials) and all(map(_same, last.all, trials)):
            return last
        pairs = [(t, row) for t in trials if (row := self._read(t, epochs)) is not None]
        done = [row for _, row in pairs if row.final is not None]
        learned = last.learned if last is not None else None
        if learned is None or len(learned.rows) != len(done) or not all(map(_same, learned.rows, done)):
            learned = Learned(done)
        self._last = Population(tuple(trials), [t for t, _ in pairs], [r for _, r in pairs], learned)
        return self._last

    def _chances(
        self,
        population: Population,
        rows: Sequence[curves.Curve],
        mean: Array,
        sd: Array,
        without: set[int] | None = None,
    ) -> list[float]:
        y = population.y
        keep = np.array([r.number not in (without or ()) for r in population.rows], dtype=bool)
        if not self._several:
            everyone = np.append(y[keep], mean) if without else y
            bound = _bound(everyone, self.top)
            return [chances.below(float(m), float(s), bound) for m, s in zip(mean, sd, strict=True)]
        found = []
        for row, m, s in zip(rows, mean, sd, strict=True):
            names = sorted(row.others)
            points = np.array(
                [
                    [v, *(o.others[n] for n in names)]
                    for v, o, k in zip(y, population.rows, keep, strict=True)
                    if k and o.number != row.number and all(n in o.others for n in names)
                ]
            ).reshape(-1, 1 + len(names))
            found.append(
                chances.enters(
                    np.array([m, *(row.others[n] for n in names)]),
                    np.array([s, *(0.0 for _ in names)]),
                    points,
                )
            )
        return found


def _bound(y: Array, top: float) -> float:
    y = np.sort(y)
    rank = max(1, math.ceil(top * len(y)))
    return float(y[min(rank, len(y) - 1)])


def _same(a: object, b: object) -> bool:
    return a is b


class Population:
    def __init__(
        self, everything: tuple[Trial, ...], trials: list[Trial], rows: list[curves.Curve], learned: Learned
    ) -> None:
        self.all, self.trials, self.rows, self.learned = everything, trials, rows, learned
        self._known: tuple[Array, Array] | None = None

    @property
    def y(self) -> Array:
        return self._forecasts()[0]

    @property
    def sd(self) -> Array:
        return self._forecasts()[1]

    def _forecasts(self) -> tuple[Array, Array]:
        """Final values, known or forecast, and their sd."""
        if self._known is None:
            mean, sd = np.full(len(self.rows), math.nan), np.zeros(len(self.rows))
            by_length: dict[int, list[int]] = {}
            for i, r in enumerate(self.rows):
                if r.final is not None:
                    mean[i] = r.final
                else:
                    by_length.setdefault(len(r.val), []).append(i)
            mean = self.learned.log_val(mean)
            for k, which in by_length.items():
                mean[which], sd[which] = self.learned.predict(_table([self.rows[i] for i in which], k))
            mean = np.where(np.isfinite(mean), mean, self.learned.y.max(initial=-math.inf))
            self._known = mean, np.where(np.isfinite(sd), sd, self.learned.spread)
        return self._known


@dataclass(frozen=True, slots=True)
class Table:
    """Curves of several networks up to epoch k: train and val (n, k), and the previewed goals."""

    train: Array
    val: Array
    others: Mapping[str, Array]


def _table(rows: Sequence[curves.Curve], k: int) -> Table:
    names = set.intersection(*(set(r.others) for r in rows)) if rows else set()
    return Table(
        np.array([r.train[:k] for r in rows]),
        np.array([r.val[:k] for r in rows]),
        {n: np.array([r.others[n] for r in rows]) for n in sorted(names)},
    )


class Learned:
    """What the finished networks teach."""

    def __init__(self, rows: Sequence[curves.Curve]) -> None:
        self.rows = rows
        final = np.array([r.final for r in rows], dtype=float)
        val = np.concatenate([r.val for r in rows]) if rows else np.zeros(0)
        train = np.concatenate([r.train for r in rows]) if rows else np.zeros(0)
        val, train = val[np.isfinite(val)], train[np.isfinite(train)]
        self.log = bool(np.all(final > 0) and np.all(val >= 0))
        self.log_train = bool(len(train) and np.all(train >= 0))
        self.floor = float(final.min()) / 2 if self.log and len(final) else 0.0
        positive = train[train > 0]
        self.floor_train = float(positive.min()) / 2 if len(positive) else 1e-12
        self.y = self.log_val(final)
        self.spread = float(self.y.std()) if rows else 0.0
        self._fits: dict[int, list[Fit]] = {}

    def log_val(self, x: Array) -> Array:
        return np.log10(np.maximum(x, self.floor)) if self.log else x

    def features(self, table: Table) -> dict[str, Array]:
        v = self.log_val(table.val)
        t = np.log10(np.maximum(table.train, self.floor_train)) if self.log_train else table.train
        found = {"v": v[:, -1], "m": v.min(axis=1), "t": t[:, -1], "t1": t[:, 0], "tt": t[:, -1]}
        for name, x in table.others.items():
            if (x > 0).all():
                found[f"c:{name}"] = np.log10(x)
        return found

    def fits(self, k: int) -> list[Fit]:
        if k in self._fits:
            return self._fits[k]
        here = [i for i, r in enumerate(self.rows) if len(r.val) >= k]
        fits: list[Fit] = []
        if len(here) >= 2:
            table = self.features(_table([self.rows[i] for i in here], k))
            y = self.y[here]
            usable = {n for n, x in table.items() if np.isfinite(x).all() and (n == "v" or np.ptp(x) > 1e-9)}
            seen = set()
            for model in MODELS:
                follow = model == "=v"
                names: list[str] = []
                for word in ["v"] if follow else model.split():
                    names += (
                        [n for n in table if n.startswith("c:") and n in usable] if word == "c" else [word]
                    )
                if not set(names) <= usable or (tuple(names), follow) in seen:
                    continue
                seen.add((tuple(names), follow))
                fits.append(_fit(tuple(names), table, y, follow, self.spread))
            best = max(f.weight for f in fits)
            total = sum(math.exp(f.weight - best) for f in fits)
            fits = [_weighed(f, math.exp(f.weight - best) / total) for f in fits]
        self._fits[k] = fits
        return fits

    def predict(self, table: Table) -> tuple[Array, Array]:
        n, k = table.val.shape
        fits = self.fits(k)
        if not fits:
            return np.full(n, math.nan), np.full(n, math.nan)
        features = self.features(table)
        mean, second, total = np.zeros(n), np.zeros(n), np.zeros(n)
        for f in fits:
            if not set(f.columns) <= set(features):
                continue
            x = _design(f.columns, features, f.centre, f.width)
            m = x @ f.beta + (features["v"] if f.follow else 0.0)
            scale2 = f.s2 * (1 + ((x @ f.cov) * x).sum(axis=1))
            variance = scale2 * f.nu / max(f.nu - 2, 1.0)
            ok = np.isfinite(m) & np.isfinite(variance)
            w = np.where(ok, f.weight, 0.0)
            m, variance = np.where(ok, m, 0.0), np.where(ok, variance, 0.0)
            mean += w * m
            second += w * (m**2 + variance)
            total += w
        with np.errstate(invalid="ignore", divide="ignore"):
            mean /= total
            second /= total
        return mean, np.sqrt(np.maximum(second - mean**2, 0.0))

    def forecast(self, curve: curves.Curve, mean: float, sd: float) -> dict[str, Value]:
        if self.log:
            return curves.forecast(curve, 10.0**mean, (10 ** (mean + sd) - 10 ** (mean - sd)) / 2)
        return curves.forecast(curve, mean, sd)


def _weighed(f: Fit, weight: float) -> Fit:
    return Fit(f.columns, f.centre, f.width, f.beta, f.cov, f.s2, f.nu, weight, f.follow)


def _design(names: tuple[str, ...], table: Mapping[str, Array], centre: Array, width: Array) -> Array:
    columns = [(table[n] - c) / w for n, c, w in zip(names, centre, width, strict=True)]
    if "tt" in names:
        i = names.index("tt")
        columns[i] = columns[i] ** 2
    return np.stack([np.ones(len(table["v"])), *columns], axis=1)


def _fit(names: tuple[str, ...], table: Mapping[str, Array], y: Array, follow: bool, spread: float) -> Fit:
    n = len(y)
    target = y - table["v"] if follow else y
    columns = () if follow else names
    centre = np.array([table[c].mean() for c in columns])
    width = np.array([table[c].std() for c in columns])
    x = _design(columns, table, centre, width)
    precision = np.diag([1e-6] + [1 / PRIOR_G] * len(columns))
    s0 = max(PRIOR_S * spread, 1e-9) ** 2
    a = PRIOR_A + (n - 1) / 2
    cov = np.linalg.inv(x.T @ x + precision)
    beta = cov @ (x.T @ target)
    rss = float(((target - x @ beta) ** 2).sum() + beta @ precision @ beta)
    b = PRIOR_A * s0 + rss / 2
    # leave one out, in closed form
    h = ((x @ cov) * x).sum(axis=1)
    rest = np.maximum(1 - h, 1e-6)
    r = (target - x @ beta) / rest
    b_out = np.maximum(b - r**2 * rest / 2, PRIOR_A * s0)
    scale2 = b_out / (a - 0.5) / rest
    nu = 2 * a - 1
    logs = (
        math.lgamma((nu + 1) / 2)
        - math.lgamma(nu / 2)
        - 0.5 * np.log(nu * math.pi * scale2)
        - (nu + 1) / 2 * np.log1p(r**2 / nu / scale2)
    )
    return Fit(columns, centre, width, beta, cov, b / a, 2 * a, float(logs.sum()), follow)
