"""Phases of convolutions wired by bit strings, after Genetic CNN and NSGA-Net."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vilfredo import architecture
from vilfredo.architecture import Architecture, Design, Layer, Shape
from vilfredo.protocols import Impossible, Rng
from vilfredo.spaces import training
from vilfredo.spaces.parameters import Parameters
from vilfredo.trial import JSON, Genome

Wiring = tuple[tuple[int, ...], ...]  # for each node the earlier nodes it takes its input from

_ORDERS = 720  # node orders tried for the canonical wiring of a phase


@dataclass(frozen=True)
class Macro:
    """A sequence of phases, each a small graph of equal nodes, with pooling between them.

    Sources: Xie and Yuille, "Genetic CNN", ICCV 2017 (the encoding); Lu et al., "NSGA-Net: neural
    architecture search using multi-objective genetic algorithm", GECCO 2019, arXiv 1810.03522 (the skip bit,
    crossover and mutation).

    A genome is `{"phases": ["0110...1", ...], "training": {...}}`; without `tune` it has no training. A phase
    of K nodes has K(K-1)/2 + 1 bits: 1→2, 1→3, 2→3, 1→4, … and the skip bit. A node is a 3 × 3 convolution,
    batch norm and ReLU of the sum of its inputs. Nodes without connections are dropped; those without an
    input take the phase's, those without an output give the phase's, summed; the skip bit adds the phase's
    input to that. A phase begins with a convolution (3 × 3 in the first phase, 1 × 1 after), batch norm and
    ReLU that make its `filters`; phases are divided by 2 × 2 max pooling, and the last is followed by global
    average pooling and a dense layer.

    Ours: sums wherever several inputs meet (Genetic CNN's; NSGA-Net's code joins them with a 1 × 1
    convolution), and a phase without connections, which NSGA-Net leaves out, keeps its first convolution.

    Genomes that differ only in bits without effect (the skip bit of a phase without connections) or in
    the numbering of a phase's nodes decode to the same network: the nodes are put in an order that depends
    on the graph alone. That is exact for up to six nodes; in larger phases so symmetrical that more than 720
    orders would have to be tried, some equal graphs may count as two.

    Fields: `input` (channels, height, width) and `outputs`, set by `bind`; nodes and filters by phase;
    whether to tune the training, and its ranges (see `vilfredo.spaces.training`). Raises `ValueError`, one
    sentence, for fields that make no sense.
    """

    input: Shape = ()
    outputs: int = 0
    nodes: tuple[int, ...] = (4, 4, 4)
    filters: tuple[int, ...] = (16, 32, 64)
    tune: bool = True
    optimizers: tuple[str, ...] = ("adam", "sgd")
    lr: tuple[float, float] = (3e-4, 1e-2)
    sgd_lr: tuple[float, float] = (5e-3, 1e-1)
    momentum: tuple[float, float] = (0.7, 0.95)
    weight_decay: tuple[float, float] = (1e-6, 1e-3)
    batch_sizes: tuple[int, ...] = (32, 64, 128)
    schedules: tuple[str, ...] = ("cosine", "constant")
    bits: tuple[int, ...] = ()
    scales: tuple[str, ...] = ()
    activation_clip: tuple[bool, ...] = ()
    weight_clip: tuple[float, ...] = ()
    hyperparameters: Parameters = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.nodes or not all(type(n) is int and 2 <= n <= 16 for n in self.nodes):
            raise ValueError(
                f"nodes must say how many nodes, 2 to 16, each phase has, not {list(self.nodes)!r}"
            )
        if len(self.filters) != len(self.nodes) or not all(type(f) is int and f > 0 for f in self.filters):
            raise ValueError(
                f"filters must be whole numbers above 0, one for each of the {len(self.nodes)} phases, "
                f"not {list(self.filters)!r}"
            )
        if not self.tune:
            for name in ("bits", "scales", "activation_clip", "weight_clip"):
                if getattr(self, name):
                    raise ValueError(f"{name} are genes of the training, and tune = false leaves it alone")
        if self.input or self.outputs:
            _check_ends(self.input, self.outputs)
        space = training.hyperparameters(
            self.optimizers,
            self.lr,
            self.sgd_lr,
            self.momentum,
            self.weight_decay,
            self.batch_sizes,
            self.schedules,
            self.bits,
            self.scales,
            self.activation_clip,
            self.weight_clip,
        )
        object.__setattr__(self, "hyperparameters", space)

    def bind(self, input: Shape, outputs: int) -> Macro:
        """The same space for images of this shape and this many outputs. Raises `ValueError` for tables."""
        _check_ends(input, outputs)
        return replace(self, input=tuple(int(n) for n in input), outputs=int(outputs))

    def sample(self, rng: Rng) -> Genome:
        """Every bit 0 or 1 with probability 1/2 (Genetic CNN), the training uniform on its scales."""
        bits = "".join("1" if u < 0.5 else "0" for u in rng.random(sum(self._lengths())).tolist())
        return self._genome(bits, self.hyperparameters.sample(rng) if self.tune else {})

    def mutate(self, genome: Genome, rng: Rng) -> Genome:
        """One bit flipped (NSGA-Net: at most one), such that the network is another; or the training changed.

        The training changes, in place of a bit, with probability 3/10.
        """
        bits = "".join(genome["phases"])
        if self.tune and rng.random() < 0.3:
            hyper = self.hyperparameters.mutate(genome["training"], rng)
            if self.hyperparameters.canonical(hyper) != self.hyperparameters.canonical(genome["training"]):
                return self._genome(bits, hyper)
        before = self._wirings(genome)
        for at in rng.permutation(len(bits)).tolist():
            flipped = bits[:at] + ("0" if bits[at] == "1" else "1") + bits[at + 1 :]
            child = self._genome(flipped, genome.get("training", {}))
            if self._wirings(child) != before:
                return child
        return dict(genome)

    def cross(self, first: Genome, second: Genome, rng: Rng) -> tuple[Genome, Genome]:
        """NSGA-Net's homogeneous crossover: what both parents share stays, complexity stays between theirs.

        Common bits are inherited. Of the bits in which the parents differ a child gets a random selection
        of ones, as many as lie between the parents' numbers of ones; the second child gets the others.
        """
        a, b = "".join(first["phases"]), "".join(second["phases"])
        differ = [i for i in range(len(a)) if a[i] != b[i]]
        ones = sum(a[i] == "1" for i in differ)
        low, high = sorted((ones, len(differ) - ones))
        count = low + int(rng.random() * (high - low + 1))
        chosen = set(rng.permutation(differ)[:count].tolist()) if differ else set()
        one, two = list(a), list(a)
        for i in differ:
            one[i], two[i] = ("1", "0") if i in chosen else ("0", "1")
        trainings: Sequence[Genome] = ({}, {})
        if self.tune:
            trainings = self.hyperparameters.cross(first["training"], second["training"], rng)
        return self._genome("".join(one), trainings[0]), self._genome("".join(two), trainings[1])

    def encode(self, genome: Genome) -> NDArray[np.float64]:
        """The bits of the canonical wiring, phase after phase, then the training. Shape (d,), in [0, 1]."""
        flat: list[float] = []
        for (wiring, skip), count in zip(self._wirings(genome), self.nodes, strict=True):
            for node in range(1, count):
                inputs = wiring[node] if node < len(wiring) else ()
                flat.extend(1.0 if earlier in inputs else 0.0 for earlier in range(node))
            flat.append(float(skip))
        if self.tune:
            flat.extend(self.hyperparameters.encode(genome["training"]).tolist())
        return np.array(flat, dtype=np.float64)

    def canonical(self, genome: Genome) -> str:
        return architecture.canonical(self.decode(genome))

    def check(self, genome: Genome) -> None:
        """Raises `Impossible`, one sentence, if `genome` is not of this space."""
        wanted = {"phases", "training"} if self.tune else {"phases"}
        if set(genome) != wanted:
            raise Impossible(
                f"this macro genome must have {' and '.join(sorted(wanted))}, not {list(genome)!r}"
            )
        phases, lengths = genome["phases"], self._lengths()
        if not isinstance(phases, list | tuple) or len(phases) != len(lengths):
            raise Impossible(f"phases must be a list of {len(lengths)} bit strings, not {phases!r}")
        for index, (bits, length) in enumerate(zip(phases, lengths, strict=True)):
            if not isinstance(bits, str) or len(bits) != length or set(bits) - {"0", "1"}:
                raise Impossible(f"phase {index} must be a string of {length} zeros and ones, not {bits!r}")
        if self.tune:
            if not isinstance(genome["training"], Mapping):
                raise Impossible("the training must be a mapping of hyperparameters")
            self.hyperparameters.check(genome["training"])

    def decode(self, genome: Genome) -> Design:
        """The network and its training. Raises `Impossible`; `ValueError` if the space is not bound."""
        if not self.input:
            raise ValueError("the space does not know its data yet: call bind(input, outputs) first")
        self.check(genome)
        layers: list[Layer] = []
        shape = self.input
        for index, (wiring, skip) in enumerate(self._wirings(genome)):
            if index:
                window = [min(2, size) for size in shape[1:]]
                if window != [1, 1]:
                    args = {"kernel": window, "stride": window, "padding": [0, 0]}
                    _append(layers, self.input, "max_pool", args, len(layers) - 1)
            filters = self.filters[index]
            entry = _node(layers, self.input, filters, 1 if index else 3, [len(layers) - 1])
            outputs: list[int] = []
            for earlier in wiring:
                outputs.append(
                    _node(layers, self.input, filters, 3, [outputs[n] for n in earlier] or [entry])
                )
            used = {n for earlier in wiring for n in earlier}
            sinks = [output for node, output in enumerate(outputs) if node not in used]
            if outputs:
                _sum(layers, self.input, [*([entry] if skip else []), *sinks])
            shape = layers[-1].shape
        _append(layers, self.input, "flatten" if shape[1:] == (1, 1) else "global_pool", {}, len(layers) - 1)
        _append(layers, self.input, "dense", {"units": self.outputs, "bias": True}, len(layers) - 1)
        hyper = training.design(self.hyperparameters, genome["training"]) if self.tune else {}
        return Design(Architecture(self.input, tuple(layers)), hyper)

    def _lengths(self) -> list[int]:
        return [k * (k - 1) // 2 + 1 for k in self.nodes]

    def _genome(self, bits: str, hyper: Genome) -> Genome:
        ends = list(itertools.accumulate(self._lengths()))
        phases = [bits[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return {"phases": phases, "training": hyper} if self.tune else {"phases": phases}

    def _wirings(self, genome: Genome) -> list[tuple[Wiring, bool]]:
        return [wiring(bits, count) for bits, count in zip(genome["phases"], self.nodes, strict=True)]


@lru_cache(maxsize=8192)
def wiring(bits: str, nodes: int) -> tuple[Wiring, bool]:
    """What a phase's bits mean: the connected nodes in an order of the graph's own, and the skip bit.

    Node i of the result takes its input from the earlier nodes `wiring[i]`; () is the phase's input. The
    order is found by refining classes of nodes (by depth, then by the classes of their neighbours) until
    they are stable, and taking, of all orders that keep the classes together, that with the least wiring.
    """
    edges = [
        (earlier, node)
        for bit, (node, earlier) in zip(bits, ((n, e) for n in range(nodes) for e in range(n)), strict=False)
        if bit == "1"
    ]
    live = sorted({node for edge in edges for node in edge})
    if not live:
        return (), False
    before = {n: [a for a, b in edges if b == n] for n in live}
    after = {n: [b for a, b in edges if a == n] for n in live}
    colour: dict[int, int] = {}
    for n in live:  # depth: inputs come first in every order by colour
        colour[n] = 1 + max((colour[m] for m in before[n]), default=-1)
    while True:
        signs = {
            n: (colour[n], sorted(colour[m] for m in before[n]), sorted(colour[m] for m in after[n]))
            for n in live
        }
        known = sorted(signs.values())
        finer = {n: known.index(signs[n]) for n in live}
        if len(set(finer.values())) == len(set(colour.values())):
            break
        colour = finer
    classes = [[n for n in live if finer[n] == c] for c in sorted(set(finer.values()))]
    orders = itertools.product(*(itertools.permutations(members) for members in classes))
    if math.prod(math.factorial(len(members)) for members in classes) > _ORDERS:
        orders = itertools.product(*([tuple(members)] for members in classes))
    return min(_renumbered(before, list(itertools.chain(*order))) for order in orders), bits[-1] == "1"


def _renumbered(before: Mapping[int, Sequence[int]], order: Sequence[int]) -> Wiring:
    place = {node: i for i, node in enumerate(order)}
    return tuple(tuple(sorted(place[m] for m in before[n])) for n in order)


def _node(layers: list[Layer], input: Shape, filters: int, kernel: int, sources: Sequence[int]) -> int:
    """Appends convolution, batch norm and ReLU of the sum of `sources`; the index of the last."""
    source = _sum(layers, input, sources)
    args = {
        "filters": filters,
        "kernel": [kernel, kernel],
        "stride": [1, 1],
        "padding": [kernel // 2, kernel // 2],
        "groups": 1,
        "bias": False,
    }
    source = _append(layers, input, "conv", args, source)
    return _append(layers, input, "relu", {}, _append(layers, input, "batch_norm", {}, source))


def _sum(layers: list[Layer], input: Shape, sources: Sequence[int]) -> int:
    """The index of the sum of `sources`, which takes no layer if there is one only."""
    return sources[0] if len(sources) == 1 else _append(layers, input, "add", {}, *sorted(sources))


def _append(layers: list[Layer], input: Shape, op: str, args: Mapping[str, JSON], *sources: int) -> int:
    shapes = [input if i == -1 else layers[i].shape for i in sources]
    layers.append(Layer(op, args, sources, architecture.infer(op, args, shapes)))
    return len(layers) - 1


def _check_ends(input: Shape, outputs: int) -> None:
    if len(input) != 3 or not all(n >= 1 for n in input):
        raise ValueError(
            f"macro's phases take images (channels, height, width), not {tuple(input)}; use chain for tables"
        )
    if outputs < 1:
        raise ValueError(f"a network needs at least one output, not {outputs}")
