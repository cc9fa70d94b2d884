"""LEMONADE: Lamarckian evolution of the non-dominated networks, sampled where the cheap goals are sparse.

T. Elsken, J. H. Metzen and F. Hutter, "Efficient multi-objective neural architecture search via Lamarckian
evolution", ICLR 2019 (used for error-resilient networks by C. Schorn et al., arXiv 1909.13844).

Theirs: the population is the non-dominated set of all that was evaluated. Goals that need no training are
cheap: their density over the population is estimated with kernels. Parents are drawn with probability
inversely proportional to their density; a mutation makes many children; of these a few are accepted, drawn
inversely to the density at their own cheap goals; only those are trained. So cheap goals are covered widely,
and training is spent where there are gaps. There is no crossover.

Ours: instead of a generation, `ask` gives one child at a time, the one accepted of `proposals` ones, so that
no worker waits; networks in training count in the density. What is cheap of a genome, the space says
(`foresee`); the density is that of the ranked goals of the preview stage, on a logarithmic scale where all
are positive, with Gaussian kernels of Scott's width. Where the space foresees none of the goals, the density
for parents is that of all goals as they were measured, and the first child is taken. Densities are not taken
for less than a tenth of the mean, so that one network far out does not become every child's parent. Of a
non-dominated set larger than `population` the most crowded go, as in NSGA-II.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.optimizers.nsga2 import (
    TRIES,
    Names,
    belongs,
    check_options,
    fresh_sample,
    name_of,
    new_name,
)
from vilfredo.pareto import Array
from vilfredo.population import Population
from vilfredo.protocols import Foreseeing, Rng, Space, Work
from vilfredo.trial import Genome, Trial

LEAST = 0.1  # of the mean density: what is sparser counts as if it were not


class Lemonade:
    """Children of the non-dominated set, drawn from `proposals` ones by the density of the cheap goals.

    A child is its parent mutated once, or up to `changes` times, each number equally often. The first
    `initial` candidates are sampled from the space (None: as many as `proposals`). `ask` returns [] only
    where it finds no new genome. Raises `ValueError` for options that make no sense.
    """

    def __init__(
        self,
        space: Space,
        goals: Sequence[Goal],
        *,
        population: int = 100,
        proposals: int = 8,
        changes: int = 1,
        initial: int | None = None,
    ) -> None:
        check_options(goals, population, 0.0)
        first = proposals if initial is None else initial
        for name, number in (("proposals", proposals), ("changes", changes), ("initial", first)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"{name} is {number!r}; give a whole number of at least 1")
        self.space = space
        self.goals = tuple(goals)
        self.proposals = proposals
        self.changes = changes
        self.initial = first
        self._names = Names()
        self._facts: dict[int, tuple[object, ...]] = {}  # what each told trial is judged by
        self._trials: dict[int, Trial] = {}  # that can be parents, by number
        self._living = Population(sum(goal.ranked for goal in goals), population)
        self._features: dict[int, Array | None] = {}  # of the trials that can be parents

    def ask(self, count: int, rng: Rng, pending: Sequence[Work] = ()) -> list[Work]:
        """Up to `count` works; fewer where no new genomes are found."""
        taken = {name_of(self.space, work.genome) for work in pending}
        underway = [self._of(work.genome) for work in pending if belongs(self.space, work.genome)]
        works: list[Work] = []
        while len(works) < count:
            found = self._one(rng, taken, underway)
            if found is None:
                break
            work, name = found
            taken.add(name)
            underway.append(self._of(work.genome))
            works.append(work)
        return works

    def tell(self, trial: Trial) -> None:
        """Takes in a trial; one told again replaces what was known of it."""
        number = trial.number
        self._names.put(number, name_of(self.space, trial.genome))
        table, violations, usable = pareto.points((trial,), self.goals)
        inside = belongs(self.space, trial.genome)
        facts = (bool(usable[0]), inside, *table[0].tolist(), float(violations[0]))
        if self._facts.get(number) == facts:
            return
        self._facts[number] = facts
        if not usable[0]:
            self._living.remove(number)
            self._trials.pop(number, None)
            return
        self._living.add(number, table[0], float(violations[0]), inside)
        if inside:
            self._trials[number] = trial
        known = self._living.numbers.tolist()
        if len(self._trials) > 2 * len(known):  # those that live no more
            self._trials = {n: self._trials[n] for n in known if n in self._trials}
            self._features = {n: self._features[n] for n in known if n in self._features}

    def breeders(self) -> Sequence[int]:
        """The non-dominated trials: nobody else becomes a parent."""
        living = self._living
        rows = np.flatnonzero((living.ranks == 0) & living.eligible)
        return [n for n in sorted(living.numbers[rows].tolist()) if n in self._trials]

    # -- one child ----------------------------------------------------------------------------------

    def _one(
        self, rng: Rng, taken: Container[str], underway: Sequence[Array | None]
    ) -> tuple[Work, str] | None:
        parents = self.breeders()
        if parents and len(self._names) >= self.initial:
            density, chances = self._parents(parents, underway)
            children: list[tuple[Work, str]] = []
            for _ in range(TRIES):
                parent = parents[int(rng.choice(len(parents), p=chances))]
                genome, operators = self._trials[parent].genome, []
                for _ in range(int(rng.integers(1, self.changes + 1))):
                    genome = self.space.mutate(genome, rng)
                    operators.append(operator_of(genome))
                name = new_name(self.space, genome, (self._names, taken, {n for _, n in children}))
                if name is not None:
                    children.append((Work(genome, (parent,), named(operators)), name))
                if len(children) == (self.proposals if density else 1):
                    break
            if children and density:
                cheap = [self._of(work.genome) for work, _ in children]
                wanted = density.inverse(np.array([c for c in cheap if c is not None]))
                return children[int(rng.choice(len(children), p=wanted))]
            if children:
                return children[0]
        found = fresh_sample(self.space, rng, self._names, taken)
        return None if found is None else (Work(found[0], operator="sample"), found[1])

    def _parents(
        self, parents: Sequence[int], underway: Sequence[Array | None]
    ) -> tuple[Density | None, Array]:
        """The density of the cheap goals, if there are any, and with which chance each becomes a parent."""
        cheap = [self._feature(n) for n in parents]
        known = np.array([c for c in cheap if c is not None])
        if len(known) == len(parents):
            density = Density(np.array([*known, *(c for c in underway if c is not None)]))
            return density, density.inverse(known)
        rows = {int(n): row for row, n in enumerate(self._living.numbers)}
        points = self._living.table[[rows[n] for n in parents]]
        return None, Density(points).inverse(points)

    # -- what is cheap ------------------------------------------------------------------------------

    def _feature(self, number: int) -> Array | None:
        if number not in self._features:
            self._features[number] = self._of(self._trials[number].genome)
        return self._features[number]

    def _of(self, genome: Genome) -> Array | None:
        """A genome's cheap goals, as far as the space foresees them; None where it foresees none."""
        known = self.space.foresee(genome) if isinstance(self.space, Foreseeing) else {}
        cheap = [known[g.name] for g in self.goals if g.ranked and g.stage == "preview" and g.name in known]
        return np.array(cheap, dtype=np.float64) if cheap else None


