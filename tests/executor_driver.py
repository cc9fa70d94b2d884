"""A coordinator in a process of its own, to be killed: `python executor_driver.py STAGE [START]`.

STAGE "train": both workers train for ever; "quiet": one measures for ever, the other is suspended.
Prints the process ids of all its processes, then computes without looking after anything.
"""

from __future__ import annotations

import sys
import time

import psutil

from candidates import Walk
from vilfredo.executors.local import Local
from vilfredo.protocols import Started, Task, Work


def main(stage: str, start: str = "fork") -> None:
    executor = Local(Walk(), workers=2, deadline=600.0, start=start)  # type: ignore[arg-type]
    genome = {"x": 0.5}
    executor.submit(Task(0, Work({**genome, "at": stage, "does": "hang deaf"}), seed=0))
    started = 0
    while started < 1:
        started += sum(isinstance(e, Started) for e in executor.events(1.0))
    executor.submit(Task(1, Work({**genome, "seconds": 600.0}), seed=1))
    while stage == "quiet" and psutil.Process(executor.workers[1]).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    server = psutil.Process(executor.workers[0]).ppid()
    print(*executor.workers, server, flush=True)
    while True:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
