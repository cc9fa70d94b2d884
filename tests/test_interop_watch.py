"""Early termination in anybody's own loop."""

from __future__ import annotations

import math
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loops import EPOCHS, Half, macs, training
from vilfredo import Watch
from vilfredo.forecast.never import Never
from vilfredo.goal import Goal
from vilfredo.interop.watch import Advice, Network, as_goal, from_row, to_row
from vilfredo.protocols import Verdict
from vilfredo.trial import Key, Trial, Value

WIDTHS = [(7 * k % 30) / 30 for k in range(30)]


def train(network: Network, width: float, scale: float = 1.0, first: int = 1) -> Advice:
    """Until the advice is to stop, or to the end."""
    advice = Advice()
    for epoch, (seen, val) in enumerate(training(width), 1):
        if epoch >= first:
            advice = network.update(train=scale * seen, val=scale * val)
        if advice.stop:
            break
    return advice


def search(watch: Watch, scale: float = 1.0, **known: float) -> int:
    """Train all widths; the number of epochs that were spent."""
    for width in WIDTHS:
        with watch.network(**known) as network:
            train(network, width, scale)
    return sum(len(t.epochs) for t in watch.trials)


# -- what becomes of a network --------------------------------------------------------------------


def test_three_lines_in_a_loop_save_epochs_and_keep_the_best() -> None:
    full, short = Watch("never", epochs=EPOCHS), Watch(Half, epochs=EPOCHS)
    assert search(full) == EPOCHS * len(WIDTHS)
    assert search(short) < 0.75 * EPOCHS * len(WIDTHS)
    best = [max(w.trials, key=lambda t: t.value("accuracy").mean) for w in (full, short)]  # type: ignore[union-attr]
    assert best[0].number == best[1].number
    assert best[1].state == "complete"
    assert not short.unconfirmed()


@pytest.mark.parametrize("engine", ["genrace", "median", "penguin", "asha", "hyperband", "fixed", "never"])
def test_every_engine_by_its_name(engine: str) -> None:
    watch = Watch(engine, epochs=EPOCHS)
    search(watch)
    assert {t.state for t in watch.trials} <= {"complete", "stopped", "paused"}
    assert len(watch.trials) == len(WIDTHS)


def test_the_race_saves_epochs_in_percent_as_well_as_in_fractions() -> None:
    fraction, percent = Watch("genrace", epochs=EPOCHS), Watch("genrace", epochs=EPOCHS)
    assert search(fraction) == search(percent, scale=100.0) < 0.75 * EPOCHS * len(WIDTHS)
    for a, b in zip(fraction.trials, percent.trials, strict=True):
        first, second = a.value("accuracy"), b.value("accuracy")
        assert first is not None
        assert second is not None
        assert second.mean == pytest.approx(100 * first.mean)
        assert second.sd == pytest.approx(100 * first.sd)
        assert second.origin == first.origin


def test_a_complete_network_is_measured_and_a_halted_one_forecast() -> None:
    watch = Watch(Half, epochs=EPOCHS)
    search(watch)
    for trial in watch.trials:
        value = trial.value("accuracy")
        assert value is not None
        if trial.state == "complete":
            assert value == Value(trial.epochs[-1].metrics["val_accuracy"])
            assert len(trial.epochs) == EPOCHS
        else:
            assert value.origin == "forecast"
            assert trial.halts[-1].forecast["accuracy"] == value
            assert trial.halts[-1].epoch == len(trial.epochs) == 3
        assert {"train", "engine"} <= {*trial.seconds}


def test_the_advice_is_in_the_users_unit_and_sense() -> None:
    watch = Watch(Half, epochs=9, goal=Goal("accuracy", "max", unit="%"))
    advice = watch.network().update(train=0.4, val=0.3)  # percent, although it does not look like it
    assert advice.forecast == Value(pytest.approx(0.3), pytest.approx(1.0), 1, "forecast")
    engine: Any = watch.engine
    assert engine.seen[-1].epochs[-1].metrics == {
        "val_error": pytest.approx(0.997),
        "train_error": pytest.approx(0.996),
    }


def test_limits_of_an_accuracy_are_limits_of_an_error_to_the_engine() -> None:
    for goal in (Goal("accuracy", "max", min=0.9), Goal("accuracy", "max", unit="%", min=90)):
        watch = Watch(Half, epochs=9, goal=goal)
        engine: Any = watch.engine
        assert engine.goals == (Goal("error", "min", "fraction", max=pytest.approx(0.1)),)


