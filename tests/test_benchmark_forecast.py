"""The benchmark of early termination: its readers, its replay and its figures."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import curves, forecast
from benchmarks.curves import Experiment, NetworkCurve, Unfit
from benchmarks.replay import ONE, TWO, Replay, confirm, fronts, mean_gap, recall, replay, scores, tau

from vilfredo.forecast.never import Never
from vilfredo.protocols import GO, Verdict
from vilfredo.spec import names
from vilfredo.trial import Trial, Value

ROOT = Path(forecast.__file__).parents[1]
CURVES = Path(os.environ.get("VILFREDO_DATA", "nowhere")) / "learning_curves"
needs_data = pytest.mark.skipif(not CURVES.is_dir(), reason="$VILFREDO_DATA/learning_curves is not there")


def experiment(
    count: int = 30, epochs: int = 8, seed: int = 0, group: curves.Group = "accuracy"
) -> Experiment:
    rng = np.random.default_rng(seed)
    networks = []
    for i in range(count):
        level, speed = rng.uniform(60, 99), rng.uniform(0.5, 2)
        steps = np.arange(1, epochs + 1)
        val = level * (1 - np.exp(-speed * steps)) + rng.normal(0, 0.5, epochs)
        train = level * (1 - np.exp(-speed * steps)) + 1
        networks.append(NetworkCurve(f"n{i}", train, val, float(rng.uniform(10, 1000))))
    return Experiment("made", epochs, tuple(networks), group)


class Pausing:
    """Pauses after two epochs whoever is worse than the median of the others then; revives the best one
    whenever three are paused. Keeps all it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        self.seen.append(("call", trial, tuple(peers), epochs))
        if len(trial.epochs) != 2 or len(peers) < 3:
            return GO
        now = trial.epochs[-1].metrics["val_error"]
        if now <= np.median([t.epochs[1].metrics["val_error"] for t in peers]):
            return GO
        return Verdict("pause", {"error": Value(now - 0.01, 0.02, 1, "forecast")}, "worse")

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        self.seen.append(("revive", tuple(trials)))
        paused = [t for t in trials if t.state == "paused"]
        if len(paused) < 3:
            return []
        return [min(paused, key=lambda t: t.epochs[1].metrics["val_error"]).number]


class Fixed:
    def __init__(self, after: int, action: str = "stop") -> None:
        self.after, self.action = after, action

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        return Verdict(self.action) if len(trial.epochs) >= self.after else GO  # type: ignore[arg-type]

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return []


# -- replay -----------------------------------------------------------------------------------------


def test_nobody_stopped_costs_everything_and_errs_nowhere() -> None:
    made = experiment()
    found = scores(replay(made, range(30), Never(), TWO), two=True)
    exact = {"saved": 0, "saved_flops": 0, "mae": 0, "recall10": 1, "recall20": 1, "mean_gap": 0, "tau": 1}
    for metric, value in (exact | {"pareto_recall": 1, "hv_ratio": 1, "confirmed_saved": 0}).items():
        assert found[metric] == pytest.approx(value, abs=1e-12), metric


def test_a_stop_without_forecast_returns_what_was_measured_so_far() -> None:
    made = experiment(12, 8)
    run = replay(made, range(12), Fixed(3))
    assert (run.paid == 3).all()
    assert run.returned == pytest.approx([n.val[2] for n in made.networks])
    assert {t.state for t in run.trials} == {"stopped"}
    assert scores(run)["saved"] == pytest.approx(5 / 8)
    assert "inside90" not in scores(run)


@pytest.mark.parametrize("action", ["stop", "pause"])
def test_a_verdict_at_the_last_epoch_changes_nothing(action: str) -> None:
    run = replay(experiment(12, 8), range(12), Fixed(8, action))
    assert {t.state for t in run.trials} == {"complete"}
    assert run.returned == pytest.approx(run.true)


def test_the_paused_go_on_from_where_they_were() -> None:
    run = replay(experiment(), range(30), Pausing())
    revived = [t for t in run.trials if t.halts and t.state == "complete"]
    assert run.revived == len(revived) > 0
    assert sum(t.state == "paused" for t in run.trials) == 2  # those whom nobody revives any more
    for trial in revived:
        assert [e.index for e in trial.epochs] == list(range(1, 9))
        assert trial.halts[0].epoch == 2
        value = trial.value("error")
        assert value is not None
        assert value.origin == "measured"
    for trial in run.trials:
        value = trial.value("error")
        assert value is not None
        assert (value.origin == "forecast") == (trial.state == "paused")


