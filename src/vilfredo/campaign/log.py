"""What campaigns on one network have found out, kept in a file as it becomes known.

A log is a file of JSON lines. The first says which network, images and labels it is of. A campaign has a
number in it, announced by a line with a digest of all that decides what its faults do; every other line adds
rows to one of the campaign's tables. A process may be killed at any moment: a last line that is not whole is
dropped, all others are read when the same work is begun again, and what they say is not run a second time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch

VERSION = 2

Key = tuple[float, ...]  # the first number is what a line's rows have in common
Counts = tuple[int, ...]


@dataclass(eq=False)
class Table:
    """Counts by key; what is added is written down before it is known."""

    name: str
    width: int  # how many counts a row has
    known: dict[Key, Counts] = field(default_factory=dict)
    book: Book | None = None

    def add(self, rows: Sequence[tuple[Key, Counts]]) -> None:
        """One write, which a kill survives in full or as a line that is not whole."""
        if self.book is not None:
            groups = itertools.groupby(rows, key=lambda row: row[0][0])
            lines = [
                {"table": self.name, "at": at, "rows": [[*key[1:], *counts] for key, counts in group]}
                for at, group in groups
            ]
            self.book.write(lines)
        self.known.update(rows)


class Book:
    """What is known of one campaign. Without a log it is forgotten with the process.

    `faults`: (stratum, index) → of how many images a single fault changes the class, makes a right one wrong,
    a wrong one right. `numbers`: (stratum, index, image, −1: in all) → of how many it changes the class.
    `copies`: (rate, copy) → how many images are classified right, how many otherwise than without faults.
    """

    def __init__(self, log: Log | None = None, number: int = 0) -> None:
        self._log, self._number = log, number
        mine = None if log is None else self
        self.faults = Table("faults", 3, book=mine)
        self.numbers = Table("numbers", 1, book=mine)
        self.copies = Table("copies", 2, book=mine)

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        assert self._log is not None
        self._log.write([{"campaign": self._number, **line} for line in lines])

    def learn(self, line: Mapping[str, Any]) -> None:
        """Takes in a line of the log. Raises `KeyError`, `TypeError` or `ValueError` for what is none."""
        table = {t.name: t for t in (self.faults, self.numbers, self.copies)}[line["table"]]
        at, keys = line["at"], len(line["rows"][0]) - table.width
        if keys < 1 or not isinstance(at, int | float):
            raise ValueError
        for row in line["rows"]:
            counts = tuple(row[keys:])
            if len(counts) != table.width or not all(isinstance(n, int) for n in row):
                raise ValueError
            table.known[at, *row[:keys]] = counts


class Log:
    """The file, open and locked until it is closed. `subject` is a digest of the network, its images and
    labels: a log of others is refused.

    Raises `ValueError`, one sentence, if the file is of something else, damaged or in use, or its folder is
    not there.
    """

    def __init__(self, path: Path | str, subject: str) -> None:
        from filelock import FileLock, Timeout

        self.path = Path(path)
        if not self.path.absolute().parent.is_dir():
            raise ValueError(f"{path}: there is no such folder; make it, or give the log another place")
        self._lock = FileLock(str(path) + ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"{path}: another process runs this campaign; wait for its end or stop it"
            ) from None
        self._books: list[Book] = []
        self._digests: list[str] = []
        try:
            self._file: BinaryIO = self.path.open("a+b")
        except OSError as problem:
            self._lock.release()
            raise ValueError(f"{path}: {problem.strerror}; give the log another place") from None
        try:
            self._read(subject)
        except BaseException:
            self.close()
            raise

    def book(self, digest: str, what: str = "") -> Book:
        """The campaign of this digest with what is known of it; a new one if there is none. `what` is for
        people who read the file."""
        if digest not in self._digests:
            number = len(self._digests)
            self.write([{"campaign": number, "digest": digest, "what": what}])
            self._announced(number, digest)
        return self._books[self._digests.index(digest)]

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        self._file.write(text.encode())
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _announced(self, number: int, digest: str) -> None:
        if number != len(self._books):
            raise ValueError
        self._books.append(Book(self, number))
        self._digests.append(digest)

    def _read(self, subject: str) -> None:
        """Takes in what is there, drops a last line that is not whole, and begins a file that is empty."""
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                if not number:
                    if entry["vilfredo"] != "campaign":
                        raise ValueError
                elif "digest" in entry:
                    self._announced(entry["campaign"], entry["digest"])
                else:
                    self._books[entry["campaign"]].learn(entry)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError):
                what = "no log of a campaign" if not number else f"damaged in line {number + 1}"
                raise ValueError(f"{self.path}: this file is {what}; give the log another name") from None
            if not number and entry.get("version") != VERSION:
                raise ValueError(
                    f"{self.path}: another version of Vilfredo wrote this log; give the log another name"
                )
            if not number and entry.get("subject") != subject:
                raise ValueError(
                    f"{self.path}: this is the log of a campaign with another network, other images or other "
                    "labels; give this one another log"
                )
            whole += len(line)
        self._file.truncate(whole)
        if not whole:
            self.write([{"vilfredo": "campaign", "version": VERSION, "subject": subject}])


def digest(*parts: Any) -> str:
    """Of plain data: dataclasses, mappings, sequences, arrays, tensors, numbers and text."""
    hash = hashlib.blake2b(digest_size=16)
    for part in (VERSION, *parts):
        _feed(hash, part)
    return hash.hexdigest()


def _feed(hash: hashlib.blake2b, thing: Any) -> None:
    """Everything that plain data says, with where it begins and ends."""
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        hash.update(f"<{thing.dtype.str}{thing.shape}".encode() + np.ascontiguousarray(thing).tobytes())
    elif is_dataclass(thing) and not isinstance(thing, type):
        hash.update(f"<{type(thing).__module__}.{type(thing).__qualname__}".encode())
        for f in fields(thing):
            _feed(hash, (f.name, getattr(thing, f.name)))
    elif isinstance(thing, Mapping):
        hash.update(b"<{")
        for item in sorted(thing.items()):
            _feed(hash, item)
    elif isinstance(thing, tuple | list):
        hash.update(b"<(")
        for item in thing:
            _feed(hash, item)
    elif thing is None or isinstance(thing, str | int | float | np.generic | torch.dtype):
        hash.update(f"<{type(thing).__name__} {thing!r}".encode())
    else:  # somebody's own fault that is no dataclass
        hash.update(f"<{type(thing).__module__}.{type(thing).__qualname__}".encode())
        _feed(hash, vars(thing))
    hash.update(b">")
