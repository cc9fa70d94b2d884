"""A network as hardware runs it: every number has a format, every result is decided to the last bit.

This is the waist between those who make such networks (`quantize`: whole numbers; `floating`: float32,
float16 and bfloat16) and those who run them (`run` here, plainly; the campaign's engine, fast). The
docstrings are the semantics; whoever computes otherwise must give the same bits where all numbers are whole.

Whole numbers travel in float tensors, which hold them exactly. Codes (at most 16 bits) and weights are
always float32. The sums of a step are of `Step.dtype`: float32 where no partial sum can reach 2^24, whatever
codes weights and activations hold, else float64 (2^53). `multiplied` computes such sums exactly for any codes
of the step's widths; `finish` takes sums of either dtype and gives codes in float32. A faulty accumulator may
need more than 24 bits: convert sums to float64 before you change them. (On CUDA, TF32 and Winograd are not
exact.)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from vilfredo.codes import Codes
from vilfredo.trial import JSON


@dataclass(frozen=True, eq=False)
class Rescale:
    """From an accumulator to a code: `clamp(((a · multiplier + 2^(shift − 1)) >> shift) + zero, low, high)`.

    Fixed-point multiplication, rounded half up (towards +∞); `>>` is floor division by 2^shift, and a shift
    of 0 adds nothing. `multiplier` and `shift` are float64 whole numbers, () or (C,) for one a channel;
    products stay below 2^52 and shifts below 52, so float64 computes this exactly. Power-of-two scales have a
    multiplier of 1 (where results are finer than sums: a greater power of two), but for averages over a
    number of pixels that is no power of two. A ReLU is `low` = `zero`, a clipped activation a smaller `high`.
    Takes sums in float32 or float64, gives codes in float32.
    """

    multiplier: Tensor
    shift: Tensor
    zero: int
    low: int
    high: int

    def __call__(self, sums: Tensor, channels: slice | Tensor | None = None, axis: int = 1) -> Tensor:
        """Codes of `sums`, whose channels lie along `axis`; `channels`: which these are (None: all)."""
        if sums.dtype == torch.float32 and self._in_float32:
            ratio = _along(torch.exp2(-self.shift).float(), channels, sums.dim(), axis)
            rounded = (sums * ratio).add_(0.5).floor_()
            return (rounded.add_(self.zero) if self.zero else rounded).clamp_(self.low, self.high)
        # (a · multiplier + half) / 2^shift without a rounding: all its bits fit into those of a float64.
        ratio = _along(self.multiplier * torch.exp2(-self.shift), channels, sums.dim(), axis)
        scaled = sums.to(torch.float64, copy=True).mul_(ratio).add_(0.5).floor_()
        return scaled.float().add_(self.zero).clamp_(self.low, self.high)

    @functools.cached_property
    def _in_float32(self) -> bool:
        """Whether float32 will do, too: sums are only shifted, and those of 2^23 or more, which with the half
        may not fit, are beyond `low` and `high` for sure."""
        room = max(abs(self.low - self.zero), abs(self.high - self.zero)) + 1
        return bool((self.multiplier == 1).all() and (torch.exp2(23 - self.shift) >= room).all())


@dataclass(frozen=True, eq=False)
class Rounded:
    """From an accumulator to a float: the activation `function` ("": none) with its keyword `arguments`,
    clamped to `low` and `high`, then rounded to `form`. NaN stays NaN."""

    function: str = ""
    low: float = -torch.inf
    high: float = torch.inf
    form: str = "float32"
    arguments: Mapping[str, JSON] = field(default_factory=dict)

    def __call__(self, sums: Tensor, channels: slice | Tensor | None = None, axis: int = 1) -> Tensor:
        activated = elementwise(self.function, sums, self.arguments)
        return round_to(activated.clamp(self.low, self.high), self.form)


@dataclass(frozen=True, eq=False)
class Step:
    """One operation. `inputs` are earlier steps, −1 is the network's input. `zeros` are the zero points of
    the inputs: with z the zero point, x − z is what is multiplied, so that padding with z adds nothing.

    * `conv` (kernel, stride, padding, dilation, groups: pairs but the last) and `dense`:
      `finish(Σ (x − z) · weight + bias)`; weight (O, I / groups, h, w) or (O, I), bias (O,) or None.
    * `avg_pool` (kernel, stride, padding) and `global_pool` → (C,): `finish(Σ (x − z))` over the window;
      where floats are averaged `finish` follows the mean (padding included in the count). With `shares`
      (H, W), what makes up for padding that is not counted: `finish(Σ (x − z) · shares)`, of floats the mean.
    * `add`: `finish(Σ_i (x_i − z_i) · factors_i)`; factors are whole numbers, of floats 1.
    * `max_pool` (kernel, stride, padding): the greatest code; padding never wins.
    * `concat`: the inputs one after the other along the channels, each through its `rescales[i]` where that
      is not None (`rescales[i](x_i − z_i)`).
    * `lookup`: `table[code − table_low]`, any elementwise function of whole numbers.
    * `clip`: `finish(x − z)`. `flatten`: the same numbers as (features,). `pad` (padding: top, bottom, left,
      right): the same numbers in a border of z.

    What `finish` is None for stays as it is. `codes` is what the step's output is stored in, `accumulator`
    what its sums are held in before `finish`. `scale` and `zero` tell the meaning: value = (code − zero) ·
    scale.
    `name` is the module's path in the network that this was made of, such as "features.0".
    """

    name: str
    op: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]  # of the output, without the batch
    codes: Codes
    args: Mapping[str, JSON] = field(default_factory=dict)
    zeros: tuple[int, ...] = (0,)
    weight: Tensor | None = None
    bias: Tensor | None = None
    weight_codes: Codes | None = None
    weight_scale: Tensor | None = None  # () or (O,), float64
    accumulator: Codes | None = None
    finish: Rescale | Rounded | None = None
    factors: tuple[float, ...] = ()
    rescales: tuple[Rescale | None, ...] = ()
    table: Tensor | None = None
    table_low: int = 0  # the least code of the input
    shares: Tensor | None = None
    scale: float = 1.0
    zero: int = 0
    dtype: torch.dtype = torch.float32
    chunk: int = 0  # `multiplied` sums this many input channels at a time in float32; 0: all at once


@dataclass(frozen=True, eq=False)
class Deployed:
    """Steps in topological order; the last one gives the logits, as codes."""

    steps: tuple[Step, ...]
    input_shape: tuple[int, ...]
    input: Codes
    input_scale: float = 1.0
    input_zero: int = 0
    dtype: torch.dtype = torch.float32

    @property
    def form(self) -> str:
        """ "whole", "float32", "float16" or "bfloat16"."""
        return self.input.form

    def encode(self, x: Tensor) -> Tensor:
        """Codes of inputs (n, *input_shape) as the trained network takes them (normalised floats)."""
        if self.form != "whole":
            return round_to(x.to(self.dtype), self.form)
        codes = (x.double() / self.input_scale + 0.5).floor_() + self.input_zero
        return codes.clamp_(self.input.low, self.input.high).to(self.dtype)

    def decode(self, codes: Tensor) -> Tensor:
        """Logits (n, outputs), float64, from the last step's codes."""
        last = self.steps[-1]
        return (codes.double() - last.zero) * last.scale


