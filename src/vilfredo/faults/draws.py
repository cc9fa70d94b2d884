"""The draws and the bit arithmetic that faults share. The work goes with the hits, not with the sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes, patterns, span
from vilfredo.protocols import Hits

if TYPE_CHECKING:
    from vilfredo.protocols import Fault

_FEW = 1 << 16  # expected hits up to which numpy's own choice is used; it is slow for many


def hit(size: int, probability: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions in 0 … size − 1, each hit with `probability`, independently of the others; ascending.

    Few: how many are hit is drawn first, then which. Many: the gaps between hits are drawn, which are
    geometric.
    """
    if size * probability <= _FEW:
        count = int(rng.binomial(size, probability))
        return np.sort(rng.choice(size, count, replace=False, shuffle=False).astype(np.int64))
    parts, last = [], -1
    while last < size:
        missing = (size - last) * probability
        gaps = rng.geometric(probability, int(missing + 5 * math.sqrt(missing) + 10))
        parts.append(last + np.cumsum(gaps))
        last = int(parts[-1][-1])
    places: NDArray[np.int64] = np.concatenate(parts).astype(np.int64, copy=False)
    return places[: int(np.searchsorted(places, size))]


def exactly(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` different positions in 0 … size − 1, all sets of them equally probable; ascending."""
    if 2 * count > size:
        spared = np.ones(size, bool)
        spared[exactly(size, size - count, rng)] = False
        return np.flatnonzero(spared)
    if count <= _FEW:
        return np.sort(rng.choice(size, count, replace=False, shuffle=False).astype(np.int64))
    places = np.empty(0, np.int64)
    while len(places) < count:  # those that came twice, anew: no set is preferred
        more = rng.integers(0, size, count - len(places))
        places = np.sort(np.concatenate([places, more]))
        places = places[np.diff(places, prepend=-1) > 0]
    return places


def masks(places: NDArray[np.int64], bits: NDArray[np.int64]) -> Hits:
    """Hits of words from hits of single bits: ascending places with a bit number each."""
    first = np.flatnonzero(np.diff(places, prepend=-1))
    bit = np.int64(1) << bits
    return Hits(places[first], np.bitwise_or.reduceat(bit, first) if len(first) else bit)


def words(fault: str, site: str, values: NDArray[np.float64], codes: Codes) -> NDArray[np.int64]:
    """The bits of values, as `codes.patterns` has them. Raises `ValueError` in the name of the fault."""
    fit(fault, site, values, codes)
    return patterns(values, codes)


def fit(fault: str, site: str, values: NDArray[np.float64], codes: Codes) -> None:
    """Raises `ValueError` if not all values are whole numbers of the codes' bits; floats always fit."""
    if codes.form != "whole" or not values.size:
        return
    low, high = span(codes)
    if not ((values >= low) & (values <= high) & (values == np.rint(values))).all():
        raise ValueError(
            f"{fault}: not all {site} are whole numbers from {low} to {high} ({codes.bits} bits)"
        )


def acted(
    fault: Fault, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What `fault(values, codes, rng)` is: `draw`, then `apply` at the hits."""
    hits = fault.draw(values.shape, codes, rng)
    faulty = np.array(values, np.float64, order="C")
    flat = faulty.reshape(-1)
    if len(hits.index) == flat.size:
        flat[:] = fault.apply(flat, codes, hits.detail)
    else:
        flat[hits.index] = fault.apply(flat[hits.index], codes, hits.detail)
    return faulty


def everything(shape: tuple[int, ...], detail: NDArray[Any]) -> Hits:
    """Hits of all positions."""
    return Hits(np.arange(math.prod(shape)), detail)


def nothing(kind: type[Any] = np.float64) -> Hits:
    """No hits."""
    return Hits(np.empty(0, np.int64), np.empty(0, kind))
