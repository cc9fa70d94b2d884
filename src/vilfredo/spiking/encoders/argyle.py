"""Argyle: neurons along the range; the two that a value lies between share the spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vilfredo.spiking import options
from vilfredo.spiking.encoders.encoder import Code, bursts


@dataclass(frozen=True)
class Argyle:
    """n = `neurons` neurons stand along the range and make R = (n − 1) · `spikes` regions; in region r, with
    (i, q) = divmod(r, `spikes`), neuron i gets `spikes` − q spikes and neuron i + 1 gets q + 1, at timesteps
    0, `interval`, 2 · `interval`, … So all values give the same number of spikes, `spikes` + 1.

    `value` is the charge of each spike (1: the processor's full input). TENNLab's "argyle"; with 4 neurons
    the "Argyle-4" of J. S. Plank et al., JLPEA 2025, 15(1):5.
    """

    neurons: int = 4
    spikes: int = 8
    interval: float = 3
    value: float = 1.0

    def __post_init__(self) -> None:
        options.whole(self, "neurons", self.neurons, 2)
        options.whole(self, "spikes", self.spikes, 1)
        options.spacing(self, "interval", self.interval)
        options.share(self, "value", self.value)

    def code(self, low: float, high: float) -> Code:
        options.interval(self, low, high)
        trains = bursts(self.spikes, self.interval, self.value)
        charge = np.zeros(((self.neurons - 1) * self.spikes, self.neurons, trains.shape[1]))
        for region in range(len(charge)):
            place, above = divmod(region, self.spikes)
            charge[region, place] = trains[self.spikes - above]
            charge[region, place + 1] = trains[above + 1]
        return Code(low, high, "floor", charge)
