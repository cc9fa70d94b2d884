"""The figures of `benchmarks.resilient_search`: ratios, intervals and means out of what was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from vilfredo.campaign.sampling import t_quantile

SCHEMES = ("power_of_two", "real")
REMEDIES: tuple[str, ...] = ("none", "activation_clip", "both")

Row = Mapping[str, float]  # clean, and by fault ccr.<fault> and accuracy.<fault>
Rows = Mapping[tuple[str, str, str, str], Sequence[Row]]  # data, network, scheme, remedy -> a row a seed


def summaries(rows: Rows) -> dict[str, float]:
    """Means over seeds and their range."""
    figures: dict[str, float] = {}
    for (data, network, scheme, remedy), found in rows.items():
        for name in found[0]:
            what, _, fault = name.partition(".")
            values = [row[name] for row in found]
            key = ".".join(p for p in (what, data, network, fault, scheme, remedy) if p)
            figures[key] = statistics.mean(values)
            figures[f"{key}.low"], figures[f"{key}.high"] = min(values), max(values)
    return figures


def comparisons(rows: Rows, facts: Mapping[str, Any]) -> dict[str, float]:
    """Ratios of the references' CCR to that of the networks found, and what else must hold."""
    figures: dict[str, float] = {}
    sides = {"": ("none", "design"), "_remedied": ("both", "design")} | {f"_{r}": (r, r) for r in REMEDIES}
    pairs = {(data, network) for data, network, *_ in rows if not network.startswith("found_")}
    for suffix, (theirs, ours) in sides.items():
        ratios: list[float] = []
        gaps: list[float] = []
        for data, reference in sorted(pairs):
            found = f"found_{reference}"
            for scheme in SCHEMES:
                bare, above = rows[data, reference, scheme, "none"], rows[data, reference, scheme, theirs]
                below = rows[data, found, scheme, ours]
                gaps.append(max(mean(bare, "clean"), mean(above, "clean")) - mean(below, "clean"))
                figures[f"accuracy_gap{suffix}.{data}.{reference}.{scheme}"] = gaps[-1]
                for fault in faults(rows):
                    key = f"ccr_ratio{suffix}.{data}.{reference}.{fault}.{scheme}"
                    figures |= ratio(key, column(above, f"ccr.{fault}"), column(below, f"ccr.{fault}"))
                    ratios.append(figures[key])
        figures[f"accuracy_gap_most{suffix}"] = max(gaps)
        figures[f"ccr_ratio_least{suffix}"] = min(ratios)
        figures[f"ccr_ratio_median{suffix}"] = statistics.median(ratios)
        figures[f"ccr_ratio_share_of_3{suffix}"] = sum(r >= 3 for r in ratios) / len(ratios)
    figures["macs_share_most"] = max(
        facts[f"macs.{data}.found_{reference}"] / facts[f"macs.{data}.{reference}"]
        for data, reference in pairs
    )
    return figures


def column(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows]


def mean(rows: Sequence[Row], name: str) -> float:
    return statistics.mean(column(rows, name))


def ratio(key: str, above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Of means, with the interval of the mean logarithm of the pairs' ratios. What is 0 counts as 1e-4."""
    logs = [math.log(max(a, 1e-4) / max(b, 1e-4)) for a, b in zip(above, below, strict=True)]
    low, high = interval(logs)
    return {
        key: max(statistics.mean(above), 1e-4) / max(statistics.mean(below), 1e-4),
        f"{key}.low": math.exp(low),
        f"{key}.high": math.exp(high),
        f"{key}.least": math.exp(min(logs)),
    }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Bounds of the mean: 95 %, Student's t. Of one value nothing is known: it stands for both."""
    if len(values) < 2:
        return values[0], values[0]
    centre = statistics.mean(values)
    half = t_quantile(0.95, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return centre - half, centre + half


def schemes(rows: Rows) -> dict[str, float]:
    """Power-of-two scales against real ones, on the same trained networks. The seeds of a network count as
    one where networks are put together, a network that was found twice too."""
    figures: dict[str, float] = {}
    for fault in faults(rows):
        known: dict[str, float] = {}
        for data, network, scheme, remedy in rows:
            if scheme != SCHEMES[0] or remedy != "none":
                continue
            one, two = (column(rows[data, network, s, "none"], f"ccr.{fault}") for s in SCHEMES)
            logs = [math.log(max(a, 1e-4) / max(b, 1e-4)) for a, b in zip(one, two, strict=True)]
            figures |= geometric(f"schemes.{fault}.{data}.{network}", logs)
            known[str((data, one, two))] = statistics.mean(logs)
        figures |= geometric(f"schemes.{fault}", list(known.values()))
    return figures


def geometric(key: str, logs: Sequence[float]) -> dict[str, float]:
    low, high = interval(logs)
    return {
        key: math.exp(statistics.mean(logs)),
        f"{key}.low": math.exp(low),
        f"{key}.high": math.exp(high),
    }


def faults(rows: Rows) -> list[str]:
    """The faults that were measured."""
    first = next(iter(rows.values()))[0]
    return [name.removeprefix("ccr.") for name in first if name.startswith("ccr.")]
