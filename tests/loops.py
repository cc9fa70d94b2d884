"""Trainings that cost nothing, for the tests of what watches other people's loops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial, Value

EPOCHS = 12


def training(width: float, rate: float = 0.5, epochs: int = EPOCHS) -> Iterator[tuple[float, float]]:
    """(train, val) accuracy after each epoch: wider is better, most at `rate` 0.5; the noise is the same for
    the same network."""
    best = 0.55 + 0.35 * math.sqrt(width) - 0.4 * (rate - 0.5) ** 2
    rng = np.random.default_rng(int(1e6 * width) + int(1e3 * rate))
    for epoch in range(1, epochs + 1):
        learned = 1 - math.exp(-0.5 * epoch)
        noise = rng.normal(0, 0.004, 2)
        yield best * (0.4 + 0.63 * learned) + noise[0] / 4, best * (0.4 + 0.6 * learned) + noise[1]


def macs(width: float) -> float:
    return 1e6 * (0.05 + width)


class Half:
    """An engine of one's own: after `after` epochs, what is below the middle of all others then is halted."""

    def __init__(self, goals: Sequence[Goal], after: int = 3, pause: bool = False) -> None:
        if after < 1:
            raise ValueError("after must be 1 at least")
        self.goals, self.after, self.pause = tuple(goals), after, pause
        self.seen: list[Trial] = []

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        self.seen.append(trial)
        goal = self.goals[0]
        name = f"val_{goal.name}"
        here = [t.epochs[self.after - 1].metrics[name] for t in peers if len(t.epochs) >= self.after]
        now = trial.epochs[-1].metrics.get(name, math.nan)
        forecast = {goal.name: Value(now, 0.01)} if math.isfinite(now) else {}
        if len(trial.epochs) != self.after or len(here) < 4:
            return Verdict("go", forecast) if forecast else GO
        middle = float(np.nanmedian(here))
        bad = now > middle if goal.sense == "min" else now < middle
        if math.isfinite(now) and not bad:
            return Verdict("go", forecast)
        return Verdict("pause" if self.pause else "stop", forecast, f"worse than {middle:.3g} of others")

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return [t.number for t in trials if t.state == "paused"]
