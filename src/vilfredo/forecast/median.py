"""The median stopping rule.

D. Golovin, B. Solnik, S. Moitra, G. Kochanski, J. Karro, D. Sculley: "Google Vizier: A Service for
Black-Box Optimization", KDD 2017, section 3.2: a trial stops at step s if its best value until s is worse
than the median of the running averages until s of the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from vilfredo.forecast import curves
from vilfredo.forecast.rungs import Peers, Seen, extrapolated
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial


class Median:
    """Stops a network whose best value so far is worse than the median of its peers' running averages at
    this epoch.

    `grace` is the first epoch after which it may stop anybody, `peers` how many others must have got as
    far. All that got as far count, those stopped later too (Vizier counts completed trials only; but
    here these would soon be the better half alone). With several goals, ours: a network is
    stopped only if, besides, a peer is at least as good in (best value until this epoch, the other
    ranked goals that are known of the network) and better in one. The forecast is
    `rungs.extrapolated`.
    """

    def __init__(self, goals: Sequence[Goal], *, grace: int = 2, peers: int = 5, metric: str = "") -> None:
        if grace < 1:
            raise ValueError(f"grace of median must be at least 1, not {grace}")
        if peers < 1:
            raise ValueError(f"peers of median must be at least 1, not {peers}")
        self.grace = grace
        self.least = peers
        self._peers = Peers(goals, metric)

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        if not trial.epochs or not self.grace <= trial.epochs[-1].index < epochs:
            return GO
        own = self._peers.read(trial, epochs)
        if own is None:
            return curves.blind(trial, self._peers.goals)
        epoch = own.last
        known = self._peers.all(peers, epochs, own.number)
        others = [p for p in known if p.last >= epoch and math.isfinite(p.average[epoch])]
        if len(others) < self.least:
            return GO
        middle = median(p.average[epoch] for p in others)
        if not own.best[epoch] > middle:
            return GO
        if self._peers.several and not any(_dominates(p, own, epoch) for p in others):
            return GO
        sign, name = (1.0 if own.curve.goal.sense == "min" else -1.0), own.curve.goal.name
        best = f"best {name} {sign * own.best[epoch]:.4g}"
        if not math.isfinite(own.best[epoch]):
            best = f"no finite {name}"
        reason = f"{best} until epoch {epoch}, the median of {len(others)} others is {sign * middle:.4g}"
        return Verdict("stop", extrapolated(own, known), reason)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return ()


def _dominates(rival: Seen, own: Seen, epoch: int) -> bool:
    """Whether the rival is at least as good in all that is known of `own`, and better in one of it."""
    if not rival.fits or rival.best[epoch] > own.best[epoch]:
        return False
    strictly = rival.best[epoch] < own.best[epoch]
    for theirs, ours in zip(rival.others, own.others, strict=True):
        if ours is None:
            continue
        if theirs is None or theirs > ours:
            return False
        strictly = strictly or theirs < ours
    return strictly
