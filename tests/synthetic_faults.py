"""A fault campaign as the page gets it, made up: for tests of the page."""

from __future__ import annotations

import numpy as np

from vilfredo.report.faults import Arm, Bits, Clip, FaultReport, Kind, Layer, Range, Rate, Rows, Tally, Worst

FIELDS = {
    8: (*("magnitude",) * 7, "sign"),
    16: (*("mantissa",) * 10, *("exponent",) * 5, "sign"),
    32: (*("mantissa",) * 23, *("exponent",) * 8, "sign"),
    0: (),
}


def _tally(critical: int, tried: int, rng: np.random.Generator, **where: int | str) -> Tally:
    share = critical / tried
    half = 1.96 * np.sqrt(max(share * (1 - share), 0.01) / tried)
    spread = Range(share, max(0.0, share - half), min(1.0, share + half))
    return Tally(tried, spread, share * float(rng.uniform(0.05, 0.4)), size=4608, **where)  # type: ignore[arg-type]


def arm(name: str, layers: list[Layer], scale: float, rng: np.random.Generator, rates: int = 4) -> Arm:
    cells = []
    for place, layer in enumerate(layers):
        for bit in range(layer.bits):
            tried = int(rng.integers(20, 80))
            steep = 2.0 ** (bit - layer.bits + 1)
            chance = min(1.0, scale * (0.2 + 0.8 * place / len(layers)) * steep)
            if rng.random() > 0.03:
                cells.append(_tally(int(rng.binomial(tried, chance)), tried, rng, layer=place, bit=bit))

    def total(chosen: list[Tally], **where: int | str) -> Tally:
        return _tally(
            round(sum(c.share.mean * c.tried for c in chosen)), sum(c.tried for c in chosen), rng, **where
        )

    most = max(layer.bits for layer in layers)
    if cells:
        rows = [total([c for c in cells if c.layer == p], layer=p) for p in range(len(layers))]
    else:
        rows = [_tally(int(rng.integers(0, 9)), 40, rng, layer=p) for p in range(len(layers))]
    bits = [
        total([c for c in cells if c.bit == b], bit=b, field=next(x.fields[b] for x in layers if x.bits > b))
        for b in range(most)
    ]
    tally = total(cells or rows)
    worst = [
        Worst(
            p,
            layers[p].name,
            1234 + p,
            f"[{p}, 0, 1, 2]",
            most - 1 if most else -1,
            3.0,
            -125.0,
            0.61 - p / 50,
            0.3,
        )
        for p in range(3)
    ]
    curve = [
        Rate(
            10.0 ** (k - 5),
            Range(0.9 - scale * k * k / 20, 0.88 - scale * k * k / 18, 0.91 - scale * k * k / 24),
            Range(scale * k * k / 20, scale * k * k / 25, scale * k * k / 16),
            0.8 - scale * k * k / 15,
            20,
            11.84 * 10**k,
        )
        for k in range(rates)
    ]
    return Arm(
        name,
        Range(0.9023, 0.86, 0.93),
        tally.share,
        tally.ccr,
        tally.tried,
        148_000,
        cells=cells,
        layers=rows,
        bits=bits,
        channels=[_tally(7 - k, 9, rng, layer=k % len(layers), channel=k) for k in range(6)],
        worst=worst,
        rates=curve,
        critical_bits=Bits(
            ["12 of the 400 faults are critical.", "The order held for 98 of 100."],
            ["layer", "numbers", "without", "faults", "critical", ""],
            [[layer.name, "50", "44", "400", "3 %", ""] for layer in layers],
            0.62,
        )
        if most
        else None,
    )


def report(layers: int = 6, bits: int = 8, clip: bool = True, seed: int = 1, rates: int = 4) -> FaultReport:
    rng = np.random.default_rng(seed)
    names = [f"features.{k}.block.{'conv' if k % 2 else 'depthwise'}{k % 3}" for k in range(layers - 1)]
    made = [Layer(name, bits, FIELDS[bits]) for name in [*names, "classifier"]]
    arms = [arm("as it is", made, 0.6, rng, rates)]
    if clip:
        arms.append(arm("clipped", made, 0.2, rng, rates))
    quantised = Rows(
        [
            ("layer", False),
            ("operation", False),
            ("bits", True),
            ("signal to noise", True),
            ("accuracy", True),
        ],
        ["", "", "", "dB", "fraction"],
        [[layer.name, "conv", 8, 38.2 - k, 0.901] for k, layer in enumerate(made)],
        "Accuracy with this layer alone rounded.",
    )
    kind = Kind(
        "bit_flip of weights",
        arms,
        made,
        found="Found by random sampling; there may be worse ones.",
        clip=Clip(["Clipping cuts critical faults by two thirds."], (20, 61, 3, 516)) if clip else None,
    )
    return FaultReport(
        title="Faults in small.py:network",
        faults=[kind],
        accuracy=Range(0.9062, 0.87, 0.94),
        images=256,
        meaning="at least one image changes class",
        quantisation=quantised,
        subtitle=["bit_flip of weights · 8 bits, power-of-two scales", "fashion_mnist, 256 test images"],
        settings={"fault": "bit_flip", "site": "weights", "seed": seed},
        environment={"python": "3.11"},
        commands=["vilfredo faults small.py:network --data fashion_mnist --weights small.safetensors"],
        seed=seed,
    )
