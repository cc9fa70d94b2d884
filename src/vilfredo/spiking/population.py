"""Many networks at once, each with perturbed copies: what `Driver.run_population` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from vilfredo.protocols import Fault
from vilfredo.spiking.copies import copies as perturbed
from vilfredo.spiking.kernels import lanes
from vilfredo.spiking.network import Floats, Ints, SpikingNetwork
from vilfredo.spiking.program import Activity, Program

if TYPE_CHECKING:
    from vilfredo.spiking.processors.driver import Driver

Entries: TypeAlias = tuple[list[int], list[int], list[float]]  # neurons, times and charges of inputs


@dataclass(frozen=True, eq=False)
class Population:
    """What P networks with K copies each did in one run from rest.

    `counts` (P, K, o): how often each output fired, o being the most outputs of a network; 0 where there is
    none. `first` (P, K, o): when it fired first, −1: never. `neurons`: for each network (K, n), how often
    each neuron fired, in ascending order of their numbers. `spikes`, `synops` (P, K): all firings, and
    deliveries over synapses. `activity`: for each network, what `Driver.cost` takes. `steps`: timesteps that
    were run.
    """

    counts: Ints
    first: Ints
    neurons: tuple[Ints, ...]
    spikes: Ints
    synops: Ints
    activity: tuple[Activity, ...]
    steps: int


class Cells(NamedTuple):
    """What K copies hold where `program` has its weights, thresholds and delays."""

    program: Program
    weights: Floats  # (K, s)
    thresholds: Floats  # (K, n)
    delays: Ints | None  # (K, s); None: the program's own


def run(
    driver: Driver,
    networks: Sequence[SpikingNetwork],
    inputs: Sequence[Any],
    steps: int,
    copies: int,
    faults: Sequence[Fault],
    seed: int,
    normalized: bool,
) -> Population:
    """See `Driver.run_population`; `steps` are those that run."""
    if copies < 1:
        raise ValueError(f"{copies} copies of each network were asked for; give 1 or more")
    each = _each(inputs, len(networks))
    names = [driver.addresses(network) for network in networks]
    # entries first: a bad spike is found before hours of preparation
    programs = [driver.cells(network) for network in networks]
    entries = [driver.entries(name, spikes, normalized) for name, spikes in zip(names, each, strict=True)]
    alone = copies == 1 and not faults
    own = getattr(driver.params, "seed", 0) if alone else seed
    cells = [_cells(driver, program, copies, faults, own) for program in programs]
    found = driver.run_together(networks, cells, entries, steps) if networks else []
    return _collected(driver, found, [name.outputs for name in names], copies, steps)


def _each(inputs: Sequence[Any], count: int) -> Sequence[Sequence[Any]]:
    """The spikes of each network."""
    if not len(inputs) or (isinstance(inputs[0], tuple) and not (len(inputs[0]) and _many(inputs[0][0]))):
        return [inputs] * count
    if not _many(inputs[0]):
        raise ValueError(
            f"inputs are spikes (neuron's number, time, value), or lists of them, not {inputs[0]!r}"
        )
    if len(inputs[0]) == 3 and not any(map(_many, inputs[0])):
        return [inputs] * count  # spikes written as lists
    if len(inputs) != count:
        raise ValueError(f"{len(inputs)} lists of spikes for {count} networks")
    return inputs


def _many(thing: Any) -> bool:
    return isinstance(thing, (Sequence, np.ndarray)) and not isinstance(thing, str)


def _cells(driver: Driver, program: Program, copies: int, faults: Sequence[Fault], seed: int) -> Cells:
    rng = np.random.default_rng(seed)
    made = perturbed(program, faults, copies, rng, driver.device_weights(program, copies, rng))
    return Cells(program, made.weights, made.thresholds, made.delays)


def in_lanes(
    driver: Driver,
    networks: Sequence[SpikingNetwork],
    cells: Sequence[Cells],
    entries: Sequence[Entries],
    steps: int,
) -> list[Activity]:
    """Side by side in the kernel for many networks, where that is the same; else copy by copy."""
    given: list[Floats] = []
    for cell, entry in zip(cells, entries, strict=True):
        charges = _charges(cell, entry, steps)
        if charges is None or not driver.lanes or not steps:
            return [one_by_one(driver, *row, steps) for row in zip(networks, cells, entries, strict=True)]
        given.append(charges)
    delays = [
        np.broadcast_to(cell.program.delay, cell.weights.shape) if cell.delays is None else cell.delays
        for cell in cells
    ]
    packed = lanes.pack(
        [replace(cell.program, outputs=np.arange(cell.program.size)) for cell in cells],
        weights=[cell.weights for cell in cells],
        thresholds=[cell.thresholds for cell in cells],
        delays=None if all(cell.delays is None for cell in cells) else delays,
        charge=max(float(np.abs(charges).max(initial=0)) for charges in given),
        steps=steps,
    )
    return lanes.run(packed, given, steps)


def _charges(cells: Cells, entries: Entries, steps: int) -> Floats | None:
    """(1, inputs, window) for lanes; None if there is an input of charge 0 in sum, which only an engine takes
    for an arrival, and it matters."""
    program = cells.program
    matters = program.lazy and (
        program.soft or len(program.halving) > 0 or cells.thresholds.min(initial=np.inf) <= 0
    )
    column = {place: i for i, place in enumerate(program.inputs.tolist())}
    window = max((time + 1 for time in entries[1] if time < steps), default=0)
    charges, arrived = np.zeros((len(column), window)), np.zeros((len(column), window), np.bool_)
    for neuron, time, charge in zip(*entries, strict=True):
        if time < steps:
            charges[column[neuron], time] += charge
            arrived[column[neuron], time] = True
    if matters and (arrived & (charges == 0)).any():
        return None
    return ((charges + 128) % 256 - 128 if program.wrap else charges)[None]


def one_by_one(
    driver: Driver, network: SpikingNetwork, cells: Cells, entries: Entries, steps: int
) -> Activity:
    """The copies of one network, each with an engine of its own."""
    delays = [cells.program.delay] * len(cells.weights) if cells.delays is None else cells.delays
    runs = []
    for row in zip(cells.weights, cells.thresholds, delays, strict=True):
        engine = driver.copy(network, cells.program, *row)
        engine.give(*entries)
        runs.append(engine.run(steps, False))
    return Activity(
        np.array([run.counts for run in runs]),
        np.array([run.first for run in runs]),
        np.full(len(runs), steps),
        np.array([run.synops for run in runs]),
    )


def _collected(
    driver: Driver, found: Sequence[Activity], outputs: Sequence[tuple[int, ...]], copies: int, steps: int
) -> Population:
    """`first` of the activities is of all neurons, until here."""
    widest = max(map(len, outputs), default=0)
    counts = np.zeros((len(found), copies, widest), np.int64)
    first = np.full((len(found), copies, widest), -1)
    neurons, activities = [], []
    for p, (activity, ends) in enumerate(zip(found, outputs, strict=True)):
        neurons.append(driver.shown(activity.counts))
        counts[p, :, : len(ends)] = neurons[p][:, ends]
        first[p, :, : len(ends)] = activity.first[:, ends]
        activities.append(replace(activity, first=activity.first[:, ends]))
    spikes = np.array([activity.counts.sum(axis=1) for activity in found]).reshape(len(found), copies)
    synops = np.array([activity.synops for activity in found]).reshape(len(found), copies)
    return Population(counts, first, tuple(neurons), spikes, synops, tuple(activities), steps)
