"""Accuracies and errors, in percent or not, as the engines know them: `error`, a fraction."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vilfredo.goal import Goal
from vilfredo.trial import Trial, Value

_QUOTED = re.compile(r"forecast -?\d[\d.e+-]* ± \d[\d.e+-]*")


@dataclass(frozen=True)
class Lens:
    """Engines know `error`, a fraction. An accuracy, or an error in percent, is shown to them as that.

    `scale` is 100 for percent. `engine` are the engine's goals; `goal` is None where nothing is to be turned.
    """

    engine: tuple[Goal, ...]
    goal: Goal | None = None
    scale: float = 1.0

    @classmethod
    def of(cls, goals: Sequence[Goal]) -> Lens:
        goal, *others = goals
        accuracy = goal.sense == "max" and goal.name.lower().replace("-", "_").split("_")[-1] in (
            "accuracy",
            "acc",
        )
        error = goal.sense == "min" and goal.name == "error"
        if not (accuracy or error) or any(g.name == "error" for g in others):
            return cls(tuple(goals))
        limits = [x for x in (goal.max, goal.min) if x is not None]
        percent = goal.unit in ("%", "percent", "points") or any(x > 1.5 for x in limits)
        lens = cls((), goal, 100.0 if percent else 1.0)
        turned = {"min": goal.min, "max": goal.max} if error else {"min": goal.max, "max": goal.min}
        bounds = {n: None if x is None else lens.to_error(x) for n, x in turned.items()}
        as_error = Goal("error", "min", "fraction", bounds["max"], bounds["min"], goal.ranked, goal.stage)
        return replace(lens, engine=(as_error, *others))

    def goals(self) -> tuple[Goal, ...]:
        return self.engine

    def scaled(self, value: float) -> Lens:
        """This one, or one for percent if `value` can be nothing else."""
        if self.goal is not None and self.scale == 1.0 and math.isfinite(value) and value > 1.5:
            return replace(self, scale=100.0)
        return self

    def to_error(self, value: float) -> float:
        assert self.goal is not None
        return value / self.scale if self.goal.sense == "min" else 1.0 - value / self.scale

    def trial(self, trial: Trial) -> Trial:
        """The trial as the engine sees it."""
        goal = self.goal
        if goal is None or (goal.name == "error" and self.scale == 1.0):
            return trial
        turned = {f"{kind}_{goal.name}": f"{kind}_error" for kind in ("val", "train")}
        epochs = tuple(
            replace(
                e,
                metrics={
                    turned.get(n, n): self.to_error(x) if n in turned else x for n, x in e.metrics.items()
                },
            )
            for e in trial.epochs
        )
        values = {
            k._replace(goal="error") if k.goal == goal.name else k: self._there(v)
            if k.goal == goal.name
            else v
            for k, v in trial.values.items()
        }
        halts = tuple(
            replace(
                h,
                forecast={
                    "error" if n == goal.name else n: self._there(v) if n == goal.name else v
                    for n, v in h.forecast.items()
                },
            )
            for h in trial.halts
        )
        return replace(trial, epochs=epochs, values=values, halts=halts)

    def _there(self, value: Value) -> Value:
        low, high = (None if x is None else self.to_error(x) for x in (value.low, value.high))
        assert self.goal is not None
        if self.goal.sense == "max":
            low, high = high, low
        return replace(value, mean=self.to_error(value.mean), sd=value.sd / self.scale, low=low, high=high)

    def values_back(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """An engine's values by goal in the user's goal and unit."""
        if self.goal is None:
            return dict(values)
        return {
            self.goal.name if n == "error" else n: self._back(v) if n == "error" else v
            for n, v in values.items()
        }

    def reason(self, text: str, forecast: Mapping[str, Value]) -> str:
        """An engine's reason, the forecast in it in the user's goal and unit."""
        if self.goal is None or self.goal.name not in forecast:
            return text
        value = forecast[self.goal.name]
        digits = min(4, max(0, 1 - math.floor(math.log10(max(value.sd, 1e-9)))))
        return _QUOTED.sub(f"forecast {value.mean:.{digits}f} ± {value.sd:.{digits}f}", text)

    def _back(self, value: Value) -> Value:
        assert self.goal is not None
        rising = self.goal.sense == "max"

        def back(x: float | None) -> float | None:
            return None if x is None else self.scale * (1.0 - x if rising else x)

        low, high = (back(value.high), back(value.low)) if rising else (back(value.low), back(value.high))
        mean = self.scale * (1.0 - value.mean if rising else value.mean)
        return replace(value, mean=mean, sd=value.sd * self.scale, low=low, high=high)
