"""A folder of images with one subfolder per class, PNG or JPEG (needs Pillow: `vilfredo[images]`).

Source: the user. Licence: the user's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.data.dataset import Augment, DataError, Dataset, Part, Sizes, make
from vilfredo.data.locate import existing

ENDINGS = (".png", ".jpg", ".jpeg")


def load(
    *,
    path: str | Path,
    train_size: int | None = None,
    validation_size: int | float | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    size: int | list[int] | None = None,
    grey: bool = False,
    augment: Augment = "flip_shift",
) -> Dataset:
    """Images of `path/<class>/*.png|jpg|jpeg` as uint8 (n, 3, h, w), or (n, 1, h, w) if `grey`.

    With subfolders `train` and `test` these hold the class folders; without `test` a fifth is put aside
    for testing. Validation is a tenth of the training images. `size` (one side, or [height, width])
    scales each image until it fills that frame and cuts out its middle; without it all images must be of
    one size. Classes are the names of the folders, sorted.
    Raises `DataError` if Pillow is missing, the folder is empty, an image is damaged or of another size.
    """
    try:
        from PIL import Image  # noqa: F401
    except ImportError as problem:
        raise DataError("reading images needs Pillow; run: pip install 'vilfredo[images]'") from problem
    where = existing(path, "folder")
    if not where.is_dir():
        raise DataError(f"{where} is a file; give the folder that holds one folder of images per class")
    frame = _frame(size)
    inside = _folders(where)
    train_folder = next((f for f in inside if f.name == "train"), None)
    test_folder = next((f for f in inside if f.name == "test"), None) if train_folder else None
    other = [f.name for f in inside if f.name in ("val", "valid", "validation")] if train_folder else []
    if other:
        raise DataError(
            f"{where} has a folder {other[0]}; validation is taken out of train, so move its images"
        )
    classes = tuple(f.name for f in _folders(train_folder or where))
    if len(classes) < 2:
        raise DataError(
            f"{train_folder or where} has {len(classes)} class folders; put the images of each class "
            "into a folder of its own, two at least"
        )
    train = _read(train_folder or where, classes, frame, grey)
    test = _read(test_folder, classes, frame, grey) if test_folder else None
    return make(
        where.resolve().name,
        train,
        test,
        Sizes(train_size, validation_size, test_size, seed),
        classes=classes,
        augment=augment,
        source=f"{where.resolve().name}, the user's own images",
        where=str(where),
    )


def _frame(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sides):
        raise DataError(f"size is {size!r}; it must be a positive number of pixels or [height, width]")
    return sides[0], sides[1]


def _folders(where: Path) -> list[Path]:
    return sorted(
        (f for f in where.iterdir() if f.is_dir() and not f.name.startswith(".")), key=lambda f: f.name
    )


def _read(where: Path, classes: tuple[str, ...], frame: tuple[int, int] | None, grey: bool) -> Part:
    unknown = [f.name for f in _folders(where) if f.name not in classes]
    if unknown:
        raise DataError(
            f"{where} has the class {unknown[0]}, which the training images have not; add or remove it"
        )
    pictures: list[NDArray[Any]] = []
    labels: list[int] = []
    first: Path | None = None
    for number, name in enumerate(classes):
        files = []
        if (where / name).is_dir():
            files = sorted(
                f
                for f in (where / name).iterdir()
                if f.suffix.lower() in ENDINGS and not f.name.startswith(".")
            )
        if not files:
            raise DataError(f"the class folder {where / name} holds no PNG or JPEG images; fill or remove it")
        for file in files:
            pixels = _picture(file, frame, grey)
            first = first or file
            if pictures and pixels.shape != pictures[0].shape:
                raise DataError(
                    f"{file} is {pixels.shape[0]}x{pixels.shape[1]} but {first} is "
                    f"{pictures[0].shape[0]}x{pictures[0].shape[1]}; give size to make them equal"
                )
            pictures.append(pixels)
            labels.append(number)
    x = np.stack(pictures)
    return Part(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), np.array(labels, np.int64))


def _picture(file: Path, frame: tuple[int, int] | None, grey: bool) -> NDArray[Any]:
    """The pixels, uint8 (height, width, channels)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            upright = ImageOps.exif_transpose(image).convert("L" if grey else "RGB")
            if frame is not None and upright.size != frame[::-1]:
                upright = ImageOps.fit(upright, frame[::-1])
            pixels = np.asarray(upright)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise DataError(f"cannot read the image {file} ({problem}); replace or remove it") from problem
    return pixels.reshape(*pixels.shape[:2], -1)
