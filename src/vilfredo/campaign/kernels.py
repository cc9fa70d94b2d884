"""The engine's inner loops, compiled: what changed codes do to the sums of the next layer, image by image.

All of them read and write sparse changes: row r has the entries `start[r]` to `start[r + 1]` of `index` (the
flat position in one image's array) and of what goes with it. They write at most as much as fits, and return
how many rows they have done; who calls them goes on from there. Numbers are whole, in float32 or float64 that
hold all of them (`golden.Linear`), so the order of additions does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

try:
    from vilfredo.campaign.lanes import WIDTH, add_product, beyond, clear, first

    compiled = True
except ModuleNotFoundError:  # without Numba the engine computes whole layers, in torch
    compiled = False


Floats = NDArray[Any]  # float32 or float64
Ints = NDArray[np.int64]
Places = NDArray[np.int32]
Shorts = NDArray[np.int16]
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


class Reach(NamedTuple):
    """Which pixels of the output a pixel p of the input is added to, `start[p]` to `start[p + 1]` of `pixel`,
    and through which place in the kernel; and by pixel q of the output the other way round, `first[q]` to
    `first[q + 1]` of `source`."""

    start: Places
    pixel: Places
    place: Places
    first: Places
    source: Places


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
def slack(sums: Floats, codes: Floats, least: Floats, low: int, down: Shorts, up: Shorts) -> None:
    """How far each sum (n, O, P) can fall and rise before its code changes, or 2^15 where it is further;
    `least` (O, codes + 1) has the least sum of each code from `low` on, the first −∞ and one more, ∞."""
    for i in range(sums.shape[0]):
        for o in range(sums.shape[1]):
            for p in range(sums.shape[2]):
                at = int(codes[i, o, p]) - low
                down[i, o, p] = int(max(least[o, at] - sums[i, o, p], -32768.0))
                up[i, o, p] = int(min(least[o, at + 1] - 1 - sums[i, o, p], 32767.0))


@jit
def spread(
    begin: int,
    image: Ints,
    start: Ints,
    index: Places,
    delta: Floats,
    chosen: Ints,
    faulty: Faulty,
    x: Floats,
    g: Geometry,
    reach: Reach,
    width: int,
    weight: Floats,
    down: Shorts,
    up: Shorts,
    sums: Floats,
    codes: Floats,
    finish: Finish,
    total: Floats,
    mark: NDArray[np.bool_],
    touched: Places,
    out_start: Ints,
    out_index: Places,
    out_code: Floats,
) -> int:
    """What entries (position, `delta`) of the input change of the output, and what faulty weights do.

    Channels of a group lie beside each other, `width` of them, a multiple of 16, or else O / groups:
    `weight` is (C, places in the kernel, width), `down`, `up` and the golden `sums` and `codes` (n, groups ·
    P, width), all of them flat. `chosen` (r,) is each row's set of hits or −1; `x` (n,
    C, H, W) are the input's golden codes less their zero point. `total` (groups · P · width) and `mark` are
    zero before and after.
    """
    pixels = g.out_height * g.out_width
    area = g.height * g.width
    places = g.kernel_height * g.kernel_width
    fan_in = g.channels // g.groups
    fan_out = g.filters // g.groups
    wide = width % WIDTH == 0
    per_area = 1.0 / area
    done = out_start[begin]
    for r in range(begin, len(image)):
        if done + g.filters * pixels > len(out_index):
            return r
        i = image[r]
        count = 0
        for e in range(start[r], start[r + 1]):
            c = int((index[e] + 0.5) * per_area)  # much faster than a division
            base = c // fan_in * pixels if g.groups > 1 else 0
            pixel = index[e] - c * area
            d = delta[e]
            first_weight = c * places * width
            for k in range(reach.start[pixel], reach.start[pixel + 1]):
                q = base + reach.pixel[k]
                if not mark[q]:
                    mark[q] = True
                    touched[count] = q
                    count += 1
                w = first_weight + reach.place[k] * width
                at = q * width
                if wide:
                    for o in range(0, width, WIDTH):
                        add_product(total, at + o, weight, w + o, d)
                else:
                    for o in range(width):
                        total[at + o] += d * weight[w + o]
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
                            total[q * width + o] += faulty.change[k] * x[i, c, y, px]
                    place = faulty.row[k] * g.kernel_width + faulty.column[k]
                    for e in range(start[r], start[r + 1]):
                        pixel = index[e] - c * area
                        if pixel < 0 or pixel >= area:
                            continue
                        for m in range(reach.start[pixel], reach.start[pixel + 1]):
                            if reach.place[m] != place:
                                continue
                            q = base + reach.pixel[m]
                            if not mark[q]:
                                mark[q] = True
                                touched[count] = q
                                count += 1
                            total[q * width + o] += faulty.change[k] * delta[e]
        for t in range(count):
            q = touched[t]
            mark[q] = False
            group = q // pixels if g.groups > 1 else 0
            channel = group * fan_out
            p = q - group * pixels
            here = (i * g.groups * pixels + q) * width
            if wide:
                for o in range(0, width, WIDTH):
                    mask = beyond(total, q * width + o, down, up, here + o)
                    while mask:
                        filter_ = channel + o + first(mask)
                        mask &= mask - 1
                        lane = filter_ - channel
                        value = code(finish, float(sums[here + lane]) + total[q * width + lane], filter_)
                        out_code[done] = value
                        out_index[done] = filter_ * pixels + p
                        done += value != codes[here + lane]
                    clear(total, q * width + o)
            else:
                for o in range(width):
                    there = total[q * width + o]
                    if there < down[here + o] or there > up[here + o]:
                        filter_ = channel + o
                        value = code(finish, float(sums[here + o]) + there, filter_)
                        out_code[done] = value
                        out_index[done] = filter_ * pixels + p
                        done += value != codes[here + o]
                    total[q * width + o] = 0
        out_start[r + 1] = done
    return len(image)


@jit
def weigh(
    begin: int,
    image: Ints,
    chosen: Ints,
    faulty: Faulty,
    x: Floats,
    g: Geometry,
    down: Shorts,
    up: Shorts,
    sums: Floats,
    codes: Floats,
    finish: Finish,
    total: Floats,
    out_start: Ints,
    out_index: Places,
    out_code: Floats,
) -> int:
    """What faulty weights alone change of the output; `sums` and `codes` are (n, O, P), `down` and `up` the
    same, flat with 16 more at the end, `total` has P rounded up to a multiple of 16."""
    pixels = g.out_height * g.out_width
    fan_in = g.channels // g.groups
    fan_out = g.filters // g.groups
    done = out_start[begin]
    for r in range(begin, len(image)):
        if done + g.filters * pixels > len(out_index):
            return r
        i = image[r]
        for h in range(faulty.first[chosen[r]], faulty.first[chosen[r] + 1]):
            o = faulty.channel[h]
            for k in range(faulty.hits[h], faulty.hits[h + 1]):
                c = o // fan_out * fan_in + faulty.source[k]
                change = faulty.change[k]
                shift_y = faulty.row[k] * g.dilation_y - g.pad_y
                shift_x = faulty.column[k] * g.dilation_x - g.pad_x
                left = max(0, -(shift_x // g.stride_x))
                right = min(g.out_width, (g.width - 1 - shift_x) // g.stride_x + 1)
                for oy in range(g.out_height):
                    y = oy * g.stride_y + shift_y
                    if y < 0 or y >= g.height:
                        continue
                    sums_ = total[oy * g.out_width + left : oy * g.out_width + right]
                    codes_ = x[i, c, y, left * g.stride_x + shift_x :]
                    if g.stride_x == 1:
                        for ox in range(len(sums_)):
                            sums_[ox] += change * codes_[ox]
                    else:
                        for ox in range(len(sums_)):
                            sums_[ox] += change * codes_[ox * g.stride_x]
            here = (i * g.filters + o) * pixels
            for q in range(0, pixels, WIDTH):
                mask = beyond(total, q, down, up, here + q)
                if q + WIDTH > pixels:
                    mask &= (1 << (pixels - q)) - 1
                while mask:
                    p = q + first(mask)
                    mask &= mask - 1
                    value = code(finish, float(sums[i, o, p]) + total[p], o)
                    out_code[done] = value
                    out_index[done] = o * pixels + p
                    done += value != codes[i, o, p]
                clear(total, q)
        out_start[r + 1] = done
    return len(image)


@jit
def maxima(
    begin: int,
    image: Ints,
    start: Ints,
    index: Places,
    codes: Floats,
    golden_in: Floats,
    golden_out: Floats,
    g: Geometry,
    reach: Reach,
    seen: Places,
    value: Floats,
    written: Places,
    out_start: Ints,
    out_index: Places,
    out_code: Floats,
) -> int:
    """What changed codes change of greatest codes; `golden_in` and `golden_out` are (n, size). `seen` and
    `written` (sizes of input and output) hold row numbers, or −1, of rows before `begin`."""
    pixels = g.out_height * g.out_width
    area = g.height * g.width
    per_area = 1.0 / area
    done = out_start[begin]
    for r in range(begin, len(image)):
        if done + g.filters * pixels > len(out_index):
            return r
        i = image[r]
        for e in range(start[r], start[r + 1]):
            seen[index[e]] = r
            value[index[e]] = codes[e]
        for e in range(start[r], start[r + 1]):
            c = int((index[e] + 0.5) * per_area)
            pixel = index[e] - c * area
            was, now = golden_in[i, index[e]], codes[e]
            for k in range(reach.start[pixel], reach.start[pixel + 1]):
                q = reach.pixel[k]
                at = c * pixels + q
                greatest = golden_out[i, at]
                # It was not the greatest and is not now, or this window is done.
                if (was < greatest and now <= greatest) or written[at] == r:
                    continue
                written[at] = r
                best = -np.inf
                for m in range(reach.first[q], reach.first[q + 1]):
                    j = c * area + reach.source[m]
                    best = max(best, value[j] if seen[j] == r else golden_in[i, j])
                out_index[done] = at
                out_code[done] = best
                done += best != greatest
        out_start[r + 1] = done
    return len(image)


@jit
def pooled(codes: Floats, reach: Reach, out: Floats) -> None:
    """Greatest codes (r, P) of windows, from planes (r, H · W)."""
    for r in range(codes.shape[0]):
        for q in range(out.shape[1]):
            best = codes[r, reach.source[reach.first[q]]]
            for m in range(reach.first[q] + 1, reach.first[q + 1]):
                best = max(best, codes[r, reach.source[m]])
            out[r, q] = best


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
