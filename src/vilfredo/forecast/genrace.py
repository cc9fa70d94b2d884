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

EARLY = 0.0
QUAD = 8  # finished networks from which on squares are tried
STILL = 0.002  # of the range of the metric: a network that moved no further has not begun to learn
LEAST = 0.002  # log10: what differs by less than half a percent is the same
FAR = 5.0  # sds from the mean of the finished, beyond which a column counts no more
MIX = True
WAIT = 0.0
FILL = 0.25  # how far outside the finished ones, in units of the range of all, a network is trained on
PRIOR_A = 1.0  # how many observations (half of them) the prior on the noise weighs
PRIOR_S = 0.3  # sd of the noise a priori, in sds of y
PRIOR_G = 10.0  # prior variance of a slope, in units of the noise variance
PRIOR_B = 0.7  # prior mean of the slopes on metrics, together, in sds of y: who learns more ends better
PRIOR_V = 3.0
POOL = 3
PRIOR_M = 0.5  # what a column costs a model, in units of log likelihood


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
        probe: float = 0.1,
        full: int = 5,
        top: float = 0.2,
        cut: float = 0.3,
        settle: float = 0.0,
        resume: bool = True,
    ) -> None:
        if probe <= 0 or full < 2:
            raise ValueError("genrace: probe must be at least 1 epoch and full at least 2 networks")
        if not (0 < top < 1 and 0 < cut < 1):
            raise ValueError("genrace: top and cut are shares; give numbers between 0 and 1")
        self.goals = tuple(goals)
        self.metric, self.train_metric = metric, train_metric
        self.settle = settle
        self.probe, self.full, self.top, self.cut, self.resume = probe, full, top, cut, resume
        self._rows: dict[int, tuple[Trial, int, curves.Curve | None]] = {}
        self._last: Population | None = None

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        curve = self._read(trial, epochs)
        if curve is None or (len(curve.val) < self._first(epochs) and not EARLY) or len(curve.val) >= epochs:
            return GO
        population = self._population(peers, epochs)
        learned = population.learned
        if len(learned.y) < self.full:
            return GO
        mean, spread = (float(x[0]) for x in learned.predict(_table([curve], len(curve.val))))
        chance = self._chances(population, [curve], np.array([mean]), np.array([spread]), {trial.number})[0]
        forecast = learned.forecast(curve, mean, spread)
        settled = spread < self.settle * learned.spread
        doubtful = population.beyond(curve) > FILL
        hopeful = chance >= (self.cut if len(curve.val) >= self._first(epochs) else self.cut * EARLY)
        if (hopeful and not settled) or doubtful or not forecast:
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
            (-c, population.trials[i].number)
            for c, i in zip(chance, paused, strict=True)
            if c >= self.cut and not population.sd[i] < self.settle * population.learned.spread
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

    def _first(self, epochs: int) -> int:
        return max(2, round(self.probe * epochs)) if self.probe < 1 else int(self.probe)

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
            if MIX:
                everyone = np.append(y[keep], mean) if without else y
                bound = _bound2(
                    everyone, np.append(population.sd[keep], sd) if without else population.sd, self.top
                )
            else:
                everyone = np.append(y[keep], mean) if without else y
                bound = _bound(everyone, self.top)
            bound -= max(population.learned.least, 0.02 * float(everyone.std()))
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
    n = len(y)
    place = top * n - WAIT * math.sqrt(n * top * (1 - top))
    place = min(max(place, 1.0), n - 1.0) - 0.5  # between two
    return float(np.interp(place, np.arange(n), y))


def _bound2(y: Array, sd: Array, top: float) -> float:
    """The value that `top` of the networks are expected to be below: sum of P(y_i < bound) = top n."""
    n = len(y)
    place = max(top * n - WAIT * math.sqrt(n * top * (1 - top)), 0.5)
    low, high = float((y - 4 * sd).min()), float((y + 4 * sd).max())
    scale = np.maximum(sd, 1e-3 * max(high - low, 1e-12))
    for _ in range(16):
        middle = (low + high) / 2
        if float(_cdf((middle - y) / scale).sum()) < place:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _cdf(z: Array) -> Array:
    """The normal distribution function, to 3e-4."""
    return 0.5 * (1 + np.tanh(0.7978845608 * (z + 0.044715 * z**3)))


