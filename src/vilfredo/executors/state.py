"""What the coordinator knows of one worker process."""

from __future__ import annotations

import mmap
import os
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from vilfredo.executors import worker
from vilfredo.protocols import Task
from vilfredo.trial import Failure

_TAIL = 4_000  # bytes of a dead worker's output that go into its failure


UNGUARDED = (
    "the script starts its search while a worker process imports it: put what starts it under "
    '`if __name__ == "__main__":`'
)


class Broken(ValueError):
    """The problem cannot be loaded in a worker process; says why and what to do."""


class Lost(Exception):
    """What starts the workers is gone."""


@dataclass(slots=True, eq=False)
class Handle:
    """One worker process. The supervisor's thread writes `code`, `waiting`, `stopped` and `held_since`;
    whoever wants it dead writes `reason`, once; the rest is the executor's."""

    slot: int
    pid: int
    tasks: Connection
    control: Connection
    cells: memoryview[float]
    log: int  # file descriptor of its output

    code: int | None = None  # exit code when it has ended; negative: the signal
    reason: tuple[int, Failure] | None = None  # of which ticket, and why it was killed
    listening: bool = True  # on `control`
    deaf_since: float | None = None  # its connection for tasks has ended (the executor writes this)
    waiting: bool = False  # for quiet
    stopped: bool = False  # suspended
    held_since: float | None = None  # waiting or stopped
    ooms: int = 0  # what the kernel's count of out-of-memory kills was when it started

    ready: bool = False  # has loaded the problem
    assigned: dict[int, Task] = field(default_factory=dict)  # by ticket, in the order in which they were sent
    running: int | None = None  # the ticket that it has said it works on

    @property
    def ticket(self) -> int | None:
        """The ticket that it works on now, by its own shared memory; None if there is none."""
        number = self.cells[worker.TICKET]
        return int(number) if number >= 0 else None

    def tail(self) -> str:
        """The end of what it has printed during the running task."""
        try:
            size = os.fstat(self.log).st_size
            began = int(self.cells[worker.LOG])
            began = began if began <= size else 0  # it has been cut since
            os.lseek(self.log, max(began, size - _TAIL), os.SEEK_SET)
            return os.read(self.log, _TAIL).decode(errors="replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Let go of everything that is shared with the worker, which has ended."""
        self.tasks.close()
        self.control.close()
        memory = self.cells.obj
        self.cells.release()
        if isinstance(memory, mmap.mmap):
            memory.close()


def cause(handle: Handle, out_of_memory: bool) -> Failure:
    """Why the worker has ended, with the end of its output as the traceback.

    `out_of_memory`: the kernel has killed for want of memory since it started.
    """
    code = handle.code or 0
    if handle.reason is not None and (code == -_KILL or os.name == "nt"):
        kind, message = handle.reason[1].kind, handle.reason[1].message
    elif code == -_KILL and out_of_memory:
        kind, message = "out of memory", "killed by the system, which had run out of memory"
    elif code < 0:
        kind, message = "signal", f"killed by {_signal_name(-code)}"
    elif code == worker.LOST:
        kind, message = "exit", "lost its connection to the search: the candidate closed it, or ended it"
    else:
        kind, message = "exit", f"ended the process with exit code {code}"
    return Failure(kind, message, handle.tail())


_KILL = int(getattr(signal, "SIGKILL", 9))


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    about = signal.strsignal(number)
    return f"{name} ({about.lower()})" if about else name
