"""A spiking network as arrays: neurons, synapses, inputs, outputs. Which numbers a neuron or synapse has is
the processor's to say (its properties); the network keeps them by name.

The words are those of the TENNLab network JSON: properties "Threshold", "Leak", "Weight", "Delay" and others.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from vilfredo.trial import JSON, Genome

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Kind = Literal["int", "float", "bool"]
Number: TypeAlias = float | Sequence[float]  # of one neuron or synapse; several for a property of size > 1


Array = TypeVar("Array", bound=NDArray[Any])


class NetworkError(ValueError):
    """A network that is none, or that a processor cannot hold: one sentence, naming the neuron or synapse."""


@dataclass(frozen=True, slots=True)
class Property:
    """One number of a neuron or synapse: its name, kind and the range that the processor allows.

    `index` is its place in the JSON's `values`, `size` how many places it takes there.
    """

    name: str
    kind: Kind
    low: float
    high: float
    index: int = 0
    size: int = 1

    def draw(self, rng: np.random.Generator) -> float:
        """A value, uniform over the range."""
        if self.kind == "float":
            return float(rng.uniform(self.low, self.high))
        return float(rng.integers(int(self.low), int(self.high) + 1))


@dataclass(frozen=True, slots=True)
class Properties:
    """What the neurons, the synapses and the network itself have on one processor."""

    neurons: tuple[Property, ...] = ()
    synapses: tuple[Property, ...] = ()
    network: tuple[Property, ...] = ()


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """A directed graph of n neurons and s synapses; frozen, its arrays are not to be written to.

    `ids` (n,) are the neurons' numbers, any different whole numbers from 0, in any order. `neurons` has an
    array (n,) for each property of the neurons ("Threshold"), `synapses` an array (s,) for each of the
    synapses ("Weight", "Delay"); all are float64, which holds the integers of discrete processors exactly.
    A property of size k > 1 has shape (n, k). `source`, `target` (s,), `inputs` and `outputs` are
    *positions* in `ids`, not numbers of neurons. `names` are by neuron number. `properties`, `values`
    (of the network itself), `coordinates` (by neuron number) and `data` (the JSON's `Associated_Data`) are
    kept as read; `extras` are what else was in the JSON (see `vilfredo.spiking.tennlab`).

    Arrays that could be written to are copied. Two networks are equal (`==`) if all their fields are, so in
    the order of neurons and synapses, too.

    Raises `NetworkError` for arrays that do not belong together, numbers that are not finite, a neuron
    number that is there twice, two synapses from and to the same neurons, and inputs or outputs that are
    no neuron or listed twice.
    """

    ids: Ints
    neurons: Mapping[str, Floats]
    source: Ints
    target: Ints
    synapses: Mapping[str, Floats]
    inputs: Ints
    outputs: Ints
    names: Mapping[int, str] = field(default_factory=dict)
    properties: Properties = Properties()
    values: tuple[float, ...] = ()
    coordinates: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    data: Mapping[str, JSON] = field(default_factory=dict)
    extras: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keep = self.__dict__
        for name in ("ids", "source", "target", "inputs", "outputs"):
            keep[name] = _ints(keep[name], name)
        for name in ("neurons", "synapses"):
            keep[name] = {key: _floats(values, key) for key, values in keep[name].items()}
        keep["names"], keep["coordinates"] = dict(self.names), dict(self.coordinates)
        _check(self)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.ids)

    @property
    def threshold(self) -> Floats:
        return self.of_neurons("Threshold")

    @property
    def weight(self) -> Floats:
        return self.of_synapses("Weight")

    @property
    def delay(self) -> Floats:
        return self.of_synapses("Delay")

    def of_neurons(self, name: str) -> Floats:
        """A property of the neurons, (n,); where there is no neuron, no property need be named."""
        return self.neurons[name] if self.size else self.neurons.get(name, np.zeros(0))

    def of_synapses(self, name: str) -> Floats:
        """A property of the synapses, (s,); where there is no synapse, no property need be named."""
        return self.synapses[name] if len(self.source) else self.synapses.get(name, np.zeros(0))

    @classmethod
    def build(
        cls,
        neurons: Iterable[tuple[int, Mapping[str, Number]]],
        synapses: Iterable[tuple[int, int, Mapping[str, Number]]],
        inputs: Sequence[int],
        outputs: Sequence[int],
        **rest: Any,
    ) -> SpikingNetwork:
        """From plain rows: `(number, {"Threshold": 3})` and `(from, to, {"Weight": 1, "Delay": 2})`, all by
        the numbers of neurons. `rest` are further fields. Raises `NetworkError`."""
        nodes, edges = list(neurons), list(synapses)
        ids = [node[0] for node in nodes]
        place = places(ids)
        properties = rest.get("properties", Properties())
        return cls(
            ids=_ints(ids, "ids"),
            neurons=_columns(
                [node[1] for node in nodes], properties.neurons, lambda i: f"neuron {nodes[i][0]}"
            ),
            source=_lookup((a for a, _, _ in edges), place, lambda i: _synapse(*edges[i][:2])),
            target=_lookup((b for _, b, _ in edges), place, lambda i: _synapse(*edges[i][:2])),
            synapses=_columns(
                [edge[2] for edge in edges], properties.synapses, lambda i: _synapse(*edges[i][:2])
            ),
            inputs=_lookup(inputs, place, lambda i: f"input number {i}"),
            outputs=_lookup(outputs, place, lambda i: f"output number {i}"),
            **rest,
        )

    @classmethod
    def from_genome(cls, genome: Genome, properties: Properties, inputs: int, outputs: int) -> SpikingNetwork:
        """What a genome of `vilfredo.spaces.spiking` means: neurons 0 … inputs − 1 are the inputs, the next
        `outputs` ones the outputs, all others hidden. Raises `NetworkError`."""
        try:
            nodes, edges = _transposed(genome["neurons"], 1), _transposed(genome["synapses"], 2)
            place = {number: i for i, number in enumerate(nodes[0])}
            source, target = ([place[number] for number in column] for column in edges[:2])
            ends = [place[i] for i in range(inputs + outputs)]
            neurons = _table(nodes[1:], properties.neurons)
            synapses = _table(edges[2:], properties.synapses)
            ids = np.array(nodes[0])
            if ids.dtype != np.int64:
                ids = _ints(nodes[0], "neurons' numbers")
        except (KeyError, IndexError, TypeError, ValueError):
            return _bad_genome(genome, properties, inputs, outputs)
        return cls(
            ids=_fixed(ids),
            neurons=neurons,
            source=_fixed(np.array(source, np.int64)),
            target=_fixed(np.array(target, np.int64)),
            synapses=synapses,
            inputs=_fixed(np.array(ends[:inputs], np.int64)),
            outputs=_fixed(np.array(ends[inputs:], np.int64)),
            properties=properties,
        )

    @classmethod
    def from_tennlab(cls, document: Mapping[str, JSON] | str | PathLike[str]) -> SpikingNetwork:
        """From TENNLab network JSON: a dict, or the path of a file. Raises `NetworkError`, and `OSError` for
        a file that cannot be read."""
        from vilfredo.spiking.tennlab import read

        return read(document)

    def to_tennlab(self) -> dict[str, JSON]:
        """As TENNLab network JSON; see `vilfredo.spiking.tennlab`."""
        from vilfredo.spiking.tennlab import document

        return document(self)

    def write(self, path: str | PathLike[str]) -> None:
        """Write the network as a TENNLab JSON file. Raises `NetworkError` and `OSError`."""
        from vilfredo.spiking.tennlab import write

        write(self, path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpikingNetwork):
            return NotImplemented
        return self is other or all(
            _equal(getattr(self, name), getattr(other, name)) for name in (f.name for f in fields(self))
        )

    def __hash__(self) -> int:
        return hash((self.ids.tobytes(), self.source.tobytes(), self.target.tobytes()))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        arrays: tuple[NDArray[Any], ...] = (self.ids, self.source, self.target, self.inputs, self.outputs)
        for array in (*arrays, *self.neurons.values(), *self.synapses.values()):
            _fixed(array)  # what was read-only is writeable after unpickling


def _fixed(array: Array) -> Array:
    array.setflags(write=False)
    return array


def _ints(values: Any, name: str) -> Ints:
    if isinstance(values, np.ndarray) and values.dtype == np.int64 and not values.flags.writeable:
        return values
    try:
        array = np.array(values)
        if array.size == 0:
            array = array.astype(np.int64)
        if array.dtype.kind == "f" and (array == np.floor(array)).all() and (abs(array) < 2**53).all():
            array = array.astype(np.int64)
        if array.dtype.kind not in "iu":
            raise TypeError
        return _fixed(array.astype(np.int64))
    except (TypeError, ValueError):
        raise NetworkError(f"the network's {name} are not all whole numbers") from None


def _floats(values: Any, name: str) -> Floats:
    if isinstance(values, np.ndarray) and values.dtype == np.float64 and not values.flags.writeable:
        return values
    try:
        return _fixed(_numbers(values))
    except (TypeError, ValueError):
        raise NetworkError(f"the network's values of {name!r} are not all numbers") from None


def _numbers(values: Any) -> Floats:
    """A new array of them. Raises ValueError for what is no number, text like "3" among it."""
    array = np.array(values)
    if array.dtype.kind not in "iufb":
        raise ValueError("not all are numbers")
    return array.astype(np.float64, copy=False)


def _check(network: SpikingNetwork) -> None:
    """Quick where nothing is wrong; who looks closer finds the words."""
    ids, source, target = network.ids, network.source, network.target
    n, s = len(ids), len(source)
    for name in ("ids", "source", "target", "inputs", "outputs"):
        if getattr(network, name).ndim != 1:
            raise NetworkError(f"the network's {name} have {getattr(network, name).ndim} dimensions, not one")
    if len(target) != s:
        raise NetworkError(f"the network has {s} sources but {len(target)} targets of synapses")
    numbers = ids.tolist()
    if n and min(numbers) < 0:
        raise NetworkError(f"neuron {min(numbers)}: a neuron's number cannot be negative")
    if len(set(numbers)) != n:
        raise NetworkError(f"neuron {_twice(numbers)} is there twice")
    for name, places in (("inputs", network.inputs), ("outputs", network.outputs)):
        listed = places.tolist()
        if listed and (min(listed) < 0 or max(listed) >= n):
            bad = next(p for p in listed if not 0 <= p < n)
            raise NetworkError(f"the {name} list position {bad}, but there are {n} neurons")
        if len(set(listed)) != len(listed):
            raise NetworkError(f"neuron {numbers[_twice(listed)]} is listed twice among the {name}")
    if s:
        pairs = (source * n + target).tolist()
        ends = source.tolist(), target.tolist()
        if min(map(min, ends)) < 0 or max(map(max, ends)) >= n:
            _bad_end(network)
        if len(set(pairs)) != s:
            a, b = divmod(_twice(pairs), n)
            raise NetworkError(f"there are two synapses from neuron {numbers[a]} to neuron {numbers[b]}")
    _check_values(network.neurons, network.properties.neurons, n, "neuron", network)
    _check_values(network.synapses, network.properties.synapses, s, "synapse", network)
    for value in network.values:
        if not math.isfinite(value):
            raise NetworkError(f"the network's own values hold {value}, which is not finite")
    known = set(numbers) if network.names or network.coordinates else set()
    for name, by_number in (("name", network.names), ("place", network.coordinates)):
        for number in by_number:
            if number not in known:
                raise NetworkError(f"there is a {name} for neuron {number}, but no such neuron")


def _check_values(
    columns: Mapping[str, Floats],
    declared: tuple[Property, ...],
    count: int,
    what: str,
    network: SpikingNetwork,
) -> None:
    sizes = {p.name: p.size for p in declared}
    for name, values in columns.items():
        if len(values.shape) == 0 or len(values) != count:
            raise NetworkError(f"{what} property {name!r} has the shape {values.shape} for {count} {what}s")
        if declared:
            if name not in sizes:
                raise NetworkError(f"{what} property {name!r} is not among the network's properties")
            size = sizes[name]
            if count and values.shape[1:] != (() if size == 1 else (size,)):
                raise NetworkError(
                    f"{what} property {name!r} has the shape {values.shape}; its size is said to be {size}"
                )
        if not np.isfinite(values).all():
            bad = int(np.argwhere(~np.isfinite(values.reshape(count, -1)).all(axis=1))[0, 0])
            row = values.reshape(count, -1)[bad]
            value = row[~np.isfinite(row)][0]
            raise NetworkError(f"{_label(network, what, bad)}: its {name} is {value}, not a finite number")
    for name in sizes:
        if name not in columns:
            raise NetworkError(f"{what} property {name!r} is declared, but no {what} has a value of it")


def _label(network: SpikingNetwork, what: str, place: int) -> str:
    if what == "neuron":
        return f"neuron {network.ids[place]}"
    return _synapse(network.ids[network.source[place]], network.ids[network.target[place]])


def _synapse(source: Any, target: Any) -> str:
    return f"the synapse from {source} to {target}"


def _twice(values: Sequence[int]) -> int:
    seen: set[int] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    raise AssertionError("all are different")


def _bad_end(network: SpikingNetwork) -> NoReturn:
    n = network.size
    for number, (a, b) in enumerate(zip(network.source.tolist(), network.target.tolist(), strict=True)):
        for end, place in (("begins", a), ("ends", b)):
            if not 0 <= place < n:
                raise NetworkError(f"synapse {number} {end} at position {place}, but there are {n} neurons")
    raise AssertionError("all synapses have their ends")


def places(ids: Iterable[Any]) -> dict[Any, int]:
    """Where each neuron's number is. Raises `NetworkError` for one that is there twice or is not whole."""
    place: dict[Any, int] = {}
    for i, number in enumerate(ids):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise NetworkError(f"neuron {number!r}: a neuron's number must be a whole number")
        if number in place:
            raise NetworkError(f"neuron {number} is there twice")
        place[int(number)] = i
    return place


def _lookup(numbers: Iterable[Any], place: Mapping[Any, int], label: Callable[[int], str]) -> Ints:
    found = []
    for i, number in enumerate(numbers):
        if number not in place:
            raise NetworkError(f"{label(i)}: there is no neuron {number}")
        found.append(place[number])
    return _fixed(np.array(found, np.int64))


def _columns(
    rows: Sequence[Mapping[str, Number]], declared: tuple[Property, ...], label: Callable[[int], str]
) -> dict[str, Floats]:
    """Arrays by property of what rows say one by one; each row must have the same ones."""
    shapes = {p.name: (0,) if p.size == 1 else (0, p.size) for p in declared}
    wanted = list(shapes) or list(rows[0] if rows else {})
    for i, row in enumerate(rows):
        for name in row:
            if name not in wanted:
                raise NetworkError(
                    f"{label(i)} has {name!r}, which is no property of it; those are {_list(wanted)}"
                )
        for name in wanted:
            if name not in row:
                raise NetworkError(f"{label(i)} has no {name}")
    if not rows:
        return {name: _fixed(np.zeros(shapes[name])) for name in wanted}
    columns = {}
    for name in wanted:
        try:
            columns[name] = _fixed(_numbers([row[name] for row in rows]))
        except (TypeError, ValueError):
            for i, row in enumerate(rows):
                if not _is_number(row[name], np.shape(rows[0][name])):
                    raise NetworkError(
                        f"{label(i)}: its {name} is {reprlib.repr(row[name])}, not a number"
                    ) from None
            raise NetworkError(f"{name}: not all values are numbers") from None
    return columns


def _is_number(value: Any, shape: tuple[int, ...]) -> bool:
    try:
        return _numbers(value).shape == shape
    except ValueError:
        return False


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _transposed(rows: Sequence[Sequence[float]], least: int) -> list[tuple[float, ...]]:
    """Columns of rows that all are equally long. Raises ValueError."""
    return list(zip(*rows, strict=True)) if rows else [()] * least


def _table(columns: Sequence[Sequence[float]], declared: tuple[Property, ...]) -> dict[str, Floats]:
    """Arrays by property of columns in the order of `declared`. Raises ValueError if there are others."""
    if not columns:
        return {p.name: _fixed(np.zeros((0,) if p.size == 1 else (0, p.size))) for p in declared}
    if len(columns) != sum(p.size for p in declared):
        raise ValueError("wrong number of values")
    start, table = 0, {}
    for p in declared:
        values = columns[start] if p.size == 1 else list(zip(*columns[start : start + p.size], strict=True))
        table[p.name] = _fixed(_numbers(values))
        start += p.size
    return table


def _bad_genome(genome: Genome, properties: Properties, inputs: int, outputs: int) -> NoReturn:
    """What is wrong with it."""
    for key in ("neurons", "synapses"):
        if not isinstance(genome, Mapping) or not isinstance(genome.get(key), list | tuple):
            raise NetworkError(f"the genome has no list {key!r}")
    for what, ends, declared in (
        ("neuron", 1, properties.neurons),
        ("synapse", 2, properties.synapses),
    ):
        count = ends + sum(p.size for p in declared)
        for i, row in enumerate(genome[what + "s"]):
            good = isinstance(row, list | tuple) and all(_is_number(value, ()) for value in row)
            if not good or len(row) != count or not all(isinstance(end, int) for end in row[:ends]):
                wanted = ["number"] if ends == 1 else ["from", "to"]
                wanted += [p.name if p.size == 1 else f"{p.size} × {p.name}" for p in declared]
                raise NetworkError(
                    f"{what} {i} of the genome is {reprlib.repr(row)}, not [{', '.join(wanted)}]"
                )
    place = places(row[0] for row in genome["neurons"])
    for i in range(inputs + outputs):
        if i not in place:
            raise NetworkError(f"the genome lacks neuron {i}, an {'input' if i < inputs else 'output'}")
    for row in genome["synapses"]:
        for end in row[:2]:
            if end not in place:
                raise NetworkError(f"{_synapse(*row[:2])}: there is no neuron {end}")
    raise NetworkError("the genome has numbers that are too large")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return bool(a == b)
