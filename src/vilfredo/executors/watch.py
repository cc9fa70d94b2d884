"""A thread that watches over the workers: deadlines, memory, quiet, and how they ended.

It works while the coordinator's main thread is busy. Its only contact with that thread is the handles,
a lock around them, and a bell that it rings when a worker has ended.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any, Protocol

from vilfredo.executors import worker
from vilfredo.executors.state import Handle
from vilfredo.trial import Failure

POLL = 0.05  # seconds between two looks at deadlines and memory
_SELDOM = 1.0  # between two looks where there is no limit to watch
_GRACE = 0.1  # seconds that a worker whose connection has ended may take to end by itself
LOG_LIMIT = 16 * 2**20  # bytes; a worker's output is cut to nothing beyond it


class Launcher(Protocol):
    """What starts processes and stops them: `forkserver.Server` or `spawner.Processes`."""

    def launch(self, slot: int, gpu: str | None, log: int) -> Handle: ...
    def sources(self) -> list[Any]: ...
    def ended(self) -> list[tuple[int, int]]: ...
    def kill(self, handle: Handle) -> None: ...
    def suspend(self, handle: Handle) -> None: ...
    def resume(self, handle: Handle) -> None: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...


class Supervisor:
    """`deadline` in seconds and `memory` in bytes of resident memory, for each task; None: no limit.
    `ended(handle)` is called, in this thread, when a worker has ended."""

    def __init__(
        self,
        launcher: Launcher,
        deadline: float | None,
        memory: int | None,
        ended: Callable[[Handle], None],
    ) -> None:
        self._launcher = launcher
        self._deadline = deadline
        self._memory = memory
        self._ended = ended
        self._lock = threading.RLock()
        self._handles: dict[int, Handle] = {}  # by process id
        self._codes: dict[int, int] = {}  # of workers that ended before they were added
        self._queue: deque[Handle] = deque()  # who waits for quiet
        self._holder: Handle | None = None  # who has it
        self._looked = 0.0
        self._closing = False
        self._bell, self._rope = Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run, name="vilfredo-supervisor", daemon=True)
        self._thread.start()

    def launch(self, slot: int, gpu: str | None, log: int) -> Handle:
        """Start a worker and watch over it; what starts workers is started again if it is gone."""
        with self._lock:
            try:
                handle = self._launcher.launch(slot, gpu, log)
            except Exception:
                self._collect()
                self._launcher.restart()
                handle = self._launcher.launch(slot, gpu, log)
            handle.ooms = out_of_memory_kills()
            self._handles[handle.pid] = handle
            if handle.pid in self._codes:
                self._end(handle, self._codes.pop(handle.pid))
            self._arbitrate()
        self._ring()
        return handle

    def kill(self, handle: Handle, reason: tuple[int, Failure] | None = None) -> None:
        with self._lock:
            if handle.code is None:
                handle.reason = handle.reason or reason
                self._launcher.kill(handle)

    def deaf(self, handle: Handle) -> None:
        """The worker cannot be talked to any more: either it is just ending, or it will be killed."""
        with self._lock:
            handle.deaf_since = handle.deaf_since or time.perf_counter()
        self._ring()

    def ran_out_of_memory(self, handle: Handle) -> bool:
        """Whether the kernel has killed for want of memory since this worker started."""
        with self._lock:
            kills = out_of_memory_kills()
            if kills <= handle.ooms:
                return False
            for other in self._handles.values():  # that kill is accounted for
                other.ooms = kills
            return True

    def close(self) -> None:
        """Kill every worker and end the thread and what starts workers."""
        self._closing = True
        self._ring()
        self._thread.join()
        with self._lock:
            for handle in self._handles.values():
                self._launcher.kill(handle)
            self._launcher.close()
        self._bell.close()
        self._rope.close()

    # -- the thread -------------------------------------------------------------------------------

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._rope.send_bytes(b"!")

    def _run(self) -> None:
        while not self._closing:
            with self._lock:
                controls = {h.control: h for h in self._handles.values() if h.listening}
                limited = self._deadline is not None or self._memory is not None
                often = limited or any(h.deaf_since is not None for h in self._handles.values())
                sources = [*controls, *self._launcher.sources(), self._bell]
            try:
                ready = wait(sources, POLL if often else _SELDOM)
            except (OSError, ValueError):  # one was closed in the meantime
                continue
            with self._lock:
                if self._bell in ready:
                    self._bell.recv_bytes()
                for source in ready:
                    if source in controls:
                        self._hear(controls[source])
                self._collect()
                self._arbitrate()
                self._police()

    def _collect(self) -> None:
        for pid, code in self._launcher.ended():
            handle = self._handles.get(pid)
            if handle is None:
                self._codes[pid] = code
            else:
                self._end(handle, code)

    def _end(self, handle: Handle, code: int) -> None:
        handle.code = code
        del self._handles[handle.pid]
        self._ended(handle)

    def _hear(self, handle: Handle) -> None:
        try:
            message = handle.control.recv_bytes(64)
        except (EOFError, OSError):
            handle.listening = False
            return
        if message == b"quiet" and handle not in self._queue:
            handle.waiting = True
            self._hold(handle)
            self._queue.append(handle)
        elif message == b"done" and handle is self._holder:
            self._holder = None

    # -- quiet ------------------------------------------------------------------------------------

    def _arbitrate(self) -> None:
        """Give quiet to the next who waits for it, and suspend all others as long as somebody has it."""
        if self._holder is not None and self._holder.code is not None:
            self._holder = None
        while self._holder is None and self._queue:
            first = self._queue.popleft()
            if first.code is None:
                self._grant(first)
        for handle in self._handles.values():
            held = self._holder is not None and handle is not self._holder
            if held and not handle.stopped:
                handle.stopped = True
                self._hold(handle)
                self._launcher.suspend(handle)
            elif not held and handle.stopped:
                self._resume(handle)

    def _grant(self, handle: Handle) -> None:
        self._holder = handle
        handle.waiting = False
        for other in self._handles.values():
            if other is not handle and not other.stopped:
                other.stopped = True
                self._hold(other)
                self._launcher.suspend(other)
        if handle.stopped:
            self._resume(handle)
        self._release(handle)
        with contextlib.suppress(OSError):
            handle.control.send_bytes(b"go")

    def _hold(self, handle: Handle) -> None:
        if handle.held_since is None:
            handle.held_since = time.perf_counter()

    def _release(self, handle: Handle) -> None:
        """Tell it how long it was held, unless it still is; before it goes on, so that it never sees
        the time without the correction."""
        if handle.held_since is not None and not handle.waiting and not handle.stopped:
            handle.cells[worker.SUSPENDED] += time.perf_counter() - handle.held_since
            handle.held_since = None

    def _resume(self, handle: Handle) -> None:
        handle.stopped = False
        self._release(handle)
        self._launcher.resume(handle)

    # -- limits -----------------------------------------------------------------------------------

    def _police(self) -> None:
        now = time.perf_counter()
        if now - self._looked < POLL / 2:
            return
        self._looked = now
        for handle in self._handles.values():
            self._cut(handle)
            ticket = handle.ticket
            if handle.deaf_since is not None and now - handle.deaf_since > _GRACE:
                failure = Failure("exit", "lost its connection to the search: the candidate closed it")
                self.kill(handle, (-1 if ticket is None else ticket, failure))
                continue
            if ticket is None or handle.reason is not None:
                continue
            held = now - handle.held_since if handle.held_since is not None else 0.0
            if self._deadline is not None and worker.elapsed(handle.cells, now) - held > self._deadline:
                failure = Failure("timeout", f"took longer than {self._deadline:g} s")
            elif self._memory is not None and resident(handle.pid) > self._memory:
                failure = Failure("out of memory", f"used more than {self._memory / 1e6:,.0f} MB of memory")
            else:
                continue
            if handle.ticket == ticket:  # not finished in the meantime
                self.kill(handle, (ticket, failure))

    def _cut(self, handle: Handle) -> None:
        with contextlib.suppress(OSError):
            if os.fstat(handle.log).st_size > LOG_LIMIT:
                os.ftruncate(handle.log, 0)


def resident(pid: int) -> int:
    """Bytes of physical memory that a process uses; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError):
        pass  # it is gone, or this is not Linux
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def out_of_memory_kills() -> int:
    """How often the kernel has killed for want of memory since it started; 0 where it does not tell."""
    try:
        with open("/proc/vmstat") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return 0
