"""What a campaign came to, as plain data that survives JSON: totals, rankings, the most harmful faults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from vilfredo.campaign import sampling
from vilfredo.campaign.records import estimates
from vilfredo.campaign.run import Results
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import Single
from vilfredo.codes import field
from vilfredo.trial import JSON


@dataclass(frozen=True)
class Row:
    """What faults of one kind do in the mean: those of a `layer`, a `bit`, a `channel` of a layer, or of
    several of these; "" and −1: of all. `meaning` is the bit's ("sign", "exponent", "mantissa", "magnitude";
    "" where it means different things in different layers).

    `population` is how many such faults there are (inf: sets without an end), `done` how many were tried.
    `critical` is the share of critical ones, `ccr` the mean share of images whose class changes, `drop` what
    accuracy loses in the mean.
    """

    population: float
    done: int
    critical: Estimate
    ccr: Estimate
    drop: Estimate
    layer: str = ""
    bit: int = -1
    meaning: str = ""
    channel: int = -1


@dataclass(frozen=True)
class Harmful:
    """One fault, as `sites.Single` writes it, its place, the share of images whose class it changes and what
    accuracy loses. Of sets of faults, `fault` is the number of the set."""

    fault: str
    layer: str
    channel: int
    bit: int
    ccr: float
    drop: float


@dataclass(frozen=True)
class Summary:
    """`clean` is the accuracy without faults; `critical` says from how many changed ones of the `images` on a
    fault is critical. Rows of `layers`, `bits`, `channels` and `cells` (layer × bit) are those of which at
    least one fault was tried: layers and cells in the network's order, bits from the least significant on,
    channels the worst first. `exhaustive`: all faults were tried, and the intervals are points."""

    fault: str
    site: str
    at_once: int
    images: int
    clean: float
    critical: int
    confidence: float
    seed: int
    exhaustive: bool
    total: Row
    layers: tuple[Row, ...]
    bits: tuple[Row, ...]
    cells: tuple[Row, ...]
    channels: tuple[Row, ...]
    worst: tuple[Harmful, ...]


def summarise(results: Results, worst: int = 20) -> Summary:
    """The summary of what is known so far, with the `worst` most harmful faults."""
    settings, strata = results.settings, results.population.strata
    single = results.population.at_once == 1
    of_bits = single and any(s.bit >= 0 for s in strata)

    def rows(layer: bool, bit: bool) -> tuple[Row, ...]:
        groups: dict[tuple[int, int], list[int]] = {}
        for number, s in enumerate(strata):
            groups.setdefault((s.step if layer else -1, s.bit if bit else -1), []).append(number)
        made = (_row(results, group, layer, bit) for group in groups.values())
        return tuple(row for row in made if row.done)

    return Summary(
        repr(settings.fault),
        settings.fault.site,
        settings.at_once,
        results.images,
        results.clean,
        settings.critical(results.images),
        settings.confidence,
        settings.seed,
        results.exhaustive,
        _row(results, range(len(results.sums)), False, False),
        rows(True, False) if single else (),
        tuple(sorted(rows(False, True), key=lambda row: row.bit)) if of_bits else (),
        rows(True, True) if of_bits else (),
        _channels(results) if single else (),
        _worst(results, worst),
    )


def to_json(summary: Summary) -> dict[str, JSON]:
    """As JSON data; what is without an end is null."""

    def plain(thing: Any) -> JSON:
        if isinstance(thing, dict):
            return {key: plain(value) for key, value in thing.items()}
        if isinstance(thing, list | tuple):
            return [plain(value) for value in thing]
        return None if isinstance(thing, float) and not math.isfinite(thing) else thing

    found: dict[str, JSON] = plain(asdict(summary))
    return found


def from_json(data: Mapping[str, JSON]) -> Summary:
    """The inverse of `to_json`. Raises `ValueError` for what is no summary."""

    def row(entry: Mapping[str, JSON]) -> Row:
        parts = {name: Estimate(**entry[name]) for name in ("critical", "ccr", "drop")}
        size = math.inf if entry["population"] is None else entry["population"]
        return Row(**{**entry, **parts, "population": size})

    try:
        made: dict[str, Any] = {f.name: data[f.name] for f in fields(Summary)}
        made.update({name: tuple(map(row, data[name])) for name in ("layers", "bits", "cells", "channels")})
        made.update(total=row(data["total"]), worst=tuple(Harmful(**entry) for entry in data["worst"]))
        return Summary(**made)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no summary of a campaign: {error}; make one with to_json") from None


def _row(results: Results, numbers: Sequence[int], layer: bool, bit: bool) -> Row:
    """These strata together; `layer` and `bit` say what they have in common."""
    strata, sizes = results.population.strata, results.population.sizes
    sums = results.sums[list(numbers)]
    mine = [sizes[n] for n in numbers]
    found = estimates(mine, sums, results.settings.confidence)
    first = strata[numbers[0]]
    bit = bit and first.bit >= 0
    meanings = {field(strata[n].bit, strata[n].codes) for n in numbers} if bit else set()
    return Row(
        sum(mine),
        int(sums[:, 0].sum()),
        found["critical"],
        found["ccr"],
        found["drop"],
        first.name if layer else "",
        first.bit if bit else -1,
        meanings.pop() if len(meanings) == 1 else "",
    )


def _channels(results: Results) -> tuple[Row, ...]:
    """Layers' output channels, those with the highest CCR first.

    The strata of a channel were sampled in unequal shares, so each fault counts for as many as it stands for
    (N_h / n_h). Intervals are those of as many faults as would be as sure if all counted the same (L. Kish,
    "Survey Sampling", 1965): (Σ w)² / Σ w².
    """
    strata, records, sizes = results.population.strata, results.records, results.population.sizes
    confidence, images = results.settings.confidence, results.images
    if not len(records):
        return ()
    number = records["stratum"]
    weight = (np.array(sizes) / np.maximum(results.sums[:, 0], 1))[number]
    extent = np.array([s.extent for s in strata])[number]
    inner = np.array([math.prod(s.shape[1:]) for s in strata])[number]
    step = np.array([s.step for s in strata])[number]
    keys, group = np.unique(np.stack([step, records["index"] * extent // inner]), axis=1, return_inverse=True)
    group = group.reshape(-1)

    def total(values: Any) -> Any:
        return np.bincount(group, values, keys.shape[1])

    mass, square, done = total(weight), total(weight**2), total(np.ones(len(records)))
    critical = records["changed"] >= results.settings.critical(images)
    columns = [critical, *(records[name] / images for name in ("changed", "lost", "won"))]
    shares = [total(weight * column) / mass for column in columns]
    rows: list[Row] = []
    for place in range(keys.shape[1]):
        mine = [s for s in strata if s.step == keys[0, place]]
        size = sum(s.size // s.shape[0] for s in mine)
        n = size if done[place] >= size else min(mass[place] ** 2 / square[place], size)
        parts = [sampling.cautious(float(share[place]) * n, n, confidence, size) for share in shares]
        drop = parts[2].value - parts[3].value
        exact = done[place] >= size
        rows.append(
            Row(
                float(size),
                int(done[place]),
                parts[0],
                parts[1],
                Estimate(drop, drop, drop) if exact else sampling.difference(parts[2], parts[3]),
                mine[0].name,
                channel=int(keys[1, place]),
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.ccr.value, -row.critical.value)))


def _worst(results: Results, count: int) -> tuple[Harmful, ...]:
    """Those that change the class of most images; of equals those that cost most accuracy."""
    records, images = results.records, results.images
    loss = records["lost"].astype(np.int64) - records["won"]
    order = np.lexsort((records["index"], records["stratum"], -loss, -records["changed"]))[:count]
    found: list[Harmful] = []
    for row in records[order]:
        index = int(row["index"])
        ccr, drop = int(row["changed"]) / images, (int(row["lost"]) - int(row["won"])) / images
        if results.population.at_once > 1:
            found.append(Harmful(str(index), "", -1, -1, ccr, drop))
            continue
        s = results.population.strata[int(row["stratum"])]
        name = str(Single(s.name, s.site, index, s.bit))
        found.append(Harmful(name, s.name, s.channel(index), s.bit, ccr, drop))
    return tuple(found)
