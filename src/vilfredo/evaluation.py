"""One evaluation: preview, train, measure. A function of (problem, work, seed, artifacts, verdicts) but
for wall time; whatever the candidate does wrong becomes a `Failure`.

`steps` is the evaluation as a generator: it yields `Progress` and is sent `Verdict`s, so that whoever
drives it decides where and how to wait for them. `evaluate` drives it in one call.
"""

from __future__ import annotations

import math
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from vilfredo import artifacts
from vilfredo.goal import violation
from vilfredo.protocols import (
    GO,
    BatchProblem,
    Impossible,
    Outcome,
    Problem,
    Progress,
    Snapshot,
    Task,
    Verdict,
    Weights,
)
from vilfredo.trial import Artifact, Epoch, Failure, Key, State, Value

Quiet = Callable[[], AbstractContextManager[None]]
Clock = Callable[[], float]

LONGEST = 500  # characters of a failure's message
LONGEST_TRACEBACK = 20_000  # characters, the last ones


class _Unusable(Exception):
    """The candidate cannot be a trial with values; carries the failure that says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def evaluate(
    problem: Problem,
    task: Task,
    on_epoch: Callable[[Progress], Verdict] = lambda progress: GO,
    quiet: Quiet = nullcontext,
    clock: Clock = time.perf_counter,
) -> Outcome:
    """Evaluate one task; `on_epoch` is called after each epoch and says whether to go on.

    `quiet()` is entered while the goals in `problem.quiet` are measured. `clock()` gives seconds; one
    that stands still while the process is suspended keeps that time out of the records.
    Raises nothing but `KeyboardInterrupt`.
    """
    stages = steps(problem, task, quiet, clock)
    verdict: Verdict | None = None
    while True:
        try:
            progress = stages.send(verdict)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        verdict = on_epoch(progress)


def together(problem: Problem, tasks: Sequence[Task], clock: Clock = time.perf_counter) -> list[Outcome]:
    """Evaluate the tasks of a `BatchProblem` in one call, in their order, as `evaluate` would one by one.

    Their seconds are shared out evenly. If the call itself raises, each task is evaluated alone, so that one
    candidate's error is no other's. Raises nothing but `KeyboardInterrupt`.
    """
    assert isinstance(problem, BatchProblem)
    records = [_Record(problem, task, clock) for task in tasks]
    found: dict[int, Outcome] = {}
    for place, record in enumerate(records):
        try:
            if not _preview(record):
                found[place] = record.outcome("rejected")
        except KeyboardInterrupt:
            raise
        except _Unusable as unusable:
            found[place] = record.outcome("failed", unusable.failure)
        except BaseException as error:
            found[place] = record.outcome("failed", explain(error))
    rest = [place for place in range(len(tasks)) if place not in found]
    began = clock()
    measured = _many(problem, [tasks[place] for place in rest])
    share = (clock() - began) / max(1, len(rest))
    for place, values in zip(rest, measured, strict=True):
        record = records[place]
        record.seconds["measure"] = share
        found[place] = _told(record, values)
    return [found[place] for place in range(len(tasks))]


def _many(problem: BatchProblem, tasks: Sequence[Task]) -> list[Mapping[str, Value] | Failure]:
    if not tasks:
        return []
    try:
        values = list(problem.evaluate_many([t.work for t in tasks], [t.seed for t in tasks]))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if len(tasks) == 1:
            return [explain(error)]
        return [_many(problem, [task])[0] for task in tasks]
    if len(values) != len(tasks):
        text = f"evaluate_many gave {len(values)} results for {len(tasks)} candidates"
        return [Failure("exception", text)] * len(tasks)
    return values


def _told(record: _Record, values: Mapping[str, Value] | Failure) -> Outcome:
    if isinstance(values, Failure):
        return record.outcome("failed", values)
    previewed = {key.goal for key in record.values}
    asked = _asked(record) - previewed
    measured = {name: value for name, value in values.items() if name not in previewed}
    try:
        _keep(record, measured, asked, record.task.work.fidelity)
    except _Unusable as unusable:
        return record.outcome("failed", unusable.failure)
    return record.outcome("complete")


def steps(
    problem: Problem, task: Task, quiet: Quiet = nullcontext, clock: Clock = time.perf_counter
) -> Generator[Progress, Verdict | None, Outcome]:
    """The evaluation as a generator: yields `Progress` after each epoch, is sent a verdict (None: go
    on), returns the outcome. Closing it ends the training where it is."""
    record = _Record(problem, task, clock)
    _seed(task.seed)
    try:
        state = yield from _stages(record, quiet)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except _Unusable as unusable:
        failure = unusable.failure
    except BaseException as error:  # whatever a candidate does, SystemExit too, is its own failure
        failure = explain(error)
    else:
        return record.outcome(state)
    record.tidy()  # resumed from there, it would fail again
    return record.outcome("failed", failure)


def _seed(seed: int) -> None:
    """Seed the generators that candidates may use without saying so: an evaluation depends on its seed,
    not on what the process did before. Torch is seeded if it is loaded."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "manual_seed"):
        torch.manual_seed(seed)


