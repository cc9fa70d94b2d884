"""The scripts on the page about other people's tools run, and end trainings early."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "interop.md"


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("pytorch_digits.py", "torch"),
        ("ray_digits.py", "ray.tune"),
        ("lightning_digits.py", "lightning"),
        ("keras_digits.py", "keras"),
    ],
)
def test_the_script_runs_and_ends_trainings(script: str, module: str, tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip(module, exc_type=ImportError)
    block = re.search(rf"^```python\n(# {script}\n.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert block is not None
    (tmp_path / script).write_text(block[1], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if "epochs: " in line]
    assert len(lines) >= 8
    assert any("trained in full" in line for line in lines)
    assert any("chance to enter" in line for line in lines)
