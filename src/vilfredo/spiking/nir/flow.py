"""Where spikes go in a NIR graph: its neurons, and all paths between them as weights and delays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from vilfredo.spiking.network import Floats, NetworkError

NEURONS = ("IF", "LIF", "CubaLIF", "Threshold")
LINES = ("Linear", "Affine", "Scale", "Delay", "Flatten", "Port")
WIDEST = 2**27  # elements of a matrix

Lines: TypeAlias = Mapping[
    int, Floats
]  # by delay in timesteps: a matrix from the elements at a path's beginning


@dataclass(frozen=True)
class Port:
    """The input or output of a subgraph: passes on what it gets."""


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
    synapses: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)  # delay and weight
    instant: list[str] = field(default_factory=list)  # groups that have connections without delay

    @property
    def size(self) -> int:
        return len(self.threshold)


@dataclass(frozen=True)
class Group:
    """The neurons of one node: v ← decay · v + gain · input."""

    start: int
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
        elif kind not in (*LINES, "Input", "Output"):
            raise NetworkError(f"node {name!r} is a {kind}, which a spiking network cannot express")
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
    for a, b in edges:
        ahead[a].append(b)
    for name, group in groups.items():
        for path, lines in _paths(name, len(group.threshold), nodes, ahead, dt):
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
    where = f"node {name!r}, a {kind},"
    if kind == "Threshold":
        threshold = _vector(where, "threshold", node.threshold)
        return Group(start, threshold, np.zeros(len(threshold)), np.ones(len(threshold)))
    threshold = _vector(where, "v_threshold", node.v_threshold)
    size = len(threshold)

    def value(field: str) -> Floats:
        return np.broadcast_to(_vector(where, field, getattr(node, field)), size)

    for field_ in ("v_leak", "v_reset"):
        if getattr(node, field_, None) is not None and (value(field_) != 0).any():
            bad = value(field_)[value(field_) != 0][0]
            why = "a constant drive" if field_ == "v_leak" else "a reset to another value"
            raise NetworkError(
                f"{where} has {field_} {bad:g}: {why} is nothing a spiking network can express"
            )
    if kind == "IF":
        return Group(start, threshold, np.ones(size), value("r") * dt)
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
    return Group(start, threshold, 1 - share, gain)


def _vector(where: str, name: str, values: Any) -> Floats:
    found = np.asarray(values, np.float64).reshape(-1)
    if not np.isfinite(found).all():
        raise NetworkError(f"{where} has a {name} that is not a finite number")
    return found


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
    name: str, size: int, nodes: Mapping[str, Any], ahead: Mapping[str, list[str]], dt: float
) -> Iterator[tuple[list[str], Lines]]:
    """All ways from the elements of a node to the next neurons or outputs."""
    _check_width(name, size, size)
    todo: list[tuple[list[str], Lines]] = [([name], {0: np.eye(size)})]
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
                todo.append(([*path, after], _through(after, nodes[after], kind, lines, dt)))


def _through(name: str, node: Any, kind: str, lines: Lines, dt: float) -> Lines:
    """Lines that go on through a node."""
    if kind in ("Flatten", "Port"):
        return lines
    width = len(next(iter(lines.values()))) if lines else 0
    if kind == "Delay":
        steps = _steps(name, node, width, dt)
        longer: dict[int, Floats] = {}
        for delay, matrix in lines.items():
            for step in np.unique(steps).tolist():
                part = np.where((steps == step)[:, None], matrix, 0)
                longer[delay + step] = longer.get(delay + step, 0) + part
        return longer
    if kind == "Scale":
        scale = _vector(f"node {name!r}, a Scale,", "scale", node.scale)
        if len(scale) not in (1, width):
            raise NetworkError(f"node {name!r} has {len(scale)} scales for {width} elements")
        return {delay: matrix * scale[:, None] for delay, matrix in lines.items()}
    weight = np.asarray(node.weight, np.float64)
    if kind == "Affine" and np.any(bias := np.asarray(node.bias, np.float64)):
        raise NetworkError(
            f"node {name!r} is an Affine with a bias of {bias[bias != 0].flat[0]:g}: a constant drive is "
            "nothing a spiking network can express"
        )
    if weight.ndim != 2 or weight.shape[1] != width:
        raise NetworkError(f"node {name!r} has weights of shape {weight.shape} for {width} elements")
    if not np.isfinite(weight).all():
        raise NetworkError(f"node {name!r} has a weight that is not a finite number")
    _check_width(name, len(weight), max((m.shape[1] for m in lines.values()), default=0))
    return {delay: weight @ matrix for delay, matrix in lines.items()}


def _steps(name: str, node: Any, width: int, dt: float) -> Any:
    given = _vector(f"node {name!r}, a Delay,", "delay", node.delay)
    steps = np.rint(given / dt)
    if (steps < 0).any() or (abs(given / dt - steps) > 1e-6).any():
        bad = given[(steps < 0) | (abs(given / dt - steps) > 1e-6)][0]
        raise NetworkError(f"node {name!r} has a delay of {bad:g}, no multiple of a timestep of {dt:g}")
    if len(steps) not in (1, width):
        raise NetworkError(f"node {name!r} has {len(steps)} delays for {width} elements")
    return np.broadcast_to(steps.astype(np.int64), width)


def _check_width(name: str, rows: int, columns: int) -> None:
    if rows * columns > WIDEST:
        raise NetworkError(f"node {name!r} has too many elements for this reader ({rows} by {columns})")


# -- what they come to ----------------------------------------------------------------------------


def _connect(
    it: Flow, path: list[str], lines: Lines, groups: Mapping[str, Group], nodes: Mapping[str, Any]
) -> None:
    """Synapses, or outputs, of a path that begins at neurons."""
    first, last = groups[path[0]], path[-1]
    if last not in groups:
        _read_out(it, path, lines, first, nodes)
        return
    if any(delay == 0 and matrix.any() for delay, matrix in lines.items()) and last not in it.instant:
        it.instant.append(last)
    for delay, row, column, weight in _entries(path, lines, groups[last]):
        _add(it, first.start + column, groups[last].start + row, max(delay, 1), weight)


def _entries(path: list[str], lines: Lines, group: Group) -> Iterator[tuple[int, int, int, float]]:
    """Delay, row, column and weight of all connections of a path into a group."""
    for delay, matrix in sorted(lines.items()):
        if len(matrix) != len(group.threshold):
            raise NetworkError(
                f"node {path[-1]!r} has {len(group.threshold)} neurons, "
                f"node {path[-2]!r} gives {len(matrix)} values"
            )
        for row, column in np.argwhere(matrix).tolist():
            yield delay, row, column, float(matrix[row, column] * group.gain[row])


def _add(it: Flow, source: int, target: int, delay: int, weight: float) -> None:
    before = it.synapses.get((source, target))
    if before is not None and before[0] != delay:
        ends = f"{it.names[source]!r} to {it.names[target]!r}"
        raise NetworkError(
            f"the connection from {ends} has two delays, {before[0]} and {delay} timesteps; a spiking "
            "network has one synapse from neuron to neuron"
        )
    it.synapses[source, target] = delay, weight + (before[1] if before is not None else 0.0)


def _read_out(it: Flow, path: list[str], lines: Lines, group: Group, nodes: Mapping[str, Any]) -> None:
    """Outputs are neurons, so every element is the spikes of one, as they are."""
    for delay, matrix in lines.items():
        if not matrix.any():
            continue
        plain = delay == 0 and bool(((matrix == 0) | (matrix == 1)).all() and (matrix.sum(1) == 1).all())
        if not plain:
            raise NetworkError(
                f"node {path[-2]!r} gives the output {path[-1]!r} other than the spikes of one neuron each, "
                "which a spiking network cannot express"
            )
        it.outputs += [group.start + int(column) for column in matrix.argmax(1)]


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
        width = int(np.prod(np.asarray(next(iter(node.input_type.values())), np.int64)))
        rows = []
        for path, lines in _paths(name, width, nodes, ahead, dt):
            if path[-1] not in groups:
                raise NetworkError(f"node {name!r} leads to the output {path[-1]!r} without a neuron")
            group = groups[path[-1]]
            rows += [
                (column, group.start + row, delay, weight)
                for delay, row, column, weight in _entries(path, lines, group)
            ]
        it.inputs.append((name, width))
        targets = [target for _, target, _, _ in rows]
        plain = all(delay == 0 and weight == 1 for _, _, delay, weight in rows)
        each = sorted(column for column, *_ in rows) == list(range(width))
        if plain and each and len({*targets, *it.entries}) == width + len(it.entries):
            it.entries += [target for _, target, _, _ in sorted(rows)]
            continue
        start = it.size + it.relays
        it.relays += width
        it.entries += range(start, start + width)
        it.names += [name if width == 1 else f"{name}.{i}" for i in range(width)]
        for column, target, delay, weight in rows:
            _add(it, start + column, target, delay + 1, weight)
    if not it.entries:
        raise NetworkError("the graph has no Input node")


def _check_outputs(it: Flow, nodes: Mapping[str, Any]) -> None:
    names = [name for name, node in nodes.items() if type(node).__name__ == "Output"]
    if not it.outputs:
        where = f"node {names[0]!r}, an Output, is not connected" if names else "the graph has no Output node"
        raise NetworkError(where)
    if len(set(it.outputs)) != len(it.outputs):
        twice = next(n for i, n in enumerate(it.outputs) if n in it.outputs[:i])
        raise NetworkError(f"the neuron {it.names[twice]!r} is an output twice")
