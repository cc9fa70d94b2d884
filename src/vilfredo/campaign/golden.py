"""A deployed network's run without faults, kept, and what is derived from it to see quickly what changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.campaign import kernels, packed
from vilfredo.campaign.injection import INPUT
from vilfredo.codes import Codes, span
from vilfredo.nn.deployed import Deployed, Rescale, Step, finished, sums

_EXACT = 2.0**24  # whole numbers up to here are exact in float32


class Golden:
    """The sums and codes of every step for input codes x (n, *input_shape)."""

    def __init__(self, network: Deployed, x: Tensor) -> None:
        self.network = network
        self.x = x.contiguous()
        self.sums: list[Tensor] = []
        self._codes: list[Tensor] = []
        self._linear: dict[int, Linear | None] = {}
        self._packed: dict[int, packed.Packed | None] = {}
        self._bytes: dict[int, NDArray[np.uint8]] = {}
        self._windows: dict[int, tuple[kernels.Geometry, kernels.Reach]] = {}
        self._centred: dict[tuple[int, int], NDArray[np.float32]] = {}
        with torch.no_grad():
            for step in network.steps:
                total = sums(step, [self.codes(i) for i in step.inputs]).contiguous()
                self.sums.append(total)
                self._codes.append(finished(step, total).contiguous())

    @property
    def images(self) -> int:
        return len(self.x)

    @property
    def whole(self) -> bool:
        """Whether all numbers are whole."""
        return self.network.form == "whole"

    def codes(self, step: int) -> Tensor:
        """The output (n, …) of a step or, for −1, the network's input."""
        return self.x if step == INPUT else self._codes[step]

    def flat(self, step: int) -> NDArray[np.float32]:
        """The same as an array (n, size)."""
        array: NDArray[np.float32] = self.codes(step).flatten(1).numpy()
        return array

    def least(self, step: int) -> int | None:
        """The code of a step's output, or of the network's input, that byte 0 stands for; None: codes do not
        fit into bytes."""
        low = packed.least(self.stored(step))
        return low if low is not None and low <= self.zero(step) <= low + 255 else None

    def bytes(self, step: int) -> NDArray[np.uint8]:
        """Its codes as bytes (n, size)."""
        if step not in self._bytes:
            low, flat = self.least(step), self.flat(step)
            assert low is not None
            held = packed.empty(flat.size)
            held[:] = flat.reshape(-1) - low
            self._bytes[step] = held
        return self._bytes[step].reshape(self.images, -1)

    def packed(self, number: int) -> packed.Packed | None:
        """The step in bytes; None if it cannot be."""
        if number not in self._packed:
            step, linear = self.network.steps[number], self.linear(number)
            first = step.inputs[0]
            self._packed[number] = (
                None
                if linear is None or self.least(first) is None
                else packed.packed(step, linear.geometry, linear.finish, self.stored(first), step.zeros[0])
            )
        return self._packed[number]

    def stored(self, step: int) -> Codes:
        """What a step's output, or the network's input, is stored in."""
        return self.network.input if step == INPUT else self.network.steps[step].codes

    def zero(self, step: int) -> int:
        return self.network.input_zero if step == INPUT else self.network.steps[step].zero

    def centred(self, step: int, zero: int) -> NDArray[np.float32]:
        """Codes less their zero point, (n, …)."""
        if not zero:
            return self.codes(step).numpy()
        if (step, zero) not in self._centred:
            self._centred[step, zero] = (self.codes(step) - zero).numpy()
        return self._centred[step, zero]

    def window(self, number: int) -> tuple[kernels.Geometry, kernels.Reach]:
        """How a step moves over its input."""
        if number not in self._windows:
            step = self.network.steps[number]
            g = geometry(step, tuple(self.codes(step.inputs[0]).shape[1:]))
            self._windows[number] = g, reached(g)
        return self._windows[number]

    def linear(self, number: int) -> Linear | None:
        """The step as a sum of its inputs' changes; None if it is not one, or not in whole numbers."""
        if number not in self._linear:
            self._linear[number] = _linear(self, number)
        return self._linear[number]


