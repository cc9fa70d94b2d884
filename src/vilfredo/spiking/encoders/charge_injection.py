"""Charge injection: one spike, whose charge is the value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vilfredo.spiking import options
from vilfredo.spiking.encoders.encoder import Code


@dataclass(frozen=True)
class ChargeInjection:
    """One neuron; at timestep 0 a spike of charge k / (`levels` − 1) in region k of `levels` equal ones, so
    none in the lowest.

    A discrete processor whose full input is w distinguishes w + 1 charges: `levels` = w + 1 gives each of
    them, 0, 1, … w. C. D. Schuman et al., "Non-Traditional Input Encoding Schemes for Spiking Neuromorphic
    Systems", IJCNN 2019. TENNLab's "val".
    """

    levels: int = 128

    def __post_init__(self) -> None:
        options.whole(self, "levels", self.levels, 2)

    def code(self, low: float, high: float) -> Code:
        options.interval(self, low, high)
        top = self.levels - 1
        k = np.arange(self.levels)
        charge = k / top
        # A processor takes floor(charge · full input): what rounding has put below k must not become k − 1.
        charge = np.where(np.floor(charge * top) < k, np.nextafter(charge, 1.0), charge)
        return Code(low, high, "floor", charge[:, None, None])
