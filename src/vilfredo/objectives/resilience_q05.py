"""Accuracy under faults: the 5 % quantile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.objectives.damage import IMAGES, damage
from vilfredo.protocols import Fault
from vilfredo.trial import Value

GOAL = replace(KNOWN["resilience_q05"], unit="fraction")  # an accuracy here


def objective(
    candidate: Candidate, faults: Sequence[Fault] = (), copies: int | None = None, images: int = IMAGES
) -> Value:
    """The accuracy, in [0, 1], that 95 % of `copies` copies of the hardware exceed, each with its own draw of
    all `faults`, on the first `images` examples; linear between order statistics. Below 21 copies it lies
    between the worst and the second worst. `faults` and `copies` are the candidate's unless given.

    `sd` is that of 200 bootstrap samples of the copies. Raises `ValueError`, one sentence, without faults.
    """
    found = damage("resilience_q05", candidate, faults, copies, images).accuracy
    draws = np.random.default_rng(0).integers(len(found), size=(200, len(found)))
    spread = float(np.quantile(found[draws], 0.05, axis=1).std(ddof=1))
    return Value(float(np.quantile(found, 0.05)), spread, len(found))
