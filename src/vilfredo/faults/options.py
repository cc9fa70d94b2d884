"""What the options of all faults are held to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from vilfredo.codes import Codes, field

NumberSite = Literal["weights", "biases", "activations", "accumulators", "inputs", "thresholds", "delays"]
"""The sites that are numbers in cells or on wires: all but `neurons`."""

BitName = Literal["any", "sign", "exponent", "mantissa", "magnitude"]
"""Bits by what they mean; "magnitude" are all but the sign."""

_PASSING = ("activations", "accumulators", "inputs")  # written anew in each inference


def rate(fault: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is a probability."""
    if not number(value) or not 0 <= value <= 1:
        raise ValueError(f"{fault}: rate is {value!r}; give a probability from 0 to 1")


def deviation(fault: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is a standard deviation: a finite number from 0."""
    if not number(value) or value < 0:
        raise ValueError(f"{fault}: sd is {value!r}; give a finite number from 0, such as 0.1")


def whole(fault: str, option: str, value: Any, least: int) -> None:
    """Raises `ValueError` unless `value` is a whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{fault}: {option} is {value!r}; give a whole number from {least}")


def one_of(fault: str, option: str, value: Any, known: tuple[Any, ...]) -> None:
    """Raises `ValueError` unless `value` is among `known`."""
    if isinstance(value, bool) or value not in known:
        raise ValueError(f"{fault}: {option} is {value!r}; it can be {', '.join(map(str, known))}")


def yes_or_no(fault: str, option: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{fault}: {option} is {value!r}; give true or false")


def number_site(fault: str, value: Any) -> None:
    """Raises `ValueError` unless `value` is a site of numbers."""
    one_of(fault, "site", value, get_args(NumberSite))


def passing(fault: str, value: Any, site: str) -> bool:
    """The option `transient`: true or false; None: what is computed anew in each inference is hit anew."""
    if value is None:
        return site in _PASSING
    yes_or_no(fault, "transient", value)
    return bool(value)


def bits(fault: str, value: Any) -> BitName | tuple[int, ...]:
    """The option `bits`: a name, or bit numbers, which come back ascending, each once."""
    names = get_args(BitName)
    if isinstance(value, str) and value in names:
        return value  # type: ignore[return-value]
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if not numbers or not all(_bit(n) for n in numbers):
        raise ValueError(
            f"{fault}: bits is {value!r}; it can be {', '.join(names)} or a list of bit numbers, 0 the lowest"
        )
    return tuple(sorted({int(n) for n in numbers}))


def chosen(fault: str, site: str, wanted: BitName | tuple[int, ...], codes: Codes) -> tuple[int, ...]:
    """The numbers of the bits that `wanted` means in words of these codes, ascending.

    Raises `ValueError` if the codes have no bits, no bit of this meaning, or fewer bits.
    """
    word(fault, site, codes)
    if isinstance(wanted, tuple):
        if wanted[-1] >= codes.bits:
            raise ValueError(
                f"{fault}: bits names bit {wanted[-1]}, but these {site} have {codes.bits} bits; "
                f"give numbers from 0 to {codes.bits - 1}"
            )
        return wanted
    if wanted == "any":
        return tuple(range(codes.bits))
    meanings = [field(bit, codes) for bit in range(codes.bits)]
    if wanted == "magnitude":
        return tuple(bit for bit, meaning in enumerate(meanings) if meaning != "sign")
    found = tuple(bit for bit, meaning in enumerate(meanings) if meaning == wanted)
    if not found:
        kind = "whole numbers" if codes.signed else "whole numbers without a sign"
        raise ValueError(f"{fault}: these {site} are {kind}, which have no {wanted}; use bits = 'any'")
    return found


def word(fault: str, site: str, codes: Codes) -> None:
    """Raises `ValueError` if the codes have no bits."""
    if codes.form == "whole" and not 1 <= codes.bits <= 53:
        raise ValueError(
            f"{fault}: these {site} are no whole numbers of 1 to 53 bits, so they have no bits to flip; "
            "use gaussian or lognormal"
        )


def number(value: Any) -> bool:
    """Whether `value` is a finite number."""
    plain = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return plain and math.isfinite(value)


def _bit(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0
