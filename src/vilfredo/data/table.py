"""A table of the user's own: CSV with a header line, plain or gzipped, or `.npz` with one array per column.

Source: the user. Licence: the user's. Files are read without pickle.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vilfredo.data import npz
from vilfredo.data.dataset import DataError, Dataset, Part, Sizes, Task, make, split
from vilfredo.data.locate import existing

Column: TypeAlias = NDArray[Any]  # texts (n,), with "" where a value is missing; or numbers (n,)

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
TEXTS = 256  # more different texts in a column are names or numbers of rows, not categories
CLASSES = 20  # more different whole numbers in the target may be amounts: the user must say


def load(
    *,
    path: str | Path,
    target: str | list[str],
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    task: Task | None = None,
    categorical: Sequence[str] = (),
    ignore: Sequence[str] = (),
    missing: Literal["error", "impute"] = "error",
    delimiter: str = ",",
) -> Dataset:
    """The columns of `path` as float32 (n, features), answers from the column `target` (or several).

    A column is numeric if all its values are numbers, else (or if named in `categorical`) each different
    value becomes a feature that is 0 or 1. `task`: if None, a target of texts or of whole numbers with at
    most 20 different values is classification, one with decimal points is regression; many whole numbers
    might be either and must be said. Missing values (empty, NA, NaN, null, ?) are an error; with
    `missing="impute"` numbers become the training rows' median, texts a category of their own. `ignore`
    names columns to leave out. A fifth of the rows is put aside for testing, a tenth of the rest is for
    validation.
    Raises `DataError` if the file is missing or damaged, or a column cannot be used.
    """
    where = existing(path, "table")
    columns = _columns(where, delimiter)
    targets = [target] if isinstance(target, str) else list(target)
    for name in (*targets, *categorical, *ignore):
        _known(name, columns, where)
    if task not in (None, "classification", "regression") or missing not in ("error", "impute"):
        raise DataError(
            f"task is {task!r} and missing is {missing!r} for {where}; "
            "task is 'classification' or 'regression', missing is 'error' or 'impute'"
        )
    features = [name for name in columns if name not in targets and name not in ignore]
    if not targets or not features:
        raise DataError(
            f"{where} needs a target and at least one column besides; it has {', '.join(columns)}"
        )
    y, classes, task = _answers(columns, targets, task, where)
    sizes = Sizes(train_size, validation_size, test_size, seed)
    blocks = [_numbers(name, columns[name], name in categorical, missing, where) for name in features]
    x = np.concatenate(blocks, axis=1)
    if np.isnan(x).any():
        x = _imputed(x, y, sizes, task, where)
    return make(
        where.name.split(".")[0],
        Part(x, y),
        None,
        sizes,
        task=task,
        classes=classes,
        source=f"{where.name}, the user's own table",
        where=str(where),
    )


def _known(name: str, columns: Mapping[str, Column], where: Path) -> None:
    if name not in columns:
        near = difflib.get_close_matches(name, columns, 1)
        hint = f"did you mean {near[0]!r}" if near else f"it has {', '.join(list(columns)[:12])}"
        raise DataError(f"{where} has no column {name!r}; {hint}")


def _columns(where: Path, delimiter: str) -> dict[str, Column]:
    if not where.is_file():
        raise DataError(f"{where} is a folder; give a CSV or .npz file")
    if where.suffix == ".npz":
        columns = npz.read(where)
        lengths = {name: column.shape for name, column in columns.items()}
        if any(len(shape) != 1 for shape in lengths.values()) or len(set(lengths.values())) > 1:
            raise DataError(f"columns of {where} must be arrays (n,) of one length, but they are {lengths}")
    else:
        columns = _read_csv(where, delimiter)
    if not columns or len(next(iter(columns.values()))) == 0:
        raise DataError(f"{where} holds no rows below its header; give a table that has some")
    return columns


def _read_csv(where: Path, delimiter: str) -> dict[str, Column]:
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise DataError(f"delimiter is {delimiter!r}; it must be one character")
    try:
        raw = where.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        header = [name.strip() for name in next(rows, [])]
        table = []
        for row in rows:
            if len(row) != len(header) and row:
                raise DataError(
                    f"line {rows.line_num} of {where} has {len(row)} fields but the header has "
                    f"{len(header)}; correct it or give the delimiter"
                )
            if row:
                table.append(row)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"cannot read {where} ({problem}); save it as CSV in UTF-8") from problem
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"{where} has two columns named {twice[0]!r}; rename one")
    return {
        name: np.array(["" if v.strip().lower() in MISSING else v.strip() for v in column], dtype=str)
        for name, column in zip(header, zip(*table, strict=True), strict=False)
    } or {name: np.zeros(0, str) for name in header}


def _missing(column: Column) -> NDArray[np.bool_]:
    if column.dtype.kind in "US":
        return np.asarray(column.astype(str) == "")
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)


def _as_floats(column: Column) -> NDArray[np.float64] | None:
    """The column as numbers, NaN where missing; None if it holds texts."""
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    try:
        return np.where(column == "", "nan", column).astype(np.float64)
    except ValueError:
        return None


def _numbers(name: str, column: Column, categorical: bool, missing: str, where: Path) -> NDArray[np.float32]:
    """One column as features (n, k); NaN where a number is missing that may be imputed."""
    if column.dtype.kind not in "fiubUS":
        raise DataError(f"column {name!r} of {where} is {column.dtype}, neither numbers nor texts; ignore it")
    gaps = _missing(column)
    if gaps.all():
        raise DataError(f"column {name!r} of {where} has no values; add it to ignore")
    if gaps.any() and missing == "error":
        raise DataError(
            f"column {name!r} of {where} lacks {int(gaps.sum())} values "
            f"(first in row {int(gaps.argmax()) + 1}); fill them or say missing='impute'"
        )
    numbers = None if categorical else _as_floats(column)
    if numbers is not None:
        if np.isinf(numbers).any():
            raise DataError(f"column {name!r} of {where} holds infinite numbers; correct them or ignore it")
        return numbers.astype(np.float32)[:, None]
    texts = column.astype(str)
    values = np.unique(texts)
    if len(values) > TEXTS:
        raise DataError(
            f"column {name!r} of {where} has {len(values)} different texts, too many for categories; "
            "add it to ignore or make it numbers"
        )
    hot: NDArray[np.float32] = (texts[:, None] == values[None]).astype(np.float32)
    return hot


def _imputed(x: NDArray[np.float32], y: Column, sizes: Sizes, task: Task, where: Path) -> NDArray[np.float32]:
    """Medians of the training rows for what is missing; the split is the one that `make` will do."""
    rows = split(Part(np.arange(len(x)), y), None, sizes, task, str(where))[0].x
    known = x[rows]
    hollow = np.isnan(known).all(axis=0)
    middle = np.nanmedian(np.where(hollow, 0.0, known), axis=0)
    return np.where(np.isnan(x), middle.astype(np.float32), x)


def _answers(
    columns: Mapping[str, Column], targets: list[str], task: Task | None, where: Path
) -> tuple[Column, tuple[str, ...], Task]:
    """The answers, the names of the classes and the task."""
    for name in targets:
        gaps = _missing(columns[name])
        if gaps.any():
            raise DataError(
                f"the target {name!r} of {where} lacks {int(gaps.sum())} values "
                f"(first in row {int(gaps.argmax()) + 1}); remove those rows"
            )
    if task is None:
        task = _guess(columns, targets, where)
    if task == "regression":
        numbers = [_as_floats(columns[name]) for name in targets]
        if any(n is None for n in numbers):
            wrong = next(name for name, n in zip(targets, numbers, strict=True) if n is None)
            raise DataError(f"the target {wrong!r} of {where} holds texts; regression needs numbers")
        stacked = np.stack([n for n in numbers if n is not None], axis=1).astype(np.float32)
        if not np.isfinite(stacked).all():
            raise DataError(f"the target of {where} holds infinite numbers; remove those rows")
        return stacked, (), task
    if len(targets) > 1:
        raise DataError(f"{where} has {len(targets)} targets, but classification has one; choose one")
    column = columns[targets[0]]
    numbers_only = _as_floats(column)  # if so, "10" goes after "9"
    ordered: Column = column if numbers_only is None else numbers_only
    values, labels = np.unique(ordered, return_inverse=True)
    if len(values) > max(CLASSES, len(column) // 2):
        raise DataError(
            f"the target {targets[0]!r} of {where} has {len(values)} different values in {len(column)} rows, "
            "too many for classes; choose another target or task='regression'"
        )
    names = tuple(f"{v:g}" if numbers_only is not None else str(v) for v in values)
    return labels.reshape(-1).astype(np.int64), names, task


def _guess(columns: Mapping[str, Column], targets: list[str], where: Path) -> Task:
    if len(targets) > 1:
        return "regression"
    column = columns[targets[0]]
    if column.dtype.kind == "f":
        return "regression"
    numbers = _as_floats(column)
    if numbers is None or column.dtype.kind == "b":
        return "classification"
    if column.dtype.kind in "US" and any(set(text) & set(".eE") for text in np.unique(column)):
        return "regression"
    count = len(np.unique(numbers))
    if count > CLASSES:
        raise DataError(
            f"the target {targets[0]!r} of {where} has {count} different whole numbers, classes or amounts; "
            "say task='classification' or task='regression'"
        )
    return "classification"
