"""Faults into one network, step by step: deployment, single faults, many at once, with clipping and without.

What `vilfredo faults` does, usable without it: `Injection(subject, order)` is iterated over for progress, and
`findings` are what is known so far; the module `findings` tells them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vilfredo.campaign import bit_error_rates, critical, sampling
from vilfredo.campaign import run as campaigns
from vilfredo.campaign.bit_error_rates import Damage
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.run import Campaign, Results
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import places
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
SITES = ("weights", "activations", "accumulators", "inputs", "neurons")
EVERYTHING = 1 << 62  # a budget that no population exceeds
Form = Literal["whole", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Order:
    """What is to be done. `scheme` is for whole numbers; of floats only its `clip` is looked at.

    `rates` are at which all faults come at once, () for none; each has `copies` of the network. `clipped`:
    the clipped network is tried beside. `single` false: no single faults. `worst` are listed, after a
    search of `hunt` injections (0: none). `campaign.fault` is the fault.
    """

    campaign: Campaign
    form: Form = "whole"
    scheme: Scheme = field(default_factory=Scheme)
    clipped: bool = False
    single: bool = True
    worst: int = 3
    hunt: int = 2000
    rates: tuple[float, ...] = ()
    copies: int = 20
    images: int = 256
    samples: int = 512
    split: Literal["train", "validation", "test"] = "test"

    @property
    def fault(self) -> Fault:
        return self.campaign.fault


@dataclass
class Arm:
    """The network in one form and what is known of it. `accuracy` is over the images, without faults."""

    name: str
    fault: Fault
    seed: int
    network: Deployed
    engine: Engine
    accuracy: Estimate
    codes: Tensor  # of the images, as the engine has them
    results: Results | None = None
    hunted: critical.Worst | None = None
    curve: list[tuple[float, Damage]] = field(default_factory=list)


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
    `findings` are what is known by then, and with a `log` another one of the same order goes on from there.
    """

    def __init__(self, subject: Subject, order: Order, log: Path | str | None = None) -> None:
        """Raises `ValueError`, one sentence, for a network that cannot be deployed or has no such layers."""
        self.log = None if log is None else Path(log)
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
            if order.campaign.layers is not None:
                _known(network, order)
            codes = network.encode(x)
            engine = Engine(network, codes)
            hit = torch.as_tensor(engine.classes) == right
            self.findings.arms.append(
                Arm(name, order.fault, order.campaign.seed, network, engine, _share(hit, order), codes)
            )
        self.findings.quality = quality(self.findings.arms[0].network, traced, x[:BATCH])

    def __iter__(self) -> Iterator[News]:
        found, order = self.findings, self.findings.order
        for arm in found.arms:
            what = "" if len(found.arms) == 1 else f", {arm.name}"
            if order.single:
                yield from self._single(arm, what)
            if order.hunt and not (arm.results and arm.results.exhaustive):
                yield News(f"the worst faults{what}")
                campaign, budget = order.campaign, max(order.hunt, order.worst)
                arm.hunted = critical.worst(
                    arm.engine,
                    arm.codes,
                    found.part.y,
                    order.fault,
                    order.worst,
                    budget,
                    layers=campaign.layers,
                    seed=campaign.seed,
                )
        for arm in found.arms:
            what = "" if len(found.arms) == 1 else f", {arm.name}"
            arm.curve.clear()
            for done, rate in enumerate(order.rates):
                yield News(f"many at once{what}", done, len(order.rates))
                damage = bit_error_rates.under(
                    arm.engine,
                    [bit_error_rates.at_rate(order.fault, rate)],
                    found.part.y,
                    order.copies,
                    order.campaign.seed,
                    order.campaign.layers,
                )
                arm.curve.append((rate, damage))
        found.complete = True

    def _single(self, arm: Arm, what: str) -> Iterator[News]:
        log = self.log
        if log is not None and arm.name != self.findings.arms[0].name:
            log = log.with_name(f"{log.stem}-{arm.name}{log.suffix}")
        order = self.findings.order
        yield News(f"single faults{what}")
        for progress in campaigns.run(arm.engine, self.findings.part.y, order.campaign, log):
            arm.results = progress.results
            interval = progress.intervals[order.campaign.target]
            yield News(f"single faults{what}", progress.done, progress.of, interval)


