"""TENNLab network JSON: read and written without loss.

A file is an object of seven tables: `Properties` (what the numbers mean), `Nodes`, `Edges`, `Inputs`,
`Outputs`, `Network_Values` and `Associated_Data`. What else is in it (other keys of the file, of a node or
of an edge, such as `control_point`) is kept in `SpikingNetwork.extras`, by the numbers of neurons: `{"file":
{key: …}, "nodes": {number: {key: …}}, "edges": {from: {to: {key: …}}}}`. Order of neurons, synapses and
properties is kept. The format is described in `markdown/network_json_format.md` of TENNLab's framework-open.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vilfredo.spiking.network import Kind, NetworkError, Properties, Property, SpikingNetwork, places
from vilfredo.trial import JSON

TABLES = ("Properties", "Nodes", "Edges", "Inputs", "Outputs", "Network_Values", "Associated_Data")
KINDS: Mapping[int, Kind] = {73: "int", 68: "float", 66: "bool"}  # the letters I, D (double) and B
CODES: Mapping[Kind, int] = {kind: code for code, kind in KINDS.items()}
PROPERTY = {"name", "type", "index", "size", "min_value", "max_value"}
NODE, EDGE = {"id", "values", "name", "coords"}, {"from", "to", "values"}
HIGHEST = 2**32 - 1  # of a neuron's number


def read(document: Mapping[str, JSON] | str | PathLike[str]) -> SpikingNetwork:
    """The network of a dict, or of a file. Raises `NetworkError`, which names the file, and `OSError`."""
    if isinstance(document, Mapping):
        return _network(document)
    try:
        return _network(_load(document))
    except NetworkError as problem:
        raise NetworkError(f"{fspath(document)}: {problem}") from None


def document(network: SpikingNetwork) -> dict[str, JSON]:
    """The network as a dict for JSON. A network that has no `properties` gets such as hold its own values."""
    properties = network.properties
    if not (properties.neurons or properties.synapses):
        properties = spanning(network)
    tables = {
        "Properties": {
            "node_properties": [_written(p) for p in properties.neurons],
            "edge_properties": [_written(p) for p in properties.synapses],
            "network_properties": [_written(p) for p in properties.network],
        },
        "Nodes": _nodes(network, properties.neurons),
        "Edges": _edges(network, properties.synapses),
        "Inputs": network.ids[network.inputs].tolist(),
        "Outputs": network.ids[network.outputs].tolist(),
        "Network_Values": list(network.values),
        "Associated_Data": dict(network.data),
    }
    return tables | {key: value for key, value in network.extras.get("file", {}).items() if key not in TABLES}


def write(network: SpikingNetwork, path: str | PathLike[str]) -> None:
    """Write the file, a line for each neuron and each synapse. Raises `NetworkError` where the network's data
    are not JSON, and `OSError`."""
    Path(path).write_text(text(network), encoding="utf-8")


def text(network: SpikingNetwork) -> str:
    """The JSON as text, a line for each neuron and each synapse."""
    try:
        parts = [f" {json.dumps(key)}:{_laid_out(key, table)}" for key, table in document(network).items()]
    except (TypeError, ValueError) as problem:
        raise NetworkError(f"the network's data are not JSON: {problem}") from None
    return "{" + ",\n".join(parts)[1:] + "}\n"


def spanning(network: SpikingNetwork) -> Properties:
    """Properties with the ranges of the network's own values; whole numbers are of kind "int"."""

    def made(columns: Mapping[str, Any]) -> tuple[Property, ...]:
        found, index = [], 0
        for name, values in columns.items():
            whole = bool((values == np.floor(values)).all())
            low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
            size = values.shape[1] if values.ndim == 2 else 1
            found.append(Property(name, "int" if whole else "float", low, high, index, size))
            index += size
        return tuple(found)

    values = tuple(Property(f"Value_{i}", "float", value, value, i) for i, value in enumerate(network.values))
    return Properties(made(network.neurons), made(network.synapses), network.properties.network or values)


# -- reading --------------------------------------------------------------------------------------


def _load(path: str | PathLike[str]) -> Mapping[str, JSON]:
    def constant(name: str) -> NoReturn:
        raise NetworkError(f"it holds {name}, which is no number of JSON")

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=constant)
    except json.JSONDecodeError as problem:
        raise NetworkError(
            f"it is not JSON: {problem.msg} in line {problem.lineno}, column {problem.colno}"
        ) from None
    except UnicodeDecodeError:
        raise NetworkError("it is not JSON but a binary file") from None
    except RecursionError:
        raise NetworkError("it is nested too deeply") from None
    if not isinstance(content, Mapping):
        raise NetworkError("it is no network: a JSON object is needed")
    return content


