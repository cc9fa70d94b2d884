"""Flipped bits of whole numbers in memory: radiation, or a supply voltage near the threshold.

Each bit of each value's code is flipped with probability `rate`, the bit error rate (BER), independently for
each bit, value and copy. Codes are two's complement; where no value is negative (`codes.low` ≥ 0) plain
binary, without a sign. A flipped code may lie beyond the range of values that are in use (−128 where weights
go from −127 to 127): what the hardware makes of it is the caller's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.faults import options


@dataclass(frozen=True)
class BitFlip:
    """`rate`: probability of each bit. `site`: "weights", "thresholds" or "delays". Raises `ValueError` for
    other options and, when called, for values that are no whole numbers of `codes.bits` bits.
    """

    rate: float
    site: Literal["weights", "thresholds", "delays"] = "weights"

    def __post_init__(self) -> None:
        options.rate("bit_flip", self.rate)
        options.one_of("bit_flip", "site", self.site, ("weights", "thresholds", "delays"))

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        bits = codes.bits
        if not 1 <= bits <= 53:
            raise ValueError(
                f"bit_flip: these {self.site} are no whole numbers of 1 to 53 bits, so they have no bits "
                "to flip; use gaussian or lognormal"
            )
        signed = codes.low < 0
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        if values.size and not ((values >= low) & (values <= high) & (values == np.rint(values))).all():
            raise ValueError(
                f"bit_flip: not all {self.site} are whole numbers from {low} to {high} ({bits} bits)"
            )
        places, which = np.divmod(options.hit(values.size * bits, self.rate, rng), bits)
        touched, back = np.unique(places, return_inverse=True)
        mask = np.zeros(len(touched), np.int64)
        np.bitwise_xor.at(mask, back, np.int64(1) << which)
        faulty = values.copy()
        # Within `bits` bits: what is negative comes as 2^bits more; with the sign's bit set it goes back.
        code = ((values.flat[touched].astype(np.int64) + (1 << bits)) & ((1 << bits) - 1)) ^ mask
        faulty.flat[touched] = np.where(code > high, code - (1 << bits), code)
        return faulty
