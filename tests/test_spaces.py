"""What is particular to each space; what all have in common is in test_laws_spaces.py."""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo import architecture
from vilfredo.protocols import Impossible
from vilfredo.spaces import training
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.macro import Macro, wiring
from vilfredo.spaces.parameters import Choice, Float, Int, Parameters, from_mapping, to_mapping

RNG = np.random.default_rng


# Parameters


def test_steps_stay_exactly_on_the_grid():
    grid = Float(0, 1, step=0.1)
    assert sorted({grid.draw(u) for u in np.linspace(0, 0.999, 200)}) == [i / 10 for i in range(11)]
    assert Float(1e-5, 1e-4, step=1e-5, log=True).draw(0.999) == 1e-4
    assert Float(0, 1, step=0.3).from_unit(1.0) == 0.9
    assert {Int(2, 9, step=3).draw(u) for u in np.linspace(0, 0.999, 50)} == {2, 5, 8}
    assert Float(0, 1, step=0.1).accepts(0.1 + 0.2)
    assert Float(0, 1, step=0.1).normal(0.1 + 0.2) == 0.3
    assert not Float(0, 1, step=0.1).accepts(0.25)


def test_draws_are_uniform_on_the_scale():
    us = RNG(0).random(20_000)
    decades = Counter(math.floor(math.log10(Float(1e-4, 1, log=True).draw(u))) for u in us)
    assert all(abs(decades[d] / 20_000 - 0.25) < 0.02 for d in range(-4, 0))
    counts = Counter(Int(1, 4).draw(u) for u in us)
    assert all(abs(counts[n] / 20_000 - 0.25) < 0.02 for n in range(1, 5))
    cells = Counter(Int(1, 3, log=True).draw(u) for u in us)
    for n in (1, 2, 3):  # each integer has the cell [n - 1/2, n + 1/2] of the log scale
        share = math.log((n + 0.5) / (n - 0.5)) / math.log(3.5 / 0.5)
        assert abs(cells[n] / 20_000 - share) < 0.02


numbers = st.one_of(
    st.builds(lambda a, b: Float(min(a, b), max(a, b)), *[st.floats(-1e6, 1e6)] * 2),
    st.builds(lambda a, b: Float(min(a, b), max(a, b), log=True), *[st.floats(1e-9, 1e9)] * 2),
    st.builds(
        lambda a, n, s: Float(a, a + n * s, step=s), st.integers(-5, 5), st.integers(0, 40), st.just(0.05)
    ),
    st.builds(
        lambda a, n, s: Int(a, a + n, step=s), st.integers(-50, 50), st.integers(0, 90), st.integers(1, 9)
    ),
    st.builds(lambda a, n: Int(a, a + n, log=True), st.integers(1, 50), st.integers(0, 5000)),
)
unit = st.floats(0, 1, exclude_max=True)


@given(item=numbers, u=unit, v=unit, eta=st.sampled_from([1.0, 20.0]))
@settings(deadline=None, max_examples=300)
def test_numbers_stay_in_range_and_map_both_ways(item, u, v, eta):
    value = item.draw(u)
    assert item.accepts(value)
    assert item.accepts(item.from_unit(u))
    assert 0 <= item.to_unit(value) <= 1
    assert item.from_unit(item.to_unit(value)) == pytest.approx(value, rel=1e-9, abs=1e-9)
    if isinstance(item, Int) or item.step:
        assert item.from_unit(item.to_unit(value)) == value
    assert item.accepts(item.nudge(value, v, eta))
    if isinstance(item, Int) and not item.constant:
        assert item.nudge(value, v, eta) != value


CONDITIONAL = {
    "optimizer": {"choice": ["adam", "sgd", "rmsprop"]},
    "momentum": {"float": [0, 0.9], "when": {"optimizer": ["sgd", "rmsprop"]}},
    "nesterov": {"choice": [True, False], "when": {"optimizer": "sgd"}},
    "damping": {"int": [1, 3], "when": {"nesterov": True, "optimizer": "sgd"}},
}


