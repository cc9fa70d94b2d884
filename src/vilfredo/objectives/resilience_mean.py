"""Accuracy under faults: on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.objectives.damage import IMAGES, damage, standard_error
from vilfredo.protocols import Fault
from vilfredo.trial import Value

GOAL = replace(KNOWN["resilience_mean"], unit="fraction")  # an accuracy here


def objective(
    candidate: Candidate, faults: Sequence[Fault] = (), copies: int | None = None, images: int = IMAGES
) -> Value:
    """Mean accuracy, in [0, 1], of `copies` copies of the hardware, each with its own draw of all `faults`,
    on the first `images` examples. `faults` and `copies` are the candidate's unless given.

    `sd` is the standard error over the copies. Raises `ValueError`, one sentence, without faults.
    """
    found = damage("resilience_mean", candidate, faults, copies, images).accuracy
    return Value(float(found.mean()), standard_error(found), len(found))
