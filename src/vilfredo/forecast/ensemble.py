"""Bayesian averaging over families of learning curves, with priors learned from this search.

T. Domhan, J. T. Springenberg, F. Hutter, "Speeding up automatic hyperparameter optimization of deep
neural networks by extrapolation of learning curves", IJCAI 2015, averages parametric curves by MCMC,
seconds per forecast. Here the same mixture is exact on a grid (`vilfredo.forecast.families`), below a
millisecond, and what the networks that finished in this search have shown is its prior.

A forecast is made in two steps.

1. *Families.* The validation curve so far, and the training curve so far, each go through the mixture
   over all families. Positive metrics are fitted as logarithms. The prior (mean and covariance of the
   value at the end and of the drop, which shapes, how noisy which epoch) is learned from the first
   4, 8, 16, 32, 64 finished networks; so it changes rarely and costs nothing in between.
2. *Link.* Networks that finished are forecast in the same way from as many epochs; Bayesian linear
   regressions of what became of them correct the forecast: by nothing, by its own bias, by the training
   curve (smooth where validation jumps), by the other goals that are known before training. They are
   averaged by their leave-one-out predictive densities, so that what has not proved itself counts little.

With nobody finished the first step alone forecasts, with vague priors and so mostly with a wide spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vilfredo.forecast import chances, curves, families, link
from vilfredo.forecast.curves import Array, Curve
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial, Value

PRIORS = (4, 8, 16, 32, 64)  # finished networks at which the prior is learned again
MOST = 256  # finished networks that the link is fitted to: the last ones
LINKED = 5  # finished networks from which on there is a link
LEAST = 4  # epochs before a forecast without finished networks
WIDE = 0.8  # sd of a logarithm from which on a forecast says nothing
FLOOR = 0.03  # of the median final value: training errors below it say nothing more


@dataclass(frozen=True, slots=True)
class _Row:
    """A trial as the engine keeps it: its curve, epoch t in column t − 1."""

    trial: Trial
    curve: Curve | None
    val: Array
    train: Array
    epoch: int
    finished: bool  # measured after full training, with a curve to its end


@dataclass(frozen=True, slots=True)
class _Field:
    """What there is to compete with: points (n, goals), the watched goal first, less is better."""

    goals: tuple[Goal, ...]
    points: Array
    numbers: tuple[int, ...]

    def spread(self) -> float:
        """Standard deviation of the watched goal; 0 where there are fewer than two points."""
        return float(self.points[:, 0].std()) if len(self.points) > 1 else 0.0

    def without(self, number: int) -> _Field:
        keep = [n != number for n in self.numbers]
        return _Field(self.goals, self.points[keep], tuple(n for n in self.numbers if n != number))


@dataclass(slots=True)
class _Beliefs:
    """A prior, the rows that taught it, and what was forecast with it."""

    rows: tuple[_Row, ...]
    logs: bool  # the validation metric is fitted as a logarithm
    floor: float  # added to the training metric before its logarithm; 0: no logarithm
    val: tuple[families.Shapes, families.Prior]
    train: tuple[families.Shapes, families.Prior] | None
    seen: dict[tuple[int, int], tuple[_Row, Array]] = field(default_factory=dict)  # by (number, epoch)
    links: dict[int, tuple[tuple[_Row, ...], _Corrected | None]] = field(default_factory=dict)  # by epoch

    def features(self, rows: Sequence[_Row], epoch: int) -> Array:
        """What is known of networks after `epoch` epochs (n, 4): the forecast of the families, its sd, the
        forecast of the training curve, the training metric now."""
        missing = []
        for row in rows:
            known = self.seen.get((row.trial.number, epoch))
            if known is None or not (known[0] is row or _same(known[0], row, epoch)):
                missing.append(row)
        if missing:
            table = np.zeros((len(missing), 4))
            val = _scaled(np.array([r.val[:epoch] for r in missing]), self.logs)
            fit = families.fit(val, *self.val)
            table[:, 0], table[:, 1] = fit.end, fit.sd
            if self.train is not None:
                train = _scaled(np.array([r.train[:epoch] for r in missing]), self.floor > 0, self.floor)
                table[:, 2] = families.fit(train, *self.train).end
                middle = self.train[1].mean
                now = np.where(np.isfinite(train[:, -1]), train[:, -1], middle[0] + middle[1])
                table[:, 3] = now
            for row, line in zip(missing, table, strict=True):
                self.seen[row.trial.number, epoch] = (row, line)
        return np.array([self.seen[r.trial.number, epoch][1] for r in rows])


@dataclass(frozen=True, slots=True)
class _Corrected:
    """The link after one epoch: regressions of what became of finished networks, against the families alone
    (their sd times `stretch`, weight `alone`)."""

    link: link.Link
    alone: float
    stretch: float
    goals: tuple[str, ...]  # previewed ones that it uses


class Ensemble:
    """Averages curve families; stops a network whose chance to be among the best is small.

    With one goal the best are the `top` share of all networks known, by their measured or forecast
    values; with several they are the front. A network goes on while its chance is at least `cut`. The
    first `start` networks are trained in full, every other for `probe` epochs at least. With `resume` a
    network is paused, and revived when what was learned since gives it a chance of twice `cut`; without,
    it is stopped for good. `settled` > 0 also stops a network for good once the forecast's sd is below
    `settled` times the spread (sd) of the values known: training on would tell little more.

    `metric`, `train_metric`: see `vilfredo.forecast.curves`.
    Raises `ValueError` for an option out of its range.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        *,
        cut: float = 0.05,
        top: float = 0.2,
        start: int = 8,
        probe: int = 2,
        settled: float = 0.0,
        resume: bool = True,
        metric: str = "",
        train_metric: str = "",
    ) -> None:
        if not 0 <= cut < 1:
            raise ValueError(f"the stopper ensemble's cut must be a chance in [0, 1), not {cut}")
        if not 0 < top <= 1:
            raise ValueError(f"the stopper ensemble's top must be a share in (0, 1], not {top}")
        if start < 1:
            raise ValueError(f"the stopper ensemble's start must be 1 network or more, not {start}")
        if probe < 1:
            raise ValueError(f"the stopper ensemble's probe must be 1 epoch or more, not {probe}")
        if not settled >= 0:
            raise ValueError(f"the stopper ensemble's settled must be 0 (off) or more, not {settled}")
        self.goals = tuple(goals)
        self.cut = cut
        self.top = top
        self.start = start
        self.probe = probe
        self.settled = settled
        self.resume = resume
        self.metric = metric
        self.train_metric = train_metric
        self._rows: dict[int, _Row] = {}
        self._beliefs: _Beliefs | None = None

    # -- what the search calls ------------------------------------------------------------------------

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        row = self._read(trial, epochs)
        if row.curve is None or row.epoch >= epochs or row.epoch < self.probe:
            return GO
        rows = [self._read(p, epochs) for p in peers if p.number != trial.number]
        finished = [r for r in rows if r.finished]
        found = self._forecast([row], finished, epochs)[0]
        if found is None:
            return GO
        mean, sd = found
        forecast = curves.forecast(row.curve, mean, sd)
        if not forecast:
            return GO
        if len(finished) < self.start:
            return Verdict("go", forecast)
        everybody = self._field(rows, row.curve.goal)
        chance, what = self._chance(row, mean, sd, everybody)
        shown = _shown(forecast[row.curve.goal.name])
        if chance < self.cut:
            reason = f"{100 * chance:.1f} % chance to enter the {what} (forecast {shown})"
            return Verdict("pause" if self.resume else "stop", forecast, reason)
        if self.settled > 0 and sd <= self.settled * everybody.spread():
            return Verdict("stop", forecast, f"settled: forecast {shown}")
        return Verdict("go", forecast)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        """Paused networks whose chance has risen to twice the cut, the likeliest first."""
        if not self.resume or not any(t.state == "paused" for t in trials):
            return []
        epochs = max((t.epochs[-1].index for t in trials if t.state == "complete" and t.epochs), default=0)
        rows = [self._read(t, epochs) for t in trials]
        finished = [r for r in rows if r.finished]
        paused = [r for r in rows if r.trial.state == "paused" and r.curve is not None and r.epoch < epochs]
        if len(finished) < self.start or not paused:
            return []
        found: list[tuple[float, int]] = []
        everybody = self._field(rows, paused[0].curve.goal) if paused[0].curve is not None else None
        for row, forecast in zip(paused, self._forecast(paused, finished, epochs), strict=True):
            if forecast is None or everybody is None:
                continue
            chance, _ = self._chance(row, *forecast, everybody.without(row.trial.number))
            if chance >= min(2 * self.cut, (1 + self.cut) / 2) and chance > 0:
                found.append((-chance, row.trial.number))
        return [number for _, number in sorted(found)]

    # -- what is known --------------------------------------------------------------------------------

    def _read(self, trial: Trial, epochs: int) -> _Row:
        """The trial as a row, remembered as long as it is the same object."""
        known = self._rows.get(trial.number)
        if known is not None and known.trial is trial and len(known.val) == epochs:
            return known
        curve = curves.read(trial, self.goals, epochs, self.metric, self.train_metric)
        val, train = np.full(epochs, math.nan), np.full(epochs, math.nan)
        epoch = 0
        if curve is not None:
            place = curve.index.astype(int) - 1
            inside = (place >= 0) & (place < epochs)
            val[place[inside]] = curve.val[inside]
            train[place[inside]] = curve.train[inside]
            epoch = int(curve.index[-1])
        val[~np.isfinite(val)] = math.nan
        train[~np.isfinite(train)] = math.nan
        complete = curve is not None and curve.final is not None and epoch >= epochs
        row = _Row(trial, curve, val, train, epoch, complete)
        self._rows[trial.number] = row
        return row

    def _field(self, rows: Sequence[_Row], goal: Goal) -> _Field:
        """What there is to compete with: rows (n, goals), the watched goal first, less is better."""
        ranked = [goal] + [g for g in self.goals if g.ranked and g.name != goal.name]
        points: list[list[float]] = []
        numbers: list[int] = []
        for row in rows:
            if row.trial.state not in ("complete", "stopped", "paused"):
                continue
            values = [row.trial.value(g.name) for g in ranked]
            if row.finished and row.curve is not None and row.curve.final is not None and values[0] is None:
                values[0] = Value(row.curve.final if goal.sense == "min" else -row.curve.final)
            if any(v is None for v in values):
                continue
            points.append(
                [v.mean if g.sense == "min" else -v.mean for g, v in zip(ranked, values, strict=True) if v]
            )
            numbers.append(row.trial.number)
        table = np.array(points).reshape(len(points), len(ranked))
        return _Field(tuple(ranked), table, tuple(numbers))

    def _chance(self, row: _Row, mean: float, sd: float, known: _Field) -> tuple[float, str]:
        """The chance to be among the best, and how these are called."""
        if len(known.goals) == 1:
            others = np.sort(known.points[:, 0])
            places = math.ceil(self.top * (len(others) + 1))
            bound = float(others[places - 1]) if len(others) >= places else math.inf
            return chances.below(mean, sd, bound), f"top {100 * self.top:g} %"
        assert row.curve is not None
        means, sds = [mean], [sd]
        for column, goal in enumerate(known.goals[1:], start=1):
            value = row.curve.others.get(goal.name)
            if value is None:  # measured after training: as it was for the others
                column_values = known.points[:, column]
                means.append(float(column_values.mean()) if len(column_values) else 0.0)
                sds.append(float(column_values.std()) if len(column_values) else 0.0)
            else:
                means.append(value)
                sds.append(0.0)
        return chances.enters(np.array(means), np.array(sds), known.points), "front"

    # -- forecasts ------------------------------------------------------------------------------------

    def _forecast(
        self, rows: Sequence[_Row], finished: Sequence[_Row], epochs: int
    ) -> list[tuple[float, float] | None]:
        """(mean, sd) of the final value of each row, less is better; None where nothing can be said."""
        if epochs < 3:
            return [None] * len(rows)
        beliefs = self._believe(finished, epochs)
        recent = tuple(finished[-MOST:])
        result: list[tuple[float, float] | None] = []
        for row in rows:
            if not math.isfinite(row.val[row.epoch - 1]):
                result.append(None)
            elif beliefs is None:
                result.append(_alone(row, epochs))
            elif beliefs.logs and np.nanmin(row.val[: row.epoch]) <= 0:
                result.append(None)
            else:
                mean, sd = self._linked(row, recent, beliefs)
                result.append(_unscaled(mean, sd, beliefs.logs, beliefs.val[1]))
        return result

    def _believe(self, finished: Sequence[_Row], epochs: int) -> _Beliefs | None:
        """The prior that so many finished networks give."""
        count = max((n for n in PRIORS if n <= len(finished)), default=0)
        if count == 0:
            return None
        rows = tuple(finished[:count])
        known = self._beliefs
        if known is not None and _identical(known.rows, rows):
            return known
        val = np.array([r.val for r in rows])
        finals = np.array([r.curve.final for r in finished if r.curve is not None])
        logs = bool(np.nanmin(val) > 0 and finals.min() > 0)
        train = np.array([r.train for r in rows])
        usable = bool(np.isfinite(train).mean() > 0.5)
        floor = 0.0
        if usable and logs and np.nanmin(train) >= 0:
            floor = FLOOR * float(np.median(finals))
        least = 0.05 if logs else 0.05 * float(np.nanmedian(np.abs(val)))
        learned = families.learned(_scaled(val, logs), least or 1e-9)
        trained = families.learned(_scaled(train, floor > 0, floor), least or 1e-9) if usable else None
        self._beliefs = _Beliefs(rows, logs, floor, learned, trained)
        return self._beliefs

    def _linked(self, row: _Row, finished: tuple[_Row, ...], beliefs: _Beliefs) -> tuple[float, float]:
        """Mean and sd of the row's final value, in the scale in which curves are fitted."""
        line = beliefs.features([row], row.epoch)[0]
        corrected = self._corrected(row.epoch, finished, beliefs)
        mean, sd = float(line[0]), float(line[1])
        if corrected is None:
            return mean, sd
        design = _design([row], line[None], corrected.goals)
        means, sds, weights = corrected.link(design)
        means = np.append(mean + means[0], mean)
        sds = np.append(sds[0], sd * corrected.stretch)
        weights = np.append(weights, corrected.alone)
        middle = float(weights @ means)
        return middle, math.sqrt(float(weights @ (sds**2 + (means - middle) ** 2)))

    def _corrected(self, epoch: int, finished: tuple[_Row, ...], beliefs: _Beliefs) -> _Corrected | None:
        """The link for networks after `epoch` epochs, remembered while the same networks are finished."""
        known = beliefs.links.get(epoch)
        if known is not None and _identical(known[0], finished):
            return known[1]
        cases = [r for r in finished if math.isfinite(r.val[epoch - 1])]
        found = None
        if len(cases) >= LINKED:
            found = self._learn(epoch, cases, beliefs)
        beliefs.links[epoch] = (finished, found)
        return found

    def _learn(self, epoch: int, cases: Sequence[_Row], beliefs: _Beliefs) -> _Corrected:
        lines = beliefs.features(cases, epoch)
        finals = np.array([r.curve.final for r in cases if r.curve is not None])
        error = _scaled(finals, beliefs.logs) - lines[:, 0]
        sd = np.maximum(lines[:, 1], 1e-9)
        # the families' own spread, stretched to what it turned out to be
        stretch = math.sqrt((float(((error / sd) ** 2).clip(0, 25).sum()) + 3.0) / (len(cases) + 3.0))
        goals = tuple(
            g.name
            for g in self.goals
            if g.ranked and g.stage == "preview" and all(_cost(r, g.name) is not None for r in cases)
        )
        design = _design(cases, lines, goals)
        models = np.zeros((6, design.shape[1]), dtype=bool)
        models[1:, 0] = True
        models[2:, 2] = True
        models[3, 1] = True
        models[4:, 3:] = True
        models[5] = True
        if beliefs.train is None:
            models = models[[0, 1, 4]] & np.array([True, False, False, *[True] * len(goals)])
        learned, alone = link.learn(
            design, error, np.unique(models, axis=0), link.t_density(error, sd * stretch)[:, None]
        )
        return _Corrected(learned, float(alone[0]), stretch, goals)


