"""What faulty biases do: a constant more or less in all sums of an output channel.

They come as the faulty weights of a step do (`spread.FaultyWeights`), in sets, with positions in the bias. A
sum with a faulty bias may take one bit more than the accumulator has; it is not cut off.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from vilfredo.campaign import spread
from vilfredo.campaign.changes import TOGETHER, Change
from vilfredo.campaign.golden import Golden
from vilfredo.campaign.hits import bias_codes
from vilfredo.campaign.spread import FaultyWeights
from vilfredo.nn.deployed import Step


def as_weight(step: Step) -> Step:
    """The step with its bias in the place of its weight: what is hit."""
    return replace(step, weight=step.bias, weight_codes=bias_codes(step))


def with_bias(step: Step, biases: FaultyWeights, number: int) -> Step:
    """The step with the faulty bias of a set. In whole numbers it sums in float64, which a faulty one may
    need."""
    assert step.bias is not None
    bias = step.bias.double().numpy().copy()
    mine = slice(*np.searchsorted(biases.set, [number, number + 1]))
    bias[biases.index[mine]] = biases.value[mine]
    faulty = torch.from_numpy(bias)
    if step.codes.form != "whole":
        return replace(step, bias=faulty.to(step.bias.dtype))
    return replace(step, bias=faulty, dtype=torch.float64, chunk=0)


def added(golden: Golden, number: int, biases: FaultyWeights) -> Change | None:
    """What changes of a step's output in rows of which nothing else is wrong, in whole numbers: what the bias
    has more is added to the golden sums of its channel."""
    step = golden.network.steps[number]
    assert step.bias is not None
    first, last = (np.searchsorted(biases.set, biases.chosen, side) for side in ("left", "right"))
    counts = last - first
    row = np.repeat(biases.rows, counts)
    at = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(len(row))
    channel, value = biases.index[at], biases.value[at]
    delta = torch.from_numpy(value - step.bias.double().numpy()[channel])
    pixels = math.prod(step.shape[1:])
    total = golden.sums[number].view(len(golden.x), -1, pixels)
    exact = total[torch.from_numpy(row // TOGETHER), torch.from_numpy(channel)].double() + delta[:, None]
    out = exact if step.finish is None else step.finish(exact, torch.from_numpy(channel), 0)
    index = channel[:, None] * pixels + np.arange(pixels)
    code = out.to(golden.codes(number).dtype).numpy().reshape(-1)
    return spread.kept(golden, number, np.repeat(row, pixels), index.reshape(-1), code)
