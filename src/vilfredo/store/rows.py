"""Trials and works as rows of the store's tables, and back. Nothing here commits."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vilfredo.protocols import Work
from vilfredo.store.database import StoreError
from vilfredo.trial import (
    JSON,
    Artifact,
    Attempt,
    Epoch,
    Failure,
    Genome,
    Key,
    Trial,
    Value,
    failure_from_json,
    failure_to_json,
    halts_from_json,
    halts_to_json,
)

ALL = "SELECT id FROM trials WHERE run = :run"
LATEST = "SELECT max(id) FROM trials WHERE run = :run GROUP BY number"
ONE = "SELECT id FROM trials WHERE run = :run AND number = :number ORDER BY id DESC LIMIT 1"


def _plain(value: object) -> JSON:
    """NumPy's scalars are what measurements often give."""
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def dump(value: JSON, what: str) -> str:
    """`value` as JSON text; NaN and infinities are kept. Raises `StoreError` that names `what`."""
    try:
        return _encode(value)
    except (TypeError, ValueError) as problem:
        raise StoreError(
            f"{what} cannot be stored ({problem}); build it of None, bool, int, float, str, list and dict"
        ) from problem


def dump_genome(genome: Genome) -> str:
    """The genome as text, if it comes back equal: a resumed search must see what this one sees."""
    plain = dict(genome)
    text = dump(plain, "the genome")
    if json.loads(text) != plain:
        raise StoreError(
            f"the genome {text[:200]} does not survive JSON; build it of None, bool, int, finite float, str, "
            "list and dict with str keys (a tuple comes back as a list)"
        )
    return text


def _genome_id(connection: sqlite3.Connection, genome: Genome) -> int:
    text = dump_genome(genome)
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    row = connection.execute("SELECT id FROM genomes WHERE digest = ?", (digest,)).fetchone()
    if row is not None:
        return int(row[0])
    cursor = connection.execute("INSERT INTO genomes (digest, json) VALUES (?, ?)", (digest, text))
    return int(cursor.lastrowid or 0)


def insert_work(connection: sqlite3.Connection, run: int, ticket: int, number: int, work: Work) -> None:
    connection.execute(
        "INSERT INTO works (run, ticket, number, time, genome, parents, operator, trial, fidelity, goals,"
        ' noise, split, "repeat", generation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
        (
            run,
            ticket,
            number,
            time.time(),
            _genome_id(connection, work.genome),
            dump(list(work.parents), "the parents of a work"),
            work.operator,
            work.trial,
            work.fidelity,
            None if work.goals is None else dump(sorted(work.goals), "the goals of a work"),
            work.noise,
            work.split,
            work.repeat,
            work.generation,
        ),
    )


def read_works(
    connection: sqlite3.Connection, run: int, pending: bool = False
) -> list[tuple[int, int, Work]]:
    """(ticket, trial number, work) in the order logged; of `pending` ones only: those not told yet."""
    query = (
        "SELECT w.ticket, w.number, w.genome, g.json, w.parents, w.operator, w.trial, w.fidelity, w.goals,"
        ' w.noise, w.split, w."repeat", w.generation FROM works w JOIN genomes g ON g.id = w.genome'
        " WHERE w.run = :run"
    )
    if pending:
        query += " AND w.ticket NOT IN (SELECT ticket FROM trials WHERE run = :run)"
    genomes: dict[int, Genome] = {}
    found: list[tuple[int, int, Work]] = []
    with _no_collection():
        for row in connection.execute(query + " ORDER BY w.id", {"run": run}):
            ticket, number, genome, text, parents, operator, trial, fidelity, goals, *rest = row
            noise, split, repeat, generation = rest
            if genome not in genomes:
                genomes[genome] = json.loads(text)
            work = Work(
                genomes[genome],
                tuple(json.loads(parents)),
                operator,
                trial,
                fidelity,
                None if goals is None else frozenset(json.loads(goals)),
                noise,
                split,
                repeat,
                generation,
            )
            found.append((ticket, number, work))
    return found


