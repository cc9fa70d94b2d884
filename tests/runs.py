"""Small searches for the tests of the loop, its resumption and its survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vilfredo.goal import Goal
from vilfredo.protocols import Snapshot, Weights, Work
from vilfredo.spaces.parameters import Float, Int, Parameters
from vilfredo.store import Run, Store
from vilfredo.trial import Trial, Value, to_json

TIMES = ("seconds", "told_at", "attempts", "artifact")
"""What wall time and the machine decide; everything else must be equal, run after run."""


@dataclass(frozen=True)
class Slope:
    """Training walks down to an error that depends on the genome and the seed; two goals in conflict.

    One epoch takes `pace` seconds; the checkpoint holds the state of the walk.
    """

    pace: float = 0.0
    epochs: int = 4
    limit: float | None = None
    space: Parameters = field(
        default_factory=lambda: Parameters(
            {"depth": Int(1, 9), "width": Float(1.0, 100.0, log=True), "rate": Float(0.0, 1.0)}
        )
    )
    quiet: frozenset[str] = frozenset()

    @property
    def goals(self) -> Sequence[Goal]:
        return (Goal("error"), Goal("cost", stage="preview", max=self.limit))

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "slope"}

    def layers(self, genome: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return []

    def preview(self, work: Work) -> Mapping[str, Value]:
        return {"cost": Value(float(work.genome["depth"] * work.genome["width"]))}

    def train(self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]) -> Any:
        import time

        error, done = 1.0, 0
        if resume is not None:
            error, done = float(resume["error"]), int(resume["done"])
        best = 1 / (work.genome["depth"] * work.genome["width"]) + abs(work.genome["rate"] - 0.3)
        for index in range(done + 1, (work.fidelity or self.epochs) + 1):
            time.sleep(self.pace)
            noise = float(np.random.default_rng([seed % 2**32, index]).normal(0, 0.01))
            error = 0.5 * error + 0.5 * best + noise
            state = {"error": np.array(error), "done": np.array(index)}
            yield Snapshot(index, {"val_error": error}, lambda s=state: s)
        return error

    def measure(self, work: Work, model: float, seed: int) -> Mapping[str, Value]:
        return {"error": Value(model + (0.01 if work.split == "test" else 0.0))}


def plain(trial: Trial) -> dict[str, Any]:
    """The trial without what wall time decides."""
    data = {k: v for k, v in to_json(trial).items() if k not in TIMES}
    data["epochs"] = [row[:2] for row in data["epochs"]]
    data["values"] = sorted(data["values"], key=str)
    return data


def new_run(path: str | Path, problem: Any, seed: int = 0) -> Run:
    return Store.open(path).create(
        name="test", seed=seed, spec={}, description=problem.describe(), goals=problem.goals
    )
