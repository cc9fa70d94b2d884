"""How many faults to try, which ones, and how sure the result is.

Sample size: R. Leveugle, A. Calvez, P. Maistri, P. Vanhauwaert, "Statistical fault injection: quantified
error and confidence", DATE 2009. Intervals of shares: E. B. Wilson, JASA 22 (1927); C. J. Clopper, E. S.
Pearson, Biometrika 26 (1934), of finite populations with the hypergeometric in the binomial's place.
Stratified totals: the squared distances to the limits of the parts add up ("MOVER": G. Y. Zou, A. Donner,
Statistics in Medicine 27, 2008). Faults are drawn without replacement.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vilfredo import seeds

FEW = 50  # samples, up to which a stratum's limits are exact ones


@dataclass(frozen=True)
class Estimate:
    """A number with the interval in which it lies with the campaign's confidence. `low` = `high`: exact."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


# -- how many ---------------------------------------------------------------------------------------


def sample_size(population: int, error: float, confidence: float = 0.95, share: float = 0.5) -> int:
    """Leveugle et al. (2009), eq. 1: n = N / (1 + e² (N − 1) / (t² p (1 − p))), rounded up.

    `error` e is half the interval's width, t the normal quantile of the confidence, `share` p what is
    expected (0.5 asks for most).
    """
    if population < 1:
        return 0
    spread = z(confidence) ** 2 * share * (1 - share)
    if spread <= 0:
        return 1
    return min(population, math.ceil(population / (1 + error**2 * (population - 1) / spread)))


def z(confidence: float) -> float:
    """The normal quantile of a two-sided confidence: 1.96 of 0.95. Raises `ValueError` outside (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def allocate(
    sizes: Sequence[int],
    total: int,
    spread: Sequence[float] | None = None,
    least: int | Sequence[int] = 0,
) -> list[int]:
    """How many of each stratum to have, `total` in all (or all there are), none more than its size.

    In proportion to size · `spread` (Neyman 1934; None: to size), but at least `least` of each as far as the
    total goes.
    """
    room = np.array(sizes, np.float64)
    total = int(min(total, room.sum()))
    weight = room * (1.0 if spread is None else np.maximum(np.array(spread, np.float64), 1e-12))
    low = np.minimum(room, np.array(least, np.float64))
    if low.sum() >= total:  # not enough for the least of each: as evenly as it goes
        weight, low, room = np.ones(len(room)), np.zeros(len(room)), low
    share = _level(weight, low, room, total)
    given = np.floor(share + 1e-9).astype(np.int64)
    # What rounding has left goes to the largest remainders, the first of equals.
    order = np.lexsort((np.arange(len(room)), given - share))
    left = total - int(given.sum())
    while left > 0:
        for number in order:
            if left > 0 and given[number] < room[number]:
                given[number] += 1
                left -= 1
    return [int(n) for n in given]


def _level(
    weight: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], total: float
) -> NDArray[np.float64]:
    """clip(c · weight, low, high) with the c that makes it sum to `total`."""
    bottom, top = 0.0, 1.0
    while np.clip(top * weight, low, high).sum() < total and top < 1e18:
        top *= 2
    for _ in range(200):
        middle = (bottom + top) / 2
        if np.clip(middle * weight, low, high).sum() < total:
            bottom = middle
        else:
            top = middle
    return np.clip(top * weight, low, high)


# -- which ------------------------------------------------------------------------------------------


def deck(size: int, seed: int, *path: int | str) -> Iterator[int]:
    """0 … size − 1 in a random order, made one after the other: number k depends on (seed, path, k) only.

    Takes memory for what was drawn, not for the size (Fisher–Yates with a sparse array).
    """
    rng = seeds.generator(seed, "deck", *path)
    moved: dict[int, int] = {}
    chances: list[float] = []
    for k in range(size):
        if k % 1024 == 0:
            chances = rng.random(1024).tolist()
        other = k + int(chances[k % 1024] * (size - k))
        yield moved.pop(other, other) if other != k else moved.pop(k, k)
        if other != k:
            moved[other] = moved.pop(k, k)


# -- one stratum ------------------------------------------------------------------------------------


def wilson(hits: float, n: float, confidence: float = 0.95, population: float = math.inf) -> Estimate:
    """Wilson's interval of a share, `hits` of `n`; `hits` may be a sum of shares in [0, 1].

    A mean of shares varies at most as one of noughts and ones of the same mean, so for these the interval is
    wide enough. From a finite population drawn without replacement, n counts as n (N − 1) / (N − n); of the
    whole population the share is exact. Without a sample: [0, 1].
    """
    if n <= 0:
        return Estimate(0.5, 0.0, 1.0)
    share = hits / n
    if n >= population:
        return Estimate(share, share, share)
    if math.isfinite(population):
        n = n * (population - 1) / (population - n)
    square = z(confidence) ** 2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = math.sqrt(square) / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return Estimate(share, min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share))


@functools.lru_cache(maxsize=1 << 14)
def cautious(hits: float, n: float, confidence: float = 0.95, population: float = math.inf) -> Estimate:
    """Wilson's interval; of few (n up to 50) Clopper and Pearson's with that n, because Wilson's lower limit
    is then too high too often. For sums of shares and finite populations as in `wilson`."""
    found = wilson(hits, n, confidence, population)
    if not 0 < n < min(population, FEW):
        return found
    if math.isfinite(population):
        n, hits = (k * (population - 1) / (population - n) for k in (n, hits))
    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else _root(lambda p: beta_cdf(p, hits, n - hits + 1) - tail)
    high = 1.0 if hits >= n else _root(lambda p: beta_cdf(p, hits + 1, n - hits) - (1 - tail))
    return Estimate(found.value, min(low, found.value), max(high, found.value))


def clopper_pearson(hits: int, n: int, confidence: float = 0.95, population: int | None = None) -> Estimate:
    """The exact interval of a share, `hits` of `n`: its confidence is never less than what is asked for.

    With `population`, of as many things drawn without replacement: the shares K / N that the hypergeometric
    distribution does not rule out; of all of them it is the share itself.
    """
    if n <= 0:
        return Estimate(0.5, 0.0, 1.0)
    tail = (1 - confidence) / 2
    if population is not None:
        low, high = _hypergeometric(hits, n, tail, population)
        return Estimate(hits / n, low / population, high / population)
    low_share = 0.0 if hits == 0 else _root(lambda p: beta_cdf(p, hits, n - hits + 1) - tail)
    high_share = 1.0 if hits == n else _root(lambda p: beta_cdf(p, hits + 1, n - hits) - (1 - tail))
    return Estimate(hits / n, low_share, high_share)


def _hypergeometric(hits: int, n: int, tail: float, population: int) -> tuple[int, int]:
    """The least and the greatest number in the population of which `hits` are no surprise."""
    least, greatest = hits, population - (n - hits)

    def more(marked: int) -> float:  # P(X ≥ hits)
        return _hyper_tail(hits, n, marked, population, upper=True)

    def less(marked: int) -> float:  # P(X ≤ hits)
        return _hyper_tail(hits, n, marked, population, upper=False)

    low, a, b = least, least, greatest
    if more(low) <= tail:
        while b - a > 1:  # P(X ≥ hits) grows with the number of marked ones
            middle = (a + b) // 2
            a, b = (middle, b) if more(middle) <= tail else (a, middle)
        low = b
    high, a, b = greatest, least, greatest
    if less(high) <= tail:
        while b - a > 1:
            middle = (a + b) // 2
            a, b = (a, middle) if less(middle) <= tail else (middle, b)
        high = a
    return low, high


def _hyper_tail(hits: int, n: int, marked: int, population: int, upper: bool) -> float:
    first, last = max(0, n - (population - marked)), min(n, marked)
    x = np.arange(max(hits, first), last + 1) if upper else np.arange(first, min(hits, last) + 1)
    if not len(x):
        return 0.0
    total = _log_choose(population, n)
    terms = [_log_choose(marked, int(k)) + _log_choose(population - marked, n - int(k)) - total for k in x]
    return min(1.0, math.fsum(math.exp(t) for t in terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_series(1 - x, b, a)
    return _beta_series(x, a, b)


def _beta_series(x: float, a: float, b: float) -> float:
    """`beta_cdf` where the continued fraction converges fast."""
    front = math.exp(
        a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 / max(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 + term * d
            c = 1 + term / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            total *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return min(1.0, front * total / a)


def t_quantile(confidence: float, freedom: float) -> float:
    """Student's t of a two-sided confidence: 2.262 of 0.95 with 9 degrees of freedom."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95")
    x = _root(lambda x: beta_cdf(x, freedom / 2, 0.5) - (1 - confidence))
    return math.sqrt(freedom * (1 - x) / x)


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function of [0, 1] is 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


