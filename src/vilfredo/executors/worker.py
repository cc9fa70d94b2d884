"""What runs in a worker process: it takes tasks from one connection, evaluates them and answers there.

A second connection, `control`, belongs to the supervisor: quiet is asked for and granted on it, and its
end means that the coordinator is gone. `cells` is memory shared with the supervisor, so that it can
tell how long a task has been running without asking anybody.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from vilfredo.evaluation import evaluate, explain
from vilfredo.protocols import GO, Outcome, Problem, Progress, Task, Verdict

# The cells, doubles of one worker. The supervisor writes SUSPENDED, the worker all others.
TICKET = 0  # of the running task; NONE if there is none
BEGAN = 1  # when it began, by `time.perf_counter`, which all processes of a machine share
SUSPENDED = 2  # seconds that this worker has been held so far, over all tasks
BASE = 3  # what SUSPENDED was when the task began
WAITED = 4  # seconds that the task has waited for verdicts
SINCE = 5  # since when it waits for one; 0 if it does not
LOG = 6  # how long the log file was when the task began
CELLS = 8
NONE = -1.0

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
LOST = 70  # exit code of a worker that cannot reach its coordinator


def elapsed(cells: memoryview[float], now: float) -> float:
    """Seconds that the running task has had for itself: neither held nor waiting for a verdict."""
    since = cells[SINCE]
    waits = now - since if since > 0 else 0.0
    seconds: float = now - cells[BEGAN] - (cells[SUSPENDED] - cells[BASE]) - cells[WAITED] - waits
    return seconds


def serve(
    tasks: Connection,
    control: Connection,
    cells: memoryview[float],
    load: Callable[[], Problem],
    threads: int,
    gpu: str | None,
) -> None:
    """Evaluate what comes, for ever; never returns."""
    try:
        cells[TICKET] = NONE
        _Loop(tasks, control, cells).run(load, threads, gpu)
    except (EOFError, OSError):  # the coordinator is gone, or the candidate closed the connection
        pass
    except BaseException as error:
        with contextlib.suppress(BaseException):
            sys.stderr.write(explain(error).traceback)
    os._exit(LOST)


class _Loop:
    def __init__(self, tasks: Connection, control: Connection, cells: memoryview[float]) -> None:
        self.tasks = tasks
        self.control = control
        self.cells = cells
        self.pid = os.getpid()
        self.inbox: deque[Task] = deque()
        self.outbox: list[tuple[Any, ...]] = []  # sent with the next message, or before waiting for a task
        self.granted = threading.Event()

    def run(self, load: Callable[[], Problem], threads: int, gpu: str | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator
        threading.Thread(target=self.watch, daemon=True).start()
        for name in THREADS:
            os.environ[name] = str(threads)
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        with contextlib.suppress(Exception):
            faulthandler.enable()
        try:
            problem = load()
        except BaseException as error:
            self.send(("broken", explain(error).message))
            os._exit(LOST)
        limited = _limit_torch(threads)
        self.send(("ready",))
        while True:
            task = self.next()
            seconds, outcome = self.evaluate(problem, task)
            limited = limited or _limit_torch(threads)
            self.outbox.append(("finished", task.ticket, outcome, seconds))

    def watch(self) -> None:
        """In a thread: wait for permission to measure, and for the end of the coordinator."""
        while True:
            try:
                self.control.recv_bytes()
            except (EOFError, OSError):
                os._exit(LOST)
            self.granted.set()

    # -- tasks ------------------------------------------------------------------------------------

    def send(self, *messages: tuple[Any, ...]) -> None:
        messages = (*self.outbox, *messages)
        self.outbox.clear()
        if messages:
            self.tasks.send_bytes(pickle.dumps(messages, pickle.HIGHEST_PROTOCOL))

    def receive(self) -> Any:
        return pickle.loads(self.tasks.recv_bytes())

    def next(self) -> Task:
        """The next task that has not been taken back."""
        while (more := self.has_more()) or not self.inbox:
            if not more:
                self.send()
            message = self.receive()
            if isinstance(message, Task):
                self.inbox.append(message)
            elif message[0] == "drop":
                self.drop(message[1])
        return self.inbox.popleft()

    def drop(self, ticket: int) -> None:
        self.inbox = deque(task for task in self.inbox if task.ticket != ticket)

    def has_more(self) -> bool:
        if sys.platform == "win32":
            return self.tasks.poll(0)
        return bool(select.select([self.tasks.fileno()], [], [], 0)[0])

    def evaluate(self, problem: Problem, task: Task) -> tuple[float, Outcome]:
        cells = self.cells
        cells[BASE] = cells[SUSPENDED]
        cells[WAITED] = 0.0
        with contextlib.suppress(OSError):
            cells[LOG] = float(os.fstat(2).st_size)
        cells[BEGAN] = time.perf_counter()
        cells[TICKET] = float(task.ticket)
        self.send(("started", task.ticket))
        try:
            outcome = evaluate(problem, task, self.on_epoch(task), self.quiet, self.clock)
        except BaseException as error:  # an interrupt that nobody but the candidate can have raised
            outcome = Outcome("failed", failure=explain(error))
        if os.getpid() != self.pid:  # the candidate has forked and let its child come this far
            os._exit(0)
        seconds = elapsed(cells, time.perf_counter())
        held = cells[SUSPENDED] - cells[BASE]
        if held > 0:
            outcome = replace(outcome, seconds={**outcome.seconds, "suspended": held})
        cells[TICKET] = NONE
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        return seconds, outcome

    def clock(self) -> float:
        """Stands still while this worker is held."""
        now: float = time.perf_counter() - self.cells[SUSPENDED]
        return now

    def on_epoch(self, task: Task) -> Callable[[Progress], Verdict]:
        def tell(progress: Progress) -> Verdict:
            if os.getpid() != self.pid:
                os._exit(0)
            self.send(("epoch", progress))
            return self.verdict(task.ticket) if task.judged else GO

        return tell

    def verdict(self, ticket: int) -> Verdict:
        cells = self.cells
        cells[SINCE] = began = time.perf_counter()
        while True:
            message = self.receive()
            if isinstance(message, Task):
                self.inbox.append(message)
            elif message[0] == "drop":
                self.drop(message[1])
            elif message[1] == ticket:
                cells[WAITED] += time.perf_counter() - began
                cells[SINCE] = 0.0
                verdict: Verdict = message[2]
                return verdict

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Held by one worker at a time; all others are suspended meanwhile."""
        self.granted.clear()
        self.control.send_bytes(b"quiet")
        self.granted.wait()
        try:
            yield
        finally:
            self.control.send_bytes(b"done")


def _limit_torch(threads: int) -> bool:
    """Hold torch to its threads, if it is loaded. What loads it later reads the environment."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    with contextlib.suppress(Exception):
        torch.set_num_threads(threads)
    with contextlib.suppress(Exception):
        torch.set_num_interop_threads(1)
    return True
