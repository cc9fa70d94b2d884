"""The space of network morphisms: its changes one by one, its limits, what it foresees."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vilfredo import architecture
from vilfredo.architecture import linked
from vilfredo.nn.build import build
from vilfredo.objectives import adcr, asi, macs, parameters, weight_bytes
from vilfredo.objectives.candidate import Candidate
from vilfredo.protocols import Foreseeing, Impossible
from vilfredo.spaces.morph import APPROXIMATE, EXACT, Morph

SPACE = Morph(tune=False, flatten=False, filters=(2, 4, 8, 16), kernels=(3,)).bind((3, 8, 8), 5)


def gene(id: int, op: str, *inputs: int, **settings: Any) -> dict[str, Any]:
    return {"id": id, "op": op, "inputs": list(inputs), **settings}


def conv(id: int, source: int, filters: int, kernel: int = 3) -> dict[str, Any]:
    return gene(id, "conv", source, filters=filters, kernel=kernel, stride=1)


BLOCKS = {
    "layers": [
        conv(1, 0, 4),
        gene(2, "batch_norm", 1),
        gene(3, "relu", 2),
        conv(4, 3, 8),
        gene(5, "batch_norm", 4),
        gene(6, "relu", 5),
    ]
}


def child(op: str, genome: Any = BLOCKS, seed: int = 0, space: Morph = SPACE) -> Any:
    return replace(space, morphisms=(op,)).mutate(genome, np.random.default_rng(seed))


def ops(genome: Any, space: Morph = SPACE) -> list[str]:
    return [layer.op for layer in space.decode(genome).architecture.layers]


def test_a_genome_becomes_layers_and_an_end() -> None:
    design = SPACE.decode(BLOCKS)
    assert ops(BLOCKS) == ["conv", "batch_norm", "relu", "conv", "batch_norm", "relu", "global_pool", "dense"]
    assert design.names == (1, 2, 3, 4, 5, 6, -1, -2)
    assert design.architecture.layers[0].args["bias"] is False  # its batch norm takes the mean away
    assert design.architecture.layers[3].shape == (8, 8, 8)


def test_deepen() -> None:
    happened = set()
    for seed in range(20):
        made = child("deepen", seed=seed)
        assert made["morphism"]["op"] == "deepen"
        more = Counter(ops(made)) - Counter(ops(BLOCKS))
        [first] = more.keys() - {"batch_norm", "relu"}
        assert more == Counter([first, "batch_norm", "relu"])
        new = [g for g in made["layers"] if g["id"] in made["morphism"]["layers"]]
        assert [g.get("born") for g in new] == ["identity", "identity", None]
        happened.add(first)
    assert happened == {"conv", "dense"}


DENSE = {
    "layers": [
        *BLOCKS["layers"],
        gene(-1, "global_pool", 6),
        gene(7, "dense", -1, units=16),
        gene(8, "batch_norm", 7),
        gene(9, "relu", 8),
    ]
}


def test_dense_layers_follow_the_pooling() -> None:
    """They grow, shrink, branch and go as convolutions do; without them the pooling is implied again."""
    design = SPACE.decode(DENSE)
    assert ops(DENSE)[-5:] == ["global_pool", "dense", "batch_norm", "relu", "dense"]
    assert design.names[-5:] == (-1, 7, 8, 9, -2)
    units = replace(SPACE, units=(8, 16, 300))
    sizes = {op: set() for op in ("widen", "prune")}
    for op, seen in sizes.items():
        for seed in range(12):
            seen |= {g["units"] for g in child(op, DENSE, seed, units)["layers"] if g["op"] == "dense"}
    assert sizes == {"widen": {16, 300}, "prune": {8, 16}}
    for op in ("add", "insert", "concat"):
        ways = {tuple(ops(child(op, DENSE, seed, units))) for seed in range(30)}
        assert any("dense" in way and way.index("global_pool") < way.index(JOINT[op]) for way in ways), op
    gone = {SPACE.canonical(child("remove", DENSE, seed)) for seed in range(20)}
    assert SPACE.canonical(BLOCKS) in gone


JOINT = {"add": "add", "insert": "add", "concat": "concat"}


def test_flattening_in_place_of_pooling() -> None:
    space = replace(SPACE, flatten=True)
    assert ops(BLOCKS, space)[-2:] == ["flatten", "dense"]
    assert space.decode(BLOCKS).architecture.layers[-2].shape == (8 * 8 * 8,)
    widths = {g["filters"] for g in child("widen", BLOCKS, 2, space)["layers"] if "filters" in g}
    assert widths == {8} or widths == {4, 16}
    deeper = [child("deepen", BLOCKS, seed, space) for seed in range(20)]
    assert {g["units"] for made in deeper for g in made["layers"] if "units" in g} == {512}
    narrow = [child("deepen", BLOCKS, seed, replace(space, units=(8, 256))) for seed in range(20)]
    assert not any(g["op"] == "dense" for made in narrow for g in made["layers"])  # 512 would be too wide
    rng = np.random.default_rng(0)
    with_dense = replace(space, dense=(2, 2), units=(8, 32)).sample(rng)
    assert [g["op"] for g in with_dense["layers"][-7:]][0::3] == ["flatten", "relu", "relu"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([*BLOCKS["layers"], gene(7, "global_pool", 6)], "must be the only one of its kind and have -1"),
        ([*DENSE["layers"], gene(-1, "flatten", 9)], "must be the only one of its kind"),
        ([*BLOCKS["layers"], gene(-1, "relu", 6)], "needs a whole number above 0 of its own"),
    ],
)
def test_ids_of_what_makes_features(layers: Any, message: str) -> None:
    with pytest.raises(Impossible, match=message):
        SPACE.check({"layers": layers})


def test_widen_and_prune_go_to_the_next_width() -> None:
    widths = {g["id"]: g["filters"] for g in BLOCKS["layers"] if g["op"] == "conv"}
    for op, expected in (("widen", {1: 8, 4: 16}), ("prune", {1: 2, 4: 4})):
        for seed in range(6):
            made = child(op, seed=seed)
            [changed] = made["morphism"]["layers"]
            now = {g["id"]: g["filters"] for g in made["layers"] if g["op"] == "conv"}
            assert now == {**widths, changed: expected[changed]}


def test_skips_and_branches_leave_the_order_of_layers() -> None:
    assert ops(child("concat")).count("concat") == 1
    added = child("add")
    assert "add" in ops(added)
    assert [g["born"] for g in added["layers"] if g["id"] in added["morphism"]["layers"] and "born" in g] == [
        "zero"
    ]
    for seed in range(8):
        made = child("insert", seed=seed)
        assert [g["op"] for g in made["layers"] if g.get("born") == "zero"] == ["batch_norm"]


def test_what_is_summed_grows_together() -> None:
    residual = {
        "layers": [
            *BLOCKS["layers"][:3],
            conv(4, 3, 4),
            gene(5, "batch_norm", 4),
            gene(7, "add", 5, 3),
            gene(6, "relu", 7),
        ]
    }
    for op, width in (("widen", 8), ("prune", 2)):
        made = child(op, residual)
        assert sorted(made["morphism"]["layers"]) == [1, 4]
        assert [g["filters"] for g in made["layers"] if "filters" in g] == [width, width]
    assert linked(SPACE.decode(residual).architecture)[3] == 0


def test_what_is_summed_with_the_input_keeps_its_width() -> None:
    fixed = {"layers": [conv(1, 0, 3), gene(2, "batch_norm", 1), gene(3, "add", 2, 0), gene(4, "relu", 3)]}
    assert linked(SPACE.decode(fixed).architecture)[0] == -1
    assert child("widen", fixed) == fixed


def test_remove_takes_a_block_or_a_skip() -> None:
    seen = set()
    for seed in range(20):
        made = child("remove", child("concat", seed=seed), seed)
        seen.add(tuple(ops(made)))
    assert tuple(ops(BLOCKS)) in seen
    assert any(names.count("conv") == 1 for names in seen)
    single = {"layers": BLOCKS["layers"][:3]}
    assert child("remove", single) == single


def test_separate() -> None:
    made = child("separate")
    apart, mixed = made["morphism"]["layers"]
    layers = dict(zip(SPACE.decode(made).names, SPACE.decode(made).architecture.layers, strict=True))
    assert layers[apart].args["groups"] == layers[apart].shape[0]
    assert layers[mixed].args["kernel"] == [1, 1]
    assert mixed in (1, 4)


def test_bits_of_a_layer() -> None:
    space = Morph(bits=(8,), layer_bits=(4, 6)).bind((3, 8, 8), 5)
    rng = np.random.default_rng(0)
    genome = space.sample(rng)
    seen = set()
    for _ in range(60):
        genome = space.mutate(genome, rng)
        seen |= {layer.args.get("bits") for layer in space.decode(genome).architecture.layers}
    assert {4, 6, None} == seen


@pytest.mark.parametrize("op", EXACT + APPROXIMATE)
def test_every_morphism_happens(op: str) -> None:
    rng = np.random.default_rng(1)
    space = Morph().bind((3, 16, 16), 10)
    happened = Counter()
    genome = space.sample(rng)
    for number in range(300):
        if number % 12 == 0:
            genome = space.sample(rng)
        genome = space.mutate(genome, rng)
        happened[genome["morphism"]["op"]] += 1
    assert happened[op] > 10


def test_limits() -> None:
    rng = np.random.default_rng(0)
    space = Morph(max_macs=60_000, max_parameters=2_000, max_layers=6).bind((1, 8, 8), 10)
    for _ in range(20):
        genome = space.sample(rng)
        for _ in range(15):
            genome = space.mutate(genome, rng)
            built = space.decode(genome).architecture
            assert architecture.macs(built) <= 60_000
            assert architecture.parameters(built) <= 2_000
            assert sum(layer.op in ("conv", "dense") for layer in built.layers[:-1]) <= 6
    with pytest.raises(Impossible, match="more than max_macs"):
        replace(space, max_macs=10).decode(genome)


def test_crossed_children_are_mutants_of_one_parent_each() -> None:
    rng = np.random.default_rng(0)
    space = Morph().bind((1, 8, 8), 10)
    first, second = space.sample(rng), space.sample(rng)
    for parent, made in zip((first, second), space.cross(first, second, rng), strict=True):
        names = {g["id"] for g in parent["layers"]}
        assert len(names & {g["id"] for g in made["layers"]}) >= len(names) - 3


@pytest.mark.parametrize("quantised", [False, True])
def test_what_is_foreseen_is_what_is_measured(quantised: bool) -> None:
    rng = np.random.default_rng(3)
    space = Morph(tune=False).bind((3, 16, 16), 10)
    if quantised:
        space = Morph(bits=(4, 8), layer_bits=(4, 6)).bind((3, 16, 16), 10)
    assert isinstance(space, Foreseeing)
    for _ in range(5):
        genome = space.sample(rng)
        for _ in range(10):
            genome = space.mutate(genome, rng)
        seen = space.foresee(genome)
        candidate = Candidate(build(space.decode(genome).architecture, device="meta"), (3, 16, 16), 10)
        for module in (parameters, macs, asi, adcr, *([] if quantised else [weight_bytes])):
            name = module.__name__.rpartition(".")[2]
            assert seen[name] == pytest.approx(module.objective(candidate).mean), name
        assert seen["weight_bytes"] <= 4 * seen["parameters"] + 128 or quantised


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": ()}, "filters must be whole numbers"),
        ({"units": (0,)}, "units must be whole numbers"),
        ({"dense": (1,)}, "dense must be a range"),
        ({"kernels": (2,)}, "kernels must be odd"),
        ({"morphisms": ("grow",)}, "morphisms must be some of deepen"),
        ({"blocks": (0, 3)}, "blocks must be a range"),
        ({"blocks": (3, 40)}, "blocks must be a range"),
        ({"max_macs": 0}, "above 0"),
        ({"tune": False, "bits": (8,)}, "bits are genes of the training"),
        ({"layer_bits": (99,)}, "layer_bits must be whole numbers"),
        ({"input": (3, 3), "outputs": 2}, "morphisms take images"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Morph(**options)
