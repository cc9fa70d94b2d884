"""What the page needs to know of a run, as compact JSON data: columns for all trials, details for few.

All trials keep number, state, means, parents and operator. Epochs, layers, genomes and every single
value are kept for the front, the baseline and their ancestors only, nearest first, up to `ROOM` bytes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vilfredo import pareto
from vilfredo.goal import Goal, as_trained, numbers, violation
from vilfredo.trial import FEATURE, JSON, Attempt, Failure, Halt, Key, Trial, Value

ROOM = 600_000  # bytes of JSON for details: with 1,000 trials the page stays below 1 MB
STEPS = 200  # at most so many points of the hypervolume's history
CAUSES = 40  # at most so many rows of failures
_STATES = {"complete": "c", "stopped": "s", "paused": "p", "rejected": "r", "failed": "f"}
_ORIGINS = ("measured", "estimated", "forecast")


def ancestry(trials: Mapping[int, Trial], seeds: Iterable[int]) -> list[int]:
    """`seeds` and all their ancestors by number, nearest generations first, each once."""
    found: dict[int, None] = {}
    level = [n for n in seeds if n in trials]
    while level:
        found.update(dict.fromkeys(level))
        parents = (p for n in level for p in trials[n].parents)
        level = [p for p in dict.fromkeys(parents) if p in trials and p not in found]
    return list(found)


def important(trials: Sequence[Trial], goals: Sequence[Goal], baseline: int | None) -> list[int]:
    """The baseline, the knee, the best of each goal, the rest of the front, then the ancestors."""
    front = pareto.front(trials, goals)
    first: list[int] = [] if baseline is None else [baseline]
    if front:
        table, _, _ = pareto.points(front, goals)
        rows = [pareto.knee(table), *np.argmin(table, axis=0).tolist()]
        first += [front[row].number for row in rows]
    return ancestry({t.number: t for t in trials}, dict.fromkeys([*first, *(t.number for t in front)]))


def history(trials: Sequence[Trial], goals: Sequence[Goal]) -> dict[str, JSON]:
    """Hypervolume along the run, in the order of `trials`, at up to `STEPS` places.

    The reference point is the worst value of the final front in each goal plus a tenth of the front's
    span (where the front has no span: the worst value seen). `share` is the volume relative to the box
    between the best value in each goal and the reference point.
    """
    ranked = [g for g in goals if g.ranked]
    table, violations, usable = pareto.points(trials, goals)
    alive = np.array([t.state in pareto.ALIVE for t in trials], dtype=bool)
    good = np.flatnonzero(usable & alive & (violations == 0)) if len(trials) else np.empty(0, int)
    if len(good) == 0 or not ranked:
        return {}
    front = table[good][pareto.ranks(table[good]) == 0]
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    reference = nadir + 0.1 * (nadir - ideal)
    worst = table[good].max(axis=0)
    reference = np.where(nadir > ideal, reference, np.where(worst > ideal, worst, ideal + abs(ideal) + 1))
    box = float(np.prod(reference - ideal))
    steps = np.unique(np.linspace(1, len(trials), min(STEPS, len(trials))).astype(int))
    archive = np.empty((0, len(ranked)))
    known, volumes, volume = 0, [], 0.0
    for step in steps:
        upto = int(np.searchsorted(good, step))
        fresh = table[good[known:upto]]
        known = upto
        if len(fresh):
            archive = np.unique(np.vstack([archive, fresh]), axis=0)
            archive = archive[pareto.ranks(archive) == 0]
            volume = pareto.hypervolume(archive, reference)
        volumes.append(short(volume / box, 6))
    signs = np.array([1.0 if g.sense == "min" else -1.0 for g in ranked])
    wall = [trials[step - 1].told_at for step in steps]
    spent = np.cumsum([sum(t.seconds.values()) for t in trials])
    clock = wall if max(wall) > 0 else [float(spent[step - 1]) for step in steps]
    return {
        "count": steps.tolist(),
        "share": volumes,
        "seconds": [short(s, 6) for s in clock],
        "wall": max(wall) > 0,
        "reference": {g.name: short(r) for g, r in zip(ranked, signs * reference, strict=True)},
        "ideal": {g.name: short(r) for g, r in zip(ranked, signs * ideal, strict=True)},
        "volume": short(volume),
    }


def columns(trials: Sequence[Trial], goals: Sequence[Goal]) -> dict[str, JSON]:
    """What is kept of every trial, one list per thing. `partial` are rows whose values are not those of
    full training, or are forecasts; `forecast` are, by goal, the rows whose value is a forecast; `bad` are
    rows beyond a limit."""
    operators: dict[str, int] = {}
    means: list[list[JSON]] = [[] for _ in goals]
    partial: list[int] = []
    forecast: list[list[int]] = [[] for _ in goals]
    bad: list[int] = []
    for row, trial in enumerate(trials):
        known = numbers(trial, goals)
        for column, g in zip(means, goals, strict=True):
            column.append(short(known.get(g.name)))
        if violation(known, goals) > 0:
            bad.append(row)
        operators.setdefault(trial.operator, len(operators))
        full = {k.goal for k, v in trial.values.items() if k.fidelity is None and v.origin != "forecast"}
        if trial.state in pareto.ALIVE and any(name not in full for name in known):
            partial.append(row)
            for rows, g in zip(forecast, goals, strict=True):
                value = trial.value(g.name)
                if value is not None and value.origin == "forecast":
                    rows.append(row)
    return {
        "number": [t.number for t in trials],
        "state": "".join(_STATES[t.state] for t in trials),
        "means": means,
        "parents": [list(t.parents) for t in trials],
        "operators": list(operators),
        "operator": [operators[t.operator] for t in trials],
        "epochs": [len(t.epochs) for t in trials],
        "seconds": [short(sum(t.seconds.values()), 3) for t in trials],
        "bad": bad,
        "partial": partial,
        "forecast": forecast,
    }


class Texts:
    """Strings that repeat, each kept once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def details(
    trials: Mapping[int, Trial],
    wanted: Sequence[int],
    goals: Sequence[Goal],
    layers: Mapping[int, Sequence[Mapping[str, JSON]]],
    deployed: Mapping[int, str],
) -> dict[str, JSON]:
    """Everything about the `wanted` trials, in their order, until `ROOM` is full."""
    metrics: dict[str, int] = {}
    for number in wanted:
        for epoch in trials[number].epochs[:1]:
            for name in epoch.metrics:
                if not name.startswith(FEATURE):
                    metrics.setdefault(name, len(metrics))
    texts = Texts()
    kept: dict[str, JSON] = {}
    room = ROOM
    for number in wanted:
        trial = trials[number]
        item = {
            "genome": clean(trial.genome),
            "values": _values(trial, goals),
            "epochs": _curve(trial, metrics),
            "seconds": {stage: short(s, 3) for stage, s in trial.seconds.items()},
            "attempts": [_attempt(a) for a in trial.attempts[:20]],
            "layers": [
                _layer(i, l, texts) for i, l in enumerate(layers.get(number, ())) if "raster" not in l
            ],
            "seed": str(trial.seed),
            "generation": trial.generation,
            "confirmed": trial.confirmed,
            "failure": _failure(trial.failure),
        }
        if drawn := [clean(layer) for layer in layers.get(number, ()) if _drawn(layer)]:
            item["spiking"] = drawn[0]
        if number in deployed:
            floats = as_trained(trial, goals)
            item["deployed"] = [
                deployed[number],
                [[i, short(floats[g.name])] for i, g in enumerate(goals) if g.name in floats],
            ]
        if trial.halts:
            item["halts"] = [halt_row(halt, trial, goals) for halt in trial.halts[-20:]]
        room -= len(dump(item))
        if room < 0:
            break
        kept[str(number)] = item
    return {"kept": kept, "of": len(wanted), "metrics": list(metrics), "texts": list(texts.places)}


