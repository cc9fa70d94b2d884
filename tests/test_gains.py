"""Gains of deployed networks: exact where networks are linear, finite everywhere."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from deployed_networks import network
from vilfredo.campaign.injection import Hit, Injection
from vilfredo.campaign.plain import plain
from vilfredo.codes import Codes
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.nn.deployed import Deployed, Step, run
from vilfredo.nn.gains import gains, sensitivities

CODES = Codes(-128, 127, 8)
WIDE = Codes(-(2**20), 2**20 - 1, 21)


def straight(seed: int, pool: bool = True) -> tuple[Deployed, torch.Tensor]:
    """A convolution, a max pool and a dense layer without any rounding or clamping."""
    rng = np.random.default_rng(seed)

    def whole(*shape: int, top: int = 6) -> torch.Tensor:
        return torch.from_numpy(rng.integers(-top, top + 1, shape)).float()

    window = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1]}
    conv = {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    steps = [
        Step("conv", "conv", (-1,), (3, 6, 6), WIDE, conv, (2,), whole(3, 2, 3, 3), whole(3), CODES),
        Step("pool", "max_pool", (0,), (3, 3, 3), WIDE, window)
        if pool
        else Step("flat", "flatten", (0,), (108,), WIDE),
    ]
    if pool:
        steps.append(Step("flat", "flatten", (1,), (27,), WIDE))
    dense = whole(4, 27 if pool else 108)
    steps.append(Step("dense", "dense", (len(steps) - 1,), (4,), WIDE, {}, (0,), dense, whole(4), CODES))
    return Deployed(tuple(steps), (2, 6, 6), CODES, 1.0, 2), whole(4, 2, 6, 6, top=9)


def exact(net: Deployed, x: torch.Tensor, site: str) -> np.ndarray:
    """By image, the share of single flips that change the class, each tried by itself."""
    golden = run(net, x)[-1].argmax(1)
    flip = BitFlip(rate=0.0, site=site)
    changed, count = np.zeros(len(x)), 0
    for number, step in enumerate(net.steps):
        codes = step.codes if site == "activations" else step.weight_codes
        if codes is None or (site == "activations" and step.op == "flatten"):
            continue
        size = math.prod(step.shape) if site == "activations" else step.weight.numel()
        for index in range(size):
            for bit in range(codes.bits):
                hit = Hit(flip, number, site, np.array([index]), np.array([1 << bit]))
                changed += (plain(net, x, Injection((hit,))).argmax(1) != golden).numpy()
                count += 1
    return changed / count


@pytest.mark.parametrize("pool", [True, False])
def test_single_flips_of_a_linear_network(pool: bool) -> None:
    net, x = straight(1 if pool else 2, pool)
    weights, activations, _, _ = sensitivities(net, x, rivals=3)
    # Ties of margin and change go either way.
    np.testing.assert_allclose(activations.fatal, exact(net, x, "activations"), atol=0.004)
    if not pool:  # a weight's flip changes many pixels, and which is the greatest of a window
        np.testing.assert_allclose(weights.fatal, exact(net, x, "weights"), atol=0.004)
    held = 108 + (27 if pool else 0) + 4
    assert activations.count == 21 * held
    assert weights.count == 8 * sum(s.weight.numel() for s in net.steps if s.weight is not None)


@pytest.mark.parametrize("form", ["whole", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(6))
def test_all_is_finite(form: str, seed: int) -> None:
    for scheme in ("real", "power_of_two_tensor"):
        net, x = network(seed, form, scheme)
        before = [None if s.weight is None else s.weight.clone() for s in net.steps]
        found = gains(net, x)
        assert all(type(v) is float and math.isfinite(v) for v in found.values()), found
        assert found == gains(net, x), "not the same again"
        for step, weight in zip(net.steps, before, strict=True):
            assert weight is None or torch.equal(step.weight, weight)


def test_names_are_the_same_for_all() -> None:
    names = [set(gains(*network(seed, "whole", "real"))) for seed in range(4)]
    assert all(n == names[0] for n in names)


def test_more_errors_change_more() -> None:
    net, x = straight(3)
    for of in sensitivities(net, x)[:2]:
        shares = [of.ccr[rate] for rate in sorted(of.ccr)]
        assert shares == sorted(shares)
        assert shares[-1] > 0


def test_a_larger_lead_is_safer() -> None:
    net, x = straight(4, pool=False)
    last = net.steps[-1]
    safe = replace(last, bias=last.bias + torch.tensor([100_000.0, 0, 0, 0]))
    safer = replace(net, steps=(*net.steps[:-1], safe))
    one, two = gains(net, x), gains(safer, x)
    assert two["margin"] > one["margin"]
    for name in ("flip_weights", "noise_weights_50", "noise_activations_50"):
        assert two[name] < one[name]
