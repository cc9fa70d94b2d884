"""The engine's inner loops, compiled: what changed codes do to the sums of the next layer, image by image.

All of them read and write sparse changes: row r has the entries `start[r]` to `start[r + 1]` of `index` (the
flat position in one image's array) and of what goes with it. They write at most as much as fits, and return
how many rows they have done; who calls them goes on from there. Numbers are whole, in float32 or float64 that
hold all of them (`golden.Linear`), so the order of additions does not matter.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

compiled = importlib.util.find_spec("numba") is not None  # if not, the engine computes whole layers, in torch

Floats = NDArray[Any]  # float32 or float64
Ints = NDArray[np.int64]
Places = NDArray[np.int32]
F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compiled once and kept on disk; other threads of Python run meanwhile. A product and the sum that it
    goes into may be one instruction: they are exact."""
    if not compiled:
        return function
    import numba

    made = numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    return cast(F, made)


class Geometry(NamedTuple):
    """Of a convolution in `groups`, or what amounts to one: sizes of input and output, the kernel, and how it
    moves."""

    channels: int
    height: int
    width: int
    filters: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    dilation_y: int
    dilation_x: int
    groups: int


class Finish(NamedTuple):
    """`deployed.Rescale` by channel (O,) in float64; `plain`: there is none, sums are stored as they are."""

    multiplier: Floats
    half: Floats
    scale: Floats
    zero: float
    low: float
    high: float
    plain: bool


class Faulty(NamedTuple):
    """Sets of hits at weights: set s has the channels `first[s]` to `first[s + 1]` of `channel`, channel
    number h the hits `hits[h]` to `hits[h + 1]`, at a channel of the group's input and a place in the kernel,
    by how much the weight changes."""

    first: Ints
    channel: Ints
    hits: Ints
    source: Ints
    row: Ints
    column: Ints
    change: Floats


@jit
def code(finish: Finish, total: float, channel: int) -> float:
    """The code of a sum."""
    if finish.plain:
        return total
    scaled = np.floor((total * finish.multiplier[channel] + finish.half[channel]) * finish.scale[channel])
    scaled += finish.zero
    return min(max(scaled, finish.low), finish.high)  # type: ignore[no-any-return]


@jit
def slack(sums: Floats, codes: Floats, least: Floats, low: int, down: Floats, up: Floats) -> None:
    """How far each sum (n, O, P) can fall and rise before its code changes; `least` (O, codes + 1) has the
    least sum of each code from `low` on, the first −∞ and one more at the end, ∞."""
    for i in range(sums.shape[0]):
        for o in range(sums.shape[1]):
            for p in range(sums.shape[2]):
                at = int(codes[i, o, p]) - low
                down[i, o, p] = least[o, at] - sums[i, o, p]
                up[i, o, p] = least[o, at + 1] - 1 - sums[i, o, p]


