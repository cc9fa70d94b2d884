"""Optuna: a pruner for studies with one objective, and early termination for studies with several.

::

    pruner = Pruner("genrace", epochs=25, goal="accuracy")
    study = optuna.create_study(direction="maximize", pruner=pruner)
    …
    report(trial, val, epoch, train=train)  # in the objective, after each epoch; or trial.report(val, epoch)
    if trial.should_prune():
        raise optuna.TrialPruned()

Optuna raises NotImplementedError for `report` and `should_prune` where there are several objectives. There::

    watcher = MultiObjective(study, "genrace", epochs=25, goals=["accuracy", "macs"])
    …
    run = watcher.start(trial, macs=2.1e6)  # in the objective
    for epoch in range(25):
        …
        if run.update(train=train, val=val).stop:
            break
    return run.values()  # measured, or forecast and marked as such in the trial's user attributes

What others know is read from the study's storage whenever it is needed: threads (`n_jobs`), processes that
share a storage and studies that are taken up again need nothing else.

User attributes of a trial: `vilfredo:halted` (epoch, action, reason) and `vilfredo:forecast` (goal -> mean,
sd) of one that was halted; `vilfredo:confirms` and `vilfredo:revives`, the number of the trial that it trains
once more; `vilfredo:curve` and `vilfredo:train`, metrics by epoch.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

try:
    import optuna
except ModuleNotFoundError as absent:
    raise ModuleNotFoundError(
        'vilfredo.interop.optuna needs Optuna: pip install "vilfredo[optuna]"', name=absent.name
    ) from absent
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from vilfredo.goal import KNOWN, Goal, Sense
from vilfredo.interop.watch import Advice, Network, Watch, from_row, to_row
from vilfredo.protocols import Stopper
from vilfredo.trial import Epoch, Failure, Halt, Key, Trial, Value

HALTED, FORECAST = "vilfredo:halted", "vilfredo:forecast"
REVIVES, CONFIRMS = "vilfredo:revives", "vilfredo:confirms"
CURVE, TRAIN, KNOWN_BEFORE = "vilfredo:curve", "vilfredo:train", "vilfredo:known"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
UNSETTLED = (TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL)  # once more would be in vain


def report(trial: optuna.Trial, val: float, step: int, train: float | None = None, **known: float) -> None:
    """`trial.report(val, step)` together with what a `Pruner` can use besides: the same metric on the
    training data, and values of other goals that need no training (`macs=…`).

        report(trial, val_accuracy, epoch, train=train_accuracy)
    """
    if train is not None:
        curve = {**trial.user_attrs.get(TRAIN, {}), str(int(step)): _plain(train)}
        trial.set_user_attr(TRAIN, curve)
    if known and KNOWN_BEFORE not in trial.user_attrs:
        trial.set_user_attr(KNOWN_BEFORE, {name: float(x) for name, x in known.items()})
    trial.report(float(val), step)


class Pruner(BasePruner):
    """Vilfredo's engines as a pruner, for studies with one objective.

    `engine`, `epochs`, `goals` and `options` are those of `Watch`; `goal` names what is reported
    ("accuracy", "loss"), its direction is the study's. Steps are epochs, counted from 0 or from 1. What was
    forecast for a pruned trial is in its user attributes.

    Raises `ValueError` for an engine or option that is not known.

        pruner = Pruner("genrace", epochs=25, goal="accuracy")
        study = optuna.create_study(direction="maximize", pruner=pruner)
    """

    def __init__(
        self,
        engine: str | type[Any] | Stopper = "genrace",
        *,
        epochs: int,
        goal: str | Goal = "objective",
        goals: Sequence[str | Goal] = (),
        **options: Any,
    ) -> None:
        self._engine, self._epochs, self._goals, self._options = engine, epochs, tuple(goals), options
        self._goal = goal
        self._memo: tuple[str, Watch, set[int]] | None = None
        self._lock = threading.Lock()
        self._make(StudyDirection.MAXIMIZE)  # what is wrong is said now

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the engine halts this trial after its latest step."""
        if trial.last_step is None or CONFIRMS in trial.user_attrs:
            return False
        watch = self._watch(study)
        here, halted = self._once_more(watch, trial)
        if here.epochs[-1].index <= halted:  # it is asked again after the epoch at which it was halted
            return False
        if here.epochs[-1].index >= self._epochs:
            return False
        verdict, _ = watch.judge(here)
        if verdict.action == "go":
            return False
        told = {"epoch": here.epochs[-1].index, "action": verdict.action, "reason": verdict.reason}
        _mark(study, trial, HALTED, told)
        _mark(study, trial, FORECAST, {n: [v.mean, v.sd] for n, v in verdict.forecast.items()})
        return True

    def revive(self, study: Study) -> list[int]:
        """Enqueue the pruned trials that deserve to go on after all (of engines that pause); their numbers.

        Each is tried once more, as a new trial with the same parameters, and the engine is not asked before
        the epoch at which it was pruned. `vilfredo:revives` in the user attributes says whose checkpoint it
        may go on from.

            while numbers := pruner.revive(study):
                study.optimize(objective, n_trials=len(numbers))
        """
        busy = _roots(study, REVIVES, UNSETTLED)
        numbers = [n for n in self._watch(study).revive() if n not in busy]
        _enqueue(study, numbers, REVIVES)
        return numbers

    def _watch(self, study: Study) -> Watch:
        """All finished trials of the study under the engine. What was read once is not read again."""
        with self._lock:
            if self._memo is None or self._memo[0] != study.study_name:
                self._memo = (study.study_name, self._make(study.direction), set())
            _, watch, told = self._memo
            for frozen in study.get_trials(deepcopy=False, states=FINISHED):
                if frozen.number not in told:
                    watch.tell(self._once_more(watch, frozen)[0])
                    told.add(frozen.number)
            return watch

    @staticmethod
    def _once_more(watch: Watch, frozen: FrozenTrial) -> tuple[Trial, int]:
        """The trial under the number of the one that it revives, after that one's epochs if it goes
        on from a checkpoint; the epoch at which that one was halted, or 0."""
        trial, root = _trial(frozen, watch.goal), _root(frozen)
        known = () if root == frozen.number else watch.trials
        past = next((t.epochs for t in known if t.number == root), ())
        steps = frozen.intermediate_values
        if past and steps and min(steps) > 1:  # from a checkpoint
            shift = past[-1].index + 1 - trial.epochs[0].index
            trial = replace(
                trial, epochs=past + tuple(replace(e, index=e.index + shift) for e in trial.epochs)
            )
        return replace(trial, number=root), past[-1].index if past else 0

    def _make(self, direction: StudyDirection) -> Watch:
        goal = self._goal if isinstance(self._goal, Goal) else _goal(self._goal, direction)
        return Watch(self._engine, epochs=self._epochs, goal=goal, goals=self._goals, **self._options)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_memo", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _memo=None, _lock=threading.Lock())


