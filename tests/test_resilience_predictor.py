"""The predictor of resilience: what it learns, how sure it is, and whom the engine spares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vilfredo.forecast.resilience import Model, Resilience, features, fit, ranks, spearman
from vilfredo.goal import KNOWN, Goal
from vilfredo.protocols import Verdict
from vilfredo.trial import Epoch, Key, Trial, Value

EPOCHS = 4
ERROR = Goal("error", unit="fraction")
CCR = KNOWN["ccr"]
MACS = Goal("macs", unit="count", stage="preview")


def networks(count: int, seed: int = 0, useless: int = 20) -> tuple[list[dict[str, float]], np.ndarray]:
    """Features of which three matter, and a share that follows from them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3 + useless))
    latent = -2 + x[:, 0] - 0.7 * x[:, 1] + 0.5 * np.tanh(2 * x[:, 2]) + 0.1 * rng.normal(size=count)
    rows = [{f"f{i}": float(v) for i, v in enumerate(row)} for row in x]
    return rows, 1 / (1 + np.exp(-latent))


def taught(count: int, **options: Any) -> tuple[Model, list[dict[str, float]], np.ndarray]:
    rows, values = networks(count + 100, **options)
    return fit(rows[:count], values[:count].tolist()), rows[count:], values[count:]


# -- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "least"), [(10, 0.4), (20, 0.6), (60, 0.9)])
def test_it_ranks_networks_that_it_has_not_seen(count: int, least: float) -> None:
    found = []
    for seed in range(5):
        model, rows, values = taught(count, seed=seed)
        found.append(spearman(model.predict(rows)[0], values))
    assert np.mean(found) > least


def test_it_knows_how_sure_it_is() -> None:
    scores = []
    for seed in range(5):
        model, rows, values = taught(40, seed=seed)
        mean, sd = model.latent(rows)
        scores.append((np.log(values / (1 - values)) - mean) / sd)
    spread = float(np.concatenate(scores).std())
    assert 0.6 < spread < 1.6


def test_who_is_unlike_all_others_is_unsure() -> None:
    model, rows, _ = taught(40)
    odd = dict.fromkeys(rows[0], 8.0)
    assert model.latent([odd])[1][0] > 1.5 * np.median(model.latent(rows)[1])


def test_shares_stay_shares() -> None:
    rows, _ = networks(30)
    values = [0.0] * 10 + [0.5] * 10 + [1.0] * 10
    mean, sd = fit(rows, values).predict(rows)
    assert ((mean > 0) & (mean < 1)).all()
    assert ((sd >= 0) & (sd <= 0.5)).all()


def test_values_that_are_no_shares() -> None:
    rows, values = networks(60)
    scaled = 200 * np.log(values)
    model = fit(rows[:40], scaled[:40].tolist())
    assert not model.odds
    assert spearman(model.predict(rows[40:])[0], scaled[40:]) > 0.8
    assert abs(float(model.predict(rows[40:])[0].mean()) - scaled[40:].mean()) < scaled.std()


def test_equal_values_and_equal_features() -> None:
    rows, _ = networks(10)
    mean, sd = fit(rows, [0.25] * 10).predict(rows)
    assert mean == pytest.approx([0.25] * 10)
    assert (sd == 0).all()
    same = fit([{"a": 1.0}] * 10, np.linspace(0.1, 0.9, 10).tolist())
    mean, sd = same.predict([{"a": 1.0}, {"a": 2.0}, {}])
    assert mean == pytest.approx([0.5] * 3)
    assert (sd > 0.1).all()


def test_what_is_missing_is_average() -> None:
    rows, values = networks(40)
    model = fit(
        [{**row, "odd": math.nan, "some": 1.0} if i % 2 else row for i, row in enumerate(rows)], values
    )
    assert "odd" not in model.names
    known = dict(zip(model.names, model.centre.tolist(), strict=True))
    np.testing.assert_allclose(model.predict([{}])[0], model.predict([known])[0])
    bad = {**known, "f0": math.inf}
    np.testing.assert_allclose(model.predict([bad])[0], model.predict([known])[0])


def test_it_depends_on_its_arguments_alone() -> None:
    one, rows, _ = taught(20)
    two, _, _ = taught(20)
    np.testing.assert_array_equal(one.predict(rows)[0], two.predict(rows)[0])
    np.testing.assert_array_equal(one.predict(rows)[1], two.predict(rows)[1])


