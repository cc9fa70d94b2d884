"""The callback in real Keras fits, on the torch backend."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vilfredo.forecast import curves
from vilfredo.goal import Goal
from vilfredo.interop.watch import Watch
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras", reason="Keras is not installed: pip install keras")
import keras

from vilfredo.interop.keras import Callback

EPOCHS = 6
GOAL = Goal("accuracy", "max")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Cut:
    """Halts after two epochs whoever is below a level, with a forecast from then on."""

    def __init__(self, goals: Sequence[Goal], level: float = 0.5, action: str = "stop") -> None:
        self.goals, self.level, self.action = goals, level, action

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        curve = curves.read(trial, self.goals, epochs)
        if curve is None or len(curve.index) < 2:
            return GO
        found = curves.forecast(curve, float(curve.val[-1]), 0.02)
        if len(curve.index) > 2 or 1 - curve.val[-1] >= self.level:
            return Verdict("go", found)
        return Verdict(self.action, found, f"below {self.level}")  # type: ignore[arg-type]

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return [t.number for t in trials if t.state == "paused"]


def watch(**options: Any) -> Watch:
    return Watch(Cut, epochs=EPOCHS, goal=GOAL, **options)


def model(learns: bool) -> Any:
    """Which side of a line a point is on: learnt in an epoch, or with no learning rate never."""
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
    optimizer = keras.optimizers.Adam(0.1 if learns else 0.0)
    made.compile(optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    if not learns:
        made.set_weights([np.array([[-1.0], [-1.0]]), np.zeros(1)])  # wrong everywhere
    return made


def data(n: int = 128) -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(n, 2)).astype("float32")
    return x, (x.sum(axis=1) > 0).astype("float32")


def fit(early: Any, learns: bool, made: Any = None, validate: bool = True, **changes: Any) -> Any:
    x, y = data()
    settings: dict[str, Any] = {"epochs": EPOCHS, "verbose": 0, "callbacks": [early], "batch_size": 32}
    if validate:
        settings["validation_data"] = data(64)
    return (made or model(learns)).fit(x, y, **{**settings, **changes})


def test_a_poor_network_is_ended_and_a_good_one_is_not() -> None:
    search = watch(goals=["parameters"])
    early = Callback(search, train="accuracy", parameters=3)
    history = fit(early, True)
    assert len(history.epoch) == EPOCHS
    assert early.network is not None
    first = early.network.trial
    assert first.state == "complete"
    assert first.value("accuracy").mean == pytest.approx(history.history["val_accuracy"][-1])  # type: ignore[union-attr]
    assert first.epochs[2].metrics["train_accuracy"] == pytest.approx(history.history["accuracy"][2])
    assert not early.reason

    poor = model(False)
    weights = poor.get_weights()
    history = fit(early, False, poor)
    assert len(history.epoch) == 2
    assert early.reason == "below 0.5"
    assert not early.paused
    assert early.forecast is not None
    assert early.forecast.mean == pytest.approx(history.history["val_accuracy"][-1])
    assert math.isnan(history.history["val_accuracy_forecast"][0])
    assert history.history["val_accuracy_forecast"][1] == pytest.approx(early.forecast.mean)
    assert history.history["val_accuracy_forecast_sd"][1] == pytest.approx(0.02)
    assert all(np.array_equal(a, b) for a, b in zip(weights, poor.get_weights(), strict=True))
    assert [t.state for t in search.trials] == ["complete", "stopped"]
    assert search.trials[1].value("accuracy").origin == "forecast"  # type: ignore[union-attr]
    assert search.trials[1].value("parameters").mean == 3  # type: ignore[union-attr]


def test_a_paused_network_goes_on() -> None:
    search = watch(action="pause")
    early, poor = Callback(search), model(False)
    fit(early, False, poor)
    assert early.paused
    assert search.revive() == [0]
    history = fit(early, False, poor, initial_epoch=2)
    assert history.epoch == [2, 3, 4, 5]
    assert [t.state for t in search.trials] == ["complete"]
    assert [e.index for e in search.trials[0].epochs] == list(range(1, EPOCHS + 1))

    fit(Callback(search), False, poor)
    fit(Callback(search, number=1), False, poor, initial_epoch=2)  # another callback, the same network
    assert [len(t.epochs) for t in search.trials] == [EPOCHS, EPOCHS]


def test_a_forecast_is_confirmed() -> None:
    """The best of all is one by forecast: it is trained in full, and its engine is not asked."""
    search = watch()
    fit(Callback(search), False)
    assert search.unconfirmed() == [0]
    history = fit(Callback(search, number=0, confirm=True), False)
    assert len(history.epoch) == EPOCHS
    assert search.unconfirmed() == []
    assert search.trials[0].value("accuracy").origin == "measured"  # type: ignore[union-attr]


def test_validation_may_be_seldom_and_others_may_end_the_fit() -> None:
    search = watch()
    early = Callback(search)
    with pytest.warns(UserWarning, match="no 'val_accuracy' after the first epoch"):
        history = fit(early, False, validation_freq=2)
    assert len(history.epoch) == 4
    patience = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=100.0)
    fit(None, True, callbacks=[early, patience])
    assert [t.state for t in search.trials] == ["stopped", "complete"]
    assert len(search.trials[1].epochs) == 2


def test_copies_tell_the_same_watch() -> None:
    """Keras Tuner copies its callbacks for each model."""
    search = watch()
    early = Callback(search)
    for learns in (True, False):
        fit(copy.deepcopy(early), learns)
    assert [t.state for t in search.trials] == ["complete", "stopped"]


def test_what_makes_no_sense_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="tells a Watch, not 'genrace'"):
        Callback("genrace")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="confirm=True: say which network"):
        Callback(watch(), confirm=True)
    with pytest.raises(ValueError, match="epochs=9 and the watch epochs=6"):
        fit(Callback(watch()), True, epochs=9)
    with pytest.raises(ValueError, match=r"no metric 'val_acc' .*val_accuracy"):
        fit(Callback(watch(), "val_acc"), True)
    with pytest.raises(ValueError, match=r"no metric 'acc' .*accuracy"):
        fit(Callback(watch(), train="acc"), True)
    with (
        pytest.warns(UserWarning, match="does fit have validation_data"),
        pytest.raises(ValueError, match="no metric 'val_accuracy'"),
    ):
        fit(Callback(watch()), True, validate=False)


@pytest.mark.long
def test_without_a_backend_it_says_what_to_do(tmp_path: Any) -> None:
    code = """
import sys
sys.modules["tensorflow"] = None
try:
    import vilfredo.interop.keras
except ModuleNotFoundError as error:
    print(error)
"""
    env = {**os.environ, "KERAS_BACKEND": "tensorflow", "KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, env=env)
    assert "its backend needs tensorflow; install that or set KERAS_BACKEND=torch" in done.stdout
