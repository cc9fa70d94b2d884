"""What children of network morphisms begin with: that exact ones preserve the function."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo.nn.build import build
from vilfredo.nn.inherit import inherit, settle
from vilfredo.nn.train import checkpoint
from vilfredo.spaces.morph import EXACT, Morph

IMAGES = Morph(flatten=False, blocks=(1, 4), filters=(2, 3, 4, 6, 8), kernels=(1, 3, 5)).bind((2, 8, 6), 3)
DENSE = replace(IMAGES, blocks=(1, 2), dense=(1, 2), units=(3, 5, 8, 12))
FLATTENED = replace(DENSE, flatten=True, filters=(1, 2, 3), dense=(0, 1), units=(4, 12, 24, 100, 200))
TABLES = Morph(blocks=(1, 4), units=(2, 3, 4, 6, 8)).bind((5,), 2)
SPACES = {"images": IMAGES, "dense": DENSE, "flattened": FLATTENED, "tables": TABLES}
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


# -- approximate ones ---------------------------------------------------------------------------------


def gene(id, op, *inputs, **settings):
    return {"id": id, "op": op, "inputs": list(inputs), **settings}


def conv(id, source, filters, kernel=3):
    return gene(id, "conv", source, filters=filters, kernel=kernel, stride=1)


PLAIN = Morph(tune=False, flatten=False).bind((2, 8, 6), 3)
BLOCKS = {
    "layers": [
        conv(1, 0, 6), gene(2, "batch_norm", 1), gene(3, "relu", 2),
        conv(4, 3, 8), gene(5, "batch_norm", 4), gene(6, "relu", 5),
    ]
}  # fmt: skip


def edited(**changes):
    """BLOCKS with settings of genes changed: `_4={"filters": 3}`."""
    return {"layers": [{**g, **changes.get(f"_{g['id']}", {})} for g in BLOCKS["layers"]]}


def test_pruning_keeps_the_largest_filters():
    old = random_network(PLAIN.decode(BLOCKS), 1)
    with torch.no_grad():
        old.layers[3].weight[[0, 3, 7]] *= 100
        old.layers[4].running_var.fill_(1)
        old.layers[4].weight.fill_(1)
    model, found = heir(PLAIN, BLOCKS, edited(_4={"filters": 3}), checkpoint(old, 1))
    assert not found.exact
    assert torch.equal(model.layers[3].weight, old.layers[3].weight[[0, 3, 7]])
    assert torch.equal(model.layers[4].running_mean, old.layers[4].running_mean[[0, 3, 7]])
    assert torch.equal(model.layers[-1].weight, old.layers[-1].weight[:, [0, 3, 7]])


def test_batch_norm_counts_in_what_is_large():
    old = random_network(PLAIN.decode(BLOCKS), 1)
    with torch.no_grad():
        old.layers[3].weight.div_(old.layers[3].weight.flatten(1).norm(dim=1)[:, None, None, None])
        old.layers[4].weight.copy_(torch.tensor([1.0, -9, 1, 1, 9, 1, 1, 9]))
        old.layers[4].running_var.copy_(torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 1e6]))
    model, _ = heir(PLAIN, BLOCKS, edited(_4={"filters": 2}), checkpoint(old, 1))
    assert torch.equal(model.layers[3].weight, old.layers[3].weight[[1, 4]])


def test_a_separable_kernel_is_found_again():
    """Of a kernel that is one already nothing is lost; of others the best in the sense of least squares."""
    apart = [gene(9, "depthwise", 3, kernel=3, stride=1), conv(4, 9, 8, 1)]
    separated = {"layers": [*BLOCKS["layers"][:3], *apart, *BLOCKS["layers"][4:]]}
    old = random_network(PLAIN.decode(BLOCKS), 1)
    model, found = heir(PLAIN, BLOCKS, separated, checkpoint(old, 1))
    assert not found.exact
    dense = old.layers[3].weight.detach()
    made = (model.layers[4].weight * model.layers[3].weight[:, 0][None]).detach()
    for channel in range(6):
        spectrum = torch.linalg.svdvals(dense[:, channel].reshape(8, 9))
        lost = (dense[:, channel] - made[:, channel]).square().sum()
        assert float(lost) == pytest.approx(float(spectrum[1:].square().sum()), rel=1e-4)
    with torch.no_grad():
        old.layers[3].weight.copy_(torch.randn(8, 6, 1, 1) * torch.randn(1, 6, 3, 3))
    model, _ = heir(PLAIN, BLOCKS, separated, checkpoint(old, 1))
    x = inputs(PLAIN, 0)
    assert torch.allclose(outputs(model, x), outputs(old, x), atol=1e-4)


def test_a_removed_layer_is_passed_by():
    """One that is the identity may go without a loss; what is left keeps its weights."""
    longer = {"layers": [*BLOCKS["layers"], conv(7, 6, 8), gene(8, "batch_norm", 7), gene(9, "relu", 8)]}
    old = random_network(PLAIN.decode(longer), 1)
    with torch.no_grad():
        old.layers[6].weight.zero_()
        old.layers[6].weight[range(8), range(8), 1, 1] = 1
        norm = old.layers[7]
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.fill_(1)
        norm.bias.zero_()
    model, found = heir(PLAIN, longer, BLOCKS, checkpoint(old, 1))
    assert not found.exact
    x = inputs(PLAIN, 0)
    assert torch.allclose(outputs(model, x), outputs(old, x), atol=1e-5)


def test_most_of_what_is_changed_little_is_inherited():
    old = random_network(PLAIN.decode(BLOCKS), 1)
    assert heir(PLAIN, BLOCKS, BLOCKS, checkpoint(old, 1))[1].taken == 1.0
    assert heir(PLAIN, BLOCKS, edited(_4={"filters": 7}), checkpoint(old, 1))[1].taken > 0.8
    stranger = PLAIN.sample(np.random.default_rng(0))
    assert heir(PLAIN, BLOCKS, stranger, checkpoint(old, 1))[1].taken < 0.3


def test_inserted_batch_norms_are_the_identity_in_training_too():
    rng = np.random.default_rng(3)
    child = offspring(PLAIN, BLOCKS, "deepen", rng)
    old = random_network(PLAIN.decode(BLOCKS), 1)
    model, found = heir(PLAIN, BLOCKS, child, checkpoint(old, 1))
    x = inputs(PLAIN, 0)
    settle(model, found.norms, x)
    for module in (model, old):  # the parent's own batch norms stay as they are
        module.eval()
    for index in found.norms:
        model.layers[index].train()
    assert len(found.norms) == 1
    with torch.no_grad():  # nearly: what varies hardly at all is taken to vary a little
        assert torch.allclose(model(x), old(x), atol=0.02)


def test_weights_of_another_network_are_refused():
    arrays = checkpoint(random_network(PLAIN.decode(BLOCKS), 1), 1)
    with pytest.raises(
        ValueError, match=r"parent's layer 3 needs a weight of shape \(8, 6, 3, 3\), but it has"
    ):
        heir(PLAIN, BLOCKS, BLOCKS, {**arrays, "layers.3.weight": np.zeros((8, 5, 3, 3))})
    del arrays["layers.4.running_var"]
    with pytest.raises(ValueError, match=r"layer 4 needs a running_var of shape .*, but there is none"):
        heir(PLAIN, BLOCKS, BLOCKS, arrays)
