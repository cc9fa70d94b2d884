"""Genes of networks that change by morphisms: a list of layers with names for life, and what it is as an
architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from vilfredo import architecture
from vilfredo.architecture import Architecture, Layer, Shape
from vilfredo.protocols import Impossible
from vilfredo.spaces import training
from vilfredo.trial import JSON, Genome

Gene: TypeAlias = Mapping[str, JSON]  # one layer
Draft: TypeAlias = list[dict[str, JSON]]  # layers that are being changed

OPS: Mapping[str, tuple[str, ...]] = {
    "conv": ("filters", "kernel", "stride"),
    "depthwise": ("kernel", "stride"),
    "dense": ("units",),
    "batch_norm": (),
    "relu": (),
    "max_pool": ("kernel", "stride"),
    "avg_pool": ("kernel", "stride"),
    "global_pool": (),
    "flatten": (),
    "add": (),
    "concat": (),
}
"""What a gene of each operation has beside `id`, `op` and `inputs`."""

WEIGHTED = ("conv", "depthwise", "dense")
MERGING = ("add", "concat")
FLAT = ("global_pool", "flatten")  # what makes features of an image
BIRTHS = ("identity", "zero")
NAMES = 2**31  # ids are drawn from so many: whoever has the same got it from the same ancestor
INPUT, FEATURES, ANSWER = (
    0,
    -1,
    -2,
)  # names of the input, of what makes features of an image, of the last layer
LONGEST = 500  # genes


def alive(layers: Sequence[Gene]) -> list[Gene]:
    """The genes that reach the last one, inputs before those who take them: depth first from the output, in
    the order in which inputs are named."""
    genes = {gene["id"]: gene for gene in layers}
    done: dict[int, None] = {}
    stack: list[tuple[int, bool]] = [(layers[-1]["id"], False)]
    while stack:
        name, ready = stack.pop()
        if ready:
            done[name] = None
        elif name not in done and name != INPUT:
            stack.append((name, True))
            stack.extend((source, False) for source in reversed(genes[name]["inputs"]))
    return [genes[name] for name in done]


def assembled(
    genes: Sequence[Gene], input: Shape, outputs: int, flatten: bool, usual: JSON = None
) -> Architecture:
    """The architecture of genes in order, its layers in the same order and those that end every network after
    them: what makes features of an image, if no gene does, and the answer. `usual` bits are not said."""
    layers: list[Layer] = []
    at: dict[int, int] = {INPUT: -1}
    normed = _normed(genes)
    for gene in genes:
        inputs = tuple(at[name] for name in gene["inputs"])
        shapes = [input if i == -1 else layers[i].shape for i in inputs]
        op, args = _layer(gene, shapes[0], gene["id"] in normed, usual)
        at[gene["id"]] = len(layers)
        layers.append(Layer(op, args, inputs, architecture.infer(op, args, shapes)))
    if len(shape := layers[-1].shape) == 3:
        op = _flat("flatten" if flatten else "global_pool", shape)
        layers.append(Layer(op, {}, (len(layers) - 1,), architecture.infer(op, {}, [shape])))
    answer = {"units": outputs, "bias": True}
    layers.append(Layer("dense", answer, (len(layers) - 1,), (outputs,)))
    return Architecture(input, tuple(layers))


def names(genes: Sequence[Gene], built: Architecture) -> tuple[int, ...]:
    """The name of each layer of what `assembled` made."""
    ends = (FEATURES, ANSWER)[-(len(built.layers) - len(genes)) :]
    return (*(gene["id"] for gene in genes), *ends)


def _normed(genes: Sequence[Gene]) -> set[int]:
    """Ids of layers that only one batch norm takes, whose bias would do nothing."""
    takers: dict[int, list[str]] = {}
    for gene in genes:
        for source in gene["inputs"]:
            takers.setdefault(source, []).append(gene["op"])
    return {name for name, ops in takers.items() if ops == ["batch_norm"]}


def _flat(op: str, shape: Shape) -> str:
    return "flatten" if shape[1:] == (1, 1) else op  # the same, and said in one way


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
    return (_flat(op, shape) if op in FLAT else op), {}


# -- what a genome must be ------------------------------------------------------------------------------


def check(genome: Genome, tune: bool, bits: bool) -> None:
    """Raises `Impossible` if `genome` has not the form that `vilfredo.spaces.morph.Morph` describes; `bits`
    says whether layers may have their own."""
    wanted = {"layers", "training"} if tune else {"layers"}
    if set(genome) - {"morphism"} != wanted:
        raise Impossible(f"a genome of morphisms has {' and '.join(sorted(wanted))}, not {list(genome)!r}")
    if not isinstance(genome.get("morphism", {}), Mapping):
        raise Impossible(f"morphism must say which change it was, not {genome['morphism']!r}")
    if tune and not isinstance(genome["training"], Mapping):
        raise Impossible("the training must be a mapping of hyperparameters")
    layers = genome["layers"]
    if not isinstance(layers, Sequence) or isinstance(layers, str) or not 0 < len(layers) <= LONGEST:
        raise Impossible(f"the layers must be a list of 1 to {LONGEST}")
    known = {INPUT}
    for index, gene in enumerate(layers):
        if not isinstance(gene, Mapping) or gene.get("op") not in tuple(OPS):
            raise Impossible(f"layer {index} is none of {', '.join(OPS)}: {gene!r}")
        _check_gene(index, gene, known, bits)
        known.add(gene["id"])
    if not any(gene["op"] in WEIGHTED for gene in alive(layers)):
        raise Impossible("the network has no convolution and no dense layer")


def _check_gene(index: int, gene: Gene, known: set[int], bits: bool) -> None:
    op = gene["op"]
    needed = {"id", "op", "inputs", *OPS[op]}
    allowed = needed | {"born"} | ({"bits"} if bits and op in WEIGHTED else set())
    if not needed <= set(gene) <= allowed:
        listed = ", ".join(map(str, gene))
        raise Impossible(f"layer {index} ({op}) has {listed}, but must have {', '.join(sorted(needed))}")
    name, inputs = gene["id"], gene["inputs"]
    if op in FLAT and (type(name) is not int or name != FEATURES or name in known):
        raise Impossible(f"layer {index} ({op}) must be the only one of its kind and have {FEATURES} as id")
    if op not in FLAT and (type(name) is not int or not 0 < name < NAMES or name in known):
        raise Impossible(f"layer {index} ({op}) needs a whole number above 0 of its own as id, not {name!r}")
    if not isinstance(inputs, list | tuple) or not all(type(i) is int and i in known for i in inputs):
        raise Impossible(f"layer {index} ({op}) takes {inputs!r}, which are not all ids before it")
    if not inputs or len(set(inputs)) != len(inputs) or (len(inputs) > 1 and op not in MERGING):
        raise Impossible(f"layer {index} ({op}) cannot take {len(inputs)} inputs {inputs!r}")
    for key in OPS[op]:
        odd = key == "kernel" and op in ("conv", "depthwise")
        if type(gene[key]) is not int or gene[key] < 1 or (odd and gene[key] % 2 == 0):
            kind = "an odd whole number" if odd else "a whole number"
            raise Impossible(f"layer {index} ({op}) needs {kind} from 1 as {key}, not {gene[key]!r}")
    if "born" in gene and gene["born"] not in BIRTHS:
        raise Impossible(f"layer {index} ({op}) is born {gene['born']!r}, not identity or zero")
    if "bits" in gene and not training.is_bits(gene["bits"]):
        raise Impossible(f"layer {index} ({op}) cannot have {gene['bits']!r} bits")
