"""EONS: the generational genetic algorithm with which spiking networks are evolved.

Schuman, Mitchell, Patton, Potok and Plank, "Evolutionary optimization for neuromorphic systems", ICONS 2020;
its fitness of several goals is that of Dimovska, Johnston, Schuman, Mitchell and Potok, "Multi-objective
optimization for size and resilience of spiking neural networks", UEMCON 2019 (arXiv 2002.01406). What is
changed or added here is said where it is.

As in `vilfredo.optimizers.nsga2`, which generation a trial belongs to is a function of its number alone, and
the parents of a generation are a function of what was measured in the generations before it. So neither the
order in which a generation is told, nor the number of workers, changes what is asked.
"""

from __future__ import annotations

import difflib
import math
from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.optimizers.nsga2 import TRIES, Names, Underway, belongs, demoted, fresh_sample, new_name
from vilfredo.protocols import Rng, Space, Work
from vilfredo.trial import Key, Trial, Value

FEW = 4
"""Below this part of a generation feasible parents are too few to be the only ones."""

RENEW = "renew"
"""The operator of works that measure a known trial anew, with other noise."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Who can be a parent in one generation, the best first.

    `first` and `last` (exclusive) are where those that are as good as member i begin and end, `chances` the
    probability that the best of a tournament is member i or a better one.
    """

    trials: tuple[Trial, ...] = ()
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    chances: tuple[float, ...] = ()
    elites: tuple[int, ...] = ()  # numbers of those that stay for the next pool


