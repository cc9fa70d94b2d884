"""Early termination end to end: Fashion-MNIST, `macro` space, the same search with and without the engine.

Two worker processes on two cores, 3,000 training images, 12 epochs. Wall time is that of everything: the
start of the workers, training, the engine, and at the end the confirmation, in which the halted members
of the front are trained to their ends and the front is measured on the test set. The two sides run
one after the other, the full search first.

* `fixed`: both sides get the same list of networks, drawn from the space, with the same seeds, so that every
  epoch that both train is bit for bit the same (`identical`: share of the networks trained in full by both
  that have the same error; must be 1). What the full search knows is the truth. Connections of a list's
  networks are kept with a probability drawn for each network, for uniform bits use nearly all nodes and
  have nearly the same size. `one` has the goal `error`, `two` have `error` and `macs`. The full search
  trains the same networks for both, so it runs once, with two goals; as the full search of `one` counts
  its time without the confirmation, plus what the confirmation of its best network took.
* `free`: the optimizer `steady` chooses, on both sides, until so many networks are told; `speedup` is the
  ratio of the whole times, confirmation included. `*_equal_time` is what the full search knew when the other
  had ended.
* `replay`: the curves of the full search of `fixed` again in simulated time, two workers, through the same
  loop, for several engines and many orders of the list: how much hangs on the order.

* `saved` is the share of epochs, `saved_net` that of their seconds (as the full search took them), less the
  engine's own; `ceiling_saved` is what would be saved by somebody who knows after two epochs of a network
  whether it is of the true front.
* `error_gap_points` is the validation error of the chosen network over the best of the full search, in
  percentage points; `test_gap_points` the same of the two chosen networks on the test set.
* `front_found` is the share of the true front (validation) in the front that the engine's search ends with.
* `forecast_mae_points` is how far the last forecasts of halted networks are from what was measured in full.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from vilfredo import pareto
from vilfredo.budget import Budget
from vilfredo.evaluation import steps
from vilfredo.executors.local import Local
from vilfredo.goal import Goal, goal
from vilfredo.loop import Search
from vilfredo.optimizers.random import Random
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Event, Executor, Finished, Snapshot, Stopper, Task, Verdict, Weights, Work
from vilfredo.seeds import generator
from vilfredo.spaces.parameters import Int, Parameters
from vilfredo.spec import names
from vilfredo.store import Store
from vilfredo.trial import Attempt, Epoch, Genome, Trial, Value

WORKERS = 2
FILTERS = (8, 12, 24)  # networks of at most 4 M MACs: an epoch takes a core one or two seconds
POPULATION = 10  # of the free searches, which are short
GOALS: Mapping[str, tuple[Goal, ...]] = {"one": (goal("error"),), "two": (goal("error"), goal("macs"))}
PARTS = ("fixed.one", "fixed.two", "free.one", "free.two", "replay")
PROBE = 2  # epochs after which a perfect judge would know
WORST_ERROR = 0.5  # corner of the hypervolume's box; the other goal's is the largest network's
YARDSTICKS = ("ensemble", "penguin", "asha", "median", "hyperband", "fixed")


def main(arguments: Sequence[str] | None = None) -> dict[str, float | str]:
    options = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: list[dict[str, float]] = []
    if options.replay is not None:
        rows.append(replays(read_curves(options.replay), options))
    else:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            rows.append(compare(seed, options))
    settings = ("engine", "networks", "trials", "epochs", "train_size", "validation_size", "orders", "space")
    figures: dict[str, float | str] = {name: getattr(options, name) for name in settings}
    figures |= {
        "set": " ".join(options.set),
        "first_seed": options.first_seed,
        "seeds": options.seeds,
        "parts": " ".join(options.parts),
    }
    for name in rows[0]:
        values = [row[name] for row in rows if name in row]
        figures |= {name: values[0]} if len(rows) == 1 else report.summary(name, values)
    report.write(options.json, figures)
    return figures


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = report.arguments(__doc__)
    parser.add_argument("--engine", default="genrace", help="a stopper, by name or as package.module:Name")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="options of the engine")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", type=int, default=48, help="length of the fixed list")
    parser.add_argument("--trials", type=int, default=30, help="networks of a free search")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train-size", type=int, default=3_000)
    parser.add_argument("--validation-size", type=int, default=2_500)
    parser.add_argument("--test-size", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of everything")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--space", choices=("tuned", "plain"), default="tuned", help=SPACE)
    parser.add_argument("--orders", type=int, default=10, help="orders of the list that are replayed")
    parser.add_argument("--peers", nargs="*", default=None, help="engines that are replayed too")
    parser.add_argument("--record", type=Path, help="write the curves of the full search there (CSV)")
    parser.add_argument("--replay", type=Path, help="train nothing, replay the curves of this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.networks = options.trials = 4
        options.epochs, options.train_size, options.validation_size, options.test_size = 3, 100, 50, 50
        options.orders = 1
    if options.peers is None:
        known = names.known("stopper")
        options.peers = [name for name in YARDSTICKS if name in known and not options.quick]
    return options


SPACE = "tuned: with the training of each network, as `macro` comes; plain: one recipe for all"


def compare(seed: int, options: argparse.Namespace) -> dict[str, float]:
    """All parts that are asked for, with one seed."""
    figures: dict[str, float] = {}
    data = load(options)
    problems = {count: make_problem(data, goals, options) for count, goals in GOALS.items()}
    largest = largest_macs(problems["two"])

    def note(part: str, row: Mapping[str, float]) -> None:
        print(f"seed {seed}  {part}  " + "  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
        figures.update({f"{part}.{name}": value for name, value in row.items() if np.isfinite(value)})

    def run(count: str, engine: str | None, trials: int, initial: Sequence[Genome] = ()) -> Ran:
        problem = problems[count]
        stopper = None if engine is None else make_engine(engine, problem.goals, options.set)
        optimizer = Steady(problem.space, problem.goals, population=POPULATION)
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="early_termination") as folder:
            executor = Local(problem, workers=WORKERS)
            return search(problem, optimizer, executor, folder, seed, trials, stopper, initial, began)

    full: Ran | None = None
    if any(part.startswith("fixed") or part == "replay" for part in options.parts):
        genomes = networks(problems["two"], options.networks, seed)
        full = run("two", None, len(genomes), genomes)
        note("fixed.full", totals(full))
        if options.record is not None:
            write_curves(options.record, full, f"fashion_mnist_{options.space}_{seed}")
        for count, goals in GOALS.items():
            if f"fixed.{count}" in options.parts:
                raced = run(count, options.engine, len(genomes), genomes)
                note(f"fixed.{count}", against(full, raced, goals, largest))
    for count, goals in GOALS.items():
        if f"free.{count}" in options.parts:
            whole = run(count, None, options.trials)
            raced = run(count, options.engine, options.trials)
            note(f"free.{count}", side_by_side(whole, raced, goals, largest))
    if full is not None and "replay" in options.parts:
        figures |= replays(curves_of(full), options)
    return figures


# -- what is searched -------------------------------------------------------------------------------


def load(options: argparse.Namespace) -> Any:
    from vilfredo.data import fashion_mnist

    return fashion_mnist.load(
        train_size=options.train_size, validation_size=options.validation_size, test_size=options.test_size
    )


def make_problem(data: Any, goals: Sequence[Goal], options: argparse.Namespace) -> Any:
    from vilfredo.problems.supervised import Supervised
    from vilfredo.spaces.macro import Macro

    space = Macro(filters=FILTERS, tune=options.space == "tuned")
    return Supervised(data, space, goals=goals, epochs=options.epochs)


def networks(problem: Any, count: int, seed: int) -> list[Genome]:
    """A list of different networks of many sizes."""
    found: dict[str, Genome] = {}
    number = 0
    while len(found) < count:
        rng = generator(seed, "list", number)
        genome = problem.space.sample(rng)
        keep = rng.random()
        phases = [thinned(bits, keep, rng) for bits in genome["phases"]]
        genome = {**genome, "phases": phases}
        found.setdefault(problem.space.canonical(genome), genome)
        number += 1
    return list(found.values())


def thinned(bits: str, keep: float, rng: np.random.Generator) -> str:
    return "".join("1" if bit == "1" and rng.random() < keep else "0" for bit in bits)


def largest_macs(problem: Any) -> float:
    genome = problem.space.sample(generator(0, "largest"))
    whole = {**genome, "phases": ["1" * len(bits) for bits in genome["phases"]]}
    return float(problem.preview(Work(whole))["macs"].mean)


def make_engine(use: str, goals: Sequence[Goal], settings: Sequence[str] = ()) -> Timed:
    make = names.find("stopper", use)
    given = {k: v for k, v in {"goals": goals, "seed": 0}.items() if k in names.parameters(make)}
    options = {name: value_of(value) for name, _, value in (text.partition("=") for text in settings)}
    return Timed(make(**given, **options))


def value_of(text: str) -> Any:
    """A number, true, false, or text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class Timed:
    """An engine, and the seconds that it took: for its verdicts and for saying whom to revive."""

    def __init__(self, engine: Stopper) -> None:
        self.engine = engine
        self.seconds = 0.0
        self.verdicts = 0

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        began = time.perf_counter()
        verdict = self.engine(trial, peers, epochs)
        self.seconds += time.perf_counter() - began
        self.verdicts += 1
        return verdict

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        began = time.perf_counter()
        numbers = self.engine.revive(trials)
        self.seconds += time.perf_counter() - began
        return numbers


