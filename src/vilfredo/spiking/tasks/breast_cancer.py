"""Breast cancer: malignant (0) or benign (1) by thirty measures of cell nuclei."""

from __future__ import annotations

from vilfredo.spiking.tasks import bundled
from vilfredo.spiking.tasks.classification import Samples


class BreastCancer(Samples):
    """569 tumours, 30 features, 2 classes. W. Wolberg et al., UCI Machine Learning Repository, CC BY 4.0. A
    share `test` of each class, drawn by `seed`, is put aside."""

    def __init__(self, test: float = 0.3, seed: int = 0) -> None:
        super().__init__(*bundled.load("breast_cancer"), test=test, seed=seed)
