"""Early termination as the page shows it: what it saved, how forecasts came out, who was halted and why."""

from __future__ import annotations

from collections.abc import Sequence

from vilfredo.goal import Goal
from vilfredo.report.payload import halt_row, short
from vilfredo.savings import calibrations, checks, savings
from vilfredo.trial import JSON, Trial

ROWS = 200  # at most so many halted networks are listed
POINTS = 600  # at most so many checked forecasts are drawn
BINS = 40  # at most so many bars of epochs trained


def early(trials: Sequence[Trial], goals: Sequence[Goal], epochs: int) -> dict[str, JSON] | None:
    """None if nobody was ever halted. `epochs` is the length of full training (0 if not known).

    `calibration` is [place of the goal, count, mean absolute difference, forecasts with an sd, of those
    within their 90 % interval] over all checks; `points` are [row, place of the goal, epoch, mean, sd,
    measured] of at most `POINTS` of them, spread over the run. `rows` are [row, how often halted, then the
    latest halt as `payload.halt_row` gives it], newest first: those whose forecast was checked go before
    others, then the latest; `left` counts those left out.
    """
    saved = savings(trials, epochs)
    if not saved.halted:
        return None
    places = {t.number: row for row, t in enumerate(trials)}
    by_goal = {g.name: place for place, g in enumerate(goals)}
    found = checks(trials, goals)
    step = -(-len(found) // POINTS) or 1
    checked = {c.trial for c in found}
    halted = [t for t in trials if t.halts or t.state in ("stopped", "paused")]
    listed = sorted(halted, key=lambda t: (t.number in checked, places[t.number]), reverse=True)[:ROWS]
    return {
        "stopped": saved.stopped,
        "paused": saved.paused,
        "revived": saved.revived,
        "epochs": saved.saved,
        "trained": saved.trained,
        "seconds": short(saved.saved_seconds, 4),
        "engine": short(saved.engine_seconds, 4),
        "training": short(saved.train_seconds, 4),
        "calibration": [
            [by_goal[c.goal], c.count, short(c.error), c.spread, c.within] for c in calibrations(found, goals)
        ],
        "points": [
            [places[c.trial], by_goal[c.goal], c.epoch, short(c.mean), short(c.sd, 3), short(c.measured)]
            for c in found[::step]
        ],
        "lengths": _lengths(trials, epochs),
        "rows": [_row(t, places[t.number], goals) for t in sorted(listed, key=lambda t: -places[t.number])],
        "left": len(halted) - len(listed),
    }


def _row(trial: Trial, place: int, goals: Sequence[Goal]) -> list[JSON]:
    if trial.halts:
        return [place, len(trial.halts), *halt_row(trial.halts[-1], trial, goals)]
    return [place, 1, len(trial.epochs), int(trial.state == "stopped"), "", {}]


def _lengths(trials: Sequence[Trial], epochs: int) -> dict[str, JSON]:
    """How many networks were trained for how long: bars of `width` epochs, from 1, by what became of them."""
    kinds: dict[str, list[int]] = {}
    ran = [t for t in trials if t.epochs and t.state in ("complete", "stopped", "paused")]
    longest = max([epochs, *(t.epochs[-1].index for t in ran)])
    width = -(-longest // BINS) or 1
    for trial in ran:
        kind = "revived" if trial.halts and trial.state == "complete" else trial.state
        bars = kinds.setdefault(kind, [0] * -(-longest // width))
        bars[(trial.epochs[-1].index - 1) // width] += 1
    return {"width": width, "kinds": kinds}
