"""Parameters of a processor, read from the mapping that a user or a network file gives."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from vilfredo.trial import JSON

P = TypeVar("P")


def read(kind: type[P], given: Mapping[str, Any], who: str, former: Mapping[str, str] | None = None) -> P:
    """`kind` (a frozen dataclass of float, int, bool, str, Literal, tuple[float, ...], or one of these |
    None) from `given`, which uses the names of its fields. `former` tells of names that are no more: what to
    do instead.

    Raises `ValueError` with one sentence for a name that `who` does not know, one that is missing, and a
    value that is of another kind; what contradicts each other is for `kind`'s own `__post_init__` to refuse.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{who}: parameters are a mapping of names to values, not {type(given).__name__}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if former and name in former:
            raise ValueError(f"{who} has no parameter {name!r} any more; {former[name]}")
        if name not in known:
            raise ValueError(f"{who} has no parameter {name!r}{near(str(name), known)}")
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{who} needs the parameter {name!r}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(value, hints[name], name, who) for name, value in given.items()})


def write(params: Any) -> dict[str, JSON]:
    """The mapping that `read` takes; what is None is left out."""
    pairs = ((field.name, getattr(params, field.name)) for field in fields(params))
    return {k: list(v) if isinstance(v, tuple) else v for k, v in pairs if v is not None}


def near(name: str, known: Any) -> str:
    """`; did you mean '…'?`, or the names that there are."""
    close = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else "; there are " + ", ".join(map(str, known))


def _value(value: Any, hint: Any, name: str, who: str) -> Any:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    hint = next(option for option in options if option is not type(None))
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ValueError(f"{who}: {name} is {value!r}, not one of {', '.join(map(repr, get_args(hint)))}")
    if hint is str and isinstance(value, str):
        return value
    if hint is bool and isinstance(value, (bool, np.bool_)):
        return bool(value)
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if hint is float and number and np.isfinite(value):
        return float(value)
    if hint is int and number and np.isfinite(value) and value == int(value):
        return int(value)
    if get_origin(hint) is tuple and isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_value(item, get_args(hint)[0], f"{name}[{i}]", who) for i, item in enumerate(value))
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    raise ValueError(f"{who}: {name} is {value!r}, not {words.get(hint, 'a list of numbers')}")
