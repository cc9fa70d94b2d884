"""A spiking network as a NIR graph."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from os import PathLike, fspath
from typing import Any, NamedTuple

import numpy as np

from vilfredo.spiking.network import Floats, Ints, NetworkError, Properties, SpikingNetwork
from vilfredo.spiking.nir.loss import KEY, Loss, fingerprint, listed, package
from vilfredo.spiking.program import Program
from vilfredo.spiking.tennlab import document

LARGEST = 2**30  # bytes of all weight matrices


class Arrays(NamedTuple):
    """What a graph is made of; neurons in ascending order of their numbers."""

    numbers: Ints
    threshold: Floats  # fire at it or above
    source: Ints
    target: Ints
    delay: Ints
    weight: Floats
    inputs: Ints
    outputs: Ints
    whole: bool


def write(
    network: SpikingNetwork, path: str | PathLike[str], program: Program | None = None, dt: float = 1.0
) -> tuple[Loss, ...]:
    """Write a `.nir` file of `graph`, and say what it cannot say. Raises `NetworkError` and `OSError`."""
    made, losses = graph(network, program, dt)
    package().write(fspath(path), made)
    return losses


def graph(
    network: SpikingNetwork, program: Program | None = None, dt: float = 1.0
) -> tuple[Any, tuple[Loss, ...]]:
    """A `nir.NIRGraph` that means this network, and what it cannot say.

    `program` is what a processor makes of the network (`Processor(params).program(network)`): its weights,
    thresholds, delays and leak count. Without one every neuron fires at its Threshold or above and keeps its
    charge until then, and synapses have their Weight and Delay.

    Nodes: `input` → `input_weights` → `neurons` → `output_weights` → `output`, and for each delay of d
    timesteps that some synapse has `neurons` → `delay_d` → `weights_d` → `neurons`. `neurons` is an IF node,
    with neurons in ascending order of their numbers and r = 1 / dt; if all lose their charge after every step
    it is an LIF node with tau = dt. Firing at the threshold or above is NIR's strict `>` with the threshold
    lowered by 0.5 where all numbers are whole, and else to the next smaller number of double precision. An
    input of 1 at the node `input` is a normalised input of 1 to the processor, without one a charge of 1.

    Raises `NetworkError` for a network without inputs or outputs and for one too large for matrices.
    """
    nir = package()
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt is the length of a timestep, more than 0, not {dt!r}")
    for what, ends in (("inputs", network.inputs), ("outputs", network.outputs)):
        if not len(ends):
            raise NetworkError(f"a NIR graph has inputs and outputs; the network has no {what}")
    it = _of_network(network) if program is None else _of_program(program)
    n = len(it.numbers)
    delays = np.unique(it.delay)
    if (len(delays) + 2) * n * n * 8 > LARGEST:
        raise NetworkError(
            f"{n} neurons with {len(delays)} different delays are too many for NIR, which has matrices"
        )
    ones = np.ones(n)
    above = it.threshold - 0.5 if it.whole else np.nextafter(it.threshold, -np.inf)
    leaky = program is not None and bool(program.leak.all())
    enter, leave = np.zeros((n, len(it.inputs))), np.zeros((len(it.outputs), n))
    enter[it.inputs, np.arange(len(it.inputs))] = 1.0 if program is None else program.one
    leave[np.arange(len(it.outputs)), it.outputs] = 1.0
    nodes = {
        "input": nir.Input({"input": np.array([len(it.inputs)])}),
        "input_weights": nir.Linear(enter),
        "neurons": nir.LIF(dt * ones, ones, 0 * ones, above, 0 * ones)
        if leaky
        else nir.IF(ones / dt, above, 0 * ones),
        "output_weights": nir.Linear(leave),
        "output": nir.Output({"output": np.array([len(it.outputs)])}),
    }
    way = ["input", "input_weights", "neurons", "output_weights", "output"]
    edges = list(itertools.pairwise(way))
    for d in delays.tolist():
        with_d = it.delay == d
        weight = np.zeros((n, n))
        weight[it.target[with_d], it.source[with_d]] = it.weight[with_d]
        nodes[f"delay_{d}"], nodes[f"weights_{d}"] = nir.Delay(d * dt * ones), nir.Linear(weight)
        edges += [("neurons", f"delay_{d}"), (f"delay_{d}", f"weights_{d}"), (f"weights_{d}", "neurons")]
    try:
        kept = json.dumps(
            {
                "dt": dt,
                "fingerprint": fingerprint(nodes, edges),
                "properties": network.properties != Properties(),
                "network": document(network),
            },
            allow_nan=False,
        )
    except (TypeError, ValueError) as problem:
        raise NetworkError(f"the network's data are not JSON: {problem}") from None
    made = nir.NIRGraph(nodes=nodes, edges=edges, metadata={KEY: kept})
    return made, tuple(_losses(network, it, program))


def _of_network(network: SpikingNetwork) -> Arrays:
    order = np.argsort(network.ids, kind="stable")
    place = np.argsort(order, kind="stable")
    for name, columns, needed in (
        ("Threshold", network.neurons, network.size),
        ("Weight", network.synapses, len(network.source)),
        ("Delay", network.synapses, len(network.source)),
    ):
        if needed and name not in columns:
            raise NetworkError(f"the network has no {name}; a NIR graph of it needs a processor's program")
    delay = network.delay
    for i in np.flatnonzero((delay < 1) | (delay != np.floor(delay)))[:1]:
        a, b = network.ids[network.source[i]], network.ids[network.target[i]]
        raise NetworkError(
            f"the synapse from {a} to {b}: its Delay is {delay[i]:g}, not a whole number from 1"
        )
    threshold, weight = network.threshold[order], network.weight
    whole = all(bool((values == np.floor(values)).all()) for values in (threshold, weight))
    return Arrays(
        network.ids[order],
        threshold,
        place[network.source],
        place[network.target],
        delay.astype(np.int64),
        weight,
        place[network.inputs],
        place[network.outputs],
        whole,
    )


def _of_program(program: Program) -> Arrays:
    source = np.repeat(np.arange(program.size), np.diff(program.first))
    ends = program.inputs, program.outputs
    return Arrays(
        program.numbers,
        program.threshold,
        source,
        program.target,
        program.delay,
        program.weight,
        *ends,
        program.exact,
    )


def _losses(network: SpikingNetwork, it: Arrays, program: Program | None) -> Iterator[Loss]:
    """All that the nodes and edges do not say."""
    numbers = it.numbers
    if program is None and "proc_params" in network.data:
        yield Loss(
            "the network",
            "its processor's parameters (leak, min_potential and others) do not shape the graph, "
            "for no program was given",
            True,
        )
    if program is not None:
        yield from _of_processor(program, numbers)
    if not it.whole:
        yield Loss(
            listed("neuron", numbers),
            "firing at exactly the threshold needs double precision; in single precision it is lost",
        )
    if len(silent := np.flatnonzero(it.weight == 0)):
        ends = [f"from {numbers[it.source[i]]} to {numbers[it.target[i]]}" for i in silent]
        yield Loss(listed("synapse", ends), "a synapse of weight 0 is none in a matrix", True)
    if not np.array_equal(network.ids, np.arange(network.size)):
        yield Loss(listed("neuron", network.ids.tolist()), "their numbers and order", True)
    if network.names:
        yield Loss(listed("neuron", list(network.names)), "their names", True)
    if network.coordinates:
        yield Loss(listed("neuron", list(network.coordinates)), "their coordinates", True)
    for what, columns, said in (
        ("neurons", network.neurons, {"Threshold"}),
        ("synapses", network.synapses, {"Weight", "Delay"}),
    ):
        if others := [name for name in columns if name not in said]:
            yield Loss(f"the {what}", f"their {', '.join(others)}", True)
    if network.properties != Properties():
        yield Loss("the network", "ranges and kinds of its properties", True)
    if network.values:
        yield Loss("the network", "its own values", True)
    if network.data:
        yield Loss("the network", f"its associated data ({', '.join(network.data)})", True)
    if network.extras:
        yield Loss("the network", "what else its file said", True)


def _of_processor(program: Program, numbers: Ints) -> Iterator[Loss]:
    """What a processor does that IF neurons do not."""
    if program.leak.all():
        yield Loss(
            listed("neuron", numbers), "losing all charge after a step is tau = dt, by Euler's method with dt"
        )
    elif program.leak.any():
        leaky = numbers[program.leak]
        yield Loss(listed("neuron", leaky), "they lose their charge after every step, others do not")
    if program.lazy and len(quick := numbers[program.threshold <= 0]):
        yield Loss(
            listed("neuron", quick),
            "with a threshold of 0 or less they fire only if something arrives, in a graph always",
        )
    if np.isfinite(program.floor):
        yield Loss(
            listed("neuron", numbers),
            f"a charge below {program.floor:g} (min_potential) is raised to it; potentials have no floor",
        )
    if program.resting.any():
        yield Loss(listed("neuron", numbers[program.resting > 0]), "their refractory period")
    if program.soft:
        yield Loss(
            listed("neuron", numbers), "firing takes away the threshold; in the graph the charge becomes 0"
        )
    if program.wrap:
        yield Loss(listed("neuron", numbers), "charges wrap around in 8 bits")
    if len(program.decay) and len(fading := numbers[program.decay != 1]):
        yield Loss(listed("neuron", fading), "their charge decays")
    if len(program.halving) and len(fading := numbers[program.halving >= 0]):
        yield Loss(listed("neuron", fading), "their charge halves with time, in integers")
