"""Steady-state NSGA-II, asynchronous, with a learned screen for its offspring.

In the manner of MENNDL (Young et al., "Evolving deep networks using HPC", MLHPC 2017), where no worker
ever waits for a generation: an offspring is asked for whenever a worker is free, made from whoever has
been told by then. Ranks and crowding are those of NSGA-II (Deb et al. 2002); its steady-state form is
Durillo et al., "On the effect of the steady-state selection scheme in multi-objective genetic
algorithms", EMO 2009.

**No bias to what is quick to evaluate.** A trial enters the population when it is told, however late,
and is judged by nothing but its values. Among equals the one that was told first goes first, so on a
plateau everyone stays for the same number of tells and thus has the same chance to be a parent.

**The screen** is our own addition; it learns from the told trials. Several offspring are proposed, a small
Gaussian process per goal predicts them, and the one with the largest expected improvement of the
hypervolume is asked for. The expectation is taken over random directions from the reference point, in
which hypervolume is an average of best distances (Deng and Zhang, "Approximating hypervolume and
hypervolume contributions using polar coordinate", IEEE TEC 23(5), 2019; Golovin and Zhang, "Random
hypervolume scalarizations for provable multi-objective black box optimization", ICML 2020), with one draw
of the predicted values per direction. Candidates in evaluation count with their predicted values, so
that workers do not all run after the same improvement. Limits multiply it by the probability that
they are kept. Where nothing can be told apart, the first offspring is taken: on a plateau the screen
is not there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vilfredo import pareto, surrogate
from vilfredo.goal import Goal, numbers, violation
from vilfredo.optimizers.nsga2 import (
    NOBODY,
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
from vilfredo.pareto import Array
from vilfredo.population import Population
from vilfredo.protocols import Rng, Space, Work
from vilfredo.trial import Genome, Trial

TRAINED_ON = 200  # trials that two surrogates learn from, fewer for more: what that costs stays the same
DIRECTIONS = 128  # over which the improvement is averaged
UNSCREENED = 0.1  # of the offspring: what the surrogate would never have liked gets its chance
SAMPLED = 0.1  # of the proposals are drawn from the whole space
NEAR = 0.1  # the near reference point lies this share of the front's extent beyond its worst,
FAR = 0.5  # and the far one so much beyond the worst of all that is learned from


class Steady:
    """Steady-state NSGA-II: nobody waits, and every finished trial can become a parent.

    The `population` best trials are the parents; until so many are told, genomes are sampled. Offspring
    are crossed with probability `crossover`; half of those, and all others, are mutated. Of `proposals`
    offspring the screen picks one (None: 64, fewer in populations above 78, so that asking stays quick;
    1: no screen). `ask` returns [] only where it finds no new genome. Raises `ValueError` for options that
    make no sense.
    """

    def __init__(
        self,
        space: Space,
        goals: Sequence[Goal],
        *,
        population: int = 20,
        crossover: float = 0.9,
        proposals: int | None = None,
    ) -> None:
        check_options(goals, population, crossover)
        if proposals is not None and (
            isinstance(proposals, bool) or not isinstance(proposals, int) or proposals < 1
        ):
            raise ValueError(f"proposals is {proposals!r}; give a whole number of at least 1")
        self.space = space
        self.goals = tuple(goals)
        self.population = population
        self.crossover = crossover
        self.proposals = proposals or max(5, min(64, 5000 // population))
        self._names = Names()
        self._facts: dict[int, tuple[object, ...]] = {}  # what each told trial is judged by
        self._trials: dict[int, Trial] = {}  # that can be parents, by number
        self._living = Population(sum(goal.ranked for goal in goals), population)
        self._screen = Screen(space, self.goals)
        self._pending: dict[int, Entry] = {}

    def ask(self, count: int, rng: Rng, pending: Sequence[Work] = ()) -> list[Work]:
        """Up to `count` works; fewer where no new genomes are found."""
        self._note(pending)
        noted = [self._pending[id(work.genome)] for work in pending]
        taken = {entry.name for entry in noted}
        underway = [entry for entry in noted if entry.inside]
        parents = self._parents()
        works: list[Work] = []
        while len(works) < count:
            found = self._one(parents, rng, taken, underway)
            if found is None:
                break
            work, name = found
            taken.add(name)
            works.append(work)
            if len(works) < count:
                underway.append(Entry(self.space, work.genome))
        return works

    def _note(self, pending: Sequence[Work]) -> None:
        """Remembers names and encodings of what is in evaluation, so that each is worked out once."""
        self._pending = {id(work.genome): self._entry(work.genome) for work in pending}

    def _entry(self, genome: Genome) -> Entry:
        noted = self._pending.get(id(genome))
        if noted is not None and noted.genome is genome:
            return noted
        return Entry(self.space, genome)

    def tell(self, trial: Trial) -> None:
        """Takes in a trial; one told again replaces what was known of it."""
        number = trial.number
        entry = self._entry(trial.genome)
        self._names.put(number, entry.name)
        table, violations, usable = pareto.points((trial,), self.goals)
        known = numbers(trial, self.goals)
        facts = (bool(usable[0]), *known.items())
        if self._facts.get(number) == facts:
            return  # told again, and nothing that matters here is new
        self._facts[number] = facts
        if not usable[0]:
            self._living.remove(number)
            self._screen.forget(number)
            return
        self._living.add(number, table[0], float(violations[0]), entry.inside)
        if entry.inside:
            self._trials[number] = trial
            self._screen.learn(number, entry, known, self._living)
        if len(self._trials) > 4 * len(self._living.numbers):  # those that live no more
            self._trials = {n: self._trials[n] for n in self._living.numbers.tolist() if n in self._trials}

    def breeders(self) -> Collection[int]:
        """The population, as far as it can have children."""
        return [int(n) for n in self._living.numbers[np.flatnonzero(self._living.eligible)]]

    def _parents(self) -> Parents:
        rows = np.flatnonzero(self._living.eligible)
        if len(self._names) < self.population or len(rows) == 0:
            return NOBODY
        living = self._living
        return Parents(self._trials, rows, living.numbers, living.ranks, living.crowding)

    def _one(
        self, parents: Parents, rng: Rng, taken: Container[str], underway: Sequence[Entry]
    ) -> tuple[Work, str] | None:
        if len(parents.rows):
            screened = self.proposals > 1 and rng.random() >= UNSCREENED
            works = [vary(self.space, parents, self.crossover, rng)]
            if screened:
                works += [self._propose(parents, rng) for _ in range(self.proposals - 1)]
                works = self._screen.sort(works, underway, rng)
            for work in works:
                name = new_name(self.space, work.genome, (self._names, taken))
                if name is not None:
                    return work, name
            for _ in range(TRIES):
                work = vary(self.space, parents, self.crossover, rng)
                name = new_name(self.space, work.genome, (self._names, taken))
                if name is not None:
                    return work, name
        found = fresh_sample(self.space, rng, self._names, taken)
        return None if found is None else (Work(found[0], operator="sample"), found[1])

    def _propose(self, parents: Parents, rng: Rng) -> Work:
        if rng.random() < SAMPLED:
            return Work(self.space.sample(rng), operator="sample")
        return vary(self.space, parents, self.crossover, rng)


class Entry:
    """A genome, its canonical form, whether it is of the space, and its encoding, worked out when needed."""

    def __init__(self, space: Space, genome: Genome) -> None:
        self.space = space
        self.genome = genome
        self.name = name_of(space, genome)
        self.inside = belongs(space, genome)

    @cached_property
    def code(self) -> Array:
        return self.space.encode(self.genome)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the screen knows of a trial. `values` (goals,) are all to be minimised, NaN where unknown."""

    entry: Entry
    values: Array
    feasible: bool


