"""Several engines that work together: one that ends trainings beside one that spares measurements, say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vilfredo.goal import Goal
from vilfredo.protocols import Reviser, Stopper, Verdict
from vilfredo.trial import Trial, Value


class Together:
    """Asks each of `stoppers` after every epoch.

    * A network is halted if one of them halts it, for good if one does so for good; the reason begins with
      who it was. Who goes on after a pause is halted again only by the one that had paused it, so that whom
      one revives another does not halt at once.
    * Of forecasts of the same goal that of the stopper named first counts; of a goal that is spared, that of
      the one who spares it. Where a network is halted, the others are asked what they forecast if its
      training ended here: so `resilience` has an answer, and nothing is measured under faults.
    * Goals that one of them spares are not measured.
    * A paused network is revived if one of them wants it, in their order.

    Without stoppers nobody is stopped.
    """

    def __init__(self, goals: Sequence[Goal], *, stoppers: Sequence[Stopper] = ()) -> None:
        self.goals = tuple(goals)
        names = [type(stopper).__name__.lower() for stopper in stoppers]
        self.stoppers = {
            name if names.count(name) == 1 else f"{name} {names[:place].count(name) + 1}": stopper
            for place, (name, stopper) in enumerate(zip(names, stoppers, strict=True))
        }

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        said = {name: stopper(trial, peers, epochs) for name, stopper in self.stoppers.items()}
        before = self._paused(trial)
        against = {
            name: verdict
            for name, verdict in said.items()
            if verdict.action != "go" and before in (None, name)
        }
        if not against:
            going = {name: verdict for name, verdict in said.items() if verdict.action == "go"}
            remarks = [f"{name}: {verdict.reason}" for name, verdict in going.items() if verdict.reason]
            spared = frozenset[str]().union(*(verdict.spared for verdict in going.values()))
            return Verdict("go", _forecasts(list(said.values())), "; ".join(remarks), spared)
        who = min(against, key=lambda name: against[name].action != "stop")
        last = trial.epochs[-1].index
        for name, stopper in self.stoppers.items():
            if name not in against:
                also = stopper(trial, peers, last)
                said[name] = replace(said[name], forecast={**also.forecast, **said[name].forecast})
        reason = f"{who}: {against[who].reason}"
        return Verdict(against[who].action, _forecasts(list(said.values())), reason)

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        wanted = [number for stopper in self.stoppers.values() for number in stopper.revive(trials)]
        return list(dict.fromkeys(wanted))

    def revise(self, trials: Sequence[Trial]) -> Mapping[int, Mapping[str, Value]]:
        found: dict[int, dict[str, Value]] = {}
        for stopper in self.stoppers.values():
            for number, forecast in (stopper.revise(trials) if isinstance(stopper, Reviser) else {}).items():
                found[number] = {**forecast, **found.get(number, {})}
        return found

    def _paused(self, trial: Trial) -> str | None:
        """Which of these paused the network last; None if none has."""
        reason = trial.halts[-1].reason if trial.halts else ""
        return next((name for name in self.stoppers if reason.startswith(f"{name}: ")), None)


def _forecasts(said: Sequence[Verdict]) -> dict[str, Value]:
    """By goal: of who spares it, else of the first who has one."""
    found: dict[str, Value] = {}
    for verdict in reversed(said):
        found |= verdict.forecast
    for verdict in reversed(said):
        found |= {name: value for name, value in verdict.forecast.items() if name in verdict.spared}
    return found
