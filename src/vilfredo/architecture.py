"""A network as data: what a genome decodes to, before any tensor exists.

An `Architecture` is a list of layers in topological order. It is what is drawn, counted, compared and,
by `vilfredo.nn.build`, turned into a `torch.nn.Module`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from vilfredo.trial import JSON

Shape = tuple[int, ...]  # without the batch: (channels, height, width) or (features,)


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation. `inputs` are indices of earlier layers, -1 is the network's input.

    `op` and its `args`: `conv` (filters, kernel [h, w], stride [h, w], padding [h, w], groups, bias),
    `max_pool` and `avg_pool` (kernel, stride, padding), `global_pool`, `batch_norm`, `relu`, `tanh`,
    `sigmoid`, `dropout` (rate), `flatten`, `dense` (units, bias), `add`, `concat`, `identity`.
    `shape` is that of the output, without the batch.
    """

    op: str
    args: Mapping[str, JSON] = field(default_factory=dict)
    inputs: tuple[int, ...] = (-1,)
    shape: Shape = ()


@dataclass(frozen=True, slots=True)
class Architecture:
    """Layers in topological order; the last one gives the network's output."""

    input: Shape
    layers: tuple[Layer, ...]

    @property
    def output(self) -> Shape:
        return self.layers[-1].shape if self.layers else self.input


@dataclass(frozen=True, slots=True)
class Design:
    """What a network space decodes a genome to: the architecture and the training's hyperparameters.

    `training` may hold `optimizer` ("adam" or "sgd"), `lr`, `momentum`, `weight_decay`, `batch_size`,
    `schedule` ("cosine" or "constant"); what is absent is the problem's default.
    """

    architecture: Architecture
    training: Mapping[str, JSON] = field(default_factory=dict)


def canonical(design: Design) -> str:
    """Equal for designs that are the same network trained the same way."""
    layers = [[l.op, dict(l.args), list(l.inputs)] for l in design.architecture.layers]
    return json.dumps([layers, dict(design.training)], sort_keys=True, separators=(",", ":"))
