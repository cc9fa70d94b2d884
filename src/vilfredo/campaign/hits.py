"""What a hit does to the array that it acts on: the part that the engine and the plain re-run share.

Where several hits meet in one step they act in the order in which data flow: weights and biases, then
accumulators, then (after `finish`) the stored output's `activations` or, of the network's input, `inputs`,
and last `neurons`; at one site in the order in which the injection lists them. A transient hit at a weight or
bias lasts for one image's inference.

After each fault the cell holds what hardware can hold (`held`). A faulty weight or activation may use the
whole span of its bits, so −128 where trained weights of 8 bits go from −127 to 127, and a value below the
zero of a ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo import codes as cells
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Step
from vilfredo.protocols import Fault, Site

ALIVE = Codes(0, 1, 1)  # of the site "neurons": an array of ones


def held(values: NDArray[np.float64], codes: Codes) -> NDArray[np.float64]:
    """What a cell holds that `values` are written to.

    Whole numbers are rounded half to even, then clamped to what the bits can hold (`codes.span`; without
    bits to `low` and `high`, not rounded); floats are rounded to the form, half to even, beyond its largest
    number to infinity. NaN stays NaN.
    """
    if codes.form != "whole":
        return cells.values(cells.patterns(values, codes), codes)
    if not codes.bits:
        return np.clip(values, codes.low, codes.high)
    return np.clip(np.rint(values), *cells.span(codes))


def faulty(
    fault: Fault, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]
) -> NDArray[np.float64]:
    """What the cells hold when `fault` has acted on them with these details, one each."""
    return held(fault.apply(values, codes, detail), codes)


@dataclass(frozen=True, eq=False)
class Blow:
    """A hit on its way: the cells (k,) that it acts on, by any numbers that tell all cells apart, ascending,
    and how many hits of the same injection come before it."""

    order: int
    fault: Fault
    cell: NDArray[np.int64]
    detail: NDArray[Any]


def struck(
    blows: Sequence[Blow], values: Callable[[NDArray[np.int64]], NDArray[np.float64]], codes: Codes
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which cells (m,), ascending, the blows have hit, and what they hold then; `values` says what they held.

    Blows of the same order and fault are one call of the fault.
    """
    cell = np.concatenate([blow.cell for blow in blows])
    if (np.diff(cell) <= 0).any():
        cell = np.unique(cell)
    held_there = values(cell)
    together: dict[tuple[int, int], list[Blow]] = {}
    for blow in blows:
        together.setdefault((blow.order, id(blow.fault)), []).append(blow)
    for _, same in sorted(together.items(), key=lambda item: item[0][0]):
        mine = np.concatenate([blow.cell for blow in same])
        detail = np.concatenate([blow.detail for blow in same])
        at = np.searchsorted(cell, mine)
        held_there[at] = faulty(same[0].fault, held_there[at], codes, detail)
    return cell, held_there


def place(network: Deployed, step: int, site: Site) -> tuple[tuple[int, ...], Codes]:
    """Shape (of one image, or of the weight) and codes of the array that a site of a step is.

    Raises `ValueError` if there is no such step, or it has no such site.
    """
    if not INPUT <= step < len(network.steps):
        raise ValueError(f"there is no step {step}: this network has steps 0 to {len(network.steps) - 1}")
    if step == INPUT:
        if site == "inputs":
            return network.input_shape, network.input
        if site == "neurons":
            return network.input_shape, ALIVE
        raise ValueError(
            f"the network's input has no {site}; faults there are of the site 'inputs' or 'neurons'"
        )
    known = network.steps[step]
    if site == "weights" and known.weight is not None and known.weight_codes is not None:
        return tuple(known.weight.shape), known.weight_codes
    if site == "biases" and known.bias is not None and known.op in ("conv", "dense"):
        return tuple(known.bias.shape), bias_codes(known)
    if site == "activations":
        return known.shape, known.codes
    if site == "neurons":
        return known.shape, ALIVE
    if site == "accumulators" and known.accumulator is not None and known.op in ("conv", "dense"):
        return known.shape, known.accumulator
    raise ValueError(
        f"step {step} ({known.name or known.op}) has no {site}; give a step and a site that go together"
    )


def bias_codes(step: Step) -> Codes:
    """What a bias is held in: in whole numbers it is as wide as the accumulator to which it is added."""
    codes = step.accumulator if step.codes.form == "whole" else step.weight_codes
    assert codes is not None
    return codes


def check(network: Deployed, injection: Injection, images: int) -> None:
    """Raises `ValueError` if a hit is at a step, site, index or image that is not there."""
    for hit in injection.hits:
        check_hit(network, hit, images)


def check_hit(network: Deployed, hit: Hit, images: int) -> None:
    """Raises `ValueError` if a hit is at a step, site, index or image that is not there."""
    shape, _ = place(network, hit.step, hit.site)
    name = "the network's input" if hit.step == INPUT else f"step {hit.step} ({network.steps[hit.step].name})"
    size = math.prod(shape)
    if len(hit.index) != len(hit.detail) or (hit.image is not None and len(hit.image) != len(hit.index)):
        raise ValueError(f"{name}: a hit needs one detail (and one image, if transient) for each index")
    if not len(hit.index):
        return
    if hit.index.min() < 0 or hit.index.max() >= size:
        wrong = hit.index.min() if hit.index.min() < 0 else hit.index.max()
        raise ValueError(f"{name}: there is no {hit.site} number {wrong}; they go from 0 to {size - 1}")
    if hit.image is not None and (hit.image.min() < 0 or hit.image.max() >= images):
        wrong = hit.image.min() if hit.image.min() < 0 else hit.image.max()
        raise ValueError(f"{name}: there is no image {wrong}; they go from 0 to {images - 1}")
