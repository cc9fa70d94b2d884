"""Perturbed copies of a network: what faults make of the numbers that its program holds in hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.protocols import Fault
from vilfredo.spiking.network import Floats, Ints
from vilfredo.spiking.program import Program


@dataclass(frozen=True, eq=False)
class Copies:
    """K copies of a program of n neurons and s synapses, as kernels take them."""

    weights: Floats  # (K, s)
    thresholds: Floats  # (K, n); infinite: the neuron is dead
    delays: Ints | None  # (K, s); None: the program's own


def copies(
    program: Program,
    faults: Sequence[Fault],
    count: int,
    rng: np.random.Generator,
    weights: Floats | None = None,
) -> Copies:
    """`count` copies, each with its own draw of `faults`, which act one after the other in the order given.

    After each fault the numbers that it has changed are what the hardware can hold: whole numbers if the
    program is `exact` (rounded, half to even) and for delays always, then held within the program's limits,
    because a cell cannot hold more than its range. Delays are 1 at least. A dead neuron has an infinite
    threshold. `weights` (count, s) are what the processor's own imperfection has left of the weights; None:
    the program's, in every copy.

    Raises `ValueError` for a count below 1, for weights of another shape, for transient faults, and for what
    a fault refuses.
    """
    if count < 1:
        raise ValueError(f"{count} copies of a network were asked for; give 1 or more")
    shape = (count, len(program.weight))
    if weights is not None and weights.shape != shape:
        raise ValueError(f"the weights of {count} copies have shape {weights.shape}, not {shape}")
    weight = np.array(np.broadcast_to(program.weight if weights is None else weights, shape), np.float64)
    threshold = np.repeat(np.asarray(program.threshold, np.float64)[None], count, axis=0)
    delay = np.repeat(np.asarray(program.delay, np.float64)[None], count, axis=0)
    alive = np.ones_like(threshold)
    moved = False
    weight_codes = codes(program.limits, program.exact, program.wrap)
    threshold_codes = codes(program.threshold_limits, program.exact)
    delay_codes = codes(program.delay_limits, True)
    for fault in faults:
        if fault.site not in ("weights", "thresholds", "delays", "neurons"):
            raise ValueError(
                f"{type(fault).__name__} acts on {fault.site!r}; a spiking network has weights, thresholds, "
                "delays and neurons"
            )
        if getattr(fault, "transient", False):
            raise ValueError(
                f"{type(fault).__name__} is transient, but each copy of a spiking network keeps its faults "
                "for all inferences; leave transient = true out"
            )
        if fault.site == "weights":
            weight = _after(fault, weight, weight_codes, program.exact, rng)
        elif fault.site == "thresholds":
            threshold = _after(fault, threshold, threshold_codes, program.exact, rng)
        elif fault.site == "delays":
            delay = np.maximum(_after(fault, delay, delay_codes, True, rng), 1.0)
            moved = True
        else:
            alive = fault(alive, Codes(0.0, 1.0, 1), rng)
    threshold[alive == 0] = np.inf
    return Copies(weight, threshold, delay.astype(np.int64) if moved else None)


def codes(limits: tuple[float, float], whole: bool, wrap: bool = False) -> Codes:
    """What a cell with these limits holds: as few bits as a finite range of whole numbers needs."""
    low, high = (max(limits[0], -128.0), min(limits[1], 127.0)) if wrap else limits
    if not whole or not np.isfinite(low) or not np.isfinite(high):
        return Codes(low, high)
    if low >= 0:
        return Codes(low, high, max(1, int(high).bit_length()))
    return Codes(low, high, 1 + max(int(-low - 1).bit_length(), int(max(high, 0)).bit_length()))


def hold(values: NDArray[np.float64], codes: Codes, whole: bool) -> NDArray[np.float64]:
    """What cells hold of `values`: rounded half to even if whole, within the limits."""
    held: NDArray[np.float64] = np.clip(np.rint(values) if whole else values, codes.low, codes.high)
    return held


def _after(fault: Fault, values: Floats, codes: Codes, whole: bool, rng: np.random.Generator) -> Floats:
    """What cells hold after a fault; what is infinite (it never fires) or unchanged stays as it is."""
    finite = np.isfinite(values)
    cells = np.where(finite, values, 0.0)
    if getattr(fault, "count", None) is None:
        faulty = fault(cells, codes, rng)
    else:  # so many in each copy
        faulty = np.stack([fault(one, codes, rng) for one in cells])
    return np.where(finite & (faulty != values), hold(faulty, codes, whole), values)
