"""Reading a spec, and saying all that is wrong with it in one message."""

from __future__ import annotations

import copy
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from vilfredo.spec import names, plan
from vilfredo.spec.model import Part, Spec
from vilfredo.trial import JSON

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class SpecError(ValueError):
    """What is wrong with a spec: `mistakes` are (path in the file, sentence)."""

    def __init__(self, source: str, mistakes: Sequence[tuple[str, str]]) -> None:
        self.source = source
        self.mistakes = tuple(mistakes)
        lines = [f"{path}: {text}" if path else text for path, text in mistakes]
        if len(lines) == 1:
            super().__init__(f"{source}: {lines[0]}")
        else:
            super().__init__(f"{source} has {len(lines)} mistakes:\n" + "\n".join(f"  {l}" for l in lines))


def packaged() -> list[str]:
    """The names of the specs that come with the program."""
    return sorted(f.stem for f in EXAMPLES.glob("*.toml"))


def read(
    source: str | Path | Mapping[str, JSON] | Spec,
    changes: Mapping[str, JSON] | None = None,
    *,
    bare: bool = False,
) -> Spec:
    """The spec in a TOML file, of a packaged name ("digits"), or in a mapping of the same form.

    `changes` are made first: path in the file -> value ("executor.workers" -> 4); None changes
    nothing. A changed `use` drops the options of what was used before; a list of goals keeps the
    limits of those that the spec has. `bare`: the problem is a Python object, so the tables
    `problem`, `space` and `goals` are not wanted.

    Raises `SpecError` with every mistake, a line each; `OSError` if the file cannot be read.
    """
    label, data, folder = _load(source)
    if "stopper" in data:  # so that a change finds a table
        data["stopper"] = plan.joined(data["stopper"])
    data = _changed(data, changes or {})
    if "stopper" in data:
        data["stopper"] = plan.joined(data["stopper"])
    if folder and isinstance(data.get("folder", ""), str):
        data.setdefault("folder", folder)
    for name, usual in plan.usual(data).items():
        table = data.get(name)
        if table is None or (isinstance(table, Mapping) and "use" not in table):
            data[name] = {**usual, **(table or {})}
    if not bare and not isinstance(source, Spec) and "problem" not in data:
        missing = "the table is missing; write for example data = 'digits' in it"
        raise SpecError(label, [*_structure(data)[1], ("problem", missing)])
    spec, mistakes = _structure(data)
    found = plan.make(data, {path for path, _ in mistakes})[1]
    if mistakes or found:
        raise SpecError(label, [*mistakes, *(m for m in found if m not in mistakes)])
    assert spec is not None
    return spec


def _load(source: str | Path | Mapping[str, JSON] | Spec) -> tuple[str, dict[str, JSON], str]:
    if isinstance(source, Spec):
        return source.name or "spec", source.to_json(), source.folder
    if isinstance(source, Mapping):
        return "spec", copy.deepcopy(dict(source)), ""
    if isinstance(source, str) and source in packaged():
        data = _toml(EXAMPLES / f"{source}.toml")
        return source, data, ""
    path = Path(source)
    if not path.exists():
        hint = names.near(str(source), packaged()).replace("known:", "packaged specs:")
        raise SpecError(str(source), [("", f"there is no such file; {hint}")])
    if path.is_dir():
        raise SpecError(str(source), [("", "this is a folder; give a TOML file")])
    data = _toml(path)
    if isinstance(data.get("name", ""), str):
        data.setdefault("name", path.stem)
    return path.name, data, str(path.resolve().parent)


def _toml(path: Path) -> dict[str, JSON]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as problem:
        raise SpecError(path.name, [("", f"this is not TOML: {_lower(str(problem))}")]) from problem
    except UnicodeDecodeError as problem:
        raise SpecError(path.name, [("", "this is not a text file in UTF-8")]) from problem


def _changed(data: dict[str, JSON], changes: Mapping[str, JSON]) -> dict[str, JSON]:
    for path, value in changes.items():
        if value is None:
            continue
        *tables, last = path.split(".")
        table: Any = data
        for name in tables:
            if isinstance(table.get(name), str):  # `optimizer = "nsga2"`
                table[name] = {"use": table[name]}
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                break
        if not isinstance(table, dict):
            continue  # not a table: `read` will say so
        if path == "goals" and isinstance(value, list | tuple) and isinstance(table.get(last), Mapping):
            value = {name: table[last].get(name, {}) for name in value}
        if last == "use" and tables and table.get("use", _default(tables)) != value:
            table.clear()
        table[last] = value
    return data


def _default(tables: Sequence[str]) -> str | None:
    """What a top-level table uses where it does not say."""
    kind = Spec.model_fields[tables[0]].annotation if tables[0] in Spec.model_fields else None
    models = [k for k in (kind, *typing.get_args(kind)) if isinstance(k, type) and issubclass(k, Part)]
    return models[0].model_fields["use"].default if len(tables) == 1 and models else None


def _structure(data: Mapping[str, JSON]) -> tuple[Spec | None, list[tuple[str, str]]]:
    try:
        return Spec.model_validate(data), []
    except ValidationError as problem:
        mistakes = [_mistake(dict(error)) for error in problem.errors()]
        return None, list(dict.fromkeys(mistakes))


def _mistake(error: Mapping[str, Any]) -> tuple[str, str]:
    """One of pydantic's errors as (path, sentence)."""
    kind, given, about = error["type"], error.get("input"), error.get("ctx", {})
    place = [str(part) for part in error["loc"] if not (isinstance(part, str) and "[" in part)]
    place = [p for p in place if p not in ("int", "constrained-int")] if place[:1] == ["executor"] else place
    path = ".".join(place)
    if kind == "extra_forbidden":
        return path, f"unknown entry; {names.near(place[-1], _fields(place[:-1]))}"
    if kind == "value_error":
        return path, str(about["error"])
    sentences = {
        "missing": "is missing",
        "int_type": f"must be a whole number, not {given!r}",
        "string_type": f"must be text, not {given!r}",
        "bool_type": f"must be true or false, not {given!r}",
        "list_type": f"must be a list, not {given!r}",
        "string_too_short": "must not be empty",
        "greater_than_equal": f"must be at least {about.get('ge')}, not {given!r}",
        "less_than": f"must be below {about.get('lt')}, not {given!r}",
        "literal_error": f"must be one of {_or(about.get('expected', ''))}, not {given!r}",
        "model_type": f"must be a table, not {given!r}",
        "model_attributes_type": f"must be a table, not {given!r}",
        "dict_type": f"must be a table, not {given!r}",
        "invalid_key": "entries have names, not numbers",
    }
    return path, sentences.get(kind, _lower(error["msg"]))


def _or(expected: str) -> str:
    return expected.replace(" or ", ", ")


def _fields(path: Sequence[str]) -> list[str]:
    """The entries that the table at `path` may have."""
    model: type[BaseModel] = Spec
    for part in path:
        kind = model.model_fields[part].annotation if part in model.model_fields else None
        kinds = [kind, *typing.get_args(kind)]
        model = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), model)
    return [name for name in model.model_fields if name != "folder"]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
