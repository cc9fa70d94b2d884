"""Evaluations in worker processes of this machine, supervised: whatever a candidate does to its process
costs one attempt of one trial."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from vilfredo.executors import forkserver, spawner, worker
from vilfredo.executors.state import UNGUARDED, Broken, Handle, cause
from vilfredo.executors.watch import Launcher, Supervisor, resident
from vilfredo.protocols import Died, Event, Finished, Outcome, Problem, Started, Task, Verdict
from vilfredo.trial import Attempt

QUICK = 0.05  # seconds; tasks that take less on average are sent ahead to the workers
_AHEAD = 8  # at most so many
_AHEAD_BYTES = 4_096  # a larger task is not sent ahead: it must fit into the connection's buffer
_STARTS = 10  # so many workers in a row may end before they have loaded the problem

Start = Literal["fork", "spawn"]


class Local:
    """`workers` processes, each evaluating one task at a time.

    `deadline` (seconds, not counting time suspended or waiting for a verdict) and `memory` (bytes of
    resident memory of the worker itself, looked at every 50 ms) limit each task. Each worker computes
    with `threads` threads. `gpus` are device indices, or how many: worker i sees device i only, round
    robin; None leaves the devices as they are. What candidates print goes to the folder `log`, one file
    per worker, cut when it exceeds 16 MiB; without `log` only the end of what a dead worker printed is
    kept, in its failure. `preload` names modules to be loaded once, before workers are forked; what the
    problem's own modules import is loaded in any case, so it is for what candidates import later. A
    problem may name such modules itself, in an attribute `preload`.

    The problem is pickled and loaded once before workers are forked from there, so its `__setstate__`
    should not open files or devices. Raises `ValueError` where it cannot be pickled or loaded, and for
    limits that leave no room to work in.
    """

    def __init__(
        self,
        problem: Problem,
        workers: int = 2,
        deadline: float | None = None,
        memory: int | None = None,
        threads: int = 1,
        gpus: int | Sequence[int] | None = None,
        preload: Sequence[str] = (),
        log: str | None = None,
        start: Start | None = None,
    ) -> None:
        for name, value in (("workers", workers), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name, limit in (("deadline", deadline), ("memory", memory)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be more than 0, not {limit}")
        devices = list(range(gpus)) if isinstance(gpus, int) else list(gpus or [])
        if gpus is not None and not devices:
            raise ValueError("gpus must name at least one device, or be None")
        if forkserver.importing:
            raise Broken(UNGUARDED)
        start = start or ("fork" if sys.platform == "linux" else "spawn")
        payload, main = _pack(problem)

        self.slots = workers
        self._gpus = [str(devices[slot % len(devices)]) if devices else None for slot in range(workers)]
        self._waiting: deque[Task] = deque()
        self._owner: dict[int, Handle] = {}
        self._events: list[Event] = []
        self._dead: deque[Handle] = deque()  # filled by the supervisor
        self._dying: list[Handle] = []  # killed, their slot taken over
        self._mean: float | None = None  # seconds per task, of late
        self._failed_starts = 0
        self._closed = False
        self._bell, self._rope = Pipe(duplex=False)
        self._folder = None if log is not None else tempfile.TemporaryDirectory(prefix="vilfredo-")
        paths = _log_files(log or (self._folder.name if self._folder else ""), workers)
        self._logs = [os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600) for path in paths]
        if self._folder is not None and start == "fork":  # nothing is left of them, however this ends
            self._folder.cleanup()
            self._folder = None
        self._supervisor: Supervisor | None = None
        self._handles: list[Handle] = []
        try:
            launcher: Launcher
            if start == "fork":
                launcher = forkserver.Server(payload, main, (*preload, *_named(problem)), threads)
            else:
                launcher = spawner.Processes(payload, threads, paths)
            del payload
            self._supervisor = Supervisor(launcher, deadline, memory, self._on_end)
            for slot in range(workers):
                self._handles.append(self._launch(slot))
            self._await_first(memory)
        except BaseException as error:
            self.close()
            if isinstance(error, Broken):
                if str(error) == UNGUARDED:  # says by itself what to do
                    raise Broken(UNGUARDED) from None
                raise Broken(
                    f"the problem cannot be loaded in a worker process ({error}); {_ADVICE}"
                ) from None
            raise

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def workers(self) -> tuple[int, ...]:
        """The process ids of the workers, by slot."""
        return tuple(handle.pid for handle in self._handles)

    # -- the contract -----------------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        self._waiting.append(task)
        self._dispatch()

    def events(self, timeout: float) -> list[Event]:
        """What has happened since, in order; waits up to `timeout` seconds until there is something.

        Raises `ValueError` if workers end again and again before they can work.
        """
        until = time.monotonic() + timeout
        while True:
            self._dispatch()
            self._take_back()
            if self._events:
                self._listen(0.0)
                found, self._events = self._events, []
                self._dispatch()
                return found
            remaining = until - time.monotonic()
            if remaining <= 0 and timeout > 0:
                return []
            self._listen(min(remaining, QUICK) if self._stuck() else max(remaining, 0.0))
            if timeout <= 0 and not self._events:
                return []

    def reply(self, ticket: int, verdict: Verdict) -> None:
        handle = self._owner.get(ticket)
        if handle is not None:
            _send(handle, ("verdict", ticket, verdict))

    def stop(self, ticket: int) -> None:
        self._waiting = deque(task for task in self._waiting if task.ticket != ticket)
        handle = self._owner.get(ticket)
        if handle is not None:
            self._drain(handle)
            if ticket in handle.assigned:
                if ticket == next(iter(handle.assigned)):
                    self._replace(handle, without=ticket)
                else:
                    self._drop(handle, ticket)
        self._events = [event for event in self._events if event.ticket != ticket]

    def close(self) -> None:
        """End all workers, whatever they do."""
        if self._closed:
            return
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.close()
        for handle in (*self._handles, *self._dying):
            handle.close()
        for file in self._logs:
            os.close(file)
        self._bell.close()
        self._rope.close()
        if self._folder is not None:
            self._folder.cleanup()

    # -- sending ----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Send what waits to idle workers; short tasks to busy ones too, so that they need not wait."""
        while self._waiting:
            alive = [handle for handle in self._handles if handle.code is None]
            if not alive:
                return
            handle = min(alive, key=lambda h: len(h.assigned))
            task = self._waiting[0]
            data = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
            if len(handle.assigned) >= (1 if len(data) > _AHEAD_BYTES else self._depth()):
                return
            self._waiting.popleft()
            handle.assigned[task.ticket] = task
            self._owner[task.ticket] = handle
            with contextlib.suppress(OSError):  # it is dead: its tasks come back when that is noticed
                handle.tasks.send_bytes(data)

    def _depth(self) -> int:
        return 1 if self._mean is None or self._mean >= QUICK else _AHEAD

    def _stuck(self) -> bool:
        """Whether a task waits behind another while some worker has nothing to do."""
        loads = [len(handle.assigned) for handle in self._handles]
        return min(loads) == 0 and max(loads) > 1

    def _take_back(self) -> None:
        """Give a task that waits behind one that turns out to be long to a worker that is idle."""
        while not self._waiting and self._stuck():
            handle = max(self._handles, key=lambda h: len(h.assigned))
            if handle.running is None or time.perf_counter() - handle.cells[worker.BEGAN] < QUICK:
                return
            ticket, task = next(reversed(handle.assigned.items()))
            self._drop(handle, ticket)
            self._waiting.append(task)
            self._dispatch()

    def _drop(self, handle: Handle, ticket: int) -> None:
        del handle.assigned[ticket]
        del self._owner[ticket]
        _send(handle, ("drop", ticket))

    # -- listening --------------------------------------------------------------------------------

    def _listen(self, timeout: float) -> None:
        """Read what workers have sent, waiting up to `timeout` seconds for the first of it."""
        sources: dict[Any, Handle | None] = {h.tasks: h for h in self._handles if not h.tasks.closed}
        sources[self._bell] = None
        while ready := wait(list(sources), timeout):
            timeout = 0.0
            for source in ready:
                handle = sources[source]
                if handle is None:
                    self._bell.recv_bytes()
                    while self._dead:
                        self._bury(self._dead.popleft())
                    return
                if not self._read(handle):
                    del sources[source]
            if len(self._events) >= 64:
                return

    def _read(self, handle: Handle) -> bool:
        """Take what was sent at once; False if nothing will ever come."""
        try:
            messages = pickle.loads(handle.tasks.recv_bytes())
        except Exception:  # the end, or nonsense that the candidate wrote
            assert self._supervisor is not None
            self._supervisor.deaf(handle)
            handle.tasks.close()
            return False
        for message in messages:
            self._take(handle, message)
        return True

    def _drain(self, handle: Handle) -> None:
        while not handle.tasks.closed and wait([handle.tasks], 0):
            self._read(handle)

    def _take(self, handle: Handle, message: tuple[Any, ...]) -> None:
        if self._handles[handle.slot] is not handle:  # it has been replaced: nothing it says counts
            return
        match message:
            case ("ready",):
                handle.ready = True
                self._failed_starts = 0
            case ("broken", reason):
                raise Broken(reason)
            case ("started", ticket):
                if ticket not in handle.assigned:  # taken back too late
                    self._replace(handle)
                    return
                handle.running = ticket
                self._events.append(Started(ticket, handle.pid))
            case ("epoch", progress):
                if progress.ticket == handle.running:
                    self._events.append(progress)
            case ("finished", ticket, outcome, seconds):
                if ticket == handle.running:
                    self._finish(handle, outcome, seconds)

    def _finish(self, handle: Handle, outcome: Outcome, seconds: float) -> None:
        assert handle.running is not None
        task = handle.assigned.pop(handle.running)
        del self._owner[task.ticket]
        handle.running = None
        self._mean = seconds if self._mean is None else 0.8 * self._mean + 0.2 * seconds
        attempt = Attempt(task.attempt, handle.pid, seconds, outcome.failure)
        self._events.append(Finished(task.ticket, outcome, attempt))

    # -- workers that end -------------------------------------------------------------------------

    def _on_end(self, handle: Handle) -> None:
        """In the supervisor's thread."""
        self._dead.append(handle)
        with contextlib.suppress(OSError):
            self._rope.send_bytes(b"!")

    def _launch(self, slot: int) -> Handle:
        assert self._supervisor is not None
        return self._supervisor.launch(slot, self._gpus[slot], self._logs[slot])

    def _replace(self, handle: Handle, without: int | None = None) -> None:
        """Kill a worker without waiting for its end; what it had not begun goes to others."""
        assert self._supervisor is not None
        self._supervisor.kill(handle)
        if without is None:
            without = handle.running
        else:
            task = handle.assigned.pop(without)
            del self._owner[without]
            _remove_partial(task, handle.pid)
        self._hand_back(handle)
        self._dying.append(handle)
        self._handles[handle.slot] = self._launch(handle.slot)

    def _hand_back(self, handle: Handle) -> None:
        for ticket in handle.assigned:
            del self._owner[ticket]
        self._waiting.extendleft(reversed(handle.assigned.values()))
        handle.assigned.clear()

    def _bury(self, handle: Handle) -> None:
        """A worker has ended: its task has died, what waited behind it goes to others."""
        assert self._supervisor is not None
        if handle in self._dying:
            self._dying.remove(handle)
            handle.close()
            return
        self._drain(handle)
        if handle not in self._handles:  # it was replaced while its last messages were read
            self._dying.remove(handle)
            handle.close()
            return
        ticket = handle.running if handle.ticket is None else handle.ticket
        if ticket is not None and ticket in handle.assigned:
            self._died(handle, ticket)
        if not handle.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                failure = cause(handle, self._supervisor.ran_out_of_memory(handle))
                told = f": {failure.traceback.splitlines()[-1]}" if failure.traceback else ""
                raise Broken(f"workers end before they can work, the last one {failure.message}{told}")
        self._hand_back(handle)
        handle.close()
        self._handles[handle.slot] = self._launch(handle.slot)

    def _died(self, handle: Handle, ticket: int) -> None:
        assert self._supervisor is not None
        task = handle.assigned.pop(ticket)
        del self._owner[ticket]
        if handle.reason is not None and handle.reason[0] != ticket:
            # It was killed for what it had done before, and had just finished: this task is innocent.
            self._waiting.appendleft(task)
            return
        if handle.running != ticket:
            self._events.append(Started(ticket, handle.pid))
        failure = cause(handle, self._supervisor.ran_out_of_memory(handle))
        seconds = max(0.0, worker.elapsed(handle.cells, time.perf_counter()))
        self._events.append(Died(ticket, failure, Attempt(task.attempt, handle.pid, seconds, failure)))
        _remove_partial(task, handle.pid)

    def _await_first(self, memory: int | None) -> None:
        """Wait until one worker has loaded the problem, so that what is wrong with it is said at once."""
        while not any(handle.ready for handle in self._handles):
            self._listen(1.0)
        first = next(handle for handle in self._handles if handle.ready)
        used = resident(first.pid)
        if memory is not None and used >= memory:
            raise ValueError(
                f"a memory limit of {memory / 1e6:,.0f} MB is too low: "
                f"a worker uses {used / 1e6:,.0f} MB before it has begun"
            )


