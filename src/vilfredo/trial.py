"""What is known of one candidate: plain frozen data, JSON both ways."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

JSON: TypeAlias = Any  # None, bool, int, finite float, str, list or dict of these
Genome: TypeAlias = Mapping[str, JSON]

State = Literal["complete", "stopped", "paused", "rejected", "failed"]
Origin = Literal["measured", "estimated", "forecast"]
Split = Literal["validation", "test"]


FEATURE = "feature."
"""What names begin with that are no goals but tell engines of a network, among values and metrics."""


class Key(NamedTuple):
    """Under which a value is known: the goal, the split it was measured on, the epoch up to which the
    network was trained (None: in full), the number of the common random perturbation, and which of
    the training seeds it was (0 in the search, 1, 2, … when the front is confirmed)."""

    goal: str
    split: Split = "validation"
    fidelity: int | None = None
    noise: int = 0
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """One number with its spread and how it was obtained.

    `mean` and `sd` are in the goal's unit; `n` is how many independent measurements `mean` averages;
    `low` and `high` bound an estimate whose constants are uncertain (None where that does not apply).
    """

    mean: float
    sd: float = 0.0
    n: int = 1
    origin: Origin = "measured"
    low: float | None = None
    high: float | None = None

    def is_finite(self) -> bool:
        numbers = [self.mean, self.sd, *(x for x in (self.low, self.high) if x is not None)]
        return all(math.isfinite(x) for x in numbers)


def pool(values: list[Value]) -> Value:
    """Several independent values of one thing as one: mean of means, sample standard deviation, n.

    With a single value it is that value. Values that already are averages count `n` times.
    """
    if len(values) == 1:
        return values[0]
    n = sum(v.n for v in values)
    mean = sum(v.mean * v.n for v in values) / n
    between = sum(v.n * (v.mean - mean) ** 2 for v in values)
    within = sum((v.n - 1) * v.sd**2 for v in values)
    sd = math.sqrt((between + within) / (n - 1)) if n > 1 else 0.0
    origins = {v.origin for v in values}
    weakest: Origin = (
        "forecast" if "forecast" in origins else "estimated" if "estimated" in origins else "measured"
    )
    lows = [v.low for v in values if v.low is not None]
    highs = [v.high for v in values if v.high is not None]
    return Value(mean, sd, n, weakest, min(lows) if lows else None, max(highs) if highs else None)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of training: its index from 1, the metrics at its end and the wall seconds it took."""

    index: int
    metrics: Mapping[str, float]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something did not work. `kind` is one of a few words that can be counted:

    `exception`, `not finite`, `timeout`, `out of memory`, `signal`, `exit`, `impossible` (the genome
    decodes to no network).
    """

    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that training left: safetensors weights after `epoch` epochs (see `vilfredo.artifacts`)."""

    path: str
    epoch: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Halt:
    """A stopper ended a training before its end: after which epoch, for now (`pause`) or for good (`stop`),
    why, and what it forecast for full training, by goal."""

    epoch: int
    action: Literal["pause", "stop"]
    reason: str = ""
    forecast: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a work: which worker (process id), how many seconds, and why it ended if it was lost."""

    number: int
    worker: int
    seconds: float
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """All that is known of one candidate.

    `told_at` is the wall time of the run, in seconds over all its sessions, when it was first told.

    `seconds` is by stage: `preview`, `train`, `measure`, `engine` (the stopper's own), `suspended`
    (while others measured in quiet). `confirmed` counts the training seeds with which the full
    measurement, test set included, was made. `halts` are the times that a stopper ended its training;
    what it forecast stays there, also when the values have been measured.
    """

    number: int
    genome: Genome
    state: State
    parents: tuple[int, ...] = ()
    operator: str = ""
    seed: int = 0
    generation: int | None = None
    epochs: tuple[Epoch, ...] = ()
    values: Mapping[Key, Value] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    failure: Failure | None = None
    artifact: Artifact | None = None
    confirmed: int = 0
    told_at: float = 0.0
    halts: tuple[Halt, ...] = ()

    def value(self, goal: str, split: Split = "validation") -> Value | None:
        """The value of `goal` to go by: of full training if there is one, else of the highest fidelity,
        pooled over the training seeds; of each, what was measured with the latest noise.

        What does not depend on the split (a size, a latency) is stored under `validation` alone.
        """
        found: dict[float, dict[int, tuple[int, Value]]] = {}  # level -> repeat -> (noise, value)
        for key, value in self.values.items():
            if key.goal == goal and key.split == split:
                level = math.inf if key.fidelity is None else float(key.fidelity)
                repeats = found.setdefault(level, {})
                if key.repeat not in repeats or repeats[key.repeat][0] < key.noise:
                    repeats[key.repeat] = (key.noise, value)
        if not found:
            return None
        best = found[max(found)]
        if len(best) == 1:
            return next(iter(best.values()))[1]
        return pool([best[repeat][1] for repeat in sorted(best)])

    def with_values(self, values: Mapping[Key, Value]) -> Trial:
        """The same trial with more values; what is known under the same key is replaced."""
        return replace(self, values={**self.values, **values})


def to_json(trial: Trial) -> dict[str, JSON]:
    """The trial as JSON data; `from_json` gives back an equal trial."""
    return {
        "number": trial.number,
        "genome": dict(trial.genome),
        "state": trial.state,
        "parents": list(trial.parents),
        "operator": trial.operator,
        "seed": trial.seed,
        "generation": trial.generation,
        "epochs": [[e.index, dict(e.metrics), e.seconds] for e in trial.epochs],
        "values": values_to_json(trial.values),
        "seconds": dict(trial.seconds),
        "attempts": [[a.number, a.worker, a.seconds, failure_to_json(a.failure)] for a in trial.attempts],
        "failure": failure_to_json(trial.failure),
        "artifact": None
        if trial.artifact is None
        else [trial.artifact.path, trial.artifact.epoch, trial.artifact.bytes],
        "confirmed": trial.confirmed,
        "told_at": trial.told_at,
        "halts": halts_to_json(trial.halts),
    }


def from_json(data: Mapping[str, JSON]) -> Trial:
    """A trial from what `to_json` made of it."""
    return Trial(
        number=data["number"],
        genome=data["genome"],
        state=data["state"],
        parents=tuple(data["parents"]),
        operator=data["operator"],
        seed=data["seed"],
        generation=data["generation"],
        epochs=tuple(Epoch(i, m, s) for i, m, s in data["epochs"]),
        values=values_from_json(data["values"]),
        seconds=data["seconds"],
        attempts=tuple(Attempt(n, w, s, failure_from_json(f)) for n, w, s, f in data["attempts"]),
        failure=failure_from_json(data["failure"]),
        artifact=None if data["artifact"] is None else Artifact(*data["artifact"]),
        confirmed=data["confirmed"],
        told_at=data["told_at"],
        halts=halts_from_json(data.get("halts", [])),
    )


def values_to_json(values: Mapping[Key, Value]) -> list[JSON]:
    return [[*key, v.mean, v.sd, v.n, v.origin, v.low, v.high] for key, v in values.items()]


def values_from_json(rows: list[JSON]) -> dict[Key, Value]:
    return {Key(*row[:5]): Value(*row[5:]) for row in rows}


def halts_to_json(halts: tuple[Halt, ...]) -> list[JSON]:
    return [
        [h.epoch, h.action, h.reason, [[name, *astuple(value)] for name, value in h.forecast.items()]]
        for h in halts
    ]


def halts_from_json(rows: list[JSON]) -> tuple[Halt, ...]:
    return tuple(
        Halt(epoch, action, reason, {row[0]: Value(*row[1:]) for row in forecast})
        for epoch, action, reason, forecast in rows
    )


def failure_to_json(failure: Failure | None) -> list[str] | None:
    return None if failure is None else [failure.kind, failure.message, failure.traceback]


def failure_from_json(data: list[str] | None) -> Failure | None:
    return None if data is None else Failure(*data)
