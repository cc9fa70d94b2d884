"""What the genomes of spiking networks promise beyond the laws (`test_laws_spaces.py`)."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo.protocols import Impossible
from vilfredo.spaces.ranges import Range
from vilfredo.spaces.spiking import Spiking

THRESHOLD = [Range("Threshold", "int", 0, 127)]
SYNAPSE = [Range("Weight", "int", -127, 127), Range("Delay", "int", 1, 15)]
ENDS = 5  # of the spaces below: 3 inputs, 2 outputs

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=60, deadline=None)


def space(**options: Any) -> Spiking:
    """One change at a time, unless the options say otherwise."""
    return Spiking(**{"num_mutations": 1, **options}).bind(3, 2, THRESHOLD, SYNAPSE)


def evolved(made: Spiking, rng: np.random.Generator, steps: int = 30) -> dict[str, Any]:
    """A network that has been mutated many times, with gaps among its hidden neurons."""
    genome = made.sample(rng)
    for _ in range(steps):
        genome = made.mutate(genome, rng)
    return dict(genome)


def ids(genome: Mapping[str, Any]) -> set[int]:
    return {row[0] for row in genome["neurons"]}


def pairs(genome: Mapping[str, Any]) -> set[tuple[int, int]]:
    return {(row[0], row[1]) for row in genome["synapses"]}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Which of the mutations made the one from the other."""
    more, less = ids(after) - ids(before), ids(before) - ids(after)
    if more or less:
        return "add_node" if more else "delete_node"
    if pairs(after) != pairs(before):
        return "add_edge" if pairs(after) > pairs(before) else "delete_edge"
    for name, first in (("neurons", 1), ("synapses", 2)):
        differences = [
            place - first
            for old, new in zip(before[name], after[name], strict=True)
            for place in range(len(old))
            if old[place] != new[place]
        ]
        if differences:
            assert len(differences) == 1
            return f"{name} {differences[0]}"
    raise AssertionError("nothing has changed")


# -- sampling -----------------------------------------------------------------------------------------


@given(seed=seeds, nodes=st.integers(0, 12), edges=st.integers(0, 60))
@quick
def test_samples_are_as_large_as_asked_for(seed: int, nodes: int, edges: int) -> None:
    made = space(starting_nodes=nodes, starting_edges=edges)
    genome = made.sample(np.random.default_rng(seed))
    made.check(genome)
    assert ids(genome) == set(range(ENDS + nodes))
    assert len(genome["synapses"]) == min(edges, (ENDS + nodes) ** 2)
    assert genome["neurons"] == sorted(genome["neurons"])
    assert genome["synapses"] == sorted(genome["synapses"])


def test_every_output_of_a_sample_can_be_reached() -> None:
    made = space(starting_nodes=10, starting_edges=4)
    for seed in range(100):
        genome = made.sample(np.random.default_rng(seed))
        reached = set(range(3))
        for _ in range(20):
            reached |= {b for a, b in pairs(genome) if a in reached}
        assert {3, 4} <= reached


def test_samples_fill_the_ranges() -> None:
    made = Spiking(starting_nodes=8).bind(
        1,
        1,
        [Range("Threshold", "int", 2, 4), Range("Leak", "bool", 0, 1)],
        [Range("Weight", "float", -0.5, 2.0), Range("Delay", "int", 1, 3)],
    )
    rng = np.random.default_rng(0)
    genomes = [made.sample(rng) for _ in range(60)]
    neurons = [row for genome in genomes for row in genome["neurons"]]
    synapses = [row for genome in genomes for row in genome["synapses"]]
    assert {row[1] for row in neurons} == {2, 3, 4}
    assert {row[2] for row in neurons} == {0, 1}
    assert {row[3] for row in synapses} == {1, 2, 3}
    weights = [row[2] for row in synapses]
    assert all(type(weight) is float for weight in weights)
    assert min(weights) == pytest.approx(-0.5, abs=0.05)
    assert max(weights) == pytest.approx(2.0, abs=0.05)
    assert all(type(value) is int for row in neurons for value in row)


# -- mutation -----------------------------------------------------------------------------------------


