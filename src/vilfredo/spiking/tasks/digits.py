"""Digits: handwritten digits of 8 × 8 grey values from 0 to 16."""

from __future__ import annotations

from vilfredo.spiking.tasks import bundled
from vilfredo.spiking.tasks.classification import Samples


class Digits(Samples):
    """1,797 images, 64 features, 10 classes; the samples of `vilfredo.data.digits`. E. Alpaydin and C.
    Kaynak, UCI Machine Learning Repository, CC BY 4.0. A share `test` of each class, drawn by `seed`, is put
    aside."""

    def __init__(self, test: float = 0.2, seed: int = 0) -> None:
        super().__init__(*bundled.load("digits"), test=test, seed=seed)
