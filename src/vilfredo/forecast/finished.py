"""What the networks that have finished in this search teach about those that have not: for every epoch k a
mixture of small Bayesian linear models.

Let y be a network's transformed final value (log10 where all values are positive), v_k its transformed
validation metric after k epochs, r_k the mean of the last three, t_j its transformed training metric after
j epochs, c what was known before training (logs of sizes and costs). The models of epoch k are

    y = a + z b + e,   e ~ N(0, s²),   b ~ N(b0, s² G I),   s² ~ IG(A, A s0²),   a flat,

z the standardised columns of one of: nothing; v_k or r_k; t_j for a j among 1, 2, 4, 8, … and k, alone, with
its square, with v_k or r_k; each also with c; and one more that says "nothing changes any more",
y = a + v_k + e. The conjugate prior gives each a Student-t predictive density and the densities of leaving
one out in closed form. The models are mixed in proportion to exp(sum of the logs of these, the mean over
the last `POOL` epochs, less what the model's size costs): what predicts well at one epoch by luck, as
single validation values do, does not at the next ones. An early t_j stays in the mixture for good,
because a training metric says less, not more, once everybody has learned the training data.

Networks that have not begun to learn after k epochs (whose metric has not moved) are a class of their own:
median and spread of those finished ones of which the same was true.

The regression is textbook (normal-inverse-gamma prior); which models, the pooled weights and the two
classes are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vilfredo.forecast import curves
from vilfredo.forecast.curves import Curve
from vilfredo.trial import Value

Array = NDArray[np.float64]

NOISE_COUNT = 1.0  # A: what the prior on the noise weighs, in pairs of observations
NOISE_SD = 0.3  # s0, in sds of y
SLOPE_VAR = 10.0  # G
SLOPE = 0.7  # b0, shared by the columns of metrics, in sds of y: who has learned more ends better
SIZE_COSTS = 0.5  # per column, in units of log density
VAL_COSTS = 3.0  # of a model that looks at validation values, before they have shown their worth
POOL = 3  # epochs
SQUARES_FROM = 8  # finished networks
AT_LEAST = 0.002  # in log10 (half a percent): what differs by less is the same
STILL = 0.002  # of the range of the metric: who moved no further has not begun to learn
FAR = 5.0  # sds from the mean of the finished ones; beyond it a column counts no more
ABSURD = 1e100  # no number of a metric
MOST_KNOWN = 3  # columns of c


@dataclass(frozen=True, slots=True)
class Table:
    """Curves of several networks up to epoch k: train and val (n, k), and what was known before (n,)."""

    train: Array
    val: Array
    known: Mapping[str, Array]


def table(rows: Sequence[Curve], k: int) -> Table:
    names = common(rows)
    return Table(
        np.array([r.train[:k] for r in rows]),
        np.array([r.val[:k] for r in rows]),
        {n: np.array([r.known[n] for r in rows]) for n in sorted(names)},
    )


def common(rows: Sequence[Curve]) -> frozenset[str]:
    """What is known of all of them."""
    return frozenset.intersection(*(frozenset(r.known) for r in rows)) if rows else frozenset()


@dataclass(frozen=True, slots=True)
class Fit:
    """The M models of an epoch in one batch, each with P columns (those that a model lacks are 0).

    The predictive of model i is Student-t(nu) around z beta[i] + follow[i] v, with
    scale² = s2[i] (1 + z cov[i] z'). The first column is the constant; "q…" is the square of "t…".
    """

    names: tuple[str, ...]
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
    """The finished networks and the models learned from them, as they are asked for.

    `rows` are their curves, each with `final`; `known` the names of what is known of every network,
    finished or not. `y` (n,) are the transformed final values, `spread` is their scale, `least` what
    counts as equal.
    """

    def __init__(self, rows: Sequence[Curve], known: frozenset[str]) -> None:
        self.rows, self.known = rows, known
        val = _finite([r.val for r in rows] + [np.array([r.final]) for r in rows])
        train = _finite([r.train for r in rows])
        self.top = _bound(rows[0], val) if rows else 0.0
        val = val + self.top
        final = np.array([r.final for r in rows], dtype=float)
        self.log = bool(np.all(final + self.top > 0) and np.all(val >= 0))
        self.floor = float((final + self.top).min()) / 2 if self.log and rows else 0.0
        self.top_train = self.top if len(train) and train.max() <= 0 else 0.0
        train = train + self.top_train
        self.log_train = bool(len(train) and np.all(train >= 0))
        self.floor_train = float(train[train > 0].min()) / 2 if (train > 0).any() else 1e-12
        self.y = self.transformed(final)
        seen = self.transformed(val - self.top)
        lead = self._train(train - self.top_train) if len(train) else seen
        size = 1.0 if self.log else 2 * float(np.abs(final).max(initial=0.0))
        self.least = max(AT_LEAST * size, 1e-12)
        # Where all ended alike, at chance say, the scale is what the metric moved on the way.
        self.spread = max(float(self.y.std()), 0.1 * float(seen.std()), self.least) if rows else self.least
        self.worst = float(seen.max(initial=-math.inf))
        self.still = STILL * float(np.ptp(lead)) if len(lead) else 0.0
        self._fits: dict[int, Fit | None] = {}
        self._still: dict[int, tuple[float, float]] = {}
        self._logs: dict[int, dict[tuple[tuple[str, ...], bool], float]] = {}

    def transformed(self, x: Array) -> Array:
        """Values of the watched goal (less is better) as y."""
        return np.asarray(np.log10(np.maximum(x + self.top, self.floor)) if self.log else x, dtype=float)

    def _train(self, x: Array) -> Array:
        if not self.log_train:
            return x
        return np.asarray(np.log10(np.maximum(x + self.top_train, self.floor_train)), dtype=float)

    def forecast(self, curve: Curve, mean: float, sd: float) -> dict[str, Value]:
        """A y as a verdict carries it: in the goal's unit, the median where y is a logarithm."""
        if self.log:
            width = (10.0 ** min(mean + sd, 300.0) - 10.0 ** (mean - sd)) / 2
            return curves.forecast(curve, 10.0 ** min(mean, 300.0) - self.top, width)
        return curves.forecast(curve, mean, sd)

    def columns(self, seen: Table) -> dict[str, Array]:
        """All columns by name, each (n,): 1, v, r, t (the last), t1, t2, t4, …, c:name, still."""
        val, train = (np.where(np.abs(x) < ABSURD, x, math.nan) for x in (seen.val, seen.train))
        v, t = self.transformed(val), self._train(train)
        k = v.shape[1]
        found = {"1": np.ones(len(v)), "v": v[:, -1], "r": v[:, -3:].mean(axis=1)}
        found |= {_name(j, k): t[:, j - 1] for j in _grid(k)}
        lead = t if np.isfinite(t).any() else v
        moved = lead[:, 0] - lead.min(axis=1)
        found["still"] = np.where(np.isfinite(moved), moved <= self.still, 0.0)
        for name, x in seen.known.items():
            if name in self.known and (x > 0).all():
                found[f"c:{name}"] = np.log10(x)
        return found

    def predict(self, seen: Table) -> tuple[Array, Array]:
        """Mean and sd of y, each (n,); NaN where nothing can be said."""
        n, k = seen.val.shape
        fit = self._fit(k)
        if fit is None:
            return np.full(n, math.nan), np.full(n, math.nan)
        columns = self.columns(seen)
        z = _standard(fit.names, columns, fit.centre, fit.width)
        whole, v = np.isfinite(z), columns["v"]
        x = np.where(whole, z, 0.0) * fit.mask[:, None, :]
        mean = (x @ fit.beta[:, :, None])[:, :, 0] + fit.follow[:, None] * np.nan_to_num(v)
        scale2 = fit.s2[:, None] * (1 + ((x @ fit.cov) * x).sum(axis=2))
        # Nobody ends far better than the best, nor worse than anybody has ever been.
        low = float(self.y.min()) - 3 * self.spread
        mean = np.clip(mean, low, np.fmax(self.worst, v))
        variance = np.minimum(scale2 * fit.nu / max(fit.nu - 2, 1.0), (self.worst - low) ** 2)
        lost = (fit.mask @ (~whole).T.astype(float)) + fit.follow[:, None] * ~np.isfinite(v)
        weight = np.where(lost > 0, 0.0, fit.weight[:, None])
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = weight / weight.sum(axis=0)
        centre = (weight * mean).sum(axis=0)
        sd = np.sqrt((weight * (variance + (mean - centre) ** 2)).sum(axis=0))
        if k in self._still:
            still = columns["still"] > 0
            centre, sd = np.where(still, self._still[k][0], centre), np.where(still, self._still[k][1], sd)
        return centre, sd

    def _fit(self, k: int) -> Fit | None:
        if k not in self._fits:
            rows = [r for r in self.rows if len(r.val) >= k]
            if len(rows) >= 2:
                still = self.columns(table(rows, k))["still"] > 0
                if still.sum() >= 2:
                    self._still[k] = self._class(rows, still)
                    rows = [r for r, s in zip(rows, still, strict=True) if not s] if sum(~still) > 1 else rows
            self._fits[k] = self._models(rows, k) if len(rows) >= 2 else None
        return self._fits[k]

    def _class(self, rows: Sequence[Curve], still: NDArray[np.bool_]) -> tuple[float, float]:
        y = self.transformed(np.array([r.final for r in rows], dtype=float))[still]
        median = float(np.median(y))
        prior = 2 * NOISE_COUNT * (NOISE_SD * self.least) ** 2
        return median, math.sqrt((float(((y - median) ** 2).sum()) + prior) / (len(y) + 2 * NOISE_COUNT))

    def _models(self, rows: Sequence[Curve], k: int) -> Fit:
        columns = self.columns(table(rows, k))
        y = self.transformed(np.array([r.final for r in rows], dtype=float))
        models = _candidates(columns, k, len(rows) >= SQUARES_FROM)
        names = tuple(dict.fromkeys(n for m, _ in models for n in m))
        plain = [n.replace("q", "t") if n[0] == "q" else n for n in names]
        centre = np.array([0.0 if n == "1" else columns[n].mean() for n in plain])
        width = np.array([1.0 if n == "1" else max(columns[n].std(), self.spread / 10) for n in plain])
        mask = np.array([[n in m for n in names] for m, _ in models], dtype=float)
        follow = np.array([float(f) for _, f in models])
        x = _standard(names, columns, centre, width) * mask[:, None, :]
        leads = np.array([n[0] in "tvr" for n in names]) * mask
        prior = SLOPE * self.spread * leads / np.maximum(leads.sum(axis=1, keepdims=True), 1.0)
        precision = np.array([1e-9 if n == "1" else 1 / SLOPE_VAR for n in names])
        noise = NOISE_COUNT * (NOISE_SD * self.spread) ** 2
        a = NOISE_COUNT + (len(y) - 1) / 2
        rest = y - follow[:, None] * np.nan_to_num(columns["v"]) - (x @ prior[:, :, None])[:, :, 0]
        turned = x.swapaxes(1, 2)
        cov = np.linalg.inv(turned @ x + np.diag(precision))
        slope = (cov @ (turned @ rest[:, :, None]))[:, :, 0]
        residual = rest - (x @ slope[:, :, None])[:, :, 0]
        b = noise + ((residual**2).sum(axis=1) + slope**2 @ precision) / 2
        # Leave one out, in closed form: its residual is residual / left, its variance / left.
        left = np.maximum(1 - ((x @ cov) * x).sum(axis=2), 1e-6)
        nu = 2 * a - 1
        scale2 = np.maximum(b[:, None] - residual**2 / left / 2, noise) / (a - 0.5) / left
        logs = -0.5 * np.log(scale2) - (nu + 1) / 2 * np.log1p((residual / left) ** 2 / nu / scale2)
        costs = SIZE_COSTS * (mask.sum(axis=1) - 1)
        costs += VAL_COSTS * np.array([f or "v" in m or "r" in m for m, f in models])
        weight = self._weights(models, logs.sum(axis=1) - costs, k)
        return Fit(
            names,
            centre,
            width,
            mask,
            follow,
            np.asarray(prior + slope, dtype=float),
            cov,
            b / a,
            2 * a,
            weight,
        )

    def _weights(self, models: Sequence[tuple[tuple[str, ...], bool]], logs: Array, k: int) -> Array:
        self._logs[k] = dict(zip(models, logs.tolist(), strict=True))
        for j in range(max(1, k - POOL + 1), k):
            self._fit(j)
        pooled = []
        for model in models:
            over = [
                self._logs[j][model] for j in range(k - POOL + 1, k + 1) if model in self._logs.get(j, {})
            ]
            pooled.append(sum(over) / len(over))
        weight = np.exp(np.array(pooled) - max(pooled))
        return np.asarray(weight / weight.sum(), dtype=float)


def _candidates(columns: Mapping[str, Array], k: int, squares: bool) -> list[tuple[tuple[str, ...], bool]]:
    """The models of epoch k: columns, and whether y − v is modelled."""

    def usable(name: str) -> bool:
        return name in columns and bool(np.isfinite(columns[name]).all())

    known = [n for n in columns if n.startswith("c:") and np.ptp(columns[n]) > 1e-9][:MOST_KNOWN]
    recent = [n for n in ("v", "r") if usable(n)]
    found: list[list[str]] = [[]]
    found += [[n] for n in recent]
    for j in _grid(k):
        t = _name(j, k)
        if usable(t):
            found += [[t], *([t, n] for n in recent)]
            found += [[t, t.replace("t", "q")]] if squares else []
    found += [[*m, *known] for m in found if m]
    models = [(("1", *m), False) for m in found]
    if usable("v"):
        models.append((("1",), True))
    return list(dict.fromkeys(models))


def _grid(k: int) -> list[int]:
    """The epochs whose training metric is looked at: 1, 2, 4, 8, … and k."""
    return [*(1 << i for i in range(k.bit_length()) if 1 << i < k), k]


def _name(j: int, k: int) -> str:
    return f"t{j}" if j < k else "t"


def _standard(names: Sequence[str], columns: Mapping[str, Array], centre: Array, width: Array) -> Array:
    """(n, P): the columns, standardised, cut at `FAR`; NaN where there is none."""
    out = []
    for name, c, w in zip(names, centre, width, strict=True):
        plain = columns.get(name.replace("q", "t") if name[0] == "q" else name)
        x = np.full(len(columns["1"]), math.nan) if plain is None else (plain - c) / w
        if name != "1":
            x = np.clip(x, -FAR, FAR)
        out.append(x**2 if name[0] == "q" else x)
    return np.stack(out, axis=1)


def _finite(parts: Sequence[Array]) -> Array:
    x = np.concatenate(parts).astype(float) if parts else np.zeros(0)
    return np.asarray(x[np.abs(x) < ABSURD], dtype=float)


def _bound(row: Curve, val: Array) -> float:
    """An accuracy to be maximised comes as −accuracy: what to add so that it is an error, 1 or 100."""
    goal = row.goal
    if (
        goal.sense == "max"
        and "acc" in goal.name.lower()
        and len(val)
        and val.min() >= -100
        and val.max() <= 0
    ):
        return 1.0 if val.min() >= -1 else 100.0
    return 0.0
