"""The page of a fault campaign on one network: where faults are critical, what many of them do, what
clipping buys. One self-contained file like that of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import NamedTuple

from vilfredo.report import payload, shell
from vilfredo.trial import JSON
from vilfredo.units import show

_SCRIPTS = ("units.js", "elements.js", "faults.js")


class Range(NamedTuple):
    """An estimate with its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with numbers that can be hit. `bits` is how many each number has (0: none), `fields` what they
    mean, the least significant first: "mantissa", "exponent", "sign" or "magnitude"."""

    name: str
    bits: int
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """Single faults that were tried, together: of a layer and a bit, of one of them, of a channel.

    `layer` is a place in `FaultReport.layers`; −1, as of the other places: of all. `size` is how many such
    faults there are, `ccr` the mean share of images that change class.
    """

    tried: int
    share: Range
    ccr: float
    size: int = 0
    layer: int = -1
    bit: int = -1
    channel: int = -1
    field: str = ""


@dataclass(frozen=True, slots=True)
class Worst:
    """A single fault. `at` says its position in words, `index` flat; `before` and `after` are the number that
    it changes, None where it has none."""

    place: int
    layer: str
    index: int
    at: str
    bit: int
    before: float | None
    after: float | None
    ccr: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """Many faults at once, over `copies` of the network. `faults` is how many a copy has on average."""

    rate: float
    accuracy: Range
    ccr: Range
    worst: float
    copies: int
    faults: float | None = None


@dataclass(frozen=True, slots=True)
class Bits:
    """Critical bits found by halving: in words, and a table by layer. `saved`: which share of injections."""

    words: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    saved: float


@dataclass(frozen=True, slots=True)
class Arm:
    """One form of the network. `share` None: no single faults were tried. `exhaustive`: all of them were."""

    name: str
    accuracy: Range
    share: Range | None = None
    ccr: float = 0.0
    tried: int = 0
    size: int = 0
    exhaustive: bool = False
    cells: Sequence[Tally] = ()
    layers: Sequence[Tally] = ()
    bits: Sequence[Tally] = ()
    channels: Sequence[Tally] = ()
    worst: Sequence[Worst] = ()
    rates: Sequence[Rate] = ()
    critical_bits: Bits | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """What the second arm, clipped, has over the first: in words, and single faults that are critical in
    both, only in the first, only in the second, in neither."""

    words: Sequence[str]
    pairs: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: `columns` are names with whether they hold numbers, `units` those of the numbers."""

    columns: Sequence[tuple[str, bool]] = ()
    units: Sequence[str] = ()
    rows: Sequence[Sequence[str | float | None]] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of fault did: `arms` are the network as it is and, if it was compared, clipped.

    `strength` names what `Rate.rate` counts ("BER"); `found` says how the worst faults were found.
    """

    name: str
    arms: Sequence[Arm]
    layers: Sequence[Layer]
    strength: str = "BER"
    found: str = ""
    clip: Clip | None = None


@dataclass(frozen=True, slots=True)
class FaultReport:
    """All that the page is made of: one part for each kind of fault.

    `accuracy` is the trained network's in floating point; `meaning` says what is called critical. Shares are
    fractions.
    """

    title: str
    faults: Sequence[Kind]
    accuracy: Range
    images: int
    confidence: float = 0.95
    meaning: str = ""
    quantisation: Rows = field(default_factory=Rows)
    subtitle: Sequence[str] = ()
    settings: Mapping[str, JSON] = field(default_factory=dict)
    environment: Mapping[str, JSON] = field(default_factory=dict)
    commands: Sequence[str] = ()
    seed: int = 0


def render(report: FaultReport) -> str:
    """The page as HTML text."""
    return shell.page("faults.html", _SCRIPTS, report.title, _fallback(report), _data(report))


def _data(report: FaultReport) -> dict[str, JSON]:
    return {
        "faults": [_kind(kind) for kind in report.faults],
        "float": _short(report.accuracy),
        "images": report.images,
        "confidence": report.confidence,
        "meaning": report.meaning,
        "quantisation": payload.clean(asdict(report.quantisation)),
        "subtitle": list(report.subtitle),
        "settings": payload.clean(report.settings),
        "environment": payload.clean(report.environment),
        "commands": list(report.commands),
        "seed": str(report.seed),
    }


def _kind(kind: Kind) -> dict[str, JSON]:
    clip = kind.clip
    pairs = None if clip is None else list(clip.pairs or ()) or None
    return {
        "name": kind.name,
        "arms": [_arm(arm) for arm in kind.arms],
        "layers": [asdict(layer) for layer in kind.layers],
        "strength": kind.strength,
        "found": kind.found,
        "clip": None if clip is None else {"words": list(clip.words), "pairs": pairs},
    }


def _arm(arm: Arm) -> dict[str, JSON]:
    return {
        "name": arm.name,
        "accuracy": _short(arm.accuracy),
        "share": None if arm.share is None else _short(arm.share),
        "ccr": payload.short(arm.ccr),
        "tried": arm.tried,
        "size": arm.size,
        "exhaustive": arm.exhaustive,
        **{name: [_tally(t) for t in getattr(arm, name)] for name in ("cells", "layers", "bits", "channels")},
        "worst": [{**asdict(w), "before": _number(w.before), "after": _number(w.after)} for w in arm.worst],
        "rates": [
            [
                r.rate,
                _short(r.accuracy),
                _short(r.ccr),
                payload.short(r.worst),
                r.copies,
                payload.short(r.faults),
            ]
            for r in arm.rates
        ],
        "critical": None if arm.critical_bits is None else payload.clean(asdict(arm.critical_bits)),
    }


def _tally(tally: Tally) -> dict[str, JSON]:
    row = asdict(tally) | {"share": _short(tally.share), "ccr": payload.short(tally.ccr)}
    return {name: value for name, value in row.items() if value != ""}


def _number(value: float | None) -> JSON:
    """JSON has no infinite numbers; the page shows them as text."""
    return payload.clean(value)


def _short(found: Range) -> list[JSON]:
    return [payload.short(number) for number in found]


def _fallback(report: FaultReport) -> str:
    """The main numbers, for readers without scripts."""
    rows = []
    for kind in report.faults:
        for arm in kind.arms:
            head = f"{kind.name}, {arm.name}" if len(report.faults) > 1 else arm.name
            share = "–" if arm.share is None else show(arm.share.mean, "fraction")
            rows.append((f"{head}: accuracy without faults", show(arm.accuracy.mean, "fraction")))
            rows.append((f"{head}: single faults that are critical", share))
            for rate in arm.rates:
                name = f"{head}: accuracy at {kind.strength} {rate.rate:g}"
                rows.append((name, show(rate.accuracy.mean, "fraction")))
    cells = "".join(f"<tr><td>{escape(shell.encodable(a))}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<p>The drawings need JavaScript; these are the main numbers.</p>\n<table>{cells}</table>"
