"""Spiking networks as genomes, with the operators of EONS."""

from __future__ import annotations

import marshal
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vilfredo.protocols import Impossible, Rng
from vilfredo.spaces.ranges import Range, RangeLike, complain, in_order, scaled, summary, twice
from vilfredo.trial import Genome

Row: TypeAlias = list[Any]  # one neuron [id, values…] or synapse [from, to, values…]; never written to
Uniform: TypeAlias = Callable[[], float]  # the next of a stream of numbers in [0, 1)

_TRIES = 40
_BINS = np.array([0, 1, 2, 3, 3, 4, 4, 4, 4, 5])  # of the histogram, by degree: 0, 1, 2, 3–4, 5–8, 9 and more
_ENDS = 64  # inputs and outputs that are encoded one by one


_NEURONS = (Range("Threshold", "int", 0, 127),)
_SYNAPSES = (Range("Weight", "int", -127, 127), Range("Delay", "int", 1, 15))
_SHARES: Mapping[str, float] = {"Threshold": 1.0, "Weight": 0.65, "Delay": 0.35}
_OTHERS = 0.35


@dataclass(frozen=True)
class Spiking:
    """Spiking networks of any shape: any neuron may have a synapse to any other, or to itself, one at most.

    Theirs: EONS, whose genome is the network itself, with its options' names; sources: Schuman, Mitchell,
    Patton, Potok and Plank, "Evolutionary optimization for neuromorphic systems", ICONS 2020; Dimovska,
    Johnston, Schuman, Mitchell and Potok, "Multi-objective optimization for size and resilience of spiking
    neural networks", UEMCON 2019 (arXiv 2002.01406). Ours: what is said below and not in these papers.

    A genome is `{"neurons": [[id, values…], …], "synapses": [[from, to, values…], …]}`, the values in the
    order of the fields `neurons` and `synapses`. Neurons 0 … inputs − 1 are the inputs, the next `outputs`
    ones the outputs; they are always there. All others are hidden.

    **Sampling.** All inputs and outputs, `starting_nodes` hidden neurons, `starting_edges` synapses (None:
    two for each neuron), all values uniform. Every output is first given a way from an input, directly or
    over a hidden neuron, as far as there are synapses for it; the rest go between neurons drawn at random.

    **Mutation.** `num_mutations` changes one after the other, each of a kind that is drawn with these
    relative weights: `add_node_rate`, a hidden neuron, with a synapse from and one to another neuron
    (without them it would do nothing); `delete_node_rate`, a hidden neuron with all its synapses;
    `add_edge_rate`, `delete_edge_rate`, a synapse; `node_params_rate`, `edge_params_rate`, another value for
    one property of one neuron (inputs and outputs too) or synapse, drawn uniformly. Which property that is,
    `node_mutations` and `edge_mutations` say (names and relative weights; what is not named stays as it is).
    None: Threshold 1, Weight 0.65, Delay 0.35, any other 0.35. A kind that is not possible (nothing to
    delete, no room) is drawn again. A new neuron has the smallest number that is free.

    **Crossover**, node–edge recombination. For every number of a neuron a coin says which child gets the
    first parent's neuron of that number with its outgoing synapses; the other child gets the second
    parent's. So it is for inputs and outputs, which both have, and for hidden neurons; one that only one
    parent has goes to one child. A synapse to a hidden neuron that is not there goes to the other child, if
    both its ends are there, and is lost otherwise (both ends belong to the same parent alone, and the coins
    have parted them). With probability `merge_rate` children are unions instead: all neurons and synapses of
    both parents; what both have, one child has from the first parent, the other from the second. Children
    beyond `max_nodes` or `max_edges` are not born: unions become recombinations, and these the parents.

    `max_nodes` bounds all neurons, inputs and outputs included (None: 100 hidden ones), `max_edges` the
    synapses (None: ten for each neuron allowed). `multi_edges`, `net_params_rate` and `net_mutations` are
    there for options files of EONS; a network here has one synapse between two neurons and no values of its
    own, so that they must be 0 or empty. Raises `ValueError`, one sentence, for fields that make no sense.
    """

    inputs: int = 2
    outputs: int = 1
    neurons: tuple[Range, ...] = _NEURONS
    synapses: tuple[Range, ...] = _SYNAPSES
    starting_nodes: int = 5
    starting_edges: int | None = None
    merge_rate: float = 0.0
    num_mutations: int = 3
    add_node_rate: float = 0.75
    delete_node_rate: float = 0.25
    add_edge_rate: float = 0.75
    delete_edge_rate: float = 0.25
    node_params_rate: float = 2.5
    edge_params_rate: float = 2.5
    node_mutations: Mapping[str, float] | None = None
    edge_mutations: Mapping[str, float] | None = None
    max_nodes: int | None = None
    max_edges: int | None = None
    multi_edges: int = 0
    net_params_rate: float = 0.0
    net_mutations: Mapping[str, float] | None = None
    _plan: _Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_counts(self)
        object.__setattr__(self, "_plan", _planned(self))

    def bind(
        self,
        inputs: int,
        outputs: int,
        neurons: Iterable[RangeLike],
        synapses: Iterable[RangeLike],
        max_nodes: int | None = None,
        max_edges: int | None = None,
    ) -> Spiking:
        """The same space for a task of so many inputs and outputs and a processor whose neurons and synapses
        have these properties, in this order; the limits are the processor's, and the lower ones count.
        Raises `ValueError`, one sentence, for what does not go together."""
        nodes, edges = (tuple(_range(item) for item in items) for items in (neurons, synapses))
        _check_names("node_mutations", self.node_mutations, nodes)
        _check_names("edge_mutations", self.edge_mutations, edges)
        return replace(
            self,
            inputs=inputs,
            outputs=outputs,
            neurons=nodes,
            synapses=edges,
            max_nodes=_lower(self.max_nodes, max_nodes),
            max_edges=_lower(self.max_edges, max_edges),
        )

    @property
    def limits(self) -> tuple[int, int]:
        """How many neurons and how many synapses a network may have."""
        return self._plan.most_neurons, self._plan.most_synapses

    # -- operators --------------------------------------------------------------------------------

    def sample(self, rng: Rng) -> Genome:
        u = _stream(rng)
        ends = self.inputs + self.outputs
        count = ends + self.starting_nodes
        neurons = [[i, *[item.draw(u()) for item in self.neurons]] for i in range(count)]
        wanted = 2 * count if self.starting_edges is None else self.starting_edges
        pairs = self._pairs(count, min(wanted, self._plan.most_synapses, count * count), u)
        synapses = [[a, b, *[item.draw(u()) for item in self.synapses]] for a, b in sorted(pairs)]
        return {"neurons": neurons, "synapses": synapses}

    def _pairs(self, count: int, wanted: int, u: Uniform) -> set[tuple[int, int]]:
        """Ends of `wanted` synapses between `count` neurons: ways to the outputs first, then any."""
        ends = self.inputs + self.outputs
        sources = [*range(self.inputs), *range(ends, count)]
        pairs: set[tuple[int, int]] = set()
        reached: set[int] = set()
        for output in sorted(range(self.inputs, ends), key=lambda _: u()):
            if len(pairs) >= wanted:
                break
            source = sources[int(u() * len(sources))]
            pairs.add((source, output))
            if source >= ends and source not in reached and len(pairs) < wanted:
                pairs.add((int(u() * self.inputs), source))
                reached.add(source)
        if 2 * wanted > count * count:
            rest = [(a, b) for a in range(count) for b in range(count) if (a, b) not in pairs]
            order = sorted(range(len(rest)), key=lambda _: u())
            pairs.update(rest[i] for i in order[: wanted - len(pairs)])
        while len(pairs) < wanted:
            pairs.add((int(u() * count), int(u() * count)))
        return pairs

    def mutate(self, genome: Genome, rng: Rng) -> Genome:
        """Another network; `genome` comes back if none of many tries makes one."""
        u = _stream(rng)
        before: tuple[list[Row], list[Row]] = sorted(genome["neurons"]), sorted(genome["synapses"])
        for _ in range(_TRIES):
            neurons, synapses = before[0].copy(), before[1].copy()
            for _ in range(self.num_mutations):
                self._change(neurons, synapses, u)
            if neurons != before[0] or synapses != before[1]:
                return {"neurons": neurons, "synapses": synapses}
        return {"neurons": before[0], "synapses": before[1]}

    def _change(self, neurons: list[Row], synapses: list[Row], u: Uniform) -> None:
        """One change of the two lists, in place; rows are replaced, not written to."""
        plan = self._plan
        for _ in range(_TRIES):
            kind = plan.kinds[bisect_right(plan.shares, u() * plan.shares[-1])]
            if kind(self, neurons, synapses, u):
                return

    def _add_node(self, neurons: list[Row], synapses: list[Row], u: Uniform) -> bool:
        count = len(neurons)
        if count >= self._plan.most_neurons:
            return False
        number = count
        if neurons[-1][0] != count - 1:  # there are gaps
            number = next(i for i, row in enumerate(neurons) if row[0] != i)
        source, target = neurons[int(u() * count)][0], neurons[int(u() * count)][0]
        neurons.insert(number, [number, *[item.draw(u()) for item in self.neurons]])
        for a, b in ((source, number), (number, target)):
            if len(synapses) < self._plan.most_synapses:
                insort(synapses, [a, b, *[item.draw(u()) for item in self.synapses]])
        return True

    def _delete_node(self, neurons: list[Row], synapses: list[Row], u: Uniform) -> bool:
        ends = self.inputs + self.outputs
        hidden = len(neurons) - ends
        if hidden == 0:
            return False
        number = neurons.pop(ends + int(u() * hidden))[0]
        synapses[:] = [row for row in synapses if row[0] != number and row[1] != number]
        return True

    def _add_edge(self, neurons: list[Row], synapses: list[Row], u: Uniform) -> bool:
        count = len(neurons)
        if len(synapses) >= min(self._plan.most_synapses, count * count):
            return False
        for _ in range(_TRIES):
            pair = [neurons[int(u() * count)][0], neurons[int(u() * count)][0]]
            place = bisect_left(synapses, pair)
            if place == len(synapses) or synapses[place][:2] != pair:
                synapses.insert(place, pair + [item.draw(u()) for item in self.synapses])
                return True
        return False

    def _delete_edge(self, neurons: list[Row], synapses: list[Row], u: Uniform) -> bool:
        if not synapses:
            return False
        del synapses[int(u() * len(synapses))]
        return True

    def _node_params(self, neurons: list[Row], synapses: list[Row], u: Uniform) -> bool:
        return _redraw(neurons, 1, self.neurons, self._plan.neuron_shares, u)

    def _edge_params(self, neurons: list[Row], synapses: list[Row], u: Uniform) -> bool:
        return _redraw(synapses, 2, self.synapses, self._plan.synapse_shares, u)

    def cross(self, first: Genome, second: Genome, rng: Rng) -> tuple[Genome, Genome]:
        a = _Parent(first)
        b = _Parent(second)
        ids = sorted({*a.neurons, *b.neurons})
        if self.merge_rate and rng.random() < self.merge_rate:
            one, two = _union(ids, a, b), _union(ids, b, a)
            if self._fits(one):
                return one, two
        one, two = _recombined(ids, a, b, rng.random(len(ids)).tolist())
        if self._fits(one) and self._fits(two):
            return one, two
        return a.genome(), b.genome()

    def _fits(self, genome: Genome) -> bool:
        plan = self._plan
        neurons, synapses = genome["neurons"], genome["synapses"]
        return len(neurons) <= plan.most_neurons and len(synapses) <= plan.most_synapses

    # -- what a genome is -------------------------------------------------------------------------

    def canonical(self, genome: Genome) -> str:
        """A digest of the sorted network, its hidden neurons numbered without gaps in the order they have."""
        neurons, synapses = sorted(genome["neurons"]), sorted(genome["synapses"])
        if self._plan.real:  # 1 is 1.0, and −0.0 is 0.0
            neurons = [[row[0], *[v + 0.0 for v in row[1:]]] for row in neurons]
            synapses = [[*row[:2], *[v + 0.0 for v in row[2:]]] for row in synapses]
        if neurons[-1][0] != len(neurons) - 1:
            place = {row[0]: i for i, row in enumerate(neurons)}
            neurons = [[i, *row[1:]] for i, row in enumerate(neurons)]
            synapses = [[place[row[0]], place[row[1]], *row[2:]] for row in synapses]
        return blake2b(marshal.dumps((neurons, synapses), 2), digest_size=16).hexdigest()

    def check(self, genome: Genome) -> None:
        """Raises `Impossible`, one sentence naming neuron or synapse, if `genome` is not of this space."""
        if not isinstance(genome, Mapping) or set(genome) != {"neurons", "synapses"}:
            raise Impossible("a genome of a spiking network has two lists, neurons and synapses")
        neurons, synapses = genome["neurons"], genome["synapses"]
        if not isinstance(neurons, list) or not isinstance(synapses, list):
            raise Impossible("neurons and synapses of a spiking network must be lists")
        if not in_order(neurons, 1, self.neurons):
            complain(neurons, 1, self.neurons, "neuron", "[number, {}]")
        if synapses and not in_order(synapses, 2, self.synapses):
            complain(synapses, 2, self.synapses, "synapse", "[from, to, {}]")
        ids = {row[0] for row in neurons}
        if len(ids) != len(neurons):
            raise Impossible(f"neuron {twice([row[0] for row in neurons])} is there twice")
        ends = self.inputs + self.outputs
        if not ids.issuperset(range(ends)):
            missing = min(set(range(ends)) - ids)
            what = "an input" if missing < self.inputs else "an output"
            raise Impossible(f"neuron {missing}, {what}, is missing")
        pairs = [(row[0], row[1]) for row in synapses]
        if len(set(pairs)) != len(pairs):
            raise Impossible("synapse {} -> {} is there twice".format(*twice(pairs)))
        if not ids.issuperset([a for a, _ in pairs]) or not ids.issuperset([b for _, b in pairs]):
            a, b = next(pair for pair in pairs if not ids.issuperset(pair))
            raise Impossible(f"synapse {a} -> {b}: there is no neuron {a if a not in ids else b}")
        most_neurons, most_synapses = self.limits
        if len(neurons) > most_neurons:
            raise Impossible(f"there are {len(neurons)} neurons, more than max_nodes = {most_neurons}")
        if len(synapses) > most_synapses:
            raise Impossible(f"there are {len(synapses)} synapses, more than max_edges = {most_synapses}")

    def encode(self, genome: Genome) -> NDArray[np.float64]:
        """For surrogates: sizes; mean, sd and quartiles of every property; histograms of in- and outdegrees;
        between which kinds of neurons the synapses are; and of every input and output (the first 64) its
        degree, its mean first value (its weights') and its own values.

        Shape (d,), which depends on the fields alone; in [0, 1].
        """
        rows, edges = sorted(genome["neurons"]), sorted(genome["synapses"])
        neurons = np.array(rows, dtype=np.float64).reshape(-1, 1 + len(self.neurons))
        synapses = np.array(edges, dtype=np.float64).reshape(-1, 2 + len(self.synapses))
        n, s = len(neurons), len(synapses)
        if rows[-1][0] == n - 1:
            source, target = synapses[:, :2].T.astype(np.int64)
        else:
            source, target = np.searchsorted(neurons[:, 0], synapses[:, :2]).T
        ours, theirs = scaled(neurons[:, 1:], self.neurons), scaled(synapses[:, 2:], self.synapses)
        leaving, arriving = np.bincount(source, minlength=n), np.bincount(target, minlength=n)
        ends = self.inputs + self.outputs
        most_neurons, most_synapses = self.limits
        kind = np.full(n, 2)
        kind[: self.inputs], kind[self.inputs : ends] = 0, 1
        parts = [
            np.array(
                [
                    math.log1p(n - ends) / math.log1p(max(most_neurons - ends, 1)),
                    math.log1p(s) / math.log1p(max(most_synapses, 1)),
                ]
            ),
            summary(ours),
            summary(theirs),
            np.bincount(_BINS[np.minimum(leaving, 9)], minlength=6) / n,
            np.bincount(_BINS[np.minimum(arriving, 9)], minlength=6) / n,
            np.bincount(3 * kind[source] + kind[target], minlength=9) / max(s, 1),
        ]
        shown = min(ends, _ENDS)
        for here, degree in ((source, leaving), (target, arriving)):
            parts.append(degree[:shown] / (1.0 + degree[:shown]))
            if len(self.synapses):
                sums = np.bincount(here, weights=theirs[:, 0], minlength=n)[:shown]
                parts.append(np.where(degree[:shown] > 0, sums / np.maximum(degree[:shown], 1), 0.5))
        parts.append(ours[:shown].ravel())
        return np.asarray(np.minimum(np.maximum(np.concatenate(parts), 0.0), 1.0))


