"""A search in a process of its own, to be killed: `python kill_driver.py STORE OPTIMIZER BUDGET PACE`.

Starts a run in STORE, or resumes the one that is there.
"""

from __future__ import annotations

import sys

from runs import Slope, new_run
from vilfredo.budget import Budget
from vilfredo.executors.local import Local
from vilfredo.loop import Search
from vilfredo.spec import names
from vilfredo.store import Store, StoreError


def main(path: str, optimizer: str, trials: str, pace: str) -> None:
    problem = Slope(pace=float(pace))
    try:
        run = Store.open(path, create=False).run()
    except StoreError:
        run = new_run(path, problem, seed=3)
    make = names.find("optimizer", optimizer)
    options = {"population": 8} if optimizer != "random" else {}
    with run.lock():
        run.clean()
        search = Search(
            problem,
            make(problem.space, problem.goals, **options),
            Local(problem, workers=2),
            run,
            budget=Budget(trials=int(trials)),
            seed=3,
            confirm=2,
            checkpoint_seconds=0.0,
        )
        for trial in search:
            print(trial.number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
