"""An `Architecture` as a `torch.nn.Module`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from vilfredo.architecture import Architecture, Layer, Shape, input_shapes
from vilfredo.protocols import Impossible
from vilfredo.trial import JSON


def build(architecture: Architecture, seed: int = 0, device: str = "cpu") -> Network:
    """The network with weights that depend on nothing but the architecture and `seed`.

    Convolutions and dense layers start with He's normal initialisation (K. He et al., "Delving deep into
    rectifiers", ICCV 2015: variance 2 / fan in) and zero biases; the layer that gives the output has
    variance 1 / fan in. `device="meta"` gives a network without storage, whose structure can be read.
    The process's own random stream is left as it was. Raises `Impossible` for a layer that is not known.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta" if device == "meta" else "cpu"):
        torch.manual_seed(seed)
        network = Network(architecture)
        if device != "meta":
            _initialise(network)
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


def _conv(args: Mapping[str, JSON], shape: Shape) -> nn.Module:
    return nn.Conv2d(
        shape[0],
        args["filters"],
        tuple(args["kernel"]),
        tuple(args["stride"]),
        tuple(args.get("padding", (0, 0))),
        groups=args.get("groups", 1),
        bias=args.get("bias", True),
    )


def _pool(kind: Callable[..., nn.Module]) -> Callable[[Mapping[str, JSON], Shape], nn.Module]:
    return lambda args, shape: kind(
        tuple(args["kernel"]), tuple(args["stride"]), tuple(args.get("padding", (0, 0)))
    )


_MODULES: Mapping[str, Callable[[Mapping[str, JSON], Shape], nn.Module]] = {
    "conv": _conv,
    "max_pool": _pool(nn.MaxPool2d),
    "avg_pool": _pool(nn.AvgPool2d),
    "global_pool": lambda args, shape: GlobalPool(),
    "batch_norm": lambda args, shape: (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0]),
    "relu": lambda args, shape: nn.ReLU(),
    "tanh": lambda args, shape: nn.Tanh(),
    "sigmoid": lambda args, shape: nn.Sigmoid(),
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


def _initialise(network: Network) -> None:
    weighted = [m for m in network.layers if isinstance(m, nn.Conv2d | nn.Linear)]
    for module in weighted:
        last = module is weighted[-1]
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if last else "relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
