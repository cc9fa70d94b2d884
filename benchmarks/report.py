"""What all benchmarks share: their command line, and figures written with what they were measured on."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from vilfredo import environment

PEERS = ("optuna", "pymoo", "fvcore", "numba", "snntorch", "spikingjelly", "pytorchfi")

beside = Path(__file__).resolve().parents[2] / "shared" / "data"
if "VILFREDO_DATA" not in os.environ and beside.is_dir():
    os.environ["VILFREDO_DATA"] = str(beside)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json FILE`; a benchmark adds its own options."""
    text = (description or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    return parser


def summary(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median under `name`, and beside it the range and how many values there were."""
    if not values:
        return {f"{name}.n": 0}
    return {
        name: statistics.median(values),
        f"{name}.low": min(values),
        f"{name}.high": max(values),
        f"{name}.n": len(values),
    }


def write(path: Path | None, figures: Mapping[str, float | str]) -> None:
    """Print the figures; with a path also write them there as flat JSON, machine, versions and date added."""
    for name, value in figures.items():
        print(f"{name:40} {value:.6g}" if isinstance(value, float) else f"{name:40} {value}")
    if path is None:
        return
    facts = environment.describe(Path(__file__).parent)
    versions = dict(facts["versions"])
    for peer in PEERS:
        try:
            versions[peer] = importlib.metadata.version(peer)
        except importlib.metadata.PackageNotFoundError:
            continue
    whole: dict[str, object] = dict(figures)
    whole["date"] = facts["time"]
    revision = facts["git"] or {}
    whole["git"], whole["git.dirty"] = revision.get("revision"), revision.get("dirty")
    for name in ("python", "platform", "cpu", "cores", "memory"):
        whole[f"machine.{name}"] = facts[name]
    for index, name in enumerate(facts["gpus"] or ()):
        whole[f"machine.gpu{index}"] = name
    whole |= {f"version.{name}": version for name, version in versions.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