# -- one search -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A finished search: its trials by number, seconds of wall time in all and until the confirmation began,
    and the engine."""

    trials: Mapping[int, Trial]
    goals: Sequence[Goal]
    seconds: float
    search_seconds: float
    epochs: int  # of full training
    engine: Timed | None

    @property
    def paid(self) -> int:
        """Epochs trained."""
        return sum(len(trial.epochs) for trial in self.trials.values())

    @property
    def train_seconds(self) -> float:
        return sum(e.seconds for trial in self.trials.values() for e in trial.epochs)

    @property
    def engine_seconds(self) -> float:
        return self.engine.seconds if self.engine else 0.0


def search(
    problem: Any,
    optimizer: Any,
    executor: Executor,
    folder: str,
    seed: int,
    trials: int,
    stopper: Timed | None,
    initial: Sequence[Genome] = (),
    began: float | None = None,
) -> Ran:
    """Search, confirm, and say how long it took since `began` (on `time.perf_counter`)."""
    began = time.perf_counter() if began is None else began
    with Store.open(Path(folder) / "runs.db") as store:
        run = store.create(
            name="early", seed=seed, spec={}, description=problem.describe(), goals=problem.goals
        )
        searching = Search(
            problem,
            optimizer,
            executor,
            run,
            budget=Budget(trials=trials),
            seed=seed,
            stopper=stopper,
            confirm=1,
            initial=[Work(genome) for genome in initial],
        )
        searched = 0.0
        for _ in searching:
            if searching.phase == "search":
                searched = time.perf_counter() - began
        whole = time.perf_counter() - began
        return Ran(dict(searching.trials), problem.goals, whole, searched, problem.epochs, stopper)


# -- figures ----------------------------------------------------------------------------------------


def totals(ran: Ran) -> dict[str, float]:
    states = [trial.state for trial in ran.trials.values()]
    row = {
        "seconds": ran.seconds,
        "search_seconds": ran.search_seconds,
        "epochs": float(ran.paid),
        "train_seconds": ran.train_seconds,
        "networks": float(len(states)),
        "failed": float(states.count("failed")),
    }
    if ran.engine is not None:
        halted = [trial for trial in ran.trials.values() if trial.halts]
        row |= {
            "engine_seconds": ran.engine_seconds,
            "engine_ms_per_epoch": 1e3 * ran.engine_seconds / max(ran.engine.verdicts, 1),
            "engine_share": ran.engine_seconds / max(ran.train_seconds, 1e-9),
            "in_full": float(states.count("complete")),
            "halted": float(len(halted)),
            "went_on": float(sum(trial.state == "complete" for trial in halted)),
        }
    return row


def against(full: Ran, raced: Ran, goals: Sequence[Goal], largest: float) -> dict[str, float]:
    """The engine's search of a fixed list, judged by the full search of the same list."""
    whole = full_seconds(full, goals)
    front = pareto.front(full.trials.values(), goals)
    found = [t for t in pareto.front(raced.trials.values(), goals) if t.state == "complete"]
    both = [
        (full.trials[n], t)
        for n, t in raced.trials.items()
        if t.state == "complete" and full.trials[n].state == "complete"
    ]
    row = {
        "speedup": whole / raced.seconds,
        "full_seconds": whole,
        **totals(raced),
        "saved": 1 - raced.paid / full.paid,
        "saved_net": 1 - (same_clock(full, raced) + raced.engine_seconds) / full.train_seconds,
        "ceiling_saved": 1 - trained(PROBE, len(front), full) / full.paid,
        "front": float(len(front)),
        "front_found": share({t.number for t in front}, {t.number for t in found}),
        "error": error(found),
        "full_error": error(front),
        "error_gap_points": 100 * (error(found) - error(front)),
        "test_gap_points": 100 * (error(found, "test") - error(front, "test")),
        "identical": sum(a.value("error") == b.value("error") for a, b in both) / max(len(both), 1),
    }
    if len(goals) > 1:
        volume = hypervolume(found, goals, largest)
        row["hv_ratio"] = volume / max(hypervolume(front, goals, largest), 1e-9)
    return row | calibration(full, raced)