_Change: TypeAlias = Callable[[Spiking, list[Row], list[Row], Uniform], bool]


@dataclass(frozen=True)
class _Plan:
    """What follows from a space's fields, worked out once."""

    kinds: tuple[_Change, ...]
    shares: tuple[float, ...]  # of the kinds, added up
    neuron_shares: tuple[float, ...]  # of the properties, added up
    synapse_shares: tuple[float, ...]
    most_neurons: int
    most_synapses: int
    real: bool  # whether any property is a real number


def _planned(space: Spiking) -> _Plan:
    neurons = _shares("node_mutations", space.node_mutations, space.neurons)
    synapses = _shares("edge_mutations", space.edge_mutations, space.synapses)
    rates = {
        "add_node_rate": space.add_node_rate,
        "delete_node_rate": space.delete_node_rate,
        "add_edge_rate": space.add_edge_rate,
        "delete_edge_rate": space.delete_edge_rate,
        "node_params_rate": space.node_params_rate if any(neurons) else 0.0,
        "edge_params_rate": space.edge_params_rate if any(synapses) else 0.0,
    }
    if not sum(rates.values()) > 0:
        raise ValueError("all mutations have the rate 0; give at least one a higher one")
    kinds: dict[str, _Change] = {
        "add_node_rate": Spiking._add_node,
        "delete_node_rate": Spiking._delete_node,
        "add_edge_rate": Spiking._add_edge,
        "delete_edge_rate": Spiking._delete_edge,
        "node_params_rate": Spiking._node_params,
        "edge_params_rate": Spiking._edge_params,
    }
    used = [name for name, rate in rates.items() if rate > 0]
    ends = space.inputs + space.outputs
    most = ends + max(100, space.starting_nodes) if space.max_nodes is None else space.max_nodes
    edges = space.max_edges
    return _Plan(
        kinds=tuple(kinds[name] for name in used),
        shares=tuple(accumulate(rates[name] for name in used)),
        neuron_shares=tuple(accumulate(neurons)),
        synapse_shares=tuple(accumulate(synapses)),
        most_neurons=most,
        most_synapses=max(10 * most, space.starting_edges or 0) if edges is None else edges,
        real=any(item.kind == "float" for item in (*space.neurons, *space.synapses)),
    )