def chi_square(counts: Counter[str], expected: Mapping[str, float]) -> float:
    assert set(counts) <= set(expected)
    total, shares = sum(counts.values()), sum(expected.values())
    return sum(
        (counts[name] - total * share / shares) ** 2 / (total * share / shares)
        for name, share in expected.items()
    )


def test_mutations_come_as_often_as_their_rates_say() -> None:
    """Their defaults; a bound that chance breaks once in a thousand times (chi square, 7 degrees: 24.3)."""
    made = space(starting_nodes=6, starting_edges=20)
    rng = np.random.default_rng(4)
    counts: Counter[str] = Counter()
    for _ in range(40):
        genome = evolved(made, rng, 3)
        counts.update(changed(genome, made.mutate(genome, rng)) for _ in range(100))
    expected = {
        "add_node": 0.75,
        "delete_node": 0.25,
        "add_edge": 0.75,
        "delete_edge": 0.25,
        "neurons 0": 2.5,
        "synapses 0": 2.5 * 0.65,
        "synapses 1": 2.5 * 0.35,
    }
    assert chi_square(counts, expected) < 24.3


def test_rates_are_options() -> None:
    rng = np.random.default_rng(0)
    only: dict[str, dict[str, Any]] = {
        "add_node": {"add_node_rate": 1.0},
        "delete_node": {"delete_node_rate": 0.1},
        "add_edge": {"add_edge_rate": 3.0},
        "delete_edge": {"delete_edge_rate": 1.0},
        "neurons 0": {"node_params_rate": 1.0},
        "synapses 1": {"edge_params_rate": 1.0, "edge_mutations": {"Delay": 2.0}},
    }
    names = ("add_node", "delete_node", "add_edge", "delete_edge", "node_params", "edge_params")
    for kind, options in only.items():
        rates: dict[str, Any] = {f"{name}_rate": 0.0 for name in names} | options
        made = space(**rates)
        genome = made.sample(rng)
        for _ in range(20):
            assert changed(genome, made.mutate(genome, rng)) == kind


def test_several_mutations_at_once() -> None:
    kinds = ("add_node", "delete_node", "delete_edge", "node_params", "edge_params")
    made = space(num_mutations=3, starting_edges=10, **{f"{kind}_rate": 0.0 for kind in kinds})
    rng = np.random.default_rng(0)
    assert len(made.mutate(made.sample(rng), rng)["synapses"]) == 13


def test_a_new_neuron_is_connected_and_takes_the_first_free_number() -> None:
    made = space(starting_nodes=3, starting_edges=6)
    rng = np.random.default_rng(1)
    genome = dict(made.sample(rng))
    genome["neurons"] = [row for row in genome["neurons"] if row[0] != 6]
    genome["synapses"] = [row for row in genome["synapses"] if 6 not in row[:2]]
    seen = 0
    for _ in range(200):
        child = made.mutate(genome, rng)
        if changed(genome, child) == "add_node":
            seen += 1
            assert ids(child) - ids(genome) == {6}
            new = pairs(child) - pairs(genome)
            assert any(b == 6 for _, b in new)
            assert any(a == 6 for a, _ in new)
    assert seen > 5


@given(seed=seeds)
@quick
def test_inputs_and_outputs_are_never_lost_and_limits_are_kept(seed: int) -> None:
    made = space(
        starting_nodes=1, max_nodes=8, max_edges=14, starting_edges=12, delete_node_rate=1.0, merge_rate=0.3
    )
    rng = np.random.default_rng(seed)
    one, two = evolved(made, rng), evolved(made, rng)
    for genome in (one, two, *made.cross(one, two, rng)):
        made.check(genome)
        assert set(range(ENDS)) <= ids(genome)
        assert len(genome["neurons"]) <= 8
        assert len(genome["synapses"]) <= 14


def test_a_processors_limits_count_too() -> None:
    made = Spiking(max_nodes=50, max_edges=9).bind(3, 2, THRESHOLD, SYNAPSE, max_nodes=12, max_edges=100)
    assert made.limits == (12, 9)
    assert Spiking().bind(3, 2, THRESHOLD, SYNAPSE).limits == (105, 1050)


