"""What an optimizer itself costs per trial: one `ask` and one `tell`, with a full population."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable

import numpy as np

from benchmarks import report
from vilfredo.goal import Goal
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.random import Random
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Optimizer, Work
from vilfredo.seeds import generator
from vilfredo.spaces.parameters import from_mapping
from vilfredo.trial import Key, Trial, Value

POPULATION = 1_000
GOALS = ("error", "latency", "parameters", "energy")
SPACE = {
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "momentum": {"float": [0.0, 0.99]},
    "width": {"int": [8, 512], "log": True},
    "depth": {"int": [1, 12]},
    "kernel": {"choice": [1, 3, 5, 7]},
    "activation": {"choice": ["relu", "tanh", "sigmoid"]},
    "dropout": {"float": [0.0, 0.7]},
    "batch": {"int": [16, 256], "log": True},
}


def measure(genome: dict[str, float]) -> tuple[float, ...]:
    """Four goals that conflict, as those of networks do."""
    size = genome["width"] ** 2 * genome["depth"] * genome["kernel"]
    error = 1 / np.log(size + 2) + 0.1 * (np.log10(genome["learning_rate"]) + 2.5) ** 2
    error += 0.1 * abs(genome["dropout"] - 0.2) + 0.05 * abs(genome["momentum"] - 0.9)
    latency = genome["depth"] * (1 + genome["kernel"]) * (1 + genome["width"] / 64) / genome["batch"]
    return float(error), float(latency), float(size), float(size / genome["batch"] + genome["width"] ** 1.5)


def milliseconds(
    make: Callable[..., Optimizer], population: int = POPULATION, trials: int = 1_000, workers: int = 16
) -> list[float]:
    """Milliseconds of every ask + tell, for `trials` of them after the first 1.1 populations.

    `workers` candidates are in evaluation at any time. Seed 0.
    """
    space = from_mapping(SPACE)
    optimizer = make(space, [Goal(name) for name in GOALS], population=population)
    running: list[tuple[int, Work]] = []
    spent = []
    for number in range(population + population // 10 + trials):
        rng = generator(0, "ask", number)
        began = time.perf_counter()
        asked = optimizer.ask(1, rng, [work for _, work in running])
        seconds = time.perf_counter() - began
        while not asked:  # a synchronous optimizer waits for its generation
            optimizer.tell(evaluated(*running.pop(0)))
            asked = optimizer.ask(1, rng, [work for _, work in running])
        running.append((number, asked[0]))
        if len(running) > workers:
            trial = evaluated(*running.pop(0))
            began = time.perf_counter()
            optimizer.tell(trial)
            seconds += time.perf_counter() - began
        spent.append(1e3 * seconds)
    return spent[-trials:]


def evaluated(number: int, work: Work) -> Trial:
    points = measure(dict(work.genome))
    values = {Key(name): Value(value) for name, value in zip(GOALS, points, strict=True)}
    return Trial(
        number,
        work.genome,
        "complete",
        work.parents,
        work.operator,
        generation=work.generation,
        values=values,
    )


def ms_per_trial() -> float:
    """Mean milliseconds of ask + tell of `steady` with a population of 1,000 and four goals."""
    return float(np.mean(_apart("steady", POPULATION, 1_000)))


MAKERS: dict[str, Callable[..., Optimizer]] = {
    "steady": Steady,
    "nsga2": NSGA2,
    "random": lambda space, goals, population: Random(space, goals),
}


def _named(name: str, population: int, trials: int) -> list[float]:
    return milliseconds(MAKERS[name], population, trials)


def _apart(name: str, population: int, trials: int) -> list[float]:
    """`milliseconds` in a process of its own, with one thread of BLAS: more fight over small matrices."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_named, (name, population, trials))
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before


def figures() -> dict[str, float]:
    """`ask_tell_ms_per_trial` (of `steady`, the default) with its median and 99th percentile, and others'."""
    found = {}
    for name in MAKERS:
        spent = _apart(name, POPULATION, 1_000)
        found[f"ask_tell_ms_per_trial.{name}"] = float(np.mean(spent))
        found[f"ask_tell_ms_per_trial.{name}.median"] = float(np.median(spent))
        found[f"ask_tell_ms_per_trial.{name}.p99"] = float(np.quantile(spent, 0.99))
    found["ask_tell_ms_per_trial.steady_population_20"] = float(np.mean(_apart("steady", 20, 500)))
    return {"ask_tell_ms_per_trial": found["ask_tell_ms_per_trial.steady"], **found}


if __name__ == "__main__":
    options = report.arguments(__doc__).parse_args()
    report.write(options.json, figures())
