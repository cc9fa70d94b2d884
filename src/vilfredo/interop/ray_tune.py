"""Early termination in Ray Tune: a `Stopper`, beside any scheduler, and a `Scheduler` that also pauses::

    stop = Stopper("genrace", metric="accuracy", mode="max", max_t=25, train_metric="train_accuracy")
    tuner = tune.Tuner(train, param_space=…, run_config=tune.RunConfig(stop=stop))
    grid = tuner.fit()
    stop.forecasts  # trial id -> Value(mean, sd)

Both run in the process that calls `fit`; trainables report as they always do.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from vilfredo import protocols
from vilfredo.goal import Goal
from vilfredo.interop.watch import Advice, Network, Watch
from vilfredo.trial import Value

try:
    from ray import tune
    from ray.tune.experiment import Trial
    from ray.tune.result import (
        AUTO_RESULT_KEYS,
        DEBUG_METRICS,
        DEFAULT_RESULT_KEYS,
        DONE,
        RESULT_DUPLICATE,
        SHOULD_CHECKPOINT,
    )
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
    from ray.tune.trainable import FunctionTrainable
    from ray.tune.utils import flatten_dict
except ImportError as absent:  # Ray may be there without what its Tune needs
    raise ModuleNotFoundError(
        'vilfredo.interop.ray_tune needs Ray Tune: pip install "ray[tune]"', name="ray.tune"
    ) from absent

Mode = Literal["min", "max"]


class _Results:
    """Ray's results as epochs of networks; what `Stopper` and `Scheduler` have in common."""

    def __init__(
        self,
        engine: str | protocols.Stopper,
        metric: str,
        mode: str,
        max_t: int,
        train_metric: str,
        time_attr: str,
        goals: Mapping[str, Mode],
        options: Mapping[str, Any],
    ) -> None:
        if not metric:
            raise ValueError('say which metric of the results to watch: metric="accuracy"')
        if mode not in ("min", "max"):
            raise ValueError(f'say what is better in {metric!r}: mode="max" or mode="min" (not {mode!r})')
        if isinstance(max_t, bool) or not isinstance(max_t, int) or max_t < 1:
            raise ValueError(
                f"max_t, the {time_attr} at which training is over, is {max_t!r}; give a whole number from 1"
            )
        wrong = [name for name, sense in goals.items() if sense not in ("min", "max")]
        if wrong:
            raise ValueError(f'goals: {wrong[0]} is {goals[wrong[0]]!r}; write "min" or "max"')
        self.metric, self.train_metric, self.time_attr = metric, train_metric, time_attr
        self.max_t = max_t
        self.others = tuple(name for name in goals if name != metric)
        more = [Goal(name, goals[name], stage="preview") for name in self.others]
        sense: Mode = "max" if mode == "max" else "min"
        name = metric.rpartition("/")[2]  # "eval/accuracy" is an accuracy
        goal = Goal(metric if name in self.others else name, sense)
        self.watch = Watch(engine, epochs=max_t, goal=goal, goals=more, **options)
        self.networks: dict[str, Network] = {}
        self.forecasts: dict[str, Value] = {}
        self.reasons: dict[str, str] = {}
        self._last: dict[str, int] = {}

    def tell(self, trial_id: str, result: Mapping[str, Any], config: Mapping[str, Any]) -> Advice | None:
        """What the engine says to a result. None where it has nothing new: Ray repeats the last one when a
        function returns, and a trial that goes on without a checkpoint begins anew."""
        if not self._whole(result):
            return None
        epoch = int(result[self.time_attr])
        if epoch <= self._last.get(trial_id, 0):
            return None
        self._last[trial_id] = epoch
        if trial_id not in self.networks:
            self.networks[trial_id] = self._network({**config, **result})
        advice = self.networks[trial_id].update(
            train=float(result[self.train_metric]) if self.train_metric else None,
            val=float(result[self.metric]),
            epoch=epoch,
        )
        if advice.forecast is not None:
            self.forecasts[trial_id] = advice.forecast
        if advice.stop:
            self.reasons[trial_id] = advice.reason
        else:
            self.reasons.pop(trial_id, None)  # it was revived
        return advice

    def complete(self, trial_id: str) -> bool:
        return self._last.get(trial_id, 0) >= self.max_t

    def over(self, trial_id: str) -> None:
        """The trial ended by itself or by others: what it reported last is what it came to."""
        network = self.networks.get(trial_id)
        if network is not None and not network.halted and not self.complete(trial_id):
            network.finish()

    def give_up(self, trial_id: str) -> None:
        """What the engine paused does not go on."""
        self.watch.tell(replace(self.networks[trial_id].trial, state="stopped"))

    def go_on(self, trial_id: str) -> None:
        """What the engine paused goes on: for the watch it is in training from now."""
        self.networks[trial_id] = self.watch.network(self.networks[trial_id].number)

    def _network(self, source: Mapping[str, Any]) -> Network:
        missing = [name for name in self.others if name not in source]
        if missing:
            raise ValueError(
                f"the goal {missing[0]!r} is neither in the trial's config nor in its first result; report it"
            )
        return self.watch.network(None, **{name: float(source[name]) for name in self.others})

    def _whole(self, result: Mapping[str, Any]) -> bool:
        needed = [self.time_attr, self.metric, *([self.train_metric] if self.train_metric else [])]
        missing = [name for name in needed if name not in result]
        reported = _reported(result)
        if missing and reported and os.environ.get("TUNE_DISABLE_STRICT_METRIC_CHECKING", "0") != "1":
            raise ValueError(
                f"the results have no {missing[0]!r} (they have: {', '.join(reported)}); report it in every "
                "result, or set TUNE_DISABLE_STRICT_METRIC_CHECKING=1 if it comes only now and then"
            )
        return not missing


