"""NSGA-II: the generational, synchronous, reproducible genetic algorithm.

Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II",
IEEE Transactions on Evolutionary Computation 6(2), 2002; section numbers below are that paper's.

Which generation a trial belongs to is a function of its number alone (number // population), and the
parents of a generation are a function of the trials before it, sorted by number. So neither the order
in which a generation is told, nor the number of workers, changes what is asked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.protocols import Impossible, Rng, Space, Work
from vilfredo.trial import Genome, Trial

TRIES = 48
"""How many offspring, and then how many samples, may turn out known before `ask` gives up."""

MUTATED = 0.5
"""How many of the crossed offspring are mutated too. A space's mutation changes about two genes (one for
sure, the others with probability 1/n each), so crossed offspring have one changed gene on average, which is
what the paper has with its probability of 1/n for each gene."""


def name_of(space: Space, genome: Genome) -> str:
    """What duplicates are found by: the space's canonical form, or the JSON of a genome outside it."""
    try:
        return space.canonical(genome)
    except Exception:  # a baseline's genome need not be one of the space: anything may go wrong in there
        return "outside the space: " + json.dumps(genome, sort_keys=True)


def belongs(space: Space, genome: Genome) -> bool:
    """Whether the genome is one of the space, so that it can be mutated and crossed."""
    try:
        space.check(genome)
    except Impossible:
        return False
    return True


def fresh_sample(space: Space, rng: Rng, *known: Container[str]) -> tuple[Genome, str] | None:
    """A uniformly drawn genome that is not known, with its canonical form; None after many tries."""
    for _ in range(TRIES):
        genome = space.sample(rng)
        name = new_name(space, genome, known)
        if name is not None:
            return genome, name
    return None


def new_name(space: Space, genome: Genome, known: Sequence[Container[str]]) -> str | None:
    """The canonical form, or None where the genome is known or decodes to nothing."""
    try:
        name = space.canonical(genome)
    except Impossible:
        return None
    return None if any(name in names for names in known) else name


class Names:
    """The canonical forms of the told trials; `name in names` takes no longer for many than for few."""

    def __init__(self) -> None:
        self._of: dict[int, str] = {}
        self._counts: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._counts

    def __len__(self) -> int:
        return len(self._of)

    def put(self, number: int, name: str) -> None:
        """Trial `number` is called `name` from now on."""
        old = self._of.get(number)
        if old == name:
            return
        if old is not None:
            self._counts[old] -= 1
            if not self._counts[old]:
                del self._counts[old]
        self._of[number] = name
        self._counts[name] = self._counts.get(name, 0) + 1


class Underway:
    """Names of the genomes in evaluation, each worked out once, however often it is asked about.

    Genomes are known by identity; this is but a memory of `name_of`.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._noted: dict[int, tuple[Genome, str]] = {}

    def names(self, pending: Sequence[Work]) -> set[str]:
        """Names of the pending genomes; all others are forgotten."""
        before, now = self._noted, {}
        for work in pending:
            genome = work.genome
            known = before.get(id(genome))
            if known is None or known[0] is not genome:
                known = (genome, name_of(self.space, genome))
            now[id(genome)] = known
        self._noted = now
        return {name for _, name in now.values()}

    def name(self, genome: Genome) -> str:
        known = self._noted.get(id(genome))
        return known[1] if known is not None and known[0] is genome else name_of(self.space, genome)

    def add(self, genome: Genome, name: str) -> None:
        self._noted[id(genome)] = (genome, name)


@dataclass(frozen=True, slots=True)
class Parents:
    """Whom offspring are made from: those in `rows` of the arrays of trials' numbers, ranks and crowding."""

    trials: Mapping[int, Trial]
    rows: pareto.Indices
    numbers: pareto.Indices
    ranks: pareto.Indices
    crowding: pareto.Array


NOBODY = Parents(
    {}, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
)


