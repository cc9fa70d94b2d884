"""Rate: the larger the value, the more often a neuron gets a spike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vilfredo.spiking import options
from vilfredo.spiking.encoders.encoder import Code


@dataclass(frozen=True)
class Rate:
    """One neuron; n of at most `spikes` spikes spread over `window` timesteps, for `spikes` + 1 equal
    regions of the range.

    Without a `seed` they are *regularly spaced*: spike j of n at floor(j · window / n). With a `seed` they
    are a Bernoulli train: in each timestep a spike with probability n / window, drawn once for all, so that
    the same value always gives the same train, and a larger one keeps the spikes of a smaller one.

    `value` is the charge of each spike (1: the processor's full input).
    """

    spikes: int = 8
    window: int = 24
    value: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        options.whole(self, "spikes", self.spikes, 1)
        options.whole(self, "window", self.window, 1)
        options.share(self, "value", self.value)
        if self.seed is not None:
            options.whole(self, "seed", self.seed, 0)
        if self.spikes > self.window:
            raise ValueError(
                f"Rate: {self.spikes} spikes do not go into {self.window} timesteps; one each at the most"
            )

    def code(self, low: float, high: float) -> Code:
        options.interval(self, low, high)
        charge = np.zeros((self.spikes + 1, 1, self.window))
        if self.seed is None:
            for n in range(1, self.spikes + 1):
                charge[n, 0, np.arange(n) * self.window // n] = self.value
        else:
            drawn = np.random.default_rng(self.seed).random(self.window)
            rates = np.arange(self.spikes + 1) / self.window
            charge[:, 0] = np.where(drawn < rates[:, None], self.value, 0.0)
        return Code(low, high, "floor", charge)
