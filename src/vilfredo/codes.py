"""What hardware holds of a number: the values a cell can have, and their bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["whole", "float16", "bfloat16", "float32"]
Field = Literal["sign", "exponent", "mantissa", "magnitude"]

_LAYOUT = {"float16": (16, 10), "bfloat16": (16, 7), "float32": (32, 23)}  # bits in all, of the mantissa


@dataclass(frozen=True, slots=True)
class Codes:
    """What an array of numbers can hold in hardware: values from `low` to `high`.

    `form` "whole" with `bits` > 0: whole numbers of that many bits, in two's complement or, with `low` >= 0,
    plain binary; with `bits` 0 real numbers, which have no bits. The other forms are floating point of IEEE
    754 (bfloat16: the upper half of a float32), whose `bits` are set by the form.
    """

    low: float
    high: float
    bits: int = 0
    form: Form = "whole"

    def __post_init__(self) -> None:
        if self.form != "whole":
            object.__setattr__(self, "bits", _LAYOUT[self.form][0])

    @property
    def signed(self) -> bool:
        return self.low < 0


def floats(form: Literal["float16", "bfloat16", "float32"]) -> Codes:
    """The codes of a floating-point format, with its largest finite numbers as limits."""
    top = {"float16": 65504.0, "bfloat16": float(np.float32(2.0**128 * (1 - 2.0**-8))), "float32": 0.0}[form]
    top = top or float(np.finfo(np.float32).max)
    return Codes(-top, top, form=form)


def patterns(values: NDArray[np.float64], codes: Codes) -> NDArray[np.int64]:
    """The bits of `values` as whole numbers from 0 to 2^bits − 1, of the same shape.

    Raises `ValueError` if the codes have no bits or a whole number does not fit into them. Floats are rounded
    to the format, half to even.
    """
    if codes.form == "whole":
        if not 1 <= codes.bits <= 53:
            raise ValueError(
                "these are real numbers, not whole numbers of 1 to 53 bits, so they have no bits"
            )
        low, high = span(codes)
        if values.size and not ((values >= low) & (values <= high) & (values == np.rint(values))).all():
            raise ValueError(f"not all values are whole numbers from {low} to {high} ({codes.bits} bits)")
        return values.astype(np.int64) & ((1 << codes.bits) - 1)
    if codes.form == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16).astype(np.int64)
    with np.errstate(over="ignore"):
        word = values.astype(np.float32).view(np.uint32).astype(np.int64)
    if codes.form == "float32":
        return word
    # Half to even on the lower half; a NaN keeps a mantissa that is not zero.
    rounded = (word + 0x7FFF + ((word >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (word >> 16) | 0x40, rounded) & 0xFFFF


def values(bits: NDArray[np.int64], codes: Codes) -> NDArray[np.float64]:
    """The numbers that these bits stand for: the inverse of `patterns`."""
    if codes.form == "whole":
        size = 1 << codes.bits
        return np.where(codes.signed & (bits >= size >> 1), bits - size, bits).astype(np.float64)
    if codes.form == "float16":
        return bits.astype(np.uint16).view(np.float16).astype(np.float64)
    word = bits << 16 if codes.form == "bfloat16" else bits
    with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
        return word.astype(np.uint32).view(np.float32).astype(np.float64)


def span(codes: Codes) -> tuple[int, int]:
    """The least and the greatest whole number of `codes.bits` bits."""
    half = 1 << (codes.bits - 1)
    return (-half, half - 1) if codes.signed else (0, 2 * half - 1)


def field(bit: int, codes: Codes) -> Field:
    """What bit number `bit` (0 is the least significant) means."""
    if bit == codes.bits - 1 and (codes.form != "whole" or codes.signed):
        return "sign"
    if codes.form == "whole":
        return "magnitude"
    return "mantissa" if bit < _LAYOUT[codes.form][1] else "exponent"
