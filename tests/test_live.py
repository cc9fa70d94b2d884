"""What a running search looks like: as a view in a terminal of some width, and as plain lines."""

from __future__ import annotations

import io
import itertools
import threading
from dataclasses import replace

import pytest
from rich.console import Console

from vilfredo import live
from vilfredo.budget import Budget
from vilfredo.goal import Goal, goal
from vilfredo.loop import Running
from vilfredo.protocols import Work
from vilfredo.savings import Savings
from vilfredo.study import Progress
from vilfredo.trial import Epoch, Failure, Halt, Key, Trial, Value

GOALS = (goal("error"), goal("latency"), goal("parameters", max=1e6))


def trial(number: int, error: float, latency: float, parameters: float = 1e4, **changes) -> Trial:
    values = {
        Key("error"): Value(error, 0.011),
        Key("latency"): Value(latency, latency / 50, 100),
        Key("parameters"): Value(parameters),
    }
    return Trial(number, {"x": number}, changes.pop("state", "complete"), values=values, **changes)


TRIALS = [
    trial(0, 0.30, 1e-4),
    trial(1, 0.10, 2e-4),
    trial(2, 0.02, 5e-3),
    trial(3, 0.40, 6e-3),
    trial(4, 0.01, 1e-5, 2e6),  # beyond the limit
    Trial(5, {}, "failed", failure=Failure("timeout", "was stopped after 10 s\nsecond line")),
    Trial(6, {}, "rejected"),
]


def progress(**changes) -> Progress:
    running = (
        Running(
            7, 7, Work({}), worker=4711, epochs=[Epoch(1, {"val_error": 0.5}), Epoch(2, {"val_error": 0.25})]
        ),
        Running(8, 8, Work({}), attempt=2, worker=4712),
        Running(9, 9, Work({})),
    )
    values = {
        "phase": "search",
        "told": 6,
        "budget": Budget(seconds=180),
        "elapsed": 42.0,
        "eta": 138.0,
        "running": running,
        "failures": {"timeout": 1, "exception": 2},
        "savings": Savings(stopped=1, trained=90, saved=10, engine_seconds=0.1),
        **changes,
    }
    return Progress(**values)


