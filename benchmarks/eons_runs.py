"""The searches of `benchmarks.eons`: each function is one run with one seed, in this process, and returns one
row.

All of them go through `vilfredo.search`, with a store on disk, as a user's search does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vilfredo
from vilfredo.trial import Trial

Row = dict[str, Any]

STEPS = 15_000  # the full goal: five minutes
FRESH = 10  # episodes in which it must be reached
VARIATION = {"use": "gaussian", "sd": 0.1}  # weights vary by 10 %
FULL_GOAL = {"starting_edges": 20}  # the space of the search for the full goal
# Less pressure than the default of 0.1, with which a quarter of the seeds stagnates for long.
GENTLE = {"tournament_size_factor": 0.02}
ENCODER = {"use": "flip_flop", "spikes": 8, "interval": 3}
WINDOW = 24
# RISP 127 with delays up to 15: every network that is found runs on RISP 127, whose delays go to 127, but
# most of such delays outlast the window of a step.
PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "risp": {"use": "risp", "max_delay": 15},
    "danna2": {"use": "danna2"},
    "mrdanna": {"use": "mrdanna"},
}


@dataclass(frozen=True)
class Sizes:
    """How long the searches are."""

    limit: float = 300.0  # s until a search for the full goal is given up
    generations: int = 60  # of the other searches
    population: int = 100
    control_steps: int = 1_000  # of an episode in `multi`
    copies: int = 12  # perturbed copies of a network in a search
    test_copies: int = 100
    test_steps: int = STEPS


QUICK = Sizes(
    limit=20, generations=2, population=20, control_steps=50, copies=3,
    test_copies=4, test_steps=60,
)  # fmt: skip


def task(name: str, seed: int) -> dict[str, Any]:
    """A classification is split by the seed."""
    if name == "cartpole":
        return {"use": "cartpole", "setting": "easy"}
    return {"use": name, "seed": seed}


def spec(
    name: str,
    processor: str,
    goals: Mapping[str, Any],
    seed: int,
    budget: str,
    *,
    space: Mapping[str, Any] | None = None,
    problem: Mapping[str, Any] | None = None,
    optimizer: Mapping[str, Any] | None = None,
    executor: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "name": f"{name} {processor} {seed}",
        "budget": budget,
        "confirm": 0,  # the tests are the benchmark's own
        "seed": seed,
        "problem": {
            "use": "spiking",
            "task": task(name, seed),
            "processor": dict(PROCESSORS[processor]),
            "encoder": dict(ENCODER),
            "decoder": "winner_takes_all",
            "window": WINDOW,
            **(problem or {}),
        },
        "space": {"use": "spiking", "num_mutations": 3, **(space or {})},
        "goals": dict(goals),
        "optimizer": {"use": "eons", **(optimizer or {})},
        "executor": {"use": "inline", **(executor or {})},
    }


# -- the full goal ------------------------------------------------------------------------------------


def full_goal(seed: int, sizes: Sizes) -> Row:
    """Until the first network that keeps the pole up for the full time in each of `FRESH` fresh episodes.

    The search measures each network in `FRESH` episodes of the full time, other ones in every generation.
    Who never falls there is tested, once, in the fresh ones, which follow from the seed and which no search
    sees.
    """
    began = time.perf_counter()
    given = spec(
        "cartpole",
        "risp",
        {"reward": {}},
        seed,
        f"{sizes.limit:g}s",
        space=FULL_GOAL,
        problem={"episodes": FRESH, "steps": sizes.test_steps},
        optimizer={**GENTLE, "population_size": 2 * sizes.population, "renew": 1},
        executor={"batch": 2 * sizes.population},
    )
    row: Row = {"reached": 0.0, "networks": 0, "generations": 0, "tested": 0}
    with (
        tempfile.TemporaryDirectory(prefix="eons") as folder,
        vilfredo.search(given, store=Path(folder) / "runs.db") as study,
    ):
        problem: Any = study.parts.problem
        done: set[int] = set()  # elites come again, measured in other episodes
        for trial in study:
            row["networks"] = max(row["networks"], trial.number + 1)
            row["generations"] = max(row["generations"], (trial.generation or 0) + 1)
            if trial.number in done or reward(trial) < sizes.test_steps:
                continue
            done.add(trial.number)
            row["tested"] += 1
            network = problem.network(trial.genome)
            score = problem.scores([network], "test", resilient=False)[0]
            if score.clean.min() >= sizes.test_steps:
                row |= {"reached": 1.0, "neurons": network.size, "synapses": len(network.source)}
                break
        row["seconds"] = time.perf_counter() - began
    return row


def reward(trial: Trial) -> float:
    """In the latest episodes that it was measured in."""
    value = trial.value("reward")
    return -np.inf if value is None else value.mean


def changed(study: Any, **options: Any) -> Any:
    """The study's problem with other options: how it is measured, not what is searched."""
    from vilfredo.spec import Spec, build

    given = study.run.spec
    table = {**given, "problem": {**given["problem"], **options}}
    return build(Spec.from_json(table)).problem


