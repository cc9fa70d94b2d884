"""A spec with its names looked up: what will be called, with which options. Nothing is built yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from inspect import Parameter
from pathlib import Path
from typing import Any

from vilfredo.goal import Goal, goal
from vilfredo.spec import names
from vilfredo.trial import JSON

Mistakes = list[tuple[str, str]]  # (path in the file, sentence)

GIVEN: Mapping[str, tuple[str, ...]] = {
    "problem": ("space", "data", "goals", "objectives", "seed"),
    "space": ("items", "input", "inputs", "outputs", "neurons", "synapses"),
    "optimizer": ("space", "goals", "seed"),
    "stopper": ("goals", "seed"),
    "executor": ("problem", "deadline", "memory", "workers", "threads", "gpus"),
}
"""The constructors' parameters that the program fills, by kind; all others are options."""

PARTS = ("task", "processor", "encoder", "decoder")
"""Parameters of a problem that are leaves themselves: `processor = "risp"` or a table with a name to `use`
and options. So are `faults`, a list of them."""

REFERENCES = ("function", "module", "baseline")
"""Options of a problem that may be "package.module:Name" and then are that object."""

LIMITS = ("deadline", "memory", "workers", "threads", "gpus")
"""What the executor's own table checks; an executor that has no such parameter must not be given it."""

_GOAL_ENTRIES = ("use", "sense", "unit", "max", "min", "ranked")
_DATA_OPTIONS = ("train_size", "validation_size", "test_size")


@dataclass(frozen=True)
class Call:
    """What to call and with which options; `path` is where in the file it stands."""

    path: str
    target: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **given: Any) -> Any:
        """Call it with the options and with those of `given` that it has parameters for."""
        wanted = names.parameters(self.target)
        anything = any(p.kind is p.VAR_KEYWORD for p in wanted.values())
        extra = {n: v for n, v in given.items() if anything or n in wanted}
        return self.target(**{**self.options, **extra})


@dataclass(frozen=True)
class Plan:
    """The calls of a spec; None where the spec has no such table or it is wrong."""

    problem: Call | None = None
    data: Call | None = None
    space: Call | None = None
    optimizer: Call | None = None
    stopper: Call | None = None
    stoppers: tuple[Call, ...] = ()  # those that `stopper`, if it is `together`, asks
    executor: Call | None = None
    goals: tuple[Goal, ...] = ()
    objectives: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


def make(data: Mapping[str, JSON], broken: Collection[str] = ()) -> tuple[Plan, Mistakes]:
    """The plan of a spec's mapping and all that is wrong with its names and options.

    Entries whose paths are in `broken` are known to be malformed and are passed over.
    """
    mistakes: Mistakes = []
    folder = data.get("folder", "")
    folder = folder if isinstance(folder, str) else ""

    def table(name: str, use: str | None) -> dict[str, Any] | None:
        value = data.get(name)
        if {name, f"{name}.use"} & set(broken) or (value is None and use is None):
            return None
        raw = {} if value is None else {"use": value} if isinstance(value, str) else dict(value)
        raw = {n: v for n, v in raw.items() if f"{name}.{n}" not in broken}
        return {"use": use, **raw} if use else raw

    plan = Plan()
    problem = table("problem", "supervised" if "problem" in data else None)
    if problem is not None:
        plan = _problem(plan, problem, folder, mistakes)
        plan = replace(plan, space=_space(table("space", "chain"), folder, mistakes))
        if "goals" not in broken:
            plan = _goals(plan, data.get("goals"), folder, mistakes, broken)
    optimizer = _part("optimizer", table("optimizer", "steady"), folder, mistakes)
    plan = _stopper(plan, table("stopper", None), folder, mistakes)
    executor = _executor(table("executor", "local"), folder, mistakes)
    plan = replace(plan, optimizer=optimizer, executor=executor)
    _try(plan, mistakes)
    return plan, mistakes


def usual(data: Mapping[str, JSON]) -> Mapping[str, Mapping[str, JSON]]:
    """What the problem of a spec's mapping has beside it where the spec does not say: tables by their names,
    the attribute `usual` of its class; nothing for most."""
    table = data.get("problem")
    use = table.get("use") if isinstance(table, Mapping) else None
    folder = data.get("folder", "")
    if not isinstance(use, str) or not isinstance(folder, str):
        return {}
    try:
        return getattr(names.find("problem", use, folder), "usual", {})
    except ValueError:  # said where the problem is looked up
        return {}