class MultiObjective:
    """Early termination in a study with several objectives (or with one).

    `goals` name the objectives in the order of the study's directions; by default they are its metric names.
    `goal` is the one that `val` of `Run.update` measures; by default the first. The rest is as for `Watch`.

    A halted trial returns its forecast and is COMPLETE to Optuna, because a PRUNED one has no values for the
    sampler to learn from. So `study.best_trials` may hold forecasts: `confirm` has them trained in full, and
    `best_trials` here leaves out what was trained once more. Raises `ValueError` for goals that do not fit
    the study, and for an engine or option that is not known.

    ::

        watcher = MultiObjective(study, epochs=25, goals=["accuracy", "macs"])
        study.optimize(objective, n_trials=100)
        while numbers := watcher.confirm():
            study.optimize(objective, n_trials=len(numbers))
    """

    def __init__(
        self,
        study: Study,
        engine: str | type[Any] | Stopper = "genrace",
        *,
        epochs: int,
        goals: Sequence[str | Goal] = (),
        goal: str = "",
        **options: Any,
    ) -> None:
        names = list(goals) or list(study.metric_names or [])
        if len(names) != len(study.directions):
            raise ValueError(
                f"the study has {len(study.directions)} directions but {len(names)} goals are named; "
                "give one for each as goals=[…]"
            )
        named = [
            g if isinstance(g, Goal) else _goal(g, d) for g, d in zip(names, study.directions, strict=True)
        ]
        for g, direction in zip(named, study.directions, strict=True):
            if (g.sense == "max") != (direction == StudyDirection.MAXIMIZE):
                raise ValueError(f"the goal {g.name!r} is to {g.sense}imise, but not in the study")
        first = next((g for g in named if g.name == goal), named[0] if not goal else None)
        if first is None:
            raise ValueError(f"goal={goal!r} is not among the goals: {', '.join(g.name for g in named)}")
        self.study = study
        self.goals = tuple(named)
        self.watch = Watch(
            engine, epochs=epochs, goal=first, goals=[g for g in named if g is not first], **options
        )
        self._told: set[int] = set()
        self._lock = threading.Lock()

    def start(self, trial: optuna.Trial, **known: float) -> Run:
        """The training of a trial, at the beginning of the objective. `known` are the values of those goals
        that need no training."""
        self._read()
        begin = self.watch.confirm if CONFIRMS in trial.user_attrs else self.watch.network
        return Run(self, trial, begin(_root(trial), **known))

    def confirm(self) -> list[int]:
        """Enqueue the trials that are among the best by a forecast only, to be trained in full; their
        numbers.

        [] when all of the best are measured. What failed when it was confirmed is not tried again.
        """
        failed = _roots(self.study, CONFIRMS, (TrialState.FAIL,))
        numbers = [n for n in map(_root, self.unconfirmed()) if n not in failed]
        waiting = _roots(self.study, CONFIRMS, (TrialState.WAITING,))
        _enqueue(self.study, [n for n in numbers if n not in waiting], CONFIRMS)
        return numbers

    def revive(self) -> list[int]:
        """Enqueue the paused trials that deserve to go on after all (of engines that pause); their numbers.

        Each is tried once more, as a new trial with the same parameters; `vilfredo:revives` in its user
        attributes says whose checkpoint it may go on from.
        """
        self._read()
        busy = _roots(self.study, REVIVES, UNSETTLED)
        numbers = [n for n in self.watch.revive() if n not in busy]
        _enqueue(self.study, numbers, REVIVES)
        return numbers

    def unconfirmed(self) -> list[FrozenTrial]:
        """Those among the best trials that are there by a forecast only."""
        return [t for t in self.best_trials if HALTED in t.user_attrs]

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """The front of the study; of a trial that was trained more than once, what it came to in the end."""
        latest: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            known = latest.get(_root(trial))
            if known is None or HALTED in known.user_attrs or HALTED not in trial.user_attrs:
                latest[_root(trial)] = trial
        able = [t for t in latest.values() if all(x <= 0 for x in _constraints(t))]
        signs = [-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in self.study.directions]
        points = [[s * v for s, v in zip(signs, t.values or (), strict=True)] for t in able]
        return [t for t, p in zip(able, points, strict=True) if not any(_dominates(q, p) for q in points)]

    def _read(self) -> None:
        """Take in what has been finished since, here or elsewhere."""
        with self._lock:
            for frozen in self.study.get_trials(deepcopy=False, states=FINISHED):
                if frozen.number in self._told:
                    continue
                self._told.add(frozen.number)
                if CURVE in frozen.user_attrs:
                    self.watch.tell(from_row(json.loads(frozen.user_attrs[CURVE])))
                elif frozen.state == TrialState.COMPLETE:  # not watched: what it came to is known
                    values = {Key(g.name): Value(v) for g, v in zip(self.goals, frozen.values, strict=True)}
                    self.watch.tell(Trial(frozen.number, {}, "complete", values=values))


