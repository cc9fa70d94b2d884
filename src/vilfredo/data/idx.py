"""The IDX format of MNIST and its relatives, plain or gzipped, and data sets of four such files.

Layout (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"): two zero bytes, a
type code, the number of dimensions, each size as a big-endian 32-bit integer, then the numbers, big-endian.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.data.dataset import DataError, Dataset, Part, Sizes, make
from vilfredo.data.download import Remote
from vilfredo.data.locate import find

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def published(
    name: str,
    files: Mapping[str, str],
    publishers: Sequence[str],
    path: str | Path | None,
    sizes: Sizes,
    **about: Any,
) -> Dataset:
    """The data set of four files: images and labels to train on, images and labels to test.

    `files` are names and SHA-256 digests, `publishers` the folders on the web that have them, `path` is
    one of the user's. `about` goes to `dataset.make`. Raises `DataError` as `find`, `images` and `make` do.
    """
    found = [
        find(name, (file, file.removesuffix(".gz")), Remote(file, urls, digest), path)
        for file, digest in files.items()
        for urls in [tuple(f"{publisher}/{file}" for publisher in publishers)]
    ]
    train, test = images(found[0], found[1]), images(found[2], found[3])
    return make(name, train, test, sizes, **about, where=str(found[0].parent))


def read(path: Path) -> NDArray[Any]:
    """The array of an IDX file. Raises `DataError` if it is no IDX file or its size is not as announced."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{path} is damaged ({problem}); delete it and get it again") from problem
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in TYPES or not 1 <= raw[3] <= 8:
        raise DataError(
            f"{path} is no IDX file (it begins with {raw[:4].hex(' ') or 'nothing'}); get it again"
        )
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise DataError(f"{path} breaks off within its header; delete it and get it again")
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    kind = np.dtype(TYPES[raw[2]])
    announced = start + math.prod(shape) * kind.itemsize
    if len(raw) != announced:
        raise DataError(
            f"{path} has {len(raw)} bytes but announces {announced} ({'x'.join(map(str, shape))} numbers); "
            "delete it and get it again"
        )
    return np.frombuffer(raw, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def images(pictures: Path, labels: Path) -> Part:
    """Grey images (n, 1, height, width) and their labels (n,) from two files.

    Raises `DataError` as `read` does, and if these are no images or no labels of uint8.
    """
    x, y = read(pictures), read(labels)
    if x.ndim != 3 or x.dtype != np.uint8:
        raise DataError(f"{pictures} holds {x.dtype} numbers of shape {x.shape}, not uint8 images (n, h, w)")
    if y.ndim != 1 or y.dtype != np.uint8:
        raise DataError(f"{labels} holds {y.dtype} numbers of shape {y.shape}, not uint8 labels (n,)")
    return Part(x[:, None], y)
