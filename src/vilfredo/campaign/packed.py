"""Layers whose codes and weights fit into bytes, as `bytewise` computes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from vilfredo.campaign import bytewise, kernels
from vilfredo.campaign.bytewise import SLACK, Layout, Octets
from vilfredo.codes import Codes, span
from vilfredo.nn.deployed import Step

WIDTH = 16


def least(codes: Codes) -> int | None:
    """The code that is held as byte 0; None if codes do not fit into a byte."""
    if codes.form != "whole" or not 1 <= codes.bits <= 8:
        return None
    return span(codes)[0]


def empty(size: int) -> Octets:
    """So many bytes, flat, of an array with some more."""
    return np.empty(size + SLACK, np.uint8)[:size]


@dataclass(frozen=True, eq=False)
class Packed:
    """A convolution or dense layer. `weight` and `bias` are flat, as `lanes.dots` reads them."""

    geometry: kernels.Geometry
    layout: Layout
    offsets: kernels.Places  # (cells of an input,) of one output
    weight: kernels.Places
    bias: kernels.Places
    shift: int  # by which bytes less the zero point are greater than zero: Σ weight · shift is in the bias
    finish: kernels.Finish
    least: int  # of a convolution's output
    dense: bool

    @property
    def macs(self) -> int:
        """Multiplications for a row, those by nothing included."""
        lanes = 1 if self.dense else self.layout.lanes
        return 4 * len(self.offsets) * len(self.bias) * lanes

    def with_weights(self, index: NDArray[np.int64], change: NDArray[np.float64]) -> Packed:
        """With weights at flat positions (k,), each once, changed by so much."""
        g = self.geometry
        places = g.kernel_height * g.kernel_width
        filter_, rest = np.divmod(index, g.channels * places)
        source, place = np.divmod(rest, places)
        at = filter_ // WIDTH * len(self.offsets) + source // 4 * places + place
        at = (at * WIDTH + filter_ % WIDTH) * 4 + source % 4
        weight = self.weight.copy()
        weight.view(np.int8)[at] += change.astype(np.int8)
        bias = self.bias
        if self.shift:
            bias = bias.copy()
            np.add.at(bias, filter_, (change * self.shift).astype(np.int32))
        return replace(self, weight=weight, bias=bias)


def packed(
    step: Step, g: kernels.Geometry, finish: kernels.Finish, arriving: Codes, zero: int
) -> Packed | None:
    """The step in bytes; None if it does not fit. `arriving`: what its input is stored in."""
    low = least(arriving)
    if step.op not in ("conv", "dense") or g.groups != 1 or finish.plain or low is None:
        return None
    assert step.weight is not None
    assert step.weight_codes is not None
    if step.weight_codes.form != "whole" or not 1 <= step.weight_codes.bits <= 8:
        return None
    weight_low, weight_high = span(step.weight_codes)
    outside = zero - low
    bias = np.zeros(g.filters) if step.bias is None else step.bias.double().numpy()
    fan_in = step.weight[0].numel()
    if fan_in * 2 * 256 * 128 + np.abs(bias).max() >= 2**31 or weight_high > 127 or not 0 <= outside < 256:
        return None
    out_low = 0
    if step.op == "conv":
        stored = least(step.codes)
        if stored is None or finish.low < stored or finish.high > stored + 255:
            return None
        out_low = stored
    weight = step.weight.double().numpy()
    if (weight < weight_low).any() or (weight > weight_high).any():
        return None
    filters, groups = math.ceil(g.filters / WIDTH), math.ceil(g.channels / 4)
    places = g.kernel_height * g.kernel_width
    wide = np.zeros((filters * WIDTH, groups * 4, places), np.int8)
    wide[: g.filters, : g.channels] = weight.reshape(g.filters, g.channels, places)
    wide = wide.reshape(filters, WIDTH, groups, 4, places).transpose(0, 2, 4, 1, 3)
    corrected = np.zeros(filters * WIDTH, np.int32)
    corrected[: g.filters] = bias - outside * weight.reshape(g.filters, -1).sum(1)
    layout, offsets = _layout(g, outside)
    if step.op == "dense":
        offsets = np.arange(groups, dtype=np.int32) * WIDTH
    flat = np.ascontiguousarray(wide).view(np.int32).reshape(-1)
    return Packed(g, layout, offsets, flat, corrected, -outside, finish, out_low, step.op == "dense")


def _layout(g: kernels.Geometry, outside: int) -> tuple[Layout, kernels.Places]:
    """And how far from a pixel of the output each place of the kernel is, by four channels and place."""
    lines = math.ceil((g.height + 2 * g.pad_y) / g.stride_y)
    columns = math.ceil((g.width + 2 * g.pad_x) / g.stride_x)
    lanes = math.ceil(g.out_height * columns / WIDTH) * WIDTH
    cell = np.full(4, outside, np.uint8).view(np.int32)[0]
    row, row_phase = np.divmod(np.arange(g.kernel_height) * g.dilation_y, g.stride_y)
    column, column_phase = np.divmod(np.arange(g.kernel_width) * g.dilation_x, g.stride_x)
    area = lines * columns
    place = (row_phase[:, None] * g.stride_x + column_phase) * area + row[:, None] * columns + column
    group = np.arange(math.ceil(g.channels / 4)) * area * g.stride_y * g.stride_x
    offsets = (group[:, None] + place.reshape(-1)).reshape(-1).astype(np.int32)
    return Layout(lines, columns, lanes, int(cell)), offsets


@dataclass(frozen=True, eq=False)
class Rows:
    """Whole inputs in bytes: `which` (r,) of `source` (m, size) each begins as, and what differs from it."""

    which: kernels.Ints
    source: Octets
    start: kernels.Ints
    index: kernels.Places
    byte: Octets

    def part(self, first: int, last: int) -> Rows:
        return replace(self, which=self.which[first:last], start=self.start[first : last + 1])


def plain_rows(which: kernels.Ints, source: Octets) -> Rows:
    """As they are in `source`."""
    start = np.zeros(len(which) + 1, np.int64)
    return Rows(which, source, start, np.empty(0, np.int32), np.empty(0, np.uint8))


def convolved(layer: Packed, rows: Rows, golden: Octets, image: kernels.Ints) -> tuple[Octets, kernels.Ints]:
    """Codes (r · size) of a convolution, and how many of each row differ from the image's in `golden`."""
    g, layout = layer.geometry, layer.layout
    out = empty(len(image) * g.filters * g.out_height * g.out_width)
    counts = np.empty(len(image), np.int64)
    area = layout.lines * layout.columns * g.stride_y * g.stride_x
    cells = np.full(math.ceil(g.channels / 4) * area + layout.lanes + SLACK, layout.outside, np.int32)
    sums = np.empty(len(layer.bias) * layout.lanes + SLACK, np.int32)
    row = np.empty(rows.source.shape[1] + SLACK, np.uint8)
    bytewise.convolved(
        rows.which,
        rows.source,
        rows.start,
        rows.index,
        rows.byte,
        g,
        layout,
        layer.offsets,
        layer.weight,
        layer.bias,
        layer.finish,
        layer.least,
        golden,
        image,
        row,
        cells,
        sums,
        out,
        counts,
    )
    return out, counts


