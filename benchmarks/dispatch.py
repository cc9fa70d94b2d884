"""What the machinery around evaluations costs: `python -m benchmarks.dispatch --json FILE`.

Two workers throughout. Each figure is the median over `--repeats`, with range.

* `utilisation`: a search with `steady` (without its screen: `proposals=1`) and a store on disk whose
  evaluations sleep 5 ms: time slept over (wall time × workers). `utilisation_compute`: the same with
  evaluations that compute until 5 ms of processor time are spent; where there are two cores for two
  workers and the search itself, what the search takes is taken from the workers.
  `utilisation_screened`: `steady` as it comes; its screen thinks for longer than such an evaluation
  takes. `utilisation_executor*`: without search and store. `utilisation_bare`: two processes that do
  nothing but sleep so: the ceiling, since a sleep takes longer than it is asked to.
* `empty_tasks_per_s`: through `submit` and `events`; beside it `concurrent.futures`, `joblib` (loky)
  and `multiprocessing.Pool`, which do not survive the death of a worker, with a plain function of the
  same result.
* `store_ms_per_trial`: logging a work and its trial with 20 epochs and two values, each synced as in a
  search; beside it Optuna's SQLite and journal storages with the same reports.
* `ask_tell_ms_per_trial`: population 1,000, four goals (see `benchmarks.ask_tell`).
* `respawn_ms`: from the death of a worker to its successor's readiness, torch loaded.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from vilfredo.budget import Budget
from vilfredo.executors.local import Local
from vilfredo.goal import Goal
from vilfredo.loop import Search
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Finished, Outcome, Snapshot, Task, Weights, Work
from vilfredo.seeds import generator
from vilfredo.spaces.parameters import Float, Parameters
from vilfredo.store import Store
from vilfredo.trial import Epoch, Key, Trial, Value

WORKERS = 2
SECONDS = 0.005


def spend(how: str) -> None:
    """Nothing, 5 ms of sleep, or 5 ms of processor time."""
    if how == "sleep":
        time.sleep(SECONDS)
    elif how == "compute":
        end = time.process_time() + SECONDS
        while time.process_time() < end:
            pass


@dataclass(frozen=True)
class Busy:
    """A problem that spends time and answers with two of its parameters."""

    how: str
    epochs: int = 0
    goals: Sequence[Goal] = (Goal("a"), Goal("b"))
    quiet: frozenset[str] = frozenset()
    preload: Sequence[str] = ()
    space: Parameters = field(
        default_factory=lambda: Parameters({f"x{i}": Float(0.0, 1.0) for i in range(6)})
    )

    def describe(self) -> Mapping[str, Any]:
        return {"kind": self.how}

    def layers(self, genome: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return []

    def preview(self, work: Work) -> Mapping[str, Value]:
        return {}

    def train(
        self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]
    ) -> Generator[Snapshot, None, None]:
        yield from ()

    def measure(self, work: Work, model: None, seed: int) -> Mapping[str, Value]:
        spend(self.how)
        return {"a": Value(work.genome["x0"]), "b": Value(1.0 - work.genome["x0"] * work.genome["x1"])}


def plain(number: int) -> Outcome:
    """What a pool's worker does instead of an empty evaluation: it gives back as much."""
    values = {Key("a"): Value(0.5), Key("b"): Value(0.5)}
    return Outcome("complete", values=values, seconds={"preview": 0.0, "train": 0.0, "measure": 0.0})


def empty_task(number: int) -> Task:
    return Task(number, Work({f"x{i}": 0.5 for i in range(6)}), seed=number)


# -- ours -------------------------------------------------------------------------------------------


def drive(executor: Local, count: int, ahead: int) -> float:
    """Seconds for `count` tasks with `ahead` of them submitted at a time."""
    sent = done = 0
    began = time.perf_counter()
    while done < count:
        while sent < count and sent - done < ahead:
            executor.submit(empty_task(sent))
            sent += 1
        done += sum(isinstance(event, Finished) for event in executor.events(1.0))
    return time.perf_counter() - began


def executor_utilisation(how: str, count: int) -> float:
    with Local(Busy(how), workers=WORKERS) as executor:
        drive(executor, 50, 2 * WORKERS)
        return count * SECONDS / WORKERS / drive(executor, count, 2 * WORKERS)


def sleeps(count: int) -> float:
    """Seconds that so many sleeps really take."""
    began = time.perf_counter()
    for _ in range(count):
        spend("sleep")
    return time.perf_counter() - began


