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
from vilfredo.campaign.critical import Element
from vilfredo.campaign.injection import INPUT
from vilfredo.campaign.run import Results
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import Single, names, one, places
from vilfredo.campaign.summary import Row, summarise, to_json
from vilfredo.codes import field
from vilfredo.inject import Arm, Bits, Findings, Outcome, Plan, paired
from vilfredo.report import faults as page_of
from vilfredo.report.faults import Clip, FaultReport, Layer, Range, Rate, Rows, Tally, Worst
from vilfredo.trial import JSON
from vilfredo.units import show

GUESSING = 0.15  # of what is above chance: below it is said that something may be wrong
CHANNELS = 15  # that the page lists
NOTHING_TO_CLIP = "the same network: nothing is stored that could be beyond the range of the data"
Table = list[list[str]]  # a header and rows


# -- the worst faults ------------------------------------------------------------------------------


def worst(arm: Arm, out: Outcome, most: int) -> list[tuple[Single, Worst]]:
    """The single faults that change the class of most images, of those that were tried for whatever reason;
    of equals those that lose most accuracy."""
    known: dict[Single, tuple[float, float]] = {}  # CCR, and what accuracy loses
    if out.results is not None:
        results, images = out.results, out.results.images
        records = results.records
        for row in records[np.lexsort((-records["lost"], -records["changed"]))[:most]]:
            stratum = results.population.strata[int(row["stratum"])]
            where = Single(stratum.name, stratum.site, int(row["index"]), stratum.bit)
            known[where] = int(row["changed"]) / images, (int(row["lost"]) - int(row["won"])) / images
    for harm in out.hunted.faults if out.hunted else ():
        known[harm.fault] = harm.ccr, harm.drop
    order = sorted(known, key=lambda where: (-known[where][0], -known[where][1], str(where)))
    return [_worst_of(arm, out, where, *known[where]) for where in order[:most] if known[where][0] > 0]


def _worst_of(arm: Arm, out: Outcome, where: Single, ccr: float, drop: float) -> tuple[Single, Worst]:
    hit = one(arm.network, out.plan.fault, where, arm.seed).hits[0]
    shape, codes = hits.place(arm.network, hit.step, hit.site)
    before = after = None  # other numbers in each image, unless it is a weight or a bias
    weight = None
    if hit.site in ("weights", "biases"):
        step = arm.network.steps[hit.step]
        weight = step.weight if hit.site == "weights" else step.bias
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
    if order.clipped and len(found.arms) == 1:
        lines.append(f"clipped       {NOTHING_TO_CLIP}")
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
    single = [plan.kind for plan in order.plans if plan.single]
    if single:
        each = ", each" if len(single) == 1 else "; each"
        lines.append(f"Faults: {'; '.join(single)}{each} on all {len(found.part)} images")
    return lines


def _data(found: Findings) -> str:
    split = found.order.split
    return f"{found.subject.data.name}, {len(found.part)} {split} images"


def _form(found: Findings) -> str:
    order = found.order
    if order.form != "whole":
        return order.form
    return str(replace(order.scheme, clip=False))  # clipped or not is said of each network


def told(found: Findings, most: int, tables: Callable[[Table, Sequence[str]], Iterable[str]]) -> list[str]:
    """All that came of it, in lines. `tables` makes lines of a table and of the names of its left columns."""
    lines: list[str] = []
    several = len(found.order.plans) > 1
    for number, plan in enumerate(found.order.plans):
        part = _told(found, number, most, tables)
        if several and part:
            lines += ["", plan.kind, "─" * len(plan.kind)]
            part = part[part[0] == "" :]
        lines += part
    if several:
        lines += ["", "All together:", *tables(_together(found), ("fault", "network"))]
    return lines


def _told(
    found: Findings, number: int, most: int, tables: Callable[[Table, Sequence[str]], Iterable[str]]
) -> list[str]:
    """What came of one kind of fault."""
    lines: list[str] = []
    several = len(found.arms) > 1
    for arm in found.arms:
        out = arm.outcomes[number]
        title = f" ({arm.name})" if several else ""
        if out.results is not None:
            lines += ["", f"Single faults{title}: {single_words(out.results)}"]
            if arm is found.arms[0]:
                known = summarise(out.results, 0)
                for by, found_rows in (("layer", known.layers), ("bit", known.bits)):
                    if found_rows:
                        rows, rest = _shortened(by, _ranking(found_rows, by))
                        lines += ["", *tables(rows, ("layer", "meaning")), *([rest] if rest else [])]
        bad = worst(arm, out, most)
        if bad:
            head = "The worst single fault" if len(bad) == 1 else f"The worst {len(bad)} single faults"
            lines += ["", f"{head}{title}, {_found(out)}:", *tables(_worst(bad), ("layer", "from → to"))]
        if out.bits is not None:
            known_bits = bits(arm, out)
            lines += ["", f"Critical bits{title}: {known_bits.words[0]}"]
            rows, rest = _shortened("layer", [list(known_bits.head), *map(list, known_bits.rows)])
            lines += [*tables(rows, ("layer",)), *([rest] if rest else []), *known_bits.words[1:]]
    if any(arm.outcomes[number].curve for arm in found.arms):
        lines += ["", f"Many at once, {found.order.copies} copies of the network each:"]
        lines += tables(_rates(found, number), ("network",))
    clip = clipping(found, number)
    if clip is not None:
        lines += ["", *clip.words]
    return lines


