"""The figures of `benchmarks.eons` as SVG, drawn from its rows with nothing but strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

Rows = Mapping[tuple[str, ...], Mapping[str, Any]]
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
INK, GREY, BLUE, RED, GREEN = "#1f2933", "#9aa5b1", "#2563eb", "#dc2626", "#059669"


def write(folder: Path, rows: Rows) -> list[Path]:
    """`eons_front.svg`, `eons_multi_synapses.svg`, `eons_multi_scores.svg`, where there are rows for it."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in (
        ("eons_front", front),
        ("eons_multi_synapses", synapses),
        ("eons_multi_scores", scores),
    ):
        drawing = draw(rows)
        if drawing:
            path = folder / f"{name}.svg"
            path.write_text(drawing + "\n", encoding="utf-8")
            written.append(path)
    return written


def front(rows: Rows) -> str:
    """Synapses against the score under 10 % variation, on the test; one line a seed, the first one strong."""
    found = [row["points"] for key, row in rows.items() if key[0] == "front"]
    fronts = [sorted(points, key=lambda p: p["synapses"]) for points in found]
    points = [p for line in fronts for p in line]
    if not points:
        return ""
    most = max(p["synapses"] for p in points)
    x, y = scale(0, most * 1.05, LEFT, WIDTH - RIGHT), scale(0, 1.02, HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, ticks(most), [0, 0.25, 0.5, 0.75, 1], "synapses", "share of 15,000 steps")
    title = "CartPole Easy, RISP 127: 5 % quantile of 100 copies, weights vary by 10 %"
    parts.append(text(LEFT, 22, title, INK, 14))
    for place, line in reversed(list(enumerate(fronts))):
        color, opacity = (BLUE, 1.0) if place == 0 else (GREY, 0.5)
        parts += [
            dot(x(p["synapses"]), y(p["q05"]), color, f"{p['synapses']} synapses: {p['q05']:.3f}", opacity)
            for p in line
        ]
        if place == 0:
            parts += [ring(x(p["synapses"]), y(p["clean"]), GREEN, f"{p['clean']:.3f}") for p in line]
    parts += legend([("5 % quantile, first seed", BLUE), ("other seeds", GREY), ("without faults", GREEN)])
    return svg(parts)


def synapses(rows: Rows) -> str:
    """Synapses of each pair: accuracy alone, and with size and resilience; logarithmic."""
    cells = paired(rows)
    if not cells:
        return ""
    values = [max(1, side["synapses"]) for pairs in cells.values() for pair in pairs for side in pair]
    low, high = np.log10(min(values)) - 0.1, np.log10(max(values)) + 0.1
    y = scale(low, high, HEIGHT - BOTTOM, TOP)
    marks = [v for v in (1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= np.log10(v) <= high]
    parts = [
        line(LEFT, y(np.log10(v)), WIDTH - RIGHT, y(np.log10(v)), "#e4e7eb")
        + text(LEFT - 8, y(np.log10(v)) + 4, str(v), INK, 11, "end")
        for v in marks
    ]
    title = "Synapses: accuracy alone, and with size and resilience in the fitness"
    parts.append(text(LEFT, 22, title, INK, 14))
    parts += columns(cells, lambda row: y(np.log10(max(1, row["synapses"]))), "synapses")
    return svg(parts)


def scores(rows: Rows) -> str:
    """Mean scores on the test of each side, without faults (open) and with them (full)."""
    cells = paired(rows)
    if not cells:
        return ""
    means = {
        cell: [
            {f: float(np.mean([pair[side][f] for pair in pairs])) for f in ("clean", "faulty")}
            for side in (0, 1)
        ]
        for cell, pairs in cells.items()
    }
    least = min(side[f] for pair in means.values() for side in pair for f in side)
    least = np.floor(least * 10 - 0.3) / 10
    y = scale(least, 1.01, HEIGHT - BOTTOM, TOP)
    parts = [
        line(LEFT, y(v), WIDTH - RIGHT, y(v), "#e4e7eb")
        + text(LEFT - 8, y(v) + 4, f"{v:.1f}", INK, 11, "end")
        for v in np.arange(least, 1.001, 0.1)
    ]
    parts.append(text(LEFT, 22, "Score on the test: open without faults, full under 10 % variation", INK, 14))
    step = (WIDTH - LEFT - RIGHT) / len(means)
    for place, (cell, pair) in enumerate(means.items()):
        for side, color in ((0, RED), (1, BLUE)):
            x = LEFT + step * (place + 0.35 + 0.3 * side)
            clean, faulty = pair[side]["clean"], pair[side]["faulty"]
            parts.append(line(x, y(clean), x, y(faulty), color))
            parts.append(ring(x, y(clean), color, f"{clean:.3f}"))
            parts.append(dot(x, y(faulty), color, f"{faulty:.3f}"))
        parts.append(text(LEFT + step * (place + 0.5), HEIGHT - BOTTOM + 18, cell, INK, 11, "middle"))
    parts += legend([("accuracy alone", RED), ("with size and resilience", BLUE)])
    return svg(parts)


def paired(rows: Rows) -> dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]]:
    """(single, multi) of the same seeds, by architecture and task."""
    cells: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for key, row in rows.items():
        if key[0] == "multi" and key[3] == "single":
            other = rows.get((*key[:3], "multi", key[4]))
            if other is not None:
                cells.setdefault(f"{key[1]} {key[2]}", []).append((row, other))
    return cells


