"""Early termination in anybody's own training loop: one search's networks under one engine.

::

    watch = Watch("genrace", epochs=25, goal="accuracy")
    with watch.network() as network:  # one for each network that is trained
        for epoch in range(25):
            …  # train it for an epoch
            if network.update(train=train_accuracy, val=validation_accuracy).stop:
                break
    network.trial.value("accuracy")  # measured, or a forecast with its sd

Everything is kept as plain `Trial`s (`Watch.trials`). The value of a network that was halted is the engine's
forecast and says so (`origin="forecast"`); that of a complete one is measured.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from vilfredo import pareto
from vilfredo import trial as trials
from vilfredo.forecast.together import Together
from vilfredo.goal import KNOWN, Goal
from vilfredo.interop.lens import Lens
from vilfredo.protocols import Stopper, Verdict
from vilfredo.spec import names
from vilfredo.trial import Epoch, Failure, Halt, Key, Trial, Value

RISING = ("accuracy", "acc", "auc", "auroc", "f1", "iou", "map", "precision", "recall", "reward", "score")
FALLING = ("loss", "error", "rmse", "mse", "mae", "perplexity", "wer", "nll", "cross_entropy", "entropy")

HUGE = 1e100  # beyond it squares overflow; no metric is, but of a training that has diverged

_FINDING = threading.Lock()  # Python 3.11 cannot parse in two threads at once, which `names.find` does


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do after an epoch.

    `stop`: end this training now. `pause`: it may be revived later (`Watch.revive`), so keep a
    checkpoint; a pause is a stop, too. `reason` is one clause for people. `forecast` is what the watched
    goal would come to in full training, in the user's unit; None where the engine has no opinion.
    """

    stop: bool = False
    pause: bool = False
    reason: str = ""
    forecast: Value | None = None


def as_goal(goal: str | Goal) -> Goal:
    """A goal by name: one of those known everywhere, or one whose name says where it should go
    ("accuracy", "val_loss", "f1"). Raises `ValueError` where it does not."""
    if isinstance(goal, Goal):
        return goal
    if goal in KNOWN:
        return KNOWN[goal]
    parts = goal.lower().replace("-", "_").split("_")
    last = parts[-1].rstrip("0123456789") or parts[-1]
    if {last, parts[-1], goal.lower()} & {*RISING}:
        return Goal(goal, "max")
    if {last, parts[-1], goal.lower()} & {*FALLING}:
        return Goal(goal, "min")
    raise ValueError(
        f"whether more or less {goal!r} is better is not known; say Goal({goal!r}, 'max') or 'min'"
    )


