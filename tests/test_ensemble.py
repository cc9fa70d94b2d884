"""The engine `ensemble`: its families, its priors, its forecasts and its verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from vilfredo.forecast import families, regressions
from vilfredo.forecast.ensemble import Ensemble
from vilfredo.goal import Goal
from vilfredo.trial import Epoch, Key, Trial, Value

Array = NDArray[np.float64]

ERROR = Goal("error", unit="fraction")
MACS = Goal("macs", unit="count", stage="preview")
EPOCHS = 20


def trial(
    number: int,
    val: Sequence[float] | Array,
    train: Sequence[float] | Array | None = None,
    final: float | None = None,
    metric: str = "val_error",
    goal: str = "error",
    **known: float,
) -> Trial:
    """A network with these epochs; finished if it has a final value."""
    epochs = []
    for i, value in enumerate(val):
        metrics = {metric: float(value)}
        if train is not None:
            metrics["train_error"] = float(train[i])
        epochs.append(Epoch(i + 1, metrics, 1.0))
    values = {Key(name): Value(value) for name, value in known.items()}
    if final is not None:
        values[Key(goal)] = Value(float(final))
    state = "paused" if final is None else "complete"
    return Trial(number, {}, state, epochs=tuple(epochs), values=values)  # type: ignore[arg-type]


def population(count: int, seed: int = 0, noise: float = 0.03, epochs: int = EPOCHS) -> tuple[Array, Array]:
    """Validation and training errors (count, epochs) that fall as a schedule has it, all alike."""
    rng = np.random.default_rng(seed)
    t = np.arange(epochs) / (epochs - 1)
    end = np.exp(rng.normal(-3.0, 0.5, count))[:, None]
    drop = np.exp(rng.normal(1.5, 0.2, count))[:, None]
    shape = (1 + np.cos(np.pi * t)) / 2
    val = end * drop**shape * np.exp(noise * rng.standard_normal((count, epochs)))
    train = 0.5 * end * drop ** (1.2 * shape)
    return val, train


def peers(val: Array, train: Array | None = None) -> list[Trial]:
    return [
        trial(i, v, None if train is None else train[i], final=v[-1], macs=1e6 * (i + 1))
        for i, v in enumerate(val)
    ]


def forecast(engine: Ensemble, one: Trial, others: Sequence[Trial], epochs: int = EPOCHS) -> Value | None:
    return engine(one, others, epochs).forecast.get("error")


@pytest.mark.parametrize("family", range(len(families.NAMES) - 1), ids=families.NAMES[:-1])
def test_each_family_is_recovered_from_its_own_noisy_curve(family: int) -> None:
    epochs = 40
    grid = families.shapes(epochs)
    prior = families.vague(grid, epochs, center=0.0, scale=1.0, drop=1.0)
    rng = np.random.default_rng(family)
    rows = np.flatnonzero(grid.family == family)
    assert len(rows) > 1
    curves = 0.2 + 1.5 * grid.phi[rows] + 0.01 * rng.standard_normal((len(rows), epochs))
    found = families.fit(curves[:, :30], grid, prior)
    assert np.abs(found.end - 0.2).max() < 0.15
    assert np.abs(found.curve[:, :30] - curves[:, :30]).mean() < 0.03
    misses = np.abs(found.end - curves[:, -1]) / found.sd
    assert (misses < 3.0).all()


def test_shapes_begin_at_one_and_end_at_zero() -> None:
    for epochs in (2, 3, 5, 25, 200):
        grid = families.shapes(epochs)
        np.testing.assert_allclose(grid.phi[:, 0], 1.0)
        np.testing.assert_allclose(grid.phi[:, -1], 0.0, atol=1e-12)
        assert math.isclose(float(np.exp(families.weights_of(grid)).sum()), 1.0)


def test_the_forecast_is_the_exact_posterior_of_one_shape() -> None:
    grid = families.shapes(10)
    one = families.Shapes(grid.phi[:1], grid.square[:1], grid.family[:1])
    precision = np.array([[4.0, 1.0], [1.0, 2.0]])
    mean = np.array([0.3, 0.9])
    prior = families.Prior(mean, precision, np.zeros(1), np.array([0.1]), np.zeros(1), np.ones(10))
    y = 0.2 + 1.1 * one.phi[0, :4]  # on the curve, where the tails make every point count 4/3
    found = families.fit(y[None], one, prior)
    x = np.stack([np.ones(4), one.phi[0, :4]], axis=1)
    covariance = np.linalg.inv(precision + x.T @ x * 4 / 0.03)
    posterior = covariance @ (precision @ mean + x.T @ y * 4 / 0.03)
    assert found.end[0] == pytest.approx(posterior[0], abs=2e-3)
    assert found.sd[0] == pytest.approx(math.sqrt(covariance[0, 0] + 0.01), rel=0.02)


def test_a_fit_does_not_depend_on_what_else_is_fitted() -> None:
    val, _ = population(17, seed=13)
    grid, prior = families.learned(np.log(val), 0.05)
    for k in (1, 2, 7, 8, 15, EPOCHS):
        together = families.fit(np.log(val[:, :k]), grid, prior)
        for i in range(len(val)):
            alone = families.fit(np.log(val[i : i + 1, :k]), grid, prior)
            assert alone.end[0] == together.end[i]
            assert alone.sd[0] == together.sd[i]


def test_spikes_count_little(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = families.shapes(EPOCHS)
    prior = families.vague(grid, EPOCHS, center=0.0, scale=1.0, drop=1.0)
    clean = 0.1 + grid.phi[20][None, :14].repeat(2, axis=0)
    clean = clean + 0.01 * np.random.default_rng(0).standard_normal(clean.shape)
    clean[1, 6] += 2.0
    found = families.fit(clean, grid, prior)
    monkeypatch.setattr(families, "TAILS", 1e9)
    normal = families.fit(clean, grid, prior)
    assert abs(found.end[1] - found.end[0]) < 0.5 * abs(normal.end[1] - normal.end[0])


def test_intervals_hold_what_they_promise() -> None:
    val, train = population(60, seed=1, noise=0.05)
    known = peers(val[:20], train[:20])
    inside50 = inside90 = total = 0
    for k in (3, 8, 14):
        for i in range(20, 60):
            found = forecast(Ensemble((ERROR,)), trial(i, val[i, :k], train[i, :k]), known)
            assert found is not None
            miss = abs(found.mean - val[i, -1]) / found.sd
            inside50 += miss < 0.674
            inside90 += miss < 1.645
            total += 1
    assert 0.35 < inside50 / total < 0.75
    assert 0.8 < inside90 / total <= 1.0


def test_priors_are_learned_from_peers() -> None:
    val, _ = population(50, seed=2)
    alone, taught = [], []
    known = peers(val[:16])
    for i in range(16, 50):
        one = trial(i, val[i, :8])
        a, b = forecast(Ensemble((ERROR,)), one, ()), forecast(Ensemble((ERROR,)), one, known)
        assert b is not None
        alone.append(abs((val[i, 7] if a is None else a.mean) - val[i, -1]))
        taught.append(abs(b.mean - val[i, -1]))
    assert np.mean(taught) < 0.5 * np.mean(alone)


def test_the_training_curve_helps_where_validation_jumps() -> None:
    val, train = population(60, seed=3)
    rng = np.random.default_rng(0)
    spiky = val.copy()
    spiky[:, :-1] *= np.exp(np.abs(rng.standard_t(2, spiky[:, :-1].shape)))
    errors = {}
    for name, seen in (("with", train), ("without", None)):
        known = peers(spiky[:25], None if seen is None else seen[:25])
        errors[name] = [
            abs(found.mean - val[i, -1]) / val[i, -1]
            for i in range(25, 60)
            if (
                found := forecast(
                    Ensemble((ERROR,)), trial(i, spiky[i, :5], None if seen is None else seen[i, :5]), known
                )
            )
        ]
    assert len(errors["with"]) == 35
    assert np.median(errors["with"]) < 0.5 * np.median(errors["without"])


STRANGE = {
    "constant": [0.5] * 10,
    "zero": [0.0] * 10,
    "NaN at the end": [0.5, 0.4, math.nan],
    "NaN in between": [0.5, math.nan, 0.3, math.nan, 0.28, 0.27],
    "all NaN": [math.nan] * 6,
    "infinite": [0.5, math.inf, 0.4, 0.3, 0.2],
    "spiky": [0.5, 0.1, 0.5, 0.09, 0.5, 0.5, 0.08],
    "one epoch": [0.4],
    "two epochs": [0.4, 0.3],
    "rising": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    "huge": [1e300, 1e301, 1e302, 1e303, 1e304],
    "negative": [-0.1, -0.2, -0.25, -0.27, -0.28],
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("known", [0, 3, 12])
def test_no_curve_upsets_it_and_no_forecast_is_wild(name: str, known: int) -> None:
    val, train = population(12, seed=4)
    curve = STRANGE[name]
    others = peers(val[:known], train[:known])
    found = forecast(Ensemble((ERROR,), start=4, probe=1), trial(50, curve), others)
    if found is not None:
        finite = [x for x in [*curve, *val[:known].ravel()] if math.isfinite(x)]
        low, high = min(finite), max(finite)
        room = 2 * (high - low) + abs(low)
        assert low - room - 1e-3 <= found.mean <= high + room + 1e-3
        assert found.sd >= 0
        assert math.isfinite(found.sd)
        assert found.origin == "forecast"


@pytest.mark.parametrize("name", STRANGE)
def test_strange_peers_do_not_upset_it(name: str) -> None:
    val, train = population(12, seed=5)
    curve = (STRANGE[name] * EPOCHS)[:EPOCHS]
    finals = [x for x in curve if math.isfinite(x)] or [0.5]
    known = [trial(i, curve, final=finals[-1]) for i in range(6)] + [
        trial(6 + i, val[i], train[i], final=val[i, -1]) for i in range(6)
    ]
    for k in (2, 6, 15):
        found = forecast(Ensemble((ERROR,), start=4), trial(50, val[9, :k], train[9, :k]), known)
        assert found is None or (math.isfinite(found.mean) and math.isfinite(found.sd))


def test_a_metric_that_rises_without_bounds() -> None:
    goal = Goal("reward", "max")
    rng = np.random.default_rng(6)
    t = np.arange(EPOCHS) / (EPOCHS - 1)
    top = rng.normal(200.0, 50.0, 30)[:, None]
    reward = top * (1 - np.exp(-4 * t)) / (1 - math.exp(-4)) - 30 + 2 * rng.standard_normal((30, EPOCHS))
    known = [trial(i, r, metric="reward", goal="reward", final=r[-1]) for i, r in enumerate(reward[:15])]
    errors = []
    for i in range(15, 30):
        verdict = Ensemble((goal,))(trial(i, reward[i, :8], metric="reward"), known, EPOCHS)
        errors.append(abs(verdict.forecast["reward"].mean - reward[i, -1]))
    assert np.mean(errors) < 8.0


def test_hopeless_networks_are_paused_and_promising_ones_go_on() -> None:
    val, train = population(40, seed=7)
    known = peers(val[:30], train[:30])
    best, worst = 30 + int(np.argmin(val[30:, -1])), 30 + int(np.argmax(val[30:, -1]))
    engine = Ensemble((ERROR,))
    assert engine(trial(best, val[best, :10], train[best, :10]), known, EPOCHS).action == "go"
    verdict = engine(trial(worst, val[worst, :10], train[worst, :10]), known, EPOCHS)
    assert verdict.action == "pause"
    assert "chance to enter the top 20 %" in verdict.reason
    assert "±" in verdict.reason
    one_way = Ensemble((ERROR,), resume=False)
    assert one_way(trial(worst, val[worst, :10], train[worst, :10]), known, EPOCHS).action == "stop"


def test_the_first_networks_and_epochs_are_never_stopped() -> None:
    val, train = population(20, seed=8)
    bad = trial(30, 10 * val[0, :10], 10 * train[0, :10])
    assert Ensemble((ERROR,), start=10)(bad, peers(val[:9], train[:9]), EPOCHS).action == "go"
    short = trial(30, 10 * val[0, :3], 10 * train[0, :3])
    assert Ensemble((ERROR,), probe=4)(short, peers(val, train), EPOCHS).action == "go"


def test_a_cheap_network_may_be_worse_and_still_enter_the_front() -> None:
    val, train = population(30, seed=9)
    known = peers(val, train)  # macs 1e6 … 30e6
    poor = 1.5 * val[int(np.argmax(val[:, -1]))]
    fed = 0.5 * poor
    engine = Ensemble((ERROR, MACS))
    assert engine(trial(50, poor[:12], fed[:12], macs=0.5e6), known, EPOCHS).action == "go"
    verdict = engine(trial(50, poor[:12], fed[:12], macs=40e6), known, EPOCHS)
    assert verdict.action == "pause"
    assert "chance to enter the front" in verdict.reason


def test_a_paused_network_is_revived_when_it_may_be_among_the_best_after_all() -> None:
    val, train = population(30, seed=10)
    middle = int(np.argsort(val[:, -1])[15])
    better = [i for i in range(30) if val[i, -1] < val[middle, -1]]
    worse = [i for i in range(30) if val[i, -1] > val[middle, -1]]
    engine = Ensemble((ERROR,), top=0.3)
    told = peers(val, train)
    one = trial(middle, val[middle, :12], train[middle, :12])
    verdict = engine(one, [told[i] for i in better], EPOCHS)
    assert verdict.action == "pause"
    held = one.with_values({Key("error"): verdict.forecast["error"]})
    assert list(engine.revive([*(told[i] for i in better), held])) == []
    assert list(engine.revive([*(told[i] for i in worse), held])) == [middle]
    assert list(Ensemble((ERROR,), resume=False).revive([*(told[i] for i in worse), held])) == []


def test_settled_ends_a_training_whose_end_is_known() -> None:
    val, train = population(40, seed=11, noise=0.001)
    known = peers(val[:30], train[:30])
    best = 30 + int(np.argmin(val[30:, -1]))
    verdict = Ensemble((ERROR,), settled=0.2)(trial(best, val[best, :15], train[best, :15]), known, EPOCHS)
    assert verdict.action == "stop"
    assert "settled" in verdict.reason


def test_the_same_question_has_the_same_answer() -> None:
    val, train = population(30, seed=12)
    known = peers(val[:25], train[:25])
    used = Ensemble((ERROR,))
    for k in range(2, 10):
        one = trial(28, val[28, :k], train[28, :k])
        used(one, known[:12], EPOCHS)
        used.revive([*known, one])
        assert used(one, known, EPOCHS) == Ensemble((ERROR,))(one, known, EPOCHS)


@pytest.mark.parametrize(
    "options",
    [{"cut": 1.0}, {"cut": -0.1}, {"top": 0.0}, {"top": 1.5}, {"start": 0}, {"probe": 0}, {"settled": -1.0}],
)
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Ensemble((ERROR,), **options)  # type: ignore[arg-type]


def test_a_link_weighs_what_has_proved_itself() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 2))
    target = 0.8 * features[:, 0] + 0.1 * rng.standard_normal(40)
    models = np.array([[False, False], [True, False], [False, True]])
    poor = regressions.t_density(target, np.full(40, 1.0))[:, None]
    learned, others, errors = regressions.learn(features, np.zeros(40), target, models, np.zeros(3), poor)
    assert others[0] < 1e-3
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(0.1, abs=0.05)
    weights = learned.weights.reshape(-1, 3).sum(axis=0)
    assert weights[1] > 0.99
    means, sds, _ = learned(np.array([[1.0, 0.0]]), np.zeros(1))
    assert (learned.weights @ means[0]) == pytest.approx(0.8, abs=0.1)
    assert (learned.weights @ sds[0]) == pytest.approx(0.1, abs=0.04)
