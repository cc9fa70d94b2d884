"""pymoo: evolutionary searches such as NSGA-Net whose trainings stop early.

::

    watcher = Watcher("genrace", epochs=25, goals=["accuracy", "macs"])

    class Networks(ElementwiseProblem):
        def _evaluate(self, x, out, *args, **kwargs):
            with watcher.training(macs=count(x)) as run:
                for train, val in epochs_of(x):
                    if run.update(train=train, val=val).stop:
                        break
            run.put(out)  # out["F"]: what was measured, or forecast

    result = minimize(Networks(n_var=…, n_obj=2, …), NSGA2(pop_size=20), ("n_gen", 10))
    front = watcher.confirm(result.problem, result.pop)  # trains in full what is there by a forecast only

`put` also writes `out["forecast"]` (1.0 where `F` holds a forecast), `out["sd"]` (its standard deviation, 0.0
where it is measured) and `out["trial"]` (the number in `watcher.watch.trials`); pymoo keeps them with each
individual.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

try:
    import pymoo  # noqa: F401
except ModuleNotFoundError as absent:
    raise ModuleNotFoundError(
        'vilfredo.interop.pymoo needs pymoo: pip install "vilfredo[pymoo]"', name=absent.name
    ) from absent
import numpy as np
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from vilfredo.goal import Goal
from vilfredo.interop.watch import Advice, Network, Watch, as_goal, is_forecast
from vilfredo.protocols import Stopper


class Watcher:
    """Early termination for a pymoo problem.

    `goals` are the problem's objectives in the order of `F`; those to be maximised are written negated, since
    pymoo minimises. `goal` is the one that `val` of `Run.update` measures; by default the first. `engine`,
    `epochs`, `path` and the options are those of `Watch`: `path` lets the processes of a parallel runner
    share what they know.

        watcher = Watcher("genrace", epochs=25, goals=["error", "macs"])
    """

    def __init__(
        self,
        engine: str | type[Any] | Stopper = "genrace",
        *,
        epochs: int,
        goals: Sequence[str | Goal],
        goal: str = "",
        **options: Any,
    ) -> None:
        self.goals = tuple(map(as_goal, goals))
        first = next((g for g in self.goals if g.name == (goal or self.goals[0].name)), None)
        if first is None:
            raise ValueError(f"goal={goal!r} is not among the goals: {', '.join(g.name for g in self.goals)}")
        others = [g for g in self.goals if g is not first]
        self.watch = Watch(engine, epochs=epochs, goal=first, goals=others, **options)
        self._again: tuple[int, bool] | None = None  # the number to be trained once more, and whether in full

    def training(self, **known: float) -> Run:
        """The training of one individual. `known` are the values of goals that need no training.

        with watcher.training(macs=2.1e6) as run: …
        """
        if self._again is None:
            return Run(self, self.watch.network(None, **known))
        number, full = self._again
        begin = self.watch.confirm if full else self.watch.network
        return Run(self, begin(number, **known))

    def unconfirmed(self, population: Population) -> Population:
        """Those on the front of the population that are there by a forecast only."""
        front = _front(population)
        return front[np.array([ind.get("forecast") == 1.0 for ind in front], dtype=bool)]

    def confirm(self, problem: Problem, population: Population) -> Population:
        """Evaluate once more what the engine would revive, and in full what is on the front by a forecast.

        Gives the front that remains, all of it measured. The individuals are changed in place.

            front = watcher.confirm(result.problem, result.pop)
        """
        numbers = {_number(ind): ind for ind in population}
        while wanted := [n for n in self.watch.revive() if n in numbers]:
            for number in wanted:
                self._evaluate(problem, numbers[number], full=False)
        tried: set[int] = set()
        while wanted := [n for n in map(_number, self.unconfirmed(population)) if n not in tried]:
            for number in wanted:
                tried.add(number)
                self._evaluate(problem, numbers[number], full=True)
        return _front(population)

    def _evaluate(self, problem: Problem, individual: Any, full: bool) -> None:
        with self._once_more(_number(individual), full):
            Evaluator().eval(problem, Population.create(individual), skip_already_evaluated=False)

    @contextmanager
    def _once_more(self, number: int, full: bool) -> Iterator[None]:
        self._again = number, full
        try:
            yield
        finally:
            self._again = None


class Run:
    """The training of one individual; made by `Watcher.training`. As a context manager it is finished at the
    end of the `with`, and failed if there was an exception."""

    def __init__(self, watcher: Watcher, network: Network) -> None:
        self.watcher, self.network = watcher, network
        self._anew = bool(network.trial.epochs)

    def update(
        self,
        train: float | None = None,
        val: float | None = None,
        epoch: int | None = None,
        **metrics: float | None,
    ) -> Advice:
        """Tell of one more epoch, as `Network.update`.

        What is evaluated once more begins with epoch 1, unless `epoch` says that it goes on from a
        checkpoint.
        """
        if self._anew and epoch is None:
            epoch = 1
        self._anew = False
        return self.network.update(train, val, epoch, **metrics)

    def put(self, out: MutableMapping[str, Any], value: float | None = None, **measured: float) -> None:
        """Write `F` of this individual, and whether it is a forecast, where pymoo wants them.

        `value` is what the watched goal came to (by default the last `val`), `measured` are goals that are
        known after training only. Where one has no value (the training ended in NaN), all are infinite.

            run.put(out, latency=0.0021)
        """
        self.network.finish(value, **measured)
        trial, goals = self.network.trial, self.watcher.goals
        known = [trial.value(g.name) for g in goals]
        signs = [-1.0 if g.sense == "max" else 1.0 for g in goals]
        whole = all(v is not None for v in known)  # else it would be on the front for what it does have
        out["F"] = [s * v.mean if v and whole else math.inf for s, v in zip(signs, known, strict=True)]
        guess = trial.state != "failed" and is_forecast(trial, goals)
        watched = trial.value(self.watcher.watch.goal.name)
        out["forecast"] = float(guess)
        out["sd"] = watched.sd if guess and watched is not None else 0.0
        out["trial"] = float(trial.number)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.network.__exit__(*raised)


def _number(individual: Any) -> int:
    return int(individual.get("trial"))


def _front(population: Population) -> Population:
    """The individuals of a population that nobody dominates, among those that keep all constraints."""
    able = population[np.array([bool(ind.FEAS[0]) for ind in population], dtype=bool)]
    if len(able) == 0:
        return able
    return able[NonDominatedSorting().do(able.get("F"), only_non_dominated_front=True)]
