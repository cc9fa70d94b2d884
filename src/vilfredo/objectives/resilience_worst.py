"""Accuracy under faults: the worst copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.objectives.damage import IMAGES, damage
from vilfredo.protocols import Fault
from vilfredo.trial import Value

GOAL = replace(KNOWN["resilience_worst"], unit="fraction")  # an accuracy here


def objective(
    candidate: Candidate, faults: Sequence[Fault] = (), copies: int | None = None, images: int = IMAGES
) -> Value:
    """The lowest accuracy, in [0, 1], of `copies` copies of the hardware, each with its own draw of all
    `faults`, on the first `images` examples. `faults` and `copies` are the candidate's unless given.

    Raises `ValueError`, one sentence, without faults.
    """
    found = damage("resilience_worst", candidate, faults, copies, images).accuracy
    return Value(float(found.min()), 0.0, len(found))
