"""Complete learning curves played back through an engine, as a search would do it, and what came of it.

One network at a time, epoch by epoch. The engine is called after every epoch; its verdict at the last one
changes nothing. It sees what a search would have seen: the epochs that were paid for, what the preview
knows, and the final value of a network only once that was trained to the end. When the worker is free, the
first paused network that `revive` names goes on from where it was, until `revive` names none; then comes the
next network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves import Experiment
from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Reviser, Stopper, Verdict
from vilfredo.trial import Epoch, Halt, Key, Trial, Value

Array = NDArray[np.float64]

ERROR = Goal("error", unit="fraction")
FLOPS = Goal("flops", unit="count", stage="preview")
ONE = (ERROR,)
TWO = (ERROR, FLOPS)


@dataclass(frozen=True)
class Replay:
    """What one replay came to; rows are networks in the order in which they were trained.

    `true` and `returned` (n,) in points: the value at the end of full training, and what the search has
    at its end, measured or forecast. `cost` (n,) MFLOPs, all 1 where unknown; `paid` (n,) epochs.
    """

    epochs: int
    true: Array
    returned: Array
    cost: Array
    paid: NDArray[np.int64]
    seconds: float  # the engine's own
    revived: int = 0  # how many times
    trials: tuple[Trial, ...] = ()

    @cached_property
    def full(self) -> NDArray[np.bool_]:
        return np.asarray(self.paid == self.epochs)


def replay(
    experiment: Experiment, order: Sequence[int], engine: Stopper, goals: Sequence[Goal] = ONE
) -> Replay:
    """The networks `order` of the experiment through an engine that was built with `goals`."""
    player = _Player(experiment, order, engine, goals)
    for number in range(len(order)):
        player.train(number)
        player.revive()
    player.revise()
    trials = player.told
    networks = [experiment.networks[i] for i in order]
    values = [t.value("error") for t in trials]
    return Replay(
        epochs=experiment.epochs,
        true=np.array([n.val[-1] for n in networks]),
        returned=np.array([100.0 * (1.0 - v.mean) for v in values if v is not None]),
        cost=np.array([n.cost if experiment.priced else 1.0 for n in networks]),
        paid=np.array([len(t.epochs) for t in trials]),
        seconds=player.seconds,
        revived=player.revived,
        trials=tuple(trials),
    )


class _Player:
    def __init__(
        self, experiment: Experiment, order: Sequence[int], engine: Stopper, goals: Sequence[Goal]
    ) -> None:
        self.experiment = experiment
        self.order = order
        self.engine = engine
        self.watched = {g.name for g in goals} - {"flops"}
        self.told: list[Trial] = []
        self.seconds = 0.0
        self.revived = 0

    def train(self, number: int) -> None:
        """Train a network, new or paused, until the engine halts it or to the end, and tell it."""
        network = self.experiment.networks[self.order[number]]
        epochs = self.experiment.epochs
        known = self.told[number] if number < len(self.told) else None
        flops = network.cost * 1e6
        preview = {Key("flops"): Value(flops)} if self.experiment.priced else {}
        paid: list[Epoch] = list(known.epochs) if known is not None else []
        peers = self.told if known is None else [t for t in self.told if t.number != number]
        genome = {"id": network.id}
        seconds = network.cost / 1e3 if self.experiment.priced else 1.0
        verdict = GO
        halted = False
        while len(paid) < epochs:
            i = len(paid)
            metrics = {"val_error": 1.0 - network.val[i] / 100.0}
            if math.isfinite(network.train[i]):
                metrics["train_accuracy"] = network.train[i] / 100.0
            paid.append(Epoch(i + 1, {k: float(v) for k, v in metrics.items()}, seconds))
            trial = Trial(number, genome, "paused", epochs=tuple(paid), values=dict(preview))
            began = time.perf_counter()
            verdict = self.engine(trial, peers, epochs)
            self.seconds += time.perf_counter() - began
            if verdict.action != "go" and len(paid) < epochs:
                halted = True
                break
        trial = Trial(number, genome, "complete", epochs=tuple(paid), values=dict(preview))
        if known is not None:
            trial = replace(trial, halts=known.halts, values=known.values)
        trial = _halted(trial, verdict, self.watched) if halted else _finished(trial)
        if known is None:
            self.told.append(trial)
        else:
            self.told[number] = trial

    def revive(self) -> None:
        while True:
            began = time.perf_counter()
            named = list(self.engine.revive(self.told))
            self.seconds += time.perf_counter() - began
            paused = [n for n in named if 0 <= n < len(self.told) and self.told[n].state == "paused"]
            if not paused:
                return
            self.revived += 1
            self.train(paused[0])

    def revise(self) -> None:
        """At the end, as the search does: new forecasts of the halted."""
        engine: object = self.engine
        if not isinstance(engine, Reviser):
            return
        began = time.perf_counter()
        revised = engine.revise(self.told)
        self.seconds += time.perf_counter() - began
        for number, forecast in revised.items():
            if "error" in forecast and self.told[number].state != "complete":
                value = replace(forecast["error"], origin="forecast")
                self.told[number] = self.told[number].with_values({Key("error"): value})


def _finished(trial: Trial) -> Trial:
    return trial.with_values({Key("error"): Value(trial.epochs[-1].metrics["val_error"])})


def _halted(trial: Trial, verdict: Verdict, watched: set[str]) -> Trial:
    """As the search tells a halted network: what was forecast under the key of full training, else what
    was measured, at its fidelity."""
    last = trial.epochs[-1]
    action: Literal["pause", "stop"] = "pause" if verdict.action == "pause" else "stop"
    halt = Halt(last.index, action, verdict.reason, dict(verdict.forecast))
    values = {
        Key(name): replace(value, origin="forecast")
        for name, value in verdict.forecast.items()
        if name in watched and value.is_finite()
    }
    if Key("error") not in values:
        values[Key("error", fidelity=last.index)] = Value(last.metrics["val_error"])
    trial = replace(trial, state="paused" if action == "pause" else "stopped", halts=(*trial.halts, halt))
    return trial.with_values(values)


# -- what came of it ------------------------------------------------------------------------------


def scores(run: Replay, two: bool = False) -> dict[str, float]:
    """The figures of one replay; those of fronts only with `two`, or where costs differ."""
    paid = run.paid / run.epochs
    found = {
        "saved": 1.0 - float(paid.mean()),
        "saved_flops": 1.0 - float((paid * run.cost).sum() / run.cost.sum()),
        "mae": float(np.abs(run.returned - run.true).mean()),
    }
    if len(run.true) >= 10:
        found["recall10"] = recall(run.true, run.returned, 0.1)
        found["recall20"] = recall(run.true, run.returned, 0.2)
        found["mean_gap"] = mean_gap(run.true, run.returned, 0.1)
    found["tau"] = tau(run.true, run.returned)
    if np.ptp(run.cost) > 0:
        found["pareto_recall"], found["hv_ratio"] = fronts(run.true, run.returned, run.cost)
        if two:
            returned, paid_in_full = confirm(run)
            found["confirmed_saved"] = 1.0 - float(paid_in_full.mean() / run.epochs)
            recalled, ratio = fronts(run.true, returned, run.cost)
            found["confirmed_pareto_recall"], found["confirmed_hv_ratio"] = recalled, ratio
    found["inside90"] = inside(run)
    found["finished"] = float(run.full.mean())
    found["revived"] = run.revived / len(run.true)
    found["ms_per_epoch"] = 1e3 * run.seconds / float(run.paid.sum())
    return {name: value for name, value in found.items() if math.isfinite(value)}


def slots(values: Array, count: int) -> tuple[Array, Array]:
    """Who is among the `count` greatest: (n,) booleans of those surely in, and of those tied for the rest."""
    threshold = np.sort(values)[len(values) - count]
    return values > threshold, values == threshold


def share(values: Array, count: int) -> Array:
    """The chance of each to be among the `count` greatest, ties broken at random; sums to `count`."""
    above, tied = slots(values, count)
    return np.asarray(above + tied * ((count - above.sum()) / tied.sum()), dtype=float)


def recall(true: Array, returned: Array, part: float) -> float:
    """The share of the truly best `part` (0.1: a tenth, rounded, at least one) found in the returned best.

    Returned ties are broken at random (the mean over that). Of truly tied ones at the border any will do,
    but they fill no more places than are left for them.
    """
    count = max(1, round(part * len(true)))
    chosen = share(returned, count)
    above, tied = slots(true, count)
    return float((chosen[above].sum() + min(count - above.sum(), chosen[tied].sum())) / count)


def mean_gap(true: Array, returned: Array, part: float) -> float:
    """By how many points the truly best `part` is better, in the mean, than the chosen one truly is."""
    count = max(1, round(part * len(true)))
    return float((share(true, count) * true).sum() - (share(returned, count) * true).sum()) / count


def tau(first: Array, second: Array) -> float:
    """Kendall's tau-b; 0 where one of the two is constant."""
    upper = np.triu_indices(len(first), 1)
    a = np.sign(first[upper[0]] - first[upper[1]])
    b = np.sign(second[upper[0]] - second[upper[1]])
    norm = math.sqrt(float(np.abs(a).sum()) * float(np.abs(b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def on_front(points: Array, cost: Array) -> NDArray[np.bool_]:
    """(n,) who is on the front of accuracy (more is better) against cost; copies of a point all are."""
    return np.asarray(pareto.ranks(np.stack([100.0 - points, cost], axis=1)) == 0)


def fronts(true: Array, returned: Array, cost: Array) -> tuple[float, float]:
    """Share of the true front that is on the returned front, and the hypervolume of the TRUE points of the
    returned front over the true front's.

    The box of the hypervolume reaches from the ideal corner of the true front to 10 % of its extent beyond
    its worst in each goal; FLOPs are linear.
    """
    best, chosen = on_front(true, cost), on_front(returned, cost)
    table = np.stack([100.0 - true, cost], axis=1)
    low, high = table[best].min(axis=0), table[best].max(axis=0)
    reference = high + 0.1 * np.where(high > low, high - low, 1.0)
    whole = pareto.hypervolume(table[best], reference)
    return float((best & chosen).sum() / best.sum()), pareto.hypervolume(table[chosen], reference) / whole


def confirm(run: Replay) -> tuple[Array, NDArray[np.int64]]:
    """The returned points and the epochs paid once the front was confirmed as a search does it: its
    members are trained to the end and measured, until all that are on the front have been."""
    returned, paid = run.returned.copy(), run.paid.copy()
    while (open_ := on_front(returned, run.cost) & (paid < run.epochs)).any():
        returned[open_] = run.true[open_]
        paid[open_] = run.epochs
    return returned, paid


def inside(run: Replay) -> float:
    """Of the forecasts that were returned, the share whose 90 % interval holds the truth; NaN without any."""
    held = []
    for trial, true in zip(run.trials, run.true, strict=True):
        value = trial.value("error")
        if value is not None and value.origin == "forecast" and value.sd > 0:
            held.append(abs(value.mean - (1.0 - true / 100.0)) <= 1.6449 * value.sd)
    return float(np.mean(held)) if held else math.nan
