"""The user's own arrays in a NumPy `.npz` file, for classification or regression.

Source: the user. Licence: the user's. Files are read without pickle.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.data.dataset import Augment, DataError, Dataset, Part, Sizes, Task, make
from vilfredo.data.locate import existing


def load(
    *,
    path: str | Path,
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    task: Task | None = None,
    classes: int | list[str] | None = None,
    layout: Literal["channels_first", "channels_last"] | None = None,
    augment: Augment = "none",
) -> Dataset:
    """Arrays `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test`, of the file `path`.

    `x` is (n, features), (n, height, width) or (n, channels, height, width), or (n, height, width,
    channels) with `layout="channels_last"` (which is asked for where it seems so); uint8 stays, all else
    becomes float32. `task` decides what `y` is; if None, whole numbers and texts are classes, other
    numbers are targets. Texts are numbered in sorted order; whole numbers must count from 0. `classes`
    is their number or their names.
    Without `x_test` a fifth is put aside for testing; validation is a tenth of what is left for training.
    Raises `DataError` if the file is missing, damaged, or its arrays cannot be used.
    """
    where = existing(path, "npz")
    arrays = read(where)
    if "x" in arrays and "y" in arrays and "x_train" not in arrays:
        names = [("x", "y")]
    elif "x_train" in arrays and "y_train" in arrays:
        names = [("x_train", "y_train")]
    else:
        raise DataError(
            f"{where} has the arrays {', '.join(arrays) or 'none'}; it needs x and y, "
            "or x_train and y_train (and x_test and y_test)"
        )
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{where} has only one of x_test and y_test; give both or none")
    if "x_test" in arrays:
        names.append(("x_test", "y_test"))
    used = {name for pair in names for name in pair}
    other = [name for name in arrays if name.startswith(("x_", "y_")) and name not in used]
    if other:
        raise DataError(
            f"{where} has {', '.join(other)}, which nothing uses; validation is taken out of x_train, "
            "so append them there or leave them out"
        )
    parts = [(_channels_first(arrays[x], layout, f"{x} of {where}"), arrays[y]) for x, y in names]
    if task is None:
        task = "classification" if parts[0][1].dtype.kind in "iubUS" else "regression"
    if task not in ("classification", "regression"):
        raise DataError(f"task is {task!r} for {where}; it must be 'classification' or 'regression'")
    labels: tuple[str, ...] = ()
    answers = [y for _, y in parts]
    if task == "classification":
        labels, answers = _classes(answers, classes, str(where))
    ready = [Part(x, y) for (x, _), y in zip(parts, answers, strict=True)]
    return make(
        where.stem,
        ready[0],
        ready[1] if len(ready) > 1 else None,
        Sizes(train_size, validation_size, test_size, seed),
        task=task,
        classes=labels,
        augment=augment,
        source=f"{where.name}, the user's own arrays",
        where=str(where),
    )


def read(where: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an `.npz` file. Raises `DataError` if it is damaged or holds Python objects."""
    try:
        with open(where, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise DataError(f"{where} is a single array; save x and y with numpy.savez")
            with loaded as arrays:
                return {name: arrays[name] for name in arrays.files}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as problem:
        if "allow_pickle" in str(problem):
            raise DataError(
                f"{where} is no .npz file of plain arrays (Python objects are not read); "
                "save arrays of numbers or texts with numpy.savez"
            ) from problem
        raise DataError(f"cannot read {where} ({problem}); save it again with numpy.savez") from problem


def _channels_first(x: NDArray[Any], layout: str | None, where: str) -> NDArray[Any]:
    if layout not in (None, "channels_first", "channels_last"):
        raise DataError(f"layout is {layout!r}; it must be 'channels_first' or 'channels_last'")
    if x.ndim != 4:
        return x
    if layout == "channels_last":
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if layout is None and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        raise DataError(
            f"{where} has shape {x.shape}, which may be channels last; "
            "say layout='channels_last' or layout='channels_first'"
        )
    return x


def _classes(
    answers: list[NDArray[Any]], classes: int | list[str] | None, where: str
) -> tuple[tuple[str, ...], list[NDArray[Any]]]:
    """Names of the classes, and the labels as numbers. What is no label at all is left for `check`."""
    if answers[0].dtype.kind in "US":
        texts = sorted({str(t) for y in answers for t in y.reshape(-1).astype(str)})
        if isinstance(classes, list):
            unknown = [t for t in texts if t not in classes]
            if unknown:
                raise DataError(f"{where} has the label {unknown[0]!r}, which is not among classes; add it")
            texts = [str(name) for name in classes]
        number = {text: i for i, text in enumerate(texts)}
        return tuple(texts), [np.array([number[str(t)] for t in y.astype(str)], np.int64) for y in answers]
    if isinstance(classes, list):
        return tuple(map(str, classes)), answers
    if isinstance(classes, int):
        return tuple(map(str, range(classes))), answers
    distinct = np.unique(np.concatenate([y.reshape(-1) for y in answers]))
    if distinct.dtype.kind not in "iub" or len(distinct) == 0:
        count = int(distinct.max()) + 1 if len(distinct) and np.isfinite(distinct).all() else 0
        return tuple(map(str, range(max(count, 0)))), answers
    count = int(distinct[-1]) + 1
    if count > 2 * len(distinct) + 1:
        raise DataError(
            f"labels of {where} go up to {count - 1} but only {len(distinct)} are different; "
            "number the classes from 0, give classes, or say task='regression'"
        )
    return tuple(map(str, range(count))), answers