# -- the network ----------------------------------------------------------------------------------


def deploy(traced: Traced, samples: Tensor, form: Form = "whole", scheme: Scheme | None = None) -> Deployed:
    """The network in whole numbers, or in a floating-point format (of `scheme` then `clip` counts)."""
    scheme = scheme or Scheme()
    if form == "whole":
        return quantize(traced, samples, scheme)
    return floating(traced, form, samples, scheme.clip)


def _known(network: Deployed, order: Order) -> None:
    known = [place.name for place in places(network, order.fault.site)]
    for name in order.campaign.layers or ():
        if name not in known:
            raise ValueError(
                f"no layer with {order.fault.site} is called {name!r}; {_cut(names.near(name, known))}"
            )


def _cut(text: str, width: int = 300) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _answers(subject: Subject, x: Tensor) -> Tensor:
    with torch.no_grad():
        found = [subject.model(part).argmax(1) for part in x.split(BATCH)]  # type: ignore[no-untyped-call]
    return torch.cat(found)


def _share(right: Tensor, order: Order) -> Estimate:
    return sampling.wilson(int(right.sum()), len(right), order.campaign.confidence)


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
    rates = tuple(rate for text in options["ber"] for rate in _rates(text))
    site = options["site"]
    if site is not None and site not in SITES:
        raise ValueError(f"--site is {site!r}; {names.near(site, SITES)}")
    kind = fault(options["fault"], site, rates[0] if rates else None)
    if not rates and getattr(kind, "rate", None):
        rates = (float(kind.rate),)  # type: ignore[attr-defined]  # said in --fault
    if rates and not hasattr(kind, "rate") and options["ber"]:
        raise ValueError(
            f"{options['fault']} has no rate, so --ber means nothing to it; give its sd in --fault"
        )
    if not rates and hasattr(kind, "sd"):
        rates = (float(kind.sd),)
    if not 0 <= options["margin"] < 1:
        raise ValueError(f"--margin is {options['margin']}; give half an interval's width, such as 0.01")
    if not 0 < options["confidence"] < 1:
        raise ValueError(
            f"--confidence is {options['confidence']}; give a number between 0 and 1, such as 0.95"
        )
    if not 0 <= options["threshold"] <= 1:
        raise ValueError(f"--threshold is {options['threshold']}; give a share of the images, 0 to 1")
    if options["exhaustive"] and options["budget"] is not None:
        raise ValueError("--exhaustive tries every fault and --budget some; say one of them")
    budget = (
        EVERYTHING if options["exhaustive"] else BUDGET if options["budget"] is None else options["budget"]
    )
    lone = getattr(kind, "count", None) is None  # else it is so many at once
    layers = None if options["layers"] is None else _listed(options["layers"], "--layers")
    scheme, bits, said = known or Scheme(), options["bits"], options["scales"]
    if bits is not None:
        scheme = replace(scheme, weights=bits, activations=bits, layers={})
    scales: Any = scheme.scales if said is None else said.replace("-", "_")
    scheme = replace(scheme, scales=scales, per=options["per"] or scheme.per)
    return Order(
        Campaign(
            kind,
            layers=layers,
            error=options["margin"],
            confidence=options["confidence"],
            budget=max(1, budget),
            threshold=options["threshold"],
            seed=options["seed"],
        ),
        form=options["form"],
        scheme=scheme,
        clipped=options["clip"],
        single=budget > 0 and lone,
        worst=options["worst"],
        hunt=options["hunt"] if budget > 0 and options["worst"] > 0 and lone else 0,
        rates=rates,
        copies=options["copies"],
        images=options["images"],
        split=options["split"],
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