def _part(
    kind: str,
    table: dict[str, Any] | None,
    folder: str,
    mistakes: Mistakes,
    path: str = "",
    also: Collection[str] = (),
    ready: Collection[str] = (),
) -> Call | None:
    """The call of a table of any kind: the name looked up, the options against the signature.

    `also` are entries that somebody else has checked, to be named where one is misspelt; `ready` are
    parameters that are seen to elsewhere.
    """
    if table is None:
        return None
    path = path or kind
    options = {name: value for name, value in table.items() if name != "use" and value is not None}
    target = _found(kind, table["use"], folder, f"{path}.use", mistakes)
    if target is None:
        return None
    good, wrong = names.check(target, options, (*GIVEN.get(kind, ()), *ready), also=(*also, *ready))
    mistakes.extend((f"{path}.{option}", sentence) for option, sentence in wrong)
    return None if wrong else Call(path, target, good)


def _found(kind: str, use: str, folder: str, path: str, mistakes: Mistakes) -> Callable[..., Any] | None:
    target: Any
    try:
        target = names.find(kind, use, folder)
    except ValueError as problem:
        mistakes.append((path, str(problem)))
        return None
    if not callable(target):
        mistakes.append((path, f"{use!r} is no class or function but {type(target).__name__}"))
        return None
    made: Callable[..., Any] = target
    return made


def _problem(plan: Plan, table: dict[str, Any], folder: str, mistakes: Mistakes) -> Plan:
    table = {name: value for name, value in table.items() if value is not None}
    for name in REFERENCES:
        if names.is_reference(table.get(name)):
            try:
                table[name] = names.reference(table[name], folder)
            except ValueError as problem:
                mistakes.append((f"problem.{name}", str(problem)))
                return plan
    target = _found("problem", table["use"], folder, "problem.use", mistakes)
    if target is None:
        return plan
    wanted = names.parameters(target)
    call = None
    if "data" in wanted:
        source = table.pop("data", None)
        sizes = {n: table.pop(n) for n in _DATA_OPTIONS if n in table and n not in wanted}
        call = _data(source, sizes, folder, mistakes)
    before = len(mistakes)
    made = {
        n: _leaf(n, table.pop(n), folder, f"problem.{n}", mistakes)
        for n in PARTS
        if n in table and n in wanted
    }
    if "faults" in table and "faults" in wanted:
        made["faults"] = _faults(table.pop("faults"), folder, mistakes)
    missing = [n for n in PARTS if n in wanted and n not in made and wanted[n].default is Parameter.empty]
    for name in missing:
        mistakes.append((f"problem.{name}", f"is missing; {names.near('', names.known(name))}"))
    good = len(mistakes) == before
    problem_call = _part("problem", table, folder, mistakes, ready=(*made, *missing))
    if problem_call is not None:
        problem_call = replace(problem_call, options={**problem_call.options, **made}) if good else None
    return replace(plan, problem=problem_call, data=call)


def _leaf(kind: str, source: JSON, folder: str, path: str, mistakes: Mistakes) -> Any:
    """The object that a name or a table with a name to use stands for; None where that is a mistake.

    What its constructor refuses is a mistake, too: these are cheap to make.
    """
    if isinstance(source, str) and source:
        source = {"use": source}
    if not isinstance(source, Mapping) or not isinstance(source.get("use"), str):
        known = names.near("", names.known(kind))
        mistakes.append((path, f"must be a name or a table with a name to use; {known}"))
        return None
    options = {n: v for n, v in source.items() if n != "use"}
    call: Callable[..., Any] | None
    if kind == "processor":  # has its parameters, by the names of its own world, in one mapping
        target = _found(kind, source["use"], folder, f"{path}.use", mistakes)
        whole = {**getattr(target, "DEFAULTS", {}), **options}
        call = None if target is None else functools.partial(target, whole or None)
    else:
        call = _part(kind, {**source}, folder, mistakes, path)
    if call is None:
        return None
    try:
        return call()
    except (ValueError, TypeError, ModuleNotFoundError) as problem:
        mistakes.append((path, str(problem)))
        return None


def _faults(source: JSON, folder: str, mistakes: Mistakes, whole: str = "problem.faults") -> list[Any]:
    entries = source if isinstance(source, list | tuple) else [source]
    paths = [f"{whole}[{place}]" if len(entries) > 1 else whole for place in range(len(entries))]
    return [_leaf("fault", entry, folder, path, mistakes) for entry, path in zip(entries, paths, strict=True)]


