"""The yardstick that stops nobody."""

from __future__ import annotations

from collections.abc import Sequence

from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial


class Never:
    """Every network trains to the end."""

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        return GO

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return ()
