"""Syne Tune: a scheduler that stops and pauses trials early, with any searcher, for one metric or several.

    scheduler = Scheduler(config_space, goals=["accuracy", "macs"], epochs=25, train_metric="train_accuracy")
    Tuner(trial_backend=…, scheduler=scheduler, stop_criterion=…, n_workers=4).run()
    scheduler.unconfirmed()  # who is on the front by a forecast only

The training script reports as always: `report(epoch=epoch, accuracy=…, train_accuracy=…, macs=…)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

try:
    import syne_tune  # noqa: F401
except ModuleNotFoundError as absent:
    raise ModuleNotFoundError(
        'vilfredo.interop.syne_tune needs Syne Tune: pip install "vilfredo[syne-tune]"', name=absent.name
    ) from absent
from syne_tune.backend.trial_status import Trial as SyneTrial
from syne_tune.config_space import (
    cast_config_values,
    config_space_to_json_dict,
    postprocess_config,
    remove_constant_and_cast,
)
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler, TrialSuggestion
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher
from syne_tune.optimizer.schedulers.searchers.searcher_factory import searcher_factory
from syne_tune.optimizer.schedulers.searchers.single_objective_searcher import SingleObjectiveBaseSearcher
from syne_tune.util import dump_json_with_numpy

from vilfredo.goal import Goal
from vilfredo.interop.watch import Network, Watch, as_goal
from vilfredo.protocols import Stopper


class Scheduler(TrialScheduler):
    """An engine of early termination around a searcher of Syne Tune.

    `goals` are the metrics that are optimised, by the names under which they are reported; the names or the
    `Goal`s say in which sense. `goal` is the one that improves with training; by default the first. The
    others are reported with it in every result, and so is `train_metric` if it is given: the same metric on
    the training data. `time_attr` is the epoch, from 1; `epochs` is the length of full training, after which
    a trial is stopped. `searcher` is a name or a searcher of Syne Tune. `engine` and `options` are those of
    `Watch`.

    Where the engine pauses, the trial is paused, and resumed when the engine revives it: from its checkpoint
    if the training script keeps one; else it reports epoch 1 again, and is not judged before where it was.
    To the searcher a trial that is ended early has its forecast as a result.

    Raises `ValueError` for goals, an engine or options that are not known, and for a result without a metric.

        scheduler = Scheduler(config_space, goals=["accuracy"], epochs=25, searcher="regularized_evolution")
    """

    def __init__(
        self,
        config_space: dict[str, Any],
        *,
        goals: Sequence[str | Goal],
        epochs: int,
        engine: str | type[Any] | Stopper = "genrace",
        goal: str = "",
        train_metric: str = "",
        time_attr: str = "epoch",
        searcher: str | BaseSearcher = "random_search",
        searcher_kwargs: Mapping[str, Any] | None = None,
        random_seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(random_seed=random_seed)
        self.goals = tuple(map(as_goal, goals))
        first = next((g for g in self.goals if g.name == (goal or self.goals[0].name)), None)
        if first is None:
            raise ValueError(f"goal={goal!r} is not among the goals: {', '.join(g.name for g in self.goals)}")
        self.watch = Watch(
            engine, epochs=epochs, goal=first, goals=[g for g in self.goals if g is not first], **options
        )
        self.config_space, self.train_metric, self.time_attr = config_space, train_metric, time_attr
        if isinstance(searcher, str):
            given = {"random_seed": random_seed, **(searcher_kwargs or {})}
            searcher = searcher_factory(
                searcher, config_space, is_multi_objective=len(self.goals) > 1, **given
            )
        elif searcher_kwargs:
            raise ValueError("searcher_kwargs: a searcher that is made already takes none; give its name")
        if isinstance(searcher, SingleObjectiveBaseSearcher) and len(self.goals) > 1:
            raise ValueError(
                f"{type(searcher).__name__} searches for one metric, and there are {len(self.goals)}"
            )
        self.searcher: Any = searcher
        self._networks: dict[int, Network] = {}  # of trials that run
        self._configs: dict[int, dict[str, Any]] = {}

    def unconfirmed(self) -> dict[int, dict[str, Any]]:
        """The configurations, by trial, that are on the front (with one goal: the best) by a forecast only.
        Train them in full before you trust them."""
        return {n: self._configs[n] for n in self.watch.unconfirmed() if n in self._configs}

    # -- what the tuner calls -------------------------------------------------------------------------

    def suggest(self) -> TrialSuggestion | None:
        """A paused trial that deserves to go on, or else what the searcher suggests."""
        for number in self.watch.revive():
            self._networks[number] = self.watch.network(number)
            return TrialSuggestion.resume_suggestion(number)
        config = self.searcher.suggest()
        if config is None:
            return None
        config = cast_config_values(config, self.config_space)
        return TrialSuggestion.start_suggestion(postprocess_config(config, self.config_space))

    def on_trial_add(self, trial: SyneTrial) -> None:
        self._networks[trial.trial_id] = self.watch.network(trial.trial_id)

    def on_trial_result(self, trial: SyneTrial, result: dict[str, Any]) -> str:
        network = self._networks.get(trial.trial_id)
        if network is None:  # it was ended already, and its last words come late
            return str(SchedulerDecision.STOP)
        self._configs[trial.trial_id] = remove_constant_and_cast(trial.config, self.config_space)
        watched, known = self._read(result)
        network.know(**known)
        train = float(result[self.train_metric]) if self.train_metric in result else None
        advice = network.update(train=train, val=watched, epoch=int(result[self.time_attr]))
        over = int(result[self.time_attr]) >= self.watch.epochs
        if not (advice.stop or over):
            self._tell("on_trial_result", trial.trial_id, self._last(network, watched))
            return str(SchedulerDecision.CONTINUE)
        self._end(trial.trial_id)
        return str(SchedulerDecision.PAUSE if advice.pause else SchedulerDecision.STOP)

    def on_trial_complete(self, trial: SyneTrial, result: dict[str, Any]) -> None:
        network = self._networks.get(trial.trial_id)
        if network is not None:  # it ended by itself
            self._configs[trial.trial_id] = remove_constant_and_cast(trial.config, self.config_space)
            watched, known = self._read(result)
            network.know(**known)
            network.finish(watched)
            self._end(trial.trial_id)

    def on_trial_error(self, trial: SyneTrial) -> None:
        network = self._networks.pop(trial.trial_id, None)
        if network is not None:
            network.fail("the trial failed")
            self.searcher.on_trial_error(trial.trial_id)

    def metric_names(self) -> list[str]:
        return [g.name for g in self.goals]

    def metric_mode(self) -> str | list[str]:
        modes = [str(g.sense) for g in self.goals]
        return modes[0] if len(set(modes)) == 1 else modes

    def metadata(self) -> dict[str, Any]:
        space = dump_json_with_numpy(config_space_to_json_dict(self.config_space))
        return {
            "scheduler_name": type(self).__name__,
            "scheduler_kwargs": {"engine": type(self.watch.engine).__name__, "epochs": self.watch.epochs},
            "config_space": space,
            "metric_names": self.metric_names(),
            "metric_mode": self.metric_mode(),
        }

    # -- within ---------------------------------------------------------------------------------------

    def _read(self, result: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
        """The watched goal and the others, of a result."""
        names = [*self.metric_names(), self.time_attr, *([self.train_metric] if self.train_metric else [])]
        absent = next((n for n in names if n not in result), None)
        if absent is not None:
            there = ", ".join(sorted(n for n in result if not n.startswith("st_")))
            raise ValueError(f"a result has no {absent!r} (it has: {there}); report it after every epoch")
        watched = self.watch.goal.name
        return float(result[watched]), {n: float(result[n]) for n in self.metric_names() if n != watched}

    def _end(self, number: int) -> None:
        """Tell the searcher what it came to: measured, or forecast."""
        network = self._networks.pop(number)
        if network.trial.state == "failed":
            self.searcher.on_trial_error(number)
        else:
            self._tell("on_trial_complete", number, self._last(network, math.nan))

    def _last(self, network: Network, watched: float) -> list[float]:
        """To be minimised, in the order of the goals; `watched` is for the watched one without a value."""
        found = []
        for goal in self.goals:
            known = network.trial.value(goal.name)
            value = known.mean if known is not None else watched if goal is self.watch.goal else math.nan
            found.append(-value if goal.sense == "max" else value)
        return found

    def _tell(self, event: str, number: int, metrics: list[float]) -> None:
        if not all(map(math.isfinite, metrics)):
            return
        single = isinstance(self.searcher, SingleObjectiveBaseSearcher)
        getattr(self.searcher, event)(number, self._configs[number], metrics[0] if single else metrics)
