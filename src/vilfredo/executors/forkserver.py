"""Workers forked from a small server process that has loaded the problem and what it imports.

A fork takes some 10 ms where a new Python that imports torch takes seconds, and the problem's data are
in memory once for all workers. The server is the parent of the workers: it reports how they ended,
ends whatever they leave running, and kills all of them when the coordinator is gone, suspended or not.
It has one thread and never computes, which is what makes forking it safe. POSIX; used on Linux (on
macOS system libraries start threads that do not survive a fork; workers are spawned there).

`main` and what it calls run in the server process, `Server` in the coordinator.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any

from vilfredo.executors import worker
from vilfredo.executors.state import Broken, Handle, Lost
from vilfredo.protocols import Problem

_MESSAGE = 1 << 16  # bytes; both sides send less
_STARTING = 300.0  # seconds that loading the problem may take
_PR_SET_PDEATHSIG = 1

importing = False
"""Whether this process is a server that imports a user's script: no search may start here."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the server is told first; the pickled problem comes with it as a file."""

    preload: Sequence[str]
    main: Mapping[str, str]  # for multiprocessing.spawn.prepare: which script or module is __main__
    share: bool  # load the problem in the server, once, rather than in every worker
    threads: int


# -- in the server ----------------------------------------------------------------------------------