def multiplied(layer: Packed, rows: Rows) -> torch.Tensor:
    """Codes (r, O) of a dense layer, float32."""
    filters, places = layer.geometry.filters, len(layer.offsets)
    sums = np.empty((len(rows.which), filters), np.int32)
    words = np.zeros(places + SLACK, np.int32)
    bytewise.multiplied(
        rows.which,
        rows.source,
        rows.start,
        rows.index,
        rows.byte,
        layer.offsets,
        layer.weight,
        layer.bias,
        words.view(np.uint8),
        words,
        np.empty(places * WIDTH, np.int32),
        np.empty(len(layer.bias) * WIDTH, np.int32),
        sums,
    )
    out = np.empty((len(sums), filters, 1), np.float32)
    kernels.finished(sums[..., None], layer.finish, out)
    return torch.from_numpy(out[..., 0])


def pooled(
    g: kernels.Geometry, reach: kernels.Reach, rows: Rows, golden: Octets, image: kernels.Ints
) -> tuple[Octets, kernels.Ints]:
    """The greatest codes of windows, as `convolved`."""
    out = empty(len(image) * g.channels * g.out_height * g.out_width)
    counts = np.empty(len(image), np.int64)
    row = np.empty(rows.source.shape[1] + SLACK, np.uint8)
    bytewise.pooled(
        rows.which,
        rows.source,
        rows.start,
        rows.index,
        rows.byte,
        g,
        reach,
        golden,
        image,
        row,
        out,
        counts,
    )
    return out, counts
