"""Faults into one network, step by step: deployment, single faults, the worst, critical bits, many at once,
with clipping and without, one kind of fault after the other.

What `vilfredo faults` does, usable without it: `Injection(subject, order)` is iterated over for progress, and
`findings` are what is known so far; the module `findings` tells them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from vilfredo.campaign import bit_error_rates, critical, sampling
from vilfredo.campaign import log as log_of
from vilfredo.campaign import run as campaigns
from vilfredo.campaign.bit_error_rates import Damage
from vilfredo.campaign.critical import Border, Comparison, Element
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.injection import Runs
from vilfredo.campaign.log import Book, Log
from vilfredo.campaign.run import Campaign, Results
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import places
from vilfredo.campaign.workers import shared, threads_for
from vilfredo.data.dataset import Part
from vilfredo.nn.deployed import Deployed
from vilfredo.nn.floating import floating
from vilfredo.nn.graph import Traced, trace
from vilfredo.nn.quality import Layer, quality
from vilfredo.nn.quantize import Scheme, quantize
from vilfredo.protocols import Fault
from vilfredo.spec import names
from vilfredo.subject import Subject, words

BATCH = 256  # images at a time, where they only run through the network
BUDGET = 10_000  # single faults at most, if nobody says
CHECKED = 100  # numbers whose every bit is tried, to see how far halving is to be trusted
SITES = ("weights", "biases", "activations", "accumulators", "inputs", "neurons")
EVERYTHING = 1 << 62  # a budget that no population exceeds
Form = Literal["whole", "float32", "float16", "bfloat16"]
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is done with one kind of fault, `campaign.fault`.

    `rates` are at which all of them come at once, () for none. `single` false: no single faults. `hunt`
    injections are for a search for the worst ones (0: none). Of `numbers` numbers drawn at random the
    critical bits are looked for by halving (0: of none).
    """

    campaign: Campaign
    rates: tuple[float, ...] = ()
    single: bool = True
    hunt: int = 2000
    numbers: int = 0

    @property
    def fault(self) -> Fault:
        return self.campaign.fault

    @property
    def kind(self) -> str:
        """The fault in words: "burst (length 3) of weights"; what is not said is as usual."""
        fault: Any = self.fault
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(fault).__name__).lstrip("_")
        said = ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in options_of(fault).items())
        return f"{name} ({said}) of {fault.site}" if said else f"{name} of {fault.site}"


@dataclass(frozen=True)
class Order:
    """What is to be done, one plan after the other; of all plans confidence, seed and layers are the same.

    `scheme` is for whole numbers; of floats only its `clip` is looked at. `clipped`: the clipped network is
    tried beside. `worst` faults are listed. Of each rate there are `copies` of the network. `workers`
    processes compute.
    """

    plans: tuple[Plan, ...]
    form: Form = "whole"
    scheme: Scheme = field(default_factory=Scheme)
    clipped: bool = False
    worst: int = 3
    copies: int = 20
    images: int = 256
    samples: int = 512
    split: Literal["train", "validation", "test"] = "test"
    workers: int = 1

    @property
    def campaign(self) -> Campaign:
        """The first plan's, for what all have alike."""
        return self.plans[0].campaign


@dataclass(frozen=True, eq=False)
class Bits:
    """The critical bits of some numbers. `among` were searched by halving, and `checked` of these tried in
    full: what that says of the search is `compared`; on `held` of `sides` (a number's faults that push it the
    same way) no harmless fault pushes further than a critical one."""

    among: tuple[Element, ...]
    border: Border
    checked: int
    compared: Comparison
    held: int
    sides: int

    @property
    def saved(self) -> float:
        """The share of injections that halving did without."""
        return 1 - self.border.injections / self.border.faults if self.border.faults else 0.0


@dataclass
class Outcome:
    """What is known of one network under one plan."""

    plan: Plan
    results: Results | None = None
    hunted: critical.Worst | None = None
    bits: Bits | None = None
    curve: list[tuple[float, Damage]] = field(default_factory=list)