def bare_utilisation(count: int) -> float:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        taken = pool.map(sleeps, [count // WORKERS] * WORKERS, chunksize=1)
    return count // WORKERS * SECONDS / statistics.fmean(taken)


def search_utilisation(how: str, count: int, proposals: int | None = 1) -> float:
    """From the first trial that is told after the 50th, so that starting is not counted."""
    problem = Busy(how)
    with tempfile.TemporaryDirectory() as folder:
        run = Store.open(Path(folder) / "runs.db").create(
            name="", seed=0, spec={}, description={}, goals=problem.goals
        )
        search = Search(
            problem,
            Steady(problem.space, problem.goals, proposals=proposals),
            Local(problem, workers=WORKERS),
            run,
            budget=Budget(trials=count + 50),
            confirm=0,
        )
        began = end = 0.0
        for told, _ in enumerate(search, 1):
            if told == 50:
                began = time.perf_counter()
            end = time.perf_counter()
    return count * SECONDS / WORKERS / (end - began)


def empty_tasks(count: int) -> float:
    with Local(Busy("nothing"), workers=WORKERS, deadline=60.0, memory=2 << 30) as executor:
        drive(executor, 500, 16)
        return count / drive(executor, count, 16)


def respawn() -> float:
    """Milliseconds."""
    with Local(Busy("nothing"), workers=1, preload=["torch"]) as executor:
        drive(executor, 50, 1)
        os.kill(executor.workers[0], signal.SIGKILL)
        return 1e3 * drive(executor, 1, 1)


def store_time(count: int) -> float:
    """Milliseconds per trial."""
    problem = Busy("nothing")
    values = np.random.default_rng(0).random((count, 2))
    with tempfile.TemporaryDirectory() as folder:
        run = Store.open(Path(folder) / "runs.db").create(
            name="", seed=0, spec={}, description={}, goals=problem.goals
        )
        trials = []
        for number in range(count):
            genome = problem.space.sample(generator(0, "ask", number))
            epochs = tuple(Epoch(k, {"val_error": 0.5 / k, "train_loss": 0.4 / k}, 0.1) for k in range(1, 21))
            a, b = values[number].tolist()
            found = {Key("a"): Value(a), Key("b"): Value(b)}
            trials.append(Trial(number, genome, "complete", epochs=epochs, values=found))
        began = time.perf_counter()
        for trial in trials:
            run.append_work(trial.number, trial.number, Work(trial.genome))
            run.append_trial(trial.number, trial)
        return 1e3 * (time.perf_counter() - began) / count


# -- peers ------------------------------------------------------------------------------------------


def futures_tasks(count: int) -> float:
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("forkserver")) as pool:
        list(pool.map(plain, range(200)))
        began = time.perf_counter()
        pending = {pool.submit(plain, number) for number in range(16)}
        sent = 16
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                if sent < count:
                    pending.add(pool.submit(plain, sent))
                    sent += 1
        return count / (time.perf_counter() - began)


def pool_tasks(count: int) -> float:
    with multiprocessing.get_context("forkserver").Pool(WORKERS) as pool:
        list(pool.imap_unordered(plain, range(200)))
        began = time.perf_counter()
        for _ in pool.imap_unordered(plain, range(count)):
            pass
        return count / (time.perf_counter() - began)


def joblib_tasks(count: int) -> float:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=WORKERS, batch_size=1, pre_dispatch=16, return_as="generator_unordered") as pool:
        list(pool(delayed(plain)(n) for n in range(200)))
        began = time.perf_counter()
        for _ in pool(delayed(plain)(n) for n in range(count)):
            pass
        return count / (time.perf_counter() - began)


def optuna_store_time(kind: str, count: int) -> float:
    """Milliseconds per trial of two values with 20 reported epochs; Optuna reports in single-objective
    studies only, so the second value is a user attribute."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        storage: Any
        if kind == "sqlite":
            storage = f"sqlite:///{folder}/optuna.db"
        else:
            backend = optuna.storages.journal.JournalFileBackend(f"{folder}/journal.log")
            storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(0))
        began = time.perf_counter()
        for _ in range(count):
            trial = study.ask()
            for i in range(6):
                trial.suggest_float(f"x{i}", 0.0, 1.0)
            for epoch in range(1, 21):
                trial.report(0.5 / epoch, epoch)
            trial.set_user_attr("b", 0.5)
            study.tell(trial, 0.5)
        return 1e3 * (time.perf_counter() - began) / count


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


# -- all of it --------------------------------------------------------------------------------------


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--count", type=int, default=1_000, help="evaluations per figure of utilisation")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    count = options.count
    measures: dict[str, Callable[[], float]] = {
        "utilisation": lambda: search_utilisation("sleep", count),
        "utilisation_compute": lambda: search_utilisation("compute", count),
        "utilisation_screened": lambda: search_utilisation("sleep", count // 4, None),
        "utilisation_bare": lambda: bare_utilisation(count),
        "utilisation_executor": lambda: executor_utilisation("sleep", count),
        "utilisation_executor_compute": lambda: executor_utilisation("compute", count),
        "empty_tasks_per_s": lambda: empty_tasks(10 * count),
        "respawn_ms": respawn,
        "store_ms_per_trial": lambda: store_time(count),
    }
    if installed("benchmarks.ask_tell"):
        from benchmarks import ask_tell

        measures["ask_tell_ms_per_trial"] = ask_tell.ms_per_trial
    if not options.no_peers:
        measures["empty_tasks_per_s.multiprocessing_pool"] = lambda: pool_tasks(10 * count)
        measures["empty_tasks_per_s.concurrent_futures"] = lambda: futures_tasks(5 * count)
        if installed("joblib"):
            measures["empty_tasks_per_s.joblib"] = lambda: joblib_tasks(2 * count)
        if installed("optuna"):
            measures["store_ms_per_trial.optuna_journal"] = lambda: optuna_store_time("journal", count // 10)
            measures["store_ms_per_trial.optuna_sqlite"] = lambda: optuna_store_time("sqlite", count // 50)
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(options.repeats):  # in turn, so that a busy moment of the machine hits all alike
        for name, measure in measures.items():
            found[name].append(measure())
    figures: dict[str, float | str] = {"workers": WORKERS, "repeats": options.repeats, "count": count}
    for name, values in found.items():
        figures |= report.summary(name, values)
    figures["load"] = statistics.fmean(os.getloadavg()[:1])
    report.write(options.json, figures)


if __name__ == "__main__":
    main()
