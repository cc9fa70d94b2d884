"""The user's own data: arrays, tables, folders of images."""

import builtins
import gzip
import shutil

import numpy as np
import pytest

import data_files as files
from vilfredo.data import folder, npz, table
from vilfredo.data.dataset import DataError


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_arrays_are_split_where_there_is_no_test_set(tmp_path):
    data = npz.load(path=files.write_npz(tmp_path / "mine.npz", 100))
    assert [len(p) for p in (data.train, data.validation, data.test)] == [72, 8, 20]
    assert data.name == "mine"
    assert data.task == "classification"
    assert data.classes == ("0", "1", "2")
    assert data.train.x.dtype == np.float32


def test_arrays_with_a_test_set_keep_it(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2, 4, 4)), np.arange(30) % 2
    data = npz.load(path=saved(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:10] + 9, y_test=y[:10]))
    assert data.input_shape == (2, 4, 4)
    assert np.allclose(data.test.x, x[:10] + 9)


def test_the_kind_of_answers_decides_the_task(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    floats = npz.load(path=saved(tmp_path / "f.npz", x=x, y=x[:, :2] * 5))
    assert (floats.task, floats.outputs) == ("regression", 2)
    texts = npz.load(path=saved(tmp_path / "t.npz", x=x, y=np.array(["no", "yes"] * 20)))
    assert (texts.task, texts.classes) == ("classification", ("no", "yes"))
    said = npz.load(path=saved(tmp_path / "s.npz", x=x, y=np.arange(40)), task="regression")
    assert (said.task, said.outputs) == ("regression", 1)
    whole = npz.load(path=saved(tmp_path / "w.npz", x=x, y=np.arange(40.0) % 2), task="classification")
    assert whole.classes == ("0", "1")


def test_layouts_of_images(tmp_path):
    y = np.arange(20) % 2
    last = files.pixels((20, 8, 6, 3))
    data = npz.load(path=saved(tmp_path / "l.npz", x=last, y=y), layout="channels_last")
    assert data.input_shape == (3, 8, 6)
    assert data.train.x.dtype == np.uint8
    assert npz.load(path=saved(tmp_path / "g.npz", x=last[..., 0], y=y)).input_shape == (1, 8, 6)


def test_names_of_classes(tmp_path):
    path = files.write_npz(tmp_path / "a.npz")
    assert npz.load(path=path, classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert npz.load(path=path, classes=5).outputs == 5


X, Y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
BAD_ARRAYS = {
    "no such arrays": ({"a": X}, {}, "has the arrays a; it needs x and y"),
    "half a test set": ({"x_train": X, "y_train": Y, "x_test": X}, {}, "only one of x_test and y_test"),
    "own validation": ({"x_train": X, "y_train": Y, "x_val": X}, {}, "has x_val, which nothing uses"),
    "objects": ({"x": X, "y": np.array([{}] * 30)}, {}, "Python objects are not read"),
    "label out of range": ({"x": X, "y": Y}, {"classes": 1}, "out of range"),
    "unknown text": ({"x": X, "y": np.array(["a", "b"] * 15)}, {"classes": ["a"]}, "has the label 'b'"),
    "huge labels": ({"x": X, "y": Y * 1000}, {}, "go up to 1000 but only 2 are different"),
    "one class": ({"x": X, "y": Y * 0}, {}, "are of one class"),
    "negative": ({"x": X, "y": Y - 1}, {}, "out of range: -1"),
    "NaN": ({"x": X * np.nan, "y": Y}, {}, "NaN"),
    "lengths": ({"x": X[:20], "y": Y}, {}, "20 inputs but 30 answers"),
    "empty": ({"x": X[:0], "y": Y[:0]}, {}, "holds no samples"),
    "task": ({"x": X, "y": Y}, {"task": "ranking"}, "task is 'ranking'"),
    "layout": ({"x": X, "y": Y}, {"layout": "hwc"}, "layout is 'hwc'"),
    "channels last": ({"x": np.zeros((30, 8, 8, 3)), "y": Y}, {}, "say layout='channels_last'"),
    "strange names": ({"x": X.astype("U8"), "y": Y}, {}, "inputs of .* are <U8, not numbers"),
    "NaN as a class": ({"x": X, "y": Y * np.nan}, {"task": "classification"}, "not class numbers"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_one_clear_sentence(tmp_path, case):
    arrays, options, message = BAD_ARRAYS[case]
    with pytest.raises(DataError, match=message) as caught:
        npz.load(path=saved(tmp_path / "a.npz", **arrays), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\3\4 no zip at all", b"\x80\4]q\0."])
def test_what_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz"):
        npz.load(path=path)
    np.save(tmp_path / "b.npy", X)
    with pytest.raises(DataError, match="is a single array"):
        npz.load(path=tmp_path / "b.npy")


def test_a_truncated_npz_is_refused(tmp_path):
    path = files.write_npz(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="cannot read"):
        npz.load(path=path)


def text(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_numbers_and_categories_become_features(tmp_path):
    data = table.load(path=files.write_table(tmp_path / "flowers.csv"), target="kind")
    assert data.input_shape == (4,)  # width, and one for each of three colours
    assert data.classes == ("a", "b")
    assert (data.train.x[:, 1:].sum(axis=1) == 1).all()
    assert data.name == "flowers"


def test_tables_may_be_gzipped_have_other_delimiters_and_a_byte_order_mark(tmp_path):
    plain = files.write_table(tmp_path / "a.csv")
    zipped = text(tmp_path, gzip.compress(plain.read_bytes()), "b.csv.gz")
    other = text(tmp_path, b"\xef\xbb\xbf" + plain.read_bytes().replace(b",", b";"), "c.csv")
    loaded = [table.load(path=plain, target="kind"), table.load(path=zipped, target="kind")]
    loaded.append(table.load(path=other, target="kind", delimiter=";"))
    for data in loaded:
        assert np.array_equal(data.train.x, loaded[0].train.x)


def rows(values, extra=""):
    lines = [f"{i},{v}{extra}" for i, v in enumerate(values)]
    return "x,y\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["yes", "no"] * 10, "classification", ("no", "yes")),
        (["1", "2", "10"] * 10, "classification", ("1", "2", "10")),
        ([f"{v / 7:.3f}" for v in range(30)], "regression", ()),
        (["1.0", "2.0"] * 10, "regression", ()),
    ],
)
def test_the_rule_that_decides_the_task(tmp_path, values, task, classes):
    data = table.load(path=text(tmp_path, rows(values)), target="y")
    assert (data.task, data.classes) == (task, classes)


def test_many_whole_numbers_must_be_said(tmp_path):
    path = text(tmp_path, rows(range(100)))
    with pytest.raises(DataError, match="100 different whole numbers, classes or amounts"):
        table.load(path=path, target="y")
    assert table.load(path=path, target="y", task="regression").outputs == 1


def test_several_targets_are_regression(tmp_path):
    content = "a,b,c\n" + "\n".join(f"{i},{i * 2},{i * 3}" for i in range(30))
    data = table.load(path=text(tmp_path, content), target=["b", "c"])
    assert (data.task, data.outputs, data.input_shape) == ("regression", 2, (1,))


def test_missing_values_are_imputed_from_the_training_rows_alone(tmp_path):
    content = "a,colour,y\n" + "\n".join(
        f"{'' if i % 5 == 0 else i},{'NA' if i % 7 == 0 else 'red'},{'uv'[i % 2]}" for i in range(100)
    )
    path = text(tmp_path, content)
    with pytest.raises(DataError, match=r"column 'a' of .* lacks 20 values .first in row 1"):
        table.load(path=path, target="y")
    data = table.load(path=path, target="y", missing="impute")
    assert data.input_shape == (3,)  # the missing colour is a category
    everything = np.concatenate([p.x[:, 0] for p in (data.train, data.validation, data.test)])
    values, counts = np.unique(everything, return_counts=True)
    fill = values[counts.argmax()]  # all other values differ from each other
    assert counts.max() >= 20
    known = [v for v in data.train.x[:, 0] if v != fill]
    assert abs(np.median(known) - fill) <= 1.5  # the fill itself may be among the known


def test_columns_can_be_ignored_or_taken_as_categories(tmp_path):
    content = "id,code,y\n" + "\n".join(f"name{i},{i % 3},{'uv'[i % 2]}" for i in range(600))
    path = text(tmp_path, content)
    with pytest.raises(DataError, match="600 different texts"):
        table.load(path=path, target="y")
    assert table.load(path=path, target="y", ignore=["id"]).input_shape == (1,)
    assert table.load(path=path, target="y", ignore=["id"], categorical=["code"]).input_shape == (3,)


def test_columns_of_npz_are_a_table_too(tmp_path):
    path = saved(tmp_path / "a.npz", width=X[:, 0], colour=np.array(["r", "g", "b"] * 10), y=Y)
    data = table.load(path=path, target="y")
    assert data.input_shape == (4,)
    assert data.task == "classification"
    saved(tmp_path / "b.npz", width=X, y=Y)
    with pytest.raises(DataError, match="of one length"):
        table.load(path=tmp_path / "b.npz", target="y")


GOOD = rows(["u", "v"] * 20)
BAD_TABLES = {
    "empty file": ("", {}, "holds no rows|no column"),
    "header only": ("x,y\n", {}, "holds no rows"),
    "no such target": (
        GOOD.replace("y", "kind", 1),
        {"target": "kin"},
        "no column 'kin'; did you mean 'kind'",
    ),
    "no near name": (GOOD, {"target": "price"}, "it has x, y"),
    "no such column to ignore": (GOOD, {"ignore": ["z"]}, "no column 'z'"),
    "nothing but the target": (GOOD, {"ignore": ["x"]}, "at least one column besides"),
    "no target": (GOOD, {"target": []}, "needs a target"),
    "ragged": (GOOD + "1,2,3\n", {}, "line 42 of .* has 3 fields but the header has 2"),
    "two names alike": (GOOD.replace("x", "y", 1), {}, "two columns named 'y'"),
    "missing target": (GOOD + "7,\n", {}, "the target 'y' of .* lacks 1 values .first in row 41"),
    "empty column": ("x,z,y\n1,,u\n2,,v\n" * 1, {"missing": "impute"}, "column 'z' of .* has no values"),
    "infinite": (GOOD + "inf,u\n", {}, "holds infinite numbers"),
    "texts for regression": (GOOD, {"task": "regression"}, "'y' of .* holds texts"),
    "one class": (rows(["u"] * 20), {}, "are of one class"),
    "each row a class": (rows(f"u{i}" for i in range(50)), {}, "too many for classes"),
    "bad task": (GOOD, {"task": "rank"}, "task is 'rank'"),
    "bad missing": (GOOD, {"missing": "drop"}, "missing is 'drop'"),
    "bad delimiter": (GOOD, {"delimiter": ", "}, "must be one character"),
    "not UTF-8": (b"x,y\n\xff\xfe,1\n", {}, "save it as CSV in UTF-8"),
    "gzip damaged": (gzip.compress(GOOD.encode())[:-12], {}, "cannot read"),
    "two classes to choose": (
        "x,y,z\n1,u,u\n2,v,v\n",
        {"target": ["y", "z"], "task": "classification"},
        "classification has one",
    ),
    "too few rows": ("x,y\n1,u\n2,v\n", {}, "too few"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_one_clear_sentence(tmp_path, case):
    content, options, message = BAD_TABLES[case]
    with pytest.raises(DataError, match=message) as caught:
        table.load(path=text(tmp_path, content), **{"target": "y", **options})
    assert "\n" not in str(caught.value)


def test_a_folder_for_a_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        table.load(path=tmp_path, target="y")
    with pytest.raises(DataError, match="there is no file"):
        table.load(path=tmp_path / "none.csv", target="y")


pillow = pytest.importorskip("PIL", reason="Pillow is not there")


def test_images_in_class_folders(tmp_path):
    files.write_images(tmp_path / "pets", ("cat", "dog", "owl"))
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "pets" / ".hidden").mkdir()
    data = folder.load(path=tmp_path / "pets")
    assert data.classes == ("cat", "dog", "owl")
    assert data.name == "pets"
    assert data.input_shape == (3, 6, 6)
    assert len(data.train) + len(data.validation) + len(data.test) == 36
    assert folder.load(path=tmp_path / "pets", grey=True).input_shape == (1, 6, 6)
    assert folder.load(path=tmp_path / "pets", size=[4, 8]).input_shape == (3, 4, 8)


def test_png_pixels_come_back(tmp_path):
    from PIL import Image

    x = files.pixels((20, 5, 4, 3))
    for i in range(20):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(x[i]).save(tmp_path / str(i % 2) / f"{i:02}.png")
    data = folder.load(path=tmp_path)
    everything = np.concatenate([p.x for p in (data.train, data.validation, data.test)])
    assert {a.tobytes() for a in everything} == {
        a.tobytes() for a in np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    }


def test_train_and_test_folders(tmp_path):
    files.write_images(tmp_path / "train", count=10)
    files.write_images(tmp_path / "test", count=4, seed=1)
    data = folder.load(path=tmp_path, validation_size=4)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [16, 4, 8]


def test_images_of_different_sizes_need_a_size(tmp_path):
    files.write_images(tmp_path, ("cat",), side=6)
    files.write_images(tmp_path, ("dog",), side=9)
    with pytest.raises(DataError, match=r"is 9x9 but .* is 6x6; give size"):
        folder.load(path=tmp_path)
    assert folder.load(path=tmp_path, size=5).input_shape == (3, 5, 5)


def a_broken_image(root):
    (files.write_images(root) / "cat" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")


def a_truncated_image(root):
    path = files.write_images(root, side=40) / "cat" / "001.png"
    path.write_bytes(path.read_bytes()[:300])


def another_format(root):
    (files.write_images(root) / "cat" / "000.png").write_bytes(b"GIF89a\1\0\1\0\0\0\0;")


def an_unknown_class(root):
    files.write_images(root / "train")
    files.write_images(root / "test", ("cat", "owl"))


def a_class_without_test_images(root):
    files.write_images(root / "train")
    files.write_images(root / "test", ("cat",))


def own_validation(root):
    for part in ("train", "test", "val"):
        files.write_images(root / part)


BAD_FOLDERS = {
    "empty": (lambda root: None, {}, "has 0 class folders"),
    "one class": (lambda root: files.write_images(root, ("cat",)), {}, "has 1 class folders"),
    "an empty class": (
        lambda root: (files.write_images(root) / "owl").mkdir(),
        {},
        "owl holds no PNG or JPEG images",
    ),
    "broken": (a_broken_image, {}, "cannot read the image .*000.png"),
    "truncated": (a_truncated_image, {}, "cannot read the image .*001.png"),
    "another format": (another_format, {}, "cannot read the image .*000.png"),
    "unknown class": (an_unknown_class, {}, "has the class owl"),
    "no test images of a class": (a_class_without_test_images, {}, "dog holds no PNG or JPEG"),
    "own validation": (own_validation, {}, "validation is taken out of train"),
    "size": (files.write_images, {"size": 0}, "size is 0"),
    "sizes": (files.write_images, {"size": [1, 2, 3]}, r"size is \[1, 2, 3\]"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders_are_one_clear_sentence(tmp_path, case):
    prepare, options, message = BAD_FOLDERS[case]
    prepare(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        folder.load(path=tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_a_file_for_a_folder_is_refused(tmp_path):
    files.write_images(tmp_path / "a")
    archive = shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "a")
    with pytest.raises(DataError, match="is a file; give the folder"):
        folder.load(path=archive)


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'vilfredo\[images\]'"):
        folder.load(path=tmp_path)
