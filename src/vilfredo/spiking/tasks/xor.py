"""XOR: whether two bits differ."""

from __future__ import annotations

from vilfredo.spiking.tasks.logic import Logic


class Xor(Logic):
    """Four samples of two features, 0.0 or 1.0; both splits are all four."""

    def __init__(self) -> None:
        super().__init__("xor", 2)
