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

from vilfredo.campaign.hits import ALIVE, bias_codes, check, faulty
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
        hits = [*_hits(injection, number, "weights"), *_hits(injection, number, "biases")]
        total = _sums(step, arriving, hits)
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
    """What the step comes to with its faulty weight and bias; with transient hits image by image."""
    if all(hit.image is None for hit in hits):
        return sums(_faulty(step, hits, 0), arriving)
    images = range(len(arriving[0]))
    each = [sums(_faulty(step, hits, image), [a[image : image + 1] for a in arriving]) for image in images]
    return torch.cat(each)


def _faulty(step: Step, hits: Sequence[Hit], image: int) -> Step:
    """The step as it is in an image's inference. In whole numbers one with a faulty bias sums in float64, for
    its sums may be longer than those that the step was made for."""
    weights, biases = ([hit for hit in hits if hit.site == site] for site in ("weights", "biases"))
    if weights:
        assert step.weight is not None
        assert step.weight_codes is not None
        step = replace(step, weight=_cells(step.weight, step.weight_codes, weights, image))
    if biases:
        assert step.bias is not None
        bias = _cells(step.bias.double(), bias_codes(step), biases, image)
        whole = step.codes.form == "whole"
        step = replace(step, bias=bias if whole else bias.to(step.bias.dtype))
        step = replace(step, dtype=torch.float64, chunk=0) if whole else step
    return step


def _cells(array: Tensor, codes: Codes, hits: Sequence[Hit], image: int) -> Tensor:
    cells = array.double().flatten().numpy().copy()
    for hit in hits:
        here = slice(None) if hit.image is None else hit.image == image
        index = hit.index[here]
        cells[index] = faulty(hit.fault, cells[index], codes, hit.detail[here])
    return torch.from_numpy(cells).view(array.shape).to(array.dtype)


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