def test_what_has_one_value_only_is_not_redrawn() -> None:
    fixed = [Range("Weight", "int", 1, 1), Range("Delay", "int", 1, 15)]
    made = Spiking(starting_nodes=0, num_mutations=1).bind(2, 1, [Range("Threshold", "float", 1, 1)], fixed)
    rng = np.random.default_rng(0)
    genome = made.sample(rng)
    kinds = {changed(genome, made.mutate(genome, rng)) for _ in range(200)}
    assert kinds == {"add_node", "add_edge", "delete_edge", "synapses 1"}


# -- crossover ----------------------------------------------------------------------------------------


@given(seed=seeds)
@quick
def test_recombination_gives_every_neuron_with_its_synapses_to_one_child(seed: int) -> None:
    made = space(starting_nodes=6)
    rng = np.random.default_rng(seed)
    a, b = evolved(made, rng), evolved(made, rng)
    children = made.cross(a, b, rng)
    # Every neuron of a parent is in exactly one child, as it was.
    assert Counter(str(r) for c in children for r in c["neurons"]) == Counter(
        str(r) for p in (a, b) for r in p["neurons"]
    )
    # No synapse is in both or new; what is lost lies between neurons that one parent alone had and the
    # children do not share.
    born = Counter(str(row) for child in children for row in child["synapses"])
    had = Counter(str(row) for parent in (a, b) for row in parent["synapses"])
    assert not born - had
    one, two = (ids(child) for child in children)
    for parent, other in ((a, b), (b, a)):
        for row in parent["synapses"]:
            alone = not {row[0], row[1]} & ids(other)
            apart = (row[0] in one) != (row[1] in one) and (row[0] in two) != (row[1] in two)
            if not (alone and apart):
                assert str(row) in born
    # A neuron takes its own synapses along: those that end at what both children have.
    for parent in (a, b):
        for neuron in parent["neurons"]:
            mine = [r for r in parent["synapses"] if r[0] == neuron[0] and r[1] in one & two]
            holders = [c for c in children if neuron in c["neurons"]]
            assert any(all(row in child["synapses"] for row in mine) for child in holders)


def test_recombination_tosses_a_coin_for_each_neuron() -> None:
    made = space(starting_nodes=6)
    rng = np.random.default_rng(3)
    a, b = made.sample(rng), made.sample(rng)
    first: Counter[int] = Counter()
    for _ in range(400):
        child = made.cross(a, b, rng)[0]
        first.update(row[0] for row in child["neurons"] if row in a["neurons"])
    for number in ids(a):
        assert first[number] == pytest.approx(200, abs=40)


@given(seed=seeds)
@quick
def test_merging_is_the_union(seed: int) -> None:
    made = space(merge_rate=1.0, starting_nodes=4)
    rng = np.random.default_rng(seed)
    a, b = evolved(made, rng), evolved(made, rng)
    one, two = made.cross(a, b, rng)
    for child, first, second in ((one, a, b), (two, b, a)):
        made.check(child)
        assert ids(child) == ids(a) | ids(b)
        assert pairs(child) == pairs(a) | pairs(b)
        assert all(row in child["neurons"] for row in first["neurons"])
        assert all(row in child["synapses"] for row in first["synapses"])
        assert all(row in child["neurons"] for row in second["neurons"] if row[0] not in ids(first))
        there = pairs(first)
        assert all(row in child["synapses"] for row in second["synapses"] if tuple(row[:2]) not in there)


def test_some_are_merged() -> None:
    made = space(merge_rate=0.25, starting_nodes=4)
    rng = np.random.default_rng(5)
    a, b = made.sample(rng), made.sample(rng)
    unions = sum(pairs(made.cross(a, b, rng)[0]) == pairs(a) | pairs(b) for _ in range(400))
    assert unions == pytest.approx(100, abs=30)


def test_unions_that_are_too_large_are_recombinations() -> None:
    made = space(merge_rate=1.0, starting_nodes=0, starting_edges=10, max_edges=11)
    rng = np.random.default_rng(0)
    a, b = made.sample(rng), made.sample(rng)
    assert len(pairs(a) | pairs(b)) > 11
    for _ in range(20):
        for child in made.cross(a, b, rng):
            assert len(child["synapses"]) <= 11