def insert_trial(connection: sqlite3.Connection, run: int, ticket: int, trial: Trial, folder: Path) -> None:
    """`folder` is that of the run's artifacts; a path below it is stored relative to it."""
    path, inside = _relative(trial.artifact, folder)
    cursor = connection.execute(
        "INSERT INTO trials (run, ticket, number, time, genome, state, operator, seed, generation, seconds,"
        " failure_kind, failure, artifact, artifact_inside, artifact_epoch, artifact_bytes, confirmed,"
        " told_at, halts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run,
            ticket,
            trial.number,
            time.time(),
            _genome_id(connection, trial.genome),
            trial.state,
            trial.operator,
            trial.seed,
            trial.generation,
            dump(dict(trial.seconds), "the seconds of a trial"),
            *_failure_columns(trial.failure),
            path,
            inside,
            None if trial.artifact is None else trial.artifact.epoch,
            None if trial.artifact is None else trial.artifact.bytes,
            trial.confirmed,
            float(trial.told_at),
            dump(halts_to_json(trial.halts), "the halts of a trial") if trial.halts else "[]",
        ),
    )
    row = int(cursor.lastrowid or 0)
    if trial.parents:
        connection.executemany(
            "INSERT INTO parents (trial, place, number) VALUES (?, ?, ?)",
            [(row, place, parent) for place, parent in enumerate(trial.parents)],
        )
    if trial.epochs:
        connection.executemany(
            "INSERT INTO epochs (trial, place, epoch, seconds, metrics) VALUES (?, ?, ?, ?, ?)",
            [
                (row, place, e.index, float(e.seconds), dump(dict(e.metrics), "the metrics of an epoch"))
                for place, e in enumerate(trial.epochs)
            ],
        )
    if trial.values:
        connection.executemany(
            'INSERT INTO "values" (trial, place, goal, split, fidelity, noise, "repeat", mean, sd, n, origin,'
            " low, high) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    row,
                    place,
                    *key,
                    float(v.mean),
                    float(v.sd),
                    int(v.n),
                    v.origin,
                    None if v.low is None else float(v.low),
                    None if v.high is None else float(v.high),
                )
                for place, (key, v) in enumerate(trial.values.items())
            ],
        )
    if trial.attempts:
        connection.executemany(
            "INSERT INTO attempts (trial, place, number, worker, seconds, failure_kind, failure)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (row, place, a.number, a.worker, float(a.seconds), *_failure_columns(a.failure))
                for place, a in enumerate(trial.attempts)
            ],
        )


def _failure_columns(failure: Failure | None) -> tuple[str | None, str | None]:
    """The kind to count by, and all of it as JSON: a traceback may hold what is no valid UTF-8."""
    if failure is None:
        return None, None
    kind = failure.kind.encode("utf-8", "replace").decode()
    return kind, dump(failure_to_json(failure), "a failure")


def _relative(artifact: Artifact | None, folder: Path) -> tuple[str | None, int | None]:
    if artifact is None:
        return None, None
    root = f"{folder}{os.sep}"
    if artifact.path.startswith(root):
        return artifact.path[len(root) :].replace(os.sep, "/"), 1
    return artifact.path, 0


def _absolute(path: str, inside: int, folder: Path) -> str:
    return f"{folder}{os.sep}{path.replace('/', os.sep)}" if inside else path