def tournament(parents: Parents, rng: Rng) -> Trial:
    """The better of two drawn at random, by rank, then by crowding (section III-B and III-C).

    Of equals it is the first drawn.
    """
    count = len(parents.rows)
    u, v = rng.random(2).tolist()
    first, second = parents.rows[int(u * count)], parents.rows[int(v * count)]
    difference = parents.ranks[second] - parents.ranks[first]
    better = difference < 0 or (difference == 0 and parents.crowding[second] > parents.crowding[first])
    return parents.trials[int(parents.numbers[second if better else first])]


def vary(space: Space, parents: Parents, crossover: float, rng: Rng) -> Work:
    """One offspring: two parents by tournament crossed (with probability `crossover`), mutated, or both."""
    mother = tournament(parents, rng)
    if rng.random() < crossover:
        father = tournament(parents, rng)
        if father.number != mother.number:
            child = space.cross(mother.genome, father.genome, rng)[int(rng.integers(2))]
            both = (mother.number, father.number)
            if rng.random() < MUTATED:
                return Work(space.mutate(child, rng), both, "cross+mutate")
            return Work(child, both, "cross")
    return Work(space.mutate(mother.genome, rng), (mother.number,), "mutate")


def survivors(
    table: pareto.Array, violations: pareto.Array, eligible: NDArray[np.bool_], count: int
) -> tuple[pareto.Indices, pareto.Indices, pareto.Array]:
    """Rows that live on, with their ranks and crowding distances (section III-C, the paper's loop).

    The `count` best eligible rows, the front that fits in part by crowding distance, and of rows that
    are not eligible (they cannot be parents) those that nothing dominates. Rows are expected in the
    order of age: of equals the later one lives, so that a plateau is crossed and not sat upon.
    """
    ranks = pareto.ranks(table, violations)
    distance = np.zeros(len(table))
    for level in np.unique(ranks):
        rows = np.flatnonzero(ranks == level)[::-1]  # the latest copy of a point is the one with a distance
        distance[rows] = pareto.crowding(table[rows]) if violations[rows[0]] == 0 else 0.0
    order = np.lexsort((-np.arange(len(table)), -distance, ranks))
    chosen = [row for row in order if eligible[row]][:count]
    kept = np.sort(np.array(chosen + [r for r in order if not eligible[r] and ranks[r] == 0], dtype=np.int64))
    return kept, ranks[kept], distance[kept]


def demoted(ranks: pareto.Indices, table: pareto.Array, violations: pareto.Array) -> pareto.Indices:
    """The ranks with all but the last row of each feasible point behind the worst of the others."""
    copies = np.ones(len(table), dtype=bool)
    copies[len(table) - 1 - np.unique(table[::-1], axis=0, return_index=True)[1]] = False
    copies &= violations == 0
    return np.where(copies, ranks + int(ranks.max(initial=0)) + 1, ranks)


