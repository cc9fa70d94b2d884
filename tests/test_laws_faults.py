"""What every fault must keep to. A new file in `vilfredo/faults` needs a line in EXAMPLES, no more."""

import importlib
import inspect
import math
import pickle
import pkgutil
from dataclasses import FrozenInstanceError, fields, replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vilfredo.faults
from vilfredo.codes import Codes, floats, patterns, values
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.burst import Burst
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.lognormal import Lognormal
from vilfredo.faults.stuck import Stuck
from vilfredo.faults.stuck_bit import StuckBit
from vilfredo.protocols import Site

EXAMPLES = {
    # file: faults of some strength, each with the option that is its strength
    "gaussian": [
        (Gaussian(0.3), "sd"),
        (Gaussian(2.0, relative=False), "sd"),
        (Gaussian(0.1, "thresholds"), "sd"),
        (Gaussian(0.5, "activations"), "sd"),
    ],
    "lognormal": [
        (Lognormal(0.3), "sd"),
        (Lognormal(1.0, "delays"), "sd"),
        (Lognormal(0.2, "accumulators"), "sd"),
    ],
    "stuck": [
        (Stuck(0.2), "rate"),
        (Stuck(0.2, "max"), "rate"),
        (Stuck(0.9, "min", "activations"), "rate"),
        (Stuck(0.5, 1, "inputs", transient=True), "rate"),
        (Stuck(1), "rate"),
    ],
    "stuck_bit": [
        (StuckBit(0.1), "rate"),
        (StuckBit(1.0, 1, "activations"), "rate"),
        (StuckBit(0.5, 1, bits="sign"), "rate"),
        (StuckBit(0.3, 0, bits=(0, 5)), "rate"),
    ],
    "dead": [(Dead(0.2), "rate"), (Dead(1.0), "rate"), (Dead(0.4, "channels"), "rate")],
    "bit_flip": [
        (BitFlip(0.05), "rate"),
        (BitFlip(1.0), "rate"),
        (BitFlip(0.1, "thresholds"), "rate"),
        (BitFlip(0.1, "activations", bits="magnitude"), "rate"),
        (BitFlip(0.3, "accumulators", bits="sign"), "rate"),
        (BitFlip(0.3, bits="exponent"), "rate"),
        (BitFlip(0.3, "inputs", bits="mantissa"), "rate"),
        (BitFlip(0.3, bits=[6, 0], transient=True), "rate"),
        (BitFlip(count=1), "count"),
        (BitFlip(count=7, site="inputs"), "count"),
    ],
    "burst": [(Burst(0.2), "rate"), (Burst(1.0, 3, "accumulators"), "rate"), (Burst(0.5, 7), "rate")],
}
FORMATS = {
    "int8": Codes(-127, 127, 8),
    "uint7": Codes(0, 127, 7),
    "int32": Codes(-(2**31), 2**31 - 1, 32),
    "float16": floats("float16"),
    "bfloat16": floats("bfloat16"),
    "float32": floats("float32"),
    "real": Codes(-1.0, 1.0),
}
FLOATS = ("float16", "bfloat16", "float32")
SHAPES = [(3, 40), (5,), (4, 6, 5), (8, 3, 3, 3), (0, 4), ()]


def classes():
    """(file, class) of every leaf: the class named as its file, without underscores."""
    for info in pkgutil.iter_modules(vilfredo.faults.__path__):
        module = importlib.import_module(f"vilfredo.faults.{info.name}")
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and name.lower() == info.name.replace("_", ""):
                yield info.name, kind


def formats(fault):
    """The codes that a fault claims to work on: all that have the bits it wants."""
    if not fault.bitwise:
        return list(FORMATS)
    bits = getattr(fault, "bits", "any")
    if bits in ("exponent", "mantissa"):
        return list(FLOATS)
    return ["int8", "int32", *FLOATS, *(["uint7"] if bits != "sign" else [])]


def takes(fault, shape):
    """Whether a fault acts on arrays of that shape: not channels where there are none, nor 7 bits of 0."""
    if getattr(fault, "of", "") == "channels":
        return len(shape) in (1, 3)
    return not (getattr(fault, "count", None) and math.prod(shape) == 0)