def operator_of(genome: Genome) -> str:
    """Which change made a genome, where its space says so under `morphism`."""
    morphism = genome.get("morphism")
    op = morphism.get("op") if isinstance(morphism, dict) else None
    return op if isinstance(op, str) and op else "mutate"


def named(operators: Sequence[str]) -> str:
    """ "widen", "add+prune"; the same word but once, and of many only how many there were."""
    words = list(dict.fromkeys(operators))
    return "+".join(words) if len(words) <= 3 else f"{len(operators)} changes"


class Density:
    """A sum of Gaussian kernels at `points` (n, d), of Scott's width in each dimension."""

    def __init__(self, points: Array) -> None:
        points = np.nan_to_num(points)
        self.logarithmic = (points > 0).all(axis=0)
        self.points = self._scaled(points)
        spread = self.points.std(axis=0)
        self.width = np.where(spread > 0, spread, 1.0) * len(points) ** (-1 / (points.shape[1] + 4))
        self.least = LEAST * float(self._at(self.points).mean())

    def _scaled(self, x: Array) -> Array:
        return np.where(self.logarithmic, np.log(np.where(self.logarithmic, np.maximum(x, 1e-300), 1.0)), x)

    def _at(self, scaled: Array) -> Array:
        apart = (scaled[:, None, :] - self.points) / self.width
        return np.asarray(np.exp(-0.5 * np.minimum((apart**2).sum(axis=-1), 1400.0)).mean(axis=1))

    def inverse(self, x: Array) -> Array:
        """Probabilities (k,) inversely proportional to the density at `x` (k, d)."""
        chances = 1 / np.maximum(self._at(self._scaled(x)), self.least)
        return np.asarray(chances / chances.sum())
