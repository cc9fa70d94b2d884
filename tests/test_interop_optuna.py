"""Early termination in Optuna, against the real package."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loops import EPOCHS, Half, macs, training

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")

from optuna.storages import JournalStorage  # noqa: E402
from optuna.storages.journal import JournalFileBackend  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

from vilfredo.goal import Goal  # noqa: E402
from vilfredo.interop.optuna import FORECAST, HALTED, REVIVES, MultiObjective, Pruner, report  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)


def random(seed: int = 1) -> Any:
    """A sampler that learns nothing: what it proposes next does not hang on who is done first."""
    return optuna.samplers.RandomSampler(seed=seed)


def single(trial: Any, first: int = 0) -> float:
    """An objective such as people write them."""
    width, rate = trial.suggest_float("width", 0, 1), trial.suggest_float("rate", 0, 1)
    val = 0.0
    for epoch, (seen, val) in enumerate(training(width, rate), first):
        report(trial, val, epoch, train=seen)
        if trial.should_prune():
            raise optuna.TrialPruned
    return val


def studied(pruner: Any, trials: int = 40, seed: int = 1, **options: Any) -> Any:
    study = optuna.create_study(direction="maximize", sampler=random(seed), pruner=pruner, **options)
    study.optimize(single, n_trials=trials)
    return study


def spent(study: Any) -> int:
    return sum(len(t.intermediate_values) for t in study.trials)


# -- one objective --------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["genrace", "median"])
def test_the_pruner_saves_epochs_and_keeps_the_best(engine: str) -> None:
    full = studied(optuna.pruners.NopPruner())
    short = studied(Pruner(engine, epochs=EPOCHS, goal="accuracy"))
    assert spent(full) == 40 * EPOCHS
    assert spent(short) < 0.75 * spent(full)
    assert short.best_value == full.best_value
    assert short.best_params == full.best_params


def test_a_pruned_trial_says_why_and_what_was_forecast() -> None:
    study = studied(Pruner(Half, epochs=EPOCHS, goal="accuracy"))
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert pruned
    for trial in pruned:
        assert trial.user_attrs[HALTED] == {
            "epoch": 3,
            "action": "stop",
            "reason": trial.user_attrs[HALTED]["reason"],
        }
        mean, sd = trial.user_attrs[FORECAST]["accuracy"]
        assert 0 < mean < 1
        assert sd > 0
    assert not [t for t in study.get_trials(states=(TrialState.COMPLETE,)) if HALTED in t.user_attrs]


def test_the_pruner_keeps_nothing_to_itself(tmp_path: Path) -> None:
    """A study in a file, taken up again with another pruner, prunes as an uninterrupted one."""
    halves = random()
    for _ in range(2):
        study = optuna.create_study(
            direction="maximize",
            sampler=halves,
            pruner=pickle.loads(pickle.dumps(Pruner(Half, epochs=EPOCHS, goal="accuracy"))),
            storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.log"))),
            study_name="s",
            load_if_exists=True,
        )
        study.optimize(single, n_trials=15)
    whole = studied(Pruner(Half, epochs=EPOCHS, goal="accuracy"), trials=30)
    assert [t.state for t in study.trials] == [t.state for t in whole.trials]
    assert [t.intermediate_values for t in study.trials] == [t.intermediate_values for t in whole.trials]


def test_the_pruner_in_threads() -> None:
    pruner = Pruner("median", epochs=EPOCHS, goal="accuracy")
    # not TPE: what it proposes improves so steadily that now and then nobody is worse than the median
    study = optuna.create_study(direction="maximize", sampler=random(), pruner=pruner)
    study.optimize(single, n_trials=40, n_jobs=4)
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_steps_from_one_plain_reports_and_a_falling_metric() -> None:
    def objective(trial: Any) -> float:
        width = trial.suggest_float("width", 0, 1)
        loss = 0.0
        for epoch, (_, val) in enumerate(training(width), 1):
            loss = -math.log(val)
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    pruner = Pruner(Half, epochs=EPOCHS)
    study = optuna.create_study(sampler=random(), pruner=pruner)
    study.optimize(objective, n_trials=30)
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert pruned
    assert {t.last_step for t in pruned} == {3}
    # Half judges the same in both senses
    assert min(study.trials, key=lambda t: t.values[0] if t.values else 9).params == study.best_params


def test_failed_and_nan_trials_do_no_harm() -> None:
    def objective(trial: Any) -> float:
        width, val = trial.suggest_float("width", 0, 1), 0.0
        for epoch, (_, val) in enumerate(training(width)):
            report(trial, math.nan if trial.number % 3 == 1 else val, epoch, train=math.nan, macs=macs(width))
            if trial.number % 3 == 2 and epoch == 4:
                raise RuntimeError("out of luck")
            if trial.should_prune():
                raise optuna.TrialPruned
        return val

    pruner = Pruner("genrace", epochs=EPOCHS, goal="accuracy", goals=[Goal("macs", ranked=False)])
    study = optuna.create_study(direction="maximize", sampler=random(), pruner=pruner)
    study.optimize(objective, n_trials=24, catch=(RuntimeError,))
    assert len(study.trials) == 24
    assert sum(t.state == TrialState.FAIL for t in study.trials) <= 8


def test_pruned_trials_come_back_when_the_engine_says_so() -> None:
    pruner = Pruner(Half, epochs=EPOCHS, goal="accuracy", pause=True)
    study = studied(pruner)
    pruned = [t.number for t in study.trials if t.state == TrialState.PRUNED]
    assert pruner.revive(study) == pruned
    assert pruner.revive(study) == []  # they wait to be run
    study.optimize(single, n_trials=len(pruned))
    again = [t for t in study.trials if REVIVES in t.user_attrs]
    assert [t.user_attrs[REVIVES] for t in again] == pruned
    assert {t.state for t in again} == {TrialState.COMPLETE}
    assert [t.params for t in again] == [study.trials[n].params for n in pruned]
    assert pruner.revive(study) == []


def test_a_revived_trial_may_go_on_from_a_checkpoint() -> None:
    def objective(trial: Any) -> float:
        width = trial.suggest_float("width", 0, 1)
        begin = 3 if REVIVES in trial.user_attrs else 0
        for epoch, (seen, val) in enumerate(training(width)):
            if epoch >= begin:
                report(trial, val, epoch, train=seen)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return val

    pruner = Pruner(Half, epochs=EPOCHS, goal="accuracy", pause=True)
    study = optuna.create_study(direction="maximize", sampler=random(), pruner=pruner)
    study.optimize(objective, n_trials=20)
    numbers = pruner.revive(study)
    assert numbers
    study.optimize(objective, n_trials=len(numbers))
    assert pruner.revive(study) == []
    for trial in pruner._watch(study).trials:
        assert trial.state == "complete"
        assert [e.index for e in trial.epochs] == list(range(1, EPOCHS + 1))


def test_the_race_of_a_pruner_ends() -> None:
    """Revived until nobody deserves it."""
    pruner = Pruner("genrace", epochs=EPOCHS, goal="accuracy")
    study = studied(pruner)
    rounds = 0
    while numbers := pruner.revive(study):
        study.optimize(single, n_trials=len(numbers))
        rounds += 1
        assert rounds < 20
    assert spent(study) < 40 * EPOCHS


def test_what_is_wrong_is_said_when_the_pruner_is_made() -> None:
    with pytest.raises(ValueError, match="did you mean 'genrace'"):
        Pruner("genrase", epochs=5)
    with pytest.raises(ValueError, match="unknown option"):
        Pruner("median", epochs=5, patience=3)


# -- several objectives ---------------------------------------------------------------------------

DIRECTIONS = ["maximize", "minimize"]


def several(watcher: MultiObjective) -> Callable[[Any], list[float]]:
    def objective(trial: Any) -> list[float]:
        width, rate = trial.suggest_float("width", 0, 1), trial.suggest_float("rate", 0, 1)
        run = watcher.start(trial, macs=macs(width))
        for seen, val in training(width, rate):
            if run.update(train=seen, val=val).stop:
                break
        return run.values()

    return objective


def watched(engine: Any, trials: int = 40, **options: Any) -> MultiObjective:
    study = optuna.create_study(directions=DIRECTIONS, sampler=random(seed=3))
    watcher = MultiObjective(study, engine, epochs=EPOCHS, goals=["accuracy", "macs"], **options)
    study.optimize(several(watcher), n_trials=trials)
    return watcher


def test_optuna_itself_has_nothing_for_several_objectives() -> None:
    """The day this fails, this module may be simpler."""
    trial = optuna.create_study(directions=DIRECTIONS).ask()
    with pytest.raises(NotImplementedError):
        trial.report(0.5, 1)
    with pytest.raises(NotImplementedError):
        trial.should_prune()


def epochs(watcher: MultiObjective) -> int:
    from json import loads

    return sum(len(loads(t.user_attrs["vilfredo:curve"])["epochs"]) for t in watcher.study.trials)


def test_a_study_with_two_objectives_saves_epochs_and_keeps_its_front() -> None:
    full = watched("never")
    truth = {t.number: t.values for t in full.study.best_trials}
    assert {t.number for t in full.best_trials} == set(truth)
    short = watched("genrace")
    assert {t.state for t in short.study.trials} == {TrialState.COMPLETE}
    while numbers := short.confirm():
        short.study.optimize(several(short), n_trials=len(numbers))
    assert epochs(short) < 0.85 * epochs(full)  # what is confirmed is paid for, too
    assert not short.unconfirmed()
    found = {t.user_attrs.get("vilfredo:confirms", t.number): t.values for t in short.best_trials}
    assert all(truth[n] == values for n, values in found.items() if n in truth)
    assert len(set(found) & set(truth)) >= 0.8 * len(truth)


def test_a_forecast_is_marked_until_it_is_confirmed() -> None:
    watcher = watched(Half)
    study = watcher.study
    halted = [t for t in study.trials if HALTED in t.user_attrs]
    assert halted
    for trial in halted:
        assert trial.values[0] == trial.user_attrs[FORECAST]["accuracy"][0]
        assert trial.values[1] == macs(trial.params["width"])
    open_ = [t.number for t in watcher.unconfirmed()]
    assert open_ == [t.number for t in study.best_trials if HALTED in t.user_attrs]
    assert watcher.confirm() == open_ == watcher.confirm()  # enqueued once
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert len(waiting) == len(open_)
    while numbers := watcher.confirm():
        study.optimize(several(watcher), n_trials=len(numbers))
    assert not any(HALTED in t.user_attrs for t in watcher.best_trials)


def test_what_fails_when_it_is_confirmed_is_not_tried_for_ever() -> None:
    watcher = watched(Half)
    rounds = 0
    while numbers := watcher.confirm():

        def objective(trial: Any) -> list[float]:
            raise RuntimeError("out of luck")

        watcher.study.optimize(objective, n_trials=len(numbers), catch=(RuntimeError,))
        rounds += 1
        assert rounds < 3
    assert watcher.unconfirmed()


def test_paused_trials_come_back_in_several_objectives() -> None:
    watcher = watched(Half, pause=True)
    paused = [t.number for t in watcher.study.trials if HALTED in t.user_attrs]
    assert watcher.revive() == paused
    watcher.study.optimize(several(watcher), n_trials=len(paused))
    assert watcher.revive() == []
    again = [t for t in watcher.study.trials if REVIVES in t.user_attrs]
    assert not any(HALTED in t.user_attrs for t in again)
    assert not {t.number for t in watcher.best_trials} & set(paused)


def test_another_watcher_of_the_study_knows_what_the_first_one_knew() -> None:
    first = watched(Half, trials=20)
    second = MultiObjective(first.study, Half, epochs=EPOCHS, goals=["accuracy", "macs"])
    second._read()
    first._read()
    assert [(t.number, t.state, t.epochs) for t in second.watch.trials] == [
        (t.number, t.state, t.epochs) for t in first.watch.trials
    ]


def test_trials_of_before_are_known_by_their_values() -> None:
    study = optuna.create_study(directions=DIRECTIONS, sampler=random())
    study.set_metric_names(["accuracy", "macs"])
    study.optimize(lambda trial: (trial.suggest_float("width", 0, 1), 1.0), n_trials=3)
    watcher = MultiObjective(study, Half, epochs=EPOCHS)
    study.optimize(several(watcher), n_trials=2)
    assert [len(t.epochs) for t in watcher.watch.trials] == [0, 0, 0, EPOCHS, EPOCHS]


def test_a_goal_that_is_measured_after_training_and_one_that_is_missing() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    watcher = MultiObjective(study, Half, epochs=2, goals=["latency", "accuracy"], goal="accuracy")
    run = watcher.start(study.ask())
    run.update(val=0.5)
    run.update(val=0.6)
    with pytest.raises(
        ValueError, match=r"'latency' of trial 0 is not known; give start\(trial, latency=…\)"
    ):
        run.values()
    assert run.values(0.7, latency=0.01) == [0.01, 0.7]


@pytest.mark.parametrize(
    ("goals", "said"),
    [
        (["accuracy"], "2 directions but 1 goals"),
        ([Goal("accuracy", "min"), "macs"], "'accuracy' is to minimise"),
        (["loss"], "2 directions"),
    ],
)
def test_goals_that_do_not_fit_the_study(goals: list[Any], said: str) -> None:
    study = optuna.create_study(directions=DIRECTIONS)
    with pytest.raises(ValueError, match=said):
        MultiObjective(study, Half, epochs=5, goals=goals)


def test_threads_share_a_watcher() -> None:
    study = optuna.create_study(directions=DIRECTIONS, sampler=random())
    watcher = MultiObjective(study, "median", epochs=EPOCHS, goals=["accuracy", "macs"])
    study.optimize(several(watcher), n_trials=30, n_jobs=4)
    assert len(study.trials) == 30
    assert {t.state for t in study.trials} == {TrialState.COMPLETE}


@pytest.mark.long
def test_processes_share_what_they_know_through_the_storage(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(directions=DIRECTIONS, storage=storage, study_name="s")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import optuna
from test_interop_optuna import EPOCHS, Half, MultiObjective, random, several
study = optuna.load_study(study_name="s", storage={storage!r}, sampler=random(int(sys.argv[1])))
watcher = MultiObjective(study, Half, epochs=EPOCHS, goals=["accuracy", "macs"])
study.optimize(several(watcher), n_trials=10)
"""
    running = [subprocess.Popen([sys.executable, "-c", code, str(seed)]) for seed in range(2)]
    assert [process.wait(timeout=600) for process in running] == [0, 0]
    study = optuna.load_study(study_name="s", storage=storage)
    assert len(study.trials) == 20
    assert any(HALTED in t.user_attrs for t in study.trials)
