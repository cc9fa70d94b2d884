"""How good a front after 200 evaluations is: our optimizers beside Optuna's and pymoo's.

The figure is hypervolume over that of the true front, in the box from the ideal corner of the true front
to 10 % of its extent beyond its nadir (`landscapes.landscape`; fixed, the same for everybody). Every
optimizer gets the same numbers of seeds and evaluations and one setting for all landscapes; where an
optimizer proposes a genome again, that costs it an evaluation.

`hv200.<name>` and `hv100.<name>` are means over seeds on the NAS-Bench-Macro table, error against FLOPs;
`other.<landscape>.<name>` are means after all evaluations on other landscapes: other goals and tables, and
smooth, disconnected, multimodal, deceptive and rugged functions. `evals_to_match_optuna_nsga2` is the
median, over seeds, of the number of evaluations after which `steady` has what Optuna's NSGA-II has on
average at the end.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.landscapes import LANDSCAPES, Array, Landscape
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.random import Random
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Optimizer
from vilfredo.seeds import generator
from vilfredo.trial import Key, Trial, Value

POPULATION = 20


def ours(make: Callable[..., Optimizer]) -> Callable[[Landscape, int, int], Array]:
    """One of our optimizers with its defaults, asked one by one as the search does it. Points (n, m)."""

    def run(landscape: Landscape, seed: int, evaluations: int) -> Array:
        optimizer = make(landscape.space, landscape.ranked)
        points = []
        for number in range(evaluations):
            asked = optimizer.ask(1, generator(seed, "ask", number))
            if not asked:  # the space is exhausted
                break
            point = landscape.evaluate(asked[0].genome)
            values = {Key(goal): Value(float(v)) for goal, v in zip(landscape.goals, point, strict=True)}
            optimizer.tell(
                Trial(
                    number,
                    asked[0].genome,
                    "complete",
                    asked[0].parents,
                    generation=asked[0].generation,
                    values=values,
                )
            )
            points.append(point)
        return np.array(points)

    return run


def optuna(sampler: Callable[[Any, int], Any]) -> Callable[[Landscape, int, int], Array]:
    def run(landscape: Landscape, seed: int, evaluations: int) -> Array:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        points = []

        def objective(trial: Any) -> tuple[float, ...]:
            genome = {}
            for name, item in landscape.parameters.items():
                if "int" in item:
                    genome[name] = trial.suggest_int(name, *item["int"])
                elif "float" in item:
                    genome[name] = trial.suggest_float(name, *item["float"])
                else:
                    genome[name] = trial.suggest_categorical(name, item["choice"])
            points.append(landscape.evaluate(genome))
            return points[-1]

        directions = ["minimize"] * len(landscape.goals)
        study = optuna.create_study(directions=directions, sampler=sampler(optuna.samplers, seed))
        study.optimize(objective, n_trials=evaluations)
        return np.array(points)

    return run


def pymoo(landscape: Landscape, seed: int, evaluations: int) -> Array:
    """pymoo's NSGA-II: integer (or index) coded variables are sampled, crossed and mutated as integers."""
    from pymoo.algorithms.moo.nsga2 import NSGA2 as Algorithm
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import FloatRandomSampling, IntegerRandomSampling
    from pymoo.optimize import minimize

    names = list(landscape.parameters)
    items = list(landscape.parameters.values())
    real = all("float" in item for item in items)
    bounds = [item.get("float") or item.get("int") or [0, len(item["choice"]) - 1] for item in items]
    points: list[tuple[float, ...]] = []

    class Table(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            low, high = zip(*bounds, strict=True)
            kind = float if real else int
            super().__init__(n_var=len(names), n_obj=len(landscape.goals), xl=low, xu=high, vtype=kind)

        def _evaluate(self, x: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            genome = {
                name: float(v) if "float" in item else item["choice"][int(v)] if "choice" in item else int(v)
                for name, item, v in zip(names, items, x, strict=True)
            }
            points.append(landscape.evaluate(genome))
            out["F"] = list(points[-1])

    if real:
        operators = {"sampling": FloatRandomSampling(), "crossover": SBX(), "mutation": PM()}
    else:
        operators = {
            "sampling": IntegerRandomSampling(),
            "crossover": SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            "mutation": PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        }
    algorithm = Algorithm(pop_size=POPULATION, eliminate_duplicates=True, **operators)
    minimize(Table(), algorithm, ("n_eval", evaluations), seed=seed, verbose=False)
    return np.array(points[:evaluations])


RUNNERS: Mapping[str, Callable[[Landscape, int, int], Array]] = {
    "steady": ours(Steady),
    "nsga2": ours(NSGA2),
    "random": ours(Random),
    "optuna_nsga2": optuna(lambda s, seed: s.NSGAIISampler(population_size=POPULATION, seed=seed)),
    "optuna_tpe": optuna(lambda s, seed: s.TPESampler(multivariate=True, seed=seed)),
    "pymoo_nsga2": pymoo,
}


def job(task: tuple[str, str, int, int]) -> tuple[str, str, int, Array, float]:
    """One run: quality after each evaluation (padded with the last where a run ended early), seconds."""
    name, runner, seed, evaluations = task
    landscape = LANDSCAPES[name]()
    began = time.perf_counter()
    points = RUNNERS[runner](landscape, seed, evaluations)
    seconds = time.perf_counter() - began
    curve = landscape.progress(points)
    return name, runner, seed, np.pad(curve, (0, evaluations - len(curve)), mode="edge"), seconds


def figures(seeds: int, other_seeds: int, evaluations: int, processes: int) -> dict[str, float]:
    tasks = [
        (name, runner, seed, evaluations)
        for name in LANDSCAPES
        for runner in RUNNERS
        for seed in range(seeds if name == "macro" else other_seeds)
    ]
    curves: dict[tuple[str, str], dict[int, Array]] = {}
    seconds: dict[str, list[float]] = {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for name, runner, seed, curve, took in pool.imap_unordered(job, tasks, chunksize=2):
            curves.setdefault((name, runner), {})[seed] = curve
            seconds.setdefault(runner, []).append(took)
    found: dict[str, float] = {"seeds": seeds, "other_seeds": other_seeds, "evaluations": evaluations}
    for runner in RUNNERS:
        table = np.array([curve for _, curve in sorted(curves["macro", runner].items())])
        found[f"hv{evaluations}.{runner}"] = table[:, -1].mean()
        found[f"hv{evaluations}.{runner}.sd"] = table[:, -1].std(ddof=1) if len(table) > 1 else 0.0
        found[f"hv{evaluations}.{runner}.min"] = table[:, -1].min()
        found[f"hv{evaluations // 2}.{runner}"] = table[:, evaluations // 2 - 1].mean()
        found[f"seconds_per_run.{runner}"] = float(np.mean(seconds[runner]))
    target = found[f"hv{evaluations}.optuna_nsga2"]
    needed = [
        int(np.argmax(c >= target)) + 1 if (c >= target).any() else np.inf
        for c in curves["macro", "steady"].values()
    ]
    found["evals_to_match_optuna_nsga2"] = float(np.median(needed))
    for name in LANDSCAPES:
        if name != "macro":
            for runner in RUNNERS:
                ends = [curve[-1] for curve in curves[name, runner].values()]
                found[f"other.{name}.{runner}"] = float(np.mean(ends))
    return {key: float(value) for key, value in found.items()}


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--other-seeds", type=int, default=10, help="on the other landscapes")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 20))
    options = parser.parse_args()
    report.write(
        options.json, figures(options.seeds, options.other_seeds, options.evaluations, options.processes)
    )


if __name__ == "__main__":
    # The processes of the pool take over the environment: one thread of BLAS each.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    main()
