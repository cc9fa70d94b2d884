"""What a search looks like in a terminal while it runs; and as plain lines where there is none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

import numpy as np

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.loop import Running
from vilfredo.savings import Calibration, Savings, calibrations, checks, last_forecast, savings
from vilfredo.trial import Epoch, Halt, Key, Trial, Value
from vilfredo.units import duration, show

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from vilfredo.study import Progress

ROWS = 8  # of the front that are shown, and of the candidates that are at work
HALTS = 3  # the latest that are shown
PAUSE = 0.5  # seconds between two looks
FRESH = 1.0  # seconds for which a computed front is good enough


class Watched(Protocol):
    """What is needed of a study: read in another thread than the one that drives it."""

    @property
    def goals(self) -> Sequence[Goal]: ...
    def progress(self) -> Progress: ...
    def trials(self) -> list[Trial]: ...


@dataclass(frozen=True)
class Standing:
    """The front so far, what it is worth, how many networks have been told, and what stopping early came to;
    `halted` are the latest of those that are stopped or paused, newest first."""

    front: Sequence[Trial] = ()
    volume: float | None = None
    states: Mapping[str, int] = field(default_factory=dict)
    savings: Savings = field(default_factory=Savings)
    checked: Sequence[Calibration] = ()
    halted: Sequence[Trial] = ()


def standing(trials: Sequence[Trial], goals: Sequence[Goal], epochs: int = 0) -> Standing:
    """`volume` is the share of the box between the best and the worst value of each goal, over all
    candidates within the limits so far, that the front dominates; None while there is no such box.
    `epochs` is the length of full training."""
    states: dict[str, int] = {}
    for trial in trials:
        states[trial.state] = states.get(trial.state, 0) + 1
    front = pareto.front(trials, goals)
    alive = [t for t in trials if t.state in pareto.ALIVE]
    table, violations, usable = pareto.points(alive, goals)
    good = table[usable & (violations == 0)]
    volume = None
    if len(good) > 1:
        ideal, worst = good.min(axis=0), good.max(axis=0)
        span = np.where(worst > ideal, worst - ideal, 1.0)
        members, _, _ = pareto.points(front, goals)
        volume = pareto.hypervolume((members - ideal) / span, np.ones(good.shape[1]))
    halted = [t for t in trials if t.halts and t.state in ("stopped", "paused")]
    return Standing(
        front=front,
        volume=volume,
        states=states,
        savings=savings(trials, epochs),
        checked=calibrations(checks(trials, goals), goals),
        halted=halted[: -HALTS - 1 : -1],
    )


def is_plain(stream: TextIO) -> bool:
    """Whether `stream` should get plain lines: no terminal, or one that is not to be drawn on."""
    dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return dumb or not stream.isatty()


def line(trial: Trial, goals: Sequence[Goal], elapsed: float) -> str:
    """One trial in a line of plain text, told after `elapsed` seconds of the run."""
    state = "confirmed" if trial.confirmed else trial.state
    parts = [f"{duration(elapsed):>11}", f"trial {trial.number:>4}", f"{state:<9}"]
    if trial.failure is not None:
        parts.append(f"{trial.failure.kind}: {_short(trial.failure.message, 90)}")
    for goal in goals:
        value = trial.value(goal.name)
        if value is not None:
            parts.append(f"{goal.name} {_told(value, trial, goal)}")
    for goal in goals:
        value = trial.value(goal.name, "test") if trial.confirmed else None
        if value is not None:
            parts.append(f"{goal.name} (test) {show(value.mean, goal.unit, value.sd)}")
    if trial.halts and trial.state in ("stopped", "paused"):
        parts.append(why(trial.halts[-1]))
    return "  ".join(parts)


def _told(value: Value, trial: Trial, goal: Goal) -> str:
    """A forecast with its spread; a measured value with what had been forecast before it was known."""
    if value.origin == "forecast":
        return show(value.mean, goal.unit, value.sd) + _mark("forecast")
    halt = None if trial.confirmed or trial.state != "complete" else last_forecast(trial, goal.name)
    text = show(value.mean, goal.unit)
    if halt is None:
        return text
    guess = halt.forecast[goal.name]
    return f"{text} (forecast {show(guess.mean, goal.unit, guess.sd)})"


def why(halt: Halt, width: int = 120) -> str:
    """After which epoch, and the reason as the stopper gives it: "after epoch 2: 3 % chance to …"."""
    reason = _short(halt.reason, width)
    return f"after epoch {halt.epoch}" + (f": {reason}" if reason else "")


def summary(told: int, front: Sequence[Trial], goals: Sequence[Goal], elapsed: float) -> str:
    """Where a search of many quick candidates stands, in a line: how many, and the best of each goal."""
    best = []
    for goal in goals:
        found = [v for trial in front if goal.ranked and (v := trial.value(goal.name)) is not None]
        if found:
            value = min(found, key=lambda v: v.mean if goal.sense == "min" else -v.mean)
            best.append(f"{goal.name} {show(value.mean, goal.unit)}")
    text = f"{duration(elapsed):>11}  {_count(told, 'candidate')}, front of {len(front)}"
    return text + (f"; best {', '.join(best)}" if best else "")


def is_news(trial: Trial, before: Trial | None, confirm: int) -> bool:
    """Whether a told trial deserves a line: it is new, its state is another one, it was halted once more,
    or it has just been confirmed with all `confirm` training seeds. `before` is what was known of it."""
    if before is None or trial.state != before.state or len(trial.halts) > len(before.halts):
        return True
    return before.confirmed < confirm <= trial.confirmed


def _short(text: str, width: int) -> str:
    """The first line, without what would move a terminal's cursor."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    first = "".join(c if c.isprintable() else " " for c in first)
    return first if len(first) <= width else first[: width - 1] + "…"


