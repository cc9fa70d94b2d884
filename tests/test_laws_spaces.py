"""What every space must keep to. A new file in `vilfredo/spaces` needs a line in EXAMPLES, no more."""

import copy
import importlib
import inspect
import json
import pickle
import pkgutil
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vilfredo.spaces
from vilfredo import architecture
from vilfredo.protocols import Impossible
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.macro import Macro
from vilfredo.spaces.morph import Morph
from vilfredo.spaces.parameters import Choice, Float, Int, Parameters, from_mapping
from vilfredo.spaces.ranges import Range
from vilfredo.spaces.spiking import Spiking

EXAMPLES = {
    "chain": {
        "digits": Chain().bind((1, 8, 8), 10),
        "images": Chain(max_layers=10).bind((3, 32, 32), 100),
        "tiny images": Chain(min_layers=3, kernels=(1, 4, 7)).bind((2, 1, 5), 2),
        "table": Chain().bind((13,), 1),
        "deployed": Chain(
            bits=(4, 6, 8),
            scales=("power_of_two", "real"),
            activation_clip=(False, True),
            weight_clip=(0, 0.25, 1),
            layer_bits=(4, 8, 16),
        ).bind((1, 8, 8), 10),
    },
    "macro": {
        "digits": Macro().bind((1, 8, 8), 10),
        "untuned": Macro(nodes=(3, 5), filters=(4, 8), tune=False).bind((3, 20, 9), 3),
        "deployed": Macro(bits=(4, 8), activation_clip=(False, True), weight_clip=(0, 0.5)).bind(
            (1, 8, 8), 10
        ),
    },
    "morph": {
        "digits": Morph().bind((1, 8, 8), 10),
        "quantised": Morph(
            bits=(4, 8), scales=("power_of_two", "real"), activation_clip=(False, True), layer_bits=(4, 6)
        ).bind((3, 16, 16), 10),
        "untuned, tiny images": Morph(tune=False, blocks=(2, 4)).bind((2, 1, 5), 2),
        "table": Morph().bind((13,), 1),
        "wide dense layers": Morph(dense=(1, 3), units=(16, 64, 256, 1024)).bind((1, 8, 8), 10),
        "pooled": Morph(flatten=False, dense=(0, 2), filters=(1, 2, 3), tune=False).bind((2, 6, 5), 3),
    },
    "parameters": {
        "conditional": from_mapping(
            {
                "optimizer": {"choice": ["adam", "sgd"]},
                "momentum": {"float": [0, 0.99], "when": {"optimizer": "sgd"}},
                "nesterov": {"choice": [True, False], "when": {"optimizer": "sgd"}},
                "depth": {"int": [1, 1000], "log": True},
                "late": {"int": [0, 9], "step": 3, "when": {"nesterov": True}},
                "lr": {"float": [1e-5, 1], "log": True},
                "rate": {"float": [0, 1], "step": 0.1},
            }
        ),
        "table": Parameters({f"op{i}": Choice([0, 1, 2]) for i in range(8)}),
        "numbers": Parameters({"x": Float(-1, 1), "n": Int(0, 10**6), "fixed": Int(3, 3)}),
    },
    "spiking": {
        "unbound": Spiking(),
        "cart-pole": Spiking(starting_nodes=20, starting_edges=80, num_mutations=3).bind(
            8,
            2,
            [Range("Threshold", "int", 0, 127)],
            [Range("Delay", "int", 1, 15), Range("Weight", "int", -9, 9)],
        ),
        "unions of real numbers": Spiking(merge_rate=0.5, max_nodes=9, max_edges=25, starting_nodes=2).bind(
            3,
            1,
            [Range("Threshold", "float", -1, 1), Range("Leak", "bool", 0, 1)],
            [Range("Weight", "float", -1, 1), Range("Delay", "int", 1, 1)],
        ),
        "no values at all": Spiking(starting_nodes=1).bind(2, 2, [], []),
    },
}
METHODS = ("sample", "mutate", "cross", "encode", "canonical", "check")


def found():
    """(module, class) of everything in `vilfredo.spaces` that has a space's methods."""
    for info in pkgutil.walk_packages(vilfredo.spaces.__path__, "vilfredo.spaces."):
        module = importlib.import_module(info.name)
        for name, kind in vars(module).items():
            here = inspect.isclass(kind) and kind.__module__ == info.name and not name.startswith("_")
            if here and all(callable(getattr(kind, method, None)) for method in METHODS):
                yield info.name.rpartition(".")[2], kind


def test_every_space_has_an_example():
    classes = {kind for _, kind in found()}
    assert {"Chain", "Macro", "Parameters"} <= {kind.__name__ for kind in classes}
    for module, kind in found():
        examples = EXAMPLES.get(module, {}).values()
        assert any(type(space) is kind for space in examples), f"{module}.{kind.__name__} has no example"


SPACES = [pytest.param(s, id=f"{module} {name}") for module, d in EXAMPLES.items() for name, s in d.items()]
NETWORKS = [p for p in SPACES if hasattr(p.values[0], "decode")]
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None)
each = pytest.mark.parametrize("space", SPACES)
each_network = pytest.mark.parametrize("space", NETWORKS)