def _check_counts(space: Spiking) -> None:
    least = {"inputs": 1, "outputs": 1, "starting_nodes": 0, "num_mutations": 1}
    least |= dict.fromkeys(("starting_edges", "max_nodes", "max_edges"), 0)
    for name, low in least.items():
        value = getattr(space, name)
        if value is not None and (type(value) is not int or value < low):
            raise ValueError(f"{name} is {value!r}; give a whole number of at least {low}")
    for name in (
        "add_node_rate",
        "delete_node_rate",
        "add_edge_rate",
        "delete_edge_rate",
        "node_params_rate",
        "edge_params_rate",
    ):
        if not _is_share(getattr(space, name)):
            raise ValueError(f"{name} is {getattr(space, name)!r}; give a number of at least 0")
    if not _is_share(space.merge_rate) or space.merge_rate > 1:
        raise ValueError(f"merge_rate is {space.merge_rate!r}; give a probability from 0 to 1")
    if space.multi_edges:
        raise ValueError("multi_edges must be 0: there is one synapse at most from one neuron to another")
    if space.net_params_rate or space.net_mutations:
        raise ValueError("net_params_rate must be 0: a network has no values but its neurons' and synapses'")
    for what, items in (("neurons", space.neurons), ("synapses", space.synapses)):
        names = [item.name for item in items]
        if len(set(names)) != len(names):
            raise ValueError(f"two properties of the {what} are called {twice(names)!r}")
    count = space.inputs + space.outputs + space.starting_nodes
    if space.max_nodes is not None and count > space.max_nodes:
        raise ValueError(
            f"{space.inputs} inputs, {space.outputs} outputs and starting_nodes = {space.starting_nodes} are "
            f"more than max_nodes = {space.max_nodes}; start with fewer or allow more"
        )
    if space.max_edges is not None and (space.starting_edges or 0) > space.max_edges:
        raise ValueError(f"starting_edges = {space.starting_edges}, but max_edges = {space.max_edges}")


