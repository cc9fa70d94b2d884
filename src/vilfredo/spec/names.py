"""From names to objects. This is the only place where that happens.

`use = "x"` is the module `vilfredo/<folder of the kind>/x.py`, and in it

* of a problem, space, optimizer, stopper, executor, task, encoder, decoder or fault: the class whose
  name is the module's, compared without underscores and case (`steady.py`: `Steady`);
* of a processor: the class `Processor`;
* of a goal: the function `objective`; of data: the function `load`.

`use = "package.module:Name"` is anybody's own.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import importlib
import inspect
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDERS: Mapping[str, str] = {
    "problem": "problems",
    "space": "spaces",
    "optimizer": "optimizers",
    "stopper": "forecast",
    "executor": "executors",
    "goal": "objectives",
    "data": "data",
    "task": "spiking/tasks",
    "processor": "spiking/processors",
    "encoder": "spiking/encoders",
    "decoder": "spiking/decoders",
    "fault": "faults",
}
_CLASSES: Mapping[str, str] = {"processor": "Processor"}
_FUNCTIONS: Mapping[str, str] = {"goal": "objective", "data": "load"}
_PACKAGE = Path(__file__).resolve().parents[1]


def near(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'latency'? known: …" or only what is known, as the end of a sentence."""
    names = sorted(known)
    match = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    guess = next((n for n in names if match and n.lower() == match[0]), None)
    listed = f"known: {', '.join(names)}" if names else "there are none"
    return f"did you mean {guess!r}? {listed}" if guess else listed


def known(kind: str) -> list[str]:
    """What `use` may say for this kind without a colon, found by reading the folder, without importing."""
    files = sorted((_PACKAGE / FOLDERS[kind]).glob("*.py"))
    return [f.stem for f in files if not f.stem.startswith("_") and _defined(kind, f) is not None]


@functools.cache
def _defined(kind: str, file: Path) -> str | None:
    """The name in a module of ours that `use` means, by the rule above; None if there is none. What is
    installed is read once: a spec asks for dozens of names, each of them among all of its kind."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if kind in _FUNCTIONS:
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        return _FUNCTIONS[kind] if _FUNCTIONS[kind] in functions else None
    wanted = _CLASSES.get(kind, file.stem).replace("_", "").lower()
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and not _is_contract(node)]
    return next((c for c in classes if c.replace("_", "").lower() == wanted), None)


def _is_contract(node: ast.ClassDef) -> bool:
    """Whether the class is a Protocol: what leaves must be, and none of them."""
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def find(kind: str, use: str, folder: str = "") -> Any:
    """The class or function that `use` names for a kind of `FOLDERS`.

    `folder` is looked in for modules of the user, after the installed ones. Raises `ValueError` with
    one sentence that says what was not found and what is nearest.
    """
    if ":" in use:
        return reference(use, folder)
    if use not in (names := known(kind)):
        raise ValueError(
            f"there is no {kind} {use!r}; {near(use, names)}; your own is named 'package.module:Name'"
        )
    name = _defined(kind, _PACKAGE / FOLDERS[kind] / f"{use}.py")
    try:
        module = importlib.import_module(f"vilfredo.{FOLDERS[kind]}.{use}".replace("/", "."))
    except ModuleNotFoundError as problem:
        raise ValueError(f"the {kind} {use!r} cannot be loaded: {problem}") from problem
    return getattr(module, str(name))


def is_reference(text: object) -> bool:
    """Whether `text` has the form "package.module:Name"."""
    if not isinstance(text, str) or text.count(":") != 1:
        return False
    module, name = text.split(":")
    return all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def reference(text: str, folder: str = "") -> Any:
    """The object that "package.module:Name" names. Raises `ValueError`, one sentence."""
    if not is_reference(text):
        raise ValueError(f"{text!r} names nothing; your own is named 'package.module:Name'")
    module_name, name = text.split(":")
    for place in (folder, os.getcwd()):  # last, so that nothing there can hide what is installed
        if place and place not in sys.path:
            sys.path.append(place)
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name and (module_name + ".").startswith(problem.name + "."):
            raise ValueError(
                f"there is no module {problem.name!r} (looked among what is installed, beside the spec "
                "and in the current folder)"
            ) from problem
        raise ValueError(f"{module_name} needs the module {problem.name!r}, which is missing") from problem
    except Exception as problem:
        where = _last_line(problem)
        raise ValueError(
            f"importing {module_name} raised {type(problem).__name__}: {problem}{where}"
        ) from problem
    for part in name.split("."):
        if not hasattr(found, part):
            public = (n for n in vars(found) if not n.startswith("_"))
            raise ValueError(f"{module_name} has no {name!r}; {near(part, public)}")
        found = getattr(found, part)
    return found


def _last_line(problem: Exception) -> str:
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a class's constructor or of a function."""
    return dict(inspect.signature(target).parameters)