# -- the same network ---------------------------------------------------------------------------------


@given(seed=seeds)
@quick
def test_order_and_numbers_of_hidden_neurons_do_not_matter(seed: int) -> None:
    made = space(starting_nodes=4)
    rng = np.random.default_rng(seed)
    genome = evolved(made, rng)
    hidden = sorted(ids(genome) - set(range(ENDS)))
    spread = sorted(rng.choice(np.arange(ENDS, 1000), len(hidden), replace=False).tolist())
    new = dict(zip(hidden, spread, strict=True)) | {i: i for i in range(ENDS)}
    other = {
        "neurons": [[new[row[0]], *row[1:]] for row in genome["neurons"]],
        "synapses": [[new[row[0]], new[row[1]], *row[2:]] for row in genome["synapses"]],
    }
    for rows in other.values():
        rng.shuffle(rows)
    before = copy.deepcopy(other)
    made.check(other)
    assert made.canonical(other) == made.canonical(genome)
    assert np.array_equal(made.encode(other), made.encode(genome))
    for _ in range(5):  # and it can be evolved as it is
        for child in (made.mutate(other, rng), *made.cross(other, genome, rng)):
            made.check(child)
    assert other == before


def test_whole_real_numbers_are_real_numbers() -> None:
    real = Spiking().bind(1, 1, [], [Range("Weight", "float", -1, 1)])
    one = {"neurons": [[0], [1]], "synapses": [[0, 1, 1]]}
    two = {"neurons": [[1], [0]], "synapses": [[0, 1, 1.0]]}
    assert real.canonical(one) == real.canonical(two)
    zero = {"neurons": [[0], [1]], "synapses": [[0, 1, 0.0]]}
    assert real.canonical({**zero, "synapses": [[0, 1, -0.0]]}) == real.canonical(zero)
    assert real.canonical(zero) != real.canonical(one)


def test_encodings_tell_networks_apart() -> None:
    made = space()
    rng = np.random.default_rng(0)
    genome = made.sample(rng)
    codes = {tuple(made.encode(made.mutate(genome, rng)).tolist()) for _ in range(100)}
    assert len(codes) > 90
    bare = {"neurons": [[i, 5] for i in range(ENDS)], "synapses": []}
    assert made.encode(bare).shape == made.encode(genome).shape


# -- what is refused ----------------------------------------------------------------------------------

GOOD = {
    "neurons": [[0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [9, 1]],
    "synapses": [[0, 9, -5, 1], [9, 3, 5, 15], [9, 9, 1, 2]],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"synapses": [[0, 9, 200, 1]]},
            r"synapse 0 -> 9: Weight is 200, not a whole number from -127 to 127",
        ),
        ({"synapses": [[0, 9, 3, 0]]}, r"synapse 0 -> 9: Delay is 0, not a whole number from 1 to 15"),
        ({"synapses": [[0, 9, 3.5, 1]]}, r"synapse 0 -> 9: Weight is 3.5, not a whole number"),
        ({"synapses": [[0, 9, True, 1]]}, r"synapse 0 -> 9: Weight is True, not a whole number"),
        ({"synapses": [[0, 9, float("nan"), 1]]}, r"synapse 0 -> 9: Weight is nan"),
        ({"synapses": [[0, 7, 3, 1]]}, r"synapse 0 -> 7: there is no neuron 7"),
        ({"synapses": [[0, 9, 3, 1], [0, 9, 4, 1]]}, r"synapse 0 -> 9 is there twice"),
        ({"synapses": [[0, 9, 3]]}, r"a synapse is \[from, to, Weight, Delay\], not \[0, 9, 3\]"),
        ({"synapses": {}}, r"must be lists"),
        ({"neurons": []}, r"there is no neuron"),
        ({"neurons": [*GOOD["neurons"][1:]]}, r"neuron 0, an input, is missing"),
        ({"neurons": [*GOOD["neurons"][:3], [9, 1]]}, r"neuron 3, an output, is missing"),
        ({"neurons": [*GOOD["neurons"], [9, 2]]}, r"neuron 9 is there twice"),
        ({"neurons": [*GOOD["neurons"], [-1, 2]]}, r"-1 is not the number of a neuron"),
        ({"neurons": [*GOOD["neurons"], [8, 128]]}, r"neuron 8: Threshold is 128, not a whole number from 0"),
        ({"neurons": [*GOOD["neurons"], 8]}, r"a neuron is \[number, Threshold\], not 8"),
        ({"neurons": [[i, 1] for i in range(11)]}, r"there are 11 neurons, more than max_nodes = 10"),
        (
            {"synapses": [[a, b, 1, 1] for a in range(5) for b in range(5)]},
            r"there are 25 synapses, more than max_edges = 20",
        ),
        ({"more": 1}, r"has two lists"),
    ],
)
def test_genomes_that_are_none(change: Mapping[str, Any], message: str) -> None:
    made = space(max_nodes=10, max_edges=20)
    made.check(GOOD)
    with pytest.raises(Impossible, match=message):
        made.check({**GOOD, **change})


