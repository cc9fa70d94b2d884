"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes, grey, 28 × 28, ten classes.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", arXiv:1708.07747, 2017; Zalando SE, https://github.com/zalandoresearch/fashion-mnist.
Licence: MIT.
"""

from __future__ import annotations

from pathlib import Path

from vilfredo.data import idx
from vilfredo.data.dataset import Dataset, Sizes

SOURCE = "Fashion-MNIST, H. Xiao, K. Rasul and R. Vollgraf, Zalando SE, arXiv:1708.07747, 2017, MIT"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PUBLISHERS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
)
FILES = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


def load(
    *,
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> Dataset:
    """Fashion-MNIST as uint8 (n, 1, 28, 28); `path` is a folder with the four IDX files, gzipped or not.

    Validation comes out of the training images: a tenth, yet at most half of `train_size`.
    Raises `DataError` if the files are missing and cannot be downloaded, damaged, or too small.
    """
    sizes = Sizes(train_size, validation_size, test_size, seed)
    about = {"classes": CLASSES, "augment": "flip_shift", "source": SOURCE}
    return idx.published("fashion_mnist", FILES, PUBLISHERS, path, sizes, **about)
