"""Networks made ready for hardware: without batch norm, activations within the layer before, and what
they compute in floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vilfredo.architecture import Architecture, Layer
from vilfredo.nn.deployed import elementwise
from vilfredo.trial import JSON

Tensors = Mapping[str, Tensor]


class Undeployable(ValueError):
    """A network without what is needed to deploy it; one sentence that names the layer."""


@dataclass(frozen=True, eq=False)
class Part:
    """One step of a network to be deployed, in floats: a layer, whose result is clamped to `low` and `high`.

    Its op is one of `conv` (with symmetric padding), `dense`, `max_pool`, `avg_pool`, `global_pool`, `add`,
    `concat`, `flatten`, `pad`, `clip` (nothing but the clamp) and `function`.
    """

    name: str
    layer: Layer
    tensors: Tensors = field(default_factory=dict)  # weight and bias, float64
    low: float = -torch.inf
    high: float = torch.inf


def outputs(layers: Sequence[Layer], tensors: Sequence[Tensors], x: Tensor) -> list[Tensor]:
    """What each layer gives for inputs (n, …), in floats of the type of `x`."""
    known: list[Tensor] = []
    for layer, held in zip(layers, tensors, strict=True):
        known.append(output(layer, held, [x if i < 0 else known[i] for i in layer.inputs]))
    return known


def results(parts: Sequence[Part], x: Tensor) -> list[Tensor]:
    """What each part gives for inputs (n, …), in floats of the type of `x`."""
    known: list[Tensor] = []
    for part in parts:
        given = output(part.layer, part.tensors, [x if i < 0 else known[i] for i in part.layer.inputs])
        known.append(given.clamp(part.low, part.high))
    return known


def output(layer: Layer, tensors: Tensors, arriving: Sequence[Tensor]) -> Tensor:
    """What one layer makes of its inputs (n, …), in floats."""
    x, args = arriving[0], layer.args
    held = {name: t.to(x) for name, t in tensors.items()}
    if layer.op == "conv":
        padding = list(args["padding"])
        if len(padding) == 4:
            x, padding = F.pad(x, (padding[2], padding[3], padding[0], padding[1])), [0, 0]
        strides = tuple(args["stride"]), tuple(padding), tuple(args.get("dilation", (1, 1)))
        return F.conv2d(x, held["weight"], held.get("bias"), *strides, args.get("groups", 1))
    if layer.op == "dense":
        return F.linear(x, held["weight"], held.get("bias"))
    if layer.op == "batch_norm":
        mean, var = held["running_mean"], held["running_var"]
        return F.batch_norm(x, mean, var, held.get("weight"), held.get("bias"), eps=float(tensors["eps"]))
    if layer.op in ("max_pool", "avg_pool"):
        window = tuple(args["kernel"]), tuple(args["stride"]), tuple(args.get("padding", (0, 0)))
        if layer.op == "max_pool":
            return F.max_pool2d(x, *window)
        return F.avg_pool2d(x, *window, count_include_pad=args.get("count_padding", True))
    if layer.op == "pad":
        top, bottom, left, right = args["padding"]
        return F.pad(x, (left, right, top, bottom))
    if layer.op == "add":
        return torch.stack(list(arriving)).sum(0)
    if layer.op in _PLAIN:
        return _PLAIN[layer.op](*arriving)
    if layer.op == "clip":
        return x.clamp(*_limits(layer))
    if layer.op == "function":
        return elementwise(str(args["name"]), x, args.get("arguments"))
    raise ValueError(f"no layer is called {layer.op!r}")


_PLAIN: Mapping[str, Callable[..., Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "flatten": lambda x: x.flatten(1),
    "global_pool": lambda x: x.mean(dim=(2, 3)),
    "concat": lambda *arriving: torch.cat(arriving, dim=1),
    "identity": lambda x: x,
    "dropout": lambda x: x,
}


# -- without batch norm -------------------------------------------------------------------------------


def parts(architecture: Architecture, names: Sequence[str], tensors: Sequence[Tensors]) -> list[Part]:
    """The network without batch norm, ReLU and clips within the part before where that has no other user.

    Batch norm goes into the convolution or dense layer before it where that has no other user; elsewhere it
    becomes a convolution of one pixel and one channel a group, of features a diagonal dense layer. A part
    bears the name of its first layer. Raises `Undeployable` if weights are missing (meta device) or not
    finite.
    """
    layers, users = architecture.layers, _users(architecture.layers)
    place: dict[int, int] = {-1: -1}
    made: list[Part] = []
    for index, (layer, name) in enumerate(zip(layers, names, strict=True)):
        held = _weights(name, tensors[index])
        inputs = tuple(place[i] for i in layer.inputs)
        before = made[inputs[0]] if inputs[0] >= 0 and users[layer.inputs[0]] == 1 else None
        place[index] = inputs[0]  # for what vanishes
        if layer.op in ("identity", "dropout") or (
            layer.op == "flatten" and len(_shape(architecture, layer)) == 1
        ):
            continue
        if layer.op == "batch_norm":
            scale, shift = _scale_and_shift(held)
            if before and before.layer.op in ("conv", "dense") and before.low == -before.high == -torch.inf:
                made[inputs[0]] = _scaled(before, scale, shift)
                continue
            layer, held = _as_convolution(layer, scale, shift)
        if layer.op in ("relu", "clip"):
            low, high = _limits(layer)
            if before and before.layer.op in SUMMING:
                # A clamp of a clamp: the later limits hold where both are met.
                lower, upper = (min(max(limit, low), high) for limit in (before.low, before.high))
                made[inputs[0]] = replace(before, low=lower, high=upper)
                continue
            made.append(Part(name, Layer("clip", {}, inputs, layer.shape), {}, low, high))
        else:
            if layer.op == "conv" and len(layer.args["padding"]) == 4:
                top, bottom, left, right = around = layer.args["padding"]
                channels, height, width = _shape(architecture, layer)
                shape = (channels, height + top + bottom, width + left + right)
                made.append(Part(f"{name}.pad", Layer("pad", {"padding": around}, inputs, shape)))
                inputs = (len(made) - 1,)
                layer = replace(layer, args={**layer.args, "padding": [0, 0]})
            if layer.op in ("tanh", "sigmoid"):
                layer = Layer("function", {"name": layer.op}, inputs, layer.shape)
            made.append(Part(name, replace(layer, inputs=inputs), held))
        place[index] = len(made) - 1
    if not made or place[len(layers) - 1] != len(made) - 1:
        raise Undeployable("the network has no layer that computes anything")
    return made


SUMMING = ("conv", "dense", "add", "avg_pool", "global_pool", "clip")
"""What has a result to be rounded, which can be clamped as well."""


def _shape(architecture: Architecture, layer: Layer) -> tuple[int, ...]:
    """The shape of a layer's first input."""
    return architecture.input if layer.inputs[0] < 0 else architecture.layers[layer.inputs[0]].shape


