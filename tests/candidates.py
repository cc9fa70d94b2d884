"""Small picklable problems for the tests: well-behaved ones and hostile ones."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vilfredo.goal import Goal
from vilfredo.protocols import Impossible, Snapshot, Weights, Work
from vilfredo.trial import Value


class Space:
    """Genomes are mappings of anything to anything."""

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"x": float(rng.random())}

    def mutate(self, genome: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"x": float(rng.random())}

    def cross(self, first: Mapping[str, Any], second: Mapping[str, Any], rng: np.random.Generator) -> Any:
        return dict(second), dict(first)

    def encode(self, genome: Mapping[str, Any]) -> Any:
        return np.array([genome.get("x", 0.0)])

    def canonical(self, genome: Mapping[str, Any]) -> str:
        return json.dumps(dict(genome), sort_keys=True)

    def check(self, genome: Mapping[str, Any]) -> None:
        if not isinstance(genome, Mapping):
            raise Impossible("a genome is a mapping")


@dataclass(frozen=True)
class Walk:
    """Training is a random walk from the genome's x; the model is where it ended.

    The genome may hold `x`, `seconds` (slept per epoch), and says by `at` and `does` at which stage
    ("preview", "train" in epoch 2, "measure", "quiet") it does which of `DEEDS`.
    """

    epochs: int = 3
    goals: Sequence[Goal] = (
        Goal("error"),
        Goal("size", stage="preview", max=100.0),
        Goal("latency", unit="s"),
    )
    quiet: frozenset[str] = frozenset({"latency"})
    checkpoints: bool = True
    space: Space = field(default_factory=Space)

    def describe(self) -> Mapping[str, Any]:
        return {"walk": self.epochs}

    def layers(self, genome: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return []

    def preview(self, work: Work) -> Mapping[str, Value]:
        self.perhaps("preview", work)
        return {"size": Value(float(work.genome.get("size", 1.0)))}

    def train(
        self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]
    ) -> Generator[Snapshot, None, float]:
        x = float(work.genome.get("x", 0.5)) + sum(float(w["x"]) for w in parents.values())
        done = 0
        if resume is not None:
            x, done = float(resume["x"]), int(resume["done"])
        for index in range(done + 1, (work.fidelity or self.epochs) + 1):
            time.sleep(work.genome.get("seconds", 0.0))
            if index == 2:
                self.perhaps("train", work)
            x = 0.9 * x + 0.1 * float(np.random.default_rng([seed % 2**32, index]).random())
            metric = work.genome.get("metric", x) if index == 2 else x
            state = {"x": np.array(x), "done": np.array(index)}
            yield Snapshot(index, {"loss": metric}, (lambda s=state: s) if self.checkpoints else None)
        return x

    def measure(self, work: Work, model: float, seed: int) -> Mapping[str, Value]:
        asked = work.goals or frozenset()
        found: dict[str, Value] = {}
        if "error" in asked:
            self.perhaps("measure", work)
            found["error"] = work.genome.get("error", Value(model + (work.split == "test")))
        if "latency" in asked:
            self.perhaps("quiet", work)
            time.sleep(work.genome.get("latency", 0.0))
            found["latency"] = Value(0.001)
        return found

    def perhaps(self, stage: str, work: Work) -> None:
        if work.genome.get("at") == stage:
            DEEDS[work.genome["does"]](work.genome.get("with"))


@dataclass(frozen=True)
class Empty:
    """The quickest evaluation there is; the genome's `sleep` or `compute` is in seconds."""

    epochs: int = 0
    goals: Sequence[Goal] = (Goal("y"),)
    quiet: frozenset[str] = frozenset()
    space: Space = field(default_factory=Space)

    def describe(self) -> Mapping[str, Any]:
        return {}

    def layers(self, genome: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return []

    def preview(self, work: Work) -> Mapping[str, Value]:
        return {}

    def train(
        self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]
    ) -> Generator[Snapshot, None, None]:
        yield from ()

    def measure(self, work: Work, model: None, seed: int) -> Mapping[str, Value]:
        if "sleep" in work.genome:
            time.sleep(work.genome["sleep"])
        if "compute" in work.genome:
            end = time.perf_counter() + work.genome["compute"]
            while time.perf_counter() < end:
                pass
        return {"y": Value(work.genome.get("x", 0.0))}


def _raise(error: str | None) -> None:
    raise {"memory": MemoryError, "interrupt": KeyboardInterrupt, None: RuntimeError}.get(
        error, RuntimeError
    )("something is wrong")


def _hang(_: object) -> None:
    while True:
        time.sleep(3600)


def _hang_deaf(_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


def _eat(_: object) -> None:
    hoard = []
    while True:
        hoard.append(np.ones(2**21))  # 16 MiB


def _segfault(_: object) -> None:
    print("about to read address zero", file=sys.stderr)
    ctypes.string_at(0)


def _close_pipes(_: object) -> None:
    os.closerange(3, 256)


def _close_pipes_and_hang(_: object) -> None:
    os.closerange(3, 256)
    time.sleep(3600)


def _fork(path: str) -> None:
    """Children that outlive their parent if nobody looks after them: a fork and a program."""
    child = subprocess.Popen(["sleep", "600"])
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    with open(path, "w") as file:
        file.write(f"{child.pid} {pid}")
    os._exit(0)


def _print(_: object) -> None:
    for _ in range(20_000):
        print("la la la " * 50)
        print("lo lo lo", file=sys.stderr)


def _kill_self(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(1.0)


def _close_stdio(_: object) -> None:
    with contextlib.suppress(OSError):
        os.closerange(0, 3)


DEEDS: dict[str, Any] = {
    "raise": _raise,
    "impossible": lambda text: (_ for _ in ()).throw(Impossible(text)),
    "hang": _hang,
    "hang deaf": _hang_deaf,
    "eat": _eat,
    "exit": lambda code: sys.exit(code),
    "exit at once": lambda code: os._exit(code),
    "segfault": _segfault,
    "close pipes": _close_pipes,
    "close pipes and hang": _close_pipes_and_hang,
    "close stdio": _close_stdio,
    "fork": _fork,
    "print": _print,
    "kill": _kill_self,
}


@dataclass(frozen=True)
class Ask(Empty):
    """Answers a question about its process: the genome's `ask` is an expression."""

    def measure(self, work: Work, model: None, seed: int) -> Mapping[str, Value]:
        import random
        import threading

        names = {"os": os, "sys": sys, "np": np, "random": random, "threading": threading, "signal": signal}
        return {"y": Value(float(eval(work.genome["ask"], names)))}


class Unloadable(Empty):
    """Can be pickled, but not loaded."""

    def __reduce__(self) -> Any:
        return _fail_to_load, ()


def _fail_to_load() -> None:
    raise RuntimeError("the data are gone")


class Threaded(Empty):
    """Starts a thread when it is loaded."""

    def __reduce__(self) -> Any:
        return _load_with_thread, ()


def _load_with_thread() -> Threaded:
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return Threaded()


class Deadly(Empty):
    """Ends every process that loads it, but for the first."""

    def __reduce__(self) -> Any:
        return _load_with_thread_and_die, (os.getpid(),)


def _load_with_thread_and_die(pid: int) -> Any:
    """Survives in the server, which then leaves the loading to the workers; dies there."""
    if os.environ["OMP_NUM_THREADS"] != "1":
        print("dying", file=sys.stderr, flush=True)
        os._exit(5)
    return _load_with_thread()
