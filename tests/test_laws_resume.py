"""Law 1 over every optimizer: a search that is cut anywhere and resumed is the search that was not cut."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest

import vilfredo.optimizers
from runs import Slope, new_run, plain
from vilfredo.budget import Budget
from vilfredo.executors.inline import Inline
from vilfredo.loop import Search
from vilfredo.protocols import Optimizer


def every_optimizer() -> dict[str, Callable[..., Optimizer]]:
    found = {}
    for module in pkgutil.iter_modules(vilfredo.optimizers.__path__):
        loaded = importlib.import_module(f"vilfredo.optimizers.{module.name}")
        for name, thing in vars(loaded).items():
            if inspect.isclass(thing) and name.lower() == module.name and hasattr(thing, "ask"):
                found[module.name] = thing
    return found


OPTIMIZERS = every_optimizer()


def test_optimizers_are_found() -> None:
    assert {"random", "nsga2", "steady"} <= set(OPTIMIZERS)


def searched(path: Any, make: Callable[..., Optimizer], cuts: list[int], budget: int = 30) -> list[Any]:
    """The trials of a search that is left after each of `cuts` told trials and then resumed."""
    problem = Slope(limit=300.0)
    run = new_run(path, problem, seed=7)
    for cut in [*cuts, None]:
        search = Search(
            problem,
            make(problem.space, problem.goals),
            Inline(problem),
            run,
            budget=Budget(trials=budget),
            seed=7,
            confirm=2,
        )
        for _ in itertools.islice(search, cut):
            pass
    return [plain(trial) for trial in run.trials()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_search_equals_an_uninterrupted_one(name: str, tmp_path: Any) -> None:
    whole = searched(tmp_path / "whole.db", OPTIMIZERS[name], [])
    for number, cuts in enumerate([[1], [11], [3, 0, 9], [29], [31, 2]]):
        assert searched(tmp_path / f"cut{number}.db", OPTIMIZERS[name], cuts) == whole


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_member_of_the_front_is_confirmed_and_limits_are_kept(name: str, tmp_path: Any) -> None:
    trials = searched(tmp_path / "run.db", OPTIMIZERS[name], [])
    rejected = [t for t in trials if t["state"] == "rejected"]
    assert all(not t["epochs"] for t in rejected)
    assert sum(t["state"] != "rejected" for t in trials) == 30
    assert any(t["confirmed"] == 2 for t in trials)
