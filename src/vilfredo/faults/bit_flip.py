"""Flipped bits: radiation, or a supply voltage near the threshold, in memory or on its way.

Each bit of each value's code is flipped with probability `rate`, the bit error rate (BER), independently for
each bit, value and copy; or exactly `count` different bits are, all sets of them equally probable. Codes are
two's complement (where no value is negative, `codes.low` ≥ 0, plain binary) or the formats of IEEE 754
(`vilfredo.codes`). A flipped code may lie beyond the range of values that are in use (−128 where weights go
from −127 to 127), and be infinite or not a number: what the hardware makes of it is the caller's business.

The detail of a hit is the mask of its flipped bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo import codes as formats
from vilfredo.codes import Codes
from vilfredo.faults import draws, options
from vilfredo.faults.options import BitName, NumberSite
from vilfredo.protocols import Hits


@dataclass(frozen=True)
class BitFlip:
    """`rate`: probability of each bit; or `count`: how many bits of each array. `site`: see `NumberSite`.
    `bits`: which can be hit, "any", "sign", "exponent", "mantissa", "magnitude" or bit numbers (0 the
    lowest). `transient`: anew in each inference; None: if the site is activations, accumulators or inputs.
    Raises `ValueError` for other options and, when called, for values that are no whole numbers of
    `codes.bits` bits, for bits that they do not have, and for a `count` of more bits than there are.
    """

    rate: float | None = None
    site: NumberSite = "weights"
    count: int | None = None
    bits: BitName | tuple[int, ...] = "any"
    transient: bool = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        if self.count is None and self.rate is None:
            raise ValueError("bit_flip: rate is None; give a probability from 0 to 1, or a count of flips")
        if self.count is None:
            options.rate("bit_flip", self.rate)
        else:
            options.whole("bit_flip", "count", self.count, 0)
            if self.rate is not None:
                raise ValueError("bit_flip: rate and count exclude each other; give one of them")
        options.number_site("bit_flip", self.site)
        object.__setattr__(self, "bits", options.bits("bit_flip", self.bits))
        object.__setattr__(self, "transient", options.passing("bit_flip", self.transient, self.site))

    @property
    def bitwise(self) -> bool:
        return True

    def places(self, codes: Codes) -> tuple[int, ...]:
        return options.chosen("bit_flip", self.site, self.bits, codes)

    def extent(self, shape: tuple[int, ...]) -> int:
        return 1

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        options.word("bit_flip", self.site, codes)
        draws.fit("bit_flip", self.site, values, codes)
        return draws.acted(self, values, codes, rng)

    def draw(self, shape: tuple[int, ...], codes: Codes, rng: np.random.Generator) -> Hits:
        bits = self.places(codes)
        size = math.prod(shape) * len(bits)
        if self.count is not None and self.count > size:
            raise ValueError(f"bit_flip: count is {self.count}, but these {self.site} have {size} such bits")
        if self.count is not None:
            hit = draws.exactly(size, self.count, rng)
        else:
            hit = draws.hit(size, self.rate or 0.0, rng)
        places, which = np.divmod(hit, len(bits))
        return draws.masks(places, np.array(bits, np.int64)[which])

    def details(self, bits: NDArray[np.int64], codes: Codes, rng: np.random.Generator) -> NDArray[Any]:
        return np.int64(1) << bits

    def apply(self, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]) -> NDArray[np.float64]:
        return formats.values(draws.words("bit_flip", self.site, values, codes) ^ detail, codes)
