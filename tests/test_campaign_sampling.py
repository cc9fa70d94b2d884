"""The arithmetic of samples: against SciPy, against what is exact, and by drawing thousands of campaigns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo.campaign import sampling


def test_the_sample_sizes_of_the_paper() -> None:
    """Leveugle et al. 2009: about 9,604 faults for 1 % at 95 % of a large population, 16,587 at 99 %."""
    assert sampling.sample_size(10**12, 0.01) == 9604
    assert sampling.sample_size(10**12, 0.01, 0.99) == 16588  # the paper's t of 2.5758 is rounded
    assert sampling.sample_size(10**12, 0.05) == 385
    assert sampling.sample_size(1000, 0.01) == 906
    assert sampling.sample_size(1, 0.01) == 1
    assert sampling.sample_size(0, 0.01) == 0
    assert sampling.sample_size(10**6, 0.01, share=0.01) < 400


@given(st.integers(1, 10**7), st.floats(0.001, 0.5), st.floats(0.5, 0.999), st.floats(0.001, 0.999))
def test_the_size_keeps_its_promise(n: int, error: float, confidence: float, share: float) -> None:
    """The normal interval with finite population correction is then no wider than e."""
    size = sampling.sample_size(n, error, confidence, share)
    assert 1 <= size <= n
    if size < n:
        half = sampling.z(confidence) * math.sqrt(share * (1 - share) / size * (n - size) / (n - 1))
        assert half <= error * (1 + 1e-9)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.integers(0, 3000), st.integers(0, 20))
def test_what_is_allocated_is_there(sizes: list[int], total: int, least: int) -> None:
    given_ = sampling.allocate(sizes, total, least=least)
    assert sum(given_) == min(total, sum(sizes))
    assert all(0 <= n <= size for n, size in zip(given_, sizes, strict=True))
    if sum(min(least, s) for s in sizes) <= total:
        assert all(n >= min(least, s) for n, s in zip(given_, sizes, strict=True))


def test_allocation_goes_with_size_and_spread() -> None:
    assert sampling.allocate([100, 200, 700], 100) == [10, 20, 70]
    assert sampling.allocate([1000, 1000], 100, spread=[0.1, 0.3]) == [25, 75]
    assert sampling.allocate([10, 1000], 100, spread=[0.5, 0.005], least=5) == [10, 90]


@given(st.integers(0, 400), st.integers(0, 2**40), st.integers(0, 400))
@settings(max_examples=60)
def test_a_deck_is_a_permutation_that_can_be_gone_on_with(size: int, seed: int, stop: int) -> None:
    whole = list(sampling.deck(size, seed, "a"))
    assert sorted(whole) == list(range(size))
    again = sampling.deck(size, seed, "a")
    first = [card for card, _ in zip(again, range(stop), strict=False)]
    assert first == whole[: len(first)]


def test_decks_are_fair() -> None:
    """Each of the 24 orders of four cards as often as any other (χ² of 23 degrees of freedom)."""
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(4800):
        order = tuple(sampling.deck(4, seed))
        counts[order] = counts.get(order, 0) + 1
    square = sum((n - 200) ** 2 / 200 for n in counts.values()) + 200 * (24 - len(counts))
    assert square < 49.7  # in 99.9 % of cases
    million = sampling.deck(10**9, 1)
    assert np.mean([next(million) for _ in range(2000)]) == pytest.approx(0.5e9, rel=0.05)


# -- against SciPy --------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 30), (3, 30), (30, 30), (17, 2000), (1999, 2000)])
def test_intervals_of_a_share_are_those_of_scipy(hits: int, n: int, confidence: float) -> None:
    binomial = pytest.importorskip("scipy.stats").binomtest(hits, n)
    for method, ours in (("exact", sampling.clopper_pearson), ("wilson", sampling.wilson)):
        theirs = binomial.proportion_ci(confidence, method)
        found = ours(hits, n, confidence)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.floats(0, 1), st.floats(0.1, 3000), st.floats(0.1, 3000))
@settings(max_examples=200)
def test_the_beta_function_is_that_of_scipy(x: float, a: float, b: float) -> None:
    special = pytest.importorskip("scipy.special")
    assert sampling.beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-9)


def test_students_t_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 9, 63, 1000):
        for confidence in (0.5, 0.9, 0.95, 0.999):
            theirs = stats.t.ppf((1 + confidence) / 2, freedom)
            assert sampling.t_quantile(confidence, freedom) == pytest.approx(theirs, rel=1e-8)


@pytest.mark.parametrize(("population", "n"), [(40, 12), (200, 60), (1000, 30)])
def test_exact_intervals_of_finite_populations(population: int, n: int) -> None:
    """For every number of marked ones the interval holds the truth with at least the confidence asked for."""
    stats = pytest.importorskip("scipy.stats")
    found = [sampling.clopper_pearson(k, n, 0.9, population) for k in range(n + 1)]
    for marked in range(0, population + 1, 7):
        chance = stats.hypergeom(population, marked, n).pmf(np.arange(n + 1))
        inside = [
            f.low <= marked / population + 1e-12 and marked / population - 1e-12 <= f.high for f in found
        ]
        assert chance[np.array(inside)].sum() >= 0.9 - 1e-9
    whole = sampling.clopper_pearson(7, population, 0.9, population)
    assert whole.low == whole.value == whole.high


# -- by drawing campaigns -------------------------------------------------------------------------


def strange_population(seed: int = 0) -> list[np.ndarray]:
    """Strata as campaigns meet them: most with no harm at all, a few with much, sizes of all orders."""
    rng = np.random.default_rng(seed)
    sizes = [12, 40, 150, 150, 600, 600, 2000, 2000, 5000, 5000]
    shares = [0.5, 0.0, 0.3, 0.0, 0.2, 0.01, 0.1, 0.0, 0.04, 0.0]
    return [
        np.where(rng.random(size) < share, rng.beta(0.5, 2, size), 0.0)
        for size, share in zip(sizes, shares, strict=True)
    ]


def coverage(binary: bool, counts: list[int], draws: int = 800) -> tuple[float, float]:
    """How often the stratified interval holds the truth, and its mean half width."""
    strata = strange_population()
    strata = [(s > 0).astype(float) for s in strata] if binary else strata
    truth = np.concatenate(strata).mean()
    sizes = [len(s) for s in strata]
    rng = np.random.default_rng(7)
    inside, halves = 0, []
    for _ in range(draws):
        sums = [s[rng.choice(len(s), n, replace=False)].sum() for s, n in zip(strata, counts, strict=True)]
        found = sampling.stratified(sizes, counts, sums, 0.95)
        inside += found.low - 1e-12 <= truth <= found.high + 1e-12
        halves.append(found.half)
    return inside / draws, float(np.mean(halves))


@pytest.mark.parametrize("total", [120, 800, 5000])
@pytest.mark.parametrize("binary", [True, False])
def test_stratified_intervals_hold_the_truth(binary: bool, total: int) -> None:
    sizes = [len(s) for s in strange_population()]
    share, _ = coverage(binary, sampling.allocate(sizes, total, least=6), 800 if binary else 250)
    assert share >= 0.93  # what is asked for is 0.95


def test_stratified_means_are_unbiased_and_exact_in_full() -> None:
    strata = strange_population()
    truth = np.concatenate(strata).mean()
    sizes = [len(s) for s in strata]
    full = sampling.stratified(sizes, sizes, [s.sum() for s in strata])
    assert full.low == full.value == full.high == pytest.approx(truth)
    rng = np.random.default_rng(1)
    counts = [6] * len(strata)
    values = [
        sampling.stratified(
            sizes,
            counts,
            [s[rng.choice(len(s), n, False)].sum() for s, n in zip(strata, counts, strict=True)],
        ).value
        for _ in range(400)
    ]
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / math.sqrt(400))


def test_without_a_sample_nothing_is_known() -> None:
    nothing = sampling.stratified([10, 20], [0, 0], [0.0, 0.0])
    assert (nothing.low, nothing.high) == (0.0, 1.0)
    half = sampling.stratified([10, 20], [10, 0], [0.0, 0.0])
    assert half.low == 0
    assert half.high == pytest.approx(2 / 3)
    assert sampling.wilson(0, 0) == sampling.Estimate(0.5, 0.0, 1.0)


def test_a_difference_of_shares() -> None:
    a, b = sampling.Estimate(0.3, 0.2, 0.5), sampling.Estimate(0.1, 0.05, 0.1)
    found = sampling.difference(a, b)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.1, 0.2 + math.hypot(0.2, 0.05)))


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95])
def test_confidence_is_between_0_and_1(confidence: float) -> None:
    with pytest.raises(ValueError, match="give a number between 0 and 1"):
        sampling.z(confidence)
    with pytest.raises(ValueError, match="give a number between 0 and 1"):
        sampling.t_quantile(confidence, 5)
