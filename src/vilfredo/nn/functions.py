"""Torch's functions as layers: what each that a model may call on its data comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vilfredo.trial import JSON


@dataclass
class Noted:
    """What a function comes to: another layer, or (op "") what came in."""

    op: str = ""
    args: dict[str, JSON] = field(default_factory=dict)
    inputs: Sequence[Tensor] = ()
    tensors: dict[str, Tensor | None] = field(default_factory=dict)


class Unknown(Exception):
    """A function that has no counterpart; the message says more, or nothing."""


def _pair(value: Any) -> list[int]:
    return [int(value), int(value)] if isinstance(value, int) else [int(v) for v in value]


def _image(x: Tensor) -> None:
    if x.dim() != 4:
        raise Unknown(f"of a tensor of {x.dim()} dimensions")


def _conv(
    out: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Noted:
    _image(input)
    kernel, dilation = list(weight.shape[2:]), _pair(dilation)
    if isinstance(padding, str):  # as torch has it: what is odd goes to the right and below
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        around = [total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2]
        padding = [around[0], around[2]] if around[::2] == around[1::2] else around
    else:
        padding = _pair(padding)
    args: dict[str, JSON] = {
        "filters": weight.shape[0],
        "kernel": kernel,
        "stride": _pair(stride),
        "padding": padding,
        "groups": int(groups),
        "bias": bias is not None,
    }
    if dilation != [1, 1]:
        args["dilation"] = dilation
    return Noted("conv", args, [input], {"weight": weight, "bias": bias})


def _dense(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Noted:
    if input.dim() != 2:
        raise Unknown(f"of a tensor of {input.dim()} dimensions; flatten it to (batch, features) first")
    args: dict[str, JSON] = {"units": weight.shape[0], "bias": bias is not None}
    return Noted("dense", args, [input], {"weight": weight, "bias": bias})


def _batch_norm(
    out: Tensor,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *rest: Any,
) -> Noted:
    if training or running_mean is None or running_var is None:
        raise Unknown("of the batch's own mean and variance; use track_running_stats=True")
    if input.dim() not in (2, 4):
        raise Unknown(f"of a tensor of {input.dim()} dimensions")
    known = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    return Noted("batch_norm", {}, [input], {**known, "eps": torch.tensor(float(eps))})


def _pool(
    op: str, out: Tensor, input: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool
) -> dict[str, JSON]:
    _image(input)
    kernel, padding = _pair(kernel), _pair(padding)
    stride = kernel if stride is None or stride == [] else _pair(stride)
    sizes = zip(input.shape[2:], kernel, stride, padding, strict=True)
    if ceil and list(out.shape[2:]) != [(n + 2 * p - k) // s + 1 for n, k, s, p in sizes]:
        raise Unknown("with ceil_mode, which makes a difference for this size")
    return {"kernel": kernel, "stride": stride, "padding": padding}


def _max_pool(
    out: Tensor,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Noted:
    if _pair(dilation) != [1, 1]:
        raise Unknown("with dilation")
    return Noted("max_pool", _pool("max_pool", out, input, kernel_size, stride, padding, ceil_mode), [input])


def _avg_pool(
    out: Tensor,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Noted:
    args = _pool("avg_pool", out, input, kernel_size, stride, padding, ceil_mode)
    if divisor_override:
        raise Unknown("with divisor_override")
    if not count_include_pad and any(args["padding"]):
        args["count_padding"] = False
    return Noted("avg_pool", args, [input])


def _adaptive(out: Tensor, input: Tensor, output_size: Any) -> Noted:
    _image(input)
    inside, outside = list(input.shape[2:]), list(out.shape[2:])
    if inside == outside:
        return Noted("", {}, [input])
    if any(i % o for i, o in zip(inside, outside, strict=True)):
        raise Unknown(f"to {outside} from {inside} pixels, which do not divide")
    window = [i // o for i, o in zip(inside, outside, strict=True)]
    return Noted("avg_pool", {"kernel": window, "stride": window, "padding": [0, 0]}, [input])


def _mean(out: Tensor, input: Tensor, dim: Any = None, keepdim: bool = False, **rest: Any) -> Noted:
    axes = sorted(d % input.dim() for d in ([dim] if isinstance(dim, int) else dim or ()))
    if input.dim() != 4 or axes != [2, 3]:
        raise Unknown("over other axes than height and width")
    if not keepdim:
        return Noted("global_pool", {}, [input])
    window = list(input.shape[2:])
    return Noted("avg_pool", {"kernel": window, "stride": window, "padding": [0, 0]}, [input])


def _shaped(out: Tensor, input: Tensor, *rest: Any, **more: Any) -> Noted:
    if out.shape == input.shape:
        return Noted("", {}, [input])
    if tuple(out.shape) == (input.shape[0], math.prod(input.shape[1:])):
        return Noted("flatten", {}, [input])
    raise Unknown(f"to {tuple(out.shape[1:])}; only to (batch, features)")


def _indexed(out: Tensor, input: Tensor, at: Any) -> Noted:
    every = at if isinstance(at, tuple) else (at,)
    if not all(i is Ellipsis or i == slice(None) or (isinstance(i, int) and n) for n, i in enumerate(every)):
        raise Unknown("of a part")
    return _shaped(out, input)


def _same(out: Tensor, input: Tensor, *rest: Any, **more: Any) -> Noted:
    if out.shape != input.shape or not (out.is_floating_point() and input.is_floating_point()):
        raise Unknown
    return Noted("", {}, [input])


def _dropout(
    out: Tensor, input: Tensor, p: float = 0.5, training: bool = True, *rest: Any, **more: Any
) -> Noted:
    if training and p:
        raise Unknown("in evaluation too; pass training=self.training")
    return Noted("", {}, [input])


def _clip(out: Tensor, input: Tensor, min: Any = None, max: Any = None) -> Noted:
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        raise Unknown("to tensors")
    if min == 0 and max is None:
        return Noted("relu", {}, [input])
    args: dict[str, JSON] = {"low": None if min is None else float(min)}
    return Noted("clip", {**args, "high": None if max is None else float(max)}, [input])


def _hardtanh(
    out: Tensor, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, *rest: Any, **more: Any
) -> Noted:
    return _clip(out, input, min_val, max_val)


def _prelu(out: Tensor, input: Tensor, weight: Tensor) -> Noted:
    if weight.numel() != 1:
        raise Unknown("with a slope for each channel; use one for all")
    slope = 0.0 if weight.is_meta else float(weight)
    return Noted("function", {"name": "leaky_relu", "arguments": {"negative_slope": slope}}, [input])


def _function(name: str, *parameters: str) -> Callable[..., Noted]:
    def noted(out: Tensor, input: Tensor, *rest: Any, **more: Any) -> Noted:
        given = {**dict(zip((*parameters, "inplace"), rest, strict=False)), **more}
        given.pop("inplace", None)
        return Noted("function", {"name": name, "arguments": given} if given else {"name": name}, [input])

    return noted


def _layer(op: str) -> Callable[..., Noted]:
    return lambda out, input, *rest, **more: Noted(op, {}, [input])


def _pad(out: Tensor, input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Noted:
    left, right, top, bottom = (*pad, *[0] * (4 - len(pad))) if len(pad) <= 4 else (-1, 0, 0, 0)
    _image(input)
    if mode != "constant" or value not in (None, 0) or min(left, right, top, bottom) < 0:
        raise Unknown("with anything but zeros around an image")
    return Noted("pad", {"padding": [int(top), int(bottom), int(left), int(right)]}, [input])


def _cat(out: Tensor, tensors: Any, dim: int = 0, **more: Any) -> Noted:
    if dim % tensors[0].dim() != 1:
        raise Unknown("along another axis than the channels")
    return Noted("concat", {}, list(tensors))


def _softmax(out: Tensor, input: Tensor, dim: Any = None, *rest: Any, **more: Any) -> Noted:
    if input.dim() != 2 or dim not in (1, -1, None):
        raise Unknown("along another axis than the classes")
    return Noted("softmax", {}, [input], {"logits": input})


def _affine(op: str) -> Callable[..., Noted]:
    """+, −, · and / of a tensor and a constant (a number, or one number a channel); + of tensors."""

    def noted(out: Tensor, input: Any, other: Any, *, alpha: Any = 1) -> Noted:
        first = isinstance(input, Tensor) and input.shape == out.shape
        data, constant = (input, other) if first else (other, input)
        if alpha != 1 or (not first and op == "div") or not isinstance(data, Tensor):
            raise Unknown("of a constant and a tensor")
        if isinstance(constant, Tensor) and constant.shape == out.shape and out.dim() in (2, 4):
            if op != "add":
                raise Unknown("of two tensors")
            return Noted("add", {}, [data, constant])
        value = constant.detach() if isinstance(constant, Tensor) else torch.tensor(float(constant))
        channels = (out.shape[1], *[1] * (out.dim() - 2))
        fits = value.numel() == 1 or tuple(value.squeeze(0).shape) == channels
        if data.shape != out.shape or not fits or value.numel() not in (1, out.shape[1]):
            raise Unknown(f"of the shapes {tuple(data.shape[1:])} and {tuple(value.shape)}")
        if op in ("add", "sub") and first and not value.is_meta and not value.any():
            return Noted("", {}, [data])  # 0 + a, as Python's sum begins
        zero = torch.zeros(out.shape[1], device=value.device, dtype=value.dtype)
        value = zero + value.reshape(-1)
        scale = {"mul": value, "div": 1 / value, "add": zero + 1, "sub": zero + (1 if first else -1)}[op]
        shift = {"add": value, "sub": -value if first else value}.get(op, zero)
        plain = {"running_mean": zero, "running_var": zero + 1, "eps": torch.tensor(0.0)}
        return Noted("batch_norm", {}, [data], {**plain, "weight": scale, "bias": shift})

    return noted


def _reversed(noted: Callable[..., Noted]) -> Callable[..., Noted]:
    return lambda out, input, other: noted(out, other, input)


_ELEMENTWISE: Mapping[str, Callable[..., Noted]] = {
    **{name: _layer(name) for name in ("relu", "tanh", "sigmoid")},
    "relu6": lambda out, input, *rest, **more: _clip(out, input, 0.0, 6.0),
    **dict.fromkeys(("clamp", "clip"), _clip),
    "clamp_min": lambda out, input, min: _clip(out, input, min),
    "clamp_max": lambda out, input, max: _clip(out, input, None, max),
    "hardtanh": _hardtanh,
    "prelu": _prelu,
    "leaky_relu": _function("leaky_relu", "negative_slope"),
    "elu": _function("elu", "alpha"),
    "celu": _function("celu", "alpha"),
    "softplus": _function("softplus", "beta", "threshold"),
    "log_sigmoid": _function("logsigmoid"),
    "hardshrink": _function("hardshrink", "lambd"),
    "softshrink": _function("softshrink", "lambd"),
    **{name: _function(name) for name in ("gelu", "selu", "silu", "mish", "hardswish", "hardsigmoid")},
    **{name: _function(name) for name in ("softsign", "logsigmoid", "tanhshrink")},
    **{name: _function(name) for name in ("abs", "square", "exp", "sin", "cos", "neg", "erf")},
}

_BINARY: Mapping[str, Callable[..., Noted]] = {
    **dict.fromkeys(("add", "iadd", "radd"), _affine("add")),
    **dict.fromkeys(("sub", "isub", "subtract"), _affine("sub")),
    "rsub": _reversed(_affine("sub")),
    **dict.fromkeys(("mul", "imul", "rmul", "multiply"), _affine("mul")),
    **dict.fromkeys(("div", "truediv", "itruediv", "divide", "true_divide"), _affine("div")),
}

FUNCTIONS: Mapping[str, Callable[..., Noted]] = {
    "conv2d": _conv,
    "linear": _dense,
    "batch_norm": _batch_norm,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive,
    "mean": _mean,
    **dict.fromkeys(("flatten", "view", "reshape", "squeeze", "view_as", "reshape_as"), _shaped),
    "getitem": _indexed,
    **dict.fromkeys(("contiguous", "clone", "detach", "to", "float", "requires_grad", "type_as"), _same),
    **dict.fromkeys(("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout"), _dropout),
    "feature_dropout": _dropout,
    **_ELEMENTWISE,
    "pad": _pad,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **_BINARY,
}


def without_storage(name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What the function gives on the meta device, for those by which torch would load its compiler, which
    takes seconds; None for others."""
    first = args[0] if args else None
    if name in ("cat", "concat", "concatenate") and first is not None:
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        shape = list(first[0].shape)
        shape[dim] = sum(t.shape[dim] for t in first)
        return torch.empty(shape, device="meta")
    if not isinstance(first, Tensor):
        return None
    if name == "linear" and first.shape[-1] == args[1].shape[1]:
        return torch.empty((*first.shape[:-1], args[1].shape[0]), device="meta")
    if name in _ELEMENTWISE or name in ("batch_norm", "softmax", "log_softmax"):
        inplace = kwargs.get("inplace") or (func.__name__.endswith("_") and not func.__name__.startswith("_"))
        return first if inplace else torch.empty_like(first)
    if name in _BINARY and len(args) == 2:
        if name.startswith("i") or (func.__name__.endswith("_") and not func.__name__.startswith("_")):
            return first
        other = args[1].shape if isinstance(args[1], Tensor) else ()
        return torch.empty(np.broadcast_shapes(first.shape, other), device="meta")
    if name == "mean" and first.dim() == 4:
        dims = args[1] if len(args) > 1 else kwargs.get("dim")
        keep = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
        if dims is None or isinstance(dims, int) or sorted(d % 4 for d in dims) != [2, 3]:
            return None
        return torch.empty((*first.shape[:2], *([1, 1] if keep else [])), device="meta")
    if name == "adaptive_avg_pool2d" and first.dim() == 4:
        wanted = args[1] if len(args) > 1 else kwargs["output_size"]
        size = [wanted, wanted] if isinstance(wanted, int) else list(wanted)
        given = [n if want is None else want for n, want in zip(first.shape[2:], size, strict=True)]
        return torch.empty((*first.shape[:2], *given), device="meta")
    return None
