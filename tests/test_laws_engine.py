"""What the engine says of any fault in any network is what a plain run of the faulty network gives.

Whole-number networks: every code, bit for bit. Floats are added up in another order, so their codes are
close, and their classes equal unless two outputs are.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployed_networks import IMAGES, network
from user_networks import FAMILIES, Anything, settled
from vilfredo.campaign import bytewise, kernels, spread
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.hits import faulty, place
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.campaign.plain import plain
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.burst import Burst
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.lognormal import Lognormal
from vilfredo.faults.stuck import Stuck
from vilfredo.faults.stuck_bit import StuckBit
from vilfredo.nn.deployed import sums
from vilfredo.nn.quantize import Scheme, quantize

FAULTS = {  # file: faults at a site
    "bit_flip": lambda site: [BitFlip(0.02, site), BitFlip(site=site, count=1)],
    "burst": lambda site: [Burst(0.05, 3, site)],
    "gaussian": lambda site: [Gaussian(0.2, site), Gaussian(3.0, site, relative=False)],
    "lognormal": lambda site: [Lognormal(0.3, site)],
    "stuck": lambda site: [Stuck(0.1, at, site=site) for at in ("zero", "max", "min")],
    "stuck_bit": lambda site: [StuckBit(0.05, at, site) for at in (0, 1)],
    "dead": lambda site: [Dead(0.2), Dead(0.3, "channels")],
}
SITES = ("weights", "biases", "activations", "accumulators", "inputs", "neurons")
SHARE = {"one": 0, "few": 3, "many": 10**9}
WAYS = {
    "quickest": {},
    "entries": {"_DENSE_MAC": 1e9, "_PACKED_MAC": 1e9, "_SPARSE": 1.0, "_BUFFER": 1, "_BLOCK": 1},
    "rows": {
        "_ENTRY_SUM": 1e9,
        "_HIT_SUM": 1e9,
        "_ENTRY_MAXIMUM": 1e9,
        "_SPARSE": 0.0,
        "_BLOCK": 1,
    },
    "apart": {"_APART": 1, "_BLOCK": 1},
    "entries of whole rows": {"_DENSE_MAC": 1e9, "_PACKED_MAC": 1e9, "_SPARSE": 0.0},
}


def drawn(net, rng, kind, site, amount, transient):
    """A hit of this kind, or None where the network has no such place."""
    faults = FAULTS[kind](site) if (kind == "dead") == (site == "neurons") else []
    if not faults:
        return None
    fault = faults[rng.integers(len(faults))]
    steps = [INPUT] if site == "inputs" else range(-1 if site == "neurons" else 0, len(net.steps))
    steps = [s for s in steps if possible(net, s, site)]
    if not steps:
        return None
    step = int(rng.choice(steps))
    shape, codes = place(net, step, site)
    parts, image = [], []
    for i in range(IMAGES) if transient else [0]:
        hits = fault.draw(shape, codes, rng)
        keep = rng.permutation(len(hits.index))[: max(1, SHARE[amount])]
        if amount == "one" and i != IMAGES - 1 and rng.random() < 0.5:
            keep = keep[:0]
        parts.append((hits.index[keep], hits.detail[keep]))
        image.append(np.full(len(keep), i))
    index = np.concatenate([p[0] for p in parts])
    detail = np.concatenate([p[1] for p in parts])
    return Hit(fault, step, site, index, detail, np.concatenate(image) if transient else None)


def possible(net, step, site):
    try:
        return bool(place(net, step, site))
    except ValueError:
        return False


def injections(net, rng, count):
    found = []
    for _ in range(count):
        hits = []
        for _ in range(int(rng.choice([0, 1, 1, 1, 2, 4]))):
            kind, site = str(rng.choice(list(FAULTS))), str(rng.choice(SITES))
            if rng.random() < 0.15:
                kind, site = "dead", "neurons"
            amount = str(rng.choice(list(SHARE)))
            hit = drawn(net, rng, kind, site, amount, bool(rng.random() < 0.4))
            hits += [hit] if hit is not None else []
        found.append(Injection(tuple(hits)))
    return found


def moderate(net, x, injection):
    """Whether no number is so great that sums may overflow, or not, with the order of their terms. (What is
    infinite or not a number for sure is in test_engine.)"""
    greatest = []

    def watched(step, arriving):
        total = sums(step, arriving)
        greatest.extend(t.abs().max().nan_to_num(nan=math.inf) for t in (total, *arriving))
        greatest.extend([] if step.weight is None else [step.weight.abs().max().nan_to_num(nan=math.inf)])
        return total

    def held(*arguments):
        value = faulty(*arguments)
        greatest.extend(np.nan_to_num(np.abs(value), nan=math.inf).tolist())
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vilfredo.campaign.plain.sums", watched)
        patch.setattr("vilfredo.campaign.plain.faulty", held)
        plain(net, x, injection)
    return max(greatest) < 1e15


def compared(net, x, found, memory, close):
    engine = Engine(net, x, memory=memory)
    outputs = list(engine.outputs(found))
    classes = engine.classes_under(found)
    assert len(outputs) == len(found)
    assert classes.shape == (len(found), len(x))
    assert classes.dtype == np.int64
    for injection, output, row in zip(found, outputs, classes, strict=True):
        expected = plain(net, x, injection)
        assert output.dtype == expected.dtype
        if not close:
            assert torch.equal(output, expected), injection
            assert np.array_equal(row, expected.argmax(1).numpy())
            continue
        if not moderate(net, x, injection):
            continue
        assert torch.equal(output.isnan(), expected.isnan())
        assert torch.allclose(output, expected, *close, equal_nan=True), injection
        best = expected.nan_to_num(nan=0.0).topk(2, 1).values
        sure = ~expected.isnan().any(1) & (best[:, 0] - best[:, 1] > close[0] * best[:, 0].abs() + close[1])
        nan = expected.isnan().any(1)
        assert np.array_equal(row[sure | nan], expected.argmax(1).numpy()[sure | nan])


@pytest.mark.parametrize("scheme", ["real", "power_of_two", "power_of_two_tensor"])
@given(
    seed=st.integers(0, 2**32 - 1),
    blocks=st.integers(0, 6),
    memory=st.sampled_from([1, 1 << 30]),
    way=st.sampled_from(list(WAYS)),
    quick=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whole_numbers_are_those_of_a_plain_run_bit_for_bit(scheme, seed, blocks, memory, way, quick):
    """Also where the engine is made to take one way, which its guess of the time would not, and whatever
    this processor has for products of bytes."""
    net, x = network(seed, "whole", scheme, blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bytewise, "quick", quick and bytewise.compiled)
        for name, value in WAYS[way].items():
            patch.setattr(spread, name, value)
        compared(net, x, injections(net, np.random.default_rng(seed), 8), memory, None)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_they_are_without_numba_too(seed):
    net, x = network(seed, "whole", "real", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "compiled", False)
        patch.setattr(bytewise, "quick", False)
        compared(net, x, injections(net, np.random.default_rng(seed), 6), 1 << 30, None)


@pytest.mark.parametrize(
    ("form", "close"), [("float32", (1e-3, 1e-3)), ("bfloat16", (0.1, 0.1)), ("float16", (0.02, 0.02))]
)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(0, 6))
@settings(max_examples=30, deadline=None)
def test_floats_are_close_to_a_plain_run(form, close, seed, blocks):
    net, x = network(seed, form, "real", blocks)
    compared(net, x, injections(net, np.random.default_rng(seed), 8), 1 << 30, close)


SCHEMES = {
    "power of two": Scheme(8, 8),
    "real, a scale a tensor, clipped": Scheme(8, 8, "real", "tensor", clip=True),
    "6 and 10 bits": Scheme(6, 10, "real"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_networks_that_are_quantised_keep_the_law(family, scheme):
    """Not made by hand but traced, folded and calibrated, of every family that tracing is tested on."""
    x = torch.randn(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    net = quantize(settled(FAMILIES[family](), 1), x, SCHEMES[scheme])
    rng = np.random.default_rng([len(family), len(scheme)])
    compared(net, net.encode(x), injections(net, rng, 6), 1 << 30, None)


@given(seed=st.integers(0, 10_000), scheme=st.sampled_from(sorted(SCHEMES)))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_that_are_quantised_keep_the_law(seed, scheme):
    x = torch.randn(IMAGES, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    net = quantize(settled(Anything(seed, size=6, depth=8), seed), x, SCHEMES[scheme])
    compared(net, net.encode(x), injections(net, np.random.default_rng(seed), 6), 1 << 30, None)
