"""What early termination came to: epochs and seconds that it saved, and how good its forecasts were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vilfredo.goal import Goal
from vilfredo.trial import Halt, Key, Trial

WITHIN = 1.6448536269514722  # standard deviations of a normal: 90 % lie within


@dataclass(frozen=True, slots=True)
class Savings:
    """Of a whole run. Epochs and seconds are those of the search, not those of confirming with further seeds.

    `stopped` and `paused` networks are so now; `revived` ones were halted once and trained on later, as
    contenders or to confirm the front. `saved_seconds` is an estimate: the epochs that a halted network
    was spared, times its own mean seconds per epoch.
    """

    stopped: int = 0
    paused: int = 0
    revived: int = 0
    trained: int = 0  # epochs
    saved: int = 0  # epochs
    train_seconds: float = 0.0
    saved_seconds: float = 0.0
    engine_seconds: float = 0.0

    @property
    def halted(self) -> int:
        """Networks that were ever halted."""
        return self.stopped + self.paused + self.revived

    @property
    def share(self) -> float:
        """Of the epochs that training everybody in full would have taken, those saved."""
        return self.saved / (self.saved + self.trained) if self.saved else 0.0

    @property
    def net_seconds(self) -> float:
        """Seconds saved less those that the engine took; below 0 where it cost more than it saved."""
        return self.saved_seconds - self.engine_seconds

    @property
    def engine_share(self) -> float:
        """The engine's seconds relative to those of training."""
        return self.engine_seconds / self.train_seconds if self.train_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """A forecast whose truth came out: made for `goal` after `epoch`, and what was measured after full
    training with the same training seed."""

    trial: int
    goal: str
    epoch: int
    mean: float
    sd: float
    measured: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The checks of one goal: how many, the mean absolute difference in the goal's unit, and how many of the
    `spread` forecasts that have an sd were within their 90 % interval."""

    goal: str
    count: int
    error: float
    spread: int
    within: int


def savings(trials: Iterable[Trial], epochs: int) -> Savings:
    """`epochs` is the length of full training (0 if not known: the longest that was completed)."""
    known = list(trials)
    if epochs <= 0:
        epochs = max((t.epochs[-1].index for t in known if t.state == "complete" and t.epochs), default=0)
    count = {"stopped": 0, "paused": 0, "revived": 0}
    trained = saved = 0
    train = spared = engine = 0.0
    for trial in known:
        done = len(trial.epochs)
        trained += done
        train += trial.seconds.get("train", 0.0)
        engine += trial.seconds.get("engine", 0.0)
        if trial.state in ("stopped", "paused"):
            count[trial.state] += 1
            missing = max(0, epochs - done)
            saved += missing
            if done:
                spared += missing * sum(e.seconds for e in trial.epochs) / done
        elif trial.halts and trial.state == "complete":
            count["revived"] += 1
    return Savings(
        **count,
        trained=trained,
        saved=saved,
        train_seconds=train,
        saved_seconds=spared,
        engine_seconds=engine,
    )


def checks(trials: Iterable[Trial], goals: Sequence[Goal]) -> list[Check]:
    """Every forecast that can be compared: per trial and goal the last one before it was trained in full."""
    found = []
    for trial in trials:
        if not trial.halts or trial.state != "complete":
            continue
        for goal in goals:
            halt = last_forecast(trial, goal.name)
            real = trial.values.get(Key(goal.name))
            if halt is None or real is None or real.origin != "measured":
                continue
            guess = halt.forecast[goal.name]
            if guess.is_finite() and real.is_finite():
                found.append(Check(trial.number, goal.name, halt.epoch, guess.mean, guess.sd, real.mean))
    return found


def last_forecast(trial: Trial, goal: str) -> Halt | None:
    """The latest halt at which `goal` was forecast."""
    return next((halt for halt in reversed(trial.halts) if goal in halt.forecast), None)


def calibrations(found: Sequence[Check], goals: Sequence[Goal]) -> list[Calibration]:
    """The checks by goal, of the goals that have any."""
    rows = []
    for goal in goals:
        own = [c for c in found if c.goal == goal.name]
        if own:
            spread = [c for c in own if c.sd > 0]
            within = sum(abs(c.measured - c.mean) <= WITHIN * c.sd for c in spread)
            error = sum(abs(c.measured - c.mean) for c in own) / len(own)
            rows.append(Calibration(goal.name, len(own), error, len(spread), within))
    return rows
