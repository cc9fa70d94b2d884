"""Where data lies: what the user points at, `$VILFREDO_DATA`, the user's cache, else the publisher."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vilfredo.data.dataset import DataError
from vilfredo.data.download import Remote, fetch


def cache() -> Path:
    """The folder for downloads, below the user's cache directory (`~/.cache/vilfredo/data` on Linux)."""
    from platformdirs import user_cache_path

    return user_cache_path("vilfredo", appauthor=False) / "data"


def find(
    name: str, choices: Sequence[str], remote: Remote, path: str | Path | None = None, archive: bool = False
) -> Path:
    """The first of `choices` (files or folders) that exists for the dataset `name`.

    Looked for in `path` alone if that is given (a folder, or with `archive` the file itself), else in
    `$VILFREDO_DATA/<name>`, then `<cache>/<name>`; if it is nowhere, `remote` is downloaded there.
    Raises `DataError` that says where it was looked for.
    """
    if path is not None:
        where = existing(path, name)
        if where.is_file():
            if archive:
                return where
            raise DataError(f"{where} is a file; {name} needs the folder that holds {' or '.join(choices)}")
        found = _first(where, choices)
        if found is None:
            state = "is empty" if not any(where.iterdir()) else "has no such file"
            raise DataError(f"{name} needs {' or '.join(choices)}, but the folder {where} {state}")
        return found
    for root in _roots():
        found = _first(root / name, choices)
        if found is not None:
            return found
    return fetch(remote, cache() / name)


def existing(path: str | Path, name: str) -> Path:
    """`path` with `~` filled in; raises `DataError` unless it is there."""
    where = Path(path).expanduser()
    if not where.exists():
        raise DataError(f"there is no file or folder {where} for {name}; correct its path")
    return where


def _roots() -> list[Path]:
    given = os.environ.get("VILFREDO_DATA")
    if not given:
        return [cache()]
    root = Path(given).expanduser()
    if not root.is_dir():
        raise DataError(f"VILFREDO_DATA is {given}, which is no folder; correct or unset it")
    return [root, cache()]


def _first(folder: Path, choices: Sequence[str]) -> Path | None:
    return next((folder / c for c in choices if (folder / c).exists()), None)