def test_the_order_is_the_order() -> None:
    made = experiment()
    engine = Pausing()
    order = list(reversed(range(30)))
    run = replay(made, order, engine)
    assert [t.genome["id"] for t in run.trials] == [f"n{i}" for i in order]
    assert run.true == pytest.approx([made.networks[i].val[-1] for i in order])
    assert run.cost == pytest.approx([made.networks[i].cost for i in order])


def poisoned(made: Experiment, order: Sequence[int], run: Replay) -> Experiment:
    """The experiment with nonsense in every place that was not paid for."""
    networks = list(made.networks)
    for place, paid in zip(order, run.paid, strict=True):
        one = networks[place]
        train, val = one.train.copy(), one.val.copy()
        train[paid:], val[paid:] = 123.0, -77.0
        networks[place] = replace(one, train=train, val=val)
    return replace(made, networks=tuple(networks))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_was_not_paid_for_is_seen(seed: int) -> None:
    made = experiment(seed=seed)
    order = [int(i) for i in np.random.default_rng(seed).permutation(30)]
    first, second = Pausing(), Pausing()
    run = replay(made, order, first)
    again = replay(poisoned(made, order, run), order, second)
    assert first.seen == second.seen
    assert (run.paid == again.paid).all()
    for shown in first.seen:
        known = [*shown[2], shown[1]] if shown[0] == "call" else shown[1]  # type: ignore[misc]
        for trial in known:  # type: ignore[attr-defined]
            value = trial.value("error")
            measured = value is not None and value.origin == "measured"
            assert measured == (trial.state == "complete")
            assert len(trial.epochs) == 8 or trial.state == "paused"


@pytest.mark.parametrize(
    "name", [n for n in forecast.ENGINES if forecast.ENGINES[n][0] in names.known("stopper")]
)
@pytest.mark.parametrize("goals", [ONE, TWO], ids=["one", "two"])
def test_what_was_not_paid_for_changes_no_engine(name: str, goals: Sequence[forecast.Goal]) -> None:
    if name in ("penguin", "ensemble"):
        pytest.importorskip("scipy")
    made = experiment(16, 8)
    run = replay(made, range(16), forecast.engine(name, goals), goals)
    again = replay(poisoned(made, range(16), run), range(16), forecast.engine(name, goals), goals)
    assert (run.paid == again.paid).all()
    assert run.returned == pytest.approx(again.returned)
    assert [t.halts for t in run.trials] == [t.halts for t in again.trials]


# -- figures ----------------------------------------------------------------------------------------


def test_recall_by_hand() -> None:
    true = np.arange(20.0)
    assert recall(true, true, 0.1) == 1
    assert recall(true, -true, 0.1) == 0
    returned = true.copy()
    returned[0] = 99  # one place of two is lost to a poor one
    assert recall(true, returned, 0.1) == 0.5
    assert recall(true, returned, 0.2) == 0.75


def test_returned_ties_are_broken_at_random() -> None:
    assert recall(np.arange(20.0), np.zeros(20), 0.1) == pytest.approx(0.1)
    assert mean_gap(np.arange(20.0), np.zeros(20), 0.1) == pytest.approx(18.5 - 9.5)


def test_of_truly_tied_ones_any_will_do_but_only_in_their_places() -> None:
    true = np.array([9.0, 5, 5, 5, 5, 5, 5, 5, 5, 1])  # the best fifth: the first, and any one of the fives
    assert recall(true, np.array([9.0, 0, 0, 0, 0, 0, 0, 0, 8, 1]), 0.2) == 1
    assert recall(true, np.array([0.0, 0, 0, 0, 0, 0, 0, 9, 8, 1]), 0.2) == 0.5
    assert mean_gap(true, np.array([0.0, 0, 0, 0, 0, 0, 0, 9, 8, 1]), 0.2) == pytest.approx(2)


