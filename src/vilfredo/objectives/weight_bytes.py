"""The memory that a network's weights take."""

from __future__ import annotations

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.trial import Value

GOAL = KNOWN["weight_bytes"]


def objective(candidate: Candidate) -> Value:
    """Bytes of all parameters at `candidate.bits` bits each, packed: ceil(parameters * bits / 8)."""
    count = sum(p.numel() for p in candidate.model.parameters())
    return Value(float(-(-count * candidate.bits // 8)))