def test_inactive_parameters_do_not_count():
    space = from_mapping(CONDITIONAL)
    adam = {"optimizer": "adam", "momentum": 0.1, "nesterov": True, "damping": 2}
    assert space.active(adam) == {"optimizer": "adam"}
    assert space.canonical(adam) == space.canonical({"optimizer": "adam"})
    assert np.array_equal(space.encode(adam), space.encode({"optimizer": "adam"}))
    space.check({"optimizer": "adam"})
    assert space.active({**adam, "optimizer": "rmsprop"}) == {"optimizer": "rmsprop", "momentum": 0.1}
    assert list(space.active({**adam, "optimizer": "sgd"})) == list(CONDITIONAL)
    assert "damping" not in space.active({**adam, "optimizer": "sgd", "nesterov": False})
    with pytest.raises(Impossible, match="'momentum' is missing"):
        space.check({"optimizer": "rmsprop"})


def test_what_becomes_active_is_drawn():
    space = from_mapping(CONDITIONAL)
    for seed in range(50):
        child = space.mutate({"optimizer": "adam"}, RNG(seed))
        space.check(child)
        assert child["optimizer"] != "adam"
        for mixed in space.cross({"optimizer": "adam"}, space.sample(RNG(seed)), RNG(seed)):
            space.check(mixed)


def test_equal_values_are_equal_however_they_are_written():
    space = Parameters({"x": Float(0, 2), "c": Choice([1, True, "1", None, [1, 2]])})
    assert space.canonical({"x": 1, "c": 1.0}) == space.canonical({"x": 1.0, "c": 1})
    assert len({space.canonical({"x": 1, "c": c}) for c in (1, True, "1", None, [1, 2])}) == 5
    with pytest.raises(Impossible, match="c = 2 is not one of 1, true"):
        space.check({"x": 1, "c": 2})
    with pytest.raises(Impossible, match="x = nan is not a number in"):
        space.check({"x": math.nan, "c": 1})
    with pytest.raises(Impossible, match="no parameter 'y'"):
        space.check({"y": 1})


def test_blended_children_lie_about_their_parents():
    space = Parameters({"x": Float(0, 1), "y": Float(1e-4, 1, log=True)})
    rng = RNG(0)
    a, b = {"x": 0.4, "y": 1e-3}, {"x": 0.6, "y": 1e-2}
    children = [child for _ in range(400) for child in space.cross(a, b, rng)]
    assert abs(np.mean([c["x"] for c in children]) - 0.5) < 0.01
    assert abs(np.mean([math.log10(c["y"]) for c in children]) + 2.5) < 0.05
    assert len({c["x"] for c in children}) > 100
    uniform = Parameters(space.items, crossover="uniform")
    assert {c["x"] for _ in range(50) for c in uniform.cross(a, b, rng)} == {0.4, 0.6}


def test_mutation_reaches_every_option():
    space = Parameters({f"op{i}": Choice([0, 1, 2]) for i in range(3)})
    rng, seen, genome = RNG(0), set(), space.sample(RNG(1))
    for _ in range(600):
        genome = space.mutate(genome, rng)
        seen.add(space.canonical(genome))
    assert len(seen) == 27


def test_a_space_from_plain_data_and_back():
    mapping = {
        "lr": {"float": [1e-4, 1e-1], "log": True},
        "depth": {"int": [1, 8]},
        "act": {"choice": ["relu", "tanh"]},
        "slope": {"float": [0, 1], "step": 0.25, "when": {"act": "relu"}},
    }
    space = from_mapping(mapping)
    assert space.items["lr"] == Float(1e-4, 1e-1, log=True)
    assert from_mapping(json.loads(json.dumps(to_mapping(space)))) == space


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "at least one parameter"),
        ({"a": 5}, "'a' must be a table"),
        ({"a": {"flaot": [1, 2]}}, "'a' must be a table"),
        ({"a": {"int": [1, 2], "float": [1, 2]}}, "'a' must be a table"),
        ({"a": {"float": [2, 1]}}, "'a': a float needs finite bounds"),
        ({"a": {"float": 2}}, r"'a': float must be \[low, high\]"),
        ({"a": {"float": [0, math.inf]}}, "'a': a float needs finite bounds"),
        ({"a": {"float": [0, 1], "log": True}}, "'a': a log scale needs a low above 0"),
        ({"a": {"float": [0, 1], "log": 1}}, "log of the parameter 'a'"),
        ({"a": {"float": [0, 1], "step": 0}}, "'a': a step must be"),
        ({"a": {"int": [0.5, 1]}}, "'a': an int needs whole bounds"),
        ({"a": {"int": [0, 5], "step": 0.5}}, "'a': a step of integers"),
        ({"a": {"int": [0, 5], "lgo": True}}, "no setting 'lgo'; did you mean 'log'"),
        ({"a": {"choice": []}}, "'a': a choice needs a list"),
        ({"a": {"choice": "abc"}}, "'a': a choice needs a list"),
        ({"a": {"choice": [1, 1.0]}}, "'a': the options of a choice must differ"),
        ({"a": {"choice": [1, object()]}}, "'a': the options of a choice must be JSON"),
        ({"a": {"choice": [1], "log": True}}, "'a' has no setting 'log'"),
        ({"a": {"choice": [1], "when": 3}}, "when of the parameter 'a'"),
        ({"a": {"choice": [1], "when": {"b": 1}}}, "depends on 'b', which does not exist"),
        ({"a": {"int": [1, 2]}, "b": {"int": [1, 2], "when": {"a": 3}}}, "'b' depends on a = 3"),
        ({"a": {"int": [1, 2]}, "b": {"int": [1, 2], "when": {"a": []}}}, "'b' is never active"),
        ({"a": {"float": [1, 2]}, "b": {"int": [1, 2], "when": {"a": 1}}}, "because that is a float"),
        (
            {"a": {"int": [1, 2], "when": {"b": 1}}, "b": {"int": [1, 2], "when": {"a": 1}}},
            "depend on each other in a circle",
        ),
    ],
)
def test_what_is_wrong_with_a_space_is_said_in_one_sentence(mapping, message):
    with pytest.raises(ValueError, match=message) as problem:
        from_mapping(mapping)
    assert "\n" not in str(problem.value)


