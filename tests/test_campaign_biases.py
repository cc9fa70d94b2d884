"""Faulty biases: a constant more in a channel's sums, exact to the bit, alone and beside other faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from campaign_cases import images, small
from test_laws_engine import FAULTS, compared, drawn, network
from vilfredo.campaign import critical
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.hits import place
from vilfredo.campaign.injection import Hit, Injection
from vilfredo.campaign.plain import plain
from vilfredo.campaign.run import Campaign, finish
from vilfredo.campaign.sites import places, sites, strata
from vilfredo.codes import span
from vilfredo.faults.bit_flip import BitFlip

KINDS = [kind for kind in FAULTS if kind != "dead"]


def injections(net: Any, rng: np.random.Generator, others: bool) -> list[Injection]:
    found = []
    for kind in KINDS:
        hits = [drawn(net, rng, kind, "biases", "one", bool(rng.random() < 0.4))]
        hits += [drawn(net, rng, kind, "biases", "few", bool(rng.random() < 0.4))]
        if others:
            for site in ("weights", "accumulators", "activations"):
                if rng.random() < 0.6:
                    hits.append(drawn(net, rng, kind, site, "one", bool(rng.random() < 0.4)))
        found.append(Injection(tuple(hit for hit in hits if hit is not None)))
    return found


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_whole_numbers_are_those_of_a_plain_run(seed: int, others: bool) -> None:
    net, x = network(seed, "whole", ["real", "power_of_two"][seed % 2], seed % 5)
    compared(net, x, injections(net, np.random.default_rng(seed), others), 1 << 30, None)


@pytest.mark.parametrize(("form", "close"), [("float32", (1e-3, 1e-3)), ("float16", (0.02, 0.02))])
@pytest.mark.parametrize("seed", range(3))
def test_floats_are_close_to_a_plain_run(form: str, close: tuple[float, float], seed: int) -> None:
    net, x = network(seed, form, "real", seed + 1)
    compared(net, x, injections(net, np.random.default_rng(seed), seed > 0), 1 << 30, close)


def test_a_plain_run_adds_what_the_bias_has_more() -> None:
    """Checked by hand: the logits of a dense layer are its sums with 2^b more or less, rounded."""
    net = small(2)
    x = images(net)
    last = len(net.steps) - 1
    step = net.steps[last]
    shape, codes = place(net, last, "biases")
    assert shape == (4,)
    assert codes == step.accumulator
    before = int(step.bias[1])
    hit = Hit(BitFlip(0.1), last, "biases", np.array([1]), np.array([1 << 10]))
    after = int(((before % 2**20) ^ 1 << 10) - (2**20 if (before % 2**20) ^ 1 << 10 >= 2**19 else 0))
    stored = Engine(net, x)._golden.codes(last - 1)
    sums = stored.double() @ step.weight.double().T + step.bias.double()
    sums[:, 1] += after - before
    assert torch.equal(plain(net, x, Injection((hit,))), step.finish(sums))


def test_they_are_a_site_of_campaigns() -> None:
    net = small(2)
    x = images(net)
    assert "biases" in sites(net)
    assert [(p.name, p.shape) for p in places(net, "biases")] == [("conv", (3,)), ("fc", (4,))]
    flips = BitFlip(0.1, "biases")
    population = strata(net, flips)
    assert sum(s.size for s in population) == 7 * 20
    assert span(population[0].codes) == (-(2**19), 2**19 - 1)
    engine = Engine(net, x)
    labels = engine.classes.numpy()
    results = finish(engine, labels, Campaign(flips))
    assert results.exhaustive
    assert 0 < results.intervals["critical"].value < 1
    found = critical.worst(engine, x, labels, flips, 3, 40)
    best = results.records["changed"].max() / len(x)
    assert found.faults[0].ccr == best
    border = critical.boundaries(engine, x, flips, critical.elements(net, flips))
    truth = critical.exhaustive(engine, x, flips, critical.elements(net, flips))
    assert critical.compared(border, truth).recall > 0.9


def test_a_network_without_biases_has_no_such_site() -> None:
    from dataclasses import replace

    net = small(2)
    net = replace(net, steps=tuple(replace(step, bias=None) for step in net.steps))
    assert "biases" not in sites(net)
    with pytest.raises(ValueError, match="this network has no biases; faults can be in weights"):
        places(net, "biases")
