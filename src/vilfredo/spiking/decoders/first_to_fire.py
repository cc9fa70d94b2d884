"""First to fire: the output that spikes first."""

from __future__ import annotations

from dataclasses import dataclass

from vilfredo.spiking.decoders.decoder import Reading


@dataclass(frozen=True)
class FirstToFire:
    """One output neuron for each answer; the first to fire wins, of equals the one with more spikes, then
    the first answer. If none fires, the answer is 0."""

    def reading(self, answers: int, window: int) -> Reading:
        return Reading("first", answers, answers)