def _network(content: Mapping[str, JSON]) -> SpikingNetwork:
    for key in TABLES:
        if key not in content:
            raise NetworkError(f"the network has no {key!r}")
        wanted = Mapping if key in ("Properties", "Associated_Data") else list | tuple
        if not isinstance(content[key], wanted) and not (key == "Associated_Data" and content[key] is None):
            what = "an object" if wanted is Mapping else "a list"
            raise NetworkError(f"{key!r} must be {what}, not {_short(content[key])}")
    properties = _properties(content["Properties"])
    values = _values(content["Network_Values"], _width(properties.network), "the network")
    ids, nodes, names, coordinates, more_nodes = _read_nodes(content["Nodes"], _width(properties.neurons))
    place = places(ids)
    source, target, edges, more_edges = _read_edges(content["Edges"], _width(properties.synapses), place)
    extras: dict[str, JSON] = {
        "file": {key: value for key, value in content.items() if key not in TABLES},
        "nodes": more_nodes,
        "edges": more_edges,
    }
    return SpikingNetwork(
        ids=np.array(ids, np.int64),
        neurons=_columns(nodes, properties.neurons),
        source=np.array(source, np.int64),
        target=np.array(target, np.int64),
        synapses=_columns(edges, properties.synapses),
        inputs=_ends("Inputs", content["Inputs"], place),
        outputs=_ends("Outputs", content["Outputs"], place),
        names=names,
        properties=properties,
        values=tuple(values),
        coordinates=coordinates,
        data=dict(content["Associated_Data"] or {}),
        extras={key: value for key, value in extras.items() if value},
    )


def _properties(packs: Mapping[str, JSON]) -> Properties:
    found = []
    for key in ("node_properties", "edge_properties", "network_properties"):
        if not isinstance(packs.get(key), list | tuple):
            raise NetworkError(f"'Properties' has no list {key!r}")
        pack = tuple(_property(entry, f"{key}[{i}]") for i, entry in enumerate(packs[key]))
        end, names = 0, set()
        for p in sorted(pack, key=lambda p: p.index):
            if p.name in names:
                raise NetworkError(f"{key}: there are two properties {p.name!r}")
            names.add(p.name)
            if p.index != end:
                raise NetworkError(f"{key}: {p.name!r} has the index {p.index} where {end} is free next")
            end += p.size
        found.append(pack)
    if unknown := set(packs) - {"node_properties", "edge_properties", "network_properties"}:
        raise NetworkError(f"'Properties' has a list {sorted(map(str, unknown))[0]!r} that is not known")
    return Properties(*found)


def _property(entry: JSON, where: str) -> Property:
    if not isinstance(entry, Mapping):
        raise NetworkError(f"{where} must be an object, not {_short(entry)}")
    for key in sorted(PROPERTY):
        if key not in entry:
            raise NetworkError(f"{where} has no {key!r}")
    for key in entry:
        if key not in PROPERTY:
            raise NetworkError(f"{where} has {key!r}, which is not known")
    name, low, high = entry["name"], entry["min_value"], entry["max_value"]
    if not isinstance(name, str) or not name:
        raise NetworkError(f"{where} has the name {_short(name)}; it must be a text")
    where = f"{where} ({name})"
    if not _is_whole(entry["type"]) or entry["type"] not in KINDS:
        raise NetworkError(f"{where} has the type {_short(entry['type'])}; known are {_known_kinds()}")
    if not _is_whole(entry["size"]) or entry["size"] < 1:
        raise NetworkError(f"{where} has the size {_short(entry['size'])}; it must be a whole number from 1")
    if not _is_whole(entry["index"]) or entry["index"] < 0:
        raise NetworkError(
            f"{where} has the index {_short(entry['index'])}; it must be a whole number from 0"
        )
    for key in ("min_value", "max_value"):
        if not _is_number(entry[key]):
            raise NetworkError(f"{where}: its {key} is {_short(entry[key])}, not a finite number")
    if low > high:
        raise NetworkError(f"{where}: its min_value {low} is above its max_value {high}")
    return Property(name, KINDS[entry["type"]], low, high, int(entry["index"]), int(entry["size"]))


def _known_kinds() -> str:
    return ", ".join(f"{code} ({kind})" for code, kind in KINDS.items())


def _read_nodes(entries: Sequence[JSON], width: int) -> tuple[Any, ...]:
    ids, rows, names, coordinates, more = [], [], {}, {}, {}
    for i, entry in enumerate(entries):
        number = _number(entry, "id", f"node {i} of the list")
        where = f"neuron {number}"
        ids.append(number)
        rows.append(_values(entry.get("values"), width, where))
        if "name" in entry:
            if not isinstance(entry["name"], str):
                raise NetworkError(f"{where}: its name is {_short(entry['name'])}, not a text")
            names[number] = entry["name"]
        if "coords" in entry:
            coordinates[number] = tuple(_values(entry["coords"], None, where, "coords"))
        if len(entry) > 2 and (unknown := {k: v for k, v in entry.items() if k not in NODE}):
            more[number] = unknown
    return ids, rows, names, coordinates, more


def _read_edges(entries: Sequence[JSON], width: int, place: Mapping[int, int]) -> tuple[Any, ...]:
    source, target, rows = [], [], []
    more: dict[int, dict[int, JSON]] = {}
    for i, entry in enumerate(entries):
        where = f"edge {i} of the list"
        a, b = _number(entry, "from", where), _number(entry, "to", where)
        where = f"the synapse from {a} to {b}"
        for end in (a, b):
            if end not in place:
                raise NetworkError(f"{where}: there is no neuron {end}")
        source.append(place[a])
        target.append(place[b])
        rows.append(_values(entry.get("values"), width, where))
        if len(entry) > 3 and (unknown := {k: v for k, v in entry.items() if k not in EDGE}):
            more.setdefault(a, {})[b] = unknown
    return source, target, rows, more


