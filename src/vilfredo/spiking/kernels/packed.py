"""The fast way of `dense`, for all programs but the odd ones (`pack` says which).

What a step costs is one addition in memory for each delivery, and little else:

* What is on its way lies in a window of rows, one row of n cells for each coming step. The window slides: the
  next step is the next row, nothing wraps around, and every so often the rows still to come are moved to the
  beginning. So the cell of a delivery is the row of now plus a constant, and a synapse is one word: that
  constant and the weight.
* Cells and charges are as narrow as the sums that can occur (8, 16 or 32 bits; `Packed.fits`). 64 neurons are
  integrated, compared, reset and clipped at once, and give a word of 64 bits, one for each that fires.
* Branches that nobody can foresee cost more than additions. The synapses of a neuron are therefore padded
  (with words that add 0) to whole chunks, the chunks of all that fired become one list, and one loop without
  inner ends goes through it. Eight places of a list are written whether eight are there or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numpy.typing import NDArray

from vilfredo.spiking.kernels import vectors
from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.network import Floats, Ints
from vilfredo.spiking.program import Program

LANES = 64  # neurons that are looked at together
SLACK = 64  # places of the list of who fired that are written behind its end, at most
SPREAD = 8  # places of a list written at once
AHEAD = 32  # chunks between what is added and what is fetched
WINDOW = 16_384  # bytes that the window of rows has to slide in, at least


@dataclass(frozen=True, eq=False)
class Packed:
    """A program laid out for the kernel. n is padded to a multiple of 64, synapses to chunks of `width`."""

    threshold: NDArray[Any]  # (padded n,) in the type of the charges
    leaks: NDArray[np.uint64] | None  # (padded n / 64,) bit j of word i: neuron 64 i + j leaks; None: nobody
    decay: Floats | None  # (padded n,) None: nothing decays
    floor: Any
    soft: bool
    above: Any  # see `Program`
    resting: NDArray[np.int32] | None  # (padded n,) steps that each neuron is refractory; None: nobody is
    words: NDArray[Any]  # (chunks · width,) cell · 2^b + weight, b = 8 of 32 bits or 32 of 64; or the cell
    weight: Floats | None  # (chunks · width,) in floating point
    begin: NDArray[np.uint64]  # (padded n,) first word · 2^24 + number of chunks
    depth: int  # rows in use: the longest delay + 1
    rows: int
    width: int
    chunks: NDArray[np.uint32]  # room for the list of a step
    low: float  # the least and
    high: float  # the largest sum of charge and arrivals that synapses can bring about
    awaits: bool  # neurons are looked at only where something arrives
    wraps: bool  # all sums are right in the type, as they are meant to wrap or are no integers

    def fits(self, least: float, most: float) -> bool:
        """Whether all sums stay within the type if no neuron gets less or more from outside in one step."""
        if self.wraps:
            return True
        kind = np.iinfo(self.threshold.dtype)
        return self.low + least >= kind.min and self.high + most < kind.max


def pack(program: Program, least: float = 0.0, most: float = 0.0) -> Packed | None:
    """In the narrowest type that holds all sums, with inputs between `least` and `most`; None: an odd one.

    Odd are integer programs with soft reset or with halving, and those with numbers too large.
    """
    if program.floor > 0 or (program.exact and program.halving.max(initial=-1) >= 0):
        return None
    if not program.exact:
        return None if program.wrap else _lay_out(program, np.float64, -np.inf, np.inf)
    low, high = _range(program)
    if program.wrap:
        least, most = program.threshold.min(initial=0), program.threshold.max(initial=0)
        holds = most < 128 and not (program.soft and least < program.above)
        return _lay_out(program, np.int8, low, high) if holds else None
    if program.soft:
        return None
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if low + least >= limits.min and high + most < limits.max:
            return _lay_out(program, kind, low, high)
    return None


def _awaits(program: Program) -> bool:
    """Whether it matters that something arrived: the program is `lazy`, and a charge may be at its threshold
    without an arrival."""
    decay = program.decay if len(program.decay) and not program.exact else np.ones(1)
    fades = decay.min() >= 0 and decay.max() <= 1
    return program.lazy and (program.soft or program.threshold.min(initial=1) <= 0 or not fades)


def _range(program: Program) -> tuple[float, float]:
    """The least and the largest sum of charge and arrivals over all neurons, without inputs."""
    low = np.where(program.leak, 0.0, program.floor)
    high = np.where(program.leak, 0.0, np.maximum(program.threshold - 1, 0))
    np.add.at(low, program.target, np.minimum(program.weight, 0))
    np.add.at(high, program.target, np.maximum(program.weight, 0))
    return float(low.min(initial=0)), float(high.max(initial=0))


def _lay_out(program: Program, kind: Any, low: float, high: float) -> Packed | None:
    n, exact = program.size, program.exact
    padded = -(-n // LANES) * LANES
    depth = int(program.delay.max(initial=1)) + 1
    fan = np.diff(program.first)
    width = 4 if len(program.target) <= 32 * n else 16
    many = np.maximum(-(-fan // width), 1)  # one at least: nobody has to ask whether there is one
    begin = np.concatenate([[0], np.cumsum(many * width)])
    if depth * padded >= 2**31 or begin[-1] >= 2**32 or many.max(initial=0) >= 2**24:
        return None
    # Which synapse each word is made of. What pads adds 0 to the neighbour of a cell that is needed anyway
    # or, where arrivals matter, to that cell itself; for want of synapses to the row of now, which is over.
    owner = np.repeat(np.arange(n), many * width)
    place = np.arange(begin[-1]) - begin[owner]
    filler, alone = place >= fan[owner], fan[owner] == 0
    synapse = program.first[owner] + place % np.maximum(fan[owner], 1)
    synapse[alone] = 0
    target, delay, weight = (
        np.append(part, 0)[synapse] for part in (program.target, program.delay, program.weight)
    )
    awaits = _awaits(program)
    cell = np.where(alone, place, delay * padded + (target ^ (filler & (not awaits))))
    weight[filler] = 0
    weights = None
    if not exact:
        words, weights = aligned(len(cell), np.uint32), aligned(len(cell), np.float64)
        words[:], weights[:] = cell, weight
    elif depth * padded < 2**24 and weight.min(initial=0) >= -128 and weight.max(initial=0) < 128:
        words = aligned(len(cell), np.uint32)
        words[:] = cell << 8 | weight.astype(np.int64) & 0xFF
    else:
        words = aligned(len(cell), np.uint64)
        words[:] = cell << 32 | weight.astype(np.int64) & 0xFFFFFFFF
    # Nobody reaches the largest number of the type. So it stands for thresholds beyond, and for padding.
    least, never = (np.iinfo(kind).min, np.iinfo(kind).max) if exact else (-np.inf, np.inf)
    threshold = aligned(padded, kind)
    threshold[:] = never
    threshold[:n] = np.clip(program.threshold, least, never)
    leak, decay, resting = np.zeros(padded, bool), None, None
    leak[:n] = program.leak
    if len(program.decay) and not exact:
        decay = aligned(padded, np.float64)
        decay[:n] = program.decay
    if program.resting.any():
        resting = aligned(padded, np.int32)
        resting[:n] = np.minimum(program.resting, 2**31 - 1)
    return Packed(
        threshold=threshold,
        leaks=np.packbits(leak, bitorder="little").view(np.uint64) if leak.any() else None,
        decay=decay,
        floor=np.dtype(kind).type(max(program.floor, least)),
        soft=program.soft,
        above=np.dtype(kind).type(program.above),
        resting=resting,
        words=words,
        weight=weights,
        begin=np.append(begin[:-1] << 24 | many, np.zeros(padded - n, np.int64)).astype(np.uint64),
        depth=depth,
        rows=depth + max(depth, WINDOW // (padded * threshold.itemsize or 1)),
        width=width,
        chunks=np.zeros(int(many.sum()) + SPREAD + AHEAD, np.uint32),
        low=low,
        high=high,
        awaits=awaits,
        wraps=program.wrap or not exact,
    )


def aligned(size: int, kind: Any) -> NDArray[Any]:
    """Zeros (size,) that begin on a cache line."""
    length = size * np.dtype(kind).itemsize
    raw = np.zeros(length + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + length].view(kind)


# What LLVM says in one instruction and Python in none.


@vectors.primitive
def deliver(typing: Any, ring: Any, arrived: Any, at: Any, words: Any, weight: Any, place: Any) -> Any:
    """`ring[at + cell] += weight` for the cell and weight of `words[place]`, or for `weight[place]`; and
    `arrived[at + cell] = 1`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        def element(which: int, place: Any) -> Any:
            data = context.make_array(signature.args[which])(context, builder, given[which]).data
            return builder.gep(data, [place])

        word, long = builder.load(element(3, given[5])), ir.IntType(64)
        cut = 0 if not isinstance(weight, types.NoneType) else 8 if word.type.width == 32 else 32
        offset = builder.lshr(word, word.type(cut)) if cut else word
        if word.type.width == 32:
            offset = builder.zext(offset, long)
        cell = builder.add(given[2], offset)
        charge = builder.load(element(0, cell))
        if cut:
            added = builder.trunc(word, ir.IntType(cut))
            if charge.type.width != cut:
                added = (builder.trunc if charge.type.width < cut else builder.sext)(added, charge.type)
            total = builder.add(charge, added)
        else:
            total = builder.fadd(charge, builder.load(element(4, given[5])))
        builder.store(total, element(0, cell))
        if not isinstance(arrived, types.NoneType):
            builder.store(ir.IntType(8)(1), element(1, cell))
        return context.get_dummy_value()

    return types.void(ring, arrived, types.uint64, words, weight, types.uint64), build


