"""The UCI handwritten digits: 1,797 grey images of 8 × 8 with values 0 to 16, ten classes; embedded.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, https://doi.org/10.24432/C50P49 (the 13 writers of its test file).
Licence: CC BY 4.0.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from vilfredo.data.dataset import Dataset, Part, Sizes, make

SOURCE = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, "
    "1998, https://doi.org/10.24432/C50P49, CC BY 4.0"
)


def load(
    *,
    train_size: int | None = None,
    validation_size: int | float | None = 0.2,
    test_size: int | float | None = 0.2,
    seed: int = 0,
) -> Dataset:
    """The digits as uint8 (n, 1, 8, 8). They have no test set of their own: a fifth is put aside for
    testing, then a fifth of the rest for validation (by default 1,150, 288 and 359 images).

    Raises `DataError` for sizes that 1,797 images cannot give.
    """
    with (
        resources.files("vilfredo.data").joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        whole = Part(arrays["x"][:, None], arrays["y"])
    return make(
        "digits",
        whole,
        None,
        Sizes(train_size, validation_size, test_size, seed),
        classes=tuple("0123456789"),
        augment="none",  # at 8 x 8 a shift by one pixel cuts strokes off
        source=SOURCE,
    )