def test_a_network_with_several_goals() -> None:
    watch = Watch(Half, epochs=EPOCHS, goal="accuracy", goals=["macs", Goal("latency", unit="s")])
    for width in WIDTHS:
        network = watch.network(macs=macs(width))
        train(network, width)
        network.finish(latency=1e-3 * width)
    for width, trial in zip(WIDTHS, watch.trials, strict=True):
        assert trial.value("macs") == Value(macs(width))
        assert trial.value("latency") == Value(1e-3 * width)
    engine: Any = watch.engine
    assert [g.name for g in engine.goals] == ["error", "macs", "latency"]
    for number in watch.unconfirmed():
        assert watch.trials[number].state == "stopped"
        network = watch.confirm(number)
        for epoch, (seen, val) in enumerate(training(WIDTHS[number]), 1):
            assert not network.update(train=seen, val=val, epoch=epoch).stop
    assert not watch.unconfirmed()


def test_a_paused_network_goes_on_where_it_was_left() -> None:
    watch = Watch(Half, epochs=EPOCHS, pause=True)
    search(watch)
    waiting = watch.revive()
    assert waiting == [t.number for t in watch.trials if t.state == "paused"]
    number = waiting[0]
    network = watch.network(number)
    assert number not in watch.revive()  # it is on its way
    assert not train(network, WIDTHS[number], first=4).stop
    trial = next(t for t in watch.trials if t.number == number)
    assert trial.state == "complete"
    assert [e.index for e in trial.epochs] == list(range(1, EPOCHS + 1))
    assert trial.halts  # what was forecast is remembered
    assert trial.value("accuracy") == Value(trial.epochs[-1].metrics["val_accuracy"])


def test_a_paused_network_may_be_trained_anew() -> None:
    watch = Watch(Half, epochs=EPOCHS, pause=True)
    search(watch)
    number = watch.revive()[0]
    network = watch.network(number)
    for epoch, (seen, val) in enumerate(training(WIDTHS[number]), 1):
        assert not network.update(train=seen, val=val, epoch=epoch).stop
    assert len(network.trial.epochs) == EPOCHS
    assert network.trial.state == "complete"


def test_advice_may_be_ignored() -> None:
    watch = Watch("fixed", epochs=6, k=2)
    network = watch.network()
    advice = [network.update(val=0.1 * epoch) for epoch in range(1, 7)]
    assert [a.stop for a in advice][1]
    assert watch.trials == [network.trial]
    assert network.trial.state == "complete"
    assert network.update(val=0.9) == Advice(forecast=network.forecast)  # beyond the end
    assert network.trial.value("accuracy") == Value(pytest.approx(0.6))


def test_a_measured_value_replaces_the_last_one() -> None:
    watch = Watch("never", epochs=3, goal="loss")
    network = watch.network()
    for val in (3.0, 2.0, 1.0):
        network.update(val=val)
    network.finish(0.75)
    assert watch.trials[0].value("loss") == Value(0.75)


def test_a_value_measured_after_a_halt_is_that_of_its_epoch() -> None:
    watch = Watch(Half, epochs=EPOCHS)
    search(watch)
    network = watch.network()
    assert train(network, 0.0).stop
    network.finish(0.4)
    assert network.trial.state == "stopped"
    assert network.trial.values[Key("accuracy", fidelity=3)] == Value(0.4)
    value = network.trial.value("accuracy")
    assert value is not None
    assert value.origin == "forecast"


def test_a_training_that_ends_by_itself_is_complete() -> None:
    watch = Watch("never", epochs=100)
    with watch.network() as network:
        network.update(val=0.5)
        network.update(val=0.6)
        network.update(train=0.9)  # no validation in this epoch
    assert watch.trials[0].state == "complete"
    assert watch.trials[0].value("accuracy") == Value(0.6)


def test_a_training_that_raises_is_failed_and_an_interrupted_one_nothing() -> None:
    watch = Watch("never", epochs=5)

    def training(problem: BaseException) -> None:
        with watch.network() as network:
            network.update(val=0.5)
            raise problem

    with pytest.raises(RuntimeError):
        training(RuntimeError("out of luck"))
    with pytest.raises(KeyboardInterrupt):
        training(KeyboardInterrupt())
    (failed,) = watch.trials
    assert failed.state == "failed"
    assert failed.failure is not None
    assert "out of luck" in failed.failure.message
    assert failed.value("accuracy") is None


def test_a_network_that_ends_in_nan_is_failed() -> None:
    watch = Watch("never", epochs=2)
    network = watch.network()
    network.update(val=0.5)
    network.update(val=math.nan)
    assert watch.trials[0].state == "failed"
    assert watch.trials[0].failure is not None
    assert watch.trials[0].failure.kind == "not finite"


ANY = st.one_of(
    st.none(), st.just(math.nan), st.just(math.inf), st.just(1e300), st.floats(-1e4, 1e4), st.floats(0, 1)
)


@pytest.mark.parametrize("engine", ["genrace", "median"])
@settings(max_examples=25, deadline=None)
@given(runs=st.lists(st.lists(st.tuples(ANY, ANY), max_size=7), max_size=12))
def test_nothing_that_is_reported_breaks_it(
    engine: str, runs: list[list[tuple[float | None, float | None]]]
) -> None:
    watch = Watch(engine, epochs=6)
    for run in runs:
        with watch.network(macs=math.nan) as network:
            for seen, val in run:
                if network.update(train=seen, val=val).stop:
                    break
    for trial in watch.trials:
        assert all(v.is_finite() for v in trial.values.values())
        assert to_row(from_row(to_row(trial))) == to_row(trial)


