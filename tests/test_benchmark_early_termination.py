"""The benchmark of early termination runs, and its simulation agrees with what it simulates."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from benchmarks import early_termination as benchmark

from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Epoch, Value

DATA = Path(os.environ.get("VILFREDO_DATA", ".")) / "fashion_mnist"


class Halving:
    """Pauses whoever is worse than 0.5 after two epochs, with a forecast; revives nobody."""

    def __call__(self, trial: Any, peers: Any, epochs: int) -> Verdict:
        error = trial.epochs[-1].metrics["val_error"]
        if trial.epochs[-1].index != 2 or error < 0.5:
            return GO
        return Verdict("pause", {"error": Value(error - 0.1, 0.05, 1, "forecast")}, "too slow")

    def revive(self, trials: Any) -> Any:
        return ()


HALVING = f"{__name__}:Halving"


def curves(*finals: float, seconds: float = 1.0) -> list[benchmark.Curves]:
    """Networks of four epochs whose error falls from 1.0 in a straight line."""
    return [
        benchmark.Curves(
            macs=1e6 * (1 + number),
            epochs=tuple(Epoch(i, {"val_error": 1 - (1 - final) * i / 4}, seconds) for i in (1, 2, 3, 4)),
        )
        for number, final in enumerate(finals)
    ]


def test_a_replay_counts_simulated_time_and_knows_the_truth() -> None:
    four = curves(0.3, 0.6, 0.0, 0.8)  # after two epochs 0.65, 0.8, 0.5 and 0.9
    row = benchmark.replay(four, benchmark.GOALS["one"], "never")
    assert row["saved"] == 0
    assert row["speedup"] == pytest.approx(1, abs=1e-2)
    assert row["front_found"] == 1

    five = curves(0.3, 0.6, -0.1, 0.8, 0.9)  # the third one alone is not halted: 0.45
    row = benchmark.replay(five, benchmark.GOALS["one"], HALVING)
    assert row["saved"] == pytest.approx(1 - (4 * 2 + 4) / 20)
    assert row["front_found"] == 1
    assert row["error_gap_points"] == 0
    # one worker: 2 + 4 s; the other: 2 + 2 + 2 s, beside 12 s in full
    assert row["speedup"] == pytest.approx(12 / 6, rel=1e-2)
    assert row["forecast_mae_points"] == pytest.approx(25, abs=20)


def test_halted_members_of_the_front_are_trained_to_their_ends() -> None:
    row = benchmark.replay(curves(0.3, 0.6, -0.1, 0.8, 0.9), benchmark.GOALS["two"], HALVING)
    assert row["front_found"] == 1  # the first and the second are small, and confirmed
    assert row["saved"] < 1 - (4 * 2 + 4) / 20
    assert row["hv_ratio"] == pytest.approx(1)


def test_curves_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    rows = ["experiment,arch_id,epoch,train_acc,val_acc,mflops,seconds"]
    rows += [f"a,{n},{i},50,{10 * i + n},1.5,2" for n in range(2) for i in (1, 2, 3)]
    path.write_text("\n".join([*rows, "b,0,1,1,1,1,1", "a,2,1,1,1,1,1"]) + "\n")
    found = benchmark.read_curves(path)  # without what is incomplete or of another experiment
    assert [len(curve.epochs) for curve in found] == [3, 3]
    assert found[1].macs == 1.5e6
    assert found[1].epochs[2].metrics["val_error"] == pytest.approx(1 - 0.31)


@pytest.mark.skipif(not DATA.is_dir(), reason="$VILFREDO_DATA/fashion_mnist is not there")
def test_it_runs_from_end_to_end(tmp_path: Path) -> None:
    out, record = tmp_path / "figures.json", tmp_path / "curves.csv"
    arguments = ["--quick", "--engine", HALVING, "--parts", "fixed.one", "free.two", "replay"]
    figures = benchmark.main([*arguments, "--json", str(out), "--record", str(record)])
    written = json.loads(out.read_text())
    assert written["fixed.one.identical"] == 1
    assert written["free.two.networks"] == 4
    assert all(math.isfinite(v) for v in figures.values() if isinstance(v, float))
    assert benchmark.read_curves(record)