def _found(out: Outcome) -> str:
    if out.results is not None and out.results.exhaustive:
        return "all were tried"
    tried = "those tried" if out.hunted is None else f"those tried and a search of {out.hunted.injections:,}"
    return f"found among {tried}; there may be others"


def _together(found: Findings) -> Table:
    """A line for each fault and network: what single ones do, and what is left of accuracy at its highest
    rate."""
    several = len(found.arms) > 1
    head = ["fault", *["network"] * several, "critical", "interval", "CCR", "the worst", "many at once", ""]
    rows: Table = []
    for number, plan in enumerate(found.order.plans):
        for arm in found.arms:
            out = arm.outcomes[number]
            row = [plan.kind, *[arm.name] * several]
            if out.results is None:
                row += ["–", "–", "–"]
            else:
                known = out.results.intervals
                row += [show(known["critical"].value, "fraction"), _between(_range(known["critical"]))]
                row += [show(known["ccr"].value, "fraction")]
            bad = worst(arm, out, 1)
            row.append(show(bad[0][1].ccr, "fraction") if bad else "–")
            rate, damage = out.curve[-1] if out.curve else (0.0, None)
            many = "–" if damage is None else f"{show(damage.mean, 'fraction')} at {_strength(plan)} {rate:g}"
            rows.append([*row, many, ""])
    return [head, *rows]


def bits(arm: Arm, out: Outcome) -> page_of.Bits:
    """The critical bits of the numbers that were searched, in words and by layer."""
    found = out.bits
    assert found is not None
    border = found.border
    site = out.plan.fault.site
    all_numbers = sum(array.size for array in places(arm.network, site, out.plan.campaign.layers))
    critical: dict[Element, int] = {}
    for element, _ in border.critical:
        critical[element] = critical.get(element, 0) + 1
    none = sum(element not in critical for element in found.among)
    images = " in images" if found.among and found.among[0].image is not None else ""
    which = "all" if len(found.among) == all_numbers and not images else f"{len(found.among):,} of the"
    right, named = (show(x, "fraction") for x in (found.compared.recall, found.compared.precision))
    words = [
        f"{len(border.critical):,} of the {border.faults:,} faults in {which} {all_numbers:,} {site}{images} "
        f"are critical; {none:,} of these {site} have no critical bit. Halving took {border.injections:,} "
        f"injections, {show(found.saved, 'fraction')} less than trying all.",
        f"To see how far to trust that {found.checked:,} of them were tried in full: {right} of their "
        f"critical faults had been found, and {named} of those found are critical. Of {found.sides:,} "
        f"searches (of a number, upwards or downwards) {found.held:,} were monotonic: no harmless fault "
        "pushes further than a critical one.",
    ]
    known = names(arm.network)
    groups: dict[int, list[Element]] = {}
    for element in found.among:
        groups.setdefault(element.step, []).append(element)
    each = {step: len(mine) * border.each[step] for step, mine in groups.items()}
    rows = []
    for step, mine in groups.items():
        bad = sum(critical.get(element, 0) for element in mine)
        name = "input" if step == INPUT else known[step]
        lone = sum(element not in critical for element in mine)
        share = show(bad / each[step], "fraction")
        rows.append((name, f"{len(mine):,}", f"{lone:,}", f"{each[step]:,}", share, ""))
    head = ("layer", "numbers", "none critical", "faults", "critical", "")
    return page_of.Bits(words, head, rows, found.saved)


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


def _worst(bad: Sequence[tuple[Single, Worst]]) -> Table:
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


