"""A network as data: what a genome decodes to, before any tensor exists.

An `Architecture` is a list of layers in topological order. It is what is drawn, counted, compared and,
by `vilfredo.nn.build`, turned into a `torch.nn.Module`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vilfredo.protocols import Impossible
from vilfredo.trial import JSON

Shape = tuple[int, ...]  # without the batch: (channels, height, width) or (features,)


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation. `inputs` are indices of earlier layers, -1 is the network's input.

    `op` and its `args`: `conv` (filters, kernel [h, w], stride [h, w], padding [h, w] or [top, bottom, left,
    right], groups, bias, dilation [h, w]), `max_pool` and `avg_pool` (kernel, stride, padding),
    `global_pool`, `batch_norm`, `relu`, `tanh`, `sigmoid`, `clip` (low, high; None: no limit), `function`
    (the name of an elementwise one in `torch.nn.functional`, its keyword arguments), `dropout` (rate),
    `flatten`, `dense` (units, bias), `add`, `concat` (of channels, or of features), `pad` (padding [top,
    bottom, left, right], of zeros), `identity`. `shape` is that of the output, without the batch;
    `global_pool` is the mean over height and width and gives (channels,). `avg_pool` divides by the kernel's
    area, padding included unless `count_padding` is false.
    `conv` and `dense` may have `bits`, to be quantised to; without, they have as many as the network.
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
    `schedule` ("cosine" or "constant"), `weight_clip` (0: none); and of deployment `bits`, `scales`
    ("power_of_two" or "real") and `activation_clip`. What is absent is the problem's default.

    Of spaces whose networks inherit weights: `names` of the layers, one each, by which a layer is known again
    in children, and `births`, how a layer begins that no parent has: "" at random, "identity" or "zero".
    """

    architecture: Architecture
    training: Mapping[str, JSON] = field(default_factory=dict)
    names: tuple[int, ...] = field(default=(), compare=False)
    births: tuple[str, ...] = field(default=(), compare=False)


def canonical(design: Design) -> str:
    """Equal for designs that are the same network trained the same way."""
    layers = [[l.op, dict(l.args), list(l.inputs)] for l in design.architecture.layers]
    return json.dumps([layers, dict(design.training)], sort_keys=True, separators=(",", ":"))


def layers(architecture: Architecture) -> list[dict[str, JSON]]:
    """The layers as JSON data, for a drawing: `op`, `args`, `inputs`, `shape`, `parameters`, `macs`."""
    return [
        {
            "op": layer.op,
            "args": dict(layer.args),
            "inputs": list(layer.inputs),
            "shape": list(layer.shape),
            "parameters": layer_parameters(layer, shapes),
            "macs": layer_macs(layer, shapes),
        }
        for layer, shapes in zip(architecture.layers, input_shapes(architecture), strict=True)
    ]


def assemble(input: Shape, layers: Iterable[Layer]) -> Architecture:
    """The architecture of these layers, with every shape inferred.

    Raises `Impossible` if a layer cannot take the shapes that reach it, or names a later layer.
    """
    shapes: list[Shape] = []
    done: list[Layer] = []
    for index, layer in enumerate(layers):
        if not all(-1 <= i < index for i in layer.inputs):
            raise Impossible(f"layer {index} ({layer.op}) takes its input from a layer that is not before it")
        arriving = [input if i == -1 else shapes[i] for i in layer.inputs]
        shape = infer(layer.op, layer.args, arriving)
        shapes.append(shape)
        done.append(replace(layer, shape=shape))
    return Architecture(input, tuple(done))


def input_shapes(architecture: Architecture) -> list[tuple[Shape, ...]]:
    """For each layer the shapes of its inputs."""
    known = architecture.layers
    return [tuple(architecture.input if i == -1 else known[i].shape for i in layer.inputs) for layer in known]


_SAME = frozenset({"batch_norm", "relu", "tanh", "sigmoid", "clip", "function", "dropout", "identity"})


def infer(op: str, args: Mapping[str, JSON], shapes: Sequence[Shape]) -> Shape:
    """The shape that `op` makes of inputs with these shapes.

    Windows follow floor((size + 2 padding - kernel) / stride) + 1. Raises `Impossible`, one sentence, if
    `op` cannot take such inputs or is not known.
    """
    if not shapes or (len(shapes) > 1 and op not in ("add", "concat")):
        raise Impossible(f"{op} takes {'inputs' if not shapes else 'one input'}, not {len(shapes)}")
    shape = shapes[0]
    if op in _SAME:
        return shape
    if op in ("conv", "max_pool", "avg_pool"):
        if len(shape) != 3:
            raise Impossible(f"{op} needs an image (channels, height, width), not the shape {shape}")
        padding = args.get("padding", (0, 0))
        if op == "conv" and len(padding) == 4:
            shape, padding = _bordered(shape, padding), (0, 0)
        # A dilated kernel covers what one of that size would.
        kernel = [d * (k - 1) + 1 for k, d in zip(args["kernel"], args.get("dilation", (1, 1)), strict=True)]
        height, width = (
            window(op, size, k, s, p)
            for size, k, s, p in zip(shape[1:], kernel, args["stride"], padding, strict=True)
        )
        if op != "conv":
            return shape[0], height, width
        groups = args.get("groups", 1)
        if args["filters"] < 1 or shape[0] % groups or args["filters"] % groups:
            raise Impossible(
                f"conv cannot make {args['filters']} filters of {shape[0]} channels in {groups} groups"
            )
        return args["filters"], height, width
    if op == "pad":
        if len(shape) != 3 or min(args["padding"]) < 0:
            raise Impossible(f"pad cannot put a border of {args['padding']} around the shape {shape}")
        return _bordered(shape, args["padding"])
    if op == "global_pool":
        if len(shape) != 3:
            raise Impossible(f"global_pool needs an image (channels, height, width), not the shape {shape}")
        return (shape[0],)
    if op == "flatten":
        return (math.prod(shape),)
    if op == "dense":
        if len(shape) != 1 or args["units"] < 1:
            raise Impossible(
                f"dense with {args['units']} units cannot take the shape {shape}; flatten it first"
            )
        return (args["units"],)
    if op == "add":
        if any(other != shape for other in shapes):
            raise Impossible(f"add needs equal shapes, not {', '.join(map(str, shapes))}")
        return shape
    if op == "concat":
        if any(other[1:] != shape[1:] for other in shapes):
            raise Impossible(f"concat needs equal heights and widths, not {', '.join(map(str, shapes))}")
        return (sum(other[0] for other in shapes), *shape[1:])
    raise Impossible(f"no layer is called {op!r}")


