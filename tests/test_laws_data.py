"""Laws that hold for every loader: the test finds them by itself and fails for one without an example."""

import importlib
import inspect
import pickle
import pkgutil

import numpy as np
import pytest

import data_files as files
import vilfredo.data
from vilfredo.data.dataset import DataError, Dataset, Part, describe

EXAMPLES = {
    # loader: writes its files below a folder and returns the options with which to load them
    "digits": lambda folder: {},
    "mnist": lambda folder: {"path": files.write_mnist(folder)},
    "fashion_mnist": lambda folder: {"path": files.write_mnist(folder)},
    "cifar10": lambda folder: {"path": files.write_cifar10(folder)},
    "cifar100": lambda folder: {"path": files.write_cifar100(folder)},
    "svhn": lambda folder: {"path": files.write_svhn(folder)},
    "npz": lambda folder: {"path": files.write_npz(folder / "a.npz", 100)},
    "table": lambda folder: {"path": files.write_table(folder / "a.csv", 100), "target": "kind"},
    "folder": lambda folder: {"path": files.write_images(folder / "images", count=50)},
}
COMMON = ("train_size", "validation_size", "test_size", "seed")

MODULES = {
    info.name: importlib.import_module(f"vilfredo.data.{info.name}")
    for info in pkgutil.iter_modules(vilfredo.data.__path__)
}
LOADERS = sorted(name for name, module in MODULES.items() if hasattr(module, "load"))
pytestmark = pytest.mark.filterwarnings("ignore:CIFAR")


@pytest.fixture(params=LOADERS)
def case(request, tmp_path):
    name = request.param
    if name not in EXAMPLES:
        pytest.fail(f"the loader {name} has no example in {__name__}.EXAMPLES")
    if name == "folder":
        pytest.importorskip("PIL")
    return MODULES[name], EXAMPLES[name](tmp_path)


def sample_keys(part: Part) -> list[bytes]:
    return [x.tobytes() for x in part.x]


def test_every_example_has_its_loader():
    assert set(EXAMPLES) == set(LOADERS)


@pytest.mark.parametrize("name", LOADERS)
def test_it_names_source_and_licence(name):
    words = MODULES[name].__doc__ or ""
    assert "Source:" in words
    assert "Licence:" in words
    assert (MODULES[name].load.__doc__ or "").count("Raises `DataError`") == 1


@pytest.mark.parametrize("name", LOADERS)
def test_it_takes_the_common_options_by_name(name):
    parameters = inspect.signature(MODULES[name].load).parameters
    for option in COMMON:
        assert parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
    assert name == "digits" or "path" in parameters
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())


def test_it_gives_a_dataset_of_the_promised_types(case):
    module, options = case
    data = module.load(**options)
    assert isinstance(data, Dataset)
    assert data.name
    assert data.source
    for part in (data.train, data.validation, data.test):
        assert len(part) == len(part.x) == len(part.y) > 0
        assert part.x.dtype in (np.uint8, np.float32)
        assert part.x.shape[1:] == data.input_shape
        assert part.x.ndim in (2, 4)
        assert part.y.dtype == np.int64
        assert 0 <= part.y.min() <= part.y.max() < data.outputs == len(data.classes)
    assert data.mean.shape == data.std.shape == data.input_shape[:1]
    assert (data.std > 0).all()
    assert data.augment in ("none", "shift", "flip_shift")
    assert describe(data)["outputs"] == data.outputs


def test_the_parts_are_disjoint(case):
    module, options = case
    data = module.load(**options)
    parts = [sample_keys(p) for p in (data.train, data.validation, data.test)]
    whole = [key for part in parts for key in part]
    # The published digits hold no two equal images; the examples are random.
    assert len(set(whole)) == len(whole)


def test_the_same_seed_gives_the_same_parts_and_another_seed_others(case):
    module, options = case
    first, again = module.load(**options, seed=3), module.load(**options, seed=3)
    for name in ("train", "validation", "test"):
        assert sample_keys(getattr(first, name)) == sample_keys(getattr(again, name))
        assert np.array_equal(getattr(first, name).y, getattr(again, name).y)
    other = module.load(**options, seed=4)
    assert sample_keys(first.validation) != sample_keys(other.validation)


def test_sizes_are_kept(case):
    module, options = case
    data = module.load(**options, train_size=30, validation_size=9, test_size=10)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [30, 9, 10]
    with pytest.raises(DataError):
        module.load(**options, train_size=1_000_000)
    with pytest.raises(DataError):
        module.load(**options, validation_size=-1)


def test_it_survives_the_way_to_a_worker(case):
    module, options = case
    data = module.load(**options)
    copy = pickle.loads(pickle.dumps(data, protocol=pickle.HIGHEST_PROTOCOL))
    assert sample_keys(copy.train) == sample_keys(data.train)
    assert describe(copy) == describe(data)


@pytest.mark.parametrize("name", [n for n in LOADERS if n != "digits"])
def test_a_path_that_is_not_there_is_one_clear_sentence(name, tmp_path):
    target = {"target": "kind"} if name == "table" else {}
    with pytest.raises(DataError, match="there is no file or folder") as caught:
        MODULES[name].load(path=tmp_path / "nowhere", **target)
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize("name", [n for n in LOADERS if n not in ("digits", "npz", "table")])
def test_an_empty_folder_is_one_clear_sentence(name, tmp_path):
    with pytest.raises(DataError) as caught:
        MODULES[name].load(path=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
