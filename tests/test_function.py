"""A user's own function as a problem."""

from __future__ import annotations

import math
import pickle
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import pytest

from vilfredo.goal import Goal
from vilfredo.problems.function import Function
from vilfredo.protocols import Impossible, Snapshot, Work
from vilfredo.spaces.parameters import Choice, Float, Parameters
from vilfredo.trial import Value


class Anything:
    """A space in which every genome is fine."""

    def check(self, genome: Mapping[str, Any]) -> None:
        return


SPACE: Any = Anything()


def sphere(params: Mapping[str, float]) -> dict[str, float]:
    """A bowl.

    More about it.
    """
    return {"error": params["x"] ** 2, "size": 3}


def curve(params: Mapping[str, float], *, epochs: int, seed: int) -> Generator[dict[str, float], None, Any]:
    for epoch in range(epochs):
        yield {"error": params["x"] / (epoch + 1)}
    return {"error": (params["x"] / epochs, 0.1), "size": Value(float(seed), origin="estimated")}


def no_argument() -> dict[str, float]:
    return {}


def run(problem: Function, work: Work, seed: int = 0) -> tuple[list[Snapshot], Any, Mapping[str, Value]]:
    generator = problem.train(work, seed, None, {})
    shots = []
    while True:
        try:
            shots.append(next(generator))
        except StopIteration as end:
            return shots, end.value, problem.measure(work, end.value, seed)


def test_plain_function() -> None:
    problem = Function(sphere, SPACE, ["error", Goal("size", "max")])
    shots, _, values = run(problem, Work({"x": 2.0}))
    assert shots == []
    assert values == {"error": Value(4.0), "size": Value(3.0)}
    assert problem.goals[0].unit == "fraction"
    assert problem.preview(Work({"x": 2.0})) == {}
    assert problem.describe()["about"] == "A bowl."
    _, _, some = run(problem, Work({"x": 2.0}, goals=frozenset({"size"})))
    assert set(some) == {"size"}


def test_generator_yields_epochs_and_returns_goals() -> None:
    problem = Function(curve, SPACE, ["error", "size"], epochs=4)
    shots, _, values = run(problem, Work({"x": 8.0}), seed=7)
    assert [(s.index, s.metrics["error"]) for s in shots] == [(1, 8.0), (2, 4.0), (3, 8 / 3), (4, 2.0)]
    assert values == {"error": Value(2.0, 0.1), "size": Value(7.0, origin="estimated")}


def test_generator_stops_at_the_fidelity_and_gives_its_last_metrics() -> None:
    def endless(params: Mapping[str, float]) -> Generator[dict[str, float], None, None]:
        epoch = 0
        try:
            while True:
                epoch += 1
                yield {"error": params["x"] / epoch}
        finally:
            closed.append(epoch)

    closed: list[int] = []
    problem = Function(endless, SPACE, ["error"], epochs=9)
    shots, _, values = run(problem, Work({"x": 6.0}, fidelity=3))
    assert len(shots) == 3
    assert closed == [3]
    assert values == {"error": Value(2.0)}


@pytest.mark.parametrize("value", [np.float32(1.5), 1.5, np.array(1.5)])
def test_numbers_of_any_kind(value: Any) -> None:
    assert run(Function(lambda p: {"error": value}, SPACE, ["error"]), Work({}))[2]["error"].mean == 1.5


def test_what_is_not_finite_passes_through() -> None:
    assert math.isnan(
        run(Function(lambda p: {"error": math.nan}, SPACE, ["error"]), Work({}))[2]["error"].mean
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p: 3, r"returned 3 \(int\); it must return a mapping of goals, such as \{'error': 0.1\}"),
        (lambda p: None, r"returned None"),
        (lambda p: {"eror": 1.0}, r"gave no 'error', which is a goal; it gave 'eror'; did you mean 'eror'\?"),
        (lambda p: {}, r"it gave nothing"),
        (lambda p: {"error": "low"}, r"goal 'error' is 'low' \(str\); it must be a number"),
        (lambda p: {"error": None}, r"goal 'error' is None"),
        (lambda p: {"error": [1, 2, 3]}, r"goal 'error' is \[1, 2, 3\] \(list\)"),
        (lambda p: {"error": (1, 2, 3)}, r"goal 'error' is \(1, 2, 3\)"),
        (lambda p: (x for x in [3]), r"yielded 3 \(int\) at epoch 1"),
        (lambda p: (x for x in [{"loss": 1}]), r"gave no 'error'"),
        (lambda p: (x for x in [{"loss": "high"}]), r"metric 'loss' is 'high'"),
    ],
)
def test_wrong_results_are_one_sentence(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(Function(function, SPACE, ["error"]), Work({}))


def test_wrong_functions_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="cannot be called as f"):
        Function(no_argument, SPACE, ["error"])
    with pytest.raises(ValueError, match="cannot be called as f"):
        Function(lambda p, other: {}, SPACE, ["error"])
    wrong: Any = 3
    with pytest.raises(ValueError, match="3 cannot be called"):
        Function(wrong, SPACE, ["error"])
    with pytest.raises(ValueError, match="no goals"):
        Function(sphere, SPACE, [])


def test_a_function_with_a_name_travels_and_one_without_says_so() -> None:
    again = pickle.loads(pickle.dumps(Function(sphere, SPACE, ["error"])))
    assert run(again, Work({"x": 3.0}))[2] == {"error": Value(9.0)}
    with pytest.raises(ValueError, match="cannot be sent to worker processes"):
        pickle.dumps(Function(lambda p: {}, SPACE, ["error"]))


def test_what_is_no_genome_of_the_space_or_not_active_never_reaches_the_function() -> None:
    space = Parameters(
        {
            "optimizer": Choice(("adam", "sgd")),
            "momentum": Float(0.0, 0.9, when={"optimizer": "sgd"}),
        }
    )
    problem = Function(lambda p: {"error": len(p)}, space, ["error"])
    with pytest.raises(Impossible, match="rmsprop"):
        problem.preview(Work({"optimizer": "rmsprop"}))
    assert run(problem, Work({"optimizer": "adam", "momentum": 0.5}))[2]["error"].mean == 1
    assert run(problem, Work({"optimizer": "sgd", "momentum": 0.5}))[2]["error"].mean == 2