def doing(running: Running, epochs: int, goals: Sequence[Goal]) -> str:
    """What a worker does, in a few words: "epoch 3/12, error 4.31 %"."""
    if running.worker == 0:
        return "waits for a worker"
    again = f", attempt {running.attempt}" if running.attempt > 1 else ""
    work = running.work
    if work.operator == "confirm":
        repeated = f"training again, seed {work.repeat}" if work.repeat else "goes on to the end"
        what = "test set" if work.split == "test" else repeated
    elif work.operator == "revive":
        what = "goes on"
    elif not running.epochs:
        return "started" + again
    else:
        what = ""
    if not running.epochs:
        return what + again
    last = running.epochs[-1]
    count = f"epoch {last.index}/{epochs}" if epochs else f"epoch {last.index}"
    if epochs and last.index >= epochs:
        count = "measuring"
    return ", ".join(part for part in (what, count, metric(last, goals)) if part) + again


def metric(epoch: Epoch, goals: Sequence[Goal]) -> str:
    """The epoch's metric that says most: that of the first goal that has one, else the first."""
    for goal in goals:
        for name in (goal.name, f"val_{goal.name}"):
            if name in epoch.metrics:
                return f"{goal.name} {show(epoch.metrics[name], goal.unit)}"
    for name, value in epoch.metrics.items():
        return f"{name} {show(value)}"
    return ""


