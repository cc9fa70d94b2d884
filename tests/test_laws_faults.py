"""What every fault must keep to. A new file in `vilfredo/faults` needs a line in EXAMPLES, no more."""

import importlib
import inspect
import pickle
import pkgutil
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vilfredo.faults
from vilfredo.codes import Codes
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.burst import Burst
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.lognormal import Lognormal
from vilfredo.faults.stuck import Stuck
from vilfredo.faults.stuck_bit import StuckBit

EXAMPLES = {
    # file: faults of some strength, each with the option that is its strength
    "gaussian": [
        (Gaussian(0.3), "sd"),
        (Gaussian(2.0, relative=False), "sd"),
        (Gaussian(0.1, "thresholds"), "sd"),
    ],
    "lognormal": [(Lognormal(0.3), "sd"), (Lognormal(1.0, "delays"), "sd")],
    "stuck": [
        (Stuck(0.2), "rate"),
        (Stuck(0.2, "max"), "rate"),
        (Stuck(0.9, "min"), "rate"),
        (Stuck(1), "rate"),
    ],
    "dead": [(Dead(0.2), "rate"), (Dead(1.0), "rate")],
    "stuck_bit": [(StuckBit(0.1), "rate"), (StuckBit(1.0, 1, "activations"), "rate")],
    "burst": [(Burst(0.2), "rate"), (Burst(1.0, 3, "accumulators"), "rate")],
    "bit_flip": [(BitFlip(0.05), "rate"), (BitFlip(1.0), "rate"), (BitFlip(0.1, "thresholds"), "rate")],
}
CODES = Codes(-127, 127, 8)
UNSIGNED = Codes(0, 127, 7)


def classes():
    """(file, class) of every leaf: the class named as its file, without underscores."""
    for info in pkgutil.iter_modules(vilfredo.faults.__path__):
        module = importlib.import_module(f"vilfredo.faults.{info.name}")
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and name.lower() == info.name.replace("_", ""):
                yield info.name, kind


EACH = pytest.mark.parametrize(
    ("fault", "strength"),
    [pytest.param(*e, id=f"{n}{i}") for n, es in EXAMPLES.items() for i, e in enumerate(es)],
)
shapes = st.tuples(st.integers(0, 9), st.integers(0, 40))


def codes_of(fault):
    return CODES if fault.site == "weights" else Codes(0, 1, 1) if fault.site == "neurons" else UNSIGNED


def numbers(fault, shape, seed):
    if fault.site == "neurons":
        return np.ones(shape)
    codes = codes_of(fault)
    return np.random.default_rng(seed).integers(codes.low, codes.high + 1, shape).astype(float)


def test_every_fault_has_an_example():
    assert {name for name, _ in classes()} == set(EXAMPLES)
    for name, kind in classes():
        assert any(type(fault) is kind for fault, _ in EXAMPLES[name]), f"{name} has no example"
        assert len(inspect.getmodule(kind).__doc__) > 100
        assert kind.__doc__


@EACH
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_strength_0_is_the_identity(fault, strength, shape, seed):
    options = {f.name: getattr(fault, f.name) for f in fields(fault)} | {strength: 0}
    values = numbers(fault, shape, seed)
    same = type(fault)(**options)(values, codes_of(fault), np.random.default_rng(seed))
    assert np.array_equal(same, values)
    assert same is not values


@EACH
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_shapes_are_kept_values_are_left_alone_and_seeds_decide(fault, strength, shape, seed):
    values = numbers(fault, shape, seed)
    before = values.copy()
    faulty = fault(values, codes_of(fault), np.random.default_rng(seed))
    assert faulty.shape == values.shape
    assert faulty.dtype == np.float64
    assert np.isfinite(faulty).all()
    assert np.array_equal(values, before)
    again = pickle.loads(pickle.dumps(fault))
    assert again == fault
    assert np.array_equal(again(values, codes_of(fault), np.random.default_rng(seed)), faulty)


@EACH
def test_copies_differ_and_faults_are_frozen(fault, strength):
    values = np.repeat(numbers(fault, (1, 500), 3), 2, axis=0)
    faulty = fault(values, codes_of(fault), np.random.default_rng(1))
    assert getattr(fault, strength) == 1 or not np.array_equal(faulty[0], faulty[1])
    assert not np.array_equal(faulty, values)
    with pytest.raises(FrozenInstanceError):
        setattr(fault, strength, 0)


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf"), "much", None, True])
@pytest.mark.parametrize(("name", "kind"), list(classes()))
def test_absurd_strengths_are_refused_in_one_sentence(name, kind, strength):
    option = EXAMPLES[name][0][1]
    with pytest.raises(ValueError, match=f"{name}: {option} is") as problem:
        kind(**{option: strength})
    assert "\n" not in str(problem.value)
