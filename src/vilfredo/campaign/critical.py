"""The faults that matter, found with few injections: borders of critical bits, the worst.

`boundaries` is after Z. Chen, G. Li, K. Pattabiraman, N. DeBardeleben, "BinFI: an efficient fault injector
for safety-critical machine learning systems", SC 2019. Its premise is that what a network does with a number
is about monotonic: of two faults that push a number the same way, the one that pushes further does no less
harm. How far a flipped bit pushes goes with its significance and which way with whether it was 0 or 1, so
the paper searches the zeros and the ones of a number apart. Here the faults of a number are put in order by
what they make of it, upwards and downwards apart; that is the paper's order for bits other than the sign,
puts the sign in its place, and holds for any fault and format. On each side the furthest fault is tried
first; if it is harmless so are the others, else the border is found by halving. How good the premise is for
a network is what `compared` says, against every fault tried.

`worst` looks for the faults that change most answers. By the same premise only the furthest fault on each
side of a number can be among them. Those are ranked by how much noise they bring into a layer: the energy of
what they change in its sums, relative to that of the sums' own variation over the images. It is a heuristic
(unless the budget covers all faults): what has been tried corrects the ranking of the same channel's others.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo import seeds
from vilfredo.campaign import hits
from vilfredo.campaign.bit_error_rates import golden_answers
from vilfredo.campaign.injection import INPUT, Runs, done
from vilfredo.campaign.log import Book, Key, Table
from vilfredo.campaign.records import counted
from vilfredo.campaign.sites import Single, Stratum, places, single, strata
from vilfredo.nn.deployed import Deployed, Step, finished, run, sums
from vilfredo.protocols import Fault, Site

BATCH = 1024  # injections that run together
IMAGES = 64  # from which the noise of faults is worked out
ROUNDS = 12  # how often the ranking is corrected

# -- the border between harmless and critical -----------------------------------------------------


@dataclass(frozen=True)
class Element:
    """A number of the network: place `index` of an array; in one image's inference, or in all (None)."""

    step: int
    index: int
    image: int | None = None


@dataclass(frozen=True, eq=False)
class Border:
    """What a search for critical faults says: which (element, bit) are, out of how many, and how many
    injections it took. `each`: of each step's elements, how many bits one has."""

    critical: frozenset[tuple[Element, int]]
    faults: int
    injections: int
    each: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A search against every fault tried: which share of the critical faults was found (`recall`), which of
    those found is critical (`precision`), and which of the injections it took (`effort`)."""

    recall: float
    precision: float
    effort: float


def elements(
    network: Deployed,
    fault: Fault,
    count: int | None = None,
    layers: Sequence[str] | None = None,
    images: int | None = None,
    seed: int = 0,
) -> list[Element]:
    """The numbers of the fault's site, all in order or `count` drawn at random; with `images` each of them in
    each image's inference. Raises `ValueError` as `sites.places`."""
    arrays = places(network, fault.site, layers)
    ends = np.cumsum([array.size for array in arrays])
    total = int(ends[-1]) * (images or 1)
    chosen: Any = range(total)
    if count is not None and count < total:
        chosen = np.sort(seeds.generator(seed, "elements").choice(total, count, replace=False)).tolist()
    found = []
    for number in chosen:
        image, place = divmod(number, int(ends[-1]))
        array = int(np.searchsorted(ends, place, side="right"))
        index = place - int(ends[array]) + arrays[array].size
        found.append(Element(arrays[array].step, index, None if images is None else image))
    return found


def boundaries(
    engine: Runs, x: Tensor, fault: Fault, among: Sequence[Element], threshold: float = 0.0, seed: int = 0
) -> Border:
    """The critical faults of these elements, by halving (see above).

    `x` are the engine's input codes. A fault is critical if it changes the class of at least the share
    `threshold` of the images (and of one at least); of an element of one image, if it changes that one's.
    Weights may be of all images; activations, accumulators and inputs have another number in each, so their
    elements need an `image`. Raises `ValueError` if they have none, or the fault is not of bits.
    """
    return done(halving(engine, x, fault, among, threshold, seed))


