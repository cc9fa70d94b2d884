"""Many networks, each with many lanes side by side, in one compiled parallel call.

A lane is a network with one set of weights and thresholds and one stream of inputs: a perturbed copy, a
sample of a data set, an episode. `pack` lays networks out, `run` runs them for some timesteps with given
inputs; `kernels/cartpole.py` closes a loop around the same `advance`.

A block of W ≤ 64 lanes runs together. Spikes are bits: neuron i at step t is one word with a bit for each
lane, and the last words of all neurons are kept. A neuron *collects* what its synapses deliver: for each one
it looks up the word of the source `delay` steps ago and adds the weights in those lanes that fired, in
registers. So nothing is written but one word and the charge of each neuron, and it costs the same whether
lanes fire or not.

Integers are as narrow as the sums of the networks allow (8, 16 or 32 bits; else float64, in which whole
numbers stay exact), so that as many lanes as possible share an instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.kernels import threads
from vilfredo.spiking.kernels.dense import halved
from vilfredo.spiking.kernels.jit import jit
from vilfredo.spiking.kernels.vectors import (
    add,
    add_where,
    aligned,
    between,
    differ,
    item,
    load,
    maximum,
    reaches,
    scale,
    splat,
    store,
    subtract,
    take,
    where,
    wrapped,
    zero,
)
from vilfredo.spiking.network import Floats, Ints
from vilfredo.spiking.program import Activity, Program

CHUNK = 128  # timesteps for which words of spikes are kept before the ring is moved back


class Nets(NamedTuple):
    """P networks with N neurons and E synapses in all, as kernels read them; synapses are listed at their
    targets."""

    neuron: Ints  # (P + 1,) where each network's neurons begin
    entry: Ints  # (N + 1,) where each neuron's incoming synapses begin
    back: NDArray[np.int32]  # (E,) from a neuron's row of words to the word of the source: source − delay · n
    weight: Floats  # (Σ rows · E_p,) each network's (rows, E_p); NaN: this lane has no such synapse
    weight_at: Ints  # (P,)
    weight_rows: Ints  # (P,)
    threshold: Floats  # (Σ rows · n_p,) inf: dead
    threshold_at: Ints  # (P,)
    threshold_rows: Ints  # (P,)
    leak: NDArray[np.bool_]  # (N,)
    decay: Floats  # (N,)
    input: NDArray[np.int32]  # (N,) which input a neuron is, or −1
    output: NDArray[np.int32]  # (N,) which output, or −1
    inputs: Ints  # (P,)
    outputs: Ints  # (P,)
    depth: Ints  # (P,) how far back words are looked up
    floor: Floats  # (P,)
    above: Floats  # (P,)
    resting: Ints  # (N,) steps that a neuron is refractory
    halving: Ints  # (N,) Caspian's leak, or −1
    halves: NDArray[np.bool_]  # (P,) whether there is any of that
    lazy: NDArray[np.bool_]  # (P,) whether it has to be asked if anything arrived
    soft: NDArray[np.bool_]  # (P,)
    wrap: NDArray[np.bool_]  # (P,)
    decays: NDArray[np.bool_]  # (P,)


class Block(NamedTuple):
    """W lanes of one network: n neurons, e synapses, o outputs."""

    weight: NDArray[Any]  # (e · W,)
    threshold: NDArray[Any]  # (n · W,)
    present: NDArray[np.uint64]  # (e,) in which lanes a synapse is
    alive: NDArray[np.uint64]  # (n,) in which lanes a neuron can fire
    charge: NDArray[Any]  # (n · W,)
    words: NDArray[Any]  # ((depth + chunk) · n,) row depth + t: who fires at t
    heard: NDArray[np.int64]  # (n · W,) when something last arrived, or empty where nothing halves
    counts: NDArray[np.int16]  # (n · W,) spikes
    seen: NDArray[np.uint64]  # (o,) where an output has fired
    first: NDArray[np.int32]  # (o · W,) when


class Spans(NamedTuple):
    """Inputs that depend on regions: input i gets `charge` at step t in lanes whose region of observation
    `observation` is among `low` … `low + many − 1`. Those of (t, i) are at[t · inputs + i] and following."""

    at: Ints  # (window · inputs + 1,), or empty: no such inputs
    observation: Ints
    low: NDArray[np.int16]
    many: NDArray[np.int16]
    charge: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Population:
    """Networks packed for the kernels: `lanes` of each, in numbers of type `kind`."""

    programs: Sequence[Program]
    nets: Nets
    lanes: int
    kind: np.dtype[Any]

    @property
    def size(self) -> int:
        return len(self.programs)


def pack(
    programs: Sequence[Program],
    weights: Sequence[Floats] | None = None,
    thresholds: Sequence[Floats] | None = None,
    delays: Sequence[NDArray[Any]] | None = None,
    repeat: int = 1,
    charge: float | None = None,
    steps: int = 2**40,
) -> Population:
    """Programs for `run`. For each one K rows of weights (K, s), thresholds (K, n) and delays (K, s), each of
    which serves `repeat` successive lanes; None: the program's own, K = 1. The same K for all programs.

    An infinite threshold is a dead neuron. `charge`: the largest absolute charge that inputs give (None: the
    programs' `one`), `steps`: for how many timesteps in sum the networks will run at most; both bound the
    sums and so help to choose narrow integers.

    Raises `ValueError` for arrays that do not belong to the programs.
    """
    if not programs:
        raise ValueError("a population needs at least one network")
    size = np.array([program.size for program in programs])
    synapses = np.array([len(program.target) for program in programs])
    copies = 1
    for name, given, width in (
        ("weights", weights, synapses),
        ("thresholds", thresholds, size),
        ("delays", delays, synapses),
    ):
        if given is not None:
            copies = _check(name, given, width, copies)
    neuron, synapse_at = _starts(size), _starts(synapses)
    first = np.concatenate([program.first[1:] for program in programs])
    fan = np.diff(first, prepend=0)
    fan[neuron[:-1]] = [program.first[1] if program.size else 0 for program in programs]
    network = np.repeat(np.arange(len(programs)), synapses)
    source = np.repeat(np.arange(neuron[-1]), fan)
    target = np.concatenate([program.target for program in programs]) + neuron[network]
    lag = np.concatenate([program.delay for program in programs])
    synapse = np.arange(synapse_at[-1])
    if delays is not None:
        # A synapse whose delay differs between lanes becomes one for each delay, absent in the other lanes.
        split = [_split(rows) for rows in delays]
        lag = np.concatenate([some for _, some in split])
        synapse = np.concatenate([which + at for (which, _), at in zip(split, synapse_at, strict=False)])
        source, target, network = source[synapse], target[synapse], network[synapse]
    if len(lag) and lag.min() < 1:
        raise ValueError("a delay is less than one timestep")
    order = np.lexsort((source, -lag, target))  # what was fired earlier is added earlier
    source, target, lag, synapse, network = (part[order] for part in (source, target, lag, synapse, network))
    ends = np.cumsum(np.bincount(network, minlength=len(programs)))
    weight = [
        (program.weight[None] if weights is None else weights[k]).take(
            synapse[end - count : end] - synapse_at[k], axis=1
        )
        for k, (program, end, count) in enumerate(zip(programs, ends, np.diff(ends, prepend=0), strict=True))
    ]
    if delays is not None:
        for k, end in enumerate(ends):
            here = slice(end - weight[k].shape[1], end)
            there = delays[k][:, synapse[here] - synapse_at[k]] == lag[here]
            weight[k] = np.where(there, weight[k], np.nan)
    threshold = [
        program.threshold[None] if thresholds is None else thresholds[k] for k, program in enumerate(programs)
    ]
    resting = np.concatenate([program.resting for program in programs])
    depth = np.ones(len(programs), np.int64)
    np.maximum.at(depth, np.repeat(np.arange(len(programs)), size), resting)
    np.maximum.at(depth, network, lag)
    least = np.array([rows.min(initial=np.inf) for rows in threshold])
    nets = Nets(
        neuron=neuron,
        entry=_starts(np.bincount(target, minlength=neuron[-1])),
        back=(source - neuron[network] - lag * size[network]).astype(np.int32),
        weight=np.concatenate([rows.ravel() for rows in weight]),
        weight_at=_starts(np.array([rows.size for rows in weight]))[:-1],
        weight_rows=np.array([len(rows) for rows in weight]),
        threshold=np.concatenate([rows.ravel() for rows in threshold]),
        threshold_at=_starts(np.array([rows.size for rows in threshold]))[:-1],
        threshold_rows=np.array([len(rows) for rows in threshold]),
        leak=np.concatenate([program.leak for program in programs]),
        decay=np.concatenate([p.decay if len(p.decay) else np.ones(p.size) for p in programs]),
        input=_places([program.inputs for program in programs], neuron, "an input"),
        output=_places([program.outputs for program in programs], neuron, "an output"),
        inputs=np.array([len(program.inputs) for program in programs]),
        outputs=np.array([len(program.outputs) for program in programs]),
        depth=depth,
        floor=np.array([program.floor for program in programs]),
        above=np.array([program.above for program in programs]),
        resting=resting,
        halving=np.concatenate([p.halving if len(p.halving) else np.full(p.size, -1) for p in programs]),
        halves=np.array([bool((p.halving >= 0).any()) for p in programs]),
        lazy=np.array(
            [
                p.lazy and (p.soft or low <= max(0.0, p.floor) or bool((p.decay > 1).any()))
                for p, low in zip(programs, least, strict=True)
            ]
        ),
        soft=np.array([program.soft for program in programs]),
        wrap=np.array([program.wrap for program in programs]),
        decays=np.array([len(program.decay) > 0 and not program.exact for program in programs]),
    )
    kind = _kind(programs, nets, network, target, weight, threshold, charge, steps)
    return Population(programs, nets, copies * repeat, kind)


def run(population: Population, charges: Floats | Sequence[Floats], steps: int) -> list[Activity]:
    """All networks from rest for `steps` timesteps; one `Activity` of all lanes for each network.

    `charges` (c, inputs, window): real input charges (0: none) at each input and timestep, for all networks
    alike, or one such array for each network. Lane k gets charges[k % c]: c may be 1, or the number of
    samples, of which each copy (see `pack`) has a lane of its own.

    Raises `ValueError` for charges of a wrong shape, not finite, or not whole in integer networks.
    """
    lanes, kind, nets = population.lanes, population.kind, population.nets
    common = isinstance(charges, np.ndarray)
    given: Sequence[Floats] = [charges] if isinstance(charges, np.ndarray) else charges
    if not common and len(given) != population.size:
        raise ValueError(f"{len(given)} arrays of input charges for {population.size} networks")
    words, width = masks(lanes)
    rows = [_rows(population, k, part, width) for k, part in enumerate(given)]
    which = np.zeros(population.size, np.int64) if common else np.arange(population.size)
    at = _starts(np.array([part.size for part in rows]))
    for k, program in enumerate(population.programs):
        there = rows[which[k]].shape[1]
        if len(program.inputs) != there:
            raise ValueError(f"input charges for {there} inputs, but network {k} has {len(program.inputs)}")
    size, outputs = np.diff(nets.neuron), nets.outputs
    counts_at, first_at = _starts(size * lanes), _starts(outputs * lanes)
    counts, first = np.zeros(counts_at[-1], np.int64), np.full(first_at[-1], -1, np.int32)
    workers = threads.count()
    group = blocks_each(population, width, workers)
    threads.share(
        _run,
        workers,
        nets,
        words,
        np.zeros(1, kind),
        np.concatenate([part.ravel() for part in rows]),
        at[which],
        np.array([part.shape[0] for part in rows])[which],
        np.array([part.shape[2] for part in rows])[which],
        steps,
        lanes,
        lanes // max(int(nets.weight_rows.max()), int(nets.threshold_rows.max())),
        group,
        counts,
        counts_at,
        first,
        first_at,
        np.zeros(1, np.int64),
    )
    done = np.full(lanes, steps)
    result = []
    for k, program in enumerate(population.programs):
        spikes = counts[counts_at[k] : counts_at[k + 1]].reshape(lanes, program.size)
        fired = first[first_at[k] : first_at[k + 1]].reshape(lanes, len(program.outputs))
        result.append(Activity(spikes, fired.astype(np.int64), done, spikes @ np.diff(program.first)))
    return result


# -- laying out -------------------------------------------------------------------------------------

WIDTHS: list[np.dtype[Any]] = [np.dtype(kind) for kind in (np.int8, np.int16, np.int32, np.float64)]


def _starts(sizes: Ints) -> Ints:
    out = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=out[1:])
    return out


def _check(name: str, given: Sequence[NDArray[Any]], widths: Ints, copies: int) -> int:
    """How many copies there are."""
    if len(given) != len(widths):
        raise ValueError(f"{name} of {len(given)} networks for a population of {len(widths)}")
    for rows, width in zip(given, widths, strict=True):
        if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
            raise ValueError(f"{name} of shape {rows.shape} for a network that has {width}")
        if copies > 1 and len(rows) != copies:
            raise ValueError(f"{len(rows)} rows of {name}, but {copies} elsewhere in the population")
        copies = len(rows)
        if np.isnan(rows).any():
            raise ValueError(f"{name} that are not numbers")
    return copies


def _split(delays: NDArray[Any]) -> tuple[Ints, Ints]:
    """Which synapse has which delay in some lane."""
    longest = int(delays.max(initial=1)) + 1
    pairs = np.unique(np.arange(delays.shape[1]) * longest + delays.astype(np.int64))
    return pairs // longest, pairs % longest


def _places(neurons: Sequence[Ints], begin: Ints, what: str) -> NDArray[np.int32]:
    places = np.full(begin[-1], -1, np.int32)
    for some, at in zip(neurons, begin, strict=False):
        places[some + at] = np.arange(len(some))
    if (places >= 0).sum() != sum(map(len, neurons)):
        raise ValueError(f"a neuron is {what} twice")
    return places


def _kind(
    programs: Sequence[Program],
    nets: Nets,
    network: Ints,
    target: Ints,
    weight: Sequence[Floats],
    threshold: Sequence[Floats],
    charge: float | None,
    steps: int,
) -> np.dtype[Any]:
    """The narrowest type of number that holds everything that can come up in these networks."""
    if not all(program.exact for program in programs):
        if any(program.wrap and not program.exact for program in programs):
            raise ValueError("only integer networks keep charges in 8 bits")
        return WIDTHS[-1]
    begin = nets.neuron
    many = np.diff(begin)
    highs = [rows.max(axis=0) if len(rows) > 1 else rows[0] for rows in weight]
    lows = [rows.min(axis=0) if len(rows) > 1 else rows[0] for rows in weight]
    highest, lowest = np.concatenate(highs), np.concatenate(lows)
    if np.isnan(highest).any():
        highest = np.concatenate([np.nanmax(rows, axis=0) for rows in weight])
        lowest = np.concatenate([np.nanmin(rows, axis=0) for rows in weight])
    top = np.array([np.where(np.isfinite(rows), rows, 0.0).max(initial=0.0) for rows in threshold])
    bottom = np.array([rows.min(initial=0.0) for rows in threshold])
    given = np.array([program.one for program in programs]) if charge is None else np.full(len(many), charge)
    extra = np.where(nets.input >= 0, np.repeat(np.abs(given), many), 0.0)
    up = np.bincount(target, weights=np.maximum(highest, 0.0), minlength=begin[-1]) + extra
    down = np.bincount(target, weights=np.minimum(lowest, 0.0), minlength=begin[-1]) - extra
    ups, downs = np.zeros(len(many)), np.zeros(len(many))
    np.maximum.at(ups, np.repeat(np.arange(len(many)), many), up)
    np.minimum.at(downs, np.repeat(np.arange(len(many)), many), down)
    high = np.maximum(top, nets.floor) + ups
    high = np.where(nets.soft, (ups - bottom + nets.above) * steps, high)
    with np.errstate(invalid="ignore"):
        low = np.where(nets.floor > -np.inf, np.minimum(nets.floor, 0.0) + downs, (downs - top) * steps)
    reach = np.maximum(np.maximum(high, -low), -bottom)
    # In 8 bits sums count modulo 256; what cannot be reached is dead, what always is reached is at least
    # −128. Only a soft reset can leave these bits for a moment.
    reach = np.where(
        nets.wrap,
        np.where(nets.soft & (bottom < nets.above), 512 + ups - downs - bottom + top + nets.above, 0),
        reach,
    )
    widest = float(reach.max())
    for kind in WIDTHS[:-1]:
        if widest < 2 ** (8 * kind.itemsize - 1) - 1:
            return kind
    return WIDTHS[-1]


def masks(lanes: int) -> tuple[NDArray[Any], int]:
    """An array whose type says how many lanes a block has, and that number."""
    return (np.zeros(1, np.uint8), 8) if lanes <= 8 else (np.zeros(1, np.uint64), 64)


def blocks_each(population: Population, width: int, workers: int) -> int:
    """How many blocks of lanes a thread takes at a time: all of a network if there are networks enough."""
    blocks = -(-population.lanes // width)
    shares = -(-4 * workers // population.size)
    return max(1, blocks // shares)


def _rows(population: Population, k: int, charges: Floats, width: int) -> NDArray[Any]:
    """Input charges as (window, inputs, c + W): begun anew after c, so that any W lanes lie side by side."""
    if charges.ndim != 3 or not len(charges):
        raise ValueError(f"input charges of shape {charges.shape}, not (lanes, inputs, timesteps)")
    if population.kind != np.float64:
        info = np.iinfo(population.kind)
        if not (np.trunc(charges) == charges).all():
            raise ValueError(f"input charges of network {k} are not whole numbers")
        wrap = population.nets.wrap.all()  # what goes beyond wraps around
        if charges.size and not wrap and not (info.min <= charges.min() and charges.max() <= info.max):
            raise ValueError(
                f"input charges of network {k} reach from {charges.min():g} to {charges.max():g}; "
                "pack the population for such charges"
            )
    elif not np.isfinite(charges).all():
        raise ValueError(f"input charges of network {k} are not finite")
    order = np.arange(len(charges) + width) % len(charges)
    whole = charges if population.kind == np.float64 else charges.astype(np.int64)
    return np.ascontiguousarray(whole.transpose(2, 1, 0).astype(population.kind)[:, :, order])


# -- kernels ----------------------------------------------------------------------------------------


@jit(error_model="numpy")
def new_block(nets: Nets, p: int, like: Any, words: Any, width: int, chunk: int) -> Block:
    """Room for W lanes of network p; its weights and thresholds where all lanes have the same."""
    first = nets.neuron[p]
    n, outputs = nets.neuron[p + 1] - first, nets.outputs[p]
    e = nets.entry[first + n] - nets.entry[first]
    return Block(
        aligned(e * width, like),
        aligned(n * width, like),
        np.zeros(e, np.uint64),
        np.zeros(n, np.uint64),
        aligned(n * width, like),
        np.zeros((nets.depth[p] + chunk) * n, words.dtype),
        np.zeros(n * width if nets.halves[p] else 0, np.int64),
        aligned(n * width, np.zeros(1, np.int16)),
        np.zeros(outputs, np.uint64),
        np.zeros(outputs * width, np.int32),
    )


@jit(error_model="numpy")
def assign(
    nets: Nets,
    p: int,
    block: Block,
    width: int,
    slots: Ints,
    rows: Ints,
    loaded: Ints,
    lowest: float,
    highest: float,
) -> None:
    """Rows `rows` of the weights and thresholds of network p into lanes `slots` of a block, where `loaded`
    says that others are there. Thresholds beyond what a charge can reach are dead neurons."""
    e, n = len(block.present), len(block.alive)
    weight, present, threshold, alive = block.weight, block.present, block.threshold, block.alive
    weights, limits = nets.weight, nets.threshold
    for k in range(len(slots)):
        slot, row = slots[k], rows[k]
        if loaded[slot] == row:
            continue
        bit = np.uint64(1) << np.uint64(slot)
        if loaded[slot] < 0 or nets.weight_rows[p] > 1:
            at = nets.weight_at[p] + (row * e if nets.weight_rows[p] > 1 else 0)
            for j in range(e):
                value = weights[at + j]
                if np.isnan(value):
                    weight[j * width + slot] = 0
                    present[j] &= ~bit
                else:
                    weight[j * width + slot] = number(weight, value)
                    present[j] |= bit
        if loaded[slot] < 0 or nets.threshold_rows[p] > 1:
            at = nets.threshold_at[p] + (row * n if nets.threshold_rows[p] > 1 else 0)
            for i in range(n):
                value = limits[at + i]
                if value > highest:
                    threshold[i * width + slot] = 0
                    alive[i] &= ~bit
                else:
                    threshold[i * width + slot] = number(threshold, max(value, lowest))
                    alive[i] |= bit
        loaded[slot] = row


@jit(error_model="numpy")
def number(like: Any, value: float) -> Any:
    """A number of the type of an array; integers keep the lowest bits."""
    return like.dtype.type(value) if like.dtype.type(0.5) > 0 else like.dtype.type(np.int64(value))


@jit(error_model="numpy")
def limits(like: Any) -> tuple[float, float]:
    """The lowest and highest threshold of a type of number."""
    if like.dtype.type(0.5) > 0:
        return -np.inf, 1.7976931348623157e308
    bits = 8 * like.itemsize
    return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1


@jit(error_model="numpy")
def _halve(charge: Any, heard: Ints, at: int, width: int, arrived: Any, now: int, code: int) -> None:
    """Caspian's leak of one neuron in the lanes where something arrives."""
    for slot in range(width):
        if (arrived >> np.uint64(slot)) & np.uint64(1):
            left = halved(np.int64(charge[at + slot]), now - heard[at + slot], code)
            charge[at + slot] = charge.dtype.type(left)
            heard[at + slot] = now


@jit(error_model="numpy", inline="always")
def advance(
    nets: Nets,
    p: int,
    block: Block,
    active: Any,
    width: int,
    steps: int,
    rows: Any,
    rows_at: int,
    stride: int,
    spans: Spans,
    regions: Any,
    watch: bool,
    began: int,
    now: int,
) -> None:
    """A block for `steps` timesteps, at most as many as it keeps words for, in the lanes of `active`.

    Inputs come from `rows`, or from `spans` where there are any. `watch`: note when outputs fire first, where
    `began` is the time of the first step; `now` is the same since the lanes were at rest. See `Program` for
    what a timestep is.
    """
    begin = nets.neuron[p]
    n, inputs = nets.neuron[p + 1] - begin, nets.inputs[p]
    entry, depth = nets.entry[begin], nets.depth[p]
    lazy, soft, wrap, decays, halves = (
        nets.lazy[p],
        nets.soft[p],
        nets.wrap[p],
        nets.decays[p],
        nets.halves[p],
    )
    asks = lazy or halves
    words = block.words
    like = block.charge
    nothing = zero(like, words)
    lowest, _ = limits(like)
    floor = splat(like.dtype.type(max(nets.floor[p], lowest)), nothing)
    above = splat(like.dtype.type(nets.above[p]), nothing)
    spanned = len(spans.at) > 0
    for t in range(steps):
        row = (depth + t) * n
        for i in range(n):
            x = nothing
            arrived = np.uint64(0)
            for e in range(item(nets.entry, begin + i) - entry, item(nets.entry, begin + i + 1) - entry):
                spikes = np.uint64(item(words, row + item(nets.back, entry + e)))
                x = add_where(spikes, x, load(block.weight, e * width, words))
                if asks:
                    arrived |= spikes & item(block.present, e)
            port = item(nets.input, begin + i)
            if port >= 0:
                if spanned:
                    for q in range(item(spans.at, t * inputs + port), item(spans.at, t * inputs + port + 1)):
                        region = load(regions, item(spans.observation, q) * width, words)
                        inside = between(
                            region, splat(item(spans.low, q), region), splat(item(spans.many, q), region)
                        )
                        x = add_where(inside, x, splat(item(spans.charge, q), x))
                        arrived |= inside
                elif rows_at >= 0:
                    given = load(rows, rows_at + (t * inputs + port) * stride, words)
                    x = add(x, given)
                    if asks:
                        arrived |= differ(given, nothing)
            able = item(block.alive, i) & np.uint64(active)
            if item(nets.resting, begin + i) > 0:
                resting = np.uint64(0)
                for r in range(1, item(nets.resting, begin + i) + 1):
                    resting |= np.uint64(item(words, row - r * n + i))
                x = where(resting, nothing, x)
                able &= ~resting
            if halves and nets.halving[begin + i] >= 0 and arrived != 0:
                _halve(like, block.heard, i * width, width, arrived, now + t, nets.halving[begin + i])
            c = add(load(like, i * width, words), x)
            if wrap:
                c = wrapped(c)
            threshold = load(block.threshold, i * width, words)
            if lazy:
                able &= arrived
            fired = reaches(able, c, threshold)
            kept = c
            if item(nets.leak, begin + i):
                kept = nothing
            after = subtract(c, subtract(threshold, above)) if soft else nothing
            c = where(fired, after, kept)
            if decays:
                c = scale(c, item(nets.decay, begin + i))
            store(like, i * width, maximum(c, floor))
            words[row + i] = fired
            # Whether any lane fires is hard to predict: to add nothing is quicker than to ask.
            counts = load(block.counts, i * width, words)
            store(block.counts, i * width, add_where(fired, counts, splat(np.int16(1), counts)))
            if watch and item(nets.output, begin + i) >= 0:
                port = item(nets.output, begin + i)
                new = fired & ~block.seen[port]
                if new != 0:
                    block.seen[port] |= new
                    first = load(block.first, port * width, words)
                    time = splat(np.int32(began + t), first)
                    store(block.first, port * width, where(new, time, first))
    for k in range(depth * n):  # the last words are what the next steps look back to
        words[k] = words[steps * n + k]


@jit(error_model="numpy")
def flush(found: NDArray[np.int16], n: int, width: int, slots: int, lanes: Ints, counts: Ints) -> None:
    """Add the spikes found in the first `slots` slots to `counts` (lanes · n,), and count from 0 again."""
    for slot in range(slots):
        at = lanes[slot] * n
        for i in range(n):
            counts[at + i] += found[i * width + slot]
    found[:] = 0


@jit(error_model="numpy", nogil=True)
def _run(
    nets: Nets,
    words: Any,
    like: Any,
    rows: Any,
    rows_at: Ints,
    windows: Ints,
    strides: Ints,
    steps: int,
    lanes: int,
    repeat: int,
    group: int,
    counts: Ints,
    counts_at: Ints,
    first: NDArray[np.int32],
    first_at: Ints,
    counter: Ints,
) -> None:
    width = 8 * words.itemsize
    blocks = (lanes + width - 1) // width
    shares = (blocks + group - 1) // group
    total = (len(nets.neuron) - 1) * shares
    unit = take(counter)
    while unit < total:
        p, share = unit // shares, unit % shares
        some = counts[counts_at[p] : counts_at[p + 1]]
        fired = first[first_at[p] : first_at[p + 1]]
        _blocks(
            nets, p, share * group, min(blocks, (share + 1) * group), words, like, rows, rows_at[p],
            windows[p], strides[p], steps, lanes, repeat, some, fired,
        )  # fmt: skip
        unit = take(counter)


@jit(error_model="numpy")
def _blocks(
    nets: Nets,
    p: int,
    start: int,
    stop: int,
    words: Any,
    like: Any,
    rows: Any,
    rows_at: int,
    window: int,
    stride: int,
    steps: int,
    lanes: int,
    repeat: int,
    counts: Ints,
    first: NDArray[np.int32],
) -> None:
    """Blocks `start` … `stop` − 1 of network p."""
    width = 8 * words.itemsize
    n, outputs = nets.neuron[p + 1] - nets.neuron[p], nets.outputs[p]
    block = new_block(nets, p, like, words, width, CHUNK)
    lowest, highest = limits(like)
    empty = np.zeros(0, np.int64)
    small = np.zeros(0, np.int16)
    spans = Spans(empty, empty, small, small, np.zeros(0, like.dtype))
    period = stride - width
    slots, lane, rows_of, loaded = (
        np.arange(width),
        np.zeros(width, np.int64),
        np.zeros(width, np.int64),
        np.full(width, -1),
    )
    for b in range(start, stop):
        used = min(width, lanes - b * width)
        for slot in range(used):
            lane[slot] = b * width + slot
            rows_of[slot] = lane[slot] // repeat
        assign(nets, p, block, width, slots[:used], rows_of, loaded, lowest, highest)
        block.charge[:] = 0
        block.words[:] = 0
        block.seen[:] = 0
        block.first[:] = -1
        active = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - used)
        base = rows_at + (b * width) % period
        done = 0
        while done < steps:
            now = min(CHUNK, steps - done)
            if done < window:
                now = min(now, window - done)
            place = base + done * nets.inputs[p] * stride if done < window else -1
            advance(
                nets, p, block, active, width, now, rows, place, stride, spans, small, True, done, done
            )  # fmt: skip
            done += now
            flush(block.counts, n, width, used, lane, counts)
        for slot in range(used):
            for o in range(outputs):
                first[(b * width + slot) * outputs + o] = block.first[o * width + slot]
