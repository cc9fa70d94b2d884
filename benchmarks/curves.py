"""Published learning curves in one shape: points of accuracy (0 to 100, more is better), epoch by epoch.

Formats, each also gzipped:

* CSV with the columns `experiment, arch_id, epoch, train_acc, val_acc, mflops` (more are allowed);
* TaskSet's JSON: a list of settings with `train.loss` and `valid.loss` of a two-class task;
* the text files of PENGUIN's example on CIFAR-100, one network per file, two rows per epoch;
* the CSVs of NATS-Bench (`x_valid_acc`) and of NAS-Bench-NLP (`val_loss`).

Losses become points by `points`: 100 at loss 0, 0 at the loss of a guess and above. Where the
curve of a network ends early, or has a number that is not finite, it is not complete and takes no part.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Group = Literal["accuracy", "taskset", "other"]

SUFFIXES = (".csv", ".csv.gz", ".json", ".json.gz", ".txt")
FEWEST = 20  # complete networks, without which shares of a tenth mean nothing
NLP_WORDS = 33_278  # the vocabulary of WikiText-2


@dataclass(frozen=True, slots=True)
class NetworkCurve:
    """One network. `train` and `val` are (n,), in points; `cost` is MFLOPs an inference (parameters in
    millions for NAS-Bench-NLP), NaN where the publisher gives none."""

    id: str
    train: Array
    val: Array
    cost: float = math.nan


@dataclass(frozen=True, slots=True)
class Experiment:
    """The complete networks of one experiment, in the order of the file; all have `epochs` rows.

    `group` says which mean it belongs to; `note` is for people.
    """

    name: str
    epochs: int
    networks: tuple[NetworkCurve, ...]
    group: Group = "accuracy"
    note: str = ""

    @property
    def priced(self) -> bool:
        return all(math.isfinite(n.cost) and n.cost > 0 for n in self.networks)


@dataclass(frozen=True, slots=True)
class Unfit:
    """An experiment that cannot be replayed, and why."""

    name: str
    reason: str


def available() -> list[Path]:
    """Every file below `$VILFREDO_DATA/learning_curves`, sorted. Raises `ValueError` where there is none."""
    folder = os.environ.get("VILFREDO_DATA")
    if not folder or not (root := Path(folder) / "learning_curves").is_dir():
        raise ValueError(
            "no curves: give files with --curves, or set VILFREDO_DATA to a folder with learning_curves/"
        )
    return sorted(p for p in root.rglob("*") if p.name.endswith(SUFFIXES))


def read_all(paths: Iterable[Path]) -> tuple[list[Experiment], list[Unfit]]:
    """Every experiment of the files. Files that hold parts of one experiment are put together."""
    every: list[Experiment | Unfit] = []
    texts: dict[str, list[Path]] = {}
    for path in paths:
        if path.name.endswith(".txt"):
            texts.setdefault(path.resolve().parent.name, []).append(path)
            continue
        every += read(path)
    for name, files in texts.items():
        try:
            every.append(_fitting(name, [_text(p) for p in files], "other"))
        except (IndexError, ValueError) as problem:
            every.append(Unfit(name, f"no text of PENGUIN's example ({problem})"))
    return [e for e in every if isinstance(e, Experiment)], [e for e in every if isinstance(e, Unfit)]


def read(path: Path) -> list[Experiment | Unfit]:
    """The experiments of one file. Raises `ValueError` if it is of none of the formats, one sentence."""
    name = path.name.removesuffix(".gz")
    stem = Path(name).stem
    if name.endswith(".json"):
        return [_taskset(path, stem)]
    if name.endswith(".txt"):
        return [_fitting(path.resolve().parent.name, [_text(path)], "other")]
    with _open(path) as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or ())
        if {"experiment", "arch_id", "epoch", "train_acc", "val_acc"} <= columns:
            return _plain(rows)
        if {"arch_index", "epoch", "train_acc", "x_valid_acc"} <= columns:
            return _nats(rows)
        if {"recipe_id", "epoch", "train_loss", "val_loss"} <= columns:
            return _nlp(rows, stem)
    raise ValueError(
        f"{path}: no learning curves; needed: experiment, arch_id, epoch, train_acc, val_acc, mflops"
    )


def points(loss: Array, chance: float) -> Array:
    """A loss in points: 100 · (1 − loss / chance), the loss clipped to [0, chance]; NaN counts as chance."""
    clipped = np.clip(np.where(np.isnan(loss), chance, loss), 0.0, chance)
    return np.asarray(100.0 * (1.0 - clipped / chance), dtype=float)


def _open(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _number(row: Mapping[str, Any], column: str) -> float:
    try:
        return float(row.get(column) or "nan")
    except ValueError:
        return math.nan


def _fitting(
    name: str, networks: Sequence[NetworkCurve], group: Group, note: str = "", full: int | None = None
) -> Experiment | Unfit:
    """The experiment of its complete networks, unless most are incomplete. `full` is the length of a
    complete curve (None: of the longest)."""
    longest = full or max((len(n.val) for n in networks), default=0)
    complete = tuple(n for n in networks if len(n.val) == longest and bool(np.isfinite(n.val).all()))
    if 2 * len(complete) < len(networks) or not complete:
        share = f"{len(complete)} of {len(networks)} networks are complete"
        return Unfit(name, f"only {share}: these trainings were stopped early")
    if len(complete) < len(networks):
        dropped = f"{len(networks) - len(complete)} incomplete networks left out"
        note = f"{note}; {dropped}" if note else dropped
    return Experiment(name, longest, complete, group, note)


def _curves(
    rows: Iterable[Mapping[str, str]], key: Sequence[str], train: str, val: str, cost: str
) -> Iterator[tuple[tuple[str, ...], NetworkCurve]]:
    """Rows gathered by `key`, sorted by epoch; a curve with a hole is cut there."""
    found: dict[tuple[str, ...], dict[float, Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault(tuple(row[k] for k in key), {})[_number(row, "epoch")] = row
    for which, by_epoch in found.items():
        epochs = sorted(e for e in by_epoch if math.isfinite(e))
        whole = epochs[: next((i for i, e in enumerate(epochs) if e != epochs[0] + i), len(epochs))]
        kept = [by_epoch[e] for e in whole] if epochs and epochs[0] in (0, 1) else []
        price = next((c for row in kept if math.isfinite(c := _number(row, cost))), math.nan)
        yield (
            which,
            NetworkCurve(
                "-".join(which[1:]),
                np.array([_number(row, train) for row in kept], dtype=float),
                np.array([_number(row, val) for row in kept], dtype=float),
                price,
            ),
        )


def _plain(rows: Iterable[Mapping[str, str]]) -> list[Experiment | Unfit]:
    by_name: dict[str, list[NetworkCurve]] = {}
    for (experiment, _), curve in _curves(rows, ("experiment", "arch_id"), "train_acc", "val_acc", "mflops"):
        by_name.setdefault(experiment, []).append(curve)
    found: list[Experiment | Unfit] = []
    for name, networks in by_name.items():
        highest = max((float(np.nanmax(n.val, initial=0.0)) for n in networks), default=0.0)
        note = ""
        if 0 < highest <= 1.0:
            networks = [NetworkCurve(n.id, 100 * n.train, 100 * n.val, n.cost) for n in networks]
            note = "fractions read as percent"
        found.append(_fitting(name, networks, "accuracy", note))
    return found


def _taskset(path: Path, name: str) -> Experiment | Unfit:
    """TaskSet (Metz et al. 2020) as in DPL's repository: 51 losses per setting, the first before training.

    A setting whose loss is no number has diverged: it is at chance.
    """
    with _open(path) as file:
        data = json.load(file)
    try:
        train = np.array([setting["train"]["loss"] for setting in data], dtype=float)
        val = np.array([setting["valid"]["loss"] for setting in data], dtype=float)
    except (KeyError, TypeError, ValueError) as problem:
        return Unfit(name, f"not TaskSet's format: {problem!r}")
    chance = math.log(2.0)  # two classes
    pairs = zip(train, val, strict=True)
    networks = [NetworkCurve(str(i), points(t, chance), points(v, chance)) for i, (t, v) in enumerate(pairs)]
    return _fitting(name, networks, "taskset")


def _text(path: Path) -> NetworkCurve:
    """Columns by name, separated by blanks; only the first row carries the setting. It names no training
    accuracy: its training loss in points takes the place, chance being the entropy of 100 classes."""
    with _open(path) as file:
        header = file.readline().split()
        rows = [line.split() for line in file if line.strip()]
    loss, accuracy = header.index("trainLoss"), header.index("valAcc")
    train = np.array([float(row[loss]) for row in rows])
    val = np.array([float(row[accuracy]) for row in rows])
    return NetworkCurve(
        path.name.removesuffix(".gz").removesuffix(".txt"), points(train, math.log(100.0)), val
    )


def _nats(rows: Iterable[Mapping[str, str]]) -> list[Experiment | Unfit]:
    by_name: dict[str, list[NetworkCurve]] = {}
    measured = [row for row in rows if row["x_valid_acc"]]
    key = ("hp", "space", "dataset", "arch_index", "seed")
    for (hp, space, dataset, *_), curve in _curves(measured, key, "train_acc", "x_valid_acc", "flops_m"):
        by_name.setdefault(f"nats_{space}_{dataset}_{hp}", []).append(curve)
    return [_fitting(name, networks, "other") for name, networks in by_name.items()]


def _nlp(rows: Iterable[Mapping[str, str]], name: str) -> list[Experiment | Unfit]:
    chance = math.log(NLP_WORDS)
    networks = []
    for _, raw in _curves(rows, ("recipe_id", "seed"), "train_loss", "val_loss", "num_params"):
        if np.isfinite(raw.val).all():
            cost = raw.cost / 1e6
            networks.append(NetworkCurve(raw.id, points(raw.train, chance), points(raw.val, chance), cost))
        else:
            networks.append(raw)
    return [_fitting(name.removesuffix("_curves"), networks, "other")]
