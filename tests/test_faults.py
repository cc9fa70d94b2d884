"""Each fault's own distribution, perturbed copies of a program, and what their scores come to."""

import itertools

import numpy as np
import pytest

from vilfredo.codes import Codes, floats, patterns, values
from vilfredo.faults import draws
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.burst import Burst
from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.faults.lognormal import Lognormal
from vilfredo.faults.stuck import Stuck
from vilfredo.faults.stuck_bit import StuckBit
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


@pytest.mark.parametrize("form", ["float16", "bfloat16", "float32"])
def test_flipped_bits_of_floats(form):
    codes, mantissa = floats(form), {"float16": 10, "bfloat16": 7, "float32": 23}[form]
    x = np.array([1.0, -2.0, 0.0, np.inf])
    assert BitFlip(1.0, bits="sign")(x, codes, rng()).tolist() == [-1, 2, 0, -np.inf]
    assert BitFlip(1.0, bits=[mantissa - 1])(x[:2], codes, rng()).tolist() == [1.5, -3]
    assert BitFlip(1.0, bits=[codes.bits - 2])(x[:1], codes, rng()).tolist() == [np.inf]
    assert np.isnan(BitFlip(1.0, bits=[0])(x[3:], codes, rng())).all()
    twice = BitFlip(1.0)(BitFlip(1.0)(x, codes, rng()), codes, rng())
    assert np.array_equal(twice, x)
    random = values(rng().integers(0, 1 << codes.bits, 40_000), codes)
    random = random[np.isfinite(random)]
    faulty = BitFlip(0.01, bits="exponent")(random, codes, rng())
    kept = np.isfinite(faulty)  # of a NaN only the exponent is kept
    changed = patterns(random, codes) ^ patterns(faulty, codes)
    for bit in range(codes.bits):
        if mantissa <= bit < codes.bits - 1:
            assert within(((changed >> bit) & 1).sum(), len(random), 0.01)
        else:
            assert not ((changed[kept] >> bit) & 1).any()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 399, 400])
def test_exactly_so_many_bits_are_flipped(count):
    before = rng().integers(-127, 128, 50).astype(float)
    after = BitFlip(count=count)(before, CODES, rng())
    changed = (before.astype(int) ^ after.astype(int)) & 255
    assert sum(int(word).bit_count() for word in changed) == count
    signs = BitFlip(count=min(count, 50), bits="sign")(before, CODES, rng())
    assert (np.sign(signs + 0.5) != np.sign(before + 0.5)).sum() == min(count, 50)


def test_a_burst_flips_adjacent_bits_of_one_word():
    before = rng().integers(0, 128, MANY).astype(float)
    after = Burst(0.02, 3)(before, Codes(0, 127, 7), rng())
    changed = before.astype(int) ^ after.astype(int)
    assert within((changed > 0).sum(), changed.size, 0.02)
    for first in range(5):
        assert within((changed == 7 << first).sum(), changed.size, 0.02 / 5)
    assert set(np.unique(changed)) == {0, 7, 14, 28, 56, 112}
    assert Burst(1.0, 8)(np.array([0.0, 5]), CODES, rng()).tolist() == [-1, -6]
    with pytest.raises(
        ValueError, match="length is 9, but these weights have 8 bits; give a length from 1 to 8"
    ):
        Burst(0.1, 9)(before, CODES, rng())


@pytest.mark.parametrize("at", [0, 1])
def test_stuck_bits_read_what_they_are_stuck_at(at):
    before = rng().integers(-127, 128, MANY).astype(float)
    after = StuckBit(0.05, at)(before, CODES, rng())
    old, new = before.astype(int) & 255, after.astype(int) & 255
    for bit in range(8):
        changed = ((old ^ new) >> bit) & 1
        assert (((new >> bit) & 1)[changed == 1] == at).all()
        assert within(changed.sum(), (((old >> bit) & 1) != at).sum(), 0.05)
    assert StuckBit(1.0, 1, bits="sign")(np.array([5.0, -5, 0]), CODES, rng()).tolist() == [-123, -5, -128]
    assert StuckBit(1.0, 0)(before, CODES, rng()).tolist() == np.zeros(MANY).tolist()
    half = StuckBit(1.0, 0, bits="mantissa")(np.array([1.75, -3.0]), floats("float16"), rng())
    assert half.tolist() == [1, -2]


