"""Early termination in Keras 3: a callback that sets `model.stop_training`.

One `Watch` serves all networks of a search; each `fit` is one network::

    watch = Watch("genrace", epochs=25, goal=Goal("accuracy", "max"))
    for settings in candidates:
        early = Callback(watch, monitor="val_accuracy", train="accuracy", parameters=…)
        model(settings).fit(x, y, validation_data=…, epochs=25, callbacks=[early])

Keras loads the backend that `KERAS_BACKEND` names; this module adds nothing to it.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from vilfredo.interop.watch import Network, Watch
from vilfredo.trial import Value

try:
    import keras
except ModuleNotFoundError as absent:
    needed = (absent.name or "keras").partition(".")[0]
    advice = (
        "pip install keras"
        if needed == "keras"
        else f"its backend needs {needed}; install that or set KERAS_BACKEND=torch before the import"
    )
    raise ModuleNotFoundError(f"vilfredo.interop.keras needs Keras 3: {advice}", name=needed) from absent


class Callback(keras.callbacks.Callback):
    """Tells the engine each epoch's logs and ends the fit when it says so.

    `watch` is the search's `Watch`; every `fit` with this callback is a new network of it, unless it goes on
    with the last one (`initial_epoch`) or `number` says which it is. `monitor` names the validation metric in
    Keras's logs, in the unit and sense of the watch's goal, `train` the training metric ("": none). `known`
    are values of goals that are known before training (`parameters=…`). With `confirm` the network of that
    number is trained in full.

    After a fit: `forecast` (`Value`, None while there is none), `reason` (one clause, "" where it was not
    ended by the engine), `paused` (the engine may revive it: see `Watch.revive`, then fit again with
    `initial_epoch`), `network`. The history has each epoch's forecast as `<monitor>_forecast` and
    `<monitor>_forecast_sd` (NaN where there is none). Weights are left as they are.

    Raises `ValueError` for a fit over more epochs than the watch has, and for metrics that are not logged.
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
        super().__init__()
        if not isinstance(watch, Watch):
            raise ValueError(
                f'the callback tells a Watch, not {watch!r}: Callback(Watch("genrace", epochs=25, …), …)'
            )
        if confirm and number is None:
            raise ValueError("confirm=True: say which network is trained in full, by its number=…")
        self.watch = watch
        self.network: Network | None = None
        self.monitor = monitor
        self.train_monitor = train
        self.known = known
        self.forecast: Value | None = None
        self.reason = ""
        self.paused = False
        self._number = number
        self._confirm = confirm
        self._begun = False  # an epoch of this fit has been seen
        self._found = False  # the metric has been seen in this fit
        self._last = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Callback:
        """Tuners copy their callbacks for each network: the copy tells the same watch."""
        return type(self)(
            self.watch, self.monitor, self.train_monitor, self._number, self._confirm, **self.known
        )

    def on_train_begin(self, logs: Any = None) -> None:
        end = self.params.get("epochs") or 0
        if end > self.watch.epochs:
            raise ValueError(
                f"the fit has epochs={end} and the watch epochs={self.watch.epochs}; "
                "give both the length of full training"
            )
        self.forecast, self.reason, self.paused = None, "", False
        self._begun = self._found = False
        self._last = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not self._begun:
            goes_on = self._number
            if goes_on is None and epoch > 0 and self.network is not None:
                goes_on = self.network.number
            if self._confirm and goes_on is not None:
                self.network = self.watch.confirm(goes_on, **self.known)
            else:
                self.network = self.watch.network(goes_on, **self.known)
        self._begun = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert self.network is not None
        logs = {} if logs is None else logs
        self._look(logs)
        if self.monitor in logs:
            train = float(logs[self.train_monitor]) if self.train_monitor else None
            said = self.network.update(train=train, val=float(logs[self.monitor]), epoch=epoch + 1)
            self.forecast = said.forecast
            if said.stop:
                self.model.stop_training = True
                self.reason, self.paused = said.reason or "the engine said so", said.pause
        forecast = self.forecast
        logs[f"{self.monitor}_forecast"] = math.nan if forecast is None else forecast.mean
        logs[f"{self.monitor}_forecast_sd"] = math.nan if forecast is None else forecast.sd
        self._last = epoch + 1

    def on_train_end(self, logs: Any = None) -> None:
        if not self._begun or self.network is None:
            return
        if not self._found:
            raise ValueError(_absent(self.monitor, ()))
        ended_by_others = self.model.stop_training and not self.reason
        if ended_by_others and self._last < self.watch.epochs:
            self.network.finish()  # what was measured last is what it came to

    def _look(self, logs: Any) -> None:
        """Complain of metrics that are not there; validation may be rarer than epochs (`validation_freq`)."""
        if self.train_monitor and self.train_monitor not in logs:
            raise ValueError(_absent(self.train_monitor, logs))
        if self.monitor in logs:
            self._found = True
            return
        validated = any(name.startswith("val_") and "_forecast" not in name for name in logs)
        if validated or not self.monitor.startswith("val_"):
            raise ValueError(_absent(self.monitor, logs))
        if not self._found and self._last == 0:
            warnings.warn(
                f"no {self.monitor!r} after the first epoch; does fit have validation_data?", stacklevel=2
            )


def _absent(name: str, logs: Any) -> str:
    there = ", ".join(sorted(logs)) or "no validation metric in any epoch"
    return f"the fit has no metric {name!r} (it has: {there}); name another one or give fit validation_data"