@vectors.primitive
def spread(typing: Any, array: Any, place: Any, first: Any, step: Any) -> Any:
    """`array[place : place + 8] = first + step · (0, 1, …, 7)`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        lane = ir.IntType(32)
        vector = ir.VectorType(lane, SPREAD)
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        address = builder.bitcast(builder.gep(data, [given[1]]), vector.as_pointer())
        empty = ir.Constant(vector, ir.Undefined)
        same = ir.Constant(ir.VectorType(lane, SPREAD), [0] * SPREAD)
        parts = [
            builder.shuffle_vector(builder.insert_element(empty, part, lane(0)), empty, same)
            for part in given[2:]
        ]
        count = ir.Constant(vector, list(range(SPREAD)))
        builder.store(builder.add(parts[0], builder.mul(parts[1], count)), address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.uint64, types.uint32, types.uint32), build


@vectors.primitive
def product(typing: Any, a: Any, b: Any) -> Any:
    """a · b, of vectors in floating point."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.fmul(*given)

    return a(a, a), build


@vectors.primitive
def trailing(typing: Any, word: Any) -> Any:
    """Number of zeros below the lowest 1 of a word; of 0, 64."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@vectors.primitive
def ones(typing: Any, word: Any) -> Any:
    """Number of 1s of a word."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.ctpop(given[0])

    return types.uint64(types.uint64), build