# Chain

IMAGES = Chain(max_layers=20).bind((1, 8, 8), 10)
TABLE = Chain().bind((13,), 1)
TRAINING = {"optimizer": "adam", "lr": 1e-3, "weight_decay": 1e-5, "batch_size": 32, "schedule": "cosine"}


def genome(*layers):
    return {"layers": list(layers), "training": TRAINING}


def conv(filters=8, kernel=(3, 3), stride=(1, 1), padding=(1, 1)):
    return {
        "op": "conv",
        "filters": filters,
        "kernel": list(kernel),
        "stride": list(stride),
        "padding": list(padding),
    }


def pool(kernel=(2, 2), stride=(2, 2), op="max_pool"):
    return {"op": op, "kernel": list(kernel), "stride": list(stride)}


def dense(units=16):
    return {"op": "dense", "units": units}


RELU, TANH, SIGMOID, NORM, GLOBAL = (
    {"op": op} for op in ("relu", "tanh", "sigmoid", "batch_norm", "global_pool")
)


def dropout(rate=0.2):
    return {"op": "dropout", "rate": rate}


def ops(space, *layers):
    return [layer.op for layer in space.decode(genome(*layers)).architecture.layers]


def test_a_chain_gets_its_end():
    assert ops(IMAGES, conv()) == ["conv", "flatten", "dense"]
    assert ops(IMAGES, conv(), dense(), RELU) == ["conv", "flatten", "dense", "relu", "dense"]
    assert ops(IMAGES, conv(), GLOBAL, dense()) == ["conv", "global_pool", "dense", "dense"]
    assert ops(TABLE, dense(), TANH) == ["dense", "tanh", "dense"]
    assert IMAGES.decode(genome(conv())).training == TRAINING


@pytest.mark.parametrize(
    ("layers", "same"),
    [
        ([conv(), dropout(0)], [conv()]),
        ([conv(), RELU, RELU], [conv(), RELU]),
        ([conv(), TANH, TANH], [conv(), TANH]),
        ([conv(), SIGMOID, RELU], [conv(), SIGMOID]),
        ([conv(), RELU, pool(), dropout(), RELU], [conv(), RELU, pool(), dropout()]),
        ([conv(), NORM, NORM], [conv(), NORM]),
        ([conv(), dropout(0.2), dropout(0.5)], [conv(), dropout(0.2)]),
        ([conv(), pool((1, 1), (1, 1))], [conv()]),
        ([conv(), pool((1, 1), (2, 2), "avg_pool")], [conv(), pool((1, 1), (2, 2))]),
        ([dense(), conv(), pool(), GLOBAL, RELU], [dense(), RELU]),
        ([conv(kernel=(30, 3))], [conv(kernel=(10, 3))]),
        ([conv(kernel=(30, 3), padding=(0, 1))], [conv(kernel=(8, 3), padding=(0, 1))]),
        ([conv(kernel=(3, 3), padding=(4, 1))], [conv()]),
        ([conv(kernel=(8, 8), stride=(2, 2), padding=(0, 0))], [conv(kernel=(8, 8), padding=(0, 0))]),
        ([conv(stride=(90, 1))], [conv(stride=(8, 1))]),
        (
            [pool((8, 8)), conv(kernel=(5, 5), padding=(2, 2))],
            [pool((8, 8)), conv(kernel=(1, 1), padding=(0, 0))],
        ),
        ([pool((8, 8)), GLOBAL], [pool((8, 8))]),
        ([{"op": "conv", "filters": 8, "kernel": [3, 3]}], [conv(padding=(0, 0))]),
        ([{"op": "avg_pool", "kernel": [2, 2]}], [pool(op="avg_pool")]),
    ],
)
def test_repairs(layers, same):
    assert IMAGES.canonical(genome(*layers)) == IMAGES.canonical(genome(*same))


