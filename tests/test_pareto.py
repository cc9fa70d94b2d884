"""Pareto arithmetic against what the definitions say, written out slowly."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.population import Population
from vilfredo.trial import Failure, Key, Trial, Value

# Few different numbers, so that ties and copies are common.
NUMBERS = st.integers(0, 5).map(float)


@st.composite
def tables(draw: st.DrawFn, most: int = 24) -> np.ndarray:
    n, m = draw(st.integers(1, most)), draw(st.integers(1, 4))
    return draw(arrays(np.float64, (n, m), elements=NUMBERS))


@st.composite
def constrained(draw: st.DrawFn, most: int = 24) -> tuple[np.ndarray, np.ndarray]:
    table = draw(tables(most))
    violations = draw(
        arrays(np.float64, len(table), elements=st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 2.0]))
    )
    return table, violations


def beats(table: np.ndarray, violations: np.ndarray, i: int, j: int) -> bool:
    """Deb's constrained dominance, from its definition."""
    if violations[i] != violations[j]:
        return bool(violations[i] < violations[j])
    if violations[i] > 0:
        return False
    return bool((table[i] <= table[j]).all() and (table[i] < table[j]).any())


def slow_ranks(table: np.ndarray, violations: np.ndarray) -> np.ndarray:
    """Front after front is taken off."""
    ranks = np.full(len(table), -1)
    level = 0
    while (ranks < 0).any():
        left = np.flatnonzero(ranks < 0)
        ranks[[i for i in left if not any(beats(table, violations, j, i) for j in left)]] = level
        level += 1
    return ranks


@given(constrained())
def test_ranks(case: tuple[np.ndarray, np.ndarray]) -> None:
    table, violations = case
    assert pareto.ranks(table, violations).tolist() == slow_ranks(table, violations).tolist()
    free = np.zeros(len(table))
    assert pareto.ranks(table).tolist() == slow_ranks(table, free).tolist()


def test_ranks_of_nothing() -> None:
    assert pareto.ranks(np.zeros((0, 3))).tolist() == []
    assert pareto.crowding(np.zeros((0, 3))).tolist() == []


def slow_crowding(table: np.ndarray) -> dict[tuple[float, ...], tuple[float, float]]:
    """Bounds of the distance of each different point; a tie in one goal may be broken either way."""
    points = sorted({tuple(row) for row in table.tolist()})
    found = {}
    for point in points:
        low = high = 0.0
        for goal in range(table.shape[1]):
            column = sorted(p[goal] for p in points)
            span = column[-1] - column[0]
            if len(points) <= 2:
                low = high = math.inf
            elif span > 0:
                places = [k for k, value in enumerate(column) if value == point[goal]]
                each = [
                    math.inf if k in (0, len(column) - 1) else (column[k + 1] - column[k - 1]) / span
                    for k in places
                ]
                low, high = low + min(each), high + max(each)
        found[point] = (low, high)
    return found


@given(tables())
def test_crowding(table: np.ndarray) -> None:
    distance = pareto.crowding(table)
    expected = slow_crowding(table)
    assert not np.isnan(distance).any()
    seen: set[tuple[float, ...]] = set()
    for row, value in zip(table.tolist(), distance.tolist(), strict=True):
        point = tuple(row)
        if point in seen:
            assert value == 0.0  # a copy adds nothing
        else:
            low, high = expected[point]
            assert low - 1e-9 <= value <= high + 1e-9 or value == low == math.inf
        seen.add(point)


def test_crowding_of_the_paper() -> None:
    front = np.array([[0.0, 10.0], [1.0, 6.0], [4.0, 3.0], [10.0, 0.0]])
    expected = [math.inf, 4 / 10 + 7 / 10, 9 / 10 + 6 / 10, math.inf]
    assert pareto.crowding(front) == pytest.approx(expected)


@given(constrained(), st.integers(1, 12))
def test_best(case: tuple[np.ndarray, np.ndarray], count: int) -> None:
    table, violations = case
    kept = pareto.best(table, violations, count).tolist()
    ranks = slow_ranks(table, violations)
    assert len(kept) == len(set(kept)) == min(count, len(table))
    left = set(range(len(table))) - set(kept)
    if left:
        assert max(ranks[kept]) <= min(ranks[list(left)])


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=10))
def test_hypervolume_counts_cells(points: list[tuple[int, int, int]]) -> None:
    cells = {
        cell
        for cell in itertools.product(range(5), repeat=3)
        if any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points)
    }
    assert pareto.hypervolume(np.array(points, dtype=float), [5.0] * 3) == pytest.approx(len(cells))


