"""What a run says about the machine it was made on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vilfredo import environment

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_it_is_json_and_says_what_matters() -> None:
    found = environment.describe()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["numpy"] == np.__version__
    assert set(found["versions"]) == set(environment.PACKAGES)
    assert found["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert found["memory"] > 2**27
    assert 1 <= found["cores"] <= found["cpus"]
    assert found["cpu"]
    assert found["time"].endswith("+00:00")
    assert found["command"]


@needs_git
def test_the_revision_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    git(tmp_path, "init", "-q")
    assert environment.describe(tmp_path)["git"] is None  # no commit yet
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    revision = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "results.db").write_text("untracked files change nothing")
    assert environment.describe(tmp_path)["git"] == {"revision": revision, "dirty": False}
    (tmp_path / "file").write_text("two")
    assert environment.describe(tmp_path)["git"] == {"revision": revision, "dirty": True}


@needs_git
@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_a_repository_cannot_make_it_run_programs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    hook.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(hook))
    assert environment.describe(tmp_path)["git"]["dirty"] is False
    assert not (tmp_path / "ran").exists()


def test_outside_of_git_and_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.describe(tmp_path)["git"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.describe()["git"] is None
    assert environment.describe(tmp_path / "none")["git"] is None


def test_the_home_folder_is_not_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = str(tmp_path / "jane.doe")
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("USERPROFILE", home)
    monkeypatch.setattr(sys, "orig_argv", ["python", f"{home}/run.py", f"--store={home}/x.db"])
    found = environment.describe()
    assert found["command"] == ["python", "~/run.py", "--store=~/x.db"]
    assert "jane.doe" not in json.dumps(found)


def test_it_does_not_load_torch() -> None:
    code = "import sys, vilfredo.environment as e; print(e.describe()['gpus'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]


def test_gpus_are_listed_where_torch_is_loaded() -> None:
    torch = pytest.importorskip("torch")
    assert len(environment.describe()["gpus"]) >= torch.cuda.device_count()
