"""A spec as TOML text, to be kept, shown and run again."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vilfredo.spec.model import Spec
from vilfredo.trial import JSON


def toml(spec: Spec) -> str:
    """The spec in TOML, without what is the default; `read` makes an equal spec of it.

    The folder that relative paths start from is not in it: it is that of the file the text is put in.
    """
    data = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    data.pop("folder", None)
    flat = {name: value for name, value in data.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in data.items() if isinstance(value, Mapping)}
    lines = [f"{_key(name)} = {value_text(value)}" for name, value in flat.items()]
    for name, table in tables.items():
        lines += ["", f"[{_key(name)}]"]
        lines += [f"{_key(key)} = {value_text(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else json.dumps(name, ensure_ascii=False)


def value_text(value: JSON) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(k)} = {value_text(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_text(v) for v in value)}]"
    return json.dumps(value, ensure_ascii=False)  # text, numbers and booleans are written alike
