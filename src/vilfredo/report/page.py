"""One self-contained page about a run: works from a file, offline, with no request to anywhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.report import payload, shell
from vilfredo.report.early import early
from vilfredo.trial import JSON, Trial
from vilfredo.units import duration, show

_SCRIPTS = (
    "units.js",
    "elements.js",
    "charts.js",
    "front.js",
    "spiking.js",
    "network.js",
    "run.js",
    "early.js",
    "page.js",
)


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that the page is made of.

    `trials` may come in any order (a number that comes twice: the last one counts). `layers` are those
    of `important(trials, goals)`, as `Problem.layers` gives them, `deployed` in which numbers their networks
    were measured, in words (none: as trained). `description` is `Problem.describe()`;
    `environment` says versions, machine and git revision; `spec` is the text of the specification;
    `commands` make the run again. `finished` is an ISO time. `epochs` is what full training takes.
    `baseline` is the number of the user's own network; if None, the first trial whose operator is
    "baseline".
    """

    title: str
    goals: Sequence[Goal]
    trials: Sequence[Trial]
    description: Mapping[str, JSON] = field(default_factory=dict)
    layers: Mapping[int, Sequence[Mapping[str, JSON]]] = field(default_factory=dict)
    deployed: Mapping[int, str] = field(default_factory=dict)
    environment: Mapping[str, JSON] = field(default_factory=dict)
    spec: str = ""
    commands: Sequence[str] = ()
    seed: int | None = None
    finished: str = ""
    status: str = ""
    epochs: int = 0
    baseline: int | None = None


def important(
    trials: Sequence[Trial], goals: Sequence[Goal], baseline: int | None = None, most: int = 500
) -> list[int]:
    """The numbers of the trials whose layers the page can show: the baseline, the front and their
    ancestors, nearest first, at most `most`."""
    return payload.important(trials, goals, _baseline(trials, baseline))[:most]


def render(data: ReportData) -> str:
    """The page as HTML text. Everything that comes from outside is escaped or kept as JSON data."""
    content = _payload(data)
    return shell.page("page.html", _SCRIPTS, data.title, _fallback(data, content), content)


def _payload(data: ReportData) -> dict[str, JSON]:
    once = {t.number: t for t in data.trials}
    trials, goals = sorted(once.values(), key=lambda t: t.told_at), data.goals
    by_number = {t.number: t for t in trials}
    places = {t.number: row for row, t in enumerate(trials)}
    baseline = _baseline(trials, data.baseline)
    front = pareto.front(trials, goals)
    table, _, _ = pareto.points(front, goals)
    states = Counter(t.state for t in trials)
    ranked = [g for g in goals if g.ranked]
    seconds: Counter[str] = Counter()
    for trial in trials:
        seconds.update(trial.seconds)
    return {
        "title": data.title,
        "status": data.status,
        "finished": data.finished,
        "goals": [[g.name, g.sense, g.unit, _limit(g.max), _limit(g.min), g.ranked] for g in goals],
        "trials": payload.columns(trials, goals),
        "front": [places[t.number] for t in front],
        "knee": places[front[pareto.knee(table)].number] if front else None,
        "best": {
            g.name: places[front[int(column.argmin())].number]
            for g, column in zip(ranked, table.T, strict=True)
            if front
        },
        "baseline": places.get(baseline) if baseline is not None else None,
        "detail": payload.details(
            by_number, payload.important(trials, goals, baseline), goals, data.layers, data.deployed
        ),
        "states": dict(states),
        "seconds": {stage: round(s, 3) for stage, s in seconds.most_common()},
        "wall": max((t.told_at for t in trials), default=0.0),
        "trained": sum(len(t.epochs) for t in trials),
        "epochs": data.epochs,
        "history": payload.history(trials, goals),
        "failures": payload.failures(trials),
        "limits": payload.limits(trials, goals),
        "early": early(trials, goals, data.epochs),
        "description": payload.clean(data.description),
        "environment": payload.clean(data.environment),
        "spec": data.spec,
        "commands": list(data.commands),
        "seed": None if data.seed is None else str(data.seed),
    }


def _baseline(trials: Sequence[Trial], number: int | None) -> int | None:
    if number is not None:
        return number
    return next((t.number for t in trials if t.operator == "baseline"), None)


def _fallback(data: ReportData, content: Mapping[str, JSON]) -> str:
    """The front as a plain table, for readers without scripts."""
    front = pareto.front(data.trials, data.goals)
    states = ", ".join(f"{count} {state}" for state, count in content["states"].items())
    rows = [
        "<tr><th>trial</th>"
        + "".join(f"<th>{escape(shell.encodable(g.name))}</th>" for g in data.goals)
        + "</tr>"
    ]
    for trial in front[:100]:
        values = [trial.value(g.name) for g in data.goals]
        cells = [
            escape(show(v.mean if v else None, g.unit, v.sd if v else 0.0))
            + (" (forecast)" if v and v.origin == "forecast" else "")
            for v, g in zip(values, data.goals, strict=True)
        ]
        rows.append(f"<tr><td>{trial.number}</td>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    wall = escape(duration(content["wall"]))
    return (
        f"<p>{len(data.trials)} trials ({escape(states)}) in {wall}. The drawings need JavaScript; "
        f"this is the front ({len(front)} networks).</p>\n<table>{''.join(rows)}</table>"
    )


def _limit(limit: float | None) -> float | None:
    return None if limit is None or not math.isfinite(limit) else float(limit)
