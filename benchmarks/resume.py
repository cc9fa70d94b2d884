"""How long a long run takes to resume, and its report to make: `python -m benchmarks.resume --json FILE`.

Writes a store of `--trials` (100,000) trials with 20 epochs each, as a search would have left it, and
resumes it with `steady`, `nsga2` and `random`; and one of 10,000, of which the report is made. Keys:
`resume_s.<optimizer>`, `store_ms_per_trial` (works and trials both, as they are logged), `store_mb`,
`trials`, `report_s.10k`, `report_mb.10k`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import report
from vilfredo.budget import Budget
from vilfredo.executors.inline import Inline
from vilfredo.goal import Goal
from vilfredo.loop import Search
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.random import Random
from vilfredo.optimizers.steady import Steady
from vilfredo.problems.function import Function
from vilfredo.protocols import Work
from vilfredo.seeds import generator
from vilfredo.spaces.parameters import from_mapping
from vilfredo.spec import read
from vilfredo.store import Store
from vilfredo.study import Study
from vilfredo.trial import Epoch, Key, Trial, Value


def nothing(parameters: dict[str, float]) -> dict[str, float]:
    return {"error": parameters["x0"], "macs": parameters["x1"]}


def fill(path: Path, problem: Function, trials: int) -> None:
    """A store with one run, as a search of so many trials leaves it."""
    run = Store.open(path).create(
        name="long", seed=0, spec=read({}, bare=True).to_json(), description={}, goals=problem.goals
    )
    values = np.random.default_rng(0)
    for number in range(trials):
        genome = problem.space.sample(generator(0, "ask", number))
        curve = tuple(Epoch(k, {"val_error": 0.5 / k, "train_error": 0.4 / k}, 0.1) for k in range(1, 21))
        found = {Key("error"): Value(float(values.random())), Key("macs"): Value(float(values.random()))}
        run.append_work(number, number, Work(genome))
        trial = Trial(number, genome, "complete", epochs=curve, values=found, seconds={"train": 2.0})
        run.append_trial(number, trial)


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    options = parser.parse_args()
    space = from_mapping({f"x{i}": {"float": [0, 1]} for i in range(8)})
    problem = Function(nothing, space, [Goal("error"), Goal("macs")])
    figures: dict[str, float | str] = {"trials": options.trials}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.db"
        began = time.perf_counter()
        fill(path, problem, options.trials)
        figures["store_ms_per_trial"] = 1e3 * (time.perf_counter() - began) / options.trials
        figures["store_mb"] = path.stat().st_size / 1e6
        makers = {"steady": Steady, "nsga2": NSGA2, "random": Random}
        for more, (name, make) in enumerate(makers.items()):  # each goes on for one trial
            again = Store.open(path, create=False).run()
            began = time.perf_counter()
            search = Search(
                problem,
                make(space, problem.goals),
                Inline(problem),
                again,
                budget=Budget(trials=options.trials + more + 1),
                confirm=0,
            )
            told = [trial.number for trial in search]
            figures[f"resume_s.{name}"] = time.perf_counter() - began
            assert told == [options.trials + more]
        shorter = Path(folder) / "shorter.db"
        fill(shorter, problem, 10_000)
        began = time.perf_counter()
        page = Study.open(shorter).report()
        figures["report_s.10k"] = time.perf_counter() - began
        figures["report_mb.10k"] = len(page.encode()) / 1e6
    report.write(options.json, figures)


if __name__ == "__main__":
    main()