@vectors.primitive
def prefetch(typing: Any, array: Any, place: Any) -> Any:
    """`array[place]` will be read soon; nothing happens if there is no such place."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        find: Any = get_or_insert_function
        function = find(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(data, [given[1]]), byte)
        builder.call(function, [address, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.uint64), build


@cache
def kernel(width: int, ordered: bool) -> Callable[..., tuple[int, int, int]]:
    """The simulation for chunks of `width` words. Wide ones are fetched ahead, as they come from far away; of
    narrow ones, a neuron's first is delivered at once and not put on the list. `ordered`: not so, as
    deliveries in floating point are in the order of the neurons.

    It runs the steps from `step` to `steps`, or until `fired`, which needs room for padded n + SLACK more,
    may be full. To `record` is to leave in `fired` who fired, and in `ends[t + 1]` where the list of step t
    ends there; else one place of `ends` is enough. Gives the step it came to, the row of that step and the
    events used.
    """
    block, wide = np.uint32(width), width > 4
    at_once = not wide and not ordered

    @jit(error_model="numpy")
    def simulate(
        charge: NDArray[Any],  # (padded n,)
        ring: NDArray[Any],  # (rows · padded n,)
        arrived: NDArray[np.uint8] | None,  # (rows · padded n,) 1: something arrives
        rest: NDArray[np.int32] | None,  # (padded n,) steps that a neuron still is refractory
        threshold: NDArray[Any],
        leaks: NDArray[np.uint64] | None,
        decay: Floats | None,
        floor: Any,
        soft: bool,
        above: Any,
        resting: NDArray[np.int32] | None,
        words: NDArray[Any],
        weight: Floats | None,
        begin: NDArray[np.uint64],
        depth: int,
        row: int,
        chunks: NDArray[np.uint32],
        step: int,
        steps: int,
        event_time: Ints,
        event_neuron: Ints,
        event_charge: NDArray[Any],
        event: int,
        counts: NDArray[np.int32],
        firsts: NDArray[np.int32],
        lasts: NDArray[np.int32],
        fired: NDArray[np.uint32],
        ends: Ints,
        record: bool,
    ) -> tuple[int, int, int]:
        n, one, zero = np.uint64(len(charge)), np.uint64(1), np.uint64(0)
        rows, spikes = len(ring) // max(len(charge), 1), zero
        most, kept = np.uint64(len(fired)) - n - np.uint64(SLACK), ~zero if record else zero
        none = vectors.zero(charge, begin)
        least = vectors.splat(floor, none)
        while step < steps and spikes <= most:
            if row + depth > rows:
                old, live = np.uint64(row) * n, np.uint64(depth - 1) * n
                for cell in range(live):
                    ring[cell] = ring[old + np.uint64(cell)]
                ring[live : old + live] = 0
                if arrived is not None:
                    for cell in range(live):
                        arrived[cell] = arrived[old + np.uint64(cell)]
                    arrived[live : old + live] = 0
                row = 0
            here = np.uint64(row) * n
            while event < len(event_time) and event_time[event] == step:
                ring[here + np.uint64(event_neuron[event])] += event_charge[event]
                if arrived is not None:
                    arrived[here + np.uint64(event_neuron[event])] = 1
                event += 1
            # Who fires: `fired[spikes:found]`.
            found, i = spikes, zero
            while i < n:
                arriving = vectors.load(ring, here + i, begin)
                vectors.store(ring, here + i, none)
                limit = vectors.load(threshold, i, begin)
                if rest is not None:
                    wait, now = vectors.load(rest, i, begin), vectors.zero(rest, begin)
                    awake = vectors.at_least(now, wait)
                    arriving = vectors.where(awake, arriving, none)
                sums = vectors.add(vectors.load(charge, i, begin), arriving)
                fires = vectors.at_least(sums, limit)
                if arrived is not None:
                    nothing = vectors.zero(arrived, begin)
                    fires &= vectors.differ(vectors.load(arrived, here + i, begin), nothing)
                    vectors.store(arrived, here + i, nothing)
                if rest is not None and resting is not None:
                    fires &= awake
                    less = vectors.subtract(wait, vectors.splat(np.int32(1), wait))
                    again = vectors.load(resting, i, begin)
                    vectors.store(rest, i, vectors.where(fires, again, vectors.maximum(less, now)))
                left = vectors.where(fires, none, sums)
                if leaks is not None:
                    left = vectors.where(leaks[i >> np.uint64(6)], none, left)
                if soft:
                    meant = vectors.subtract(limit, vectors.splat(above, none))
                    left = vectors.where(fires, vectors.subtract(sums, meant), left)
                if decay is not None:
                    left = product(left, vectors.load(decay, i, begin))
                vectors.store(charge, i, vectors.maximum(left, least))
                end = found + ones(fires)
                place: Any = found
                for j in range(SPREAD):
                    fired[place + np.uint64(j)] = i + trailing(fires)
                    fires &= fires - one
                while fires:
                    place += np.uint64(SPREAD)
                    for j in range(SPREAD):
                        fired[place + np.uint64(j)] = i + trailing(fires)
                        fires &= fires - one
                found = end
                i += np.uint64(LANES)
            # Which chunks of synapses are theirs: `chunks[:total]`.
            total = zero
            for j in range(spikes, found):
                neuron = np.uint64(fired[j])
                if counts[neuron] == 0:
                    firsts[neuron] = step
                counts[neuron] += 1
                lasts[neuron] = step
                first = np.uint32(begin[neuron] >> np.uint64(24))
                many = begin[neuron] & np.uint64(0xFFFFFF)
                if at_once:
                    for k in range(width):
                        deliver(ring, arrived, here, words, weight, np.uint64(first) + np.uint64(k))
                    first, many = first + block, many - one
                spread(chunks, total, first, block)
                place = np.uint64(SPREAD)
                while place < many:
                    spread(chunks, total + place, first + np.uint32(place) * block, block)
                    place += np.uint64(SPREAD)
                total += many
            spikes = found & kept
            ends[(step + 1) & np.int64(kept)] = spikes
            for j in range(total):
                if wide:
                    prefetch(words, np.uint64(chunks[j + np.uint64(AHEAD)]))
                place = np.uint64(chunks[j])
                for k in range(width):
                    deliver(ring, arrived, here, words, weight, place + np.uint64(k))
            row += 1
            step += 1
        return step, row, event

    return simulate
