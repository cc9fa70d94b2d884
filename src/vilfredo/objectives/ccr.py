"""How often faults change a network's answer: the classification change rate."""

from __future__ import annotations

from collections.abc import Sequence

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.objectives.damage import IMAGES, damage, standard_error
from vilfredo.protocols import Fault
from vilfredo.trial import Value

GOAL = KNOWN["ccr"]


def objective(
    candidate: Candidate, faults: Sequence[Fault] = (), copies: int | None = None, images: int = IMAGES
) -> Value:
    """Mean share of the first `images` examples whose class under faults is another than without (CCR), over
    `copies` copies of the hardware, each with its own draw of all `faults`. `faults` and `copies` are the
    candidate's unless given.

    `sd` is the standard error over the copies. Raises `ValueError`, one sentence, without faults.
    """
    found = damage("ccr", candidate, faults, copies, images).ccr
    return Value(float(found.mean()), standard_error(found), len(found))
