"""What the yardsticks share: peers at the same epoch, places among them, and a plain forecast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vilfredo import pareto
from vilfredo.forecast import curves
from vilfredo.goal import Goal, numbers, violation
from vilfredo.trial import Trial, Value

DONE = 3  # as many finished peers does a forecast need


@dataclass(frozen=True, slots=True)
class Seen:
    """A network as a yardstick sees it; less is better throughout.

    `at[k]`, `best[k]` and `average[k]` are the value after epoch k, the best one and the mean of all until
    then (inf where there is none; an epoch without a finite value repeats the one before in `at`).
    `others` are the ranked goals that are not watched, `None` where not known. `fits` says that no limit
    is known to be broken.
    """

    number: int
    state: str
    curve: curves.Curve
    at: tuple[float, ...]
    best: tuple[float, ...]
    average: tuple[float, ...]
    others: tuple[float | None, ...]
    fits: bool

    @property
    def known(self) -> frozenset[int]:
        """The places of those in `others` that are known."""
        return frozenset(i for i, value in enumerate(self.others) if value is not None)

    @property
    def last(self) -> int:
        """The epoch up to which it was trained."""
        return len(self.at) - 1

    @property
    def before(self) -> int:
        """The epoch of the record before the last; 0 if there is none."""
        return int(self.curve.index[-2]) if len(self.curve.index) > 1 else 0


class Peers:
    """Reads trials, each told one once: the same object is the same network."""

    def __init__(self, goals: Sequence[Goal], metric: str = "") -> None:
        self.goals = tuple(goals)
        self.metric = metric
        self.several = sum(g.ranked for g in goals) > 1
        self._known: dict[tuple[int, int], tuple[Trial, Seen | None]] = {}

    def all(self, trials: Sequence[Trial], epochs: int, without: int = -1) -> list[Seen]:
        """Those of the trials that have a curve, without the one of number `without`."""
        found = []
        for trial in trials:
            if trial.number == without:  # the one in training, as it was when it was paused
                continue
            entry = self._known.get((trial.number, epochs))
            if entry is None or entry[0] is not trial:
                entry = (trial, self.read(trial, epochs))
                self._known[trial.number, epochs] = entry
            if entry[1] is not None:
                found.append(entry[1])
        return found

    def read(self, trial: Trial, epochs: int) -> Seen | None:
        """The trial as it is now; None where it has no curve."""
        curve = curves.read(trial, self.goals, epochs, self.metric)
        if curve is None:
            return None
        at, best, average = [math.inf], [math.inf], [math.inf]
        total, count = 0.0, 0
        for index, value in zip(curve.index, curve.val, strict=True):
            while len(at) < int(index):  # epochs without a record
                at.append(at[-1])
                best.append(best[-1])
                average.append(average[-1])
            finite = math.isfinite(value)
            total, count = (total + float(value), count + 1) if finite else (total, count)
            at.append(float(value) if finite else at[-1])
            best.append(min(best[-1], at[-1]))
            average.append(total / count if count else math.inf)
        others = tuple(curve.others.get(g.name) for g in self.goals if g.ranked and g.name != curve.goal.name)
        return Seen(
            number=trial.number,
            state=trial.state,
            curve=curve,
            at=tuple(at),
            best=tuple(best),
            average=tuple(average),
            others=others,
            fits=violation(numbers(trial, self.goals), self.goals) <= 0,
        )


def better(own: Seen, rivals: Sequence[Seen], level: int, several: bool) -> tuple[int, bool]:
    """How many of the rivals go before `own` after epoch `level`, and whether any dominates it.

    With one goal those with a smaller value. With several goals the points are (value after the epoch,
    the other ranked goals that are known of `own`); rivals that lack one of these, or break a
    limit, are left out; those of a better non-dominated rank go before, and within a rank those with a
    smaller value.
    """
    if not several:
        before = sum(r.at[level] < own.at[level] for r in rivals)
        return before, before > 0
    known = own.known
    able = [r for r in rivals if r.fits and known <= r.known]
    ahead, ranks = places([own, *able], level, known)
    return int(ahead[0]), bool(ranks[0] > 0)


def places(
    members: Sequence[Seen], level: int, known: frozenset[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many go before each member after epoch `level`, and their non-dominated ranks, in (value after the
    epoch, those of the other ranked goals whose places are in `known`)."""
    table = np.array([[m.at[level], *(m.others[i] for i in sorted(known))] for m in members], dtype=float)
    table = np.where(np.isfinite(table), table, np.finfo(float).max)
    ranks = pareto.ranks(table)
    pairs = np.column_stack([ranks, table[:, 0]])
    _, which, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return before[which.reshape(-1)], ranks


def extrapolated(own: Seen, peers: Sequence[Seen]) -> dict[str, Value]:
    """A plain forecast: the present value plus the mean of what finished peers' values changed from this
    epoch to the end, sd the spread of these changes as of one more of them.

    Held within what has been seen of the goal. Empty with fewer than `DONE` finished peers.
    """
    now = own.at[own.last]
    done = [
        (p.curve.final, p.at[own.last])
        for p in peers
        if p.curve.final is not None and p.last >= own.last and math.isfinite(p.at[own.last])
    ]
    if len(done) < DONE or not math.isfinite(now):
        return {}
    finals, then = np.array(done, dtype=float).T
    with np.errstate(over="ignore", invalid="ignore"):
        changes = finals - then
        mean = now + float(changes.mean())
        sd = float(changes.std(ddof=1)) * math.sqrt(1 + 1 / len(changes))
    seen = [now, *finals, *then]
    return curves.forecast(own.curve, float(min(max(mean, min(seen)), max(seen))), sd)


def levels(grace: int, eta: int, epochs: int) -> list[int]:
    """The rungs: `grace`, `grace`·eta, `grace`·eta², … below `epochs`."""
    found = []
    level = grace
    while level < epochs:
        found.append(level)
        level *= eta
    return found


def crossed(own: Seen, rungs: Sequence[int]) -> int | None:
    """The highest rung that the last record reached."""
    return max((level for level in rungs if own.before < level <= own.last), default=None)
