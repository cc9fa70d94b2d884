"""An `Architecture` as a `torch.nn.Module`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from vilfredo.architecture import Architecture, Layer, Shape, input_shapes
from vilfredo.nn.deployed import elementwise
from vilfredo.protocols import Impossible
from vilfredo.trial import JSON


def build(architecture: Architecture, seed: int = 0, device: str = "cpu") -> Network:
    """The network with weights that depend on nothing but the architecture and `seed`.

    Convolutions and dense layers start with normal weights of variance gain² / fan in, where the gain is that
    of the activation which follows (K. He et al., "Delving deep into rectifiers", ICCV 2015: √2 for ReLU),
    and zero biases. `device="meta"` gives a network without storage, whose structure can be read.
    The process's own random stream is left as it was. Raises `Impossible` for a layer that is not known.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta" if device == "meta" else "cpu"):
        torch.manual_seed(seed)
        network = Network(architecture)
        if device != "meta":
            _initialise(network, architecture)
    return network if device in ("meta", "cpu") else network.to(device)


class Network(nn.Module):
    """Takes (batch, *architecture.input), gives (batch, *architecture.output).

    `layers.<index>` is the module of the layer with that index, so names in `state_dict` follow from the
    architecture. `torch.fx`, `torch.export` and ONNX read it: the loop over layers unrolls.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        pairs = zip(architecture.layers, input_shapes(architecture), strict=True)
        self.layers = nn.ModuleList(_module(layer, shapes) for layer, shapes in pairs)
        self.inputs: tuple[tuple[int, ...], ...] = tuple(layer.inputs for layer in architecture.layers)
        last = {i: index for index, inputs in enumerate(self.inputs) for i in inputs}
        final = len(self.inputs) - 1
        # After which layer which results are no longer needed, so that memory can be given back.
        self.spent: tuple[tuple[int, ...], ...] = tuple(
            tuple(i for i, index in last.items() if index == at and i != final)
            for at in range(len(self.inputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        known = {-1: x}
        for index, layer in enumerate(self.layers):
            known[index] = x = layer(*[known[i] for i in self.inputs[index]])
            for i in self.spent[index]:
                del known[i]
        return x


class Add(nn.Module):
    """The sum of its inputs, all of one shape."""

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[0]
        for other in inputs[1:]:
            total = total + other
        return total


class Concat(nn.Module):
    """Its inputs, one after the other along the channels or features."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=1)


class GlobalPool(nn.Module):
    """The mean over height and width: (batch, channels, height, width) to (batch, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Elementwise(nn.Module):
    """A function of each number, by its name in `torch.nn.functional`, with keyword arguments."""

    def __init__(self, name: str, arguments: Mapping[str, JSON]) -> None:
        super().__init__()
        self.name, self.arguments = name, dict(arguments)

    def forward(self, x: Tensor) -> Tensor:
        return elementwise(self.name, x, self.arguments)


class Clip(nn.Module):
    """Its input, but not below `low` and not above `high`; None: no limit."""

    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


class Bordered(nn.Conv2d):
    """A convolution of an image in a border of zeros: top, bottom, left, right."""

    border: tuple[int, int, int, int] = (0, 0, 0, 0)

    def forward(self, input: Tensor) -> Tensor:
        top, bottom, left, right = self.border
        return super().forward(nn.functional.pad(input, (left, right, top, bottom)))


def _conv(args: Mapping[str, JSON], shape: Shape) -> nn.Module:
    padding = tuple(args.get("padding", (0, 0)))
    kind = nn.Conv2d if len(padding) == 2 else Bordered
    module = kind(
        shape[0],
        args["filters"],
        tuple(args["kernel"]),
        tuple(args["stride"]),
        padding if len(padding) == 2 else 0,
        tuple(args.get("dilation", (1, 1))),
        groups=args.get("groups", 1),
        bias=args.get("bias", True),
    )
    if isinstance(module, Bordered):
        module.border = padding
    return module


def _max_pool(args: Mapping[str, JSON], shape: Shape) -> nn.Module:
    return nn.MaxPool2d(tuple(args["kernel"]), tuple(args["stride"]), tuple(args.get("padding", (0, 0))))


def _avg_pool(args: Mapping[str, JSON], shape: Shape) -> nn.Module:
    window = tuple(args["kernel"]), tuple(args["stride"]), tuple(args.get("padding", (0, 0)))
    return nn.AvgPool2d(*window, count_include_pad=args.get("count_padding", True))


def _pad(args: Mapping[str, JSON], shape: Shape) -> nn.Module:
    top, bottom, left, right = args["padding"]
    return nn.ZeroPad2d((left, right, top, bottom))


_MODULES: Mapping[str, Callable[[Mapping[str, JSON], Shape], nn.Module]] = {
    "conv": _conv,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_pool": lambda args, shape: GlobalPool(),
    "batch_norm": lambda args, shape: (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0]),
    "relu": lambda args, shape: nn.ReLU(),
    "tanh": lambda args, shape: nn.Tanh(),
    "sigmoid": lambda args, shape: nn.Sigmoid(),
    "clip": lambda args, shape: Clip(args.get("low"), args.get("high")),
    "function": lambda args, shape: Elementwise(args["name"], args.get("arguments", {})),
    "pad": _pad,
    "dropout": lambda args, shape: nn.Dropout(args["rate"]),
    "flatten": lambda args, shape: nn.Flatten(),
    "dense": lambda args, shape: nn.Linear(shape[0], args["units"], bias=args.get("bias", True)),
    "add": lambda args, shape: Add(),
    "concat": lambda args, shape: Concat(),
    "identity": lambda args, shape: nn.Identity(),
}


def _module(layer: Layer, shapes: tuple[Shape, ...]) -> nn.Module:
    if layer.op not in _MODULES:
        raise Impossible(f"no layer is called {layer.op!r}")
    return _MODULES[layer.op](layer.args, shapes[0])


_GAINS: Mapping[str, float] = {"relu": math.sqrt(2.0), "tanh": 5.0 / 3.0, "sigmoid": 4.0}
"""What makes up for an activation: half of what is normal is lost in a ReLU, tanh is a little flatter
than the identity over such values, and a sigmoid's slope is at most 1/4."""


def _initialise(network: Network, architecture: Architecture) -> None:
    following = _activations(architecture)
    for index, module in enumerate(network.layers):
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, 0.0, _GAINS.get(following[index], 1.0) / math.sqrt(fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _activations(architecture: Architecture) -> list[str]:
    """For each layer the first activation that its result meets before other weights; "" for none."""
    following = [""] * len(architecture.layers)
    for index, layer in reversed(list(enumerate(architecture.layers))):
        met = layer.op if layer.op in _GAINS else "" if layer.op in ("conv", "dense") else following[index]
        for source in layer.inputs:
            if source >= 0 and met:
                following[source] = met
    return following
