"""How commands print and write: tables, JSON, files, numbers of things."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from vilfredo.cli.mistakes import Mistake


def echo_rows(rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> None:
    """A table in plain text; the columns with a name in `left`, and the last one, begin at the left."""
    for line in columns(rows, left):
        click.echo(line)


def columns(rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> Iterator[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [
            cell.ljust(w) if name in left else cell.rjust(w)
            for name, cell, w in zip(rows[0][:-1], row[:-1], widths, strict=True)
        ]
        yield "  ".join([*cells, row[-1]]).rstrip()


def echo_json(data: Any) -> None:
    import json

    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def write(path: str, text: str) -> None:
    """Whole or not at all. Raises `Mistake` where it cannot be written."""
    trouble = unwritable(path)
    if trouble:
        raise Mistake(trouble)
    target = Path(path).expanduser()
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def unwritable(path: str) -> str:
    """Why there cannot be a file of this name, in a sentence; empty if there can."""
    target = Path(path).expanduser()
    if target.is_dir():
        return f"{path} is a folder; name a file"
    if not target.parent.is_dir():
        return f"the folder {target.parent} does not exist; create it or choose another place"
    if not os.access(target.parent, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        return f"{path} may not be written by this user; change the permissions or choose another place"
    return ""


def shown(path: str | Path) -> str:
    """A path as short as it can be said from here."""
    absolute = Path(path).expanduser().absolute()
    try:
        return str(absolute.relative_to(Path.cwd()))
    except ValueError:
        return str(absolute)


def count(number: int, noun: str, plural: str = "") -> str:
    """ "1 run", "1,078 runs"; `plural` where an s will not do."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def console() -> Any:
    from rich.console import Console

    return Console(highlight=False)
