"""The probe: all flips tried are the exhaustive expectation, of a sample each flip stands for its like."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deployed_networks import network
from test_gains import straight
from vilfredo.campaign import sites
from vilfredo.campaign.injection import Hit, Injection
from vilfredo.campaign.plain import plain
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.nn import probe as probing
from vilfredo.nn.deployed import Deployed, run
from vilfredo.nn.probe import Flips, of_activations, of_weights, probe, together

ALL = 10**9


def changed(flips: Flips) -> np.ndarray:
    """By flip, the share of images whose class changes."""
    before = flips.outputs if flips.image is None else flips.outputs[flips.image]
    other = (before + flips.moved).argmax(-1) != before.argmax(-1)
    return other.reshape(len(flips.stands), -1).mean(1)


def exhaustive(net: Deployed, x: torch.Tensor, site: str) -> tuple[float, int]:
    """The share of single flips that change the class, each tried by itself, and how many bits there are."""
    golden = run(net, x)[-1].argmax(1)
    fault = BitFlip(rate=0.0, site=site)  # type: ignore[arg-type]
    total, bad = 0, 0.0
    for stratum in sites.strata(net, fault):
        total += stratum.size
        index, mask = np.arange(stratum.size), np.full(stratum.size, 1 << stratum.bit)
        if site == "activations":  # a row of its own for each flip
            hit = Hit(fault, stratum.step, site, index, mask, index)
            for image, own in zip(x, golden, strict=True):
                many = image.expand(stratum.size, *image.shape)
                bad += float((plain(net, many, Injection((hit,))).argmax(1) != own).float().sum()) / len(x)
            continue
        for one in index:
            hit = Hit(fault, stratum.step, site, index[one : one + 1], mask[:1])
            bad += float((plain(net, x, Injection((hit,))).argmax(1) != golden).float().mean())
    return bad / total, total


@pytest.mark.parametrize(("site", "seed"), [*(("activations", s) for s in (0, 1, 3)), ("weights", 1)])
def test_a_probe_of_all_bits_is_the_exhaustive_expectation(site: str, seed: int) -> None:
    net, x = network(seed, "whole", ("real", "power_of_two_tensor")[seed % 2]) if seed else straight(3)
    x = x[:2]
    tries = of_activations if site == "activations" else of_weights
    flips = tries(net, x, ALL, np.random.default_rng(0))
    share, bits = exhaustive(net, x, site)
    assert flips.stands.sum() == pytest.approx(bits)
    assert len(flips.stands) == bits * (len(x) if site == "activations" else 1)
    assert float(changed(flips) @ flips.stands) / bits == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("site", ["activations", "weights"])
def test_a_sample_stands_for_all(site: str) -> None:
    net, x = straight(3)
    x = x[:2]
    tries = of_activations if site == "activations" else of_weights
    whole = tries(net, x, ALL, np.random.default_rng(0))
    truth = float(changed(whole) @ whole.stands / whole.stands.sum())
    count = len(whole.stands) // 8
    shares = []
    for seed in range(12):
        some = tries(net, x, count, np.random.default_rng(seed))
        assert some.stands.sum() == pytest.approx(whole.stands.sum())
        assert len(some.stands) < 2 * count
        shares.append(float(changed(some) @ some.stands / some.stands.sum()))
    error = np.std(shares) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - truth) < 4 * error
    assert np.std(shares) < truth  # so that the test says something


def test_in_a_linear_network_flips_add_up() -> None:
    net, x = straight(2, pool=False)
    flips = of_weights(net, x, ALL, np.random.default_rng(0))
    rate = 1e-3
    fault, rng, golden = BitFlip(rate=rate), np.random.default_rng(1), run(net, x)[-1].argmax(1)
    faulty = [plain(net, x, sites.drawn(net, [fault], rng, len(x))).argmax(1) != golden for _ in range(200)]
    measured = float(torch.stack(faulty).float().mean())
    assert 0.02 < measured < 0.98
    assert together(flips, rate, 1000, np.random.default_rng(2)) == pytest.approx(measured, abs=0.06)


def test_rare_errors_are_single_ones() -> None:
    net, x = straight(3)
    flips = of_activations(net, x[:1], ALL, np.random.default_rng(0))
    rate = 0.1 / flips.stands.sum()
    hit = 0.1 * float(changed(flips) @ flips.stands / flips.stands.sum())
    assert together(flips, rate, 4000, np.random.default_rng(0)) == pytest.approx(hit, rel=0.5)
    assert hit > 0.005


def test_more_errors_change_more_and_none_nothing() -> None:
    net, x = network(2, "whole", "real")
    for flips in (
        of_activations(net, x, 500, np.random.default_rng(0)),
        of_weights(net, x, 100, np.random.default_rng(0)),
    ):
        shares = [together(flips, rate, 200, np.random.default_rng(0)) for rate in (0.0, 1e-4, 1e-3, 1e-2)]
        assert shares[0] == 0
        assert shares == sorted(shares)
        assert shares[-1] > 0


@pytest.mark.parametrize("form", ["whole", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(4))
def test_all_is_finite_and_the_same_again(form: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ACTIVATIONS", 300)
    monkeypatch.setattr(probing, "WEIGHTS", 30)
    net, x = network(seed, form, "real")
    before = [None if s.weight is None else s.weight.clone() for s in net.steps]
    found = probe(net, x)
    assert all(type(v) is float and math.isfinite(v) for v in found.values()), found
    assert found == probe(net, x)
    assert set(found) == set(probe(*network(seed + 1, form, "real")))
    for step, weight in zip(net.steps, before, strict=True):
        assert weight is None or torch.equal(step.weight, weight)


def test_features_say_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ACTIVATIONS", ALL)
    monkeypatch.setattr(probing, "WEIGHTS", ALL)
    net, x = straight(3)
    found = probe(net, x)
    for site in ("activations", "weights"):
        share, _ = exhaustive(net, x, site)
        assert math.exp(found[f"single_{site}"]) - probing.RARE == pytest.approx(share)
        assert found[f"single_{site}"] <= found[f"half_{site}"]
        assert found[f"single_{site}"] <= found[f"lost_{site}"]
        assert found[f"ccr_{site}_0.0001"] <= found[f"ccr_{site}_0.001"]
