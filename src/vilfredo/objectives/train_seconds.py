"""How long training took."""

from __future__ import annotations

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.trial import Value

GOAL = KNOWN["train_seconds"]


def objective(candidate: Candidate) -> Value:
    """Wall seconds of all epochs of training, those before an interruption included.

    In a search `vilfredo.evaluation`, which holds the clock, gives this value itself.
    """
    return Value(candidate.train_seconds)
