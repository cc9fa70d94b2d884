"""Fashion-MNIST, the same wall time and the same training code: our search against Optuna's NSGA-II.

Both sides search `Chain` with two processes on two cores: 10,000 training images, three epochs a network
of at most one million MACs, so that five minutes hold some hundred networks (of at most four million, a
first seed on a busy machine held 17 and 33), goals error, latency and parameters. Each seed runs both,
one after the other; the order alternates. What is trained and measured is `Supervised`, through
`vilfredo.evaluation`, on both sides.

* Ours is `vilfredo.search` as it comes (optimizer `steady`, executor `local`).
* Optuna has its own way: two processes on one study in a journal file, `NSGAIISampler(population_size=20)`.
  Its relative sampling knows only parameters that all trials have (`IntersectionSearchSpace`), so that
  conditional ones are always drawn at random; `--encoding flat`, the default, therefore suggests the
  parameters of all layer slots every time, whether used or not, and crossover works on all of them.
  `--encoding conditional` is the textbook define-by-run. Its first population are the very networks that
  ours starts with (`--start uniform`: Optuna draws them itself, and many of those hardly train).

A trial counts if it ended within the time, on both sides. The two fronts are then judged alike: latency
is measured again on the quiet machine, members of both fronts mixed, and error on the test set is measured
on the trained networks. Hypervolume is that of (error, log10 latency, log10 parameters) below the
fixed reference (0.5, 5 ms, 1,000,000), over the box that has its other corner at (0, 10 µs, 100):
sizes and times are compared by their ratios. `*_linear` are without the logarithms, for comparison.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from vilfredo import artifacts, pareto
from vilfredo.protocols import Task, Work
from vilfredo.seeds import derive, generator
from vilfredo.trial import Artifact, Genome, Key, Trial, Value

GOALS = ("error", "latency", "parameters")
REFERENCE = (0.5, 5e-3, 1e6)
IDEAL = (0.0, 1e-5, 1e2)
POPULATION = 20
MAX_MACS = 1_000_000
WORKERS = 2
SIDES = ("vilfredo", "optuna_nsga2")


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="wall time of each side, per seed")
    parser.add_argument("--seeds", type=int, default=5, help="paired repetitions")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--train-size", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--encoding", choices=("flat", "conditional"), default="flat")
    parser.add_argument("--start", choices=("chain", "uniform"), default="chain")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"

    problem = make_problem(options.train_size, options.epochs)
    rows: list[dict[str, dict[str, float]]] = []
    for index in range(options.seeds):
        seed = options.first_seed + index
        rows.append(compare(problem, seed, options.minutes * 60, options.encoding, options.start))
        for side, row in rows[-1].items():
            shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
            print(f"seed {seed}  {side:13} {shown}", flush=True)
    figures: dict[str, float | str] = {
        "minutes": options.minutes,
        "seeds": options.seeds,
        "train_size": options.train_size,
        "epochs": options.epochs,
        "optuna.encoding": options.encoding,
        "optuna.start": options.start,
    }
    report.write(options.json, figures | summarise(rows, options.first_seed))


def make_problem(train_size: int, epochs: int) -> Any:
    from vilfredo.data import fashion_mnist
    from vilfredo.problems.supervised import Supervised
    from vilfredo.spaces.chain import Chain

    data = fashion_mnist.load(train_size=train_size, test_size=5_000)
    return Supervised(data, Chain(max_macs=MAX_MACS), goals=GOALS, epochs=epochs)


def compare(
    problem: Any, seed: int, seconds: float, encoding: str, start: str
) -> dict[str, dict[str, float]]:
    """One seed: both sides, one after the other, then both fronts judged together."""
    order = SIDES if seed % 2 == 0 else SIDES[::-1]
    with tempfile.TemporaryDirectory(prefix="demo_quality") as folder:
        found: dict[str, list[Trial]] = {}
        for side in order:
            place = Path(folder) / side
            place.mkdir()
            if side == "vilfredo":
                found[side] = run_vilfredo(problem, seed, seconds, place)
            else:
                found[side] = run_optuna(problem, seed, seconds, place, encoding, start)
        fronts = {side: pareto.front(trials, problem.goals) for side, trials in found.items()}
        judged = judge(problem, fronts, seed)
    rows = {}
    for side in SIDES:
        table = np.array(judged[side]).reshape(-1, 4)
        validation, test = table[:, [0, 2, 3]], table[:, [1, 2, 3]]
        rows[side] = {
            "hv": hypervolume(validation),
            "hv_test": hypervolume(test),
            "hv_linear": hypervolume(validation, linear=True),
            "hv_test_linear": hypervolume(test, linear=True),
            "trials": float(sum(t.state == "complete" for t in found[side])),
            "front": float(len(table)),
            "best_error": float(table[:, 0].min()) if len(table) else 1.0,
            "best_test_error": float(table[:, 1].min()) if len(table) else 1.0,
        }
    return rows


def hypervolume(points: pareto.Array, linear: bool = False) -> float:
    """Share of the box between `IDEAL` and `REFERENCE` that the points (n, 3) dominate."""
    reference, ideal = np.array(REFERENCE), np.array(IDEAL)
    if linear:
        ideal = np.zeros(3)
    else:
        points = np.column_stack([points[:, :1], np.log10(points[:, 1:])])
        reference[1:], ideal[1:] = np.log10(reference[1:]), np.log10(ideal[1:])
    return pareto.hypervolume((points - ideal) / (reference - ideal), np.ones(3))


def summarise(rows: Sequence[Mapping[str, Mapping[str, float]]], first_seed: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for kind in rows[0][SIDES[0]]:
        for side in SIDES:
            figures |= report.summary(f"{kind}.{side}", [row[side][kind] for row in rows])
            for index, row in enumerate(rows):
                figures[f"{kind}.{side}.seed{first_seed + index}"] = row[side][kind]
    for kind in ("hv", "hv_test", "hv_linear", "hv_test_linear"):
        ours, theirs = ([row[side][kind] for row in rows] for side in SIDES)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b > 0]
        figures |= report.summary(kind.replace("hv", "ratio", 1), ratios)
    return figures


# -- the two sides ----------------------------------------------------------------------------------


def run_vilfredo(problem: Any, seed: int, seconds: float, folder: Path) -> list[Trial]:
    """The trials that our search finished within the time; starting its workers is part of it."""
    import vilfredo

    study = vilfredo.search(
        problem,
        budget=f"{seconds}s",
        workers=WORKERS,
        store=folder / "runs.db",
        seed=seed,
        confirm=0,
    )
    for _ in study:
        pass
    return [trial for trial in study.trials() if trial.told_at <= seconds]


def run_optuna(
    problem: Any, seed: int, seconds: float, folder: Path, encoding: str, start: str
) -> list[Trial]:
    """The trials that Optuna's two processes finished within the time, counted from when both are ready."""
    import optuna

    journal, name = str(folder / "journal.log"), f"seed{seed}"
    study = optuna.create_study(
        study_name=name, storage=_storage(journal), directions=["minimize"] * len(GOALS)
    )
    if start == "chain":
        for genome in first_genomes(problem, seed):
            study.enqueue_trial(parameters_of(genome))
    spawn = multiprocessing.get_context("spawn")
    ready, go = spawn.Semaphore(0), spawn.Event()
    workers = [
        spawn.Process(
            target=_optuna_worker,
            args=(problem, journal, name, derive(seed, "worker", number), seed, seconds, folder, encoding),
            kwargs={"ready": ready, "go": go},
        )
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    began = datetime.now()
    go.set()
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, deadline + 1 - time.monotonic()))
    failed = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
    for worker in workers:  # what it is training now would count no more
        if worker.is_alive():
            worker.kill()
            worker.join()
    if failed:
        raise RuntimeError(f"an Optuna worker ended with exit code {failed[0]}")
    last = began + timedelta(seconds=seconds)
    trials = []
    for trial in optuna.load_study(study_name=name, storage=_storage(journal)).get_trials(deepcopy=False):
        done = trial.state == optuna.trial.TrialState.COMPLETE and trial.datetime_complete is not None
        if done and trial.datetime_complete <= last:
            trials.append(_as_trial(trial, seed))
    return trials


