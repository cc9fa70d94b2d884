"""Early termination in Lightning: a callback that sets `trainer.should_stop`.

One `Watch` serves all networks of a search; each `fit` is one network::

    watch = Watch("genrace", epochs=25, goal=Goal("accuracy", "max"))
    for settings in candidates:
        early = Callback(watch, monitor="val_acc", train="train_acc", macs=…)
        Trainer(max_epochs=25, callbacks=[early]).fit(module(settings), data)

The class is an `EarlyStopping` of `lightning`, or of `pytorch_lightning` where only that one is imported
or installed.
"""

from __future__ import annotations

import logging
import math
import sys
from dataclasses import replace
from typing import Any

from vilfredo.interop.watch import Advice, Network, Watch
from vilfredo.trial import Epoch, Value

try:
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        raise ModuleNotFoundError("pytorch_lightning is what is used here")
    from lightning.pytorch.callbacks import EarlyStopping
except ModuleNotFoundError:
    try:
        from pytorch_lightning.callbacks import EarlyStopping
    except ModuleNotFoundError as absent:
        raise ModuleNotFoundError(
            "vilfredo.interop.lightning needs Lightning: pip install lightning", name=absent.name
        ) from absent

log = logging.getLogger(__name__)

PACKAGE = EarlyStopping.__module__.partition(".")[0]  # whose trainers the callback is for