def test_twins_are_left_out_together() -> None:
    """Told that rows are twins, it does not take their likeness for knowledge."""
    rows, values = networks(24, useless=60)
    rng = np.random.default_rng(3)
    noisy = values * rng.uniform(0.3, 1.0, size=24)
    double, twice = rows * 2, [*noisy, *noisy]
    blind = fit(double, twice).latent(rows)[1].mean()
    told = fit(double, twice, [*range(24), *range(24)]).latent(rows)[1].mean()
    assert told > blind


@pytest.mark.parametrize("values", [[0.1, 0.2], [0.1, 0.2, math.nan], [0.1, 0.2, 0.3, 0.4]])
def test_too_little_to_learn_from(values: list[float]) -> None:
    with pytest.raises(ValueError, match="3 or more"):
        fit([{"a": float(i)} for i in range(3)][: max(2, min(len(values), 3))], values)


def test_rank_correlation() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    assert spearman(np.arange(5.0), np.arange(5.0) ** 3) == pytest.approx(1)
    assert spearman(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)
    assert spearman(np.arange(5.0), np.ones(5)) == 0
    scipy = pytest.importorskip("scipy.stats")
    a, b = np.random.default_rng(0).integers(0, 5, (2, 30)).astype(float)
    assert spearman(a, b) == pytest.approx(scipy.spearmanr(a, b).statistic)


# -- the engine -----------------------------------------------------------------------------------


def trial(
    number: int,
    row: Mapping[str, float],
    error: float,
    ccr: float | None = None,
    upto: int = EPOCHS,
    macs: float | None = None,
    late: bool = False,
) -> Trial:
    """As it is known after `upto` epochs; with `ccr` complete and measured. `late`: features as metrics."""
    metrics = {"val_error": error}
    values: dict[Key, Value] = {}
    for name, value in row.items():
        if late:
            metrics[f"feature.{name}"] = value
        else:
            values[Key(f"feature.{name}")] = Value(value)
    if macs is not None:
        values[Key("macs")] = Value(macs)
    if ccr is not None:
        values |= {Key("error"): Value(error), Key("ccr"): Value(ccr)}
    epochs = tuple(Epoch(k, metrics if k == upto else {"val_error": 0.9}) for k in range(1, upto + 1))
    return Trial(number, {}, "complete", epochs=epochs, values=values)


def population(count: int = 40) -> tuple[list[Trial], list[dict[str, float]], np.ndarray]:
    rows, values = networks(count + 20, useless=2)
    errors = np.random.default_rng(1).uniform(0.1, 0.3, count)
    known = [trial(i, rows[i], float(errors[i]), float(values[i])) for i in range(count)]
    return known, rows[count:], values[count:]


def judged(engine: Resilience, asked: Trial, peers: list[Trial]) -> Verdict:
    return engine(asked, peers, EPOCHS)


GOALS = (ERROR, CCR)


def test_who_has_no_chance_is_spared() -> None:
    known, rows, values = population()
    engine = Resilience(GOALS)
    spared = 0
    for i, row in enumerate(rows):
        verdict = judged(engine, trial(100 + i, row, 0.5), known)  # a worse error than anybody's
        assert verdict.action == "go"
        assert set(verdict.forecast) == {"ccr"}
        value = verdict.forecast["ccr"]
        assert value.origin == "forecast"
        assert type(value.mean) is type(value.sd) is float
        assert 0 < value.mean < 1
        if verdict.spared:
            assert verdict.spared == {"ccr"}
            spared += 1
    assert spared > len(rows) / 2
    said = [
        judged(engine, trial(100 + i, row, 0.5), known).forecast["ccr"].mean for i, row in enumerate(rows)
    ]
    assert spearman(np.array(said), values) > 0.85


def test_who_may_enter_the_front_is_measured() -> None:
    known, rows, _ = population()
    engine = Resilience(GOALS)
    for i, row in enumerate(rows):
        verdict = judged(engine, trial(100 + i, row, 0.01), known)  # nobody has a smaller error
        assert verdict.forecast
        assert not verdict.spared


def test_nobody_is_spared_while_few_are_known() -> None:
    known, rows, _ = population()
    engine = Resilience(GOALS, full=10, unsure=9.0)
    assert judged(engine, trial(100, rows[0], 0.5), known[:9]) == Verdict()
    assert judged(engine, trial(100, rows[0], 0.5), known[:10]).spared
    forecast = [replace(t, values={**t.values, Key("ccr"): Value(0.1, 0.1, 1, "forecast")}) for t in known]
    assert judged(engine, trial(100, rows[0], 0.5), forecast) == Verdict(), "learns from forecasts"
    again = trial(0, rows[0], 0.5)
    assert judged(engine, again, known[:10]) == Verdict(), "learns from the one that is asked for"


