"""The scripts on the page about other people's tools run, and end trainings early."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "interop.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
FILES = {match[1]: block for block in BLOCKS if (match := re.match(r"# (\w+\.py)\n", block))}
SCRIPTS = sorted(name for name in FILES if name.endswith("_digits.py"))
TOOLS = ("keras", "lightning", "optuna", "pymoo", "ray.tune", "syne_tune")


def test_the_page_has_a_script_for_every_tool() -> None:
    text = "".join(FILES[name] for name in SCRIPTS)
    assert [tool for tool in TOOLS if tool.replace("ray.tune", "ray_tune") not in text] == []


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_runs_and_ends_trainings(script: str, tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    for tool in TOOLS:
        if re.search(rf"^(import|from) {tool.partition('.')[0]}\b", FILES[script], re.M):
            pytest.importorskip(tool, exc_type=ImportError)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=800,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    totals = re.findall(r"^(\d+) of (\d+) epochs", done.stdout, re.M)
    assert all(int(paid) < int(full) for paid, full in totals)
    assert "epochs" in done.stdout
    if script.startswith(("keras", "lightning", "ray")):
        assert "trained in full" in done.stdout
        assert "chance to enter" in done.stdout