def read_trials(
    connection: sqlite3.Connection,
    run: int,
    folder: Path,
    scope: str = ALL,
    number: int | None = None,
    epochs: bool = True,
) -> list[tuple[int, Trial]]:
    """(ticket, trial) of the rows in `scope` (`ALL`, `LATEST`, `ONE` with `number`), as told.

    Without `epochs` the trials come without their epoch records, several times faster.
    """
    which = {"run": run, "number": number}

    def rows(columns: str, table: str) -> dict[int, list[Any]]:
        return _grouped(
            connection.execute(
                f"SELECT trial, {columns} FROM {table} WHERE trial IN ({scope}) ORDER BY trial, place", which
            )
        )

    with _no_collection():
        parents = rows("number", "parents")
        values = rows('goal, split, fidelity, noise, "repeat", mean, sd, n, origin, low, high', '"values"')
        attempts = rows("number, worker, seconds, failure", "attempts")
        records = _read_epochs(connection, scope, which) if epochs else {}
        genomes: dict[int, Genome] = {}
        found: list[tuple[int, Trial]] = []
        for row in connection.execute(
            "SELECT t.id, t.ticket, t.number, t.genome, g.json, t.state, t.operator, t.seed, t.generation,"
            " t.seconds, t.failure, t.artifact, t.artifact_inside, t.artifact_epoch, t.artifact_bytes,"
            " t.confirmed, t.told_at, t.halts FROM trials t JOIN genomes g ON g.id = t.genome"
            f" WHERE t.id IN ({scope}) ORDER BY t.id",
            which,
        ):
            id, ticket, number, genome, text, state, operator, seed, generation, *rest = row
            seconds, failure, path, inside, epoch, size, confirmed, told_at, halts = rest
            if genome not in genomes:
                genomes[genome] = json.loads(text)
            trial = Trial(
                number,
                genomes[genome],
                state,
                tuple(parent for (parent,) in parents.get(id, ())),
                operator,
                seed,
                generation,
                records.get(id, ()),
                {Key(*r[:5]): _value(*r[5:]) for r in values.get(id, ())},
                json.loads(seconds),
                tuple(Attempt(n, w, s, _failure(f)) for n, w, s, f in attempts.get(id, ())),
                _failure(failure),
                None if path is None else Artifact(_absolute(path, inside, folder), epoch, size),
                confirmed,
                told_at,
                () if halts == "[]" else halts_from_json(json.loads(halts)),
            )
            found.append((ticket, trial))
    return found


def _grouped(rows: Iterator[tuple[Any, ...]] | sqlite3.Cursor) -> dict[int, list[Any]]:
    """The rest of each row, in lists by the row's first column, by which they are sorted."""
    groups: dict[int, list[Any]] = {}
    current: int | None = None
    group: list[Any] = []
    for first, *rest in rows:
        if first != current:
            current = first
            group = groups[first] = []
        group.append(rest)
    return groups


def _read_epochs(
    connection: sqlite3.Connection, scope: str, which: Mapping[str, int | None]
) -> dict[int, tuple[Epoch, ...]]:
    found: dict[int, tuple[Epoch, ...]] = {}
    current: int | None = None
    group: list[tuple[int, int, float, str]] = []

    def finish() -> None:
        # One call for a whole trial: parsing row by row takes twice as long.
        _, indices, seconds, texts = zip(*group, strict=True)
        metrics = json.loads("[" + ",".join(texts) + "]")
        found[group[0][0]] = tuple(map(Epoch, indices, metrics, seconds))

    for row in connection.execute(
        f"SELECT trial, epoch, seconds, metrics FROM epochs WHERE trial IN ({scope}) ORDER BY trial, place",
        which,
    ):
        if row[0] != current:
            if group:
                finish()
            current = row[0]
            group = []
        group.append(row)
    if group:
        finish()
    return found


def _value(
    mean: float | None,
    sd: float | None,
    n: int,
    origin: Any,
    low: float | None,
    high: float | None,
) -> Value:
    # SQLite knows no NaN and keeps NULL in its place.
    return Value(math.nan if mean is None else mean, math.nan if sd is None else sd, n, origin, low, high)


def _failure(text: str | None) -> Failure | None:
    return None if text is None else failure_from_json(json.loads(text))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What SQLite takes for sound and is not what was written: `StoreError` instead of a puzzle."""
    try:
        yield
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError) as problem:
        raise StoreError(
            f"{path} is damaged ({problem}); it was left as it is, restore it from a copy"
        ) from problem


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of new objects and no garbage: the collector would look at them again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count_states(connection: sqlite3.Connection, run: int) -> dict[str, int]:
    """How many trials of the run are in which state now."""
    # With max(), SQLite takes the other columns from the row that has the maximum.
    query = (
        "SELECT state, count(*) FROM"
        " (SELECT state, max(id) FROM trials WHERE run = ? GROUP BY number) GROUP BY state"
    )
    return dict(connection.execute(query, (run,)).fetchall())
