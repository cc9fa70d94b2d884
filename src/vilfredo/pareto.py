"""Dominance, ranks, crowding, hypervolume and knee. Arrays of points are (n, m), all to be minimised.

Dominance is Deb's constrained rule (Deb et al., "A fast and elitist multiobjective genetic algorithm:
NSGA-II", IEEE TEC 6(2), 2002, section VI): a feasible point beats an infeasible one, of two infeasible
ones the smaller violation wins, of two feasible ones the usual dominance decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vilfredo.goal import Goal, numbers, violation
from vilfredo.trial import Split, Trial

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

ALIVE = ("complete", "stopped", "paused")
"""The states of trials that can be in a front; a halted one is there by its forecast."""


def points(
    trials: Sequence[Trial], goals: Sequence[Goal], split: Split = "validation"
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The trials as points to be minimised: (n, m) over the ranked goals, (n,) violations, (n,) usable.

    Maximised goals change sign. A trial that failed or lacks a ranked goal is not usable (its row is
    inf), unless it was rejected by its preview: then its violation is known and is what it is ranked by.
    """
    ranked = [g for g in goals if g.ranked]
    table = np.full((len(trials), len(ranked)), np.inf)
    violations = np.zeros(len(trials))
    usable = np.zeros(len(trials), dtype=bool)
    for row, trial in enumerate(trials):
        if trial.state == "failed":
            continue
        known = numbers(trial, goals, split)
        violations[row] = violation(known, goals)
        if all(g.name in known for g in ranked):
            table[row] = [known[g.name] if g.sense == "min" else -known[g.name] for g in ranked]
            usable[row] = True
        else:
            usable[row] = trial.state == "rejected" and violations[row] > 0
    return table, violations, usable


def ranks(table: Array, violations: Array | None = None) -> Indices:
    """Non-dominated rank of each point, 0 the best, by Deb's constrained rule. Shape (n,)."""
    import moocore

    result = np.zeros(len(table), dtype=np.int64)
    if len(table) == 0:
        return result
    infeasible = np.zeros(len(table), dtype=bool) if violations is None else violations > 0
    feasible = ~infeasible
    first = 0
    if feasible.any():
        inside = table[feasible]
        result[feasible] = moocore.pareto_rank(inside) if inside.shape[1] > 1 else _dense_rank(inside[:, 0])
        first = int(result[feasible].max()) + 1
    if violations is not None and infeasible.any():
        result[infeasible] = first + _dense_rank(violations[infeasible])
    return result


def _dense_rank(values: Array) -> Indices:
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)


def crowding(table: Array) -> Array:
    """Crowding distance within one front (Deb et al. 2002, section III-B). Shape (n,); borders are inf.

    Of copies of one point the first has the distance that the point would have alone, the others 0:
    a second copy adds nothing to the front. A goal in which all are equal has no borders, and a
    goal with a value that is not finite (a candidate rejected unmeasured) does not count.
    """
    distance = np.zeros(len(table))
    first = _first_copies(table)
    if len(first) <= 2:
        distance[first] = np.inf
        return distance
    single = table[first]
    own = np.zeros(len(single))
    for column in np.ascontiguousarray(single.T):
        along = np.argsort(column, kind="stable")
        values = column[along]
        span = values[-1] - values[0]
        if span > 0 and np.isfinite(span):
            own[along[1:-1]] += (values[2:] - values[:-2]) / span
            own[along[0]] = own[along[-1]] = np.inf
    distance[first] = own
    return distance


def _first_copies(table: Array) -> Indices:
    """Rows without those that repeat an earlier one, in some order that depends on the table alone."""
    column = np.sort(table[:, 0])
    if (column[1:] != column[:-1]).all():
        return np.arange(len(table))
    order = np.lexsort(table.T[::-1])
    rows = table[order]
    return order[np.concatenate(([True], (rows[1:] != rows[:-1]).any(axis=1)))]


def best(table: Array, violations: Array, count: int) -> Indices:
    """Row numbers of the `count` best points: by rank, the last front that fits in part by crowding.

    Ties go to the earlier row, so the result depends on nothing but its arguments.
    """
    if len(table) <= count:
        return np.arange(len(table))
    rank = ranks(table, violations)
    kept: list[int] = []
    for level in range(int(rank.max()) + 1):
        front_rows = np.flatnonzero(rank == level)
        if len(kept) + len(front_rows) <= count:
            kept.extend(front_rows.tolist())
        else:
            order = np.argsort(-crowding(table[front_rows]), kind="stable")
            kept.extend(front_rows[order[: count - len(kept)]].tolist())
        if len(kept) == count:
            break
    return np.array(sorted(kept), dtype=np.int64)


def front(trials: Iterable[Trial], goals: Sequence[Goal], split: Split = "validation") -> list[Trial]:
    """The feasible trials that no other dominates, sorted by the first ranked goal.

    Of trials with equal points the one with the lowest number is kept: the others add nothing, and where
    goals are counts there may be thousands. Rejected and failed trials are never in a front.
    """
    alive = sorted((t for t in trials if t.state in ALIVE), key=lambda t: t.number)
    table, violations, usable = points(alive, goals, split)
    keep = np.flatnonzero(usable & (violations == 0))
    if len(keep) == 0:
        return []
    keep = keep[np.sort(_first_copies(table[keep]))]
    best_rank = keep[ranks(table[keep]) == 0]
    ordered = sorted(best_rank.tolist(), key=lambda row: (tuple(table[row]), alive[row].number))
    return [alive[row] for row in ordered]


def hypervolume(table: Array, reference: Sequence[float] | Array) -> float:
    """Volume that the points dominate below `reference` (m,). Points beyond it count nothing."""
    import moocore

    ref = np.asarray(reference, dtype=float)
    inside = table[(table < ref).all(axis=1)] if len(table) else table
    if len(inside) == 0:
        return 0.0
    if inside.shape[1] == 1:
        return float(ref[0] - inside.min())
    return float(moocore.hypervolume(inside, ref=ref))


def knee(table: Array) -> int:
    """Row of the knee: in goals scaled to [0, 1] over the front, the point nearest to the ideal corner.

    Raises `ValueError` for an empty table.
    """
    if len(table) == 0:
        raise ValueError("an empty front has no knee")
    low, high = table.min(axis=0), table.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return int(np.argmin(np.linalg.norm((table - low) / span, axis=1)))