def _identical(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _same(one: _Row, other: _Row, epoch: int) -> bool:
    return np.array_equal(one.val[:epoch], other.val[:epoch], equal_nan=True) and np.array_equal(
        one.train[:epoch], other.train[:epoch], equal_nan=True
    )


def _scaled(values: Array, logs: bool, floor: float = 0.0) -> Array:
    """Values in the scale in which curves are fitted; NaN where there is no logarithm."""
    if not logs:
        return values
    raised = values + floor
    return np.asarray(np.log(np.where(raised > 0, raised, math.nan)))


def _cost(row: _Row, goal: str) -> float | None:
    """log of 1 + the size of a goal that is known before training."""
    value = None if row.curve is None else row.curve.others.get(goal)
    return None if value is None or not math.isfinite(value) else math.log1p(abs(value))


def _design(rows: Sequence[_Row], lines: Array, goals: tuple[str, ...]) -> Array:
    """The link's features (n, 3 + goals): both forecasts, the training metric now, the costs."""
    costs = np.array([[_cost(r, g) or 0.0 for g in goals] for r in rows]).reshape(len(rows), len(goals))
    return np.concatenate([lines[:, [0, 2, 3]], costs], axis=1)


def _alone(row: _Row, epochs: int) -> tuple[float, float] | None:
    """The forecast of a network with nothing to compare it with."""
    points = row.val[: row.epoch]
    points = points[np.isfinite(points)]
    if len(points) < LEAST:
        return None
    logs = bool(points.min() > 0)
    seen = _scaled(row.val[: row.epoch], logs)
    low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
    scale = high - low
    if scale <= 0:  # it has not moved: it may not move later either, but who knows
        scale = max(abs(low), 1.0) * 1e-3
    grid = families.shapes(epochs)
    prior = families.vague(grid, epochs, low - 0.3 * scale, scale, scale)
    fit = families.fit(seen[None], grid, prior)
    return _unscaled(float(fit.end[0]), float(fit.sd[0]), logs, prior)


def _unscaled(mean: float, sd: float, logs: bool, prior: families.Prior) -> tuple[float, float] | None:
    """Back in the metric's own scale; half the width of the interval of 68 % as sd. None if too wide."""
    if not (math.isfinite(mean) and math.isfinite(sd)):
        return None
    if logs:
        return (math.exp(mean), math.exp(mean) * math.sinh(sd)) if sd <= WIDE and mean < 700 else None
    return (mean, sd) if sd <= 10 * float(prior.sigmas[-1]) else None


def _shown(value: Value) -> str:
    """ "0.087 ± 0.004" """
    digits = 2 - math.floor(math.log10(value.sd)) if value.sd > 0 else 4
    digits = min(max(digits - 1, 0), 6)
    return f"{value.mean:.{digits}f} ± {value.sd:.{digits}f}"