class Watch:
    """One search's networks under one engine, in anybody's own loop.

    `engine` is the name of one (`"genrace"`, `"median"`, …, or `"package.module:Name"`; several with commas
    between work together), a class, or an object that is a `protocols.Stopper`; `options` go to its
    constructor. `epochs` is the length of full training.

    `goal` is what `val` of `Network.update` measures, a name or a `Goal`; accuracies and errors may be
    fractions or percent. `goals` are the others of a search with several goals, given to `network(macs=…)`
    where they are known before training, or to `finish(latency=…)`: then a network is kept while it may still
    enter the front of all of them. A goal with `ranked=False` is a feature to the engine and no more.

    `path` is a file where all that becomes known is kept: a later `Watch` of that file goes on with it, and
    several processes of one machine share it. Safe to use from several threads.

    Raises `ValueError`, one sentence, for an engine, option or goal that is not known, and for a file
    that belongs to other goals or another length of training.

        watch = Watch("genrace", epochs=25, goal="accuracy", goals=["macs"])
        network = watch.network(macs=2.1e6)
        advice = network.update(train=0.71, val=0.68)  # after each epoch
    """

    def __init__(
        self,
        engine: str | type[Any] | Stopper = "genrace",
        *,
        epochs: int,
        goal: str | Goal = "accuracy",
        goals: Sequence[str | Goal] = (),
        path: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; full training has 1 epoch at least")
        self.epochs = int(epochs)
        self.goal = as_goal(goal)
        self.goals = (self.goal, *(g for g in map(as_goal, goals) if g.name != self.goal.name))
        self._lens = Lens.of(self.goals)
        self.engine = make_engine(engine, self._lens.goals(), options)
        self._told: dict[int, Trial] = {}
        self._views: dict[int, tuple[Trial, Trial]] = {}  # as the engine sees them
        self._busy: dict[int, int] = {}  # networks in training -> process id
        self._next = 0
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._file: Path | None = None
        self._offset = 0
        if path is not None:
            self._file = Path(path)
            with self._locked():
                pass

    # -- networks -----------------------------------------------------------------------------------

    def network(self, number: int | None = None, **known: float) -> Network:
        """One training to be watched: a new one, or the one of that number.

        `known` are the values of goals that need no training (`macs=…`, `parameters=…`), in their units.
        The number of a halted network goes on where it was left; give `update(epoch=1)` if it is trained
        anew. The engine is asked again after the epoch at which it was halted, no sooner.

            network = watch.network(macs=2.1e6)
            network = watch.network(7)  # that was paused
        """
        with self._locked():
            if number is None:
                number = self._next
            self._next = max(self._next, number + 1)
            self._busy[number] = os.getpid()
            self._append({"started": number, "process": os.getpid()})
            earlier = self._told.get(number)
        return Network(self, number, earlier, known)

    def confirm(self, number: int, **known: float) -> Network:
        """The network of that number once more, to be trained in full: its engine is not asked.

        for number in watch.unconfirmed():
            network = watch.confirm(number)  # train it with network.update(epoch=1, …), …
        """
        network = self.network(number, **known)
        network.watched = False
        return network

    def revive(self) -> list[int]:
        """The numbers of the paused networks that deserve to go on, the most deserving first.

        Ask whenever there is room to train one: `for n in watch.revive(): network = watch.network(n) …`
        """
        with self._locked(write=False):
            seen = [self._view(t) for t in self._known()]
            found = [int(n) for n in self.engine.revive(seen)]
            return [
                n for n in found if n in self._told and self._told[n].state == "paused" and not self._runs(n)
            ]

    def unconfirmed(self) -> list[int]:
        """The numbers of those on the front of what is known (with one goal: the best) that are there by a
        forecast only. Train them in full, under `confirm`."""
        with self._locked(write=False):
            front = pareto.front(self._known(), self.goals)
        return [t.number for t in front if is_forecast(t, self.goals)]

    @property
    def trials(self) -> list[Trial]:
        """What is known of all networks that are not in training, by number; in the units that were given."""
        with self._locked(write=False):
            return self._known()

    # -- files --------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what is known to a file, for `load` (one JSON text to a line)."""
        known = self.trials
        Path(path).write_text(
            "".join(_line(row) for row in [self._header(), *map(to_row, known)]), encoding="utf-8"
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], engine: str | type[Any] | Stopper = "genrace", **options: Any
    ) -> Watch:
        """A watch that knows what `save` wrote, or what one with this `path` kept; it does not write there.

        Raises `ValueError` if it is no such file, `OSError` if it cannot be read.
        """
        with open(path, encoding="utf-8") as file:
            header = _parsed(file.readline())
        if header is None or "watch" not in header:
            raise ValueError(
                f"{os.fspath(path)} is not what Watch.save wrote; its first line tells of no goals"
            )
        first, *others = [Goal(**g) for g in header["goals"]]
        watch = cls(engine, epochs=header["epochs"], goal=first, goals=others, **options)
        watch._file = Path(path)
        watch._pull()
        watch._file = None
        return watch

    def __getstate__(self) -> dict[str, Any]:
        """Without its lock: a copy in another process shares what is known if there is a `path`."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    # -- for networks -------------------------------------------------------------------------------

    def judge(self, trial: Trial) -> tuple[Verdict, float]:
        """What the engine says of a training as it is now, in the user's units, and the seconds it took."""
        with self._locked(write=False):
            began = time.perf_counter()
            for number in _numbers(trial, self.goal.name):
                self.measure(number)
            peers = [self._view(t) for t in self._known() if t.number != trial.number]
            verdict = self.engine(self._lens.trial(trial), peers, self.epochs)
            found = self._lens.values_back(verdict.forecast)
            forecast = {n: replace(v, origin="forecast") for n, v in found.items() if v.is_finite()}
            reason = self._lens.reason(verdict.reason, forecast)
            return replace(verdict, forecast=forecast, reason=reason), time.perf_counter() - began

    def tell(self, trial: Trial) -> Trial:
        """Make a trial known, and return it with its time; another of its number is replaced."""
        with self._locked():
            trial = replace(trial, told_at=round(time.monotonic() - self._began, 3))
            self._learn(trial)
            self._append(to_row(trial))
        return trial

    def measure(self, value: float) -> None:
        """Take note of the scale of a value of the watched goal: percent or fraction."""
        lens = self._lens.scaled(value)
        if lens is not self._lens:
            with self._lock:
                self._lens = lens
                self._views.clear()

    # -- within -------------------------------------------------------------------------------------

    def _known(self) -> list[Trial]:
        return [self._told[n] for n in sorted(self._told)]

    def _view(self, trial: Trial) -> Trial:
        found = self._views.get(trial.number)
        if found is None or found[0] is not trial:
            found = self._views[trial.number] = (trial, self._lens.trial(trial))
        return found[1]

    def _learn(self, trial: Trial) -> None:
        self._told[trial.number] = trial
        self._next = max(self._next, trial.number + 1)
        self._busy.pop(trial.number, None)
        value = trial.value(self.goal.name)
        for number in ([] if value is None else [value.mean]) + _numbers(trial, self.goal.name):
            self.measure(number)

    def _runs(self, number: int) -> bool:
        """Whether the network of this number is in training, here or in a process that still lives."""
        process = self._busy.get(number)
        if process is None or process == os.getpid():
            return process is not None
        import psutil

        return bool(psutil.pid_exists(process))

    @contextmanager
    def _locked(self, write: bool = True) -> Iterator[None]:
        """With all that is known to others known here, and nobody else writing if `write`."""
        with self._lock, self._file_lock() if write else nullcontext():
            self._pull()
            if write and self._file is not None and self._offset == 0:
                self._append(self._header())
            yield

    def _file_lock(self) -> AbstractContextManager[Any]:
        if self._file is None:
            return nullcontext()
        from filelock import FileLock

        return FileLock(f"{self._file}.lock")

    def _header(self) -> dict[str, Any]:
        goals = [
            {"name": g.name, "sense": g.sense, "unit": g.unit, "max": g.max, "min": g.min}
            | {"ranked": g.ranked, "stage": g.stage, "under_faults": g.under_faults}
            for g in self.goals
        ]
        return {"watch": 1, "epochs": self.epochs, "goals": goals}

    def _append(self, row: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        with open(self._file, "ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end > 0:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # somebody was killed while writing
                    file.write(b"\n")
            file.write(_line(row).encode("utf-8"))
            file.flush()
            self._offset = file.seek(0, os.SEEK_END)

    def _pull(self) -> None:
        """Read what others have added since the last time. Lines that are not whole are passed over."""
        if self._file is None or not self._file.exists() or self._file.stat().st_size <= self._offset:
            return
        with open(self._file, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                row = _parsed(line.decode("utf-8", "replace"))
                if row is None:
                    continue
                if "watch" in row:
                    self._compare(row)
                elif "started" in row:
                    number = int(row["started"])
                    self._busy[number] = int(row["process"])
                    self._next = max(self._next, number + 1)
                else:
                    self._learn(from_row(row))

    def _compare(self, header: Mapping[str, Any]) -> None:
        mine = [(g.name, g.sense) for g in self.goals]
        theirs = [(g["name"], g["sense"]) for g in header["goals"]]
        if header["epochs"] != self.epochs or mine != theirs:
            listed = ", ".join(f"{name} ({sense})" for name, sense in theirs)
            raise ValueError(
                f"{self._file} is of trainings of {header['epochs']} epochs with {listed}; take another file"
            )


class Network:
    """One training under watch; made by `Watch.network`. Used from one thread.

    As a context manager it is finished at the end of the `with`, failed if there was an exception.

        with watch.network() as network:
            while not network.update(train=…, val=…).stop: …
    """

    def __init__(self, watch: Watch, number: int, earlier: Trial | None, known: Mapping[str, float]) -> None:
        self.number = number
        self.watch = watch
        self.watched = True
        """Whether the engine is asked."""
        self.forecast: Value | None = None
        given = {Key(n): Value(float(v)) for n, v in known.items() if math.isfinite(float(v))}
        halted = earlier is not None and earlier.state in ("paused", "stopped")
        self._judged = earlier.epochs[-1].index if earlier is not None and halted and earlier.epochs else 0
        self._again = earlier is not None and not halted  # trained once more
        self.trial: Trial = replace(earlier or Trial(number, {}, "paused"), state="paused", failure=None)
        """All that is known of it by now; its state is "paused" while it is in training."""
        self.trial = replace(self.trial, values=self._settled()).with_values(given)
        name = f"val_{watch.goal.name}"
        past = [e.metrics.get(name, math.nan) for e in self.trial.epochs]
        self._last = next((x for x in reversed(past) if math.isfinite(x)), math.nan)
        self._done = False
        self._clock = time.monotonic()

    def know(self, **known: float) -> None:
        """Values of goals that need no training, where they are not given to `Watch.network`."""
        found = {Key(n): Value(float(v)) for n, v in known.items() if math.isfinite(float(v))}
        self.trial = self.trial.with_values(found)

    def _settled(self) -> dict[Key, Value]:
        """The values that do not depend on how far it is trained."""
        return {
            k: v
            for k, v in self.trial.values.items()
            if v.origin != "forecast" and k.fidelity is None and k.goal != self.watch.goal.name
        }

    @property
    def halted(self) -> bool:
        """Whether the engine ended it before its end."""
        return self._done and self.trial.state in ("paused", "stopped")

    def update(
        self,
        train: float | None = None,
        val: float | None = None,
        epoch: int | None = None,
        **metrics: float | None,
    ) -> Advice:
        """Tell of one more epoch; once an epoch.

        `val` is the watched goal on the validation data, `train` the same on the training data; other
        `metrics` under any name (`train_loss=…`). Whatever is missing may be None or NaN. `epoch` counts from
        1; it goes by itself if it is not given. After the last epoch the network is complete, its value the
        last `val`; so is one that is trained on after advice to stop. Beyond it nothing is recorded.

            if network.update(train=0.71, val=0.68, train_loss=0.82).stop: break
        """
        if self._again:
            self.trial, self._again, self._last = replace(self.trial, epochs=(), halts=()), False, math.nan
        trial, watch, name = self.trial, self.watch, self.watch.goal.name
        index = (trial.epochs[-1].index + 1 if trial.epochs else 1) if epoch is None else int(epoch)
        if index > watch.epochs:
            return Advice(forecast=self.forecast)
        found = {f"val_{name}": _number(val), **{n: _number(v) for n, v in metrics.items()}}
        if train is not None:
            found[f"train_{name}"] = _number(train)
        if val is not None or f"val_{name}" in metrics:
            self._last = found[f"val_{name}"]
        seconds, self._clock = time.monotonic() - self._clock, time.monotonic()
        epochs = (*(e for e in trial.epochs if e.index < index), Epoch(index, found, seconds))
        self._done = False
        self.trial = replace(
            trial,
            state="paused",
            epochs=epochs,
            values=self._settled(),
            seconds={**trial.seconds, "train": trial.seconds.get("train", 0.0) + seconds},
        )
        if index >= watch.epochs:
            self.finish()
            return Advice()
        if not self.watched or index <= self._judged:  # what it was revived in spite of
            return Advice(forecast=self.forecast)
        verdict, engine = watch.judge(self.trial)
        self._clock = time.monotonic()
        spent = self.trial.seconds
        self.trial = replace(self.trial, seconds={**spent, "engine": spent.get("engine", 0.0) + engine})
        self.forecast = verdict.forecast.get(name)
        if verdict.action != "go":
            self._halt(index, verdict)
        return Advice(verdict.action != "go", verdict.action == "pause", verdict.reason, self.forecast)

    def _halt(self, index: int, verdict: Verdict) -> None:
        action: Literal["pause", "stop"] = "pause" if verdict.action == "pause" else "stop"
        halt = Halt(index, action, verdict.reason, verdict.forecast)
        values = {Key(n): v for n, v in verdict.forecast.items()}
        name = self.watch.goal.name
        if Key(name) not in values and math.isfinite(self._last):  # the network as it is
            values[Key(name, fidelity=index)] = Value(self._last)
        self._settle(replace(self.trial, halts=(*self.trial.halts, halt)), action, values)

    def finish(self, value: float | None = None, **measured: float) -> None:
        """The training is over. `value` is what the watched goal came to; without it, the last `val` is.
        `measured` are goals that are known after training only (`latency=0.0021`).

        Of a network that was halted the forecast stays; `value` is then noted as that of its last epoch.
        A value that is not finite makes it a failed network.

            network.finish(test_accuracy, latency=0.0021)
        """
        goal = self.watch.goal.name
        found = {Key(n): Value(float(v)) for n, v in measured.items() if math.isfinite(float(v))}
        if self.halted:
            if value is not None and math.isfinite(float(value)):
                found[Key(goal, fidelity=self.trial.epochs[-1].index)] = Value(float(value))
            if found:
                self._settle(self.trial, "pause" if self.trial.state == "paused" else "stop", found)
            return
        if self._done and value is None and not found:
            return
        known = self.trial.values.get(Key(goal)) if self._done else None
        final = _number(value) if value is not None else known.mean if known is not None else self._last
        if not math.isfinite(final):
            if self.trial.epochs or value is not None:
                self.fail(f"the goal {goal!r} is {final}, not a finite number", "not finite")
            return
        self.watch.measure(final)
        self._settle(replace(self.trial, failure=None), "complete", {**found, Key(goal): Value(final)})

    def fail(self, message: str = "the training failed", kind: str = "exception") -> None:
        """It came to nothing; it is remembered as failed and never ranked."""
        values = {k: v for k, v in self.trial.values.items() if k.goal != self.watch.goal.name}
        failed = replace(self.trial, values=values, failure=Failure(kind, message))
        self._settle(failed, "failed", {})

    def _settle(self, trial: Trial, end: str, values: Mapping[Key, Value]) -> None:
        states: Mapping[str, trials.State] = {"pause": "paused", "stop": "stopped", "failed": "failed"}
        self._done = True
        self.trial = self.watch.tell(replace(trial, state=states.get(end, "complete")).with_values(values))

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        elif isinstance(error, Exception) and not self._done:
            self.fail(f"{kind.__name__}: {error}")


def make_engine(
    engine: str | type[Any] | Stopper, goals: Sequence[Goal], options: Mapping[str, Any]
) -> Stopper:
    """The engine of that name or class, made for these goals; an object is what it is.

    Raises `ValueError`, one sentence, if there is none, or an option does not fit.
    """
    if not isinstance(engine, str | type):
        if options:
            listed = ", ".join(sorted(options))
            raise ValueError(
                f"{listed}: an engine that is made already takes no options; give its name or class"
            )
        return engine
    if isinstance(engine, str) and "," in engine:
        if options:
            raise ValueError(f"{', '.join(sorted(options))}: engines that work together take no options here")
        return Together(goals, stoppers=[make_engine(one.strip(), goals, {}) for one in engine.split(",")])
    with _FINDING:
        maker: Callable[..., Any] = names.find("stopper", engine) if isinstance(engine, str) else engine
    label = engine if isinstance(engine, str) else engine.__name__
    good, wrong = names.check(maker, options, given=("goals",))
    if wrong:
        option, sentence = wrong[0]
        raise ValueError(f"engine {label}: {option}: {sentence}")
    wanted = inspect.signature(maker).parameters
    given: dict[str, Any] = {"goals": tuple(goals)} if "goals" in wanted else {}
    if "scouts" in wanted:
        good.setdefault("scouts", 0)  # who is paused in somebody else's loop may never come back
    made: Stopper = maker(**given, **good)
    return made


def is_forecast(trial: Trial, goals: Iterable[Goal]) -> bool:
    """Whether one of its values is a forecast, or that of a network that was not trained in full."""
    if trial.state in ("paused", "stopped"):
        return True
    found = [trial.value(g.name) for g in goals]
    return any(v is not None and v.origin == "forecast" for v in found)


# -- plain data --------------------------------------------------------------------------------------


def _number(value: float | None) -> float:
    """As a float; NaN for None and for what is not finite or as good as infinite."""
    number = math.nan if value is None else float(value)
    return number if abs(number) < HUGE else math.nan


def _numbers(trial: Trial, goal: str) -> list[float]:
    wanted = (f"val_{goal}", f"train_{goal}")
    return [x for e in trial.epochs[:3] + trial.epochs[-1:] for n, x in e.metrics.items() if n in wanted]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def to_row(trial: Trial) -> dict[str, Any]:
    """A trial as JSON data in which a metric that is missing (NaN) is null."""
    row = trials.to_json(trial)
    row["epochs"] = [
        [i, {n: x if math.isfinite(x) else None for n, x in metrics.items()}, s]
        for i, metrics, s in row["epochs"]
    ]
    return row


def from_row(row: Mapping[str, Any]) -> Trial:
    """A trial from what `to_row` made of it."""
    epochs = [
        [i, {n: math.nan if x is None else x for n, x in metrics.items()}, s]
        for i, metrics, s in row["epochs"]
    ]
    return trials.from_json({**row, "epochs": epochs})
