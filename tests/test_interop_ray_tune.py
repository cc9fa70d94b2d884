"""The stopper and the scheduler in a real Ray on this machine: two processes, no dashboard, no network."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from vilfredo.forecast import curves
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial

pytest.importorskip(
    "ray.tune", reason='Ray Tune is not installed: pip install "ray[tune]"', exc_type=ImportError
)
import ray
from ray import tune

from vilfredo.interop.ray_tune import Scheduler, Stopper

EPOCHS = 6
KNOWN: dict[str, Any] = {
    "metric": "accuracy",
    "mode": "max",
    "max_t": EPOCHS,
    "train_metric": "train_accuracy",
}


class Cut:
    """Halts after two epochs whoever is below a level; revives the best of `again` once four are known."""

    def __init__(
        self, goals: Sequence[Goal], level: float = 0.5, action: str = "stop", again: int = 0
    ) -> None:
        self.goals, self.level, self.action, self.again = goals, level, action, again

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        curve = curves.read(trial, self.goals, epochs)
        if curve is None or len(curve.index) < 2:
            return GO
        found = curves.forecast(curve, float(curve.val[-1]), 0.01)
        if len(curve.index) > 2 or 1 - curve.val[-1] >= self.level:
            return Verdict("go", found)
        return Verdict(self.action, found, f"below {self.level}")  # type: ignore[arg-type]

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        paused = [t for t in trials if t.state == "paused"]
        done = sum(t.state == "complete" and bool(t.halts) for t in trials)
        if len(trials) < 4 or done >= self.again:
            return []
        best = min(paused, key=lambda t: t.value("error").mean, default=None)  # type: ignore[union-attr]
        return [] if best is None else [best.number]


def reports(config: dict[str, Any]) -> None:
    """A function without checkpoints."""
    for epoch in range(1, config.get("epochs", EPOCHS) + 1):
        time.sleep(0.02)
        accuracy = config["top"] * (1 - 0.5**epoch)
        nested = {"eval": {"accuracy": accuracy}, "macs": 10 * config["top"]}
        tune.report({"accuracy": accuracy, "train_accuracy": accuracy + 0.02, **nested})


def checkpoints(config: dict[str, Any]) -> None:
    """A function that can go on from where it was paused; it leaves a line for every epoch it trains."""
    done = 0
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            done = int(Path(folder, "epoch").read_text())
    for epoch in range(done + 1, EPOCHS + 1):
        with open(config["log"], "a") as log:
            log.write(f"{config['top']} {epoch}\n")
        accuracy = config["top"] * (1 - 0.5**epoch)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "epoch").write_text(str(epoch))
            tune.report(
                {"accuracy": accuracy, "train_accuracy": accuracy},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )


def fails(config: dict[str, Any]) -> None:
    tune.report({"accuracy": 0.9, "train_accuracy": 0.9})
    raise RuntimeError("the data is gone")


class Steps(tune.Trainable):
    """A class with checkpoints."""

    def setup(self, config: dict[str, Any]) -> None:
        self.epoch, self.top = 0, config["top"]

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        accuracy = self.top * (1 - 0.5**self.epoch)
        return {"accuracy": accuracy, "train_accuracy": accuracy, "done": self.epoch >= EPOCHS}

    def save_checkpoint(self, folder: str) -> None:
        Path(folder, "epoch").write_text(str(self.epoch))

    def load_checkpoint(self, folder: str) -> None:
        self.epoch = int(Path(folder, "epoch").read_text())


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    changes = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    folder = tempfile.mkdtemp(prefix="ray")  # sockets want a short path
    running = {p.pid for p in psutil.Process().children(recursive=True)}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
        object_store_memory=80 * 2**20,
        _temp_dir=folder,
    )
    here = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(here)  # a worker need not import what only tests need
    yield
    ray.cloudpickle.unregister_pickle_by_value(here)
    ray.shutdown()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    left = [p for p in psutil.Process().children(recursive=True) if p.pid not in running]
    _, alive = psutil.wait_procs(left, timeout=120)
    assert alive == []
    shutil.rmtree(folder, ignore_errors=True)


pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
    )
]
long = [pytest.mark.long, pytest.mark.usefixtures("local_ray")]


def fit(
    trainable: Any,
    folder: Path,
    tops: Sequence[float],
    settings: dict[str, Any],
    stop: Any = None,
    **config: Any,
) -> Any:
    space = {"top": tune.grid_search(list(tops)), **config}
    tuner = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True, **settings),
        run_config=tune.RunConfig(storage_path=str(folder), name="run", stop=stop, verbose=0),
    )
    return tuner.fit()


def epochs(grid: Any) -> dict[float, int]:
    return {r.config["top"]: r.metrics["training_iteration"] for r in grid}


class TestStopper:
    pytestmark = long

    def test_it_ends_the_poor_and_forecasts(self, tmp_path: Path) -> None:
        stop = Stopper(Cut, **KNOWN)
        grid = fit(reports, tmp_path, [0.9, 0.3, 0.8, 0.2], {}, stop)
        assert epochs(grid) == {0.9: EPOCHS, 0.3: 2, 0.8: EPOCHS, 0.2: 2}
        assert sorted(t.state for t in stop.watch.trials) == ["complete", "complete", "stopped", "stopped"]
        ended = {r.metrics["trial_id"] for r in grid if r.config["top"] < 0.5}
        assert set(stop.reasons) == ended
        assert {stop.reasons[i] for i in ended} == {"below 0.5"}
        assert set(stop.forecasts) == {r.metrics["trial_id"] for r in grid}
        for result in grid:
            forecast = stop.forecasts[result.metrics["trial_id"]]
            seen = 2 if result.config["top"] < 0.5 else EPOCHS - 1  # nothing is forecast after the last epoch
            assert forecast.mean == pytest.approx(result.config["top"] * (1 - 0.5**seen))
            assert forecast.origin == "forecast"

    def test_what_it_would_pause_it_ends_and_goals_are_found_in_results(self, tmp_path: Path) -> None:
        settings = {**KNOWN, "metric": "eval/accuracy"}
        stop = Stopper(Cut, **settings, goals={"macs": "min", "size": "min"}, action="pause", again=9)
        grid = fit(reports, tmp_path, [0.9, 0.3], {"max_concurrent_trials": 1}, stop, size=7)
        assert epochs(grid) == {0.9: EPOCHS, 0.3: 2}
        assert [t.state for t in stop.watch.trials] == ["complete", "stopped"]
        assert [t.value("macs").mean for t in stop.watch.trials] == [9.0, 3.0]  # type: ignore[union-attr]
        assert [t.value("size").mean for t in stop.watch.trials] == [7.0, 7.0]  # type: ignore[union-attr]

    def test_a_function_that_returns_early_is_complete(self, tmp_path: Path) -> None:
        stop = Stopper("never", **KNOWN)
        grid = fit(reports, tmp_path, [0.9], {}, stop, epochs=3)
        assert epochs(grid) == {0.9: 3}
        (trial,) = stop.watch.trials
        assert trial.state == "complete"
        assert len(trial.epochs) == 3

    def test_a_metric_that_is_not_reported_is_named(self, tmp_path: Path) -> None:
        stop = Stopper("never", metric="f1", mode="max", max_t=EPOCHS)
        with pytest.raises(
            Exception, match=r"no 'f1' \(they have: accuracy, eval/accuracy, macs, train_accuracy\)"
        ):
            fit(reports, tmp_path, [0.9], {}, stop)


class TestScheduler:
    pytestmark = long

    def test_it_ends_the_poor(self, tmp_path: Path) -> None:
        scheduler = Scheduler(Cut, max_t=EPOCHS, train_metric="train_accuracy")
        settings = {"scheduler": scheduler, "metric": "accuracy", "mode": "max"}
        grid = fit(reports, tmp_path, [0.9, 0.3], settings)
        assert epochs(grid) == {0.9: EPOCHS, 0.3: 2}
        assert len(scheduler.forecasts) == 2
        assert "1 complete, 0 paused, 1 stopped" in scheduler.debug_string()

    def test_paused_functions_go_on_from_their_checkpoints(self, tmp_path: Path) -> None:
        scheduler = Scheduler(Cut, **KNOWN, action="pause", again=1)
        log = tmp_path / "log"
        grid = fit(checkpoints, tmp_path, [0.2, 0.9, 0.4, 0.3], {"scheduler": scheduler}, log=str(log))
        assert epochs(grid) == {0.9: EPOCHS, 0.4: EPOCHS, 0.3: 2, 0.2: 2}
        trained = [line.split() for line in log.read_text().splitlines()]
        assert [int(e) for top, e in trained if top == "0.4"] == list(range(1, EPOCHS + 1))
        states = {t.state for t in scheduler.watch.trials}
        assert states == {"complete", "stopped"}
        assert len(scheduler.reasons) == 2

    def test_paused_classes_go_on_too(self, tmp_path: Path) -> None:
        scheduler = Scheduler(Cut, **KNOWN, action="pause", again=2)
        grid = fit(Steps, tmp_path, [0.2, 0.9, 0.4, 0.3], {"scheduler": scheduler})
        assert epochs(grid) == {0.9: EPOCHS, 0.4: EPOCHS, 0.3: EPOCHS, 0.2: 2}

    def test_without_a_checkpoint_there_is_no_pause(self, tmp_path: Path) -> None:
        scheduler = Scheduler(Cut, **KNOWN, action="pause", again=9)
        grid = fit(reports, tmp_path, [0.9, 0.3, 0.2, 0.1], {"scheduler": scheduler})
        assert epochs(grid) == {0.9: EPOCHS, 0.3: 2, 0.2: 2, 0.1: 2}
        assert sorted(t.state for t in scheduler.watch.trials) == ["complete", *["stopped"] * 3]

    def test_paused_trials_do_not_hold_up_a_searcher(self, tmp_path: Path) -> None:
        """Two at once may live; both are paused."""
        scheduler = Scheduler(Cut, **KNOWN, action="pause", again=1)
        settings = {"scheduler": scheduler, "max_concurrent_trials": 2}
        grid = fit(checkpoints, tmp_path, [0.2, 0.3, 0.1, 0.4], settings, log=str(tmp_path / "log"))
        assert len(grid) == 4
        assert sum(epochs(grid).values()) == 3 * 2 + EPOCHS

    def test_failures_are_failures(self, tmp_path: Path) -> None:
        scheduler = Scheduler("never", **KNOWN)
        grid = fit(fails, tmp_path, [0.9], {"scheduler": scheduler})
        assert len(grid.errors) == 1
        assert [t.state for t in scheduler.watch.trials] == ["failed"]


@pytest.mark.parametrize("kind", [Stopper, Scheduler])
def test_what_makes_no_sense_is_said_in_a_sentence(kind: Any) -> None:
    with pytest.raises(ValueError, match="max_t, the training_iteration at which training is over, is 0"):
        kind(metric="accuracy", mode="max")
    with pytest.raises(ValueError, match='what is better in \'accuracy\': mode="max" or mode="min"'):
        kind(metric="accuracy", mode="up", max_t=3)
    with pytest.raises(ValueError, match='goals: macs is \'less\'; write "min" or "max"'):
        kind(**KNOWN, goals={"macs": "less"})
    with pytest.raises(ValueError, match="engine never: k: unknown option"):
        kind("never", **KNOWN, k=3)


def test_metric_and_mode_are_needed_where_ray_tells_none() -> None:
    with pytest.raises(ValueError, match='say which metric of the results to watch: metric="accuracy"'):
        Stopper("never", max_t=3)
    with pytest.raises(ValueError, match='mode="max" or mode="min"'):
        Stopper("never", metric="accuracy", max_t=3)
    with pytest.raises(ValueError, match="say which metric"):
        Scheduler("never", max_t=3).set_search_properties(None, None)
    assert not Scheduler("never", **KNOWN).set_search_properties("accuracy", "max")
