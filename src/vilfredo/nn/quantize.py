"""Trained networks in whole numbers of few bits: calibration, weights, accumulators, rounding.

Two schemes of scales, which are those that hardware has: powers of two (fixed point, whose point may lie
elsewhere in each tensor; requantisation is a shift) and real numbers (uniform affine quantisation with zero
points for activations: B. Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", CVPR 2018; requantisation is a multiplication and a shift). The formulas
stand in `deployed`, the reasons on the page "Quantisation" of the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from vilfredo.architecture import Shape
from vilfredo.codes import Codes, span
from vilfredo.nn.deployed import Deployed, Rescale, Step, elementwise
from vilfredo.nn.folding import SUMMING, Part, parts, results
from vilfredo.nn.graph import Traced, trace
from vilfredo.nn.simulation import simulation as simulation
from vilfredo.trial import JSON

LOGITS = 16  # bits of the network's outputs, so that classes do not tie
EXACT = 1 << 24  # sums below it are whole in float32
MULTIPLIER = 20  # bits at most; times an accumulator of 32 bits that is below 2^52
LONGEST = 51  # bits of the longest shift: a half of it and a product stay below 2^53
BATCH = 128
KEPT = 1 << 16  # values of a tensor that percentiles and squared errors are taken of


@dataclass(frozen=True)
class Scheme:
    """How to quantise. Bits are 4 to 16; raises `ValueError` for what there is not.

    `scales`: "power_of_two" (zero points are 0; codes unsigned where nothing is negative, else two's
    complement) or "real" (activations have zero points). `per`: one scale for all of a layer's weights or one
    for each output channel. `calibration`: the range of activations is that of the samples ("max"), 99.9 %
    of it ("percentile") or that of least squared error ("mse", for weights too). `clip`: activations are
    clamped to the range seen in calibration (range restriction). `layers`: other bits for single layers by
    name, of weights and results alike.
    """

    weights: int = 8
    activations: int = 8
    scales: Literal["power_of_two", "real"] = "power_of_two"
    per: Literal["tensor", "channel"] = "channel"
    calibration: Literal["max", "percentile", "mse"] = "max"
    clip: bool = False
    layers: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {"weights": self.weights, "activations": self.activations}
        for name, bits in {**named, **{f"layers[{k!r}]": v for k, v in self.layers.items()}}.items():
            if isinstance(bits, bool) or not isinstance(bits, int) or not 4 <= bits <= 16:
                raise ValueError(f"{name} is {bits!r}; it must be a whole number of bits from 4 to 16")
        for name, value, allowed in (
            ("scales", self.scales, ("power_of_two", "real")),
            ("per", self.per, ("tensor", "channel")),
            ("calibration", self.calibration, ("max", "percentile", "mse")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be {' or '.join(allowed)}")

    def __str__(self) -> str:
        """In words: "8 bits, power-of-two scales, one per channel"."""
        bits = f"{self.weights} bits"
        if self.activations != self.weights:
            bits = f"{self.weights} bits of weights and {self.activations} of activations"
        others = sorted(set(self.layers.values()) - {self.weights})
        return ", ".join(
            (
                bits,
                *((f"{' and '.join(map(str, others))} in some layers",) if others else ()),
                f"{self.scales.replace('_', '-')} scales",
                f"one per {self.per}",
                *(("activations clipped",) if self.clip else ()),
            )
        )


def quantize(model: nn.Module | Traced, samples: Tensor, scheme: Scheme = Scheme()) -> Deployed:
    """The network in whole numbers. `samples` (n, *input_shape) are inputs as the network takes them.

    Raises `ValueError` (of which `Untraceable` is one) for a network that cannot be deployed, samples that do
    not fit and names in `scheme.layers` that are not there.
    """
    traced = model if isinstance(model, Traced) else trace(model, tuple(samples.shape[1:]))
    plan = planned(traced)
    checked(traced, samples)
    unknown = sorted(set(scheme.layers) - {part.name for part in plan})
    if unknown:
        known = ", ".join(p.name for p in plan if "weight" in p.tensors)
        raise ValueError(f"no layer is called {unknown[0]!r}; layers with weights are {known}")
    grids = _grids(plan, seen(plan, samples), scheme)
    shapes = {-1: traced.architecture.input, **{i: part.layer.shape for i, part in enumerate(plan)}}
    steps = tuple(_step(part, index, grids, shapes, scheme) for index, part in enumerate(plan))
    stored = grids[-1]
    return Deployed(steps, tuple(samples.shape[1:]), stored.codes, stored.scale, stored.zero)


def planned(traced: Traced) -> list[Part]:
    """The steps to be, in floats (see `folding.parts`)."""
    return parts(traced.architecture, traced.names, traced.tensors)


def checked(traced: Traced, samples: Tensor) -> None:
    """Raises `ValueError` if these are no samples for this network."""
    if tuple(samples.shape[1:]) != traced.architecture.input or not len(samples):
        raise ValueError(
            f"the samples have the shape {tuple(samples.shape)}; this network takes (n, "
            f"{', '.join(map(str, traced.architecture.input))}) with n from 1"
        )
    if not bool(samples.isfinite().all()):
        raise ValueError("the samples hold numbers that are not finite; clean the data first")


# -- calibration --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Seen:
    """Of one tensor: the least and the greatest value, and some of the values."""

    low: float
    high: float
    values: Tensor

    def joined(self, other: Seen) -> Seen:
        values = torch.cat([self.values, other.values])
        return Seen(min(self.low, other.low), max(self.high, other.high), values)


def seen(plan: Sequence[Part], samples: Tensor) -> dict[int, Seen]:
    """By part (-1: the input) what the float network's tensors hold for these samples."""
    found: dict[int, Seen] = {}
    share = max(1, KEPT * BATCH // max(len(samples), BATCH))
    with torch.no_grad():
        for x in samples.detach().cpu().float().split(BATCH):  # type: ignore[no-untyped-call]
            for index, values in enumerate([x, *results(plan, x)], -1):
                flat = values.flatten()
                some = flat[:: flat.numel() // share | 1]  # an odd step meets all columns and channels
                new = Seen(float(flat.min()), float(flat.max()), some)
                found[index] = found[index].joined(new) if index in found else new
    for index, what in found.items():
        if not math.isfinite(what.low + what.high):
            raise ValueError(f"{plan[index].name} gives numbers that are not finite; train the network again")
    return found


@dataclass(frozen=True)
class _Grid:
    """What a tensor is stored in: value = (code − zero) · scale. `low` and `high` of what was seen."""

    codes: Codes
    scale: float
    zero: int
    low: float
    high: float

    def code(self, value: float) -> int:
        limit = max(min(value / self.scale, 2.0**40), -(2.0**40))
        return int(min(max(math.floor(limit + 0.5) + self.zero, self.codes.low), self.codes.high))

    @property
    def reach(self) -> int:
        """The greatest |code − zero| of any code."""
        low, high = span(self.codes)
        return max(abs(low - self.zero), abs(high - self.zero))


_SHARING = ("max_pool", "flatten", "pad")  # give codes as they got them


def _grids(plan: Sequence[Part], found: Mapping[int, Seen], scheme: Scheme) -> dict[int, _Grid]:
    """By part (-1: the input) what its result is stored in."""
    users: dict[int, list[int]] = {index: [] for index in range(-1, len(plan))}
    for index, part in enumerate(plan):
        for i in part.layer.inputs:
            users[i].append(index)
    leader = {-1: -1}  # parts that share a grid follow the first of them
    for index, part in enumerate(plan):
        leader[index] = leader[part.layer.inputs[0]] if part.layer.op in _SHARING else index

    def only(index: int, user: int) -> bool:
        """Whether nobody else than `user` looks at the tensor, under any of its names."""
        named = [i for i in leader if leader[i] == leader[index]]
        return index >= 0 and all(u == user or leader[u] == leader[index] for i in named for u in users[i])

    for index, part in enumerate(plan):
        if part.layer.op == "concat":  # one scale for all, where that harms nobody
            joining = {leader[i] for i in part.layer.inputs if leader[i] >= 0 and only(i, index)}
            leader = {i: index if of in joining else of for i, of in leader.items()}
    groups: dict[int, list[int]] = {}
    for index, of in leader.items():
        groups.setdefault(of, []).append(index)
    last = len(plan) - 1
    grids: dict[int, _Grid] = {}
    for members in groups.values():
        bits = scheme.activations
        told = [scheme.layers[plan[i].name] for i in members if i >= 0 and plan[i].name in scheme.layers]
        if told:
            bits = max(told)
        alone = last in members and all(u in members for i in members for u in users[i])
        makers = [i for i in members if i < 0 or plan[i].layer.op not in _SHARING]
        known = found[makers[0]]
        for other in makers[1:]:
            known = known.joined(found[other])
        logits = alone and -1 not in members
        # What sums may be negative for other data even if it never was for these samples.
        signed = any(i >= 0 and plan[i].layer.op in ("conv", "dense") and plan[i].low < 0 for i in makers)
        grid = _grid(known, LOGITS if logits else bits, scheme, logits, signed)
        grids.update(dict.fromkeys(members, grid))
    return grids


def _grid(known: Seen, bits: int, scheme: Scheme, logits: bool, signed: bool) -> _Grid:
    low, high = min(known.low, 0.0), max(known.high, 0.0)
    if logits:  # they have bits to spare, and must not tie at the end of a range
        return _placed(2 * low, 2 * high, bits, signed, scheme.scales)
    if scheme.calibration == "percentile":
        tails = torch.quantile(known.values.double()[-(1 << 23) :], torch.tensor([0.001, 0.999]).double())
        if tails[0] < 0 or tails[1] > 0:
            low, high = min(float(tails[0]), 0.0), max(float(tails[1]), 0.0)
    if scheme.calibration == "mse":
        tried = [_placed(low * p, high * p, bits, signed, scheme.scales) for p in _shares(scheme)]
        return min(tried, key=lambda grid: _error(known.values, grid))
    return _placed(low, high, bits, signed, scheme.scales)


def _shares(scheme: Scheme) -> Sequence[float]:
    """How much of the range is tried for the least squared error."""
    return [2.0**-k for k in range(4)] if scheme.scales == "power_of_two" else [1 - k / 40 for k in range(32)]


def _error(values: Tensor, grid: _Grid) -> float:
    low, high = grid.codes.low - grid.zero, grid.codes.high - grid.zero
    stored = (values.double() / grid.scale).round().clamp(low, high) * grid.scale
    return float((stored - values).square().mean())


def _placed(low: float, high: float, bits: int, signed: bool, scales: str) -> _Grid:
    """The finest grid of `bits` bits that reaches from `low` (≤ 0) to `high` (≥ 0)."""
    codes = codes_of(bits, signed or low < 0)
    if low == high:
        return _Grid(codes, 1.0, 0, low, high)
    if scales == "power_of_two":
        scale = max(_power(high / codes.high), _power(low / codes.low) if low < 0 else 0.0)
        return _Grid(codes, scale, 0, low, high)
    scale = (high - low) / (codes.high - codes.low)
    zero = int(min(max(round(codes.low - low / scale), codes.low), codes.high))
    return _Grid(codes, scale, zero, low, high)


def _power(scale: float) -> float:
    """The least power of two from `scale` on; 0 of 0."""
    if scale <= 0:
        return 0.0
    mantissa, exponent = math.frexp(scale)
    return math.ldexp(1.0, max(exponent - (mantissa == 0.5), -1000))


def codes_of(bits: int, signed: bool) -> Codes:
    """Whole numbers of `bits` bits."""
    low, high = span(Codes(-1.0 if signed else 0.0, 0.0, bits))
    return Codes(float(low), float(high), bits)


# -- steps --------------------------------------------------------------------------------------------


def _step(
    part: Part, index: int, grids: Mapping[int, _Grid], shapes: Mapping[int, Shape], scheme: Scheme
) -> Step:
    layer, out = part.layer, grids[index]
    into = [grids[i] for i in layer.inputs]
    step = Step(
        part.name,
        layer.op,
        layer.inputs,
        layer.shape,
        out.codes,
        dict(layer.args),
        tuple(grid.zero for grid in into),
        scale=out.scale,
        zero=out.zero,
    )
    low, high = int(out.codes.low), int(out.codes.high)
    if layer.op in SUMMING:
        low, high = out.code(part.low), out.code(part.high)
        if scheme.clip and len(grids) - 2 != index:
            low, high = max(low, out.code(out.low)), min(high, out.code(out.high))
    if layer.op in ("conv", "dense"):
        return _weighted(step, part, into[0], out, (low, high), scheme)
    if layer.op in ("avg_pool", "global_pool"):
        return _averaging(step, into[0], out, (low, high), shapes[layer.inputs[0]][1:])
    if layer.op == "add":
        return _adding(step, into, out, (low, high))
    if layer.op == "clip":
        return replace(step, finish=rescale(into[0].scale / out.scale, out.zero, low, high, MULTIPLIER))
    if layer.op == "concat":
        same = [(g.scale, g.zero, g.codes) == (out.scale, out.zero, out.codes) for g in into]
        rescales = [
            None if equal else rescale(grid.scale / out.scale, out.zero, low, high, MULTIPLIER)
            for equal, grid in zip(same, into, strict=True)
        ]
        return replace(step, rescales=tuple(rescales))
    if layer.op == "function":
        first, final = span(into[0].codes)
        values = (torch.arange(first, final + 1, dtype=torch.float64) - into[0].zero) * into[0].scale
        function = elementwise(str(layer.args["name"]), values, layer.args.get("arguments"))
        table = (function.nan_to_num() / out.scale + 0.5).floor() + out.zero
        return replace(step, op="lookup", table=table.clamp(low, high).float(), table_low=first)
    return step


def rescale(ratio: float | Tensor, zero: int, low: int, high: int, bits: int) -> Rescale:
    """What multiplies by `ratio` (a number, or one a channel) with multipliers of at most `bits` bits."""
    multiplier, shift = fixed(torch.as_tensor(ratio, dtype=torch.float64), bits)
    return Rescale(multiplier, shift, zero, low, high)


def fixed(ratio: Tensor, bits: int, up: bool = False) -> tuple[Tensor, Tensor]:
    """`multiplier` and `shift` ≥ 0, whole, with multiplier / 2^shift near `ratio` ≥ 0 (`up`: not below it).

    Powers of two are exact, with a multiplier of 1 where they are not above 1.
    """
    mantissa, exponent = torch.frexp(ratio)
    power = mantissa == 0.5
    shift = torch.where(power, 1 - exponent, bits - exponent).clamp(0, LONGEST).double()
    scaled = ratio * torch.exp2(shift)
    multiplier = scaled.ceil() if up else (scaled + 0.5).floor()
    return multiplier.clamp(max=2.0**bits - (not up)), shift


def _width(bound: float) -> int:
    """Bits of an accumulator that holds ±`bound`."""
    return max(32, int(bound).bit_length() + 1)


def _summed(step: Step, bound: float) -> Step:
    """The step with an accumulator that holds ±`bound`, and what carries it exactly."""
    dtype = torch.float32 if bound < EXACT else torch.float64
    return replace(step, accumulator=codes_of(_width(bound), signed=True), dtype=dtype)


def _weighted(
    step: Step, part: Part, into: _Grid, out: _Grid, limits: tuple[int, int], scheme: Scheme
) -> Step:
    weight, bias = part.tensors["weight"], part.tensors.get("bias")
    codes = codes_of(scheme.layers.get(part.name, scheme.weights), signed=True)
    term = into.reach * -codes.low  # the greatest product of any codes
    fan_in = weight[0].numel()
    products = term * fan_in
    scale = _weight_scale(weight, bias, into.scale, codes, products, scheme)
    held = codes_of(_width(2 * products), signed=True)
    bits = min(MULTIPLIER, 52 - held.bits)
    multiplier, shift = fixed(into.scale * scale / out.scale, bits, up=True)
    # The weights take up what the multiplier is rounded by: requantisation itself then has no error.
    scale = multiplier * torch.exp2(-shift) * (out.scale / into.scale)
    along = scale.reshape(-1, *[1] * (weight.dim() - 1)) if scale.dim() else scale
    whole = (weight / along + 0.5).floor().clamp(-codes.high, codes.high)
    added = None if bias is None else (bias / (scale * into.scale) + 0.5).floor()
    bound = products + (0.0 if added is None else float(added.abs().max()))
    step = _summed(step, bound)
    args = dict(step.args)
    if step.op == "conv":
        args = {"dilation": [1, 1], **args}
    area = fan_in // weight.shape[1]
    chunk = int((EXACT - 1) // (term * area))
    pieces = step.dtype == torch.float64 and args.get("groups", 1) == 1 and chunk >= PIECE
    return replace(
        step,
        args=args,
        weight=whole.float(),
        bias=None if added is None else added.to(step.dtype),
        weight_codes=codes,
        weight_scale=scale,
        finish=Rescale(multiplier, shift, out.zero, *limits),
        chunk=chunk if pieces else 0,
    )


PIECE = 8  # channels: to add up sums of fewer in float32 is slower than float64


def _weight_scale(
    weight: Tensor, bias: Tensor | None, scale: float, codes: Codes, products: float, scheme: Scheme
) -> Tensor:
    """() or (O,): the scale of the weights; powers of two where the scheme says so.

    No bias comes to more than the greatest sum of products (or 2^20), so that the accumulator holds both:
    where the weights of a channel are tiny beside its bias, they are coarser.
    """
    two = scheme.scales == "power_of_two"
    flat = weight.flatten()[None] if scheme.per == "tensor" else weight.flatten(1)
    greatest = flat.abs().amax(1)
    greatest = torch.where(greatest > 0, greatest, (greatest.max() or torch.tensor(1.0)).double())
    found = _powers(greatest / codes.high) if two else greatest / codes.high
    if scheme.calibration == "mse":
        tried = torch.stack([found * share for share in _shares(scheme)])
        stored = (flat / tried[..., None]).round().clamp(-codes.high, codes.high) * tried[..., None]
        best = (stored - flat).square().mean(2).argmin(0)
        found = tried.gather(0, best[None])[0]
    if bias is not None:
        most = bias.abs().max()[None] if scheme.per == "tensor" else bias.abs()
        needed = most / (scale * max(products, 2.0**20))
        found = torch.maximum(found, _powers(needed) if two else needed)
    return found[0] if scheme.per == "tensor" else found


def _powers(scales: Tensor) -> Tensor:
    return torch.tensor([_power(float(s)) for s in scales], dtype=torch.float64)


def _averaging(step: Step, into: _Grid, out: _Grid, limits: tuple[int, int], size: Shape) -> Step:
    """Sums over windows; with padding that does not count, sums times the least common multiple of the counts
    over each window's own, which is whole."""
    if step.op == "global_pool":
        count, shares = math.prod(size), None
    elif step.args.get("count_padding", True):
        count, shares = math.prod(step.args["kernel"]), None
    else:
        counts = counted(step.args, size)
        count = math.lcm(*{int(c) for c in counts.flatten()})
        shares = count / counts
    args = {k: v for k, v in step.args.items() if k != "count_padding"}
    step = replace(_summed(step, into.reach * count), args=args, shares=shares)
    assert step.accumulator is not None
    bits = min(MULTIPLIER, 52 - step.accumulator.bits)
    return replace(step, finish=rescale(into.scale / (out.scale * count), out.zero, *limits, bits))


def counted(args: Mapping[str, JSON], size: Shape) -> Tensor:
    """(H, W), float64: how many pixels of the image of `size` are in each window of an `avg_pool`."""
    window = tuple(args["kernel"]), tuple(args["stride"]), tuple(args["padding"])
    ones = torch.ones(1, 1, *size, dtype=torch.float64)
    return nn.functional.avg_pool2d(ones, *window, divisor_override=1)[0, 0]


def _adding(step: Step, into: Sequence[_Grid], out: _Grid, limits: tuple[int, int]) -> Step:
    """Factors that bring all inputs to one finer scale; the sum is rounded once."""
    bits = out.codes.bits + 4
    scales = [grid.scale for grid in into]
    if all(math.frexp(scale)[0] == 0.5 for scale in (*scales, out.scale)):
        unit = max(min(*scales, out.scale), max(scales) * 2.0**-24)
    else:
        unit = max(scales) * 2.0**-bits
    # A power of two of them makes one of the output.
    shift = max(0, round(math.log2(out.scale / unit)))
    unit = out.scale * 2.0**-shift
    factors = tuple(float(math.floor(scale / unit + 0.5)) for scale in scales)
    bound = sum(grid.reach * factor for grid, factor in zip(into, factors, strict=True))
    one, by = torch.tensor(1.0).double(), torch.tensor(float(shift)).double()
    step = _summed(step, bound)
    return replace(step, factors=factors, finish=Rescale(one, by, out.zero, *limits))
