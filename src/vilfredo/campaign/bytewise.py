"""The engine's inner loops for whole layers whose codes fit into bytes, compiled.

A code is held as a byte, less the least that its format has (`changes.Bytes`). A *cell* is four bytes in an
int32: of four channels at one pixel, which is what a processor multiplies at a time. A layer is computed for
one faulty run of one image after the other, so that it stays in the caches: the input is laid out in cells,
multiplied, rounded to codes and compared with the golden ones at once.

Inputs come as `source` (m, size) with `which` (r,) of it each row begins as, and entries `start[r]` to
`start[r + 1]` of `index` and `byte` that differ from it. What is read and written 16 or 64 at a time goes
beyond the ends of rows, never beyond those of arrays: flat ones have `SLACK` more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilfredo.campaign.kernels import Finish, Geometry, Ints, Places, Reach, compiled, jit

if compiled:
    from vilfredo.campaign.lanes import (
        WIDTH,
        different,
        dots,
        first,
        greatest_of_pairs,
        interleaved,
        ones,
        quick_bytes,
        requantised,
    )

    quick = quick_bytes()
else:
    quick = False

SLACK = 64
Octets = NDArray[np.uint8]


class Layout(NamedTuple):
    """How an image lies in cells: for each four channels a plane for each `phase` of the strides, `lines` ×
    `columns`, with what is around the image, `outside`. So a place in the kernel is the same distance from
    all pixels of the output, whose lines are `columns` apart, too, `lanes` in all."""

    lines: int
    columns: int
    lanes: int
    outside: int


@jit
def _begun(row: Octets, source: Octets, index: Places, byte: Octets) -> None:
    for j in range(len(source)):
        row[j] = source[j]
    for e in range(len(index)):
        row[index[e]] = byte[e]


@jit
def _laid_out(row: Octets, g: Geometry, layout: Layout, cells: Places) -> None:
    """One image in cells; what is around it is there already."""
    area = g.height * g.width
    phase = layout.lines * layout.columns
    last = g.channels - 1
    for c in range(0, g.channels, 4):
        group = c // 4 * phase * g.stride_y * g.stride_x
        # Beyond the last channel weights are zero, so that it does not matter what is there.
        p0, p1 = c * area, min(c + 1, last) * area
        p2, p3 = min(c + 2, last) * area, min(c + 3, last) * area
        for y in range(g.height):
            line, which = (y + g.pad_y) // g.stride_y, (y + g.pad_y) % g.stride_y
            to = group + which * g.stride_x * phase + line * layout.columns
            at = y * g.width
            if g.stride_x == 1 and g.stride_y == 1:
                for x in range(0, g.width, WIDTH):
                    a, b, c_, d = p0 + at + x, p1 + at + x, p2 + at + x, p3 + at + x
                    interleaved(
                        cells, to + g.pad_x + x, row, a, b, c_, d, g.width - x, np.int32(layout.outside)
                    )
                continue
            for shift in range(g.stride_x):
                for column in range(layout.columns):
                    x = column * g.stride_x + shift - g.pad_x
                    if 0 <= x < g.width:
                        k = at + x
                        cell = row[p0 + k] | row[p1 + k] << 8 | row[p2 + k] << 16 | row[p3 + k] << 24
                        cells[to + shift * phase + column] = np.int32(cell)


@jit
def _differences(out: Octets, at: int, golden: Octets, to: int, size: int) -> int:
    """How many bytes differ."""
    count = 0
    for k in range(0, size, 64):
        mask = different(out, at + k, golden, to + k)
        if size - k < 64:
            mask &= (1 << (size - k)) - 1
        count += ones(mask)
    return count


@jit
def convolved(
    which: Ints,
    source: Octets,
    start: Ints,
    index: Places,
    byte: Octets,
    g: Geometry,
    layout: Layout,
    offsets: Places,
    weight: Places,
    bias: Places,
    finish: Finish,
    least: int,
    golden: Octets,
    image: Ints,
    row: Octets,
    cells: Places,
    sums: Places,
    out: Octets,
    counts: Ints,
) -> None:
    """A convolution of whole rows, their codes `out` (r · O · P), and how many of each row's differ from
    those of its `image` in `golden` (n · O · P). `least` is the code that is byte 0."""
    pixels = g.out_height * g.out_width
    size = g.filters * pixels
    places = len(offsets)
    for r in range(len(which)):
        begin, end = start[r], start[r + 1]
        _begun(row, source[which[r]], index[begin:end], byte[begin:end])
        _laid_out(row, g, layout, cells)
        for o in range(0, g.filters, WIDTH):
            for q in range(0, layout.lanes, WIDTH):
                at = o * layout.lanes + q
                dots(sums, at, layout.lanes, cells, q, offsets, weight, o * places, bias, o, places)
        for o in range(g.filters):
            multiplier, half, scale = finish.multiplier[o], finish.half[o], finish.scale[o]
            for y in range(g.out_height):
                at, to = o * layout.lanes + y * layout.columns, r * size + o * pixels + y * g.out_width
                for x in range(0, g.out_width, WIDTH):
                    requantised(
                        sums,
                        at + x,
                        multiplier,
                        half,
                        scale,
                        finish.zero,
                        finish.low,
                        finish.high,
                        np.int32(least),
                        out,
                        to + x,
                    )
        counts[r] = _differences(out, r * size, golden, image[r] * size, size)


@jit
def multiplied(
    which: Ints,
    source: Octets,
    start: Ints,
    index: Places,
    byte: Octets,
    offsets: Places,
    weight: Places,
    bias: Places,
    row: Octets,
    words: Places,
    cells: Places,
    sums: Places,
    out: NDArray[Any],
) -> None:
    """The sums `out` (r, O), int32, of a dense layer, 16 rows at a time; `words` are the cells of `row`."""
    places, filters = len(offsets), out.shape[1]
    for r in range(0, len(which), WIDTH):
        rows = min(len(which) - r, WIDTH)
        for k in range(rows):
            begin, end = start[r + k], start[r + k + 1]
            _begun(row, source[which[r + k]], index[begin:end], byte[begin:end])
            for j in range(places):
                cells[j * WIDTH + k] = words[j]
        for o in range(0, filters, WIDTH):
            dots(sums, o * WIDTH, WIDTH, cells, 0, offsets, weight, o * places, bias, o, places)
        for k in range(rows):
            for o in range(filters):
                out[r + k, o] = sums[o * WIDTH + k]


@jit
def pooled(
    which: Ints,
    source: Octets,
    start: Ints,
    index: Places,
    byte: Octets,
    g: Geometry,
    reach: Reach,
    golden: Octets,
    image: Ints,
    row: Octets,
    out: Octets,
    counts: Ints,
) -> None:
    """The greatest bytes of windows of whole rows, and how many differ, as `convolved`."""
    area, pixels = g.height * g.width, g.out_height * g.out_width
    size = g.channels * pixels
    pairs = g.kernel_height == 2 and g.kernel_width == 2 and g.stride_y == 2 and g.stride_x == 2
    pairs = pairs and g.pad_y == 0 and g.pad_x == 0 and g.dilation_y == 1 and g.dilation_x == 1
    for r in range(len(which)):
        begin, end = start[r], start[r + 1]
        _begun(row, source[which[r]], index[begin:end], byte[begin:end])
        for c in range(g.channels):
            to = r * size + c * pixels
            if pairs:
                for y in range(g.out_height):
                    at = c * area + 2 * y * g.width
                    for x in range(0, g.out_width, WIDTH):
                        a = at + 2 * x
                        greatest_of_pairs(row, a, a + g.width, out, to + y * g.out_width + x)
            else:
                for q in range(pixels):
                    best = 0
                    for m in range(reach.first[q], reach.first[q + 1]):
                        best = max(best, row[c * area + reach.source[m]])
                    out[to + q] = best
        counts[r] = _differences(out, r * size, golden, image[r] * size, size)


@jit
def collected(
    out: Octets,
    golden: Octets,
    size: int,
    image: Ints,
    row: Ints,
    least: float,
    start: Ints,
    index: Places,
    code: NDArray[np.float32],
) -> None:
    """The entries that differ of the rows number `row`, where `start` says that each one's go."""
    for k in range(len(row)):
        at, to, done = row[k] * size, image[row[k]] * size, start[k]
        for j in range(0, size, 64):
            mask = different(out, at + j, golden, to + j)
            if size - j < 64:
                mask &= (1 << (size - j)) - 1
            while mask:
                place = j + first(mask)
                mask &= mask - 1
                index[done] = place
                code[done] = out[at + place] + least
                done += 1
