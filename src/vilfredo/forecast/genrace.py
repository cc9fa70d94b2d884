"""A population-aware race: train a few networks in full, probe the others, finish those that may be among
the best. Ours.

1. `full` networks are trained to the end before anybody is judged, spread over what there is: every network
   is paused after its probe, and of each `scouts` of these one goes on, in turn the best by the training
   metric so far, the middle one, the one at a tenth, the worst, … (`SPREAD`). Without `scouts`, or
   without `resume`, they are the first ones.
2. Every other is judged from epoch `probe` on. `forecast.finished` gives its final value y a mean and
   an sd, learned from the networks that have finished in this search.
3. One goal: b is the value that the share `top` of all N networks is expected to be below,

       sum over i of P(y_i < b) = top N,

   y_i measured or forecast; what lies below b by less than a fiftieth of the spread of all does not
   count as below. A network is trained on while P(y < b) ≥ `cut`. Several goals: while
   P(nobody dominates it) ≥ `cut`, all others at their measured values or at their forecasts.
4. A network whose training metric lies outside those of the finished ones by more than a quarter of the
   range of all is trained on, too: of its like nothing is known yet.
5. Whoever falls below `cut` is paused, with the forecast as its value, and revived, best chance first, once
   the chance is a tenth above `cut` because the others turned out worse or forecasts better. Without
   `resume` it is stopped for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vilfredo import pareto
from vilfredo.forecast import chances, curves
from vilfredo.forecast.curves import Curve
from vilfredo.forecast.finished import ABSURD, Learned, common, table
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial, Value

Array = NDArray[np.float64]

SPREAD = (0.0, 0.5, 0.1, 1.0, 0.25, 0.05)  # who is trained in full first: shares of the ranks, in turn
BACK = 1.1  # times `cut`: the chance that revives, so that nobody goes back and forth
OUTSIDE = 0.25  # of the range of all: how far from the finished ones is unknown ground
IGNORED = np.errstate(all="ignore")  # what overflows is not finite, and so no forecast
MARGIN = 0.02  # of the sd of all: what is better by less is not


class Genrace:
    """The race.

    * `probe`: after how many epochs a network is judged for the first time; below 1 a share of full
      training, at least 2 epochs.
    * `full`: how many networks are trained to the end before anybody is judged; by default 4, without
      `resume` 10.
    * `scouts`: how many are probed for each of these, so that they can be chosen well; 0: the first ones are
      trained to the end.
    * `top`: with one goal, the share of the networks that counts as the best.
    * `cut`: the chance to be among the best, or on the front, below which a network is not trained on; by
      default 0.28 with one goal, 0.12 with several, 0.8 without `resume`.
    * `resume`: whether paused networks may come back; without it they are stopped for good.

    Raises `ValueError` for options that make no sense.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        *,
        metric: str = "",
        train_metric: str = "",
        probe: float = 0.1,
        full: int | None = None,
        scouts: int = 4,
        top: float = 0.2,
        cut: float | None = None,
        resume: bool = True,
    ) -> None:
        if probe <= 0:
            raise ValueError(f"genrace: probe is {probe}; give a number of epochs, or a share below 1 of all")
        if full is None:
            full = 4 if resume else 10
        if full < 2:
            raise ValueError(f"genrace: full is {full}; at least 2 networks have to be trained to the end")
        if scouts < 0:
            raise ValueError(f"genrace: scouts is {scouts}; give a number of networks, or 0")
        if not 0 < top < 1:
            raise ValueError(f"genrace: top is {top}; give a share between 0 and 1, such as 0.2")
        self.several = sum(g.ranked for g in goals) > 1
        if cut is None:
            cut = (0.12 if self.several else 0.28) if resume else 0.8
        if not 0 < cut < 1:
            raise ValueError(f"genrace: cut is {cut}; give a chance between 0 and 1, such as 0.3")
        self.goals = tuple(goals)
        self.timeless = frozenset(g.name for g in goals if g.under_faults)
        self.metric, self.train_metric = metric, train_metric
        self.probe, self.full, self.top, self.cut, self.resume = probe, full, top, cut, resume
        self.scouts = scouts if resume else 0
        # Memos of pure functions of trials, which are frozen: valid while the trial is the same object.
        self._curves: dict[int, tuple[Trial, Curve | None]] = {}
        self._last: Population | None = None

    @IGNORED
    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        first = self._first(epochs)
        if len(trial.epochs) < first or trial.epochs[-1].index >= epochs:
            return GO
        curve = curves.read(trial, self.goals, epochs, self.metric, self.train_metric)
        if curve is None:
            return curves.blind(trial, self.goals)
        population = self._population(peers, epochs, curve)
        learned = population.learned
        if len(learned.rows) < self.full:
            if self.scouts and len(trial.epochs) == first:
                return Verdict("pause", {}, f"probed; {self.full} spread networks are trained in full first")
            return GO
        mean, sd = (float(x[0]) for x in learned.predict(table([curve], len(curve.val))))
        forecast = learned.forecast(curve, mean, sd)
        if not forecast:
            return GO
        chance = self._chance(population, curve, mean, sd)
        if chance >= self.cut or population.outside(curve) > OUTSIDE:
            return Verdict("go", forecast)
        value = forecast[curve.goal.name]
        place = "the front" if self.several else f"the best {self.top:.0%}"
        reason = f"{chance:.0%} chance to enter {place} (forecast {value.mean:.3g} ± {value.sd:.1g})"
        return Verdict("pause" if self.resume else "stop", forecast, reason)

    @IGNORED
    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        if not self.resume or not any(t.state == "paused" for t in trials):
            return []
        population = self._population(trials, 0)
        if len(population.learned.rows) < self.full:
            return self._scouted(population)
        found = []
        for i, trial in enumerate(population.trials):
            if trial.state == "paused":
                y, sd = float(population.y[i]), float(population.sd[i])
                chance = self._chance(population, population.rows[i], y, sd)
                if chance >= min(BACK * self.cut, 1 - (1 - self.cut) / BACK):
                    found.append((-chance, trial.number))
        return [number for _, number in sorted(found)]

    def _first(self, epochs: int) -> int:
        return math.ceil(self.probe) if self.probe >= 1 else max(2, round(self.probe * epochs))

    def _scouted(self, population: Population) -> list[int]:
        """Who is to be trained in full first, of those that are paused after their probes."""
        rows = sorted(zip(population.rows, population.trials, strict=True), key=lambda pair: pair[0].number)
        chosen: dict[int, str] = {}
        for turn in range(min(self.full, len(rows) // self.scouts if self.scouts else 0)):
            probed = rows[: (turn + 1) * self.scouts]
            probe = min(len(row.val) for row, _ in probed)
            order = sorted(probed, key=lambda pair: _merit(pair[0], probe))
            target = SPREAD[turn % len(SPREAD)] * (len(order) - 1)
            places = [i for i, (row, _) in enumerate(order) if row.number not in chosen]
            row, trial = order[min(places, key=lambda i: abs(i - target))]
            chosen[row.number] = trial.state
        return [number for number, state in chosen.items() if state == "paused"]

    @IGNORED
    def revise(self, trials: Sequence[Trial]) -> Mapping[int, Mapping[str, Value]]:
        """What the race now forecasts for each paused or stopped network, by number and goal."""
        population = self._population(trials, 0)
        if len(population.learned.rows) < self.full:
            return {}
        found = zip(population.rows, population.trials, population.y, population.sd, strict=True)
        return {
            row.number: forecast
            for row, trial, y, sd in found
            if trial.state in ("paused", "stopped")
            and (forecast := population.learned.forecast(row, float(y), float(sd)))
        }

    def _population(self, trials: Sequence[Trial], epochs: int, running: Curve | None = None) -> Population:
        last = self._last
        extra = None if running is None else frozenset(running.known)
        if last is not None and _same(last.told, trials) and (extra is None or last.learned.known <= extra):
            return last
        known = []
        for trial in trials:
            memo = self._curves.get(trial.number)
            if memo is None or memo[0] is not trial:
                memo = trial, curves.read(trial, self.goals, epochs, self.metric, self.train_metric)
                self._curves[trial.number] = memo
            if memo[1] is not None:
                known.append((trial, memo[1]))
        done = [row for _, row in known if row.final is not None and abs(row.final) < ABSURD]
        names = common([row for _, row in known])
        names = names if extra is None else names & extra
        learned = last.learned if last is not None else None
        if learned is None or learned.known != names or not _same(learned.rows, done):
            learned = Learned(done, names)
        self._last = Population(
            tuple(trials), [t for t, _ in known], [r for _, r in known], learned, self.top, self.timeless
        )
        return self._last

    def _chance(self, population: Population, curve: Curve, mean: float, sd: float) -> float:
        if not self.several:
            return chances.below(mean, sd, population.bound)
        names = [g.name for g in self.goals if g.ranked and g.name != curve.goal.name]
        names = [n for n in names if n in population.others]
        place = [population.other(curve, n) for n in names]
        points = population.rivals(curve.number, names)
        return chances.enters(
            np.array([mean, *(m for m, _ in place)]), np.array([sd, *(s for _, s in place)]), points
        )


class Population:
    """All networks told of, and what is known or forecast of each: `y`, `sd` (n,), sd 0 where measured.
    How long training takes says nothing of `timeless` goals, so that forecasts of them do not hang on the
    clock."""

    def __init__(
        self,
        told: tuple[Trial, ...],
        trials: Sequence[Trial],
        rows: Sequence[Curve],
        learned: Learned,
        top: float,
        timeless: frozenset[str] = frozenset(),
    ) -> None:
        self.told, self.trials, self.rows, self.learned, self.top = told, trials, rows, learned, top
        self.timeless = timeless
        self._ranges: dict[tuple[str, int], tuple[float, float, float, float]] = {}
        self._lessons: dict[str, tuple[Array, Array, list[str], bool]] = {}
        self._fronts: dict[tuple[str, ...], tuple[Array, NDArray[np.bool_]]] = {}

    @cached_property
    def _forecasts(self) -> tuple[Array, Array]:
        y, sd = np.full(len(self.rows), math.nan), np.zeros(len(self.rows))
        lengths: dict[int, list[int]] = {}
        for i, row in enumerate(self.rows):
            if row.final is not None and abs(row.final) < ABSURD:
                y[i] = row.final
            else:
                lengths.setdefault(len(row.val), []).append(i)
        y = self.learned.transformed(y)
        for k, which in lengths.items():
            y[which], sd[which] = self.learned.predict(table([self.rows[i] for i in which], k))
        unknown = ~(np.isfinite(y) & np.isfinite(sd))
        y[unknown], sd[unknown] = self.learned.y.max(initial=-math.inf), self.learned.spread
        return y, sd

    @property
    def y(self) -> Array:
        return self._forecasts[0]

    @property
    def sd(self) -> Array:
        return self._forecasts[1]

    @cached_property
    def bound(self) -> float:
        """The y to be below in order to be among the best."""
        low, high = float((self.y - 4 * self.sd).min()), float((self.y + 4 * self.sd).max())
        scale = np.maximum(self.sd, 1e-3 * max(high - low, 1e-12))
        for _ in range(16):
            middle = (low + high) / 2
            if float(chances.normal((middle - self.y) / scale).sum()) < max(self.top * len(self.y), 0.5):
                low = middle
            else:
                high = middle
        return (low + high) / 2 - max(self.learned.least, MARGIN * float(self.y.std()))

    def outside(self, curve: Curve) -> float:
        """How far the training metric lies outside those of the finished ones at the same epoch, in units of
        the range of all; 0 where that cannot be said."""
        k = len(curve.val)
        name = "t" if np.isfinite(curve.train[-1]) else "v"
        if (name, k) not in self._ranges:
            self._ranges[name, k] = self._range(name, k)
        best, worst, low, high = self._ranges[name, k]
        x = float(self.learned.columns(table([curve], k))[name][0])
        whole = max(high, x) - min(low, x)
        return max(x - worst, best - x, 0.0) / whole if whole > 0 and math.isfinite(whole) else 0.0

    def _range(self, name: str, k: int) -> tuple[float, float, float, float]:
        """Least and greatest of a metric after k epochs, of the finished ones and of all; NaN if unknown."""
        here = [r for r in self.rows if len(r.val) >= k]
        if not here:
            return math.nan, math.nan, math.nan, math.nan
        x = self.learned.columns(table(here, k))[name]
        whole = np.isfinite(x)
        done = whole & np.array([r.final is not None for r in here])
        if not done.any():
            return math.nan, math.nan, math.nan, math.nan
        return float(x[done].min()), float(x[done].max()), float(x[whole].min()), float(x[whole].max())

    # -- several goals ------------------------------------------------------------------------------

    @cached_property
    def others(self) -> Mapping[str, tuple[Array, Array]]:
        """Mean and sd of every goal that is not watched, less is better, by name: measured or, where it is
        not yet, regressed on what was known before training."""
        names = {n for row in self.rows for n in row.others}
        found = {}
        for name in sorted(names):
            value = np.array([row.others.get(name, math.nan) for row in self.rows])
            sd = np.zeros(len(value))
            missing = np.flatnonzero(np.isnan(value))
            for i in missing.tolist():
                value[i], sd[i] = self._regressed(name, self.rows[i])
            found[name] = value, sd
        return found

    def other(self, curve: Curve, name: str) -> tuple[float, float]:
        known = curve.others.get(name)
        return (known, 0.0) if known is not None else self._regressed(name, curve)

    def _regressed(self, name: str, curve: Curve) -> tuple[float, float]:
        """A goal that is measured at the end: ridge regression of its log on the logs of what was known
        before training and, unless it is `timeless`, of the seconds per epoch, from those that have it; their
        mean where there is nothing to go by."""
        x, y, words, log = self._lesson(name)
        here = np.array([_input(curve, word) for word in words])
        mean, width = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
        z = np.nan_to_num(np.clip((x - mean) / width, -5, 5))
        at = np.nan_to_num(np.clip((here - mean) / width, -5, 5))
        cov = np.linalg.inv(z.T @ z + 0.1 * np.eye(len(words)))
        slope = cov @ (z.T @ (y - y.mean()))
        n = len(y)
        noise = (float(((y - y.mean() - z @ slope) ** 2).sum()) + 0.1 * float(y.var())) / max(n - 1, 1)
        found = float(y.mean() + at @ slope)
        sd = math.sqrt(noise * (1 + 1 / n + float(at @ cov @ at)))
        if not log:
            return found, sd
        found = math.exp(min(found, 700.0))
        return found, found * math.sqrt(math.expm1(min(sd * sd, 1.0)))

    def _lesson(self, name: str) -> tuple[Array, Array, list[str], bool]:
        if name not in self._lessons:
            have = [r for r in self.rows if name in r.others]
            words = [w for w in sorted(self.learned.known) if all(r.known[w] > 0 for r in have)]
            words = [w for w in words if w != name] + ([] if name in self.timeless else ["seconds"])
            x = np.array([[_input(r, w) for w in words] for r in have])
            y = np.array([r.others[name] for r in have])
            log = bool((y > 0).all())
            self._lessons[name] = np.nan_to_num(x), np.log(y) if log else y, words, log
        return self._lessons[name]

    def rivals(self, number: int, names: Sequence[str]) -> Array:
        """Points (n, 1 + names) of all but one network, of which only those on the front matter."""
        whole, front = self._points(tuple(names))
        mine = [i for i, r in enumerate(self.rows) if r.number == number]
        if mine and front[mine[0]]:
            return np.asarray(np.delete(whole, mine[0], axis=0))
        return np.asarray(whole[front])

    def _points(self, names: tuple[str, ...]) -> tuple[Array, NDArray[np.bool_]]:
        if names not in self._fronts:
            whole = np.stack([self.y, *(self.others[n][0] for n in names)], axis=1)
            self._fronts[names] = whole, pareto.ranks(whole) == 0
        return self._fronts[names]


def _merit(curve: Curve, k: int) -> tuple[float, int]:
    """By which probes are ranked: the training metric after k epochs, else the watched one."""
    x = curve.train[k - 1] if np.isfinite(curve.train[k - 1]) else curve.val[k - 1]
    return (float(x) if math.isfinite(x) else math.inf), curve.number


def _input(curve: Curve, word: str) -> float:
    x = float(np.median(curve.seconds)) if word == "seconds" else curve.known.get(word, math.nan)
    return math.log(x) if x > 0 else math.nan


def _same(a: Sequence[object], b: Sequence[object]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
