"""What single optimizers promise beyond the laws (`test_laws_optimizers.py`)."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from vilfredo import surrogate
from vilfredo.goal import Goal
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Work
from vilfredo.seeds import generator
from vilfredo.spaces.parameters import from_mapping
from vilfredo.trial import Failure, Key, Trial, Value

GOALS = (Goal("f1"), Goal("f2"))
SPACE = from_mapping({f"x{i}": {"float": [0.0, 1.0]} for i in range(4)})


def told(number: int, work: Work) -> Trial:
    x = [work.genome[f"x{i}"] for i in range(4)]
    if int(1e6 * x[3]) % 9 == 0:
        return Trial(number, work.genome, "failed", failure=Failure("exception", "no"))
    rest = sum(x[1:]) / 3
    values = {Key("f1"): Value(x[0] + rest), Key("f2"): Value(1 - x[0] + rest)}
    return Trial(
        number,
        work.genome,
        "complete",
        work.parents,
        work.operator,
        generation=work.generation,
        values=values,
    )


def synchronous(workers: int, order: Sequence[int], count: int = 60) -> list[Work]:
    """The works of an NSGA-II run of `workers`, who finish in an order that `order` decides."""
    optimizer = NSGA2(SPACE, GOALS, population=10)
    works: list[Work] = []
    running: list[int] = []
    picks = itertools.cycle(order)
    while len(works) < count or running:
        while len(works) < count and len(running) < workers:
            asked = optimizer.ask(1, generator(3, "ask", len(works)), [works[n] for n in running])
            if not asked:
                break
            running.append(len(works))
            works.append(asked[0])
        number = running.pop(next(picks) % len(running))
        optimizer.tell(told(number, works[number]))
    return works


def test_nsga2_does_not_depend_on_workers_or_order() -> None:
    alone = synchronous(1, [0])
    assert [work.generation for work in alone] == [n // 10 for n in range(60)]
    for workers, order in ((2, [1, 0]), (4, [3, 1, 0, 2, 7]), (16, [5, 11, 0, 9, 2])):
        assert synchronous(workers, order) == alone


def test_nsga2_waits_for_its_generation() -> None:
    optimizer = NSGA2(SPACE, GOALS, population=4)
    works = optimizer.ask(9, generator(0))
    assert [work.generation for work in works] == [0] * 4
    pending = dict(enumerate(works))
    for number in (3, 0, 2):
        optimizer.tell(told(number, pending.pop(number)))
        assert optimizer.ask(1, generator(1), list(pending.values())) == []
    optimizer.tell(told(1, works[1]))
    assert [work.generation for work in optimizer.ask(9, generator(1))] == [1] * 4


def test_nsga2_parents_come_from_earlier_generations() -> None:
    works = synchronous(3, [1, 2, 0], 80)
    for number, work in enumerate(works):
        assert all(parent // 10 < number // 10 for parent in work.parents)
    assert all(works[n].parents for n in range(30, 80))


def test_nsga2_counts_initial_works_in_the_first_generation() -> None:
    optimizer = NSGA2(SPACE, GOALS, population=4)
    rng = generator(0)
    initial = [Work(SPACE.sample(rng), operator="initial") for _ in range(3)]
    assert len(optimizer.ask(9, rng, initial)) == 1
    # What measures a known trial again is no new one.
    for number, work in enumerate(initial):
        optimizer.tell(told(number, work))
    again = Work(initial[0].genome, operator="confirm", trial=0)
    assert len(optimizer.ask(9, rng, [again])) == 1


def test_steady_never_waits_and_knows_what_is_pending() -> None:
    optimizer = Steady(SPACE, GOALS, population=6)
    works: list[Work] = []
    for number in range(40):
        asked = optimizer.ask(1, generator(0, number), works[-16:])
        assert len(asked) == 1
        works += asked
        if number >= 16:
            optimizer.tell(told(number - 16, works[number - 16]))
    names = [SPACE.canonical(work.genome) for work in works]
    assert len(set(names)) == 40


def test_steady_a_late_trial_can_be_a_parent() -> None:
    """The very first candidate takes as long as all others together, and is the best of them."""
    optimizer = Steady(SPACE, GOALS, population=6)
    first = optimizer.ask(1, generator(0, 0))[0]
    for number in range(1, 100):
        optimizer.tell(told(number, optimizer.ask(1, generator(0, number), [first])[0]))
    optimizer.tell(
        Trial(0, first.genome, "complete", values={Key("f1"): Value(-1.0), Key("f2"): Value(-1.0)})
    )
    asked = [work for n in range(20) for work in optimizer.ask(1, generator(1, n))]
    assert any(0 in work.parents for work in asked)


def test_steady_gives_everyone_the_same_chance_on_a_plateau() -> None:
    """Trials told late are parents as often as those told early (here every fourth one is slow)."""
    optimizer = Steady(SPACE, GOALS, population=10)
    running: list[tuple[float, int, Work]] = []
    parents = {"slow": 0, "quick": 0}
    finished = {"slow": 0, "quick": 0}
    clock = 0.0
    for number in range(600):
        work = optimizer.ask(1, generator(2, number), [w for _, _, w in running])[0]
        for parent in work.parents:
            parents["quick" if parent % 4 else "slow"] += 1
        running.append((clock + (1.0 + 0.001 * number if number % 4 else 12.0), number, work))
        if len(running) == 8:
            running.sort(key=lambda item: item[0])
            clock, ended, work = running.pop(0)
            finished["quick" if ended % 4 else "slow"] += 1
            same = {Key("f1"): Value(1.0), Key("f2"): Value(1.0)}
            optimizer.tell(Trial(ended, work.genome, "complete", work.parents, values=same))
    chance = {kind: parents[kind] / finished[kind] for kind in parents}
    assert chance["slow"] == pytest.approx(chance["quick"], rel=0.2)


@pytest.mark.parametrize("proposals", [1, 64])
def test_steady_keeps_within_limits(proposals: int) -> None:
    """A limit that nobody ranks by is learned from previews: nine in ten of random genomes break it."""
    goals = (*GOALS, Goal("size", max=0.6, ranked=False, stage="preview"))
    optimizer = Steady(SPACE, goals, proposals=proposals)
    rejected = []
    for number in range(120):
        work = optimizer.ask(1, generator(5, number))[0]
        x = [work.genome[f"x{i}"] for i in range(4)]
        values = {Key("size"): Value(sum(x) / 2)}
        if sum(x) / 2 > 0.6:
            trial = Trial(number, work.genome, "rejected", values=values)
            rejected.append(number)
        else:
            values |= {Key("f1"): Value(-x[0]), Key("f2"): Value(-x[1] - x[2])}
            trial = Trial(number, work.genome, "complete", work.parents, values=values)
        optimizer.tell(trial)
    assert sum(number < 20 for number in rejected) > 12
    assert sum(number >= 40 for number in rejected) < 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 1}, "population is 1; give a whole number of at least 2"),
        ({"population": 2.5}, "population is 2.5"),
        ({"population": True}, "population is True"),
        ({"crossover": 1.5}, "crossover is 1.5; give a probability from 0 to 1"),
        ({"crossover": float("nan")}, "crossover is nan"),
        ({"crossover": "often"}, "crossover is 'often'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str) -> None:
    for make in (NSGA2, Steady):
        with pytest.raises(ValueError, match=message):
            make(SPACE, GOALS, **options)  # type: ignore[arg-type]


def test_more_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="proposals is 0; give a whole number of at least 1"):
        Steady(SPACE, GOALS, proposals=0)
    for make in (NSGA2, Steady):
        with pytest.raises(ValueError, match="no goal to rank by"):
            make(SPACE, [Goal("size", max=1.0, ranked=False)])


def test_the_process_interpolates_and_knows_what_it_does_not_know() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, 2))
    y = np.sin(3 * x[:, 0]) + 10 * x[:, 1]
    process = surrogate.fit(x, y)
    mean, sd = process.predict(process.squared(x))
    assert mean == pytest.approx(y, abs=0.1)
    far = np.array([[5.0, 5.0]])
    _, far_sd = process.predict(process.squared(far))
    assert far_sd[0] > 10 * sd.max()


def test_the_process_with_a_point_more_is_that_fitted_with_it() -> None:
    rng = np.random.default_rng(1)
    x = rng.random((30, 3))
    y = x @ np.array([1.0, 2.0, 3.0])
    process = surrogate.fit(x[:25], y[:25])
    for row in range(25, 30):
        process.add(x[row], float(y[row]), process.squared(x[row][None]))
    whole = surrogate.Process(
        x, (y - process.shift) / process.scale, process.length, process.noise, process.shift, process.scale
    )
    places = rng.random((10, 3))
    mean, sd = process.predict(process.squared(places))
    other_mean, other_sd = whole.predict(whole.squared(places))
    assert mean == pytest.approx(other_mean, abs=1e-6)
    assert sd / np.sqrt(process.signal) == pytest.approx(other_sd / np.sqrt(whole.signal), abs=1e-5)


def test_the_process_of_a_constant_is_sure() -> None:
    x = np.random.default_rng(2).random((12, 2))
    process = surrogate.fit(x, np.full(12, 7.0))
    process.add(np.array([0.5, 0.5]), 7.0, process.squared(np.array([[0.5, 0.5]])))
    mean, sd = process.predict(process.squared(x))
    assert mean.tolist() == [7.0] * 12
    assert sd.tolist() == [0.0] * 12
