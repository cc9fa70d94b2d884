"""Pole and cart for few lanes: one lane after the other, and the neurons of its network side by side.

A step of the network is one look at all its charges; only neurons that fire cost more. So a lane takes a
tenth of the time of a block of 64 lanes, and lanes that end early are not waited for. For integer networks of
up to 64 neurons; the results are those of `kernels/cartpole.py` for blocks.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking import pole
from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.kernels.lanes import Nets, Population, Spans, limits, number
from vilfredo.spiking.kernels.vectors import (
    add,
    aligned,
    load,
    lowest,
    maximum,
    reaches,
    splat,
    store,
    subtract,
    where,
    wrapped,
    zero,
)
from vilfredo.spiking.network import Floats, Ints

WIDTH = 64  # neurons

moved = jit(error_model="numpy")(pole.moved)
fallen = jit(error_model="numpy")(pole.fallen)


class Loop(NamedTuple):
    """What closes the loop, as kernels read it."""

    seen: Ints  # (f,) places in the state
    signed: NDArray[np.bool_]  # (f,) the rule of the code
    low: Floats  # (f,)
    high: Floats  # (f,)
    regions: Ints  # (f,)
    rule: int  # of the reading: 0 most, 1 first, 2 level
    answers: int
    full: int
    forces: Floats  # (actions,)
    window: int
    most: int  # steps
    clear: bool
    restart: bool
    rounded: bool


class Trains(NamedTuple):
    """Inputs by region: those of region r of number f are at[base[f] + r] and following."""

    base: Ints  # (f,)
    at: Ints
    time: Ints
    input: Ints
    charge: NDArray[Any]


def can(population: Population) -> bool:
    """Whether this kernel can run these networks."""
    nets = population.nets
    small = np.diff(nets.neuron).max() <= WIDTH
    return bool(small and population.kind != np.float64 and not nets.halves.any())


def trains(spans: Spans, loop: Loop, inputs: int) -> Trains:
    """Spans of regions, region by region."""
    base = np.concatenate([[0], np.cumsum(loop.regions)])
    many = spans.many.astype(np.int64)
    row = np.repeat(np.arange(len(many)), many)
    region = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many) + spans.low[row]
    place = base[spans.observation[row]] + region
    order = np.argsort(place, kind="stable")
    cell = np.repeat(np.arange(len(spans.at) - 1), np.diff(spans.at))[row[order]]
    return Trains(
        base[:-1],
        np.searchsorted(place[order], np.arange(base[-1] + 1)),
        cell // inputs,
        cell % inputs,
        spans.charge[row[order]],
    )


@jit(error_model="numpy")
def region(value: float, signed: bool, low: float, high: float, many: int, rounded: bool) -> int:
    """The region of a number, as `coding.regions` says."""
    v = np.float64(np.float32(value)) if rounded else value
    if signed:
        middle = (many - 1) / 2
        if v > 0:
            place = middle + np.ceil(min(1.0, v / high) * middle)
        else:
            place = middle - np.ceil(min(1.0, v / low) * middle)
    else:
        place = np.floor((v - low) / (high - low) * many)
    place = min(max(place, 0.0), many - 1.0)
    return int(place)


@jit(error_model="numpy")
def play(
    nets: Nets,
    p: int,
    trains: Trains,
    loop: Loop,
    like: Any,
    starts: Floats,
    lane: int,
    last: int,
    repeat: int,
    steps: Ints,
    ended: Ints,
    counts: Ints,
) -> None:
    """Lanes `lane` … `last` − 1 of network p, one after the other."""
    begin = nets.neuron[p]
    n, outputs = nets.neuron[p + 1] - begin, nets.outputs[p]
    entry = nets.entry[begin]
    e = nets.entry[begin + n] - entry
    window, watch, rule = loop.window, loop.rule == 1, loop.rule
    answers, numbers, rounded, clear = loop.answers, len(loop.seen), loop.rounded, loop.clear
    lazy, soft, wrap = nets.lazy[p], nets.soft[p], nets.wrap[p]
    masks = np.zeros(1, np.uint64)
    one = np.uint64(1)

    # Synapses by source; those of one source and delay are one row of weights, by target.
    source, lag, target = np.zeros(e, np.int64), np.zeros(e, np.int64), np.zeros(e, np.int64)
    for i in range(n):
        for j in range(nets.entry[begin + i] - entry, nets.entry[begin + i + 1] - entry):
            back = nets.back[entry + j]
            source[j], target[j] = back % n, i
            lag[j] = (source[j] - back) // n
    row, row_lag, row_at = np.zeros(e, np.int64), np.zeros(e, np.int64), np.zeros(n + 1, np.int64)
    for j in range(e):
        row_at[source[j] + 1] += 1
    for i in range(n):
        row_at[i + 1] += row_at[i]
    used = row_at.copy()
    for j in range(e):
        i = source[j]
        row[j] = used[i]
        for g in range(row_at[i], used[i]):
            if row_lag[g] == lag[j]:
                row[j] = g
        if row[j] == used[i]:
            row_lag[used[i]] = lag[j]
            used[i] += 1
    weights = aligned(e * WIDTH, like)
    present = np.zeros(e, np.uint64)

    size = 1
    while size <= max(nets.depth[p], window):
        size *= 2
    ring, arrived, past = aligned(size * WIDTH, like), np.zeros(size, np.uint64), np.zeros(size, np.uint64)
    wheel = size - 1
    thresholds = aligned(WIDTH, like)
    alive, leaks = np.uint64(0), np.uint64(0)
    longest = 0
    for i in range(n):
        longest = max(longest, nets.resting[begin + i])
        if nets.leak[begin + i]:
            leaks |= one << np.uint64(i)
    rests = np.zeros(longest + 1, np.uint64)  # who rests for so many steps or more
    for i in range(n):
        for r in range(1, nets.resting[begin + i] + 1):
            rests[r] |= one << np.uint64(i)
    port_of = np.full(outputs, 0)
    heads = np.uint64(0)
    neuron_of = np.zeros(nets.inputs[p], np.int64)
    for i in range(n):
        if nets.output[begin + i] >= 0:
            port_of[nets.output[begin + i]] = i
            heads |= one << np.uint64(i)
        if nets.input[begin + i] >= 0:
            neuron_of[nets.input[begin + i]] = i
    lowest_limit, highest_limit = limits(like)
    nothing = zero(like, masks)
    floor = splat(like.dtype.type(max(nets.floor[p], lowest_limit)), nothing)
    above = splat(like.dtype.type(nets.above[p]), nothing)
    spikes, before = np.zeros(WIDTH, np.int64), np.zeros(outputs, np.int64)
    first = np.zeros(outputs, np.int64)
    seen, signed, low, high = loop.seen, loop.signed, loop.low, loop.high
    regions, forces = loop.regions, loop.forces
    base, train, when, who, what = trains.base, trains.at, trains.time, trains.input, trains.charge
    state = np.zeros(4)

    loaded = -1
    while lane < last:
        copy = lane // repeat
        if copy != loaded:
            at = nets.weight_at[p] + (copy * e if nets.weight_rows[p] > 1 else 0)
            weights[:] = 0
            present[:] = 0
            for j in range(e):
                value = nets.weight[at + j]
                if not np.isnan(value):
                    weights[row[j] * WIDTH + target[j]] = number(like, value)
                    present[row[j]] |= one << np.uint64(target[j])
            at = nets.threshold_at[p] + (copy * n if nets.threshold_rows[p] > 1 else 0)
            alive = np.uint64(0)
            for i in range(n):
                value = nets.threshold[at + i]
                if value <= highest_limit:
                    thresholds[i] = number(like, max(value, lowest_limit))
                    alive |= one << np.uint64(i)
            loaded = copy
        threshold = load(thresholds, 0, masks)
        spikes[:] = 0
        taken = 0
        fresh = True
        x, v, a, w = 0.0, 0.0, 0.0, 0.0
        now = 0
        charge = nothing
        while taken < loop.most:
            if fresh:
                k = lane % len(starts)
                x, v, a, w = starts[k, 0], starts[k, 1], starts[k, 2], starts[k, 3]
            if fresh or clear:
                ring[:] = 0
                arrived[:] = 0
                past[:] = 0
                charge = nothing
                fresh = False
            state[0], state[1], state[2], state[3] = x, v, a, w
            for f in range(numbers):
                r = base[f] + region(state[seen[f]], signed[f], low[f], high[f], regions[f], rounded)
                for k in range(train[r], train[r + 1]):
                    slot, i = (now + when[k]) & wheel, neuron_of[who[k]]
                    ring[slot * WIDTH + i] += what[k]
                    arrived[slot] |= one << np.uint64(i)
            for port in range(outputs):
                before[port] = spikes[port_of[port]]
                first[port] = -1
            for t in range(window):
                slot = now & wheel
                came = load(ring, slot * WIDTH, masks)
                store(ring, slot * WIDTH, nothing)
                able = alive
                if longest > 0:
                    resting = np.uint64(0)
                    for r in range(1, longest + 1):
                        resting |= past[(now - r) & wheel] & rests[r]
                    came = where(resting, nothing, came)
                    able &= ~resting
                charge = add(charge, came)
                if wrap:
                    charge = wrapped(charge)
                if lazy:
                    able &= arrived[slot]
                    arrived[slot] = 0
                fired = reaches(able, charge, threshold)
                past[slot] = fired
                kept = where(leaks, nothing, charge)
                after = subtract(charge, subtract(threshold, above)) if soft else nothing
                charge = maximum(where(fired, after, kept), floor)
                if watch and fired & heads:
                    for port in range(outputs):
                        if first[port] < 0 and (fired >> np.uint64(port_of[port])) & one:
                            first[port] = t
                while fired != 0:
                    i = lowest(fired)
                    fired &= fired - one
                    spikes[i] += 1
                    for g in range(row_at[i], used[i]):
                        there = (slot + row_lag[g]) & wheel
                        what_was = load(ring, there * WIDTH, masks)
                        store(ring, there * WIDTH, add(what_was, load(weights, g * WIDTH, masks)))
                        if lazy:
                            arrived[there] |= present[g]
                now += 1
            if rule == 2:
                fires = spikes[port_of[0]] - before[0]
                chosen = min(fires * answers // (loop.full + 1), answers - 1)
            else:
                best, soonest, chosen = -1, 2**31, 0
                for answer in range(answers):
                    votes, time = 0, 2**31
                    for port in range(answer, outputs, answers):
                        votes += spikes[port_of[port]] - before[port]
                        if watch and first[port] >= 0:
                            time = min(time, first[port])
                    if time < soonest or (time == soonest and votes > best):
                        best, soonest, chosen = votes, time, answer
            x, v, a, w = moved(x, v, a, w, forces[chosen], math.cos(a), math.sin(a))
            taken += 1
            if fallen(x, a):
                ended[lane] += 1
                fresh = True
                if not loop.restart:
                    break
        steps[lane] = taken
        for i in range(n):
            counts[lane * n + i] = spikes[i]
        lane += 1
