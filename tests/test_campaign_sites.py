"""Where faults can be: nothing is counted twice, nothing left out, and every single one can be made again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from campaign_cases import Slow, answers, images, small
from vilfredo.campaign import bit_error_rates, sites
from vilfredo.campaign.plain import plain
from vilfredo.codes import Codes
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.stuck import Stuck

NETWORK = small()
X = images(NETWORK)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("weights", {"conv": 27, "fc": 108}),
        ("activations", {"conv": 108, "pool": 27, "fc": 4}),
        ("accumulators", {"conv": 108, "fc": 4}),
        ("inputs", {"input": 36}),
    ],
)
def test_arrays_are_counted_once(site: Any, expected: dict[str, int]) -> None:
    assert {array.name: array.size for array in sites.places(NETWORK, site)} == expected
    population = sites.strata(NETWORK, BitFlip(0.1, site))
    assert [s.bit for s in population if s.name == "fc" or site == "inputs"] == list(
        range(population[-1].codes.bits)
    )
    assert sum(s.size for s in population) == sum(
        size * array.codes.bits
        for array, size in zip(sites.places(NETWORK, site), expected.values(), strict=True)
    )


def test_faults_that_are_not_of_bits_and_channels() -> None:
    assert [(s.bit, s.size) for s in sites.strata(NETWORK, Gaussian(0.1))] == [(-1, 27), (-1, 108)]
    channels = sites.strata(NETWORK, Dead(0.1, "channels"))
    assert [(s.name, s.size, s.extent) for s in channels] == [("conv", 3, 36), ("fc", 4, 1)]
    (hit,) = sites.single(channels[0], Dead(0.1, "channels"), 2).hits
    assert hit.index.tolist() == list(range(72, 108))
    assert channels[0].channel(2) == 2
    signs = sites.strata(NETWORK, BitFlip(0.1, bits="sign"))
    assert [s.bit for s in signs] == [7, 7]


@pytest.mark.parametrize(
    "text", ["features.0:weights:1234:7", "a:b.c:weights:0", "conv:activations:3:0@12", "input:inputs:5:1"]
)
def test_names_of_faults_survive_text(text: str) -> None:
    assert str(sites.parse(text)) == text


@pytest.mark.parametrize("text", ["", "conv", "conv:weights", "conv:weights:-1:2", "conv:weights:1:2:3x"])
def test_a_text_that_names_no_fault(text: str) -> None:
    with pytest.raises(ValueError, match="is no fault: write layer:site:position:bit"):
        sites.parse(text)


def test_a_single_fault_is_made_again_from_its_name() -> None:
    for fault in (BitFlip(0.1), Gaussian(0.5), Stuck(0.1, "max"), BitFlip(0.1, "activations")):
        stratum = sites.strata(NETWORK, fault)[-1]
        first = sites.single(stratum, fault, 3, seed=5)
        where = sites.Single(stratum.name, stratum.site, 3, stratum.bit)
        again = sites.one(NETWORK, fault, str(where), seed=5)
        assert (plain(NETWORK, X, first) == plain(NETWORK, X, again)).all()
        assert first.hits[0].detail == again.hits[0].detail
    other = sites.one(NETWORK, Gaussian(0.5), "fc:weights:3", seed=6)
    assert other.hits[0].detail != sites.one(NETWORK, Gaussian(0.5), "fc:weights:3", seed=5).hits[0].detail


@pytest.mark.parametrize(
    ("fault", "where", "message"),
    [
        (BitFlip(0.1), "fc:weights:108:7", "fc has 108 weights, counted from 0"),
        (BitFlip(0.1), "fc:weights:1:8", "no such layer, or its weights no such bit"),
        (BitFlip(0.1), "fd:weights:1:7", "no such layer"),
        (BitFlip(0.1), "fc:activations:1:7", "acts on weights, not on activations"),
    ],
)
def test_places_that_are_not_there(fault: Any, where: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sites.one(NETWORK, fault, where)


def test_sites_and_layers_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="no layer with weights is called 'pool'; there are conv, fc"):
        sites.strata(NETWORK, BitFlip(0.1), ["pool"])
    with pytest.raises(ValueError, match="has no delays; faults can be in weights, biases, activations"):
        sites.strata(NETWORK, BitFlip(0.1, "delays"))


def test_what_is_drawn_has_the_rates_of_its_faults() -> None:
    rng = np.random.default_rng(0)
    faults = [BitFlip(0.01), BitFlip(0.02, "activations")]
    weights, activations = [], []
    for _ in range(200):
        hits = sites.drawn(NETWORK, faults, rng, 24).hits
        weights += [h for h in hits if h.site == "weights"]
        activations += [h for h in hits if h.site == "activations"]
    flips = sum(bin(mask).count("1") for h in weights for mask in h.detail)
    assert flips == pytest.approx(0.01 * 135 * 8 * 200, rel=0.1)
    assert all(h.image is None for h in weights)
    assert {h.step for h in activations} == {0, 1, 3}
    images_hit = np.concatenate([h.image for h in activations if h.image is not None])
    assert len(images_hit) == pytest.approx(139 * 24 * 200 * (1 - 0.98**8), rel=0.02)
    assert np.bincount(images_hit, minlength=24).std() < 0.05 * np.bincount(images_hit).mean()


def test_an_exact_count_of_transient_faults_is_that_of_each_image() -> None:
    injection = sites.drawn(NETWORK, [BitFlip(count=2, site="inputs")], np.random.default_rng(0), 5)
    bits = [bin(m).count("1") for m in injection.hits[0].detail]
    assert injection.hits[0].image is not None
    assert np.bincount(injection.hits[0].image, bits).tolist() == [2] * 5


def test_several_faults_at_once() -> None:
    fault = BitFlip(0.1)
    population = sites.strata(NETWORK, fault)
    rng = np.random.default_rng(1)
    for _ in range(20):
        hits = sites.several(population, fault, 7, rng).hits
        places = [(h.step, int(i), int(d)) for h in hits for i, d in zip(h.index, h.detail, strict=True)]
        assert len(set(places)) == 7
    passing = sites.several(population, fault, 3, rng, images=10)
    total = np.concatenate([h.image for h in passing.hits if h.image is not None])
    assert np.bincount(total).tolist() == [3] * 10
    everything = sites.several(population, fault, sum(s.size for s in population), rng)
    assert sum(len(h.index) for h in everything.hits) == 135 * 8
    with pytest.raises(ValueError, match="there are 1080 in these layers"):
        sites.several(population, fault, 1081, rng)


# -- everything at once ---------------------------------------------------------------------------


def test_rate_0_harms_nothing_and_seeds_make_copies_again() -> None:
    engine = Slow(NETWORK, X)
    right = answers(engine)
    none = bit_error_rates.under(engine, [BitFlip(0.0)], right, copies=3)
    assert none.mean == none.clean == none.worst
    assert none.mean_ccr == 0.0
    some = bit_error_rates.under(engine, [BitFlip(0.02)], right, copies=5, seed=1)
    more = bit_error_rates.under(engine, [BitFlip(0.02)], right, copies=8, seed=1)
    other = bit_error_rates.under(engine, [BitFlip(0.02)], right, copies=8, seed=2)
    assert some.ccr.tolist() == more.ccr[:5].tolist()
    assert more.ccr.tolist() != other.ccr.tolist()
    assert more.worst <= more.q05 <= more.mean <= 1
    low, high = more.interval("ccr")
    assert low < more.mean_ccr < high


def test_networks_of_one_architecture_meet_the_same_perturbations() -> None:
    def hits(seed: int, transient: bool) -> list[tuple[Any, ...]]:
        network = small(seed)
        faults = [BitFlip(0.05, transient=transient), BitFlip(0.01, "activations")]
        found = sites.drawn(network, faults, np.random.default_rng(3), 6).hits
        return [(h.step, h.index.tolist(), h.detail.tolist()) for h in found]

    assert hits(0, False) == hits(9, False)
    assert hits(0, True) == hits(9, True)


def test_a_curve_falls() -> None:
    engine = Slow(NETWORK, X)
    right = answers(engine)
    points = bit_error_rates.curve(engine, [BitFlip(0.5)], right, [0.0, 0.003, 0.3], copies=12)
    assert [rate for rate, _ in points] == [0.0, 0.003, 0.3]
    means = [damage.mean_ccr for _, damage in points]
    assert means[0] == 0 < means[1] < means[2]
    assert isinstance(bit_error_rates.at_rate(Gaussian(0.1), 0.3), Gaussian)
    with pytest.raises(ValueError, match="rate"):
        bit_error_rates.curve(engine, [BitFlip(0.5)], right, [1.5])


def test_what_cannot_be_measured() -> None:
    engine = Slow(NETWORK, X)
    with pytest.raises(ValueError, match="24 images and answers of the shape"):
        bit_error_rates.under(engine, [BitFlip(0.1)], [0, 1])
    with pytest.raises(ValueError, match="take 1 copy or more"):
        bit_error_rates.under(engine, [BitFlip(0.1)], answers(engine), copies=0)


def test_channels_of_weights_are_output_channels() -> None:
    (conv,) = sites.places(NETWORK, "weights", ["conv"])
    assert [conv.channel(i) for i in (0, 8, 9, 26)] == [0, 0, 1, 2]
    assert math.prod(conv.shape) == 27
    assert conv.codes == Codes(-127, 127, 8)