def side_by_side(full: Ran, raced: Ran, goals: Sequence[Goal], largest: float) -> dict[str, float]:
    """Two free searches for the same number of networks."""
    then = [t for t in full.trials.values() if t.told_at <= raced.seconds]
    fronts = {
        "": [t for t in pareto.front(raced.trials.values(), goals) if t.state == "complete"],
        "full_": pareto.front(full.trials.values(), goals),
        "full_equal_time_": pareto.front(then, goals),
    }
    row = {"speedup": full.seconds / raced.seconds, "full_seconds": full.seconds, **totals(raced)}
    row["saved"] = 1 - raced.paid / (raced.epochs * len(raced.trials))
    row["full_equal_time_networks"] = float(len(then))
    for name, front in fronts.items():
        row[f"{name}error"] = error(front)
        row[f"{name}hv"] = hypervolume(front, goals, largest)
        if name != "full_equal_time_":  # which nobody measured on the test set
            row[f"{name}test_error"] = error(front, "test")
    row["error_gap_points"] = 100 * (row["error"] - row["full_error"])
    row["test_gap_points"] = 100 * (row["test_error"] - row["full_test_error"])
    row["hv_ratio"] = row["hv"] / max(row["full_hv"], 1e-9)
    row["hv_ratio_equal_time"] = row["hv"] / max(row["full_equal_time_hv"], 1e-9)
    return row


