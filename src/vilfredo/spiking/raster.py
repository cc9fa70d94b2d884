"""Spike rasters: who fired when, as text for a terminal and as an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast
from xml.sax.saxutils import escape

from vilfredo.spiking.network import SpikingNetwork
from vilfredo.spiking.portrait import ROLES, roles

Role = Literal["input", "hidden", "output"]

MARKS: Mapping[str, str] = {"input": "in", "hidden": "", "output": "out"}
BLOCKS, DIGITS = "·▁▂▃▄▅▆▇█", ".123456789"
NAME, LEAST = 16, 10  # characters of a name, and cells for time
TICKS = (1, 2, 5)
COLOURS = {  # on light and on dark
    "ground": ("#ffffff", "#14181c"),
    "ink": ("#1c2227", "#e6eaed"),
    "soft": ("#5b6570", "#9aa6b0"),
    "line": ("#e4e7ea", "#2a323a"),
    "input": ("#0067a8", "#62b6ec"),
    "hidden": ("#4a545d", "#b4bec6"),
    "output": ("#c2410c", "#ffa24d"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A neuron and the timesteps in which it fired."""

    number: int
    name: str
    role: Role
    times: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Raster:
    """Rows of neurons: inputs, then hidden ones, then outputs; `left_out`: hidden ones that have no row."""

    rows: tuple[Row, ...]
    steps: int
    left_out: int = 0


def raster(
    network: SpikingNetwork, spikes: Mapping[int, Sequence[float]], steps: int, most: int | None = None
) -> Raster:
    """Of what happened in `steps` timesteps: `spikes` are the times by neuron number.

    Inputs and outputs come in the network's order, hidden neurons by number; a neuron that is both is shown
    as an output. With more than `most` rows, hidden neurons that fired least have none.
    """
    role = roles(network).tolist()
    order = [
        *(i for i in network.inputs.tolist() if role[i] == 0),
        *sorted((i for i in range(network.size) if role[i] == 1), key=lambda i: int(network.ids[i])),
        *network.outputs.tolist(),
    ]
    rows = []
    for i in order:
        number = int(network.ids[i])
        times = tuple(sorted(int(t) for t in spikes.get(number, ()) if 0 <= t < steps))
        rows.append(Row(number, network.names.get(number, ""), cast(Role, ROLES[role[i]]), times))
    hidden = [row for row in rows if row.role == "hidden"]
    too_many = 0 if most is None else min(len(hidden), max(0, len(rows) - most))
    quiet = {row.number for row in sorted(hidden, key=lambda row: (len(row.times), -row.number))[:too_many]}
    return Raster(tuple(row for row in rows if row.number not in quiet), steps, too_many)


# -- text -----------------------------------------------------------------------------------------


