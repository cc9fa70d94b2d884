"""Laws that every optimizer keeps: they walk over every module of `vilfredo.optimizers` by themselves.

A new module needs an entry in `EXAMPLES`, or `test_every_optimizer_has_an_example` fails.
"""

import importlib
import json
import math
import pkgutil
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import vilfredo.optimizers
from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.protocols import Optimizer, Space, Work
from vilfredo.seeds import generator
from vilfredo.spaces.parameters import from_mapping
from vilfredo.trial import Failure, Key, Trial, Value

Make = Callable[[Space, Sequence[Goal]], Optimizer]


def _example(module: str, name: str, **options: object) -> Make:
    made = getattr(importlib.import_module(f"vilfredo.optimizers.{module}"), name)
    return lambda space, goals: made(space, goals, **options)


EXAMPLES: dict[str, Make] = {
    "eons": _example("eons", "Eons", population_size=16, tournament_size_factor=0.2, selection="pareto"),
    # It has no crossover, and a mutation of real numbers is a small step.
    "lemonade": _example("lemonade", "Lemonade", population=30, changes=24),
    "random": _example("random", "Random"),
    "nsga2": _example("nsga2", "NSGA2", population=8),
    "steady": _example("steady", "Steady", population=8),
}

GOALS = (Goal("error"), Goal("reward", "max"), Goal("size", max=9.0, stage="preview"))
SPACE = from_mapping(
    {
        "a": {"int": [0, 9]},
        "b": {"int": [0, 9]},
        "c": {"choice": ["x", "y", "z"]},
        "d": {"float": [0.0, 1.0]},
    }
)
SMALL = from_mapping({"a": {"int": [0, 4]}, "b": {"int": [0, 4]}})


def measured(number: int, work: Work, space: Space = SPACE) -> Trial:
    """Deterministic outcomes of all kinds: complete, stopped, rejected for its size, failed."""
    genome = work.genome
    size = float(genome["a"])
    values = {Key("size"): Value(size)}
    state = "complete"
    failure = None
    if size > 9.0 - (number % 2):
        state = "rejected" if size > 9.0 else "complete"
    if (genome["a"] * 3 + genome["b"]) % 11 == 10:
        state, failure = "failed", Failure("exception", "no luck")
    if state in ("complete", "stopped"):
        d = genome.get("d", 0.5)
        values[Key("error")] = Value(abs(genome["b"] - 5) + 2 * (d - 0.3) ** 2)
        values[Key("reward")] = Value(genome["a"] - 0.1 * genome["b"] + d)
    return Trial(
        number, genome, state, work.parents, work.operator, generation=work.generation, values=values,
        failure=failure,
    )  # fmt: skip


def ask(optimizer: Optimizer, number: int, pending: Sequence[Work] = ()) -> list[Work]:
    return optimizer.ask(1, generator(7, "ask", number), pending)


def drive(
    optimizer: Optimizer, count: int, workers: int = 1, space: Space = SPACE
) -> tuple[list[Trial], list[Work]]:
    """`count` trials in the order told, and the works in the order asked. Workers finish out of order."""
    running: list[tuple[int, Work]] = []
    told: list[Trial] = []
    works: list[Work] = []
    while len(told) < count:
        while len(running) < workers and len(works) < count:
            asked = ask(optimizer, len(works), [work for _, work in running])
            if not asked:
                break
            running.append((len(works), asked[0]))
            works.append(asked[0])
        if not running:
            break
        number, work = running.pop((len(told) * 7) % len(running))
        trial = measured(number, work, space)
        optimizer.tell(trial)
        told.append(trial)
    return told, works


def next_asks(optimizer: Optimizer, number: int, pending: Sequence[Work] = ()) -> list[list[Work]]:
    """What would be asked with several random numbers; nothing is told in between."""
    return [optimizer.ask(3, generator(99, number, i), pending) for i in range(4)]


@pytest.fixture(params=sorted(EXAMPLES))
def make(request: pytest.FixtureRequest) -> Make:
    return EXAMPLES[request.param]