@pytest.mark.parametrize(
    ("layers", "other"),
    [
        ([conv()], [conv(kernel=(3, 1), padding=(1, 0))]),
        ([conv(), TANH, RELU], [conv(), TANH]),
        ([conv(), RELU, NORM, RELU], [conv(), RELU, NORM]),
        ([conv(), RELU, conv(), RELU], [conv(), RELU, conv()]),
        ([dense(), dense()], [dense()]),
        ([conv(), GLOBAL], [conv()]),
        ([conv(), pool()], [conv(), pool(op="avg_pool")]),
    ],
)
def test_different_networks_stay_different(layers, other):
    assert IMAGES.canonical(genome(*layers)) != IMAGES.canonical(genome(*other))


def test_a_bias_before_batch_norm_is_left_out():
    built = IMAGES.decode(genome(conv(), NORM, dense(), NORM, dense())).architecture
    assert [layer.args["bias"] for layer in built.layers if "bias" in layer.args] == [
        False,
        False,
        True,
        True,
    ]


def test_tables_know_no_images():
    assert ops(TABLE, conv(), dense(), pool(), RELU) == ["dense", "relu", "dense"]
    image_ops = {"conv", "max_pool", "avg_pool", "global_pool"}
    rng = RNG(0)
    for _ in range(100):
        sample = TABLE.sample(rng)
        for candidate in (sample, TABLE.mutate(sample, rng)):
            assert not image_ops & {layer["op"] for layer in candidate["layers"]}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"layers": [conv()]}, "has 'layers' and 'training', not 'layers'"),
        ({"layers": "conv", "training": TRAINING}, "must be a list"),
        ({"layers": [conv()], "training": []}, "training of a chain must be a mapping"),
        (genome(), "0 layers; min_layers = 1"),
        (genome(*[conv()] * 21), "21 layers; min_layers = 1, max_layers = 20"),
        (genome({"op": "lstm"}), "layer 0 is no layer of a chain"),
        (genome({"op": ["conv"]}), "layer 0 is no layer of a chain"),
        (genome(conv(), {"op": "dense"}), "layer 1 (dense) lacks 'units'"),
        (genome({**RELU, "slope": 1}), "layer 0 (relu) has op, slope"),
        (genome(conv(filters=0)), "cannot have filters = 0"),
        (genome(conv(filters=True)), "cannot have filters = True"),
        (genome(conv(kernel=(3,))), "cannot have kernel = [3]"),
        (genome(conv(padding=(-1, 0))), "cannot have padding = [-1, 0]"),
        (genome(conv(), dropout(1.0)), "cannot have rate = 1.0"),
        (genome(dense(10**6)), "MACs, more than max_macs = 30,000,000".replace("MACs", "macs")),
        (genome(dense(77_000)), "parameters, more than max_parameters = 5,000,000"),
        ({"layers": [conv()], "training": {**TRAINING, "lr": 5}}, "lr = 5 is not a number in"),
        ({"layers": [conv()], "training": {**TRAINING, "optimizer": "sgd"}}, "'sgd_lr' is missing"),
    ],
)
def test_impossible_chains_say_why(bad, message):
    with pytest.raises(Impossible) as problem:
        IMAGES.check(bad)
    assert message in str(problem.value)


def test_the_space_may_be_too_small_for_any_network():
    with pytest.raises(Impossible, match="no random network fits into this space: the network has"):
        Chain(max_parameters=10).bind((1, 8, 8), 10).sample(RNG(0))