def lines(raster: Raster, width: int = 80, plain: bool = False) -> list[tuple[Role | None, str]]:
    """The raster line by line with each row's role (None: the axis and what stands below it).

    A cell is one timestep, or several if there are more timesteps than the `width` has room for; then its
    height is the share of them in which the neuron fired (one spike at least is always seen). At the right is
    the number of spikes. `plain` keeps to ASCII.
    """
    empty, full = (".", "|") if plain else ("·", "│")
    digits = max([len(str(row.number)) for row in raster.rows], default=1)
    clipped = {row.number: _clip(row.name, plain) for row in raster.rows}
    longest = max([len(name) for name in clipped.values()], default=0)
    counted = max([len(str(len(row.times))) for row in raster.rows], default=1)
    label = 4 + digits + (longest + 1 if longest else 0)
    cells = max(LEAST, width - label - counted - 3)
    each = tick(raster.steps, cells)
    cells = max(1, -(-raster.steps // each))
    found: list[tuple[Role | None, str]] = []
    for row in raster.rows:
        begin = f"{MARKS[row.role]:3} {row.number:>{digits}}"
        if longest:
            begin += f" {clipped[row.number]:{longest}}"
        marks = _cells(row.times, cells, each, raster.steps, empty, full, DIGITS if plain else BLOCKS)
        found.append((row.role, f"{begin}  {marks} {len(row.times):>{counted}}"))
    found += [(None, " " * (label + 2) + line) for line in _axis(cells, each)]
    if each > 1:
        found.append((None, " " * (label + 2) + f"{each} timesteps in each cell"))
    if raster.left_out:
        dots = "..." if plain else "…"
        found.append((None, f"{dots} and {raster.left_out} hidden neurons that fired less"))
    return found


def text(raster: Raster, width: int = 80, plain: bool = False) -> str:
    """`lines` as one text."""
    return "\n".join(line for _, line in lines(raster, width, plain))


def _clip(name: str, plain: bool) -> str:
    name = "".join(c if c.isprintable() and (not plain or c.isascii()) else "?" for c in name)
    return name if len(name) <= NAME else name[: NAME - 1] + ("~" if plain else "…")


def _cells(
    times: Sequence[int], cells: int, each: int, steps: int, empty: str, full: str, heights: str
) -> str:
    counts = [0] * cells
    for t in times:
        counts[t // each] += 1
    if each == 1:
        return "".join(full if count else empty for count in counts)
    found = []
    for cell, count in enumerate(counts):
        span = min(each, steps - cell * each)
        share = count / span
        found.append(
            heights[min(len(heights) - 1, max(1, round(share * (len(heights) - 1))))] if count else empty
        )
    return "".join(found)


def _axis(cells: int, each: int) -> list[str]:
    """Ticks and their numbers under the cells."""
    step = each * tick(cells, max(2, cells // 10))
    ticks, numbers = [" "] * cells, ""
    for t in range(0, cells * each, step):
        place, number = t // each, str(t)
        if place >= len(numbers) + (1 if numbers else 0) and place + len(number) <= max(cells, 1):
            numbers = numbers.ljust(place) + number
            ticks[place] = "'"
    return ["".join(ticks).rstrip(), numbers]


def tick(length: float, parts: int) -> int:
    """A round distance (1, 2, 5, 10, …) that cuts a length into at most so many parts."""
    least = max(1.0, length / max(1, parts))
    power = 10 ** math.floor(math.log10(least))
    return int(next(n * power for n in (*TICKS, 10) if n * power >= least))


# -- a picture ------------------------------------------------------------------------------------


def svg(raster: Raster, width: int = 900, title: str = "") -> str:
    """A picture of its own, `width` pixels wide, that can be read on light and on dark."""
    rows = len(raster.rows)
    row = 16 if rows <= 40 else 10 if rows <= 100 else 5
    named = row >= 10
    names = [_label(r) for r in raster.rows]
    left = 16 + (7 * max([len(name) for name in names], default=0) + 8 if named else 0)
    top, right = (
        (52 if title else 34),
        16 + 7 * max([len(str(len(r.times))) for r in raster.rows], default=1) + 8,
    )
    wide = max(60, width - left - right)
    bottom = top + rows * row
    height = bottom + 44 + (16 if raster.left_out else 0)
    scale = wide / max(1, raster.steps)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{_spoken(raster, title)}">',
        f"<style>{_style(row)}</style>",
        f'<rect class="ground" width="{width}" height="{height}"/>',
    ]
    if title:
        parts.append(f'<text class="title" x="16" y="24">{escape(title)}</text>')
    parts += _legend(raster, width, top - 14)
    for t in range(0, raster.steps + 1, tick(raster.steps, max(2, wide // 80))):
        x = _number(left + t * scale)
        parts.append(f'<path class="line" d="M{x} {top}V{bottom}"/>')
        parts.append(f'<text class="mark" x="{x}" y="{bottom + 16}" text-anchor="middle">{t}</text>')
    for i, (r, name) in enumerate(zip(raster.rows, names, strict=True)):
        y = top + i * row
        parts.append(f"<g><title>{escape(_told(r))}</title>")
        if named:
            parts.append(
                f'<text class="mark {r.role}" x="{left - 8}" y="{y + row / 2 + 3.5:g}" text-anchor="end">'
                f"{escape(name)}</text>"
                f'<text class="mark" x="{width - 16}" y="{y + row / 2 + 3.5:g}" text-anchor="end">'
                f"{len(r.times)}</text>"
            )
        parts.append(f'<path class="base" d="M{left} {y + row / 2:g}H{left + wide}"/>')
        places = dict.fromkeys(_number(left + (t + 0.5) * scale) for t in r.times)
        stroke = max(1.0, min(3.0, scale * 0.7))
        if places:
            marks = "".join(f"M{x} {y + 1.5:g}v{row - 3}" for x in places)
            parts.append(f'<path class="spikes {r.role}" stroke-width="{stroke:g}" d="{marks}"/>')
        parts.append("</g>")
    parts.append(
        f'<text class="mark" x="{left + wide / 2:g}" y="{bottom + 34}" text-anchor="middle">timestep</text>'
    )
    if raster.left_out:
        said = f"and {raster.left_out} hidden neurons that fired less"
        parts.append(f'<text class="mark" x="16" y="{height - 10}">{said}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _style(row: int) -> str:
    def rules(tone: int) -> str:
        c = {name: tones[tone] for name, tones in COLOURS.items()}
        return (
            f".ground{{fill:{c['ground']}}}.title{{fill:{c['ink']}}}.mark{{fill:{c['soft']}}}"
            f".line,.base{{stroke:{c['line']}}}"
            + "".join(
                f".mark.{role}{{fill:{c[role]}}}.spikes.{role},.key.{role}{{stroke:{c[role]}}}"
                for role in ROLES
            )
        )

    size = 11 if row >= 16 else 9
    return (
        "text{font-family:system-ui,sans-serif}.title{font-size:15px;font-weight:600}"
        f".mark{{font-size:{size}px}}.key{{stroke-width:3}}.spikes{{fill:none}}.line,.base{{stroke-width:1}}"
        f"{rules(0)}@media (prefers-color-scheme:dark){{{rules(1)}}}"
    )


def _legend(raster: Raster, width: int, y: float) -> list[str]:
    """Which colour is what, of the roles that there are, from the right."""
    parts, x = [], width - 16.0
    for role in reversed(ROLES):
        if any(row.role == role for row in raster.rows):
            x -= 42
            parts.append(f'<path class="key {role}" d="M{x - 8:g} {y - 9:g}v11"/>')
            parts.append(f'<text class="mark" x="{x:g}" y="{y:g}">{role}</text>')
            x -= 24
    return parts


def _label(row: Row) -> str:
    return f"{_clip(row.name, False)} {row.number}".strip() if row.name else str(row.number)


def _told(row: Row) -> str:
    name = f" {row.name}" if row.name else ""
    count = len(row.times)
    return f"{row.role} neuron {row.number}{name}: {count} spike{'' if count == 1 else 's'}"


def _spoken(raster: Raster, title: str) -> str:
    total = sum(len(row.times) for row in raster.rows)
    said = f"{total} spikes of {len(raster.rows)} neurons in {raster.steps} timesteps"
    return escape(f"{title}: {said}" if title else said, {'"': "&quot;"})


def _number(value: float) -> str:
    return f"{round(value, 1):g}"
