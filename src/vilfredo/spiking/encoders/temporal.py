"""Temporal: one spike; the larger the value, the earlier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vilfredo.spiking import options
from vilfredo.spiking.encoders.encoder import Code


@dataclass(frozen=True)
class Temporal:
    """One neuron, one spike ("time to first spike"): at timestep 0 in the highest of `window` equal regions
    of the range, one step later in each lower one; with `late` the other way round, so that larger values
    come later.

    `value` is the charge of the spike (1: the processor's full input).
    """

    window: int = 24
    late: bool = False
    value: float = 1.0

    def __post_init__(self) -> None:
        options.whole(self, "window", self.window, 2)
        options.share(self, "value", self.value)

    def code(self, low: float, high: float) -> Code:
        options.interval(self, low, high)
        charge = np.eye(self.window) * self.value
        return Code(low, high, "floor", (charge if self.late else charge[::-1])[:, None])
