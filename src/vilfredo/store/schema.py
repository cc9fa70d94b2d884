"""The tables of a store, as numbered migrations: the first makes schema 1 of an empty file, and so on.

A migration that was ever released is never changed; what is to be different is a new one at the end.
Statements end with a semicolon at the end of a line.
"""

from __future__ import annotations

APPLICATION = 0x56494C46  # "VILF", in the file's header: tells a store from other SQLite databases

_FIRST = """
CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  created TEXT NOT NULL,                 -- ISO 8601, UTC
  status TEXT NOT NULL CHECK (status IN ('running', 'interrupted', 'finished', 'failed')),
  seed INTEGER NOT NULL,
  folder TEXT NOT NULL DEFAULT '',       -- of its artifacts, relative to the folder of the file
  driver TEXT,                           -- JSON: process and host that hold the run's lock
  spec TEXT NOT NULL,                    -- this and the next three: JSON
  description TEXT NOT NULL,
  goals TEXT NOT NULL,
  settings TEXT NOT NULL
);

CREATE TABLE environment (
  run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,                   -- JSON
  PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE TABLE genomes (                   -- each distinct one once, whatever run it is of
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,           -- BLAKE2b of the text
  json TEXT NOT NULL                     -- keys in their order: what draws random numbers may depend on it
);

CREATE TABLE works (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  ticket INTEGER NOT NULL,
  number INTEGER NOT NULL,               -- of the trial that it makes or continues
  time REAL NOT NULL,                    -- seconds since 1970, UTC
  genome INTEGER NOT NULL REFERENCES genomes(id),
  parents TEXT NOT NULL,                 -- JSON
  operator TEXT NOT NULL,
  trial INTEGER,
  fidelity INTEGER,
  goals TEXT,                            -- JSON, sorted
  noise INTEGER NOT NULL,
  split TEXT NOT NULL,
  "repeat" INTEGER NOT NULL,
  generation INTEGER,
  UNIQUE (run, ticket)
);

CREATE TABLE trials (                    -- one row per tell; the last one of a number is what is known of it
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of tells
  run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  ticket INTEGER NOT NULL,
  number INTEGER NOT NULL,
  time REAL NOT NULL,                    -- seconds since 1970, UTC
  genome INTEGER NOT NULL REFERENCES genomes(id),
  state TEXT NOT NULL,
  operator TEXT NOT NULL,
  seed INTEGER NOT NULL,
  generation INTEGER,
  seconds TEXT NOT NULL,                 -- JSON: by stage
  failure_kind TEXT,
  failure TEXT,                          -- JSON: [kind, message, traceback]
  artifact TEXT,
  artifact_inside INTEGER,               -- 1: the path is relative to the run's folder
  artifact_epoch INTEGER,
  artifact_bytes INTEGER,
  confirmed INTEGER NOT NULL,
  told_at REAL NOT NULL                  -- seconds of the run's wall time, when first told
);

CREATE INDEX trials_by_number ON trials (run, number);

CREATE TABLE parents (
  trial INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  number INTEGER NOT NULL,               -- of the parent, in the same run
  PRIMARY KEY (trial, place)
) WITHOUT ROWID;

CREATE TABLE epochs (
  trial INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  epoch INTEGER NOT NULL,                -- from 1
  seconds REAL NOT NULL,
  metrics TEXT NOT NULL,                 -- JSON
  PRIMARY KEY (trial, place)
) WITHOUT ROWID;

CREATE TABLE "values" (
  trial INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  goal TEXT NOT NULL,
  split TEXT NOT NULL,
  fidelity INTEGER,
  noise INTEGER NOT NULL,
  "repeat" INTEGER NOT NULL,             -- of the training seeds
  mean REAL,                             -- NULL where it is not a number
  sd REAL,
  n INTEGER NOT NULL,
  origin TEXT NOT NULL,
  low REAL,
  high REAL,
  PRIMARY KEY (trial, place)
) WITHOUT ROWID;

CREATE TABLE attempts (
  trial INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  number INTEGER NOT NULL,
  worker INTEGER NOT NULL,               -- process id
  seconds REAL NOT NULL,
  failure_kind TEXT,
  failure TEXT,                          -- JSON: [kind, message, traceback]
  PRIMARY KEY (trial, place)
) WITHOUT ROWID;

CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  time REAL NOT NULL,                    -- seconds since 1970, UTC
  kind TEXT NOT NULL,
  data TEXT NOT NULL                     -- JSON
);

CREATE INDEX events_by_run ON events (run, kind);

CREATE VIEW latest AS                    -- for people who ask with SQL: what is known of each trial
  SELECT * FROM trials WHERE id IN (SELECT max(id) FROM trials GROUP BY run, number)
"""

# JSON: when and why a stopper ended a training (SQLite keeps a comment as part of the column).
_HALTS = "ALTER TABLE trials ADD COLUMN halts TEXT NOT NULL DEFAULT '[]'"

MIGRATIONS: tuple[str, ...] = (_FIRST, _HALTS)