def _same(a: object, b: object) -> bool:
    return a is b


class Population:
    def __init__(
        self, everything: tuple[Trial, ...], trials: list[Trial], rows: list[curves.Curve], learned: Learned
    ) -> None:
        self.all, self.trials, self.rows, self.learned = everything, trials, rows, learned
        self._known: tuple[Array, Array] | None = None

    def beyond(self, curve: curves.Curve) -> float:
        """How far the training metric lies outside those of the finished ones at this epoch, in units of the
        range of all; 0 where that cannot be said."""
        k = len(curve.val)
        name = "t" if np.isfinite(curve.train[-1]) else "v"
        here = [r for r in self.rows if len(r.val) >= k]
        x = self.learned.features(_table([*here, curve], k))[name]
        done = np.array([r.final is not None for r in here] + [False])
        if not np.isfinite(x[-1]) or not np.isfinite(x[done]).any():
            return 0.0
        low, high = np.nanmin(x[done]), np.nanmax(x[done])
        whole = np.nanmax(x) - np.nanmin(x)
        return float(max(x[-1] - high, low - x[-1], 0.0) / whole) if whole > 0 else 0.0

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
    """Curves of several networks up to epoch k: train and val (n, k), and what was known before (n,)."""

    train: Array
    val: Array
    known: Mapping[str, Array]


