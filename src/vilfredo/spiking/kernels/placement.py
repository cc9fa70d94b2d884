"""Neurons on a grid of elements so that no synapse is longer than the elements reach.

The length of a synapse is the larger of its distances in columns and in rows. No randomness: the same network
has the same placement everywhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.network import Ints


def place(
    size: int, source: Ints, target: Ints, width: int, height: int, reach: int
) -> tuple[Ints, Ints, int]:
    """Column and row of each neuron, and how many steps all synapses together are too long (0: a placement).

    A network that fits into a block within which all elements reach each other is laid out there row by row,
    in the order given. Otherwise neurons with most neighbours come first, each to the free element that is
    best for its neighbours placed already; then neurons at the ends of too long synapses are moved, or swap
    places, where that helps most.
    """
    across, down = min(width, reach + 1), min(height, reach + 1)
    if size <= across * down:
        numbers = np.arange(size)
        return numbers % across, numbers // across, 0
    begin, near = neighbours(size, source, target)
    side = math.isqrt(size) + 2
    if side < min(width, height):  # a part of the grid is searched quicker, and will do
        where, excess = _place(begin, near, side, side, reach)
        if not excess:
            return where % side, where // side, 0
    where, excess = _place(begin, near, width, height, reach)
    return where % width, where // width, int(excess)


def neighbours(size: int, source: Ints, target: Ints) -> tuple[Ints, Ints]:
    """Who is joined to whom, in either direction, without those joined to themselves: neuron i to
    near[begin[i]] … near[begin[i + 1] − 1], ascending."""
    low, high = np.minimum(source, target), np.maximum(source, target)
    pairs = np.unique((low * size + high)[low != high])
    both = np.concatenate([pairs, pairs % size * size + pairs // size])
    both.sort()
    return np.searchsorted(both, np.arange(size + 1) * size), both % size


@jit()
def _excess(one: int, other: int, width: int, reach: int) -> int:
    """How much too long a synapse between two elements is."""
    long = max(abs(one % width - other % width), abs(one // width - other // width))
    return max(long - reach, 0)


@jit()
def _strain(
    neuron: int, element: int, where: Ints, begin: Ints, near: Ints, width: int, reach: int, but: int
) -> tuple[int, int]:
    """Excess, and squared lengths, of a neuron's synapses to the neurons that are placed (but one), if it
    were at `element`."""
    excess, lengths = 0, 0
    for k in range(begin[neuron], begin[neuron + 1]):
        other = where[near[k]]
        if other >= 0 and near[k] != but:
            excess += _excess(element, other, width, reach)
            lengths += (element % width - other % width) ** 2 + (element // width - other // width) ** 2
    return excess, lengths


@jit()
def _place(begin: Ints, near: Ints, width: int, height: int, reach: int) -> tuple[Ints, int]:
    n, elements = len(begin) - 1, width * height
    where = np.full(n, -1, np.int64)
    who = np.full(elements, -1, np.int64)
    joined = np.zeros(n, np.int64)  # to how many placed ones
    for _ in range(n):
        neuron = -1
        for i in range(n):
            if where[i] < 0 and (
                neuron < 0
                or joined[i] > joined[neuron]
                or (
                    joined[i] == joined[neuron]
                    and begin[i + 1] - begin[i] > begin[neuron + 1] - begin[neuron]
                )
            ):
                neuron = i
        best, least, shortest = -1, 0, 0
        for element in range(elements):
            if who[element] < 0:
                excess, lengths = _strain(neuron, element, where, begin, near, width, reach, -1)
                middle = (2 * (element % width) - width + 1) ** 2 + (2 * (element // width) - height + 1) ** 2
                lengths = lengths * elements * 4 + middle
                if best < 0 or excess < least or (excess == least and lengths < shortest):
                    best, least, shortest = element, excess, lengths
        where[neuron], who[best] = best, neuron
        for k in range(begin[neuron], begin[neuron + 1]):
            joined[near[k]] += 1
    return where, _repair(begin, near, where, who, width, reach, min(20 * n, 400))


@jit()
def _repair(begin: Ints, near: Ints, where: Ints, who: Ints, width: int, reach: int, rounds: int) -> int:
    """Move neurons of too long synapses, the best move first; one that was moved then rests for some rounds.
    Leaves the best placement found in `where`, and returns its excess."""
    n, elements = len(where), len(who)
    resting: NDArray[np.int64] = np.zeros(n, np.int64)
    excess = 0
    for i in range(n):
        excess += _strain(i, where[i], where, begin, near, width, reach, -1)[0]
    excess //= 2
    best, least = where.copy(), excess
    for turn in range(1, rounds + 1):
        if least == 0:
            break
        mover, goal, gain, shorter = -1, -1, 0, 0
        for i in range(n):
            own = _strain(i, where[i], where, begin, near, width, reach, -1)
            if own[0] == 0 or resting[i] > turn:
                continue
            for element in range(elements):
                other = who[element]
                if other == i or (other >= 0 and resting[other] > turn):
                    continue
                new = _strain(i, element, where, begin, near, width, reach, other)
                old = _strain(i, where[i], where, begin, near, width, reach, other)
                change, length = new[0] - old[0], new[1] - old[1]
                if other >= 0:
                    there = _strain(other, where[i], where, begin, near, width, reach, i)
                    here = _strain(other, element, where, begin, near, width, reach, i)
                    change += there[0] - here[0]
                    length += there[1] - here[1]
                if mover < 0 or change < gain or (change == gain and length < shorter):
                    mover, goal, gain, shorter = i, element, change, length
        if mover < 0:
            continue
        other, left = who[goal], where[mover]
        where[mover], who[goal], who[left] = goal, mover, other
        if other >= 0:
            where[other] = left
            resting[other] = turn + 3 + n // 8
        resting[mover] = turn + 3 + n // 8 + turn % 3
        excess += gain
        if excess < least:
            least = excess
            best[:] = where
    where[:] = best
    return least