def test_values_stuck_at_a_number():
    assert Stuck(1.0, 3)(np.array([1.0, -5]), CODES, rng()).tolist() == [3, 3]
    assert Stuck(1.0, "max")(np.ones(1), floats("float16"), rng()).tolist() == [65504]
    assert Stuck(1.0, 0.25)(np.ones(1), Codes(-1, 1), rng()).tolist() == [0.25]
    for bad in (0.5, 128, -129):
        with pytest.raises(ValueError, match="but these weights are whole numbers from -128 to 127"):
            Stuck(0.1, bad)(np.ones(3), CODES, rng())
    with pytest.raises(ValueError, match="it can be zero, max, min or a finite number"):
        Stuck(0.1, np.inf)


def test_dead_channels_are_dead_as_a_whole():
    alive = Dead(0.3, "channels")(np.ones((400, 5, 4)), Codes(0, 1, 1), rng())
    assert (alive == alive[:, :1, :1]).all()
    assert within((alive[:, 0, 0] == 0).sum(), 400, 0.3)
    assert set(np.unique(Dead(0.5, "channels")(np.ones(40), Codes(0, 1, 1), rng()))) == {0, 1}
    with pytest.raises(ValueError, match=r"not of shape \(4, 7\); use of = 'neurons'"):
        Dead(0.3, "channels")(np.ones((4, 7)), Codes(0, 1, 1), rng())


@pytest.mark.parametrize("few", [draws._FEW, 0])
def test_both_ways_to_draw_hits_are_fair(few, monkeypatch):
    """Choices for few hits, gaps between them for many: every position as often, pairs as independent."""
    monkeypatch.setattr(draws, "_FEW", few)
    r = rng()
    for probability in (0.03, 0.5, 0.97):
        found = np.zeros((20_000, 6), bool)
        for one in found:
            places = draws.hit(6, probability, r)
            assert (np.diff(places) > 0).all()
            one[places] = True
        assert all(within(found[:, n].sum(), 20_000, probability) for n in range(6))
        for a, b in itertools.combinations(range(6), 2):
            assert within((found[:, a] & found[:, b]).sum(), 20_000, probability**2)
    assert draws.hit(5, 1.0, r).tolist() == [0, 1, 2, 3, 4]
    assert draws.hit(5, 0.0, r).tolist() == []
    assert draws.hit(0, 0.5, r).tolist() == []
    sets = [tuple(draws.exactly(5, 2, r).tolist()) for _ in range(20_000)]
    assert all(within(sets.count(pair), 20_000, 0.1) for pair in itertools.combinations(range(5), 2))
    for count in range(6):
        assert len(set(draws.exactly(5, count, r).tolist())) == count


def test_many_hits_of_many_values():
    hits = BitFlip(1e-3).draw((10_000_000,), CODES, rng())
    flips = sum(int((hits.detail >> bit & 1).sum()) for bit in range(8))
    assert within(flips, 80_000_000, 1e-3)
    assert (np.diff(hits.index) > 0).all()
    assert within((hits.index < 2_500_000).sum(), 20_000_000, 1e-3)
    assert hits.index[-1] < 10_000_000
    many = BitFlip(count=200_000).draw((10_000_000,), CODES, rng())
    assert sum(int((many.detail >> bit & 1).sum()) for bit in range(8)) == 200_000


