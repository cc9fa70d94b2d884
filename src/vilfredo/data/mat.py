"""Numeric arrays out of MATLAB 5.0 MAT-files (`-v6` and `-v7`), without scipy.

Layout: MathWorks, "MAT-File Format", chapter 1, "Level 5 MAT-File Format". Cells, structures, texts and
sparse arrays are passed over; of complex arrays the real part is read.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.data.dataset import DataError

STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
MATRIX, COMPRESSED = 14, 15


class _Bad(Exception):
    """What is wrong with the bytes."""


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The numeric arrays of a MAT-file by name, in column-major order as MATLAB has them.

    Raises `DataError` if the file is damaged or of another version (7.3 is HDF5, 4 has no header).
    """
    try:
        raw = memoryview(path.read_bytes())
        if len(raw) < 128 or bytes(raw[126:128]) not in (b"IM", b"MI"):
            newer = bytes(raw[:8]) == b"\x89HDF\r\n\x1a\n" or bytes(raw[:19]) == b"MATLAB 7.3 MAT-file"
            if newer:
                raise _Bad("it is of version 7.3; save it with -v7")
            raise _Bad("it is no MAT-file of version 5")
        order = "<" if bytes(raw[126:128]) == b"IM" else ">"
        if bytes(raw[:19]) == b"MATLAB 7.3 MAT-file":
            raise _Bad("it is of version 7.3; save it with -v7")
        return dict(_arrays(raw[128:], order))
    except (_Bad, OSError, zlib.error, struct.error) as problem:
        raise DataError(f"cannot read {path}: {problem}") from problem


def _arrays(raw: memoryview, order: str) -> Iterator[tuple[str, NDArray[Any]]]:
    for kind, data in _elements(raw, order):
        if kind == COMPRESSED:
            yield from _arrays(memoryview(zlib.decompress(data)), order)
        elif kind == MATRIX:
            found = _array(data, order)
            if found is not None:
                yield found


def _elements(raw: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of each data element; short ones keep up to four bytes within their tag."""
    place = 0
    while place + 8 <= len(raw):
        kind, size = struct.unpack_from(f"{order}II", raw, place)
        if kind >> 16:
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            # Compressed elements are not padded to eight bytes, all others are.
            end = start + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(raw):
            raise _Bad(f"it breaks off ({start + size - len(raw)} bytes are missing); get it again")
        yield kind, raw[start : start + size]
        place = end


def _array(raw: memoryview, order: str) -> tuple[str, NDArray[Any]] | None:
    parts = _elements(raw, order)
    _, flags = next(parts, (0, memoryview(b"")))
    if len(flags) < 4:
        raise _Bad("an array has no flags; get it again")
    number = struct.unpack_from(f"{order}I", flags)[0] & 0xFF
    if number not in CLASSES:
        return None
    body = list(parts)
    if len(body) < 3 or len(body[0][1]) % 4 or body[2][0] not in STORED:
        raise _Bad("an array is not of the published layout; get it again")
    shape = tuple(int(n) for n in np.frombuffer(body[0][1], f"{order}i4"))
    name = bytes(body[1][1]).decode("ascii", "replace")
    # MATLAB stores values in the smallest type that holds them, whatever the type of the array.
    kind = np.dtype(order + STORED[body[2][0]])
    if len(body[2][1]) != math.prod(shape) * kind.itemsize:
        raise _Bad(f"the array {name} has not the {math.prod(shape)} numbers that it announces; get it again")
    values = np.frombuffer(body[2][1], kind).astype(CLASSES[number], copy=False)
    return name, values.reshape(shape, order="F")
