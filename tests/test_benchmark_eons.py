"""`benchmarks.eons`: its figures from known rows, and all parts end to end in tiny sizes."""

import json
import math
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import eons, eons_plots

pytest.importorskip("numba")
pytest.importorskip("sklearn")


def side(synapses, clean, faulty):
    return {
        "synapses": synapses,
        "neurons": 9,
        "clean": clean,
        "faulty": faulty,
        "q05": faulty - 0.1,
        "worst": 0.0,
        "seconds": 1.0,
    }


def rows():
    found = {}
    for seed in range(4):
        found["multi", "danna2", "iris", "single", str(seed)] = side(40, 0.95, 0.85 + 0.01 * seed)
        found["multi", "danna2", "iris", "multi", str(seed)] = side(10, 0.95, 0.92)
        found["multi", "mrdanna", "wine", "single", str(seed)] = side(30, 0.9, 0.9)
        found["multi", "mrdanna", "wine", "multi", str(seed)] = side(30, 0.9, 0.8)
        found["full-goal", str(seed)] = {
            "seconds": 2.0 + seed,
            "reached": 1.0,
            "networks": 500,
            "tested": 1,
            "synapses": 20,
            "neurons": 12,
        }
    points = [{**side(s, 0.9, q), "search_q05": q} for s, q in ((4, 0.3), (9, 0.95))]
    found["front", "0"] = {"points": points, "seconds": 3.0}
    return found


def test_figures_of_known_rows():
    figures = eons.summarised(rows(), eons.parse(["--seeds", "4"]))
    assert figures["full_goal.seconds"] == 3.5
    assert figures["full_goal.reached"] == 1.0
    assert figures["multi.danna2.iris.synapses_ratio"] == pytest.approx(0.25)
    assert figures["multi.danna2.iris.difference"] == 0
    gained, lost = 0.92 - 0.865, 0.95 - 0.865
    assert figures["multi.danna2.iris.recovered"] == pytest.approx(gained / lost)
    assert (
        figures["multi.danna2.iris.recovered.low"]
        < gained / lost
        < figures["multi.danna2.iris.recovered.high"]
    )
    assert "multi.mrdanna.wine.recovered" not in figures  # nothing was lost
    assert figures["multi.cells"] == 2
    assert figures["multi.cells_half_the_synapses"] == figures["multi.cells_half_recovered"] == 1
    assert figures["multi.all.synapses_ratio"] == pytest.approx(0.5)
    assert figures["front.synapses_for_q05_0.5"] == 9
    assert not any(isinstance(v, float) and math.isnan(v) for v in figures.values())


def test_intervals_are_those_of_the_mean():
    values = np.random.default_rng(3).normal(5, 1, 50)
    found = eons.interval("x", values, np.mean)
    assert found["x.low"] == pytest.approx(values.mean() - 1.96 * values.std() / 50**0.5, abs=0.05)
    assert found["x.high"] == pytest.approx(values.mean() + 1.96 * values.std() / 50**0.5, abs=0.05)


def test_drawings_are_svg(tmp_path):
    written = eons_plots.write(tmp_path, rows())
    assert [path.name for path in written] == [
        "eons_front.svg",
        "eons_multi_synapses.svg",
        "eons_multi_scores.svg",
    ]
    for path in written:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert eons_plots.write(tmp_path, {}) == []


@pytest.mark.long
def test_all_parts_run_end_to_end_and_go_on_from_where_they_were(tmp_path):
    file = tmp_path / "eons.json"
    command = ["--json", str(file), "--quick", "--seeds", "1", "--workers", "1", "--plots", str(tmp_path)]
    figures = eons.main(command)
    known = json.loads(file.read_text())
    assert known["full_goal.seconds.n"] == 1
    assert known["full_goal.cold"] > 0
    assert known["multi.cells"] == 6
    for name in eons.CLASSIFIED:
        assert known[f"classification.{name}.logistic"] > 0.8
    assert (tmp_path / "eons_front.svg").exists()
    assert eons.main([*command, "--resume"]) == figures
