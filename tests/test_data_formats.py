"""Published formats: read right, and refused with one clear sentence when damaged."""

import gzip
import os
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

import data_files as files
from vilfredo.data import cifar10, cifar100, fashion_mnist, idx, mat, mnist, svhn
from vilfredo.data.dataset import DataError

REAL = Path(os.environ.get("VILFREDO_DATA", "-"))


def real(name):
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"VILFREDO_DATA has no {name}")


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.arange(24, dtype=">u1").reshape(2, 3, 4), 0x08),
        (np.arange(-3, 3, dtype=">i2"), 0x0B),
        (np.arange(-3, 3, dtype=">i4").reshape(3, 2), 0x0C),
        (np.linspace(0, 1, 6).astype(">f4"), 0x0D),
        (np.linspace(0, 1, 6).astype(">f8"), 0x0E),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_arrays_come_back(tmp_path, array, kind, zipped):
    raw = files.idx_bytes(array, kind)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    assert np.array_equal(idx.read(path), array)
    assert idx.read(path).dtype.isnative


@pytest.mark.parametrize("loader", [mnist, fashion_mnist])
@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_layout(tmp_path, loader, zipped):
    files.write_mnist(tmp_path, zipped=zipped)
    data = loader.load(path=tmp_path, train_size=50, validation_size=20)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [50, 20, 40]
    assert data.input_shape == (1, 28, 28)
    assert np.array_equal(data.test.x[:, 0], files.pixels((40, 28, 28), 1))
    assert np.array_equal(data.test.y, files.labels(40))


@real("fashion_mnist")
def test_real_fashion_mnist():
    data = fashion_mnist.load(train_size=10_000)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [10_000, 5_000, 10_000]
    assert np.array_equal(np.bincount(data.train.y), [1000] * 10)
    assert data.mean[0] / 255 == pytest.approx(0.286, abs=0.003)
    assert data.std[0] / 255 == pytest.approx(0.353, abs=0.003)
    assert data.test.y[:5].tolist() == [9, 2, 1, 1, 6]  # the published order


@real("mnist")
def test_real_mnist():
    data = mnist.load()
    assert [len(p) for p in (data.train, data.validation, data.test)] == [54_000, 6_000, 10_000]
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]


@real("cifar10")
def test_a_part_of_real_cifar10_is_taken_and_said():
    with pytest.warns(UserWarning, match="a part: 10000 of 50000 training and 2000 of 10000 test images"):
        data = cifar10.load(train_size=8_000)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [8_000, 1_000, 2_000]
    assert data.input_shape == (3, 32, 32)
    assert "a part" in data.source
    assert data.mean / 255 == pytest.approx([0.491, 0.482, 0.447], abs=0.01)


@pytest.mark.filterwarnings("ignore:CIFAR")
def test_cifar10_layout_packed_and_unpacked(tmp_path):
    archive = files.write_cifar10(tmp_path / "packed")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    places = [archive, tmp_path / "packed", tmp_path / "unpacked", tmp_path / "unpacked/cifar-10-batches-bin"]
    loaded = [cifar10.load(path=p) for p in places]
    for data in loaded:
        assert len(data.train) + len(data.validation) == 100
        assert np.array_equal(data.train.x, loaded[0].train.x)
    raw = np.frombuffer(files.cifar_bytes(20, seed=9), np.uint8).reshape(20, 3073)
    assert np.array_equal(loaded[0].test.x.reshape(20, -1), raw[:, 1:])
    assert np.array_equal(loaded[0].test.y, raw[:, 0])


def test_cifar10_with_fewer_batches_says_so(tmp_path):
    files.write_cifar10(tmp_path, batches=2)
    with pytest.warns(UserWarning, match="a part: 40 of 50000"):
        data = cifar10.load(path=tmp_path)
    assert "a part: 40 of 50000 training and 20 of 10000 test images" in data.source


