"""What inherited weights save: LEMONADE on the space `morph` beside searches that train every network from
nothing, on Fashion-MNIST (2,500 training, 1,000 validation and 1,000 test images).

All train each candidate for the same few epochs in the same way, look at validation images only, and have the
same limits on the error, parameters and multiply-accumulates (MACs), which are the goals.

* `lemonade`: the optimizer and the space as they come, but for limits and the fixed training.
* `scratch`: the same, but children begin with random weights.
* `uniform`: the same as `lemonade`, but parents are drawn evenly from the front and the first child is taken.
* `nsga2`, `steady`, `random`: on the space `chain`.

`hv.<arm>.<epochs>` is a hypervolume on test images after so many epochs, spent on all candidates together:
the front is chosen by validation values and counts with its test error. The box is fixed: errors up to 0.5,
parameters and MACs on a logarithmic scale from `SMALLEST` to the limits; 1 is all of it. `hv2` is the same
for error and parameters alone. Medians over seeds, `.low` and `.high` the range.

`gain.<arm>` is the hypervolume of `lemonade` less that of the arm with the same seed, at the end: mean, with
`.low` and `.high` of the 95 % interval (Student's t); `gain2` the same of `hv2`. `epochs_to_match.<arm>` is
after which share of its epochs `lemonade` has what the arm has at the end (median; above 1: never).
`error_within.<parameters>.<arm>` is the test error of the network of at most so many parameters that is best
on validation images.

Children, of `lemonade` and `scratch`: `beats_chance.<kind>` is the share of them with at least twice the
accuracy of chance on validation images before they are trained at all (`exact` and `approximate` morphisms;
`scratch`: no weights inherited); `begins`, `first_epoch` and `ends` are median accuracies before training,
after the first epoch and at the end, `parents` those of their parents.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from vilfredo import pareto
from vilfredo.data import fashion_mnist
from vilfredo.goal import goal
from vilfredo.nn.build import build
from vilfredo.optimizers.lemonade import Lemonade
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.random import Random
from vilfredo.optimizers.steady import Steady
from vilfredo.problems.inheritance import pass_on
from vilfredo.problems.supervised import Supervised
from vilfredo.protocols import Impossible, Weights, Work
from vilfredo.seeds import derive, generator
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.morph import APPROXIMATE, EXACT, Morph
from vilfredo.trial import Failure, Key, Trial, Value

GOALS = ("error", "parameters", "macs")
LIMITS = {"max_parameters": 100_000, "max_macs": 500_000}
SMALLEST = {"parameters": 100, "macs": 3_000}  # where the box begins
WORST = 0.5  # error
WITHIN = (1_000, 5_000, 20_000, 100_000)  # parameters, for `error_within`
CHANCE = 0.1


class Uniform(Lemonade):
    """Without densities: parents evenly, the first child."""

    def _parents(self, parents: Sequence[int], underway: Any) -> tuple[None, NDArray[np.float64]]:
        return None, np.full(len(parents), 1 / len(parents))


@dataclass(frozen=True)
class Arm:
    optimizer: Callable[..., Any]
    space: Any
    inherits: bool = False


RECIPE: Mapping[str, Any] = {"lr": 5e-3, "weight_decay": 1e-5, "batch_size": 32, "schedule": "cosine"}
MORPH = Morph(tune=False, **LIMITS)
CHAIN = Chain(
    optimizers=("adam",),
    lr=(RECIPE["lr"], RECIPE["lr"]),
    weight_decay=(RECIPE["weight_decay"], RECIPE["weight_decay"]),
    batch_sizes=(RECIPE["batch_size"],),
    schedules=(RECIPE["schedule"],),
    **LIMITS,
)
ARMS: Mapping[str, Arm] = {
    "lemonade": Arm(Lemonade, MORPH, inherits=True),
    "scratch": Arm(Lemonade, MORPH),
    "uniform": Arm(Uniform, MORPH, inherits=True),
    "nsga2": Arm(NSGA2, CHAIN),
    "steady": Arm(Steady, CHAIN),
    "random": Arm(Random, CHAIN),
}


@dataclass(frozen=True)
class Plan:
    """How much is trained."""

    seeds: int = 3
    candidates: int = 32
    epochs: int = 2
    train_size: int = 2_500
    validation_size: int = 1_000
    test_size: int = 1_000


@dataclass(frozen=True)
class Row:
    """One candidate. Accuracies are of validation images; `begins` is before training, NaN where it has no
    parent; `error` and `test` are None where it failed."""

    arm: str
    seed: int
    number: int
    operator: str
    error: float | None
    test: float | None
    parameters: float
    macs: float
    parent: float = float("nan")
    begins: float = float("nan")
    first: float = float("nan")
    seconds: float = 0.0


# -- searches ---------------------------------------------------------------------------------------------


def problem_of(arm: Arm, plan: Plan) -> Supervised:
    data = fashion_mnist.load(
        train_size=plan.train_size, validation_size=plan.validation_size, test_size=plan.test_size
    )
    goals = [goal(GOALS[0], max=WORST), *GOALS[1:]]
    return Supervised(data, arm.space, goals, epochs=plan.epochs, **RECIPE)


def searched(name: str, seed: int, plan: Plan, problem: Supervised) -> list[Row]:
    """All candidates of one search, asked for one by one."""
    arm = ARMS[name]
    optimizer = arm.optimizer(problem.space, problem.goals)
    rows: list[Row] = []
    weights: dict[int, Weights] = {}
    while len(rows) < plan.candidates:
        number = len(rows)
        asked = optimizer.ask(1, generator(seed, "ask", number))
        if not asked:
            break
        work: Work = asked[0]
        parents = {n: weights[n] for n in work.parents} if arm.inherits else {}
        try:
            row, values, weights[number] = trained(problem, work, derive(seed, "trial", number), parents)
        except Impossible as reason:
            row, values = Row("", 0, 0, work.operator, None, None, 0, 0), {}
            failure = Failure("impossible", str(reason))
        known = rows[work.parents[0]].error if len(work.parents) == 1 else None
        parent = float("nan") if known is None else 1 - known
        rows.append(replace(row, arm=name, seed=seed, number=number, parent=parent))
        state: Any = "complete" if values else "failed"
        optimizer.tell(
            Trial(
                number, work.genome, state, work.parents, work.operator, generation=work.generation,
                values={Key(name): value for name, value in values.items()},
                failure=None if values else failure,
            )
        )  # fmt: skip
    return rows


def trained(
    problem: Supervised, work: Work, seed: int, parents: Mapping[int, Weights]
) -> tuple[Row, dict[str, Value], Weights]:
    """One candidate, trained and measured on validation and test images; its weights."""
    began = time.process_time()
    values = dict(problem.preview(work))
    begins = before(problem, work, seed, parents) if work.parents else float("nan")
    training = problem.train(work, seed, None, parents)
    accuracies: list[float] = []
    kept: Weights = {}
    while True:
        try:
            shot = next(training)
        except StopIteration as end:
            model = end.value
            break
        accuracies.append(shot.metrics["val_accuracy"])
        if shot.checkpoint is not None:
            kept = shot.checkpoint()
    values |= problem.measure(work, model, seed)
    test = problem.measure(replace(work, split="test", goals=frozenset({"error"})), model, seed)["error"]
    row = Row(
        "",
        0,
        0,
        work.operator,
        values["error"].mean,
        test.mean,
        values["parameters"].mean,
        values["macs"].mean,
        begins=begins,
        first=accuracies[0],
        seconds=time.process_time() - began,
    )
    return row, values, kept


def before(problem: Supervised, work: Work, seed: int, parents: Mapping[int, Weights]) -> float:
    """The accuracy of a child that has not been trained yet."""
    design = problem.space.decode(work.genome)
    model = build(design.architecture, derive(seed, "weights"))
    pass_on(model, design, problem.space, parents)
    untrained = problem.measure(replace(work, goals=frozenset({"error"})), model.eval(), seed)
    return 1 - untrained["error"].mean


# -- figures ----------------------------------------------------------------------------------------------


def box(row: Row, goals: Sequence[str] = GOALS) -> tuple[list[float], list[float]]:
    """The point by which a candidate is chosen, and the one that it counts with: 0 to 1 in the box."""
    assert row.error is not None
    assert row.test is not None
    sizes = []
    for name in goals[1:]:
        low, high = np.log(SMALLEST[name]), np.log(LIMITS[f"max_{name}"])
        sizes.append(float(np.clip((np.log(getattr(row, name)) - low) / (high - low), 0.0, 1.0)))
    return [row.error / WORST, *sizes], [row.test / WORST, *sizes]


def volumes(rows: Iterable[Row], goals: Sequence[str] = GOALS) -> list[float]:
    """The hypervolume on test images after each of one search's candidates."""
    chosen: list[list[float]] = []
    counted: list[list[float]] = []
    found: list[float] = []
    for row in rows:
        if row.error is not None:
            by, worth = box(row, goals)
            chosen.append(by)
            counted.append(worth)
        front = pareto.ranks(np.array(chosen).reshape(-1, len(goals))) == 0
        reference = np.ones(len(goals)) + 1e-9
        found.append(pareto.hypervolume(np.array(counted).reshape(-1, len(goals))[front], reference))
    return found