def test_hypervolume_at_the_edges() -> None:
    assert pareto.hypervolume(np.zeros((0, 2)), [1.0, 1.0]) == 0.0
    assert pareto.hypervolume(np.array([[1.0, 0.0], [2.0, -1.0]]), [1.0, 1.0]) == 0.0
    assert pareto.hypervolume(np.array([[0.25], [0.5]]), [1.0]) == 0.75
    assert pareto.hypervolume(np.array([[0.5, 0.5], [9.0, 0.0]]), [1.0, 1.0]) == pytest.approx(0.25)


def test_knee() -> None:
    assert pareto.knee(np.array([[0.0, 1.0], [0.2, 0.2], [1.0, 0.0]])) == 1
    assert pareto.knee(np.array([[3.0, 3.0]])) == 0
    with pytest.raises(ValueError, match="no knee"):
        pareto.knee(np.zeros((0, 2)))


def trial(number: int, state: str = "complete", **values: float) -> Trial:
    failure = Failure("exception", "no") if state == "failed" else None
    return Trial(number, {}, state, values={Key(k): Value(v) for k, v in values.items()}, failure=failure)  # type: ignore[arg-type]


GOALS = (Goal("error"), Goal("reward", "max"), Goal("size", max=10.0, ranked=False, stage="preview"))


def test_points() -> None:
    trials = [
        trial(0, error=1.0, reward=2.0, size=5.0),
        trial(1, "failed", error=0.0, reward=9.0, size=1.0),
        trial(2, "rejected", size=15.0),
        trial(3, error=1.0, size=1.0),
        trial(4, error=0.5, reward=1.0, size=20.0),
    ]
    table, violations, usable = pareto.points(trials, GOALS)
    assert table[0].tolist() == [1.0, -2.0]
    assert usable.tolist() == [True, False, True, False, True]
    assert violations[[0, 2, 4]].tolist() == [0.0, 0.5, 1.0]
    assert np.isinf(table[2]).all()


def test_front() -> None:
    trials = [
        trial(0, error=1.0, reward=2.0, size=5.0),
        trial(1, "failed", error=0.0, reward=9.0, size=1.0),
        trial(2, "rejected", error=0.0, reward=9.0, size=1.0),
        trial(3, error=0.1, reward=9.0, size=11.0),
        trial(4, "stopped", error=0.5, reward=1.0, size=2.0),
        trial(5, error=1.0, reward=2.0, size=9.0),
        trial(6, error=2.0, reward=1.0, size=1.0),
    ]
    assert [t.number for t in pareto.front(trials, GOALS)] == [4, 0]  # 5 is a copy of 0
    assert pareto.front([trials[1], trials[3]], GOALS) == []


@settings(max_examples=60)
@given(constrained(most=40), st.integers(2, 8), st.randoms(use_true_random=False))
def test_a_population_is_ranked_at_all_times(
    case: tuple[np.ndarray, np.ndarray], count: int, chance: object
) -> None:
    table, violations = case
    population = Population(table.shape[1], count)
    for number, (point, violation) in enumerate(zip(table, violations, strict=True)):
        population.add(number, point, float(violation), eligible=chance.random() < 0.8)  # type: ignore[attr-defined]
        if chance.random() < 0.2:  # type: ignore[attr-defined]
            again = int(chance.random() * (number + 1))  # type: ignore[attr-defined]
            if again in population:
                row = int(np.flatnonzero(population.numbers == again)[0])
                population.add(
                    again, table[number], float(violations[number]), bool(population.eligible[row])
                )
        if chance.random() < 0.1:  # type: ignore[attr-defined]
            population.remove(int(chance.random() * (number + 1)))  # type: ignore[attr-defined]
        used = np.flatnonzero(population.ranks >= 0)
        expected = slow_ranks(population.table[used], population.violations[used])
        assert population.ranks[used].tolist() == expected.tolist()
        assert population.eligible.sum() <= count
        assert (population.ranks[used][~population.eligible[used]] == 0).all()
        assert not np.isnan(population.crowding).any()


@given(tables(most=30))
def test_the_whole_front_lives_while_it_fits(table: np.ndarray) -> None:
    population = Population(table.shape[1], len(table))
    for number, point in enumerate(table):
        population.add(number, point, 0.0)
    assert sorted(population.numbers[population.ranks >= 0].tolist()) == list(range(len(table)))


def test_of_equals_the_oldest_goes() -> None:
    population = Population(2, 3)
    for number in range(10):
        population.add(number, np.array([1.0, 2.0]), 0.0)
        assert sorted(population.numbers[population.ranks >= 0].tolist()) == list(
            range(max(0, number - 2), number + 1)
        )


def test_a_member_keeps_its_age_when_it_is_told_again() -> None:
    population = Population(1, 3)
    for number in range(3):
        population.add(number, np.array([1.0]), 0.0)
    population.add(0, np.array([2.0]), 0.0)
    population.add(0, np.array([1.0]), 0.0)
    population.add(3, np.array([1.0]), 0.0)
    assert 0 not in population
    assert [n in population for n in (1, 2, 3)] == [True] * 3
