"""A campaign: single faults (or sets of them) drawn, run and counted, until the answer is sure enough.

Faults are drawn by stratum (layer × bit) without replacement. The first round takes a few of each stratum and
the rest in proportion to size; each further one half as many again as there are, where they narrow the
interval most. After each round the campaign stops if the interval is narrow enough. Where the budget covers
the whole population all faults are tried, and the result is exact.

What was run is appended to a log (`log`), a line for each batch and stratum. A campaign that is started with
the log of one that was stopped, or killed, takes from it what is known; everything else follows from the
settings, so the end is that of one which nobody touched. The log also serves another budget, error,
confidence, target, threshold or allocation: these say how many faults are drawn, and when to stop, not what a
fault does. Other faults, layers or seeds have a campaign of their own in the same log.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo import seeds
from vilfredo.campaign import log as log_of
from vilfredo.campaign import sampling
from vilfredo.campaign.bit_error_rates import golden_answers
from vilfredo.campaign.injection import Injection, Runs, done
from vilfredo.campaign.log import Book, Log
from vilfredo.campaign.records import MEASURES, RECORD, Measure, Population, Tally, counted, estimates
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import several, single, strata
from vilfredo.protocols import Fault

FIRST = 512  # faults of the first round
FACTOR = 1.5  # what a round makes of the number of faults


@dataclass(frozen=True)
class Campaign:
    """What is asked, and how sure the answer shall be.

    `fault`: single faults of its kind, at its site; its own rate does not matter. `layers`: names, None: all.
    `at_once`: sets of so many faults, each set as likely as any other. Transient faults hit each image's
    inference: a single one at the same place, sets each at places of its own.

    The campaign stops when half the interval of `target` (the share of critical faults, the mean `ccr` or the
    mean `drop` of accuracy) is `error` or less at this `confidence`, or after `budget` injections. A fault is
    critical if it changes the class of at least the share `threshold` of the images, and of one at least.
    `allocation` of further faults: "neyman" where they narrow the interval most, as far as is known;
    "proportional" to the sizes of the strata; of each stratum there are `least` in any case. `batch`
    injections run, and are logged, together. Raises `ValueError` for settings that cannot be.
    """

    fault: Fault
    layers: tuple[str, ...] | None = None
    at_once: int = 1
    target: Measure = "critical"
    error: float = 0.01
    confidence: float = 0.95
    budget: int = 10_000
    threshold: float = 0.0
    allocation: Literal["neyman", "proportional"] = "neyman"
    least: int = 4
    batch: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        sampling.z(self.confidence)
        for name, low in (("at_once", 1), ("budget", 1), ("batch", 1), ("least", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"campaign: {name} is {value!r}; give a whole number from {low}")
        if not 0 <= self.error < 1:
            raise ValueError(
                f"campaign: error is {self.error!r}; give half an interval's width, such as 0.01"
            )
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"campaign: threshold is {self.threshold!r}; give a share of the images, 0 to 1")
        if self.target not in MEASURES:
            raise ValueError(f"campaign: target is {self.target!r}; it can be {', '.join(MEASURES)}")
        if self.allocation not in ("neyman", "proportional"):
            raise ValueError(f"campaign: allocation is {self.allocation!r}; it can be neyman or proportional")

    def critical(self, images: int) -> int:
        """From how many changed images on a fault is critical."""
        return max(1, math.ceil(self.threshold * images - 1e-9))


@dataclass(frozen=True, eq=False)
class Results:
    """What is known so far. `records` (done,) of `records.RECORD`; `clean`: accuracy without faults."""

    settings: Campaign
    population: Population
    images: int
    clean: float
    records: NDArray[np.void]
    sums: NDArray[np.float64]  # (strata, 5), see `records.Tally`

    @cached_property
    def intervals(self) -> Mapping[Measure, Estimate]:
        """Of all faults of the population: share of critical ones, mean CCR, mean drop of accuracy."""
        return estimates(self.population.sizes, self.sums, self.settings.confidence)

    @property
    def exhaustive(self) -> bool:
        """All faults were tried: the intervals are points."""
        return len(self.records) >= self.population.size


@dataclass(frozen=True, eq=False)
class Progress:
    """After a batch: `done` faults of about `of`, and what they come to. `end` says why it is over ("all",
    "sure", "budget"), "" while it goes on."""

    done: int
    of: int
    results: Results
    end: Literal["", "all", "sure", "budget"] = ""

    @property
    def intervals(self) -> Mapping[Measure, Estimate]:
        return self.results.intervals


def run(
    engine: Runs, answers: Any, settings: Campaign, log: Path | str | Book | None = None
) -> Generator[Progress, None, Results]:
    """Runs a campaign on the engine's network and images, whose labels are `answers` (n,).

    Yields after each batch and returns the results, which the last progress has too. To stop it, close the
    generator or end the process in whatever way: with a `log`, a file or what is open of one, nothing but the
    batch at work is lost. Raises `ValueError` if the network has no such site or layer, there are not as many
    answers as images, or the log is another network's, damaged or in use.
    """
    golden, right = golden_answers(engine, answers)
    network = engine.network
    population = Population(strata(network, settings.fault, settings.layers), settings.at_once)
    images, critical = len(golden), settings.critical(len(golden))
    tally = Tally(population.sizes, images, critical)
    clean = golden == right

    def injection(stratum: int, index: int) -> Injection:
        if settings.at_once == 1:
            return single(population.strata[stratum], settings.fault, index, settings.seed)
        rng = seeds.generator(settings.seed, "set", index)
        passing = images if settings.fault.transient else None
        return several(population.strata, settings.fault, settings.at_once, rng, settings.seed, passing)

    def results() -> Results:
        return Results(settings, population, images, float(clean.mean()), tally.records, tally.sums.copy())

    size = settings.batch * getattr(engine, "workers", 1)
    if settings.at_once > 1:
        injection(0, 0)  # says what is wrong before anything is written
    with _opened(log, engine, right, settings) as book:
        known = book.faults.known
        for places in _rounds(tally, population, settings):
            for start in range(0, len(places), size):
                batch = places[start : start + size]
                missing = [place for place in batch if place not in known]
                if missing:
                    found = engine.classes_under([injection(*place) for place in missing])
                    counts = counted(found, golden, right)
                    book.faults.add(sorted(zip(missing, counts, strict=True)))
                tally.add(np.array([(*place, *known[place]) for place in batch], RECORD))
                now = results()
                end = _end(now) if start + size >= len(places) else ""
                yield Progress(len(tally), _expected(now), now, end)
            if end:
                return now
    raise AssertionError("the last round has an end")


def finish(engine: Runs, answers: Any, settings: Campaign, log: Path | str | Book | None = None) -> Results:
    """`run` to its end."""
    return done(run(engine, answers, settings, log))


# -- which faults, and when to stop -----------------------------------------------------------------

Place = tuple[int, int]  # a stratum's number and the index in it


def _rounds(tally: Tally, population: Population, settings: Campaign) -> Iterator[list[Place]]:
    """Rounds of places, each a function of the settings and of what came of the rounds before."""
    sizes, budget = population.sizes, settings.budget
    if population.size <= budget:
        yield [(number, index) for number, size in enumerate(sizes) for index in range(int(size))]
        return
    if settings.at_once > 1:
        decks: list[Iterator[int]] = [itertools.count()]
    else:
        decks = [sampling.deck(s.size, settings.seed, s.name, s.site, s.bit) for s in population.strata]
    room = [budget if math.isinf(size) else int(size) for size in sizes]
    total, least = max(FIRST, settings.least * len(room)), [settings.least] * len(room)
    while True:
        total = min(total, budget)
        wanted = sampling.allocate(room, total, _spread(tally, settings), least)
        have = tally.sums[:, 0].astype(int).tolist()
        places = [
            ((k + 0.5) / (goal - count), (number, next(decks[number])))
            for number, (goal, count) in enumerate(zip(wanted, have, strict=True))
            for k in range(goal - count)
        ]
        if not len(tally):  # all strata from the first batch on, so that early progress says something
            places.sort()
        yield [place for _, place in places]
        least, total = wanted, math.ceil(total * FACTOR)


def _spread(tally: Tally, settings: Campaign) -> list[float] | None:
    """Standard deviations by stratum as far as they are known, never nought (Jeffreys' half a fault each);
    None: take them as equal."""
    if settings.allocation == "proportional" or not len(tally):
        return None
    column = {"critical": 1, "ccr": 2, "drop": 3}[settings.target]
    share = (tally.sums[:, column] + 0.5) / (tally.sums[:, 0] + 1)
    return [math.sqrt(p * (1 - p)) for p in share]


def _end(now: Results) -> Literal["", "all", "sure", "budget"]:
    if now.exhaustive:
        return "all"
    if now.intervals[now.settings.target].half <= now.settings.error:
        return "sure"
    return "budget" if len(now.records) >= now.settings.budget else ""


def _expected(now: Results) -> int:
    """How many faults there will be, as it looks now: half an interval shrinks with the root of them."""
    settings, done = now.settings, len(now.records)
    if now.population.size <= settings.budget:
        return int(now.population.size)
    half = now.intervals[settings.target].half
    if half <= settings.error:
        return done
    if not settings.error:
        return settings.budget
    needed = done * (half / settings.error) ** 2
    if math.isfinite(now.population.size):
        most = sampling.sample_size(int(now.population.size), settings.error, settings.confidence)
        needed = min(needed, most)
    return int(min(settings.budget, max(needed, done)))


# -- the log ----------------------------------------------------------------------------------------


def subject(engine: Runs, answers: NDArray[np.int64]) -> str:
    """A digest of the network, its answers without faults and the labels: what a log is of."""
    return log_of.digest(engine.network, engine.golden, answers)


def digest(engine: Runs, answers: NDArray[np.int64], settings: Campaign) -> str:
    """Of all that decides what a fault does: the network, its answers without faults, the labels, the
    kind of fault (single ones have no rate), the layers, how many at once and the seed."""
    fault: Any = settings.fault
    if is_dataclass(fault) and any(f.name == "rate" for f in fields(fault)):
        options = {f.name: getattr(fault, f.name) for f in fields(fault) if f.name != "rate"}
        fault = (type(fault).__module__, type(fault).__qualname__, options)
    what = {"fault": fault, "layers": settings.layers, "at_once": settings.at_once, "seed": settings.seed}
    return log_of.digest(subject(engine, answers), what)


@contextmanager
def _opened(log: Path | str | Book | None, engine: Runs, answers: Any, settings: Campaign) -> Iterator[Book]:
    if log is None:
        yield Book()
    elif isinstance(log, Book):
        yield log
    else:
        with Log(log, subject(engine, answers)) as file:
            yield file.book(digest(engine, answers, settings), repr(settings.fault))
