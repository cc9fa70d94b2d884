"""Asynchronous successive halving.

L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, J. Ben-tzur, M. Hardt, B. Recht, A. Talwalkar: "A System for
Massively Parallel Hyperparameter Tuning", MLSys 2020 (promotion, algorithm 2); its stopping variant as in
Syne Tune and Ray Tune. Several goals: R. Schmucker, M. Donini, M. B. Zafar, D. Salinas, C. Archambeau,
"Multi-objective Asynchronous Successive Halving", arXiv 2106.12639, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

from vilfredo.forecast import curves
from vilfredo.forecast.rungs import Peers, better, crossed, extrapolated, levels, places
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial

ANY = 1 << 30  # epochs, where the length of full training does not matter


class Asha:
    """Judges networks at rungs, after `grace`, `grace`·`eta`, `grace`·`eta`², … epochs: the best of `eta`
    of those that came to the rung go on.

    Without `pause` the others stop (the stopping variant): the first `eta` - 1 at a rung always go on.
    With `pause` (the published promotion variant) the others are paused, and go on as soon as they are
    among the best of `eta` of a rung at which more have arrived by then.

    With several goals, as in MO-ASHA, places come from non-dominated ranks of (value at the rung,
    the other ranked goals that are known of the network). Ours: who is in the first rank always goes on,
    even where these are more than one of `eta`, because it may still enter the front; ties within a rank
    are broken by the value at the rung, not by an epsilon-net. The forecast is `rungs.extrapolated`.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        *,
        grace: int = 1,
        eta: int = 3,
        pause: bool = False,
        metric: str = "",
    ) -> None:
        if grace < 1:
            raise ValueError(f"grace of asha must be at least 1, not {grace}")
        if eta < 2:
            raise ValueError(f"eta of asha must be at least 2, not {eta}")
        self.grace = grace
        self.eta = eta
        self.pause = pause
        self._peers = Peers(goals, metric)

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        rungs = levels(self.grace, self.eta, epochs)
        return halve(self._peers, trial, peers, epochs, rungs, self.eta, self.pause)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        if not self.pause:
            return ()
        known = self._peers.all(trials, ANY)
        waiting = [p for p in known if p.state == "paused"]
        found: list[tuple[int, int, int]] = []
        for level in sorted({p.last for p in waiting}, reverse=True):
            there = [p for p in known if p.last >= level]
            best = len(there) // self.eta
            here = [p for p in waiting if p.last == level]
            # Those of whom the same goals are known are compared with one another at once.
            for goals in sorted({p.known for p in here}, key=sorted):
                several = self._peers.several
                members = [p for p in there if p.fits and goals <= p.known] if several else there
                if not members:
                    continue
                ahead, ranks = places(members, level, goals if several else frozenset())
                for own, place, rank in zip(members, ahead.tolist(), ranks.tolist(), strict=True):
                    waits = own.state == "paused" and own.last == level and own.known == goals
                    if waits and (place < best or (several and rank == 0)):
                        found.append((-level, place, own.number))
        return [number for _, _, number in sorted(found)]


def halve(
    read: Peers,
    trial: Trial,
    peers: Sequence[Trial],
    epochs: int,
    rungs: Sequence[int],
    eta: int,
    pause: bool = False,
) -> Verdict:
    """The verdict of successive halving on a trial, after the last of its epochs."""
    if (
        not trial.epochs
        or trial.epochs[-1].index >= epochs
        or trial.epochs[-1].index < min(rungs, default=epochs)
    ):
        return GO
    own = read.read(trial, epochs)
    if own is None:
        return curves.blind(trial, read.goals)
    level = crossed(own, rungs)
    if level is None:
        return GO
    known = read.all(peers, epochs, own.number)
    rivals = [p for p in known if p.last >= level]
    ahead, dominated = better(own, rivals, level, read.several)
    count = len(rivals) + 1
    best = count // eta if pause else max(1, count // eta)
    if ahead < best or (count < eta and not pause) or (read.several and not dominated):
        return GO
    reason = f"place {ahead + 1} of {count} after epoch {level}, the best {best} go on"
    return Verdict("pause" if pause else "stop", extrapolated(own, known), reason)
