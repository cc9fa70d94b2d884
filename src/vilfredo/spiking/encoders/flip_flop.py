"""Flip-flop: one neuron for what is below the middle, one for what is above; the further away, the more
spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vilfredo.spiking import options
from vilfredo.spiking.encoders.binning import Binning
from vilfredo.spiking.encoders.encoder import Code, bursts


@dataclass(frozen=True)
class FlipFlop:
    """Two neurons, the negative one first. In a range around 0 a value v > 0 gives ceil(min(1, v / high) ·
    `spikes`) spikes to the second, any other ceil(min(1, v / low) · `spikes`) to the first, at timesteps 0,
    `interval`, 2 · `interval`, …; v = 0 gives none.

    In a range that does not contain 0 the middle takes its place, with no value that gives no spike: it is
    `Binning(2, spikes, flip_flop=True)`.

    `value` is the charge of each spike (1: the processor's full input). TENNLab's "spikes" with "flip_flop"
    2, with 8 spikes and interval 3 the "Spike-FF-2" of J. S. Plank et al., JLPEA 2025, 15(1):5.
    """

    spikes: int = 8
    interval: float = 3
    value: float = 1.0

    def __post_init__(self) -> None:
        options.whole(self, "spikes", self.spikes, 1)
        options.spacing(self, "interval", self.interval)
        options.share(self, "value", self.value)

    def code(self, low: float, high: float) -> Code:
        options.interval(self, low, high)
        if not low < 0 < high:
            return Binning(2, self.spikes, self.interval, True, self.value).code(low, high)
        trains = bursts(self.spikes, self.interval, self.value)
        charge = np.zeros((2 * self.spikes + 1, 2, trains.shape[1]))
        charge[: self.spikes + 1, 0] = trains[::-1]
        charge[self.spikes :, 1] = trains
        return Code(low, high, "signed", charge)