def _data(source: JSON, sizes: Mapping[str, JSON], folder: str, mistakes: Mistakes) -> Call | None:
    path = "problem.data"
    known = names.near("", names.known("data"))
    if source is None:
        mistakes.append((path, f"is missing; {known}"))
        return None
    if isinstance(source, str) and source:
        source = {"use": source}
    if not isinstance(source, Mapping) or not isinstance(source.get("use"), str):
        mistakes.append((path, f"must be a name or a table with a name to use; {known}"))
        return None
    table = {**sizes, **source}
    if isinstance(table.get("path"), str):
        table["path"] = str(Path(folder) / Path(table["path"]).expanduser())
    return _part("data", table, folder, mistakes, path)


def _space(table: dict[str, Any] | None, folder: str, mistakes: Mistakes) -> Call | None:
    if table is None or table["use"] != "parameters":
        return _part("space", table, folder, mistakes)
    from vilfredo.spaces.parameters import from_mapping

    tables = {name: entry for name, entry in table.items() if isinstance(entry, Mapping)}
    call = _part("space", {n: v for n, v in table.items() if n not in tables}, folder, mistakes)
    before = len(mistakes)
    for name, entry in tables.items():
        try:
            from_mapping({name: {n: v for n, v in entry.items() if n != "when"}})
        except ValueError as problem:
            mistakes.append((f"space.{name}", str(problem)))
    if not tables:
        mistakes.append(("space", "has no parameters; write for example [space.lr] float = [1e-4, 1e-1]"))
    if call is None or len(mistakes) > before:
        return None
    try:
        items = from_mapping(tables).items
    except ValueError as problem:  # conditions are of several parameters
        mistakes.append(("space", str(problem)))
        return None
    return replace(call, options={**call.options, "items": items})


def _goals(plan: Plan, value: JSON, folder: str, mistakes: Mistakes, broken: Collection[str]) -> Plan:
    """Goals and, for a problem that takes objectives, the functions that compute them."""
    if plan.problem is None:
        return plan
    ours = "objectives" in names.parameters(plan.problem.target)
    if value is None:
        if not ours:
            mistakes.append(("goals", "is missing; write for example goals = ['error']"))
            return plan
        value = {"error": {}, "latency": {}, "parameters": {}}
    tables = value if isinstance(value, Mapping) else {name: {} for name in value}
    goals: list[Goal] = []
    objectives: dict[str, Callable[..., Any]] = {}
    for name, table in tables.items():
        path = f"goals.{name}"
        if any(b == path or b.startswith(path + ".") for b in broken):
            continue
        options = {n: v for n, v in table.items() if n not in _GOAL_ENTRIES and v is not None}
        base = None
        if ours:
            found = _objective(name, table.get("use"), options, folder, path, mistakes)
            if found is None:
                continue
            objectives[name], base = found
        elif table.get("use") or options:
            first = "use" if table.get("use") else next(iter(options))
            allowed = names.near(first, [e for e in _GOAL_ENTRIES if e != "use"])
            mistakes.append(
                (f"{path}.{first}", f"unknown entry: this problem computes its goals itself; {allowed}")
            )
            continue
        made = _goal(name, base, table, path, mistakes)
        if made is not None:
            goals.append(made)
    if goals and len(goals) == len(tables) and not any(g.ranked for g in goals):
        mistakes.append(("goals", "none is ranked, so there is nothing to search for"))
    return replace(plan, goals=tuple(goals), objectives=objectives)


def _objective(
    name: str, use: str | None, options: Mapping[str, Any], folder: str, path: str, mistakes: Mistakes
) -> tuple[Callable[..., Any], Goal | None] | None:
    import sys

    if use is None and name not in names.known("goal"):
        text = f"nothing computes this goal; {names.near(name, names.known('goal'))}"
        mistakes.append((path, f"{text}; your own function is given by use = 'package.module:function'"))
        return None
    function = _found("goal", use or name, folder, f"{path}.use" if use else path, mistakes)
    if function is None:
        return None
    made: dict[str, Any] = {}
    if "faults" in options and "faults" in names.parameters(function):
        before = len(mistakes)
        made["faults"] = tuple(_faults(options["faults"], folder, mistakes, f"{path}.faults"))
        if len(mistakes) > before:
            return None
        options = {n: v for n, v in options.items() if n != "faults"}
    good, wrong = names.check(function, options, skip=1)
    good = {**good, **made}
    for option, sentence in wrong:
        if sentence.startswith("unknown"):
            allowed = [*_GOAL_ENTRIES, *list(names.parameters(function))[1:]]
            sentence = f"unknown entry; {names.near(option, allowed)}"
        mistakes.append((f"{path}.{option}", sentence))
    if wrong:
        return None
    module = sys.modules.get(getattr(function, "__module__", ""))
    base = getattr(module, "GOAL", None)
    return (functools.partial(function, **good) if good else function), base if isinstance(
        base, Goal
    ) else None