def run(network: Deployed, x: Tensor) -> list[Tensor]:
    """The output of every step for input codes (n, *input_shape): the plain computation, one whole step after
    the other. The last one's is the network's."""
    known: list[Tensor] = []
    for step in network.steps:
        arriving = [x if i == -1 else known[i] for i in step.inputs]
        known.append(output(step, arriving))
    return known


def output(step: Step, arriving: list[Tensor]) -> Tensor:
    """What one step makes of its inputs (n, …): `finished(step, sums(step, …))`."""
    return finished(step, sums(step, arriving))


def finished(step: Step, sums: Tensor) -> Tensor:
    """Stored codes from sums."""
    return sums if step.finish is None else step.finish(sums)


def sums(step: Step, arriving: list[Tensor]) -> Tensor:
    """What a step comes to before `finish`: accumulators of layers that sum, codes of the others."""
    x = arriving[0]
    args = step.args
    if step.op in ("conv", "dense", "avg_pool", "global_pool", "clip") and step.zeros[0]:
        x = x - step.zeros[0]
    if step.op in ("conv", "dense"):
        assert step.weight is not None
        return multiplied(step, x, step.weight, step.bias)
    if step.op == "max_pool":
        return F.max_pool2d(x, tuple(args["kernel"]), tuple(args["stride"]), tuple(args["padding"]))
    if step.op in ("avg_pool", "global_pool"):
        x = x.to(step.dtype)
        whole = step.codes.form == "whole"
        if step.op == "global_pool":
            return x.sum(dim=(2, 3)) if whole else x.mean(dim=(2, 3))
        divisor = 1 if whole else None
        window = tuple(args["kernel"]), tuple(args["stride"]), tuple(args["padding"])
        total = F.avg_pool2d(x, *window, divisor_override=divisor)
        return total if step.shares is None else total * step.shares.to(total)
    if step.op == "add":
        total = torch.zeros_like(x, dtype=step.dtype)
        for other, zero, factor in zip(arriving, step.zeros, step.factors, strict=True):
            total = total + (other - zero).to(step.dtype) * factor
        return total
    if step.op == "concat":
        parts = [
            other if rescale is None else rescale(other - zero)
            for other, zero, rescale in zip(arriving, step.zeros, step.rescales, strict=True)
        ]
        return torch.cat(parts, dim=1)
    if step.op == "lookup":
        assert step.table is not None
        return step.table[(x - step.table_low).long()]
    if step.op == "flatten":
        return x.flatten(1)
    if step.op == "clip":
        return x
    if step.op == "pad":
        top, bottom, left, right = args["padding"]
        return F.pad(x, (left, right, top, bottom), value=float(step.zeros[0]))
    raise ValueError(f"{step.name}: no step is called {step.op!r}")


