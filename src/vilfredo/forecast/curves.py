"""What an engine looks at: one goal's validation curve and its training curve, whatever the metrics are
called, turned so that less is better, and what the network came to where that is known.

The watched goal is the first ranked goal for which an epoch has a metric `val_<goal>` or `<goal>`
(`error`: also `val_accuracy`); its training curve is `train_<goal>`, for `error` also
1 − `train_accuracy`, else `train`, else `train_loss`. Every engine has the options `metric` and
`train_metric` for other names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vilfredo.goal import Goal
from vilfredo.protocols import Verdict
from vilfredo.trial import Key, Trial, Value

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """One network's curve. `val` and `train` are (n,), less is better; NaN where a metric is missing.

    `index` (n,) counts epochs from 1. `final` is the measured value of full training, in the same sense as
    `val` (None while there is none). `others` are the goals that are not watched and that have a value, or
    are a metric of the last epoch, less is better. `known` is every other value of the network that is no
    forecast, by name and as it is (sizes and costs, whether they are goals or not). `seconds` (n,) is what
    each epoch took.
    """

    number: int
    goal: Goal
    index: Array
    val: Array
    train: Array
    seconds: Array
    final: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)


def read(
    trial: Trial, goals: Sequence[Goal], epochs: int, metric: str = "", train_metric: str = ""
) -> Curve | None:
    """The trial's curve; None where no epoch has a metric of a goal. `epochs` is the length of full training.

    `final` is the measured value of the goal (the mean over the training seeds); where the trial is
    complete and the goal has no value, the last metric of an untruncated curve.
    """
    if not trial.epochs or trial.state == "failed":
        return None
    names: Mapping[str, float] = trial.epochs[-1].metrics
    found = _watched(names, goals, metric)
    if found is None:
        return None
    goal, val_name = found
    sign = 1.0 if goal.sense == "min" else -1.0
    train_name = train_metric or _training(names, goal)
    val = _column(trial, val_name, goal, sign)
    train = _column(trial, train_name, goal, sign)
    known = trial.value(goal.name)
    final: float | None = None
    if trial.state == "complete":
        if known is not None and known.origin == "measured":
            final = sign * known.mean
        elif known is None and trial.epochs[-1].index >= epochs:
            final = float(val[-1])
        if final is not None and not math.isfinite(final):
            final = None
    others = {}
    for other in goals:
        if other.name != goal.name and (value := trial.value(other.name)) is not None:
            others[other.name] = value.mean if other.sense == "min" else -value.mean
        elif other.name != goal.name and math.isfinite(told := names.get(other.name, math.nan)):
            others[other.name] = told if other.sense == "min" else -told
    return Curve(
        number=trial.number,
        goal=goal,
        index=np.array([e.index for e in trial.epochs], dtype=float),
        val=val,
        train=train,
        seconds=np.array([e.seconds for e in trial.epochs], dtype=float),
        final=final,
        others=others,
        known={
            key.goal: value.mean
            for key, value in trial.values.items()
            if key == Key(key.goal) and key.goal != goal.name and value.origin != "forecast"
        },
    )


def blind(trial: Trial, goals: Sequence[Goal]) -> Verdict:
    """What an engine says of a trial whose epochs have no metric of a goal: go on, with a remark."""
    metrics = ", ".join(sorted(trial.epochs[-1].metrics)) if trial.epochs else "none"
    named = ", ".join(g.name for g in goals if g.ranked)
    return Verdict(
        reason=f"the stopper has nothing to go by: none of the metrics ({metrics}) is of a ranked goal "
        f"({named}); name one with its option metric"
    )


def _watched(names: Iterable[str], goals: Sequence[Goal], metric: str) -> tuple[Goal, str] | None:
    names = set(names)
    ranked = [g for g in goals if g.ranked]
    if metric:
        known = {f"val_{g.name}": g for g in ranked} | {g.name: g for g in ranked}
        candidates = [g for g in ranked if g.stage == "measure"] or ranked
        goal = known.get(metric, candidates[0] if candidates else None)
        return (goal, metric) if goal is not None and metric in names else None
    for goal in ranked:
        for name in (f"val_{goal.name}", goal.name):
            if name in names:
                return goal, name
        if goal.name == "error" and "val_accuracy" in names:
            return goal, "val_accuracy"
    return None


def _training(names: Mapping[str, float], goal: Goal) -> str:
    wanted = [
        f"train_{goal.name}",
        *(["train_accuracy"] if goal.name == "error" else []),
        "train",
        "train_loss",
    ]
    return next((name for name in wanted if name in names), "")


def _column(trial: Trial, name: str, goal: Goal, sign: float) -> Array:
    """A metric along the epochs, less is better. Accuracies become errors, losses stay what they are."""
    raw = np.array([e.metrics.get(name, math.nan) for e in trial.epochs], dtype=float)
    if goal.name == "error" and name.endswith("accuracy"):
        return 1.0 - raw
    return raw if name.endswith(("loss", "error")) else sign * raw


def forecast(curve: Curve, mean: float, sd: float) -> dict[str, Value]:
    """A forecast of the watched goal, given with less being better, as a verdict carries it.

    Empty where it is not finite: no forecast rather than a wild one.
    """
    if not (math.isfinite(mean) and math.isfinite(sd)):
        return {}
    sign = 1.0 if curve.goal.sense == "min" else -1.0
    return {curve.goal.name: Value(sign * mean, sd, 1, "forecast")}