class NSGA2:
    """Deb's NSGA-II. Offspring of a generation are asked for once the one before it is wholly told.

    `population` trials make a generation; offspring are crossed with probability `crossover`; half of
    those, and all others, are mutated. `ask` returns [] while it has to wait for a generation to finish,
    and when the space has no new genomes. Raises `ValueError` for options that make no sense.
    """

    def __init__(
        self, space: Space, goals: Sequence[Goal], *, population: int = 20, crossover: float = 0.9
    ) -> None:
        check_options(goals, population, crossover)
        self.space = space
        self.goals = tuple(goals)
        self.population = population
        self.crossover = crossover
        self._trials: dict[int, Trial] = {}
        self._names = Names()
        self._underway = Underway(space)
        self._eligible: dict[int, bool] = {}
        self._pending: dict[int, tuple[Genome, str]] = {}  # names of pending genomes, a memo
        # After generation 0, 1, …: who can be parents, and who lives. Built from the above when needed.
        self._parents: list[Parents] = []
        self._living: list[set[int]] = []

    def ask(self, count: int, rng: Rng, pending: Sequence[Work] = ()) -> list[Work]:
        """Up to `count` works of the generation in progress; [] where that has to be waited for."""
        new = [work for work in pending if work.trial is None]
        taken = {self._name(work.genome) for work in pending}
        number = len(self._trials) + len(new)  # every number below is told or pending
        works: list[Work] = []
        while len(works) < count:
            generation = number // self.population
            parents = self._parents_of(generation)
            if parents is None:
                break
            found = self._one(generation, parents, rng, taken)
            if found is None:
                break
            work, name = found
            self._underway.add(work.genome, name)
            taken.add(name)
            works.append(work)
            number += 1
        return works

    def _name(self, genome: Genome) -> str:
        """The name of a pending genome, which is asked about again and again while its generation runs."""
        known = self._pending.get(id(genome))
        if known is None or known[0] is not genome:
            if len(self._pending) > 2 * self.population:
                self._pending.clear()
            known = self._pending[id(genome)] = (genome, name_of(self.space, genome))
        return known[1]

    def _one(
        self, generation: int, parents: Parents, rng: Rng, taken: Container[str]
    ) -> tuple[Work, str] | None:
        if len(parents.rows):
            for _ in range(TRIES):
                work = vary(self.space, parents, self.crossover, rng)
                name = new_name(self.space, work.genome, (self._names, taken))
                if name is not None:
                    made = Work(work.genome, work.parents, work.operator, generation=generation)
                    return made, name
        found = fresh_sample(self.space, rng, self._names, taken)
        if found is None:
            return None
        return Work(found[0], operator="sample", generation=generation), found[1]

    def tell(self, trial: Trial) -> None:
        """Takes in a trial; one told again replaces what was known, and what was built on that."""
        number = trial.number
        if number not in self._trials or self._trials[number].genome != trial.genome:
            self._names.put(number, self._underway.name(trial.genome))
            self._eligible[number] = belongs(self.space, trial.genome)
        self._trials[number] = trial
        del self._parents[number // self.population :], self._living[number // self.population :]

    def breeders(self) -> Collection[int]:
        """Who lives, and all who were told since: the next generation is made from some of them."""
        self._parents_of(max(self._trials, default=0) // self.population)  # what follows from what was told
        since = len(self._living) * self.population
        living = self._living[-1] if self._living else set()
        return sorted({n for n in self._trials if n >= since} | living)

    def _parents_of(self, generation: int) -> Parents | None:
        """Whom `generation` is made from; None while a generation before it is not wholly told."""
        if generation == 0:
            return NOBODY
        for earlier in range(len(self._parents), generation):
            first = earlier * self.population
            members = range(first, first + self.population)
            if not all(number in self._trials for number in members):
                return None
            self._select(set(members) | (self._living[-1] if self._living else set()))
        return self._parents[generation - 1]

    def _select(self, numbers: set[int]) -> None:
        """The best of a generation and of those that lived before it."""
        pool = [self._trials[number] for number in sorted(numbers)]
        table, violations, usable = pareto.points(pool, self.goals)
        rows = np.flatnonzero(usable)
        eligible = np.array([self._eligible[pool[row].number] for row in rows], dtype=bool)
        kept, ranks, distance = survivors(table[rows], violations[rows], eligible, self.population)
        can = eligible[kept]  # the others had their say in the ranks
        living = np.array([pool[row].number for row in rows[kept]], dtype=np.int64)
        self._living.append(set(living.tolist()))
        self._parents.append(Parents(self._trials, np.flatnonzero(can), living, ranks, distance))


def check_options(goals: Sequence[Goal], population: int, crossover: float) -> None:
    """Raises `ValueError`, one sentence, for options out of range."""
    if not any(goal.ranked for goal in goals):
        raise ValueError("there is no goal to rank by; give at least one goal that is more than a limit")
    if isinstance(population, bool) or not isinstance(population, int) or population < 2:
        raise ValueError(f"population is {population!r}; give a whole number of at least 2")
    if (
        isinstance(crossover, bool)
        or not isinstance(crossover, int | float)
        or not 0 <= crossover <= 1  # also false for NaN
    ):
        raise ValueError(f"crossover is {crossover!r}; give a probability from 0 to 1")