# -- goals, engines, options ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sense"),
    [("accuracy", "max"), ("val_loss", "min"), ("top1_acc", "max"), ("F1", "max"), ("mse", "min")],
)
def test_a_name_says_where_a_goal_goes(name: str, sense: str) -> None:
    assert as_goal(name).sense == sense


WRONG: list[tuple[Mapping[str, Any], str]] = [
    ({"engine": "genrase"}, "did you mean 'genrace'"),
    ({"engine": Half, "affter": 3}, "engine Half: affter: unknown option; did you mean 'after'"),
    ({"engine": Half, "after": 0}, "after must be 1"),
    ({"engine": Never(), "after": 2}, "takes no options"),
    ({"goal": "goodness"}, "Goal('goodness', 'max')"),
    ({"epochs": 0}, "1 epoch at least"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_what_is_wrong_is_said_in_a_sentence(wrong: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Watch(**{"engine": "never", "epochs": 5, **wrong})


def test_an_object_may_be_the_engine() -> None:
    class Now:
        def __call__(self, trial: Trial, peers: object, epochs: int) -> Verdict:
            return Verdict("stop", {"error": Value(math.inf)}, "now")

        def revive(self, trials: object) -> list[int]:
            return []

    watch = Watch(Now(), epochs=5)
    network = watch.network()
    assert network.update(val=0.5) == Advice(True, False, "now", None)  # a wild forecast is none
    assert network.trial.value("accuracy") == Value(0.5)
    assert network.trial.values == {Key("accuracy", fidelity=1): Value(0.5)}


# -- threads, processes, files --------------------------------------------------------------------


def test_threads_share_a_watch() -> None:
    watch = Watch(Half, epochs=EPOCHS)

    def some(widths: list[float]) -> None:
        for width in widths:
            with watch.network() as network:
                train(network, width)

    threads = [threading.Thread(target=some, args=(WIDTHS[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [t.number for t in watch.trials] == list(range(len(WIDTHS)))
    assert {"complete", "stopped"} == {t.state for t in watch.trials}


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    watch = Watch(Half, epochs=EPOCHS, goals=["macs"])
    search(watch, macs=3.0)
    watch.network().update(val=math.nan)
    watch.save(tmp_path / "known.jsonl")
    again = Watch.load(tmp_path / "known.jsonl", Half)
    assert again.trials == watch.trials
    assert again.goals == watch.goals
    assert again.epochs == EPOCHS
    assert train(again.network(), 0.0).stop  # it goes on with what it knows
    assert Watch.load(tmp_path / "known.jsonl", Half).trials == watch.trials


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(ValueError, match=r"not what Watch\.save wrote"):
        Watch.load(tmp_path / "notes.txt")


def test_a_later_watch_of_the_same_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "known.jsonl"
    first = Watch(Half, epochs=EPOCHS, path=path)
    search(first)
    with open(path, "a") as file:
        file.write('{"number": 5, "tor')  # somebody was killed while writing
    second = Watch(Half, epochs=EPOCHS, path=path)
    assert second.trials == first.trials
    assert second.network().number == len(WIDTHS)
    with second.network() as network:
        train(network, 0.9)
    assert first.trials[-1] == network.trial  # and the first one hears of it
    with pytest.raises(ValueError, match="trainings of 12 epochs with accuracy"):
        Watch(Half, epochs=EPOCHS + 1, path=path)


def test_a_copy_in_another_process_shares_the_file(tmp_path: Path) -> None:
    watch = Watch("median", epochs=EPOCHS, path=tmp_path / "known.jsonl")
    (tmp_path / "watch.pickle").write_bytes(pickle.dumps(watch))
    code = f"""
import pickle, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from loops import training
watch = pickle.load(open({str(tmp_path / "watch.pickle")!r}, "rb"))
for k in range(8):
    with watch.network() as network:
        for seen, val in training((k + int(sys.argv[1]) / 2) / 10):
            if network.update(train=seen, val=val).stop:
                break
"""
    running = [subprocess.Popen([sys.executable, "-c", code, str(k)]) for k in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    assert [t.number for t in watch.trials] == list(range(16))


def test_what_runs_in_a_process_that_died_may_be_revived_again(tmp_path: Path) -> None:
    path = tmp_path / "known.jsonl"
    watch = Watch(Half, epochs=EPOCHS, path=path, pause=True)
    search(watch)
    number = watch.revive()[0]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with open(path, "a") as file:
        file.write(f'{{"started":{number},"process":{gone.pid}}}\n')
    assert watch.revive()[0] == number
