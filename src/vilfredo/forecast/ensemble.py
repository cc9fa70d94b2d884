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
   Networks halted a good while later count too, by their forecasts: else only those that were worth
   finishing would teach. Where no network nearby has ended, the spread grows.

With nobody finished the first step alone forecasts, with vague priors and so mostly with a wide spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vilfredo import pareto
from vilfredo.forecast import chances, curves, families, regressions
from vilfredo.forecast.curves import Array, Curve
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial, Value

PRIORS = (4, 8, 16, 32, 64)  # finished networks at which the prior is learned again
MOST = 128  # networks that the link is fitted to: the last ones
LATER = 1.25  # by what factor later a network must have been halted, to be one of them
LINKED = 5  # finished networks from which on there is a link
COSTS = 4  # sizes and costs that the link uses at most
DOUBT = 0.3  # error of one more network nearby than there was, relative to how networks differ
NEAR = 0.3  # of the sd of forecasts: how far a network nearby may be
NORMAL = 3.0  # errors that the normal distribution counts for, beside those that were seen
EARLY = (2, 4, 8)  # epochs whose training metric the link looks back at
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
    point: tuple[float, ...] | None  # the ranked goals, the watched one first, less is better
    came_to: float  # the measured value; of a halted one the forecast; less is better; NaN if neither


@dataclass(frozen=True, slots=True)
class _Crowd:
    """All told trials: who finished, and what there is to compete with. `points` (n, goals), the watched goal
    first, less is better, of the trials `numbers` (n,); `order` are the points' values of the watched
    goal, sorted; `front` the numbers of those on the front."""

    trials: Sequence[Trial]
    rows: tuple[_Row, ...]
    finished: tuple[_Row, ...]
    known: tuple[_Row, ...]  # finished, or halted with a forecast
    goals: tuple[Goal, ...]
    points: Array
    numbers: NDArray[np.int64]
    order: Array
    front: NDArray[np.bool_]

    def spread(self) -> float:
        """Standard deviation of the watched goal; 0 where there are fewer than two points."""
        return float(self.points[:, 0].std()) if len(self.points) > 1 else 0.0

    def rivals(self, number: int) -> Array:
        """The front of all but this trial (n, goals)."""
        own = self.numbers == number
        if not (own & self.front).any():
            return self.points[self.front]
        rest = self.points[~own]
        front: Array = rest[pareto.ranks(rest) == 0]
        return front

    def bound(self, number: int, top: float) -> float:
        """What a network has to be better than, to be among the best of all; inf where all have room.

        Where more are equally good than there is room for, only those are the best that are better.
        """
        own = self.points[self.numbers == number, 0]
        others = np.delete(self.order, np.searchsorted(self.order, own)) if len(own) else self.order
        places = math.ceil(top * (len(others) + 1))
        if len(others) < places:
            return math.inf
        bound = float(others[places - 1])
        hair = 1e-3 * float(others[-1] - others[0])
        if places < len(others) and others[places] - bound <= hair:
            better = others[others < bound - hair]
            bound = float(better[-1]) if len(better) else bound - hair
        return bound