def test_real_numbers_that_are_none() -> None:
    made = Spiking().bind(1, 1, [Range("Threshold", "float", -1, 1)], [])
    made.check({"neurons": [[0, 1], [1, 0.5]], "synapses": []})
    for bad in (math.nan, math.inf, -math.inf, 1.5, "1", None, True):
        for neurons in ([[0, bad], [1, 0.5]], [[0, 0.5], [1, bad]]):
            with pytest.raises(Impossible, match="Threshold is"):
                made.check({"neurons": neurons, "synapses": []})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starting_nodes": -1}, "starting_nodes is -1; give a whole number of at least 0"),
        ({"starting_nodes": 2.0}, "starting_nodes is 2.0"),
        ({"num_mutations": 0}, "num_mutations is 0; give a whole number of at least 1"),
        ({"merge_rate": 1.5}, "merge_rate is 1.5; give a probability"),
        ({"merge_rate": math.nan}, "merge_rate is nan"),
        ({"add_edge_rate": -1}, "add_edge_rate is -1; give a number of at least 0"),
        ({"multi_edges": 1}, "multi_edges must be 0"),
        ({"net_params_rate": 0.5}, "net_params_rate must be 0"),
        ({"max_nodes": 9}, "3 inputs, 2 outputs and starting_nodes = 5 are more than max_nodes = 9"),
        ({"starting_edges": 9, "max_edges": 5}, "starting_edges = 9, but max_edges = 5"),
        ({"edge_mutations": {"Wieght": 1}}, "edge_mutations names 'Wieght'; there are Weight, Delay"),
        ({"node_mutations": {"Threshold": -1}}, "node_mutations gives Threshold the weight -1"),
        (
            {f"{n}_rate": 0 for n in ("add_node", "delete_node", "add_edge", "delete_edge")}
            | {"node_params_rate": 0, "edge_params_rate": 0},
            "all mutations have the rate 0",
        ),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space(**options)


def test_properties_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="two properties of the synapses are called 'Delay'"):
        Spiking().bind(1, 1, [], [Range("Delay", "int", 1, 2), Range("Delay", "int", 1, 3)])
    with pytest.raises(ValueError, match="inputs is 0"):
        Spiking().bind(0, 1, [], [])
    with pytest.raises(ValueError, match=r"Delay needs finite bounds, not \[3, 2\]"):
        Range("Delay", "int", 3, 2)
    with pytest.raises(ValueError, match="Delay needs whole bounds"):
        Range("Delay", "int", 0.5, 2)
    with pytest.raises(ValueError, match="kind 'complex'"):
        Range("Delay", "complex", 0.5, 2)  # type: ignore[arg-type]

    @dataclass(frozen=True)
    class Vector:
        name: str = "Weights"
        kind: Any = "int"
        low: float = 0
        high: float = 1
        size: int = 3

    with pytest.raises(ValueError, match="Weights is a list of numbers"):
        Spiking().bind(1, 1, [Vector()], [])