def check(
    target: Callable[..., Any],
    options: Mapping[str, Any],
    given: Collection[str] = (),
    skip: int = 0,
    also: Collection[str] = (),
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Options against the signature of `target`: those that fit (lists as tuples where tuples are
    asked for), and what is wrong with the others as (option, sentence).

    `given` are parameters that are no options, because the program fills them; the first `skip`
    parameters are not options either; `also` are options that somebody else takes.
    """
    signature = list(parameters(target).items())[skip:]
    named = [n for n, p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    anything = any(p.kind is p.VAR_KEYWORD for _, p in signature)
    allowed = [n for n in named if n not in given]
    types = _types(target)
    good: dict[str, Any] = {}
    wrong: list[tuple[str, str]] = []
    for option, value in options.items():
        if option not in allowed and not anything:
            wrong.append((option, f"unknown option; {near(option, {*allowed, *also})}"))
            continue
        good[option], sentence = _fit(value, types.get(option, Any))
        if sentence:
            wrong.append((option, sentence))
    missing = [n for n, p in signature if n in allowed and p.default is p.empty and n not in options]
    wrong.extend((n, "is missing") for n in missing)
    return good, wrong


def _types(target: Callable[..., Any]) -> dict[str, Any]:
    """Type hints of the parameters, without those that name what only a type checker sees: there the
    constructor itself must judge."""
    function: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    found: dict[str, Any] = {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        if name == "return":
            continue
        alone = types.FunctionType((lambda: None).__code__, getattr(function, "__globals__", {}))
        alone.__annotations__ = {name: hint}
        with contextlib.suppress(Exception):
            found.update(typing.get_type_hints(alone))
    return found


def _fit(value: Any, kind: Any) -> tuple[Any, str]:
    """`value` as `kind` wants it, and what is wrong with it ("" if nothing is)."""
    from pydantic import (
        ConfigDict,
        PydanticSchemaGenerationError,
        PydanticUserError,
        TypeAdapter,
        ValidationError,
    )
    from pydantic_core import SchemaError

    if kind is Any:
        return value, ""
    try:
        adapter = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
        text = json.dumps(value)
    except (PydanticSchemaGenerationError, PydanticUserError, SchemaError, TypeError, ValueError):
        return value, ""  # no plain data: the constructor itself must judge
    try:
        return adapter.validate_json(text, strict=True), ""
    except ValidationError:
        return value, f"must be {described(kind)}, not {value!r}" if _plain(kind) else ""
    except Exception:
        return value, ""


_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    type(None): "",
}


def _plain(kind: Any) -> bool:
    """Whether values of this type are plain data, so that a misfit is surely a mistake."""
    if kind in _WORDS or kind is Any or kind is Ellipsis:
        return True
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return True
    return origin is not None and _is_container(origin) and all(_plain(a) for a in typing.get_args(kind))


def _is_container(origin: Any) -> bool:
    from collections import abc

    return origin in (typing.Union, types.UnionType, tuple, list, dict, abc.Sequence, abc.Mapping)


def described(kind: Any) -> str:
    """A type in words: "a whole number", "one of 'cosine', 'constant'", "a list of 2"."""
    if kind in _WORDS:
        return _WORDS[kind] or "nothing"
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)}: " + ", ".join(described(a) for a in args)
    if origin in (tuple, list) or getattr(origin, "__name__", "") == "Sequence":
        return f"a list, each {described(args[0])}" if args else "a list"
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        return "a table"
    words = [described(a) for a in args if a is not type(None)]
    return " or ".join(words) if words else str(kind)
