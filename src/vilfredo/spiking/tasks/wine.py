"""Wine: three cultivars by thirteen analyses."""

from __future__ import annotations

from vilfredo.spiking.tasks import bundled
from vilfredo.spiking.tasks.classification import Samples


class Wine(Samples):
    """178 wines, 13 features, 3 classes. S. Aeberhard and M. Forina, UCI Machine Learning Repository, CC BY
    4.0. A share `test` of each class, drawn by `seed`, is put aside."""

    def __init__(self, test: float = 0.3, seed: int = 0) -> None:
        super().__init__(*bundled.load("wine"), test=test, seed=seed)
