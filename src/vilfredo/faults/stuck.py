"""Stuck synapses: cells that no longer hold what is written to them.

Each weight becomes 0 (an open connection), or the highest or the lowest value that the hardware can hold,
with probability `rate`, independently for each synapse and each copy. Stuck-at faults as in C.-Y. Chen et
al., "RRAM Defect Modeling and Failure Analysis Based on March Test and a Novel Squeeze-Search Scheme", IEEE
Trans. Computers 64(1), 2015.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.faults import options


@dataclass(frozen=True)
class Stuck:
    """`rate`: probability of each synapse. `at`: "zero", "max" or "min". Raises `ValueError` for other
    options and, when called, for "max" or "min" where the hardware has no such limit.
    """

    rate: float
    at: Literal["zero", "max", "min"] = "zero"

    def __post_init__(self) -> None:
        options.rate("stuck", self.rate)
        options.one_of("stuck", "at", self.at, ("zero", "max", "min"))

    @property
    def site(self) -> Literal["weights"]:
        return "weights"

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        level = {"zero": 0.0, "max": codes.high, "min": codes.low}[self.at]
        if not math.isfinite(level):
            raise ValueError(f"stuck: these weights have no {self.at}imum to be stuck at; use at = 'zero'")
        faulty = values.copy()
        faulty.flat[options.hit(values.size, self.rate, rng)] = level
        return faulty
