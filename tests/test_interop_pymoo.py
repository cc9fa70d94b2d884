"""NSGA-II searches of pymoo that stop trainings early, against the real package."""

from __future__ import annotations

import math
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loops import EPOCHS, Half, macs, training

pytest.importorskip("pymoo", reason="pymoo is not installed")

from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import ElementwiseProblem
from pymoo.optimize import minimize

from vilfredo import pareto
from vilfredo.interop.pymoo import Watcher


class Networks(ElementwiseProblem):  # type: ignore[misc]
    """Width and learning rate; accuracy up, MACs down."""

    def __init__(self, watcher: Watcher, broken: float = 0.0, **options: Any) -> None:
        super().__init__(n_var=2, n_obj=2, xl=0.0, xu=1.0, **options)
        self.watcher, self.broken = watcher, broken
        self.epochs = 0

    def _evaluate(self, x: Any, out: Any, *args: Any, **kwargs: Any) -> None:
        width, rate = round(float(x[0]), 3), round(float(x[1]), 3)
        with self.watcher.training(macs=macs(width)) as run:
            for seen, val in training(width, rate):
                self.epochs += 1
                if run.update(train=seen, val=math.nan if rate < self.broken else val).stop:
                    break
        run.put(out)


def evolved(watcher: Watcher, generations: int = 8, **options: Any) -> tuple[Any, Networks]:
    problem = Networks(watcher, **options)
    result = minimize(problem, NSGA2(pop_size=16), ("n_gen", generations), seed=1, copy_algorithm=False)
    return result, problem


def watcher(engine: Any, **options: Any) -> Watcher:
    return Watcher(engine, epochs=EPOCHS, goals=["accuracy", "macs"], **options)


def volume(points: Any) -> float:
    return pareto.hypervolume(np.asarray(points, float), np.array([0.0, 1.1e6]))


@pytest.mark.parametrize("engine", ["genrace", "median"])
def test_nsga2_saves_epochs_and_finds_as_good_a_front(engine: str) -> None:
    full, whole = evolved(watcher("never"))
    watching = watcher(engine)
    result, problem = evolved(watching)
    searched = problem.epochs
    front = watching.confirm(problem, result.pop)
    assert whole.epochs == 8 * 16 * EPOCHS
    assert searched <= problem.epochs < 0.95 * whole.epochs
    assert not any(ind.get("forecast") for ind in front)
    for ind in front:  # trained in full: as good as it says
        width, rate = (round(float(v), 3) for v in ind.X)
        final = [val for _, val in training(width, rate)][-1]
        assert list(ind.F) == pytest.approx([-final, macs(width)])
    assert volume([ind.F for ind in front]) > 0.97 * volume(full.F)


def test_a_forecast_is_marked_in_the_individual() -> None:
    watching = watcher(Half)
    result, _ = evolved(watching, 3)
    trials = {t.number: t for t in watching.watch.trials}
    assert {ind.get("forecast") for ind in result.pop} == {0.0, 1.0}
    for ind in result.pop:
        trial = trials[int(ind.get("trial"))]
        value = trial.value("accuracy")
        assert value is not None
        assert ind.F[0] == -value.mean
        assert (ind.get("forecast") == 1.0) == (value.origin == "forecast") == (trial.state == "stopped")
        assert ind.get("sd") == value.sd


def test_the_front_is_confirmed_until_it_is_measured() -> None:
    watching = watcher(Half)
    result, problem = evolved(watching, 3)
    before = watching.unconfirmed(result.pop)
    numbers = [int(ind.get("trial")) for ind in before]
    assert numbers
    watching.confirm(problem, result.pop)
    states = {t.number: t.state for t in watching.watch.trials}
    assert {states[n] for n in numbers} == {"complete"}
    assert len(watching.unconfirmed(result.pop)) == 0
    assert len(watching.watch.trials) == 3 * 16


def test_the_engine_revives_before_the_front_is_confirmed() -> None:
    watching = watcher(Half, pause=True)
    result, problem = evolved(watching, 3)
    watching.confirm(problem, result.pop)
    assert not any(ind.get("forecast") for ind in result.pop)  # Half revives all


def test_trainings_that_come_to_nan_and_raise() -> None:
    watching = watcher("genrace")
    result, _ = evolved(watching, 4, broken=0.3)
    assert all(np.isfinite(result.F).ravel())
    assert {t.state for t in watching.watch.trials} >= {"failed", "complete"}
    out: dict[str, Any] = {}
    with pytest.raises(RuntimeError), watching.training(macs=1.0):
        raise RuntimeError
    run = watching.training(macs=1.0)
    run.update(val=math.nan)
    run.network.fail()
    run.put(out)
    assert out["F"] == [math.inf, math.inf]
    assert out["forecast"] == 0.0


def test_threads_and_a_file(tmp_path: Path) -> None:
    from pymoo.parallelization import StarmapParallelization

    watching = watcher("median", path=tmp_path / "known.jsonl")
    with ThreadPool(4) as pool:
        result, problem = evolved(watching, 4, elementwise_runner=StarmapParallelization(pool.starmap))
        problem.elementwise_runner = StarmapParallelization(pool.starmap)
        assert len(watching.watch.trials) == 4 * 16
        assert not any(ind.get("forecast") for ind in watching.confirm(problem, result.pop))
    again = watcher("median", path=tmp_path / "known.jsonl")
    assert len(again.watch.trials) == 4 * 16


def test_an_error_in_percent_as_nsga_net_has_it() -> None:
    watching = Watcher(Half, epochs=3, goals=["error", "macs"])
    out: dict[str, Any] = {}
    with watching.training(macs=5.0) as run:
        for error in (60.0, 40.0, 30.0):
            run.update(train=error - 5, val=error)
    run.put(out)
    assert out["F"] == [30.0, 5.0]


def test_a_goal_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="not among the goals: accuracy, macs"):
        watcher("never", goal="loss")
