"""Artifacts: named arrays in safetensors files, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.trial import Artifact, Epoch

LONGEST_FLOAT = 24  # characters of a number in JSON


class Damaged(ValueError):
    """An artifact that cannot be read; the message names the file."""


def write(path: str | Path, arrays: Mapping[str, NDArray[Any]], epochs: Sequence[Epoch]) -> Artifact:
    """Write `arrays` with the records of the epochs behind them; atomic: the old file or the new one.

    Raises `OSError` if the disk is full or read-only; nothing is written over then.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"epochs": json.dumps([[e.index, dict(e.metrics), e.seconds] for e in epochs])}
    # Equal trainings leave files of equal size, however long they took: a quota then removes the same ones.
    metadata["room"] = " " * sum(LONGEST_FLOAT - len(json.dumps(e.seconds)) for e in epochs)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        save_file({k: np.asarray(v, order="C") for k, v in arrays.items()}, str(partial), metadata)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except SafetensorError as problem:  # what safetensors makes of a full disk
        raise OSError(str(problem)) from problem
    finally:
        partial.unlink(missing_ok=True)
    return Artifact(str(target), epochs[-1].index if epochs else 0, target.stat().st_size)


def read(artifact: Artifact | str | Path) -> tuple[dict[str, NDArray[Any]], tuple[Epoch, ...]]:
    """The arrays of an artifact and the records of the epochs behind them.

    Raises `Damaged` if the file is missing, truncated or of another format.
    """
    from safetensors import SafetensorError, safe_open

    path = artifact.path if isinstance(artifact, Artifact) else str(artifact)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            rows = json.loads((file.metadata() or {}).get("epochs", "[]"))
    except (OSError, SafetensorError, ValueError) as problem:
        raise Damaged(f"cannot read the artifact {path}: {problem}") from problem
    return arrays, tuple(Epoch(i, m, s) for i, m, s in rows)


def find(folder: str | Path, repeat: int) -> Artifact | None:
    """What training with seed `repeat` left in `folder`: its model or its checkpoint, the one with more
    epochs; None if neither is there.

    A file that cannot be read counts as none: the training starts again.
    """
    from safetensors import SafetensorError, safe_open

    found: list[Artifact] = []
    for name in (f"model-{repeat}.safetensors", f"checkpoint-{repeat}.safetensors"):
        path = Path(folder) / name
        if not path.exists():
            continue
        try:
            with safe_open(str(path), framework="numpy") as file:
                rows = json.loads((file.metadata() or {}).get("epochs", "[]"))
        except (OSError, SafetensorError, ValueError):
            continue
        found.append(Artifact(str(path), rows[-1][0] if rows else 0, path.stat().st_size))
    return max(found, key=lambda artifact: artifact.epoch, default=None)


def size(folder: str | Path) -> int:
    """Bytes in all files below `folder`; 0 if there is none."""
    root = Path(folder)
    return sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) if root.exists() else 0


def remove(folder: str | Path) -> None:
    """Remove `folder` and all below it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