def _shares(option: str, given: Mapping[str, float] | None, items: Sequence[Range]) -> list[float]:
    """The relative weights with which properties are redrawn; 0 for what cannot change."""
    if given is None:
        given = {item.name: _SHARES.get(item.name, _OTHERS) for item in items}
    for name, share in given.items():
        if not _is_share(share):
            raise ValueError(f"{option} gives {name} the weight {share!r}; give a number of at least 0")
    return [0.0 if item.constant else float(given.get(item.name, 0.0)) for item in items]


def _check_names(option: str, given: Mapping[str, float] | None, items: Sequence[Range]) -> None:
    """Raises `ValueError` for a property that the processor does not have. Before `bind` nobody knows."""
    names = [item.name for item in items]
    for name in given or ():
        if name not in names:
            raise ValueError(f"{option} names {name!r}; there are {', '.join(names) or 'none'}")


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _range(item: RangeLike) -> Range:
    if getattr(item, "size", 1) != 1:
        raise ValueError(f"{item.name} is a list of numbers; a genome has one number for each property")
    return Range(item.name, item.kind, item.low, item.high)


def _lower(one: int | None, two: int | None) -> int | None:
    return two if one is None else one if two is None else min(one, two)


def _stream(rng: Rng) -> Uniform:
    """Uniform numbers one by one, drawn in blocks because single draws are slow."""

    def numbers() -> Iterator[float]:
        while True:
            yield from rng.random(32).tolist()

    return numbers().__next__


