"""Asynchronous Hyperband: several brackets of successive halving with different grace.

L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh, A. Talwalkar: "Hyperband: A Novel Bandit-Based Approach to
Hyperparameter Optimization", JMLR 18(185), 2018; asynchronous brackets as in Li et al., "A System for
Massively Parallel Hyperparameter Tuning", MLSys 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

from vilfredo.forecast.asha import halve
from vilfredo.forecast.rungs import Peers, levels
from vilfredo.goal import Goal
from vilfredo.protocols import Verdict
from vilfredo.trial import Trial


class Hyperband:
    """Bracket s = 0, 1, … has its rungs at `grace`·`eta`^s, `grace`·`eta`^(s+1), …; the last one has none and
    trains in full. In each, networks that are not among the best of `eta` of their bracket at a rung
    stop, as `asha` without `pause` decides it.

    There are as many brackets as `asha` has rungs, and one. Ours: networks are dealt to them in turn by their
    number, not in proportion to the brackets' budgets.
    """

    def __init__(self, goals: Sequence[Goal], *, grace: int = 1, eta: int = 3, metric: str = "") -> None:
        if grace < 1:
            raise ValueError(f"grace of hyperband must be at least 1, not {grace}")
        if eta < 2:
            raise ValueError(f"eta of hyperband must be at least 2, not {eta}")
        self.grace = grace
        self.eta = eta
        self._peers = Peers(goals, metric)

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        rungs = levels(self.grace, self.eta, epochs)
        brackets = len(rungs) + 1
        bracket = trial.number % brackets
        inside = [p for p in peers if p.number % brackets == bracket]
        return halve(self._peers, trial, inside, epochs, rungs[bracket:], self.eta)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return ()