def same_clock(full: Ran, raced: Ran) -> float:
    """Seconds that the epochs which `raced` paid for took in the full search: free of what else the
    machine did meanwhile."""
    return sum(e.seconds for n, t in raced.trials.items() for e in full.trials[n].epochs[: len(t.epochs)])


def trained(probe: int, members: int, full: Ran) -> float:
    """Epochs, if so many members of the front are trained in full and all others for `probe` epochs."""
    return members * full.epochs + (len(full.trials) - members) * min(probe, full.epochs)


def full_seconds(full: Ran, goals: Sequence[Goal]) -> float:
    """What the full search takes with these goals: those of `full`, or the first of them alone."""
    if len(goals) == len(full.goals):
        return full.seconds
    best = pareto.front(full.trials.values(), goals)
    return full.search_seconds + sum(t.seconds.get("confirm", 0.0) for t in best)


def error(front: Sequence[Trial], split: Any = "validation") -> float:
    """The error of the most accurate network (on the validation set) of a front; NaN if there is none."""
    known = [(v.mean, t) for t in front if (v := t.value("error")) is not None]
    if not known:
        return float("nan")
    chosen = min(known, key=lambda pair: (pair[0], pair[1].number))[1].value("error", split)
    return float("nan") if chosen is None else chosen.mean


def share(wanted: set[int], found: set[int]) -> float:
    return len(wanted & found) / len(wanted) if wanted else float("nan")


def hypervolume(front: Sequence[Trial], goals: Sequence[Goal], largest: float) -> float:
    """Share of the box below (`WORST_ERROR`, the largest network) that the front dominates."""
    corner = np.array([WORST_ERROR, 1.01 * largest])[: len(goals)]
    table, _, _ = pareto.points(list(front), goals)
    return pareto.hypervolume(table / corner, np.ones(len(goals)))