class Screen:
    """Sorts proposals by what they promise.

    Its state is a fold of what it is told. `_model` is built from that when it is first needed, and is
    the same whenever that is: fitted to the trials that `learn` chose, and extended by those that came
    since, one by one.
    """

    def __init__(self, space: Space, goals: Sequence[Goal]) -> None:
        self.space = space
        self.goals = tuple(goals)
        self._lessons: dict[int, Lesson] = {}  # of those below, and of those that live
        self._told: set[int] = set()
        self._at = 0  # how many were told when the model was last fitted
        self._enough = TRAINED_ON * 2 // max(2, len(self.goals))
        self._basis: list[int] = []  # numbers that the model is fitted to
        self._front: list[int] = []  # and those that were the front
        self._since: list[int] = []  # numbers that came after
        self._model: Model | None = None
        self._done = 0  # how many of `_since` the model has

    def forget(self, number: int) -> None:
        if self._lessons.pop(number, None) is not None:
            self._basis = [n for n in self._basis if n != number]
            self._front = [n for n in self._front if n != number]
            self._since = [n for n in self._since if n != number]
            self._model = None

    def learn(self, number: int, entry: Entry, known: Mapping[str, float], living: Population) -> None:
        """Takes in a trial that has just joined (or failed to join) the population."""
        values = np.array([_minimised(goal, known.get(goal.name, math.nan)) for goal in self.goals])
        feasible = violation(known, self.goals) == 0
        if number in self._lessons:
            self._model = None
        elif number in self._told and number not in living:
            return  # told again, and of no more interest than before
        else:
            self._since.append(number)
            self._told.add(number)
        self._lessons[number] = Lesson(entry, values, feasible)
        if len(self._since) >= min(50, max(1, len(self._told) // 20)):
            self._choose(living)

    def _choose(self, living: Population) -> None:
        """The trials to fit to: those that live, the best first, then the latest of the others."""
        rows = living.rows()
        best = [n for n in living.numbers[rows].tolist() if n in self._lessons]
        chosen = dict.fromkeys(best[: self._enough])
        for number in [*reversed(self._since), *reversed(self._basis)]:
            if len(chosen) >= self._enough:
                break
            chosen[number] = None
        order = {number: place for place, number in enumerate([*self._basis, *self._since])}
        self._basis = sorted(chosen, key=lambda n: order.get(n, -1))
        front = rows[(living.ranks[rows] == 0) & (living.violations[rows] == 0)]
        self._front = [n for n in living.numbers[front].tolist() if n in self._lessons]
        self._since = []
        self._at = len(self._told)
        self._model, self._done = None, 0
        self._lessons = {n: self._lessons[n] for n in dict.fromkeys([*self._basis, *best])}

    def sort(self, works: Sequence[Work], underway: Sequence[Entry], rng: Rng) -> list[Work]:
        """The works, the most promising first; equally promising ones stay in their order."""
        model = self._current()
        if model is None:
            return list(works)
        x = np.array([self.space.encode(work.genome) for work in works])
        coming = np.array([entry.code for entry in underway]).reshape(-1, x.shape[1])
        promise = model.promise(x, coming, rng)
        return [works[i] for i in np.argsort(-promise, kind="stable")]

    def _current(self) -> Model | None:
        """The model of all that was told; None before there is anything to learn from."""
        if self._model is None:
            if len(self._basis) < 2:
                return None
            lessons = [self._lessons[number] for number in self._basis]
            x = np.array([lesson.entry.code for lesson in lessons])
            front = np.array([self._lessons[n].values for n in self._front if self._lessons[n].feasible])
            self._model = Model(
                self.goals,
                x,
                np.array([lesson.values for lesson in lessons]),
                front.reshape(-1, len(self.goals)),
                self._at,
            )
            self._done = 0
        for number in self._since[self._done :]:
            lesson = self._lessons[number]
            self._model.add(lesson.entry.code, lesson.values, lesson.feasible)
        self._done = len(self._since)
        return self._model


class Model:
    """One Gaussian process per goal, and how far the front reaches in every direction.

    Ranked goals are scaled to the front: 0 its best, 1 its worst; what is worse than that is compressed
    (it need not be told apart exactly). `x` (n, d) encodings, `y` (n, goals) as in `Lesson`, `front`
    (k, goals); `seed` is that of the directions.
    """

    def __init__(self, goals: Sequence[Goal], x: Array, y: Array, front: Array, seed: int) -> None:
        self.goals = tuple(goals)
        self.ranked = np.array([goal.ranked for goal in goals])
        known = np.isfinite(y)
        extent = front if len(front) else y
        self.low = np.array([_least(column) for column in extent.T])
        high = np.array([-_least(-column) for column in extent.T])
        spread = np.array(
            [float(np.std(column[k])) if k.any() else 0.0 for column, k in zip(y.T, known.T, strict=True)]
        )
        self.span = np.where(high > self.low, high - self.low, np.where(spread > 0, spread, 1.0))
        scaled = self._scaled(y)
        self.processes = [
            surrogate.fit(x[k], column[k], TRAINED_ON // max(2, len(self.goals))) if k.sum() >= 2 else None
            for column, k in zip(scaled.T, known.T, strict=True)
        ]
        self.alike = bool(known.all()) and len(x) >= 2  # the processes have the same points
        near = np.full(int(self.ranked.sum()), 1.0 + NEAR)
        worst = np.array([-_least(-column) for column in scaled[:, self.ranked].T])
        # From the near reference point only what improves the present front counts, from the far one
        # what lengthens it counts too. Asks use the one or the other, by chance.
        self.references = np.stack([near, np.maximum(near, worst + FAR)])
        directions = np.abs(np.random.default_rng(seed).normal(size=(DIRECTIONS, len(near))))
        self.directions = np.maximum(directions / np.linalg.norm(directions, axis=1, keepdims=True), 1e-3)
        self.feasible = len(front) > 0
        self.reach = np.zeros((2, DIRECTIONS))
        if len(front):
            self._extend(self._scaled(front)[:, self.ranked])

    def add(self, x: Array, y: Array, feasible: bool) -> None:
        """One more trial: `x` (d,), `y` (goals,)."""
        scaled = self._scaled(y[None])[0]
        squared = self._squared(x[None])
        self.alike = self.alike and bool(np.isfinite(scaled).all())
        for i, process in enumerate(self.processes):
            if process is not None and math.isfinite(scaled[i]):
                process.add(x, float(scaled[i]), squared[i])
        if feasible:
            self.feasible = True
            self._extend(scaled[None, self.ranked])

    def _squared(self, x: Array) -> list[Array]:
        """Squared distances (k, n) from the points of each process; worked out once if those are the same."""
        if self.alike:
            return [self.processes[0].squared(x)] * len(self.goals) if self.processes[0] else []
        return [np.zeros((0, 0)) if process is None else process.squared(x) for process in self.processes]

    def _extend(self, points: Array) -> None:
        """More points (k, m) that may be of the front."""
        self.reach = np.stack(
            [
                np.maximum(reach, self._reach(points, reference).max(axis=0))
                for reach, reference in zip(self.reach, self.references, strict=True)
            ]
        )

    def _scaled(self, y: Array) -> Array:
        z = (y - self.low) / self.span
        return np.asarray(np.where(self.ranked & (z > 1), 1 + 0.5 * np.log1p(2 * np.maximum(z - 1, 0)), z))

    def _reach(self, points: Array, reference: Array) -> Array:
        """How far points reach from the reference point in each direction, to the m-th power.

        `points` are (k, m), or (k, directions, m) where each direction has its own; the result is
        (k, directions). Its mean over the directions is hypervolume, but for a constant.
        """
        apart = reference - (points[:, None, :] if points.ndim == 2 else points)
        return np.asarray(np.maximum((apart / self.directions).min(axis=-1), 0.0) ** len(reference))

    def promise(self, x: Array, coming: Array, rng: Rng) -> Array:
        """What the proposals `x` (k, d) promise, (k,), when those in evaluation are `coming` (j, d)."""
        which = int(rng.integers(2))
        draws = rng.normal(size=(DIRECTIONS, len(self.directions[0])))
        count = len(x)
        squared = self._squared(np.concatenate([x, coming]))
        means = np.full((count + len(coming), len(self.goals)), np.nan)
        sds = np.zeros((count, len(self.goals)))
        for i, process in enumerate(self.processes):
            if process is not None:
                means[:, i], sds[:, i] = process.predict(squared[i], count)
        chance = self._chance(means[:count], sds)
        mean, sd = means[:, self.ranked], sds[:, self.ranked]
        if not self.feasible or not np.isfinite(mean).all():
            return chance  # nothing to improve on yet, but limits to get within
        reference, reach = self.references[which], self.reach[which]
        if len(coming):
            reach = np.maximum(reach, self._reach(mean[count:], reference).max(axis=0))
        drawn = mean[:count, None, :] + sd[:, None, :] * draws
        gain = np.maximum(self._reach(drawn, reference) - reach, 0.0).mean(axis=1)
        return np.asarray(gain * chance)

    def _chance(self, means: Array, sds: Array) -> Array:
        """The probability that all limits are kept, (k,)."""
        chance = np.ones(len(means))
        for i, goal in enumerate(self.goals):
            for limit, sign in ((goal.max, 1.0), (goal.min, -1.0)):
                if limit is None or self.processes[i] is None:
                    continue
                row = np.full((1, len(self.goals)), np.nan)
                row[0, i] = _minimised(goal, limit)
                bound = float(self._scaled(row)[0, i])
                side = sign if goal.sense == "min" else -sign
                slack = side * (bound - means[:, i])
                sd = np.maximum(sds[:, i], 1e-9)
                chance *= [0.5 * math.erfc(-z / math.sqrt(2.0)) for z in (slack / sd).tolist()]
        return chance


def _minimised(goal: Goal, value: float) -> float:
    return value if goal.sense == "min" else -value


def _least(column: Array) -> float:
    """The least finite number, 0 if there is none."""
    finite = column[np.isfinite(column)]
    return float(finite.min()) if len(finite) else 0.0