class Run:
    """The training of one Optuna trial; made by `MultiObjective.start`."""

    def __init__(self, watcher: MultiObjective, trial: optuna.Trial, network: Network) -> None:
        self.watcher, self.trial, self.network = watcher, trial, network
        self._anew = bool(network.trial.epochs)

    def update(
        self,
        train: float | None = None,
        val: float | None = None,
        epoch: int | None = None,
        **metrics: float | None,
    ) -> Advice:
        """Tell of one more epoch, as `Network.update`.

        A trial that is revived or confirmed begins with epoch 1, unless `epoch` says that it goes on from a
        checkpoint.
        """
        if self._anew and epoch is None:
            epoch = 1
        self._anew = False
        self.watcher._read()
        return self.network.update(train, val, epoch, **metrics)

    def values(self, value: float | None = None, **measured: float) -> list[float]:
        """What the objective returns, in the order of the study's directions.

        `value` is what the watched goal came to (by default the last `val`), `measured` are the goals that
        are known after training only. Of a halted training the watched goal is the forecast or, where the
        engine made none, its last `val`; the trial's user attributes say so. Raises `ValueError` for a goal
        that is not known.

            return run.values(latency=0.0021)
        """
        network, trial = self.network, self.trial
        network.finish(value, **measured)
        done = network.trial
        if network.halted:
            halt = done.halts[-1]
            trial.set_user_attr(HALTED, {"epoch": halt.epoch, "action": halt.action, "reason": halt.reason})
            trial.set_user_attr(FORECAST, {n: [v.mean, v.sd] for n, v in halt.forecast.items()})
        trial.set_user_attr(CURVE, json.dumps(to_row(done), separators=(",", ":")))
        found = []
        for goal in self.watcher.goals:
            known = done.value(goal.name)
            if known is None:
                raise ValueError(
                    f"the goal {goal.name!r} of trial {trial.number} is not known; "
                    f"give start(trial, {goal.name}=…) or values({goal.name}=…)"
                    if goal.name != self.watcher.watch.goal.name
                    else f"trial {trial.number} has no finite value of {goal.name!r}"
                )
            found.append(known.mean)
        return found


