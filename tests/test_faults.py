"""Each fault's own distribution, perturbed copies of a program, and what their scores come to."""

import numpy as np
import pytest

from vilfredo.codes import Codes
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.lognormal import Lognormal
from vilfredo.faults.stuck import Stuck
from vilfredo.spiking.copies import codes, copies
from vilfredo.spiking.program import Program
from vilfredo.spiking.resilience import resilience, standard_errors

CODES = Codes(-127, 127, 8)
MANY = (400, 500)


def rng():
    return np.random.default_rng(11)


def within(count, size, probability):
    """Whether a count is one that a binomial gives: five standard deviations."""
    return abs(count - size * probability) <= 5 * np.sqrt(size * probability * (1 - probability))


def test_gaussian_variation_goes_with_the_value():
    values = np.broadcast_to([-100.0, 4.0, 0.0], (100_000, 3))
    faulty = Gaussian(0.1)(values, CODES, rng())
    assert np.allclose(faulty.mean(0), values[0], atol=0.15)
    assert np.allclose(faulty.std(0), [10, 0.4, 0], rtol=0.01)
    third = ((faulty - values)[:, 0] / 10) ** 3
    assert abs(third.mean()) < 0.06
    assert abs(np.corrcoef(faulty[:, 0], faulty[:, 1])[0, 1]) < 0.015
    plain = Gaussian(0.1, relative=False)(values, CODES, rng())
    assert np.allclose(plain.std(0), 0.1, rtol=0.01)


def test_lognormal_variation_keeps_sign_and_median():
    values = np.broadcast_to([-100.0, 4.0, 0.0], (100_000, 3))
    faulty = Lognormal(0.5)(values, CODES, rng())
    assert (np.sign(faulty) == np.sign(values)).all()
    assert np.allclose(np.median(faulty, 0), values[0], rtol=0.01)
    assert np.allclose(faulty.mean(0), values[0] * np.exp(0.125), rtol=0.01)
    assert np.std(np.log(faulty[:, 1])) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("rate", [1e-4, 0.03, 0.6])
@pytest.mark.parametrize(("at", "level"), [("zero", 0), ("max", 127), ("min", -127)])
def test_stuck_synapses_are_as_many_as_said_and_anywhere(rate, at, level):
    values = np.full(MANY, 5.0)
    faulty = Stuck(rate, at)(values, CODES, rng())
    stuck = faulty != values
    assert (faulty[stuck] == level).all()
    assert within(stuck.sum(), stuck.size, rate)
    assert within(stuck[:, ::2].sum(), stuck.size / 2, rate)


def test_a_synapse_cannot_be_stuck_at_no_limit():
    with pytest.raises(ValueError, match="no maximum"):
        Stuck(0.1, "max")(np.ones(3), Codes(-np.inf, np.inf), rng())
    with pytest.raises(ValueError, match="stuck: at is 'open'; it can be zero, max, min"):
        Stuck(0.1, "open")


def test_dead_neurons_are_as_many_as_said():
    alive = Dead(0.02)(np.ones(MANY), Codes(0, 1, 1), rng())
    assert set(np.unique(alive)) == {0, 1}
    assert within((alive == 0).sum(), alive.size, 0.02)


@pytest.mark.parametrize(("codes", "low", "high"), [(CODES, -128, 127), (Codes(0, 127, 7), 0, 127)])
def test_every_bit_flips_as_often_as_said(codes, low, high):
    values = rng().integers(codes.low, codes.high + 1, MANY).astype(float)
    faulty = BitFlip(0.01)(values, codes, rng())
    assert faulty.min() >= low
    assert faulty.max() <= high
    changed = (values.astype(int) ^ faulty.astype(int)) & (2**codes.bits - 1)
    for bit in range(codes.bits):
        assert within(((changed >> bit) & 1).sum(), values.size, 0.01)
    both = ((changed & 3) == 3).sum()
    assert within(both, values.size, 1e-4)


def test_all_bits_flipped_are_the_complement():
    assert BitFlip(1.0)(np.array([0.0, -1, 127, -128]), CODES, rng()).tolist() == [-1, 0, -128, 127]
    assert BitFlip(1.0)(np.array([0.0, 5]), Codes(0, 7, 3), rng()).tolist() == [7, 2]


def test_bits_need_whole_numbers():
    with pytest.raises(ValueError, match="no bits to flip; use gaussian"):
        BitFlip(0.1)(np.ones(3), Codes(-1, 1), rng())
    with pytest.raises(ValueError, match="not all weights are whole numbers from -128 to 127"):
        BitFlip(0.1)(np.array([1.5]), CODES, rng())
    with pytest.raises(ValueError, match="bit_flip: site is 'neurons'"):
        BitFlip(0.1, "neurons")


@pytest.mark.parametrize(
    ("limits", "bits"),
    [
        ((-127, 127), 8),
        ((-128, 127), 8),
        ((-1, 1), 2),
        ((0, 1), 1),
        ((1, 15), 4),
        ((0, 1023), 10),
        ((-8, 0), 4),
    ],
)
def test_codes_have_as_few_bits_as_they_need(limits, bits):
    assert codes(limits, True) == Codes(*limits, bits)
    assert codes(limits, False).bits == 0