def columns(
    cells: Mapping[str, Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]],
    place_of: Callable[[Mapping[str, Any]], float],
    unit: str,
) -> list[str]:
    """Pairs as lines from left to right within the column of their cell."""
    parts = []
    step = (WIDTH - LEFT - RIGHT) / len(cells)
    for place, (cell, pairs) in enumerate(cells.items()):
        left, right = LEFT + step * (place + 0.25), LEFT + step * (place + 0.75)
        for single, multi in pairs:
            parts.append(line(left, place_of(single), right, place_of(multi), GREY, 0.6))
            parts.append(dot(left, place_of(single), RED, f"{single[unit]} {unit}"))
            parts.append(dot(right, place_of(multi), BLUE, f"{multi[unit]} {unit}"))
        parts.append(text((left + right) / 2, HEIGHT - BOTTOM + 18, cell, INK, 11, "middle"))
    return parts + legend([("accuracy alone", RED), ("with size and resilience", BLUE)])


# -- the pieces of a drawing -----------------------------------------------------------------------------


def svg(parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>"])


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: float(start + (value - low) / (high - low) * (end - start))


def ticks(most: float) -> list[float]:
    size = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200) if most / s <= 8), 500)
    return [float(v) for v in range(0, int(most) + 1, size)]


def axes(
    x: Callable[[float], float],
    y: Callable[[float], float],
    across: Sequence[float],
    up: Sequence[float],
    below: str,
    beside: str,
) -> list[str]:
    parts = [
        line(LEFT, y(v), WIDTH - RIGHT, y(v), "#e4e7eb") + text(LEFT - 8, y(v) + 4, f"{v:g}", INK, 11, "end")
        for v in up
    ]
    parts += [text(x(v), HEIGHT - BOTTOM + 18, f"{v:g}", INK, 11, "middle") for v in across]
    parts.append(line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, GREY))
    parts.append(text(WIDTH - RIGHT, HEIGHT - BOTTOM + 34, below, INK, 12, "end"))
    parts.append(text(LEFT + 6, TOP - 4, beside, GREY, 11))
    return parts


def legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    parts, x = [], float(LEFT)
    for label, color in entries:
        parts.append(dot(x + 5, HEIGHT - 12, color, label) + text(x + 14, HEIGHT - 8, label, INK, 11))
        x += 30 + 6.2 * len(label)
    return parts


def line(x1: float, y1: float, x2: float, y2: float, color: str, opacity: float = 1.0) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-opacity="{opacity:g}"/>'
    )


def dot(x: float, y: float, color: str, title: str, opacity: float = 1.0) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}" fill-opacity="{opacity:g}">'
        f"<title>{escape(title)}</title></circle>"
    )


def ring(x: float, y: float, color: str, title: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="{color}" stroke-width="1.5">'
        f"<title>{escape(title)}</title></circle>"
    )


def text(x: float, y: float, words: str, color: str, size: int, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" font-size="{size}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
