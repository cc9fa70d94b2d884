"""Small deployed networks for the tests of campaigns, and the slow way to run faults on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.campaign.injection import Injection
from vilfredo.campaign.plain import plain
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Rescale, Step, run, sums


def rescale(shift: int, low: int, high: int) -> Rescale:
    return Rescale(torch.tensor(1.0).double(), torch.tensor(float(shift)).double(), 0, low, high)


def small(seed: int = 0, filters: int = 3, classes: int = 4, size: int = 6) -> Deployed:
    """conv 3 × 3 and ReLU, max pooling, flatten, dense: whole numbers of 8 bits with random weights."""
    g = torch.Generator().manual_seed(seed)

    def weight(*shape: int) -> Tensor:
        return torch.randint(-40, 41, shape, generator=g).float()

    signed, accumulator = Codes(-127, 127, 8), Codes(-(2**19), 2**19 - 1, 20)
    half = size // 2
    steps = (
        Step(
            "conv",
            "conv",
            (-1,),
            (filters, size, size),
            Codes(0, 127, 8),
            {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1},
            weight=weight(filters, 1, 3, 3),
            bias=weight(filters),
            weight_codes=signed,
            accumulator=accumulator,
            finish=rescale(5, 0, 127),
        ),
        Step(
            "pool",
            "max_pool",
            (0,),
            (filters, half, half),
            Codes(0, 127, 8),
            {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]},
        ),
        Step("flatten", "flatten", (1,), (filters * half * half,), Codes(0, 127, 8)),
        Step(
            "fc",
            "dense",
            (2,),
            (classes,),
            Codes(-128, 127, 8),
            weight=weight(classes, filters * half * half),
            bias=weight(classes),
            weight_codes=signed,
            accumulator=accumulator,
            finish=rescale(7, -128, 127),
        ),
    )
    network = Deployed(steps, (1, size, size), Codes(0, 63, 6))
    # Biases without which all images would be of one class.
    stored = run(network, images(network, 64, seed=seed + 100))[2]
    last = replace(steps[-1], bias=-sums(replace(steps[-1], bias=None), [stored]).mean(0).round())
    return replace(network, steps=(*steps[:-1], last))


def images(network: Deployed, n: int = 24, seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, int(network.input.high) + 1, (n, *network.input_shape), generator=g).float()


class Slow:
    """Every faulty network run as a whole, one after the other. `asked` counts injections."""

    def __init__(self, network: Deployed, x: Tensor) -> None:
        self.network, self.x, self.asked = network, x, 0
        self.golden = run(network, x)[-1]
        self.classes = self.golden.argmax(1)

    def classes_under(self, injections: Sequence[Injection]) -> NDArray[np.int64]:
        self.asked += len(injections)
        return np.array([plain(self.network, self.x, i).argmax(1).numpy() for i in injections]).reshape(
            len(injections), len(self.x)
        )


def answers(engine: Slow, seed: int = 2) -> NDArray[np.int64]:
    """Labels that the network gets right for about four images in five."""
    rng = np.random.default_rng(seed)
    right = engine.classes.numpy()
    return np.where(rng.random(len(right)) < 0.8, right, (right + 1) % 4)