def halving(
    engine: Runs,
    x: Tensor,
    fault: Fault,
    among: Sequence[Element],
    threshold: float = 0.0,
    seed: int = 0,
    known: Table | None = None,
) -> Generator[tuple[int, int], None, Border]:
    """`boundaries`, step by step: yields how many faults are decided of how many.

    `known`: the table `numbers` of a campaign's book. What is there counts as an injection and is not run;
    what is run is added.
    """
    trials = _Trials(engine, x, fault, threshold, seed, known)
    sides = [(e, side) for e in among for side in trials.sides(e)]
    faults = sum(len(trials.bits(e)) for e in among)
    # Of each side: how many of its faults, the furthest first, are known as critical; from where on harmless.
    low, high = [0] * len(sides), [len(side) for _, side in sides]
    while True:
        open_ = [n for n in range(len(sides)) if low[n] < high[n]]
        if not open_:
            break
        asked = [(low[n] + high[n]) // 2 if low[n] else 0 for n in open_]
        found: list[bool] = []
        pairs = [(sides[n][0], sides[n][1][a]) for n, a in zip(open_, asked, strict=True)]
        yield faults - sum(high) + sum(low), faults
        for part in trials.critical(pairs):
            found += part
        for n, a, critical in zip(open_, asked, found, strict=True):
            if critical:
                low[n] = a + 1
            else:
                high[n] = a
    yield faults, faults
    said = {(e, bit) for n, (e, side) in enumerate(sides) for bit in side[: low[n]]}
    return Border(frozenset(said), faults, trials.run, trials.each)


def exhaustive(
    engine: Runs, x: Tensor, fault: Fault, among: Sequence[Element], threshold: float = 0.0, seed: int = 0
) -> Border:
    """The critical faults of these elements, by trying all of them; arguments as of `boundaries`."""
    return done(trying(engine, x, fault, among, threshold, seed))


def trying(
    engine: Runs,
    x: Tensor,
    fault: Fault,
    among: Sequence[Element],
    threshold: float = 0.0,
    seed: int = 0,
    known: Table | None = None,
) -> Generator[tuple[int, int], None, Border]:
    """`exhaustive`, step by step, as `halving`."""
    trials = _Trials(engine, x, fault, threshold, seed, known)
    pairs = [(e, bit) for e in among for bit in trials.bits(e)]
    found: list[bool] = []
    yield 0, len(pairs)
    for part in trials.critical(pairs):
        found += part
        yield len(found), len(pairs)
    said = frozenset(pair for pair, critical in zip(pairs, found, strict=True) if critical)
    return Border(said, len(pairs), trials.run, trials.each)


def monotonic(
    engine: Runs, x: Tensor, fault: Fault, among: Sequence[Element], truth: Border, seed: int = 0
) -> tuple[int, int]:
    """How often the premise holds for elements that were tried in full: of how many sides with two faults or
    more no harmless fault pushes further than a critical one, and how many such sides there are."""
    trials = _Trials(engine, x, fault, 0.0, seed)
    sides = [(e, side) for e in among for side in trials.sides(e) if len(side) > 1]
    held = 0
    for e, side in sides:
        said = [(e, bit) in truth.critical for bit in side]
        held += said == sorted(said, reverse=True)
    return held, len(sides)


def compared(search: Border, truth: Border) -> Comparison:
    """How good a search was; shares of nothing are 1."""
    right = len(search.critical & truth.critical)
    return Comparison(
        right / len(truth.critical) if truth.critical else 1.0,
        right / len(search.critical) if search.critical else 1.0,
        search.injections / truth.injections if truth.injections else 1.0,
    )


class _Trials:
    """Runs single faults of elements and counts them."""

    def __init__(
        self,
        engine: Runs,
        x: Tensor,
        fault: Fault,
        threshold: float,
        seed: int,
        known: Table | None = None,
    ) -> None:
        self.engine, self.fault, self.seed, self.run = engine, fault, seed, 0
        self._known = Book().numbers if known is None else known
        self._golden, _ = golden_answers(engine, engine.classes)
        self._least = max(1, math.ceil(threshold * len(self._golden) - 1e-9))
        if not fault.bitwise:
            raise ValueError(
                f"{type(fault).__name__} is no fault of bits, so a number has no border between its bits; "
                "try all faults, or ask for the worst"
            )
        found = strata(engine.network, fault)
        self._strata = {(s.step, s.bit): s for s in found}
        self._numbers = {(s.step, s.bit): number for number, s in enumerate(found)}
        self._bits = {step: [s.bit for s in found if s.step == step] for step in {s.step for s in found}}
        self._values = _values(engine.network, x, fault.site)

    @property
    def each(self) -> dict[int, int]:
        return {step: len(bits) for step, bits in self._bits.items()}

    def bits(self, element: Element) -> list[int]:
        return self._bits[element.step]

    def sides(self, element: Element) -> list[list[int]]:
        """The bits whose faults push the number up, and those that push it down, the furthest first; not
        those that leave it as it is."""
        values = self._values[element.step]
        if element.image is None and values.ndim > 1:
            raise ValueError(
                f"{self.fault.site} have another number for each image; give elements of one image each"
            )
        value = float(values[element.index] if values.ndim == 1 else values[element.image, element.index])
        bits = self.bits(element)
        push = np.array([self._push(element, bit, value) for bit in bits])
        order = np.argsort(-np.abs(push), kind="stable")
        return [side for up in (1, -1) if (side := [bits[i] for i in order if push[i] * up > 0])]

    def _push(self, element: Element, bit: int, value: float) -> float:
        """How far the fault pushes the number; one that is none any more counts as pushed to the end."""
        stratum = self._strata[element.step, bit]
        (hit,) = single(stratum, self.fault, element.index, self.seed).hits
        after = float(hits.faulty(self.fault, np.array([value]), stratum.codes, hit.detail)[0])
        return math.inf if math.isnan(after) else after - value

    def critical(self, pairs: Sequence[tuple[Element, int]]) -> Iterator[list[bool]]:
        """Whether they are, some at a time."""
        size = BATCH * getattr(self.engine, "workers", 1)
        for start in range(0, len(pairs), size):
            part = pairs[start : start + size]
            keys = [self._key(e, bit) for e, bit in part]
            missing = {k: p for k, p in zip(keys, part, strict=True) if k not in self._known.known}
            if missing:
                injections = [
                    single(self._strata[e.step, bit], self.fault, e.index, self.seed, e.image)
                    for e, bit in missing.values()
                ]
                changed = (self.engine.classes_under(injections) != self._golden).sum(1).tolist()
                self._known.add(sorted((k, (n,)) for k, n in zip(missing, changed, strict=True)))
            self.run += len(part)
            yield [
                self._known.known[k][0] >= (self._least if e.image is None else 1)
                for k, (e, _) in zip(keys, part, strict=True)
            ]

    def _key(self, element: Element, bit: int) -> Key:
        stratum = self._numbers[element.step, bit]
        return stratum, element.index, -1 if element.image is None else element.image


def _values(network: Deployed, x: Tensor, site: str) -> dict[int, NDArray[np.float64]]:
    """The numbers of a site by step: (size,) of weights and biases, else (n, size)."""
    if site == "biases":
        return {
            number: step.bias.double().numpy()
            for number, step in enumerate(network.steps)
            if step.bias is not None
        }
    if site == "weights":
        return {
            number: step.weight.double().flatten().numpy()
            for number, step in enumerate(network.steps)
            if step.weight is not None
        }
    if site == "inputs":
        return {INPUT: x.double().flatten(1).numpy()}
    with torch.no_grad():
        known = run(network, x)
        if site == "accumulators":
            known = [sums(step, _arriving(step, known, x)) for step in network.steps]
        if site == "neurons":
            known = [torch.ones_like(codes) for codes in known]
    return {number: codes.double().flatten(1).numpy() for number, codes in enumerate(known)}


def _arriving(step: Step, known: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    return [x if i == INPUT else known[i] for i in step.inputs]


# -- the worst -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Harm:
    """One fault, the share of images whose class it changes, and what accuracy loses."""

    fault: Single
    ccr: float
    drop: float


@dataclass(frozen=True, eq=False)
class Worst:
    """The most harmful faults that were found, the worst first. `exact`: all `population` faults were tried,
    no other is worse; else the best that a heuristic found with `injections`."""

    faults: tuple[Harm, ...]
    injections: int
    population: int
    exact: bool


def worst(
    engine: Runs,
    x: Tensor,
    answers: Any,
    fault: Fault,
    k: int = 3,
    budget: int = 2000,
    by: Literal["ccr", "drop"] = "ccr",
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> Worst:
    """The k single faults with the highest classification change rate or drop of accuracy (see above).

    `x` are the engine's input codes, `answers` (n,) the labels. At most `budget` injections. Raises
    `ValueError` if there are not as many answers as images, or the network has no such site or layer.
    """
    return done(hunt(engine, x, answers, fault, k, budget, by, layers, seed))


def hunt(
    engine: Runs,
    x: Tensor,
    answers: Any,
    fault: Fault,
    k: int = 3,
    budget: int = 2000,
    by: Literal["ccr", "drop"] = "ccr",
    layers: Sequence[str] | None = None,
    seed: int = 0,
    known: Table | None = None,
) -> Generator[tuple[int, int], None, Worst]:
    """`worst`, step by step: yields how many faults have been tried of how many.

    `known`: the table `faults` of the book of a campaign with the same fault, layers and seed. What is there
    counts as tried and is not run; what is run is added.
    """
    if k < 1 or budget < k:
        raise ValueError(
            f"the worst {k} faults with {budget} injections: take 1 or more, and a budget of as many"
        )
    golden, right = golden_answers(engine, answers)
    population = strata(engine.network, fault, layers)
    total = sum(s.size for s in population)
    table = Book().faults if known is None else known
    tried: list[tuple[float, Harm]] = []

    def measure(pairs: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
        missing = [pair for pair in pairs if pair not in table.known]
        if missing:
            found = engine.classes_under([single(population[s], fault, i, seed) for s, i in missing])
            table.add(sorted(zip(missing, counted(found, golden, right), strict=True)))
        changed, lost, won = np.array([table.known[pair] for pair in pairs], np.float64).T / len(golden)
        harm: NDArray[np.float64] = changed if by == "ccr" else lost - won
        for (n, i), c, d, h in zip(pairs, changed, lost - won, harm, strict=True):
            s = population[n]
            tried.append((float(h), Harm(Single(s.name, s.site, i, s.bit), float(c), float(d))))
        return harm

    yield 0, min(budget, total)
    if total <= budget:
        everything = [(n, i) for n, s in enumerate(population) for i in range(s.size)]
        for start in range(0, total, BATCH):
            measure(everything[start : start + BATCH])
            yield len(tried), total
    else:
        found = _candidates(engine.network, x, fault, population, seed)
        yield from _search(found, budget, measure)
    tried.sort(key=lambda pair: (-pair[0], str(pair[1].fault)))
    return Worst(tuple(harm for _, harm in tried[:k]), len(tried), total, total <= budget)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Faults that may be the worst: number of the stratum, index, noise brought into the layer, and group
    (layer and channel)."""

    stratum: NDArray[np.int64]
    index: NDArray[np.int64]
    noise: NDArray[np.float64]
    group: NDArray[np.int64]


def _candidates(
    network: Deployed, x: Tensor, fault: Fault, population: Sequence[Stratum], seed: int
) -> _Candidates:
    """Of each number the faults that push it furthest up and down, with the noise that they bring in."""
    x = x[:IMAGES]
    values = _values(network, x, fault.site)
    with torch.no_grad():
        known = run(network, x)
    parts: list[_Candidates] = []
    for number in dict.fromkeys(s.step for s in population):
        mine = [n for n, s in enumerate(population) if s.step == number]
        push = np.stack([_pushes(population[n], fault, values[number], seed) for n in mine])
        if fault.site in ("weights", "biases"):
            gain = _gain(network.steps[number], _arriving(network.steps[number], known, x), fault.site)
            up = push.argmax(0), np.maximum(push.max(0), 0.0) ** 2 * gain
            down = push.argmin(0), np.minimum(push.min(0), 0.0) ** 2 * gain
            sides = [up, down]
        else:
            codes = x if number == INPUT else known[number]
            noise = np.stack([_noise(network, number, codes, fault, p, values[number]) for p in push])
            noise = noise.reshape(len(mine), -1, population[mine[0]].extent).sum(2)
            order = np.argsort(-noise, axis=0, kind="stable")[:2]
            sides = [(row, np.take_along_axis(noise, row[None], 0)[0]) for row in order]
        for row, noise in sides:
            there = np.flatnonzero(noise > 0)
            first = population[mine[0]]
            channel = there * first.extent // math.prod(first.shape[1:])
            stratum = np.array(mine, np.int64)[row[there]]
            group = (number + 1) * (1 << 32) + channel
            parts.append(_Candidates(stratum, there, np.minimum(noise[there], 1e300), group))
    return _Candidates(
        *(
            np.concatenate([getattr(p, name) for p in parts])
            for name in ("stratum", "index", "noise", "group")
        )
    )


def _pushes(stratum: Stratum, fault: Fault, values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """How far a stratum's faults push the numbers `values`, (size,) or (n, size); of the same shape."""
    positions = stratum.size * stratum.extent
    if fault.bitwise:
        rng = seeds.generator(seed, "details")
        detail = fault.details(np.full(positions, stratum.bit, np.int64), stratum.codes, rng)
    else:  # chance may be in it: the same as of the single fault
        each = [single(stratum, fault, i, seed).hits[0].detail for i in range(stratum.size)]
        detail = np.concatenate(each)
    rows = []
    for row in np.atleast_2d(values):
        faulty = hits.faulty(fault, row, stratum.codes, detail)
        with np.errstate(invalid="ignore"):  # what is infinite already, and stays so
            rows.append(np.nan_to_num(faulty - row, nan=1e150, posinf=1e150, neginf=-1e150))
    return np.stack(rows).reshape(values.shape)


def _gain(step: Step, arriving: list[Tensor], site: Site) -> NDArray[np.float64]:
    """Of each weight or bias (size,): what energy a push of 1 brings into the sums, relative to theirs."""
    assert step.weight is not None
    with torch.no_grad():
        total = sums(step, arriving).double()
    energy = float(total.var(0, correction=0).sum()) + 1e-9
    if site == "biases":
        return np.full(len(step.weight), math.prod(step.shape[1:]) / energy)
    inputs = (arriving[0].double() - step.zeros[0]).square()
    shape = tuple(step.weight.shape)
    square = (inputs.mean((0, 2, 3)) if len(shape) == 4 else inputs.mean(0)).numpy()
    groups = step.args.get("groups", 1)
    channel = np.arange(shape[0])[:, None] // (shape[0] // groups) * shape[1] + np.arange(shape[1])
    gain = square[channel] * math.prod(step.shape[1:]) / energy
    return np.broadcast_to(gain.reshape(*gain.shape, *[1] * (len(shape) - 2)), shape).flatten()


def _noise(
    network: Deployed,
    number: int,
    codes: Tensor,
    fault: Fault,
    push: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Of each position (size,): the mean energy of what faults that push `push` (n, size) change in the
    step's output, relative to that of its variation."""
    stored = codes.double().flatten(1)
    if fault.site == "accumulators":
        faulty = torch.from_numpy(values + push).reshape(codes.shape)
        change = finished(network.steps[number], faulty).double().flatten(1) - stored
    elif fault.site == "neurons":
        change = torch.from_numpy((push != 0).astype(float)) * (network.steps[number].zero - stored)
    else:
        change = torch.from_numpy(push)
    energy = float(stored.var(0, correction=0).sum()) + 1e-9
    return (change.square().mean(0) / energy).numpy()


def _search(found: _Candidates, budget: int, measure: Any) -> Iterator[tuple[int, int]]:
    """Tries candidates, the most promising first, until the budget is spent; yields how many of how many.

    What is promising is first the noise. Then harm is fitted as a line over the logarithm of the noise, and
    what a channel's faults did beyond the line is added to what is expected of its others.
    """
    left = np.arange(len(found.index))
    level = np.log(found.noise)
    tried: list[int] = []
    harm: list[float] = []
    budget = min(budget, len(left))
    while len(tried) < budget:
        score = level if not tried else _expected(found, level, np.array(tried), np.array(harm))
        order = left[np.argsort(-score[left], kind="stable")]
        chosen = order[: min(max(budget // ROUNDS, 16), budget - len(tried))]
        pairs = list(zip(found.stratum[chosen].tolist(), found.index[chosen].tolist(), strict=True))
        harm += measure(pairs).tolist()
        tried += chosen.tolist()
        left = np.setdiff1d(left, chosen, assume_unique=True)
        yield len(tried), budget


def _expected(
    found: _Candidates, level: NDArray[np.float64], done: NDArray[np.int64], harm: NDArray[np.float64]
) -> NDArray[np.float64]:
    x = level[done]
    slope = max(0.0, float(np.cov(x, harm)[0, 1] / max(x.var(), 1e-12))) if len(done) > 1 else 0.0
    line = slope * (level - x.mean()) + harm.mean()
    _, group = np.unique(found.group, return_inverse=True)
    rest = np.bincount(group[done], harm - line[done], group.max() + 1)
    count = np.bincount(group[done], minlength=group.max() + 1)
    # Few faults say little of a channel: as if two more had done what the line says.
    expected: NDArray[np.float64] = line + (rest / (count + 2))[group]
    return expected