def picture(
    title: str,
    progress: Progress,
    state: Standing,
    goals: Sequence[Goal],
    epochs: int = 0,
    width: int = 80,
    height: int = 0,
) -> RenderableType:
    """The whole view for a terminal of `width` columns and `height` lines (0: as many as are needed)."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    spent = progress.budget.spent(progress.told, progress.elapsed)
    head = Table.grid(expand=True)
    head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    head.add_column(justify="right", no_wrap=True)
    eta = "" if progress.eta is None or progress.phase != "search" else f" · {duration(progress.eta)} to go"
    clock = f"{duration(progress.elapsed)} of {progress.budget}{eta}"
    head.add_row(Text(title, style="bold"), Text(clock))
    bar = Table.grid(expand=True)  # by itself a bar does not end its line
    bar.add_row(ProgressBar(total=1.0, completed=min(1.0, spent), width=width))
    foot = [_worth(state), *accounts(state.savings, state.checked, goals)]
    others = 10 + len(foot) + len(state.halted) + max(1, min(len(progress.running), ROWS + 1))
    rows = min(ROWS, max(3, height - others)) if height else ROWS
    return Group(
        head,
        bar,
        Text(_counts(progress, state), overflow="ellipsis", no_wrap=True),
        Text(""),
        _workers(progress, state, goals, epochs),
        Text(""),
        front_table(state.front, goals, most=rows, width=width),
        *(Text(text) for text in foot if text),
        Text("Ctrl-C stops; what is finished is kept.", style="dim"),
    )


def _counts(progress: Progress, state: Standing) -> str:
    phases = {"search": "searching", "confirm": "confirming the front", "stopped": "stopping"}
    parts = [phases.get(progress.phase, progress.phase), f"{progress.told} candidates"]
    for name in ("stopped", "paused", "rejected"):
        if state.states.get(name):
            parts.append(f"{state.states[name]} {name}")
        if name == "paused" and state.savings.revived:
            parts.append(f"{state.savings.revived} revived")
    if progress.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(progress.failures.items()))
        parts.append(f"{sum(progress.failures.values())} failed ({kinds})")
    return " · ".join(parts)


def _workers(progress: Progress, state: Standing, goals: Sequence[Goal], epochs: int) -> RenderableType:
    """What each worker does, and whom the stopper halted last."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    together = len(progress.running) > ROWS and not any(r.worker for r in progress.running)
    if together:
        numbers = [r.number for r in progress.running]
        table.add_row("", f"trials {min(numbers)} to {max(numbers)}", "computed together")
    for running in () if together else progress.running[:ROWS]:
        worker = f"worker {running.worker}" if running.worker else "–"
        table.add_row(worker, f"trial {running.number}", Text(doing(running, epochs, goals)))
    if not together and len(progress.running) > ROWS:
        table.add_row("", f"and {len(progress.running) - ROWS} others", "")
    if not progress.running:
        table.add_row("no worker computes", "", "")
    for trial in state.halted:
        halt = trial.halts[-1]
        done = {"pause": "paused", "stop": "stopped"}[halt.action]
        table.add_row(done, f"trial {trial.number}", Text(why(halt)), style="dim")
    return table


def _worth(state: Standing) -> str:
    parts = []
    if state.volume is not None:
        parts.append(f"hypervolume {state.volume:.3f}")
    if state.savings.trained:
        parts.append(_count(state.savings.trained, "epoch") + " trained")
    return " · ".join(parts)


def accounts(saved: Savings, checked: Sequence[Calibration], goals: Sequence[Goal]) -> list[str]:
    """What stopping early came to, a line; and for each goal how the forecasts compare with what was
    measured later. Empty where nobody was ever halted."""
    if not saved.halted:
        return []
    net = f"{duration(abs(saved.net_seconds))} {'net' if saved.net_seconds >= 0 else 'lost'}"
    first = (
        f"{_count(saved.saved, 'epoch')} saved ({percent(saved.share)}), {net}"
        f" · engine {duration(saved.engine_seconds)} ({percent(saved.engine_share)} of training)"
    )
    units = {goal.name: goal.unit for goal in goals}
    lines = [first]
    for row in checked:
        off = show(row.error, units[row.goal])
        text = f"forecasts of {row.goal}: {row.count} measured later, off by {off} on average"
        if row.spread:
            text += f", {row.within} of {row.spread} within their 90 % interval"
        lines.append(text)
    return lines


