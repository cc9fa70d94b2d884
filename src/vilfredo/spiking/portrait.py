"""A network as a picture's data: where its neurons stand, its synapses, and what it did in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vilfredo.spiking.network import Floats, Ints, SpikingNetwork
from vilfredo.trial import JSON

ROLES = ("input", "hidden", "output")


def portrait(
    network: SpikingNetwork, spikes: Mapping[int, Sequence[int]], steps: int, window: int = 0
) -> Mapping[str, JSON]:
    """Plain data for a drawing. `spikes`: by neuron number, the timesteps in which it fired, of `steps`;
    `window`: timesteps of one inference (0: there is no such division).

    `neurons` are rows [number, name, role (0 input, 1 hidden, 2 output), x, y (both 0 to 1), spikes, values],
    `synapses` rows [place of the source, place of the target, values], `raster` the timesteps by neuron.
    """
    x, y = positions(network)
    role = roles(network)
    neurons = [
        [
            int(number),
            network.names.get(int(number), ""),
            int(role[i]),
            round(float(x[i]), 3),
            round(float(y[i]), 3),
            len(spikes.get(int(number), ())),
            _values(network.neurons, i),
        ]
        for i, number in enumerate(network.ids)
    ]
    synapses = [
        [int(a), int(b), _values(network.synapses, i)]
        for i, (a, b) in enumerate(zip(network.source, network.target, strict=True))
    ]
    counts = np.bincount(role, minlength=3)
    words = f"{counts[0]} inputs, {counts[1]} hidden, {counts[2]} outputs; {len(synapses)} synapses"
    return {
        "op": "spiking network",
        "args": {"settings": words},
        "inputs": [],
        "neurons": neurons,
        "synapses": synapses,
        "raster": [[int(t) for t in spikes.get(int(number), ())] for number in network.ids],
        "steps": steps,
        "window": window,
    }


def roles(network: SpikingNetwork) -> Ints:
    """Of each neuron: 0 input, 1 hidden, 2 output (also where it is an input as well)."""
    role = np.ones(network.size, dtype=np.int64)
    role[network.inputs] = 0
    role[network.outputs] = 2
    return role


def positions(network: SpikingNetwork) -> tuple[Floats, Floats]:
    """Where the neurons stand, x and y from 0 to 1: inputs in the first column, outputs in the last, hidden
    ones between them by their distance from the inputs; in a column each near those it is connected with."""
    column = _columns(network)
    columns = [np.flatnonzero(column == c) for c in range(int(column.max(initial=0)) + 1)]
    y = np.full(network.size, 0.5)
    for members in columns:
        y[members] = (np.arange(len(members)) + 0.5) / max(1, len(members))
    for sweep in range(6):  # barycentre, to and fro
        for members in columns if sweep % 2 == 0 else columns[::-1]:
            if len(members) < 2 or column[members[0]] == 0:
                continue
            pull = [_pull(network, int(i), y) for i in members]
            members = members[np.argsort(pull, kind="stable")]
            y[members] = (np.arange(len(members)) + 0.5) / len(members)
    last = max(1, len(columns) - 1)
    return column / last, y


def _columns(network: SpikingNetwork) -> Ints:
    role = roles(network)
    distance = np.where(role == 0, 0, -1)
    frontier = np.flatnonzero(distance == 0)
    level = 0
    while len(frontier):
        level += 1
        reached = network.target[np.isin(network.source, frontier)]
        frontier = np.unique(reached[(distance[reached] < 0) & (role[reached] == 1)])
        distance[frontier] = level
    hidden = role == 1
    distance[hidden & (distance < 0)] = 1
    distance[role == 2] = 1 + int(distance[hidden].max(initial=0))
    return distance


def _pull(network: SpikingNetwork, i: int, y: Floats) -> float:
    near = np.concatenate([network.source[network.target == i], network.target[network.source == i]])
    near = near[near != i]
    return float(y[near].mean()) if len(near) else float(y[i])


def _values(columns: Mapping[str, Floats], place: int) -> JSON:
    found: dict[str, JSON] = {}
    for name, values in columns.items():
        value = values[place]
        numbers = [round(float(v), 6) for v in np.atleast_1d(value)]
        plain = [int(v) if v == int(v) else v for v in numbers]
        found[name] = plain[0] if np.ndim(value) == 0 else plain
    return found
