"""Lognormal variation of parameters: resistances of memristors and other devices that vary by factors.

Each value v becomes v · exp(sd · z), z standard normal, independent for each value and each copy: no value
changes its sign, the median stays v, the mean is v · exp(sd² / 2). The model of B. Liu, H. Li, Y. Chen, X.
Li, Q. Wu, T. Huang, "Vortex: Variation-Aware Training for Memristor X-bar", DAC 2015 (w' = w · e^θ, θ ~ N(0,
σ²)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.faults import options


@dataclass(frozen=True)
class Lognormal:
    """`sd`: standard deviation of the logarithm. `site`: "weights", "thresholds" or "delays".
    Raises `ValueError` for other options.
    """

    sd: float = 0.1
    site: Literal["weights", "thresholds", "delays"] = "weights"

    def __post_init__(self) -> None:
        options.deviation("lognormal", self.sd)
        options.one_of("lognormal", "site", self.site, ("weights", "thresholds", "delays"))

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        if self.sd == 0:
            return values.copy()
        varied: NDArray[np.float64] = values * np.exp(self.sd * rng.standard_normal(values.shape))
        return varied
