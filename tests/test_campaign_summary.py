"""Summaries: every row is the mean of its faults, and they survive JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from campaign_cases import answers, images, small
from vilfredo.campaign import sites
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.run import Campaign, Results, finish
from vilfredo.campaign.summary import from_json, summarise, to_json
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian

NETWORK = small(2)
ENGINE = Engine(NETWORK, images(NETWORK))
ANSWERS = answers(ENGINE)
WHOLE = finish(ENGINE, ANSWERS, Campaign(BitFlip(0.1)))


def means(results: Results, chosen: np.ndarray) -> list[float]:
    part = results.records[chosen]
    lost = part["lost"].astype(float) - part["won"]
    return [(part["changed"] > 0).mean(), part["changed"].mean() / 24, lost.mean() / 24]


def test_rows_of_an_exhaustive_campaign_are_means_of_their_faults() -> None:
    summary = summarise(WHOLE)
    strata = WHOLE.population.strata
    number, index = WHOLE.records["stratum"], WHOLE.records["index"]
    name = np.array([s.name for s in strata])[number]
    bit = np.array([s.bit for s in strata])[number]
    channel = np.array([strata[n].channel(int(i)) for n, i in zip(number, index, strict=True)])
    assert len(summary.layers) == 2
    assert len(summary.bits) == 8
    assert len(summary.cells) == 16
    assert len(summary.channels) == 3 + 4
    for row in (summary.total, *summary.layers, *summary.bits, *summary.cells, *summary.channels):
        chosen = (
            (name == (row.layer or name))
            & (bit == (bit if row.bit < 0 else row.bit))
            & (channel == (channel if row.channel < 0 else row.channel))
        )
        assert row.done == row.population == chosen.sum()
        values = [row.critical.value, row.ccr.value, row.drop.value]
        assert values == pytest.approx(means(WHOLE, chosen))
        assert all(e.low == e.value == e.high for e in (row.critical, row.ccr, row.drop))
    assert [row.bit for row in summary.bits] == list(range(8))
    assert [row.meaning for row in summary.bits] == ["magnitude"] * 7 + ["sign"]
    ranked = [row.ccr.value for row in summary.channels]
    assert ranked == sorted(ranked, reverse=True)
    assert summary.exhaustive


def test_the_most_harmful_can_be_made_again() -> None:
    worst = summarise(WHOLE, worst=5).worst
    assert len(worst) == 5
    assert worst[0].ccr == WHOLE.records["changed"].max() / 24
    golden = ENGINE.classes.numpy()
    for harm in worst:
        (classes,) = ENGINE.classes_under([sites.one(NETWORK, BitFlip(0.1), harm.fault)])
        assert (classes != golden).mean() == pytest.approx(harm.ccr)
        assert (golden == ANSWERS).mean() - (classes == ANSWERS).mean() == pytest.approx(harm.drop)
        assert harm.fault.startswith(harm.layer + ":weights:")


def test_a_sample_s_rows_hold_the_truth() -> None:
    truth = summarise(WHOLE)
    outside = rows = 0
    for seed in range(6):
        found = summarise(finish(ENGINE, ANSWERS, Campaign(BitFlip(0.1), budget=400, error=0.0, seed=seed)))
        assert not found.exhaustive
        for kind in ("layers", "bits", "cells", "channels"):
            exact = {(r.layer, r.bit, r.channel): r.critical.value for r in getattr(truth, kind)}
            for row in getattr(found, kind):
                value = exact[row.layer, row.bit, row.channel]
                outside += not row.critical.low - 1e-9 <= value <= row.critical.high + 1e-9
                rows += 1
    assert outside / rows < 0.07


@pytest.mark.parametrize(
    "settings",
    [
        Campaign(BitFlip(0.1)),
        Campaign(Gaussian(2.0), budget=50, error=0.0),
        Campaign(BitFlip(0.1, "activations"), budget=300, error=0.0),
        Campaign(Dead(0.1, "channels")),
        Campaign(BitFlip(0.1), at_once=4, budget=60, error=0.0),
    ],
)
def test_summaries_survive_json(settings: Campaign) -> None:
    summary = summarise(finish(ENGINE, ANSWERS, settings))
    text = json.dumps(to_json(summary), allow_nan=False)
    assert from_json(json.loads(text)) == summary
    assert summary.total.done > 0
    if settings.at_once > 1:
        assert math.isinf(summary.total.population)
        assert not summary.layers + summary.cells + summary.channels
    else:
        assert sum(row.population for row in summary.layers) == summary.total.population
        assert bool(summary.cells) == settings.fault.bitwise


@pytest.mark.parametrize("data", [{}, {"layers": 3}, {"layers": [{}]}])
def test_what_is_no_summary(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="this is no summary of a campaign"):
        from_json(data)