def drawn(thing, width: int, colour: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=colour, highlight=False).print(thing)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_view_shows_all_and_fits(width):
    state = live.standing(TRIALS, GOALS)
    text = drawn(live.picture("digits · run 3", progress(), state, GOALS, 12, width), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for part in ("digits · run 3", "42.0 s of 3min", "2 min 18 s to go", "searching · 6 candidates"):
        assert part in text
    assert "3 failed (" in text
    assert "worker 4711  trial 7  epoch 2/12, error 25 %" in text
    assert "worker 4712  trial 8  started, attempt 2" in text
    assert "trial 9  waits for a worker" in text
    assert "hypervolume 0." in text
    assert "knee" in text
    assert "epochs saved" not in text  # nobody was stopped
    assert "revived" not in text


NASTY = "\x1b[31m3 % chance\x07 [bold]to enter[/bold] the front (forecast 0.201 ± 0.020)\nsecond line"


def guess(mean: float, sd: float = 0.02) -> dict[str, Value]:
    return {"error": Value(mean, sd, 1, "forecast")}


def halted(number: int, state: str, action: str, done: int, mean: float, truth: float | None = None) -> Trial:
    value = Value(mean, 0.02, 1, "forecast") if truth is None else Value(truth)
    return Trial(
        number,
        {},
        state,  # type: ignore[arg-type]
        epochs=tuple(Epoch(i, {"val_error": 0.5}, 2.0) for i in range(1, done + 1)),
        values={Key("error"): value, Key("latency"): Value(1e-3), Key("parameters"): Value(1e4)},
        seconds={"train": 2.0 * done, "engine": 0.01},
        halts=(Halt(2, action, NASTY, guess(mean)),),  # type: ignore[arg-type]
        told_at=float(number),
    )


HALTED = [
    *TRIALS,
    halted(7, "stopped", "stop", 2, 0.2),
    halted(8, "paused", "pause", 2, 0.005),
    halted(9, "complete", "pause", 12, 0.2, 0.21),
    halted(10, "complete", "pause", 12, 0.2, 0.3),
]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_view_shows_what_was_stopped_and_what_that_saved(width):
    state = live.standing(HALTED, GOALS, 12)
    text = drawn(live.picture("digits · run 3", progress(), state, GOALS, 12, width), width)
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= width
    assert "1 stopped · 1 paused · 2 revived" in text
    assert "28 epochs trained" in text
    whole = " ".join(text.split())
    assert "20 epochs saved (42 %), 40.0 s net · engine 40 ms (0.071 % of training)" in whole
    assert "forecasts of error: 2 measured later, off by 5.50 % on average, 1 of 2 within their 90 %" in whole
    shown = [line for line in lines if line.startswith(("paused ", "stopped "))]
    assert [line.split()[:3] for line in shown] == [["paused", "trial", "8"], ["stopped", "trial", "7"]]
    assert "after epoch 2:  [31m3 % chance  [bold]to"[: width - 28] in shown[0]
    assert "\x1b" not in text
    assert "\x07" not in text
    assert " fc." in text
    assert "paused (epoch" in whole


def test_the_view_fits_into_few_lines():
    many = [trial(n, 0.5 - n / 100, (n + 1) * 1e-4) for n in range(40)]
    state = live.standing([*many, *HALTED[-4:]], GOALS, 12)
    assert len(state.halted) == 2
    for height in (24, 40):
        text = drawn(live.picture("digits", progress(), state, GOALS, 12, 100, height), 100)
        assert len(text.splitlines()) <= height
        assert "Ctrl-C stops" in text


def test_a_generation_that_is_computed_together_is_one_line():
    running = tuple(Running(n, n, Work({})) for n in range(200, 300))
    text = drawn(live.picture("run 1", progress(running=running), live.Standing(), GOALS, 0, 80, 20), 80)
    assert "trials 200 to 299  computed together" in " ".join(text.split("\n"))
    assert len(text.splitlines()) < 15


def test_many_workers_are_cut():
    running = tuple(Running(n, n, Work({}), worker=n + 1) for n in range(30))
    text = drawn(live.picture("run 1", progress(running=running), live.Standing(), GOALS, 0, 80, 20), 80)
    assert "and 22 others" in text


def test_a_line_on_many_quick_candidates():
    text = live.summary(310, [trial(4, 0.2, 3e-3), trial(9, 0.3, 1e-3)], GOALS, 2)
    assert text.strip() == "2.0 s  310 candidates, front of 2; best error 20 %, latency 1 ms, parameters 10 k"


def test_accounts_of_a_run_without_stopper_are_empty():
    assert live.accounts(Savings(trained=90), [], GOALS) == []
    (line,) = live.accounts(Savings(stopped=1, trained=3, saved=1, engine_seconds=5.0), [], GOALS)
    assert line == "1 epoch saved (25 %), 5.0 s lost · engine 5.0 s (0 % of training)"


def test_an_empty_view():
    text = drawn(live.picture("x", progress(running=(), told=0), live.standing([], GOALS), GOALS, 0, 80), 80)
    assert "The front is still empty." in text
    assert "no worker computes" in text


def test_what_a_worker_does_when_the_front_is_confirmed():
    again = Running(1, 1, Work({}, operator="confirm", repeat=2), worker=1, epochs=[Epoch(3, {"loss": 0.5})])
    assert live.doing(again, 12, GOALS) == "training again, seed 2, epoch 3/12, loss 0.500"
    test = Running(1, 1, Work({}, operator="confirm", split="test"), worker=1)
    assert live.doing(test, 12, GOALS) == "test set"
    halted = Running(1, 1, Work({}, operator="confirm", trial=1), worker=1)
    assert live.doing(halted, 12, GOALS) == "goes on to the end"
    revived = Running(1, 1, Work({}, operator="revive", trial=1), worker=1, epochs=[Epoch(5, {"loss": 0.5})])
    assert live.doing(revived, 12, GOALS) == "goes on, epoch 5/12, loss 0.500"
    assert live.doing(replace(revived, epochs=[]), 12, GOALS) == "goes on"
    last = Running(1, 1, Work({}), worker=1, epochs=[Epoch(12, {})])
    assert live.doing(last, 12, GOALS) == "measuring"


def test_the_standing_leaves_out_what_is_beyond_limits():
    state = live.standing(TRIALS, GOALS)
    assert [t.number for t in state.front] == [2, 1, 0]
    assert state.states == {"complete": 5, "failed": 1, "rejected": 1}
    assert state.volume is not None
    assert 0 < state.volume < 1
    assert live.standing(TRIALS[:1], GOALS).volume is None


def test_a_front_with_one_goal_and_a_maximised_one():
    goals = (Goal("reward", "max"),)
    found = [Trial(n, {}, "complete", values={Key("reward"): Value(float(n))}) for n in range(4)]
    state = live.standing(found, goals)
    assert [t.number for t in state.front] == [3]
    assert state.volume == pytest.approx(1.0)
    assert live.cells(state.front, goals)[1] == ["3", "3", ""]


def test_a_long_front_is_shown_with_both_ends():
    front = live.standing([trial(n, 0.5 - n / 100, (n + 1) * 1e-4) for n in range(40)], GOALS).front
    text = drawn(live.front_table(front, GOALS, most=8, width=100), 100)
    assert "8 of 40" in text
    assert f"\n {front[0].number:>6} "[1:] in text or f" {front[0].number} " in text
    assert f" {front[-1].number} " in text


def test_cells_say_where_values_come_from():
    values = {
        Key("error"): Value(0.03, 0.01),
        Key("error", "test"): Value(0.04, 0.002, 3),
        Key("latency"): Value(2e-3, origin="forecast"),
        Key("parameters"): Value(1e4, origin="estimated"),
    }
    known = Trial(1, {}, "stopped", values=values, operator="baseline", confirmed=3)
    header, row = live.cells([known], GOALS)
    assert header == ["trial", "error", "error (test)", "latency", "parameters", ""]
    assert row == ["1", "3.0 % ± 1.0", "4.0 % ± 0.2", "2 ms fc.", "10 k est.", "baseline, stopped"]


def test_plain_lines():
    text = live.line(TRIALS[1], GOALS, 61.0)
    assert text == "1 min 01 s  trial    1  complete   error 10 %  latency 200 µs  parameters 10 k".rjust(
        len(text)
    )
    assert "timeout: was stopped after 10 s" in live.line(TRIALS[5], GOALS, 1.0)
    stopped = live.line(HALTED[7], GOALS, 1.0)
    assert "stopped    error 20 % ± 2 fc.  latency 1 ms  parameters 10 k  after epoch 2:" in stopped
    assert "3 % chance  [bold]to enter[/bold] the front (forecast 0.201 ± 0.020)" in stopped
    assert stopped.isprintable()
    assert "error 21 % (forecast 20 % ± 2)" in live.line(HALTED[9], GOALS, 1.0)
    assert live.why(Halt(3, "stop")) == "after epoch 3"
    assert "\n" not in live.line(TRIALS[5], GOALS, 1.0)


def test_a_line_is_printed_for_what_is_news():
    new, known = TRIALS[0], TRIALS[0]
    assert live.is_news(new, None, 3)
    assert not live.is_news(new, known, 3)
    assert live.is_news(new, replace(known, state="stopped"), 3)
    steps = [replace(new, confirmed=n) for n in (0, 0, 1, 1, 2, 3, 3)]
    assert [live.is_news(b, a, 3) for a, b in itertools.pairwise(steps)] == [False] * 4 + [True, False]
    assert not live.is_news(new, known, 0)
    once = HALTED[8]
    assert not live.is_news(once, once, 3)
    assert live.is_news(replace(once, halts=once.halts * 2), once, 3)


def test_halts_as_a_table():
    rows = live.halt_cells(HALTED[-4:], GOALS)
    assert rows[0] == ["trial", "was", "epoch", "error forecast", "measured", "now", "why"]
    assert rows[1][:6] == ["7", "stopped", "2", "20 % ± 2", "–", "stopped"]
    assert rows[3][:6] == ["9", "paused", "2", "20 % ± 2", "21 %", "complete"]
    text = drawn(live.halt_table(rows), 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "[bold]to" in text
    bare = Trial(1, {}, "stopped", halts=(Halt(3, "stop"),))
    assert live.halt_cells([bare], GOALS) == [
        ["trial", "was", "epoch", "why"],
        ["1", "stopped", "3", ""],
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_when_lines_are_plain(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert live.is_plain(io.StringIO())
    assert not live.is_plain(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert live.is_plain(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert live.is_plain(Terminal())


class Watched:
    """A study whose trials change while they are looked at."""

    goals = GOALS

    def __init__(self) -> None:
        self.looks = 0
        self.seen = threading.Event()

    def progress(self) -> Progress:
        self.looks += 1
        if self.looks == 1:
            raise RuntimeError("dictionary changed size during iteration")
        if self.looks > 3:
            self.seen.set()
        return progress()

    def trials(self) -> list[Trial]:
        return list(TRIALS)


def test_the_view_is_drawn_while_the_search_runs_and_then_gone(monkeypatch):
    monkeypatch.setattr(live, "PAUSE", 0.01)
    stream, study = io.StringIO(), Watched()
    console = Console(file=stream, width=80, force_terminal=True)
    before = set(threading.enumerate())
    with live.watching(study, "digits · run 3", 12, console):
        assert study.seen.wait(300)
    assert "digits · run 3" in stream.getvalue()
    assert not set(threading.enumerate()) - before


def test_the_view_goes_when_the_search_breaks(monkeypatch):
    monkeypatch.setattr(live, "PAUSE", 0.01)
    before = set(threading.enumerate())

    def broken() -> None:
        with live.watching(Watched(), "x", 12, Console(file=io.StringIO(), force_terminal=True)):
            raise KeyError("broken")

    with pytest.raises(KeyError):
        broken()
    assert not set(threading.enumerate()) - before
