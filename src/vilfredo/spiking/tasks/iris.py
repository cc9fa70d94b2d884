"""Iris: three species by four lengths of the flower."""

from __future__ import annotations

from vilfredo.spiking.tasks import bundled
from vilfredo.spiking.tasks.classification import Samples


class Iris(Samples):
    """150 flowers, 4 features, 3 classes. R. A. Fisher, 1936; UCI Machine Learning Repository, CC BY 4.0. A
    share `test` of each class, drawn by `seed`, is put aside."""

    def __init__(self, test: float = 0.3, seed: int = 0) -> None:
        super().__init__(*bundled.load("iris"), test=test, seed=seed)
