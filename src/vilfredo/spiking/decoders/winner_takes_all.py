"""Winner takes all: the output that spikes most."""

from __future__ import annotations

from dataclasses import dataclass

from vilfredo.spiking.decoders.decoder import Reading


@dataclass(frozen=True)
class WinnerTakesAll:
    """One output neuron for each answer; most spikes wins, of equals the first. TENNLab's "wta"."""

    def reading(self, answers: int, window: int) -> Reading:
        return Reading("most", answers, answers)
