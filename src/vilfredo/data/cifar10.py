"""CIFAR-10: 50,000 training and 10,000 test colour images, 32 × 32, ten classes.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", University of Toronto,
2009, https://www.cs.toronto.edu/~kriz/cifar.html.
Licence: none stated; the authors ask for the citation.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from vilfredo.data import cifar
from vilfredo.data.dataset import Dataset, Sizes, make
from vilfredo.data.download import Remote
from vilfredo.data.locate import find

SOURCE = "CIFAR-10, A. Krizhevsky, University of Toronto, 2009, no licence stated"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = Remote(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
BATCHES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))


def load(
    *,
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> Dataset:
    """CIFAR-10 as uint8 (n, 3, 32, 32). `path` is the published archive of the binary version, the folder
    that it lies in, or the folder with its `.bin` files.

    With fewer batches or images than published it takes what is there, warns and says so in `source`.
    Validation comes out of the training images: a tenth, yet at most half of `train_size`.
    Raises `DataError` if the files are missing and cannot be downloaded, damaged, or too small.
    """
    where = find(
        "cifar10", ("cifar-10-batches-bin", "test_batch.bin", ARCHIVE.file), ARCHIVE, path, archive=True
    )
    where = where.parent if where.suffix == ".bin" else where
    files = cifar.members(where, (*BATCHES, "test_batch.bin"))
    train = cifar.records(files, BATCHES, where)
    test = cifar.records(files, ["test_batch.bin"], where)
    source = SOURCE
    if len(train) < 50_000 or len(test) < 10_000:
        part = f"a part: {len(train)} of 50000 training and {len(test)} of 10000 test images"
        source = f"{SOURCE} ({part})"
        warnings.warn(f"CIFAR-10 in {where} is {part}", stacklevel=2)
    return make(
        "cifar10",
        train,
        test,
        Sizes(train_size, validation_size, test_size, seed),
        classes=CLASSES,
        augment="flip_shift",
        source=source,
        where=str(where),
    )