CASES = [
    pytest.param(fault, strength, form, id=f"{name}{number}-{form}")
    for name, examples in EXAMPLES.items()
    for number, (fault, strength) in enumerate(examples)
    for form in formats(fault)
]
EACH = pytest.mark.parametrize(("fault", "strength", "form"), CASES)
shapes = st.sampled_from(SHAPES) | st.tuples(st.integers(0, 9), st.integers(0, 40))
seeds = st.integers(0, 2**32 - 1)


def numbers(fault, form, shape, seed):
    """Values that such cells may hold; of floats also what is infinite or not a number."""
    rng, codes = np.random.default_rng(seed), FORMATS[form]
    if fault.site == "neurons":
        return np.ones(shape)
    if form == "real":
        return np.asarray(rng.uniform(-1, 1, shape))
    if form in FLOATS:
        return np.asarray(values(np.asarray(rng.integers(0, 1 << codes.bits, shape)), codes))
    return np.asarray(rng.integers(int(codes.low), int(codes.high) + 1, shape)).astype(float)


def same(first, second):
    return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=True)


def test_every_fault_has_an_example():
    assert {name for name, _ in classes()} == set(EXAMPLES)
    for name, kind in classes():
        assert any(type(fault) is kind for fault, _ in EXAMPLES[name]), f"{name} has no example"
        assert len(inspect.getmodule(kind).__doc__) > 100
        assert kind.__doc__


@EACH
@given(shape=shapes, seed=seeds)
@settings(max_examples=6, deadline=None)
def test_strength_0_is_the_identity(fault, strength, form, shape, seed):
    if getattr(fault, "of", "") == "channels" and not takes(fault, shape):
        return
    nothing = replace(fault, **{strength: 0})
    before = numbers(fault, form, shape, seed)
    after = nothing(before, FORMATS[form], np.random.default_rng(seed))
    assert same(after, before)
    assert after is not before
    hits = nothing.draw(shape, FORMATS[form], np.random.default_rng(seed))
    assert hits.index.shape == hits.detail.shape == (0,)


@EACH
@given(shape=shapes, seed=seeds)
@settings(max_examples=8, deadline=None)
def test_a_call_draws_and_applies_and_seeds_decide(fault, strength, form, shape, seed):
    if not takes(fault, shape):
        return
    codes = FORMATS[form]
    before = numbers(fault, form, shape, seed)
    kept = before.copy()
    after = fault(before, codes, np.random.default_rng(seed))
    assert after.shape == before.shape
    assert after.dtype == np.float64
    assert same(before, kept)  # values are left alone

    hits = fault.draw(shape, codes, np.random.default_rng(seed))
    assert hits.index.dtype == np.int64
    assert hits.index.shape == hits.detail.shape == (len(hits.index),)
    assert (np.diff(hits.index) > 0).all()
    assert not len(hits.index) or (hits.index[0] >= 0 and hits.index[-1] < before.size)
    drawn = before.copy().reshape(-1)
    drawn[hits.index] = fault.apply(drawn[hits.index], codes, hits.detail)
    assert same(drawn.reshape(shape), after)

    again = pickle.loads(pickle.dumps(fault))
    assert again == fault
    assert hash(again) == hash(fault)
    assert same(again(before, codes, np.random.default_rng(seed)), after)


@EACH
def test_each_single_fault_is_made_again_from_its_place_and_detail(fault, strength, form):
    codes, shape = FORMATS[form], (6, 5, 4)
    before = numbers(fault, form, shape, 3).reshape(-1)
    after = fault(before.reshape(shape), codes, np.random.default_rng(3)).reshape(-1)
    hits = fault.draw(shape, codes, np.random.default_rng(3))
    assert len(hits.index)
    for index, detail in zip(hits.index, hits.detail, strict=True):
        one = fault.apply(before[index : index + 1], codes, np.array([detail]))
        assert same(one, after[index : index + 1])
    untouched = np.setdiff1d(np.arange(before.size), hits.index)
    assert same(before[untouched], after[untouched])


