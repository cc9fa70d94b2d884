"""Spike count: the larger the value, the more spikes."""

from __future__ import annotations

from dataclasses import dataclass

from vilfredo.spiking import options
from vilfredo.spiking.encoders.encoder import Code, bursts


@dataclass(frozen=True)
class SpikeCount:
    """One neuron; the lowest of `spikes` + 1 equal regions of the range gives no spike, the highest `spikes`,
    at timesteps 0, `interval`, 2 · `interval`, …

    `value` is the charge of each spike (1: the processor's full input). C. D. Schuman et al.,
    "Non-Traditional Input Encoding Schemes for Spiking Neuromorphic Systems", IJCNN 2019. TENNLab's "spikes"
    with one bin.
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
        return Code(low, high, "floor", bursts(self.spikes, self.interval, self.value)[:, None])
