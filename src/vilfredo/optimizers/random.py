"""Uniform random search: the yardstick that every other optimizer has to beat.

Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012.
"""

from __future__ import annotations

from collections.abc import Sequence

from vilfredo.goal import Goal
from vilfredo.optimizers.nsga2 import Names, Underway, fresh_sample
from vilfredo.protocols import Rng, Space, Work
from vilfredo.trial import Trial


class Random:
    """Draws from the space what has not been drawn before. It learns nothing but what is known already."""

    def __init__(self, space: Space, goals: Sequence[Goal]) -> None:
        self.space = space
        self.goals = tuple(goals)
        self._names = Names()
        self._underway = Underway(space)

    def ask(self, count: int, rng: Rng, pending: Sequence[Work] = ()) -> list[Work]:
        """Up to `count` new genomes; fewer where the space has (almost) no new ones left."""
        taken = self._underway.names(pending)
        works: list[Work] = []
        while len(works) < count:
            found = fresh_sample(self.space, rng, self._names, taken)
            if found is None:
                break
            genome, name = found
            self._underway.add(genome, name)
            taken.add(name)
            works.append(Work(genome, operator="sample"))
        return works

    def tell(self, trial: Trial) -> None:
        self._names.put(trial.number, self._underway.name(trial.genome))
