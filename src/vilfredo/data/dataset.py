"""A dataset as plain arrays in three parts, and the checks and splits that all loaders share.

The search sees the training and the validation part; the test part is for the confirmed front only.
Validation therefore always comes out of the training images, never out of a published test set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]
Augment = Literal["none", "shift", "flip_shift"]
Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float32]

NOTHING: Floats = np.zeros(0, dtype=np.float32)


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence: what, where, what to do."""


@dataclass(frozen=True, eq=False)
class Part:
    """Inputs and answers.

    `x` is (n, channels, height, width) or (n, features): uint8 images, else float32.
    `y` is int64 class numbers (n,), or float32 targets (n, k).
    """

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint parts with what training needs to know of them.

    `mean` and `std` are float32, one per channel (C,) or feature (F,), in the units of `x` as stored
    (0 to 255 for uint8 images) and of the training part alone: normalise as `(x - mean) / std`.
    `target_mean` and `target_std` (k,) are the same for regression targets, empty for classes. A
    constant channel has std 1. `augment` names the random change of training images that leaves their
    class alone: `none`, `shift` (translations), `flip_shift` (also left-right mirrors). `source` is
    publisher, citation and licence in a line. It holds arrays only, so it pickles.
    """

    name: str
    task: Task
    train: Part
    validation: Part
    test: Part
    classes: tuple[str, ...] = ()
    mean: Floats = field(default_factory=lambda: NOTHING)
    std: Floats = field(default_factory=lambda: NOTHING)
    target_mean: Floats = field(default_factory=lambda: NOTHING)
    target_std: Floats = field(default_factory=lambda: NOTHING)
    augment: Augment = "none"
    source: str = ""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input, without the batch: (channels, height, width) or (features,)."""
        return tuple(int(n) for n in self.train.x.shape[1:])

    @property
    def outputs(self) -> int:
        """How many numbers a network must give: one per class, or one per target."""
        return len(self.classes) if self.task == "classification" else int(self.train.y.shape[1])


@dataclass(frozen=True)
class Sizes:
    """How much of the data goes where; what is None is up to `split`.

    Counts are ints, fractions are floats in (0, 1). `seed` decides which sample goes where.
    """

    train: int | None = None
    validation: int | float | None = None
    test: int | float | None = None
    seed: int = 0


def make(
    name: str,
    train: Part,
    test: Part | None,
    sizes: Sizes,
    *,
    task: Task = "classification",
    classes: tuple[str, ...] = (),
    augment: Augment = "none",
    source: str = "",
    where: str = "",
) -> Dataset:
    """A checked dataset from what was read: the way that every loader ends.

    `test` is the publisher's test set, or None where there is none and a part of `train` must do.
    `where` names the files, for errors. Raises `DataError` as `check` and `split` do.
    """
    where = where or name
    train = check(train, task, classes, where)
    if test is not None:
        test = check(test, task, classes, f"the test set of {where}", one_class=True)
        if test.x.shape[1:] != train.x.shape[1:] or test.y.shape[1:] != train.y.shape[1:]:
            raise DataError(
                f"training and test data of {where} differ in shape: {train.x.shape[1:]} with "
                f"{train.y.shape[1:]}, and {test.x.shape[1:]} with {test.y.shape[1:]}; they must agree"
            )
        if test.x.dtype != train.x.dtype:
            train, test = (replace(p, x=p.x.astype(np.float32)) for p in (train, test))
    parts = split(train, test, sizes, task, where)
    mean, std = moments(parts[0].x)
    target_mean, target_std = moments(parts[0].y) if task == "regression" else (NOTHING, NOTHING)
    return Dataset(
        name, task, *parts, classes, mean, std, target_mean, target_std, augment=augment, source=source
    )