def test_every_optimizer_has_an_example() -> None:
    found = {module.name for module in pkgutil.iter_modules(vilfredo.optimizers.__path__)}
    assert found == set(EXAMPLES)


def test_ask_changes_nothing(make: Make) -> None:
    asked, quiet = make(SPACE, GOALS), make(SPACE, GOALS)
    for number in range(60):
        first = next_asks(asked, number)
        assert next_asks(asked, number) == first
        work = (ask(asked, number) or [Work(SPACE.sample(generator(1, number)))])[0]
        asked.tell(measured(number, work))
        quiet.tell(measured(number, work))
    assert next_asks(quiet, 60) == next_asks(asked, 60)


@pytest.mark.parametrize("workers", [1, 5])
def test_replay_rebuilds_the_state(make: Make, workers: int) -> None:
    one = make(SPACE, GOALS)
    told, works = drive(one, 50, workers)
    again = make(SPACE, GOALS)
    for trial in told:
        again.tell(trial)
    pending = works[-2:]
    assert next_asks(again, 50, pending) == next_asks(one, 50, pending)


def test_a_trial_told_again_replaces_what_was_known(make: Make) -> None:
    told, _ = drive(make(SPACE, GOALS), 8)
    once, twice = make(SPACE, GOALS), make(SPACE, GOALS)
    for trial in told:
        once.tell(trial)
        if trial.number == 3:
            wrong = Trial(3, trial.genome, "complete", values={Key(g.name): Value(1e6) for g in GOALS})
            twice.tell(wrong)
        twice.tell(trial)
    assert next_asks(twice, 8) == next_asks(once, 8)


def test_telling_the_same_again_changes_nothing(make: Make) -> None:
    once, twice = make(SPACE, GOALS), make(SPACE, GOALS)
    told, _ = drive(once, 60, workers=3)
    for trial in told:
        twice.tell(trial)
    for trial in [*told[:10], *told[-10:]]:
        twice.tell(trial)
    assert next_asks(twice, 60) == next_asks(once, 60)


def test_no_genome_is_asked_for_twice(make: Make) -> None:
    optimizer = make(SPACE, GOALS)
    _, works = drive(optimizer, 120, workers=6)
    assert len(works) == 120
    names = [SPACE.canonical(work.genome) for work in works]
    assert len(set(names)) == len(names)
    many = optimizer.ask(9, generator(5, "many"), works[-2:])
    names += [SPACE.canonical(work.genome) for work in many]
    assert len(set(names)) == len(names)


def test_a_small_space_is_searched_to_the_end(make: Make) -> None:
    goals = (Goal("error"), Goal("reward", "max"))
    _, works = drive(make(SMALL, goals), 100, workers=3, space=SMALL)
    # Sampling some dozens of times finds nearly all of 25 genomes, and then ends.
    assert 20 <= len(works) <= 25
    assert len({SMALL.canonical(work.genome) for work in works}) == len(works)


def test_at_most_as_many_as_asked_for(make: Make) -> None:
    optimizer = make(SPACE, GOALS)
    drive(optimizer, 16)
    assert optimizer.ask(0, generator(0)) == []
    assert len(optimizer.ask(3, generator(0))) == 3


def test_works_are_plain_data_and_parents_are_known(make: Make) -> None:
    optimizer = make(SPACE, GOALS)
    told, works = drive(optimizer, 80, workers=4)
    states = {trial.number: trial.state for trial in told}
    for number, work in enumerate(works):
        assert json.loads(json.dumps(dict(work.genome), allow_nan=False)) == dict(work.genome)
        SPACE.check(work.genome)
        assert work.operator
        assert work.trial is None
        assert work.repeat == 0
        assert all(states[parent] != "failed" and parent < number for parent in work.parents)


def test_what_is_outside_the_space_is_no_parent(make: Make) -> None:
    """A baseline's genome may be anything; here it is better than all others."""
    optimizer = make(SPACE, GOALS)
    values = {Key("error"): Value(-1.0), Key("reward"): Value(50.0), Key("size"): Value(0.0)}
    optimizer.tell(Trial(0, {"my": "network"}, "complete", values=values))
    for number in range(1, 60):
        work = ask(optimizer, number)[0]
        assert 0 not in work.parents
        optimizer.tell(measured(number, work))


