"""Binning: one neuron for each part of the range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vilfredo.spiking import options
from vilfredo.spiking.encoders.encoder import Code, bursts


@dataclass(frozen=True)
class Binning:
    """`bins` neurons, each for one of equal parts of the range; the one that the value lies in gets 1 to
    `spikes` spikes, the more the higher the value in its bin, at timesteps 0, `interval`, 2 · `interval`, …

    With `flip_flop` every second bin, from the first on, counts the other way, so that the counts do not jump
    where one bin ends and the next begins.

    `value` is the charge of each spike (1: the processor's full input). C. D. Schuman et al.,
    "Non-Traditional Input Encoding Schemes for Spiking Neuromorphic Systems", IJCNN 2019. TENNLab's "spikes"
    with bins.
    """

    bins: int = 4
    spikes: int = 1
    interval: float = 3
    flip_flop: bool = False
    value: float = 1.0

    def __post_init__(self) -> None:
        options.whole(self, "bins", self.bins, 1)
        options.whole(self, "spikes", self.spikes, 1)
        options.spacing(self, "interval", self.interval)
        options.share(self, "value", self.value)

    def code(self, low: float, high: float) -> Code:
        options.interval(self, low, high)
        trains = bursts(self.spikes, self.interval, self.value)
        charge = np.zeros((self.bins * self.spikes, self.bins, trains.shape[1]))
        for region in range(len(charge)):
            place, above = divmod(region, self.spikes)
            count = self.spikes - above if self.flip_flop and place % 2 == 0 else above + 1
            charge[region, place] = trains[count]
        return Code(low, high, "floor", charge)