def test_limits_shape_what_is_drawn():
    small = Chain(max_macs=40_000, max_parameters=3_000).bind((1, 8, 8), 10)
    rng = RNG(0)
    one = small.sample(rng)
    for _ in range(30):
        one, two = small.cross(small.mutate(one, rng), small.sample(rng), rng)
        for built in (small.decode(one).architecture, small.decode(two).architecture):
            assert architecture.macs(built) <= 40_000
            assert architecture.parameters(built) <= 3_000


def test_chains_do_not_grow_by_drift():
    rng = RNG(0)
    population = [IMAGES.sample(rng) for _ in range(40)]
    start = np.mean([len(g["layers"]) for g in population])
    for _ in range(20):
        pairs = [IMAGES.cross(*(population[i] for i in rng.integers(40, size=2)), rng) for _ in range(20)]
        population = [IMAGES.mutate(child, rng) for pair in pairs for child in pair]
    assert 0.6 * start < np.mean([len(g["layers"]) for g in population]) < 1.4 * start
    assert len({IMAGES.canonical(g) for g in population}) > 35


def test_mutation_reaches_every_gene():
    rng, kinds, current = RNG(0), Counter(), IMAGES.sample(RNG(1))
    for _ in range(500):
        child = IMAGES.mutate(current, rng)
        if child["training"] != current["training"]:
            kinds["training"] += 1
        kinds[int(np.sign(len(child["layers"]) - len(current["layers"])))] += 1
        kinds.update({layer["op"] for layer in child["layers"]})
        current = child
    assert set(kinds) == {"training", -1, 0, 1, *IMAGES.ops}
    assert min(kinds[key] for key in ("training", -1, 0, 1)) > 40


def test_a_baseline_may_have_sizes_that_are_never_drawn():
    parent = genome(conv(filters=7, kernel=(4, 4)), RELU, dense(99))
    rng = RNG(0)
    for _ in range(50):
        IMAGES.check(IMAGES.mutate(parent, rng))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filters": ()}, "filters must be whole numbers above 0"),
        ({"kernels": (0,)}, "kernels must be whole numbers above 0"),
        ({"rates": (1.0,)}, "rates must be fractions"),
        ({"ops": ("conv", "lstm")}, "ops must be some of conv"),
        ({"min_layers": 5, "max_layers": 4}, "leave no length"),
        ({"max_macs": 0}, "must be above 0"),
        ({"optimizers": ("lbfgs",)}, "optimizers must be some of adam, sgd"),
        ({"schedules": ()}, "schedules must be some of"),
        ({"batch_sizes": (0,)}, "batch_sizes must be whole"),
        ({"lr": (0.1, 0.01)}, "lr: a float needs finite bounds"),
        ({"lr": (0.0, 0.01)}, "lr: a log scale"),
        ({"lr": (0.1,)}, "lr must be a range"),
        ({"momentum": (0.5, 1.0)}, r"momentum must be a range within \[0, 1\)"),
        ({"input": (8, 8), "outputs": 2}, "a chain takes images"),
        ({"input": (8,), "outputs": 0}, "at least one output"),
        ({"input": (8,), "outputs": 2, "ops": ("conv",)}, "but the data is a table"),
    ],
)
def test_bad_chain_spaces_say_what_is_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        Chain(**fields)


# Training


def test_each_optimizer_has_its_own_learning_rate():
    space = IMAGES.hyperparameters
    sgd = {**TRAINING, "optimizer": "sgd", "sgd_lr": 0.05, "momentum": 0.9}
    assert training.design(space, sgd)["lr"] == 0.05
    assert training.design(space, sgd)["momentum"] == 0.9
    assert training.design(space, {**sgd, "optimizer": "adam"}) == TRAINING
    only = Chain(optimizers=("sgd",)).hyperparameters
    assert "lr" not in only.items
    assert set(training.design(only, only.sample(RNG(0)))) == {
        "optimizer",
        "lr",
        "momentum",
        "weight_decay",
        "batch_size",
        "schedule",
    }


# Macro

MACRO = Macro(nodes=(4,), filters=(4,), tune=False).bind((1, 8, 8), 10)


def test_wirings_are_counted_right():
    # Acyclic directed graphs on n unlabelled nodes: OEIS A003087.
    for nodes, count in ((2, 2), (3, 6), (4, 31), (5, 302)):
        edges = nodes * (nodes - 1) // 2
        found = {wiring("".join(bits) + "0", nodes) for bits in itertools.product("01", repeat=edges)}
        assert len(found) == count


