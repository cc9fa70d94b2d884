"""The changes of the space `morph`: each takes a draft of layers and changes it in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from vilfredo import architecture
from vilfredo.architecture import Shape
from vilfredo.protocols import Rng
from vilfredo.spaces import genes
from vilfredo.spaces.genes import FEATURES, FLAT, INPUT, MERGING, WEIGHTED, Draft
from vilfredo.trial import JSON

if TYPE_CHECKING:
    from vilfredo.spaces.morph import Morph

Change: TypeAlias = "Callable[[Morph, Draft, Rng], list[int] | None]"  # ids concerned, None: cannot be

EXACT = ("deepen", "widen", "concat", "add", "insert")
APPROXIMATE = ("prune", "remove", "separate")


# -- pieces ---------------------------------------------------------------------------------------------


def append(layers: Draft, rng: Rng, op: str, inputs: Sequence[int], **settings: JSON) -> int:
    """One more gene with an id of its own, which is returned."""
    name = FEATURES if op in FLAT else int(rng.integers(1, genes.NAMES))
    layers.append({"id": name, "op": op, "inputs": list(inputs), **settings})
    return name


def block(space: Morph, flat: bool, width: int, rng: Rng, born: str = "") -> list[dict[str, JSON]]:
    """Weights, batch norm, ReLU; of features where `flat`, else of images. The first two are so `born`."""
    mark = {"born": born} if born else {}
    if flat:
        first: dict[str, JSON] = {"op": "dense", "units": width, **mark}
    else:
        kernel = space.kernels[int(rng.integers(len(space.kernels)))]
        first = {"op": "conv", "filters": width, "kernel": kernel, "stride": 1, **mark}
    return [first, {"op": "batch_norm", **mark}, {"op": "relu"}]


def end(space: Morph, layers: Draft, rng: Rng) -> int:
    """The gene that makes features of an image, which is implied where nothing follows it, becomes one."""
    return append(layers, rng, "flatten" if space.flatten else "global_pool", [layers[-1]["id"]])


def _shapes(space: Morph, layers: Draft) -> dict[int, Shape]:
    """The shape of what each layer gives, by id, and of the network's input."""
    built = space.assembled(layers)
    named = zip(genes.names(layers, built), built.layers, strict=True)
    return {INPUT: space.input, **{name: layer.shape for name, layer in named}}


def _groups(space: Morph, layers: Draft) -> list[list[dict[str, JSON]]]:
    """Genes whose widths are one choice: those that can be widened or pruned."""
    built = space.assembled(layers)
    known = {gene["id"]: gene for gene in layers}
    groups: dict[int, list[dict[str, JSON]]] = {}
    fixed: set[int] = set()
    names = genes.names(layers, built)
    for name, layer, group in zip(names, built.layers, architecture.linked(built), strict=True):
        if layer.op not in ("conv", "dense"):
            continue
        gene = known.get(name, {})
        if "filters" in gene or "units" in gene:
            groups.setdefault(group, []).append(gene)
        elif gene.get("op") != "depthwise" or layer.args.get("groups", 1) == 1:
            fixed.add(group)  # the answer, or a depthwise convolution of one channel
    return [members for group, members in groups.items() if group != -1 and group not in fixed]


def _alike(earlier: Draft, main: int, taken: set[int], shapes: Mapping[int, Shape]) -> list[int]:
    """Ids of the input and of earlier layers with the height and width of `main`."""
    return [i for i in (INPUT, *(g["id"] for g in earlier)) if i not in taken and _same(shapes, i, main)]


def _same(shapes: Mapping[int, Shape], one: int, two: int) -> bool:
    return len(shapes[one]) == len(shapes[two]) and shapes[one][1:] == shapes[two][1:]


def _never_negative(layers: Draft) -> set[int]:
    """Ids of layers that give nothing below 0."""
    found: set[int] = set()
    for gene in layers:
        passes = gene["op"] in ("max_pool", "avg_pool", *FLAT, *MERGING)
        if gene["op"] == "relu" or (passes and all(i in found for i in gene["inputs"])):
            found.add(gene["id"])
    return found


# -- morphisms ------------------------------------------------------------------------------------------


