"""Fetching a published file: resumed where it broke off, checked by its SHA-256, put in place whole."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vilfredo.data.dataset import DataError

CHUNK = 1 << 18


@dataclass(frozen=True)
class Remote:
    """A published file: its name, where it can be had (tried in this order) and its SHA-256."""

    file: str
    urls: tuple[str, ...]
    sha256: str


class _Broken(Exception):
    """One try that did not work, and why."""


def fetch(remote: Remote, folder: Path, timeout: float = 20.0) -> Path:
    """The file of that name in `folder`, downloaded unless it is there already.

    What arrives lies in a hidden `.part` file until its checksum is right, so the file is there whole or
    not at all; a download that broke off goes on from there, now or in the next call. Two processes
    that want the same file wait for each other. `timeout` is in seconds without a byte.
    Raises `DataError` that says why it failed, and where to put the file by hand.
    """
    from filelock import FileLock

    target = folder / remote.file
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{remote.file}.lock"):
            for url in remote.urls:
                if target.exists():
                    return target
                try:
                    _fetch_from(url, remote, folder / f".{remote.file}.part", target, timeout)
                    return target
                except _Broken as why:
                    reasons.append(f"{url}: {why}")
    except OSError as problem:
        raise DataError(
            f"cannot keep the download of {remote.file} in {folder} ({problem.strerror or problem}); "
            "make room there or set VILFREDO_DATA to a folder that holds the data"
        ) from problem
    raise DataError(
        f"could not download {remote.file} ({'; '.join(reasons)}); get it by hand and put it at {target}"
    )


def _fetch_from(url: str, remote: Remote, part: Path, target: Path, timeout: float) -> None:
    for last in (False, False, True):
        resumed = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part, resumed, timeout)
        except _Broken:
            # Go on at once if something came, so that one dropped connection is no failure.
            if last or (part.stat().st_size if part.exists() else 0) <= resumed:
                raise
            continue
        found = _sha256(part)
        if found == remote.sha256:
            os.replace(part, target)
            return
        part.unlink()
        if resumed and not last:
            continue  # the old half may have been of another file: once more from the start
        raise _Broken(
            f"the file is damaged or not the published one (SHA-256 {found[:12]}…, not {remote.sha256[:12]}…)"
        )


def _receive(url: str, part: Path, resumed: int, timeout: float) -> None:
    """Append what `url` sends to `part`. Raises `_Broken` if it was not everything."""
    request = urllib.request.Request(url, headers={"User-Agent": "vilfredo", "Accept-Encoding": "identity"})
    if resumed:
        request.add_header("Range", f"bytes={resumed}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            goes_on = resumed > 0 and answer.status == 206
            done = resumed if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = done + int(length) if length and length.isdigit() else None
            with open(part, "ab" if goes_on else "wb") as file, _bar(url, done, total) as advance:
                _copy(answer, file, advance)
                got = file.tell()
    except urllib.error.HTTPError as problem:
        if problem.code == 416 and resumed:  # nothing left to send: the checksum will judge what is there
            return
        raise _Broken(f"the server answered {problem.code} {problem.reason}") from problem
    except TimeoutError as problem:
        raise _Broken(f"nothing came for {timeout:g} seconds") from problem
    except urllib.error.URLError as problem:
        raise _Broken(f"no connection ({problem.reason})") from problem
    except http.client.HTTPException as problem:
        raise _Broken(f"the answer broke off ({type(problem).__name__})") from problem
    except ConnectionError as problem:
        raise _Broken(f"the connection broke off ({problem.strerror or problem})") from problem
    if total is not None and got < total:
        raise _Broken(f"it broke off after {got} of {total} bytes")


def _copy(answer: IO[bytes], file: IO[bytes], advance: _Advance) -> None:
    while chunk := answer.read(CHUNK):
        file.write(chunk)
        advance(len(chunk))


class _Advance:
    """Tells how many more bytes came; does nothing where nobody watches."""

    def __call__(self, count: int) -> None:
        return


@contextlib.contextmanager
def _bar(url: str, done: int, total: int | None) -> Iterator[_Advance]:
    """A progress bar on a terminal, else one line; both on standard error."""
    name = url.rsplit("/", 1)[-1]
    if not sys.stderr.isatty():
        size = "" if total is None else f" ({total / 1e6:.1f} MB)"
        print(f"downloading {name}{size} from {url}", file=sys.stderr, flush=True)
        yield _Advance()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn())
    with Progress(
        *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task(name, total=total, completed=done)

        class Move(_Advance):
            def __call__(self, count: int) -> None:
                progress.advance(task, count)

        yield Move()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
