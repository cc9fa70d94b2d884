"""Early termination in Syne Tune, against the real package: its tuner with simulated workers."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loops import EPOCHS, Half, macs, training

pytest.importorskip("syne_tune", reason="Syne Tune is not installed")

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend.simulator_backend.simulator_backend import SimulatorBackend
from syne_tune.backend.simulator_backend.simulator_callback import SimulatorCallback
from syne_tune.backend.trial_status import Status
from syne_tune.backend.trial_status import Trial as SyneTrial
from syne_tune.config_space import uniform
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.searchers.random_searcher import RandomSearcher

from vilfredo.goal import Goal
from vilfredo.interop.syne_tune import Scheduler

SPACE = {"width": uniform(0.0, 1.0), "rate": uniform(0.0, 1.0)}
TRIALS = 40


class Simulated(SimulatorBackend):  # type: ignore[misc]
    """Workers that train for a second an epoch, in simulated time; paused trials have checkpoints."""

    def __init__(self) -> None:
        super().__init__(entry_point=str(Path(__file__)), elapsed_time_attr="elapsed", tuner_sleep_time=0.5)
        self.paused: dict[int, int] = {}

    def _advance_by_outside_time(self) -> None:
        """What this machine needs to decide is no part of it: who is known when would hang on its speed."""

    def _pause_trial(self, trial_id: int, result: dict[str, Any] | None) -> None:
        super()._pause_trial(trial_id, result)
        self.paused[trial_id] = 0 if result is None else int(result["epoch"])

    def _run_job_and_collect_results(
        self, trial_id: int, config: dict[str, Any] | None = None
    ) -> tuple[str, list[dict[str, Any]]]:
        config = config or self._trial_dict[trial_id].config
        done = self.paused.get(trial_id, 0)
        results = [
            {
                "epoch": epoch,
                "train_accuracy": seen,
                "accuracy": val,
                "macs": macs(config["width"]),
                "elapsed": float(epoch - done),
            }
            for epoch, (seen, val) in enumerate(training(config["width"], config["rate"]), 1)
            if epoch > done
        ]
        return Status.completed, results


class Few(RandomSearcher):  # type: ignore[misc]
    """The same `TRIALS` configurations in any search."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        super().__init__(SPACE, [{"width": float(w), "rate": float(r)} for w, r in rng.random((TRIALS, 2))])

    def suggest(self, **given: Any) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._next_points_to_evaluate()
        return found


def tuned(scheduler: Scheduler, folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int = 4) -> Any:
    monkeypatch.setenv("SYNETUNE_FOLDER", str(folder))
    monkeypatch.setattr("syne_tune.constants.SYNE_TUNE_FOLDER", str(folder), raising=False)
    logging.getLogger("syne_tune").setLevel(logging.ERROR)
    tuner = Tuner(
        trial_backend=Simulated(),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_num_trials_started=TRIALS),
        n_workers=workers,
        sleep_time=0,
        save_tuner=False,
        callbacks=[SimulatorCallback()],
        wait_trial_completion_when_stopping=True,
        tuner_name="early",
        trial_backend_path=str(folder / "backend"),
    )
    tuner.run()
    return tuner


def made(engine: Any, *goals: str | Goal, **options: Any) -> Scheduler:
    named = goals or ("accuracy",)
    return Scheduler(
        SPACE,
        goals=named,
        epochs=EPOCHS,
        engine=engine,
        train_metric="train_accuracy",
        random_seed=1,
        **options,
    )


def spent(scheduler: Scheduler) -> int:
    return sum(len(t.epochs) for t in scheduler.watch.trials)