# -- several strata ---------------------------------------------------------------------------------


def stratified(
    sizes: Sequence[int],
    counts: Sequence[int],
    sums: Sequence[float],
    confidence: float = 0.95,
) -> Estimate:
    """The mean of a share over a stratified population: Σ W_h p_h, W_h = N_h / N, p_h = sums_h / counts_h.

    Its limits are p − √Σ W_h² (p_h − l_h)² and p + √Σ W_h² (u_h − p_h)² (Zou and Donner 2008), with the
    limits l_h, u_h of each stratum from `cautious`, which know how much of it was tried. Strata that were
    tried in full add nothing; of those without any sample nothing is known, and they are taken to be
    anywhere from 0 to 1, all at once (their value is that of the others together).
    """
    size = np.array(sizes, np.float64)
    if not size.sum():
        return Estimate(0.0, 0.0, 0.0)
    weights = size / size.sum()
    parts = [
        cautious(total, count, confidence, population)
        for total, count, population in zip(sums, counts, sizes, strict=True)
    ]
    seen = np.array(counts) > 0
    value = np.array([part.value for part in parts])
    if seen.any() and not seen.all():
        value[~seen] = (weights[seen] * value[seen]).sum() / weights[seen].sum()
    below = weights * (value - np.array([part.low for part in parts]))
    above = weights * (np.array([part.high for part in parts]) - value)
    mean = float((weights * value).sum())
    low = mean - below[~seen].sum() - np.sqrt((below[seen] ** 2).sum())
    high = mean + above[~seen].sum() + np.sqrt((above[seen] ** 2).sum())
    return Estimate(mean, min(max(float(low), 0.0), mean), max(min(float(high), 1.0), mean))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """`first` − `second` with its interval (Zou and Donner 2008): wide enough unless they vary against each
    other."""
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above)
