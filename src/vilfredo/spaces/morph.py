"""Networks that grow and shrink by network morphisms, after LEMONADE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vilfredo import architecture, topology
from vilfredo.architecture import Architecture, Design, Shape
from vilfredo.protocols import Impossible, Rng
from vilfredo.spaces import genes, morphisms, training
from vilfredo.spaces.genes import INPUT, OPS, WEIGHTED, Draft, Gene
from vilfredo.spaces.morphisms import APPROXIMATE, CHANGES, EXACT
from vilfredo.spaces.parameters import Parameters
from vilfredo.trial import JSON, Genome

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
    and `prune` go to the next of `filters`, or of `units` for dense layers; of what is summed all grow
    together. Dense layers with batch norm and ReLU may follow the convolutions, and are changed as these are.
    `training` changes the hyperparameters, `bits` the word length of one layer (with `layer_bits`). For
    tables dense layers are what convolutions are for images. What is inherited how: `vilfredo.nn.inherit`.

    A genome is `{"layers": [gene, ...], "training": {...}, "morphism": {"op": ..., "layers": [id, ...]}}`;
    the last, which change made it, is for the record and without effect. A gene has an `id` for life, `op`,
    `inputs` (ids before it; 0 is the network's input) and `filters`, `units`, `kernel`, `stride`, `bits`,
    as the operation needs. Kernels are odd but for pools; images keep their size but for strides. `born` says
    how a layer begins in the first network that has it: "identity" or "zero". The last gene is the output,
    followed by flattening (without `flatten`: global pooling) if it is an image, and by a dense layer. Where
    dense layers come before the last, flattening or pooling is a gene, too; its id is -1. What does not reach
    the output is left out.

    Fields: `input` (channels, height, width) or (features,), and `outputs`, set by `bind`; how many blocks
    a starting network has, how many `dense` ones after them (of images), and the rest as in
    `vilfredo.spaces.chain`. `max_layers` counts convolutions and dense layers. Raises `ValueError`, one
    sentence, for fields that make no sense.
    """

    inherits: ClassVar[bool] = True  # weights of parents are of use

    input: Shape = ()
    outputs: int = 0
    blocks: tuple[int, int] = (1, 4)
    dense: tuple[int, int] = (0, 1)
    max_layers: int = 24
    filters: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
    units: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    kernels: tuple[int, ...] = (1, 3, 5)
    flatten: bool = True
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
        for name, widths in (("filters", self.filters), ("units", self.units)):
            if not widths or not all(type(w) is int and w > 0 for w in widths):
                raise ValueError(f"{name} must be whole numbers above 0, not {list(widths)!r}")
        if not self.kernels or not all(type(k) is int and k > 0 and k % 2 for k in self.kernels):
            raise ValueError(f"kernels must be odd whole numbers above 0, not {list(self.kernels)!r}")
        known = EXACT + APPROXIMATE
        if not self.morphisms or not set(self.morphisms) <= set(known):
            raise ValueError(f"morphisms must be some of {', '.join(known)}, not {list(self.morphisms)!r}")
        for name, (least, bounds) in {"blocks": (1, self.blocks), "dense": (0, self.dense)}.items():
            whole = len(bounds) == 2 and all(type(b) is int for b in bounds)
            if not whole or not least <= bounds[0] <= bounds[1] <= self.max_layers:
                raise ValueError(
                    f"{name} must be a range [low, high] from {least} to max_layers = {self.max_layers}, "
                    f"not {list(bounds)!r}"
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
        the smaller half of `filters`, 2 × 2 max pooling between some of them, and then `dense` blocks with
        the smaller half of `units`."""
        self._bound()
        flat = len(self.input) == 1
        filters, units = sorted(set(self.units if flat else self.filters)), sorted(set(self.units))
        filters, units = filters[: (len(filters) + 1) // 2], units[: (len(units) + 1) // 2]
        problem: Impossible | None = None
        for attempt in range(1, _TRIES + 1):
            if attempt % 8 == 0:  # the limits are tight
                filters, units = filters[: max(1, len(filters) - 1)], units[: max(1, len(units) - 1)]
            low, high = self.blocks
            layers: Draft = []
            at, size = INPUT, min(self.input[1:], default=1)
            for number in range(int(rng.integers(low, high + 1))):
                if number and size >= 2 and rng.random() < 0.6:
                    at = morphisms.append(layers, rng, "max_pool", [at], kernel=2, stride=2)
                    size //= 2
                at = self._grow(layers, at, flat, filters, rng)
            behind = 0 if flat else int(rng.integers(self.dense[0], self.dense[1] + 1))
            if behind:
                at = morphisms.end(self, layers, rng)
            for _ in range(behind):
                at = self._grow(layers, at, True, units, rng)
            hyper = {"training": self.hyperparameters.sample(rng)} if self.tune else {}
            genome: Genome = {"layers": layers, **hyper}
            try:
                self.decode(genome)
            except Impossible as reason:
                problem = reason
            else:
                return genome
        raise Impossible(f"no starting network fits into this space: {problem}") from problem

    def _grow(self, layers: Draft, at: int, flat: bool, widths: Sequence[int], rng: Rng) -> int:
        """One block of a width among these after the gene `at`; the id of its last gene."""
        width = widths[int(rng.integers(len(widths)))]
        for gene in morphisms.block(self, flat, width, rng):
            at = morphisms.append(layers, rng, inputs=[at], **gene)
        return at

    def mutate(self, genome: Genome, rng: Rng) -> Genome:
        """One morphism, drawn evenly of those that there are; `genome` comes back if none of many does."""
        before = self.canonical(genome)
        changes = [*self.morphisms]
        changes += ["training"] if self.tune else []
        changes += ["bits"] if self.layer_bits else []
        hyper = {"training": genome["training"]} if self.tune else {}
        for _ in range(_TRIES):
            op = changes[int(rng.integers(len(changes)))]
            layers: Draft = [dict(gene) for gene in genes.alive(genome["layers"])]
            changed: Genome = hyper
            ids: list[int] | None = []
            if op == "training":
                changed = {"training": self.hyperparameters.mutate(genome["training"], rng)}
            else:
                ids = CHANGES[op](self, layers, rng)
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
        count = dict.fromkeys(OPS, 0)
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
        -1 and -2 for what makes features of an image and for the dense layer that ends it.

        Layers come in an order that depends on the graph alone. Raises `Impossible`; `ValueError` if the
        space is not bound.
        """
        self._bound()
        genes.check(genome, self.tune, bool(self.layer_bits))
        hyper: dict[str, JSON] = {}
        if self.tune:
            self.hyperparameters.check(genome["training"])
            hyper = training.design(self.hyperparameters, genome["training"])
        layers = genes.alive(genome["layers"])
        weighted = sum(gene["op"] in WEIGHTED for gene in layers)
        if weighted > self.max_layers:
            raise Impossible(
                f"the network has {weighted} convolutions and dense layers; max_layers = {self.max_layers}"
            )
        built = self.assembled(layers, hyper.get("bits"))
        for name, size, limit in (
            ("max_macs", architecture.macs(built), self.max_macs),
            ("max_parameters", architecture.parameters(built), self.max_parameters),
        ):
            if size > limit:
                raise Impossible(f"the network has {size:,} {name[4:]}, more than {name} = {limit:,}")
        births = [gene.get("born", "") for gene in layers]
        births += [""] * (len(built.layers) - len(layers))
        return Design(built, hyper, genes.names(layers, built), tuple(births))

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

    def assembled(self, layers: Sequence[Gene], usual: JSON = None) -> Architecture:
        """The architecture of genes in order, whose word lengths are said where they are not the `usual`."""
        return genes.assembled(layers, self.input, self.outputs, self.flatten, usual)

    def _bound(self) -> None:
        if not self.input:
            raise ValueError("the space does not know its data yet: call bind(input, outputs) first")


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