# -- searches of a fixed length -------------------------------------------------------------------------


def evolve(given: Mapping[str, Any], generations: int) -> tuple[list[Trial], Any, float]:
    """All trials of so many generations that were measured, the study's problem, and the seconds it took."""
    began = time.perf_counter()
    population = given["optimizer"].get("population_size", 100)
    with tempfile.TemporaryDirectory(prefix="eons") as folder:
        whole = {**given, "budget": population * generations}
        with vilfredo.search(whole, store=Path(folder) / "runs.db") as study:
            for _ in study:
                pass
            trials = [trial for trial in study.trials() if trial.state == "complete"]
            return trials, study, time.perf_counter() - began


def numbers(trial: Trial, goals: Sequence[str]) -> dict[str, float]:
    return {name: value.mean for name in goals if (value := trial.value(name)) is not None}


def tested(problem: Any, trials: Sequence[Trial]) -> list[Row]:
    """What networks come to on the test split, with perturbations that no search has seen.

    `clean` is the score (reward as a share of the steps, or share of right answers), `faulty` its mean over
    the perturbed copies, `q05` and `worst` the same of their 5 % quantile and worst.
    """
    from vilfredo.spiking.resilience import resilience

    networks = [problem.network(trial.genome) for trial in trials]
    unit = float(problem.setup.steps) if problem.setup.control else 1.0
    rows = []
    for network, score in zip(networks, problem.scores(networks, "test"), strict=True):
        found = resilience(score.faulty / unit)
        rows.append(
            {
                "neurons": network.size,
                "synapses": len(network.source),
                "clean": float(score.clean.mean()) / unit,
                "faulty": float(found.mean),
                "q05": float(found.q05),
                "worst": float(found.worst),
                "synops": score.synops,
            }
        )
    return rows


def front(seed: int, sizes: Sizes) -> Row:
    """CartPole on RISP: the front of synapses against `resilience_q05`, over the full time.

    What stands for 3,000 steps need not stand for 15,000, so the search is over the full time, too.
    """
    goals = {"synapses": {}, "resilience_q05": {"min": sizes.test_steps / 20}}
    given = spec(
        "cartpole",
        "risp",
        goals,
        seed,
        "1",
        space=FULL_GOAL,
        problem={
            "faults": dict(VARIATION),
            "copies": sizes.copies,
            "episodes": 2,
            "copy_episodes": 2,
            "steps": sizes.test_steps,
        },
        optimizer={"population_size": sizes.population, "selection": "pareto", "num_best": 20},
    )
    trials, study, seconds = evolve(given, sizes.generations)
    from vilfredo import pareto

    members = pareto.front(trials, study.goals)
    first: dict[float, Trial] = {}
    for trial in members:  # of one size the most resilient; equals are equals
        first.setdefault(numbers(trial, ["synapses"])["synapses"], trial)
    kept = list(first.values())
    problem = changed(study, copies=sizes.test_copies, episodes=FRESH, copy_episodes=3)
    points = tested(problem, kept)
    for point, trial in zip(points, kept, strict=True):
        point["search_q05"] = numbers(trial, ["resilience_q05"])["resilience_q05"] / sizes.test_steps
    return {"points": points, "seconds": seconds}