def _deepen(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """After a layer that gives nothing negative: identity, batch norm, ReLU. Of features, also where no dense
    layer has been before, unless it would be wider than any of `units`."""
    shapes = _shapes(space, layers)
    positive = _never_negative(layers)
    if len(shapes[layers[-1]["id"]]) == 3 and layers[-1]["id"] in positive:
        positive.add(FEATURES)
    places = [name for name in (*(g["id"] for g in layers), FEATURES) if name in positive]
    wide = {name for name in places if len(shapes[name]) == 1 and shapes[name][0] > max(space.units)}
    places = [name for name in dict.fromkeys(places) if name not in wide]
    if not places:
        return None
    after = places[int(rng.integers(len(places)))]
    if after == FEATURES and all(g["id"] != FEATURES for g in layers):
        end(space, layers, rng)
    at = 1 + next(i for i, g in enumerate(layers) if g["id"] == after)
    takers = [g for g in layers if after in g["inputs"]]
    new: Draft = []
    last = after
    for gene in block(space, len(shapes[after]) == 1, shapes[after][0], rng, "identity"):
        last = append(new, rng, inputs=[last], **gene)
    for gene in takers:
        gene["inputs"] = [last if i == after else i for i in gene["inputs"]]
    layers[at:at] = new
    return [g["id"] for g in new]


def _widen(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    return _resize(space, layers, rng, larger=True)


def _prune(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    return _resize(space, layers, rng, larger=False)


def _resize(space: Morph, layers: Draft, rng: Rng, larger: bool) -> list[int] | None:
    groups = _groups(space, layers)
    if not groups:
        return None
    members = groups[int(rng.integers(len(groups)))]
    keys = ["filters" if "filters" in gene else "units" for gene in members]
    now = members[0][keys[0]]
    widths = sorted(set(space.filters if keys[0] == "filters" else space.units), reverse=not larger)
    there = [w for w in widths if (w > now if larger else w < now)]
    if not there or any(gene[key] != now for gene, key in zip(members, keys, strict=True)):
        return None
    for gene, key in zip(members, keys, strict=True):
        gene[key] = there[0]
    return [g["id"] for g in members]


def _concat(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """What one layer takes, or the output, is followed by what an earlier layer gives."""
    shapes = _shapes(space, layers)
    takers = [i for i, g in enumerate(layers) if g["op"] in ("conv", "dense", *FLAT)] + [len(layers)]
    at = takers[int(rng.integers(len(takers)))]
    main = layers[-1]["id"] if at == len(layers) else layers[at]["inputs"][0]
    taken = {main, *next((g["inputs"] for g in layers if g["id"] == main and g["op"] == "concat"), ())}
    others = _alike(layers[:at], main, taken, shapes)
    if not others:
        return None
    other = others[int(rng.integers(len(others)))]
    new: Draft = []
    joined = append(new, rng, "concat", [main, other])
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
    first, norm, _ = block(space, len(shapes[main]) == 1, shapes[main][0], rng)
    branch = [first, {**norm, "born": "zero"}]
    if first.get("kernel", 1) > 1 and rng.random() < 0.5:
        apart = {"op": "depthwise", "kernel": first["kernel"], "stride": 1}
        branch = [apart, {**first, "kernel": 1}, branch[1]]
    return _sum(layers, rng, main, other, branch)


def _sum_at(space: Morph, layers: Draft, rng: Rng) -> tuple[int, int, dict[int, Shape]] | None:
    """A batch norm or sum that a ReLU takes, and an earlier layer of its height and width."""
    shapes = _shapes(space, layers)
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
        last = append(new, rng, inputs=[last], **gene)
    if layers[at]["op"] == "add":
        layers[at]["inputs"] = [*layers[at]["inputs"], last]
        layers[at:at] = new
        return [*(g["id"] for g in new), main]
    takers = [g for g in layers if main in g["inputs"]]
    total = append(new, rng, "add", [main, last])
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
    choices = [g for g in layers if g["op"] in (*WEIGHTED, *MERGING)]
    gene = choices[int(rng.integers(len(choices)))]
    if gene["op"] in MERGING:
        gone = int(rng.integers(len(gene["inputs"])))
        rest = [source for i, source in enumerate(gene["inputs"]) if i != gone]
        if len(rest) > 1:
            gene["inputs"] = rest
        elif rest[0] == INPUT and layers[-1] is gene:
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
        if chain[-1] == layers[-1]["id"] and source == INPUT:
            return None
        _bypass(layers, chain[-1], source)
    kept = genes.alive(layers)
    removed = sorted(set(by_id) - {g["id"] for g in kept})
    layers[:] = [dict(g) for g in kept]
    blind = any(g["op"] == "global_pool" and g["inputs"] == [INPUT] for g in layers)  # sees mean colours only
    return removed if any(g["op"] in ("conv", "dense") for g in layers) and not blind else None


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
    shapes = _shapes(space, layers)
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
    apart = append(new, rng, "depthwise", gene["inputs"], kernel=gene["kernel"], stride=gene["stride"])
    gene.update(kernel=1, stride=1, inputs=[apart])
    layers[at:at] = new
    return [apart, gene["id"]]


def _rebit(space: Morph, layers: Draft, rng: Rng) -> list[int] | None:
    """Another word length for one layer, or none of its own."""
    places = [g for g in layers if g["op"] in WEIGHTED]
    gene = places[int(rng.integers(len(places)))]
    choices = [b for b in (None, *space.layer_bits) if b != gene.get("bits")]
    drawn = choices[int(rng.integers(len(choices)))]
    gene.pop("bits", None)
    if drawn is not None:
        gene["bits"] = drawn
    return [gene["id"]]


CHANGES: Mapping[str, Change] = {
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
