"""One SQLite file: how it is opened, brought up to date, written to, and what its errors mean.

The file is in WAL mode with `synchronous=NORMAL`: readers never wait for a writer, a writer never waits for
readers, and what was committed survives a kill of the process. WAL needs memory shared between all that
open the file, which network file systems do not give: on a cluster the coordinator alone opens the store.

Never open a store's file by other means than SQLite from the same process: closing such a file handle
drops SQLite's own locks on it (https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from vilfredo.store.schema import APPLICATION, MIGRATIONS

TIMEOUT = 30.0  # seconds to wait for another program's lock


class StoreError(ValueError):
    """A store cannot be used as asked; the message says in one sentence what, where and what to do."""


class Database:
    """A connection to one store file. Any thread may use it, one at a time; a forked child may not."""

    def __init__(
        self,
        path: str | Path,
        *,
        readonly: bool = False,
        create: bool = True,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        """Open `path`; make the file if there is none and `create`; apply the migrations it lacks.

        Raises `StoreError` and changes nothing if the file is no store, damaged, of a newer schema, read-only
        or locked, or if there is no such file or folder.
        """
        self.path = Path(path).expanduser().absolute()
        self.readonly = readonly
        self._process = os.getpid()
        self._closed = False
        self._guard = threading.RLock()
        _check_path(self.path, readonly, create)
        there = self.path.exists()
        with explained(self.path):
            self._connection = _connect(self.path, readonly)
            try:
                self._connection.execute("PRAGMA foreign_keys = ON")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                if _check_contents(self._connection, self.path, readonly, migrations):
                    _check_emptied(self._connection, self.path, there)
                    migrate(self._connection, migrations)
                if not readonly:
                    _write_ahead(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        # In a forked child, closing would fold the parent's write-ahead log under its feet.
        if os.getpid() != self._process or self._closed:
            return
        self._closed = True
        with explained(self.path):
            self._connection.close()
        if self.readonly:
            _fold(self.path)

    def __del__(self) -> None:
        # Who forgets to close a store has no harm from it; from Python 3.13 on sqlite3 would complain.
        if hasattr(self, "_connection"):
            with contextlib.suppress(StoreError):
                self.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """All that is read inside is from one moment. Raises `StoreError`."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside is kept, or nothing of it. Raises `StoreError`."""
        if self.readonly:
            raise StoreError(f"{self.path} was opened to read only; open it for writing to change it")
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:
            raise StoreError(f"{self.path} was opened in another process; open it again in this one")
        with self._guard, explained(self.path):
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors SQLite has rolled back by itself.
                with contextlib.suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                raise


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Apply the migrations that the file lacks, each in a transaction of its own: wholly or not at all."""
    while True:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            # Asked under the lock: another process may have been faster.
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version >= len(migrations):
                connection.execute("ROLLBACK")
                return
            for statement in migrations[version].split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise


def _check_path(path: Path, readonly: bool, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the file of the store")
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist; create it or choose another place")
    if not path.exists():
        if readonly or not create:
            raise StoreError(f"there is no store at {path}; check the path or start a search that writes it")
    elif not os.access(path, os.R_OK):
        raise StoreError(f"{path} may not be read by this user; change its permissions")
    if readonly:
        return
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(f"{path} is read-only; change its permissions or copy it to another place")
    if not os.access(path.parent, os.W_OK):
        raise StoreError(
            f"the folder {path.parent} is read-only and the store {path.name} needs to write there; "
            "change its permissions or choose another place"
        )


def _connect(path: Path, readonly: bool) -> sqlite3.Connection:
    if not readonly:
        return _open(path, "mode=rwc")
    connection = _open(path, "mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException as problem:
        connection.close()
        if not isinstance(problem, sqlite3.OperationalError):
            raise
        # A folder that may not be written to leaves no room for the shared memory of WAL. Without a pending
        # log nobody is writing and the file alone holds everything; with one it must not be ignored.
        log = path.with_name(f"{path.name}-wal")
        if _code(problem) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        if log.exists() and log.stat().st_size > 0:
            raise StoreError(
                f"{path} has a log that is not yet folded into it and its folder is read-only; "
                f"copy the store together with {log.name} to a folder that can be written to"
            ) from problem
        return _open(path, "mode=ro&immutable=1")
    return connection


def _fold(path: Path) -> None:
    """Fold in the log that a reader leaves, if nobody else uses the store: who may only read cannot do so,
    and its two files would stay beside the store."""
    if not path.with_name(f"{path.name}-wal").exists():
        return
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open(path, "mode=rw")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _open(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?{options}",
        uri=True,
        timeout=TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def _check_contents(
    connection: sqlite3.Connection, path: Path, readonly: bool, migrations: Sequence[str]
) -> bool:
    """Whether migrations are to be applied. Raises `StoreError` if this is no store that we know."""
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    empty = _is_empty(connection)
    if application != APPLICATION and not (application == 0 and empty):
        raise StoreError(f"{path} is a database of another program; choose another file for the store")
    if version > len(migrations):
        raise StoreError(
            f"{path} was written by a newer Vilfredo (schema {version}, this one knows {len(migrations)}); "
            "update Vilfredo to open it"
        )
    if version == len(migrations):
        return False
    if readonly:
        if empty:
            raise StoreError(f"{path} is empty, it holds no runs; start a search that writes to it")
        raise StoreError(
            f"{path} was written by an older Vilfredo (schema {version}); "
            "go on with one of its runs (vilfredo resume) to bring it up to date, or open it for writing"
        )
    return True


def _check_emptied(connection: sqlite3.Connection, path: Path, there: bool) -> None:
    """A file that was truncated to nothing is not a new one: what lies beside it belongs to what it held."""
    folder = artifacts_folder(path)
    # In this order: another process may be making the store right now, its first run comes later.
    if there and folder.is_dir() and any(folder.iterdir()) and _is_empty(connection):
        raise StoreError(
            f"{path} is empty although {folder.name} beside it holds results; "
            "restore the file from a copy, or choose another name for a new store"
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)


def _write_ahead(connection: sqlite3.Connection) -> None:
    # Changing the mode of a new file does not wait for locks as other statements do.
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            if _code(problem) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def artifacts_folder(path: Path) -> Path:
    """Where the artifacts of all runs of the store at `path` are: beside it."""
    return path.with_name(f"{path.stem}.artifacts")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into `StoreError`s that name the file."""
    try:
        yield
    except sqlite3.Error as problem:
        raise StoreError(_sentence(path, problem)) from problem
    except UnicodeDecodeError as problem:
        raise StoreError(
            f"{path} is damaged ({problem}); it was left as it is, restore it from a copy"
        ) from problem
    except OverflowError as problem:
        raise StoreError(f"a whole number beyond 64 bits cannot be written to {path}") from problem


def _code(problem: sqlite3.Error) -> int:
    return int(getattr(problem, "sqlite_errorcode", 0)) & 0xFF  # the primary code of an extended one


def _sentence(path: Path, problem: sqlite3.Error) -> str:
    match _code(problem):
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is no store (not an SQLite database); it was left as it is, choose another file"
        case sqlite3.SQLITE_CORRUPT:
            return f"{path} is damaged ({problem}); it was left as it is, restore it from a copy"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"{path} has been locked by another program for {TIMEOUT:.0f} seconds; "
                "close that program and try again"
            )
        case sqlite3.SQLITE_READONLY:
            return f"{path} is read-only; change its permissions or copy it to another place"
        case sqlite3.SQLITE_FULL:
            return (
                f"the disk that holds {path} is full; free some space and try again, "
                "what was recorded before is safe"
            )
        case sqlite3.SQLITE_IOERR:
            return (
                f"{path} could not be read or written ({problem}); check that its disk has space and works, "
                "what was recorded before is safe"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return f"{path} could not be opened; check its permissions and those of its folder"
        case sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return f"{path} may not be used by this user; change its permissions"
        case _:
            return f"the store {path} failed ({problem})"
