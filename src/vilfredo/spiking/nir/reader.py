"""A NIR graph as a spiking network, as far as it is one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from vilfredo.spiking.network import NetworkError, Properties, Property, SpikingNetwork
from vilfredo.spiking.nir import flow
from vilfredo.spiking.nir.flow import Flow
from vilfredo.spiking.nir.loss import KEY, Loss, fingerprint, listed, package
from vilfredo.spiking.tennlab import read as read_tennlab

if TYPE_CHECKING:
    from vilfredo.spiking.program import Program

LOWEST = -(2.0**31)  # a potential's floor, where there is none


def read(
    path: str | PathLike[str], dt: float | None = None, metadata: bool = True
) -> tuple[SpikingNetwork, tuple[Loss, ...]]:
    """The network of a `.nir` file; see `network`. Raises `NetworkError`, naming the file, and `OSError`."""
    nir = package()
    with open(path, "rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            raise NetworkError(f"{fspath(path)}: it is no NIR file (those are HDF5)")
    try:
        made = nir.read(fspath(path), type_check=False)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, OSError) as problem:
        first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise NetworkError(f"{fspath(path)}: the package nir cannot read it: {first}") from None
    try:
        return network(made, dt, metadata)
    except NetworkError as problem:
        raise NetworkError(f"{fspath(path)}: {problem}") from None


def network(
    graph: Any, dt: float | None = None, metadata: bool = True
) -> tuple[SpikingNetwork, tuple[Loss, ...]]:
    """The network that a `nir.NIRGraph` means, and what it had that a network has not.

    A graph of `writer.graph` comes back equal from its metadata, unless it was changed since or `metadata` is
    false; then, and for graphs of others, what its nodes say counts, with timesteps of `dt` (None: as in the
    metadata, else 1.0):

    * IF, LIF, Threshold and CubaLIF nodes are neurons, in the order of the nodes, then by element. `v_leak`
      and `v_reset` must be 0. A neuron that keeps its charge or loses all of it after a step is one of RISP
      (leak_mode), whose parameters are put into `data`; if any keeps a part of it, the neurons have a
      `Decay`, the share that is left after a step, and `program` runs them. A CubaLIF is one only if its
      current lasts one timestep (tau_syn = dt).
    * Linear, Affine, Conv1d, Conv2d, SumPool2d, AvgPool2d, Scale, Delay, Flatten and subgraphs between
      neurons are synapses, whose weights take up what a neuron multiplies its input with; there must be no
      bias. A connection without delay takes one timestep.
    * Elements of Input nodes are the input neurons they are connected with one to one by 1, or else neurons
      of their own, of threshold 1, which pass their spikes on one timestep later. Outputs are the neurons
      that an Output node reads one by one.

    Raises `NetworkError` with the name of the node that is none of these.
    """
    kept = _metadata(graph) if metadata else None
    if kept is not None and kept["fingerprint"] == fingerprint(graph.nodes, graph.edges):
        restored = read_tennlab(kept["network"])
        if not kept["properties"]:
            restored = replace(restored, properties=Properties())
        return restored, ()
    if dt is None:
        dt = float(kept["dt"]) if kept is not None else 1.0
    found, losses = _network(flow.trace(graph, dt))
    if kept is not None:
        losses = (Loss("the graph", "it was changed since it was written; its metadata do not fit"), *losses)
    return found, losses


def program(network: SpikingNetwork) -> Program:
    """A network with a `Decay`, or any with Threshold, Weight and Delay, as kernels run it. An input of 1 is
    a charge of 1."""
    from vilfredo.spiking.processors.driver import lower

    leak = network.neurons.get("Leak", np.zeros(network.size)) != 0
    if network.data.get("proc_params", {}).get("leak_mode") == "all":
        leak = np.ones(network.size, np.bool_)
    decay = network.neurons.get("Decay")
    columns = (network.threshold, network.weight)
    whole = decay is None and all(bool((values == np.floor(values)).all()) for values in columns)
    return lower(network, leak=leak, decay=decay, exact=whole, lazy=False)


def _metadata(graph: Any) -> Mapping[str, Any] | None:
    """What this package wrote there; None if there is none that can be read."""
    try:
        text = graph.metadata[KEY]
        kept = json.loads(text.decode() if isinstance(text, bytes) else str(text))
        return kept if {"dt", "fingerprint", "network", "properties"} <= set(kept) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _network(it: Flow) -> tuple[SpikingNetwork, tuple[Loss, ...]]:
    losses = []
    size, relays = it.size, it.relays
    if relays:
        losses.append(
            Loss(
                listed("node", [name for name, _ in it.inputs]),
                f"{relays} neurons of their own pass on spikes of value 1, one timestep later",
            )
        )
    if it.instant:
        losses.append(Loss(listed("node", it.instant), "connections without delay take one timestep here"))
    found = flow.synapses(it)
    whole = all(bool((values == np.floor(values)).all()) for values in (it.decay, found.weight))
    threshold = np.floor(it.threshold) + 1 if whole else np.nextafter(it.threshold, np.inf)
    columns = {"Weight": found.weight, "Delay": found.delay.astype(np.float64)}
    threshold = np.concatenate([threshold, np.ones(relays)])
    decay = np.concatenate([it.decay, np.ones(relays)])
    neurons = {"Threshold": threshold}
    data: dict[str, Any] = {}
    if ((decay == 0) | (decay == 1)).all():
        properties, data = _risp(neurons, columns, decay[:size], relays, whole)
    else:
        neurons["Decay"] = decay
        properties = Properties(
            (_spanning("Threshold", threshold), Property("Decay", "float", 0.0, 1.0, 1)),
            (_spanning("Weight", columns["Weight"]), _delays(columns["Delay"])),
        )
    made = SpikingNetwork(
        ids=np.arange(size + relays),
        neurons=neurons,
        source=found.source,
        target=found.target,
        synapses=columns,
        inputs=np.array(it.entries, np.int64),
        outputs=np.array(it.outputs, np.int64),
        names=dict(enumerate(it.names)),
        properties=properties,
        data=data,
    )
    return made, tuple(losses)


def _risp(
    neurons: dict[str, Any], synapses: Mapping[str, Any], decay: Any, relays: int, whole: bool
) -> tuple[Properties, dict[str, Any]]:
    """Properties and parameters of a RISP that holds the network; adds Leak where only some neurons leak."""
    number = int if whole else float
    mode = "all" if len(decay) and not decay.any() else "none" if decay.all() else "configurable"
    kind: Any = "int" if whole else "float"
    low, high = number(neurons["Threshold"].min()), number(neurons["Threshold"].max())
    weakest = number(min(synapses["Weight"].min(initial=0.0), 0.0))
    strongest = number(max(synapses["Weight"].max(initial=0.0), 1.0))
    slowest = int(synapses["Delay"].max(initial=1.0))
    properties = [Property("Threshold", kind, low, high)]
    if mode == "configurable":
        neurons["Leak"] = np.concatenate([(decay == 0).astype(np.float64), np.zeros(relays)])
        properties.append(Property("Leak", "bool", 0, 1, 1))
    params = {
        "discrete": whole,
        "leak_mode": mode,
        "min_threshold": low,
        "max_threshold": high,
        "min_weight": weakest,
        "max_weight": strongest,
        "max_delay": slowest,
        "min_potential": number(LOWEST),
        "spike_value_factor": number(1),
    }
    weights = (Property("Weight", kind, weakest, strongest), Property("Delay", "int", 1, slowest, 1))
    return Properties(tuple(properties), weights), {"other": {"proc_name": "risp"}, "proc_params": params}


def _spanning(name: str, values: Any) -> Property:
    return Property(name, "float", float(values.min(initial=0.0)), float(values.max(initial=0.0)))


def _delays(values: Any) -> Property:
    return Property("Delay", "int", 1, int(values.max(initial=1.0)), 1)
