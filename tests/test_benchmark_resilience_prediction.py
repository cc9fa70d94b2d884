"""`benchmarks.resilience_prediction`: figures of made-up measurements, and the path from a genome to one."""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import resilience_measured, resilience_networks, resilience_prediction
from benchmarks.resilience_measured import FAULTS, SCHEMES, Measured


def made_up(count=30, noise=0.05):
    """Networks whose resilience follows from a gain after training, and less from their topology."""
    found = []
    for space in resilience_networks.SPACES:
        rng = np.random.default_rng(len(space))
        for number in range(count):
            topology, gain = rng.normal(size=2)
            for scheme in SCHEMES:
                latent = -3 + 0.5 * topology + gain + 0.3 * (scheme == "real")
                draws = latent + noise * rng.normal(size=3)
                ccr = (1 / (1 + np.exp(-draws))).tolist()
                known = {"a": topology, "b": float(rng.normal())}
                trained = {when: {"g": float(rng.normal())} for when in ("start", "first")}
                names = ("ccr_weights_0.001", "ccr_activations_0.001", "flip_activations", "flip_weights")
                last = {"g": gain, **dict.fromkeys(names, gain)}
                tried = ("ccr_activations_0.0003", "single_activations", "single_weights", names[0])
                probe = {"h": gain + noise * float(rng.normal()), **dict.fromkeys(tried, gain)}
                seconds = dict.fromkeys(("topology", "gains", *FAULTS), 1.0)
                found.append(
                    Measured(
                        space=space,
                        number=number,
                        scheme=scheme,
                        accuracy=0.8,
                        float_accuracy=0.81,
                        ccr=dict.fromkeys(FAULTS, tuple(ccr)),
                        features={"topology": known, **trained, "last": last, "probe": probe},
                        indices={"asi": topology, "adcr": -topology},
                        seconds=seconds,
                        elsewhere={"gains": last, "probe": probe},
                        again=dict.fromkeys(FAULTS, ccr[2]),
                    )
                )
    return found


@pytest.fixture(scope="module")
def figures():
    return resilience_prediction.figures(made_up())


def test_what_features_tell_is_found(figures):
    assert figures["spearman_median"] > 0.9
    assert figures["spearman_min"] > 0.8
    assert figures["topology_median"] < figures["spearman_median"] - 0.2
    assert figures["elsewhere_median"] > 0.9
    assert figures["again_median"] > 0.9
    assert 0.1 < figures["index.asi_median"] == pytest.approx(-figures["index.adcr_median"])
    assert figures["estimate_median"] > 0.7
    assert figures["tried_median"] > 0.7
    assert figures["last_median"] > 0.9
    assert figures["ridge_median"] > 0.8
    for name in ("spearman", "last"):
        assert figures[f"{name}_median_low"] < figures[f"{name}_median"] < figures[f"{name}_median_high"]
    assert 0.95 < figures["ceiling_median"] <= 1
    assert figures["learned.10"] < figures["learned.20"] + 0.1
    assert math.isnan(figures["learned.40"])


def test_keys(figures):
    for space in resilience_networks.SPACES:
        for scheme in SCHEMES:
            for fault in FAULTS:
                where = f"{space}.{scheme}.{fault}"
                kinds = (
                    "spearman",
                    "topology",
                    "start",
                    "first",
                    "last",
                    "ceiling",
                    "estimate",
                    "tried",
                    "ridge",
                )
                kinds += ("ccr", "index.asi")
                assert all(f"{kind}.{where}" in figures for kind in kinds)
    assert figures["networks.chain"] == 30
    assert figures["accuracy_lost.macro.real"] == pytest.approx(0.01)
    assert {"cpu.learn", "cpu.predict"} < set(figures)
    assert json.dumps(figures)


def test_architectures_are_left_out_with_their_twins():
    known = [m for m in made_up(count=20) if m.space == "chain"]
    asked = []
    for taught, held in resilience_prediction.folds(known):
        assert not {known[i].number for i in taught} & {known[i].number for i in held}
        assert len(taught) + len(held) == len(known)
        asked += held
    assert sorted(asked) == list(range(len(known)))


def test_genomes_are_different_networks_within_the_limits():
    for space in resilience_networks.SPACES:
        numbers = [
            number for number, place, genome in resilience_networks.genomes(space, 12, (1, 28, 28), 10)
        ]
        assert len(set(numbers)) == 12


def test_from_genome_to_measurement(tmp_path, monkeypatch):
    if not (Path(os.environ.get("VILFREDO_DATA", "")) / "fashion_mnist").is_dir():
        pytest.skip("Fashion-MNIST is not in $VILFREDO_DATA")
    monkeypatch.setattr(resilience_networks, "EPOCHS", 2)
    monkeypatch.setattr(resilience_networks, "MACS", 200_000)
    few = {"single_activation": (1,) * 8, "single_weight": (2,) * 8}
    monkeypatch.setattr(resilience_measured, "COPIES", {"weights_1e-3": 2, "activations_3e-4": 2})
    monkeypatch.setattr(resilience_measured, "DRAWS", few)
    load = resilience_networks.fashion_mnist.load
    sizes = {"train_size": 400, "validation_size": 200, "test_size": 10}
    monkeypatch.setattr(resilience_networks.fashion_mnist, "load", lambda **_: load(**sizes))
    monkeypatch.setattr(resilience_prediction, "LARGEST", 1.0)
    monkeypatch.setattr(resilience_prediction, "TIMED", 1)
    known, dropped = resilience_prediction.gathered(1, tmp_path)
    assert dropped == {"chain": 0, "macro": 0}
    assert {(m.space, m.scheme) for m in known} == {(p, s) for p in ("chain", "macro") for s in SCHEMES}
    for one in known:
        assert set(one.ccr) == set(FAULTS)
        assert all(0 <= share <= 1 for shares in one.ccr.values() for share in shares)
        values = [v for row in one.features.values() for v in row.values()]
        assert all(math.isfinite(v) for v in values)
        assert set(one.features) == {"topology", "start", "first", "last", "probe"}
        assert set(one.elsewhere["probe"]) == set(one.features["probe"])
        assert one.elsewhere["probe"] != one.features["probe"]
        assert set(one.again) == set(FAULTS)
    assert set(resilience_prediction.costs(tmp_path)) == {f"cpu.{p}" for p in ("gains", "probe", *FAULTS)}
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again, _ = resilience_prediction.gathered(1, tmp_path)
    assert again == known
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