def _limits(layer: Layer) -> tuple[float, float]:
    low, high = (0.0, None) if layer.op == "relu" else (layer.args.get("low"), layer.args.get("high"))
    return -torch.inf if low is None else low, torch.inf if high is None else high


def _weights(name: str, tensors: Tensors) -> dict[str, Tensor]:
    if any(t.is_meta for t in tensors.values()):
        raise Undeployable(f"{name} has no weights (it is on the meta device); load the trained ones first")
    held = {k: t.detach().cpu().double() for k, t in tensors.items()}
    if not all(bool(t.isfinite().all()) for t in held.values()):
        raise Undeployable(f"{name} has weights that are not finite; train it again")
    return held


def _scaled(part: Part, scale: Tensor, shift: Tensor) -> Part:
    weight = part.tensors["weight"]
    weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    bias = part.tensors.get("bias", torch.zeros_like(scale)) * scale + shift
    layer = replace(part.layer, args={**part.layer.args, "bias": True})
    return replace(part, layer=layer, tensors={"weight": weight, "bias": bias})


def _users(layers: Sequence[Layer]) -> list[int]:
    """How many inputs of other layers each layer is; the last is used by the world."""
    users = [0] * len(layers)
    for layer in layers:
        for i in layer.inputs:
            if i >= 0:
                users[i] += 1
    if users:
        users[-1] += 1
    return users


def _scale_and_shift(known: Tensors) -> tuple[Tensor, Tensor]:
    scale = (known["running_var"] + known["eps"]).rsqrt() * known.get("weight", torch.tensor(1.0).double())
    bias = known.get("bias", torch.tensor(0.0).double())
    return scale, bias - known["running_mean"] * scale


def _as_convolution(layer: Layer, scale: Tensor, shift: Tensor) -> tuple[Layer, dict[str, Tensor]]:
    if len(layer.shape) == 1:
        args: dict[str, JSON] = {"units": len(scale), "bias": True}
        return Layer("dense", args, layer.inputs, layer.shape), {"weight": torch.diag(scale), "bias": shift}
    one = {"kernel": [1, 1], "stride": [1, 1], "padding": [0, 0]}
    args = {"filters": len(scale), **one, "groups": len(scale), "bias": True}
    return Layer("conv", args, layer.inputs, layer.shape), {
        "weight": scale.reshape(-1, 1, 1, 1),
        "bias": shift,
    }