def family(space, seed):
    """Two random genomes, their children, and the children's mutants."""
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    c, d = space.cross(a, b, rng)
    return [a, b, c, d, space.mutate(a, rng), space.mutate(c, rng), space.mutate(space.mutate(d, rng), rng)]


@each
@given(seed=seeds)
@quick
def test_all_that_operators_make_is_valid_and_survives_json(space, seed):
    for genome in family(space, seed):
        space.check(genome)
        again = json.loads(json.dumps(genome, allow_nan=False))
        assert again == genome
        assert space.canonical(again) == space.canonical(genome)


@each
@given(seed=seeds)
@quick
def test_the_same_random_numbers_make_the_same_genomes(space, seed):
    assert json.dumps(family(space, seed)) == json.dumps(family(pickle.loads(pickle.dumps(space)), seed))


@each
@given(seed=seeds)
@quick
def test_operators_leave_their_parents_alone(space, seed):
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    before = copy.deepcopy((a, b))
    space.mutate(a, rng)
    space.cross(a, b, rng)
    space.encode(a)
    space.canonical(b)
    assert (a, b) == before


@each
@given(seed=seeds)
@quick
def test_mutants_are_others(space, seed):
    rng = np.random.default_rng(seed)
    parent = space.sample(rng)
    assert space.canonical(space.mutate(parent, rng)) != space.canonical(parent)


@each
@given(seed=seeds)
@quick
def test_encodings_are_of_one_length_within_the_unit_cube(space, seed):
    codes = {space.canonical(g): space.encode(g) for g in family(space, seed)}
    for genome in family(space, seed):
        code = space.encode(genome)
        assert code.dtype == np.float64
        assert code.shape == next(iter(codes.values())).shape
        assert ((code >= 0) & (code <= 1)).all()
        assert np.array_equal(code, codes[space.canonical(genome)])  # what means the same looks the same


@each
def test_samples_are_diverse(space):
    rng = np.random.default_rng(1)
    assert len({space.canonical(space.sample(rng)) for _ in range(200)}) > 180


@each
def test_crossover_brings_parents_together(space):
    rng = np.random.default_rng(2)
    fresh = 0
    for _ in range(50):
        a, b = space.sample(rng), space.sample(rng)
        known = {space.canonical(a), space.canonical(b)}
        fresh += any(space.canonical(child) not in known for child in space.cross(a, b, rng))
    assert fresh > 25


JUNK = st.sampled_from(
    [None, True, -1, 0, 10**9, 0.5, -2.5, "", "relu", "0101", [], [1], [3, 3], {}, {"op": "conv"}]
)


def damaged(value, draw):
    """`value` with something in it replaced by junk, left out or added."""
    if isinstance(value, Mapping) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: damaged(value[key], draw)}
    if isinstance(value, Mapping) and value:
        key = draw(st.sampled_from([*sorted(value), "unheard of"]))
        return {k: v for k, v in value.items() if k != key} if key in value else {**value, key: draw(JUNK)}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], damaged(value[at], draw), *value[at + 1 :]]
    return draw(JUNK)


@each
@given(data=st.data(), seed=seeds)
@settings(max_examples=100, deadline=None)
def test_check_says_impossible_and_nothing_else(space, data, seed):
    genome = damaged(space.sample(np.random.default_rng(seed)), data.draw)
    genome = genome if isinstance(genome, Mapping) else {"genome": genome}
    problem = refusal(space, genome)
    if problem is not None:
        assert problem
        assert "\n" not in problem
        return
    rng = np.random.default_rng(seed)  # still of this space: then everything works
    space.check(space.mutate(genome, rng))
    for child in space.cross(genome, space.sample(rng), rng):
        space.check(child)
        space.encode(child)


def refusal(space, genome):
    try:
        space.check(genome)
    except Impossible as problem:
        return str(problem)
    return None


@each_network
@given(seed=seeds)
@quick
def test_decoded_shapes_agree(space, seed):
    designs = {}
    for genome in family(space, seed):
        design = space.decode(genome)
        built = design.architecture
        assert built.output == (space.outputs,)
        assert architecture.assemble(space.input, built.layers) == built
        assert space.canonical(genome) == architecture.canonical(design)
        assert designs.setdefault(space.canonical(genome), design) == design
        assert set(design.training) <= {
            "optimizer",
            "lr",
            "momentum",
            "weight_decay",
            "batch_size",
            "schedule",
            "bits",
            "scales",
            "activation_clip",
            "weight_clip",
        }
    assert len(
        {json.dumps(architecture.layers(d.architecture)) + str(d.training) for d in designs.values()}
    ) == len(designs)


@each_network
def test_a_space_without_data_says_so(space):
    unbound = type(space)()
    assert unbound.bind(space.input, space.outputs).input == space.input
    with pytest.raises(ValueError, match="bind") as problem:
        unbound.decode(space.sample(np.random.default_rng(0)))
    assert not isinstance(problem.value, Impossible)