def _rates(found: Findings, number: int) -> Table:
    several = len(found.arms) > 1
    level = f"{found.order.campaign.confidence:.4g}"
    strength = _strength(found.order.plans[number])
    head = ["network"] * several + [strength, "accuracy", f"interval ({level})", "worst copy"]
    rows = []
    for arm in found.arms:
        for rate, damage in arm.outcomes[number].curve:
            row = [arm.name] * several + [f"{rate:g}", show(damage.mean, "fraction")]
            row += [_over(damage, "accuracy", found), show(damage.worst, "fraction")]
            row += [show(damage.mean_ccr, "fraction"), _over(damage, "ccr", found)]
            rows.append([*row, ""])
    return [[*head, "CCR", "interval", ""], *rows]


def _over(damage: Damage, of: str, found: Findings) -> str:
    known = _mean(damage, of, found)
    return "all alike" if known.low == known.high else _between(known)


def _strength(plan: Plan) -> str:
    if not hasattr(plan.fault, "rate"):
        return "sd"
    return "BER" if plan.fault.bitwise else "rate"


def clipping(found: Findings, number: int) -> Clip | None:
    """What the clipped network has over the other, the same faults in both."""
    if len(found.arms) < 2:
        return None
    plan, first, second = found.order.plans[number], found.arms[0], found.arms[1]
    plain, clipped = first.outcomes[number], second.outcomes[number]
    words: list[str] = []
    counts: tuple[int, int, int, int] | None = None
    if plain.results is not None and clipped.results is not None:
        a, b = (out.results.intervals["critical"] for out in (plain, clipped) if out.results)
        pairs = paired(plain.results, clipped.results)
        less = sampling.difference(b, a) if pairs is None else _negative(pairs.less)
        words.append(
            f"Clipping takes the share of critical single faults from {show(a.value, 'fraction')} to "
            f"{show(b.value, 'fraction')}: {_points(less)}."
        )
        if pairs is not None:
            counts = both, gone, new, neither = pairs.both, pairs.first, pairs.second, pairs.neither
            words.append(
                f"Of {both + gone + new + neither:,} faults tried in both networks {both + gone:,} "
                f"are critical without clipping, {both + new:,} with it: {gone:,} cured, "
                f"{new:,} new."
            )
        a, b = (out.results.intervals["ccr"] for out in (plain, clipped) if out.results)
        words.append(
            f"The share of images that a fault changes goes from {show(a.value, 'fraction')} to "
            f"{show(b.value, 'fraction')} on average."
        )
    for (rate, before), (_, after) in zip(plain.curve, clipped.curve, strict=False):
        gain = after.accuracy - before.accuracy  # the same faults in each copy
        known = _of_mean(gain, found.order.campaign.confidence)
        words.append(
            f"At {_strength(plan)} {rate:g} accuracy goes from {show(before.mean, 'fraction')} to "
            f"{show(after.mean, 'fraction')}: {_points(known)}, copy by copy."
        )
    if not words:
        return None
    cost = second.accuracy.value - first.accuracy.value
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
    kinds: list[dict[str, JSON]] = []
    for plan in order.plans:
        options = {n: v for n, v in vars(plan.fault).items() if v is not None and n not in ("rate", "site")}
        rates = list(plan.rates) or "none"
        kinds.append({"kind": plan.kind, **{k: _plain(v) for k, v in options.items()}, "rates": rates})
    return {
        "network": found.subject.title,
        "data": found.subject.data.name,
        "images": f"{len(found.part)} of the {order.split} part",
        "form": order.form,
        **(scheme if order.form == "whole" else {}),
        "clip": order.clipped,
        **({"fault": kinds[0]} if len(kinds) == 1 else {"faults": kinds}),
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
    return {
        "settings": settings(found),
        "complete": found.complete,
        "accuracy": _json(_range(found.accuracy)),
        "faults": [_fault_json(found, number, most) for number in range(len(found.order.plans))],
        "rounding": [asdict(row) | {"sqnr": _finite(row.sqnr)} for row in found.quality],
    }


def _fault_json(found: Findings, number: int, most: int) -> dict[str, JSON]:
    """What one kind of fault did."""
    arms: list[dict[str, JSON]] = []
    for arm in found.arms:
        out = arm.outcomes[number]
        row: dict[str, JSON] = {"name": arm.name, "accuracy": _json(_range(arm.accuracy))}
        if out.results is not None:
            row["single"] = to_json(summarise(out.results, 0)) | {
                "faults": int(out.results.population.size),
                "tried": len(out.results.records),
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
                    for where, w in worst(arm, out, most)
                ],
            }
        if out.bits is not None:
            row["critical_bits"] = _bits_json(arm, out, out.bits)
        row["rates"] = [
            {
                "rate": rate,
                "accuracy": _json(_mean(damage, "accuracy", found)),
                "ccr": _json(_mean(damage, "ccr", found)),
                "accuracies": damage.accuracy.tolist(),
                "ccrs": damage.ccr.tolist(),
            }
            for rate, damage in out.curve
        ]
        arms.append(row)
    clip = clipping(found, number)
    pairs = None if clip is None or clip.pairs is None else list(clip.pairs)
    return {"fault": found.order.plans[number].kind, "networks": arms, "paired": pairs}