def check(part: Part, task: Task, classes: tuple[str, ...], where: str, one_class: bool = False) -> Part:
    """The same data in the types that `Part` promises.

    Raises `DataError` if it is empty, of a wrong shape or type, not finite, if inputs and answers
    differ in number, a label is out of range, or there is one class only (unless `one_class`).
    """
    x, y = np.asarray(part.x), np.asarray(part.y)
    if x.ndim == 3:  # grey images
        x = x[:, None]
    if x.ndim not in (2, 4):
        raise DataError(
            f"inputs of {where} have shape {x.shape}; they must be (n, features), (n, height, width) "
            "or (n, channels, height, width)"
        )
    if len(x) == 0 or 0 in x.shape:
        raise DataError(f"{where} holds no samples (shape {x.shape}); give a file that has some")
    if len(x) != len(y):
        raise DataError(
            f"{where} has {len(x)} inputs but {len(y)} answers; there must be one answer per input"
        )
    if x.dtype.kind not in "fiub":
        raise DataError(f"inputs of {where} are {x.dtype}, not numbers; convert them to float32 or uint8")
    if x.dtype != np.uint8:
        x = x.astype(np.float32, copy=False)
        if not np.isfinite(x).all():
            row = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
            raise DataError(
                f"inputs of {where} hold NaN or infinite numbers (first in sample {row}); remove or fill them"
            )
    if task == "regression":
        return Part(x, _targets(y, where))
    return Part(x, _labels(y, len(classes), where, one_class))


def _targets(y: Array, where: str) -> Floats:
    if y.dtype.kind not in "fiub" or y.ndim not in (1, 2) or 0 in y.shape:
        raise DataError(
            f"targets of {where} are {y.dtype} of shape {y.shape}; regression needs numbers (n,) or (n, k)"
        )
    y = y.reshape(len(y), -1).astype(np.float32)
    if not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y).all(axis=1))[0])
        raise DataError(
            f"targets of {where} hold NaN or infinite numbers (first in sample {row}); remove or fill them"
        )
    return y


def _labels(y: Array, classes: int, where: str, one_class: bool) -> NDArray[np.int64]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"labels of {where} have shape {y.shape}; they must be class numbers of shape (n,)")
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.floor(y)).all():
        y = y.astype(np.int64)
    if y.dtype.kind not in "iub":
        raise DataError(
            f"labels of {where} are {y.dtype}, not class numbers; use whole numbers from 0, or regression"
        )
    y = y.astype(np.int64)
    if y.min() < 0 or y.max() >= classes:
        wrong = int(y.min() if y.min() < 0 else y.max())
        raise DataError(
            f"labels of {where} are out of range: {wrong} is not between 0 and {classes - 1}; "
            "number the classes from 0"
        )
    if not one_class and (y == y[0]).all():
        raise DataError(
            f"all {len(y)} samples of {where} are of one class ({int(y[0])}); two classes at least are needed"
        )
    return y


