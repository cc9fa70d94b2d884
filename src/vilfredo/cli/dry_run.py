"""What a search would be, in lines, before anything of it is done (`vilfredo search --dry-run`)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vilfredo.cli.mistakes import Mistake
from vilfredo.cli.printing import count, shown, unwritable
from vilfredo.goal import Goal, violation
from vilfredo.protocols import Impossible, Problem, Work
from vilfredo.seeds import generator
from vilfredo.spec import Parts, Spec
from vilfredo.spec.build import TESTED
from vilfredo.spec.model import Part
from vilfredo.spec.text import value_text as written
from vilfredo.store import Store
from vilfredo.study import front_of
from vilfredo.trial import JSON
from vilfredo.units import between, duration, show

DRAWN = 20  # random candidates that are looked at
LABEL = 10  # width of the first column

Row = tuple[str, str]


def outlook(spec: Spec, parts: Parts) -> Iterator[str]:
    """A line for each part of the search. What only shows when a search begins is tried here: optimizer and
    stopper are made, the store and the earlier run are looked at, some candidates are drawn.

    Raises `ValueError` for what would keep the search from beginning.
    """
    yield f"{spec.name or 'The search'} as it would be; nothing is trained or written."
    for label, text in [
        *_problem(parts.problem),
        ("space", _part(spec.space) if spec.space else type(parts.problem.space).__name__.lower()),
        *_goals(spec, parts.problem),
        *_drawn(parts.problem, parts.seed),
        *_baseline(parts.problem),
        *_engines(spec, parts),
        *_where(spec, parts),
    ]:
        yield f"{label:<{LABEL}} {text}"


def _problem(problem: Problem) -> Iterator[Row]:
    about: Mapping[str, Any] = problem.describe()
    kind = about.get("kind", type(problem).__name__)
    epochs = f", trained for {count(problem.epochs, 'epoch')}" if problem.epochs else ""
    if kind == "supervised":
        device = "" if about["device"] == "cpu" else f" on {about['device']}"
        yield "problem", f"networks on {about['data']['name']}{epochs}{device}"
        yield "data", _data(about["data"])
        if (scheme := about["quantisation"]) is not None:
            from vilfredo.nn.quantize import Scheme

            yield "deployed", f"in whole numbers of {Scheme(**scheme)} (genes may differ)"
    elif kind == "spiking":
        yield "problem", f"spiking networks for {about['task']} on {about['processor']}"
        steps = f", episodes of {about['steps']:,} steps at most" if about["steps"] else ""
        shape = f"{count(about['inputs'], 'input')}, {count(about['outputs'], 'output')}"
        yield "task", f"{shape}, {about['window']} timesteps for each answer{steps}"
    elif kind == "function":
        yield "problem", f"the function {about['function']}{epochs}"
    else:
        yield "problem", f"{kind}{epochs}"
    if about.get("faults"):
        yield "faults", f"{'; '.join(about['faults'])}, on {count(about['copies'], 'copy', 'copies')}"


def _data(data: Mapping[str, Any]) -> str:
    shape = " × ".join(str(n) for n in data["input"])
    what = "class" if data["task"] == "classification" else "target"
    outputs = count(data["outputs"], what, "classes" if what == "class" else "targets")
    others = f"{data['validation']:,} to validate, {data['test']:,} to test"
    return f"{data['train']:,} samples to train on, {others}; inputs of {shape}, {outputs}"


def _part(table: Part | None) -> str:
    """What is used and with which options, these as a spec says them."""
    if table is None:
        return "none"
    options = ", ".join(f"{name} = {written(option)}" for name, option in table.options.items())
    return f"{table.use} ({options})" if options else table.use


def _goals(spec: Spec, problem: Problem) -> list[Row]:
    rows = []
    width = max(len(goal.name) for goal in problem.goals)
    for place, goal in enumerate(problem.goals):
        table = (spec.goals or {}).get(goal.name)
        options = {} if table is None else {**({"use": table.use} if table.use else {}), **table.options}
        said = ", ".join(f"{name} = {written(option)}" for name, option in options.items())
        text = f"{goal.name:<{width}}  {_wanted(goal)}; {_measured(goal, problem)}"
        rows.append(("goals" if not place else "", f"{text} ({said})" if said else text))
    return rows


def _wanted(goal: Goal) -> str:
    limits = [
        f"{word} {show(limit, goal.unit)}"
        for word, limit in (("at most", goal.max), ("at least", goal.min))
        if limit is not None
    ]
    if goal.ranked:
        limits.insert(0, goal.sense)
    return ", ".join(limits)


def _measured(goal: Goal, problem: Problem) -> str:
    trained = problem.epochs > 0
    if goal.stage == "preview":
        return "known before training" if trained else "known beforehand"
    kind = problem.describe().get("kind")
    how = "measured after training" if trained else "simulated" if kind == "spiking" else "computed"
    return f"{how}, while no other candidate computes" if goal.name in problem.quiet else how


def _drawn(problem: Problem, seed: int) -> Iterator[Row]:
    """What random candidates say of the space: sizes, and how many are beyond the limits."""
    known = [goal for goal in problem.goals if goal.stage == "preview"]
    found: list[Mapping[str, float]] = []
    failed = ""
    for number in range(DRAWN):
        try:
            genome = problem.space.sample(generator(seed, "drawn", number))
            values = problem.preview(Work(genome))
        except Impossible as reason:
            failed = failed or str(reason)
            continue
        found.append({goal.name: values[goal.name].mean for goal in known if goal.name in values})
    words = []
    if found and known:
        sizes = [_range(goal, [row[goal.name] for row in found if goal.name in row]) for goal in known]
        beyond = sum(violation(row, known) > 0 for row in found)
        words.append(f"{count(len(found), 'candidate')}: {', '.join(sizes)}")
        words += [f"{beyond} beyond the limits"] if beyond else []
    if len(found) < DRAWN:
        words.append(f"{DRAWN - len(found)} of {DRAWN} are impossible: {failed}")
    if words:
        yield "at random", "; ".join(words)


def _range(goal: Goal, values: Sequence[float]) -> str:
    middle = show(statistics.median(values), goal.unit)
    return f"{goal.name} {between(min(values), max(values), goal.unit)} (median {middle})"


def _baseline(problem: Problem) -> Iterator[Row]:
    genome = getattr(problem, "baseline", None)
    if genome is None:
        return
    values = {name: value.mean for name, value in problem.preview(Work(genome)).items()}
    sizes_of = getattr(problem, "sizes", None)
    sizes = values if sizes_of is None else sizes_of(genome)
    text = ", ".join(f"{name} {show(value, 'count')}" for name, value in sizes.items())
    beyond = ", beyond the limits" if violation(values, problem.goals) > 0 else ""
    yield "baseline", f"{genome.get('module', 'a genome of the space')}: {text}{beyond}"


def _engines(spec: Spec, parts: Parts) -> Iterator[Row]:
    parts.optimizer()
    yield "optimizer", _part(spec.optimizer)
    if parts.stopper is not None:
        parts.stopper()
    yield "stopper", _part(spec.stopper)


def _where(spec: Spec, parts: Parts) -> Iterator[Row]:
    """Where it runs, how long, and what it leaves."""
    executor = spec.executor
    limits: dict[str, JSON] = {
        "deadline": None if executor.deadline is None else duration(executor.deadline),
        "memory": None if executor.memory is None else show(executor.memory, "B"),
    }
    each = ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None)
    workers = "in this process" if executor.use == "inline" else count(parts.workers, "worker")
    yield "executor", f"{executor.use}, {workers}" + (f"; for each candidate {each}" if each else "")
    yield "budget", str(parts.budget)
    yield "confirm", _confirmed(parts)
    yield "seed", str(parts.seed)
    if spec.start:
        yield "start", f"the front of {spec.start}: {count(len(front_of(spec.start)), 'candidate')}"
    yield "store", _store(parts.store)


def _confirmed(parts: Parts) -> str:
    if not parts.confirm:
        return "nothing"
    about = parts.problem.describe()
    seeds = f", with {count(parts.confirm, 'training seed')}" if parts.problem.epochs else ""
    if about.get("kind") not in TESTED:
        return f"the front{seeds}"
    return f"the front{seeds}, on {'fresh episodes' if about.get('episodes') else 'the test samples'}"


def _store(path: str) -> str:
    """Where the run would be kept. Raises `ValueError` if it could not be."""
    trouble = unwritable(path)
    if trouble:
        raise Mistake(f"store: {trouble}")
    if not Path(path).expanduser().exists():
        return f"{shown(path)}, a new file"
    with Store.open(path, create=False, readonly=True) as store:
        return f"{shown(path)}, which holds {count(len(store.runs()), 'run')}"