def _reported(result: Mapping[str, Any]) -> list[str]:
    """What the trainable reported, without what Ray adds to every result."""
    added = {
        *DEBUG_METRICS,
        *AUTO_RESULT_KEYS,
        *DEFAULT_RESULT_KEYS,
        DONE,
        SHOULD_CHECKPOINT,
        RESULT_DUPLICATE,
    }
    return sorted(n for n in result if n not in added and not n.startswith("config/"))


class Stopper(tune.Stopper):
    """Ends trials that the engine gives up; for `tune.RunConfig(stop=…)`, with any scheduler and searcher.

    `metric` is the validation metric in the results ("eval/accuracy" in nested ones), `mode` what is better
    in it, `max_t` the `time_attr` at which training is over (trials are ended there), `train_metric` the
    training metric ("": none).
    `goals` are the other goals of the search by name, each `"min"` or `"max"`, found in the trial's config
    or its first result: a network is kept alive while it may enter the front of all. `options` go to the
    engine. A `Stopper` cannot pause: what the engine would pause is ended (see `Scheduler`).

    `forecasts` and `reasons` are by trial id: what was forecast last, and why a trial was ended early.
    Raises `ValueError` for options that make no sense and for results that lack a metric.
    """

    def __init__(
        self,
        engine: str | protocols.Stopper = "genrace",
        *,
        metric: str = "",
        mode: str = "",
        max_t: int = 0,
        train_metric: str = "",
        time_attr: str = "training_iteration",
        goals: Mapping[str, Mode] | None = None,
        **options: Any,
    ) -> None:
        self._results = _Results(engine, metric, mode, max_t, train_metric, time_attr, goals or {}, options)

    @property
    def forecasts(self) -> Mapping[str, Value]:
        return self._results.forecasts

    @property
    def reasons(self) -> Mapping[str, str]:
        return self._results.reasons

    @property
    def watch(self) -> Watch:
        return self._results.watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        flat = flatten_dict({name: value for name, value in result.items() if name != "config"})
        advice = self._results.tell(trial_id, flat, result.get("config") or {})
        if result.get(DONE):
            self._results.over(trial_id)
        if advice is not None and advice.pause:
            self._results.give_up(trial_id)
        return (advice is not None and advice.stop) or self._results.complete(trial_id)

    def stop_all(self) -> bool:
        return False