@pytest.mark.parametrize("engine", ["genrace", "median"])
def test_the_tuner_spends_less_and_finds_the_best(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, short = (
        made("never", searcher=Few()),
        made(engine, searcher=Few()),
    )
    for scheduler in (full, short):
        tuned(scheduler, tmp_path, monkeypatch, workers=1 + (engine == "genrace"))
        assert len(scheduler.watch.trials) == TRIALS
    assert spent(full) == TRIALS * EPOCHS
    assert spent(short) < 0.9 * spent(full)
    best, found = (max(t.value("accuracy").mean for t in s.watch.trials) for s in (full, short))  # type: ignore[union-attr]
    assert found == best
    assert not short.unconfirmed()


def test_several_metrics_and_a_searcher_that_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = {"population_size": 8, "sample_size": 3}
    scheduler = made("genrace", "accuracy", "macs", searcher="regularized_evolution", searcher_kwargs=search)
    tuner = tuned(scheduler, tmp_path, monkeypatch)
    assert spent(scheduler) < TRIALS * EPOCHS
    assert {t.state for t in scheduler.watch.trials} <= {"complete", "paused"}
    assert len(scheduler.searcher.population) == 8  # it was told of all, to be minimised
    assert all(e.results[0] < 0 < e.results[1] for e in scheduler.searcher.population)
    assert tuner.scheduler.metric_mode() == ["max", "min"]
    for number, config in scheduler.unconfirmed().items():
        assert scheduler.watch.trials[number].state == "paused"
        assert set(config) == {"width", "rate"}


def test_a_paused_trial_is_resumed_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = made(Half, pause=True)
    tuner = tuned(scheduler, tmp_path, monkeypatch, workers=1)
    assert tuner.trial_backend.paused
    resumed = [t for t in scheduler.watch.trials if t.halts and t.state == "complete"]
    assert resumed
    assert all([e.index for e in t.epochs] == list(range(1, EPOCHS + 1)) for t in resumed)


# -- the scheduler by itself ----------------------------------------------------------------------


def run(scheduler: Scheduler, number: int, config: dict[str, Any], values: list[float]) -> list[str]:
    trial = SyneTrial(trial_id=number, config=config, creation_time=datetime.now())
    scheduler.on_trial_add(trial)
    said: list[str] = []
    for epoch, value in enumerate(values, 1):
        result = {"epoch": epoch, "accuracy": value, "train_accuracy": value}
        said.append(scheduler.on_trial_result(trial, result))
        if said[-1] != SchedulerDecision.CONTINUE:
            scheduler.on_trial_remove(trial)
            return said
    scheduler.on_trial_complete(trial, result)
    return said


def config_of(scheduler: Scheduler) -> dict[str, Any]:
    suggestion = scheduler.suggest()
    assert suggestion is not None
    config: dict[str, Any] = suggestion.config
    return config


def test_decisions() -> None:
    scheduler = made(Half)
    for number in range(5):
        said = run(scheduler, number, config_of(scheduler), [0.5 + 0.01 * epoch for epoch in range(EPOCHS)])
        assert said == [SchedulerDecision.CONTINUE] * (EPOCHS - 1) + [SchedulerDecision.STOP]
    assert run(scheduler, 5, config_of(scheduler), [0.1] * EPOCHS) == ["CONTINUE", "CONTINUE", "STOP"]
    assert run(scheduler, 6, config_of(scheduler), [0.9] * 5) == ["CONTINUE"] * 5  # it ends by itself
    assert [t.state for t in scheduler.watch.trials] == ["complete"] * 5 + ["stopped", "complete"]
    assert scheduler.watch.trials[6].value("accuracy").mean == 0.9  # type: ignore[union-attr]


def test_trials_that_fail_or_come_to_nan() -> None:
    scheduler = made("genrace")
    assert run(scheduler, 0, config_of(scheduler), [math.nan] * EPOCHS)[-1] == SchedulerDecision.STOP
    trial = SyneTrial(trial_id=1, config=config_of(scheduler), creation_time=datetime.now())
    scheduler.on_trial_add(trial)
    scheduler.on_trial_error(trial)
    assert [t.state for t in scheduler.watch.trials] == ["failed", "failed"]
    assert scheduler.unconfirmed() == {}


def test_what_is_wrong_is_said() -> None:
    scheduler = made("never", "accuracy", "macs")
    with pytest.raises(ValueError, match=r"no 'macs' \(it has: accuracy, epoch, train_accuracy\)"):
        run(scheduler, 0, config_of(scheduler), [0.5])
    with pytest.raises(ValueError, match="searches for one metric, and there are 2"):
        made("never", "accuracy", "macs", searcher=made("never").searcher)
    with pytest.raises(ValueError, match="not among the goals: accuracy"):
        made("never", goal="loss")