def test_mean_gap_by_hand() -> None:
    true = np.arange(20.0)
    returned = true.copy()
    returned[0] = 99
    assert mean_gap(true, returned, 0.1) == pytest.approx((19 + 18) / 2 - (19 + 0) / 2)


def test_tau_is_kendalls_tau_b() -> None:
    assert tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(1 / 3)
    assert tau(np.array([1.0, 2, 2]), np.array([1.0, 2, 3])) == pytest.approx(2 / math.sqrt(2 * 3))
    assert tau(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) == 0
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 60).astype(float), rng.integers(0, 9, 60).astype(float)
    assert tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)


def test_fronts_by_hand() -> None:
    cost = np.array([1.0, 2, 3, 4])
    true = np.array([80.0, 90, 85, 95])  # the third is dominated
    assert fronts(true, true, cost) == (1, 1)
    part, ratio = fronts(true, np.array([80.0, 90, 85, 88]), cost)  # the last is thought to be dominated
    assert part == pytest.approx(2 / 3)
    # Box from (5, 1) to (20, 4) and a tenth beyond: (21.5, 4.3); errors 20, 10, 5 at costs 1, 2, 4.
    whole = 1.5 * 1.0 + 11.5 * 2.0 + 16.5 * 0.3
    assert ratio == pytest.approx((1.5 * 1.0 + 11.5 * 2.3) / whole)


def test_the_confirmed_front_is_trained_to_the_end() -> None:
    run = Replay(
        epochs=10,
        true=np.array([80.0, 90, 85, 70]),
        returned=np.array([80.0, 86, 95, 60]),
        cost=np.array([1.0, 2, 3, 4]),
        paid=np.array([10, 2, 2, 2]),
        seconds=0.0,
    )
    returned, paid = confirm(run)
    assert list(returned) == [80, 90, 85, 60]
    assert list(paid) == [10, 10, 10, 2]


# -- ceilings ---------------------------------------------------------------------------------------


def test_the_oracle_pays_two_epochs_for_everybody_and_the_rest_for_the_best() -> None:
    found = forecast.ceilings(experiment(30, 8))
    assert found["oracle_recall10"] == pytest.approx(1 - (30 * 2 + 3 * 6) / 240)
    assert found["oracle_recall20_09"] == pytest.approx(1 - (30 * 2 + 6 * 6) / 240)
    assert found["oracle_front"] == pytest.approx(1 - (30 * 2 + found["front"] * 6) / 240)


def test_thresholds_of_hindsight() -> None:
    """Curves that never cross: the first epoch tells all, so each of the others costs one epoch."""
    levels = np.linspace(50, 99, 30)
    networks = tuple(
        NetworkCurve(str(i), np.full(10, v), np.full(10, v), 1.0 + i) for i, v in enumerate(levels)
    )
    found = forecast.ceilings(Experiment("flat", 10, networks))
    assert found["rule_recall20"] == pytest.approx(1 - (6 * 10 + 24) / 300)
    assert found["rule_train_recall10"] == pytest.approx(1 - (3 * 10 + 27) / 300)
    assert found["rule_recall20_09"] >= found["rule_recall20"]


# -- readers ----------------------------------------------------------------------------------------


def write_csv(path: Path, made: Experiment, name: str = "lab", scale: float = 1.0, short: int = 0) -> Path:
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["note", "experiment", "arch_id", "epoch", "train_acc", "val_acc", "mflops"])
        for i, one in enumerate(made.networks):
            for epoch in range(made.epochs - (3 if i < short else 0)):
                values = (one.train[epoch] * scale, one.val[epoch] * scale)
                rows.writerow(["x", name, f"a{i}", epoch, *values, one.cost])
    return path


@pytest.mark.parametrize("name", ["curves.csv", "curves.csv.gz"])
def test_csv_there_and_back(tmp_path: Path, name: str) -> None:
    made = experiment()
    (found,) = curves.read(write_csv(tmp_path / name, made))
    assert isinstance(found, Experiment)
    assert (found.name, found.epochs, found.group, found.priced) == ("lab", 8, "accuracy", True)
    for one, other in zip(found.networks, made.networks, strict=True):
        assert one.val == pytest.approx(other.val)
        assert one.train == pytest.approx(other.train)
        assert one.cost == pytest.approx(other.cost)