def test_who_is_unsure_is_measured() -> None:
    known, rows, _ = population()
    odd = dict.fromkeys(rows[0], 9.0)
    assert not judged(Resilience(GOALS, cut=0.999), trial(100, odd, 0.9), known).spared
    assert not judged(Resilience(GOALS, unsure=1e-6), trial(100, rows[0], 0.9), known).spared


def test_only_the_last_epoch_counts() -> None:
    known, rows, _ = population()
    for upto in range(1, EPOCHS):
        assert judged(Resilience(GOALS), trial(100, rows[0], 0.5, upto=upto), known) == Verdict()


def test_features_after_training_replace_those_of_the_preview() -> None:
    known, rows, _ = population()
    late = trial(100, rows[0], 0.5, late=True)
    assert features(late) == pytest.approx(rows[0])
    assert judged(Resilience(GOALS), late, known) == judged(
        Resilience(GOALS), trial(100, rows[0], 0.5), known
    )
    both = replace(late, values=trial(100, rows[1], 0.5).values)
    assert features(both) == pytest.approx(rows[0])


def test_without_features_it_says_so() -> None:
    known, _, _ = population()
    verdict = judged(Resilience(GOALS), trial(100, {}, 0.5), known)
    assert "feature." in verdict.reason
    assert not verdict.spared
    assert judged(Resilience((ERROR, MACS)), trial(100, {}, 0.5), known) == Verdict()


def test_goals_that_nobody_knows_yet_may_be_the_best() -> None:
    known, rows, _ = population()
    latency = Goal("latency", unit="s")
    timed = [replace(t, values={**t.values, Key("latency"): Value(0.1 + t.number)}) for t in known]
    assert not judged(Resilience((*GOALS, latency)), trial(100, rows[0], 0.9), timed).spared


def test_costs_of_the_preview_count() -> None:
    known, rows, _ = population()
    sized = [replace(t, values={**t.values, Key("macs"): Value(1e6)}) for t in known]
    goals = (ERROR, CCR, MACS)
    spared = [judged(Resilience(goals), trial(100, row, 0.5, macs=2e6), sized).spared for row in rows]
    cheap = [judged(Resilience(goals), trial(100, row, 0.5, macs=1e5), sized).spared for row in rows]
    assert any(spared)
    assert not any(cheap)


def test_near_a_limit_it_is_measured() -> None:
    known, rows, _ = population()
    free = judged(Resilience(GOALS), trial(100, rows[0], 0.5), known)
    assert free.spared
    near = replace(CCR, max=free.forecast["ccr"].mean)
    assert not judged(Resilience((ERROR, near)), trial(100, rows[0], 0.5), known).spared


def test_goals_to_be_maximised() -> None:
    known, rows, values = population()
    goal = KNOWN["resilience_mean"]
    better = [
        replace(t, values={**t.values, Key("resilience_mean"): Value(1 - t.values[Key("ccr")].mean)})
        for t in known
    ]
    engine = Resilience((ERROR, goal))
    spared = [judged(engine, trial(100, row, 0.5), better).spared for row in rows]
    entering = [judged(engine, trial(100, row, 0.01), better).spared for row in rows]
    assert any(spared)
    assert not any(entering)
    said = [judged(engine, trial(100, r, 0.5), better).forecast["resilience_mean"].mean for r in rows]
    assert spearman(np.array(said), values) < -0.85


def test_own_names() -> None:
    goal = Goal("drift", unit="fraction")
    known, rows, _ = population()
    drifted = [replace(t, values={**t.values, Key("drift"): t.values[Key("ccr")]}) for t in known]
    assert judged(Resilience((ERROR, goal)), trial(100, rows[0], 0.5), drifted) == Verdict()
    verdict = judged(Resilience((ERROR, goal), names=["drift"]), trial(100, rows[0], 0.5), drifted)
    assert verdict.spared == {"drift"}


@pytest.mark.parametrize(
    ("options", "word"),
    [({"full": 2}, "full"), ({"unsure": 0}, "unsure"), ({"cut": 1}, "cut"), ({"names": ["x"]}, "x")],
)
def test_options_that_make_no_sense(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Resilience(GOALS, **options)


def test_it_revives_nobody() -> None:
    assert list(Resilience(GOALS).revive(population()[0])) == []
