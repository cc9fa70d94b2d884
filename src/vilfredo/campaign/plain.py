"""The whole faulty network run anew, one step after the other: slow, and simple enough to be believed.

It is what the engine is checked against. Nothing is kept from a run without faults, nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.campaign.hits import ALIVE, check, faulty
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Step, finished, sums
from vilfredo.protocols import Site


def plain(network: Deployed, x: Tensor, injection: Injection) -> Tensor:
    """Codes (n, outputs) that the network with these faults gives for input codes x (n, *input_shape).

    Raises `ValueError` if a hit is at a place that is not there.
    """
    check(network, injection, len(x))
    x = _stored(x, injection, INPUT, "inputs", network.input, network.input_zero)
    known: list[Tensor] = []
    for number, step in enumerate(network.steps):
        arriving = [x if i == INPUT else known[i] for i in step.inputs]
        total = _sums(step, arriving, _hits(injection, number, "weights"))
        out = finished(step, total)
        struck = _hits(injection, number, "accumulators")
        if struck:
            assert step.accumulator is not None
            exact = _struck(total.double(), struck, step.accumulator)
            out = finished(step, exact if network.form == "whole" else exact.to(total.dtype)).to(out.dtype)
        known.append(_stored(out, injection, number, "activations", step.codes, step.zero))
    return known[-1]


def _hits(injection: Injection, step: int, site: Site) -> list[Hit]:
    return [hit for hit in injection.hits if hit.step == step and hit.site == site]


def _sums(step: Step, arriving: list[Tensor], hits: Sequence[Hit]) -> Tensor:
    """What the step comes to with its faulty weight; with transient hits image by image."""
    if all(hit.image is None for hit in hits):
        return sums(_with_weight(step, hits, 0), arriving)
    images = range(len(arriving[0]))
    each = [
        sums(_with_weight(step, hits, image), [a[image : image + 1] for a in arriving]) for image in images
    ]
    return torch.cat(each)


def _with_weight(step: Step, hits: Sequence[Hit], image: int) -> Step:
    if not hits:
        return step
    assert step.weight is not None
    assert step.weight_codes is not None
    cells = step.weight.double().flatten().numpy().copy()
    for hit in hits:
        here = slice(None) if hit.image is None else hit.image == image
        index = hit.index[here]
        cells[index] = faulty(hit.fault, cells[index], step.weight_codes, hit.detail[here])
    return replace(step, weight=torch.from_numpy(cells).view(step.weight.shape).to(step.weight.dtype))


def _stored(values: Tensor, injection: Injection, step: int, site: Site, codes: Codes, zero: float) -> Tensor:
    """What the step's output comes to in memory, and what dead neurons make of it."""
    hits = _hits(injection, step, site)
    if hits:
        values = _struck(values.double(), hits, codes).to(values.dtype)
    hits = _hits(injection, step, "neurons")
    if hits:
        alive = _struck(torch.ones(values.shape, dtype=torch.float64), hits, ALIVE)
        values = torch.where(alive == 0, torch.full_like(values, zero), values)
    return values


def _struck(values: Tensor, hits: Sequence[Hit], codes: Codes) -> Tensor:
    """float64 values (n, …), each image's hit at the places given."""
    cells: NDArray[np.float64] = values.flatten(1).numpy().copy()
    for hit in hits:
        for image in range(len(cells)):
            here = slice(None) if hit.image is None else hit.image == image
            index = hit.index[here]
            cells[image, index] = faulty(hit.fault, cells[image, index], codes, hit.detail[here])
    return torch.from_numpy(cells).view(values.shape)
