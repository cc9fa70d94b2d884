"""Networks that grow and shrink by network morphisms, after LEMONADE."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vilfredo import architecture, topology
from vilfredo.architecture import Architecture, Design, Layer, Shape
from vilfredo.protocols import Impossible, Rng
from vilfredo.spaces import training
from vilfredo.spaces.parameters import Parameters
from vilfredo.trial import JSON, Genome

Gene: TypeAlias = Mapping[str, JSON]  # one layer
Draft: TypeAlias = list[dict[str, JSON]]  # layers that are being changed
Change: TypeAlias = "Callable[[Morph, Draft, Rng], list[int] | None]"  # changes the draft; ids concerned

EXACT = ("deepen", "widen", "concat", "add", "insert")
APPROXIMATE = ("prune", "remove", "separate")

_GENES: Mapping[str, tuple[str, ...]] = {
    "conv": ("filters", "kernel", "stride"),
    "depthwise": ("kernel", "stride"),
    "dense": ("units",),
    "batch_norm": (),
    "relu": (),
    "max_pool": ("kernel", "stride"),
    "avg_pool": ("kernel", "stride"),
    "global_pool": (),
    "add": (),
    "concat": (),
}
_WEIGHTED = ("conv", "depthwise", "dense")
_MERGING = ("add", "concat")
_BIRTHS = ("identity", "zero")
_NAMES = 2**31  # ids are drawn from so many: whoever has the same got it from the same ancestor
_INPUT, _POOLED, _ANSWER = 0, -1, -2  # names of the network's input and of the two layers that end it
_LONGEST = 500  # genes
_TRIES = 60


@dataclass(frozen=True)
class Morph:
    """Convolutional networks that change by one network morphism at a time, with the training.

    Theirs (T. Elsken, J. H. Metzen and F. Hutter, "Efficient multi-objective neural architecture search via
    Lamarckian evolution", ICLR 2019): children inherit their parent's weights through network morphisms,
    which leave what the network computes as it is, or through approximate ones. Of the former
    `deepen` (a convolution that begins as the identity, batch norm, ReLU), `widen` (more filters, whose
    outgoing weights begin at 0), `concat` (a skip connection by concatenation, its weights 0), `add` and
    `insert` (λ · layer + (1 − λ) · another, λ = 1 at first); of the latter `prune` (fewer filters), `remove`
    (a layer or a skip connection) and `separate` (a convolution becomes a depthwise separable one).

    Our reading: `add` and `insert` leave the layer as it is and add the other times a learned factor for each
    channel, 0 at first: a 1 × 1 depthwise convolution (1 × 1 where channels differ), or the scale of the
    batch norm that ends the inserted branch. Both are added before the ReLU, as in residual networks. `widen`
    and `prune` go to the next of `filters`; of what is summed all grow together. `training` changes the
    hyperparameters, `bits` the word length of one layer (with `layer_bits`). For tables dense layers are what
    convolutions are for images. What is inherited how: `vilfredo.nn.inherit`.

    A genome is `{"layers": [gene, ...], "training": {...}, "morphism": {"op": ..., "layers": [id, ...]}}`;
    the last, which change made it, is for the record and without effect. A gene has an `id` for life, `op`,
    `inputs` (ids before it; 0 is the network's input) and `filters`, `units`, `kernel`, `stride`, `bits`,
    as the operation needs. Kernels are odd but for pools; images keep their size but for strides. `born` says
    how a layer begins in the first network that has it: "identity" or "zero". The last gene is the output,
    followed by global pooling and a dense layer. What does not reach it is left out.

    Fields: `input` (channels, height, width) or (features,), and `outputs`, set by `bind`; how many blocks
    a starting network has, and the rest as in `vilfredo.spaces.chain`. `max_layers` counts convolutions and
    dense layers. Raises `ValueError`, one sentence, for fields that make no sense.
    """

    inherits: ClassVar[bool] = True  # weights of parents are of use

    input: Shape = ()
    outputs: int = 0
    blocks: tuple[int, int] = (1, 4)
    max_layers: int = 24
    filters: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
    kernels: tuple[int, ...] = (1, 3, 5)
    morphisms: tuple[str, ...] = EXACT + APPROXIMATE
    max_macs: int = 30_000_000
    max_parameters: int = 5_000_000
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
    layer_bits: tuple[int, ...] = ()
    hyperparameters: Parameters = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.filters or not all(type(f) is int and f > 0 for f in self.filters):
            raise ValueError(f"filters must be whole numbers above 0, not {list(self.filters)!r}")
        if not self.kernels or not all(type(k) is int and k > 0 and k % 2 for k in self.kernels):
            raise ValueError(f"kernels must be odd whole numbers above 0, not {list(self.kernels)!r}")
        known = EXACT + APPROXIMATE
        if not self.morphisms or not set(self.morphisms) <= set(known):
            raise ValueError(f"morphisms must be some of {', '.join(known)}, not {list(self.morphisms)!r}")
        whole = len(self.blocks) == 2 and all(type(b) is int for b in self.blocks)
        if not whole or not 1 <= self.blocks[0] <= self.blocks[1] <= self.max_layers:
            raise ValueError(
                f"blocks must be a range [low, high] from 1 to max_layers = {self.max_layers}, "
                f"not {list(self.blocks)!r}"
            )
        if self.max_macs < 1 or self.max_parameters < 1:
            raise ValueError("max_macs and max_parameters must be above 0")
        if not self.tune:
            for name in ("bits", "scales", "activation_clip", "weight_clip"):
                if getattr(self, name):
                    raise ValueError(f"{name} are genes of the training, and tune = false leaves it alone")
        training.check_bits("layer_bits", self.layer_bits)
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

    def bind(self, input: Shape, outputs: int) -> Morph:
        """The same space for data of this shape and this many outputs. Raises `ValueError` for others."""
        _check_ends(input, outputs)
        return replace(self, input=tuple(int(n) for n in input), outputs=int(outputs))

    # -- genomes ------------------------------------------------------------------------------------

    def sample(self, rng: Rng) -> Genome:
        """A small network to start from: blocks of convolution, batch norm and ReLU one after the other, with
        the smaller half of `filters`, and 2 × 2 max pooling between some of them."""
        self._bound()
        smaller = sorted(set(self.filters))[: (len(set(self.filters)) + 1) // 2]
        problem: Impossible | None = None
        for attempt in range(1, _TRIES + 1):
            if attempt % 8 == 0:  # the limits are tight
                smaller = smaller[: max(1, len(smaller) - 1)]
            low, high = self.blocks
            layers: Draft = []
            at, size = _INPUT, min(self.input[1:], default=1)
            for block in range(int(rng.integers(low, high + 1))):
                if block and size >= 2 and rng.random() < 0.6:
                    at = _append(layers, rng, "max_pool", [at], kernel=2, stride=2)
                    size //= 2
                width = smaller[int(rng.integers(len(smaller)))]
                for gene in self._block(width, rng):
                    at = _append(layers, rng, inputs=[at], **gene)
            hyper = {"training": self.hyperparameters.sample(rng)} if self.tune else {}
            genome: Genome = {"layers": layers, **hyper}
            try:
                self.decode(genome)
            except Impossible as reason:
                problem = reason
            else:
                return genome
        raise Impossible(f"no starting network fits into this space: {problem}") from problem

    def mutate(self, genome: Genome, rng: Rng) -> Genome:
        """One morphism, drawn evenly of those that there are; `genome` comes back if none of many does."""
        before = self.canonical(genome)
        changes = [*self.morphisms]
        changes += ["training"] if self.tune else []
        changes += ["bits"] if self.layer_bits else []
        hyper = {"training": genome["training"]} if self.tune else {}
        for _ in range(_TRIES):
            op = changes[int(rng.integers(len(changes)))]
            layers: Draft = [dict(gene) for gene in _alive(genome["layers"])]
            changed: Genome = hyper
            ids: list[int] | None = []
            if op == "training":
                changed = {"training": self.hyperparameters.mutate(genome["training"], rng)}
            else:
                ids = _CHANGES[op](self, layers, rng)
            if ids is None:
                continue
            child = {"layers": layers, **changed, "morphism": {"op": op, "layers": ids}}
            try:
                if self.canonical(child) != before:
                    return child
            except Impossible:
                continue
        return dict(genome)

    def cross(self, first: Genome, second: Genome, rng: Rng) -> tuple[Genome, Genome]:
        """A mutant of each parent; the hyperparameters are crossed. LEMONADE crosses nothing: weights of two
        networks do not fit together."""
        if not self.tune:
            return self.mutate(first, rng), self.mutate(second, rng)
        one, two = self.hyperparameters.cross(first["training"], second["training"], rng)
        return self.mutate({**first, "training": one}, rng), self.mutate({**second, "training": two}, rng)

    def encode(self, genome: Genome) -> NDArray[np.float64]:
        """For surrogates: sizes of each convolution and dense layer, sums over the network, the training.

        Shape (6 max_layers + 10 + d,), where d is that of the training hyperparameters; in [0, 1].
        """
        built = self.decode(genome).architecture
        shapes = architecture.input_shapes(built)
        flat: list[float] = []
        count = dict.fromkeys(_GENES, 0)
        for layer, (shape, *_) in zip(built.layers[:-1], shapes, strict=False):
            count[layer.op] = count.get(layer.op, 0) + 1
            if layer.op in ("conv", "dense"):
                kernel = layer.args.get("kernel", (0, 0))
                apart = layer.args.get("groups", 1) == shape[0] > 1
                pixels = math.prod(layer.shape[1:])
                sizes = (math.log2(layer.shape[0]) / 12, kernel[0] / 8, math.log2(pixels) / 16)
                flat += [*sizes, float(apart), layer.args.get("bits", 0) / 16, math.log2(shape[0]) / 12]
        flat += [0.0] * (6 * self.max_layers - len(flat))
        flat += [
            (count["conv"] + count["dense"]) / self.max_layers,
            count["relu"] / self.max_layers,
            count["batch_norm"] / self.max_layers,
            count["add"] / self.max_layers,
            count["concat"] / self.max_layers,
            (count["max_pool"] + count["avg_pool"]) / 8,
            math.log2(built.layers[-2].shape[0] if len(built.layers) > 1 else 1) / 12,
            _depth(built) / self.max_layers,
            math.log10(architecture.parameters(built)) / 8,
            math.log10(architecture.macs(built)) / 10,
        ]
        if self.tune:
            flat += self.hyperparameters.encode(genome["training"]).tolist()
        return np.clip(np.array(flat, dtype=np.float64), 0.0, 1.0)

    def canonical(self, genome: Genome) -> str:
        return architecture.canonical(self.decode(genome))

    def check(self, genome: Genome) -> None:
        """Raises `Impossible`, one sentence, if `genome` is not of this space or makes no network."""
        self.decode(genome)

    def decode(self, genome: Genome) -> Design:
        """The network and its training, with the names and births of its layers: those of the genes, and
        -1 and -2 for the pooling and the dense layer that end it.

        Layers come in an order that depends on the graph alone. Raises `Impossible`; `ValueError` if the
        space is not bound.
        """
        self._bound()
        _check_genome(genome, self.tune, bool(self.layer_bits))
        hyper: dict[str, JSON] = {}
        if self.tune:
            self.hyperparameters.check(genome["training"])
            hyper = training.design(self.hyperparameters, genome["training"])
        genes = _alive(genome["layers"])
        weighted = sum(gene["op"] in _WEIGHTED for gene in genes)
        if weighted > self.max_layers:
            raise Impossible(
                f"the network has {weighted} convolutions and dense layers; max_layers = {self.max_layers}"
            )
        built = self._assembled(genes, hyper.get("bits"))
        for name, size, limit in (
            ("max_macs", architecture.macs(built), self.max_macs),
            ("max_parameters", architecture.parameters(built), self.max_parameters),
        ):
            if size > limit:
                raise Impossible(f"the network has {size:,} {name[4:]}, more than {name} = {limit:,}")
        births = [gene.get("born", "") for gene in genes]
        births += [""] * (len(built.layers) - len(genes))
        return Design(built, hyper, _names(genes, built), tuple(births))

    def foresee(self, genome: Genome) -> Mapping[str, float]:
        """What is known of the network before it is trained, by goal: `parameters`, `macs`, `weight_bytes`
        (of 32 bits, or as many as genes say), `asi` and `adcr` (see `vilfredo.topology`)."""
        design = self.decode(genome)
        built = design.architecture
        usual = design.training.get("bits")
        stored = 0
        for layer, shapes in zip(built.layers, architecture.input_shapes(built), strict=True):
            numbers = architecture.layer_parameters(layer, shapes)
            bits = layer.args.get("bits", usual)
            if layer.op in ("conv", "dense") and bits is not None:  # and a bias of 32 bits for each filter
                weights = numbers - (layer.shape[0] if layer.args["bias"] else 0)
                stored += bits * weights + 32 * layer.shape[0]
            elif usual is None:
                stored += 32 * numbers
        return {
            "parameters": float(architecture.parameters(built)),
            "macs": float(architecture.macs(built)),
            "weight_bytes": float(-(-stored // 8)),
            "asi": topology.asi(built),
            "adcr": topology.adcr(built),
        }

    # -- pieces ---------------------------------------------------------------------------------------

    def _bound(self) -> None:
        if not self.input:
            raise ValueError("the space does not know its data yet: call bind(input, outputs) first")

    def _block(self, width: int, rng: Rng, born: str = "") -> list[dict[str, JSON]]:
        """Weights, batch norm, ReLU; `born` is that of the first two."""
        mark = {"born": born} if born else {}
        if len(self.input) == 1:
            first: dict[str, JSON] = {"op": "dense", "units": width, **mark}
        else:
            kernel = self.kernels[int(rng.integers(len(self.kernels)))]
            first = {"op": "conv", "filters": width, "kernel": kernel, "stride": 1, **mark}
        return [first, {"op": "batch_norm", **mark}, {"op": "relu"}]

    def _assembled(self, genes: Sequence[Gene], usual: JSON = None) -> Architecture:
        """The architecture of genes in order, its layers in the same order; `usual` bits are not said."""
        layers: list[Layer] = []
        at: dict[int, int] = {_INPUT: -1}
        normed = _normed(genes)
        for gene in genes:
            inputs = tuple(at[name] for name in gene["inputs"])
            shapes = [self.input if i == -1 else layers[i].shape for i in inputs]
            op, args = _layer(gene, shapes[0], gene["id"] in normed, usual)
            at[gene["id"]] = len(layers)
            layers.append(Layer(op, args, inputs, architecture.infer(op, args, shapes)))
        shape = layers[-1].shape
        if len(shape) == 3:
            op = "flatten" if shape[1:] == (1, 1) else "global_pool"
            layers.append(Layer(op, {}, (len(layers) - 1,), (shape[0],)))
        answer = {"units": self.outputs, "bias": True}
        layers.append(Layer("dense", answer, (len(layers) - 1,), (self.outputs,)))
        return Architecture(self.input, tuple(layers))

    def _shapes(self, layers: Draft) -> dict[int, Shape]:
        """The shape of what each layer gives, by id, and of the network's input."""
        built = self._assembled(layers)
        shapes = {name: layer.shape for name, layer in zip(_names(layers, built), built.layers, strict=True)}
        return {_INPUT: self.input, **shapes}

    def _groups(self, layers: Draft) -> list[list[dict[str, JSON]]]:
        """Genes whose widths are one choice: those that can be widened or pruned."""
        built = self._assembled(layers)
        genes = {gene["id"]: gene for gene in layers}
        groups: dict[int, list[dict[str, JSON]]] = {}
        fixed: set[int] = set()
        names = _names(layers, built)
        for name, layer, group in zip(names, built.layers, architecture.linked(built), strict=True):
            if layer.op not in ("conv", "dense"):
                continue
            gene = genes.get(name, {})
            if "filters" in gene or "units" in gene:
                groups.setdefault(group, []).append(gene)
            elif gene.get("op") != "depthwise" or layer.args.get("groups", 1) == 1:
                fixed.add(group)  # the answer, or a depthwise convolution of one channel
        return [members for group, members in groups.items() if group != -1 and group not in fixed]


# -- morphisms ----------------------------------------------------------------------------------------


def _deepen(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """After a layer that gives nothing negative: identity, batch norm, ReLU."""
    shapes = space._shapes(layers)
    positive = _never_negative(layers)
    flat = 1 if len(space.input) == 1 else 3
    places = [g["id"] for g in layers if g["id"] in positive and len(shapes[g["id"]]) == flat]
    if not places:
        return None
    after = places[int(rng.integers(len(places)))]
    at = 1 + next(i for i, g in enumerate(layers) if g["id"] == after)
    takers = [g for g in layers if after in g["inputs"]]
    new: Draft = []
    last = after
    for gene in space._block(shapes[after][0], rng, "identity"):
        last = _append(new, rng, inputs=[last], **gene)
    for gene in takers:
        gene["inputs"] = [last if i == after else i for i in gene["inputs"]]
    layers[at:at] = new
    return [g["id"] for g in new]


def _widen(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    return _resize(space, layers, rng, larger=True)


def _prune(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    return _resize(space, layers, rng, larger=False)


def _resize(space: Morph, layers: Draft, rng: Rng, larger: bool) -> list[int] | None:
    groups = space._groups(layers)
    if not groups:
        return None
    members = groups[int(rng.integers(len(groups)))]
    key = "filters" if "filters" in members[0] else "units"
    now = members[0][key]
    widths = sorted(set(space.filters), reverse=not larger)
    there = [w for w in widths if (w > now if larger else w < now)]
    if not there or any(g.get(key) != now for g in members):
        return None
    for gene in members:
        gene[key] = there[0]
    return [g["id"] for g in members]


def _concat(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """What one layer takes, or the output, is followed by what an earlier layer gives."""
    shapes = space._shapes(layers)
    takers = [i for i, g in enumerate(layers) if g["op"] in ("conv", "dense")] + [len(layers)]
    at = takers[int(rng.integers(len(takers)))]
    main = layers[-1]["id"] if at == len(layers) else layers[at]["inputs"][0]
    taken = {main, *next((g["inputs"] for g in layers if g["id"] == main and g["op"] == "concat"), ())}
    others = _alike(layers[:at], main, taken, shapes)
    if not others:
        return None
    other = others[int(rng.integers(len(others)))]
    new: Draft = []
    joined = _append(new, rng, "concat", [main, other])
    if at < len(layers):
        layers[at]["inputs"] = [joined]
    layers[at:at] = new
    return [joined]


def _add(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """To what reaches a ReLU is added what an earlier layer gives, times a factor for each channel."""
    found = _sum_at(space, layers, rng)
    if found is None:
        return None
    main, other, shapes = found
    if shapes[main][0] == shapes[other][0] and len(shapes[main]) == 3:
        gene: dict[str, JSON] = {"op": "depthwise", "kernel": 1, "stride": 1}
    elif len(shapes[main]) == 3:
        gene = {"op": "conv", "filters": shapes[main][0], "kernel": 1, "stride": 1}
    else:
        gene = {"op": "dense", "units": shapes[main][0]}
    return _sum(layers, rng, main, other, [{**gene, "born": "zero"}])


def _insert(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """To what reaches a ReLU is added a branch from an earlier layer: a convolution, or a separable one, and
    batch norm."""
    found = _sum_at(space, layers, rng)
    if found is None:
        return None
    main, other, shapes = found
    first, norm, _ = space._block(shapes[main][0], rng)
    branch = [first, {**norm, "born": "zero"}]
    if first.get("kernel", 1) > 1 and rng.random() < 0.5:
        apart = {"op": "depthwise", "kernel": first["kernel"], "stride": 1}
        branch = [apart, {**first, "kernel": 1}, branch[1]]
    return _sum(layers, rng, main, other, branch)


def _sum_at(space: Morph, layers: Draft, rng: Rng) -> tuple[int, int, dict[int, Shape]] | None:
    """A batch norm or sum that a ReLU takes, and an earlier layer of its height and width."""
    shapes = space._shapes(layers)
    before = {i for g in layers if g["op"] == "relu" for i in g["inputs"]}
    places = [i for i, g in enumerate(layers) if g["id"] in before and g["op"] in ("batch_norm", "add")]
    if not places:
        return None
    at = places[int(rng.integers(len(places)))]
    main = layers[at]["id"]
    others = _alike(layers[:at], main, {main, *layers[at]["inputs"]}, shapes)
    if not others:
        return None
    return main, others[int(rng.integers(len(others)))], shapes


def _sum(layers: Draft, rng: Rng, main: int, other: int, branch: list[dict[str, JSON]]) -> list[int]:
    """`main` plus a branch that begins at `other`, for all who take `main`; a sum gets one more term."""
    at = next(i for i, g in enumerate(layers) if g["id"] == main)
    new: Draft = []
    last = other
    for gene in branch:
        last = _append(new, rng, inputs=[last], **gene)
    if layers[at]["op"] == "add":
        layers[at]["inputs"] = [*layers[at]["inputs"], last]
        layers[at:at] = new
        return [*(g["id"] for g in new), main]
    takers = [g for g in layers if main in g["inputs"]]
    total = _append(new, rng, "add", [main, last])
    for gene in takers:
        gene["inputs"] = [total if i == main else i for i in gene["inputs"]]
    layers[at + 1 : at + 1] = new
    return [g["id"] for g in new]


def _remove(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """One input of a sum or concatenation; or a layer with its batch norm and its ReLU."""
    by_id = {g["id"]: g for g in layers}
    takers: dict[int, list[dict[str, JSON]]] = {}
    for gene in layers:
        for source in gene["inputs"]:
            takers.setdefault(source, []).append(gene)
    choices = [g for g in layers if g["op"] in (*_WEIGHTED, *_MERGING)]
    gene = choices[int(rng.integers(len(choices)))]
    if gene["op"] in _MERGING:
        gone = int(rng.integers(len(gene["inputs"])))
        rest = [source for i, source in enumerate(gene["inputs"]) if i != gone]
        if len(rest) > 1:
            gene["inputs"] = rest
        elif rest[0] == _INPUT and layers[-1] is gene:
            return None
        else:
            _bypass(layers, gene["id"], rest[0])
    else:
        chain = [gene["id"]]
        for op in ("batch_norm", "relu"):
            after = takers.get(chain[-1], [])
            if len(after) == 1 and after[0]["op"] == op:
                chain.append(after[0]["id"])
        source = gene["inputs"][0]
        if chain[-1] == layers[-1]["id"] and source == _INPUT:
            return None
        _bypass(layers, chain[-1], source)
    kept = _alive(layers)
    removed = sorted(set(by_id) - {g["id"] for g in kept})
    layers[:] = [dict(g) for g in kept]
    return removed if any(g["op"] in ("conv", "dense") for g in layers) else None


def _bypass(layers: Draft, gone: int, source: int) -> None:
    """All who take `gone` take `source`; the gene goes, and the output is what it took if it was that."""
    for gene in layers:
        gene["inputs"] = [source if i == gone else i for i in gene["inputs"]]
    if layers[-1]["id"] == gone:
        at = next(i for i, g in enumerate(layers) if g["id"] == source)
        layers.append(layers.pop(at))  # what comes after it is not taken by it, nor by anybody now
    layers[:] = [g for g in layers if g["id"] != gone]


def _separate(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """A convolution becomes a depthwise one and a 1 × 1 one, which keeps the id."""
    shapes = space._shapes(layers)
    places = [
        i
        for i, g in enumerate(layers)
        if g["op"] == "conv" and g["kernel"] > 1 and shapes[g["inputs"][0]][0] > 1
    ]
    if not places:
        return None
    at = places[int(rng.integers(len(places)))]
    gene = layers[at]
    new: Draft = []
    apart = _append(new, rng, "depthwise", gene["inputs"], kernel=gene["kernel"], stride=gene["stride"])
    gene.update(kernel=1, stride=1, inputs=[apart])
    layers[at:at] = new
    return [apart, gene["id"]]


def _rebit(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """Another word length for one layer, or none of its own."""
    places = [g for g in layers if g["op"] in _WEIGHTED]
    gene = places[int(rng.integers(len(places)))]
    choices = [b for b in (None, *space.layer_bits) if b != gene.get("bits")]
    drawn = choices[int(rng.integers(len(choices)))]
    gene.pop("bits", None)
    if drawn is not None:
        gene["bits"] = drawn
    return [gene["id"]]


_CHANGES: Mapping[str, Change] = {
    "deepen": _deepen,
    "widen": _widen,
    "concat": _concat,
    "add": _add,
    "insert": _insert,
    "prune": _prune,
    "remove": _remove,
    "separate": _separate,
    "bits": _rebit,
}


def _append(layers: Draft, rng: Rng, op: str, inputs: Sequence[int], **settings: JSON) -> int:
    """One more gene with an id of its own, which is returned."""
    name = int(rng.integers(1, _NAMES))
    layers.append({"id": name, "op": op, "inputs": list(inputs), **settings})
    return name


def _alike(earlier: Draft, main: int, taken: set[int], shapes: Mapping[int, Shape]) -> list[int]:
    """Ids of the input and of earlier layers with the height and width of `main`."""
    return [i for i in (_INPUT, *(g["id"] for g in earlier)) if i not in taken and _same(shapes, i, main)]


def _same(shapes: Mapping[int, Shape], one: int, two: int) -> bool:
    return len(shapes[one]) == len(shapes[two]) and shapes[one][1:] == shapes[two][1:]


def _never_negative(layers: Draft) -> set[int]:
    """Ids of layers that give nothing below 0."""
    found: set[int] = set()
    for gene in layers:
        passes = gene["op"] in ("max_pool", "avg_pool", "global_pool", *_MERGING)
        if gene["op"] == "relu" or (passes and all(i in found for i in gene["inputs"])):
            found.add(gene["id"])
    return found


# -- from genes to layers -----------------------------------------------------------------------------


def _alive(layers: Sequence[Gene]) -> list[Gene]:
    """The genes that reach the last one, inputs before those who take them: depth first from the output, in
    the order in which inputs are named."""
    genes = {gene["id"]: gene for gene in layers}
    done: dict[int, None] = {}
    stack: list[tuple[int, bool]] = [(layers[-1]["id"], False)]
    while stack:
        name, ready = stack.pop()
        if ready:
            done[name] = None
        elif name not in done and name != _INPUT:
            stack.append((name, True))
            stack.extend((source, False) for source in reversed(genes[name]["inputs"]))
    return [genes[name] for name in done]


def _names(genes: Sequence[Gene], built: Architecture) -> tuple[int, ...]:
    """The name of each layer of what `Morph._assembled` made."""
    ends = (_POOLED, _ANSWER)[-(len(built.layers) - len(genes)) :]
    return (*(gene["id"] for gene in genes), *ends)


def _normed(genes: Sequence[Gene]) -> set[int]:
    """Ids of layers that only one batch norm takes, whose bias would do nothing."""
    takers: dict[int, list[str]] = {}
    for gene in genes:
        for source in gene["inputs"]:
            takers.setdefault(source, []).append(gene["op"])
    return {name for name, ops in takers.items() if ops == ["batch_norm"]}


def _layer(gene: Gene, shape: Shape, normed: bool, usual: JSON) -> tuple[str, dict[str, JSON]]:
    """The operation and its arguments of a gene whose first input has this shape."""
    op = gene["op"]
    own = {"bits": gene["bits"]} if "bits" in gene and gene["bits"] != usual else {}
    if op in ("conv", "depthwise"):
        kernel, stride = gene["kernel"], gene["stride"]
        return "conv", {
            "filters": gene["filters"] if op == "conv" else shape[0],
            "kernel": [kernel, kernel],
            "stride": [stride, stride],
            "padding": [kernel // 2, kernel // 2],
            "groups": 1 if op == "conv" else shape[0],
            "bias": not normed,
            **own,
        }
    if op == "dense":
        return op, {"units": gene["units"], "bias": not normed, **own}
    if op in ("max_pool", "avg_pool"):
        kernel = [min(gene["kernel"], size) for size in shape[1:]]
        stride = [min(gene["stride"], k) for k in kernel]
        return op, {"kernel": kernel, "stride": stride, "padding": [0, 0]}
    return op, {}


def _depth(built: Architecture) -> int:
    """Convolutions and dense layers on the longest way."""
    far: list[int] = []
    for layer in built.layers:
        before = max((far[i] for i in layer.inputs if i >= 0), default=0)
        far.append(before + (layer.op in ("conv", "dense")))
    return far[-1]


def _check_ends(input: Shape, outputs: int) -> None:
    if len(input) not in (1, 3) or not all(n >= 1 for n in input):
        raise ValueError(
            f"morphisms take images (channels, height, width) or tables (features,), not {tuple(input)}"
        )
    if outputs < 1:
        raise ValueError(f"a network needs at least one output, not {outputs}")


def _check_genome(genome: Genome, tune: bool, bits: bool) -> None:
    """Raises `Impossible` if `genome` has not the form that the class describes."""
    wanted = {"layers", "training"} if tune else {"layers"}
    if set(genome) - {"morphism"} != wanted:
        raise Impossible(f"a genome of morphisms has {' and '.join(sorted(wanted))}, not {list(genome)!r}")
    if not isinstance(genome.get("morphism", {}), Mapping):
        raise Impossible(f"morphism must say which change it was, not {genome['morphism']!r}")
    if tune and not isinstance(genome["training"], Mapping):
        raise Impossible("the training must be a mapping of hyperparameters")
    layers = genome["layers"]
    if not isinstance(layers, Sequence) or isinstance(layers, str) or not 0 < len(layers) <= _LONGEST:
        raise Impossible(f"the layers must be a list of 1 to {_LONGEST}")
    known = {_INPUT}
    for index, gene in enumerate(layers):
        if not isinstance(gene, Mapping) or gene.get("op") not in tuple(_GENES):
            raise Impossible(f"layer {index} is none of {', '.join(_GENES)}: {gene!r}")
        _check_gene(index, gene, known, bits)
        known.add(gene["id"])
    if not any(gene["op"] in _WEIGHTED for gene in _alive(layers)):
        raise Impossible("the network has no convolution and no dense layer")


def _check_gene(index: int, gene: Gene, known: set[int], bits: bool) -> None:
    op = gene["op"]
    needed = {"id", "op", "inputs", *_GENES[op]}
    allowed = needed | {"born"} | ({"bits"} if bits and op in _WEIGHTED else set())
    if not needed <= set(gene) <= allowed:
        names = ", ".join(map(str, gene))
        raise Impossible(f"layer {index} ({op}) has {names}, but must have {', '.join(sorted(needed))}")
    name, inputs = gene["id"], gene["inputs"]
    if type(name) is not int or not 0 < name < _NAMES or name in known:
        raise Impossible(f"layer {index} ({op}) needs a whole number above 0 of its own as id, not {name!r}")
    if not isinstance(inputs, list | tuple) or not all(type(i) is int and i in known for i in inputs):
        raise Impossible(f"layer {index} ({op}) takes {inputs!r}, which are not all ids before it")
    if not inputs or len(set(inputs)) != len(inputs) or (len(inputs) > 1 and op not in _MERGING):
        raise Impossible(f"layer {index} ({op}) cannot take {len(inputs)} inputs {inputs!r}")
    for key in _GENES[op]:
        odd = key == "kernel" and op in ("conv", "depthwise")
        if type(gene[key]) is not int or gene[key] < 1 or (odd and gene[key] % 2 == 0):
            kind = "an odd whole number" if odd else "a whole number"
            raise Impossible(f"layer {index} ({op}) needs {kind} from 1 as {key}, not {gene[key]!r}")
    if "born" in gene and gene["born"] not in _BIRTHS:
        raise Impossible(f"layer {index} ({op}) is born {gene['born']!r}, not identity or zero")
    if "bits" in gene and not training.is_bits(gene["bits"]):
        raise Impossible(f"layer {index} ({op}) cannot have {gene['bits']!r} bits")
