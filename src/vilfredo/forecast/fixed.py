"""The yardstick that stops everybody after the same number of epochs."""

from __future__ import annotations

from collections.abc import Sequence

from vilfredo.forecast.rungs import Peers, extrapolated
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial


class Fixed:
    """Every network stops after `k` epochs, whatever it promises.

    With three or more finished peers the verdict carries a forecast: the present value and what
    the peers' values changed from this epoch to the end (`rungs.extrapolated`).
    """

    def __init__(self, goals: Sequence[Goal], *, k: int = 2, metric: str = "") -> None:
        if k < 1:
            raise ValueError(f"k of fixed must be at least 1, not {k}")
        self.k = k
        self._peers = Peers(goals, metric)

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        if not trial.epochs or not self.k <= trial.epochs[-1].index < epochs:
            return GO
        reason = f"everybody stops after {self.k} epoch{'s' if self.k > 1 else ''}"
        own = self._peers.read(trial, epochs)
        if own is None:
            return Verdict("stop", reason=reason)
        return Verdict("stop", extrapolated(own, self._peers.all(peers, epochs, own.number)), reason)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return ()