def split(
    train: Part, test: Part | None, sizes: Sizes, task: Task = "classification", where: str = "the data"
) -> tuple[Part, Part, Part]:
    """Training, validation and test part: disjoint, the same for the same seed, classes in proportion.

    Without a published `test` set, `sizes.test` of `train` is put aside for it first (a fifth if None).
    Then validation is taken from what is left: `sizes.validation`, or if that is None a tenth, yet no
    more than half of `sizes.train`. `sizes.train` samples of the remaining ones are used for training
    (None: all), in an order in which every prefix has the classes in proportion, so smaller training
    sets lie within larger ones. Raises `DataError` for sizes that the data cannot give.
    """
    _check_sizes(sizes)
    order = _order(train.y, task, sizes.seed)
    if test is None:
        held = _count(0.2 if sizes.test is None else sizes.test, len(train))
        tested, order = _take(train, order[:held]), order[held:]
    else:
        held = len(test) if sizes.test is None else _count(sizes.test, len(test))
        if held > len(test):
            raise DataError(f"test_size is {held}, but {where} has {len(test)} test samples; ask for fewer")
        tested = test if held == len(test) else _take(test, _order(test.y, task, sizes.seed)[:held])
    validation = _count(0.1 if sizes.validation is None else sizes.validation, len(order))
    if sizes.validation is None and sizes.train is not None:
        validation = max(1, min(validation, sizes.train // 2))
    wanted = len(order) - validation if sizes.train is None else sizes.train
    if wanted < 1 or validation + wanted > len(order) or len(tested) < 1:
        parts = f"{max(wanted, 1)} for training and {validation} for validation"
        parts += f" and {held} for testing" if test is None else ""
        raise DataError(
            f"{where} has {len(train)} training samples, too few for {parts}; "
            "lower train_size, validation_size or test_size"
        )
    trained = _take(train, order[validation : validation + wanted])
    if task == "classification" and (trained.y == trained.y[0]).all():
        raise DataError(
            f"all {wanted} training samples taken from {where} are of one class; use a larger train_size"
        )
    return trained, _take(train, order[:validation]), tested


def _take(part: Part, rows: Array) -> Part:
    return Part(part.x[rows], part.y[rows])


def _count(size: int | float, total: int) -> int:
    return max(1, round(size * total)) if isinstance(size, float) else size


def _check_sizes(sizes: Sizes) -> None:
    for name in ("train", "validation", "test"):
        size = getattr(sizes, name)
        if size is None:
            continue
        whole = isinstance(size, int) and not isinstance(size, bool) and size >= 1
        fraction = name != "train" and isinstance(size, float) and 0 < size < 1
        if not (whole or fraction):
            kinds = "a count from 1" if name == "train" else "a count from 1 or a fraction between 0 and 1"
            raise DataError(f"{name}_size is {size!r}; it must be {kinds}")


def _order(y: Array, task: Task, seed: int) -> NDArray[np.int64]:
    """All rows, shuffled so that every stretch of them has the classes in proportion.

    Each class is shuffled by itself and spread evenly over [0, 1); sorting by that place interleaves them.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    order = rng.permutation(len(y))
    if task == "regression":
        return order
    shuffled = y[order]
    by_class = np.argsort(shuffled, kind="stable")
    counts = np.bincount(shuffled)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sorted_labels = shuffled[by_class]
    place = (np.arange(len(y)) - starts[sorted_labels] + 0.5) / counts[sorted_labels]
    tie = rng.permutation(len(y))  # else ties would always go in the order of the classes
    return order[by_class[np.lexsort((tie, place))]]


def moments(x: Array) -> tuple[Floats, Floats]:
    """Mean and standard deviation per channel or feature (axis 1), float32; std 1 where it is constant."""
    axes = (0, *range(2, x.ndim))
    count = math.prod(x.shape[axis] for axis in axes)
    total = np.zeros(x.shape[1])
    square = np.zeros(x.shape[1])
    shift = x[:1].mean(axis=axes, dtype=np.float64)  # near the mean, so that squares do not cancel
    around = shift.reshape(-1, *[1] * (x.ndim - 2)).astype(np.float32)
    for start in range(0, len(x), 2000):  # in pieces: a float copy of all images would be large
        piece = x[start : start + 2000] - around
        total += piece.sum(axis=axes, dtype=np.float64)
        square += np.square(piece).sum(axis=axes, dtype=np.float64)
    offset = total / count
    std = np.sqrt(np.maximum(square / count - offset**2, 0.0))
    mean = (around.reshape(-1) + offset).astype(np.float32)
    flat = std <= 1e-6 * np.maximum(np.abs(mean), 1e-30)
    return mean, np.where(flat, 1.0, std).astype(np.float32)


def subset(
    dataset: Dataset, train: int | None = None, validation: int | None = None, test: int | None = None
) -> Dataset:
    """The same dataset with fewer samples in its parts, classes in proportion; None leaves a part whole.

    `mean` and `std` are those of the smaller training part. Raises `DataError` if a part has too few.
    """
    _check_sizes(Sizes(train, validation, test))
    parts = []
    for name, count in (("train", train), ("validation", validation), ("test", test)):
        part: Part = getattr(dataset, name)
        if count is not None and count > len(part):
            raise DataError(f"the {name} part of {dataset.name} has {len(part)} samples, fewer than {count}")
        whole = count is None or count == len(part)
        parts.append(part if whole else _take(part, np.sort(_order(part.y, dataset.task, 0)[:count])))
    mean, std = moments(parts[0].x)
    target_mean, target_std = moments(parts[0].y) if dataset.task == "regression" else (NOTHING, NOTHING)
    return replace(
        dataset,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
    )


def describe(dataset: Dataset) -> Mapping[str, Any]:
    """What a report says of the data; survives JSON."""
    return {
        "name": dataset.name,
        "task": dataset.task,
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "test": len(dataset.test),
        "input": list(dataset.input_shape),
        "outputs": dataset.outputs,
        "classes": list(dataset.classes),
        "augment": dataset.augment,
        "source": dataset.source,
    }
