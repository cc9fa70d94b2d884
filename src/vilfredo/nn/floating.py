"""Trained networks as they run in floating point: weights and results rounded to a format."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vilfredo.codes import floats
from vilfredo.nn.deployed import Deployed, Rounded, Step, round_to
from vilfredo.nn.folding import SUMMING, Part
from vilfredo.nn.graph import Traced, trace
from vilfredo.nn.quantize import Seen, checked, counted, planned, seen

Format = Literal["float32", "float16", "bfloat16"]


def floating(
    model: nn.Module | Traced,
    form: Format = "float32",
    samples: Tensor | None = None,
    clip: bool = False,
    shape: tuple[int, ...] | None = None,
) -> Deployed:
    """The network with batch norm folded, weights and every result rounded to `form`, sums in float32.

    `clip` clamps activations to the range that they have for `samples` (range restriction: Z. Chen, G. Li and
    K. Pattabiraman, "A low-cost fault corrector for deep neural networks through range restriction", DSN
    2021), of all layers but the last. A module that is not traced yet needs `samples` or `shape` (without the
    batch). Raises `ValueError` for networks that cannot be deployed, and for weights beyond the format.
    """
    if form not in get_args(Format):
        raise ValueError(f"form is {form!r}; it must be {' or '.join(get_args(Format))}")
    if clip and samples is None:
        raise ValueError("clip restricts activations to the range that they have for samples; give samples")
    if isinstance(model, nn.Module):
        if samples is None and shape is None:
            raise ValueError("to trace the model its input's shape is needed; give samples or shape")
        model = trace(model, shape if shape is not None else tuple(samples.shape[1:]))  # type: ignore[union-attr]
    plan = planned(model)
    found: dict[int, Seen] = {}
    if samples is not None:
        checked(model, samples)
        if clip:
            found = seen(plan, samples)
            found.pop(len(plan) - 1)
    shapes = {-1: model.architecture.input, **{i: part.layer.shape for i, part in enumerate(plan)}}
    steps = tuple(
        _step(part, form, found.get(index), shapes[part.layer.inputs[0]]) for index, part in enumerate(plan)
    )
    return Deployed(steps, model.architecture.input, floats(form))


def _step(part: Part, form: Format, known: Seen | None, size: tuple[int, ...]) -> Step:
    layer, codes = part.layer, floats(form)
    args = {k: v for k, v in layer.args.items() if k != "count_padding"}
    inputs = layer.inputs
    step = Step(part.name, layer.op, inputs, layer.shape, codes, args, (0,) * len(inputs))
    low, high = part.low, part.high
    if known is not None:
        low, high = max(low, known.low), min(high, known.high)
    finish = Rounded("", low, high, form)
    if layer.op == "function":
        finish = replace(finish, function=str(args["name"]), arguments=args.get("arguments", {}))
        return replace(step, op="clip", args={}, finish=finish)
    if layer.op not in SUMMING:
        return replace(step, rescales=(None,) * len(inputs) if layer.op == "concat" else ())
    step = replace(step, finish=finish, accumulator=floats("float32") if layer.op != "clip" else None)
    if layer.op in ("conv", "dense"):
        held = {name: round_to(t.float(), form) for name, t in part.tensors.items()}
        if not all(bool(t.isfinite().all()) for t in held.values()):
            raise ValueError(f"{part.name} has weights beyond the range of {form}; take bfloat16 or float32")
        return replace(
            step,
            args={"dilation": [1, 1], **args} if layer.op == "conv" else args,
            weight=held["weight"],
            bias=held.get("bias"),
            weight_codes=codes,
            weight_scale=torch.tensor(1.0, dtype=torch.float64),
        )
    if layer.op == "add":
        return replace(step, factors=(1.0,) * len(inputs))
    if not layer.args.get("count_padding", True):
        return replace(step, shares=math.prod(args["kernel"]) / counted(args, size[1:]))
    return step