def calibration(full: Ran, raced: Ran) -> dict[str, float]:
    """The last forecasts of halted networks beside what the full search measured."""
    misses, units = [], []
    for number, trial in raced.trials.items():
        truth = full.trials[number].value("error")
        forecast = trial.halts[-1].forecast.get("error") if trial.halts else None
        if truth is not None and forecast is not None:
            misses.append(100 * abs(forecast.mean - truth.mean))
            units.append(abs(forecast.mean - truth.mean) / max(forecast.sd, 1e-9))
    if not misses:
        return {"forecasts": 0.0}
    return {
        "forecasts": float(len(misses)),
        "forecast_mae_points": float(np.mean(misses)),
        "forecast_within_2sd": float(np.mean([u <= 2 for u in units])),
    }


# -- replay -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """One network's full training: its size and all its epochs."""

    macs: float
    epochs: tuple[Epoch, ...]


@dataclass
class Recorded:
    """A problem whose trainings are recorded ones; the genome is a number. `elapsed` is the time that
    they would have taken, all in all."""

    curves: Sequence[Curves]
    goals: Sequence[Goal]
    elapsed: float = 0.0
    quiet: frozenset[str] = frozenset()
    space: Any = field(init=False)

    def __post_init__(self) -> None:
        self.space = Parameters({"network": Int(0, max(len(self.curves) - 1, 1))})

    @property
    def epochs(self) -> int:
        return max(len(curve.epochs) for curve in self.curves)

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "recorded"}

    def layers(self, genome: Genome) -> Sequence[Mapping[str, Any]]:
        return []

    def preview(self, work: Work) -> Mapping[str, Value]:
        wanted = [g.name for g in self.goals if g.stage == "preview"]
        return {name: Value(self.curves[work.genome["network"]].macs) for name in wanted}

    def train(self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]) -> Any:
        epochs = self.curves[work.genome["network"]].epochs
        done = 0 if resume is None else int(resume["done"])
        for epoch in epochs[done : work.fidelity]:
            self.elapsed += epoch.seconds
            done = epoch.index
            yield Snapshot(done, epoch.metrics, partial(_weights, done))
        return epochs[done - 1].metrics["val_error"]

    def measure(self, work: Work, model: float, seed: int) -> Mapping[str, Value]:
        return {"error": Value(model)}


def _weights(done: int) -> Weights:
    return {"done": np.array(done)}


class Simulated:
    """Workers that take the time of the recorded trainings; `now` is the simulated time."""

    def __init__(self, problem: Recorded, workers: int) -> None:
        self.slots = workers
        self.now = 0.0
        self._problem = problem
        self._waiting: list[Task] = []
        self._tasks: dict[int, tuple[Task, Any]] = {}
        self._due: dict[int, tuple[float, Event]] = {}

    def submit(self, task: Task) -> None:
        self._waiting.append(task)
        self._start()

    def _start(self) -> None:
        while self._waiting and len(self._tasks) < self.slots:
            task = self._waiting.pop(0)
            self._tasks[task.ticket] = (task, steps(self._problem, task, clock=lambda: self._problem.elapsed))
            self._go_on(task.ticket, None)

    def _go_on(self, ticket: int, verdict: Verdict | None) -> None:
        task, stages = self._tasks[ticket]
        before = self._problem.elapsed
        event: Event
        try:
            event = stages.send(verdict)
        except StopIteration as end:
            taken = self._problem.elapsed - before
            event = Finished(ticket, end.value, Attempt(task.attempt, 0, taken, end.value.failure))
        self._due[ticket] = (self.now + self._problem.elapsed - before, event)

    def events(self, timeout: float) -> list[Event]:
        if not self._due:
            return []
        ticket = min(self._due, key=lambda t: (self._due[t][0], t))
        self.now, event = self._due.pop(ticket)
        if isinstance(event, Finished):
            del self._tasks[ticket]
            self._start()
        elif not self._tasks[ticket][0].judged:
            self._go_on(ticket, None)
        return [event]

    def reply(self, ticket: int, verdict: Verdict) -> None:
        self._go_on(ticket, verdict)

    def stop(self, ticket: int) -> None:
        self._waiting = [task for task in self._waiting if task.ticket != ticket]
        self._tasks.pop(ticket, None)
        self._due.pop(ticket, None)
        self._start()

    def close(self) -> None:
        self._waiting.clear()
        self._tasks.clear()
        self._due.clear()