def _drawn(layer: Mapping[str, JSON]) -> bool:
    """Whether this is no layer but a whole spiking network, with its raster."""
    return "raster" in layer


def halt_row(halt: Halt, trial: Trial, goals: Sequence[Goal]) -> list[JSON]:
    """[epoch, whether for good, reason, {place of the goal: [mean, sd, measured later or null]}]."""
    forecast: dict[str, JSON] = {}
    for place, g in enumerate(goals):
        if g.name in halt.forecast:
            guess, real = halt.forecast[g.name], trial.values.get(Key(g.name))
            truth = real.mean if real is not None and real.origin == "measured" else None
            forecast[str(place)] = [short(guess.mean), short(guess.sd, 3), short(truth)]
    return [halt.epoch, int(halt.action == "stop"), first_line(halt.reason), forecast]


def failures(trials: Sequence[Trial]) -> dict[str, JSON]:
    """Failed trials by kind and first line of the message, most frequent first; attempts that were lost
    on the way; and how many trials each limit keeps out is told by `limits`."""
    causes: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        if trial.state == "failed" and trial.failure is not None:
            causes.setdefault((trial.failure.kind, first_line(trial.failure.message)), []).append(trial)
    ordered = sorted(causes.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        {
            "kind": kind,
            "message": message,
            "count": len(hit),
            "trials": [t.number for t in hit[:8]],
            "traceback": (hit[0].failure.traceback if hit[0].failure else "")[-4000:],
        }
        for (kind, message), hit in ordered[:CAUSES]
    ]
    lost = Counter(
        a.failure.kind for t in trials if t.state != "failed" for a in t.attempts if a.failure is not None
    )
    return {
        "rows": rows,
        "left": len(ordered) - len(rows),
        "lost": [[kind, count] for kind, count in lost.most_common()],
    }


def limits(trials: Sequence[Trial], goals: Sequence[Goal]) -> list[JSON]:
    """How many trials are beyond the limits of each goal: [name, trials beyond, trials with a value]."""
    rows: list[JSON] = []
    for g in goals:
        if g.max is None and g.min is None:
            continue
        known = [v for t in trials if (v := numbers(t, [g]).get(g.name)) is not None]
        rows.append([g.name, sum(g.excess(v) > 0 for v in known), len(known)])
    return rows