class Scheduler(FIFOScheduler):
    """Pauses and ends trials as the engine says, and goes on with those that it revives.

    For `tune.TuneConfig(scheduler=…)`; options as for `Stopper`. `metric` and `mode` may be left to
    `TuneConfig`. Trials go on from their last checkpoint (`tune.report(…, checkpoint=…)`, or a class
    trainable's `save_checkpoint`); a trial that has none cannot be paused and is ended instead.

    A paused trial keeps its place among the searcher's concurrent ones; where that holds up the search,
    the one with the worst forecast is ended. When nothing else is left to run, all that stay paused are.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        engine: str | protocols.Stopper = "genrace",
        *,
        metric: str = "",
        mode: str = "",
        max_t: int = 0,
        train_metric: str = "",
        time_attr: str = "training_iteration",
        goals: Mapping[str, Mode] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._metric = metric or None
        self._mode = mode
        self._more = (max_t, train_metric, time_attr, dict(goals or {}), options)
        # All is looked at now, not at the first trial, but for what Ray may tell later.
        first = _Results(engine, metric or "metric", mode or "max", *self._more)
        self._results: _Results | None = first if metric and mode else None

    def _ready(self) -> _Results:
        if self._results is None:
            self._results = _Results(self._engine, self._metric or "", self._mode, *self._more)
        return self._results

    @property
    def forecasts(self) -> Mapping[str, Value]:
        return self._ready().forecasts

    @property
    def reasons(self) -> Mapping[str, str]:
        return self._ready().reasons

    @property
    def watch(self) -> Watch:
        return self._ready().watch

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """False, which Ray turns into a sentence of its own, where scheduler and `TuneConfig` both say it."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric = self._metric or metric
        self._mode = self._mode or mode or ""
        self._ready()
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Nothing is known of it before its first result."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        results = self._ready()
        advice = results.tell(trial.trial_id, result, trial.config)
        if results.complete(trial.trial_id):
            return str(TrialScheduler.STOP)
        if advice is None or not advice.stop:
            return str(TrialScheduler.CONTINUE)
        if advice.pause:
            if _can_pause(trial, result):
                return str(TrialScheduler.PAUSE)
            results.give_up(trial.trial_id)
        return str(TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._ready().over(trial.trial_id)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        network = self._ready().networks.get(trial.trial_id)
        if network is not None and not trial.should_recover():  # else Ray tries it again
            network.fail()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Those that the engine revives, then new ones."""
        results = self._ready()
        trials = tune_controller.get_trials()
        paused = {
            results.networks[t.trial_id].number: t
            for t in trials
            if t.status == Trial.PAUSED and t.trial_id in results.networks
        }
        for number in results.watch.revive() if paused else ():
            if number in paused:
                results.go_on(paused[number].trial_id)
                return paused[number]
        for trial in trials:
            if trial.status == Trial.PENDING:
                return trial
        if paused:
            self._make_room(tune_controller, list(paused.values()))
        return None

    def _make_room(self, tune_controller: Any, paused: list[Trial]) -> None:
        """Nothing new is at hand. If nothing will come, end what is paused; if the searcher waits for one of
        its concurrent trials to end, end the one with the worst forecast."""
        running = sum(t.status == Trial.RUNNING for t in tune_controller.get_trials())
        search = tune_controller.search_alg
        limits = [getattr(s, "max_concurrent", 0) for s in (search, getattr(search, "searcher", None))]
        full = any(limit and limit <= running + len(paused) for limit in limits)
        if search.is_finished():
            ending = [] if running else paused
        else:
            ending = [max(paused, key=self._hopeless)] if full or not running else []
        for trial in ending:
            self._ready().give_up(trial.trial_id)
            tune_controller.stop_trial(trial)

    def _hopeless(self, trial: Trial) -> float:
        """The higher, the less there is to hope of it."""
        forecast = self.forecasts.get(trial.trial_id)
        sign = 1.0 if self._mode == "min" else -1.0
        return math.inf if forecast is None else sign * forecast.mean

    def debug_string(self) -> str:
        known = self._ready().watch.trials
        counts = {s: sum(t.state == s for t in known) for s in ("complete", "paused", "stopped", "failed")}
        return "Vilfredo: " + ", ".join(f"{n} {state}" for state, n in counts.items())


def _can_pause(trial: Trial, result: Mapping[str, Any]) -> bool:
    """Whether there is, or can be made, a checkpoint to go on from."""
    kind = trial.get_trainable_cls()
    if kind is not None and issubclass(kind, FunctionTrainable):
        return bool(result.get(SHOULD_CHECKPOINT)) or trial.has_checkpoint()
    return kind is not None and kind.save_checkpoint is not tune.Trainable.save_checkpoint
