"""What an objective is given: a network, and what is needed to measure it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vilfredo.nn.deployed import Deployed, run
from vilfredo.nn.quantize import Scheme
from vilfredo.protocols import Fault


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and answers of one split, on the device where the network computes.

    `x` is `(n, *input_shape)` as stored (uint8 images or float32); `y` is int64 classes (n,) or float32
    targets (n, k). A network sees `normalise(x)` and, for regression, gives targets in the same way:
    `(y - target_mean) / target_std`.
    """

    x: Tensor
    y: Tensor
    mean: Tensor  # (1, C, 1, 1) or (1, F), float32
    std: Tensor
    target_mean: Tensor  # (k,), empty for classes
    target_std: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def normalise(self, x: Tensor) -> Tensor:
        """Float32 inputs with the mean and spread of the training part taken out."""
        return x.to(self.mean.dtype).sub(self.mean).div_(self.std)

    def standardise(self, y: Tensor) -> Tensor:
        """Regression targets in units of the training part's standard deviation, from its mean."""
        return (y - self.target_mean) / self.target_std


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network to be measured.

    `model` may be on the meta device (no storage) for objectives whose goal is of the preview stage. The
    others find `examples` of the split asked for, and a trained `model` on `device`. `seed` is for an
    objective that draws at random; `noise` one that all candidates share which meet the same perturbations.
    `train_seconds` is the wall time of training, where it is known.

    `scheme` says how the network will be quantised (None: it stays as it is), `deployed` is the network as
    the hardware runs it, where that is known: then its answers are what counts. `faults` is what befalls
    the hardware, `copies` of which are looked at.
    """

    model: nn.Module
    input_shape: tuple[int, ...]
    outputs: int
    task: Literal["classification", "regression"] = "classification"
    examples: Examples | None = None
    device: str = "cpu"
    seed: int = 0
    train_seconds: float = math.nan
    scheme: Scheme | None = None
    deployed: Deployed | None = None
    faults: Sequence[Fault] = ()
    copies: int = 20
    noise: int = 0

    def sample(self, batch: int) -> Tensor:
        """Normal random inputs `(batch, *input_shape)` where the model is."""
        place = next(self.model.parameters(), torch.empty(0, device=self.device)).device
        shape = (batch, *self.input_shape)
        if place.type == "meta":
            return torch.empty(shape, device=place)
        stream = torch.Generator().manual_seed(self.seed)
        return torch.randn(shape, generator=stream).to(place)


def answers(network: Deployed, x: Tensor, batch: int = 128) -> Tensor:
    """What a deployed network gives for inputs (n, *input_shape) as the trained one takes them: (n, outputs),
    float64."""
    with torch.inference_mode():
        parts = [run(network, network.encode(part))[-1] for part in torch.split(x, batch)]
    return network.decode(torch.cat(parts))


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode, and every part of it back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
