"""PENGUIN, as it was published.

A. Keller Rorabaugh, S. Caíno-Lores, T. Johnston, M. Taufer: "PEng4NN: An Accurate Performance Estimation
Engine for Efficient Automated Neural Network Architecture Search", arXiv 2101.04185, 2021; "Building
High-throughput Neural Architecture Search Workflows via a Decoupled Fitness Prediction Engine" (PENGUIN),
IEEE TPDS 33(11), 2022; A4NN, ICPP 2023. After every epoch it fits

    f(x) = a - b^(c - x),    a in [0.5, 200], b >= 1, c >= 0,

to the accuracies so far (percent, least squares, SciPy's trust-region reflective method), predicts the end of
training, and stops when the last N predictions lie in [0, 100] and within r of their median.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.forecast import curves
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial

Array = NDArray[np.float64]
Start = tuple[float, float, float]

REMEMBERED = 8192  # fits, of about 1 kB each


class Penguin:
    """The published engine in its two forms, for one goal.

    `variant`:

    * `"a4nn"` (A4NN, NSGA-Net): x counts epochs from 0; the first fit has C_min + 1 points; fits begin at
      the middle of the bounds, or 1 beyond a bound without opposite: [100.25, 2, 1]; the prediction is
      f(e_pred), one epoch beyond the last; a failed fit counts as a prediction out of range.
    * `"penguin"` (MENNDL, EvoCNN): x counts records from 1; the first fit has C_min - 1 points; fits
      begin at [10, 1.001, 100]; the prediction is f(e_pred / E); a failed fit is passed over, a
      prediction out of range empties the list of the last N.

    Both go by the authors' programs where these differ from the papers (the first fit). The numbers have the
    names of the papers: `N` predictions within `r` points; `C_min` points for a fit; `e_pred`, the epoch to
    predict, `None` for the last one of full training; `E` epochs from one record to the next, which
    matters only where `e_pred` is given (with two records per epoch, `epochs` counts records). `start` are
    the a, b, c at which fits begin, `None` for those of the variant; `lower` their lower bounds; `a_max` the
    upper bound of a; `low` and `high` bound predictions that count.

    Ours: the goal `error` (and every minimised goal whose unit is a fraction) is watched as
    100 (1 - error), a maximised fraction as 100 times itself, any other metric as it comes; `scale` are
    other points per unit than these 100 or 1. So a falling loss is fitted by a constant, as in the
    published engine. Records that are not finite are left out. With several goals the first curve alone
    decides, as published. The forecast is the last prediction. The engine knows no uncertainty; the sd
    given is the sample standard deviation of the last N predictions: how far they agree, not how far they
    are from the truth.

    A fit takes some 15 ms. Raises `ValueError` where SciPy is missing or an option is out of range.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        *,
        variant: Literal["a4nn", "penguin"] = "a4nn",
        metric: str = "",
        N: int = 3,
        r: float = 0.5,
        C_min: int = 3,
        E: float = 1.0,
        e_pred: float | None = None,
        start: Start | None = None,
        lower: Start = (0.5, 1.0, 0.0),
        a_max: float = 200.0,
        low: float = 0.0,
        high: float = 100.0,
        scale: float | None = None,
    ) -> None:
        if variant not in ("a4nn", "penguin"):
            raise ValueError(f"variant of penguin must be 'a4nn' or 'penguin', not {variant!r}")
        if N < 1:
            raise ValueError(f"N of penguin must be at least 1, not {N}")
        if C_min < 2:
            raise ValueError(f"C_min of penguin must be at least 2, not {C_min}")
        for name, value in (("r", r), ("E", E), ("e_pred", e_pred), ("scale", scale)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of penguin must be above 0, not {value}")
        if len(lower) != 3 or not (all(map(math.isfinite, lower)) and lower[0] < a_max < math.inf):
            raise ValueError(
                f"lower of penguin must be three numbers, the first below a_max, not {list(lower)}"
            )
        if lower[1] < 0:
            raise ValueError(f"lower of penguin must bound b by 0 or more, not {lower[1]}")
        if not low < high:
            raise ValueError(f"low of penguin must be below high, not {low} and {high}")
        if start is None:
            middle = ((lower[0] + a_max) / 2, lower[1] + 1.0, lower[2] + 1.0)
            start = middle if variant == "a4nn" else (10.0, 1.001, 100.0)
        if len(start) != 3 or start[0] > a_max or any(s < b for s, b in zip(start, lower, strict=True)):
            raise ValueError(f"start of penguin must lie within lower and a_max, not {list(start)}")
        if importlib.util.find_spec("scipy") is None:
            raise ValueError('the stopper penguin needs SciPy: pip install "vilfredo[forecast]"')
        self.goals = tuple(goals)
        self.variant = variant
        self.metric = metric
        self.count = N
        self.spread = r
        self.points = C_min + 1 if variant == "a4nn" else C_min - 1
        self.every = E
        self.target = e_pred
        self.start: Start = (float(start[0]), float(start[1]), float(start[2]))
        self.lower: Start = (float(lower[0]), float(lower[1]), float(lower[2]))
        self.a_max = float(a_max)
        self.low = low
        self.high = high
        self.scale = scale

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        if not trial.epochs or trial.epochs[-1].index >= epochs:
            return GO
        curve = curves.read(trial, self.goals, epochs, self.metric)
        if curve is None:
            return curves.blind(trial, self.goals)
        last = self._last(curve, epochs)
        if len(last) < self.count or not all(self.low <= p <= self.high for p in last):
            return GO
        sd = float(np.std(last, ddof=1)) if self.count > 1 else 0.0
        points = self._scale(curve.goal)
        forecast = curves.forecast(curve, self._less(curve.goal, last[-1]), sd / points)
        middle = float(np.median(last))
        if all(abs(p - middle) <= self.spread for p in last):
            reason = f"the last {self.count} predictions agree within {self.spread:g} ({last[-1]:.2f})"
            return Verdict("stop", forecast, reason)
        return Verdict("go", forecast)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return ()

    def predictions(self, trial: Trial, epochs: int) -> Mapping[int, float]:
        """What is predicted after each epoch, in points, by the epoch's index; inf where the fit failed or
        the points are too few."""
        curve = curves.read(trial, self.goals, epochs, self.metric)
        if curve is None:
            return {}
        x, y, target = self._data(curve, epochs)
        finite = np.isfinite(y)
        found: dict[int, float] = {}
        for row, index in enumerate(curve.index):
            seen = finite[: row + 1]
            found[int(index)] = self._fit(x[: row + 1][seen], y[: row + 1][seen], target)
        return found

    # -- the curve in points --------------------------------------------------------------------------

    def _scale(self, goal: Goal) -> float:
        if self.scale is not None:
            return self.scale
        return 100.0 if _fraction(goal) else 1.0

    def _data(self, curve: curves.Curve, epochs: int) -> tuple[Array, Array, float]:
        """x, y in points, and the x to predict."""
        goal = curve.goal
        scale = self._scale(goal)
        with np.errstate(over="ignore"):
            if goal.sense == "max":
                y = -curve.val * scale
            elif _fraction(goal):
                y = (1.0 - curve.val) * scale
            else:
                y = curve.val * scale
        target = float(epochs) if self.target is None else self.target / self.every
        return (curve.index - 1.0 if self.variant == "a4nn" else curve.index), y, target

    def _less(self, goal: Goal, points: float) -> float:
        """A prediction in points as a value of the curve, where less is better."""
        value = points / self._scale(goal)
        if goal.sense == "max":
            return -value
        return 1.0 - value if _fraction(goal) else value

    # -- predictions ------------------------------------------------------------------------------------

    def _last(self, curve: curves.Curve, epochs: int) -> list[float]:
        """The predictions that are compared, the oldest first: at most N."""
        last: list[float] = []
        for prediction in self._backwards(curve, epochs):
            if self.variant == "penguin":
                if not math.isfinite(prediction):
                    continue
                if not self.low <= prediction <= self.high:
                    break
            last.append(prediction)
            if len(last) == self.count:
                break
        return last[::-1]

    def _backwards(self, curve: curves.Curve, epochs: int) -> Iterator[float]:
        x, y, target = self._data(curve, epochs)
        finite = np.isfinite(y)
        x, y = x[finite], y[finite]
        for count in range(len(y), self.points - 1, -1):
            yield self._fit(x[:count], y[:count], target)

    def _fit(self, x: Array, y: Array, target: float) -> float:
        if len(y) < self.points:
            return math.inf
        return _predict(tuple(x), tuple(y), target, self.start, self.lower, self.a_max)


def _fraction(goal: Goal) -> bool:
    return goal.unit == "fraction" or (goal.name == "error" and not goal.unit)


def _curve(x: Array, a: float, b: float, c: float) -> Array:
    return np.asarray(a - b ** (c - x), dtype=float)


@lru_cache(maxsize=REMEMBERED)
def _predict(
    x: tuple[float, ...], y: tuple[float, ...], target: float, start: Start, lower: Start, a_max: float
) -> float:
    """f(target) of the curve fitted to (x, y); inf where the fit fails. A function of its arguments."""
    from scipy.optimize import least_squares  # what curve_fit, which the authors call, calls

    xs, ys = np.array(x), np.array(y)
    try:
        with np.errstate(all="ignore"):
            fit = least_squares(
                lambda p: _curve(xs, p[0], p[1], p[2]) - ys,
                np.array(start),
                bounds=(np.array(lower), np.array((a_max, math.inf, math.inf))),
                method="trf",
            )
            prediction = float(_curve(np.array(target), *fit.x))
    except (ValueError, np.linalg.LinAlgError):  # residuals beyond floating point
        return math.inf
    return prediction if fit.success and math.isfinite(prediction) else math.inf
