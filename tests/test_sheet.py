"""One trial in words."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from vilfredo.goal import goal
from vilfredo.sheet import BARS, sheet, sparkline
from vilfredo.trial import Artifact, Attempt, Epoch, Failure, Halt, Key, Trial, Value

GOALS = (goal("error", max=0.05), goal("energy"))


def family() -> dict[int, Trial]:
    values = {Key("error"): Value(0.1)}
    made = [Trial(0, {}, "complete", operator="sample", values=values)]
    for number in range(1, 8):
        parents = (number - 1,) if number % 2 else (number - 1, max(0, number - 3))
        made.append(Trial(number, {}, "complete", parents, "mutate", values=values))
    return {t.number: t for t in made}


def test_a_sheet_holds_all_that_is_known():
    values = {
        Key("error"): Value(0.08, 0.01),
        Key("error", "test"): Value(0.09, 0.01),
        Key("error", "validation", None, 0, 2): Value(0.07, 0.01),
        Key("error", "validation", 3): Value(0.2),
        Key("energy"): Value(2e-6, origin="estimated", low=1e-6, high=3e-6),
    }
    trial = Trial(
        9,
        {"layers": [{"op": "dense"}]},
        "complete",
        (7, 4),
        "cross",
        epochs=(Epoch(1, {"loss": 2.0}, 1.5), Epoch(2, {"loss": 1.0}, 1.5)),
        values=values,
        seconds={"train": 3.0},
        attempts=(Attempt(1, 11, 2.0, Failure("signal", "killed by SIGKILL")), Attempt(2, 12, 3.0)),
        artifact=Artifact("a/9/model.safetensors", 2, 2048),
        confirmed=2,
    )
    layers = [
        {
            "op": "conv",
            "args": {"filters": 8, "kernel": [3, 2], "bias": True},
            "inputs": [-1],
            "shape": [8, 6, 7],
        },
        {"op": "relu", "args": {}, "inputs": [0], "shape": [8, 6, 7]},
        {"op": "add", "args": {}, "inputs": [0, 1], "shape": [8, 6, 7]},
    ]
    text = sheet(trial, {**family(), 9: trial}, GOALS, layers)
    for part in (
        "Trial 9: complete, confirmed with 2 training seeds",
        "made by cross of 7, 4",
        "weights after epoch 2: a/9/model.safetensors (2 KiB)",
        "measured, beyond the limit",
        "on test",
        "training seed 2",
        "after epoch 3",
        "estimated, range 1–3 µJ",
        "7  mutate, error 10 %",
        "loss           █▁  2 → 1",
        "2 epochs in 3.0 s",
        "filters 8, kernel 3×2",
        "8 × 6 × 7          from 0, 1",
        '{"layers": [{"op": "dense"}]}',
        "1: worker 11, 2.0 s, signal: killed by SIGKILL",
    ):
        assert part in text, part
    assert "bias" not in text


def test_a_sheet_says_when_and_why_training_was_halted():
    guess = Value(0.087, 0.004, 1, "forecast")
    halts = (
        Halt(2, "pause", "9 % chance\x1b[2J to enter\nthe front", {"error": guess}),
        Halt(4, "stop", "hopeless", {"error": guess, "energy": Value(2e-6, 0.0, 1, "forecast")}),
        Halt(5, "stop"),
    )
    values = {Key("error"): guess, Key("energy"): Value(3e-6)}
    stopped = Trial(1, {}, "stopped", values=values, halts=halts)
    assert "forecast" in sheet(stopped, {}, GOALS).split("Early")[0]
    assert sheet(stopped, {}, GOALS).split("Early termination\n")[1].split("\n\n")[0].splitlines() == [
        "  paused after epoch 2: 9 % chance [2J to enter the front",
        "    forecast error 8.7 % ± 0.4",
        "  stopped after epoch 4: hopeless",
        "    forecast error 8.7 % ± 0.4",
        "    forecast energy 2 µJ, measured later 3 µJ",
        "  stopped after epoch 5",
    ]
    for truth, word in ((0.09, "within"), (0.1, "outside")):
        revived = Trial(1, {}, "complete", values={Key("error"): Value(truth)}, halts=halts[:1])
        text = sheet(revived, {}, GOALS)
        assert (
            f"measured later {'9' if truth < 0.1 else '10'} % ({word} the forecast's 90 % interval)" in text
        )
        assert "later trained in full" in text
    assert "Early termination" not in sheet(Trial(1, {}, "complete"), {}, GOALS)


def test_an_ancestor_is_unfolded_once_and_only_so_deep():
    trials = family()
    text = sheet(trials[7], trials, GOALS)
    tree = text.split("Ancestry\n")[1].split("\n\n")[0].splitlines()
    assert len(tree) < 12
    assert tree[0].strip().startswith("6 ")
    assert any(line.endswith("…") for line in tree)


def test_how_many_measurements_a_value_is_from():
    trial = Trial(1, {}, "complete", values={Key("energy"): Value(1e-6, 1e-8, 1000)})
    assert "measured, from 1000 measurements" in sheet(trial, {}, GOALS)


def test_why_there_are_no_layers():
    trial = Trial(1, {}, "complete")
    assert "Layers" not in sheet(trial, {}, GOALS)
    assert "Layers\n  not shown: no data" in sheet(trial, {}, GOALS, no_layers="not shown: no data")


def test_in_which_numbers_it_was_measured_and_what_they_cost():
    curve = (Epoch(1, {"val_error": 0.5}), Epoch(2, {"val_error": 0.25, "val_loss": 1.0}))
    trial = Trial(1, {}, "complete", epochs=curve, values={Key("error"): Value(0.3)})
    text = sheet(trial, {}, GOALS, deployed="8 bits, real scales, one per tensor")
    lines = text.split("Deployed\n")[1].split("\n\n")[0].splitlines()
    assert lines == ["  8 bits, real scales, one per tensor", "  as trained, in floats: error 25 %"]
    assert "Deployed" not in sheet(trial, {}, GOALS)


def test_an_ancestor_that_is_not_known():
    assert "3 (not known)" in sheet(Trial(5, {}, "complete", (3,)), {}, GOALS)


def test_tracebacks_are_shown_when_asked_for():
    failed = Trial(1, {}, "failed", failure=Failure("exception", "ValueError: no", "Traceback\n  line 3\n"))
    assert "line 3" not in sheet(failed, {}, GOALS)
    assert "--traceback" in sheet(failed, {}, GOALS)
    assert "  line 3" in sheet(failed, {}, GOALS, traceback=True)
    assert "there is none" in sheet(Trial(2, {}, "complete"), {}, GOALS, traceback=True)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=200), st.integers(1, 60)
)
def test_sparklines_are_as_wide_as_asked(values, width):
    line = sparkline(values, width)
    assert len(line) <= width
    assert set(line) <= {*BARS, " "}


def test_sparklines_rise_and_fall():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == BARS
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([]) == ""
