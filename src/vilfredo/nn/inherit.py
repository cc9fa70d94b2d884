"""Weights from parents: what a child of a network morphism begins with.

Theirs (T. Elsken, J. H. Metzen and F. Hutter, "Efficient multi-objective neural architecture search via
Lamarckian evolution", ICLR 2019, and its sources: T. Wei et al., "Network morphism", ICML 2016; T. Chen, I.
Goodfellow and J. Shlens, "Net2Net", ICLR 2016): a child computes what its parent computes where the change
allows it; else it begins near it and learns from the parent's answers.

Ours is that nothing needs to be known of the change. Layers have names for life, so each channel of the child
is traced to the channel of the parent that it stands for, if any, and weights are taken over channel by
channel. What comes new into a layer that the parent has gets weights of 0; new channels of its own begin at
random. So widening and skip connections preserve the function, also several changes at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vilfredo.architecture import Architecture, Design, Layer, input_shapes, linked
from vilfredo.nn.build import Network
from vilfredo.protocols import Weights

Channels = NDArray[np.int64]  # for each channel that of the parent which it stands for, -1 for none


@dataclass(frozen=True, slots=True)
class Inheritance:
    """`exact`: the child computes what its parent computes (in evaluation mode). `norms`: batch norms that
    begin as the identity, as indices of layers: see `settle`. `taken`: the share of the child's numbers that
    came from the parent."""

    exact: bool
    norms: tuple[int, ...] = ()
    taken: float = 1.0


@dataclass(frozen=True, slots=True)
class _Trace:
    """What a tensor of the child stands for: a layer of the parent (its index, -1 the input, None for
    nothing), and which channels; whether it is 0 at first."""

    layer: int | None
    channels: Channels
    zero: bool = False


def inherit(model: Network, child: Design, parent: Design, weights: Weights) -> Inheritance:
    """Give `model`, built from `child` with weights at random, the weights of its parent, in place.

    * Of a layer that got fewer filters those of largest norm stay, batch norm reckoned in; layers whose
      filters are summed keep the same ones.
    * A convolution that became a depthwise and a 1 × 1 one: the best approximation channel by channel, a
      singular value decomposition of rank 1.
    * A layer of which nothing remains is passed by.
    * A new layer born "identity" is the identity, one born "zero" gives 0; others keep what they have.

    `weights` are arrays under the names of the parent's `state_dict`. Raises `ValueError` if an array is
    missing or not of the shape that the parent's architecture says.
    """
    _check(parent.architecture, weights)
    with torch.no_grad():
        return _Heir(model, child, parent, weights).take()


def settle(model: nn.Module, norms: tuple[int, ...], x: Tensor) -> None:
    """Make batch norms that are the identity in evaluation mode nearly so in training, too: their running
    mean and variance become those of a batch `x` (n, ...), and their scale and shift undo them. In place."""
    hooks = [model.layers[i].register_forward_pre_hook(_settle_one) for i in norms]  # type: ignore[index, union-attr]
    training = model.training
    model.eval()
    try:
        if hooks:
            with torch.no_grad():
                model(x)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)


def _settle_one(norm: nn.BatchNorm2d, arriving: tuple[Tensor]) -> None:
    x = arriving[0]
    axes = (0, 2, 3) if x.dim() == 4 else (0,)
    mean, var = x.mean(dim=axes), x.var(dim=axes, unbiased=False)
    var = var.clamp_min(0.01 * float(var.mean()))  # a channel that is silent now may speak later
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_(torch.sqrt(var + norm.eps))
    norm.bias.copy_(mean)


class _Heir:
    def __init__(self, model: Network, child: Design, parent: Design, weights: Weights) -> None:
        self.model = model
        self.child = child
        self.parent = parent
        self.old = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        self.place = {name: index for index, name in enumerate(parent.names)}
        self.exact = set(parent.names) <= set(child.names)
        self.norms: list[int] = []
        self.taken = 0
        self.kept = self._filters()
        self.traces: dict[int, _Trace] = {-1: _Trace(-1, np.arange(child.architecture.input[0]))}

    def take(self) -> Inheritance:
        layers = self.child.architecture.layers
        for index, layer in enumerate(layers):
            before = self.place.get(self.child.names[index])
            if before is not None and self.parent.architecture.layers[before].op != layer.op:
                # The end of a network pools or flattens, as its images are: either takes the mean.
                same = {self.parent.architecture.layers[before].op, layer.op} == {"flatten", "global_pool"}
                before = before if same else None
            if before is None:
                self.traces[index] = self._new(index, layer)
            else:
                self.traces[index] = self._known(index, layer, before)
        total = sum(p.numel() for p in self.model.parameters())
        return Inheritance(self.exact, tuple(self.norms), self.taken / max(total, 1))

    # -- filters that stay ----------------------------------------------------------------------------

    def _filters(self) -> dict[int, Channels]:
        """For each convolution and dense layer of the parent that the child has, by its index there, which of
        its filters stay, in order; where they become more, all."""
        mine = dict(zip(self.child.names, self.child.architecture.layers, strict=True))
        parent = self.parent.architecture
        norms: dict[tuple[int, int], Tensor] = {}
        shrunk: dict[int, tuple[int, int]] = {}
        kept: dict[int, Channels] = {}
        for index, (layer, group) in enumerate(zip(parent.layers, linked(parent), strict=True)):
            heir = mine.get(self.parent.names[index])
            if heir is None or layer.op not in ("conv", "dense"):
                continue
            kept[index] = np.arange(layer.shape[0])
            if heir.shape[0] < layer.shape[0] and layer.args.get("groups", 1) == 1:
                self.exact = False
                # One of no group, or not as wide as its group any more, chooses for itself.
                key = (group if group >= 0 else index, heir.shape[0])
                norms[key] = norms.get(key, torch.zeros(layer.shape[0])) + self._norms(index)
                shrunk[index] = key
        for index, key in shrunk.items():
            order = torch.argsort(norms[key], descending=True, stable=True)[: key[1]]
            kept[index] = np.sort(order.numpy())
        return kept

    def _norms(self, index: int) -> Tensor:
        """The Euclidean norm of each filter, times what a batch norm after it makes of it; the mean is 1."""
        weight = self.old[f"layers.{index}.weight"].float()
        norm: Tensor = weight.flatten(1).norm(dim=1)
        takers = [i for i, layer in enumerate(self.parent.architecture.layers) if index in layer.inputs]
        if len(takers) == 1 and self.parent.architecture.layers[takers[0]].op == "batch_norm":
            name = f"layers.{takers[0]}"
            spread = torch.sqrt(self.old[f"{name}.running_var"].float() + 1e-5)
            norm = norm * self.old[f"{name}.weight"].float().abs() / spread
        return norm / norm.mean().clamp_min(1e-12)

    # -- layer by layer -------------------------------------------------------------------------------

    def _new(self, index: int, layer: Layer) -> _Trace:
        """A layer that the parent lacks; it stands for what it takes, or for nothing."""
        first = self.traces[layer.inputs[0]]
        module = self.model.layers[index]
        born = self.child.births[index]
        if layer.op in ("conv", "dense"):
            assert isinstance(module, nn.Conv2d | nn.Linear)
            if born == "identity":
                _identity(module)
                # What is wider than what it takes: the rest begins at random and stands for nothing.
                rest = np.full(max(layer.shape[0] - len(first.channels), 0), -1)
                channels = np.concatenate([first.channels[: layer.shape[0]], rest])
                self.exact = self.exact and not (first.channels[layer.shape[0] :] >= 0).any()
                return _Trace(first.layer, channels)
            if born == "zero":
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
            return _Trace(None, np.full(layer.shape[0], -1), born == "zero")
        if layer.op == "batch_norm":
            assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
            if born == "identity":
                module.weight.fill_(math.sqrt(1 + module.eps))
                self.norms.append(index)
                return first
            if born == "zero":
                module.weight.zero_()
            return _Trace(None, np.full(layer.shape[0], -1), born == "zero")
        if layer.op == "concat":
            others = [np.full(len(self.traces[i].channels), -1) for i in layer.inputs[1:]]
            return _Trace(first.layer, np.concatenate([first.channels, *others]))
        if layer.op == "add":
            added = [self.traces[i] for i in layer.inputs if not self.traces[i].zero]
            self.exact = self.exact and len(added) <= 1
            return next((trace for trace in added if trace.layer is not None), first)
        if layer.op == "relu":
            return first  # after an identity; whoever is born otherwise stands for nothing already
        return _Trace(None, np.full(layer.shape[0], -1))

    def _known(self, index: int, layer: Layer, before: int) -> _Trace:
        """A layer that the parent has at `before`."""
        old = self.parent.architecture.layers[before]
        module = self.model.layers[index]
        if layer.op == "concat":
            return _Trace(before, self._concatenated(layer, old, before))
        arriving = self._arriving(layer.inputs[0], old)
        if layer.op in ("conv", "dense"):
            assert isinstance(module, nn.Conv2d | nn.Linear)
            return _Trace(before, self._weighted(index, layer, old, before, module, arriving))
        if layer.op == "batch_norm":
            for name in ("weight", "bias", "running_mean", "running_var"):
                self._copy(getattr(module, name), self.old[f"layers.{before}.{name}"], arriving)
            return _Trace(before, arriving)
        if layer.op == "add":
            return _Trace(before, self._added(layer, old))
        if layer.op in ("flatten", "global_pool"):
            return self._features(layer, old, before, arriving)
        if dict(layer.args) != dict(old.args):
            self.exact = False
        return _Trace(before, arriving)

    def _features(self, layer: Layer, old: Layer, before: int, arriving: Channels) -> _Trace:
        """What becomes of an image's channels where it is flattened: each of them as many features as it has
        pixels. Of an image of another size nothing can be traced."""
        size, was = layer.shape[0] // len(arriving), old.shape[0] // self._width(old.inputs[0])
        if size != was:
            self.exact = False
            return _Trace(None, np.full(layer.shape[0], -1))
        pixels = arriving[:, None] * size + np.arange(size)
        return _Trace(before, np.where(arriving[:, None] >= 0, pixels, -1).ravel())

    def _arriving(self, source: int, old: Layer) -> Channels:
        """Which channels of what the parent's layer took reach the child's, tensor `source`."""
        trace = self.traces[source]
        wanted = old.inputs[0]
        width = self._width(wanted)
        if trace.layer == wanted:
            channels = trace.channels
        elif trace.layer is not None and (offset := self._within(wanted, trace.layer)) is not None:
            self.exact = False
            channels = np.where(trace.channels >= 0, trace.channels + offset, -1)
        else:  # what was between them is gone: taken as if it had been the identity
            self.exact = False
            channels = np.where(trace.channels < width, trace.channels, -1)
        if len(np.unique(channels[channels >= 0])) < width:
            self.exact = False
        return channels

    def _width(self, index: int) -> int:
        built = self.parent.architecture
        return built.input[0] if index == -1 else built.layers[index].shape[0]

    def _within(self, whole: int, part: int) -> int | None:
        """Where the channels of `part` begin in the parent's concatenation `whole`, if it is one of them."""
        built = self.parent.architecture
        if whole < 0 or built.layers[whole].op != "concat" or part not in built.layers[whole].inputs:
            return None
        inputs = built.layers[whole].inputs
        return sum(self._width(i) for i in inputs[: inputs.index(part)])

    def _concatenated(self, layer: Layer, old: Layer, before: int) -> Channels:
        parts: list[Channels] = []
        for source in layer.inputs:
            trace = self.traces[source]
            offset = None if trace.layer is None else self._within(before, trace.layer)
            shifted = trace.channels + (offset or 0)
            known = (trace.channels >= 0) & (offset is not None)
            parts.append(np.where(known, shifted, -1))
        channels = np.concatenate(parts)
        if len(np.unique(channels[channels >= 0])) < old.shape[0]:
            self.exact = False
        return channels

    def _added(self, layer: Layer, old: Layer) -> Channels:
        found: Channels | None = None
        met: list[int] = []
        for source in layer.inputs:
            trace = self.traces[source]
            if trace.layer is None:
                self.exact = self.exact and trace.zero
                continue
            if trace.layer in old.inputs:
                met.append(trace.layer)
            else:
                self.exact = False
            if found is None:
                found = trace.channels
            elif not np.array_equal(found, trace.channels):
                self.exact = False
        if sorted(met) != sorted(old.inputs):
            self.exact = False
        return np.full(layer.shape[0], -1) if found is None else found

    def _weighted(
        self,
        index: int,
        layer: Layer,
        old: Layer,
        before: int,
        module: nn.Conv2d | nn.Linear,
        arriving: Channels,
    ) -> Channels:
        weight = self.old[f"layers.{before}.weight"].to(module.weight.dtype)
        bias = self.old.get(f"layers.{before}.bias")
        same = all(layer.args.get(k) == old.args.get(k) for k in ("kernel", "stride", "padding"))
        groups = layer.args.get("groups", 1)
        if groups > 1 or old.args.get("groups", 1) > 1:  # depthwise: channels come as they are taken
            apart = groups == layer.shape[0] and weight.shape[1] == 1
            if not apart or not same:
                self.exact = False
                return np.full(layer.shape[0], -1)
            self._copy(module.weight, weight, arriving)
            self._copy_bias(module, bias, arriving)
            return arriving
        kept = self.kept[before]
        rows = np.full(layer.shape[0], -1)
        rows[: min(len(kept), layer.shape[0])] = kept[: layer.shape[0]]
        if same:
            dense = _picked(weight, rows, arriving)
            fresh = torch.from_numpy(rows < 0)
            module.weight.copy_(torch.where(fresh.view(-1, *[1] * (dense.dim() - 1)), module.weight, dense))
            self.taken += dense[~fresh].numel()
        elif not self._separated(layer, old, rows, weight, module):
            self.exact = False
            return np.full(layer.shape[0], -1)
        self._copy_bias(module, bias, rows)
        return rows

    def _separated(
        self, layer: Layer, old: Layer, rows: Channels, weight: Tensor, module: nn.Conv2d | nn.Linear
    ) -> bool:
        """A 1 × 1 convolution after a new depthwise one, made of one with the kernel of that."""
        at = layer.inputs[0]
        if at < 0 or not isinstance(module, nn.Conv2d) or weight.dim() != 4:
            return False
        apart, first = self.model.layers[at], self.child.architecture.layers[at]
        known = self.child.names[at] in self.place
        if known or not isinstance(apart, nn.Conv2d) or apart.groups != apart.out_channels:
            return False
        if first.args["kernel"] != old.args["kernel"] or module.kernel_size != (1, 1):
            return False
        self.exact = False
        columns = self._arriving(first.inputs[0], old)
        dense = _picked(weight, rows, columns)  # (out, in, h, w), 0 where there was nothing
        filters, _, height, width = dense.shape
        u, s, vh = torch.linalg.svd(dense.permute(1, 0, 2, 3).reshape(-1, filters, height * width).double())
        known_in = torch.from_numpy(columns >= 0)
        space = torch.where(known_in[:, None], vh[:, 0], apart.weight.flatten(1).double())
        mixed = torch.where(known_in[:, None], u[:, :, 0] * s[:, :1], 0.0)
        apart.weight.copy_(space.reshape(apart.weight.shape))
        fresh = torch.from_numpy(rows < 0)
        pointwise = mixed.T.to(module.weight.dtype)[:, :, None, None]
        module.weight.copy_(torch.where(fresh.view(-1, 1, 1, 1), module.weight, pointwise))
        if apart.bias is not None:
            apart.bias.zero_()
        self.taken += apart.weight.numel() + module.weight.numel()
        return True

    def _copy(self, new: Tensor, old: Tensor, channels: Channels) -> None:
        """Rows of `new` that stand for rows of `old`."""
        there = np.flatnonzero(channels >= 0)
        if len(there):
            new[torch.from_numpy(there)] = old[torch.from_numpy(channels[there])].to(new.dtype)
        if isinstance(new, nn.Parameter):
            self.taken += new[: len(there)].numel()

    def _copy_bias(self, module: nn.Conv2d | nn.Linear, bias: Tensor | None, rows: Channels) -> None:
        if module.bias is None:
            # The batch norm after it takes the mean away, but its running mean is that with the bias.
            self.exact = self.exact and (bias is None or not bool(bias.any()))
        elif bias is None:
            module.bias.zero_()
        else:
            self._copy(module.bias, bias, rows)