def main(requests: int, exits: int) -> None:
    """The server: `requests` and `exits` are its two sockets' file descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked, told = socket.socket(fileno=requests), socket.socket(fileno=exits)
    parent = os.getppid()
    message, files = _receive(asked)
    setup: Setup = pickle.loads(message)
    try:
        load, answer = _prepare(setup, files[0])
    except BaseException as error:
        asked.send(pickle.dumps(("broken", _reason(error))))
        os._exit(1)
    asked.send(pickle.dumps(answer))
    gc.collect()
    gc.freeze()  # so that no collection in a worker touches, and so copies, what is shared
    _serve(asked, told, parent, load, setup.threads)


def _prepare(setup: Setup, file: int) -> tuple[Callable[[], Problem], tuple[str, ...]]:
    global importing
    for name in setup.preload:
        _import(name)
    if setup.main:
        importing = True
        spawn.prepare(dict(setup.main))
        importing = False
    if not setup.share:
        return (lambda: _read(file)), ("ready",)
    problem = _read(file)
    os.close(file)
    if "torch" in sys.modules:  # what the first step of its optimizers imports, for about a second
        _import("torch._dynamo")
    if _threads() > 1:  # what it has started would not live on in a fork
        return (lambda: problem), ("threads",)
    return (lambda: problem), ("ready",)


def _import(name: str) -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)


def _read(file: int) -> Problem:
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as pickled:  # several workers read it at once
        problem: Problem = pickle.loads(pickled)
        return problem


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    message, files, _, _ = socket.recv_fds(sock, _MESSAGE, 8)
    return message, files


def _serve(
    asked: socket.socket, told: socket.socket, parent: int, load: Callable[[], Problem], threads: int
) -> None:
    wake, bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    while True:
        sources: list[Any] = [asked, wake]
        ready = select.select(sources, [], [], 0.5)[0]
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _reap(children, told)
        message, files = _receive(asked) if asked in ready else (b"-", [])
        if not message or os.getppid() != parent:
            break
        if message == b"-":
            continue
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            if prctl is not None:
                prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != server:
                os._exit(1)
            os.setpgid(0, 0)  # a group of its own: killed with all its children, and deaf to Ctrl-C
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(wake)
            os.close(bell)
            asked.close()
            told.close()
            _become_worker(files, pickle.loads(message), load, threads)
        for file in files:
            os.close(file)
        children.add(pid)
        asked.send(pickle.dumps(pid))
    for pid in children:
        _kill_group(pid)
    for pid in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    os._exit(0)


def _become_worker(files: list[int], gpu: str | None, load: Callable[[], Problem], threads: int) -> None:
    tasks, control, memory, log = files
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for file in (null, log):
        if file > 2:
            os.close(file)
    cells = memoryview(mmap.mmap(memory, worker.CELLS * 8)).cast("d")
    os.close(memory)
    worker.serve(Connection(tasks), Connection(control), cells, load, threads, gpu)


def _reap(children: set[int], told: socket.socket) -> None:
    """Report the workers that have ended, after killing what they have left running."""
    while children:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        _kill_group(found.si_pid)  # while the dead worker still holds its number
        pid, status = os.waitpid(found.si_pid, 0)
        if pid in children:
            children.remove(pid)
            with contextlib.suppress(OSError):
                told.send(pickle.dumps((pid, os.waitstatus_to_exitcode(status))))


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# -- in the coordinator -----------------------------------------------------------------------------


class Server:
    """Starts the server, and workers from it. Raises `Broken` if the problem cannot be loaded there."""

    def __init__(self, payload: bytes, main: Mapping[str, str], preload: Sequence[str], threads: int) -> None:
        self._threads = threads
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this object
        self._file.write(payload)
        self._file.flush()
        self._main = main
        self._preload = tuple(preload)
        self._share = True
        self._alive: set[int] = set()
        self._gone = False
        try:
            self._start()
        except BaseException:
            self._file.close()
            raise

    def _start(self) -> None:
        answer = self._launch()
        if answer[0] == "threads":
            self._stop()
            self._share = False
            answer = self._launch()
        if answer[0] != "ready":
            self._stop()
            raise Broken(answer[1])

    def _launch(self) -> tuple[str, ...]:
        """Start the process and wait until it has loaded the problem."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        our_exits, its_exits = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = (
            "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
            "from vilfredo.executors.forkserver import main; main(int(sys.argv[2]), int(sys.argv[3]))"
        )
        path = json.dumps([p if isinstance(p, str) else os.fsdecode(p) for p in sys.path])
        with its, its_exits:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, path, str(its.fileno()), str(its_exits.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(its.fileno(), its_exits.fileno()),
                env={**os.environ, **dict.fromkeys(worker.THREADS, "1")},
                process_group=0,  # not a session of its own: `nice` is for all processes of a session
            )
        self._requests, self._exits = ours, our_exits
        self._exits.setblocking(False)
        setup = Setup(self._preload, self._main, self._share, self._threads)
        self._requests.settimeout(_STARTING)
        try:
            socket.send_fds(self._requests, [pickle.dumps(setup)], [self._file.fileno()])
            answer = self._requests.recv(_MESSAGE)
        except TimeoutError:
            answer = pickle.dumps(("broken", f"it was not loaded within {_STARTING:.0f} s"))
        except OSError:
            answer = b""
        if not answer:
            self._process.kill()
            assert self._process.stderr is not None
            told = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            return ("broken", f"the server ended: {told[-1] if told else 'without a word'}")
        result: tuple[str, ...] = pickle.loads(answer)
        return result

    def launch(self, slot: int, gpu: str | None, log: int) -> Handle:
        """A new worker. Raises `Lost` when the server is gone (`restart` it)."""
        tasks, its_tasks = socket.socketpair()
        control, its_control = socket.socketpair()
        memory = os.memfd_create("vilfredo-cells", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, worker.CELLS * 8)
            cells = memoryview(mmap.mmap(memory, worker.CELLS * 8)).cast("d")
            cells[worker.TICKET] = worker.NONE
            files = [its_tasks.fileno(), its_control.fileno(), memory, log]
            socket.send_fds(self._requests, [pickle.dumps(gpu)], files)
            answer = self._requests.recv(_MESSAGE)
            if not answer:
                raise Lost
        except (OSError, Lost) as problem:
            tasks.close()
            control.close()
            raise Lost("the fork server is gone") from problem
        finally:
            its_tasks.close()
            its_control.close()
            os.close(memory)
        pid: int = pickle.loads(answer)
        self._alive.add(pid)
        return Handle(slot, pid, Connection(tasks.detach()), Connection(control.detach()), cells, log)

    def sources(self) -> list[Any]:
        """What becomes readable when `ended` has something to tell."""
        return [] if self._gone else [self._exits]

    def ended(self) -> list[tuple[int, int]]:
        """Process ids and exit codes (negative: a signal) of the workers that have ended since."""
        found: list[tuple[int, int]] = []
        while not self._gone:
            try:
                message = self._exits.recv(_MESSAGE)
            except BlockingIOError:
                return found
            except OSError:
                message = b""
            if not message:  # the server is gone, and its workers with it
                self._gone = True
                lost, self._alive = self._alive, set()
                for pid in lost:
                    _kill_group(pid)
                return [*found, *((pid, -int(signal.SIGKILL)) for pid in lost)]
            pid, code = pickle.loads(message)
            self._alive.discard(pid)
            found.append((pid, code))
        return found

    def kill(self, handle: Handle) -> None:
        _kill_group(handle.pid)

    def suspend(self, handle: Handle) -> None:
        _signal_group(handle.pid, signal.SIGSTOP)

    def resume(self, handle: Handle) -> None:
        _signal_group(handle.pid, signal.SIGCONT)

    def restart(self) -> None:
        """A new server in place of one that was killed."""
        self._stop()
        self._start()
        self._gone = False

    def _stop(self) -> None:
        self._requests.close()
        self._exits.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def close(self) -> None:
        """End the server and every worker."""
        self._stop()
        self._file.close()


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
