"""Small files in the formats that the publishers use, written for the tests."""

import csv
import gzip
import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

CLASSES = 10


def labels(count: int, classes: int = CLASSES) -> np.ndarray:
    return (np.arange(count) % classes).astype(np.uint8)


def pixels(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx_bytes(array: np.ndarray, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, train: int = 100, test: int = 40, zipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate((("train", train), ("t10k", test))):
        files = {
            f"{name}-images-idx3-ubyte": idx_bytes(pixels((count, 28, 28), seed)),
            f"{name}-labels-idx1-ubyte": idx_bytes(labels(count)),
        }
        for file, raw in files.items():
            (folder / (f"{file}.gz" if zipped else file)).write_bytes(gzip.compress(raw) if zipped else raw)
    return folder


def cifar_bytes(count: int, label_bytes: int = 1, classes: int = CLASSES, seed: int = 0) -> bytes:
    table = pixels((count, label_bytes + 3072), seed)
    table[:, label_bytes - 1] = labels(count, classes)
    if label_bytes == 2:
        table[:, 0] = table[:, 1] // 5
    return table.tobytes()


def tar_gz(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def write_cifar10(folder: Path, batches: int = 5, per_batch: int = 20, test: int = 20) -> Path:
    files = {
        f"cifar-10-batches-bin/data_batch_{i}.bin": cifar_bytes(per_batch, seed=i)
        for i in range(1, batches + 1)
    }
    files["cifar-10-batches-bin/test_batch.bin"] = cifar_bytes(test, seed=9)
    return tar_gz(folder / "cifar-10-binary.tar.gz", files)


def write_cifar100(folder: Path, train: int = 400, test: int = 100) -> Path:
    files = {
        "cifar-100-binary/train.bin": cifar_bytes(train, 2, 100),
        "cifar-100-binary/test.bin": cifar_bytes(test, 2, 100, seed=1),
        "cifar-100-binary/fine_label_names.txt": "\n".join(f"fine_{i}" for i in range(100)).encode(),
        "cifar-100-binary/coarse_label_names.txt": "\n".join(f"coarse_{i}" for i in range(20)).encode(),
    }
    return tar_gz(folder / "cifar-100-binary.tar.gz", files)


def _element(kind: int, raw: bytes, order: str) -> bytes:
    if 0 < len(raw) <= 4:  # the short form
        return struct.pack(f"{order}I", len(raw) << 16 | kind) + raw.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(raw)) + raw + b"\0" * (-len(raw) % 8)


def mat_bytes(arrays: dict[str, np.ndarray], compress: bool = True, order: str = "<") -> bytes:
    """MAT 5.0 by hand: header, then one matrix per array, zlib-compressed or not."""
    kinds = {"u1": (9, 2), "f8": (6, 9), "i4": (12, 5)}
    text = b"MATLAB 5.0 MAT-file, written by a test".ljust(116) + b"\0" * 8
    whole = text + struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    for name, array in arrays.items():
        kind, stored = kinds[array.dtype.str[1:]]
        data = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
        body = (
            _element(6, struct.pack(f"{order}II", kind, 0), order)
            + _element(5, struct.pack(f"{order}{array.ndim}i", *array.shape), order)
            + _element(1, name.encode(), order)
            + _element(stored, data, order)
        )
        matrix = struct.pack(f"{order}II", 14, len(body)) + body
        if compress:
            squeezed = zlib.compress(matrix)
            matrix = struct.pack(f"{order}II", 15, len(squeezed)) + squeezed
        whole += matrix
    return whole


def write_svhn(folder: Path, train: int = 100, test: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate((("train", train), ("test", test))):
        y = labels(count)[:, None].copy()
        y[y == 0] = 10
        raw = mat_bytes({"X": pixels((32, 32, 3, count), seed), "y": y}, compress=bool(seed))
        (folder / f"{name}_32x32.mat").write_bytes(raw)
    return folder


def write_npz(path: Path, count: int = 60, classes: int = 3) -> Path:
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.normal(size=(count, 4)), y=np.arange(count) % classes)
    return path


def write_table(path: Path, rows: int = 60) -> Path:
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["width", "colour", "kind"])
        for i in range(rows):
            out.writerow([f"{rng.normal():.4f}", ["red", "green", "blue"][i % 3], ["a", "b"][i % 2]])
    return path


def write_images(
    folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 12, side: int = 6, seed: int = 0
) -> Path:
    from PIL import Image

    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = Image.fromarray(pixels((side, side, 3), 100 * c + i + 10_000 * seed))
            image.save(folder / name / f"{i:03}.{'png' if i % 2 else 'jpg'}")
    return folder