@dataclass(slots=True)
class _Beliefs:
    """A prior, the rows that taught it, and what was forecast with it."""

    rows: tuple[_Row, ...]
    logs: bool  # the validation metric is fitted as a logarithm
    floor: float  # added to the training metric before its logarithm; 0: no logarithm
    val: tuple[families.Shapes, families.Prior]
    train: tuple[families.Shapes, families.Prior] | None
    seen: dict[tuple[int, int], tuple[_Row, Array]] = field(default_factory=dict)  # by (number, epoch)
    links: dict[tuple[int, tuple[str, ...]], tuple[tuple[_Row, ...], _Corrected | None]] = field(
        default_factory=dict
    )  # by epoch and what is known before training

    def features(self, rows: Sequence[_Row], epoch: int) -> Array:
        """What is known of networks after `epoch` epochs (n, 4 + e): the forecast of the families, its sd,
        the metric now, the forecast of the training curve, the training metric now and at the epochs
        of `EARLY` before."""
        missing = []
        for row in rows:
            known = self.seen.get((row.trial.number, epoch))
            if known is None or not (known[0] is row or _same(known[0], row, epoch)):
                missing.append(row)
            elif known[0] is not row:  # the same so far: next time one look is enough
                self.seen[row.trial.number, epoch] = (row, known[1])
        if missing:
            moments = np.array([epoch, *(e for e in EARLY if e < epoch)]) - 1
            table = np.zeros((len(missing), 4 + len(moments)))
            val = _scaled(np.array([r.val[:epoch] for r in missing]), self.logs)
            fit = families.fit(val, *self.val)
            table[:, 0], table[:, 1], table[:, 2] = fit.end, fit.sd, val[:, -1]
            if self.train is not None:
                train = _scaled(np.array([r.train[:epoch] for r in missing]), self.floor > 0, self.floor)
                fit = families.fit(train, *self.train)
                table[:, 3] = fit.end
                table[:, 4:] = np.where(np.isfinite(train), train, fit.curve[:, :epoch])[:, moments]
            for row, line in zip(missing, table, strict=True):
                self.seen[row.trial.number, epoch] = (row, line)
        return np.array([self.seen[r.trial.number, epoch][1] for r in rows])


@dataclass(frozen=True, slots=True)
class _Forecast:
    """Of a final value, less is better: `mean` and `sd`; and in the scale in which curves are fitted
    `middle`, `width` and what the finished networks' errors were in units of their widths (n,)."""

    mean: float
    sd: float
    middle: float
    width: float
    logs: bool
    errors: Array

    def below(self, bound: float) -> float:
        """P(y < bound): mostly by the errors there were, smoothed; errors have many shapes, where half of
        the networks learn nothing and end exactly where they are."""
        if bound == math.inf:
            return 1.0
        if self.logs and bound <= 0:
            return 0.0
        z = ((math.log(bound) if self.logs else bound) - self.middle) / max(self.width, 1e-12)
        normal = chances.below(0.0, 1.0, z)
        count = len(self.errors)
        if count == 0:
            return normal
        away = np.abs(self.errors - np.median(self.errors))
        kernel = max(0.5 * min(1.4826 * float(np.median(away)), 1.0), 1e-3)
        x = np.clip((z - self.errors) / kernel, -8.0, 8.0)
        seen = 0.5 * (1.0 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))  # the normal's, to 3e-4
        return (float(seen.sum()) + NORMAL * normal) / (count + NORMAL)


@dataclass(frozen=True, slots=True)
class _Corrected:
    """The link after one epoch: regressions of what became of finished networks, against the families alone
    (their sd times `stretch`) and the metric as it is now (sd `change`), which have the weights `others`."""

    link: regressions.Link
    others: Array
    stretch: float
    change: float
    errors: Array  # of the finished networks, each forecast without itself, in units of the sd
    places: Array  # (n,) what the families forecast for them
    squares: Array  # (n,) their errors, squared
    spread: float  # sd of what became of them
    known: tuple[str, ...]  # sizes and costs that it uses