def explain(error: BaseException) -> Failure:
    """What was raised, as a failure with its traceback."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    name = type(error).__name__
    trace = "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]
    if isinstance(error, Impossible):
        return Failure("impossible", _short(text) or "the genome decodes to nothing that can be trained")
    if _is_out_of_memory(error, text):
        return Failure("out of memory", _short(f"{name}: {text}"), trace)
    if isinstance(error, SystemExit):
        return Failure("exit", _short(f"the candidate called exit with code {error.code!r}"), trace)
    return Failure("exception", _short(f"{name}: {text}" if text else name), trace)


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    """MemoryError (NumPy's is one), and torch's by name: this module does not import torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if not isinstance(error, RuntimeError):
        return False
    return "out of memory" in text or ("DefaultCPUAllocator" in text and "memory" in text)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


class _Record:
    """What an evaluation has come to so far; nothing outside this module sees it."""

    def __init__(self, problem: Problem, task: Task, clock: Clock) -> None:
        self.problem = problem
        self.task = task
        self.clock = clock
        self.earlier: tuple[Epoch, ...] = ()
        self.epochs: list[Epoch] = []
        self.values: dict[Key, Value] = {}
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self.artifact: Artifact | None = None

    @property
    def full(self) -> tuple[Epoch, ...]:
        return (*self.earlier, *self.epochs)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = self.clock()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self.clock() - began

    def outcome(self, state: State, failure: Failure | None = None) -> Outcome:
        return Outcome(
            state=state,
            epochs=self.full,
            values=self.values,
            seconds=self.seconds,
            failure=failure,
            artifact=self.artifact,
            notes=tuple(self.notes),
        )

    # -- artifacts --------------------------------------------------------------------------------

    def path(self, kind: str) -> str:
        return str(Path(self.task.folder) / f"{kind}-{self.task.work.repeat}.safetensors")

    def save(self, kind: str, weights: Weights | None) -> None:
        """Write the arrays as `model` or `checkpoint`; a disk that is full costs the file, not the trial."""
        if not self.task.folder or weights is None:
            return
        try:
            self.artifact = artifacts.write(self.path(kind), weights, self.full)
        except OSError as problem:
            self.artifact = None
            self.notes.append(f"cannot keep the {kind} after epoch {self.full[-1].index}: {problem}")
        if kind == "model":
            self.tidy()

    def tidy(self) -> None:
        """Remove the checkpoint: the model says more, or it leads nowhere."""
        if self.task.folder:
            path = self.path("checkpoint")
            with suppress(OSError):
                os.remove(path)
            if self.artifact is not None and self.artifact.path == path:
                self.artifact = None


def _stages(record: _Record, quiet: Quiet) -> Generator[Progress, Verdict | None, State]:
    problem, work = record.problem, record.task.work
    if not _preview(record):
        return "rejected"
    previewed = {key.goal for key in record.values}

    verdict, model, weights = yield from _train(record)
    halted = verdict.action != "go"
    trained = record.full[-1].index if record.full else 0
    fidelity = trained if halted else work.fidelity
    if fidelity is not None and 0 < problem.epochs <= fidelity:
        fidelity = None
    asked = _asked(record) - previewed
    for name in verdict.spared if not halted else ():
        value = verdict.forecast.get(name)
        if name in asked and value is not None and value.is_finite():
            key = Key(name, work.split, fidelity, work.noise, work.repeat)
            record.values[key] = replace(value, origin="forecast")
            asked.remove(name)
    if halted:
        for name, value in verdict.forecast.items():
            if name in asked and value.is_finite():
                key = Key(name, work.split, None, work.noise, work.repeat)
                record.values[key] = replace(value, origin="forecast")
                asked.remove(name)
        if asked and (model := _model_as_it_is(record, trained, weights)) is None:
            metrics = record.full[-1].metrics
            for name in sorted(asked & set(metrics)):  # as good as measured: it is the training's own
                record.values[Key(name, work.split, fidelity, work.noise, work.repeat)] = Value(metrics[name])
                asked.remove(name)
            if asked:
                names = ", ".join(sorted(asked))
                record.notes.append(
                    f"halted after epoch {trained} without a checkpoint to measure {names} on"
                )
            asked.clear()
    if asked or not (halted or verdict.spared):
        _measure(record, model, asked, fidelity, quiet)
    return {"go": "complete", "stop": "stopped", "pause": "paused"}[verdict.action]  # type: ignore[return-value]


def _preview(record: _Record) -> bool:
    """What needs no training; whether it keeps the limits."""
    with record.timed("preview"):
        previewed = record.problem.preview(record.task.work)
    for name, value in previewed.items():
        record.values[Key(name)] = _finite(name, value)
    means = {name: value.mean for name, value in previewed.items()}
    return violation(means, record.problem.goals) == 0


def _asked(record: _Record) -> set[str]:
    goals = record.task.work.goals
    return {g.name for g in record.problem.goals} if goals is None else set(goals)


def _measure(record: _Record, model: object, asked: set[str], fidelity: int | None, quiet: Quiet) -> None:
    """Measure the goals that are asked for, those that need quiet apart from the rest."""
    problem, task = record.problem, record.task
    work = task.work
    loud, silent = asked - problem.quiet, asked & problem.quiet
    found: dict[str, Value] = {}
    if "train_seconds" in loud:  # the clock is here
        loud.remove("train_seconds")
        found["train_seconds"] = Value(sum(e.seconds for e in record.full))
    with record.timed("measure"):
        if loud:
            measured = problem.measure(replace(work, goals=frozenset(loud)), model, task.seed)
            found.update({name: value for name, value in measured.items() if name not in silent})
        if silent:
            with quiet():
                measured = problem.measure(replace(work, goals=frozenset(silent)), model, task.seed)
            found.update({name: value for name, value in measured.items() if name in silent})
    _keep(record, found, asked, fidelity)


def _keep(record: _Record, found: Mapping[str, Value], asked: set[str], fidelity: int | None) -> None:
    """Record what was measured. Raises `_Unusable` for values that are none, and for a goal without one."""
    work = record.task.work
    for name, value in found.items():
        record.values[Key(name, work.split, fidelity, work.noise, work.repeat)] = _finite(name, value)
    missing = " and ".join(repr(name) for name in sorted(asked - set(found)))
    if missing:
        raise _Unusable(Failure("exception", f"nothing computes the goal {missing}"))


def _finite(name: str, value: object) -> Value:
    """The value in plain floats. Raises `_Unusable` if it is not finite."""
    if not isinstance(value, Value):
        kind = type(value).__name__
        raise _Unusable(Failure("exception", f"the goal {name!r} must come as a Value, not as {kind}"))
    low, high = (None if x is None else float(x) for x in (value.low, value.high))
    plain = Value(float(value.mean), float(value.sd), int(value.n), value.origin, low, high)
    if not plain.is_finite():
        shown = plain.mean if not math.isfinite(plain.mean) else f"{plain.mean} with a spread or bound"
        raise _Unusable(Failure("not finite", f"the goal {name!r} is {shown}, not a finite number"))
    return plain


# -- training ---------------------------------------------------------------------------------------


def _train(
    record: _Record,
) -> Generator[Progress, Verdict | None, tuple[Verdict, object, Weights | None]]:
    """Train until the end or a verdict against it: that verdict (at the end one to go), the model (None
    unless trained to the end) and the weights (None unless halted)."""
    problem, task = record.problem, record.task
    work = task.work
    target = work.fidelity if work.fidelity is not None else problem.epochs
    preview = dict(record.values)
    with record.timed("train"):
        resume = _resume(record)
        parents = _parents(record, target)
        training = problem.train(work, task.seed, resume, parents)
    snapshot: Snapshot | None = None
    verdict = GO
    saved = False
    at_risk = 0.0  # seconds of training that a kill would lose
    with _closed(training):
        while True:
            began = record.clock()
            try:
                with record.timed("train"):
                    snapshot = next(training)
            except StopIteration as end:
                model = end.value
                break
            epoch = _epoch(snapshot, record.clock() - began)
            record.notes.extend(snapshot.notes)
            record.earlier = tuple(e for e in record.earlier if e.index < epoch.index)
            record.epochs.append(epoch)
            verdict = (yield Progress(task.ticket, epoch, record.earlier, preview)) or GO
            at_risk += epoch.seconds
            with record.timed("train"):
                if 0 < target <= epoch.index:  # the last one, whatever the verdict
                    record.save("model", _weights(snapshot))
                    saved = True
                elif verdict.action == "stop":
                    weights = _weights(snapshot)
                    record.save("model", weights)
                    return verdict, None, weights
                elif verdict.action == "pause":
                    weights = _weights(snapshot)
                    record.save("checkpoint", weights)
                    return verdict, None, weights
                elif at_risk >= task.checkpoint_seconds:
                    record.save("checkpoint", _weights(snapshot))
                    at_risk = 0.0
    with record.timed("train"):
        if snapshot is None:
            _keep_resumed(record)
        elif not saved:  # it ended before the epoch that was asked for
            record.save("model", _weights(snapshot))
    return (verdict if verdict.action == "go" else GO), model, None


def _weights(snapshot: Snapshot) -> Weights | None:
    return None if snapshot.checkpoint is None else snapshot.checkpoint()


@contextmanager
def _closed(training: Generator[Snapshot, None, object]) -> Iterator[None]:
    """Close the training at the end, whatever it does about it."""
    try:
        yield
    finally:
        with suppress(Exception):
            training.close()


def _resume(record: _Record) -> Weights | None:
    artifact = record.task.resume
    if artifact is None:
        return None
    try:
        weights, record.earlier = artifacts.read(artifact)
    except artifacts.Damaged as damage:
        record.notes.append(f"{damage}; trained from the start")
        return None
    return weights


def _parents(record: _Record, target: int) -> Mapping[int, Weights]:
    """The weights of the parents whose artifacts can be read, if the problem has a use for them (it may say
    `inherits = False`) and training up to epoch `target` has not ended yet."""
    trained = record.earlier[-1].index if record.earlier else 0
    inherits = getattr(record.problem, "inherits", None)
    if inherits is False or 0 < target <= trained:
        return {}
    found: dict[int, Weights] = {}
    for number, artifact in record.task.parents.items():
        try:
            found[number] = artifacts.read(artifact)[0]
        except artifacts.Damaged as damage:
            record.notes.append(f"{damage}; trained without the weights of trial {number}")
    if inherits:
        for number in sorted(set(record.task.work.parents) - set(record.task.parents)):
            record.notes.append(f"trial {number} has left no weights; trained without them")
    return found


def _keep_resumed(record: _Record) -> None:
    """Nothing was left to train: what it resumed from is the model; a checkpoint becomes it by name."""
    artifact = record.task.resume
    if artifact is None or not record.earlier:
        return
    if record.task.folder and Path(artifact.path) == Path(record.path("checkpoint")):
        with suppress(OSError):
            os.replace(artifact.path, record.path("model"))
            artifact = replace(artifact, path=record.path("model"))
    record.artifact = artifact


def _epoch(snapshot: Snapshot, seconds: float) -> Epoch:
    """The snapshot in plain numbers. Raises `_Unusable` if a metric is not finite."""
    metrics = {str(name): float(value) for name, value in snapshot.metrics.items()}
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise _Unusable(Failure("not finite", f"{name} is {value} after epoch {snapshot.index}"))
    return Epoch(int(snapshot.index), metrics, seconds)


def _model_as_it_is(record: _Record, trained: int, weights: Weights | None) -> object | None:
    """The model of a training that was halted: `train` resumed from its weights with no epoch left.
    None where the training gives no checkpoints."""
    if weights is None:
        return None
    work, seed = record.task.work, record.task.seed
    with record.timed("train"):
        rest = record.problem.train(replace(work, fidelity=trained), seed, weights, {})
        with _closed(rest):
            try:
                next(rest)
            except StopIteration as end:
                model: object = end.value
                return model
    return None