def percent(share: float) -> str:
    """A share in per cent, two digits."""
    return f"{share * 100:.0f} %" if share >= 0.0995 else f"{share * 100:.2g} %"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def front_table(
    front: Sequence[Trial], goals: Sequence[Goal], *, most: int | None = None, width: int = 80
) -> RenderableType:
    """The front as a table: validation values and, where a goal has been tested, test values."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not front:
        return Text("The front is still empty.", style="dim")
    rows = cells(front, goals)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    for column, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if column < len(rows[0]) - 1 else "left", no_wrap=width >= 100)
    shown = _spread(len(front), most)
    for row in shown:
        marked = rows[row + 1][-1].startswith("knee")
        table.add_row(*rows[row + 1], style="bold" if marked else None)
    if len(shown) < len(front):
        table.caption = f"{len(shown)} of {len(front)}"
        table.caption_justify = "left"
    return table


def _spread(count: int, most: int | None) -> list[int]:
    """Rows evenly over a front that is longer than `most`, both ends among them."""
    if most is None or count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def cells(front: Sequence[Trial], goals: Sequence[Goal]) -> list[list[str]]:
    """The front as text: a header and a row for each trial; the last column is a remark."""
    tested = [g for g in goals if any(t.value(g.name, "test") for t in front)]
    table, _, _ = pareto.points(front, goals)
    knee = pareto.knee(table)
    header = ["trial"]
    for goal in goals:
        header.append(goal.name)
        if goal in tested:
            header.append(f"{goal.name} (test)")
    rows = [[*header, ""]]
    for number, trial in enumerate(front):
        row = [str(trial.number)]
        for goal in goals:
            value = trial.value(goal.name)
            row.append("–" if value is None else show(value.mean, goal.unit, value.sd) + _mark(value.origin))
            if goal in tested:
                test = trial.value(goal.name, "test")
                row.append("–" if test is None else show(test.mean, goal.unit, test.sd))
        remarks = ["knee"] if number == knee and len(front) > 2 else []
        if trial.operator == "baseline":
            remarks.append("baseline")
        if trial.state != "complete":
            remarks.append(trial.state + (f" (epoch {trial.epochs[-1].index})" if trial.epochs else ""))
        rows.append([*row, ", ".join(remarks)])
    return rows


def halt_cells(trials: Sequence[Trial], goals: Sequence[Goal]) -> list[list[str]]:
    """Every halt of `trials` as text, in their order: a header and a row for each; the last column is why."""
    told = [g for g in goals if any(g.name in halt.forecast for t in trials for halt in t.halts)]
    known = {goal.name: [_measured(t, goal) for t in trials] for goal in told}
    word = {"pause": "paused", "stop": "stopped"}
    changed = any(word[halt.action] != t.state for t in trials for halt in t.halts)
    header = ["trial", "was", "epoch"]
    for goal in told:
        header += [f"{goal.name} forecast", *(["measured"] if any(known[goal.name]) else [])]
    rows = [[*header, *(["now"] if changed else []), "why"]]
    for place, trial in enumerate(trials):
        for halt in trial.halts:
            row = [str(trial.number), word[halt.action], str(halt.epoch)]
            for goal in told:
                guess = halt.forecast.get(goal.name)
                row.append("–" if guess is None else show(guess.mean, goal.unit, guess.sd))
                if any(known[goal.name]):
                    row.append(known[goal.name][place] or "–")
            rows.append([*row, *([trial.state] if changed else []), _short(halt.reason, 200)])
    return rows


def _measured(trial: Trial, goal: Goal) -> str:
    value = trial.values.get(Key(goal.name))
    return show(value.mean, goal.unit) if value is not None and value.origin == "measured" else ""


def halt_table(rows: Sequence[Sequence[str]]) -> RenderableType:
    """What `halt_cells` gives as a table for a terminal; only the reasons break into lines."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    words = ("was", "now", "why")
    for name in rows[0]:
        table.add_column(name, justify="left" if name in words else "right", no_wrap=name != "why")
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _mark(origin: str) -> str:
    return {"estimated": " est.", "forecast": " fc."}.get(origin, "")


@contextmanager
def watching(study: Watched, title: str, epochs: int, console: Console) -> Iterator[None]:
    """Draw the view of `study` on a terminal, twice a second, while the body runs."""
    from rich.live import Live

    done = threading.Event()
    looked = 0.0
    state = Standing()

    def look() -> RenderableType | None:
        nonlocal looked, state
        try:
            progress = study.progress()
            if time.monotonic() - looked > FRESH:
                state = standing(study.trials(), study.goals, epochs)
                looked = time.monotonic()
        except RuntimeError:  # the search changed a table while it was read: look again later
            return None
        return picture(title, progress, state, study.goals, epochs, console.width, console.height)

    def draw() -> None:
        while not done.wait(PAUSE):
            seen = look()
            if seen is not None:
                live.update(seen, refresh=True)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        thread = threading.Thread(target=draw, name="live view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
