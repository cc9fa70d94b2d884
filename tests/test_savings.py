"""What early termination came to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo.goal import Goal, goal
from vilfredo.savings import Calibration, Check, Savings, calibrations, checks, savings
from vilfredo.trial import Epoch, Halt, Key, State, Trial, Value

GOALS = (goal("error"), goal("latency"))


def epochs(count: int, seconds: float = 2.0) -> tuple[Epoch, ...]:
    return tuple(Epoch(i, {"loss": 1.0}, seconds) for i in range(1, count + 1))


def forecast(mean: float, sd: float = 0.02) -> dict[str, Value]:
    return {"error": Value(mean, sd, 1, "forecast")}


def trial(number: int, state: State, done: int, halts: tuple[Halt, ...] = (), **values: float) -> Trial:
    known = {Key(name): Value(mean) for name, mean in values.items()}
    seconds = {"train": 2.0 * done, "engine": 0.25}
    return Trial(number, {}, state, epochs=epochs(done), halts=halts, values=known, seconds=seconds)


PAUSED = Halt(3, "pause", "too slow", forecast(0.2))
STOPPED = Halt(2, "stop", "hopeless", forecast(0.5))


def test_what_was_saved():
    run = [
        trial(0, "complete", 10, error=0.1),
        trial(1, "stopped", 2, (STOPPED,)),
        trial(2, "paused", 3, (PAUSED,)),
        trial(3, "complete", 10, (PAUSED,), error=0.21),
        trial(4, "failed", 5, (PAUSED,)),
        Trial(5, {}, "rejected"),
    ]
    found = savings(run, 10)
    assert found == savings(run, 0)  # the longest that was completed
    assert (found.stopped, found.paused, found.revived, found.halted) == (1, 1, 1, 3)
    assert (found.trained, found.saved) == (30, 15)
    assert found.share == pytest.approx(15 / 45)
    assert (found.saved_seconds, found.engine_seconds, found.net_seconds) == (30.0, 1.25, 28.75)
    assert found.engine_share == pytest.approx(1.25 / 60)


def test_a_run_without_stopper_saves_nothing():
    found = savings([trial(0, "complete", 10, error=0.1)], 10)
    assert (found.saved, found.share, found.halted) == (0, 0.0, 0)
    assert savings([], 10) == Savings()
    assert Savings().engine_share == 0.0


def test_a_network_stopped_before_its_first_epoch_has_no_seconds():
    assert savings([Trial(0, {}, "stopped")], 4).saved_seconds == 0.0


def test_only_forecasts_whose_truth_came_out_are_checked():
    twice = (PAUSED, Halt(5, "pause", "again", forecast(0.25, 0.01)), Halt(6, "pause", "no forecast"))
    run = [
        trial(0, "complete", 10, error=0.1),
        trial(1, "complete", 10, twice, error=0.24),
        trial(2, "paused", 3, (PAUSED,), error=0.2),
        trial(3, "complete", 10, (PAUSED,)),
        Trial(4, {}, "complete", halts=(PAUSED,), values={Key("error"): Value(0.2, 0.02, 1, "forecast")}),
        Trial(5, {}, "complete", halts=(PAUSED,), values={Key("error"): Value(math.nan)}),
        Trial(
            6, {}, "complete", halts=(STOPPED,),
            values={Key("error"): Value(0.4), Key("error", repeat=1): Value(0.9)},
        ),
    ]  # fmt: skip
    assert checks(run, GOALS) == [
        Check(1, "error", 5, 0.25, 0.01, 0.24),
        Check(6, "error", 2, 0.5, 0.02, 0.4),
    ]


def test_calibration_is_by_goal_and_counts_the_interval():
    found = [
        Check(0, "error", 2, 0.10, 0.02, 0.13),
        Check(1, "error", 2, 0.10, 0.02, 0.14),
        Check(2, "error", 2, 0.10, 0.0, 0.10),
        Check(2, "latency", 2, 1.0, 0.0, 3.0),
    ]
    error, latency = calibrations(found, GOALS)
    assert error == Calibration("error", 3, pytest.approx(0.07 / 3), 2, 1)
    assert latency == Calibration("latency", 1, 2.0, 0, 0)
    assert calibrations([], GOALS) == []


@given(st.data())
def test_honest_forecasts_are_calibrated(data):
    sd = data.draw(st.floats(1e-6, 1e6))
    found = [Check(i, "y", 1, 0.0, sd, sd * (z / 50 - 2)) for i, z in enumerate(range(201))]
    (row,) = calibrations(found, [Goal("y")])
    assert row.within == sum(abs(z / 50 - 2) <= 1.6448536269514722 for z in range(201))
