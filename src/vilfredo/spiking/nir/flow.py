"""Where spikes go in a NIR graph: its neurons, and all paths between them as weights and delays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vilfredo.spiking.network import Floats, Ints, NetworkError
from vilfredo.spiking.nir.lines import KINDS, Lines, Port, called, through, vector

NEURONS = ("IF", "LIF", "CubaLIF", "Threshold")


@dataclass(frozen=True)
class Synapses:
    """One beside the other: sources, targets, delays and weights."""

    source: Ints
    target: Ints
    delay: Ints
    weight: Floats


@dataclass
class Flow:
    """Neurons by number, first those of the graph (0 … size − 1), then `relays` for inputs.

    A neuron multiplies its charge with `decay` after a step and fires above `threshold`, strictly.
    """

    threshold: Floats
    decay: Floats
    names: list[str]
    inputs: list[tuple[str, int]] = field(default_factory=list)  # Input nodes and their widths
    entries: list[int] = field(default_factory=list)  # the neuron of each element of them
    outputs: list[int] = field(default_factory=list)
    relays: int = 0
    parts: list[Synapses] = field(default_factory=list)  # one for each path
    instant: list[str] = field(default_factory=list)  # groups that have connections without delay

    @property
    def size(self) -> int:
        return len(self.threshold)


@dataclass(frozen=True)
class Group:
    """The neurons of one node: v ← decay · v + gain · input."""

    start: int
    shape: tuple[int, ...]
    threshold: Floats
    decay: Floats
    gain: Floats


def trace(graph: Any, dt: float) -> Flow:
    """Follow every path. Raises `NetworkError` naming the node that a network cannot express."""
    if not (dt > 0 and np.isfinite(dt)):
        raise ValueError(f"dt is the length of a timestep, more than 0, not {dt!r}")
    nodes, edges = _flat(graph)
    groups: dict[str, Group] = {}
    start = 0
    for name, node in nodes.items():
        kind = type(node).__name__
        if kind in NEURONS:
            groups[name] = _group(name, node, kind, dt, start)
            start += len(groups[name].threshold)
        elif kind not in (*KINDS, "Input", "Output"):
            raise NetworkError(f"node {name!r} is {called(kind)}, which a spiking network cannot express")
    if not groups:
        raise NetworkError("the graph has no neurons (IF, LIF, CubaLIF or Threshold)")
    it = Flow(
        np.concatenate([group.threshold for group in groups.values()]),
        np.concatenate([group.decay for group in groups.values()]),
        [
            name if len(group.threshold) == 1 else f"{name}.{i}"
            for name, group in groups.items()
            for i in range(len(group.threshold))
        ],
    )
    ahead: dict[str, list[str]] = {name: [] for name in nodes}
    for begin, end in edges:
        ahead[begin].append(end)
    for name, group in groups.items():
        for path, lines in _paths(name, group.shape, nodes, ahead, dt):
            _connect(it, path, lines, groups, nodes)
    _enter(it, nodes, ahead, groups, dt)
    _check_outputs(it, nodes)
    return it


# -- the graph ------------------------------------------------------------------------------------


def _flat(graph: Any, prefix: str = "") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges without subgraphs; a node within `sub` is called `sub.node`."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    into: dict[str, list[str]] = {}
    out_of: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        full = f"{prefix}{name}"
        if type(node).__name__ != "NIRGraph":
            nodes[full] = Port() if prefix and type(node).__name__ in ("Input", "Output") else node
            continue
        inner, more = _flat(node, f"{full}.")
        nodes |= inner
        edges += more
        into[full] = _port(full, node, "Input")
        out_of[full] = _port(full, node, "Output")
    for a, b in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        for end in (a, b):
            if end not in graph.nodes:
                raise NetworkError(
                    f"the edge from {prefix + a!r} to {prefix + b!r}: there is no node {end!r}"
                )
        edges += [
            (x, y) for x in out_of.get(prefix + a, [prefix + a]) for y in into.get(prefix + b, [prefix + b])
        ]
    return nodes, edges


def _port(full: str, graph: Any, kind: str) -> list[str]:
    found = [f"{full}.{name}" for name, node in graph.nodes.items() if type(node).__name__ == kind]
    if len(found) != 1:
        raise NetworkError(f"node {full!r} is a graph with {len(found)} {kind} nodes, not one")
    return found


def _group(name: str, node: Any, kind: str, dt: float, start: int) -> Group:
    """The neurons of a node, by Euler's method with timesteps of `dt`."""
    where = f"node {name!r}, {called(kind)},"
    if kind == "Threshold":
        threshold = vector(where, "threshold", node.threshold)
        ones = np.ones(len(threshold))
        return Group(start, np.shape(node.threshold), threshold, 0 * ones, ones)
    threshold = vector(where, "v_threshold", node.v_threshold)
    size, shape = len(threshold), np.shape(node.v_threshold)

    def value(field: str) -> Floats:
        return np.broadcast_to(vector(where, field, getattr(node, field)), size)

    for field_ in ("v_leak", "v_reset"):
        if getattr(node, field_, None) is not None and (value(field_) != 0).any():
            bad = value(field_)[value(field_) != 0][0]
            why = "a constant drive" if field_ == "v_leak" else "a reset to another value"
            raise NetworkError(
                f"{where} has {field_} {bad:g}: {why} is nothing a spiking network can express"
            )
    if kind == "IF":
        return Group(start, shape, threshold, np.ones(size), value("r") * dt)
    tau = value("tau_mem" if kind == "CubaLIF" else "tau")
    share = _share(where, "tau_mem" if kind == "CubaLIF" else "tau", tau, dt)
    gain = value("r") * share
    if kind == "CubaLIF":
        current = _share(where, "tau_syn", value("tau_syn"), dt)
        if (current != 1).any():
            raise NetworkError(
                f"{where} has a synaptic current that lasts (tau_syn {value('tau_syn')[0]:g}, timestep "
                f"{dt:g}), which a spiking network cannot express"
            )
        gain = gain * value("w_in")
    return Group(start, shape, threshold, 1 - share, gain)


