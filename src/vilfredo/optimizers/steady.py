"""Steady-state NSGA-II, asynchronous: every trial that is told takes its place at once.

In the manner of MENNDL (Young et al., "Evolving deep networks using HPC", MLHPC 2017), where no worker
ever waits for a generation: an offspring is asked for whenever a worker is free, made from whoever has
been told by then. Ranks and crowding are those of NSGA-II (Deb et al. 2002); its steady-state form is
Durillo et al., "On the effect of the steady-state selection scheme in multi-objective genetic
algorithms", EMO 2009.

**No bias to what is quick to evaluate.** A trial enters the population when it is told, however late,
and is judged by nothing but its values. Among equals the one that was told first goes first, so on a
plateau everyone stays for the same number of tells and thus has the same chance to be a parent.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.optimizers.nsga2 import (
    TRIES,
    Names,
    Parents,
    belongs,
    check_options,
    fresh_sample,
    name_of,
    new_name,
    vary,
)
from vilfredo.protocols import Rng, Space, Work
from vilfredo.trial import Trial


class Steady:
    """Steady-state NSGA-II: nobody waits, and every finished trial can become a parent.

    The `population` best trials are the parents; until so many are told, genomes are sampled. Offspring
    are crossed with probability `crossover`, and all are mutated. `ask` returns [] only where it
    finds no new genome. Raises `ValueError` for options that make no sense.
    """

    def __init__(
        self, space: Space, goals: Sequence[Goal], *, population: int = 20, crossover: float = 0.9
    ) -> None:
        check_options(goals, population, crossover)
        self.space = space
        self.goals = tuple(goals)
        self.population = population
        self.crossover = crossover
        self._names = Names()
        self._living = Ranked(len(pareto.points((), self.goals)[0].T), population)
        self._told = 0

    def ask(self, count: int, rng: Rng, pending: Sequence[Work] = ()) -> list[Work]:
        taken = {name_of(self.space, work.genome) for work in pending}
        works: list[Work] = []
        while len(works) < count:
            found = self._one(rng, taken)
            if found is None:
                break
            taken.add(found[1])
            works.append(found[0])
        return works

    def _one(self, rng: Rng, taken: Container[str]) -> tuple[Work, str] | None:
        parents = self._living.parents()
        if len(self._names) >= self.population and parents.trials:
            for _ in range(TRIES):
                work = vary(self.space, parents, self.crossover, rng)
                name = new_name(self.space, work.genome, (self._names, taken))
                if name is not None:
                    return work, name
        found = fresh_sample(self.space, rng, self._names, taken)
        return None if found is None else (Work(found[0], operator="sample"), found[1])

    def tell(self, trial: Trial) -> None:
        self._names.put(trial.number, name_of(self.space, trial.genome))
        table, violations, usable = pareto.points((trial,), self.goals)
        self._living.remove(trial.number)
        if usable[0]:
            self._living.add(trial, table[0], float(violations[0]), belongs(self.space, trial.genome))


class Ranked:
    """At most `count` trials that can be parents, ranked at all times.

    Adding one costs O(n) comparisons and a few changes of level instead of a ranking from scratch (Li et al.,
    "Efficient nondomination level update method for steady-state evolutionary multiobjective optimization",
    IEEE Trans. Cybernetics 47(9), 2017). Trials that cannot be parents are kept beside them while
    nothing dominates them.
    """

    def __init__(self, goals: int, count: int) -> None:
        self.count = count
        self.trials: list[Trial] = []  # oldest first; the arrays below have the same rows
        self.table = np.zeros((0, goals))
        self.violations = np.zeros(0)
        self.eligible = np.zeros(0, dtype=bool)
        self.ranks = np.zeros(0, dtype=np.int64)

    def parents(self) -> Parents:
        rows = np.flatnonzero(self.eligible)
        distance = np.zeros(len(self.trials))
        for level in range(int(self.ranks.max(initial=-1)) + 1):
            members = np.flatnonzero(self.ranks == level)
            if self.violations[members[0]] == 0:
                distance[members] = pareto.crowding(self.table[members])
        return Parents([self.trials[row] for row in rows], self.ranks[rows], distance[rows])

    def add(self, trial: Trial, point: pareto.Array, violation: float, eligible: bool) -> None:
        self.trials.append(trial)
        self.table = np.vstack([self.table, point])
        self.violations = np.append(self.violations, violation)
        self.eligible = np.append(self.eligible, eligible)
        self.ranks = pareto.ranks(self.table, self.violations)
        self._drop(np.flatnonzero(~self.eligible & (self.ranks > 0)))
        if self.eligible.sum() > self.count:
            rows = np.flatnonzero(self.eligible)
            last = rows[self.ranks[rows] == self.ranks[rows].max()]
            distance = np.zeros(len(last))
            if self.violations[last[0]] == 0:
                distance = pareto.crowding(self.table[last][::-1])[::-1]
            self._drop(last[[int(np.argmin(distance))]])

    def remove(self, number: int) -> None:
        self._drop(np.array([row for row, t in enumerate(self.trials) if t.number == number], dtype=np.int64))

    def _drop(self, rows: pareto.Indices) -> None:
        if len(rows) == 0:
            return
        keep = np.ones(len(self.trials), dtype=bool)
        keep[rows] = False
        self.trials = [t for t, k in zip(self.trials, keep, strict=True) if k]
        self.table, self.violations = self.table[keep], self.violations[keep]
        self.eligible = self.eligible[keep]
        self.ranks = pareto.ranks(self.table, self.violations)
