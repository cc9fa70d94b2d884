"""Bursts: a particle or a bad line flips several adjacent bits of one word.

Each value's code is hit with probability `rate`, independently for each value and copy; then `length`
adjacent bits of it are flipped, from a first bit that is drawn among all from which the burst stays within
the word. Multiple-bit upsets of this kind are a growing part of the soft errors of memories: E. Ibe, H.
Taniguchi, Y. Yahagi, K. Shimbo, T. Toba, "Impact of Scaling on Neutron-Induced Soft Error in SRAMs From a 250
nm to a 22 nm Design Rule", IEEE Trans. Electron Devices 57(7), 2010.

The detail of a hit is the mask of its flipped bits; a single fault's bit is its lowest.
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
from vilfredo.faults.options import NumberSite
from vilfredo.protocols import Hits


@dataclass(frozen=True)
class Burst:
    """`rate`: probability of each word. `length`: how many adjacent bits. `site`: see `NumberSite`.
    `transient`: anew in each inference; None: if the site is activations, accumulators or inputs. Raises
    `ValueError` for other options and, when called, for values that are no whole numbers of `codes.bits`
    bits and for words shorter than the burst.
    """

    rate: float
    length: int = 2
    site: NumberSite = "weights"
    transient: bool = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        options.rate("burst", self.rate)
        options.whole("burst", "length", self.length, 1)
        options.number_site("burst", self.site)
        object.__setattr__(self, "transient", options.passing("burst", self.transient, self.site))

    @property
    def bitwise(self) -> bool:
        return True

    def places(self, codes: Codes) -> tuple[int, ...]:
        options.word("burst", self.site, codes)
        if self.length > codes.bits:
            raise ValueError(
                f"burst: length is {self.length}, but these {self.site} have {codes.bits} bits; "
                f"give a length from 1 to {codes.bits}"
            )
        return tuple(range(codes.bits - self.length + 1))

    def extent(self, shape: tuple[int, ...]) -> int:
        return 1

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        options.word("burst", self.site, codes)
        draws.fit("burst", self.site, values, codes)
        return draws.acted(self, values, codes, rng)

    def draw(self, shape: tuple[int, ...], codes: Codes, rng: np.random.Generator) -> Hits:
        places = self.places(codes)
        index = draws.hit(math.prod(shape), self.rate, rng)
        return Hits(index, self.details(rng.integers(0, len(places), len(index)), codes, rng))

    def details(self, bits: NDArray[np.int64], codes: Codes, rng: np.random.Generator) -> NDArray[Any]:
        return np.int64((1 << self.length) - 1) << bits

    def apply(self, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]) -> NDArray[np.float64]:
        return formats.values(draws.words("burst", self.site, values, codes) ^ detail, codes)