def first_genomes(problem: Any, seed: int) -> list[Genome]:
    """What our search of this seed asks for before it has been told anything."""
    from vilfredo.optimizers.steady import Steady

    ours = Steady(problem.space, problem.goals)
    return [ours.ask(1, generator(seed, "ask", number))[0].genome for number in range(POPULATION)]


def _storage(journal: str) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return JournalStorage(JournalFileBackend(journal))


def _optuna_worker(
    problem: Any,
    journal: str,
    name: str,
    sampler_seed: int,
    seed: int,
    seconds: float,
    folder: Path,
    encoding: str,
    *,
    ready: Any,
    go: Any,
) -> None:
    import optuna
    import torch

    from vilfredo.evaluation import evaluate

    torch.set_num_threads(1)

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        genome = suggest(trial, problem.space, flat=encoding == "flat")
        task = Task(
            ticket=trial.number,
            work=Work(genome),
            seed=derive(seed, "trial", trial.number, 0),
            folder=str(folder / str(trial.number)),
        )
        outcome = evaluate(problem, task)
        if outcome.state != "complete" or outcome.artifact is None:
            raise optuna.TrialPruned(outcome.failure.message if outcome.failure else outcome.state)
        trial.set_user_attr("genome", genome)
        trial.set_user_attr("artifact", [outcome.artifact.path, outcome.artifact.epoch])
        means = {key.goal: value.mean for key, value in outcome.values.items()}
        return tuple(means[goal] for goal in GOALS)

    sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=sampler_seed % 2**32)
    study = optuna.load_study(study_name=name, storage=_storage(journal), sampler=sampler)
    ready.release()
    go.wait()
    study.optimize(objective, timeout=seconds)


def _as_trial(trial: Any, seed: int) -> Trial:
    path, epoch = trial.user_attrs["artifact"]
    return Trial(
        number=trial.number,
        genome=trial.user_attrs["genome"],
        state="complete",
        seed=derive(seed, "trial", trial.number, 0),
        values={Key(goal): Value(mean) for goal, mean in zip(GOALS, trial.values, strict=True)},
        artifact=Artifact(path, epoch),
    )