def _bits_json(arm: Arm, out: Outcome, found: Bits) -> dict[str, JSON]:
    known, site = names(arm.network), out.plan.fault.site
    critical: dict[Element, list[int]] = {element: [] for element in found.among}
    for element, bit in sorted(found.border.critical, key=lambda pair: pair[1]):
        critical[element].append(bit)
    return {
        "numbers": len(found.among),
        "faults": found.border.faults,
        "critical": len(found.border.critical),
        "injections": found.border.injections,
        "saved": found.saved,
        "checked": found.checked,
        "recall": found.compared.recall,
        "precision": found.compared.precision,
        "sides": found.sides,
        "monotonic": found.held,
        "bits": {
            str(Single("input" if e.step == INPUT else known[e.step], site, e.index, image=e.image)): mine
            for e, mine in critical.items()
        },
    }


def _json(known: Range) -> dict[str, JSON]:
    return {"value": known.mean, "low": known.low, "high": known.high}


def _finite(value: float | None) -> JSON:
    """JSON has neither NaN nor infinity: they become text."""
    return value if value is None or math.isfinite(value) else str(value)


# -- as a page ------------------------------------------------------------------------------------


def page(found: Findings, most: int, command: str = "") -> str:
    """The report as HTML."""
    kinds = [plan.kind for plan in found.order.plans]
    lines = [f"{'; '.join(kinds)} · {_form(found)}", _data(found)]
    if found.order.clipped and len(found.arms) == 1:
        lines.append(f"Clipped it is {NOTHING_TO_CLIP}.")
    if not found.complete:
        lines.append("Stopped before its end: what is here was known by then.")
    return page_of.render(
        FaultReport(
            title=f"Faults in {found.subject.title}",
            faults=[_page_of(found, number, most) for number in range(len(kinds))],
            accuracy=_range(found.accuracy),
            images=len(found.part),
            confidence=found.order.campaign.confidence,
            meaning=f"critical: {_meaning(found)}",
            quantisation=_rounding(found),
            subtitle=lines,
            settings=settings(found),
            environment=_environment(),
            commands=[command] if command else [],
            seed=found.order.campaign.seed,
        )
    )


def _page_of(found: Findings, number: int, most: int) -> page_of.Kind:
    """One kind of fault."""
    plan, first = found.order.plans[number], found.arms[0].outcomes[number]
    strata = first.results.population.strata if first.results else ()
    order: dict[str, int] = {}
    for stratum in strata:
        order.setdefault(stratum.name, len(order))
    layers = []
    for name in order:
        codes = next(s.codes for s in strata if s.name == name)
        most_bits = 1 + max(s.bit for s in strata if s.name == name)
        layers.append(Layer(name, most_bits, tuple(field(bit, codes) for bit in range(most_bits))))
    return page_of.Kind(
        plan.kind,
        [_arm(arm, found, number, order, most) for arm in found.arms],
        layers,
        strength=_strength(plan),
        found=f"{_found(first).capitalize()}.",
        clip=clipping(found, number),
    )


def _environment() -> Mapping[str, JSON]:
    return {name: value for name, value in environment.describe().items() if name != "command"}


def _arm(arm: Arm, found: Findings, number: int, order: Mapping[str, int], most: int) -> page_of.Arm:
    out = arm.outcomes[number]
    rates = []
    for rate, damage in out.curve:
        accuracy, ccr = (_mean(damage, of, found) for of in ("accuracy", "ccr"))
        rates.append(
            Rate(rate, accuracy, ccr, damage.worst, len(damage.accuracy), _expected(out, found, rate))
        )
    found_bits = None if out.bits is None else bits(arm, out)
    plain = page_of.Arm(arm.name, _range(arm.accuracy), rates=rates, critical_bits=found_bits)
    if out.results is None or not len(out.results.records):
        return plain
    known = summarise(out.results, 0)

    def tally(row: Row) -> Tally:
        place = order.get(row.layer, -1)
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
        worst=[replace(w, place=order[w.layer]) for _, w in worst(arm, out, most)],
    )


def _expected(out: Outcome, found: Findings, rate: float) -> float | None:
    """How many faults a copy has on average, where each bit or number has them at the rate."""
    fault = out.plan.fault
    if out.results is None or not hasattr(fault, "rate"):
        return None
    times = len(found.part) if fault.transient else 1
    return float(out.results.population.size) * rate * times


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