class Eons:
    """EONS, with selection by a weighted sum or by Pareto ranks.

    Theirs: `population_size` networks make a generation, the share `random_factor` of them drawn at random.
    The others are children: two parents, each the winner of a tournament of the share
    `tournament_size_factor` of the pool (the best member with probability `tournament_best_net_factor`, else
    any), are crossed with probability `crossover_rate`, and the child is mutated with probability
    `mutation_rate` (a child of one parent that would be its copy always is). How networks are crossed and
    mutated is the space's (`vilfredo.spaces.spiking`), with `merge_rate` and `num_mutations` among its
    options.

    Ours: the `num_best` elites are not copied into the next generation, since they are measured already. The
    pool of parents of generation g is generation g − 1 and the elites of the pool before it; the elites are
    the `num_best` best of that pool. So a generation is `population_size` new networks. No network is asked
    for twice. Networks beyond a limit come after all others (Deb's rule), and are parents only while those
    others are fewer than a quarter of a generation; failed ones never, nor a baseline that is not of the
    space.

    `selection`:

    * `"weighted"`: one fitness, the sum over goals of coefficient × value, with a minus where the goal is to
      be minimised. With `weights` (goal: coefficient, from 0) values are in the goals' own units, as in the
      paper's fitness − c₁·neurons − c₂·synapses + c₃·resilience = {reward: 1, neurons: c₁, synapses: c₂,
      resilience_mean: c₃}; goals that are not named do not count. Without `weights` all ranked goals count
      the same, each divided by its range in the pool.
    * `"pareto"`: the rank, then the crowding distance of NSGA-II; of equal points the latest counts, the
      others come after everybody else. Here the elites are the `population_size` best of the pool (at least
      `num_best`), because a front that is not among the parents is forgotten.

    `renew`: 0, or after how many generations the perturbations and episodes are redrawn (`Work.noise` is
    generation // renew). Elites are then measured again first, by works of the operator "renew" that are no
    new candidates, so that all of a pool were measured with the same noise; who fails at it leaves.

    `ask` returns [] while it has to wait for a generation to finish, and when the space has no new genomes.
    Raises `ValueError`, one sentence, for options that make no sense.
    """

    def __init__(
        self,
        space: Space,
        goals: Sequence[Goal],
        *,
        population_size: int = 100,
        crossover_rate: float = 0.9,
        mutation_rate: float = 0.9,
        tournament_size_factor: float = 0.1,
        tournament_best_net_factor: float = 0.9,
        random_factor: float = 0.05,
        num_best: int = 4,
        selection: Literal["weighted", "pareto"] = "weighted",
        weights: Mapping[str, float] | None = None,
        renew: int = 0,
    ) -> None:
        _check_whole("population_size", population_size, 2)
        _check_whole("num_best", num_best, 0)
        _check_whole("renew", renew, 0)
        for name, value in (
            ("crossover_rate", crossover_rate),
            ("mutation_rate", mutation_rate),
            ("tournament_size_factor", tournament_size_factor),
            ("tournament_best_net_factor", tournament_best_net_factor),
            ("random_factor", random_factor),
        ):
            if not _is_number(value) or not 0 <= value <= 1:
                raise ValueError(f"{name} is {value!r}; give a number from 0 to 1")
        if selection not in ("weighted", "pareto"):
            raise ValueError(f"selection is {selection!r}; there are 'weighted' and 'pareto'")
        self.space = space
        self.goals = _judged(goals, selection, weights)
        self.population_size = population_size
        self.crossover_rate = crossover_rate
        self.mutation_rate = mutation_rate
        self.tournament_size_factor = tournament_size_factor
        self.tournament_best_net_factor = tournament_best_net_factor
        self.num_best = num_best
        self.selection = selection
        self.weights = dict(weights) if weights is not None else None
        # Sizes are the same whatever the noise; where there is nothing else, there is nothing to renew.
        self.renew = renew if any(goal.stage == "measure" for goal in goals) else 0
        self._samples = round(random_factor * population_size)  # the last ones of every generation
        self._trials: dict[int, Trial] = {}
        self._names = Names()
        self._underway = Underway(space)
        self._eligible: dict[int, bool] = {}
        self._told: dict[int, int] = {}  # generation -> how many of it are told
        self._pools: list[Pool] = [Pool()]  # of generation 0, 1, …; built from the above when needed

    # -- asking -----------------------------------------------------------------------------------

    def ask(self, count: int, rng: Rng, pending: Sequence[Work] = ()) -> list[Work]:
        """Up to `count` works of the generation in progress; [] where that has to be waited for."""
        taken = self._underway.names(pending)
        new = [work for work in pending if work.trial is None]
        renewed = {work.trial for work in pending if work.operator == RENEW}
        number = len(self._trials) + len(new)  # every number below is told or pending
        works: list[Work] = []
        while len(works) < count:
            generation = number // self.population_size
            pool = self._pool(generation)
            if pool is None:
                break
            again = next((n for n in self._to_renew(generation) if n not in renewed), None)
            if again is not None:
                renewed.add(again)
                works.append(self._renewal(again, generation))
                continue
            found = self._one(number, pool, rng, taken)
            if found is None:
                break
            work, name = found
            noise = self._noise(generation)
            works.append(Work(work.genome, work.parents, work.operator, noise=noise, generation=generation))
            self._underway.add(work.genome, name)
            taken.add(name)
            number += 1
        return works

    def _one(self, number: int, pool: Pool, rng: Rng, taken: Container[str]) -> tuple[Work, str] | None:
        known = (self._names, taken)
        if pool.trials and number % self.population_size < self.population_size - self._samples:
            for _ in range(TRIES):
                work = self._child(pool, rng)
                name = new_name(self.space, work.genome, known)
                if name is not None:
                    return work, name
        found = fresh_sample(self.space, rng, *known)
        return None if found is None else (Work(found[0], operator="sample"), found[1])

    def _child(self, pool: Pool, rng: Rng) -> Work:
        u = rng.random(9).tolist()
        mother = self._winner(pool, u[0], u[1], u[2])
        father = self._winner(pool, u[3], u[4], u[5])
        if u[6] < self.crossover_rate and father.number != mother.number:
            child = self.space.cross(mother.genome, father.genome, rng)[u[7] < 0.5]
            parents = (mother.number, father.number)
            if u[8] < self.mutation_rate:
                return Work(self.space.mutate(child, rng), parents, "cross+mutate")
            return Work(child, parents, "cross")
        return Work(self.space.mutate(mother.genome, rng), (mother.number,), "mutate")

    def _winner(self, pool: Pool, u: float, v: float, w: float) -> Trial:
        """Of a tournament, by three uniform numbers. Of members that are as good as the best of it, chance
        takes one."""
        if v < self.tournament_best_net_factor:
            best = bisect_right(pool.chances, u)
            first, last = pool.first[best], pool.last[best]
            return pool.trials[first + int(w * (last - first))]
        return pool.trials[int(w * len(pool.trials))]

    @property
    def _staying(self) -> int:
        """How many of a pool stay for the next one."""
        return self.num_best if self.selection == "weighted" else max(self.num_best, self.population_size)

    # -- renewing ---------------------------------------------------------------------------------

    def _noise(self, generation: int) -> int:
        return generation // self.renew if self.renew else 0

    def _to_renew(self, generation: int) -> Iterator[int]:
        """The elites that have not been measured with this generation's noise, where that is new."""
        noise = self._noise(generation)
        if generation == 0 or noise == self._noise(generation - 1):
            return
        for number in self._pools[generation].elites:
            trial = self._trials[number]
            if not _measured(trial, noise) and not _refused(trial):
                yield number

    def _renewal(self, number: int, generation: int) -> Work:
        trial = self._trials[number]
        noise = self._noise(generation)
        return Work(trial.genome, trial.parents, RENEW, trial=number, noise=noise, generation=generation)

    # -- telling ----------------------------------------------------------------------------------

    def tell(self, trial: Trial) -> None:
        """Takes in a trial; one told again replaces what was known, and what was built on that."""
        number = trial.number
        generation = number // self.population_size
        old = self._trials.get(number)
        if old is None:
            self._told[generation] = self._told.get(generation, 0) + 1
        if old is None or old.genome != trial.genome:
            self._names.put(number, self._underway.name(trial.genome))
            self._eligible[number] = belongs(self.space, trial.genome)
            old = None
        self._trials[number] = trial
        since = generation if old is None else self._since(old, trial)
        if since is not None:
            del self._pools[since + 1 :]

    def _since(self, old: Trial, new: Trial) -> int | None:
        """The first generation after which selection may be another one now; None if it is none."""
        generation = new.number // self.population_size
        if (old.state, old.genome) != (new.state, new.genome):
            return generation
        keys = {k for k in {*old.values, *new.values} if old.values.get(k) != new.values.get(k)}
        if not keys:
            return None
        return max(generation, self.renew * min(key.noise for key in keys))

    def _pool(self, generation: int) -> Pool | None:
        """The parents of a generation; None while something that decides on them is not told."""
        while len(self._pools) <= generation:
            before = len(self._pools) - 1
            if (
                self._told.get(before, 0) < self.population_size
                or next(self._to_renew(before), None) is not None
            ):
                return None
            first = before * self.population_size
            members = {*range(first, first + self.population_size), *self._pools[before].elites}
            self._pools.append(self._selected(sorted(members), self._noise(before)))
        return self._pools[generation]

    def _selected(self, numbers: Sequence[int], noise: int) -> Pool:
        """The pool of these trials, by what was measured with this noise."""
        alive = [self._trials[number] for number in numbers if self._eligible[number]]
        if self.renew:
            alive = [_with_noise(trial, noise) for trial in alive if _measured(trial, noise)]
        table, violations, usable = pareto.points(alive, self.goals)
        rows = np.flatnonzero(usable)
        if len(rows) == 0:
            return Pool()
        order, grades = self._graded(table[rows], violations[rows])
        feasible = int((violations[rows] == 0).sum())
        least = max(2, self.population_size // FEW)  # too few of them alone would all be one family soon
        most = max(feasible, least)
        if self.selection == "pareto":
            most = min(most, self._staying)
        order, grades = order[:most], grades[:most]
        new = np.flatnonzero(np.concatenate(([True], (grades[1:] != grades[:-1]).any(axis=1), [True])))
        sizes = np.diff(new)
        trials = tuple(self._trials[alive[row].number] for row in rows[order])
        count = len(trials)
        return Pool(
            trials=trials,
            chances=_chances(count, max(1, round(self.tournament_size_factor * count))),
            first=tuple(np.repeat(new[:-1], sizes).tolist()),
            last=tuple(np.repeat(new[1:], sizes).tolist()),
            elites=tuple(trial.number for trial in trials[: self._staying]),
        )

    def _graded(self, table: pareto.Array, violations: pareto.Array) -> tuple[pareto.Indices, pareto.Array]:
        """The rows from best to worst, of equals the later one first, and by what they are sorted: feasible
        ones by the selection, after them the others by their violations."""
        inside = np.flatnonzero(violations == 0)
        grades = np.zeros((len(table), 3))
        grades[:, 0] = violations
        if len(inside):
            grades[inside, 1:] = self._scores(table[inside])
        order = np.lexsort((-np.arange(len(table)), *grades.T[::-1]))
        return order, grades[order]

    def _scores(self, table: pareto.Array) -> pareto.Array:
        """What feasible points are sorted by, (n, 2): the less, the better."""
        scores = np.zeros((len(table), 2))
        if self.selection == "pareto":
            scores[:, 0] = demoted(pareto.ranks(table), table, np.zeros(len(table)))
            for level in range(int(scores[:, 0].max()) + 1):
                # Of copies of a point the latest has the distance, so that a plateau is crossed.
                rows = np.flatnonzero(scores[:, 0] == level)[::-1]
                scores[rows, 1] = -pareto.crowding(table[rows])
        elif self.weights is None:
            low, high = table.min(axis=0), table.max(axis=0)
            scores[:, 0] = ((table - low) / np.where(high > low, high - low, 1.0)).sum(axis=1)
        else:
            scores[:, 0] = table @ np.array([self.weights[g.name] for g in self.goals if g.ranked])
        return scores


def _chances(count: int, size: int) -> tuple[float, ...]:
    """The probability that the first of `size` different ones of `count` is number 0, 1 or earlier, …"""
    places = np.arange(count)
    worse = np.cumprod(np.maximum(count - size - places, 0) / (count - places))
    return tuple((1.0 - worse).tolist())


def _measured(trial: Trial, noise: int) -> bool:
    """Whether there are values of this noise, or none that depend on noise are to be had."""
    return trial.state in ("rejected", "failed") or any(key.noise == noise for key in trial.values)


def _refused(trial: Trial) -> bool:
    """Whether the last attempt at it went wrong, so that asking once more leads nowhere."""
    return bool(trial.attempts) and trial.attempts[-1].failure is not None


def _with_noise(trial: Trial, noise: int) -> Trial:
    """The trial as it was known when this noise was the latest."""
    values: dict[Key, Value] = {key: value for key, value in trial.values.items() if key.noise <= noise}
    return replace(trial, values=values)


def _judged(goals: Sequence[Goal], selection: str, weights: Mapping[str, float] | None) -> tuple[Goal, ...]:
    """The goals; with weights, `ranked` are those that have one."""
    if weights is None:
        if not any(goal.ranked for goal in goals):
            raise ValueError("there is no goal to rank by; give at least one goal that is more than a limit")
        return tuple(goals)
    if selection != "weighted":
        raise ValueError("weights are for selection = 'weighted'; Pareto ranks need none")
    names = [goal.name for goal in goals]
    for name, weight in weights.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"weights names the goal {name!r}; {guess}the goals are {', '.join(names)}")
        if not _is_number(weight) or not 0 <= weight < math.inf:
            raise ValueError(
                f"the weight of {name} is {weight!r}; give a number from 0, the sign is the goal's sense"
            )
    if not any(weight > 0 for weight in weights.values()):
        raise ValueError("all weights are 0; give at least one goal a higher one")
    return tuple(replace(goal, ranked=weights.get(goal.name, 0) > 0) for goal in goals)


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
