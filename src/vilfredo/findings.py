"""What came of faults in a network: as lines for a terminal, as JSON, as a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from vilfredo import environment
from vilfredo.campaign import hits, sampling
from vilfredo.campaign.bit_error_rates import Damage
from vilfredo.campaign.run import Results
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import Single, one
from vilfredo.campaign.summary import Row, summarise, to_json
from vilfredo.codes import field
from vilfredo.inject import Arm, Findings, paired
from vilfredo.report import faults as page_of
from vilfredo.report.faults import Clip, FaultReport, Layer, Range, Rate, Rows, Tally, Worst
from vilfredo.trial import JSON
from vilfredo.units import show

GUESSING = 0.15  # of what is above chance: below it is said that something may be wrong
CHANNELS = 15  # that the page lists
Table = list[list[str]]  # a header and rows


# -- the worst faults ------------------------------------------------------------------------------


def worst(arm: Arm, most: int) -> list[tuple[Single, Worst]]:
    """The single faults that change the class of most images, of those that were tried for whatever reason;
    of equals those that lose most accuracy."""
    known: dict[Single, tuple[float, float]] = {}  # CCR, and what accuracy loses
    if arm.results is not None:
        results, images = arm.results, arm.results.images
        records = results.records
        for row in records[np.lexsort((-records["lost"], -records["changed"]))[:most]]:
            stratum = results.population.strata[int(row["stratum"])]
            where = Single(stratum.name, stratum.site, int(row["index"]), stratum.bit)
            known[where] = int(row["changed"]) / images, (int(row["lost"]) - int(row["won"])) / images
    for harm in arm.hunted.faults if arm.hunted else ():
        known[harm.fault] = harm.ccr, harm.drop
    order = sorted(known, key=lambda where: (-known[where][0], -known[where][1], str(where)))
    return [_worst_of(arm, where, *known[where]) for where in order[:most] if known[where][0] > 0]


def _worst_of(arm: Arm, where: Single, ccr: float, drop: float) -> tuple[Single, Worst]:
    hit = one(arm.network, arm.fault, where, arm.seed).hits[0]
    shape, codes = hits.place(arm.network, hit.step, hit.site)
    before = after = None  # other numbers in each image, unless it is a weight
    weight = arm.network.steps[hit.step].weight if hit.site == "weights" else None
    if weight is not None:
        value = np.array([float(weight.flatten()[where.index])])
        before, after = float(value[0]), float(hits.faulty(hit.fault, value, codes, hit.detail)[0])
    at = ", ".join(str(int(i)) for i in np.unravel_index(int(hit.index[0]), shape))
    accuracy = arm.accuracy.value - drop
    return where, Worst(0, where.name, where.index, f"[{at}]", where.bit, before, after, ccr, accuracy)


# -- in words -------------------------------------------------------------------------------------


def begun(found: Findings) -> list[str]:
    """What is known before the first fault: the network, its accuracy as trained and as deployed."""
    order, first = found.order, found.arms[0]
    lines = [f"{found.subject.title} · {_data(found)}", f"as trained    accuracy {_about(found.accuracy)}"]
    for arm in found.arms:
        name = "deployed" if arm is first else "clipped"
        lines.append(f"{name:<13} accuracy {_about(arm.accuracy)} · {_form(found)}")
    outputs = found.subject.data.outputs
    if found.accuracy.value < GUESSING + (1 - GUESSING) / outputs:
        lines.append(
            f"Note: that is hardly better than guessing among {outputs} classes; are these the weights, and "
            "were the inputs normalised so in training (--inputs, --mean, --std)?"
        )
    elif first.accuracy.value < found.accuracy.value - 0.05:
        lines.append(
            "Note: rounding costs more than 5 points of accuracy; more --bits, --per channel "
            "or --scales real lose less"
        )
    if order.single:
        lines.append(f"Faults: {_fault(found)}, each on all {len(found.part)} images")
    return lines


def _data(found: Findings) -> str:
    split = found.order.split
    return f"{found.subject.data.name}, {len(found.part)} {split} images"


def _form(found: Findings) -> str:
    order = found.order
    if order.form != "whole":
        return order.form
    scales = "power-of-two scales" if order.scheme.scales == "power_of_two" else "real scales"
    return f"{order.scheme.weights} bits, {scales}, one per {order.scheme.per}"


def _fault(found: Findings) -> str:
    name = type(found.order.fault).__name__
    plain = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    return f"{plain} of {found.order.fault.site}"


def told(found: Findings, most: int, tables: Callable[[Table, Sequence[str]], Iterable[str]]) -> list[str]:
    """All that came of it, in lines. `tables` makes lines of a table and of the names of its left columns."""
    lines: list[str] = []
    several = len(found.arms) > 1
    for arm in found.arms:
        if arm.results is None:
            continue
        title = f" ({arm.name})" if several else ""
        lines += ["", f"Single faults{title}: {single_words(arm.results)}"]
        if arm is found.arms[0]:
            known = summarise(arm.results, 0)
            for by, found_rows in (("layer", known.layers), ("bit", known.bits)):
                if found_rows:
                    rows, rest = _shortened(by, _ranking(found_rows, by))
                    lines += ["", *tables(rows, ("layer", "meaning")), *([rest] if rest else [])]
        bad = worst(arm, most)
        if bad:
            head = "The worst single fault" if len(bad) == 1 else f"The worst {len(bad)} single faults"
            lines += ["", f"{head}{title}, {_found(arm)}:", *tables(_worst(arm, bad), ("layer", "from → to"))]
    if any(arm.curve for arm in found.arms):
        lines += ["", f"Many at once, {found.order.copies} copies of the network each:"]
        lines += tables(_rates(found), ("network",))
    clip = clipping(found)
    if clip is not None:
        lines += ["", *clip.words]
    return lines


def _found(arm: Arm) -> str:
    if arm.results is not None and arm.results.exhaustive:
        return "all were tried"
    tried = "those tried" if arm.hunted is None else f"those tried and a search of {arm.hunted.injections:,}"
    return f"found among {tried}; there may be others"


def single_words(results: Results) -> str:
    """The share of critical faults, in a sentence."""
    known = results.intervals["critical"]
    size = f"{results.population.size:,.0f}"
    tried = f"all {size}" if results.exhaustive else f"{len(results.records):,} of {size}"
    ccr = results.intervals["ccr"]
    return (
        f"{_about(known)} are critical, {tried} tried; a fault changes the class of "
        f"{show(ccr.value, 'fraction')} of images on average"
    )


def _ranking(found: Sequence[Row], by: str) -> Table:
    """Layers or bits, the worst first."""
    order = sorted(found, key=lambda row: (-row.critical.value, -row.ccr.value))
    head = [by, *([] if by == "layer" else ["meaning"]), "faults", "tried", "critical", "interval", "CCR", ""]
    rows = [
        [
            row.layer if by == "layer" else str(row.bit),
            *([] if by == "layer" else [row.meaning]),
            f"{row.population:,.0f}",
            f"{row.done:,}",
            show(row.critical.value, "fraction"),
            _between(_range(row.critical)),
            show(row.ccr.value, "fraction"),
            "",
        ]
        for row in order
    ]
    return [head, *rows]


def _shortened(by: str, table: Table, most: int = 16) -> tuple[Table, str]:
    """Without the rows at the end in which no fault was critical, nor more than `most`; and what was left
    out, in words."""
    rows = table[1:]
    place = table[0].index("critical")
    kept = [row for row in rows if row[place] != "0 %"][:most] or rows[:1]
    left = len(rows) - len(kept)
    if left < 2:
        return table, ""
    zero = sum(row[place] == "0 %" for row in rows[len(kept) :])
    words = f"and {left} other {by}s" + (f", {zero} of them without a critical fault" if zero < left else "")
    if zero == left:
        names = sorted((row[0] for row in rows[len(kept) :]), key=lambda n: int(n) if n.isdecimal() else 0)
        alike = by == "bit" and [int(n) for n in names] == list(range(int(names[0]), int(names[-1]) + 1))
        which = f"bits {names[0]} to {names[-1]}" if alike else f"the other {left} {by}s"
        words = f"no critical fault was found in {which}"
    return [table[0], *kept], words


def _worst(arm: Arm, bad: Sequence[tuple[Single, Worst]]) -> Table:
    head = ["layer", "index", "bit", "from → to", "CCR", "accuracy", "the fault's name"]
    rows = [
        [
            w.layer,
            f"{w.index:,}",
            "–" if w.bit < 0 else str(w.bit),
            _change(w),
            show(w.ccr, "fraction"),
            show(w.accuracy, "fraction"),
            str(where),
        ]
        for where, w in bad
    ]
    return [head, *rows]


def _change(fault: Worst) -> str:
    if fault.before is None or fault.after is None:
        return "differs by image"
    return f"{fault.before:.4g} → {fault.after:.4g}"


def _rates(found: Findings) -> Table:
    several = len(found.arms) > 1
    level = f"{found.order.campaign.confidence:.4g}"
    head = ["network"] * several + [_strength(found), "accuracy", f"interval ({level})", "worst copy"]
    rows = []
    for arm in found.arms:
        for rate, damage in arm.curve:
            row = [arm.name] * several + [f"{rate:g}", show(damage.mean, "fraction")]
            row += [_between(_mean(damage, "accuracy", found)), show(damage.worst, "fraction")]
            row += [show(damage.mean_ccr, "fraction"), _between(_mean(damage, "ccr", found))]
            rows.append([*row, ""])
    return [[*head, "CCR", "interval", ""], *rows]


def _strength(found: Findings) -> str:
    if not hasattr(found.order.fault, "rate"):
        return "sd"
    return "BER" if found.order.fault.bitwise else "rate"


def clipping(found: Findings) -> Clip | None:
    """What the clipped network has over the other, the same faults in both."""
    if len(found.arms) < 2:
        return None
    plain, clipped = found.arms
    words: list[str] = []
    counts: tuple[int, int, int, int] | None = None
    if plain.results is not None and clipped.results is not None:
        a, b = (arm.results.intervals["critical"] for arm in (plain, clipped) if arm.results)
        pairs = paired(plain.results, clipped.results)
        less = sampling.difference(b, a) if pairs is None else _negative(pairs.less)
        words.append(
            f"Clipping takes the share of critical single faults from {show(a.value, 'fraction')} to "
            f"{show(b.value, 'fraction')}: {_points(less)}."
        )
        if pairs is not None:
            counts = both, first, second, neither = pairs.both, pairs.first, pairs.second, pairs.neither
            words.append(
                f"Of {both + first + second + neither:,} faults tried in both networks {both + first:,} "
                f"are critical without clipping, {both + second:,} with it: {first:,} cured, "
                f"{second:,} new."
            )
        a, b = (arm.results.intervals["ccr"] for arm in (plain, clipped) if arm.results)
        words.append(
            f"The share of images that a fault changes goes from {show(a.value, 'fraction')} to "
            f"{show(b.value, 'fraction')} on average."
        )
    for (rate, before), (_, after) in zip(plain.curve, clipped.curve, strict=False):
        gain = after.accuracy - before.accuracy  # the same faults in each copy
        known = _of_mean(gain, found.order.campaign.confidence)
        words.append(
            f"At {_strength(found)} {rate:g} accuracy goes from {show(before.mean, 'fraction')} to "
            f"{show(after.mean, 'fraction')}: {_points(known)}, copy by copy."
        )
    if not words:
        return None
    cost = clipped.accuracy.value - plain.accuracy.value
    words.append(
        f"Without faults it {'costs' if cost < 0 else 'gains'} {abs(cost) * 100:.2g} points of accuracy."
        if cost
        else "Without faults it costs nothing."
    )
    return Clip(words, counts)


def _negative(known: Estimate) -> Estimate:
    return Estimate(-known.value, -known.high, -known.low)


def _of_mean(values: Any, confidence: float) -> Estimate:
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Estimate(mean, -1.0, 1.0)
    half = sampling.t_quantile(confidence, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half)


def _points(known: Estimate) -> str:
    value, low, high = (f"{x * 100 + 0.0:+.2g}" for x in (known.value, known.low, known.high))
    return f"{value} points" + (f" ({low} to {high})" if known.low != known.high else "")


def _about(known: Estimate) -> str:
    """ "12.3 % (11.0–13.7 %)"; what is exact alone."""
    if known.low == known.high:
        return show(known.value, "fraction")
    return f"{show(known.value, 'fraction')} ({_between(Range(known.value, known.low, known.high))})"


def _between(known: Range) -> str:
    low, high = (f"{x * 100:.3g}" for x in (known.low, known.high))
    return f"{low}–{high} %" if low != high else "exact"


# -- as data --------------------------------------------------------------------------------------


def _range(known: Estimate) -> Range:
    return Range(known.value, known.low, known.high)


def _mean(damage: Damage, of: str, found: Findings) -> Range:
    value = damage.mean if of == "accuracy" else damage.mean_ccr
    return Range(value, *damage.interval(of, found.order.campaign.confidence))


def settings(found: Findings) -> dict[str, JSON]:
    """What was asked for, as JSON."""
    order, campaign = found.order, found.order.campaign
    scheme = {
        "bits": order.scheme.weights,
        "scales": order.scheme.scales,
        "per": order.scheme.per,
        "calibration": f"{order.scheme.calibration} of {order.samples} training images",
    }
    options = {n: v for n, v in vars(campaign.fault).items() if v is not None and n not in ("rate", "site")}
    return {
        "network": found.subject.title,
        "data": found.subject.data.name,
        "images": f"{len(found.part)} of the {order.split} part",
        "form": order.form,
        **(scheme if order.form == "whole" else {}),
        "clip": order.clipped,
        "fault": {"kind": _fault(found), **{k: _plain(v) for k, v in options.items()}},
        "rates": list(order.rates) or "none",
        "layers": list(campaign.layers) if campaign.layers else "all",
        "critical": _meaning(found),
        "margin": campaign.error,
        "confidence": campaign.confidence,
        "budget": campaign.budget if campaign.budget < 1 << 60 else "everything",
        "copies": order.copies,
        "seed": campaign.seed,
    }


def _plain(value: Any) -> JSON:
    return list(value) if isinstance(value, tuple) else value


def _meaning(found: Findings) -> str:
    least = found.order.campaign.critical(len(found.part))
    return f"at least {least} image{' changes its' if least == 1 else 's change their'} class"


def as_json(found: Findings, most: int) -> dict[str, JSON]:
    """All numbers, as JSON."""
    arms: list[dict[str, JSON]] = []
    for arm in found.arms:
        row: dict[str, JSON] = {"name": arm.name, "accuracy": _json(_range(arm.accuracy))}
        if arm.results is not None:
            row["single"] = to_json(summarise(arm.results, 0)) | {
                "faults": int(arm.results.population.size),
                "tried": len(arm.results.records),
                "worst": [
                    {
                        "fault": str(where),
                        "layer": w.layer,
                        "index": w.index,
                        "bit": w.bit,
                        "from": _finite(w.before),
                        "to": _finite(w.after),
                        "ccr": w.ccr,
                        "accuracy": w.accuracy,
                    }
                    for where, w in worst(arm, most)
                ],
            }
        row["rates"] = [
            {
                "rate": rate,
                "accuracy": _json(_mean(damage, "accuracy", found)),
                "ccr": _json(_mean(damage, "ccr", found)),
                "accuracies": damage.accuracy.tolist(),
                "ccrs": damage.ccr.tolist(),
            }
            for rate, damage in arm.curve
        ]
        arms.append(row)
    clip = clipping(found)
    return {
        "settings": settings(found),
        "complete": found.complete,
        "accuracy": _json(_range(found.accuracy)),
        "networks": arms,
        "paired": None if clip is None or clip.pairs is None else list(clip.pairs),
        "rounding": [asdict(row) | {"sqnr": _finite(row.sqnr)} for row in found.quality],
    }


def _json(known: Range) -> dict[str, JSON]:
    return {"value": known.mean, "low": known.low, "high": known.high}


def _finite(value: float | None) -> JSON:
    """JSON has neither NaN nor infinity: they become text."""
    return value if value is None or math.isfinite(value) else str(value)


# -- as a page ------------------------------------------------------------------------------------


def page(found: Findings, most: int, command: str = "") -> str:
    """The report as HTML."""
    strata = [s for arm in found.arms[:1] if arm.results for s in arm.results.population.strata]
    places: dict[str, int] = {}
    for stratum in strata:
        places.setdefault(stratum.name, len(places))
    layers = []
    for name in places:
        codes = next(s.codes for s in strata if s.name == name)
        bits = 1 + max(s.bit for s in strata if s.name == name)
        layers.append(Layer(name, bits, tuple(field(bit, codes) for bit in range(bits))))
    lines = [f"{_fault(found)} · {_form(found)}", _data(found)]
    if not found.complete:
        lines.append("Stopped before its end: what is here was known by then.")
    return page_of.render(
        FaultReport(
            title=f"Faults in {found.subject.title}",
            arms=[_arm(arm, found, places, most) for arm in found.arms],
            layers=layers,
            accuracy=_range(found.accuracy),
            images=len(found.part),
            confidence=found.order.campaign.confidence,
            strength=_strength(found),
            meaning=f"critical: {_meaning(found)}",
            found=f"{_found(found.arms[0]).capitalize()}.",
            clip=clipping(found),
            quantisation=_rounding(found),
            subtitle=lines,
            settings=settings(found),
            environment=_environment(),
            commands=[command] if command else [],
            seed=found.order.campaign.seed,
        )
    )


def _environment() -> Mapping[str, JSON]:
    return {name: value for name, value in environment.describe().items() if name != "command"}


def _arm(arm: Arm, found: Findings, places: Mapping[str, int], most: int) -> page_of.Arm:
    rates = []
    for rate, damage in arm.curve:
        accuracy, ccr = (_mean(damage, of, found) for of in ("accuracy", "ccr"))
        rates.append(
            Rate(rate, accuracy, ccr, damage.worst, len(damage.accuracy), _expected(arm, found, rate))
        )
    plain = page_of.Arm(arm.name, _range(arm.accuracy), rates=rates)
    if arm.results is None or not len(arm.results.records):
        return plain
    known = summarise(arm.results, 0)

    def tally(row: Row) -> Tally:
        place = places.get(row.layer, -1)
        share, ccr = _range(row.critical), row.ccr.value
        return Tally(row.done, share, ccr, int(row.population), place, row.bit, row.channel, row.meaning)

    return replace(
        plain,
        share=_range(known.total.critical),
        ccr=known.total.ccr.value,
        tried=known.total.done,
        size=int(known.total.population),
        exhaustive=known.exhaustive,
        cells=[tally(row) for row in known.cells],
        layers=[tally(row) for row in known.layers],
        bits=[tally(row) for row in known.bits],
        channels=[tally(row) for row in known.channels[:CHANNELS]],
        worst=[replace(w, place=places[w.layer]) for _, w in worst(arm, most)],
    )


def _expected(arm: Arm, found: Findings, rate: float) -> float | None:
    """How many faults a copy has on average, where each bit or number has them at the rate."""
    if arm.results is None or not hasattr(found.order.fault, "rate"):
        return None
    times = len(found.part) if found.order.fault.transient else 1
    return float(arm.results.population.size) * rate * times


def _rounding(found: Findings) -> Rows:
    columns = [("layer", False), ("operation", False), ("result", False), ("bits", True), ("weights", True)]
    columns += [("bits of weights", True), ("signal to noise", True), ("beyond the range", True)]
    rows: list[list[str | float | None]] = [
        [
            row.name,
            row.op.replace("_", " "),
            " × ".join(map(str, step.shape)),
            row.bits,
            None if step.weight is None else step.weight.numel(),
            row.weight_bits or None,
            row.sqnr if math.isfinite(row.sqnr) else None,
            row.saturated,
        ]
        for row, step in zip(found.quality, found.arms[0].network.steps, strict=True)
        if row.op not in ("flatten", "pad")
    ]
    trained, deployed = found.accuracy.value, found.arms[0].accuracy.value
    drop = f"{(deployed - trained) * 100 + 0.0:+.2g} points"
    words = (
        f"As trained {show(trained, 'fraction')} accurate, deployed {show(deployed, 'fraction')} ({drop}). "
        "Signal to noise is that of a layer's results, with the noise of all layers before it; 6 dB are "
        "about one bit."
    )
    return Rows(columns, ["", "", "", "", "", "", "dB", "fraction"], rows, words)