def replays(curves: Sequence[Curves], options: argparse.Namespace) -> dict[str, float]:
    """Every engine over many orders of the list: medians and ranges."""
    figures: dict[str, float] = {}
    for engine in dict.fromkeys([options.engine, *options.peers]):
        settings = options.set if engine == options.engine else ()
        for count, goals in GOALS.items():
            rows = []
            for order in range(options.orders):
                shuffled = list(range(len(curves)))
                if order:  # the first order is that of the list
                    shuffled = generator(0, "order", order).permutation(len(curves)).tolist()
                rows.append(replay([curves[n] for n in shuffled], goals, engine, settings))
            part = f"replay.{count}.{engine}"
            for name in rows[0]:
                values = [row[name] for row in rows if name in row]
                figures |= report.summary(f"{part}.{name}", values)
            shown = ("speedup", "saved", "front_found", "error_gap_points", "forecast_mae_points")
            line = "  ".join(f"{n} {figures.get(f'{part}.{n}', float('nan')):.4g}" for n in shown)
            print(f"{part}  {line}", flush=True)
    return figures


def replay(
    curves: Sequence[Curves], goals: Sequence[Goal], engine: str, settings: Sequence[str] = ()
) -> dict[str, float]:
    """One engine over one order of recorded networks, in simulated time plus the engine's own."""
    sides = []
    for stopper in (None, make_engine(engine, goals, settings)):
        problem = Recorded(curves, goals)
        executor = Simulated(problem, WORKERS)
        genomes = [{"network": number} for number in range(len(curves))]
        with tempfile.TemporaryDirectory(prefix="early_termination") as folder:
            ran = search(
                problem, Random(problem.space, goals), executor, folder, 0, len(curves), stopper, genomes
            )
        seconds = executor.now + ran.engine_seconds
        sides.append(Ran(ran.trials, goals, seconds, seconds, ran.epochs, stopper))
    full, raced = sides
    row = against(full, raced, goals, max(curve.macs for curve in curves))
    kept = (
        "ceiling_saved",
        "speedup",
        "saved",
        "saved_net",
        "front_found",
        "error_gap_points",
        "hv_ratio",
        "engine_ms_per_epoch",
    )
    return {name: row[name] for name in (*kept, "forecast_mae_points", "forecast_within_2sd") if name in row}


def curves_of(ran: Ran) -> list[Curves]:
    """The full trainings of a search."""
    found = []
    for _, trial in sorted(ran.trials.items()):
        if trial.state == "complete":
            macs = trial.value("macs")
            found.append(Curves(0.0 if macs is None else macs.mean, trial.epochs))
    return found


COLUMNS = ("experiment", "arch_id", "epoch", "train_acc", "val_acc", "mflops", "seconds")


def write_curves(path: Path, ran: Ran, experiment: str) -> None:
    """As `benchmarks.forecast` reads them: accuracies in percent, millions of MACs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        for number, curve in enumerate(curves_of(ran)):
            for epoch in curve.epochs:
                train, val = (round(100 * epoch.metrics[f"{n}_accuracy"], 4) for n in ("train", "val"))
                size, took = round(curve.macs / 1e6, 6), round(epoch.seconds, 4)
                writer.writerow([experiment, number, epoch.index, train, val, size, took])


def read_curves(path: Path) -> list[Curves]:
    """The networks of the first experiment in a file of `write_curves`."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = [row for row in rows if row["experiment"] == rows[0]["experiment"]]
    found: dict[str, list[Epoch]] = {}
    sizes: dict[str, float] = {}
    for row in first:
        train, val = float(row["train_acc"]) / 100, float(row["val_acc"]) / 100
        metrics = {"train_accuracy": train, "val_accuracy": val, "val_error": 1 - val}
        epoch = Epoch(int(row["epoch"]), metrics, float(row.get("seconds") or row["mflops"]))
        found.setdefault(row["arch_id"], []).append(epoch)
        sizes[row["arch_id"]] = 1e6 * float(row["mflops"])
    longest = max(map(len, found.values()))
    return [Curves(sizes[n], tuple(epochs)) for n, epochs in found.items() if len(epochs) == longest]


if __name__ == "__main__":
    main()