def test_fractions_become_percent(tmp_path: Path) -> None:
    made = experiment()
    (found,) = curves.read(write_csv(tmp_path / "fractions.csv", made, scale=0.01))
    assert isinstance(found, Experiment)
    assert found.networks[3].val == pytest.approx(made.networks[3].val)


def test_incomplete_networks_take_no_part(tmp_path: Path) -> None:
    made = experiment()
    (few,) = curves.read(write_csv(tmp_path / "few.csv", made, short=4))
    assert isinstance(few, Experiment)
    assert [n.id for n in few.networks] == [f"a{i}" for i in range(4, 30)]
    (most,) = curves.read(write_csv(tmp_path / "most.csv", made, short=16))
    assert isinstance(most, Unfit)
    assert "14 of 30" in most.reason


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no learning curves"):
        curves.read(tmp_path / "other.csv")


def test_losses_in_points() -> None:
    found = curves.points(np.array([0.0, 1.0, 2.0, 9.0, math.nan, math.inf]), 2.0)
    assert found == pytest.approx([100, 50, 0, 0, 0, 0])


@needs_data
def test_the_published_curves() -> None:
    fit, unfit = curves.read_all(curves.available())
    by_name = {e.name: e for e in fit}
    for name in ("1gpu_1e14_full", "4gpu_1e14_full"):
        found = by_name[name]
        assert (len(found.networks), found.epochs, found.group, found.priced) == (100, 25, "accuracy", True)
    assert [u.name for u in unfit] == ["1gpu_1e14_early"]
    tasks = [e for e in fit if e.group == "taskset"]
    assert [(len(e.networks), e.epochs) for e in tasks] == [(1000, 51)] * 3
    for task in tasks:
        assert all(
            np.isfinite(n.val).all() and (n.val >= 0).all() and (n.val <= 100).all() for n in task.networks
        )
        assert 0.5 < np.mean([n.val[-1] == 0 for n in task.networks]) < 0.9
    text = by_name["penguin_cifar100"]
    assert (len(text.networks), text.epochs) == (3, 80)
    assert text.networks[0].val[0] == 9.68
    assert (len(by_name["nasbench_nlp_wikitext2"].networks), by_name["nasbench_nlp_wikitext2"].epochs) == (
        341,
        50,
    )
    assert any(name.startswith("nats_") for name in by_name)


# -- the command ------------------------------------------------------------------------------------


def test_the_command_writes_flat_figures(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", experiment(), "one")
    write_csv(tmp_path / "b.csv.gz", experiment(seed=1), "two")
    command = [
        sys.executable,
        "-m",
        "benchmarks.forecast",
        "--json",
        "out.json",
        "--engines",
        "never",
        "never_two",
    ]
    command += ["--curves", "a.csv", "b.csv.gz", "--orders", "2", "--processes", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    metrics = (
        "saved",
        "saved_flops",
        "mae",
        "recall10",
        "recall20",
        "mean_gap",
        "tau",
        "pareto_recall",
        "hv_ratio",
    )
    for name in ("never", "never_two"):
        for where in ("one", "two", "mean"):
            for metric in (*metrics, "ms_per_epoch"):
                assert f"{name}.{where}.{metric}" in found
                assert f"{name}.{where}.{metric}.random" in found
    assert "ceiling.one.oracle_recall20" in found
    assert found["curves.mean.experiments"] == "one, two"
    assert "ceilings:" in done.stdout


def test_an_engine_that_is_asked_for_must_be_there() -> None:
    with pytest.raises(ValueError, match="there is no stopper 'nobody'"):
        forecast.chosen(["nobody"])
    assert {"never", "never_two"} <= set(forecast.chosen([]))


def test_random_orders_give_mean_and_spread() -> None:
    made = experiment()
    found = forecast.figures([made], ["never"], orders=3)
    assert found["never.made.saved.random_sd"] == 0
    jobs = [forecast.ordered(forecast.Job("never", made, order, 0.5)) for order in range(4)]
    assert jobs[0] == list(range(30))
    assert all(len(set(order)) == 15 for order in jobs[1:])
    assert jobs[1] != jobs[2]