def multiplied(step: Step, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Σ x · weight + bias of a `conv` or `dense` step, in `step.dtype`: exact for codes of its widths.

    `x` (n, …) without its zero point; `weight` may be faulty and, if `groups` is 1, have fewer or more rows
    than the step's. Long sums are added up from float32 sums of `step.chunk` channels, or in float64.
    """
    if step.dtype == torch.float32:
        return _product(step, x, weight, bias)
    if not step.chunk:
        return _product(step, x.double(), weight.double(), None if bias is None else bias.double())
    parts = zip(torch.split(x, step.chunk, 1), torch.split(weight, step.chunk, 1), strict=True)
    total = functools.reduce(Tensor.add_, (_product(step, a, b, None).double() for a, b in parts))
    if bias is None:
        return total
    return total.add_(bias.double().reshape([-1 if d == 1 else 1 for d in range(total.dim())]))


def _product(step: Step, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if step.op == "dense":
        return F.linear(x, weight, bias)
    args = step.args
    window = tuple(args["stride"]), tuple(args["padding"]), tuple(args["dilation"])
    return F.conv2d(x, weight, bias, *window, args["groups"])


def elementwise(function: str, x: Tensor, arguments: Mapping[str, JSON] | None = None) -> Tensor:
    """An activation by the name that it has in `torch.nn.functional` or `torch`; "" is the identity."""
    if function == "":
        return x
    act = getattr(torch, function) if function in ("relu", "tanh", "sigmoid") else getattr(F, function)
    return act(x, **(arguments or {}))  # type: ignore[no-any-return]


def round_to(x: Tensor, form: str) -> Tensor:
    """The nearest number of a floating-point format, half to even, in the dtype of `x`."""
    if form == "float32":
        return x
    return x.to({"float16": torch.float16, "bfloat16": torch.bfloat16}[form]).to(x.dtype)


def _along(t: Tensor, channels: slice | Tensor | None, dims: int, axis: int) -> Tensor:
    """A tensor () or (C,) so that it broadcasts along `axis` of `dims` dimensions."""
    if t.dim() == 0:
        return t
    t = t if channels is None else t[channels]
    return t.reshape([-1 if d == axis else 1 for d in range(dims)])
