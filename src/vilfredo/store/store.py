"""The store: one SQLite file with many runs, each an append-only log of works and trials.

`append_*` return when what they were given survives a kill of the process. Readers, in this process or
others, never wait for a writer. Runs are independent: two searches may write to one file at once. WAL, which
makes this possible, does not work on network file systems: on a cluster the coordinator alone opens the file.

Artifacts lie beside the file, in `<stem>.artifacts/<run>/<trial number>/`; the file knows them by relative
paths, so both can be moved together.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vilfredo.environment import describe
from vilfredo.goal import Goal
from vilfredo.protocols import Work
from vilfredo.store import housekeeping, rows
from vilfredo.store.database import Database, StoreError, artifacts_folder
from vilfredo.trial import JSON, Trial

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Run", "RunInfo", "Status", "Store", "StoreError"]

Status = Literal["running", "interrupted", "finished", "failed"]

LOCK = "driver.lock"
PATIENCE = 2.0  # seconds to wait for a driver that is just ending


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run in a list. `created` is ISO 8601 in UTC; `states` counts the trials by state."""

    id: int
    name: str
    created: str
    status: Status
    seed: int
    trials: int
    failures: int
    states: Mapping[str, int] = field(default_factory=dict)


class Store:
    """One file with many runs; made by `Store.open`, closed by `close` or at the end of a `with` block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: str | Path, *, readonly: bool = False, create: bool = True) -> Store:
        """Open the store at `path`; without one, make it if `create`; bring an older one up to date.

        Raises `StoreError` and leaves everything as it is if the file is no store, is damaged, was written
        by a newer program, cannot be read or written or stays locked, or if its folder does not exist.
        """
        return cls(Database(path, readonly=readonly, create=create))

    @property
    def path(self) -> Path:
        """The absolute path of the file."""
        return self._database.path

    def close(self) -> None:
        """Close the file. Raises `StoreError` only if the disk fails."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create(
        self,
        *,
        name: str,
        seed: int,
        spec: Mapping[str, JSON],
        description: Mapping[str, JSON],
        goals: Sequence[Goal],
        settings: Mapping[str, JSON] | None = None,
    ) -> Run:
        """A new run, with a description of the machine and the versions. Names may occur more than once.

        Raises `StoreError` if it cannot be written.
        """
        surroundings = describe()
        texts = (
            rows.dump(dict(spec), "the spec"),
            rows.dump(dict(description), "the description of the problem"),
            rows.dump([asdict(goal) for goal in goals], "the goals"),
            rows.dump(dict(settings or {}), "the settings"),
        )
        with self._database.writing() as connection:
            cursor = connection.execute(
                "INSERT INTO runs (name, created, status, seed, spec, description, goals, settings)"
                " VALUES (?, ?, 'running', ?, ?, ?, ?, ?)",
                (name, datetime.now(UTC).isoformat(timespec="seconds"), seed, *texts),
            )
            run = int(cursor.lastrowid or 0)
            connection.executemany(
                "INSERT INTO environment (run, key, value) VALUES (?, ?, ?)",
                [
                    (run, key, rows.dump(value, f"the environment's {key}"))
                    for key, value in surroundings.items()
                ],
            )
            folder = self._new_folder(run)
            connection.execute(
                "UPDATE runs SET folder = ? WHERE id = ?", (f"{folder.parent.name}/{folder.name}", run)
            )
        return self.run(run)

    def _new_folder(self, run: int) -> Path:
        """A folder that holds nothing yet, not even of a store of this name that was deleted."""
        root = artifacts_folder(self.path)
        attempt = 0
        while True:
            attempt += 1
            folder = root / (f"run-{run}" if attempt == 1 else f"run-{run}-{attempt}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                if folder.is_dir() and not any(folder.iterdir()):
                    return folder
            except OSError as problem:
                raise StoreError(
                    f"the folder {folder} for trained networks cannot be made ({problem.strerror}); "
                    "free space or change its permissions"
                ) from problem
            else:
                return folder

    def runs(self) -> list[RunInfo]:
        """All runs, oldest first."""
        found: list[RunInfo] = []
        with self._database.reading() as connection:
            table = connection.execute(
                "SELECT id, name, created, status, seed, folder, driver FROM runs ORDER BY id"
            ).fetchall()
            counts = {row[0]: rows.count_states(connection, row[0]) for row in table}
        for id, name, created, status, seed, folder, driver in table:
            states = counts[id]
            now = _status(status, self.path.parent / folder, driver)
            found.append(
                RunInfo(id, name, created, now, seed, sum(states.values()), states.get("failed", 0), states)
            )
        return found

    def run(self, which: int | str | None = None) -> Run:
        """A run by id or name, the newest of that name; None: the newest of all.

        Raises `StoreError`, which lists the runs that there are, if there is no such run.
        """
        with self._database.reading() as connection:
            known = connection.execute("SELECT id, name FROM runs ORDER BY id DESC").fetchall()
        if not known:
            raise StoreError(f"{self.path} holds no runs yet; start a search that writes to it")
        if which is None:
            return Run(self._database, known[0][0])
        for id, name in known:
            if which in (id, name):
                return Run(self._database, id)
        if isinstance(which, str) and which.isdecimal() and any(int(which) == id for id, _ in known):
            return Run(self._database, int(which))
        shown = ", ".join(f"{id} ({name})" if name else str(id) for id, name in known[:10])
        more = f" and {len(known) - 10} older ones" if len(known) > 10 else ""
        raise StoreError(f"there is no run {which!r} in {self.path}; there are {shown}{more}")


class Run:
    """One run: its log of works, trials and events, and its artifacts. Implements `protocols.Store`.

    Every method raises `StoreError` if the file cannot be read or written.
    """

    id: int
    name: str
    seed: int
    created: str  # ISO 8601, UTC
    spec: Mapping[str, JSON]
    description: Mapping[str, JSON]
    goals: tuple[Goal, ...]
    settings: Mapping[str, JSON]
    environment: Mapping[str, JSON]  # as it was when the run was made

    def __init__(self, database: Database, id: int) -> None:
        self._database = database
        self.id = id
        with database.reading() as connection, rows.readable(database.path):
            row = connection.execute(
                "SELECT name, seed, created, folder, spec, description, goals, settings"
                " FROM runs WHERE id = ?",
                (id,),
            ).fetchone()
            self.name, self.seed, self.created, folder, *texts = row
            self.spec, self.description, goals, self.settings = map(json.loads, texts)
            self.goals = tuple(Goal(**goal) for goal in goals)
            self.environment = {
                key: json.loads(value)
                for key, value in connection.execute(
                    "SELECT key, value FROM environment WHERE run = ? ORDER BY key", (id,)
                )
            }
        self._folder = database.path.parent / folder

    def __repr__(self) -> str:
        return f"<run {self.id} ({self.name}) in {self._database.path}>"

    # -- the log ----------------------------------------------------------------------------------

    def append_work(self, ticket: int, number: int, work: Work) -> None:
        """Log a work before it runs. Raises `StoreError` if the ticket is in the log already."""
        with self._database.writing() as connection:
            if connection.execute(
                "SELECT 1 FROM works WHERE run = ? AND ticket = ?", (self.id, ticket)
            ).fetchone():
                raise StoreError(
                    f"work {ticket} of run {self.id} is already in {self._database.path}; "
                    "two programs must not drive one run, stop one of them"
                )
            rows.insert_work(connection, self.id, ticket, number, work)

    def append_trial(self, ticket: int, trial: Trial) -> None:
        """Log what a work came to. Told again, a trial replaces what was known of its number; the log
        (`told`) keeps every version."""
        with self._database.writing() as connection:
            rows.insert_trial(connection, self.id, ticket, trial, self._folder)

    def append_event(self, kind: str, data: Mapping[str, JSON]) -> None:
        """Log anything else that happened, with the time."""
        text = rows.dump(dict(data), f"the event {kind!r}")
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO events (run, time, kind, data) VALUES (?, ?, ?, ?)",
                (self.id, time.time(), kind, text),
            )

    def works(self) -> list[tuple[int, int, Work]]:
        """(ticket, trial number, work), as logged."""
        with self._reading() as connection:
            return rows.read_works(connection, self.id)

    def told(self, epochs: bool = True) -> list[tuple[int, Trial]]:
        """(ticket, trial) in the order of `append_trial`, each as it was then.

        Without `epochs` the trials come without their epoch records, several times faster.
        """
        with self._reading() as connection:
            return rows.read_trials(connection, self.id, self._folder, epochs=epochs)

    def trials(self, epochs: bool = True) -> list[Trial]:
        """What is known of each trial now, sorted by number; without `epochs` several times faster."""
        with self._reading() as connection:
            found = rows.read_trials(connection, self.id, self._folder, rows.LATEST, epochs=epochs)
        return sorted((trial for _, trial in found), key=lambda trial: trial.number)

    def trial(self, number: int) -> Trial:
        """What is known of one trial now. Raises `StoreError` if there is none of this number."""
        with self._reading() as connection:
            found = rows.read_trials(connection, self.id, self._folder, rows.ONE, number)
            if found:
                return found[0][1]
            first, last = connection.execute(
                "SELECT min(number), max(number) FROM trials WHERE run = ?", (self.id,)
            ).fetchone()
        there = "it has none yet" if first is None else f"its trials are numbered {first} to {last}"
        raise StoreError(f"there is no trial {number} in run {self.id} of {self._database.path}; {there}")

    def events(self, kind: str | None = None) -> list[tuple[float, str, dict[str, Any]]]:
        """(seconds since 1970 in UTC, kind, data) in the order logged; of one kind only, if given."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT time, kind, data FROM events WHERE run = :run AND (:kind IS NULL OR kind = :kind)"
                " ORDER BY id",
                {"run": self.id, "kind": kind},
            )
            return [(when, what, json.loads(data)) for when, what, data in found]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Any]:
        with self._database.reading() as connection, rows.readable(self._database.path):
            yield connection

    # -- who drives it ----------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the run stands now; one that was left "running" by a process that is gone is "interrupted"."""
        with self._database.reading() as connection:
            status, driver = connection.execute(
                "SELECT status, driver FROM runs WHERE id = ?", (self.id,)
            ).fetchone()
        return _status(status, self._folder, driver)

    def set_status(self, status: Status) -> None:
        with self._database.writing() as connection:
            connection.execute("UPDATE runs SET status = ? WHERE id = ?", (status, self.id))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one that drives this run. The kernel frees the lock of a process that is killed.

        Raises `StoreError`, which names the process and its host, if another one drives it.
        """
        from filelock import FileLock, Timeout

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            guard = FileLock(str(self._folder / LOCK), thread_local=False)
            guard.acquire(timeout=PATIENCE)
        except Timeout as problem:
            raise StoreError(
                f"run {self.id} ({self.name}) in {self._database.path} is being driven by {self._driver()}; "
                "wait until it is done or stop it"
            ) from problem
        except OSError as problem:
            raise StoreError(
                f"run {self.id} cannot be locked in {self._folder} ({problem.strerror or problem}); "
                "change the folder's permissions or free space"
            ) from problem
        try:
            self._set_driver({"process": os.getpid(), "host": platform.node()})
            yield
        finally:
            try:
                # An error on the way out must not hide the one that led here.
                with contextlib.suppress(StoreError):
                    self._set_driver(None)
            finally:
                guard.release()

    def _set_driver(self, driver: dict[str, JSON] | None) -> None:
        text = None if driver is None else rows.dump(driver, "the driver")
        with self._database.writing() as connection:
            connection.execute("UPDATE runs SET driver = ? WHERE id = ?", (text, self.id))

    def _driver(self) -> str:
        with self._database.reading() as connection:
            (text,) = connection.execute("SELECT driver FROM runs WHERE id = ?", (self.id,)).fetchone()
        if text is None:
            return "another process"
        driver = json.loads(text)
        return f"process {driver['process']} on {driver['host']}"

    # -- artifacts --------------------------------------------------------------------------------

    def artifacts(self) -> str:
        """The folder of this run's artifacts, absolute; a trial's are in the folder of its number."""
        return str(self._folder)

    def trim(self, limit: int, keep: Collection[int]) -> int:
        """Delete artifacts until at most `limit` bytes are left; returns how many bytes went.

        Spared are the trials in `keep`, those whose work is not done yet, and the parents that such a work
        inherits from. Of the others go first checkpoints of finished trainings, then what failed, was
        stopped or rejected, then what is dominated (the last front first), then paused ones, the first
        front last; the older before the newer. What went is logged as an event `trimmed`.
        """
        files = housekeeping.scan(self._folder)
        if sum(file.bytes for file in files) <= limit:
            return 0
        with self._reading() as connection:
            pending = rows.read_works(connection, self.id, pending=True)
            found = rows.read_trials(connection, self.id, self._folder, rows.LATEST, epochs=False)
        spared = {*keep, *_busy(pending), *(p for _, _, work in pending for p in work.parents)}
        doomed = housekeeping.choose(files, [trial for _, trial in found], self.goals, limit, spared)
        return self._delete(doomed, "trimmed")

    def clean(self) -> int:
        """Delete checkpoints of trials that are done with and files that were never finished; returns
        how many bytes went. What belongs to a work that is not done yet is left alone."""
        files = housekeeping.scan(self._folder)
        if not files:
            return 0
        with self._reading() as connection:
            pending = rows.read_works(connection, self.id, pending=True)
            found = rows.read_trials(connection, self.id, self._folder, rows.LATEST, epochs=False)
        stale = housekeeping.stale(files, [trial for _, trial in found], _busy(pending))
        return self._delete(stale, "cleaned")

    def _delete(self, files: Sequence[housekeeping.File], kind: str) -> int:
        gone = housekeeping.delete(files)
        if gone:
            self.append_event(kind, {"bytes": gone, "trials": sorted({file.trial for file in files})})
        return gone


def _busy(pending: Sequence[tuple[int, int, Work]]) -> set[int]:
    """Trials that a work is going to write to."""
    return {number for _, number, _ in pending}


def _status(status: Status, folder: Path, driver: str | None) -> Status:
    if status == "running" and not (driver is not None and _locked(folder / LOCK)):
        return "interrupted"
    return status


def _locked(path: Path) -> bool:
    """Whether another open file holds the lock; asked without writing anything."""
    if not path.exists():
        return False
    try:
        import fcntl
    except ImportError:  # Windows
        from filelock import FileLock, Timeout

        try:
            with FileLock(str(path)).acquire(timeout=0):
                return False
        except (Timeout, OSError):
            return True
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return True  # somebody else's: the run said that it is being driven
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