def _send(handle: Handle, message: tuple[Any, ...]) -> None:
    with contextlib.suppress(OSError):
        handle.tasks.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _remove_partial(task: Task, pid: int) -> None:
    """Remove the file that a killed worker was writing (`vilfredo.artifacts.write` names it so)."""
    if task.folder:
        for path in Path(task.folder).glob(f".*.{pid}"):
            path.unlink(missing_ok=True)


def _log_files(folder: str, workers: int) -> list[str]:
    Path(folder).mkdir(parents=True, exist_ok=True)
    return [str(Path(folder) / f"worker-{slot}.log") for slot in range(workers)]


# -- the problem's way to the workers ---------------------------------------------------------------

_ADVICE = (
    "define it, with the functions and classes it uses, at the top level of a module that can be "
    "imported, or search in this process (workers=0)"
)


def _pack(problem: Problem) -> tuple[bytes, dict[str, str]]:
    """The pickled problem, and how to get the script it is defined in, if it is defined in one."""
    try:
        payload = pickle.dumps(problem, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise Broken(f"the problem cannot be sent to worker processes ({text}); {_ADVICE}") from None
    if b"__main__" not in payload:
        return payload, {}
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        return payload, {"init_main_from_name": name}
    path = getattr(main, "__file__", None)
    if path is None or not Path(path).exists():
        raise Broken(
            f"the problem is defined in an interactive session, where workers cannot find it; {_ADVICE}"
        )
    return payload, {"init_main_from_path": os.path.abspath(path)}


def _named(problem: Problem) -> Sequence[str]:
    named: Sequence[str] = getattr(problem, "preload", ())
    return named
