"""Stuck bits: cells or lines that always read 0, or always 1.

Each bit of each value's code is stuck with probability `rate`, independently for each bit, value and copy.
A value whose bit is what it is stuck at anyway stays as it is: on random data half of them. The classic
stuck-at fault model of digital circuits (R. D. Eldred, "Test Routines Based on Symbolic Logical Statements",
J. ACM 6(1), 1959), here of memory cells and registers.

The detail of a hit is the mask of its stuck bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo import codes as formats
from vilfredo.codes import Codes
from vilfredo.faults import draws, options
from vilfredo.faults.options import BitName, NumberSite
from vilfredo.protocols import Hits


@dataclass(frozen=True)
class StuckBit:
    """`rate`: probability of each bit. `at`: 0 or 1. `site`: see `NumberSite`. `bits`: which can be stuck,
    as in `BitFlip`. `transient`: anew in each inference. Raises `ValueError` for other options and, when
    called, for values that are no whole numbers of `codes.bits` bits and for bits that they do not have.
    """

    rate: float
    at: Literal[0, 1] = 0
    site: NumberSite = "weights"
    bits: BitName | tuple[int, ...] = "any"
    transient: bool = False

    def __post_init__(self) -> None:
        options.rate("stuck_bit", self.rate)
        options.one_of("stuck_bit", "at", self.at, (0, 1))
        options.number_site("stuck_bit", self.site)
        options.yes_or_no("stuck_bit", "transient", self.transient)
        object.__setattr__(self, "bits", options.bits("stuck_bit", self.bits))

    @property
    def bitwise(self) -> bool:
        return True

    def places(self, codes: Codes) -> tuple[int, ...]:
        return options.chosen("stuck_bit", self.site, self.bits, codes)

    def extent(self, shape: tuple[int, ...]) -> int:
        return 1

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        options.word("stuck_bit", self.site, codes)
        draws.fit("stuck_bit", self.site, values, codes)
        return draws.acted(self, values, codes, rng)

    def draw(self, shape: tuple[int, ...], codes: Codes, rng: np.random.Generator) -> Hits:
        bits = self.places(codes)
        places, which = np.divmod(draws.hit(math.prod(shape) * len(bits), self.rate, rng), len(bits))
        return draws.masks(places, np.array(bits, np.int64)[which])

    def details(self, bits: NDArray[np.int64], codes: Codes, rng: np.random.Generator) -> NDArray[Any]:
        return np.int64(1) << bits

    def apply(self, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]) -> NDArray[np.float64]:
        word = draws.words("stuck_bit", self.site, values, codes)
        return formats.values(word | detail if self.at else word & ~detail, codes)
