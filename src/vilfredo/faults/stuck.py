"""Stuck values: cells that no longer hold what is written to them.

Each value becomes 0 (of a synapse: an open connection), the highest or the lowest value that the hardware can
hold, or a given number, with probability `rate`, independently for each value and each copy. Stuck-at faults
as in C.-Y. Chen et al., "RRAM Defect Modeling and Failure Analysis Based on March Test and a Novel
Squeeze-Search Scheme", IEEE Trans. Computers 64(1), 2015.

The detail of a hit is the value that it is stuck at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes, span
from vilfredo.faults import draws, options
from vilfredo.faults.options import NumberSite
from vilfredo.protocols import Hits


@dataclass(frozen=True)
class Stuck:
    """`rate`: probability of each value. `at`: "zero", "max", "min" or a number; of whole numbers the code,
    so that "zero" is the code 0. `site`: see `NumberSite`. `transient`: anew in each inference. Raises
    `ValueError` for other options and, when called, for "max" or "min" where the hardware has no such limit
    and for a number that its codes do not have.
    """

    rate: float
    at: Literal["zero", "max", "min"] | float = "zero"
    site: NumberSite = "weights"
    transient: bool = False

    def __post_init__(self) -> None:
        options.rate("stuck", self.rate)
        if not options.number(self.at) and self.at not in ("zero", "max", "min"):
            raise ValueError(f"stuck: at is {self.at!r}; it can be zero, max, min or a finite number")
        options.number_site("stuck", self.site)
        options.yes_or_no("stuck", "transient", self.transient)

    @property
    def bitwise(self) -> bool:
        return False

    def places(self, codes: Codes) -> tuple[int, ...]:
        return (-1,)

    def extent(self, shape: tuple[int, ...]) -> int:
        return 1

    def level(self, codes: Codes) -> float:
        """What values of these codes are stuck at. Raises `ValueError` as the class says."""
        named = {"zero": 0.0, "max": codes.high, "min": codes.low}
        level = named[self.at] if isinstance(self.at, str) else float(self.at)
        if not math.isfinite(level):
            raise ValueError(
                f"stuck: these {self.site} have no {self.at}imum to be stuck at; use at = 'zero'"
            )
        if not isinstance(self.at, str) and codes.form == "whole" and codes.bits:
            low, high = span(codes)
            if not low <= level <= high or level != round(level):
                raise ValueError(
                    f"stuck: at is {self.at}, but these {self.site} are whole numbers from {low} to {high}"
                )
        return level

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        return draws.acted(self, values, codes, rng)

    def draw(self, shape: tuple[int, ...], codes: Codes, rng: np.random.Generator) -> Hits:
        level = self.level(codes)
        index = draws.hit(math.prod(shape), self.rate, rng)
        return Hits(index, np.full(len(index), level))

    def details(self, bits: NDArray[np.int64], codes: Codes, rng: np.random.Generator) -> NDArray[Any]:
        return np.full(bits.shape, self.level(codes))

    def apply(self, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]) -> NDArray[np.float64]:
        return np.array(np.broadcast_to(detail, values.shape), np.float64)
