"""A campaign: single faults (or sets of them) drawn, run and counted, until the answer is sure enough.

Faults are drawn by stratum (layer × bit) without replacement. The first round takes a few of each stratum and
the rest in proportion to size; each further one half as many again as there are, where they narrow the
interval most. After each round the campaign stops if the interval is narrow enough. Where the budget covers
the whole population all faults are tried, and the result is exact.

What was run is appended to a log, a line for each batch and stratum. A campaign that is started with the log
of one that was stopped, or killed, takes from it what is known; everything else follows from the settings, so
the end is that of one which nobody touched. The log also serves another budget, error, confidence, target,
threshold or allocation: these say how many faults are drawn, and when to stop, not what a fault does.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vilfredo import seeds
from vilfredo.campaign import sampling
from vilfredo.campaign.bit_error_rates import golden_answers
from vilfredo.campaign.injection import Injection, Runs
from vilfredo.campaign.records import MEASURES, RECORD, Measure, Population, Tally, estimates
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import several, single, strata
from vilfredo.protocols import Fault

FIRST = 512  # faults of the first round
FACTOR = 1.5  # what a round makes of the number of faults
VERSION = 1


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
    engine: Runs, answers: Any, settings: Campaign, log: Path | str | None = None
) -> Generator[Progress, None, Results]:
    """Runs a campaign on the engine's network and images, whose labels are `answers` (n,).

    Yields after each batch and returns the results, which the last progress has too. To stop it, close the
    generator or end the process in whatever way: with a `log` nothing but the batch at work is lost.
    Raises `ValueError` if the network has no such site or layer, there are not as many answers as images, or
    the log is another campaign's, damaged or in use.
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

    if settings.at_once > 1:
        injection(0, 0)  # says what is wrong before anything is written
    with _opened(log, lambda: digest(engine, right, settings)) as book:
        for places in _rounds(tally, population, settings):
            for start in range(0, len(places), settings.batch):
                batch = places[start : start + settings.batch]
                missing = [place for place in batch if place not in book.known]
                if missing:
                    found = engine.classes_under([injection(*place) for place in missing])
                    turned, hit = found != golden, found == right
                    lost, won = (turned & clean).sum(1), (turned & hit).sum(1)
                    book.append(missing, np.stack([turned.sum(1), lost, won], axis=1))
                tally.add(book.records(batch))
                now = results()
                end = _end(now) if start + len(batch) == len(places) else ""
                yield Progress(len(tally), _expected(now), now, end)
            if end:
                return now
    raise AssertionError("the last round has an end")


def finish(engine: Runs, answers: Any, settings: Campaign, log: Path | str | None = None) -> Results:
    """`run` to its end."""
    campaign = run(engine, answers, settings, log)
    while True:
        try:
            next(campaign)
        except StopIteration as end:
            results: Results = end.value
            return results


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


def digest(engine: Runs, answers: NDArray[np.int64], settings: Campaign) -> str:
    """Of all that decides what a fault does: the network, its answers without faults, the labels, the
    kind of fault, the layers, how many at once and the seed."""
    fault = settings.fault
    what = {"fault": fault, "layers": settings.layers, "at_once": settings.at_once, "seed": settings.seed}
    hash = hashlib.blake2b(digest_size=16)
    for part in (VERSION, what, engine.network, engine.golden, answers):
        _feed(hash, part)
    return hash.hexdigest()


def _feed(hash: hashlib.blake2b, thing: Any) -> None:
    """Everything that plain data says, with where it begins and ends."""
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        hash.update(f"<{thing.dtype.str}{thing.shape}".encode() + np.ascontiguousarray(thing).tobytes())
    elif is_dataclass(thing) and not isinstance(thing, type):
        hash.update(f"<{type(thing).__module__}.{type(thing).__qualname__}".encode())
        for f in fields(thing):
            _feed(hash, (f.name, getattr(thing, f.name)))
    elif isinstance(thing, Mapping):
        hash.update(b"<{")
        for item in sorted(thing.items()):
            _feed(hash, item)
    elif isinstance(thing, tuple | list):
        hash.update(b"<(")
        for item in thing:
            _feed(hash, item)
    elif thing is None or isinstance(thing, str | int | float | np.generic | torch.dtype):
        hash.update(f"<{type(thing).__name__} {thing!r}".encode())
    else:  # somebody's own fault that is no dataclass
        hash.update(f"<{type(thing).__module__}.{type(thing).__qualname__}".encode())
        _feed(hash, vars(thing))
    hash.update(b">")


class _Book:
    """What is known of each place, and the file where it is written down."""

    def __init__(self, file: BinaryIO | None) -> None:
        self.known: dict[Place, tuple[int, int, int]] = {}
        self._file = file

    def append(self, places: Sequence[Place], counts: NDArray[np.int64]) -> None:
        """`counts` (places, 3): changed, lost, won. One write, which a kill survives in full or as a line
        that is not whole."""
        lines: list[str] = []
        together = zip(places, counts.tolist(), strict=True)
        for stratum, group in itertools.groupby(together, key=lambda item: item[0][0]):
            rows = [[place[1], *row] for place, row in group]
            lines.append(json.dumps({"stratum": stratum, "faults": rows}, separators=(",", ":")))
            self.learn(stratum, rows)
        if self._file:
            self._file.write("".join(line + "\n" for line in lines).encode())
            self._file.flush()

    def learn(self, stratum: int, rows: Sequence[Sequence[int]]) -> None:
        for index, changed, lost, won in rows:
            self.known[stratum, index] = (changed, lost, won)

    def records(self, places: Sequence[Place]) -> NDArray[np.void]:
        return np.array([(*place, *self.known[place]) for place in places], RECORD)


@contextmanager
def _opened(log: Path | str | None, digest: Callable[[], str]) -> Iterator[_Book]:
    """The book of a log: read if it is there, and open for more. Nobody else has it meanwhile."""
    if log is None:
        yield _Book(None)
        return
    from filelock import FileLock, Timeout

    path = Path(log)
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path}: there is no such folder; make it, or give the log another place")
    lock = FileLock(str(path) + ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{path}: another process runs this campaign; wait for its end or stop it") from None
    try:
        with path.open("a+b") as file:
            book = _Book(file)
            _read(file, book, path, digest())
            yield book
    finally:
        lock.release()


def _read(file: BinaryIO, book: _Book, path: Path, digest: str) -> None:
    """Fills the book from its file, drops a last line that is not whole, and begins a file that is empty."""
    file.seek(0)
    whole = 0
    for number, line in enumerate(file):
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
            if number:
                book.learn(entry["stratum"], entry["faults"])
            elif entry["vilfredo"] != "campaign":
                raise ValueError
        except (ValueError, KeyError, TypeError):
            what = "no log of a campaign" if not number else f"damaged in line {number + 1}"
            raise ValueError(f"{path}: this file is {what}; give the log another name") from None
        if not number and entry.get("digest") != digest:
            raise ValueError(
                f"{path}: this is the log of a campaign with another network, other images or another fault; "
                "give this one another log"
            )
        whole += len(line)
    file.truncate(whole)
    if not whole:
        header = {"vilfredo": "campaign", "version": VERSION, "digest": digest}
        file.write(json.dumps(header).encode() + b"\n")
        file.flush()