def figures(rows: Sequence[Row], plan: Plan) -> dict[str, float]:
    found: dict[str, float] = {}
    runs: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        runs.setdefault((row.arm, row.seed), []).append(row)
    seeds = sorted({seed for _, seed in runs})
    marks = sorted({plan.candidates // 4, plan.candidates // 2, plan.candidates})
    ends: dict[str, list[float]] = {}
    flat: dict[str, list[float]] = {}  # without MACs
    paths: dict[str, list[list[float]]] = {}
    for arm in [a for a in ARMS if (a, seeds[0]) in runs]:
        mine = [runs[arm, seed] for seed in seeds if (arm, seed) in runs]
        paths[arm] = [volumes(run) for run in mine]
        ends[arm] = [path[-1] for path in paths[arm]]
        for mark in marks:
            found |= report.summary(f"hv.{arm}.{mark * plan.epochs}", [path[mark - 1] for path in paths[arm]])
        flat[arm] = [volumes(run, GOALS[:2])[-1] for run in mine]
        found |= report.summary(f"hv2.{arm}", flat[arm])
        for size in WITHIN:
            found |= report.summary(
                f"error_within.{size}.{arm}", [e for run in mine for e in within(run, size)]
            )
        found[f"seconds.{arm}"] = statistics.median(sum(r.seconds for r in run) for run in mine)
    for arm in ends:
        if arm == "lemonade" or "lemonade" not in ends:
            continue
        pairs = list(zip(ends["lemonade"], ends[arm], strict=True))
        found |= difference(f"gain.{arm}", [ours - theirs for ours, theirs in pairs])
        pairs = list(zip(flat["lemonade"], flat[arm], strict=True))
        found |= difference(f"gain2.{arm}", [ours - theirs for ours, theirs in pairs])
        needed = [share(path, end) for path, end in zip(paths["lemonade"], ends[arm], strict=True)]
        found[f"epochs_to_match.{arm}"] = statistics.median(needed)
    return found | children(rows)


def _error(row: Row) -> float:
    assert row.error is not None
    return row.error


def within(run: Iterable[Row], size: int) -> list[float]:
    """The test error of the best on validation images of at most so many parameters; [] if there is none."""
    small = [row for row in run if row.error is not None and row.parameters <= size]
    best = min(small, key=_error, default=None)
    return [] if best is None or best.test is None else [best.test]


def share(path: Sequence[float], target: float) -> float:
    """After which share of a search its hypervolume is `target`; 2 where it never is."""
    return next((n / len(path) for n, volume in enumerate(path, start=1) if volume >= target), 2.0)


def difference(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean and 95 % interval."""
    from scipy.stats import t

    mean = statistics.mean(values)
    if len(values) < 2:
        return {name: mean, f"{name}.n": len(values)}
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {name: mean, f"{name}.low": mean - half, f"{name}.high": mean + half, f"{name}.n": len(values)}


def children(rows: Sequence[Row]) -> dict[str, float]:
    """How children of morphisms begin."""
    found: dict[str, float] = {}
    kinds: dict[str, list[Row]] = {"exact": [], "approximate": [], "scratch": []}
    for row in rows:
        counts = row.arm in ("lemonade", "scratch") and row.operator in (*EXACT, *APPROXIMATE)
        if counts and row.error is not None and np.isfinite(row.begins):
            inherited = "exact" if row.operator in EXACT else "approximate"
            kinds[inherited if ARMS[row.arm].inherits else "scratch"].append(row)
    for kind, members in kinds.items():
        found[f"children.{kind}"] = len(members)
        if members:
            found[f"beats_chance.{kind}"] = statistics.mean(r.begins >= 2 * CHANCE for r in members)
            for name, values in {
                "parents": [r.parent for r in members],
                "begins": [r.begins for r in members],
                "first_epoch": [r.first for r in members],
                "ends": [1 - _error(r) for r in members],
            }.items():
                found[f"{name}.{kind}"] = statistics.median(values)
    return found


# -- the command ------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    options = parse(arguments)
    plan = Plan(**{name: getattr(options, name) for name in asdict(Plan())})
    folder = Path(options.folder or tempfile.mkdtemp(prefix="lemonade"))
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed, plan, folder) for seed in range(plan.seeds) for name in options.arms]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for found in pool.imap(job, jobs, chunksize=1):
            rows += found
    sizes = {name: float(size) for name, size in asdict(plan).items()}
    whole = {**sizes, **figures(rows, plan)}
    report.write(options.json, whole)
    return whole


def job(task: tuple[str, int, Plan, Path]) -> list[Row]:
    """The rows of one search, which is not made again if its file is there."""
    name, seed, plan, folder = task
    torch.set_num_threads(1)
    sizes = "-".join(str(size) for size in asdict(plan).values())
    file = folder / f"{name}-{seed}-{sizes}.json"
    if not file.exists():
        began = time.perf_counter()
        made = searched(name, seed, plan, problem_of(ARMS[name], plan))
        part = file.with_suffix(".part")
        part.write_text(json.dumps([asdict(row) for row in made]))
        part.replace(file)
        print(f"{name}, seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return [Row(**row) for row in json.loads(file.read_text())]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = report.arguments(__doc__)
    parser.add_argument("--folder", type=Path, help="where finished searches are kept, to go on with")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--processes", type=int, default=1)
    for name, size in asdict(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