def clean(value: Any, depth: int = 0) -> JSON:
    """`value` as strict JSON: numbers that are not finite and things unknown become text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping) and depth < 20:
        return {str(k): clean(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (Sequence, set, frozenset)) and depth < 20:
        return [clean(v, depth + 1) for v in value]
    return str(value)


def dump(data: JSON) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&`, ASCII only."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def short(value: float | None, digits: int = 5) -> float | int | None:
    """`value` with so many significant digits; whole numbers below 10^15 stay as they are."""
    if value is None or not math.isfinite(value):
        return None
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.{digits}g}")


def _values(trial: Trial, goals: Sequence[Goal]) -> list[JSON]:
    """[goal, split, fidelity, noise, repeat, mean, sd, n, origin, low, high], pooled ones first.

    Pooled rows (what the trial is ranked by, and its test values) have repeat null.
    """
    rows: list[JSON] = []
    for place, g in enumerate(goals):
        for split in ("validation", "test"):
            value = trial.value(g.name, split)
            if value is None:
                continue
            keys = [k for k in trial.values if k.goal == g.name and k.split == split]
            levels = [math.inf if k.fidelity is None else k.fidelity for k in keys if k.noise == 0]
            top = max(levels)
            rows.append(_value(place, split, None if top == math.inf else int(top), 0, None, value))
            if len(keys) > 1:
                rows += [
                    _value(place, split, k.fidelity, k.noise, k.repeat, trial.values[k]) for k in keys[:60]
                ]
    return rows


def _value(
    place: int, split: str, fidelity: int | None, noise: int, repeat: int | None, value: Value
) -> list[JSON]:
    row = [place, int(split == "test"), fidelity, noise, repeat, short(value.mean), short(value.sd, 3)]
    row += [value.n, _ORIGINS.index(value.origin), short(value.low), short(value.high)]
    while row[-1] is None:
        row.pop()
    return row


def _curve(trial: Trial, metrics: Mapping[str, int]) -> dict[str, JSON]:
    """Per metric (by its place in `metrics`) the values at the epochs; the epochs' seconds."""
    if not trial.epochs:
        return {}
    curves = {
        str(place): [short(e.metrics.get(name), 4) for e in trial.epochs]
        for name, place in metrics.items()
        if name in trial.epochs[0].metrics
    }
    indices = [e.index for e in trial.epochs]
    plain = indices == list(range(1, len(indices) + 1))
    seconds = [short(e.seconds, 3) for e in trial.epochs]
    return {"curves": curves, "seconds": seconds} | ({} if plain else {"indices": indices})


def _layer(place: int, layer: Mapping[str, JSON], texts: Texts) -> list[JSON]:
    """[operation, what is said of it, shape, parameters, MACs, inputs]; without the inputs where it is the
    layer before."""
    op, args = str(layer.get("op", "?")), layer.get("args") or {}
    shape = "×".join(str(n) for n in layer.get("shape") or ())
    inputs = [int(i) for i in layer.get("inputs", [place - 1])]
    row: list[JSON] = [texts(op), texts(describe(op, args)), texts(shape)]
    row += [layer.get("parameters", 0), layer.get("macs", 0)]
    return row if inputs == [place - 1] else [*row, inputs]


def describe(op: str, args: Mapping[str, JSON]) -> str:
    """A layer's arguments in a few words: "32 filters 3×3, stride 2". A user's own module says its
    `settings` itself."""
    if "settings" in args:
        return str(args["settings"])
    known = dict(args)
    words: list[str] = []
    if "filters" in known:
        words.append(f"{known.pop('filters')} filters")
    if "units" in known:
        words.append(f"{known.pop('units')} units")
    if "kernel" in known:
        words.append(_pair(known.pop("kernel")))
    text = " ".join(words)
    parts = [text] if text else []
    plain = {"stride": (1, [1, 1]), "padding": (0, [0, 0]), "groups": (1,), "bias": (True,)}
    for name, value in known.items():
        if value in plain.get(name, ()) or (name == "padding" and op == "conv") or name == "bias":
            continue
        pair = isinstance(value, (list, tuple))
        shown = _pair(value, False) if pair else f"{value:g}" if isinstance(value, float) else value
        parts.append(f"{name} {shown}")
    return ", ".join(parts)


def _pair(value: JSON, square: bool = True) -> str:
    sides = list(value) if isinstance(value, (list, tuple)) else [value, value]
    return str(sides[0]) if not square and len(set(sides)) == 1 else "×".join(str(v) for v in sides)


def _attempt(attempt: Attempt) -> list[JSON]:
    return [attempt.number, attempt.worker, short(attempt.seconds, 3), _failure(attempt.failure)]


def _failure(failure: Failure | None) -> list[str] | None:
    return None if failure is None else [failure.kind, failure.message[:300], failure.traceback[-4000:]]


def first_line(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[0][:300] if lines else ""
