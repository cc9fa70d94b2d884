"""Campaigns spread over processes: engines that several workers compute for.

`shared` gives stand-ins for engines, which answer as these do: injections are dealt out in small lots to
whoever is free, answers are put back in order. Each injection is computed on its own, so what comes out does
not depend on how many workers there are. In floating point it could depend on the number of threads by which
torch splits a sum: there everybody computes with one, with one worker too.

Workers are freshly started Pythons, for a forked one would inherit torch's threads as locks that nobody
opens. What the engines hold in large arrays (weights, activations and sums without faults) lies in memory
that all workers share; each has its own of what the engine derives from it, and of a batch at work. A worker
that dies is replaced, and its lot computed again.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import math
import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.campaign.injection import Injection, Runs
from vilfredo.nn.deployed import Deployed

LOTS = 4  # that a worker gets of a batch, so that no one waits long for the last
DEATHS = 3  # at the same lot, after which there is no fourth
_STALE = -1  # a lot that nobody waits for any more
_LARGE = 1 << 12  # bytes, from which on an array is shared
_LINE = 64  # bytes, at multiples of which arrays begin


class Lost(ValueError):
    """Workers died again and again at the same faults."""


@contextmanager
def shared(engines: Sequence[Runs], workers: int) -> Iterator[tuple[Runs, ...]]:
    """These engines, computed by so many processes until the end of the `with` block.

    With one worker nothing is started. Scripts that ask for more need `if __name__ == "__main__":` around
    what they do, because each worker imports them. Raises `ValueError` for less than one worker.
    """
    if workers < 1:
        raise ValueError(f"campaigns need 1 worker or more, not {workers}")
    if workers == 1:
        yield tuple(Here(engine) for engine in engines)
        return
    crew = _Crew(engines, workers)
    try:
        yield tuple(There(engine, crew, number) for number, engine in enumerate(engines))
    finally:
        crew.close()


class Here:
    """An engine in this process."""

    workers = 1

    def __init__(self, engine: Runs) -> None:
        self.engine = engine

    @property
    def network(self) -> Deployed:
        return self.engine.network

    @property
    def golden(self) -> Tensor:
        return self.engine.golden

    @property
    def classes(self) -> Tensor:
        return self.engine.classes

    def classes_under(self, injections: Sequence[Injection]) -> NDArray[np.int64]:
        with threads_for(self.network):
            return self.engine.classes_under(injections)


class There(Here):
    """An engine that a crew computes for; `number` is its place there."""

    def __init__(self, engine: Runs, crew: _Crew, number: int) -> None:
        super().__init__(engine)
        self.workers, self._crew, self._number = crew.workers, crew, number

    @property
    def shared_bytes(self) -> int:
        """What all workers have in common, in bytes; 0 while none was needed."""
        return self._crew.shared_bytes

    def classes_under(self, injections: Sequence[Injection]) -> NDArray[np.int64]:
        golden = self.classes.numpy()
        found = np.tile(golden, (len(injections), 1))
        size = max(1, math.ceil(len(injections) / (LOTS * self.workers)))
        lots = [(i, injections[i : i + size]) for i in range(0, len(injections), size)]
        tasks = [pickle.dumps((self._number, lot), pickle.HIGHEST_PROTOCOL) for _, lot in lots]
        for number, (which, image, classes) in self._crew.answers(tasks):
            found[lots[number][0] + which, image] = classes
        return found


@contextmanager
def threads_for(network: Deployed) -> Iterator[None]:
    """Floating-point networks are computed by one thread."""
    before = torch.get_num_threads()
    if network.form != "whole":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -- the processes ----------------------------------------------------------------------------------


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    at: int | None = None  # the number of the lot that it computes


class _Crew:
    """Processes that hold the engines, and the lots that they are at."""

    def __init__(self, engines: Sequence[Runs], workers: int) -> None:
        self.workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._engines = [_smaller(engine, workers) for engine in engines]
        self._held: tuple[bytes, Any] | None = None  # what workers are given
        self._threads = max(1, torch.get_num_threads() // workers)
        self._asked = 0  # calls so far: what is left of one that was interrupted is not taken for the next
        self._crew: list[_Worker] = []

    @property
    def shared_bytes(self) -> int:
        return 0 if self._held is None else len(self._held[1])

    def _started(self) -> _Worker:
        if self._held is None:
            self._held = _packed(self._engines, self._context)
        ours, theirs = self._context.Pipe()
        arguments = (theirs, *self._held, self._threads)
        process = self._context.Process(target=_serve, args=arguments, daemon=True, name="vilfredo-faults")
        with _deaf():  # Ctrl-C is for us alone, from the worker's first moment on
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def answers(self, tasks: Sequence[bytes]) -> Iterator[tuple[int, Any]]:
        """What comes of each task, with its number, in whatever order. Raises what a task raises, and
        `Lost`."""
        self._asked += 1
        waiting, deaths = deque(range(len(tasks))), dict.fromkeys(range(len(tasks)), 0)
        for worker in self._crew:
            worker.at = None if worker.at is None else _STALE  # until it has answered
        left = len(tasks)
        while len(self._crew) < min(self.workers, left):  # none before there is work, as after a full log
            self._crew.append(self._started())
        while left:
            for place, worker in enumerate(self._crew):
                if worker.at is None and waiting:
                    number = waiting.popleft()
                    try:
                        worker.pipe.send_bytes(pickle.dumps((self._asked, number)))
                        worker.pipe.send_bytes(tasks[number])
                        worker.at = number
                    except OSError:  # it is dead and nobody has noticed
                        waiting.appendleft(number)
                        self._replace(place)
            there = wait([w.pipe for w in self._crew] + [w.process.sentinel for w in self._crew])
            for place, worker in enumerate(self._crew):
                if worker.pipe in there:
                    try:
                        asked, number, fine, result = pickle.loads(worker.pipe.recv_bytes())
                    except (EOFError, OSError):
                        pass
                    else:
                        worker.at = None
                        if asked == self._asked:
                            left -= 1
                            if not fine:
                                raise result
                            yield number, result
                        continue
                elif worker.process.sentinel not in there:
                    continue
                number_lost, code = worker.at, self._replace(place)
                if number_lost in (None, _STALE):
                    continue
                assert number_lost is not None
                waiting.appendleft(number_lost)
                deaths[number_lost] += 1
                if deaths[number_lost] >= DEATHS:
                    raise Lost(
                        f"{DEATHS} workers died one after the other at the same faults, the last with exit "
                        f"code {code}; if memory is short, take fewer --workers"
                    )

    def _replace(self, place: int) -> int | None:
        """Another worker in the place of a dead one, whose exit code is returned."""
        worker = self._crew[place]
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()
        code = worker.process.exitcode
        worker.process.close()
        self._crew[place] = self._started()
        return code

    def close(self) -> None:
        for worker in self._crew:
            worker.pipe.close()
            worker.process.kill()  # they hold nothing that could be lost
        for worker in self._crew:
            worker.process.join()
            worker.process.close()
        self._crew.clear()


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started in here does not hear Ctrl-C, which the terminal sends to all its processes; we hear it
    afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, payload: bytes, memory: Any, threads: int) -> None:
    """A worker's life: it ends when nobody is there who could ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        engines = _unpacked(payload, memory)
        while True:
            asked, number = pickle.loads(pipe.recv_bytes())
            which, injections = pickle.loads(pipe.recv_bytes())
            engine: Runs = engines[which]
            torch.set_num_threads(threads if engine.network.form == "whole" else 1)
            answer: tuple[int, int, bool, Any]
            try:
                answer = (asked, number, True, _changed(engine, injections))
            except Exception as problem:
                answer = (asked, number, False, problem)
            pipe.send_bytes(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


def _changed(engine: Runs, injections: Sequence[Injection]) -> tuple[NDArray[Any], ...]:
    """Which injection, which image and which class, of all classes that are others than without faults."""
    classes = engine.classes_under(injections)
    which, image = np.nonzero(classes != engine.classes.numpy())
    return which.astype(np.int32), image.astype(np.int32), classes[which, image]


# -- what all of them hold ------------------------------------------------------------------------------


def _smaller(engine: Runs, workers: int) -> Runs:
    """The engine as a worker has it: the memory for batches is divided among them."""
    if not hasattr(engine, "memory"):
        return engine
    mine: Any = copy(engine)
    mine.memory = engine.memory // workers
    return mine  # type: ignore[no-any-return]


def _packed(engines: Sequence[Runs], context: Any) -> tuple[bytes, Any]:
    """The engines without their large arrays, and the memory in which these lie."""
    file = io.BytesIO()
    out = _Out(file)
    out.dump(list(engines))
    memory = context.RawArray(ctypes.c_byte, max(out.size, 1))
    whole = memoryview(memory).cast("B")
    for start, flat in out.parts:
        whole[start : start + len(flat)] = flat
    return file.getvalue(), memory


def _unpacked(payload: bytes, memory: Any) -> list[Runs]:
    found: list[Runs] = _In(io.BytesIO(payload), memory).load()
    return found


Place = tuple[str, int, Any, tuple[int, ...]]  # what it is, where it begins, type of numbers, shape


class _Out(pickle.Pickler):
    """Writes large arrays aside, each stretch of memory once."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.size = 0
        self.parts: list[tuple[int, memoryview]] = []
        self._known: dict[tuple[int, int], int] = {}
        self._kept: list[Any] = []  # what is contiguous for this only, lest its address come again

    def persistent_id(self, thing: Any) -> Place | None:
        if type(thing) is Tensor and thing.numel() * thing.element_size() >= _LARGE:
            flat = thing.detach().contiguous()
            self._kept.append(flat)
            plain = flat.view(-1).view(torch.uint8).numpy()
            return "tensor", self._at(plain), thing.dtype, tuple(thing.shape)
        if type(thing) is np.ndarray and thing.nbytes >= _LARGE and not thing.dtype.hasobject:
            array = np.ascontiguousarray(thing)
            self._kept.append(array)
            return "array", self._at(array.reshape(-1).view(np.uint8)), thing.dtype, thing.shape
        return None

    def _at(self, flat: NDArray[np.uint8]) -> int:
        key = flat.ctypes.data, len(flat)
        if key not in self._known:
            self._known[key] = self.size
            self.parts.append((self.size, flat.data))
            self.size += -(-len(flat) // _LINE) * _LINE
        return self._known[key]


class _In(pickle.Unpickler):
    """Reads them where they lie."""

    def __init__(self, file: io.BytesIO, memory: Any) -> None:
        super().__init__(file)
        self._memory = memoryview(memory).cast("B")

    def persistent_load(self, place: Place) -> Any:
        what, start, kind, shape = place
        count = math.prod(shape)
        if what == "array":
            return np.frombuffer(self._memory, kind, count, start).reshape(shape)
        return torch.frombuffer(self._memory, dtype=kind, count=count, offset=start).reshape(shape)