@EACH
def test_details_are_those_of_single_faults(fault, strength, form):
    codes = FORMATS[form]
    places = fault.places(codes)
    assert list(places) == sorted(set(places))
    assert places == (-1,) if not fault.bitwise else 0 <= places[0] <= places[-1] < codes.bits
    bits = np.array(places, np.int64)
    rng = np.random.default_rng(1)
    details = fault.details(bits, codes, rng)
    assert details.shape == bits.shape
    drawn = fault.draw((50, 3, 3), codes, np.random.default_rng(1)) if strength != "count" else None
    if drawn is not None:
        assert drawn.detail.dtype == details.dtype
    if fault.bitwise:
        assert (details & -details == 1 << bits).all()  # a fault's bit is its lowest
        assert (details < 1 << codes.bits).all()
        if drawn is not None and not isinstance(fault, Burst):
            assert not (drawn.detail & ~np.bitwise_or.reduce(details)).any()
    faulty = fault.apply(numbers(fault, form, bits.shape, 2), codes, details)
    assert faulty.shape == bits.shape
    assert faulty.dtype == np.float64
    if form not in FLOATS:
        assert np.isfinite(faulty).all()
    if fault.bitwise and form not in FLOATS:
        patterns(faulty, codes)  # still codes of so many bits
    extent = fault.extent((6, 5, 4))
    assert extent == (20 if fault == Dead(0.4, "channels") else 1)


@EACH
def test_copies_differ_and_faults_are_frozen(fault, strength, form):
    one = replace(fault, **{strength: 0.4}) if strength == "rate" else fault
    before = numbers(fault, form, (2, 500, 1), 3)
    before = np.where(np.isfinite(before) & (before != 0), before, 1.0)
    before[1] = before[0]
    after = one(before, FORMATS[form], np.random.default_rng(1))
    if takes(fault, (2, 500)):
        assert not np.array_equal(after[0], after[1])
        assert not np.array_equal(after, before)
    with pytest.raises(FrozenInstanceError):
        setattr(fault, strength, 0)


@EACH
def test_as_many_are_hit_as_the_rate_says_anywhere(fault, strength, form):
    """Within five standard deviations of the binomial distribution, in all and in each half."""
    if strength != "rate":
        return
    codes = FORMATS[form]
    for rate in (1e-3, 0.2):
        size, extent = 60_000, fault.extent((200, 300, 1))
        places = replace(fault, rate=rate).draw((200, 300, 1), codes, np.random.default_rng(5))
        single = len(fault.places(codes)) if fault.bitwise and not isinstance(fault, Burst) else 1
        hits = [int(word).bit_count() if single > 1 else 1 for word in places.detail]
        for first, last in ((0, size), (0, size // 2), (size // 2, size)):
            inside = (places.index >= first) & (places.index < last)
            found = np.array(hits, float)[inside].sum() / extent
            trials = (last - first) / extent * single
            assert abs(found - trials * rate) <= 5 * math.sqrt(trials * rate * (1 - rate)) + 1e-9


@pytest.mark.parametrize(("name", "kind"), list(classes()))
def test_one_fault_serves_spiking_and_other_networks(name, kind):
    """The same object on (copies, synapses), filters, images and single numbers."""
    fault, _ = EXAMPLES[name][0]
    form = formats(fault)[0]
    for shape in [(20, 7), (8, 3, 3, 3), (3, 32, 32), (10,)]:
        before = numbers(fault, form, shape, 1)
        after = fault(before, FORMATS[form], np.random.default_rng(1))
        assert after.shape == shape
        assert not np.array_equal(after, before)


@pytest.mark.parametrize(("name", "kind"), list(classes()))
def test_sites(name, kind):
    assert EXAMPLES[name][0][0].site in get_args(Site)
    if "site" not in {f.name for f in fields(kind)}:
        return
    for site in get_args(Site):
        if site == "neurons":
            with pytest.raises(ValueError, match=f"{name}: site is 'neurons'; it can be weights, biases"):
                replace(EXAMPLES[name][0][0], site=site)
        else:
            assert replace(EXAMPLES[name][0][0], site=site).site == site


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf"), "much", None, True])
@pytest.mark.parametrize(("name", "kind"), list(classes()))
def test_absurd_strengths_are_refused_in_one_sentence(name, kind, strength):
    option = EXAMPLES[name][0][1]
    with pytest.raises(ValueError, match=f"{name}: {option} is") as problem:
        kind(**{option: strength})
    assert "\n" not in str(problem.value)