def test_nothing_but_failures(make: Make) -> None:
    optimizer = make(SPACE, GOALS)
    for number in range(40):
        work = ask(optimizer, number)[0]
        assert work.parents == ()
        optimizer.tell(Trial(number, work.genome, "failed", failure=Failure("exception", "always")))


def test_on_a_plateau_and_with_one_goal(make: Make) -> None:
    flat = make(SPACE, GOALS)
    single = make(SPACE, (Goal("error"),))
    for number in range(60):
        work = ask(flat, number)[0]
        same = {Key("error"): Value(1.0), Key("reward"): Value(2.0), Key("size"): Value(3.0)}
        flat.tell(Trial(number, work.genome, "complete", work.parents, values=same))
        work = ask(single, number)[0]
        single.tell(Trial(number, work.genome, "complete", values={Key("error"): Value(number % 7 / 2)}))


def test_huge_values_do_no_harm(make: Make) -> None:
    optimizer = make(SPACE, GOALS)
    with np.errstate(invalid="raise", divide="raise"):
        for number in range(40):
            work = ask(optimizer, number)[0]
            assert all(not isinstance(v, float) or math.isfinite(v) for v in work.genome.values())
            values = {
                Key("error"): Value(10.0 ** (number % 30)),
                Key("reward"): Value(-1e-30 * number),
                Key("size"): Value(float(number % 12)),
            }
            optimizer.tell(Trial(number, work.genome, "complete", work.parents, values=values))


LEARNERS = sorted(set(EXAMPLES) - {"random"})


@pytest.mark.parametrize("name", LEARNERS)
def test_learns(name: str) -> None:
    """Better than sampling, on goals of which one is to be maximised, at the same number of trials."""

    def quality(make: Make) -> float:
        goals = (Goal("error"), Goal("reward", "max"))
        space = from_mapping({f"x{i}": {"float": [0.0, 1.0]} for i in range(6)})
        total = 0.0
        for seed in range(3):
            optimizer = make(space, goals)
            trials = []
            for number in range(100):
                work = optimizer.ask(1, generator(seed, number))[0]
                x = [work.genome[f"x{i}"] for i in range(6)]
                rest = sum(x[1:]) / 5
                values = {Key("error"): Value(x[0] + rest), Key("reward"): Value(x[0] ** 0.5 - rest)}
                trials.append(Trial(number, work.genome, "complete", work.parents, values=values))
                optimizer.tell(trials[-1])
            table, _, _ = pareto.points(trials, goals)
            total += pareto.hypervolume(table, [2.0, 1.0])
        return total

    assert quality(EXAMPLES[name]) > 1.1 * quality(EXAMPLES["random"])


@pytest.mark.parametrize("name", LEARNERS)
def test_feasible_ones_are_preferred_as_parents(name: str) -> None:
    """Where half of the candidates are beyond a limit, parents come from within it (Deb's rule)."""
    goals = (Goal("error"), Goal("size", max=4.0, stage="preview", ranked=False))
    optimizer = EXAMPLES[name](SPACE, goals)
    states: dict[int, str] = {}
    parents: list[int] = []
    for number in range(80):
        work = ask(optimizer, number)[0]
        size = Value(float(work.genome["a"]))
        if size.mean > 4.0:
            trial = Trial(number, work.genome, "rejected", work.parents, values={Key("size"): size})
        else:
            values = {Key("size"): size, Key("error"): Value(float(work.genome["b"]))}
            trial = Trial(number, work.genome, "complete", work.parents, values=values)
        states[number] = trial.state
        if number >= 40:
            parents += work.parents
        optimizer.tell(trial)
    rejected = sum(states[parent] == "rejected" for parent in parents)
    assert rejected == 0
    asked_beyond = sum(states[number] == "rejected" for number in range(40, 80))
    assert asked_beyond < 30
