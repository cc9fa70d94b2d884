"""Bits of numbers there and back, against numpy's and torch's own formats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo.codes import Codes, field, floats, patterns, span, values

FORMS = ("float16", "bfloat16", "float32")
TOP = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}
finite_or_not = st.floats(width=64, allow_nan=True, allow_infinity=True, allow_subnormal=True)


@pytest.fixture(autouse=True)
def strict():
    with np.errstate(all="raise"):
        yield


@given(st.integers(1, 53), st.booleans(), st.data())
def test_whole_numbers_come_back(bits, signed, data):
    codes = Codes(-1 if signed else 0, 1, bits)
    low, high = span(codes)
    assert high - low == 2**bits - 1
    number = data.draw(st.integers(low, high))
    word = patterns(np.array([number, low, high], float), codes)
    assert word.dtype == np.int64
    assert ((word >= 0) & (word < 2**bits)).all()
    assert word[0] == number % 2**bits  # two's complement
    assert values(word, codes).tolist() == [number, low, high]


def test_whole_numbers_that_do_not_fit_are_refused():
    for bad in (128, -129, 0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="not all values are whole numbers from -128 to 127"):
            patterns(np.array([0, bad]), Codes(-127, 127, 8))
    for codes in (Codes(0, 1), Codes(-1, 1, 54)):
        with pytest.raises(ValueError, match="have no bits"):
            patterns(np.zeros(1), codes)
    assert patterns(np.empty((0, 3)), Codes(-127, 127, 8)).shape == (0, 3)


@pytest.mark.parametrize("form", ["float16", "bfloat16"])
def test_all_words_of_16_bits(form):
    torch = pytest.importorskip("torch")
    words = np.arange(1 << 16).reshape(256, 256)
    numbers = values(words, floats(form))
    kind = {"float16": torch.float16, "bfloat16": torch.bfloat16}[form]
    theirs = torch.from_numpy(words.astype(np.uint16).view(np.int16)).view(kind).double().numpy()
    assert np.array_equal(numbers, theirs, equal_nan=True)
    back = patterns(numbers, floats(form))
    nan = np.isnan(numbers)
    assert nan.sum() == 2 * ((1 << (10 if form == "float16" else 7)) - 1)
    assert np.array_equal(back[~nan], words[~nan])
    assert np.isnan(values(back[nan], floats(form))).all()
    assert np.isinf(numbers).sum() == 2
    assert (back[numbers == 0] == [0, 0x8000]).all()  # zeros keep their signs


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_words_of_32_bits(words):
    words = np.array(words)
    numbers = values(words, floats("float32"))
    with np.errstate(invalid="ignore"):
        assert np.array_equal(numbers, words.astype(np.uint32).view(np.float32), equal_nan=True)
    back = patterns(numbers, floats("float32"))
    ordinary = ~np.isnan(numbers)
    assert np.array_equal(back[ordinary], words[ordinary])
    assert np.isnan(values(back, floats("float32"))[~ordinary]).all()


@pytest.mark.parametrize("form", FORMS)
@given(st.lists(finite_or_not, min_size=1, max_size=20))
def test_numbers_are_rounded_as_numpy_and_torch_do(form, numbers):
    torch = pytest.importorskip("torch")
    with np.errstate(all="ignore"):
        x = np.array(numbers)
        if form == "float16":
            expected = x.astype(np.float16).astype(np.float64)
        else:
            kind = {"bfloat16": torch.bfloat16, "float32": torch.float32}[form]
            expected = torch.from_numpy(x.astype(np.float32)).to(kind).double().numpy()
        ours = values(patterns(x, floats(form)), floats(form))
        assert np.array_equal(ours, expected, equal_nan=True)
        assert np.array_equal(np.signbit(ours)[~np.isnan(x)], np.signbit(x)[~np.isnan(x)])


def test_edges_of_the_formats():
    for form in FORMS:
        codes = floats(form)
        assert (codes.low, codes.high) == (-TOP[form], TOP[form])
        edges = np.array([codes.high, -codes.high, np.inf, -np.inf, 0.0, 1.0])
        assert np.array_equal(values(patterns(edges, codes), codes), edges)
        least = values(np.array([1]), codes)
        assert least == {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149}[form]
        assert patterns(least, codes).tolist() == [1]
    with np.errstate(over="ignore"):
        beyond = np.array([1e39, -1e39])
        assert values(patterns(beyond, floats("bfloat16")), floats("bfloat16")).tolist() == [np.inf, -np.inf]
    halves = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8])  # between two numbers: to the even one
    assert values(patterns(halves, floats("bfloat16")), floats("bfloat16")).tolist() == [1, 1 + 2.0**-6]


@pytest.mark.parametrize(
    ("form", "bits", "mantissa"), [("float16", 16, 10), ("bfloat16", 16, 7), ("float32", 32, 23)]
)
def test_the_bits_of_floats_mean_what_they_mean(form, bits, mantissa):
    codes = floats(form)
    assert codes.bits == bits
    names = [field(bit, codes) for bit in range(bits)]
    assert names == ["mantissa"] * mantissa + ["exponent"] * (bits - 1 - mantissa) + ["sign"]
    one = patterns(np.array([1.0]), codes)
    assert values(one ^ (1 << bits - 1), codes) == -1
    assert values(one ^ (1 << mantissa - 1), codes) == 1.5
    assert values(one ^ (1 << bits - 2), codes) == np.inf
    assert np.isnan(values(one ^ (1 << bits - 2) ^ 1, codes))
    assert values(one ^ (1 << mantissa), codes) == 0.5


def test_the_bits_of_whole_numbers():
    assert [field(b, Codes(-127, 127, 4)) for b in range(4)] == ["magnitude"] * 3 + ["sign"]
    assert [field(b, Codes(0, 15, 4)) for b in range(4)] == ["magnitude"] * 4
    assert patterns(np.array([-1.0, -8, 7]), Codes(-8, 7, 4)).tolist() == [15, 8, 7]
    assert patterns(np.array([15.0, 8]), Codes(1, 15, 4)).tolist() == [15, 8]
