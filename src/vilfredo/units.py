"""Numbers as people read them: 2.31 %, 1.2 ms ± 0.1, 34.5 k, 12 KiB.

`report/assets/page.js` says the same in JavaScript; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

Scale = tuple[float, str]

_SCALES: Mapping[str, tuple[Scale, ...]] = {
    "s": ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h")),
    "J": ((1e-12, "pJ"), (1e-9, "nJ"), (1e-6, "µJ"), (1e-3, "mJ"), (1.0, "J"), (1e3, "kJ")),
    "B": ((1.0, "B"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"), (2.0**40, "TiB")),
    "count": ((1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")),
    "fraction": ((0.01, "%"),),
}
NOTHING = "–"


def show(value: float | None, unit: str = "", sd: float = 0.0) -> str:
    """`value` in `unit` (a `Goal.unit`) with a fitting prefix, three significant digits, and `± sd` if
    `sd` is above 0 (in the same prefix; then as many decimals as `sd` has meaning for).

    Exact whole numbers lose their decimals ("2 ms"); None and what is not finite give "–".
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    scale, name = _scale(value, unit)
    return _written(value / scale, sd / scale) + (f" {name}" if name else "") + _spread(sd / scale)


def between(low: float | None, high: float | None, unit: str = "") -> str:
    """The range of an estimate, "1.2–3.4 µJ": both ends in the prefix of the upper one, unless the
    lower one is far below it ("12 nJ – 1.7 µJ")."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    scale, name = _scale(high, unit)
    if 0 < low < 0.1 * scale and _scale(low, unit)[0] < scale:
        return f"{show(low, unit)} – {show(high, unit)}"
    return f"{_written(low / scale)}–{_written(high / scale)}" + (f" {name}" if name else "")


def duration(seconds: float | None) -> str:
    """A length of time in two steps: "4.2 s", "3 min 12 s", "1 h 04 min", "2 d 03 h"."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 59.95:
        return show(seconds, "s") if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def _scale(value: float, unit: str) -> Scale:
    """The largest prefix that leaves at least 1 (2 for minutes and hours) before the point."""
    scales = _SCALES.get(unit, ((1.0, unit),))
    chosen = scales[0]
    rounded = abs(float(f"{value:.2e}"))  # so that 999.7 becomes 1.00 k and not 1000
    if rounded == 0:
        return next((s for s in scales if s[0] == 1.0), chosen)
    if math.isinf(rounded / chosen[0]):  # too large for percent
        return 1.0, unit
    for scale in scales[1:]:
        if rounded >= scale[0] * (2 if scale[1] in ("min", "h") else 1) * (1 - 1e-12):
            chosen = scale
    return chosen


def _written(value: float, sd: float = 0.0) -> str:
    """Three significant digits, or as many decimals as `sd` has meaning for."""
    size = abs(value)
    if size and not sd and (size < 1e-3 or size >= 1e6):
        return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    decimals = max(0, min(_decimals(sd) if sd > 0 else 2 - _exponent(size), 6))
    text = f"{value:.{decimals}f}"
    if sd <= 0 and decimals and abs(value - round(value)) < 1e-9 * max(1.0, size):
        text = f"{value:.0f}"
    return text


def _spread(sd: float) -> str:
    return f" ± {sd:.{max(0, min(_decimals(sd), 6))}f}" if sd > 0 and math.isfinite(sd) else ""


def _decimals(sd: float) -> int:
    """One significant digit of `sd`, two where the first is a 1."""
    if not (sd > 0 and math.isfinite(sd)):
        return 2
    exponent = _exponent(sd)
    return -exponent + (1 if sd / 10.0**exponent < 2 else 0)


def _exponent(size: float) -> int:
    """The power of ten of the first digit, rounded to three digits; 0 for 0."""
    return int(f"{size:.2e}".split("e")[1]) if size else 0
