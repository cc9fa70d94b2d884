"""CIFAR-100: 50,000 training and 10,000 test colour images, 32 × 32, 100 classes in 20 groups.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", University of Toronto,
2009, https://www.cs.toronto.edu/~kriz/cifar.html.
Licence: none stated; the authors ask for the citation.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

from vilfredo.data import cifar
from vilfredo.data.dataset import DataError, Dataset, Sizes, make
from vilfredo.data.download import Remote
from vilfredo.data.locate import find

SOURCE = "CIFAR-100, A. Krizhevsky, University of Toronto, 2009, no licence stated"
ARCHIVE = Remote(
    "cifar-100-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
)
COUNTS = {"coarse": 20, "fine": 100}


def load(
    *,
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    labels: Literal["fine", "coarse"] = "fine",
) -> Dataset:
    """CIFAR-100 as uint8 (n, 3, 32, 32), labelled by class (`fine`) or by group (`coarse`). `path` is the
    published archive of the binary version, the folder that it lies in, or the one with its `.bin` files.

    The names of the classes are read from the published text files; without these they are numbers.
    Validation comes out of the training images: a tenth, yet at most half of `train_size`.
    Raises `DataError` if the files are missing and cannot be downloaded, damaged, or too small.
    """
    if labels not in COUNTS:
        raise DataError(f"labels is {labels!r} for cifar100; it must be 'fine' or 'coarse'")
    where = find("cifar100", ("cifar-100-binary", "train.bin", ARCHIVE.file), ARCHIVE, path, archive=True)
    where = where.parent if where.suffix == ".bin" else where
    listed = f"{labels}_label_names.txt"
    files = cifar.members(where, ("train.bin", "test.bin", listed))
    names = tuple(files.get(listed, b"").decode("utf-8", "replace").split())
    count = COUNTS[labels]
    train = cifar.records(files, ["train.bin"], where, 2, int(labels == "fine"))
    test = cifar.records(files, ["test.bin"], where, 2, int(labels == "fine"))
    source = SOURCE
    if len(train) < 50_000 or len(test) < 10_000:
        part = f"a part: {len(train)} of 50000 training and {len(test)} of 10000 test images"
        source = f"{SOURCE} ({part})"
        warnings.warn(f"CIFAR-100 in {where} is {part}", stacklevel=2)
    return make(
        "cifar100",
        train,
        test,
        Sizes(train_size, validation_size, test_size, seed),
        classes=names if len(names) == count else tuple(map(str, range(count))),
        augment="flip_shift",
        source=source,
        where=str(where),
    )