def _share(where: str, name: str, tau: Floats, dt: float) -> Floats:
    """dt / tau, the share of a potential that a timestep takes away."""
    with np.errstate(divide="ignore"):
        share: Floats = np.where(np.isclose(tau, dt, rtol=1e-9, atol=0), 1.0, dt / tau)
    if ((share <= 0) | (share > 1)).any():
        bad = tau[(share <= 0) | (share > 1)][0]
        raise NetworkError(f"{where} has {name} {bad:g}, less than a timestep of {dt:g}; give a smaller dt")
    return share


# -- the paths ------------------------------------------------------------------------------------


def _paths(
    name: str, shape: tuple[int, ...], nodes: Mapping[str, Any], ahead: Mapping[str, list[str]], dt: float
) -> Iterator[tuple[list[str], Lines]]:
    """All ways from the elements of a node to the next neurons or outputs."""
    todo: list[tuple[list[str], Lines]] = [([name], Lines.of(shape))]
    while todo:
        path, lines = todo.pop()
        for after in ahead[path[-1]]:
            kind = type(nodes[after]).__name__
            if kind in (*NEURONS, "Output"):
                yield [*path, after], lines
            elif kind == "Input":
                raise NetworkError(f"node {after!r} is an Input, but node {path[-1]!r} leads to it")
            elif after in path:
                raise NetworkError(f"node {after!r} is in a loop without a neuron")
            else:
                todo.append(([*path, after], through(after, nodes[after], lines, dt)))


# -- what they come to ----------------------------------------------------------------------------


def _connect(
    it: Flow, path: list[str], lines: Lines, groups: Mapping[str, Group], nodes: Mapping[str, Any]
) -> None:
    """Synapses, or outputs, of a path that begins at neurons."""
    first, last = groups[path[0]], path[-1]
    if last not in groups:
        _read_out(it, path, lines, first, nodes)
        return
    found = _entries(path, lines, groups[last])
    if (found.delay == 0).any() and last not in it.instant:
        it.instant.append(last)
    it.parts.append(
        Synapses(found.source + first.start, found.target, np.maximum(found.delay, 1), found.weight)
    )


def _entries(path: list[str], lines: Lines, group: Group) -> Synapses:
    """All connections of a path into a group; sources are elements of the path's beginning."""
    if lines.width != len(group.threshold):
        raise NetworkError(
            f"node {path[-1]!r} has {len(group.threshold)} neurons, "
            f"node {path[-2]!r} gives {lines.width} values"
        )
    parts = [(delay, matrix.tocoo()) for delay, matrix in sorted(lines.matrices.items())]
    row = np.concatenate([matrix.row for _, matrix in parts]).astype(np.int64)
    return Synapses(
        np.concatenate([matrix.col for _, matrix in parts]).astype(np.int64),
        row + group.start,
        np.concatenate([np.full(matrix.nnz, delay, np.int64) for delay, matrix in parts]),
        np.concatenate([matrix.data for _, matrix in parts]) * group.gain[row],
    )