@given(data=st.data(), nodes=st.integers(2, 8))
@settings(deadline=None, max_examples=100)
def test_wirings_do_not_depend_on_the_numbering(data, nodes):
    """Any renumbering that keeps inputs before outputs leaves the wiring as it is."""
    pairs = [(earlier, node) for node in range(nodes) for earlier in range(node)]
    edges = {pair for pair in pairs if data.draw(st.booleans())}
    order, waiting = [], list(range(nodes))
    while waiting:
        ready = [n for n in waiting if not any((m, n) in edges for m in waiting)]
        order.append(data.draw(st.sampled_from(ready)))
        waiting.remove(order[-1])
    place = {node: i for i, node in enumerate(order)}
    moved = {(place[a], place[b]) for a, b in edges}
    first, second = ("".join("01"[pair in e] for pair in pairs) + "1" for e in (edges, moved))
    assert wiring(first, nodes) == wiring(second, nodes)


def test_a_phase_is_wired_as_its_bits_say():
    # 1→2, 1→3, 2→4, 3→4 and the skip: a diamond, whose last node sums two, and the phase's input added.
    built = MACRO.decode({"phases": ["1100111"]}).architecture
    sums = [i for i, layer in enumerate(built.layers) if layer.op == "add"]
    assert [layer.op for layer in built.layers].count("conv") == 5
    assert [len(built.layers[i].inputs) for i in sums] == [2, 2]
    assert built.layers[sums[1]].inputs[0] == 2  # the ReLU after the first convolution
    assert [layer.op for layer in built.layers[-2:]] == ["global_pool", "dense"]


def test_bits_without_effect_make_no_other_network():
    same = MACRO.canonical({"phases": ["0000000"]})
    assert MACRO.canonical({"phases": ["0000001"]}) == same
    assert MACRO.canonical({"phases": ["1000000"]}) == MACRO.canonical({"phases": ["0000010"]})
    assert MACRO.canonical({"phases": ["1000001"]}) != MACRO.canonical({"phases": ["1000000"]})


def test_phases_are_divided_by_pooling_while_there_is_something_to_pool():
    space = Macro(nodes=(2, 2, 2, 2), filters=(2, 2, 2, 2), tune=False).bind((1, 3, 6), 2)
    built = space.decode({"phases": ["10"] * 4}).architecture
    assert [(layer.args["kernel"], layer.shape) for layer in built.layers if layer.op == "max_pool"] == [
        ([2, 2], (2, 1, 3)),
        ([1, 2], (2, 1, 1)),
    ]
    assert built.layers[-2].op == "flatten"


def test_homogeneous_crossover_keeps_what_is_common_and_the_complexity():
    space = Macro(tune=False).bind((1, 8, 8), 10)
    rng = RNG(0)
    for _ in range(100):
        a, b = space.sample(rng), space.sample(rng)
        bits = ["".join(g["phases"]) for g in (a, b, *space.cross(a, b, rng))]
        low, high = sorted(text.count("1") for text in bits[:2])
        assert all(low <= text.count("1") <= high for text in bits[2:])
        for one, two, three, four in zip(*bits, strict=True):
            assert {one, two} == {three, four}


def test_mutation_flips_one_bit():
    space = Macro(tune=False).bind((1, 8, 8), 10)
    rng = RNG(0)
    for _ in range(100):
        parent = space.sample(rng)
        pair = ["".join(g["phases"]) for g in (parent, space.mutate(parent, rng))]
        assert sum(a != b for a, b in zip(*pair, strict=True)) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": (1, 4, 4)}, "nodes must say how many nodes"),
        ({"nodes": ()}, "nodes must say how many nodes"),
        ({"filters": (16, 32)}, "one for each of the 3 phases"),
        ({"input": (13,), "outputs": 2}, "use chain for tables"),
    ],
)
def test_bad_macro_spaces_say_what_is_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        Macro(**fields)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"phases": ["1100111"], "training": {}}, "must have phases, not"),
        ({"phases": ["11"]}, "phase 0 must be a string of 7 zeros and ones"),
        ({"phases": ["110011x"]}, "phase 0 must be a string"),
        ({"phases": []}, "list of 1 bit strings"),
    ],
)
def test_impossible_macro_genomes_say_why(bad, message):
    with pytest.raises(Impossible, match=message):
        MACRO.check(bad)
