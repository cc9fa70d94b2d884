"""A search of spiking networks as a person sees it: what is printed, shown, exported and played."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("numba")
pytest.importorskip("sklearn")

from vilfredo.cli import driving, main
from vilfredo.spiking import SpikingNetwork


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a run of 400 networks for iris, and what its search printed."""
    folder = tmp_path_factory.mktemp("spiking")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "120")
        patch.setattr(driving, "PAUSE", 0.05)
        return folder, run("search", "iris", "--budget", "400", "--seed", "1", "--plain")


@pytest.fixture
def folder(searched: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(searched[0])
    monkeypatch.setenv("COLUMNS", "120")
    return searched[0]


def best(folder: Path) -> int:
    return int(json.loads(run("front", "--json"))[0]["trial"])


def test_hundreds_of_networks_are_few_lines(searched):
    lines = searched[1].splitlines()
    assert "400 candidates in" in searched[1]
    assert any(re.search(r"\d+ candidates?, front of \d+; best error \d", line) for line in lines)
    assert not any(re.match(r" *[\d.]+ m?s  trial +\d+  complete", line) for line in lines)


def test_the_front_says_what_it_was_tested_on(searched, folder):
    assert re.search(r"The front: \d+ networks?, tested on the test samples\.", searched[1])
    assert "training seed" not in run("show", str(best(folder)))
    front = run("front", "--plain")
    assert front.splitlines()[2].count(" %") == 4, "error and resilience, each searched and tested"
    assert "± 0.000" not in front


def test_a_network_of_the_front_can_be_had_and_played(folder):
    trial = str(best(folder))
    assert "net.json" in run("export", trial, "--tennlab", "net.json")
    network = SpikingNetwork.from_tennlab(folder / "net.json")
    assert f"{network.size} neurons, {len(network.source)} synapse" in run("simulate", "net.json", "--plain")


def test_a_trial_is_played_at_its_task(folder):
    text = run("simulate", str(best(folder)), "--plain")
    assert re.search(r"^Iris: 10 inferences of 24 timesteps each, \d+ right$", text, re.M)
    found = json.loads(run("simulate", str(best(folder)), "--steps", "30", "--json"))
    assert found["steps"] == 48, "whole inferences"
    assert set(found["scores"]) <= {0.0, 1.0}
    assert found["given"] == []
    given = json.loads(run("simulate", str(best(folder)), "--spikes", "0@0", "--steps", "30", "--json"))
    assert (given["steps"], given["given"], given["task"]) == (30, [[0, 0, 1.0]], "")


def test_a_spiking_network_is_no_onnx_graph(folder):
    assert "write it with --tennlab or --nir" in run("export", "3", "--onnx", "x.onnx", code=2)
