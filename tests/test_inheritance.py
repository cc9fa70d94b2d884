"""Problems whose networks inherit: from a parent's checkpoint to a child that goes on where it was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from vilfredo.data import digits
from vilfredo.problems.inheritance import GENOME
from vilfredo.problems.supervised import Supervised
from vilfredo.protocols import Snapshot, Weights, Work
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.morph import Morph

DIGITS = digits.load(train_size=600)
SPACE = Morph(tune=False, flatten=False, filters=(8, 12, 16))
PROBLEM = Supervised(DIGITS, SPACE, ["error"], epochs=4, lr=0.005, batch_size=32)
BLOCKS = {
    "layers": [
        {"id": 1, "op": "conv", "inputs": [0], "filters": 12, "kernel": 3, "stride": 1},
        {"id": 2, "op": "batch_norm", "inputs": [1]},
        {"id": 3, "op": "relu", "inputs": [2]},
        {"id": 4, "op": "max_pool", "inputs": [3], "kernel": 2, "stride": 2},
        {"id": 5, "op": "conv", "inputs": [4], "filters": 16, "kernel": 3, "stride": 1},
        {"id": 6, "op": "batch_norm", "inputs": [5]},
        {"id": 7, "op": "relu", "inputs": [6]},
    ]
}


def finish(
    work: Work,
    resume: Weights | None = None,
    parents: Mapping[int, Weights] | None = None,
    problem: Any = PROBLEM,
) -> tuple[list[Snapshot], nn.Module, Weights]:
    training = problem.train(work, 1, resume, parents or {})
    shots: list[Snapshot] = []
    last: Any = {}
    while True:
        try:
            shots.append(next(training))
        except StopIteration as end:
            return shots, end.value, last
        assert shots[-1].checkpoint is not None
        last = shots[-1].checkpoint()


def child_by(op: str) -> dict[str, Any]:
    space = replace(SPACE, morphisms=(op,)).bind((1, 8, 8), 10)
    return dict(space.mutate(BLOCKS, np.random.default_rng(2)))


@pytest.fixture(scope="module")
def parent() -> tuple[list[Snapshot], Weights]:
    shots, _, weights = finish(Work(BLOCKS))
    return shots, weights


def test_a_checkpoint_says_of_which_network_it_is(parent: Any) -> None:
    assert json.loads(parent[1][GENOME].tobytes()) == BLOCKS
    assert finish(Work(BLOCKS), resume=parent[1])[0] == []


@pytest.mark.parametrize("op", ["deepen", "widen", "concat", "add", "insert", "prune", "separate"])
def test_children_begin_where_their_parent_was(op: str, parent: Any) -> None:
    before = parent[0][-1].metrics["val_accuracy"]
    genome = child_by(op)
    shots, _, _ = finish(Work(genome, parents=(3,)), parents={3: parent[1]})
    scratch, _, _ = finish(Work(genome))
    assert before > 0.6
    assert shots[0].metrics["val_accuracy"] > before - (0.2 if op == "separate" else 0.1)
    assert shots[0].metrics["val_accuracy"] > scratch[0].metrics["val_accuracy"] + 0.2
    assert shots[0].notes == ()


@pytest.mark.parametrize("op", ["widen", "prune"])
def test_a_stopped_child_goes_on_as_if_it_had_not_been(op: str, parent: Any) -> None:
    """With a teacher, and without."""
    genome, parents = child_by(op), {3: parent[1]}
    whole, _, full = finish(Work(genome, parents=(3,)), parents=parents)
    first, _, half = finish(Work(genome, parents=(3,), fidelity=2), parents=parents)
    rest, _, again = finish(Work(genome, parents=(3,)), resume=half, parents=parents)
    assert [s.metrics for s in first + rest] == [s.metrics for s in whole]
    assert all(np.array_equal(full[name], again[name]) for name in full)
    assert finish(Work(genome, parents=(3,)), resume=full)[0] == []


def test_the_parent_teaches_what_is_not_its_equal(parent: Any) -> None:
    genome = child_by("prune")
    alone = Supervised(DIGITS, PROBLEM.space, ["error"], epochs=4, lr=0.005, batch_size=32, distil=0.0)
    taught, _, _ = finish(Work(genome), parents={3: parent[1]})
    untaught, _, _ = finish(Work(genome), parents={3: parent[1]}, problem=alone)
    assert taught[0].metrics != untaught[0].metrics
    wide, _, _ = finish(Work(child_by("widen")), parents={3: parent[1]})
    same, _, _ = finish(Work(child_by("widen")), parents={3: parent[1]}, problem=alone)
    assert [s.metrics for s in wide] == [s.metrics for s in same]


def test_of_two_parents_it_is_the_nearer_one(parent: Any) -> None:
    stranger = PROBLEM.space.sample(np.random.default_rng(5))
    _, _, other = finish(Work(stranger, fidelity=1))
    genome = child_by("widen")
    one, _, _ = finish(Work(genome), parents={3: parent[1]})
    both, _, _ = finish(Work(genome), parents={1: other, 3: parent[1]})
    assert [s.metrics for s in both] == [s.metrics for s in one]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({GENOME: None}, "they do not say of which network they are"),
        ({GENOME: np.frombuffer(b"[1]", dtype=np.uint8)}, "they do not say of which network they are"),
        ({GENOME: np.frombuffer(b'{"layers": []}', dtype=np.uint8)}, "their network is none of this space"),
        ({GENOME: np.frombuffer(b"\xff\xfe", dtype=np.uint8)}, "cannot be inherited"),
        ({"layers.4.weight": np.zeros(3)}, r"layer 4 needs a weight of shape \(16, 12, 3, 3\)"),
        ({"layers.4.weight": None}, "but there is none"),
    ],
)
def test_weights_of_no_use_are_said_and_do_no_harm(damage: dict[str, Any], message: str, parent: Any) -> None:
    spoilt = {name: array for name, array in {**parent[1], **damage}.items() if array is not None}
    genome = child_by("widen")
    shots, _, _ = finish(Work(genome, parents=(3,)), parents={3: spoilt})
    scratch, _, _ = finish(Work(genome))
    assert [s.metrics for s in shots] == [s.metrics for s in scratch]
    [note] = shots[0].notes
    assert "the weights of trial 3 cannot be inherited" in note
    assert re.search(message, note)
    assert shots[1].notes == ()


def test_other_spaces_do_not_inherit(parent: Any) -> None:
    assert PROBLEM.inherits
    assert PROBLEM.describe()["distil"] == 0.5
    problem = Supervised(DIGITS, Chain(), ["error"], epochs=1)
    assert not problem.inherits
    genome = problem.space.sample(np.random.default_rng(0))
    _, _, weights = finish(Work(genome), problem=problem)
    assert GENOME not in weights


@pytest.mark.parametrize("distil", [-0.1, 1.5, True, "half"])
def test_wrong_shares(distil: Any) -> None:
    with pytest.raises(ValueError, match="distil is"):
        Supervised(DIGITS, PROBLEM.space, ["error"], distil=distil)