@dataclass(frozen=True, eq=False)
class Linear:
    """A step that adds up, as a convolution in groups: what `kernels.spread` and `kernels.weigh` need."""

    geometry: kernels.Geometry
    reach: kernels.Reach
    factor: kernels.Floats  # (C, places in the kernel, O / groups): the weight
    sums: kernels.Floats  # (n, O, P)
    finish: kernels.Finish
    codes: NDArray[np.float32]  # (n, O, P)
    least: NDArray[np.float64]  # (O, codes + 1), see `kernels.slack`
    low: int
    factors: tuple[float, ...]  # by which each input's changes are multiplied

    @cached_property
    def width(self) -> int:
        """How many channels of a group lie beside each other in `pixels` and `weight`: a multiple of 16,
        unless that is much more than there are."""
        each = self.geometry.filters // self.geometry.groups
        return each if each < 8 else math.ceil(each / 16) * 16

    @cached_property
    def planes(self) -> tuple[kernels.Shorts, kernels.Shorts]:
        """How far each sum can fall and rise before its code may change, flat (n, O, P), with 16 more at the
        end."""
        size = self.sums.size
        down, up = np.zeros(size + 16, np.int16), np.zeros(size + 16, np.int16)
        shape = self.sums.shape
        if not self.finish.plain:
            lower, upper = down[:size].reshape(shape), up[:size].reshape(shape)
            kernels.slack(self.sums, self.codes, self.least, self.low, lower, upper)
        return down, up

    @cached_property
    def pixels(self) -> tuple[kernels.Shorts, kernels.Shorts, kernels.Floats, kernels.Floats]:
        """The same, and sums and codes, flat (n, groups · P, width)."""
        n, filters, pixels = self.sums.shape
        groups = self.geometry.groups

        def turned(t: NDArray[Any]) -> NDArray[Any]:
            grouped = t.reshape(-1)[: self.sums.size].reshape(n, groups, filters // groups, pixels)
            wide = np.zeros((n, groups, pixels, self.width), t.dtype)
            wide[..., : filters // groups] = grouped.swapaxes(2, 3)
            return wide.reshape(-1)

        down, up = self.planes
        return turned(down), turned(up), turned(self.sums), turned(self.codes)

    @cached_property
    def weight(self) -> kernels.Floats:
        """Flat (C, places in the kernel, width)."""
        wide = np.zeros((*self.factor.shape[:2], self.width), self.factor.dtype)
        wide[..., : self.factor.shape[2]] = self.factor
        return wide.reshape(-1)


def geometry(step: Step, arriving: tuple[int, ...]) -> kernels.Geometry:
    """Of a step that moves a window over its input (…) or, as layers of neurons do, has one that is all of
    it."""
    args = step.args
    image = arriving if len(arriving) == 3 else (*arriving, 1, 1)
    out = step.shape if len(step.shape) == 3 else (*step.shape, 1, 1)
    window: tuple[int, ...] = (1, 1)
    stride, padding, dilation = (1, 1), (0, 0), (1, 1)
    if step.op == "global_pool":
        window = image[1:]
    elif step.op in ("conv", "max_pool", "avg_pool"):
        window, stride, padding = tuple(args["kernel"]), tuple(args["stride"]), tuple(args["padding"])
        if step.op == "conv":
            assert step.weight is not None
            window, dilation = tuple(step.weight.shape[2:]), tuple(args["dilation"])
    groups = args["groups"] if step.op == "conv" else 1 if step.op == "dense" else image[0]
    sizes = (*image, *out, *window, *stride, *padding, *dilation, groups)
    return kernels.Geometry._make(sizes)


def reached(g: kernels.Geometry) -> kernels.Reach:
    """Who adds to whom."""

    def along(
        size: int, kernel: int, stride: int, pad: int, dilation: int, out: int
    ) -> list[NDArray[np.int64]]:
        """Input, output and place in the kernel of all that meet along one axis."""
        there, place = (t.reshape(-1) for t in np.meshgrid(np.arange(out), np.arange(kernel), indexing="ij"))
        here = there * stride - pad + place * dilation
        inside = (here >= 0) & (here < size)
        return [here[inside], there[inside], place[inside]]

    down = along(g.height, g.kernel_height, g.stride_y, g.pad_y, g.dilation_y, g.out_height)
    across = along(g.width, g.kernel_width, g.stride_x, g.pad_x, g.dilation_x, g.out_width)
    widths = (g.width, g.out_width, g.kernel_width)
    source, pixel, place = (
        (a[:, None] * w + b[None, :]).reshape(-1) for a, b, w in zip(down, across, widths, strict=True)
    )
    order = np.argsort(source, kind="stable")
    start = np.searchsorted(source[order], np.arange(g.height * g.width + 1))
    back = np.argsort(pixel, kind="stable")
    first = np.searchsorted(pixel[back], np.arange(g.out_height * g.out_width + 1))
    tables = (start, pixel[order], place[order], first, source[back])
    return kernels.Reach._make(t.astype(np.int32) for t in tables)


def extent(codes: Codes) -> int:
    """The greatest difference between two codes."""
    low, high = span(codes)
    return high - low


def _linear(golden: Golden, number: int) -> Linear | None:
    step, network = golden.network.steps[number], golden.network
    if (
        not kernels.compiled
        or network.form != "whole"
        or step.op not in ("conv", "dense", "avg_pool", "global_pool", "add")
    ):
        return None
    if step.shares is not None or not isinstance(step.finish, Rescale | None):
        return None
    g, reach = golden.window(number)
    weight: kernels.Floats = np.ones((g.channels, g.kernel_height * g.kernel_width, 1), np.float32)
    if step.weight is not None:
        weight = step.weight.numpy().reshape(g.groups, g.filters // g.groups, g.channels // g.groups, -1)
        weight = weight.transpose(0, 2, 3, 1).reshape(g.channels, -1, g.filters // g.groups)
    # Partial sums of changes stay below this, those of faulty weights apart (`engine._fits`).
    factors = step.factors if step.op == "add" else (1.0,) * len(step.inputs)
    per_filter = (
        np.abs(weight).reshape(g.groups, -1, g.filters // g.groups).sum(axis=1, dtype=np.float64).max()
    )
    top = per_filter * sum(
        abs(f) * extent(golden.stored(i)) for f, i in zip(factors, step.inputs, strict=True)
    )
    kind = np.float32 if top < _EXACT / 2 else np.float64
    total = golden.sums[number]
    shape = (len(total), g.filters, g.out_height * g.out_width)
    made = _finish(step.finish, g.filters)
    if made is None:
        return None
    finish, least = made
    return Linear(
        g,
        reach,
        np.ascontiguousarray(weight, kind),
        total.reshape(shape).numpy(),
        finish,
        golden.codes(number).reshape(shape).numpy(),
        least,
        0 if step.finish is None else step.finish.low,
        factors,
    )


def _finish(rescale: Rescale | None, channels: int) -> tuple[kernels.Finish, NDArray[np.float64]] | None:
    """By channel, and the least sum of each code; None if that does not fit into 64 bits or nothing rises."""
    if rescale is None:
        ones = np.ones(channels)
        return kernels.Finish(ones, ones, ones, 0.0, 0.0, 0.0, True), np.zeros((channels, 1))
    multiplier, shift = (
        np.broadcast_to(t.double().numpy(), (channels,)).astype(np.int64)
        if t.dim() == 0 or len(t) == 1
        else t.double().numpy().astype(np.int64)
        for t in (rescale.multiplier, rescale.shift)
    )
    steps = rescale.high - rescale.low
    top = math.log2(max(abs(rescale.high - rescale.zero), abs(rescale.low - rescale.zero), 1) + 1)
    if multiplier.min() < 1 or shift.max() + top > 61:
        return None
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    wanted = np.arange(rescale.low - rescale.zero, rescale.high - rescale.zero + 1, dtype=np.int64)
    # The least a with (a · multiplier + half) >> shift ≥ wanted.
    least = -((half[:, None] - (wanted[None, :] << shift[:, None])) // multiplier[:, None])
    table = np.empty((channels, steps + 2))
    table[:, :-1] = least
    table[:, 0], table[:, -1] = -np.inf, np.inf
    finish = kernels.Finish(
        multiplier.astype(np.float64),
        half.astype(np.float64),
        2.0 ** -shift.astype(np.float64),
        float(rescale.zero),
        float(rescale.low),
        float(rescale.high),
        False,
    )
    return finish, table
