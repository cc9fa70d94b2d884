"""Acrobot: swing two joined links up, with a motor in the joint between them only."""

from __future__ import annotations

import math

from vilfredo.spiking.tasks.gymnasium import Gymnasium


class Acrobot(Gymnasium):
    """Gymnasium's Acrobot-v1: six numbers (cosine and sine of two angles, two speeds within ±4π and ±9π),
    three torques (−1, 0, 1 N m), a reward of −1 for each step until the tip is up; at most `steps`.

    Success: a mean reward of −100 or more, Gymnasium's threshold.
    """

    def __init__(self, steps: int = 500) -> None:
        unit, slow, fast = (-1.0, 1.0), (-4 * math.pi, 4 * math.pi), (-9 * math.pi, 9 * math.pi)
        super().__init__("Acrobot-v1", (unit, unit, unit, unit, slow, fast), steps=steps)
