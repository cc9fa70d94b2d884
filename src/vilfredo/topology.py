"""What the plan of a network says about its resilience, before any weight exists.

Relevance is the measure: how much of the output rests on a neuron. Layer-wise relevance propagation with the
z⁺ rule (S. Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise
relevance propagation", PLOS ONE 10(7), 2015; G. Montavon et al., Pattern Recognition 65, 2017) hands the
relevance of a neuron to its inputs in proportion to what they contribute, so that each layer passes on as
much as it gets. Before training all inputs of a neuron contribute alike: what remains is topology.

The indices follow "Automated design of error-resilient and hardware-efficient deep neural networks"
(C. Schorn, T. Elsken, S. Vogel, A. Runge, A. Guntoro, G. Ascheid, arXiv 1909.13844). Its formulas were not at
hand; those here are our derivation (docs/prediction.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vilfredo.architecture import Architecture, Layer, Shape, input_shapes, layer_macs
from vilfredo.trial import JSON

Array = NDArray[np.float64]

ELEMENTWISE = frozenset(
    {"batch_norm", "relu", "tanh", "sigmoid", "dropout", "identity", "flatten", "pad", "clip", "function"}
)
"""Operations on each number by itself, or on none: they are done before what comes out is stored."""


@dataclass(frozen=True)
class Stored:
    """What hardware stores of a network between two computations: a layer with its norm and activation.

    `layer` is the number of the layer that computes it, `last` that of the last operation folded into it.
    `relevance` is the share of the output's relevance that flows through it: 1 in a chain; parallel branches
    divide it. `peak` is that of its most relevant neuron.
    """

    layer: int
    last: int
    op: str
    neurons: int
    channels: int
    positions: int  # pixels of a channel; 1 of features
    weights: int
    fan_in: int  # weights that meet in a neuron; 0 where there are none
    macs: int
    relevance: float
    peak: float

    @property
    def mean(self) -> float:
        """The mean relevance of its neurons: 1/N_l in a chain."""
        return self.relevance / self.neurons

    @property
    def filter(self) -> float:
        """The mean relevance of its channels: what a fault in one of its weights reaches."""
        return self.relevance / self.channels


def relevance(architecture: Architecture) -> tuple[Array, ...]:
    """For each layer the relevance of each pixel, summed over channels: (height, width), (1, 1) of features.

    The output's is 1 in all, spread evenly. A convolution's or a pool's output pixel divides its relevance
    evenly among the pixels in its window (padding gets none), a dense layer among all; `add` among its inputs
    in equal parts, `concat` in proportion to their channels. So any cut through the network carries 1.
    """
    layers = architecture.layers
    maps = [np.zeros(layer.shape[1:] if len(layer.shape) == 3 else (1, 1)) for layer in layers]
    if not layers:
        return ()
    maps[-1] += 1.0 / maps[-1].size
    for index in range(len(layers) - 1, -1, -1):
        layer = layers[index]
        shapes = [architecture.input if i == -1 else layers[i].shape for i in layer.inputs]
        total = sum(shape[0] for shape in shapes)
        for source, shape in zip(layer.inputs, shapes, strict=True):
            if source >= 0:
                share = shape[0] / total if layer.op == "concat" else 1.0 / len(shapes)
                maps[source] += share * _back(layer, shape, maps[index])
    return tuple(maps)


def stored(architecture: Architecture) -> tuple[Stored, ...]:
    """The stored results of a network in topological order, its input left out.

    Norms, activations and other operations on single numbers fold into the layer before them where nothing
    else needs its bare result.
    """
    layers = architecture.layers
    uses = [0] * len(layers)
    for layer in layers:
        for i in layer.inputs:
            if i >= 0:
                uses[i] += 1
    maps = relevance(architecture)
    last: dict[int, int] = {}  # computing layer -> last one folded into it
    owner: dict[int, int] = {}
    for index, layer in enumerate(layers):
        source = layer.inputs[0]
        folds = layer.op in ELEMENTWISE and source >= 0 and uses[source] == 1
        owner[index] = owner[source] if folds else index
        last[owner[index]] = index
    shapes = input_shapes(architecture)
    found = []
    for index, end in last.items():
        layer, shape, map = layers[index], layers[index].shape, maps[index]
        neurons = math.prod(shape)
        weights, fan_in = _weights(layer, shapes[index])
        found.append(
            Stored(
                layer=index,
                last=end,
                op=layer.op,
                neurons=neurons,
                channels=shape[0],
                positions=neurons // shape[0],
                weights=weights,
                fan_in=fan_in,
                macs=layer_macs(layer, shapes[index]),
                relevance=float(map.sum()),
                peak=float(map.max()) / shape[0],
            )
        )
    return tuple(found)


def asi(architecture: Architecture) -> float:
    """Architecture sensitivity index: the mean relevance of a neuron, Σ_l R_l / N.

    What a bit flip in a uniformly random stored activation is expected to take of the output's relevance.
    N is the number of stored neurons, R_l the relevance that flows through layer l. A chain of L layers has
    R_l = 1 and so L/N; it is the weighted form Σ_l p_l R_l / N_l with p_l = N_l / N, the probability that
    the hit lies in layer l. 0 for a network without layers.
    """
    nodes = stored(architecture)
    total = sum(node.neurons for node in nodes)
    return sum(node.relevance for node in nodes) / total if total else 0.0


def weight_asi(architecture: Architecture) -> float:
    """The same for a flip in a uniformly random weight: Σ_l (W_l / W) · R_l / C_l.

    The weight belongs to one of the C_l channels of its layer, and reaches all neurons of it. 0 for a network
    without weights.
    """
    nodes = stored(architecture)
    total = sum(node.weights for node in nodes)
    return sum(node.weights * node.filter for node in nodes) / total if total else 0.0


def adcr(architecture: Architecture, bits: int = 8, activation_bits: int | None = None) -> float:
    """Accumulated data–computation ratio: Σ_l (input + output + weight bytes)_l / MACs_l, in bytes per MAC.

    The sum goes over the layers that multiply; `bits` are those of a weight, and of an activation unless
    `activation_bits` says otherwise. Biases are left out. High where much data is moved, and so exposed, for
    little computation.
    """
    wide = bits if activation_bits is None else activation_bits
    total = 0.0
    for layer, shapes in zip(architecture.layers, input_shapes(architecture), strict=True):
        macs = layer_macs(layer, shapes)
        if macs:
            data = (math.prod(shapes[0]) + math.prod(layer.shape)) * wide + _weights(layer, shapes)[0] * bits
            total += data / 8 / macs
    return total


def indices(architecture: Architecture) -> dict[str, float]:
    """Plain indices, larger for what is expected to be more sensitive; `max_relevance` is max 1/N_l.

    The output layer, which all networks for a task have alike, is left out of those that one layer decides.
    """
    nodes = stored(architecture)
    inner = nodes[:-1] or nodes
    neurons = sum(node.neurons for node in nodes)
    return {
        "asi": asi(architecture),
        "weight_asi": weight_asi(architecture),
        "layers_per_neuron": len(nodes) / neurons,
        "mean_relevance": float(np.mean([node.mean for node in nodes])),
        "max_relevance": max(1.0 / node.neurons for node in inner),
        "relevance_variance": sum(node.relevance**2 / node.neurons for node in inner),
        "adcr": adcr(architecture),
        "minus_log_parameters": -math.log(max(sum(node.weights for node in nodes), 1)),
        "minus_log_macs": -math.log(max(sum(node.macs for node in nodes), 1)),
        "minus_log_neurons": -math.log(neurons),
        "depth": float(sum(node.weights > 0 for node in nodes)),
    }


def features(
    architecture: Architecture, settings: Mapping[str, JSON] | None = None, bits: int = 8
) -> dict[str, float]:
    """Numbers for a learned predictor, all finite; sizes as natural logarithms, shares from 0 to 1.

    `settings` are what else is known before training: hyperparameters (`Design.training`: `lr`,
    `batch_size`, `weight_decay`, …) and the quantisation (`bits`, `scales`, `per`, `clip`, `weight_clip`, …);
    those that are not known here are left out. `bits` are those of weights and activations unless `settings`
    has others.
    """
    nodes = stored(architecture)
    inner, layers = nodes[:-1] or nodes, architecture.layers
    weighted = [node for node in nodes if node.weights]
    neurons, weights = sum(n.neurons for n in nodes), max(sum(n.weights for n in nodes), 1)
    macs = max(sum(n.macs for n in nodes), 1)
    given = dict(settings or {})
    wide = int(given.get("bits") or bits)
    ops = [layer.op for layer in layers]
    computing = max(len(weighted), 1)
    found: dict[str, float] = {
        "depth": math.log(computing),
        "stored": math.log(len(nodes)),
        "path": math.log(sum(n.relevance for n in nodes)),
        "paths": _log_paths(architecture),
        "parameters": math.log(weights),
        "macs": math.log(macs),
        "reuse": math.log(macs / weights),
        "neurons": math.log(neurons),
        "neurons_max": math.log(max(n.neurons for n in nodes)),
        "neurons_min": math.log(min(n.neurons for n in inner)),
        "width_mean": _mean_log([n.channels for n in weighted[:-1] or nodes]),
        "width_max": math.log(max(n.channels for n in nodes)),
        "width_min": math.log(min(n.channels for n in weighted[:-1] or nodes)),
        "width_first": math.log(weighted[0].channels) if weighted else 0.0,
        "width_last": math.log(max(weighted[-1].fan_in, 1)) if weighted else 0.0,
        "fan_in_mean": _mean_log([n.fan_in for n in weighted]),
        "fan_in_max": math.log(max((n.fan_in for n in weighted), default=1)),
        "fan_in_min": math.log(min((n.fan_in for n in weighted), default=1)),
        "fan_in_sum": math.log(sum(n.relevance * n.fan_in for n in weighted) + 1.0),
        "asi": _log(asi(architecture)),
        "weight_asi": _log(weight_asi(architecture)),
        "relevance_mean": _mean_log([n.mean for n in nodes]),
        "relevance_max": _log(max(n.mean for n in inner)),
        "relevance_peak": _log(max(n.peak for n in inner)),
        "relevance_variance": _log(sum(n.relevance**2 / n.neurons for n in inner)),
        "filter_mean": _mean_log([n.filter for n in weighted]),
        "filter_variance": _log(sum(n.relevance**2 / n.channels for n in weighted[:-1])),
        "adcr": _log(adcr(architecture, wide)),
        "skips_add": math.log1p(sum(len(l.inputs) - 1 for l in layers if l.op == "add")),
        "skips_concat": math.log1p(sum(len(l.inputs) - 1 for l in layers if l.op == "concat")),
        "dense_share": sum(n.weights for n in nodes if n.op == "dense") / weights,
        "last_share": (weighted[-1].weights if weighted else 0) / weights,
        "first_share": (weighted[0].weights if weighted else 0) / weights,
        "pointwise_share": sum(n.weights for n in nodes if _pointwise(layers[n.layer])) / weights,
        "depthwise_share": sum(n.macs for n in nodes if layers[n.layer].args.get("groups", 1) > 1) / macs,
        "conv_neurons": sum(n.neurons for n in nodes if n.op == "conv") / neurons,
        "pool_neurons": sum(n.neurons for n in nodes if n.op.endswith("_pool")) / neurons,
        "join_neurons": sum(n.neurons for n in nodes if n.op in ("add", "concat")) / neurons,
        "max_pools": float(ops.count("max_pool")),
        "avg_pools": float(ops.count("avg_pool")),
        "global_pool": float("global_pool" in ops),
        "strided": float(sum(_strided(layer) for layer in layers if layer.op == "conv")),
        "shrinking": _shrinking(architecture),
        "norms": ops.count("batch_norm") / computing,
        "relus": (ops.count("relu") + ops.count("clip")) / computing,
        "bounded": (ops.count("tanh") + ops.count("sigmoid")) / computing,
        "dropouts": ops.count("dropout") / computing,
        "bits": float(wide),
    }
    return found | _settings(given)


def _back(layer: Layer, shape: Shape, map: Array) -> Array:
    """The relevance (h, w) that an input of `shape` gets from a layer whose own is `map`."""
    size = shape[1:] if len(shape) == 3 else (1, 1)
    if layer.op == "pad" or (layer.op == "conv" and len(layer.args.get("padding", ())) == 4):
        top, bottom, left, right = layer.args["padding"]
        if layer.op == "conv":
            bordered = (shape[0], size[0] + top + bottom, size[1] + left + right)
            map = _back(replace(layer, args={**layer.args, "padding": (0, 0)}), bordered, map)
        return np.asarray(map[top : top + size[0], left : left + size[1]])
    if layer.op in ("conv", "max_pool", "avg_pool"):
        args = layer.args
        down, across = (
            _windows(size[axis], map.shape[axis], *(_of(args, name, axis) for name in _WINDOW))
            for axis in (0, 1)
        )
        return np.asarray(down @ map @ across.T)
    if map.shape == size:
        return map
    return np.full(size, map.sum() / math.prod(size))  # global_pool, flatten, dense


_WINDOW = ("kernel", "stride", "padding", "dilation")


def _of(args: Mapping[str, JSON], name: str, axis: int) -> int:
    return int(args.get(name, {"padding": (0, 0)}.get(name, (1, 1)))[axis])


def _windows(size: int, places: int, kernel: int, stride: int, padding: int, dilation: int) -> Array:
    """(size, places): how each window divides its relevance among the pixels in it."""
    matrix = np.zeros((size, places))
    for place in range(places):
        inside = [p for k in range(kernel) if 0 <= (p := place * stride - padding + k * dilation) < size]
        matrix[inside, place] = 1.0 / max(len(inside), 1)
    return matrix


def _weights(layer: Layer, shapes: Sequence[Shape]) -> tuple[int, int]:
    """The number of weights of a layer without its biases, and how many meet in a neuron."""
    if layer.op == "conv":
        kernel = layer.args["kernel"]
        fan_in = shapes[0][0] // layer.args.get("groups", 1) * kernel[0] * kernel[1]
        return int(layer.args["filters"] * fan_in), int(fan_in)
    if layer.op == "dense":
        return int(layer.args["units"] * shapes[0][0]), shapes[0][0]
    return 0, 0


def _log_paths(architecture: Architecture) -> float:
    """The logarithm of the number of ways from the input to the output."""
    ways: list[float] = []
    for layer in architecture.layers:
        terms = np.array([0.0 if i == -1 else ways[i] for i in layer.inputs])
        ways.append(float(np.logaddexp.reduce(terms)))
    return ways[-1] if ways else 0.0


def _pointwise(layer: Layer) -> bool:
    return layer.op == "conv" and tuple(layer.args["kernel"]) == (1, 1)


def _strided(layer: Layer) -> bool:
    return bool(max(layer.args["stride"]) > 1)


def _shrinking(architecture: Architecture) -> float:
    """The logarithm of how many pixels of the input share one of the last image's."""
    images = [l.shape for l in architecture.layers if len(l.shape) == 3]
    if len(architecture.input) != 3 or not images:
        return 0.0
    return math.log(math.prod(architecture.input[1:]) / math.prod(images[-1][1:]))


_LOGARITHMIC = ("lr", "weight_decay", "batch_size")
_PLAIN = ("momentum", "weight_clip")
_WORDS: Mapping[str, str] = {
    "scales": "power_of_two",
    "per": "channel",
    "optimizer": "adam",
    "schedule": "cosine",
    "calibration": "max",
}


def _settings(given: Mapping[str, JSON]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in _LOGARITHMIC:
        if isinstance(given.get(name), int | float):
            found[name] = math.log(max(float(given[name]), 1e-9))
    for name in _PLAIN:
        if isinstance(given.get(name), int | float):
            found[name] = float(given[name])
    for name, word in _WORDS.items():
        if isinstance(given.get(name), str):
            found[f"{name}_{word}"] = float(given[name] == word)
    for name in ("clip", "activation_clip"):
        if name in given:
            found["clip"] = float(bool(given[name]))
    return found


def _log(value: float) -> float:
    return math.log(max(value, 1e-12))


def _mean_log(values: Sequence[float]) -> float:
    return float(np.mean([_log(v) for v in values])) if len(values) else 0.0
