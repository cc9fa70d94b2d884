"""What children of network morphisms begin with: that exact ones preserve the function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo.nn.build import build
from vilfredo.nn.inherit import inherit, settle
from vilfredo.nn.train import checkpoint
from vilfredo.spaces.morph import EXACT, Morph

IMAGES = Morph(blocks=(1, 4), filters=(2, 3, 4, 6, 8), kernels=(1, 3, 5)).bind((2, 8, 6), 3)
TABLES = Morph(blocks=(1, 4), filters=(2, 3, 4, 6, 8)).bind((5,), 2)
SPACES = {"images": IMAGES, "tables": TABLES}
TOLERANCE = 1e-5


def random_network(design, seed):
    """A network in evaluation mode whose every number is random, batch norms' as well."""
    torch.manual_seed(seed)
    model = build(design.architecture, seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                module.weight.normal_()
                module.bias.normal_()
            elif getattr(module, "bias", None) is not None:
                module.bias.normal_()
    return model.eval()


def outputs(model, x):
    with torch.inference_mode():
        return model(x)


def inputs(space, seed):
    return torch.randn(16, *space.input, generator=torch.Generator().manual_seed(seed))


def offspring(space, genome, op, rng):
    """A child by this morphism, None if there is none."""
    from dataclasses import replace

    child = replace(space, morphisms=(op,), tune=False).mutate({"layers": genome["layers"]}, rng)
    if child["layers"] == list(genome["layers"]):
        return None
    return {**genome, **child}


def grown(space, rng, steps=6):
    """A network that has been changed some times, so that it is more than a chain."""
    genome = space.sample(rng)
    for _ in range(int(rng.integers(steps + 1))):
        genome = space.mutate(genome, rng)
    return genome


def heir(space, parent, child, weights, seed=1):
    before, after = space.decode(parent), space.decode(child)
    model = build(after.architecture, seed).eval()
    return model, inherit(model, after, before, weights)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("op", EXACT)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_morphisms_preserve_the_function(kind, op, seed):
    space, rng = SPACES[kind], np.random.default_rng(seed)
    parent = grown(space, rng)
    child = offspring(space, parent, op, rng)
    if child is None:
        return
    old = random_network(space.decode(parent), seed % 1000)
    model, found = heir(space, parent, child, checkpoint(old, 1))
    x = inputs(space, 0)
    expected = outputs(old, x)
    assert found.exact, (op, parent, child)
    scale = max(1.0, float(expected.abs().max()))
    assert torch.allclose(outputs(model, x), expected, rtol=0, atol=TOLERANCE * scale)
    settle(model, found.norms, x)
    assert torch.allclose(outputs(model, x), expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("kind", SPACES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_exact_is_said_of_nothing_else(kind, seed):
    """Chains of any changes, with and without weights handed on in between: where it says exact, it is."""
    space, rng = SPACES[kind], np.random.default_rng(seed)
    parent = grown(space, rng, 3)
    child = parent
    for _ in range(int(rng.integers(1, 6))):
        child = space.mutate(child, rng)
    old = random_network(space.decode(parent), seed % 1000)
    model, found = heir(space, parent, child, checkpoint(old, 1))
    x = inputs(space, 0)
    if found.exact:
        expected = outputs(old, x)
        scale = max(1.0, float(expected.abs().max()))
        assert torch.allclose(outputs(model, x), expected, rtol=0, atol=TOLERANCE * scale)
    assert torch.isfinite(outputs(model, x)).all()


@pytest.mark.parametrize("kind", SPACES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_chains_of_morphisms_preserve_the_function(kind, seed):
    """At once, and with weights handed on from each to the next."""
    space, rng = SPACES[kind], np.random.default_rng(seed)
    first = parent = grown(space, rng, 3)
    model = start = random_network(space.decode(parent), seed % 1000)
    for _ in range(5):
        child = offspring(space, parent, EXACT[int(rng.integers(len(EXACT)))], rng)
        if child is not None:
            model, found = heir(space, parent, child, checkpoint(model, 1))
            assert found.exact
            parent = child
    x = inputs(space, 0)
    expected = outputs(start, x)
    scale = max(1.0, float(expected.abs().max()))
    assert torch.allclose(outputs(model, x), expected, rtol=0, atol=TOLERANCE * scale)
    at_once, found = heir(space, first, parent, checkpoint(start, 1))
    assert found.exact
    assert torch.allclose(outputs(at_once, x), expected, rtol=0, atol=TOLERANCE * scale)
