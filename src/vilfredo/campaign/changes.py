"""Where the outputs of faulty networks differ from those of the network without faults."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]

TOGETHER = 512  # injections that go together at most
"""Row numbers are image · TOGETHER + injection: rows in order come image by image, so that what is kept of an
image is in the processor's caches while all injections need it."""


@dataclass(frozen=True, eq=False)
class Entries:
    """What differs, code by code: row r has the entries `start[r]` to `start[r + 1]` of `index`, flat
    positions in one image's output, each once, in any order, and of `code`, what is there."""

    start: Ints  # (r + 1,)
    index: NDArray[np.int32]  # (m,)
    code: NDArray[np.float32]  # (m,)

    @property
    def row(self) -> Ints:
        """Which row (place in `Change.rows`) each entry is of."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


@dataclass(frozen=True, eq=False)
class Bytes:
    """Whole outputs (r, size) of `shape`, less `least`, the code that byte 0 stands for."""

    codes: NDArray[np.uint8]
    least: int
    shape: tuple[int, ...]

    def tensor(self) -> Tensor:
        """The codes (r, *shape) in float32."""
        return torch.from_numpy(self.codes).float().add_(self.least).view(-1, *self.shape)


@dataclass(frozen=True, eq=False)
class Change:
    """One step's output where it differs: `rows` (r,), ascending, see `TOGETHER`, and
    their outputs, either whole, a tensor (r, …) or `Bytes`, or `Entries`."""

    rows: Ints
    codes: Tensor | Bytes | Entries


def in_floats(change: Change | None) -> Change | None:
    """The same without `Bytes`."""
    if change is None or not isinstance(change.codes, Bytes):
        return change
    return Change(change.rows, change.codes.tensor())


def at_images(golden: Tensor, rows: Ints) -> Tensor:
    """What the images of these rows have in `golden` (n, …). Not to be written to, as it may be part of
    it."""
    image = rows // TOGETHER
    if len(image) and image[-1] - image[0] + 1 == len(image) and (np.diff(image) == 1).all():
        return golden[image[0] : image[-1] + 1]
    return golden[torch.from_numpy(image)]


def whole(change: Change | None, rows: Ints, golden: Tensor) -> Tensor:
    """The outputs (r, …) at these rows, among which are all that changed; `golden` (n, …). Not to be written
    to."""
    out = at_images(golden, rows)
    if change is None or not len(change.rows):
        return out
    codes = change.codes.tensor() if isinstance(change.codes, Bytes) else change.codes
    if isinstance(codes, Tensor) and len(change.rows) == len(rows):
        return codes
    out = out.clone()
    at = np.searchsorted(rows, change.rows)
    if isinstance(codes, Tensor):
        out[torch.from_numpy(at)] = codes
    else:
        flat = out.view(len(rows), -1).numpy()
        flat[at[codes.row], codes.index] = codes.code
    return out


def at_rows(change: Change, mask: NDArray[np.bool_]) -> Change:
    """The part of the rows that the mask (r,) says."""
    if mask.all():
        return change
    if isinstance(change.codes, Tensor):
        return Change(change.rows[mask], change.codes[torch.from_numpy(mask)])
    if isinstance(change.codes, Bytes):
        return Change(change.rows[mask], replace(change.codes, codes=change.codes.codes[mask]))
    kept = mask[change.codes.row]
    start = np.concatenate([[0], np.cumsum(np.diff(change.codes.start)[mask])])
    return Change(change.rows[mask], Entries(start, change.codes.index[kept], change.codes.code[kept]))


def between(change: Change, rows: Ints) -> Change:
    """The part from the first to the last of these rows, without copying."""
    first, last = np.searchsorted(change.rows, [rows[0], rows[-1] + 1])
    if isinstance(change.codes, Tensor):
        return Change(change.rows[first:last], change.codes[first:last])
    if isinstance(change.codes, Bytes):
        return Change(change.rows[first:last], replace(change.codes, codes=change.codes.codes[first:last]))
    start = change.codes.start[first : last + 1]
    part = slice(start[0], start[-1])
    return Change(
        change.rows[first:last], Entries(start - start[0], change.codes.index[part], change.codes.code[part])
    )


def from_entries(row: Ints, index: Ints, code: NDArray[np.float32]) -> Change | None:
    """A change from entries (m,) with the number of the row that each is of; each place once."""
    if not len(row):
        return None
    if (row[1:] < row[:-1]).any():
        order = np.argsort(row, kind="stable")
        row, index, code = row[order], index[order], code[order]
    first = np.append(0, np.flatnonzero(row[1:] != row[:-1]) + 1)
    return Change(row[first], Entries(np.append(first, len(row)), index.astype(np.int32), code))


def joined(parts: list[Change]) -> Change | None:
    """One change of what several say of different places. All are of entries, or all whole and of different
    rows."""
    if len(parts) < 2:
        return parts[0] if parts else None
    rows = np.concatenate([p.rows for p in parts])
    order = np.argsort(rows, kind="stable")
    bytes_ = [p.codes for p in parts if isinstance(p.codes, Bytes)]
    if len(bytes_) == len(parts):
        codes = np.concatenate([b.codes for b in bytes_])
        codes = codes if (np.diff(order) == 1).all() else codes[order]
        return Change(rows[order], replace(bytes_[0], codes=codes))
    tensors = [
        p.codes.tensor() if isinstance(p.codes, Bytes) else p.codes
        for p in parts
        if not isinstance(p.codes, Entries)
    ]
    if tensors:
        return Change(rows[order], torch.cat(tensors)[torch.from_numpy(order)])
    entries = [p.codes for p in parts if isinstance(p.codes, Entries)]
    ends = np.cumsum([len(e.index) for e in entries])
    begin = np.concatenate([e.start[:-1] + end - len(e.index) for e, end in zip(entries, ends, strict=True)])
    count = np.concatenate([np.diff(e.start) for e in entries])[order]
    start = np.concatenate([[0], np.cumsum(count)])
    taken = np.repeat(begin[order] - start[:-1], count) + np.arange(start[-1])
    index = np.concatenate([e.index for e in entries])[taken]
    code = np.concatenate([e.code for e in entries])[taken]
    first = np.flatnonzero(np.diff(rows[order], prepend=-1))
    return Change(rows[order][first], Entries(np.append(start[first], start[-1]), index, code))