def _number(entry: JSON, key: str, where: str) -> int:
    if not isinstance(entry, Mapping):
        raise NetworkError(f"{where} must be an object, not {_short(entry)}")
    if key not in entry:
        raise NetworkError(f"{where} has no {key!r}")
    if not _is_whole(entry[key]) or not 0 <= entry[key] <= HIGHEST:
        raise NetworkError(
            f"{where}: its {key!r} is {_short(entry[key])}, not a whole number from 0 to 2^32 − 1"
        )
    return int(entry[key])


def _ends(key: str, listed: Sequence[JSON], place: Mapping[int, int]) -> Any:
    found = []
    for i, number in enumerate(listed):
        if not _is_whole(number):
            raise NetworkError(f"{key}[{i}] is {_short(number)}, not the number of a neuron")
        if number not in place:
            raise NetworkError(f"{key}[{i}] is {number}, but there is no neuron {number}")
        found.append(place[number])
    return np.array(found, np.int64)


def _values(values: JSON, width: int | None, where: str, key: str = "values") -> list[float]:
    if not isinstance(values, list | tuple):
        raise NetworkError(f"{where}: its {key!r} are {_short(values)}, not a list")
    if width is not None and len(values) != width:
        raise NetworkError(f"{where} has {len(values)} values; its properties are {width} values long")
    for value in values:
        if not _is_number(value):
            raise NetworkError(f"{where}: one of its {key} is {_short(value)}, not a finite number")
    return list(values)


def _is_whole(value: JSON) -> bool:
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    )


def _is_number(value: JSON) -> bool:
    """Finite, and the same number in double precision."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) <= 2**53


def _columns(rows: Sequence[Sequence[float]], properties: Sequence[Property]) -> dict[str, Any]:
    table = np.array(rows, np.float64).reshape(len(rows), _width(properties))
    return {
        p.name: table[:, p.index].copy() if p.size == 1 else table[:, p.index : p.index + p.size].copy()
        for p in properties
    }


def _width(properties: Sequence[Property]) -> int:
    return sum(p.size for p in properties)


def _short(value: JSON) -> str:
    if value is None:
        return "missing"
    shown = json.dumps(value, default=repr)
    return shown if len(shown) <= 40 else f"{shown[:37]}…"


# -- writing --------------------------------------------------------------------------------------


def _written(p: Property) -> dict[str, JSON]:
    return {
        "name": p.name,
        "type": CODES[p.kind],
        "index": p.index,
        "size": p.size,
        "min_value": p.low,
        "max_value": p.high,
    }


def _rows(count: int, columns: Mapping[str, Any], properties: Sequence[Property]) -> list[list[float]]:
    table = np.zeros((count, _width(properties)))
    for p in properties:
        table[:, p.index : p.index + p.size] = columns[p.name].reshape(count, p.size)
    rows: list[list[float]] = table.tolist()
    return rows


def _nodes(network: SpikingNetwork, properties: Sequence[Property]) -> list[dict[str, JSON]]:
    found, more = [], network.extras.get("nodes", {})
    rows = _rows(network.size, network.neurons, properties)
    for number, values in zip(network.ids.tolist(), rows, strict=True):
        node: dict[str, JSON] = {"id": number}
        if number in network.names:
            node["name"] = network.names[number]
        node["values"] = values
        if number in network.coordinates:
            node["coords"] = list(network.coordinates[number])
        found.append(node | more.get(number, {}))
    return found


def _edges(network: SpikingNetwork, properties: Sequence[Property]) -> list[dict[str, JSON]]:
    found, more = [], network.extras.get("edges", {})
    rows = _rows(len(network.source), network.synapses, properties)
    ends = network.ids[network.source].tolist(), network.ids[network.target].tolist()
    for a, b, values in zip(*ends, rows, strict=True):
        edge: dict[str, JSON] = {"from": a, "to": b, "values": values}
        found.append(edge | more.get(a, {}).get(b, {}))
    return found


def _laid_out(key: str, table: JSON) -> str:
    if key == "Properties":
        lists = []
        for name, pack in table.items():
            inner = ",".join(f"\n      {json.dumps(p, allow_nan=False)}" for p in pack)
            lists.append(f'"{name}": [{inner}]')
        return "\n  { " + ",\n    ".join(lists) + " }"
    if key in ("Nodes", "Edges"):
        lines = [json.dumps(entry, allow_nan=False, separators=(",", ":")) for entry in table]
        return " []" if not lines else "\n  [ " + ",\n    ".join(lines) + " ]"
    if key == "Associated_Data":
        return "\n   " + json.dumps(table, allow_nan=False, indent=2).replace("\n", "\n   ")
    return " " + json.dumps(table, allow_nan=False)