class Ensemble:
    """Averages curve families; stops a network whose chance to be among the best is small.

    With one goal the best are the `top` share of all networks known, by their measured or forecast
    values; with several they are the front. A network goes on while its chance is at least `cut` (left
    out: 0.1 with one goal, 0.03 with several, since a front has few members). The first `start` networks
    are trained in full, every other for `probe` epochs at least. With `resume` a network is paused, and
    revived when what was learned since gives it a chance of twice `cut`; without, it is stopped for
    good. `settled` > 0 also stops a network for good once the forecast's sd is below `settled` times the
    spread (sd) of the values known: training on would tell little more.

    `metric`, `train_metric`: see `vilfredo.forecast.curves`.
    Raises `ValueError` for an option out of its range.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        *,
        cut: float | None = None,
        top: float = 0.2,
        start: int = 5,
        probe: int = 2,
        settled: float = 0.0,
        resume: bool = True,
        metric: str = "",
        train_metric: str = "",
    ) -> None:
        if cut is None:
            cut = 0.1 if sum(g.ranked for g in goals) < 2 else 0.03
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
        self._crowd: _Crowd | None = None
        self._revived: tuple[_Crowd, tuple[int, ...]] | None = None
        self._beliefs: _Beliefs | None = None

    # -- what the search calls ------------------------------------------------------------------------

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        row = self._read(trial, epochs)
        if row.curve is None:
            return curves.blind(trial, self.goals)
        if row.epoch >= epochs or row.epoch < self.probe:
            return GO
        crowd = self._meet(peers, epochs, row.curve.goal)
        found = self._sound([row], crowd, epochs)[0]
        if found is None:
            return GO
        forecast = curves.forecast(row.curve, found.mean, found.sd)
        if not forecast or len(crowd.finished) < self.start:
            return Verdict("go", forecast)
        chance = self._chance(row, found, crowd)
        shown = _shown(forecast[row.curve.goal.name])
        if chance < self.cut:
            place = f"top {100 * self.top:g} %" if len(crowd.goals) == 1 else "front"
            reason = f"{100 * chance:.1f} % chance to enter the {place} (forecast {shown})"
            return Verdict("pause" if self.resume else "stop", forecast, reason)
        if self.settled > 0 and found.sd <= self.settled * crowd.spread():
            return Verdict("stop", forecast, f"settled: forecast {shown}")
        return Verdict("go", forecast)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        """Paused networks whose chance has risen to twice the cut, the likeliest first."""
        if not self.resume or not any(t.state == "paused" for t in trials):
            return []
        epochs = max((t.epochs[-1].index for t in trials if t.state == "complete" and t.epochs), default=0)
        read = [self._read(t, epochs) for t in trials if t.state == "paused"]
        paused = [r for r in read if r.curve is not None and 0 < r.epoch < epochs]
        if not paused or paused[0].curve is None:
            return []
        crowd = self._meet(trials, epochs, paused[0].curve.goal)
        if len(crowd.finished) < self.start:
            return []
        known = self._revived
        if known is not None and known[0] is crowd:
            return known[1]
        enough = min(2 * self.cut, (1 + self.cut) / 2)
        found: list[tuple[float, int]] = []
        for row, forecast in zip(paused, self._sound(paused, crowd, epochs), strict=True):
            chance = 0.0 if forecast is None else self._chance(row, forecast, crowd)
            if chance >= enough and chance > 0:
                found.append((-chance, row.trial.number))
        order = tuple(number for _, number in sorted(found))
        self._revived = (crowd, order)
        return order

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
        came_to = math.nan
        if curve is not None and complete and curve.final is not None:
            came_to = curve.final
        elif curve is not None and trial.state in ("paused", "stopped"):
            value = trial.value(curve.goal.name)
            if value is not None and value.origin == "forecast":
                came_to = value.mean if curve.goal.sense == "min" else -value.mean
        point = None if curve is None else _point(trial, curve, self._ranked(curve.goal))
        row = _Row(trial, curve, val, train, epoch, complete, point, came_to)
        self._rows[trial.number] = row
        return row

    def _meet(self, trials: Sequence[Trial], epochs: int, goal: Goal) -> _Crowd:
        """The crowd of these trials, remembered until one of them changes."""
        known = self._crowd
        if known is not None and known.goals[0] == goal and _identical(known.trials, trials):
            return known
        rows = tuple(self._read(t, epochs) for t in trials)
        ranked = self._ranked(goal)
        known_rows = [r for r in rows if r.point is not None]
        points = [r.point for r in known_rows]
        numbers = [r.trial.number for r in known_rows]
        table = np.array(points).reshape(len(points), len(ranked))
        self._crowd = _Crowd(
            tuple(trials),
            rows,
            tuple(r for r in rows if r.finished),
            _thinned(tuple(r for r in rows if math.isfinite(r.came_to))),
            ranked,
            table,
            np.array(numbers, dtype=np.int64),
            np.sort(table[:, 0]),
            pareto.ranks(table) == 0,
        )
        return self._crowd

    def _ranked(self, watched: Goal) -> tuple[Goal, ...]:
        return (watched, *(g for g in self.goals if g.ranked and g.name != watched.name))

    def _chance(self, row: _Row, forecast: _Forecast, crowd: _Crowd) -> float:
        """The chance to be among the best."""
        number = row.trial.number
        if len(crowd.goals) == 1:
            return forecast.below(crowd.bound(number, self.top))
        rivals = crowd.rivals(number)
        others = [None if row.curve is None else row.curve.others.get(g.name) for g in crowd.goals[1:]]
        if None not in others:
            beaten = (rivals[:, 1:] <= np.array(others, dtype=float)).all(axis=1)
            return forecast.below(float(rivals[beaten, 0].min(initial=math.inf)))
        means, sds = [forecast.mean], [forecast.sd]
        for column, value in enumerate(others, start=1):
            seen = crowd.points[:, column]
            if value is not None:
                means.append(value)
                sds.append(0.0)
            elif len(seen):  # known after training only: as it was for the others
                means.append(float(seen.mean()))
                sds.append(float(seen.std()))
            else:
                return 1.0
        return chances.enters(np.array(means), np.array(sds), rivals)

    # -- forecasts ------------------------------------------------------------------------------------

    def _sound(self, rows: Sequence[_Row], crowd: _Crowd, epochs: int) -> list[_Forecast | None]:
        """The forecasts; none where numbers are beyond what floats can do."""
        with np.errstate(all="ignore"):
            try:
                return self._forecast(rows, crowd, epochs)
            except np.linalg.LinAlgError:
                return [None] * len(rows)

    def _forecast(self, rows: Sequence[_Row], crowd: _Crowd, epochs: int) -> list[_Forecast | None]:
        """(mean, sd) of the final value of each row, less is better; None where nothing can be said."""
        result: list[_Forecast | None] = [None] * len(rows)
        if epochs < 3:
            return result
        beliefs = self._believe(crowd.finished, epochs)
        together: dict[tuple[int, tuple[str, ...]], list[int]] = {}  # rows by epoch and what is known
        for place, row in enumerate(rows):
            if not math.isfinite(row.val[row.epoch - 1]):
                continue
            if beliefs is None:
                result[place] = _alone(row, epochs)
            elif not beliefs.logs or not (row.val[: row.epoch] <= 0).any():
                together.setdefault((row.epoch, _names(row)), []).append(place)
        if beliefs is None:
            return result
        for (epoch, names), places in together.items():
            corrected = self._corrected(epoch, crowd.known, beliefs, names)
            means, sds = _linked([rows[p] for p in places], epoch, corrected, beliefs)
            errors = np.zeros(0) if corrected is None else corrected.errors
            for place, mean, sd in zip(places, means, sds, strict=True):
                result[place] = _forecast(float(mean), float(sd), beliefs.logs, beliefs.val[1], errors)
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
        finals = np.array([r.came_to for r in rows])
        logs = bool(not (val <= 0).any() and finals.min() > 0)
        train = np.array([r.train for r in rows])
        usable = bool(np.isfinite(train).mean() > 0.5)
        floor = 0.0
        if usable and logs and not (train < 0).any():
            floor = FLOOR * float(np.median(finals))
        least = 0.05 if logs else 0.05 * float(np.median(np.abs(finals)))
        learned = families.learned(_scaled(val, logs), least or 1e-9)
        trained = families.learned(_scaled(train, floor > 0, floor), least or 1e-9) if usable else None
        self._beliefs = _Beliefs(rows, logs, floor, learned, trained)
        return self._beliefs

    def _corrected(
        self, epoch: int, known: tuple[_Row, ...], beliefs: _Beliefs, names: tuple[str, ...]
    ) -> _Corrected | None:
        """The link for networks after `epoch` epochs, remembered while the same is known of others.

        It learns from finished networks, and from those that were halted a good while later than `epoch`:
        whoever had come to nothing until then is among them, and would be missed.
        """
        remembered = beliefs.links.get((epoch, names))
        if remembered is not None and _identical(remembered[0], known):
            return remembered[1]
        later = max(epoch + 2, LATER * epoch)
        cases = [r for r in known if (r.finished or r.epoch >= later) and math.isfinite(r.val[epoch - 1])]
        if beliefs.logs:
            cases = [r for r in cases if r.came_to > 0 and r.val[epoch - 1] > 0]
        found = None
        if len(cases) >= LINKED:
            costs = [n for n in names if all(_cost(r, n) is not None for r in cases)][:COSTS]
            found = self._learn(epoch, cases, beliefs, tuple(costs))
        beliefs.links[epoch, names] = (known, found)
        return found

    def _learn(
        self, epoch: int, cases: Sequence[_Row], beliefs: _Beliefs, known: tuple[str, ...]
    ) -> _Corrected:
        lines = beliefs.features(cases, epoch)
        finals = _scaled(np.array([r.came_to for r in cases]), beliefs.logs)
        error = finals - lines[:, 0]
        sd = np.maximum(lines[:, 1], 1e-9)
        # the families' own spread, stretched to what it turned out to be
        stretch = math.sqrt((float(((error / sd) ** 2).clip(0, 25).sum()) + 3.0) / (len(cases) + 3.0))
        design = _design(cases, lines, known)
        models, leans = _models(lines.shape[1] - 4 if beliefs.train is not None else 0, design.shape[1])
        still = finals - lines[:, 2]
        change = max(float(np.sqrt(np.mean(still**2))), 1e-9)
        others = np.stack(
            [regressions.t_density(error, sd * stretch), regressions.t_density(still, change)], axis=1
        )
        learned, weights, errors = regressions.learn(design, lines[:, 0], finals, models, leans, others)
        errors = errors + np.stack([error, still], axis=1) @ weights
        spread = float(np.std(finals))
        found = _Corrected(
            learned, weights, stretch, change, np.zeros(0), lines[:, 0], errors**2, spread, known
        )
        _, widths = _linked(cases, epoch, found, beliefs)
        return replace(found, errors=errors / np.maximum(widths, 1e-12))


def _models(moments: int, width: int) -> tuple[NDArray[np.bool_], Array]:
    """Which columns of `_design` each model of the link uses (m, width), and whether it leans on the forecast
    of the families (m,). `moments`: how many columns are training metrics, 0 without a training curve."""
    rows: list[tuple[float, tuple[int, ...]]] = [(1.0, ()), (1.0, (0,)), (0.0, ())]
    costs = tuple(range(2 + moments, width))
    if costs:
        rows += [(1.0, (0, *costs)), (0.0, costs)]
    for column in range(2, 2 + moments):
        rows += [(0.0, (column,)), (1.0, (0, column))]
        if costs:
            rows += [(0.0, (column, *costs)), (1.0, (0, column, *costs))]
    if moments:
        rows += [(1.0, (0, 1, 2, *costs)), (0.0, (1, 2, *costs))]
    models = np.zeros((len(rows), width), dtype=bool)
    for line, (_, columns) in zip(models, rows, strict=True):
        line[list(columns)] = True
    return models, np.array([lean for lean, _ in rows])


def _linked(
    rows: Sequence[_Row], epoch: int, corrected: _Corrected | None, beliefs: _Beliefs
) -> tuple[Array, Array]:
    """Means and sds of the rows' final values, in the scale in which curves are fitted."""
    lines = beliefs.features(rows, epoch)
    if corrected is None:
        return lines[:, 0], lines[:, 1]
    means, sds, weights = corrected.link(_design(rows, lines, corrected.known), lines[:, 0])
    means = np.concatenate([means, lines[:, [0, 2]]], axis=1)
    same = np.full((len(rows), 1), corrected.change)
    sds = np.concatenate([sds, lines[:, 1:2] * corrected.stretch, same], axis=1)
    weights = np.concatenate([weights, corrected.others])
    middle = means @ weights
    spread = (sds**2 + (means - middle[:, None]) ** 2) @ weights
    return middle, np.sqrt(spread * _local(lines[:, 0], corrected))


