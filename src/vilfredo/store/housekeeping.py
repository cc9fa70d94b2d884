"""Which files of a run may go: pure choices over what lies in its artifacts folder, and the deleting."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.trial import Trial


@dataclass(frozen=True, slots=True)
class File:
    """A file in the folder of one trial: `model-<repeat>.safetensors`, `checkpoint-<repeat>.safetensors`,
    or one whose name begins with a dot, which was not finished."""

    trial: int
    path: Path
    bytes: int

    @property
    def partial(self) -> bool:
        return self.path.name.startswith(".")

    @property
    def checkpoint(self) -> bool:
        return self.path.name.startswith("checkpoint-")


def scan(folder: str | Path) -> list[File]:
    """All files in the trials' folders below `folder`; other things that lie there are not looked at."""
    found: list[File] = []
    for entry in _entries(folder):
        if entry.name.isdecimal() and entry.is_dir(follow_symlinks=False):
            for file in _entries(entry.path):
                # A worker may finish or delete a file between the two looks at it.
                with contextlib.suppress(FileNotFoundError):
                    if file.is_file(follow_symlinks=False):
                        found.append(File(int(entry.name), Path(file.path), file.stat().st_size))
    return found


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def choose(
    files: Sequence[File], trials: Sequence[Trial], goals: Sequence[Goal], limit: int, spared: Collection[int]
) -> list[File]:
    """Files to delete so that at most `limit` bytes are left, as far as the spared trials allow.

    First checkpoints of finished trainings, then what failed, was stopped or rejected, then what is
    dominated, the last front first, then what is paused, the first front last; the older before the newer.
    Files of trials that are not known are spared.
    """
    known = {trial.number: trial for trial in trials}
    finished = [trial for trial in trials if trial.state == "complete"]
    table, violations, usable = pareto.points(finished, goals)
    # Usable ones only: the others would be a front of their own.
    rank: dict[int, int] = {}
    rows = usable.nonzero()[0]
    for row, level in zip(rows, pareto.ranks(table[rows], violations[rows]), strict=True):
        rank[finished[row].number] = int(level)

    def order(file: File) -> tuple[int, int, int]:
        trial = known[file.trial]
        redundant = file.checkpoint and trial.artifact is not None and trial.artifact.path != str(file.path)
        if file.partial or (redundant and trial.state == "complete"):
            group, level = 0, 0
        elif trial.state in ("failed", "rejected", "stopped"):
            group, level = 1, 0
        elif trial.state == "paused":
            group, level = 3, 0
        else:
            level = rank.get(trial.number, len(trials))
            group = 2 if level > 0 else 4
        return group, -level, trial.number

    left = sum(file.bytes for file in files)
    chosen: list[File] = []
    for file in sorted((f for f in files if f.trial in known and f.trial not in spared), key=order):
        if left <= limit:
            break
        chosen.append(file)
        left -= file.bytes
    return chosen


def stale(files: Sequence[File], trials: Sequence[Trial], busy: Collection[int]) -> list[File]:
    """Unfinished files, and checkpoints of trials that will not be gone on with; none of `busy` trials.

    The checkpoint that is a trial's artifact is kept: a stopped trial has nothing else.
    """
    known = {trial.number: trial for trial in trials}
    found: list[File] = []
    for file in files:
        if file.trial in busy:
            continue
        trial = known.get(file.trial)
        kept = trial is None or trial.state == "paused"
        if trial is not None and trial.artifact is not None:
            kept = kept or Path(trial.artifact.path) == file.path
        if file.partial or (file.checkpoint and not kept):
            found.append(file)
    return found


def delete(files: Sequence[File]) -> int:
    """Delete the files and the folders that this leaves empty; returns how many bytes went.

    A file that is gone already, or that the system holds on to, counts nothing.
    """
    gone = 0
    for file in files:
        with contextlib.suppress(OSError):
            file.path.unlink()
            gone += file.bytes
    for folder in {file.path.parent for file in files}:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
    return gone