def _bordered(shape: Shape, padding: Sequence[int]) -> Shape:
    top, bottom, left, right = padding
    return shape[0], shape[1] + top + bottom, shape[2] + left + right


def window(op: str, size: int, kernel: int, stride: int, padding: int) -> int:
    """How many places a window of `kernel` takes along `size`. Raises `Impossible` if it takes none."""
    if kernel < 1 or stride < 1 or padding < 0:
        raise Impossible(f"{op} cannot have kernel {kernel}, stride {stride} and padding {padding}")
    if op != "conv" and padding > kernel // 2:
        raise Impossible(f"{op} cannot pad by {padding}, more than half its kernel of {kernel}")
    if kernel > size + 2 * padding:
        raise Impossible(f"{op} with kernel {kernel} and padding {padding} does not fit into {size} pixels")
    return (size + 2 * padding - kernel) // stride + 1


def layer_parameters(layer: Layer, shapes: Sequence[Shape]) -> int:
    """Trainable numbers of one layer whose inputs have these shapes: weights, biases, batch norm's two."""
    args = layer.args
    if layer.op == "conv":
        per_filter = shapes[0][0] // args.get("groups", 1) * args["kernel"][0] * args["kernel"][1]
        return int(args["filters"] * (per_filter + args.get("bias", True)))
    if layer.op == "dense":
        return int(args["units"] * (shapes[0][0] + args.get("bias", True)))
    if layer.op == "batch_norm":
        return 2 * shapes[0][0]
    return 0


def layer_macs(layer: Layer, shapes: Sequence[Shape]) -> int:
    """Multiply-accumulates of one layer for one example: those of convolutions and dense layers.

    Biases, batch norm (which folds into the layer before it), pooling and activations count nothing.
    """
    args = layer.args
    if layer.op == "conv":
        per_pixel = shapes[0][0] // args.get("groups", 1) * args["kernel"][0] * args["kernel"][1]
        return int(math.prod(layer.shape) * per_pixel)
    if layer.op == "dense":
        return int(args["units"] * shapes[0][0])
    return 0


def parameters(architecture: Architecture) -> int:
    """Trainable numbers of the whole network."""
    pairs = zip(architecture.layers, input_shapes(architecture), strict=True)
    return sum(layer_parameters(layer, shapes) for layer, shapes in pairs)


def macs(architecture: Architecture) -> int:
    """Multiply-accumulates of the whole network for one example (see `layer_macs`)."""
    pairs = zip(architecture.layers, input_shapes(architecture), strict=True)
    return sum(layer_macs(layer, shapes) for layer, shapes in pairs)


def linked(architecture: Architecture) -> tuple[int, ...]:
    """For each layer the group of convolutions and dense layers with which its width must change, as the
    least index in it; -1 where it cannot change.

    Widths go together where `add` sums what they made, through whatever keeps channels apart: batch norm,
    activations, pools, depthwise convolutions. The network's input is fixed, and what is summed with it, with
    unlike runs of channels or with a flattened image, or taken by a grouped convolution.
    """
    group: dict[int, int] = {-1: -1}

    def root(of: int) -> int:
        while group[of] != of:
            of = group[of]
        return of

    def join(runs: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> None:
        alike = [n for _, n in runs] == [n for _, n in others]
        pairs = list(zip(runs, others, strict=True)) if alike else [(r, (-1, 0)) for r in (*runs, *others)]
        for (one, _), (two, _) in pairs:
            low, high = sorted((root(one), root(two)))
            group[high] = low

    made: dict[int, tuple[tuple[int, int], ...]] = {-1: ((-1, architecture.input[0]),)}
    for index, layer in enumerate(architecture.layers):
        arriving = [made[i] for i in layer.inputs]
        taken = sum(n for _, n in arriving[0])
        depthwise = layer.op == "conv" and taken == layer.args.get("groups", 1) == layer.args["filters"]
        if layer.op == "concat":
            made[index] = tuple(run for runs in arriving for run in runs)
        elif (layer.op == "conv" and not (depthwise and taken > 1)) or layer.op == "dense":
            group[index] = index
            made[index] = ((index, layer.shape[0]),)
            if layer.args.get("groups", 1) > 1:
                join(arriving[0], ())
                join(made[index], ())
        elif layer.op == "flatten" and layer.shape[0] != taken:
            made[index] = ((-1, layer.shape[0]),)  # grows with what it takes, but nobody beside it can
        else:
            made[index] = arriving[0]
            for other in arriving[1:]:
                join(arriving[0], other)
    return tuple(root(i) if i in group else i for i in range(len(architecture.layers)))