def _local(places: Array, corrected: _Corrected) -> Array:
    """By what factor the variance is greater where the families' forecasts are `places` (n,): that of the
    networks nearby, with one more that was wrong by `DOUBT` times what networks differ at all."""
    doubt = (DOUBT * corrected.spread) ** 2
    away = (places[:, None] - corrected.places) / max(NEAR * float(np.std(corrected.places)), 1e-12)
    near = np.exp(-0.5 * np.minimum(away**2, 100.0))
    local = (near @ corrected.squares + doubt) / (near.sum(axis=1) + 1.0)
    overall = (float(corrected.squares.sum()) + doubt) / (len(corrected.squares) + 1.0)
    return np.asarray(np.clip(local / max(overall, 1e-300), 1.0, 30.0))


def _thinned(rows: tuple[_Row, ...]) -> tuple[_Row, ...]:
    """The last `MOST`, of so many that where there are n, about every n/16-th further one changes them."""
    step = 2 ** max(int(math.log2(max(len(rows), 1))) - 4, 0)
    return rows[: len(rows) - len(rows) % step][-MOST:]


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


def _cost(row: _Row, name: str) -> float | None:
    """log of 1 + a size or cost."""
    value = None if row.curve is None else row.curve.known.get(name)
    return None if value is None or not math.isfinite(value) else math.log1p(abs(value))


