"""Networks deployed in floating point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from user_networks import FAMILIES, Anything, settled
from vilfredo.codes import floats, patterns, values
from vilfredo.nn.deployed import Rounded, round_to, run
from vilfredo.nn.floating import floating
from vilfredo.nn.graph import trace
from vilfredo.nn.quality import quality
from vilfredo.nn.simulation import simulation

NOISE = {"float32": 100.0, "float16": 50.0, "bfloat16": 30.0}  # dB of signal to noise at least


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("form", NOISE)
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_networks(name: str, form: str) -> None:
    model = settled(FAMILIES[name](), 1)
    x = torch.randn(8, 3, 8, 8)
    network = floating(model, form, x)
    assert network.form == form
    assert network.dtype == torch.float32
    assert quality(network, model, x)[-1].sqnr > NOISE[form]
    for step, codes in zip(network.steps, run(network, network.encode(x)), strict=True):
        assert codes.shape[1:] == step.shape
        assert torch.equal(codes, round_to(codes, form))
        assert step.codes == floats(form)
        for held in (step.weight, step.bias):
            assert held is None or torch.equal(held, round_to(held, form))


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    model = settled(Anything(seed), seed)
    x = torch.randn(4, 3, 8, 8)
    network = floating(trace(model, (3, 8, 8)))
    codes = network.encode(x)
    with torch.no_grad():
        assert torch.allclose(network.decode(run(network, codes)[-1]).float(), model(x), atol=1e-3, rtol=1e-3)
        assert torch.allclose(simulation(network, torch.float32)(codes), run(network, codes)[-1], atol=1e-4)


@pytest.mark.parametrize("form", NOISE)
def test_codes_survive_their_bits(form: str) -> None:
    network = floating(settled(FAMILIES["resnet"]()), form, shape=(3, 8, 8))
    weight = network.steps[0].weight.double().numpy()
    codes = network.steps[0].weight_codes
    assert np.array_equal(values(patterns(weight, codes), codes), weight)


def test_clipping_restricts_to_what_was_seen() -> None:
    model = settled(FAMILIES["mobilenet"]())
    x = torch.randn(8, 3, 8, 8)
    plain, clipped = floating(model, "float32", x), floating(model, "float32", x, clip=True)
    before, after = (run(n, n.encode(x)) for n in (plain, clipped))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(before, after, strict=True))
    wild = clipped.steps[0].finish(torch.tensor([[[[1e30]], [[-1e30]], [[0.0]], [[torch.nan]]]]))
    assert wild[0, 0].item() == pytest.approx(float(before[0].max()))
    assert wild[0, 1].item() == 0
    assert wild[0, 3].isnan()
    assert clipped.steps[-1].finish.high == torch.inf


def test_rounding_to_a_format() -> None:
    finish = Rounded("leaky_relu", -1.0, 600.0, "bfloat16", {"negative_slope": 0.5})
    assert finish(torch.tensor([257.0, 700.0, -1.0, -9.0, 1.00390625])).tolist() == [256, 600, -0.5, -1, 1]


def test_what_does_not_fit() -> None:
    model = settled(FAMILIES["resnet"]())
    with pytest.raises(ValueError, match="form is 'float8'; it must be float32 or float16 or bfloat16"):
        floating(model, "float8", shape=(3, 8, 8))
    with pytest.raises(ValueError, match="give samples or shape"):
        floating(model)
    with pytest.raises(ValueError, match=r"clip restricts .*; give samples"):
        floating(model, clip=True, shape=(3, 8, 8))
    with pytest.raises(ValueError, match="this network takes"):
        floating(trace(model, (3, 8, 8)), samples=torch.zeros(1, 3, 4, 4))
    wide = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
    wide[0].weight.data[:] = 1e5
    with pytest.raises(
        ValueError, match="0 has weights beyond the range of float16; take bfloat16 or float32"
    ):
        floating(wide, "float16", shape=(1, 2, 2))
    assert floating(wide, "bfloat16", shape=(1, 2, 2)).steps[0].weight.item() == pytest.approx(1e5, rel=0.01)