def _read_out(it: Flow, path: list[str], lines: Lines, group: Group, nodes: Mapping[str, Any]) -> None:
    """Outputs are neurons, so every element is the spikes of one, as they are."""
    for delay, matrix in lines.matrices.items():
        if not matrix.nnz:
            continue
        if delay or (matrix.data != 1).any() or (np.diff(matrix.indptr) != 1).any():
            raise NetworkError(
                f"node {path[-2]!r} gives the output {path[-1]!r} other than the spikes of one neuron each, "
                "which a spiking network cannot express"
            )
        it.outputs += (group.start + matrix.indices).tolist()


def _enter(
    it: Flow,
    nodes: Mapping[str, Any],
    ahead: Mapping[str, list[str]],
    groups: Mapping[str, Group],
    dt: float,
) -> None:
    """Inputs: the neurons they are connected with one to one, or relays."""
    for name, node in nodes.items():
        if type(node).__name__ != "Input":
            continue
        shape = tuple(np.asarray(next(iter(node.input_type.values())), np.int64).reshape(-1).tolist())
        width, parts = int(np.prod(shape)), []
        for path, lines in _paths(name, shape, nodes, ahead, dt):
            if path[-1] not in groups:
                raise NetworkError(f"node {name!r} leads to the output {path[-1]!r} without a neuron")
            parts.append(_entries(path, lines, groups[path[-1]]))
        it.inputs.append((name, width))
        if (direct := _direct(parts, width, it.entries)) is not None:
            it.entries += direct
            continue
        start = it.size + it.relays
        it.relays += width
        it.entries += range(start, start + width)
        it.names += [name if width == 1 else f"{name}.{i}" for i in range(width)]
        it.parts += [Synapses(p.source + start, p.target, p.delay + 1, p.weight) for p in parts]
    if not it.entries:
        raise NetworkError("the graph has no Input node")


def _direct(parts: list[Synapses], width: int, taken: list[int]) -> list[int] | None:
    """The neuron of each input element if each leads to one neuron of its own, as it is; else None."""
    if not parts:
        return None
    source, target = (np.concatenate([getattr(p, end) for p in parts]) for end in ("source", "target"))
    plain = all((p.delay == 0).all() and (p.weight == 1).all() for p in parts)
    if not plain or not np.array_equal(np.sort(source), np.arange(width)):
        return None
    found: list[int] = target[np.argsort(source)].tolist()
    return found if len({*found, *taken}) == width + len(taken) else None


def synapses(it: Flow) -> Synapses:
    """All of them, by source and target; what several paths bring to one is added up."""
    if not it.parts:
        nothing = np.zeros(0, np.int64)
        return Synapses(nothing, nothing, nothing, np.zeros(0))
    source, target, delay, weight = (
        np.concatenate([getattr(p, name) for p in it.parts])
        for name in ("source", "target", "delay", "weight")
    )
    order = np.lexsort((delay, target, source))
    source, target, delay, weight = source[order], target[order], delay[order], weight[order]
    again = (np.diff(source) == 0) & (np.diff(target) == 0)
    if len(bad := np.flatnonzero(again & (np.diff(delay) != 0))):
        i = int(bad[0])
        raise NetworkError(
            f"the connection from {it.names[source[i]]!r} to {it.names[target[i]]!r} has two delays, "
            f"{delay[i]} and {delay[i + 1]} timesteps; a network has one synapse from neuron to neuron"
        )
    begin = np.flatnonzero(np.concatenate([[True], ~again])[: len(source)])
    return Synapses(
        source[begin], target[begin], delay[begin], np.add.reduceat(weight, begin) if len(begin) else weight
    )


def _check_outputs(it: Flow, nodes: Mapping[str, Any]) -> None:
    names = [name for name, node in nodes.items() if type(node).__name__ == "Output"]
    if not it.outputs:
        where = f"node {names[0]!r}, an Output, is not connected" if names else "the graph has no Output node"
        raise NetworkError(where)
    if len(set(it.outputs)) != len(it.outputs):
        twice = next(n for i, n in enumerate(it.outputs) if n in it.outputs[:i])
        raise NetworkError(f"the neuron {it.names[twice]!r} is an output twice")