# -- accuracy alone, or size and resilience too ---------------------------------------------------------

CONDITIONS = ("single", "multi")
# What one synapse and the mean score under faults count in the fitness of `multi`; a perfect score is 1.
SYNAPSE = {"control": 0.002, "classification": 0.001}
RESILIENCE = 1.0


def weights(condition: str, control: bool, steps: int) -> dict[str, float]:
    """The coefficients in the units of the goals: rewards are in steps."""
    score = "reward" if control else "error"
    if condition == "single":
        return {score: 1.0}
    synapse = SYNAPSE["control"] * steps if control else SYNAPSE["classification"]
    return {score: 1.0, "synapses": synapse, "resilience_mean": RESILIENCE}


def compared(processor: str, name: str, condition: str, seed: int, sizes: Sizes) -> Row:
    """One search by weighted fitness, and the test of the network with the best fitness of all.

    Both conditions measure as many networks. Networks are pruned before anything is counted or run
    (`Spiking(prune=True)`), so that those of accuracy alone are counted without their dead parts.
    """
    control = name == "cartpole"
    coefficients = weights(condition, control, sizes.control_steps)
    problem: dict[str, Any] = {"faults": dict(VARIATION), "copies": sizes.copies}
    if control:
        problem |= {"episodes": FRESH, "copy_episodes": 5, "steps": sizes.control_steps}
    goals: dict[str, Any] = {goal: {} for goal in (*coefficients, "synapses")}
    given = spec(
        name,
        processor,
        goals,
        seed,
        "1",
        space={"starting_edges": 20} if control else {},
        problem=problem,
        optimizer={"population_size": sizes.population, "weights": coefficients},
    )
    trials, study, seconds = evolve(given, sizes.generations)
    signs = {goal.name: 1.0 if goal.sense == "max" else -1.0 for goal in study.goals}

    def fitness(trial: Trial) -> float:
        values = numbers(trial, list(coefficients))
        return sum(signs[goal] * c * values[goal] for goal, c in coefficients.items())

    best = max(trials, key=fitness)  # of equals the first that was found
    same = {"copy_episodes": FRESH} if control else {}  # faulty copies play what the network itself plays
    row = tested(changed(study, copies=sizes.test_copies, **same), [best])[0]
    row["search"] = numbers(best, ["reward" if control else "error"])["reward" if control else "error"]
    row["seconds"] = seconds
    return row


# -- beside scikit-learn ----------------------------------------------------------------------------------


def classification(name: str, seed: int, sizes: Sizes) -> Row:
    """Test accuracy of an evolved network on RISP, and of two of scikit-learn's on the same split."""
    row = compared("risp", name, "multi", seed, sizes)
    return {**row, **peers(name, seed)}


def peers(name: str, seed: int) -> Row:
    """Logistic regression and an MLP (one layer of 64), on features scaled by the search split."""
    import warnings

    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from vilfredo.spec import names

    samples = names.find("task", name)(seed=seed)
    (x, y), (unseen, truth) = samples.samples("search"), samples.samples("test")
    found = {}
    for label, model in (
        ("logistic", LogisticRegression(max_iter=5_000)),
        ("mlp", MLPClassifier((64,), max_iter=5_000, random_state=seed)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = make_pipeline(StandardScaler(), model).fit(x, y)
        found[label] = float(fitted.score(unseen, truth))
    return found