def _redraw(
    rows: list[Row], first: int, ranges: Sequence[Range], shares: Sequence[float], u: Uniform
) -> bool:
    """Another value for one property of one of the rows; whether there was one to be had."""
    if not rows:
        return False
    at = int(u() * len(rows))
    which = bisect_right(shares, u() * shares[-1])
    row = rows[at].copy()
    row[first + which] = ranges[which].redraw(row[first + which], u())
    rows[at] = row
    return True


class _Parent:
    """A genome by the numbers of its neurons."""

    def __init__(self, genome: Genome) -> None:
        self.neurons: dict[int, Row] = {row[0]: row for row in sorted(genome["neurons"])}
        self.synapses: list[Row] = sorted(genome["synapses"])

    def outgoing(self) -> dict[int, list[Row]]:
        found: dict[int, list[Row]] = {}
        for row in self.synapses:
            if row[0] in found:
                found[row[0]].append(row)
            else:
                found[row[0]] = [row]
        return found

    def genome(self) -> Genome:
        return {"neurons": list(self.neurons.values()), "synapses": self.synapses}


def _union(ids: Sequence[int], first: _Parent, second: _Parent) -> Genome:
    """All neurons and synapses of both; what both have, as the first has it."""
    synapses = {(row[0], row[1]): row for row in second.synapses}
    synapses.update({(row[0], row[1]): row for row in first.synapses})
    return {
        "neurons": [first.neurons[i] if i in first.neurons else second.neurons[i] for i in ids],
        "synapses": [synapses[pair] for pair in sorted(synapses)],
    }


