"""`vilfredo search --dry-run`: what would be searched, said without doing any of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vilfredo.cli import main
from vilfredo.loop import Search
from vilfredo.problems.supervised import Supervised
from vilfredo.protocols import Impossible, Work
from vilfredo.trial import Value

NETWORK = """
from torch import nn


def small(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, outputs))


def loss(params):
    return {"loss": params["x"]}
"""

SPEC = """
name = "mine"
seed = 3
budget = { trials = 20, time = "1h" }
confirm = 3
stopper = { use = "genrace", probe = 3 }

[problem]
data = "digits"
baseline = "mylab_dry:small"
epochs = 4

[space]
use = "chain"
max_layers = 5

[goals]
error = {}
parameters = { max = "500" }
latency = { max = "1 ms", ranked = false }

[executor]
workers = 3
deadline = "2min"
memory = "4 GiB"
"""

FUNCTION = """
budget = 12
[problem]
use = "function"
function = "mylab_dry:loss"
[space]
use = "parameters"
x = { float = [0, 1] }
[goals]
loss = { sense = "max" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mylab_dry.py").write_text(NETWORK)
    (tmp_path / "mine.toml").write_text(SPEC)
    (tmp_path / "function.toml").write_text(FUNCTION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("VILFREDO_STORE", raising=False)
    monkeypatch.delitem(sys.modules, "mylab_dry", raising=False)
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["search", *args, "--dry-run"])


def rows(*args: str) -> dict[str, str]:
    """What is said, by the word at the beginning of the line; what goes on in the next line joined to it."""
    result = run(*args)
    assert result.exit_code == 0, result.output
    found: dict[str, str] = {}
    label = ""
    for line in result.stdout.splitlines()[1:]:
        label = line[:10].strip() or label
        found[label] = f"{found[label]} | {line[10:].strip()}" if label in found else line[10:].strip()
    return found


def test_all_of_a_search_is_said_and_nothing_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a dry run must not do this")

    monkeypatch.setattr(Search, "__init__", never)
    monkeypatch.setattr(Supervised, "train", never)
    before = {path.name for path in folder.iterdir()} | {"__pycache__"}
    found = rows("mine.toml")
    assert {path.name for path in folder.iterdir()} <= before
    assert found["problem"] == "networks on digits, trained for 4 epochs"
    assert found["data"] == (
        "1,150 samples to train on, 288 to validate, 359 to test; inputs of 1 × 8 × 8, 10 classes"
    )
    assert found["space"] == "chain (max_layers = 5)"
    assert found["goals"].split(" | ") == [
        "error       min; measured after training",
        "parameters  min, at most 500; known before training",
        "latency     at most 1 ms; measured after training, while no other candidate computes",
    ]
    assert re.fullmatch(
        r"20 candidates: parameters \S+( k)?(–| – )\S+ k \(median \S+( k)?\); \d+ beyond the limits",
        found["at random"],
    )
    parameters, macs = 64 * 8 + 8 + 8 * 10 + 10, 64 * 8 + 8 * 10
    assert found["baseline"] == f"mylab_dry:small: parameters {parameters}, macs {macs}, beyond the limits"
    assert found["optimizer"] == "steady"
    assert found["stopper"] == "genrace (probe = 3)"
    assert found["executor"] == "local, 3 workers; for each candidate deadline 2 min 00 s, memory 4 GiB"
    assert found["budget"] == "20 trials or 1h"
    assert found["confirm"] == "the front, with 3 training seeds, on the test samples"
    assert found["seed"] == "3"
    assert found["store"] == "vilfredo.db, a new file"


def test_options_are_heeded(folder: Path) -> None:
    options = [
        "--budget",
        "5",
        "--workers",
        "0",
        "--goals",
        "error",
        "--optimizer",
        "nsga2",
        "--confirm",
        "0",
    ]
    found = rows("mine.toml", *options, "--stopper", "never", "--store", "other.db")
    assert found["goals"] == "error  min; measured after training"
    assert "at random" not in found
    assert (found["budget"], found["optimizer"], found["confirm"]) == ("5 trials", "nsga2", "nothing")
    assert found["stopper"] == "never"
    assert found["executor"].startswith("inline, in this process")
    assert found["store"] == "other.db, a new file"


def test_quantised_networks(folder: Path) -> None:
    found = rows("resilient")
    assert found["deployed"].startswith("in whole numbers of 8 bits, power-of-two scales, one per channel")
    assert 'ccr_activations  min; measured after training (use = "ccr", faults = {' in found["goals"]


def test_a_function_and_the_store_it_went_to(folder: Path) -> None:
    found = rows("function.toml")
    assert found["problem"] == "the function mylab_dry:loss"
    assert found["goals"] == "loss  max; computed"
    assert (found["confirm"], found["store"]) == ("nothing", "vilfredo.db, a new file")
    done = CliRunner().invoke(main, ["search", "function.toml", "--workers", "0"])
    assert done.exit_code == 0, done.output
    found = rows("function.toml", "--start", "vilfredo.db:1")
    assert found["store"] == "vilfredo.db, which holds 1 run"
    assert found["start"] == "the front of vilfredo.db:1: 1 candidate"


def test_spiking_networks(folder: Path) -> None:
    pytest.importorskip("numba")
    found = rows("xor")
    assert re.fullmatch(r"spiking networks for xor of 2 on risp", found["problem"])
    assert "timesteps for each answer" in found["task"]
    assert found["faults"].endswith("on 20 copies")
    assert "resilience_q05  max; simulated" in found["goals"]
    assert found["confirm"] == "the front, on the test samples"


@pytest.mark.parametrize(
    ("args", "fragment"),
    [
        (["mine.toml", "--goals", "eror"], "goals.eror: nothing computes this goal"),
        (["mine.toml", "--store", "no/x.db"], "store: the folder no does not exist; create it"),
        (["mine.toml", "--store", "."], "store: . is a folder; name a file"),
        (["mine.toml", "--store", "mine.toml"], "mine.toml is no store"),
        (["mine.toml", "--start", "none.db"], "there is no store at"),
        (["mine.toml", "--report", "no/x.html"], "--report: the folder no does not exist"),
    ],
)
def test_a_mistake_is_one_sentence(folder: Path, args: list[str], fragment: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert fragment in result.stderr
    assert result.stderr.count("\n") == 1


def test_impossible_candidates_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preview(problem: Supervised, work: Work) -> Mapping[str, Value]:
        if "module" in work.genome:  # the baseline
            return {"parameters": Value(100.0)}
        raise Impossible("no layer fits")

    monkeypatch.setattr(Supervised, "preview", preview)
    found = rows("mine.toml")
    assert found["at random"] == "20 of 20 are impossible: no layer fits"
    assert "beyond" not in found["baseline"]
