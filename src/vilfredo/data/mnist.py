"""MNIST: 60,000 training and 10,000 test images of handwritten digits, grey, 28 × 28, ten classes.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 1998; from the CVDF mirror.
Licence: CC BY-SA 3.0.
"""

from __future__ import annotations

from pathlib import Path

from vilfredo.data import idx
from vilfredo.data.dataset import Dataset, Sizes

SOURCE = (
    "MNIST, Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Proceedings of the IEEE 86(11), 1998, CC BY-SA 3.0"
)
PUBLISHERS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
)
FILES = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def load(
    *,
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> Dataset:
    """MNIST as uint8 (n, 1, 28, 28); `path` is a folder with the four IDX files, gzipped or not.

    Validation comes out of the training images: a tenth, yet at most half of `train_size`.
    Raises `DataError` if the files are missing and cannot be downloaded, damaged, or too small.
    """
    sizes = Sizes(train_size, validation_size, test_size, seed)
    about = {"classes": tuple("0123456789"), "augment": "shift", "source": SOURCE}
    return idx.published("mnist", FILES, PUBLISHERS, path, sizes, **about)
