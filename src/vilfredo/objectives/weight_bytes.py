"""The memory that a network's weights take."""

from __future__ import annotations

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.trial import Value

GOAL = KNOWN["weight_bytes"]


def objective(candidate: Candidate, bits: int = 32) -> Value:
    """Bytes of all parameters at `bits` bits each, packed: ceil(parameters * bits / 8).

    Raises `ValueError` for `bits` below 1.
    """
    if bits < 1:
        raise ValueError(f"weights of {bits} bits hold nothing; give 1 or more")
    count = sum(p.numel() for p in candidate.model.parameters())
    return Value(float(-(-count * bits // 8)))