@dataclass
class Arm:
    """The network in one form and what is known of it, by plan. `accuracy` is over the images, without
    faults."""

    name: str
    seed: int
    network: Deployed
    engine: Engine
    accuracy: Estimate
    codes: Tensor  # of the images, as the engine has them
    outcomes: list[Outcome]


@dataclass
class Findings:
    """All that is known so far. `accuracy` is the trained network's, in floats."""

    subject: Subject
    order: Order
    part: Part
    accuracy: Estimate
    arms: list[Arm] = field(default_factory=list)
    quality: list[Layer] = field(default_factory=list)
    complete: bool = False


@dataclass(frozen=True)
class News:
    """Where the work stands: what is done now, how far (`done` of about `of`), and what has come of it."""

    stage: str
    done: int = 0
    of: int = 0
    interval: Estimate | None = None


class Injection:
    """Iterating over it does the work and yields `News`. It may be left at any time, or end by Ctrl-C:
    `findings` are what is known by then. With a `log` nothing that was tried is tried again: another one of
    the same order, in another process, goes on wherever this one stopped.
    """

    def __init__(self, subject: Subject, order: Order, log: Path | str | None = None) -> None:
        """Raises `ValueError`, one sentence, for a network that cannot be deployed or has no such layers."""
        self.log = None if log is None else Path(log).expanduser()
        part = subject.part(order.split, order.images, order.campaign.seed)
        x = subject.inputs(part.x)
        right = torch.from_numpy(np.ascontiguousarray(part.y))
        traced = trace(subject.model, subject.data.input_shape)
        samples = subject.inputs(subject.part("train", order.samples, order.campaign.seed).x)
        answers = _answers(subject, x)
        self.findings = Findings(subject, order, part, _share(answers == right, order))
        plain = replace(order.scheme, clip=False) if order.clipped else order.scheme
        schemes = {"as it is": plain}
        if order.clipped:
            schemes["clipped"] = replace(plain, clip=True)
        for name, scheme in schemes.items():
            network = deploy(traced, samples, order.form, scheme)
            if self.findings.arms and log_of.digest(network) == log_of.digest(self.findings.arms[0].network):
                continue  # there is nothing to clip, and so nothing to compare
            for plan in order.plans:
                _known(network, plan)
            codes = network.encode(x)
            with threads_for(network):
                engine = Engine(network, codes)
            hit = torch.as_tensor(engine.classes) == right
            outcomes = [Outcome(plan) for plan in order.plans]
            self.findings.arms.append(
                Arm(name, order.campaign.seed, network, engine, _share(hit, order), codes, outcomes)
            )
        self.findings.quality = quality(self.findings.arms[0].network, traced, x[:BATCH])

    def __iter__(self) -> Iterator[News]:
        found, order = self.findings, self.findings.order
        answers = np.asarray(found.part.y, np.int64)
        with ExitStack() as stack:
            log = None
            if self.log is not None:
                log = stack.enter_context(Log(self.log, campaigns.subject(found.arms[0].engine, answers)))
            engines = stack.enter_context(shared([arm.engine for arm in found.arms], order.workers))
            for number, plan in enumerate(order.plans):
                books: list[Book] = []
                for arm in found.arms:
                    digest = campaigns.digest(arm.engine, answers, plan.campaign)
                    books.append(Book() if log is None else log.book(digest, f"{plan.kind}, {arm.name}"))
                for arm, engine, book in zip(found.arms, engines, books, strict=True):
                    yield from self._one_by_one(arm, arm.outcomes[number], engine, book)
                for arm, engine, book in zip(found.arms, engines, books, strict=True):
                    yield from self._together(arm, arm.outcomes[number], engine, book)
        found.complete = True

    def _stage(self, what: str, arm: Arm, plan: Plan) -> str:
        """What is done now, in words that tell it from what is done before and after."""
        found = self.findings
        kind = f"{plan.kind}: " if len(found.order.plans) > 1 else ""
        return f"{kind}{what}" + (f", {arm.name}" if len(found.arms) > 1 else "")

    def _one_by_one(self, arm: Arm, out: Outcome, engine: Runs, book: Book) -> Iterator[News]:
        plan, campaign, answers = out.plan, out.plan.campaign, self.findings.part.y
        if plan.single:
            stage = self._stage("single faults", arm, plan)
            yield News(stage)
            for progress in campaigns.run(engine, answers, campaign, book):
                out.results = progress.results
                interval = progress.intervals[campaign.target]
                yield News(stage, progress.done, progress.of, interval)
        if plan.hunt and not (out.results and out.results.exhaustive):
            k = max(self.findings.order.worst, 1)
            hunt = critical.hunt(
                engine,
                arm.codes,
                answers,
                plan.fault,
                k,
                max(plan.hunt, k),
                layers=campaign.layers,
                seed=campaign.seed,
                known=book.faults,
            )
            out.hunted = yield from _told(hunt, self._stage("the worst faults", arm, plan))
        if plan.numbers:
            out.bits = yield from self._bits(arm, plan, engine, book)

    def _bits(self, arm: Arm, plan: Plan, engine: Runs, book: Book) -> Generator[News, None, Bits]:
        """Critical bits by halving, and of some numbers by trying all."""
        fault, campaign, seed = plan.fault, plan.campaign, plan.campaign.seed
        images = len(self.findings.part) if fault.transient else None
        among = critical.elements(arm.network, fault, plan.numbers, campaign.layers, images, seed)
        # Every so many-th: a draw from a draw, and spread over the layers.
        sample = among[:: max(1, len(among) // CHECKED)][:CHECKED]

        def words(what: str) -> str:
            return self._stage(what, arm, plan)

        settings = (fault, among, campaign.threshold, seed, book.numbers)
        border = yield from _told(
            critical.halving(engine, arm.codes, *settings), words("critical bits by halving")
        )
        settings = (fault, sample, campaign.threshold, seed, book.numbers)
        truth = yield from _told(
            critical.trying(engine, arm.codes, *settings), words("critical bits, a sample in full")
        )
        inside = set(sample)
        said = frozenset(pair for pair in border.critical if pair[0] in inside)
        compared = critical.compared(Border(said, truth.faults, truth.injections), truth)
        held, sides = critical.monotonic(engine, arm.codes, fault, sample, truth, seed)
        return Bits(tuple(among), border, len(sample), compared, held, sides)

    def _together(self, arm: Arm, out: Outcome, engine: Runs, book: Book) -> Iterator[News]:
        plan, campaign, order = out.plan, out.plan.campaign, self.findings.order
        stage, of = self._stage("many at once", arm, plan), len(plan.rates) * order.copies
        out.curve.clear()
        for number, rate in enumerate(plan.rates):
            faults = [bit_error_rates.at_rate(plan.fault, rate)]
            work = bit_error_rates.each(
                engine,
                faults,
                self.findings.part.y,
                order.copies,
                campaign.seed,
                campaign.layers,
                known=book.copies,
                rate=rate,
            )
            while True:
                try:
                    yield News(stage, number * order.copies + next(work), of)
                except StopIteration as end:
                    out.curve.append((rate, end.value))
                    break


def _told(work: Generator[tuple[int, int], None, T], stage: str) -> Generator[News, None, T]:
    """How far the work is, as news; what it returns."""
    while True:
        try:
            done, of = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        yield News(stage, done, of)


# -- the network ----------------------------------------------------------------------------------


def deploy(traced: Traced, samples: Tensor, form: Form = "whole", scheme: Scheme | None = None) -> Deployed:
    """The network in whole numbers, or in a floating-point format (of `scheme` then `clip` counts)."""
    scheme = scheme or Scheme()
    if form == "whole":
        return quantize(traced, samples, scheme)
    return floating(traced, form, samples, scheme.clip)


def _known(network: Deployed, plan: Plan) -> None:
    if plan.campaign.layers is None:
        return
    known = [place.name for place in places(network, plan.fault.site)]
    for name in plan.campaign.layers:
        if name not in known:
            raise ValueError(
                f"no layer with {plan.fault.site} is called {name!r}; {_cut(names.near(name, known))}"
            )


def _cut(text: str, width: int = 300) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _answers(subject: Subject, x: Tensor) -> Tensor:
    with torch.no_grad():
        found = [subject.model(part).argmax(1) for part in x.split(BATCH)]  # type: ignore[no-untyped-call]
    return torch.cat(found)


def _share(right: Tensor, order: Order) -> Estimate:
    return sampling.wilson(int(right.sum()), len(right), order.campaign.confidence)


def options_of(fault: Any) -> dict[str, Any]:
    """A fault's options but its rate and site, as far as they are others than if nobody had said any."""
    if not is_dataclass(fault) or isinstance(fault, type):
        return {}
    given = {f.name: getattr(fault, f.name) for f in fields(fault)}
    about = {name: given.pop(name) for name in ("rate", "site") if name in given}
    try:
        usual: Any = type(fault)(**about)
    except (TypeError, ValueError):  # it needs more than that, or has a count instead of a rate
        return {name: value for name, value in given.items() if value is not None}
    return {name: value for name, value in given.items() if value != getattr(usual, name)}


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def fault(text: str, site: str | None = None, rate: float | None = None) -> Fault:
    """The fault that "bit_flip" or "burst,length=3,site=activations" stands for; one that needs a rate and
    says none has `rate`, or 0. Raises `ValueError`, one sentence."""
    use, options = words(text)
    target = names.find("fault", use)
    wanted = names.parameters(target)
    if site is not None and "site" in options and options["site"] != site:
        raise ValueError(f"--site is {site}, but --fault says site={options['site']}; say it once")
    if site is not None:
        if "site" in wanted:
            options["site"] = site
        elif site != "neurons":
            raise ValueError(f"{use} has no site to choose; leave --site out")
    given = "rate" in options or options.get("count") is not None
    if "rate" in wanted and not given:
        options["rate"] = 0.0 if rate is None else rate
    good, wrong = names.check(target, options)
    if wrong:
        raise ValueError(f"{use}: " + "; ".join(f"{option}: {sentence}" for option, sentence in wrong))
    made: Fault = target(**good)
    return made


# -- findings as data -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """Two campaigns compared by the faults that both tried: how many are critical in `both`, in the `first`
    only, in the `second` only, in `neither`; and the difference of the shares, first − second."""

    both: int
    first: int
    second: int
    neither: int
    less: Estimate


def paired(first: Results, second: Results) -> Paired | None:
    """Two campaigns on networks that can have the same faults; None if none was tried in both."""
    least = first.settings.critical(first.images)
    a, b = (
        {(int(r["stratum"]), int(r["index"])): int(r["changed"]) >= least for r in results.records}
        for results in (first, second)
    )
    sizes = [int(size) for size in first.population.sizes]
    counts = np.zeros((len(sizes), 2, 2), int)
    for key in a.keys() & b.keys():
        counts[key[0], int(a[key]), int(b[key])] += 1
    if not counts.sum():
        return None
    tried, confidence = counts.sum((1, 2)).tolist(), first.settings.confidence
    cured = sampling.stratified(sizes, tried, counts[:, 1, 0].tolist(), confidence)
    new = sampling.stratified(sizes, tried, counts[:, 0, 1].tolist(), confidence)
    (neither, other), (one, both) = counts.sum(0).tolist()
    return Paired(both, one, other, neither, sampling.difference(cured, new))


# -- options of the command line --------------------------------------------------------------------


def order(options: Mapping[str, Any], known: Scheme | None = None) -> Order:
    """What the options of `vilfredo faults` ask for; `known` is how a trial was deployed by its search.

    Raises `ValueError`, one sentence.
    """
    for name, least, most, example in (
        ("margin", 0, 1, "half an interval's width, such as 0.01"),
        ("confidence", 0, 1, "a number between 0 and 1, such as 0.95"),
        ("threshold", 0, 1, "a share of the images, 0 to 1"),
    ):
        value = options[name]
        inside = least <= value <= most and not (name == "margin" and value == 1)
        if not inside or (name == "confidence" and value in (0, 1)):
            raise ValueError(f"--{name} is {value}; give {example}")
    if options["exhaustive"] and options["budget"] is not None:
        raise ValueError("--exhaustive tries every fault and --budget some; say one of them")
    rates = tuple(rate for text in options["ber"] for rate in _rates(text))
    plans = [_plan(kind, text, rates, options) for text, kind in _kinds(options, rates)]
    if options["ber"] and not any(hasattr(plan.fault, "rate") for plan in plans):
        raise ValueError(
            f"{options['fault'][0]} has no rate, so --ber means nothing to it; give its sd in --fault"
        )
    if options["critical"] and not any(plan.numbers for plan in plans):
        raise ValueError(
            f"{options['fault'][0]} is no fault of bits, so no bits are critical; leave --critical out"
        )
    scheme, bits, said = known or Scheme(), options["bits"], options["scales"]
    if bits is not None:
        scheme = replace(scheme, weights=bits, activations=bits, layers={})
    scales: Any = scheme.scales if said is None else said.replace("-", "_")
    scheme = replace(scheme, scales=scales, per=options["per"] or scheme.per)
    return Order(
        tuple(plans),
        form=options["form"],
        scheme=scheme,
        clipped=options["clip"],
        worst=options["worst"],
        copies=options["copies"],
        images=options["images"],
        split=options["split"],
        workers=options["workers"],
    )


def _kinds(options: Mapping[str, Any], rates: Sequence[float]) -> Iterator[tuple[str, Fault]]:
    """Each --fault at each --site, with its text."""
    sites: Sequence[str | None] = (None,) if options["site"] is None else _listed(options["site"], "--site")
    for site in sites:
        if site is not None and site not in SITES:
            raise ValueError(f"--site is {site!r}; {names.near(site, SITES)}")
    seen: list[Fault] = []
    for text in options["fault"]:
        for site in sites:
            made = fault(text, site, rates[0] if rates else None)
            if made in seen:
                if made.site == "neurons" and len(sites) > 1:
                    continue  # it has no other site
                raise ValueError(f"--fault {text} is there twice; say each kind of fault once")
            seen.append(made)
            yield text, made


def _plan(kind: Fault, text: str, rates: tuple[float, ...], options: Mapping[str, Any]) -> Plan:
    if not hasattr(kind, "rate"):
        rates = (float(kind.sd),) if hasattr(kind, "sd") else ()
    elif not rates and kind.rate:
        rates = (float(kind.rate),)  # said in --fault
    budget = options["budget"]
    budget = EVERYTHING if options["exhaustive"] else BUDGET if budget is None else budget
    lone = getattr(kind, "count", None) is None  # else it is so many at once
    campaign = Campaign(
        kind,
        layers=None if options["layers"] is None else _listed(options["layers"], "--layers"),
        error=options["margin"],
        confidence=options["confidence"],
        budget=max(1, budget),
        threshold=options["threshold"],
        seed=options["seed"],
    )
    return Plan(
        campaign,
        rates,
        single=budget > 0 and lone,
        hunt=options["hunt"] if budget > 0 and options["worst"] > 0 and lone else 0,
        numbers=(options["critical"] or 0) if kind.bitwise and lone else 0,
    )


def _rates(text: str) -> Iterator[float]:
    for part in _listed(text, "--ber"):
        try:
            rate = float(part)
        except ValueError:
            raise ValueError(f"--ber is {part!r}; give a probability from 0 to 1, such as 1e-4") from None
        if not 0 <= rate <= 1:
            raise ValueError(f"--ber is {part}; give a probability from 0 to 1, such as 1e-4")
        yield rate


def _listed(text: str, option: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ValueError(f"{option} is empty; give values with commas between them")
    return found


def scale(mean: str | None, std: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """--mean and --std as numbers. Raises `ValueError` for one without the other, or what is no number."""
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ValueError("--mean and --std go together; give both")
    try:
        first, second = (tuple(float(part) for part in text.split(",")) for text in (mean, std))
    except ValueError:
        raise ValueError(
            f"--mean {mean} --std {std}: give numbers with commas, one for each channel"
        ) from None
    return first, second
