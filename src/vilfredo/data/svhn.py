"""SVHN (cropped digits): 73,257 training and 26,032 test colour images, 32 × 32, ten classes.

Source: Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng, "Reading Digits in Natural Images with
Unsupervised Feature Learning", NIPS Workshop on Deep Learning, 2011, http://ufldl.stanford.edu/housenumbers.
Licence: for non-commercial use only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vilfredo.data import mat
from vilfredo.data.dataset import DataError, Dataset, Part, Sizes, make
from vilfredo.data.download import Remote
from vilfredo.data.locate import find

SOURCE = "SVHN, Y. Netzer et al., Stanford University, NIPS workshop, 2011, non-commercial use only"
PUBLISHER = "http://ufldl.stanford.edu/housenumbers"
FILES = {
    "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
}


def load(
    *,
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> Dataset:
    """SVHN as uint8 (n, 3, 32, 32), class 0 for the digit 0 (10 in the files); `path` is a folder with
    `train_32x32.mat` and `test_32x32.mat`.

    Validation comes out of the training images: a tenth, yet at most half of `train_size`.
    Raises `DataError` if the files are missing and cannot be downloaded, damaged, or too small.
    """
    files = [
        find("svhn", (file,), Remote(file, (f"{PUBLISHER}/{file}",), digest), path)
        for file, digest in FILES.items()
    ]
    return make(
        "svhn",
        _part(files[0]),
        _part(files[1]),
        Sizes(train_size, validation_size, test_size, seed),
        classes=tuple("0123456789"),
        augment="shift",  # mirrored digits would be others
        source=SOURCE,
        where=str(files[0].parent),
    )


def _part(file: Path) -> Part:
    arrays = mat.read(file)
    if "X" not in arrays or "y" not in arrays:
        raise DataError(f"{file} has the arrays {', '.join(arrays) or 'none'}, not X and y; get it again")
    x, y = arrays["X"], arrays["y"].reshape(-1)
    if x.ndim != 4 or x.shape[2] != 3 or x.dtype != np.uint8:
        raise DataError(
            f"X of {file} is {x.dtype} of shape {x.shape}, not uint8 (32, 32, 3, n); get it again"
        )
    return Part(np.ascontiguousarray(x.transpose(3, 2, 0, 1)), np.where(y == 10, 0, y))
