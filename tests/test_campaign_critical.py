"""Critical bits by halving and the worst faults by few injections, each against every fault tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from campaign_cases import answers, images, small
from vilfredo.campaign import critical
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.injection import Runs
from vilfredo.campaign.run import Campaign, finish
from vilfredo.data.digits import load
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.stuck_bit import StuckBit
from vilfredo.nn.floating import floating
from vilfredo.nn.quantize import Scheme, quantize

RANDOM = small(2)
X = images(RANDOM)
FLIP = BitFlip(0.1)


class Counted:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.asked = engine, 0
        self.network, self.golden, self.classes = engine.network, engine.golden, engine.classes

    def classes_under(self, injections: Any) -> Any:
        self.asked += len(injections)
        return self.engine.classes_under(injections)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor, Any]:
    """A small CNN that reads digits, calibration samples, 64 test images and their labels."""
    data = load()
    torch.manual_seed(0)

    def inputs(part: Any) -> torch.Tensor:
        x = torch.from_numpy(np.asarray(part.x)).float().reshape(-1, 1, 8, 8)
        return (x - x.mean()) / x.std()

    x, y = inputs(data.train), torch.from_numpy(np.asarray(data.train.y)).long()
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(4):
        for i in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[i]), y[i]).backward()
            optimizer.step()
    return model.eval(), x[:100], inputs(data.test)[:64], np.asarray(data.test.y)[:64]


@pytest.fixture(scope="module")
def whole(trained: Any) -> tuple[Engine, torch.Tensor, Any]:
    model, samples, test, labels = trained
    network = quantize(model, samples, Scheme(8, 8))
    x = network.encode(test)
    engine = Engine(network, x)
    assert (np.asarray(engine.classes) == labels).mean() > 0.8
    return engine, x, labels


# -- the border -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [FLIP, StuckBit(0.1, 1)])
def test_borders_of_weights_are_those_of_all_faults_tried(whole: Any, fault: Any) -> None:
    engine, x, _ = whole
    among = critical.elements(engine.network, fault, 150)
    counted = Counted(engine)
    found = critical.boundaries(counted, x, fault, among)
    truth = critical.exhaustive(engine, x, fault, among)
    assert counted.asked == found.injections
    assert found.faults == truth.faults == truth.injections
    assert len(truth.critical) > 5
    compared = critical.compared(found, truth)
    assert compared.recall >= 0.95
    assert compared.precision >= 0.95
    assert compared.effort == found.injections / truth.injections < 0.7


@pytest.mark.parametrize("site", ["activations", "accumulators", "inputs"])
def test_borders_of_what_each_image_has_of_its_own(whole: Any, site: Any) -> None:
    engine, x, _ = whole
    fault = BitFlip(0.1, site)
    among = critical.elements(engine.network, fault, 200, images=len(x))
    assert len({e.image for e in among}) > 40
    found = critical.boundaries(engine, x, fault, among)
    truth = critical.exhaustive(engine, x, fault, among)
    compared = critical.compared(found, truth)
    assert compared.recall >= 0.9
    assert compared.precision >= 0.9
    assert compared.effort < 0.4


def test_floats_have_exponents_that_matter(trained: Any) -> None:
    model, samples, test, _ = trained
    network = floating(model, "float16", samples)
    x = network.encode(test)
    engine = Engine(network, x)
    among = critical.elements(network, FLIP, 60)
    found = critical.boundaries(engine, x, FLIP, among)
    compared = critical.compared(found, critical.exhaustive(engine, x, FLIP, among))
    assert min(compared.recall, compared.precision) >= 0.95
    assert compared.effort < 0.5
    assert {bit for _, bit in found.critical} & {13, 14}


def test_a_border_that_is_none_is_found_wrong_and_compared_says_so() -> None:
    """A random network is not monotonic: what is said of it is measured, not believed."""
    engine = Engine(RANDOM, X)
    among = critical.elements(RANDOM, FLIP)
    assert len(among) == 135
    found = critical.boundaries(engine, X, FLIP, among)
    truth = critical.exhaustive(engine, X, FLIP, among)
    compared = critical.compared(found, truth)
    assert 0.8 < compared.recall < 1.0
    assert truth.critical - found.critical
    same = critical.compared(truth, truth)
    assert (same.recall, same.precision, same.effort) == (1.0, 1.0, 1.0)
    nothing = critical.Border(frozenset(), 0, 0)
    assert critical.compared(nothing, nothing) == critical.Comparison(1.0, 1.0, 1.0)


def test_with_a_threshold_fewer_are_critical() -> None:
    engine = Engine(RANDOM, X)
    among = critical.elements(RANDOM, FLIP)
    every, quarter = (critical.exhaustive(engine, X, FLIP, among, t).critical for t in (0.0, 0.25))
    assert quarter < every
    assert critical.boundaries(engine, X, FLIP, among, 0.25).critical <= every


def test_what_has_no_border() -> None:
    engine: Runs = Engine(RANDOM, X)
    fault = BitFlip(0.1, "activations")
    with pytest.raises(ValueError, match="give elements of one image each"):
        critical.boundaries(engine, X, fault, critical.elements(RANDOM, fault, 3))
    with pytest.raises(ValueError, match="Gaussian is no fault of bits"):
        critical.boundaries(engine, X, Gaussian(0.1), critical.elements(RANDOM, Gaussian(0.1), 3))


# -- the worst -----------------------------------------------------------------------------------


def test_the_worst_faults_of_a_trained_network_are_found_with_few_injections(whole: Any) -> None:
    engine, x, labels = whole
    every = finish(engine, labels, Campaign(FLIP, budget=1 << 40, batch=2048)).records
    top = np.sort(every["changed"])[::-1][:5] / len(labels)
    counted = Counted(engine)
    found = critical.worst(counted, x, labels, FLIP, k=5, budget=300)
    assert counted.asked == found.injections <= 300 < 0.05 * len(every)
    assert not found.exact
    assert found.population == len(every)
    assert [harm.ccr for harm in found.faults][:3] == top[:3].tolist()
    assert found.faults[4].ccr >= 0.7 * top[4]
    drops = (every["lost"].astype(int) - every["won"]) / len(labels)
    harm = critical.worst(engine, x, labels, FLIP, k=1, budget=300, by="drop").faults[0]
    assert harm.drop >= 0.7 * drops.max()


@pytest.mark.parametrize(
    "fault", [BitFlip(0.1, "activations"), BitFlip(0.1, "accumulators"), BitFlip(0.1, "inputs"), Gaussian(3)]
)
def test_the_worst_faults_elsewhere(whole: Any, fault: Any) -> None:
    engine, x, labels = whole
    every = finish(engine, labels, Campaign(fault, budget=1500, error=0.0, batch=2048)).records
    found = critical.worst(engine, x, labels, fault, k=3, budget=250)
    assert found.injections <= 250
    assert found.faults[0].ccr >= 0.8 * every["changed"].max() / len(labels)


def test_where_the_budget_covers_all_the_worst_are_exact() -> None:
    engine, right = Engine(RANDOM, X), answers(Engine(RANDOM, X))
    for fault in (FLIP, Dead(0.1, "channels")):
        found = critical.worst(engine, X, right, fault, k=4, budget=2000)
        every = finish(engine, right, Campaign(fault)).records
        assert found.exact
        assert found.injections == found.population == len(every)
        assert [h.ccr for h in found.faults] == (np.sort(every["changed"])[::-1][:4] / 24).tolist()
        again = critical.worst(engine, X, right, fault, k=4, budget=2000)
        assert again.faults == found.faults


def test_the_worst_of_none() -> None:
    engine = Engine(RANDOM, X)
    with pytest.raises(ValueError, match="the worst 0 faults with 10 injections"):
        critical.worst(engine, X, answers(engine), FLIP, k=0, budget=10)