def _names(row: _Row) -> tuple[str, ...]:
    """The sizes and costs that are known of a network in training."""
    return () if row.curve is None else tuple(n for n in row.curve.known if _cost(row, n) is not None)


def _design(rows: Sequence[_Row], lines: Array, known: Sequence[str]) -> Array:
    """The link's features: both forecasts, the training metrics, sizes and costs."""
    costs = np.array([[_cost(r, name) for name in known] for r in rows], dtype=float)
    return np.concatenate([lines[:, :1], lines[:, 3:], costs.reshape(len(rows), len(known))], axis=1)


def _point(trial: Trial, curve: Curve, goals: Sequence[Goal]) -> tuple[float, ...] | None:
    """Measured or forecast values of the goals, less is better; None where one is missing."""
    if trial.state not in ("complete", "stopped", "paused"):
        return None
    point = []
    for goal in goals:
        value = trial.value(goal.name)
        if value is not None:
            point.append(value.mean if goal.sense == "min" else -value.mean)
        elif goal is goals[0] and curve.final is not None:
            point.append(curve.final)
    return tuple(point) if len(point) == len(goals) and all(map(math.isfinite, point)) else None


def _alone(row: _Row, epochs: int) -> _Forecast | None:
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
    return _forecast(float(fit.end[0]), float(fit.sd[0]), logs, prior, np.zeros(0))


def _forecast(
    middle: float, width: float, logs: bool, prior: families.Prior, errors: Array
) -> _Forecast | None:
    """Back in the metric's own scale; half the width of the interval of 68 % as sd. None if too wide."""
    if not (math.isfinite(middle) and math.isfinite(width)):
        return None
    if not logs:
        found = _Forecast(middle, width, middle, width, logs, errors)
        return found if width <= 10 * float(prior.sigmas[-1]) else None
    if width > WIDE or middle > 700:
        return None
    mean = math.exp(middle)
    return _Forecast(mean, mean * math.sinh(width), middle, width, logs, errors)


def _shown(value: Value) -> str:
    """ "0.087 ± 0.004" """
    digits = 2 - math.floor(math.log10(value.sd)) if value.sd > 0 else 4
    digits = min(max(digits - 1, 0), 6)
    return f"{value.mean:.{digits}f} ± {value.sd:.{digits}f}"
