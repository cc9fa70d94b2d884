"""What EONS promises beyond the laws (`test_laws_optimizers.py`)."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from vilfredo import pareto
from vilfredo.goal import Goal, goal
from vilfredo.optimizers.eons import Eons
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.random import Random
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Optimizer, Work
from vilfredo.seeds import generator
from vilfredo.spaces.parameters import from_mapping
from vilfredo.spaces.ranges import Range
from vilfredo.spaces.spiking import Spiking
from vilfredo.trial import Attempt, Failure, Key, Trial, Value

GOALS = (Goal("f1"), Goal("f2"))
SPACE = from_mapping({f"x{i}": {"float": [0.0, 1.0]} for i in range(4)})


def told(number: int, work: Work) -> Trial:
    """Its second goal depends on the noise; one in nine fails."""
    x = [work.genome[f"x{i}"] for i in range(4)]
    if int(1e6 * x[3]) % 9 == 0:
        return Trial(number, work.genome, "failed", failure=Failure("exception", "no"))
    rest = sum(x[1:]) / 3
    values = {
        Key("f1"): Value(x[0] + rest),
        Key("f2", noise=work.noise): Value(1 - x[0] + rest + 0.1 * ((7 * x[1] + work.noise) % 1)),
    }
    return Trial(
        number,
        work.genome,
        "complete",
        work.parents,
        work.operator,
        generation=work.generation,
        values=values,
    )


def drive(
    optimizer: Optimizer, count: int, workers: int = 1, order: Sequence[int] = (0,)
) -> tuple[list[Work], list[Trial]]:
    """Works in the order asked, trials in the order told, as the loop does it: a renewal is no new candidate,
    and is told as the trial with its further values. `order` decides on who is told next."""
    works: list[Work] = []
    trials: dict[int, Trial] = {}
    log: list[Trial] = []
    running: list[tuple[int, Work]] = []
    picks = itertools.cycle(order)
    new = 0
    while new < count or running:
        while new < count and len(running) < workers:
            asked = optimizer.ask(1, generator(3, "ask", new), [work for _, work in running])
            if not asked:
                break
            work = asked[0]
            running.append((new if work.trial is None else work.trial, work))
            works.append(work)
            new += work.trial is None
        number, work = running.pop(next(picks) % len(running))
        trial = told(number, work)
        if work.trial is not None:
            trial = trials[number].with_values(trial.values)
        trials[number] = trial
        optimizer.tell(trial)
        log.append(trial)
    return works, log


# -- generations --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"renew": 2}, {"selection": "pareto", "renew": 1}])
def test_it_depends_neither_on_workers_nor_on_their_order(options: dict[str, Any]) -> None:
    def make() -> Eons:
        return Eons(SPACE, GOALS, population_size=10, num_best=3, **options)

    alone, _ = drive(make(), 60)
    new = [work for work in alone if work.trial is None]
    assert [work.generation for work in new] == [n // 10 for n in range(60)]
    for workers, order in ((2, [1, 0]), (4, [3, 1, 0, 2, 7]), (100, [5, 11, 0, 9, 2])):
        assert drive(make(), 60, workers, order)[0] == alone


def test_it_waits_for_its_generation() -> None:
    optimizer = Eons(SPACE, GOALS, population_size=4)
    works = optimizer.ask(9, generator(0))
    assert [work.generation for work in works] == [0] * 4
    pending = dict(enumerate(works))
    for number in (3, 0, 2):
        optimizer.tell(told(number, pending.pop(number)))
        assert optimizer.ask(1, generator(1), list(pending.values())) == []
    optimizer.tell(told(1, works[1]))
    assert [work.generation for work in optimizer.ask(9, generator(1))] == [1] * 4


def test_parents_are_the_last_generation_and_the_elites() -> None:
    """Here the smallest number is best: the first ones are the elites for ever."""
    optimizer = Eons(SPACE, [Goal("f1")], population_size=10, num_best=2, random_factor=0.2)
    works: list[Work] = []
    for number in range(100):
        works += optimizer.ask(1, generator(0, number))
        values = {Key("f1"): Value(float(number))}
        optimizer.tell(Trial(number, works[-1].genome, "complete", works[-1].parents, values=values))
    for number, work in enumerate(works):
        generation = number // 10
        pool = {*range(10 * (generation - 1), 10 * generation), *((0, 1) if generation > 1 else ())}
        assert set(work.parents) <= pool
        sampled = generation == 0 or number % 10 >= 8  # a fifth, besides the first generation
        assert (work.operator == "sample") == sampled
    parents = Counter(parent for work in works[20:] for parent in work.parents)
    assert {0, 1} == {number for number, _ in parents.most_common(2)}


def test_the_best_of_all_is_in_every_pool() -> None:
    optimizer = Eons(
        SPACE,
        [Goal("f1")],
        population_size=10,
        num_best=1,
        tournament_size_factor=1.0,
        tournament_best_net_factor=1.0,
        random_factor=0,
    )
    for number in range(80):
        work = optimizer.ask(1, generator(0, number))[0]
        if number >= 20:  # the tournament is of all: the best is both parents
            assert work.parents == (7,)
        value = Value(0.0 if number == 7 else 1.0 + number % 3)
        optimizer.tell(Trial(number, work.genome, "complete", work.parents, values={Key("f1"): value}))


def test_tournaments_are_as_hard_as_asked_for() -> None:
    """Ten of a hundred with the best taken in nine of ten; ranks follow from that by arithmetic."""
    optimizer = Eons(SPACE, [Goal("f1")], num_best=0, crossover_rate=0.0)
    genomes = [SPACE.sample(generator(1, n)) for n in range(100)]
    for number, genome in enumerate(genomes):
        # Four at a time are equally good: then it is chance.
        value = Value(float(number // 4))
        optimizer.tell(Trial(number, genome, "complete", values={Key("f1"): value}))
    rng = generator(9)
    found = Counter(optimizer.ask(1, rng)[0].parents[0] for _ in range(4000))
    best = 0.9 * (1 - math.comb(96, 10) / math.comb(100, 10)) + 0.1 * 0.04
    assert sum(found[n] for n in range(4)) / 4000 == pytest.approx(best, abs=0.03)
    for number in range(4):
        assert found[number] / 4000 == pytest.approx(best / 4, abs=0.02)
    assert sum(found[n] for n in range(50, 100)) / 4000 == pytest.approx(0.05, abs=0.015)


def test_rates_of_crossover_and_mutation() -> None:
    def operators(**rates: Any) -> Counter[str]:
        optimizer = Eons(SPACE, GOALS, population_size=50, random_factor=0, **rates)
        drive(optimizer, 50)
        rng = generator(2)
        return Counter(optimizer.ask(1, rng)[0].operator for _ in range(600))

    assert set(operators(crossover_rate=1.0, mutation_rate=0.0)) <= {"cross", "mutate"}  # both parents one
    assert set(operators(crossover_rate=0.0)) == {"mutate"}
    found = operators(crossover_rate=0.5, mutation_rate=0.5)
    assert found["mutate"] / 600 == pytest.approx(0.5, abs=0.12)
    assert found["cross"] / 600 == pytest.approx(0.25, abs=0.08)


# -- renewal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("renew", [1, 3])
def test_parents_and_children_are_measured_with_the_same_noise(renew: int) -> None:
    optimizer = Eons(SPACE, GOALS, population_size=8, num_best=3, renew=renew)
    works, log = drive(optimizer, 80, workers=5, order=[2, 0, 3])
    noises: dict[int, set[int]] = {}
    for trial in log:
        noises.setdefault(trial.number, set()).update(key.noise for key in trial.values if key.goal == "f2")
    for work in works:
        assert work.generation is not None
        noise = work.generation // renew
        assert work.noise == noise
        if work.trial is not None:
            assert work.operator == "renew"
            assert work.generation % renew == 0
            assert work.genome == next(t for t in log if t.number == work.trial).genome
        # A parent was measured with the noise of the generation before, as all of its pool.
        before = (work.generation - 1) // renew
        if work.trial is None:
            assert all(before in noises[parent] for parent in work.parents)
    renewals = Counter(work.generation for work in works if work.trial is not None)
    assert set(renewals) <= {g for g in range(1, 10) if g % renew == 0}
    assert max(renewals.values()) == 3


def test_a_renewal_that_fails_is_not_asked_for_again() -> None:
    optimizer = Eons(SPACE, [Goal("f2")], population_size=4, num_best=1, renew=1)
    trials: dict[int, Trial] = {}
    for number in range(4):
        work = optimizer.ask(1, generator(0, number))[0]
        trials[number] = Trial(number, work.genome, "complete", values={Key("f2"): Value(float(number))})
        optimizer.tell(trials[number])
    work = optimizer.ask(1, generator(0, 4))[0]
    assert (work.trial, work.operator, work.noise) == (0, "renew", 1)
    # While it runs, others are asked for; the next generation has to wait.
    children: list[Work] = []
    for number in range(4, 8):
        asked = optimizer.ask(1, generator(0, number), [work, *children])
        assert [w.trial for w in asked] == [None]
        children += asked
    for number, child in zip(range(4, 8), children, strict=True):
        values = {Key("f2", noise=1): Value(float(number))}
        optimizer.tell(Trial(number, child.genome, "complete", child.parents, values=values))
    assert optimizer.ask(1, generator(0, 8), [work]) == []
    lost = Attempt(1, 0, 0.1, Failure("exception", "no"))
    optimizer.tell(replace(trials[0], attempts=(lost,)))
    work = optimizer.ask(1, generator(0, 8))[0]
    assert work.trial == 4  # the best of those that are left
    for n in range(10):
        assert 0 not in optimizer.ask(5, generator(1, n), [work])[-1].parents


def test_sizes_alone_are_not_renewed() -> None:
    goals = (goal("synapses"), goal("neurons"))
    optimizer = Eons(Spiking(), goals, population_size=4, renew=1)
    for number in range(12):
        work = optimizer.ask(1, generator(0, number))[0]
        assert work.trial is None
        values = {Key("synapses"): Value(float(number)), Key("neurons"): Value(1.0)}
        optimizer.tell(Trial(number, work.genome, "complete", work.parents, values=values))


@pytest.mark.parametrize("selection", ["weighted", "pareto"])
def test_a_replay_after_renewals_rebuilds_the_state(selection: Any) -> None:
    """Later noise must not change what earlier generations were made from."""

    def make() -> Eons:
        return Eons(SPACE, GOALS, population_size=6, num_best=2, renew=2, selection=selection)

    one = make()
    _, log = drive(one, 50, workers=3)
    again, last = make(), make()
    for trial in log:
        again.tell(trial)
    for trial in {trial.number: trial for trial in log}.values():  # all at once, as they are in the end
        last.tell(trial)
    for n in range(5):
        expected = one.ask(2, generator(8, n))
        assert again.ask(2, generator(8, n)) == expected
        assert last.ask(2, generator(8, n)) == expected


# -- selection ----------------------------------------------------------------------------------------


def best_of(goals: Sequence[Goal], points: Sequence[Mapping[str, float]], **options: Any) -> int:
    """Who wins a tournament of all."""
    optimizer = Eons(
        SPACE,
        goals,
        population_size=len(points),
        crossover_rate=0.0,
        random_factor=0.0,
        tournament_size_factor=1.0,
        tournament_best_net_factor=1.0,
        **options,
    )
    for number, point in enumerate(points):
        values = {Key(name): Value(value) for name, value in point.items()}
        state: Any = "complete" if len(point) == len(goals) else "rejected"
        optimizer.tell(Trial(number, SPACE.sample(generator(number)), state, values=values))
    found = Counter(optimizer.ask(1, generator(5, n))[0].parents[0] for n in range(60))
    return found.most_common(1)[0][0]


PAPER = (goal("reward"), goal("neurons"), goal("synapses"), goal("resilience_mean"))


def test_the_weighted_sum_is_the_papers() -> None:
    """fitness − c₁·neurons − c₂·synapses + c₃·resilience."""
    points = [
        {
            "reward": 100.0,
            "neurons": 20.0,
            "synapses": 60.0,
            "resilience_mean": 50.0,
        },  # 100 − 10 − 6 + 50 = 134
        {
            "reward": 105.0,
            "neurons": 40.0,
            "synapses": 60.0,
            "resilience_mean": 50.0,
        },  # 105 − 20 − 6 + 50 = 129
        {
            "reward": 100.0,
            "neurons": 20.0,
            "synapses": 30.0,
            "resilience_mean": 50.0,
        },  # 100 − 10 − 3 + 50 = 137
        {"reward": 100.0, "neurons": 20.0, "synapses": 60.0, "resilience_mean": 52.0},  # 136
    ]
    weights = {"reward": 1.0, "neurons": 0.5, "synapses": 0.1, "resilience_mean": 1.0}
    assert best_of(PAPER, points, weights=weights) == 2
    assert best_of(PAPER, points, weights=weights | {"resilience_mean": 3.0}) == 3
    assert best_of(PAPER, points, weights={"reward": 1.0}) == 1


def test_without_weights_all_goals_count_the_same() -> None:
    goals = (Goal("reward", "max"), goal("synapses"))
    points = [
        {"reward": 15000.0, "synapses": 90.0},
        {"reward": 14000.0, "synapses": 30.0},  # nearly the best of both
        {"reward": 0.0, "synapses": 20.0},
        {"reward": 0.0, "synapses": 90.0},
    ]
    assert best_of(goals, points) == 1
    assert best_of(goals, points, weights={"reward": 1.0, "synapses": 1.0}) == 0


def test_pareto_selection_goes_by_rank_and_crowding() -> None:
    points = [
        {"f1": 1.0, "f2": 5.0},
        {"f1": 2.0, "f2": 2.0},
        {"f1": 2.5, "f2": 2.5},
        {"f1": 5.0, "f2": 1.0},
    ]
    optimizer = Eons(SPACE, GOALS, population_size=4, num_best=4, selection="pareto")
    for number, point in enumerate(points):
        values = {Key(name): Value(value) for name, value in point.items()}
        optimizer.tell(Trial(number, SPACE.sample(generator(number)), "complete", values=values))
    pool = optimizer._pool(1)
    assert pool is not None
    # Of the borders of the front, which are as good, the later goes first; the dominated one is the last.
    assert [trial.number for trial in pool.trials] == [3, 0, 1, 2]
    assert (pool.first, pool.last) == ((0, 0, 2, 3), (2, 2, 3, 4))


@pytest.mark.parametrize("selection", ["weighted", "pareto"])
def test_limits_go_before_goals(selection: str) -> None:
    goals = (Goal("f1"), goal("synapses", max=50))
    points = [
        {"f1": 0.0, "synapses": 60.0},
        {"f1": 9.0, "synapses": 50.0},
        {"synapses": 55.0},  # rejected before it was measured
        {"f1": 9.5, "synapses": 50.0},
    ]
    assert best_of(goals, points, selection=selection) == 1
    beyond = [{"synapses": 80.0}, {"synapses": 51.0}, {"synapses": 70.0}]
    assert best_of(goals, beyond, selection=selection) == 1


@pytest.mark.parametrize("selection", ["weighted", "pareto"])
def test_the_first_feasible_ones_are_not_the_only_parents(selection: Any) -> None:
    """Those nearest to the limit stay with them up to a quarter of a generation, and no longer."""
    goals = (Goal("f1", max=1.0), Goal("f2"))
    for feasible in (1, 3, 7):
        optimizer = Eons(SPACE, goals, population_size=20, selection=selection)
        for number in range(20):
            value = 0.5 if number < feasible else 1.0 + 0.1 * number
            values = {Key("f1"): Value(value), Key("f2"): Value(-float(number))}
            optimizer.tell(Trial(number, SPACE.sample(generator(number)), "complete", values=values))
        pool = optimizer._pool(1)
        assert pool is not None
        assert [t.number for t in pool.trials[:feasible]] == [*range(feasible)][::-1]
        assert [t.number for t in pool.trials[feasible:]] == [*range(feasible, 5)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population_size": 1}, "population_size is 1; give a whole number of at least 2"),
        ({"population_size": 2.5}, "population_size is 2.5"),
        ({"num_best": -1}, "num_best is -1; give a whole number of at least 0"),
        ({"renew": True}, "renew is True"),
        ({"crossover_rate": 1.5}, "crossover_rate is 1.5; give a number from 0 to 1"),
        ({"mutation_rate": float("nan")}, "mutation_rate is nan"),
        ({"random_factor": "some"}, "random_factor is 'some'"),
        ({"selection": "tournament"}, "selection is 'tournament'; there are 'weighted' and 'pareto'"),
        ({"weights": {"f3": 1.0}}, "weights names the goal 'f3'; the goals are f1, f2"),
        ({"weights": {"f1": -1.0}}, "the weight of f1 is -1.0; give a number from 0"),
        ({"weights": {"f1": 0.0}}, "all weights are 0"),
        ({"weights": {"f1": 1.0}, "selection": "pareto"}, "Pareto ranks need none"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Eons(SPACE, GOALS, **options)


def test_goals_that_only_limit() -> None:
    limit = Goal("size", max=1.0, ranked=False)
    with pytest.raises(ValueError, match="no goal to rank by"):
        Eons(SPACE, [limit])
    Eons(SPACE, [limit], weights={"size": 1.0})


# -- spiking networks ---------------------------------------------------------------------------------

WANTED = (60, -40, 100, -90)
NETWORKS = Spiking().bind(
    4,
    1,
    [Range("Threshold", "int", 0, 127)],
    [Range("Weight", "int", -127, 127), Range("Delay", "int", 1, 15)],
)
SIZED = (Goal("error"), goal("synapses"))


def error(genome: Mapping[str, Any]) -> float:
    """How far the sums of weights from the four inputs to the output, directly or over one hidden neuron,
    are from the wanted ones."""
    out: dict[int, list[Any]] = {}
    for row in genome["synapses"]:
        out.setdefault(row[0], []).append(row)
    total = 0.0
    for i, wanted in enumerate(WANTED):
        reached = 0.0
        for _, middle, weight, _ in out.get(i, ()):
            if middle == 4:
                reached += weight
            elif middle > 4:
                reached += sum(weight * row[2] / 127 for row in out.get(middle, ()) if row[1] == 4)
        total += abs(reached - wanted)
    return total / 4


@dataclass
class Found:
    error: float
    synapses: float
    hypervolume: float
    trials: list[Trial] = field(repr=False)


def searched(make: Callable[..., Optimizer], count: int = 1200, seed: int = 0) -> Found:
    optimizer = make(NETWORKS, SIZED)
    trials: list[Trial] = []
    for number in range(count):
        work = optimizer.ask(1, generator(seed, number))[0]
        NETWORKS.check(work.genome)
        size = float(len(work.genome["synapses"]))
        values = {Key("error"): Value(error(work.genome)), Key("synapses"): Value(size)}
        trials.append(Trial(number, work.genome, "complete", work.parents, values=values))
        optimizer.tell(trials[-1])
    table, _, _ = pareto.points(trials, SIZED)
    best = trials[int(table[:, 0].argmin())]
    synapses = float(len(best.genome["synapses"]))
    return Found(error(best.genome), synapses, pareto.hypervolume(table, [80.0, 40.0]) / 3200, trials)


@pytest.fixture(scope="module")
def by_chance() -> Found:
    return searched(Random)


def test_it_finds_a_small_network_that_chance_does_not(by_chance: Found) -> None:
    found = searched(lambda s, g: Eons(s, g, weights={"error": 1.0, "synapses": 0.5}))
    assert found.error < 0.4 * by_chance.error
    assert found.synapses < 20


def test_the_weight_of_synapses_makes_networks_small(by_chance: Found) -> None:
    alone = searched(lambda s, g: Eons(s, g, weights={"error": 1.0}))
    both = searched(lambda s, g: Eons(s, g, weights={"error": 1.0, "synapses": 0.5}))
    assert alone.error < 0.4 * by_chance.error
    assert both.synapses < 0.7 * alone.synapses


@pytest.mark.parametrize(
    "make",
    [
        lambda s, g: Eons(s, g, selection="pareto"),
        lambda s, g: Eons(s, g),
        lambda s, g: NSGA2(s, g, population=100),
        lambda s, g: Steady(s, g, population=50, proposals=2),
    ],
    ids=["pareto", "weighted", "nsga2", "steady"],
)
def test_all_optimizers_evolve_the_same_networks(make: Callable[..., Optimizer], by_chance: Found) -> None:
    assert searched(make).hypervolume > 1.5 * by_chance.hypervolume


def test_steady_screens_networks() -> None:
    """The screen learns from encodings of networks of any size."""
    found = searched(lambda s, g: Steady(s, g, population=20, proposals=16), count=150)
    assert found.error < 60
    assert len({NETWORKS.canonical(trial.genome) for trial in found.trials}) == 150
