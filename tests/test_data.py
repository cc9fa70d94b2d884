"""Splits, checks and normalising numbers that all datasets share."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo.data import digits
from vilfredo.data.dataset import DataError, Part, Sizes, check, describe, make, moments, split, subset


def numbered(count, classes=2, seed=0):
    """Samples that carry their own number, so that it can be seen where each one went."""
    y = np.random.default_rng(seed).permutation(np.arange(count) % classes)
    return Part(np.arange(count, dtype=np.float32)[:, None], y)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(20, 200),
    classes=st.integers(2, 5),
    validation=st.one_of(st.none(), st.integers(1, 5), st.floats(0.05, 0.3)),
    test=st.one_of(st.none(), st.integers(1, 5), st.floats(0.05, 0.3)),
    seed=st.integers(0, 5),
)
def test_a_split_is_disjoint_complete_and_repeatable(count, classes, validation, test, seed):
    whole = numbered(count, classes)
    parts = split(whole, None, Sizes(None, validation, test, seed))
    again = split(whole, None, Sizes(None, validation, test, seed))
    numbers = np.concatenate([p.x[:, 0] for p in parts])
    assert sorted(numbers) == list(range(count))
    for part, same in zip(parts, again, strict=True):
        assert np.array_equal(part.x, same.x)
        assert np.array_equal(part.y, same.y)
        assert np.array_equal(whole.y[part.x[:, 0].astype(int)], part.y)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(10, 120), seed=st.integers(0, 3))
def test_classes_stay_in_proportion_in_every_prefix_of_the_training_part(size, seed):
    y = np.repeat([0, 1, 2], [100, 60, 40])
    train, validation, _ = split(Part(y[:, None].astype(float), y), None, Sizes(size, 20, 20, seed))
    for part in (train, validation):
        share = np.bincount(part.y, minlength=3) / len(part)
        assert np.abs(share - [0.5, 0.3, 0.2]).max() <= 1.5 / len(part) + 1e-9


def test_smaller_training_parts_lie_within_larger_ones():
    whole = numbered(200, 4)
    small, large = (split(whole, None, Sizes(n, 20, 20))[0].x[:, 0] for n in (30, 90))
    assert set(small) < set(large)


def test_validation_never_comes_from_a_published_test_set():
    train, test = numbered(100), Part(np.arange(1000, 1040, dtype=np.float32)[:, None], np.arange(40) % 2)
    parts = split(train, test, Sizes(validation=0.25))
    assert parts[0].x.max() < 100
    assert parts[1].x.max() < 100
    assert np.array_equal(parts[2].x, test.x)
    assert len(split(train, test, Sizes(test=10))[2]) == 10


def test_default_validation_is_a_tenth_and_at_most_half_of_a_training_size():
    train, test = numbered(1000), numbered(10)
    assert [len(p) for p in split(train, test, Sizes())] == [900, 100, 10]
    assert [len(p) for p in split(train, test, Sizes(train=80))] == [80, 40, 10]


def test_different_seeds_split_differently():
    whole = numbered(100)
    assert not np.array_equal(split(whole, None, Sizes(seed=0))[2].x, split(whole, None, Sizes(seed=1))[2].x)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_moments_are_those_of_numpy(kind):
    x = np.random.default_rng(0).integers(0, 255, (2500, 3, 5, 4)).astype(kind)
    x[:, 1] = 7
    mean, std = moments(x)
    assert np.allclose(mean, x.mean(axis=(0, 2, 3)), rtol=1e-5)
    assert np.allclose(std[[0, 2]], x[:, [0, 2]].std(axis=(0, 2, 3)), rtol=1e-5)
    assert std[1] == 1  # constant
    assert mean.dtype == std.dtype == np.float32


def test_moments_of_large_offsets_do_not_cancel():
    x = (1e5 + np.random.default_rng(0).normal(size=(4000, 1))).astype(np.float32)
    assert moments(x)[1][0] == pytest.approx(float(x.std(dtype=np.float64)), rel=1e-2)


def test_digits_are_embedded_and_whole():
    data = digits.load()
    assert (len(data.train), len(data.validation), len(data.test)) == (1150, 288, 359)
    assert data.input_shape == (1, 8, 8)
    assert data.outputs == 10
    assert data.train.x.dtype == np.uint8
    assert data.train.y.dtype == np.int64
    sums = sum(int(p.x.sum()) for p in (data.train, data.validation, data.test))
    assert sums == 561718  # of the published file
    assert "CC BY 4.0" in data.source


def test_a_dataset_pickles_and_describes_itself():
    data = digits.load(train_size=100)
    copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy.train.x, data.train.x)
    assert json.loads(json.dumps(describe(copy)))["train"] == 100


def test_normalising_numbers_are_of_the_training_part_alone():
    data = digits.load(train_size=200)
    assert data.mean[0] == pytest.approx(data.train.x.mean())
    assert data.std[0] == pytest.approx(data.train.x.std())


def test_subset_keeps_classes_in_proportion():
    data = subset(digits.load(), train=100, validation=50, test=50)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [100, 50, 50]
    assert np.bincount(data.train.y).min() >= 9
    assert data.mean[0] == pytest.approx(data.train.x.mean())
    with pytest.raises(DataError, match="fewer than 5000"):
        subset(data, train=5000)


def test_regression_has_target_moments_and_no_classes():
    rng = np.random.default_rng(0)
    data = make("r", Part(rng.normal(size=(50, 3)), rng.normal(5, 2, 50)), None, Sizes(), task="regression")
    assert data.outputs == 1
    assert data.classes == ()
    assert data.train.y.dtype == np.float32
    assert data.target_mean[0] == pytest.approx(data.train.y.mean(), rel=1e-4)
    assert data.target_std.shape == (1,)


def images(n=6):
    return np.zeros((n, 1, 4, 4), np.uint8)


NAN = np.full((6, 2), np.nan)
BAD_CONTENT = {
    "no samples": (np.zeros((0, 2)), np.zeros(0, int), "holds no samples"),
    "five axes": (np.zeros((6, 1, 1, 1, 1)), np.arange(6) % 2, "inputs of F have shape"),
    "one number": (np.float32(3), np.arange(6) % 2, "inputs of F have shape"),
    "lengths differ": (images(), np.arange(5) % 2, "has 6 inputs but 5 answers"),
    "texts as inputs": (np.array([["a"]] * 6), np.arange(6) % 2, "not numbers"),
    "NaN in inputs": (NAN, np.arange(6) % 2, "NaN or infinite numbers .first in sample 0"),
    "inf in inputs": (np.full((6, 2), np.inf), np.arange(6) % 2, "NaN or infinite"),
    "label too large": (images(), np.array([0, 1, 2, 1, 0, 9]), "out of range: 9 is not between 0 and 2"),
    "label negative": (images(), np.array([0, 1, -1, 1, 0, 2]), "out of range: -1"),
    "fractional labels": (images(), np.array([0.5, 1, 0, 1, 0, 1]), "not class numbers"),
    "NaN labels": (images(), np.array([np.nan, 1, 0, 1, 0, 1]), "not class numbers"),
    "one class only": (images(), np.ones(6, int), "are of one class"),
    "one-hot labels": (images(), np.eye(6, dtype=int), "labels of F have shape"),
}


@pytest.mark.parametrize("case", BAD_CONTENT)
def test_bad_content_is_one_clear_sentence(case):
    x, y, message = BAD_CONTENT[case]
    with pytest.raises(DataError, match=message) as caught:
        check(Part(x, y), "classification", ("a", "b", "c"), "F")
    sentence(str(caught.value))


@pytest.mark.parametrize("y", [np.full(6, np.nan), np.array(["a"] * 6), np.zeros((6, 1, 1))])
def test_bad_targets_are_one_clear_sentence(y):
    with pytest.raises(DataError, match="targets of F") as caught:
        check(Part(images(), y), "regression", (), "F")
    sentence(str(caught.value))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (Sizes(train=0), "train_size is 0"),
        (Sizes(train=0.5), "train_size is 0.5"),
        (Sizes(validation=1.5), "validation_size is 1.5"),
        (Sizes(test=True), "test_size is True"),
        (Sizes(test=-3), "test_size is -3"),
        (Sizes(validation="10"), "validation_size is '10'"),
        (Sizes(train=95, validation=20), "too few for 95 for training and 20 for validation"),
        (Sizes(train=10, test=200), "too few"),
        (Sizes(validation=100), "too few"),
    ],
)
def test_sizes_that_cannot_be_are_one_clear_sentence(sizes, message):
    with pytest.raises(DataError, match=message) as caught:
        split(numbered(100), None, sizes, where="F")
    sentence(str(caught.value))


def test_a_training_part_of_one_class_is_refused():
    with pytest.raises(DataError, match="are of one class; use a larger train_size"):
        split(numbered(100), None, Sizes(train=1))


def test_parts_that_differ_in_shape_are_refused():
    with pytest.raises(DataError, match="differ in shape"):
        make("f", numbered(20), Part(np.zeros((4, 2)), np.arange(4) % 2), Sizes(), classes=("a", "b"))


def sentence(message):
    """One line, no full stop inside, nothing of Python's own words."""
    assert "\n" not in message
    assert ". " not in message
    assert "Traceback" not in message
