"""What one step makes of changes: by the entries that change where these are few, whole rows otherwise.

Weights that are faulty come as *sets*: the hits that a network has during one inference. Every row has at
most one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.campaign import bytewise, kernels, packed
from vilfredo.campaign.changes import (
    TOGETHER,
    Bytes,
    Change,
    Entries,
    Ints,
    at_images,
    at_rows,
    between,
    from_entries,
    joined,
    whole,
)
from vilfredo.campaign.golden import Golden, Linear, extent
from vilfredo.nn.deployed import Step, finished, multiplied, sums

# Nanoseconds on one core, as measured; what they decide is which of two ways is taken, not what comes out.
_DENSE_MAC, _DENSE_SUM = 0.02, 3.0
_ENTRY_MAC, _ENTRY_SUM, _HIT_SUM, _ENTRY_MAXIMUM = 0.35, 1.5, 0.8, 25.0
_SCATTERED_SUM = 3.0
_PACKED_ROW, _PACKED_MAC, _PACKED_SUM, _PACKED_MAXIMUM = 500.0, 0.0028, 0.35, 0.1
_BLOCK = 1 << 22  # bytes of whole rows that are computed at a time: they stay in the caches
_BUFFER = 1 << 20  # entries that a kernel writes at a time
_APART = 256  # rows that are worth a way of their own
_SPARSE = 0.03  # share of codes that differ up to which they are kept one by one


@dataclass(frozen=True, eq=False)
class FaultyWeights:
    """What is wrong with a step's weight: `rows` (r,), ascending, and which set each one has; of the sets the
    flat positions (k,) in the weight and what is there, sorted by set and position."""

    rows: Ints
    chosen: Ints
    set: Ints
    index: Ints
    value: NDArray[np.float64]


def computed(
    golden: Golden, number: int, changes: Mapping[int, Change | None], weights: FaultyWeights | None
) -> Change | None:
    """What changes of a step's output, its inputs' changes and its faulty weights given."""
    step = golden.network.steps[number]
    arriving = [changes[i] for i in step.inputs]
    if weights is None and all(change is None for change in arriving):
        return None
    mapped = _MAPPED.get(step.op)
    if mapped is not None and all(c is None or isinstance(c.codes, Entries) for c in arriving):
        parts = [mapped(golden, number, k, c) for k, c in enumerate(arriving) if c is not None]
        return joined([part for part in parts if part is not None])
    first = arriving[0]
    if step.op == "flatten" and first is not None and isinstance(first.codes, Bytes):
        return Change(first.rows, replace(first.codes, shape=step.shape))
    pooling = step.op == "max_pool" and first is not None and isinstance(first.codes, Entries)
    if pooling and first is not None and _quick(golden):
        assert isinstance(first.codes, Entries)
        if len(first.codes.index) * _ENTRY_MAXIMUM < len(first.rows) * _pooling_time(golden, number):
            return _maxima(golden, number, first)
    linear = golden.linear(number)
    if weights is not None:
        return _with_weights(golden, number, linear, arriving, weights)
    rows = _rows(arriving)
    if linear is not None and _few(golden, number, linear, arriving, len(rows)):
        return _spread(golden, number, linear, rows, arriving, np.full(len(rows), -1), None)
    return dense(golden, number, rows, arriving)


def streams(
    golden: Golden, number: int, changes: Mapping[int, Change | None]
) -> list[dict[int, Change | None]]:
    """The changes that a step gets, in parts that had better go through the rest of the network one after the
    other; nothing if they go together. Rows of which it computes few sums go apart from those that it
    computes anew, and of these so many together as stay in the caches."""
    step = golden.network.steps[number]
    change = changes[step.inputs[0]]
    if change is None or len(step.inputs) > 1:
        return []
    light = _light(golden, number, change)
    if light is None:
        return []
    size = _rows_at_once(golden, number)
    some, rest = int(light.sum()), int((~light).sum())
    if min(some, rest) < _APART:
        if rest <= some or len(light) <= size:
            return []
        light = np.zeros(len(light), np.bool_)
    rows = _rows([change for change in changes.values() if change is not None])
    heavy = change.rows[~light]
    others = np.setdiff1d(rows, heavy, assume_unique=True)
    groups = [others] if len(others) else []
    groups += [heavy[i : i + size] for i in range(0, len(heavy), size)]
    return [{i: _only(c, mine) for i, c in changes.items()} for mine in groups]


def _only(change: Change | None, rows: Ints) -> Change | None:
    """Its part in these rows."""
    if change is None:
        return None
    mask = np.isin(change.rows, rows, assume_unique=True)
    return at_rows(change, mask) if mask.any() else None


def _light(golden: Golden, number: int, change: Change) -> NDArray[np.bool_] | None:
    """Of which rows a step goes by entries, if each is taken for itself; None: of all or none."""
    linear = golden.linear(number)
    pooling = golden.network.steps[number].op == "max_pool" and _quick(golden)
    if linear is None and not pooling:
        return None
    if not isinstance(change.codes, Entries):
        return np.zeros(len(change.rows), np.bool_)
    entries = np.diff(change.codes.start)
    if linear is None:
        return entries * _ENTRY_MAXIMUM < _pooling_time(golden, number)
    layer = _layer(golden, number)
    return _entries_time(linear, layer, entries) < _whole_time(linear, layer)


def _rows_at_once(golden: Golden, number: int) -> int:
    return max(_BLOCK // math.prod(golden.network.steps[number].shape), 16)


def _layer(golden: Golden, number: int) -> packed.Packed | None:
    """The step in bytes, if that is quick."""
    return golden.packed(number) if bytewise.quick else None


def dense(golden: Golden, number: int, rows: Ints, arriving: Sequence[Change | None]) -> Change | None:
    """Whole rows, computed anew."""
    step = golden.network.steps[number]
    if _in_bytes(golden, number):
        return _bytewise(golden, number, rows, arriving[0], golden.packed(number))

    def block(mine: Ints) -> Change | None:
        inputs = [
            whole(None if c is None else between(c, mine), mine, golden.codes(i))
            for i, c in zip(step.inputs, arriving, strict=True)
        ]
        if step.op == "max_pool" and _quick(golden):
            return difference(golden, number, mine, _pooled(golden, number, inputs[0]))
        return difference(golden, number, mine, finish(golden, number, sums(step, inputs)))

    return _in_blocks(golden, number, rows, block)


# Whole layers in bytes.


def _in_bytes(golden: Golden, number: int) -> bool:
    """Whether whole rows of a step are computed in bytes."""
    step = golden.network.steps[number]
    if not bytewise.quick or not _quick(golden):
        return False
    if step.op == "max_pool":
        return golden.least(step.inputs[0]) is not None and golden.least(step.inputs[0]) == golden.least(
            number
        )
    return golden.packed(number) is not None


def _with_set(step: Step, layer: packed.Packed, weights: FaultyWeights, number: int) -> packed.Packed:
    assert step.weight is not None
    mine = slice(*np.searchsorted(weights.set, [number, number + 1]))
    index = weights.index[mine]
    return layer.with_weights(index, weights.value[mine] - step.weight.flatten().numpy()[index])


def _bytewise(
    golden: Golden, number: int, rows: Ints, change: Change | None, layer: packed.Packed | None
) -> Change | None:
    """Whole rows, of which the input's changes are given, through the step in bytes, or a `max_pool`."""
    step = golden.network.steps[number]
    arriving = _rows_in_bytes(golden, step.inputs[0], rows, change)
    image = rows // TOGETHER
    if layer is not None and layer.dense:
        out = packed.multiplied(layer, arriving)
        return difference(golden, number, rows, out)
    block = 4 * _rows_at_once(golden, number)
    right = golden.bytes(number).reshape(-1)
    least = golden.least(number)
    assert least is not None
    parts = []
    for begin in range(0, len(rows), block):
        part, mine = arriving.part(begin, begin + block), image[begin : begin + block]
        if layer is None:
            codes, counts = packed.pooled(*golden.window(number), part, right, mine)
        else:
            codes, counts = packed.convolved(layer, part, right, mine)
        parts.append(_differing(rows[begin : begin + block], codes, counts, right, least, step.shape))
    return together(golden, number, [part for part in parts if part is not None])