def _identity(module: nn.Conv2d | nn.Linear) -> None:
    """Channel i gives channel i; filters beyond the channels that are taken stay as they are."""
    count = min(module.weight.shape[:2])
    module.weight[:count] = 0
    middle = tuple(size // 2 for size in module.weight.shape[2:])
    for channel in range(count):
        module.weight[(channel, channel, *middle)] = 1
    if module.bias is not None:
        module.bias.zero_()


def _picked(weight: Tensor, rows: Channels, columns: Channels) -> Tensor:
    """The rows and columns of `weight` (out, in, ...), 0 for -1."""
    picked = weight[torch.from_numpy(np.maximum(rows, 0))][:, torch.from_numpy(np.maximum(columns, 0))]
    shape = (-1, *[1] * (weight.dim() - 1))
    known = torch.from_numpy(rows >= 0).view(shape) & torch.from_numpy(columns >= 0).view(1, *shape[:-1])
    return picked * known


def _check(built: Architecture, weights: Weights) -> None:
    """Raises `ValueError` if these are not the weights of a network of this architecture."""
    wanted: Mapping[str, Any] = {}
    for index, (layer, shapes) in enumerate(zip(built.layers, input_shapes(built), strict=True)):
        taken = shapes[0]
        if layer.op == "conv":
            wanted = {"weight": (layer.shape[0], taken[0] // layer.args["groups"], *layer.args["kernel"])}
        elif layer.op == "dense":
            wanted = {"weight": (layer.shape[0], taken[0])}
        elif layer.op == "batch_norm":
            wanted = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (taken[0],))
        else:
            continue
        if layer.op != "batch_norm" and layer.args.get("bias", True):
            wanted = {**wanted, "bias": (layer.shape[0],)}
        for name, shape in wanted.items():
            array = weights.get(f"layers.{index}.{name}")
            if array is None or np.asarray(array).shape != shape:
                found = "there is none" if array is None else f"it has {np.asarray(array).shape}"
                raise ValueError(f"the parent's layer {index} needs a {name} of shape {shape}, but {found}")
