"""`benchmarks.lemonade`: figures from known rows, and a search of a few tiny networks."""

import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import lemonade as benchmark
from benchmarks.lemonade import ARMS, LIMITS, SMALLEST, Plan, Row

from vilfredo.seeds import generator

FOLDER = Path(os.environ.get("VILFREDO_DATA", "nowhere"))
needs_data = pytest.mark.skipif(
    not (FOLDER / "fashion_mnist").is_dir(), reason="$VILFREDO_DATA/fashion_mnist is not there"
)
MIDDLE = {name: math.sqrt(low * LIMITS[f"max_{name}"]) for name, low in SMALLEST.items()}


def row(arm="lemonade", seed=0, number=0, error=0.25, test=0.25, operator="sample", **changes):
    return Row(arm, seed, number, operator, error, test, **{**MIDDLE, **changes})


def test_the_box():
    """Sizes on a logarithmic scale; beyond the smallest nothing is won, beyond the limit nothing is left."""
    assert benchmark.box(row()) == (pytest.approx([0.5, 0.5, 0.5]), pytest.approx([0.5, 0.5, 0.5]))
    small = row(parameters=1, macs=LIMITS["max_macs"])
    assert benchmark.box(small)[0] == pytest.approx([0.5, 0.0, 1.0])
    assert benchmark.box(small, ("error", "parameters"))[0] == pytest.approx([0.5, 0.0])


def test_volumes_are_chosen_by_validation_and_counted_on_test_images():
    rows = [row(), row(number=1, error=0.2, test=0.4), row(number=2, error=None, test=None)]
    assert benchmark.volumes(rows) == pytest.approx([0.125, 0.05, 0.05], abs=1e-6)
    assert benchmark.volumes(rows, ("error", "parameters")) == pytest.approx([0.25, 0.1, 0.1], abs=1e-6)
    assert benchmark.volumes([row(error=None, test=None), row(error=0.9, test=0.9)]) == [0.0, 0.0]


def test_the_best_of_at_most_so_many_parameters():
    rows = [row(error=0.3, test=0.31, parameters=900), row(error=0.2, test=0.4, parameters=4000)]
    assert benchmark.within(rows, 1000) == [0.31]
    assert benchmark.within(rows, 5000) == [0.4]
    assert benchmark.within(rows, 100) == []


def test_epochs_to_match():
    assert benchmark.share([0.1, 0.2, 0.3, 0.4], 0.3) == 0.75
    assert benchmark.share([0.1, 0.2], 0.3) == 2.0


def test_intervals_are_students():
    found = benchmark.difference("gain", [0.1, 0.2, 0.3])
    assert found["gain"] == pytest.approx(0.2)
    assert found["gain.high"] - found["gain"] == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert benchmark.difference("gain", [0.1]) == {"gain": 0.1, "gain.n": 1}


def test_children_by_what_they_inherit():
    kids = {"parent": 0.7, "begins": 0.7, "first": 0.68}
    rows = [
        row(operator="widen", error=0.2, **kids),
        row(operator="prune", error=0.3, **{**kids, "begins": 0.1}),
        row(operator="prune", error=0.3, **{**kids, "begins": 0.5}),
        row("scratch", operator="widen", error=0.4, **{**kids, "begins": 0.1}),
        row("steady", operator="mutate", **kids),
        row("uniform", operator="widen", **kids),
        row(),
    ]
    found = benchmark.children(rows)
    assert [found[f"children.{kind}"] for kind in ("exact", "approximate", "scratch")] == [1, 2, 1]
    assert [found[f"beats_chance.{kind}"] for kind in ("exact", "approximate", "scratch")] == [1.0, 0.5, 0.0]
    assert found["ends.exact"] == pytest.approx(0.8)
    assert found["begins.approximate"] == pytest.approx(0.3)


def test_figures_of_known_rows():
    plan = Plan(seeds=2, candidates=4, epochs=3)
    rows = [
        row(arm, seed, number, error=0.4 - 0.05 * number - better, test=0.4 - 0.05 * number - better)
        for arm, better in (("lemonade", 0.06), ("steady", 0.0))
        for seed in range(2)
        for number in range(4)
    ]
    found = benchmark.figures(rows, plan)
    assert found["hv.lemonade.12"] == pytest.approx(0.25 * (1 - 0.19 / 0.5))
    assert found["hv.lemonade.3"] == pytest.approx(0.25 * (1 - 0.34 / 0.5))
    assert found["gain.steady"] == pytest.approx(0.25 * 0.06 / 0.5)
    assert found["gain2.steady"] == pytest.approx(0.5 * 0.06 / 0.5)
    assert found["epochs_to_match.steady"] == 0.75
    assert found["error_within.100000.steady"] == pytest.approx(0.25)
    assert found["error_within.1000.steady.n"] == 0
    assert all(math.isfinite(value) for value in found.values())


def test_uniform_parents_and_the_first_child():
    """Its optimizer is LEMONADE but for the densities: every parent is as likely as any other."""
    space = replace(benchmark.MORPH, filters=(2, 4)).bind((1, 8, 8), 10)
    from vilfredo.goal import KNOWN
    from vilfredo.protocols import Work
    from vilfredo.trial import Key, Trial, Value

    optimizer = ARMS["uniform"].optimizer(space, [KNOWN[name] for name in benchmark.GOALS], initial=3)
    for number in range(3):
        work = Work(space.sample(generator(number)))
        values = {Key(n): Value(v) for n, v in space.foresee(work.genome).items() if n in benchmark.GOALS}
        values[Key("error")] = Value(1 / values[Key("parameters")].mean)
        optimizer.tell(Trial(number, work.genome, "complete", values=values))
    parents = optimizer.breeders()
    density, chances = optimizer._parents(parents, [])
    assert density is None
    assert np.allclose(chances, 1 / len(parents))
    assert optimizer.ask(1, generator(9))[0].parents[0] in parents


@needs_data
def test_end_to_end(tmp_path):
    tiny = ["--seeds", "1", "--candidates", "10", "--epochs", "1", "--train-size", "200"]
    tiny += ["--validation-size", "50", "--test-size", "50", "--arms", "lemonade", "scratch", "random"]
    plan = Plan(1, 10, 1, 200, 50, 50)
    for arm in ("lemonade", "scratch", "random"):
        rows = benchmark.job((arm, 0, plan, tmp_path))
        assert [r.number for r in rows] == list(range(10))
        again = benchmark.job((arm, 0, plan, tmp_path))  # from its file
        assert [repr(r) for r in again] == [repr(r) for r in rows]
        for r in rows:
            assert r.parameters <= LIMITS["max_parameters"]
            assert r.macs <= LIMITS["max_macs"]
    found = benchmark.main([*tiny, "--folder", str(tmp_path), "--json", str(tmp_path / "figures.json")])
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["hv.lemonade.10"] == found["hv.lemonade.10"]
    assert found["children.scratch"] > 0