# -- Chain's genome as parameters of Optuna -----------------------------------------------------------

AXES = ("h", "w")
USES: Mapping[str, tuple[str, ...]] = {
    "conv": ("filters", "kernel", "stride", "padding"),
    "max_pool": ("pool", "pool_stride"),
    "avg_pool": ("pool", "pool_stride"),
    "dense": ("units",),
    "dropout": ("rate",),
}


def suggest(trial: Any, space: Any, flat: bool) -> Genome:
    """A genome of `space` from parameters; `flat`: all that any layer might have, in every trial."""
    count = trial.suggest_int("layers", space.min_layers, space.max_layers)
    slots = space.max_layers if flat else count
    layers = [_suggest_layer(trial, space, slot, flat) for slot in range(slots)]
    training = {"optimizer": trial.suggest_categorical("optimizer", space.optimizers)}
    for name in ("lr", "sgd_lr", "momentum", "weight_decay"):
        if flat or name not in {"adam": ("sgd_lr", "momentum"), "sgd": ("lr",)}[training["optimizer"]]:
            training[name] = trial.suggest_float(name, *getattr(space, name), log=name != "momentum")
    training["batch_size"] = trial.suggest_categorical("batch_size", space.batch_sizes)
    training["schedule"] = trial.suggest_categorical("schedule", space.schedules)
    return {"layers": layers[:count], "training": training}


def _suggest_layer(trial: Any, space: Any, slot: int, flat: bool) -> dict[str, Any]:
    choices = {
        "filters": space.filters,
        "kernel": space.kernels,
        "stride": space.strides,
        "padding": tuple(range(max(space.kernels) // 2 + 1)),  # decoding cuts it to half the kernel
        "pool": space.pools,
        "pool_stride": tuple(sorted({*space.strides, *space.pools})),
        "units": space.units,
        "rate": space.rates,
    }
    op = trial.suggest_categorical(f"{slot}.op", space.ops)
    gene: dict[str, Any] = {"op": op}
    for name, values in choices.items():
        used = name in USES.get(op, ())
        if not (used or flat):
            continue
        if name in ("filters", "units", "rate"):
            value: Any = trial.suggest_categorical(f"{slot}.{name}", values)
        else:
            value = [trial.suggest_categorical(f"{slot}.{name}.{axis}", values) for axis in AXES]
        if used:
            gene[{"pool": "kernel", "pool_stride": "stride"}.get(name, name)] = value
    return gene


def parameters_of(genome: Genome) -> dict[str, Any]:
    """The parameters from which `suggest` makes this genome; those it does not use are left open."""
    found: dict[str, Any] = {"layers": len(genome["layers"]), **genome["training"]}
    for slot, gene in enumerate(genome["layers"]):
        found[f"{slot}.op"] = gene["op"]
        for name in USES.get(gene["op"], ()):
            value = gene[{"pool": "kernel", "pool_stride": "stride"}.get(name, name)]
            if isinstance(value, list):
                found |= {f"{slot}.{name}.{axis}": v for axis, v in zip(AXES, value, strict=True)}
            else:
                found[f"{slot}.{name}"] = value
    return found


# -- the same judge for both ------------------------------------------------------------------------


def judge(
    problem: Any, fronts: Mapping[str, Sequence[Trial]], seed: int
) -> dict[str, list[tuple[float, ...]]]:
    """Each member of the fronts as (validation error, test error, latency, parameters).

    Nothing else computes now. Members are measured in a random order, twice over, the median counts:
    a slow minute of the machine hits both sides alike.
    """
    import torch

    members = [(side, trial) for side, trials in fronts.items() for trial in trials]
    models = [trained_model(problem, trial) for _, trial in members]
    timings: list[list[float]] = [[] for _ in members]
    torch.set_num_threads(1)
    shuffled = list(range(len(members))) * 2
    random.Random(seed).shuffle(shuffled)
    for place in shuffled:
        work = Work(members[place][1].genome, goals=frozenset({"latency"}))
        timings[place].append(problem.measure(work, models[place], seed)["latency"].mean)
    torch.set_num_threads(WORKERS)
    judged: dict[str, list[tuple[float, ...]]] = {side: [] for side in fronts}
    for (side, trial), model, times in zip(members, models, timings, strict=True):
        work = Work(trial.genome, goals=frozenset({"error"}), split="test")
        test = problem.measure(work, model, seed)["error"].mean
        validation, parameters = (trial.value(goal) for goal in ("error", "parameters"))
        assert validation is not None
        assert parameters is not None
        judged[side].append((validation.mean, test, statistics.median(times), parameters.mean))
    return judged


def trained_model(problem: Any, trial: Trial) -> Any:
    assert trial.artifact is not None
    weights, _ = artifacts.read(trial.artifact)
    training = problem.train(Work(trial.genome), trial.seed, weights, {})
    try:
        next(training)
    except StopIteration as end:
        return end.value
    raise ValueError(f"the weights of trial {trial.number} are not of a finished training")


if __name__ == "__main__":
    main()
