"""What of a spiking network matters to its outputs, and a network without the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.network import SpikingNetwork

Mask = NDArray[np.bool_]


def prune(network: SpikingNetwork, silent: bool = True) -> SpikingNetwork:
    """The network without what cannot change its outputs' spikes, whatever its inputs.

    That is: every hidden neuron from which no path leads to an output, and every synapse to such a neuron.
    With `silent` also every hidden neuron that never fires because no path leads to it from a neuron that
    can begin to fire, and the synapses from there. Inputs can begin to fire, and neurons with a Threshold of
    0 or less: some processors check every neuron in every step. A neuron without a Threshold may, too.

    Inputs and outputs stay, in their order, even if they are connected with nothing; so does the order of
    the rest. Weights play no part: a synapse of weight 0 stays, for it would matter if faults or noise
    changed it. Where a processor draws noise in the order of events, fewer events are other noise.
    """
    return induced(network, *alive(network, silent))


def alive(network: SpikingNetwork, silent: bool = True) -> tuple[Mask, Mask]:
    """What `prune` keeps: neurons (n,) and synapses (s,)."""
    heard = reaching(network)
    neurons, synapses = heard, heard[network.target]
    if silent:
        active = reached(network)
        neurons, synapses = neurons & active, synapses & active[network.source]
    neurons = neurons.copy()
    neurons[network.inputs] = True
    neurons[network.outputs] = True
    return neurons, synapses


def reaching(network: SpikingNetwork) -> Mask:
    """Neurons (n,) that are outputs or have a path to one."""
    return _spread(network.outputs, network.target, network.source, network.size)


def reached(network: SpikingNetwork) -> Mask:
    """Neurons (n,) that can begin to fire (see `prune`), or have a path from one."""
    return _spread(beginning(network), network.source, network.target, network.size)


def beginning(network: SpikingNetwork) -> NDArray[np.int64]:
    """Positions of the neurons that may fire though none has fired before."""
    first = np.ones(network.size, np.bool_)
    if "Threshold" in network.neurons:
        first = network.threshold <= 0
    first[network.inputs] = True
    return np.flatnonzero(first)


def induced(network: SpikingNetwork, neurons: Mask, synapses: Mask) -> SpikingNetwork:
    """The network of these neurons (n,) and synapses (s,); synapses without both ends go, too.

    Inputs and outputs that are not among the neurons are no longer listed.
    """
    if neurons.all() and synapses.all():
        return network
    synapses = synapses & neurons[network.source] & neurons[network.target]
    place = np.cumsum(neurons) - 1
    left = set(network.ids[neurons].tolist())
    return replace(
        network,
        ids=network.ids[neurons],
        neurons={name: values[neurons] for name, values in network.neurons.items()},
        source=place[network.source[synapses]],
        target=place[network.target[synapses]],
        synapses={name: values[synapses] for name, values in network.synapses.items()},
        inputs=place[network.inputs[neurons[network.inputs]]],
        outputs=place[network.outputs[neurons[network.outputs]]],
        names={number: name for number, name in network.names.items() if number in left},
        coordinates={number: at for number, at in network.coordinates.items() if number in left},
        extras=_extras(network, left, synapses),
    )


def _extras(network: SpikingNetwork, left: set[int], synapses: Mask) -> dict[str, Any]:
    """What the file said of the neurons and synapses that are left."""
    extras = dict(network.extras)
    if "nodes" in extras:
        extras["nodes"] = {number: more for number, more in extras["nodes"].items() if number in left}
    if "edges" in extras:
        ends = network.ids[network.source[synapses]].tolist(), network.ids[network.target[synapses]].tolist()
        edges: dict[int, dict[int, Any]] = {}
        rows: Mapping[int, Mapping[int, Any]] = extras["edges"]
        for a, b in zip(*ends, strict=True):
            if b in rows.get(a, {}):
                edges.setdefault(a, {})[b] = rows[a][b]
        extras["edges"] = edges
    return {key: value for key, value in extras.items() if value}


def _spread(start: NDArray[np.int64], here: NDArray[np.int64], there: NDArray[np.int64], size: int) -> Mask:
    """All that is reached from `start` along synapses from `here` to `there`."""
    found = np.zeros(size, np.bool_)
    found[start] = True
    count = -1
    while count != (count := int(np.count_nonzero(found))):
        found[there[found[here]]] = True
    return found
