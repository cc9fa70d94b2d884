"""Chains of layers of any length with their training hyperparameters, after MENNDL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vilfredo import architecture
from vilfredo.architecture import Architecture, Design, Layer, Shape
from vilfredo.protocols import Impossible, Rng
from vilfredo.spaces import training
from vilfredo.spaces.parameters import Parameters
from vilfredo.trial import JSON, Genome

Gene: TypeAlias = Mapping[str, JSON]  # one layer
Uniform: TypeAlias = Callable[[], float]  # the next of a stream of numbers in [0, 1)

_ACTIVATIONS = ("relu", "tanh", "sigmoid")
_POOLS = ("max_pool", "avg_pool")
_IMAGE_OPS = ("conv", "max_pool", "avg_pool", "global_pool")
_OPS = (*_IMAGE_OPS, "dense", "batch_norm", "dropout", *_ACTIVATIONS)
_GENES: Mapping[str, tuple[str, ...]] = {
    "conv": ("filters", "kernel", "stride", "padding"),
    "max_pool": ("kernel", "stride"),
    "avg_pool": ("kernel", "stride"),
    "dense": ("units",),
    "dropout": ("rate",),
}
_WEIGHTED = ("conv", "dense")  # they may have `bits`
# How often each operation is drawn when a layer is added or replaced.
_WEIGHTS: Mapping[str, float] = {
    "conv": 6,
    "max_pool": 2,
    "avg_pool": 1,
    "global_pool": 1,
    "dense": 2,
    "batch_norm": 2,
    "dropout": 1,
    "relu": 3,
    "tanh": 1,
    "sigmoid": 1,
}
_TRIES = 40


@dataclass(frozen=True)
class Chain:
    """A variable-length list of layers plus the optimiser's hyperparameters.

    Theirs: an evolution of whole networks on many machines, in which the genes of a layer are its type and
    that type's parameters, a convolution's kernel height and width apart from each other. Sources: Young et
    al., "Optimizing deep learning hyper-parameters through an evolutionary algorithm", MLHPC 2015; Young et
    al., "Evolving deep networks using HPC", MLHPC 2017.

    Our reading (the papers leave the details open): the list of genes, its operators, the rules of repair.

    A genome is `{"layers": [gene, ...], "training": {...}}`. A gene is one of
    `{"op": "conv", "filters": f, "kernel": [h, w], "stride": [h, w], "padding": [h, w]}`,
    `{"op": "max_pool" | "avg_pool", "kernel": [h, w], "stride": [h, w]}`, `{"op": "global_pool"}`,
    `{"op": "dense", "units": u}`, `{"op": "dropout", "rate": r}`, `{"op": "batch_norm"}`,
    `{"op": "relu" | "tanh" | "sigmoid"}`; `stride` and `padding` may be left out (1 and 0; a pool's stride
    is its kernel). Where there are `layer_bits`, convolutions and dense layers may have `bits` of their own;
    those without have the network's. For `training` see `vilfredo.spaces.training`.

    Decoding repairs layer by layer. Padding beyond half the kernel is cut; kernels beyond the padded image
    shrink to it; strides that leave the window only one place shrink to the smallest such. Left out are pools
    that do nothing, dropout of rate 0, an activation, batch norm or dropout right after its like, a ReLU of
    what is never negative, and image layers where there is no image (after a dense layer, or in a table). A
    dense layer flattens what reaches it; a last dense layer gives the `outputs`. What is larger than
    `max_macs` or `max_parameters` is `Impossible`.

    Fields: `input` (channels, height, width) or (features,), and `outputs`, set by `bind`; how many genes;
    the values that sampling and mutation choose from (a baseline may have others); sizes that are out of the
    question; ranges of the hyperparameters. The defaults suit images of 8 to 32 pixels and a CPU.
    Raises `ValueError`, one sentence, for fields that make no sense.
    """

    input: Shape = ()
    outputs: int = 0
    min_layers: int = 1
    max_layers: int = 16
    ops: tuple[str, ...] = _OPS
    filters: tuple[int, ...] = (8, 12, 16, 24, 32, 48, 64)
    kernels: tuple[int, ...] = (1, 2, 3, 5)
    strides: tuple[int, ...] = (1, 2)
    pools: tuple[int, ...] = (2, 3)
    units: tuple[int, ...] = (16, 32, 64, 128, 256)
    rates: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    max_macs: int = 30_000_000
    max_parameters: int = 5_000_000
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
        for name in ("filters", "kernels", "strides", "pools", "units"):
            values = getattr(self, name)
            if not values or not all(type(v) is int and v > 0 for v in values):
                raise ValueError(f"{name} must be whole numbers above 0, not {list(values)!r}")
        if not all(0 <= r < 1 for r in self.rates) or not self.rates:
            raise ValueError(f"rates must be fractions in [0, 1), not {list(self.rates)!r}")
        if not self.ops or not set(self.ops) <= set(_OPS):
            raise ValueError(f"ops must be some of {', '.join(_OPS)}, not {list(self.ops)!r}")
        if not 0 <= self.min_layers <= self.max_layers or self.max_layers < 1:
            raise ValueError(
                f"min_layers = {self.min_layers} and max_layers = {self.max_layers} leave no length to choose"
            )
        if self.max_macs < 1 or self.max_parameters < 1:
            raise ValueError("max_macs and max_parameters must be above 0")
        if self.input or self.outputs:
            _check_ends(self.input, self.outputs)
            if len(self.input) == 1 and not set(self.ops) - set(_IMAGE_OPS):
                raise ValueError("all of ops are for images, but the data is a table; allow dense")
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
        training.check_bits("layer_bits", self.layer_bits)
        object.__setattr__(self, "hyperparameters", space)

    def bind(self, input: Shape, outputs: int) -> Chain:
        """The same space for data of this shape and this many outputs. Raises `ValueError` for others."""
        _check_ends(input, outputs)
        return replace(self, input=tuple(int(n) for n in input), outputs=int(outputs))

    def sample(self, rng: Rng) -> Genome:
        """A random network that decodes: its length uniform, every gene's parameters uniform.

        The order of layers is that of networks people build (convolutions with their norm, activation and
        pool, then dense layers), since layers in no order at all hardly train; mutation reaches the rest.
        """
        u = _stream(rng)
        space = self
        problem: Impossible | None = None
        for attempt in range(1, _TRIES + 1):
            length = self.min_layers + int(u() * (self.max_layers - self.min_layers + 1))
            genome = {"layers": space._sentence(length, u), "training": self.hyperparameters.sample(rng)}
            try:
                self.decode(genome)
            except Impossible as reason:
                problem = reason
                if attempt % 8 == 0:  # the limits are tight: go on with smaller layers
                    space = space._smaller()
            else:
                return genome
        raise Impossible(f"no random network fits into this space: {problem}") from problem

    def mutate(self, genome: Genome, rng: Rng) -> Genome:
        """Another network, or the same one trained otherwise: one change, and with probability 1/4 one more.

        Changes: add, remove, replace or move a layer, change a parameter of a layer, change the training.
        Changes that make no network, or make the same one, are tried again, `genome` comes back if
        none of many is better.
        """
        u = _stream(rng)
        before = self.canonical(genome)
        for _ in range(_TRIES):
            child = self._change(genome, u, rng)
            while u() < 0.25:
                child = self._change(child, u, rng)
            try:
                if self.canonical(child) != before:
                    return child
            except Impossible:
                continue
        return dict(genome)

    def cross(self, first: Genome, second: Genome, rng: Rng) -> tuple[Genome, Genome]:
        """One-point crossover of the layers at cuts of the children's own, uniform of the training.

        The second parent is cut at about the same fraction of its length as the first, so that children keep
        the order of early and late layers and do not grow from generation to generation.
        """
        u = _stream(rng)
        one_training, two_training = self.hyperparameters.cross(first["training"], second["training"], rng)
        a, b = list(first["layers"]), list(second["layers"])
        for _ in range(_TRIES):
            i = int(u() * (len(a) + 1))
            j = round(i / max(len(a), 1) * len(b)) + int(u() * 3) - 1
            j = min(max(j, 0), len(b))
            one = {"layers": a[:i] + b[j:], "training": one_training}
            two = {"layers": b[:j] + a[i:], "training": two_training}
            try:
                self.decode(one)
                self.decode(two)
            except Impossible:
                continue
            return one, two
        return {"layers": a, "training": one_training}, {"layers": b, "training": two_training}

    def encode(self, genome: Genome) -> NDArray[np.float64]:
        """For surrogates: each decoded layer's operation and sizes, sums over the network, the training.

        Shape (16 max_layers + 12 + d,), where d is that of the training hyperparameters, and 17 in place of
        16 where layers may have bits of their own; in [0, 1].
        """
        built = self.decode(genome).architecture
        body = [layer for layer in built.layers[:-1] if layer.op != "flatten"]
        flat: list[float] = []
        for layer in body:
            flat.extend(_features(layer))
            if self.layer_bits:
                flat.append(layer.args.get("bits", 0) / 16)
        flat.extend([0.0] * ((17 if self.layer_bits else 16) * (self.max_layers - len(body))))
        count = {op: sum(layer.op == op for layer in body) for op in _OPS}
        last = built.layers[-2].shape if len(built.layers) > 1 else built.input
        images = [layer.shape for layer in body if len(layer.shape) == 3]
        longest = self.max_layers
        flat.extend(
            (
                len(body) / longest,
                count["conv"] / longest,
                count["dense"] / longest,
                (count["max_pool"] + count["avg_pool"]) / longest,
                count["batch_norm"] / longest,
                count["dropout"] / longest,
                count["relu"] / longest,
                float(count["global_pool"]),
                math.log2(math.prod(last)) / 20,
                math.log2(math.prod(images[-1][1:])) / 16 if images else 0.0,
                math.log10(architecture.parameters(built)) / 8,
                math.log10(architecture.macs(built)) / 10,
            )
        )
        flat.extend(self.hyperparameters.encode(genome["training"]).tolist())
        return np.array([min(max(number, 0.0), 1.0) for number in flat], dtype=np.float64)

    def canonical(self, genome: Genome) -> str:
        return architecture.canonical(self.decode(genome))

    def check(self, genome: Genome) -> None:
        """Raises `Impossible`, one sentence, if `genome` is not of this space or makes no network."""
        self.decode(genome)

    def decode(self, genome: Genome) -> Design:
        """The network and its training. Raises `Impossible`; `ValueError` if the space is not bound."""
        if not self.input:
            raise ValueError("the space does not know its data yet: call bind(input, outputs) first")
        _check_genome(genome, self.min_layers, self.max_layers, bool(self.layer_bits))
        self.hyperparameters.check(genome["training"])
        usual = genome["training"].get("bits")
        layers: list[Layer] = []
        shape = self.input
        never_negative = False
        for gene in genome["layers"]:
            op = gene["op"]
            args: Mapping[str, JSON] = {}
            if op in _IMAGE_OPS:
                if len(shape) != 3:
                    continue
                if op == "global_pool" and shape[1:] == (1, 1):
                    op = "flatten"
                elif op != "global_pool":
                    args = _fit(gene, shape)
                    if op != "conv" and args["kernel"] == [1, 1]:
                        if args["stride"] == [1, 1]:
                            continue
                        op = "max_pool"  # the mean of one number is its maximum
            elif op == "dense":
                if len(shape) == 3:
                    layers.append(_after(layers, "flatten", {}, shape))
                    shape = layers[-1].shape
                args = {"units": gene["units"], "bias": True}
            else:
                if op == "dropout":
                    if gene["rate"] == 0:
                        continue
                    args = {"rate": gene["rate"]}
                if (layers and layers[-1].op == op) or (op == "relu" and never_negative):
                    continue
                if op == "batch_norm" and layers and layers[-1].op in ("conv", "dense"):
                    # Batch norm takes the mean away: a bias before it would do nothing.
                    layers[-1] = replace(layers[-1], args={**layers[-1].args, "bias": False})
            if "bits" in gene and gene["bits"] != usual:
                args = {**args, "bits": gene["bits"]}
            layers.append(_after(layers, op, args, shape))
            shape = layers[-1].shape
            if op in ("relu", "sigmoid"):
                never_negative = True
            elif op in ("conv", "dense", "batch_norm", "tanh"):
                never_negative = False
        if len(shape) == 3:
            layers.append(_after(layers, "flatten", {}, shape))
            shape = layers[-1].shape
        layers.append(_after(layers, "dense", {"units": self.outputs, "bias": True}, shape))
        built = Architecture(self.input, tuple(layers))
        self._check_size(built)
        return Design(built, training.design(self.hyperparameters, genome["training"]))

    def _check_size(self, built: Architecture) -> None:
        for name, size, limit in (
            ("max_macs", architecture.macs(built), self.max_macs),
            ("max_parameters", architecture.parameters(built), self.max_parameters),
        ):
            if size > limit:
                raise Impossible(f"the network has {size:,} {name[4:]}, more than {name} = {limit:,}")

    def _sentence(self, length: int, u: Uniform) -> list[Gene]:
        """`length` genes in an order that makes sense."""
        images = len(self.input) == 3
        allowed = set(self._usable())
        # Mostly ReLU: deep chains of sigmoids hardly train, and mutation can bring them in.
        main = "relu" if u() < 0.7 else "tanh" if u() < 0.6 else "sigmoid"
        tail: list[str] = []
        for _ in range(int(u() * 3) if images else length):
            tail += ["dense", *(["batch_norm"] if not images and u() < 0.3 else []), main]
            tail += ["dropout"] if u() < 0.3 else []
        tail = [op for op in tail if op in allowed]
        if images and "conv" in allowed:
            tail = tail[: max(length - 2, 0)]
        words: list[str] = []
        pixels = math.prod(self.input[1:]) if images else 0
        while images and len(words) + len(tail) < length:
            block = ["conv", *(["batch_norm"] if u() < 0.5 else [])]
            block += [main if u() < 0.9 else _pick(_ACTIVATIONS, u)] if u() < 0.95 else []
            if u() < (0.7 if pixels > 200 else 0.35):
                block.append("max_pool" if u() < 0.7 else "avg_pool")
                pixels //= 4
            block += ["dropout"] if u() < 0.1 else []
            block = [op for op in block if op in allowed]
            if not block:
                break
            words += block
        words = words[: length - len(tail)]
        if images and "global_pool" in allowed and len(words) > 3 and u() < 0.3:
            words[-1] = "global_pool"
        words += tail
        while len(words) < length:
            words.append(_pick(self._usable(), u))
        return [self._gene(op, u) for op in words[:length]]

    def _smaller(self) -> Chain:
        """The space with the smaller half of filters, kernels and units."""
        filters, kernels, units = (
            tuple(sorted(values)[: (len(values) + 1) // 2])
            for values in (self.filters, self.kernels, self.units)
        )
        return replace(self, filters=filters, kernels=kernels, units=units)

    def _usable(self) -> tuple[str, ...]:
        """The operations that mean something for the input at hand."""
        return self.ops if len(self.input) != 1 else tuple(op for op in self.ops if op not in _IMAGE_OPS)

    def _gene(self, op: str, u: Uniform) -> Gene:
        """A layer of this kind with random parameters."""
        if op == "conv":
            kernel = [_pick(self.kernels, u), _pick(self.kernels, u)]
            same = u() < 0.7
            return {
                "op": op,
                "filters": _pick(self.filters, u),
                "kernel": kernel,
                "stride": [1, 1] if u() < 0.75 else [_pick(self.strides, u), _pick(self.strides, u)],
                "padding": [k // 2 if same else int(u() * (k // 2 + 1)) for k in kernel],
                **self._bits(u),
            }
        if op in _POOLS:
            size = _pick(self.pools, u)
            kernel = [size, size] if u() < 0.7 else [_pick(self.pools, u), _pick(self.pools, u)]
            return {"op": op, "kernel": kernel, "stride": [2, 2] if u() < 0.8 else list(kernel)}
        if op == "dense":
            return {"op": op, "units": _pick(self.units, u), **self._bits(u)}
        if op == "dropout":
            return {"op": op, "rate": _pick(self.rates, u)}
        return {"op": op}

    def _bits(self, u: Uniform) -> dict[str, JSON]:
        """The entry `bits` of a layer, in half of all cases none."""
        if not self.layer_bits or u() < 0.5:
            return {}
        return {"bits": _pick(self.layer_bits, u)}

    def _change(self, genome: Genome, u: Uniform, rng: Rng) -> Genome:
        """The genome after one random change, which may not decode."""
        layers: list[Gene] = list(genome["layers"])
        choice = u()
        if choice < 0.2:
            return {"layers": layers, "training": self.hyperparameters.mutate(genome["training"], rng)}
        at = int(u() * len(layers))
        if choice < 0.4 and len(layers) < self.max_layers:
            layers.insert(int(u() * (len(layers) + 1)), self._gene(self._draw_op(u), u))
        elif choice < 0.55 and len(layers) > self.min_layers:
            del layers[at]
        elif not layers:
            return genome
        elif choice < 0.63:
            layers[at] = self._gene(self._draw_op(u), u)
        elif choice < 0.7:
            layer = layers.pop(at)
            layers.insert(int(u() * (len(layers) + 1)), layer)
        else:
            layers[at] = self._vary(layers[at], u)
        return {"layers": layers, "training": genome["training"]}

    def _draw_op(self, u: Uniform) -> str:
        ops = self._usable()
        total = u() * sum(_WEIGHTS[op] for op in ops)
        for op in ops:
            total -= _WEIGHTS[op]
            if total < 0:
                return op
        return ops[-1]

    def _vary(self, gene: Gene, u: Uniform) -> Gene:
        """The gene with one of its parameters changed; activations and pools may become others."""
        op = gene["op"]
        others = [
            o for kind in (_ACTIVATIONS, _POOLS) if op in kind for o in kind if o != op and o in self.ops
        ]
        if others and (op in _ACTIVATIONS or u() < 0.3):
            return {**gene, "op": _pick(others, u)}
        if op not in _GENES:
            return gene
        own = ("bits",) if self.layer_bits and op in _WEIGHTED else ()
        name = _pick((*_GENES[op], *own), u)
        if name == "bits":
            choices = [b for b in (None, *self.layer_bits) if b != gene.get("bits")]
            drawn = _pick(choices, u)
            rest = {n: value for n, value in gene.items() if n != "bits"}
            return rest if drawn is None else {**rest, "bits": drawn}
        if name in ("filters", "units", "rate"):
            values = {"filters": self.filters, "units": self.units, "rate": self.rates}[name]
            return {**gene, name: _neighbour(values, gene[name], u)}
        full = {**gene, **{n: list(pair) for n, pair in _windows(gene).items()}}
        axes = (0, 1) if u() < 0.5 else (int(u() * 2),)
        if name == "padding":
            same = u() < 0.5
            new = [k // 2 if same else int(u() * (k // 2 + 1)) for k in full["kernel"]]
        else:
            sizes = self.strides if name == "stride" else self.kernels if op == "conv" else self.pools
            size = _pick(sizes, u)
            new = [size, size]
        pair = [new[axis] if axis in axes else full[name][axis] for axis in (0, 1)]
        if name == "kernel" and op == "conv":  # where the image kept its size it goes on keeping it
            old = full["kernel"]
            full["padding"] = [
                k // 2 if p == o // 2 else min(p, k // 2)
                for k, o, p in zip(pair, old, full["padding"], strict=True)
            ]
        return {**full, name: pair}


def _after(layers: Sequence[Layer], op: str, args: Mapping[str, JSON], shape: Shape) -> Layer:
    """A layer that takes what the last one of `layers` gives."""
    return Layer(op, args, (len(layers) - 1,), architecture.infer(op, args, (shape,)))


def _windows(gene: Gene) -> dict[str, Sequence[int]]:
    """Kernel, stride and padding of a gene, with what it leaves out."""
    kernel = gene["kernel"]
    if gene["op"] == "conv":
        return {
            "kernel": kernel,
            "stride": gene.get("stride", (1, 1)),
            "padding": gene.get("padding", (0, 0)),
        }
    return {"kernel": kernel, "stride": gene.get("stride", kernel)}


def _fit(gene: Gene, shape: Shape) -> dict[str, JSON]:
    """The arguments of a convolution or pool, made to fit an image of this shape."""
    windows = _windows(gene)
    kernel, stride, padding = [0, 0], [1, 1], [0, 0]
    for axis in (0, 1):
        size = shape[1 + axis]
        k, s = windows["kernel"][axis], windows["stride"][axis]
        p = min(windows.get("padding", (0, 0))[axis], k // 2)
        if size == 1:  # padding would only add weights that see nothing but zeros
            k, p = 1, 0
        k = min(k, size + 2 * p)
        room = size + 2 * p - k
        kernel[axis], stride[axis], padding[axis] = k, min(s, room + 1), p
    window: dict[str, JSON] = {"kernel": kernel, "stride": stride, "padding": padding}
    if gene["op"] != "conv":
        return window
    return {"filters": gene["filters"], **window, "groups": 1, "bias": True}


def _features(layer: Layer) -> list[float]:
    """One decoded layer as 16 numbers: its operation one-hot, and its sizes on log scales."""
    args = layer.args
    kernel, stride = args.get("kernel", (0, 0)), args.get("stride", (1, 1))
    width = args.get("filters", args.get("units", 1))
    pixels = math.prod(layer.shape[1:]) if len(layer.shape) == 3 else 1
    return [
        *(1.0 if layer.op == op else 0.0 for op in _OPS),
        math.log2(width) / 12,
        kernel[0] / 8,
        kernel[1] / 8,
        math.log2(stride[0] * stride[1]) / 4,
        math.log2(pixels) / 16,
        args.get("rate", 0.0),
    ]


def _check_ends(input: Shape, outputs: int) -> None:
    if len(input) not in (1, 3) or not all(n >= 1 for n in input):
        raise ValueError(
            f"a chain takes images (channels, height, width) or tables (features,), not {tuple(input)}"
        )
    if outputs < 1:
        raise ValueError(f"a network needs at least one output, not {outputs}")


def _check_genome(genome: Genome, shortest: int, longest: int, bits: bool) -> None:
    """Raises `Impossible` if `genome` has not the form that the class describes."""
    if set(genome) != {"layers", "training"}:
        raise Impossible(f"a chain has 'layers' and 'training', not {', '.join(map(repr, sorted(genome)))}")
    layers = genome["layers"]
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise Impossible("the layers of a chain must be a list")
    if not isinstance(genome["training"], Mapping):
        raise Impossible("the training of a chain must be a mapping of hyperparameters")
    if not shortest <= len(layers) <= longest:
        raise Impossible(
            f"the chain has {len(layers)} layers; min_layers = {shortest}, max_layers = {longest}"
        )
    for index, gene in enumerate(layers):
        op = gene.get("op", "") if isinstance(gene, Mapping) else ""
        if not isinstance(op, str) or op not in _WEIGHTS:
            raise Impossible(f"layer {index} is no layer of a chain ({', '.join(_OPS)}): {gene!r}")
        names = _GENES.get(op, ())
        if bits and op in _WEIGHTED:
            names = (*names, "bits")
        if len(gene) > 1 + len(names) or any(key != "op" and key not in names for key in gene):
            raise Impossible(f"layer {index} ({op}) has {', '.join(gene)}, but may have {', '.join(names)}")
        for name in names:
            if name in gene:
                if not _is_gene(name, gene[name]):
                    raise Impossible(f"layer {index} ({op}) cannot have {name} = {gene[name]!r}")
            elif name not in ("stride", "padding", "bits"):
                raise Impossible(f"layer {index} ({op}) lacks {name!r}")


def _is_gene(name: str, value: JSON) -> bool:
    if name in ("filters", "units"):
        return type(value) is int and value >= 1
    if name == "rate":
        return type(value) in (int, float) and 0 <= value < 1
    if name == "bits":
        return training.is_bits(value)
    low = 0 if name == "padding" else 1
    return isinstance(value, Sequence) and len(value) == 2 and all(type(v) is int and v >= low for v in value)


def _pick(options: Sequence[JSON], u: Uniform) -> JSON:
    return options[int(u() * len(options))]


def _neighbour(values: Sequence[JSON], value: JSON, u: Uniform) -> JSON:
    """The next smaller or larger of `values`; any other one in one case of five."""
    ordered = sorted(set(values) - {value})
    if not ordered:
        return value
    if u() < 0.2:
        return _pick(ordered, u)
    near = [v for v in ordered if v < value][-1:] + [v for v in ordered if v > value][:1]
    return _pick(near, u)


def _stream(rng: Rng) -> Uniform:
    """Uniform numbers one by one, drawn in blocks because single draws are slow."""

    def numbers() -> Iterator[float]:
        while True:
            yield from rng.random(64).tolist()

    return numbers().__next__