def test_faults_of_what_is_computed_anew_are_drawn_anew():
    assert not BitFlip(0.1).transient
    for site in ("activations", "accumulators", "inputs"):
        for kind in (BitFlip, Burst, Gaussian, Lognormal):
            assert kind(0.1, site=site).transient
            assert not kind(0.1, site=site, transient=False).transient
        assert not Stuck(0.1, site=site).transient
        assert not StuckBit(0.1, site=site).transient
    assert BitFlip(0.1, transient=True).transient


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: BitFlip(), "bit_flip: rate is None; give a probability from 0 to 1"),
        (lambda: BitFlip(1.5), "bit_flip: rate is 1.5; give a probability"),
        (lambda: BitFlip(0.1, count=1), "rate and count exclude each other; give one of them"),
        (lambda: BitFlip(count=1.5), "bit_flip: count is 1.5; give a whole number from 0"),
        (lambda: BitFlip(0.1, bits="signs"), "bit_flip: bits is 'signs'; it can be any, sign"),
        (lambda: BitFlip(0.1, bits=[]), r"bits is \[\]; it can be any"),
        (lambda: BitFlip(0.1, bits=[-1]), r"bits is \[-1\]; it can be any"),
        (lambda: BitFlip(0.1, transient="yes"), "transient is 'yes'; give true or false"),
        (lambda: StuckBit(0.1, 2), "stuck_bit: at is 2; it can be 0, 1"),
        (lambda: Burst(0.1, 0), "burst: length is 0; give a whole number from 1"),
        (lambda: Burst(0.1, site="cables"), "burst: site is 'cables'; it can be weights"),
        (lambda: Dead(0.1, "layers"), "dead: of is 'layers'; it can be neurons, channels"),
        (
            lambda: BitFlip(0.1, bits=[8, 3]).draw((3,), CODES, rng()),
            "bits names bit 8, but these weights have 8",
        ),
        (
            lambda: BitFlip(0.1, bits="exponent").places(CODES),
            "these weights are whole numbers, which have no",
        ),
        (lambda: BitFlip(0.1, bits="sign").places(Codes(0, 7, 3)), "without a sign, which have no sign"),
        (
            lambda: BitFlip(count=25).draw((3,), CODES, rng()),
            "count is 25, but these weights have 24 such bits",
        ),
        (
            lambda: StuckBit(0.1).draw((3,), Codes(-1, 1), rng()),
            "stuck_bit: these weights are no whole numbers",
        ),
        (lambda: Burst(0.1)(np.array([0.5]), CODES, rng()), "burst: not all weights are whole numbers from"),
    ],
)
def test_options_are_refused_in_one_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence) as problem:
        make()
    assert "\n" not in str(problem.value)


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


def test_each_copy_has_as_many_flips_as_said():
    many = copies(program(limits=(-128, 127), wrap=True), [BitFlip(count=2)], 200, rng())
    changed = (many.weights.astype(int) ^ program().weight.astype(int)) & 255
    assert [sum(int(word).bit_count() for word in row) for row in changed] == [2] * 200


def test_copies_take_permanent_faults_of_what_they_have():
    with pytest.raises(ValueError, match="BitFlip is transient, but each copy of a spiking network keeps"):
        copies(program(), [BitFlip(0.1, transient=True)], 2, rng())
    with pytest.raises(ValueError, match="BitFlip acts on 'activations'; a spiking network has weights"):
        copies(program(), [BitFlip(0.1, "activations")], 2, rng())
    made = copies(
        program(), [Burst(0.5), StuckBit(0.1, site="thresholds"), Stuck(0.1, 2, "delays")], 9, rng()
    )
    assert made.weights.shape == (9, 3)


def test_draws_are_those_that_recorded_results_were_made_with():
    """The first numbers of each fault, as they were before faults could be drawn one by one."""
    before = np.arange(-20.0, 20.0)
    assert np.flatnonzero(BitFlip(0.02)(before, CODES, rng()) != before).tolist() == [19, 23, 24, 31]
    assert np.flatnonzero(Stuck(0.1, "max")(before, CODES, rng()) != before).tolist() == [19, 31]
    assert Gaussian(0.1)(before, CODES, rng())[:3] == pytest.approx(
        [-19.93161446549363, -16.41647967341107, -15.795502058545322]
    )


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