def _recombined(
    ids: Sequence[int], first: _Parent, second: _Parent, coins: Sequence[float]
) -> tuple[Genome, Genome]:
    """Two children by node–edge recombination, one coin in [0, 1) for each number of a neuron."""
    nobody: list[Row] = []
    parents = (
        (first.neurons, first.outgoing()),
        (second.neurons, second.outgoing()),
    )
    neurons: tuple[list[Row], list[Row]] = ([], [])
    synapses: tuple[list[Row], list[Row]] = ([], [])
    for number, coin in zip(ids, coins, strict=True):
        child = coin < 0.5
        for theirs, outgoing in parents:
            if number in theirs:
                neurons[child].append(theirs[number])
                synapses[child].extend(outgoing.get(number, nobody))
            child = not child
    if first.neurons.keys() != second.neurons.keys():
        _settle(neurons, synapses)
    one, two = ({"neurons": nodes, "synapses": edges} for nodes, edges in zip(neurons, synapses, strict=True))
    return one, two


def _settle(neurons: tuple[list[Row], list[Row]], synapses: tuple[list[Row], list[Row]]) -> None:
    """Moves synapses whose target is in the other child there, and drops those that fit in neither."""
    one, two = ({row[0] for row in nodes} for nodes in neurons)
    strays: list[list[Row]] = []
    for edges, here, there in ((synapses[0], one, two), (synapses[1], two, one)):
        away = [row for row in edges if row[1] not in here]
        strays.append([row for row in away if row[0] in there and row[1] in there])
        if away:
            edges[:] = [row for row in edges if row[1] in here]
    for edges, coming in zip(synapses, reversed(strays), strict=True):
        if coming:
            # No copies: where both parents have the source, the one without the target has no such synapse.
            edges.extend(coming)
            edges.sort()