def _goal(name: str, direction: StudyDirection) -> Goal:
    sense: Sense = "max" if direction == StudyDirection.MAXIMIZE else "min"
    known = KNOWN.get(name)
    return known if known is not None and known.sense == sense else Goal(name, sense)


def _trial(frozen: FrozenTrial, goal: Goal) -> Trial:
    """A trial of Optuna's with one objective as one of ours."""
    steps = sorted(frozen.intermediate_values)
    first = 1 if steps and steps[0] == 0 else 0
    train = frozen.user_attrs.get(TRAIN, {})
    epochs = []
    for step in steps:
        metrics = {f"val_{goal.name}": _float(frozen.intermediate_values[step])}
        if str(step) in train:
            metrics[f"train_{goal.name}"] = _float(train[str(step)])
        epochs.append(Epoch(step + first, metrics))
    values = {Key(n): Value(float(x)) for n, x in frozen.user_attrs.get(KNOWN_BEFORE, {}).items()}
    trial = Trial(frozen.number, {}, "paused", epochs=tuple(epochs), values=values)
    if frozen.state == TrialState.COMPLETE and frozen.values and math.isfinite(frozen.values[0]):
        return replace(trial, state="complete").with_values({Key(goal.name): Value(frozen.values[0])})
    if frozen.state == TrialState.PRUNED:
        return _pruned(trial, frozen, goal)
    if frozen.state.is_finished():
        return replace(trial, state="failed", failure=Failure("exception", "the objective gave no value"))
    return trial


def _pruned(trial: Trial, frozen: FrozenTrial, goal: Goal) -> Trial:
    """With what was forecast for it, or else with its last value, as that of a network trained so far."""
    halted = frozen.user_attrs.get(HALTED, {})
    forecast = {n: Value(m, s, 1, "forecast") for n, (m, s) in frozen.user_attrs.get(FORECAST, {}).items()}
    values = {Key(n): v for n, v in forecast.items()}
    if goal.name not in forecast and trial.epochs:
        last = trial.epochs[-1]
        number = last.metrics[f"val_{goal.name}"]
        if math.isfinite(number):
            values[Key(goal.name, fidelity=last.index)] = Value(number)
    paused = halted.get("action") == "pause"
    trial = replace(trial, state="paused" if paused else "stopped").with_values(values)
    if not halted:  # by something else
        return trial
    halt = Halt(int(halted["epoch"]), "pause" if paused else "stop", str(halted["reason"]), forecast)
    return replace(trial, halts=(halt,))


def _float(number: object) -> float:
    return float(number) if isinstance(number, int | float) and math.isfinite(number) else math.nan


def _plain(number: float) -> float | None:
    """For JSON, which has no NaN."""
    number = float(number)
    return number if math.isfinite(number) else None


def _mark(study: Study, trial: FrozenTrial, key: str, value: object) -> None:
    """A user attribute from within a pruner, which is not given the live trial."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def _enqueue(study: Study, numbers: Iterable[int], attribute: str) -> None:
    wanted = list(numbers)
    if not wanted:
        return
    by_number = {t.number: t for t in study.get_trials(deepcopy=False)}
    for number in wanted:
        study.enqueue_trial(by_number[number].params, user_attrs={attribute: number})


def _root(trial: optuna.Trial | FrozenTrial) -> int:
    """The number of the trial that this one trains once more, or its own."""
    attributes = trial.user_attrs
    return int(attributes.get(REVIVES, attributes.get(CONFIRMS, trial.number)))


def _roots(study: Study, attribute: str, states: tuple[TrialState, ...]) -> set[int]:
    trials = study.get_trials(deepcopy=False, states=states)
    return {int(t.user_attrs[attribute]) for t in trials if attribute in t.user_attrs}


def _constraints(trial: FrozenTrial) -> list[float]:
    """Of a sampler's `constraints_func`, and of `Trial.set_constraint`."""
    single = [x for name, x in trial.system_attrs.items() if name.startswith("constraints:")]
    return [float(x) for x in [*trial.system_attrs.get("constraints", ()), *single]]


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True)) and tuple(first) != tuple(second)