class Callback(EarlyStopping):
    """Tells the engine each epoch's metrics and ends the fit when it says so.

    `watch` is the search's `Watch`; every `fit` with this callback is a new network of it, unless it resumes
    one (`ckpt_path`) or `number` says which it is. `monitor` names the logged validation metric, in the unit
    and sense of the watch's goal, `train` the logged training metric ("": none). `known` are values of goals
    that are known before training (`macs=…`). With `confirm` the network of that number is trained in full.

    After a fit: `forecast` (`Value`, None while there is none), `reason` (one clause, "" where it was not
    ended by the engine), `paused` (the engine may revive it: see `Watch.revive`, then fit again with
    `ckpt_path`), `network`. Each epoch's forecast is logged as `<monitor>_forecast` and
    `<monitor>_forecast_sd`.

    Under several processes rank zero decides for all. The curve so far is kept in the checkpoints, so a
    fit that is resumed in another process (`ckpt_path`) goes on with it. Raises `ValueError` for a trainer
    without an end (`max_epochs` −1) or with more epochs than the watch has, and for metrics nobody logs.

    It is an `EarlyStopping` because Lightning shows metrics logged in `on_train_epoch_end` to those only.
    """

    def __init__(
        self,
        watch: Watch,
        monitor: str = "val_accuracy",
        train: str = "",
        number: int | None = None,
        confirm: bool = False,
        **known: float,
    ) -> None:
        if not isinstance(watch, Watch):
            raise ValueError(
                f'the callback tells a Watch, not {watch!r}: Callback(Watch("genrace", epochs=25, …), …)'
            )
        if confirm and number is None:
            raise ValueError("confirm=True: say which network is trained in full, by its number=…")
        super().__init__(monitor, mode="min", check_on_train_epoch_end=True)
        self.watch = watch
        self.network: Network | None = None
        self.train_monitor = train
        self.known = known
        self.forecast: Value | None = None
        self.reason = ""
        self.paused = False
        self._number = number
        self._confirm = confirm
        self._curve: list[list[float]] = []  # (epoch, training, validation metric), kept in checkpoints
        self._restored = False
        self._validated = False
        self._seen: Any = None  # the metric as it was when the epoch began

    @property
    def state_key(self) -> str:
        key: str = self._generate_state_key(monitor=self.monitor, train=self.train_monitor)
        return key

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage != "fit":
            return
        package = type(trainer).__module__.partition(".")[0]
        if package in ("lightning", "pytorch_lightning") and package != PACKAGE:
            raise ValueError(
                f"this callback is for trainers of {PACKAGE} and the trainer is one of {package}; "
                f"import {package} before vilfredo.interop.lightning"
            )
        if trainer.fast_dev_run:
            return
        end = trainer.max_epochs
        if end is None or end < 0:
            raise ValueError(
                "the trainer has no last epoch, so nothing can be forecast; "
                f"give it max_epochs={self.watch.epochs}, the watch's epochs"
            )
        if end > self.watch.epochs:
            raise ValueError(
                f"the trainer has max_epochs={end} and the watch epochs={self.watch.epochs}; "
                "give both the length of full training"
            )
        self._restored = False

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Callback states have been restored by now, where the fit is resumed."""
        if trainer.fast_dev_run:
            return
        self.forecast, self.reason, self.paused = None, "", False
        if (
            not self._restored and trainer.current_epoch == 0
        ):  # a trainer may be let go on without a checkpoint
            self._curve = []
        if trainer.is_global_zero:
            number = self._number if self._number is not None else self._trained_here()
            if self._confirm and number is not None:
                self.network = self.watch.confirm(number, **self.known)
            else:
                self.network = self.watch.network(number, **self.known)
            if not self.network.trial.epochs:
                self._remember(self.network)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._validated = False
        self._seen = trainer.callback_metrics.get(self.monitor)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._validated = True

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.fast_dev_run:
            return
        logged = trainer.callback_metrics
        value = logged.get(self.monitor)
        if value is None and (self._validated or not trainer.enable_validation):
            raise ValueError(_absent(self.monitor, logged))
        if self.train_monitor and self.train_monitor not in logged:
            raise ValueError(_absent(self.train_monitor, logged))
        # Not validated in this epoch: what is there is of an earlier one. Fresh values are fresh tensors.
        if value is not None and (self._validated or value is not self._seen):
            train = float(logged[self.train_monitor]) if self.train_monitor else math.nan
            row = (trainer.current_epoch + 1, train, float(value))
            self._curve.append(list(row))
            advice = self._tell(*row) if self.network is not None else None
            self._heed(trainer, trainer.strategy.broadcast(advice, src=0))
        mean, sd = (math.nan, math.nan) if self.forecast is None else (self.forecast.mean, self.forecast.sd)
        self.log(f"{self.monitor}_forecast", mean)
        self.log(f"{self.monitor}_forecast_sd", sd)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Ended by something else, another callback: what was measured last is what the network came to."""
        if self.network is not None and trainer.should_stop and not self.reason:
            self.network.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self.network is not None and isinstance(exception, Exception):
            self.network.fail(f"{type(exception).__name__}: {exception}")

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self._curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._curve = [list(row) for row in state_dict["curve"]]
        self._restored = True

    # -- what it does with them ---------------------------------------------------------------------

    def _tell(self, epoch: int, train: float, val: float) -> Advice | None:
        assert self.network is not None
        return self.network.update(train=None if math.isnan(train) else train, val=val, epoch=epoch)

    def _heed(self, trainer: Any, advice: Advice | None) -> None:
        if advice is None:
            return
        self.forecast = advice.forecast
        if advice.stop:
            trainer.should_stop = True
            self.reason, self.paused = advice.reason or "the engine said so", advice.pause
            self.stopped_epoch = trainer.current_epoch
            self.stopping_reason_message = self.reason
            if trainer.is_global_zero:
                log.info("epoch %d: %s", trainer.current_epoch + 1, self.reason)

    def _trained_here(self) -> int | None:
        """The number of the network that has the restored curve, if this watch knows it."""
        curve = [(row[0], row[2]) for row in self._curve]
        name = f"val_{self.watch.goal.name}"
        for trial in reversed(self.watch.trials):
            told = [(e.index, e.metrics.get(name)) for e in trial.epochs]
            if curve and told[: len(curve)] == curve:
                return trial.number
        return None

    def _remember(self, network: Network) -> None:
        """Give the network the restored curve: it was trained by another process."""
        goal = self.watch.goal.name
        epochs = []
        for epoch, train, val in self._curve:
            trained = {} if math.isnan(train) else {f"train_{goal}": train}
            epochs.append(Epoch(int(epoch), {f"val_{goal}": val, **trained}))
            self.watch.measure(val)
        network.trial = replace(network.trial, epochs=tuple(epochs))


def _absent(name: str, logged: Any) -> str:
    there = ", ".join(sorted(logged)) or "nothing"
    return f"nothing logs {name!r} (logged: {there}); name a metric that the module logs with self.log"
