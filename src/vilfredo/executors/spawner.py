"""Workers as freshly started Pythons, where forking is not safe (macOS) or not there (Windows).

A new worker takes seconds if the problem imports torch. On macOS a suspended worker whose coordinator
is killed is woken by the kernel (its process group is orphaned) and ends itself; on Windows, where
nobody wakes it, the job may stay suspended.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from typing import Any

from vilfredo.executors import worker
from vilfredo.executors.state import Handle
from vilfredo.protocols import Problem


class Processes:
    """Starts workers with multiprocessing's spawn method."""

    def __init__(self, payload: bytes, threads: int, logs: list[str]) -> None:
        self._payload = payload
        self._threads = threads
        self._logs = logs  # by slot: where the worker's output goes
        self._context = get_context("spawn")
        self._processes: dict[int, Any] = {}

    def launch(self, slot: int, gpu: str | None, log: int) -> Handle:
        tasks, its_tasks = Pipe()
        control, its_control = Pipe()
        memory = self._context.RawArray("d", worker.CELLS)
        cells = memoryview(memory).cast("B").cast("d")
        cells[worker.TICKET] = worker.NONE
        process = self._context.Process(
            target=_main,
            args=(its_tasks, its_control, memory, self._payload, self._threads, gpu, self._logs[slot]),
            daemon=True,
        )
        kept = {name: os.environ.get(name) for name in worker.THREADS}
        os.environ.update(dict.fromkeys(worker.THREADS, str(self._threads)))
        try:
            process.start()
        finally:
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            its_tasks.close()
            its_control.close()
        assert process.pid is not None
        self._processes[process.pid] = process
        return Handle(slot, process.pid, tasks, control, cells, log)

    def sources(self) -> list[Any]:
        return [process.sentinel for process in self._processes.values()]

    def ended(self) -> list[tuple[int, int]]:
        found = []
        for pid, process in list(self._processes.items()):
            if (code := process.exitcode) is not None:
                _signal(pid, "SIGKILL")  # what it has left running
                process.close()
                del self._processes[pid]
                found.append((pid, code))
        return found

    def kill(self, handle: Handle) -> None:
        process = self._processes.get(handle.pid)
        if process is not None:
            _signal(handle.pid, "SIGKILL")
            process.kill()

    def suspend(self, handle: Handle) -> None:
        if not _signal(handle.pid, "SIGSTOP"):
            _psutil(handle.pid, "suspend")

    def resume(self, handle: Handle) -> None:
        if not _signal(handle.pid, "SIGCONT"):
            _psutil(handle.pid, "resume")

    def restart(self) -> None:
        """There is nothing that could be gone."""

    def close(self) -> None:
        for pid, process in self._processes.items():
            _signal(pid, "SIGKILL")
            process.kill()
            process.join()
            process.close()
        self._processes.clear()


def _signal(pid: int, name: str) -> bool:
    """Send a signal to the worker's process group; whether there are signals and it was there."""
    if not hasattr(os, "killpg"):
        return False
    try:
        os.killpg(pid, getattr(signal, name))
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _psutil(pid: int, action: str) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        getattr(psutil.Process(pid), action)()


def _main(
    tasks: Connection,
    control: Connection,
    memory: Any,
    payload: bytes,
    threads: int,
    gpu: str | None,
    log: str,
) -> None:
    """The new process."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)

    def load() -> Problem:
        problem: Problem = pickle.loads(payload)
        return problem

    worker.serve(tasks, control, memoryview(memory).cast("B").cast("d"), load, threads, gpu)