@pytest.mark.filterwarnings("ignore:CIFAR")
def test_cifar100_fine_and_coarse(tmp_path):
    files.write_cifar100(tmp_path)
    fine, coarse = cifar100.load(path=tmp_path), cifar100.load(path=tmp_path, labels="coarse")
    assert (fine.outputs, coarse.outputs) == (100, 20)
    assert fine.classes[3] == "fine_3"
    assert np.array_equal(fine.test.y // 5, coarse.test.y)
    with pytest.raises(DataError, match="'fine' or 'coarse'"):
        cifar100.load(path=tmp_path, labels="medium")


def test_an_archive_with_paths_outside_writes_nothing(tmp_path):
    path = files.tar_gz(tmp_path / "in" / "cifar-10-binary.tar.gz", {
        "../../data_batch_1.bin": files.cifar_bytes(20),
        "/test_batch.bin": files.cifar_bytes(20),
    })  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cifar10.load(path=path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [True, False])
def test_mat_arrays_written_by_hand_come_back(tmp_path, order, compress):
    arrays = {
        "X": files.pixels((4, 3, 2, 5)),
        "y": np.arange(5, dtype=np.float64)[:, None],
        "i": np.array([[7]], np.int32),  # the short form of an element
        "long_name": np.arange(6, dtype=np.int32).reshape(2, 3),
    }
    path = tmp_path / "a.mat"
    path.write_bytes(files.mat_bytes(arrays, compress, order))
    found = mat.read(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("compress", [True, False])
def test_mat_files_of_scipy_are_read(tmp_path, compress):
    scipy_io = pytest.importorskip("scipy.io")
    rng = np.random.default_rng(0)
    kinds = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
    arrays = {f"a_{k}": rng.integers(0, 100, (3, 4, 2)).astype(k) for k in kinds}
    others = {"text": "hello", "cell": np.array([1, "a"], object), "struct": {"a": 1}}
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {**arrays, **others, "z": np.array([[1 + 2j]])}, do_compression=compress)
    found = mat.read(path)
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert not found.keys() & others.keys()
    assert found["z"] == 1


def test_svhn_layout(tmp_path):
    files.write_svhn(tmp_path)
    data = svhn.load(path=tmp_path)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [90, 10, 40]
    x = files.pixels((32, 32, 3, 40), 1)
    assert np.array_equal(data.test.x, x.transpose(3, 2, 0, 1))
    assert np.array_equal(data.test.y, files.labels(40))  # 10 stands for the digit 0


def damage(write, file, change):
    """A case: write good files, then spoil the bytes of one of them."""

    def prepare(folder):
        write(folder)
        path = folder / file
        path.write_bytes(change(path.read_bytes()))
        return folder

    return prepare


def packed(content):
    return lambda _: gzip.compress(content)


def unzip(change):
    return lambda raw: gzip.compress(change(gzip.decompress(raw)))


def empty(folder):
    folder.mkdir(exist_ok=True)
    return folder


def cifar(**replaced):
    def prepare(folder):
        content = {
            "d/data_batch_1.bin": files.cifar_bytes(20),
            "d/test_batch.bin": files.cifar_bytes(20),
            **{f"d/{k}.bin": v for k, v in replaced.items()},
        }
        files.tar_gz(folder / "cifar-10-binary.tar.gz", {k: v for k, v in content.items() if v is not None})
        return folder

    return prepare


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TAR, MAT = "cifar-10-binary.tar.gz", "train_32x32.mat"
m, c, s = files.write_mnist, files.write_cifar10, files.write_svhn
DAMAGED = {
    "no such folder": (mnist, lambda folder: folder / "nowhere", "there is no file or folder"),
    "an empty folder": (mnist, empty, "is empty"),
    "a folder without the file": (mnist, lambda f: files.write_svhn(f), "has no such file"),
    "a file for a folder": (mnist, lambda f: m(f) / IMAGES, "is a file"),
    "gzip truncated": (mnist, damage(m, IMAGES, lambda raw: raw[:-500]), "is damaged"),
    "gzip checksum": (
        mnist,
        damage(m, IMAGES, lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:]),
        "is damaged",
    ),
    "gzip garbage": (mnist, damage(m, LABELS, lambda raw: raw[:12] + b"\xff" * 40), "is damaged"),
    "no IDX": (mnist, damage(m, LABELS, lambda _: b"<html>404</html>"), "is no IDX file"),
    "empty file": (mnist, damage(m, LABELS, lambda _: b""), "begins with nothing"),
    "IDX header cut": (mnist, damage(m, IMAGES, packed(bytes([0, 0, 8, 3, 0]))), "within its header"),
    "IDX too short": (mnist, damage(m, IMAGES, unzip(lambda raw: raw[:-1])), "has 78415 bytes but announces"),
    "IDX too long": (mnist, damage(m, IMAGES, unzip(lambda raw: raw + b"\0")), "has 78417 bytes but"),
    "labels for images": (
        mnist,
        damage(m, IMAGES, packed(files.idx_bytes(files.labels(100)))),
        "not uint8 images",
    ),
    "images for labels": (
        mnist,
        damage(m, LABELS, packed(files.idx_bytes(files.pixels((100, 2))))),
        "not uint8 labels",
    ),
    "fewer labels": (mnist, damage(m, LABELS, packed(files.idx_bytes(files.labels(99)))), "99 answers"),
    "label out of range": (
        fashion_mnist,
        damage(m, LABELS, packed(files.idx_bytes(files.labels(100, 11)))),
        "out of range: 10 is not between 0 and 9",
    ),
    "one class only": (
        fashion_mnist,
        damage(m, LABELS, packed(files.idx_bytes(files.labels(100, 1)))),
        "are of one class",
    ),
    "no images": (
        mnist,
        damage(m, IMAGES, packed(files.idx_bytes(files.pixels((0, 28, 28))))),
        "holds no samples",
    ),
    "test images of another size": (
        mnist,
        damage(m, "t10k-images-idx3-ubyte.gz", packed(files.idx_bytes(files.pixels((40, 14, 14))))),
        "differ in shape",
    ),
    "tar truncated": (cifar10, damage(c, TAR, lambda raw: raw[: len(raw) // 2]), "is damaged"),
    "no tar": (cifar10, damage(c, TAR, lambda _: b"<html>404</html>"), "is damaged"),
    "tar without test batch": (cifar10, cifar(test_batch=None), "has no test_batch.bin"),
    "tar without training": (
        cifar10,
        cifar(data_batch_1=None),
        "has no data_batch_1.bin or data_batch_2.bin",
    ),
    "batch truncated": (cifar10, cifar(data_batch_1=b"\0" * 5000), "not a multiple of 3073"),
    "batch empty": (cifar10, cifar(data_batch_1=b""), "has 0 bytes"),
    "CIFAR label out of range": (
        cifar10,
        cifar(data_batch_1=files.cifar_bytes(40, classes=12)),
        "out of range: 11",
    ),
    "MAT truncated": (svhn, damage(s, MAT, lambda raw: raw[:-900]), "breaks off"),
    "MAT compressed part spoiled": (
        svhn,
        damage(s, "test_32x32.mat", lambda raw: raw[:150] + b"\xff" * 50 + raw[200:]),
        "cannot read",
    ),
    "no MAT": (svhn, damage(s, MAT, lambda _: b"<html>404</html>"), "no MAT-file of version 5"),
    "MAT 7.3": (
        svhn,
        damage(s, MAT, lambda _: b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"),
        "of version 7.3; save it with -v7",
    ),
    "MAT without y": (
        svhn,
        damage(s, MAT, lambda _: files.mat_bytes({"X": files.pixels((32, 32, 3, 4))})),
        "has the arrays X, not X and y",
    ),
    "MAT of another shape": (
        svhn,
        damage(s, MAT, lambda _: files.mat_bytes({"X": files.pixels((4, 4)), "y": files.labels(4)[:, None]})),
        "not uint8",
    ),
}


@pytest.mark.filterwarnings("ignore:CIFAR")
@pytest.mark.parametrize("case", DAMAGED)
def test_missing_and_damaged_files_are_one_clear_sentence(tmp_path, case):
    loader, prepare, message = DAMAGED[case]
    with pytest.raises(DataError, match=message) as caught:
        loader.load(path=prepare(tmp_path))
    assert "\n" not in str(caught.value)
    if case != "a file for a folder":
        assert str(tmp_path) in str(caught.value)  # it names the file


def test_any_prefix_of_a_mat_file_is_refused_or_read(tmp_path):
    whole = files.mat_bytes({"X": files.pixels((3, 3)), "y": np.arange(3.0)[:, None]}, compress=False)
    path = tmp_path / "a.mat"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            mat.read(path)
        except DataError:
            continue
