"""The benchmark of workers, end to end and small."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from benchmarks import campaigns

DATA = Path(os.environ.get("VILFREDO_DATA", "no such folder")) / "fashion_mnist"


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason="$VILFREDO_DATA/fashion_mnist is not there")
def test_it_measures_one_and_two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "figures.json"
    size = ["--train", "200", "--faults", "100", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["campaigns", *size, "--json", str(out)])
    campaigns.main()
    figures = json.loads(out.read_text("utf-8"))
    assert figures["identical"] == 1
    assert figures["shared_mib"] > 50
    assert figures["own_mib"] > 50
    for name in ("rate.1", "rate.2", "speedup.2", "cpu.1", "cpu.2", "coordinator.2", "start_seconds"):
        assert figures[name] > 0, name
