"""What all decoders come to: which outputs vote for which answer, and how votes are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Reading:
    """How spikes of `outputs` output neurons become one of `answers` answers.

    `rule`

    * "most": neuron j votes for answer j % answers; most spikes wins, of equals the lowest answer.
    * "first": the answer whose neuron fired first wins; of equals the one with more spikes, then the lowest;
      if none fired, 0.
    * "level": one neuron; c spikes in the window: floor(c · answers / (full + 1)) in whole numbers, at most
      answers − 1, where `full` is the number of spikes that means the highest answer.
    """

    rule: Literal["most", "first", "level"]
    outputs: int
    answers: int
    full: int = 0


class Decoder(Protocol):
    """Built with its options alone."""

    def reading(self, answers: int, window: int) -> Reading: ...
