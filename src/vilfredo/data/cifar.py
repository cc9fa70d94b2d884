"""The binary layout of CIFAR-10 and CIFAR-100, out of the published archive or unpacked.

Each record is one or two label bytes, then 3,072 bytes: the red, green and blue plane of 32 × 32, by rows
(A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and its web page).
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vilfredo.data.dataset import DataError, Part

PIXELS = 3 * 32 * 32


def members(where: Path, wanted: Collection[str]) -> Mapping[str, bytes]:
    """The wanted files by name, from a tar archive (nothing is extracted to disk) or from a folder.

    What is not there is left out. Raises `DataError` if the archive is damaged.
    """
    if where.is_dir():
        return {name: (where / name).read_bytes() for name in wanted if (where / name).is_file()}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(where) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in wanted and member.isfile():
                    file = archive.extractfile(member)
                    if file is not None:
                        found[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as problem:
        why = str(problem).splitlines()[0].rstrip(":") if str(problem) else type(problem).__name__
        raise DataError(f"{where} is damaged ({why}); delete it and get it again") from problem
    return found


def records(
    files: Mapping[str, bytes], names: Sequence[str], where: Path, label_bytes: int = 1, label: int = 0
) -> Part:
    """Images (n, 3, 32, 32) and labels (n,) of those of `names` that are there, in this order.

    `label` says which of the `label_bytes` counts. Raises `DataError` if there is none of them, or the
    size of one is not a whole number of records.
    """
    present = [name for name in names if name in files]
    if not present:
        raise DataError(f"{where} has no {' or '.join(names)}; delete it and get it again")
    length = label_bytes + PIXELS
    for name in present:
        if not files[name] or len(files[name]) % length:
            raise DataError(
                f"{name} in {where} has {len(files[name])} bytes, not a multiple of {length}; get it again"
            )
    table = np.concatenate([np.frombuffer(files[n], np.uint8).reshape(-1, length) for n in present])
    return Part(table[:, label_bytes:].reshape(-1, 3, 32, 32), table[:, label])
