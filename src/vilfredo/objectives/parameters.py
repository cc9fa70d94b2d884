"""How many numbers a network learns."""

from __future__ import annotations

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.trial import Value

GOAL = KNOWN["parameters"]


def objective(candidate: Candidate) -> Value:
    """The size of all parameters, frozen ones included; a shared one counts once, buffers do not."""
    return Value(float(sum(p.numel() for p in candidate.model.parameters())))
