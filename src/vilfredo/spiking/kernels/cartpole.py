"""Pole and cart with networks in the loop, compiled: many networks, each with many episodes side by side.

The physics are those of `vilfredo.spiking.pole`, which `tasks/cartpole.py` has, too. Sine and cosine are the
C library's in both (and in NumPy's scalars, so in Gymnasium itself), so all loops agree action for action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilfredo.spiking import pole
from vilfredo.spiking.decoders.decoder import Reading
from vilfredo.spiking.encoders.encoder import Code
from vilfredo.spiking.kernels import solo, threads
from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.kernels.lanes import (
    Block,
    Nets,
    Population,
    Spans,
    advance,
    assign,
    blocks_each,
    flush,
    limits,
    new_block,
)
from vilfredo.spiking.kernels.solo import Loop, Trains, fallen, moved, region
from vilfredo.spiking.kernels.vectors import load, store, take, where, zero
from vilfredo.spiking.network import Floats, Ints

RULES = ("most", "first", "level")
FEW = 16  # up to so many lanes are quicker one after the other
LAST = 6  # of a block, up to so many are quicker begun anew
MOST = 2**15 - 1  # what 16 bits can count


@dataclass(frozen=True, eq=False)
class Episodes:
    """What P networks with L lanes each came to."""

    steps: Ints  # (P, L) of the environment; each gives a reward of 1
    ended: Ints  # (P, L) episodes that ended by a fall; without `restart` 0 or 1
    counts: list[Ints]  # of each network (L, n): spikes of each neuron, in the order of the program
    window: int  # timesteps of the network for a step of the environment

    @property
    def reward(self) -> Floats:
        """(P, L) the sum of the rewards of each lane."""
        return self.steps.astype(np.float64)

    @property
    def timesteps(self) -> Ints:
        """(P, L) timesteps that the networks were run."""
        return self.steps * self.window


def episodes(
    population: Population,
    codes: Sequence[Code],
    reading: Reading,
    setting: pole.Setting,
    starts: ArrayLike,
    max_steps: int = pole.STEPS,
    window: int = pole.WINDOW,
    *,
    clear: bool = False,
    restart: bool = False,
    rounded: bool = False,
) -> Episodes:
    """Each lane of each network plays one episode from its start, for `max_steps` at most.

    `codes`, one for each number seen, have the *real* charges that the processor makes of inputs. `starts`
    (E, 4): lane k begins with starts[k % E]. In each step the network runs `window` timesteps; charges and
    spikes on their way stay from one step to the next unless `clear`. With `restart` an episode that ended is
    begun anew, from the same start with a silent network, until the lane has made `max_steps`. `rounded`: the
    codes see the state rounded to 32 bits, as Gymnasium's observations are; else as it is.

    Raises `ValueError` for codes, readings or starts that do not belong to the networks or the setting.
    """
    states = np.ascontiguousarray(starts, dtype=np.float64)
    if states.ndim != 2 or states.shape[1] != 4 or not len(states) or not np.isfinite(states).all():
        raise ValueError(f"starts must be finite numbers (episodes, 4), not an array of {states.shape}")
    if not 1 <= window <= MOST or max_steps < 1:
        raise ValueError(f"{window} timesteps in each of {max_steps} steps cannot be run")
    inputs = sum(code.neurons for code in codes)
    nets = population.nets
    if len(codes) != len(setting.seen):
        raise ValueError(f"{len(codes)} codes for the {len(setting.seen)} numbers that are seen")
    if reading.answers != setting.actions:
        raise ValueError(f"{reading.answers} answers are read, the setting has {setting.actions} actions")
    if (nets.inputs != inputs).any():
        raise ValueError(f"a network has {nets.inputs[nets.inputs != inputs][0]} inputs, not {inputs}")
    if (nets.outputs != reading.outputs).any():
        other = nets.outputs[nets.outputs != reading.outputs][0]
        raise ValueError(f"a network has {other} outputs, not {reading.outputs}")
    lanes = population.lanes
    words, width = np.zeros(1, np.uint64), 64
    loop = Loop(
        np.array(setting.seen),
        np.array([code.rule == "signed" for code in codes]),
        np.array([code.low for code in codes]),
        np.array([code.high for code in codes]),
        np.array([code.regions for code in codes]),
        RULES.index(reading.rule),
        reading.answers,
        reading.full,
        np.array(setting.forces, dtype=np.float64),
        window,
        max_steps,
        clear,
        restart,
        rounded,
    )
    size = np.diff(nets.neuron)
    can = solo.can(population)
    alone = can and lanes <= FEW
    if alone:
        width = 1
    at = np.concatenate([[0], np.cumsum(size * lanes)])
    steps, ended = np.zeros((population.size, lanes), np.int64), np.zeros((population.size, lanes), np.int64)
    counts = np.zeros(at[-1], np.int64)
    workers = threads.count()
    rows = max(int(nets.weight_rows.max()), int(nets.threshold_rows.max()))
    group = blocks_each(population, width, workers)
    rows_of = spans(codes, window, population.kind)
    threads.share(
        _episodes,
        workers,
        nets,
        rows_of,
        solo.trains(rows_of, loop, inputs),
        can,
        alone,
        loop,
        words,
        np.zeros(1, population.kind),
        states,
        lanes,
        lanes // rows,
        group * width,
        steps,
        ended,
        counts,
        at,
        np.zeros(1, np.int64),
    )
    return Episodes(
        steps,
        ended,
        [counts[at[k] : at[k + 1]].reshape(lanes, n) for k, n in enumerate(size)],
        window,
    )


def spans(codes: Sequence[Code], window: int, kind: np.dtype[Any]) -> Spans:
    """Codes as ranges of regions that give an input the same charge at the same timestep."""
    rows: list[tuple[int, int, int, int, int, float]] = []
    inputs = 0
    for place, code in enumerate(codes):
        charge = code.charge
        if code.window > window and charge[:, :, window:].any():
            raise ValueError(f"code {place} has spikes after the {window} timesteps of a step")
        if code.regions > MOST:
            raise ValueError(f"code {place} has {code.regions} regions, more than {MOST}")
        if kind != np.float64:
            info = np.iinfo(kind)
            if (np.trunc(charge) != charge).any():
                raise ValueError(f"code {place} has charges that are not whole numbers")
            if charge.min() < info.min or charge.max() > info.max:
                raise ValueError(
                    f"code {place} has charges beyond ±{info.max}; pack the population for such charges"
                )
        # Where charge begins or ends to be something else, from region to region.
        edge = np.diff(charge, axis=0, prepend=np.nan) != 0
        neuron, time, low = np.nonzero(edge.transpose(1, 2, 0))
        value = charge[low, neuron, time]
        last = np.r_[(np.diff(neuron) != 0) | (np.diff(time) != 0), True]
        end = np.where(last, code.regions, np.r_[low[1:], 0])
        some = (value != 0) & (time < window)
        for row in zip(time[some], inputs + neuron[some], low[some], end[some], value[some], strict=True):
            t, port, begin, stop, what = row
            rows.append((int(t), int(port), place, int(begin), int(stop), float(what)))
        inputs += code.neurons
    rows.sort()
    cell = np.array([row[0] * inputs + row[1] for row in rows], np.int64)
    return Spans(
        np.searchsorted(cell, np.arange(window * inputs + 1)),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int16),
        np.array([row[4] - row[3] for row in rows], np.int16),
        np.array([row[5] for row in rows]).astype(kind),
    )


# -- kernels ----------------------------------------------------------------------------------------


@jit(error_model="numpy")
def _advance(
    position: float, speed: float, angle: float, spin: float, force: float
) -> tuple[float, float, float, float]:
    """`pole.advance`, compiled."""
    return moved(position, speed, angle, spin, force, math.cos(angle), math.sin(angle))


@jit(error_model="numpy", nogil=True)
def _episodes(
    nets: Nets,
    inputs: Spans,
    spikes: Trains,
    can: bool,
    alone: bool,
    loop: Loop,
    words: Any,
    like: Any,
    starts: Floats,
    lanes: int,
    repeat: int,
    group: int,
    steps: Ints,
    ended: Ints,
    counts: Ints,
    counts_at: Ints,
    counter: Ints,
) -> None:
    """What any number of threads do at the same time: one unit of work after the other, as long as there are
    any."""
    shares = (lanes + group - 1) // group
    total = (len(nets.neuron) - 1) * shares
    unit = take(counter)
    while unit < total:
        p, first = unit // shares, (unit % shares) * group
        found = counts[counts_at[p] : counts_at[p + 1]]
        last = min(lanes, first + group)
        if alone:
            solo.play(nets, p, spikes, loop, like, starts, first, last, repeat, steps[p], ended[p], found)
        else:
            _play(
                nets,
                p,
                inputs,
                spikes,
                can,
                loop,
                words,
                like,
                starts,
                first,
                last,
                repeat,
                steps[p],
                ended[p],
                found,
            )
        unit = take(counter)


@jit(error_model="numpy")
def _play(
    nets: Nets,
    p: int,
    inputs: Spans,
    spikes: Trains,
    can: bool,
    loop: Loop,
    words: Any,
    like: Any,
    starts: Floats,
    lane: int,
    last: int,
    repeat: int,
    steps: Ints,
    ended: Ints,
    counts: Ints,
) -> None:
    """Lanes `lane` … `last` − 1 of network p: as many as there is room for side by side; where one is over,
    the next takes its place."""
    width = 8 * words.itemsize
    n = nets.neuron[p + 1] - nets.neuron[p]
    window, actions = loop.window, len(loop.forces)
    block = new_block(nets, p, like, words, width, window)
    lowest, highest = limits(like)
    state = np.zeros((4, width))
    sine, cosine = np.zeros(width), np.zeros(width)
    regions = np.zeros(len(loop.seen) * width, np.int16)
    before = np.zeros((len(block.seen), width), np.int16)
    action = np.zeros(width, np.int64)
    output = np.zeros(len(block.seen), np.int64)
    for i in range(n):
        port = nets.output[nets.neuron[p] + i]
        if port >= 0:
            output[port] = i
    no_rows = np.zeros(0, like.dtype)
    nought = len(no_rows)  # a 0 that is no literal: for each of those Numba would compile once more
    whose, loaded, taken = np.full(width, -1), np.full(width, -1), np.zeros(width, np.int64)
    one, row = np.zeros(1, np.int64), np.zeros(1, np.int64)
    active = np.uint64(0)
    for slot in range(width):
        if lane < last:
            one[0], row[0] = slot, lane // repeat
            assign(nets, p, block, width, one, row, loaded, lowest, highest)
            whose[slot] = lane
            active |= np.uint64(1) << np.uint64(slot)
            for k in range(4):
                state[k, slot] = starts[lane % len(starts), k]
            lane += 1
    watch = loop.rule == 1
    now, counted = nought, 0
    while active != 0:
        _encode(loop, state, regions, width)
        if loop.clear:
            block.charge[:] = 0
            block.words[:] = 0
        if watch:
            block.seen[:] = 0
            block.first[:] = -1
        for port in range(len(output)):
            for slot in range(width):
                before[port, slot] = block.counts[output[port] * width + slot]
        advance(
            nets,
            p,
            block,
            active,
            width,
            window,
            no_rows,
            nought - 1,
            nought,
            inputs,
            regions,
            watch,
            nought,
            now,
        )
        now += window
        _decode(loop, block, output, before, action, width)
        for slot in range(width):
            angle = state[2, slot]
            cosine[slot], sine[slot] = math.cos(angle), math.sin(angle)
        for slot in range(width):
            force = loop.forces[min(action[slot], actions - 1)]
            state[0, slot], state[1, slot], state[2, slot], state[3, slot] = moved(
                state[0, slot], state[1, slot], state[2, slot], state[3, slot], force,
                cosine[slot], sine[slot],
            )  # fmt: skip
        counted += window
        if counted + window > MOST:
            flush(block.counts, n, width, width, whose, counts)
            counted = 0
        over = np.uint64(0)
        for slot in range(width):
            if whose[slot] < 0:
                continue
            taken[slot] += 1
            down = fallen(state[0, slot], state[2, slot])
            if not down and taken[slot] < loop.most:
                continue
            here = whose[slot]
            ended[here] += down
            bit = np.uint64(1) << np.uint64(slot)
            over |= bit
            if taken[slot] == loop.most or not loop.restart:
                steps[here] = taken[slot]
                for i in range(n):
                    counts[here * n + i] += block.counts[i * width + slot]
                    block.counts[i * width + slot] = 0
                whose[slot], taken[slot] = -1, 0
                if lane < last:
                    one[0], row[0] = slot, lane // repeat
                    assign(nets, p, block, width, one, row, loaded, lowest, highest)
                    whose[slot] = lane
                    lane += 1
                else:
                    active &= ~bit
            for k in range(4):
                state[k, slot] = starts[whose[slot] % len(starts), k] if whose[slot] >= 0 else 0.0
        if can and over != 0 and lane >= last and active != 0:
            left, longest = 0, 0
            for slot in range(width):
                if whose[slot] >= 0:
                    left += 1
                    longest = max(longest, taken[slot])
            if left <= LAST and 2 * longest <= loop.most:
                # A block takes as long for the last lanes as for all. Alone, even from their beginning, they
                # take less, unless they end soon.
                for slot in range(width):
                    here = whose[slot]
                    if here >= 0:
                        ended[here] = 0
                        solo.play(
                            nets, p, spikes, loop, like, starts, here, here + 1, repeat, steps, ended, counts
                        )  # fmt: skip
                return
        if over != 0:  # silence where something new begins
            for i in range(n):
                charge = load(block.charge, i * width, words)
                store(block.charge, i * width, where(over, zero(like, words), charge))
            for k in range(nets.depth[p] * n):
                block.words[k] &= words.dtype.type(~over)


@jit(error_model="numpy")
def _encode(loop: Loop, state: Floats, regions: NDArray[np.int16], width: int) -> None:
    """The region of each number seen, as `coding.regions` says."""
    for f in range(len(loop.seen)):
        values = state[loop.seen[f]]
        signed, low, high, many = loop.signed[f], loop.low[f], loop.high[f], loop.regions[f]
        for slot in range(width):
            regions[f * width + slot] = region(values[slot], signed, low, high, many, loop.rounded)


@jit(error_model="numpy")
def _decode(
    loop: Loop, block: Block, output: Ints, before: NDArray[np.int16], action: Ints, width: int
) -> None:
    """What the outputs say, as `coding.answers` has it."""
    answers = loop.answers
    for slot in range(width):
        if loop.rule == 2:
            spikes = block.counts[output[0] * width + slot] - before[0, slot]
            action[slot] = min(spikes * answers // (loop.full + 1), answers - 1)
            continue
        best, soonest, chosen = -1, 2**31, 0
        for answer in range(answers):
            votes, time = 0, 2**31
            for port in range(answer, len(output), answers):
                votes += block.counts[output[port] * width + slot] - before[port, slot]
                if loop.rule == 1 and block.first[port * width + slot] >= 0:
                    time = min(time, block.first[port * width + slot])
            if time < soonest or (time == soonest and votes > best):
                best, soonest, chosen = votes, time, answer
        action[slot] = chosen