def _goal(
    name: str, base: Goal | None, table: Mapping[str, Any], path: str, mistakes: Mistakes
) -> Goal | None:
    changes = {n: table[n] for n in _GOAL_ENTRIES if n != "use" and table.get(n) is not None}
    unit = changes.get("unit", base.unit if base else goal(name).unit)
    bad = False
    for limit in ("max", "min"):
        if limit in changes:
            try:
                changes[limit] = getattr(goal(name, unit=unit, **{limit: changes[limit]}), limit)
            except ValueError as problem:
                mistakes.append((f"{path}.{limit}", str(problem)))
                bad = True
    if bad:
        return None
    made = goal(name, **changes) if base is None else replace(base, **{"name": name, **changes})
    if made.max is not None and made.min is not None and made.min > made.max:
        mistakes.append((path, f"no value is at least {table['min']} and at most {table['max']}"))
        return None
    return made


def joined(source: JSON) -> JSON:
    """The table of a stopper, from all that may be said for one: several, as a list of names and tables or as
    names with commas between, are the stopper `together` of these."""
    if isinstance(source, Mapping):
        use = source.get("use")
        several = isinstance(use, list | tuple) or (isinstance(use, str) and "," in use)
        return joined(use) if several and set(source) == {"use"} else source
    if isinstance(source, str) and "," in source:
        source = [name.strip() for name in source.split(",")]
    if isinstance(source, list | tuple):
        return {"use": "together", "stoppers": [*source]}
    return source


def _stopper(plan: Plan, table: dict[str, Any] | None, folder: str, mistakes: Mistakes) -> Plan:
    """`together` has stoppers of its own, whose tables are read as its own is."""
    if table is None or table.get("use") != "together":
        return replace(plan, stopper=_part("stopper", table, folder, mistakes))
    stoppers, table = table.get("stoppers", ()), {n: v for n, v in table.items() if n != "stoppers"}
    if not isinstance(stoppers, list | tuple) or not stoppers:
        text = f"several are a list of names and tables, such as ['genrace', 'resilience'], not {stoppers!r}"
        mistakes.append(("stopper", text))
        return plan
    found: list[Call] = []
    for place, source in enumerate(stoppers):
        path = f"stopper[{place}]"
        entry = {"use": source} if isinstance(source, str) else source
        if not isinstance(entry, Mapping) or not isinstance(entry.get("use"), str) or not entry["use"]:
            known = names.near("", names.known("stopper"))
            mistakes.append((path, f"must be a name or a table with a name to use; {known}"))
        elif (call := _part("stopper", {**entry}, folder, mistakes, path)) is not None:
            found.append(call)
    whole = _part("stopper", table, folder, mistakes, ready=("stoppers",))
    return replace(plan, stopper=whole, stoppers=tuple(found)) if len(found) == len(stoppers) else plan


def _executor(table: dict[str, Any] | None, folder: str, mistakes: Mistakes) -> Call | None:
    if table is None:
        return None
    own = {n: table[n] for n in LIMITS if table.get(n) is not None}
    rest = {n: v for n, v in table.items() if n not in (*LIMITS, "retries")}
    call = _part("executor", rest, folder, mistakes, also=(*LIMITS, "retries"))
    if call is None:
        return None
    wanted = names.parameters(call.target)
    if not any(p.kind is p.VAR_KEYWORD for p in wanted.values()):
        for name in own:
            if name not in wanted:
                allowed = [n for n in wanted if n != "problem"] + ["retries"]
                mistakes.append(
                    (f"executor.{name}", f"{table['use']!r} has no such option; {names.near('', allowed)}")
                )
    return call


def _try(plan: Plan, mistakes: Mistakes) -> None:
    """Build what is cheap: only constructors know which values are in range."""
    if plan.space is None:
        return
    try:
        space = plan.space()
    except (ValueError, TypeError) as problem:
        mistakes.append(("space", str(problem)))
        return
    if plan.optimizer is None or not plan.goals:
        return
    try:
        plan.optimizer(space=space, goals=plan.goals, seed=0)
    except (ValueError, TypeError) as problem:
        mistakes.append(("optimizer", str(problem)))
