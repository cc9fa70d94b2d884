"""One trial in words: ancestry, curve, layers, every value with its origin, attempts."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence

from vilfredo.goal import Goal, as_trained
from vilfredo.savings import WITHIN
from vilfredo.trial import FEATURE, JSON, Epoch, Halt, Key, Trial, Value
from vilfredo.units import between, duration, show

BARS = "▁▂▃▄▅▆▇█"
GENERATIONS = 4  # of ancestors that are shown
USUAL: Mapping[str, JSON] = {"groups": 1, "bias": True}  # arguments of layers that go without saying


def sheet(
    trial: Trial,
    trials: Mapping[int, Trial],
    goals: Sequence[Goal],
    layers: Sequence[Mapping[str, JSON]] = (),
    *,
    no_layers: str = "",
    deployed: str = "",
    traceback: bool = False,
    width: int = 80,
) -> str:
    """The sheet of `trial` as plain text. `trials` are those of its run, by number; `no_layers` says why
    layers cannot be shown, `deployed` in which numbers the network was measured."""
    parts = [
        _head(trial),
        _section("Values", _values(trial, goals)),
        _section("Deployed", _deployed(trial, goals, deployed)),
        _section("Early termination", _halts(trial, goals)),
        _section("Ancestry", _ancestry(trial, trials, goals)),
        _section("Curve", _curves(trial.epochs, width - 36)),
        _section("Layers", _layers(layers) or [line for line in (no_layers,) if line]),
        _section("Genome", _genome(trial, width)),
        _section("Time", [f"{stage:<10} {duration(s)}" for stage, s in trial.seconds.items()]),
        _section("Attempts", _attempts(trial)),
    ]
    if traceback:
        text = trial.failure.traceback if trial.failure else ""
        parts.append(_section("Traceback", text.rstrip().splitlines() or ["there is none"]))
    elif trial.failure and trial.failure.traceback:
        parts.append("The traceback is shown with --traceback.")
    return "\n\n".join(part for part in parts if part)


def _head(trial: Trial) -> str:
    made = f"by {trial.operator}" if trial.operator else ""
    parents = ", ".join(str(p) for p in trial.parents)
    source = " of ".join(part for part in (made, parents) if part)
    confirmed = ", confirmed" if trial.confirmed else ""
    if confirmed and trial.epochs:  # else nothing was trained
        confirmed += f" with {_count(trial.confirmed, 'training seed')}"
    lines = [f"Trial {trial.number}: {trial.state}{confirmed}", f"made {source}" if source else ""]
    if trial.failure:
        lines.append(f"{trial.failure.kind}: {trial.failure.message}")
    if trial.artifact:
        kept = show(trial.artifact.bytes, "B")
        lines.append(f"weights after epoch {trial.artifact.epoch}: {trial.artifact.path} ({kept})")
    return "\n".join(line for line in lines if line)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines)]) if lines else ""


def _values(trial: Trial, goals: Sequence[Goal]) -> list[str]:
    units = {g.name: g.unit for g in goals}
    limits = {g.name: g for g in goals}
    rows = []
    for key, value in trial.values.items():
        if key.goal.startswith(FEATURE):  # for engines; people see how many there are
            continue
        unit = units.get(key.goal, "")
        over = key.goal in limits and limits[key.goal].excess(value.mean) > 0
        rows.append((key.goal, show(value.mean, unit, value.sd), _how(key, value, unit, over)))
    if not rows:
        return []
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    features = sum(key.goal.startswith(FEATURE) for key in trial.values)
    lines = [f"{name:<{first}}  {text:<{second}}  {how}".rstrip() for name, text, how in rows]
    return lines + (
        [f"and {features} features of the topology, for forecasts of resilience"] if features else []
    )


def _deployed(trial: Trial, goals: Sequence[Goal], deployed: str) -> list[str]:
    """In which numbers it was measured, and what it was worth before that."""
    if not deployed:
        return []
    units = {g.name: g.unit for g in goals}
    floats = ", ".join(f"{name} {show(x, units[name])}" for name, x in as_trained(trial, goals).items())
    return [deployed, *([f"as trained, in floats: {floats}"] if floats else [])]


def _how(key: Key, value: Value, unit: str, over: bool) -> str:
    parts = [value.origin, f"on {key.split}" if key.split != "validation" else ""]
    # Neutral, since it depends on the goal: a latency is a median, an accuracy a mean.
    parts.append(f"from {value.n} measurements" if value.n > 1 else "")
    parts.append(f"training seed {key.repeat}" if key.repeat else "")
    parts.append(f"after epoch {key.fidelity}" if key.fidelity is not None else "")
    parts.append(f"perturbation {key.noise}" if key.noise else "")
    if value.low is not None or value.high is not None:
        parts.append(f"range {between(value.low, value.high, unit)}")
    parts.append("beyond the limit" if over else "")
    return ", ".join(part for part in parts if part)


def _halts(trial: Trial, goals: Sequence[Goal]) -> list[str]:
    """Each time that the stopper halted it: when, why, what it forecast, and what was measured later."""
    rows = []
    for halt in trial.halts:
        done = {"pause": "paused", "stop": "stopped"}[halt.action]
        reason = " ".join(halt.reason.split())
        rows.append(f"{done} after epoch {halt.epoch}" + (f": {reason}" if reason else ""))
        rows += [f"  {row}" for row in _forecasts(halt, trial, goals)]
    if trial.halts and trial.state == "complete":
        rows.append("later trained in full")
    return ["".join(c if c.isprintable() else " " for c in row) for row in rows]


def _forecasts(halt: Halt, trial: Trial, goals: Sequence[Goal]) -> Iterator[str]:
    for goal in goals:
        if goal.name not in halt.forecast:
            continue
        guess, real = halt.forecast[goal.name], trial.values.get(Key(goal.name))
        text = f"forecast {goal.name} {show(guess.mean, goal.unit, guess.sd)}"
        if real is not None and real.origin == "measured":
            text += f", measured later {show(real.mean, goal.unit)}"
            if guess.sd > 0:
                inside = abs(real.mean - guess.mean) <= WITHIN * guess.sd
                text += f" ({'within' if inside else 'outside'} the forecast's 90 % interval)"
        yield text


def _ancestry(trial: Trial, trials: Mapping[int, Trial], goals: Sequence[Goal]) -> list[str]:
    """The parents, theirs, and so on as an indented tree; each ancestor in full only once."""
    seen: set[int] = set()

    def branch(number: int, depth: int) -> Iterator[str]:
        known = trials.get(number)
        if known is None:
            yield f"{'  ' * depth}{number} (not known)"
            return
        about = [known.operator or "start", *_brief(known, goals)]
        again = number in seen
        more = " …" if known.parents and (again or depth + 1 >= GENERATIONS) else ""
        yield f"{'  ' * depth}{number}  {', '.join(about)}{more}"
        seen.add(number)
        if not again and depth + 1 < GENERATIONS:
            for parent in known.parents:
                yield from branch(parent, depth + 1)

    return [row for parent in dict.fromkeys(trial.parents) for row in branch(parent, 0)]


def _brief(trial: Trial, goals: Sequence[Goal]) -> list[str]:
    found = [(g, trial.value(g.name)) for g in goals]
    return [f"{g.name} {show(v.mean, g.unit)}" for g, v in found if v is not None]


def _curves(epochs: Sequence[Epoch], width: int) -> list[str]:
    names = dict.fromkeys(n for epoch in epochs for n in epoch.metrics if not n.startswith(FEATURE))
    rows = []
    for name in names:
        values = [epoch.metrics[name] for epoch in epochs if name in epoch.metrics]
        bars = sparkline(values, max(8, width))
        rows.append(f"{name:<14} {bars}  {show(values[0])} → {show(values[-1])}")
    if rows:
        took = sum(epoch.seconds for epoch in epochs)
        rows.append(f"{_count(len(epochs), 'epoch')} in {duration(took)}")
    return rows


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Bars of the values' heights between their least and greatest; means where there are more than
    `width`. What is not finite is a blank."""
    if len(values) > width:
        edges = [round(k * len(values) / width) for k in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    top = len(BARS) - 1
    return "".join(BARS[round((v - low) / span * top)] if math.isfinite(v) else " " for v in values)


def _layers(layers: Sequence[Mapping[str, JSON]]) -> list[str]:
    rows = []
    for index, layer in enumerate(layers):
        said = {k: v for k, v in dict(layer.get("args", {})).items() if USUAL.get(k) != v}
        args = ", ".join(str(v) if k == "settings" else f"{k} {_compact(v)}" for k, v in said.items())
        shape = " × ".join(str(n) for n in layer.get("shape", ()))
        inputs = list(layer.get("inputs", ()))
        source = "" if inputs in ([], [index - 1]) else f"  from {', '.join(_source(i) for i in inputs)}"
        rows.append(f"{index:>3}  {layer.get('op', ''):<12} {shape:<16} {args}{source}".rstrip())
    return rows


def _source(index: int) -> str:
    return "the input" if index < 0 else str(index)


def _compact(value: JSON) -> str:
    return "×".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)


def _genome(trial: Trial, width: int) -> list[str]:
    import textwrap

    text = json.dumps(dict(trial.genome), ensure_ascii=False)
    return textwrap.wrap(text, max(20, width - 2), break_on_hyphens=False)


def _attempts(trial: Trial) -> list[str]:
    return [
        f"{a.number}: worker {a.worker}, {duration(a.seconds)}"
        + (f", {a.failure.kind}: {a.failure.message}" if a.failure else "")
        for a in trial.attempts
    ]
