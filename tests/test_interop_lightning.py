"""The callback in real Lightning trainers."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from vilfredo.forecast import curves
from vilfredo.goal import Goal
from vilfredo.interop.watch import Watch
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Trial

pytest.importorskip("lightning", reason="Lightning is not installed: pip install lightning")
import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping

from vilfredo.interop.lightning import Callback

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:FutureWarning")
EPOCHS = 8
GOAL = Goal("accuracy", "max")


class Cut:
    """Halts at an epoch whoever is below a level, with a forecast from the third epoch on."""

    def __init__(self, goals: Sequence[Goal], level: float = 0.5, at: int = 3, action: str = "stop") -> None:
        self.goals, self.level, self.at, self.action = goals, level, at, action

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        curve = curves.read(trial, self.goals, epochs)
        if curve is None or len(curve.index) < self.at:
            return GO
        found = curves.forecast(curve, float(curve.val[-1]), 0.02)
        if len(curve.index) > self.at or 1 - curve.val[-1] >= self.level:
            return Verdict("go", found)
        return Verdict(self.action, found, f"below {self.level}")  # type: ignore[arg-type]

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return [t.number for t in trials if t.state == "paused"]


class Module(pl.LightningModule):
    """Its validation accuracy goes from 0 to `top`; it trains a real weight, too."""

    def __init__(self, top: float, where: str = "validation_step", fails: int = 0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.top, self.where, self.fails = top, where, fails

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        if self.fails and self.current_epoch + 1 == self.fails:
            raise RuntimeError("the data is gone")
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train_acc", self.accuracy() + 0.05)
        if self.where == "train_epoch_end":
            self.log("val_acc", self.accuracy())

    def validation_step(self, batch: Any, index: int) -> None:
        if self.where == "validation_step":
            self.log("val_acc", self.accuracy())

    def accuracy(self) -> float:
        return self.top * (1 - 0.5 ** (self.current_epoch + 1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader() -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 2)), batch_size=4)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    names = ("lightning.pytorch", "lightning.fabric")
    levels = {n: logging.getLogger(n).level for n in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def trainer(folder: Path, *callbacks: Any, **changes: Any) -> pl.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": EPOCHS,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": str(folder),
        "callbacks": list(callbacks),
    }
    return pl.Trainer(**{**settings, **changes})


def fit(folder: Path, early: Callback, top: float, validate: bool = True, **changes: Any) -> pl.Trainer:
    made = trainer(folder, early, **changes)
    made.fit(Module(top), loader(), loader() if validate else None)
    return made


def watch(**options: Any) -> Watch:
    return Watch(Cut, epochs=EPOCHS, goal=GOAL, **options)


def test_a_poor_network_is_ended_and_a_good_one_is_not(tmp_path: Path) -> None:
    """Two fits, one watch: the sanity check is no epoch, and what Lightning shows late is seen."""
    search = watch()
    early = Callback(search, "val_acc", "train_acc", macs=5.0)
    good = fit(tmp_path, early, 0.9)
    assert good.current_epoch == EPOCHS
    assert not early.reason
    assert early.network is not None
    first = early.network.trial
    assert first.state == "complete"
    assert first.value("accuracy").mean == pytest.approx(0.9 * (1 - 0.5**EPOCHS))  # type: ignore[union-attr]
    assert [e.index for e in first.epochs] == list(range(1, EPOCHS + 1))
    assert first.epochs[0].metrics["train_accuracy"] == pytest.approx(0.5)

    poor = fit(tmp_path, early, 0.4)
    assert poor.current_epoch == 3
    assert early.reason == "below 0.5"
    assert early.forecast is not None
    assert early.forecast.mean == pytest.approx(0.35)
    assert poor.callback_metrics["val_acc_forecast"].item() == pytest.approx(0.35)
    assert poor.callback_metrics["val_acc_forecast_sd"].item() == pytest.approx(0.02)
    assert [t.state for t in search.trials] == ["complete", "stopped"]
    assert search.trials[1].value("accuracy").origin == "forecast"  # type: ignore[union-attr]


def test_metrics_may_be_logged_anywhere_and_seldom(tmp_path: Path) -> None:
    search = watch()
    early = Callback(search, "val_acc")
    made = trainer(tmp_path, early)
    made.fit(Module(0.4, "train_epoch_end"), loader())
    assert made.current_epoch == 3
    seldom = fit(tmp_path, early, 0.4, check_val_every_n_epoch=2)
    assert seldom.current_epoch == 6  # the third validation
    assert [e.index for e in search.trials[1].epochs] == [2, 4, 6]
    often = fit(tmp_path, early, 0.4, val_check_interval=0.5)
    assert often.current_epoch == 3
    assert [e.index for e in search.trials[2].epochs] == [1, 2, 3]


def test_a_paused_network_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    search = watch(action="pause")
    early = Callback(search, "val_acc", "train_acc")
    made = fit(tmp_path, early, 0.4)
    made.save_checkpoint(tmp_path / "paused.ckpt")
    assert early.paused
    assert search.revive() == [0]
    again = trainer(tmp_path, early)
    again.fit(Module(0.4), loader(), loader(), ckpt_path=tmp_path / "paused.ckpt")
    assert again.current_epoch == EPOCHS
    assert not early.paused
    assert [t.state for t in search.trials] == ["complete"]
    assert [e.index for e in search.trials[0].epochs] == list(range(1, EPOCHS + 1))


def test_a_trainer_that_is_let_go_on_trains_the_same_network(tmp_path: Path) -> None:
    search = watch(action="pause")
    early, module = Callback(search, "val_acc"), Module(0.4)
    made = trainer(tmp_path, early)
    made.fit(module, loader(), loader())
    made.fit(module, loader(), loader())
    assert [t.state for t in search.trials] == ["complete"]
    assert [e.index for e in search.trials[0].epochs] == list(range(1, EPOCHS + 1))


def test_another_process_goes_on_with_the_curve(tmp_path: Path) -> None:
    fit(tmp_path, Callback(watch(), "val_acc"), 0.9, max_epochs=5).save_checkpoint(tmp_path / "five.ckpt")
    search = watch()  # as a new process has it: nothing is known
    early = Callback(search, "val_acc")
    trainer(tmp_path, early).fit(Module(0.9), loader(), loader(), ckpt_path=tmp_path / "five.ckpt")
    assert [e.index for e in search.trials[0].epochs] == list(range(1, EPOCHS + 1))
    assert search.trials[0].state == "complete"


def test_the_number_says_which_network_it_is(tmp_path: Path) -> None:
    search = watch(action="pause")
    fit(tmp_path, Callback(search, "val_acc"), 0.4)
    fit(tmp_path, Callback(search, "val_acc", number=0), 0.9)  # anew, from its first epoch
    assert [t.state for t in search.trials] == ["complete"]
    assert len(search.trials[0].epochs) == EPOCHS


def test_a_forecast_is_confirmed(tmp_path: Path) -> None:
    """The best of all is one by forecast: it is trained in full, and its engine is not asked."""
    search = watch()
    fit(tmp_path, Callback(search, "val_acc"), 0.4)
    assert search.unconfirmed() == [0]
    made = fit(tmp_path, Callback(search, "val_acc", number=0, confirm=True), 0.4)
    assert made.current_epoch == EPOCHS
    assert search.unconfirmed() == []


def test_other_callbacks_and_failures_end_networks_too(tmp_path: Path) -> None:
    search = watch()
    early = Callback(search, "val_acc")
    made = trainer(tmp_path, early, EarlyStopping("val_acc", mode="max", patience=1, min_delta=1.0))
    made.fit(Module(0.9), loader(), loader())
    assert 0 < made.current_epoch < EPOCHS
    with pytest.raises(RuntimeError, match="the data is gone"):
        trainer(tmp_path, early).fit(Module(0.9, fails=2), loader(), loader())
    assert [t.state for t in search.trials] == ["complete", "failed"]
    assert search.trials[1].failure is not None
    assert "the data is gone" in search.trials[1].failure.message


def test_what_makes_no_sense_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tells a Watch, not 'genrace'"):
        Callback("genrace")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="confirm=True: say which network"):
        Callback(watch(), confirm=True)
    with pytest.raises(ValueError, match=r"no last epoch.*max_epochs=8"):
        fit(tmp_path, Callback(watch(), "val_acc"), 0.9, max_epochs=-1)
    with pytest.raises(ValueError, match="max_epochs=9 and the watch epochs=8"):
        fit(tmp_path, Callback(watch(), "val_acc"), 0.9, max_epochs=9)
    with pytest.raises(ValueError, match=r"nothing logs 'accuracy' .*val_acc"):
        fit(tmp_path, Callback(watch(), "accuracy"), 0.9)
    with pytest.raises(ValueError, match="nothing logs 'val_acc'"):
        fit(tmp_path, Callback(watch(), "val_acc"), 0.9, validate=False)
    with pytest.raises(ValueError, match="nothing logs 'train_accuracy'"):
        fit(tmp_path, Callback(watch(), "val_acc", "train_accuracy"), 0.9)


def test_a_trial_run_of_one_batch_is_let_through(tmp_path: Path) -> None:
    search = watch()
    fit(tmp_path, Callback(search, "val_acc"), 0.1, fast_dev_run=True)
    assert search.trials == []


def run(code: str, folder: Path) -> str:
    file = folder / "script.py"
    file.write_text(textwrap.dedent(code), encoding="utf-8")
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, str(file), str(folder), here], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_trainers_of_pytorch_lightning_are_served_too(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    code = """
    import sys, torch
    import pytorch_lightning as pl
    from vilfredo.interop.lightning import Callback
    from vilfredo.interop.watch import Watch

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
        def training_step(self, batch, index):
            return self.layer(batch[0]).square().mean()
        def on_train_epoch_end(self):
            self.log("acc", 0.1)
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 2)), batch_size=4)
    watch = Watch("fixed", epochs=8, goal="accuracy", k=3)
    early = Callback(watch, "acc")
    trainer = pl.Trainer(max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, default_root_dir=sys.argv[1], callbacks=early)
    trainer.fit(Module(), data)
    print(trainer.current_epoch, watch.trials[0].state, "lightning.pytorch" in sys.modules)
    """
    words = run(code, tmp_path).split()
    assert words[-3:-1] in (["3", "stopped"], ["3", "paused"])
    assert words[-1] == "False"


@pytest.mark.long
def test_rank_zero_decides_for_all_processes(tmp_path: Path) -> None:
    """Two processes, whose metrics differ; both end at the epoch that rank zero names."""
    code = """
    import sys, torch
    import lightning.pytorch as pl
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_interop_lightning import Cut, Module, loader
    from vilfredo.goal import Goal
    from vilfredo.interop.lightning import Callback
    from vilfredo.interop.watch import Watch

    watch = Watch(Cut, epochs=8, goal=Goal("accuracy", "max"))
    early = Callback(watch, "val_acc", "train_acc")
    trainer = pl.Trainer(max_epochs=8, accelerator="cpu", devices=2, strategy="ddp", logger=False,
                         enable_checkpointing=False, enable_progress_bar=False,
                         default_root_dir=sys.argv[1], callbacks=[early])
    module = Module(0.4 if trainer.global_rank == 0 else 0.9)
    trainer.fit(module, loader(), loader())
    text = f"{trainer.current_epoch} {early.reason} {early.forecast.mean:.2f} {len(watch.trials)}"
    Path(sys.argv[1], f"rank{trainer.global_rank}").write_text(text)
    """
    run(code, tmp_path)
    assert (tmp_path / "rank0").read_text() == "3 below 0.5 0.35 1"
    assert (tmp_path / "rank1").read_text() == "3 below 0.5 0.35 0"


def test_forecasts_are_in_the_logs_from_the_first_epoch(tmp_path: Path) -> None:
    """As NaN while there is none, so that loggers which fix their columns have them."""
    early = Callback(watch(), "val_acc")
    made = fit(tmp_path, early, 0.9, max_epochs=1)
    assert math.isnan(made.callback_metrics["val_acc_forecast"].item())