def program(**changed):
    """Three neurons 0 → 1 → 2 and 0 → 2."""
    whole = {
        "numbers": np.arange(3),
        "threshold": np.array([5.0, 7.0, np.inf]),
        "leak": np.zeros(3, bool),
        "first": np.array([0, 2, 3, 3]),
        "target": np.array([1, 2, 2]),
        "delay": np.array([1, 3, 15]),
        "weight": np.array([127.0, -20.0, 1.0]),
        "origin": np.arange(3),
        "inputs": np.array([0]),
        "outputs": np.array([2]),
        "limits": (-127.0, 127.0),
        "threshold_limits": (0.0, 127.0),
        "delay_limits": (1, 15),
    }
    return Program(**(whole | changed))


def test_no_fault_no_change():
    same = copies(program(), [], 4, rng())
    assert np.array_equal(same.weights, np.tile(program().weight, (4, 1)))
    assert np.array_equal(same.thresholds, np.tile(program().threshold, (4, 1)))
    assert same.delays is None


def test_copies_are_rounded_and_held_within_the_limits():
    faults = [Gaussian(0.3), Gaussian(0.5, "thresholds"), Gaussian(0.8, "delays")]
    many = copies(program(), faults, 2000, rng())
    assert (many.weights == np.rint(many.weights)).all()
    assert np.abs(many.weights).max() == 127
    assert (many.weights[:, 0] == 127).mean() == pytest.approx(0.5, abs=0.05)  # saturated
    assert many.weights[:, 1].std() == pytest.approx(6, rel=0.1)
    assert many.thresholds[:, :2].min() >= 0
    assert (many.thresholds[:, :2] == np.rint(many.thresholds[:, :2])).all()
    assert np.isinf(many.thresholds[:, 2]).all()  # never fires, and stays so
    assert many.delays.dtype == np.int64
    assert (many.delays.min(), many.delays.max()) == (1, 15)


def test_real_numbers_are_not_rounded():
    many = copies(program(exact=False, limits=(-127.0, np.inf)), [Gaussian(0.3)], 2000, rng())
    assert (many.weights != np.rint(many.weights)).any()
    assert many.weights[:, 0].max() > 150
    assert many.weights[:, 2].std() == pytest.approx(0.3, rel=0.1)


def test_dead_neurons_have_infinite_thresholds():
    many = copies(program(), [Dead(0.25)], 2000, rng())
    assert np.isinf(many.thresholds[:, 0]).mean() == pytest.approx(0.25, abs=0.05)
    assert np.isinf(copies(program(), [Dead(1.0)], 2, rng()).thresholds).all()


def test_faults_act_in_their_order():
    first = copies(program(), [Stuck(1.0, "max"), BitFlip(1.0)], 1, rng())
    second = copies(program(), [BitFlip(1.0), Stuck(1.0, "max")], 1, rng())
    assert first.weights.tolist() == [[-127] * 3]  # −128, held within the limits
    assert second.weights.tolist() == [[127] * 3]
    wrapped = copies(program(limits=(-128, 127), wrap=True), [Stuck(1.0, "max"), BitFlip(1.0)], 1, rng())
    assert wrapped.weights.tolist() == [[-128] * 3]
    varied = copies(program(), [Gaussian(0.2), BitFlip(0.01)], 50, rng())  # whole again before bits flip
    assert (varied.weights == np.rint(varied.weights)).all()


def test_a_processors_own_weights_come_first():
    own = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert np.array_equal(copies(program(), [], 2, rng(), own).weights, own)
    assert copies(program(), [Stuck(1.0)], 2, rng(), own).weights.tolist() == [[0] * 3] * 2
    with pytest.raises(ValueError, match=r"2 copies have shape \(1, 3\), not \(2, 3\)"):
        copies(program(), [], 2, rng(), own[:1])
    with pytest.raises(ValueError, match="0 copies"):
        copies(program(), [], 0, rng())


def test_resilience_is_mean_quantile_and_worst():
    scores = np.stack([np.arange(101.0), np.full(101, 7.0)])
    mean, q05, worst = resilience(scores[:, ::-1])
    assert mean.tolist() == [50, 7]
    assert q05.tolist() == [5, 7]
    assert worst.tolist() == [0, 7]
    assert resilience(np.array([3.0, 1.0])).q05 == pytest.approx(1.1)
    assert [float(x) for x in resilience(np.array([3.0]))] == [3, 3, 3]


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        resilience(np.zeros((3, 0)))
    with pytest.raises(ValueError, match="not finite"):
        resilience(np.array([1.0, np.nan]))


def test_standard_errors():
    scores = rng().standard_normal((300, 400))
    mean, q05 = standard_errors(scores)
    assert mean.mean() == pytest.approx(resilience(scores).mean.std(), rel=0.15)
    assert q05.mean() == pytest.approx(resilience(scores).q05.std(), rel=0.15)
    assert [x.tolist() for x in standard_errors(np.ones((2, 1)))] == [[0, 0], [0, 0]]