def _table(rows: Sequence[curves.Curve], k: int) -> Table:
    names = set.intersection(*(set(r.known) for r in rows)) if rows else set()
    return Table(
        np.array([r.train[:k] for r in rows]),
        np.array([r.val[:k] for r in rows]),
        {n: np.array([r.known[n] for r in rows]) for n in sorted(names)},
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """Models of epoch k, M of them, each with P columns at most (columns that a model lacks are 0).

    The predictive of model i is Student-t(nu) around z beta[i] + follow[i] v, z the standardised columns,
    with scale² = s2[i] (1 + z cov[i] z').
    """

    names: tuple[str, ...]  # of the columns, the first is the constant
    centre: Array  # (P,)
    width: Array  # (P,)
    mask: Array  # (M, P)
    follow: Array  # (M,): 1 where y − v is modelled
    beta: Array  # (M, P)
    cov: Array  # (M, P, P)
    s2: Array  # (M,)
    nu: float
    weight: Array  # (M,)


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
        # Where all ended alike (at chance, say), the scale is what the metric moved on the way.
        self.spread = max(float(self.y.std()), 0.1 * float(self.log_val(val).std())) if rows else 0.0
        self.least = LEAST if self.log else max(2 * LEAST * float(np.abs(self.y).max(initial=0.0)), 1e-12)
        self.spread = max(self.spread, self.least)
        self.worst = max(float(self.log_val(val).max()), float(self.y.max())) if rows else 0.0
        lead = self.log_train_of(train) if len(train) else self.log_val(val)
        self.still = STILL * float(np.ptp(lead)) if len(lead) else 0.0
        self._fits: dict[int, Fit | None] = {}
        self._stills: dict[int, tuple[float, float]] = {}
        self._logs: dict[int, dict[tuple[tuple[str, ...], bool], float]] = {}

    def log_val(self, x: Array) -> Array:
        return np.log10(np.maximum(x, self.floor)) if self.log else x

    def log_train_of(self, x: Array) -> Array:
        return np.log10(np.maximum(x, self.floor_train)) if self.log_train else x

    def features(self, table: Table) -> dict[str, Array]:
        """The columns by name, each (n,)."""
        v = self.log_val(table.val)
        t = self.log_train_of(table.train)
        k = v.shape[1]
        found = {"1": np.ones(len(v)), "v": v[:, -1], "r": v[:, -3:].mean(axis=1)}
        for j in _grid(k):
            found[f"t{j}" if j < k else "t"] = t[:, j - 1]
        lead = t if np.isfinite(t).any() else v
        moved = lead[:, 0] - lead.min(axis=1)
        found["s"] = np.where(np.isfinite(moved), moved <= self.still, 0.0)
        for name, x in table.known.items():
            if (x > 0).all():
                found[f"c:{name}"] = np.log10(x)
        return found

    def fit(self, k: int) -> Fit | None:
        if k not in self._fits:
            here = [r for r in self.rows if len(r.val) >= k]
            still = self.features(_table(here, k))["s"] > 0 if here else np.zeros(0, dtype=bool)
            moving = [r for r, s in zip(here, still, strict=True) if not s]
            if still.sum() >= 2:
                y = self.log_val(np.array([r.final for r in here]))[still]
                median = float(np.median(y))
                noise = 2 * PRIOR_A * (PRIOR_S * self.least) ** 2
                var = (float(((y - median) ** 2).sum()) + noise) / (len(y) + 2 * PRIOR_A)
                self._stills[k] = median, math.sqrt(var)
                here = moving if len(moving) >= 2 else here
            self._fits[k] = self._fit(here, k) if len(here) >= 2 else None
        return self._fits[k]

    def _fit(self, rows: Sequence[curves.Curve], k: int) -> Fit:
        columns = self.features(_table(rows, k))
        y = self.log_val(np.array([r.final for r in rows]))
        usable = [
            n
            for n, x in columns.items()
            if n == "1" or (np.isfinite(x).all() and n != "s" and (np.ptp(x) > 1e-9 or n[0] != "c"))
        ]
        known = [n for n in usable if n.startswith("c:")][:3]
        models: list[tuple[list[str], bool]] = [(["1"], False)]
        for n in ("v", "r"):
            if n in usable:
                models += [(["1", n], False), (["1", n, *known], False)]
        for j in _grid(k):
            one = f"t{j}" if j < k else "t"
            if one not in usable:
                continue
            t = ["1", one]
            models += [
                (t, False),
                ([*t, *known], False),
                *(
                    ([([*t, one.replace("t", "q")], False), ([*t, one.replace("t", "q"), *known], False)])
                    if len(rows) >= QUAD
                    else []
                ),
            ]
            for n in ("v", "r"):
                if n in usable:
                    models += [([*t, n], False), ([*t, n, *known], False)]
        if "v" in usable:
            models.append((["1"], True))
        used: dict[str, None] = {}
        unique = []
        for m in models:
            if m not in unique:
                unique.append(m)
                used |= dict.fromkeys(m[0])
        names = tuple(used)
        plain = [n.replace("q", "t") for n in names]
        centre = np.array([0.0 if n == "1" else columns[n].mean() for n in plain])
        width = np.array([1.0 if n == "1" else max(columns[n].std(), self.spread / 10) for n in plain])
        mask = np.array([[n in m for n in names] for m, _ in unique], dtype=float)
        follow = np.array([float(f) for _, f in unique])
        z = _standard(names, columns, centre, width)
        x = z * mask[:, None, :]
        n = len(y)
        target = y - follow[:, None] * np.nan_to_num(columns["v"])
        leads = np.array([name[0] in "tvr" for name in names]) * mask
        prior = PRIOR_B * self.spread * leads / np.maximum(leads.sum(axis=1, keepdims=True), 1.0)
        precision = np.diag([1e-6 if name == "1" else 1 / PRIOR_G for name in names])
        s0 = max(PRIOR_S * self.spread, 1e-9) ** 2
        a = PRIOR_A + (n - 1) / 2
        rest = target - (x @ prior[:, :, None])[:, :, 0]
        cov = np.linalg.inv(x.swapaxes(1, 2) @ x + precision)
        delta = (cov @ (x.swapaxes(1, 2) @ rest[:, :, None]))[:, :, 0]
        residual = rest - (x @ delta[:, :, None])[:, :, 0]
        b = PRIOR_A * s0 + ((residual**2).sum(axis=1) + (delta**2 @ np.diag(precision))) / 2
        # Leaving one out has a closed form.
        left = np.maximum(1 - ((x @ cov) * x).sum(axis=2), 1e-6)
        b_out = np.maximum(b[:, None] - residual**2 / left / 2, PRIOR_A * s0)
        nu = 2 * a - 1
        scale2 = b_out / (a - 0.5) / left
        logs = (-0.5 * np.log(scale2) - (nu + 1) / 2 * np.log1p((residual / left) ** 2 / nu / scale2)).sum(
            axis=1
        )
        logs -= PRIOR_M * (mask.sum(axis=1) - 1)
        logs -= PRIOR_V * np.array([any(n[0] in "vr" for n in m) or f for m, f in unique])
        keys = [(tuple(m), f) for m, f in unique]
        self._logs[k] = dict(zip(keys, logs, strict=True))
        if POOL > 1:
            past = []
            for j in range(max(1, k - POOL + 1), k):
                self.fit(j)
                past.append(self._logs.get(j, {}))
            pooled = []
            for l, key in zip(logs, keys, strict=True):
                q = [l, *(p[key] for p in past if key in p)]
                pooled.append(sum(q) / len(q))
            logs = np.array(pooled)
        weight = np.exp(logs - logs.max())
        return Fit(
            names, centre, width, mask, follow, prior + delta, cov, b / a, 2 * a, weight / weight.sum()
        )

    def predict(self, table: Table) -> tuple[Array, Array]:
        n, k = table.val.shape
        fit = self.fit(k)
        if fit is None:
            return np.full(n, math.nan), np.full(n, math.nan)
        features = self.features(table)
        z = _standard(fit.names, features, fit.centre, fit.width)
        whole = np.isfinite(z)
        x = np.where(whole, z, 0.0) * fit.mask[:, None, :]
        v = features["v"]
        m = (x @ fit.beta[:, :, None])[:, :, 0] + fit.follow[:, None] * np.nan_to_num(v)
        variance = fit.s2[:, None] * (1 + ((x @ fit.cov) * x).sum(axis=2)) * fit.nu / max(fit.nu - 2, 1.0)
        lost = (fit.mask @ (~whole).T.astype(float)) + fit.follow[:, None] * ~np.isfinite(v)
        w = np.where(lost > 0, 0.0, fit.weight[:, None])
        with np.errstate(invalid="ignore", divide="ignore"):
            w = w / w.sum(axis=0)
        # Nobody has ended much better than the best, or worse than the worst and than it is now.
        low, high = float(self.y.min()) - 3 * self.spread, self.worst
        m = np.clip(m, low, np.fmax(high, v))
        variance = np.minimum(variance, (high - low) ** 2)
        mean = (w * m).sum(axis=0)
        sd = np.sqrt((w * (variance + (m - mean) ** 2)).sum(axis=0))
        if k in self._stills:
            still = features["s"] > 0
            mean, sd = np.where(still, self._stills[k][0], mean), np.where(still, self._stills[k][1], sd)
        return mean, sd

    def forecast(self, curve: curves.Curve, mean: float, sd: float) -> dict[str, Value]:
        if self.log:
            return curves.forecast(curve, 10.0**mean, (10 ** (mean + sd) - 10 ** (mean - sd)) / 2)
        return curves.forecast(curve, mean, sd)


def _grid(k: int) -> list[int]:
    """The epochs whose training metric is looked at: 1, 2, 4, 8, … and k."""
    return [*(1 << i for i in range(k.bit_length()) if 1 << i < k), k]


def _standard(names: Sequence[str], columns: Mapping[str, Array], centre: Array, width: Array) -> Array:
    """(n, P): the columns, standardised; "q" is the square of "t", "1" is 1."""
    out = []
    for n, c, w in zip(names, centre, width, strict=True):
        plain = columns.get(n.replace("q", "t"))
        x = np.full(len(columns["1"]), math.nan) if plain is None else (plain - c) / w
        x = np.clip(x, -FAR, FAR) if n != "1" else x
        out.append(x**2 if n[0] == "q" else x)
    return np.stack(out, axis=1)
