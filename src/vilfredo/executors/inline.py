"""Evaluations in this process, of simulated candidates a whole population in one compiled call; of others one
after the other, which suits quick problems, debugging and notebooks."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

from vilfredo.evaluation import steps, together
from vilfredo.protocols import (
    BatchProblem,
    Event,
    Finished,
    Outcome,
    Problem,
    Progress,
    Started,
    Task,
    Verdict,
)
from vilfredo.trial import Attempt

PATIENCE = 1.0  # seconds that candidates are computed together, as far as can be foreseen
GROWTH = 4  # of a batch from one to the next, at most: some candidates are quick, the next may be slow


@dataclass(slots=True)
class _Running:
    task: Task
    stages: Generator[Progress, Verdict | None, Outcome]
    began: float
    verdict: Verdict | None = None
    waiting: bool = False  # for a reply


class Inline:
    """One task at a time, computed inside `events`, which returns after each epoch. Of a `BatchProblem`
    up to `batch` tasks are computed together, of those that wait as many as take about a second.

    A candidate can raise, return nonsense or call `exit`, and is a failed trial then. What needs a
    process of its own to be survived is not survived here: there is no deadline, no memory limit, and
    a segmentation fault ends the program. Use `Local` for candidates that cannot be trusted so far.

    PyTorch computes with `threads` threads until `close`, so that a result does not depend on the
    machine's number of cores (small networks are not slower for it). Raises `ValueError` for fewer
    than one, and for a batch of none.
    """

    def __init__(self, problem: Problem, threads: int = 1, batch: int = 100) -> None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        if batch < 1:
            raise ValueError(f"batch is {batch}; it must be at least 1")
        self._problem = problem
        self._threads = threads
        self._threads_before: int | None = None
        self._queue: deque[Task] = deque()
        self._running: _Running | None = None
        self._batch = isinstance(problem, BatchProblem)
        self.slots = batch if self._batch else 1
        self._most = 1  # tasks of the next batch: the first says how long they take

    def submit(self, task: Task) -> None:
        self._queue.append(task)

    def events(self, timeout: float) -> list[Event]:
        """The next event. It may take longer than `timeout`: a running epoch is not interrupted. With
        nothing to do, or waiting for a reply, it returns an empty list at once: nothing would come."""
        if self._running is None:
            return self._start()
        running = self._running
        if running.waiting:
            return []
        try:
            progress = running.stages.send(running.verdict)
        except StopIteration as end:
            self._running = None
            return [self._finished(running, end.value)]
        except BaseException:  # KeyboardInterrupt: the task is lost, the executor is not
            self._running = None
            raise
        running.verdict = None
        running.waiting = running.task.judged
        return [progress]

    def _start(self) -> list[Event]:
        if not self._queue:
            return []
        self._set_threads()
        if self._batch:
            return self._together()
        task = self._queue.popleft()
        self._running = _Running(task, steps(self._problem, task), time.perf_counter())
        return [Started(task.ticket, os.getpid())]

    def _together(self) -> list[Event]:
        tasks = [self._queue.popleft() for _ in range(min(self._most, self.slots, len(self._queue)))]
        began = time.perf_counter()
        outcomes = together(self._problem, tasks)
        each = (time.perf_counter() - began) / len(tasks)
        self._most = max(1, min(self.slots, GROWTH * self._most, int(PATIENCE / max(each, 1e-6))))
        events: list[Event] = [Started(task.ticket, os.getpid()) for task in tasks]
        for task, outcome in zip(tasks, outcomes, strict=True):
            seconds = sum(outcome.seconds.values())
            attempt = Attempt(task.attempt, os.getpid(), seconds, outcome.failure)
            events.append(Finished(task.ticket, outcome, attempt))
        return events

    def _set_threads(self) -> None:
        torch = sys.modules.get("torch")  # not ours to import: a problem without it needs no threads
        if torch is not None and self._threads_before is None:
            self._threads_before = torch.get_num_threads()
            torch.set_num_threads(self._threads)

    def _finished(self, running: _Running, outcome: Outcome) -> Finished:
        seconds = time.perf_counter() - running.began
        attempt = Attempt(running.task.attempt, os.getpid(), seconds, outcome.failure)
        return Finished(running.task.ticket, outcome, attempt)

    def reply(self, ticket: int, verdict: Verdict) -> None:
        running = self._running
        if running is not None and running.task.ticket == ticket and running.waiting:
            running.verdict = verdict
            running.waiting = False

    def stop(self, ticket: int) -> None:
        self._queue = deque(task for task in self._queue if task.ticket != ticket)
        if self._running is not None and self._running.task.ticket == ticket:
            stages, self._running = self._running.stages, None
            with suppress(Exception):
                stages.close()

    def close(self) -> None:
        self._queue.clear()
        if self._running is not None:
            self.stop(self._running.task.ticket)
        if self._threads_before is not None:
            sys.modules["torch"].set_num_threads(self._threads_before)
            self._threads_before = None