@jit
def spread(
    first: int,
    image: Ints,
    start: Ints,
    index: Places,
    delta: Floats,
    chosen: Ints,
    faulty: Faulty,
    x: Floats,
    zero: float,
    g: Geometry,
    weight: Floats,
    down: Floats,
    up: Floats,
    sums: Floats,
    finish: Finish,
    total: Floats,
    mark: NDArray[np.bool_],
    touched: Places,
    out_start: Ints,
    out_index: Places,
    out_code: Floats,
) -> int:
    """What entries (position, `delta`) of the input change of the output, and what faulty weights do.

    `weight` is (C, places in the kernel, O / groups), `down` and `up` (n, groups · P, O / groups), `sums`
    (n, O, P). `chosen` (r,) is each row's set of hits or −1; `x` (n, C, H, W) are the input's golden codes.
    `total` (groups · P, O / groups) and `mark` are zero before and after.
    """
    pixels = g.out_height * g.out_width
    area = g.height * g.width
    fan_in = g.channels // g.groups
    fan_out = g.filters // g.groups
    done = out_start[first]
    for r in range(first, len(image)):
        if done + g.filters * pixels > len(out_index):
            return r
        count = 0
        for e in range(start[r], start[r + 1]):
            c = index[e] // area
            y = (index[e] - c * area) // g.width
            px = index[e] - c * area - y * g.width
            base = (c // fan_in) * pixels
            d = delta[e]
            for ky in range(g.kernel_height):
                oy = y + g.pad_y - ky * g.dilation_y
                if oy < 0 or oy % g.stride_y != 0 or oy // g.stride_y >= g.out_height:
                    continue
                oy //= g.stride_y
                for kx in range(g.kernel_width):
                    ox = px + g.pad_x - kx * g.dilation_x
                    if ox < 0 or ox % g.stride_x != 0 or ox // g.stride_x >= g.out_width:
                        continue
                    q = base + oy * g.out_width + ox // g.stride_x
                    if not mark[q]:
                        mark[q] = True
                        touched[count] = q
                        count += 1
                    row = total[q]
                    w = weight[c, ky * g.kernel_width + kx]
                    for o in range(fan_out):
                        row[o] += d * w[o]
        if chosen[r] >= 0:
            for h in range(faulty.first[chosen[r]], faulty.first[chosen[r] + 1]):
                group, o = faulty.channel[h] // fan_out, faulty.channel[h] % fan_out
                base = group * pixels
                for k in range(faulty.hits[h], faulty.hits[h + 1]):
                    c = group * fan_in + faulty.source[k]
                    shift_y = faulty.row[k] * g.dilation_y - g.pad_y
                    shift_x = faulty.column[k] * g.dilation_x - g.pad_x
                    for oy in range(g.out_height):
                        y = oy * g.stride_y + shift_y
                        if y < 0 or y >= g.height:
                            continue
                        for ox in range(g.out_width):
                            px = ox * g.stride_x + shift_x
                            if px < 0 or px >= g.width:
                                continue
                            q = base + oy * g.out_width + ox
                            if not mark[q]:
                                mark[q] = True
                                touched[count] = q
                                count += 1
                            total[q, o] += faulty.change[k] * (x[image[r], c, y, px] - zero)
                    for e in range(start[r], start[r + 1]):
                        if index[e] // area != c:
                            continue
                        y = (index[e] - c * area) // g.width - shift_y
                        px = index[e] % g.width - shift_x
                        if y < 0 or y % g.stride_y != 0 or y // g.stride_y >= g.out_height:
                            continue
                        if px < 0 or px % g.stride_x != 0 or px // g.stride_x >= g.out_width:
                            continue
                        q = base + y // g.stride_y * g.out_width + px // g.stride_x
                        if not mark[q]:
                            mark[q] = True
                            touched[count] = q
                            count += 1
                        total[q, o] += faulty.change[k] * delta[e]
        for t in range(count):
            q = touched[t]
            mark[q] = False
            row = total[q]
            lower, upper = down[image[r], q], up[image[r], q]
            beyond = 0
            for o in range(fan_out):
                beyond += (row[o] < lower[o]) | (row[o] > upper[o])
            if beyond:
                p = q % pixels
                channel = q // pixels * fan_out
                for o in range(fan_out):
                    if row[o] < lower[o] or row[o] > upper[o]:
                        out_index[done] = (channel + o) * pixels + p
                        out_code[done] = code(
                            finish, float(sums[image[r], channel + o, p]) + row[o], channel + o
                        )
                        done += 1
            row[:] = 0
        out_start[r + 1] = done
    return len(image)


@jit
def weigh(
    first: int,
    image: Ints,
    chosen: Ints,
    faulty: Faulty,
    x: Floats,
    zero: float,
    g: Geometry,
    down: Floats,
    up: Floats,
    sums: Floats,
    finish: Finish,
    total: Floats,
    out_start: Ints,
    out_index: Places,
    out_code: Floats,
) -> int:
    """What faulty weights alone change of the output; `down`, `up` and `sums` are (n, O, P), `total` (P,)."""
    pixels = g.out_height * g.out_width
    fan_in = g.channels // g.groups
    fan_out = g.filters // g.groups
    done = out_start[first]
    for r in range(first, len(image)):
        if done + g.filters * pixels > len(out_index):
            return r
        i = image[r]
        for h in range(faulty.first[chosen[r]], faulty.first[chosen[r] + 1]):
            o = faulty.channel[h]
            total[:] = 0
            for k in range(faulty.hits[h], faulty.hits[h + 1]):
                plane = x[i, o // fan_out * fan_in + faulty.source[k]]
                change = faulty.change[k]
                shift_y = faulty.row[k] * g.dilation_y - g.pad_y
                shift_x = faulty.column[k] * g.dilation_x - g.pad_x
                left = max(0, -(shift_x // g.stride_x))
                right = min(g.out_width, (g.width - 1 - shift_x) // g.stride_x + 1)
                for oy in range(g.out_height):
                    y = oy * g.stride_y + shift_y
                    if y < 0 or y >= g.height:
                        continue
                    row = plane[y]
                    base = oy * g.out_width
                    if g.stride_x == 1:
                        for ox in range(left, right):
                            total[base + ox] += change * (row[ox + shift_x] - zero)
                    else:
                        for ox in range(left, right):
                            total[base + ox] += change * (row[ox * g.stride_x + shift_x] - zero)
            lower, upper = down[i, o], up[i, o]
            beyond = 0
            for p in range(pixels):
                beyond += (total[p] < lower[p]) | (total[p] > upper[p])
            if beyond:
                for p in range(pixels):
                    if total[p] < lower[p] or total[p] > upper[p]:
                        out_index[done] = o * pixels + p
                        out_code[done] = code(finish, float(sums[i, o, p]) + total[p], o)
                        done += 1
        out_start[r + 1] = done
    return len(image)


@jit
def maxima(
    first: int,
    image: Ints,
    start: Ints,
    index: Places,
    codes: Floats,
    golden_in: Floats,
    golden_out: Floats,
    g: Geometry,
    seen: Ints,
    value: Floats,
    written: Ints,
    stamp: int,
    out_start: Ints,
    out_index: Places,
    out_code: Floats,
) -> int:
    """What changed codes change of greatest codes; `golden_in` and `golden_out` are (n, size).

    `seen` and `written` (sizes of input and output) hold numbers below `stamp` + first.
    """
    pixels = g.out_height * g.out_width
    area = g.height * g.width
    done = out_start[first]
    for r in range(first, len(image)):
        if done + g.filters * pixels > len(out_index):
            return r
        now = stamp + r
        before, after = golden_in[image[r]], golden_out[image[r]]
        for e in range(start[r], start[r + 1]):
            seen[index[e]] = now
            value[index[e]] = codes[e]
        for e in range(start[r], start[r + 1]):
            c = index[e] // area
            y = (index[e] - c * area) // g.width + g.pad_y
            px = index[e] % g.width + g.pad_x
            top = max(0, -((g.kernel_height - 1 - y) // g.stride_y))
            left = max(0, -((g.kernel_width - 1 - px) // g.stride_x))
            for oy in range(top, min(g.out_height, y // g.stride_y + 1)):
                for ox in range(left, min(g.out_width, px // g.stride_x + 1)):
                    at = c * pixels + oy * g.out_width + ox
                    if written[at] == now:
                        continue
                    written[at] = now
                    best = -np.inf
                    for wy in range(
                        max(0, oy * g.stride_y - g.pad_y),
                        min(g.height, oy * g.stride_y - g.pad_y + g.kernel_height),
                    ):
                        for wx in range(
                            max(0, ox * g.stride_x - g.pad_x),
                            min(g.width, ox * g.stride_x - g.pad_x + g.kernel_width),
                        ):
                            j = c * area + wy * g.width + wx
                            best = max(best, value[j] if seen[j] == now else before[j])
                    if best != after[at]:
                        out_index[done] = at
                        out_code[done] = best
                        done += 1
        out_start[r + 1] = done
    return len(image)


@jit
def finished(sums: Floats, finish: Finish, out: Floats) -> None:
    """Codes of all sums (r, O, P)."""
    for r in range(sums.shape[0]):
        for o in range(sums.shape[1]):
            for p in range(sums.shape[2]):
                out[r, o, p] = code(finish, float(sums[r, o, p]), o)


@jit
def count(codes: Floats, golden: Floats, image: Ints, out: Ints) -> None:
    """How many codes (r, size) of each row differ from its image's golden ones (n, size)."""
    for r in range(len(image)):
        mine, right = codes[r], golden[image[r]]
        different = 0
        for j in range(codes.shape[1]):
            different += mine[j] != right[j]
        out[r] = different


@jit
def collect(
    codes: Floats, golden: Floats, image: Ints, row: Ints, start: Ints, index: Places, code: Floats
) -> None:
    """The entries that differ of the rows number `row`, where `start` says that each one's go."""
    for k in range(len(row)):
        mine, right = codes[row[k]], golden[image[row[k]]]
        at = start[k]
        for j in range(codes.shape[1]):
            if mine[j] != right[j]:
                index[at] = j
                code[at] = mine[j]
                at += 1