def _rows_in_bytes(golden: Golden, step: int, rows: Ints, change: Change | None) -> packed.Rows:
    image = rows // TOGETHER
    if change is None:
        return packed.plain_rows(image, golden.bytes(step))
    least = golden.least(step)
    assert least is not None
    if isinstance(change.codes, Entries):
        byte = (change.codes.code - least).astype(np.uint8)
        return packed.Rows(image, golden.bytes(step), change.codes.start, change.codes.index, byte)
    if isinstance(change.codes, Bytes):
        return packed.plain_rows(np.arange(len(rows)), change.codes.codes)
    held = change.codes.flatten(1).sub(least).to(torch.uint8).numpy()
    return packed.plain_rows(np.arange(len(rows)), held)


def _differing(
    rows: Ints,
    codes: NDArray[np.uint8],
    counts: Ints,
    right: NDArray[np.uint8],
    least: int,
    shape: tuple[int, ...],
) -> Change | None:
    """As `difference`, of bytes of which is known how many differ."""
    kept = np.flatnonzero(counts)
    if not len(kept):
        return None
    size = math.prod(shape)
    start = np.concatenate([[0], np.cumsum(counts[kept])])
    if start[-1] > _SPARSE * len(kept) * size:
        whole_rows = codes.reshape(-1, size)
        whole_rows = whole_rows if len(kept) == len(rows) else whole_rows[kept]
        return Change(rows[kept], Bytes(whole_rows, least, shape))
    entries = Entries(start, np.empty(start[-1], np.int32), np.empty(start[-1], np.float32))
    bytewise.collected(codes, right, size, rows // TOGETHER, kept, least, start, entries.index, entries.code)
    return Change(rows[kept], entries)


def _pooled(golden: Golden, number: int, x: Tensor) -> Tensor:
    shape = golden.network.steps[number].shape
    _, reach = golden.window(number)
    out = torch.empty((len(x), *shape))
    planes = len(x) * shape[0]
    kernels.pooled(x.reshape(planes, -1).numpy(), reach, out.view(planes, -1).numpy())
    return out


def _in_blocks(
    golden: Golden, number: int, rows: Ints, block: Callable[[Ints], Change | None]
) -> Change | None:
    """What `block` makes of rows, some at a time."""
    step = golden.network.steps[number]
    each = 4 * (golden.sums[number][0].numel() + sum(golden.codes(i)[0].numel() for i in step.inputs))
    size = max(_BLOCK // each, 8)
    parts = [block(rows[i : i + size]) for i in range(0, len(rows), size)]
    return together(golden, number, [part for part in parts if part is not None])


def finish(golden: Golden, number: int, total: Tensor) -> Tensor:
    """`deployed.finished`, in one pass where it is compiled."""
    step, linear = golden.network.steps[number], golden.linear(number)
    if linear is None or linear.finish.plain:
        return finished(step, total)
    total = total.contiguous()
    out = torch.empty(total.shape, dtype=torch.float32)
    shape = (len(total), *linear.sums.shape[1:])
    kernels.finished(total.view(shape).numpy(), linear.finish, out.view(shape).numpy())
    return out


def difference(golden: Golden, number: int, rows: Ints, out: Tensor) -> Change | None:
    """Where the outputs (r, …) of these rows differ from the golden ones: as entries if these are few."""
    if not len(rows):
        return None
    image = rows // TOGETHER
    if _quick(golden) and out.dtype == torch.float32:
        flat, right = out.contiguous().view(len(rows), -1).numpy(), golden.flat(number)
        counts = np.empty(len(rows), np.int64)
        kernels.count(flat, right, image, counts)
        kept = np.flatnonzero(counts)
        if not len(kept):
            return None
        start = np.concatenate([[0], np.cumsum(counts[kept])])
        if start[-1] > _SPARSE * len(kept) * flat.shape[1]:
            return at_rows(Change(rows, out), counts > 0)
        entries = Entries(start, np.empty(start[-1], np.int32), np.empty(start[-1], np.float32))
        kernels.collect(flat, right, image, kept, start, entries.index, entries.code)
        return Change(rows[kept], entries)
    mask = (out != at_images(golden.codes(number), rows)).flatten(1).any(1).numpy()
    return at_rows(Change(rows, out), mask) if mask.any() else None


def kept(golden: Golden, number: int, row: Ints, index: Ints, code: NDArray[np.float32]) -> Change | None:
    """A change of those entries (m,) of a step's output that differ from the golden codes."""
    right = golden.flat(number)[row // TOGETHER, index]
    other = (code != right) & ~(np.isnan(code) & np.isnan(right))
    return from_entries(row[other], index[other], code[other])


def _quick(golden: Golden) -> bool:
    return golden.whole and kernels.compiled


def _rows(arriving: Sequence[Change | None]) -> Ints:
    rows = [change.rows for change in arriving if change is not None]
    return rows[0] if len(rows) == 1 else np.unique(np.concatenate(rows))


# Steps that give each code of theirs from one code of their input.


def _flattened(golden: Golden, number: int, which: int, change: Change) -> Change | None:
    return change


def _looked_up(golden: Golden, number: int, which: int, change: Change) -> Change | None:
    step = golden.network.steps[number]
    entries = change.codes
    assert isinstance(entries, Entries)
    if step.op == "lookup":
        assert step.table is not None
        code = step.table.numpy()[(entries.code - step.table_low).astype(np.int64)].astype(np.float32)
    else:
        channel = torch.from_numpy(entries.index // math.prod(step.shape[1:])).long()
        total = torch.from_numpy(entries.code) - step.zeros[0]
        code = (total if step.finish is None else step.finish(total, channel, 0)).numpy()
    return kept(golden, number, change.rows[entries.row], entries.index.astype(np.int64), code)


def _padded(golden: Golden, number: int, which: int, change: Change) -> Change | None:
    step = golden.network.steps[number]
    entries = change.codes
    assert isinstance(entries, Entries)
    _, height, width = golden.codes(step.inputs[0]).shape[1:]
    top, _, left, _ = step.args["padding"]
    rest, column = np.divmod(entries.index.astype(np.int64), width)
    channel, line = np.divmod(rest, height)
    index = (channel * step.shape[1] + line + top) * step.shape[2] + column + left
    return Change(change.rows, Entries(entries.start, index.astype(np.int32), entries.code))


def _concatenated(golden: Golden, number: int, which: int, change: Change) -> Change | None:
    step = golden.network.steps[number]
    entries = change.codes
    assert isinstance(entries, Entries)
    before = sum(golden.codes(i)[0].numel() for i in step.inputs[:which])
    rescale = step.rescales[which]
    code = entries.code
    if rescale is not None:
        channel = torch.from_numpy(entries.index // math.prod(step.shape[1:])).long()
        code = rescale(torch.from_numpy(code) - step.zeros[which], channel, 0).numpy()
    return kept(golden, number, change.rows[entries.row], entries.index.astype(np.int64) + before, code)


_MAPPED: dict[str, Callable[[Golden, int, int, Change], Change | None]] = {
    "flatten": _flattened,
    "lookup": _looked_up,
    "clip": _looked_up,
    "pad": _padded,
    "concat": _concatenated,
}


# Compiled ways. A kernel fills a buffer; what is in it is taken out, and it goes on.


_kept = threading.local()  # pages that are new each time cost more than what is written to them


def _buffers(size: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Two arrays of this size, this thread's until it asks again."""
    if getattr(_kept, "size", 0) < size:
        _kept.size, _kept.arrays = size, (np.empty(size, np.int32), np.empty(size, np.float32))
    index, code = _kept.arrays
    return index[:size], code[:size]


def _filled(
    rows: Ints, most: int, kernel: Callable[[int, Ints, NDArray[np.int32], NDArray[np.float32]], int]
) -> Change | None:
    """The change of these rows that a kernel (first row, start, index, code) → rows done writes piece by
    piece; `most`: entries that one row can have."""
    index, code = _buffers(max(most, _BUFFER))
    start = np.zeros(len(rows) + 1, np.int64)
    pieces: list[tuple[NDArray[np.int32], NDArray[np.float32]]] = []
    counts = np.zeros(len(rows), np.int64)
    done = 0
    while done < len(rows):
        start[done] = 0
        until = kernel(done, start, index, code)
        counts[done:until] = np.diff(start[done : until + 1])
        pieces.append((index[: start[until]].copy(), code[: start[until]].copy()))
        done = until
    some = counts > 0
    if not some.any():
        return None
    first = np.concatenate([[0], np.cumsum(counts[some])])
    indices, codes = pieces[0] if len(pieces) == 1 else map(np.concatenate, zip(*pieces, strict=True))
    return Change(rows[some], Entries(first, indices, codes))


def _maxima(golden: Golden, number: int, change: Change) -> Change | None:
    step = golden.network.steps[number]
    entries = change.codes
    assert isinstance(entries, Entries)
    g, reach = golden.window(number)
    before, after = golden.flat(step.inputs[0]), golden.flat(number)
    seen, written = np.full(before.shape[1], -1, np.int32), np.full(after.shape[1], -1, np.int32)
    value = np.empty(before.shape[1], np.float32)
    image = change.rows // TOGETHER

    def kernel(first: int, start: Ints, index: NDArray[np.int32], code: NDArray[np.float32]) -> int:
        return kernels.maxima(
            first,
            image,
            entries.start,
            entries.index,
            entries.code,
            before,
            after,
            g,
            reach,
            seen,
            value,
            written,
            start,
            index,
            code,
        )

    return _filled(change.rows, after.shape[1], kernel)


def _few(
    golden: Golden,
    number: int,
    linear: Linear,
    arriving: Sequence[Change | None],
    rows: int,
    hits: float = 0,
) -> bool:
    """Whether it is faster to go by entries than by whole rows, each of which has so many hits at weights."""
    entries = 0
    for change in arriving:
        if change is None:
            continue
        if not isinstance(change.codes, Entries):
            return False
        entries += len(change.codes.index)
    layer = _layer(golden, number)
    g = linear.geometry
    scattered = hits * g.out_height * g.out_width * _SCATTERED_SUM
    time = _entries_time(linear, layer, np.array([entries / rows]))[0] + scattered
    return bool(time < _whole_time(linear, layer))


def _entries_time(linear: Linear, layer: packed.Packed | None, entries: NDArray[Any]) -> NDArray[np.float64]:
    """Nanoseconds for rows with so many entries each, by these."""
    g = linear.geometry
    places, pixels = g.kernel_height * g.kernel_width, g.out_height * g.out_width
    time: NDArray[np.float64] = entries * places * (g.filters // g.groups + 8) * _ENTRY_MAC
    if layer is None:
        return time + g.filters * pixels * _ENTRY_SUM
    time += np.minimum(entries * places, pixels) * g.filters * _ENTRY_SUM
    return time


def _whole_time(linear: Linear, layer: packed.Packed | None) -> float:
    """Nanoseconds for a whole row."""
    g = linear.geometry
    sums_ = g.filters * g.out_height * g.out_width
    if layer is not None:
        return float(_PACKED_ROW + layer.macs * _PACKED_MAC + sums_ * _PACKED_SUM)
    macs = sums_ * g.kernel_height * g.kernel_width * g.channels // g.groups
    return float(macs * _DENSE_MAC + sums_ * _DENSE_SUM)


def _pooling_time(golden: Golden, number: int) -> float:
    """Nanoseconds for a whole row of a `max_pool`."""
    size = golden.flat(golden.network.steps[number].inputs[0]).shape[1]
    return float(size * (_PACKED_MAXIMUM if _in_bytes(golden, number) else _DENSE_SUM))


def _spread(
    golden: Golden,
    number: int,
    linear: Linear,
    rows: Ints,
    arriving: Sequence[Change | None],
    chosen: Ints,
    faulty: kernels.Faulty | None,
) -> Change | None:
    step, g = golden.network.steps[number], linear.geometry
    kind = linear.factor.dtype
    parts = []
    for i, factor, change in zip(step.inputs, linear.factors, arriving, strict=True):
        if change is None:
            continue
        entries = change.codes
        assert isinstance(entries, Entries)
        row = entries.row
        delta = entries.code - golden.flat(i)[change.rows[row] // TOGETHER, entries.index]
        parts.append((change.rows, entries, row, delta.astype(kind) * kind.type(factor)))
    if len(parts) == 1 and len(parts[0][0]) == len(rows):
        start, index, delta = parts[0][1].start, parts[0][1].index, parts[0][3]
    elif not parts:
        start, index, delta = np.zeros(len(rows) + 1, np.int64), np.empty(0, np.int32), np.empty(0, kind)
    else:
        row = np.concatenate([np.searchsorted(rows, r)[k] for r, _, k, _ in parts])
        order = np.argsort(row, kind="stable")
        start = np.searchsorted(row[order], np.arange(len(rows) + 1))
        index = np.concatenate([e.index for _, e, _, _ in parts])[order]
        delta = np.concatenate([d for *_, d in parts])[order]
    down, up, golden_sums, golden_codes = linear.pixels
    image = rows // TOGETHER
    shape = (len(golden.x), g.channels, g.height, g.width)
    x = golden.centred(step.inputs[0], step.zeros[0]).reshape(shape)
    places = g.groups * g.out_height * g.out_width
    total = np.zeros(places * linear.width, kind)
    mark, touched = np.zeros(places, np.bool_), np.empty(places, np.int32)
    if faulty is None:
        none = np.zeros(1, np.int64)
        faulty = kernels.Faulty(none, none, none, none, none, none, np.zeros(1, kind))

    def kernel(first: int, s: Ints, i: NDArray[np.int32], c: NDArray[np.float32]) -> int:
        return kernels.spread(
            first,
            image,
            start,
            index,
            delta,
            chosen,
            faulty,
            x,
            g,
            linear.reach,
            linear.width,
            linear.weight,
            down,
            up,
            golden_sums,
            golden_codes,
            linear.finish,
            total,
            mark,
            touched,
            s,
            i,
            c,
        )

    return _filled(rows, linear.codes[0].size, kernel)


# Faulty weights.


def _with_weights(
    golden: Golden,
    number: int,
    linear: Linear | None,
    arriving: Sequence[Change | None],
    weights: FaultyWeights,
) -> Change | None:
    step = golden.network.steps[number]
    change = arriving[0]
    before = change.rows if change is not None else np.empty(0, np.int64)
    parts: list[Change | None] = []
    # Rows of which only the weights are faulty, only the inputs, and both.
    only = ~np.isin(weights.rows, before)
    spared = ~np.isin(before, weights.rows)
    if change is not None and spared.any():
        parts.append(computed(golden, number, {step.inputs[0]: at_rows(change, spared)}, None))
    faulty = None if linear is None else _fits(golden, number, linear, weights)
    if only.any():
        mine = replace(weights, rows=weights.rows[only], chosen=weights.chosen[only])
        if faulty is not None and linear is not None:
            parts.append(_weighed(golden, number, linear, mine, faulty))
        else:
            parts.append(_channels(golden, number, mine))
    if not only.all():
        both = replace(weights, rows=weights.rows[~only], chosen=weights.chosen[~only])
        assert change is not None
        theirs = at_rows(change, ~spared)
        hits = len(weights.index) / (int(weights.set[-1]) + 1)
        if (
            faulty is not None
            and linear is not None
            and _few(golden, number, linear, [theirs], len(theirs.rows), hits)
        ):
            parts.append(_spread(golden, number, linear, both.rows, [theirs], both.chosen, faulty))
        else:
            parts.append(_patched(golden, number, both, theirs))
    return together(golden, number, [part for part in parts if part is not None])


def together(golden: Golden, number: int, parts: list[Change]) -> Change | None:
    """Of entries if all are, else whole."""
    if len({type(p.codes) for p in parts}) > 1:
        parts = [Change(p.rows, whole(p, p.rows, golden.codes(number))) for p in parts]
    return joined(parts)


def _fits(golden: Golden, number: int, linear: Linear, weights: FaultyWeights) -> kernels.Faulty | None:
    """The sets as kernels read them; None if they are so many that whole layers are faster, or sums too
    long."""
    step, g = golden.network.steps[number], linear.geometry
    assert step.weight is not None
    change = weights.value - step.weight.flatten().numpy()[weights.index]
    sets = int(weights.set[-1]) + 1 if len(weights.set) else 0
    fan_in = step.weight[0].numel()
    filter_, rest = np.divmod(weights.index, fan_in)
    source, place = np.divmod(rest, g.kernel_height * g.kernel_width)
    row, column = np.divmod(place, g.kernel_width)
    key = weights.set * g.filters + filter_
    first = np.flatnonzero(np.diff(key, prepend=-1))
    pixels = g.out_height * g.out_width
    each = (len(key) + len(first)) / max(sets, 1) * pixels * _HIT_SUM
    if each > _whole_time(linear, _layer(golden, number)):
        return None
    longest = np.add.reduceat(np.abs(change), first).max(initial=0) if len(first) else 0
    top = 2 * longest * extent(golden.stored(step.inputs[0]))
    if top > (2.0**23 if linear.factor.dtype == np.float32 else 2.0**52):
        return None
    starts = np.searchsorted(key[first] // g.filters, np.arange(sets + 1))
    hits = np.append(first, len(key))
    kind = linear.factor.dtype
    return kernels.Faulty(starts, filter_[first], hits, source, row, column, change.astype(kind))


def _weighed(
    golden: Golden, number: int, linear: Linear, weights: FaultyWeights, faulty: kernels.Faulty
) -> Change | None:
    step, g = golden.network.steps[number], linear.geometry
    down, up = linear.planes
    image = weights.rows // TOGETHER
    shape = (len(golden.x), g.channels, g.height, g.width)
    x = golden.centred(step.inputs[0], step.zeros[0]).reshape(shape)
    total = np.zeros(math.ceil(linear.codes.shape[2] / 16) * 16, linear.factor.dtype)

    def kernel(first: int, s: Ints, i: NDArray[np.int32], c: NDArray[np.float32]) -> int:
        return kernels.weigh(
            first,
            image,
            weights.chosen,
            faulty,
            x,
            g,
            down,
            up,
            linear.sums,
            linear.codes,
            linear.finish,
            total,
            s,
            i,
            c,
        )

    return _filled(weights.rows, linear.codes[0].size, kernel)


def _weight(step: Step, weights: FaultyWeights, number: int) -> Tensor:
    assert step.weight is not None
    weight = step.weight.clone()
    mine = slice(*np.searchsorted(weights.set, [number, number + 1]))
    with np.errstate(invalid="ignore"):  # NaNs that signal
        weight.view(-1).numpy()[weights.index[mine]] = weights.value[mine]
    return weight


def _sets(weights: FaultyWeights) -> list[tuple[int, NDArray[np.int64]]]:
    """Each set with the places in `rows` that have it."""
    order = np.argsort(weights.chosen, kind="stable")
    numbers, first = np.unique(weights.chosen[order], return_index=True)
    return list(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


def _channels(golden: Golden, number: int, weights: FaultyWeights) -> Change | None:
    """Only the channels with faulty weights, computed anew from golden inputs."""
    step = golden.network.steps[number]
    assert step.weight is not None
    fan_in = step.weight[0].numel()
    parts: list[Change | None] = []
    layer = _layer(golden, number)
    for one, at in _sets(weights):
        rows = weights.rows[at]
        if layer is not None:
            parts.append(_bytewise(golden, number, rows, None, _with_set(step, layer, weights, one)))
            continue
        weight = _weight(step, weights, one)
        mine = slice(*np.searchsorted(weights.set, [one, one + 1]))
        channel = np.unique(weights.index[mine] // fan_in)
        few = 2 * len(channel) < len(weight) and (step.op == "dense" or step.args["groups"] == 1)
        if not few:
            parts.append(_anew(golden, number, rows, None, weight))
            continue
        which = torch.from_numpy(channel)
        image = torch.from_numpy(rows // TOGETHER)
        x = at_images(golden.codes(step.inputs[0]), rows)
        x = x - step.zeros[0] if step.zeros[0] else x
        total = multiplied(step, x, weight[which], None if step.bias is None else step.bias[which])
        out = total if step.finish is None else step.finish(total, which, 1)
        right = golden.codes(number)[image[:, None], which]
        other = (out != right) & ~(out.isnan() & right.isnan())
        place = np.nonzero(other.flatten(1).numpy())
        pixels = math.prod(step.shape[1:])
        index = channel[place[1] // pixels] * pixels + place[1] % pixels
        parts.append(from_entries(rows[place[0]], index, out.flatten(1).numpy()[place]))
    return together(golden, number, [part for part in parts if part is not None])


def _patched(golden: Golden, number: int, weights: FaultyWeights, change: Change) -> Change | None:
    """Whole rows with changed inputs and faulty weights."""
    step = golden.network.steps[number]
    layer = _layer(golden, number)
    parts: list[Change | None] = []
    for one, at in _sets(weights):
        mask = np.zeros(len(weights.rows), np.bool_)
        mask[at] = True
        rows, theirs = weights.rows[at], at_rows(change, mask)
        if layer is not None:
            parts.append(_bytewise(golden, number, rows, theirs, _with_set(step, layer, weights, one)))
        else:
            parts.append(_anew(golden, number, rows, theirs, _weight(step, weights, one)))
    return together(golden, number, [part for part in parts if part is not None])


def with_weight(step: Step, weights: FaultyWeights, number: int) -> Step:
    """The step with the faulty weight of a set."""
    return replace(step, weight=_weight(step, weights, number))


def _anew(golden: Golden, number: int, rows: Ints, change: Change | None, weight: Tensor) -> Change | None:
    step = replace(golden.network.steps[number], weight=weight)

    def block(mine: Ints) -> Change | None:
        here = None if change is None else between(change, mine)
        x = whole(here, mine, golden.codes(step.inputs[0]))
        return difference(golden, number, mine, finish(golden, number, sums(step, [x])))

    return _in_blocks(golden, number, rows, block)
