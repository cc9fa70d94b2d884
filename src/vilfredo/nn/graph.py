"""What a trained `torch.nn.Module` computes, as an `Architecture` and its weights.

The module runs once on made-up data while every function that touches what came from the input is noted
(`torch.overrides.TorchFunctionMode`). So Python's control flow may depend on shapes and settings, weights may
be computed (weight norm), and a module of the user's own is no obstacle; what depends on the data cannot be
followed and is refused. What was noted is computed again and compared with what the module gave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vilfredo.architecture import Architecture, Layer, Shape, assemble
from vilfredo.nn.folding import outputs
from vilfredo.protocols import Impossible
from vilfredo.trial import JSON


class Untraceable(ValueError):
    """A module that cannot be turned into a plain network; one sentence that names the layer."""


@dataclass(frozen=True, eq=False)
class Traced:
    """A network as plain data. `names` are the layers' modules as the user knows them, such as "features.0"
    (with ".relu" for a function called there); `tensors` their `weight`, `bias`, `running_mean`,
    `running_var` and `eps`, {} for layers without.

    The layers are those of `architecture.Layer`; identity and dropout are left out.
    """

    architecture: Architecture
    names: tuple[str, ...]
    tensors: tuple[Mapping[str, Tensor], ...]


def trace(model: nn.Module, input_shape: Sequence[int]) -> Traced:
    """What `model`, in evaluation mode, makes of inputs (batch, *input_shape).

    Works on every device; on "meta" nothing is computed and nothing checked. The weights are those of the
    model, not copies. Raises `Untraceable` for what cannot be followed or deployed.
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    if isinstance(model, nn.DataParallel):
        model = model.module
    if not isinstance(model, nn.Module):
        raise Untraceable(f"this is a {type(model).__name__}; only a torch.nn.Module can be traced")
    if isinstance(model, torch.jit.ScriptModule):
        raise Untraceable("a scripted module hides its layers; trace the torch.nn.Module it was made of")
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        raise Untraceable(
            "the model has lazy layers without weights; run it once on data before it is traced"
        )
    shape = tuple(int(size) for size in input_shape)
    x = _made_up(model, shape)
    follow = _Follow(x)
    training = [m for m in model.modules() if m.training]
    try:
        model.eval()
        with ExitStack() as stack, torch.no_grad():
            for path, module in model.named_modules(remove_duplicate=False):
                stack.callback(module.register_forward_pre_hook(follow.entering(path, module)).remove)
                stack.callback(module.register_forward_hook(follow.leaving).remove)
            if x.is_meta:  # what the model makes as it runs has no storage either
                stack.enter_context(torch.device("meta"))
            stack.enter_context(follow)
            given = model(x)
            stack.close()
            repeated = given if x.is_meta else model(x)
    except Untraceable:
        raise
    except Exception as problem:
        first = (str(problem).splitlines() or [""])[0]
        raise Untraceable(
            f"{follow.where() or 'the model'} fails for an input of shape {shape} ({type(problem).__name__}: "
            f"{first}); give data of the shape that the model was made for"
        ) from problem
    finally:
        for module in training:
            module.training = True
    if not isinstance(given, Tensor):
        for tensor in tree_leaves(given):
            if id(tensor) in follow.refused:
                raise Untraceable(follow.refused[id(tensor)])
        raise Untraceable(f"the model gives a {type(given).__name__}; it must give one tensor")
    last = follow.index(given, "the output")
    if not given.is_meta and not _close(repeated, given):
        raise Untraceable(
            "the model gives other results when it is run again; take randomness out of evaluation"
        )
    while last >= 0 and follow.nodes[last].op == "softmax":  # the greatest logit is the greatest chance
        last, given = follow.nodes[last].inputs[0], follow.nodes[last].tensors["logits"]
    traced = _assembled(follow.nodes, last, shape)
    if not given.is_meta:
        _compared(traced, x, given)
    return traced


def _made_up(model: nn.Module, shape: Shape) -> Tensor:
    """Two inputs of normal numbers, of the model's own device and type."""
    weight = next((t for t in model.parameters() if t.is_floating_point()), torch.empty(0))
    if weight.is_meta:
        return torch.empty(2, *shape, dtype=weight.dtype, device="meta")
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return x.to(device=weight.device, dtype=weight.dtype)


def _compared(traced: Traced, x: Tensor, given: Tensor) -> None:
    again = outputs(traced.architecture.layers, traced.tensors, x)[-1]
    if again.shape != given.shape or not _close(again, given):
        raise Untraceable(
            "what could be followed of the model does not give the model's own results; make its layers "
            "torch modules and functions that change no tensor in place that is a part of another"
        )


def _close(one: Tensor, two: Tensor) -> bool:
    one, two = one.double(), two.double()
    scale = float(two[two.isfinite()].abs().max()) if bool(two.isfinite().any()) else 0.0
    return torch.allclose(one, two, rtol=1e-2, atol=1e-3 * scale + 1e-6, equal_nan=True)


# -- what happens to the data -------------------------------------------------------------------------


@dataclass
class _Node:
    op: str
    args: dict[str, JSON]
    inputs: list[int]
    tensors: dict[str, Tensor]
    name: str
    shape: Shape


@dataclass
class _Noted:
    """What a function comes to: another layer, or (op "") what came in."""

    op: str = ""
    args: dict[str, JSON] = field(default_factory=dict)
    inputs: Sequence[Tensor] = ()
    tensors: dict[str, Tensor | None] = field(default_factory=dict)


class _Unknown(Exception):
    """A function that has no counterpart; the message says more, or nothing."""


class _Follow(TorchFunctionMode):
    """Notes what functions do to tensors that came from the input."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.nodes: list[_Node] = []
        self.known: dict[int, int] = {id(x): -1}  # what was computed by which node
        self.refused: dict[int, str] = {}  # by what cannot be followed, and why
        self.alive: list[Tensor] = [x]  # so that no two tensors share an id
        self.modules: list[tuple[str, nn.Module, int]] = []  # those that run; nodes when they began
        self.names: set[str] = set()

    def entering(self, path: str, module: nn.Module) -> Callable[[nn.Module, Any], None]:
        def enter(_: nn.Module, inputs: Any) -> None:
            if not (self.modules and self.modules[-1][1] is module and self.modules[-1][0] != path):
                self.modules.append((path, module, len(self.nodes)))

        return enter

    def leaving(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.modules and self.modules[-1][1] is module:
            self.modules.pop()

    def where(self) -> str:
        """The module that runs, for people."""
        path, module = next(((p, m) for p, m, _ in reversed(self.modules) if p), ("", None))
        return f"{path} ({type(module).__name__})" if path else ""

    def index(self, tensor: Tensor, what: str) -> int:
        """The node that gave `tensor`. Raises `Untraceable` if that cannot be said."""
        if id(tensor) in self.refused:
            raise Untraceable(self.refused[id(tensor)])
        if id(tensor) not in self.known:
            raise Untraceable(
                f"{self.where() or 'the model'}: {what} is not computed from the input by functions that can "
                "be followed; use torch's own layers and functions"
            )
        return self.known[id(tensor)]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        arriving = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if not any(id(t) in self.known or id(t) in self.refused for t in arriving):
            return func(*args, **kwargs)
        name = str(getattr(func, "__name__", func)).strip("_")
        if name in _READS:
            raise Untraceable(
                f"{self.where() or 'the model'} looks at its data while it runs (control flow or a number "
                "made of a tensor), so it has no fixed graph; replace that by layers"
            )
        given = _without_storage(name, func, args, kwargs) if arriving[0].is_meta else None
        if given is None:
            given = func(*args, **kwargs)
        made = [t for t in tree_leaves(given) if isinstance(t, Tensor)]
        if not made:
            return given  # a shape, a type, a device
        self.alive += made
        before = next((self.refused[id(t)] for t in arriving if id(t) in self.refused), "")
        try:
            if name not in _FUNCTIONS or not isinstance(given, Tensor) or before:
                raise _Unknown
            noted = _FUNCTIONS[name](given, *args, **kwargs)
        except (_Unknown, TypeError) as unknown:
            why = str(unknown) if isinstance(unknown, _Unknown) else ""
            for tensor in made:
                self.refused[id(tensor)] = before or self._refusal(name, why)
            return given
        self._note(noted, given, name)
        return given

    def _refusal(self, name: str, why: str) -> str:
        where = self.where() or "the model"
        return (
            f"{where} uses {name}{f' ({why})' if why else ''}, which cannot be deployed; replace it by "
            "convolutions, dense layers, batch norm, pooling, activations, addition or concatenation"
        )

    def _note(self, noted: _Noted, given: Tensor, name: str) -> None:
        inputs = [self.index(t, "what it takes") for t in noted.inputs]
        self.refused.pop(id(given), None)
        if not noted.op:
            self.known[id(given)] = inputs[0]
            return
        tensors = {k: t.detach() for k, t in noted.tensors.items() if t is not None}
        shape = tuple(given.shape[1:])
        node = _Node(noted.op, noted.args, inputs, tensors, self._name(name), shape)
        self.nodes.append(node)
        self.known[id(given)] = len(self.nodes) - 1

    def _name(self, function: str) -> str:
        path, module, began = self.modules[-1] if self.modules else ("", None, 0)
        leaf = path and module is not None and not any(True for _ in module.children())
        name = path if leaf and began == len(self.nodes) else f"{path}.{function}".lstrip(".")
        number, unique = 1, name
        while unique in self.names:
            number += 1
            unique = f"{name}_{number}"
        self.names.add(unique)
        return unique


_READS = frozenset(
    (
        "bool",
        "int",
        "float",
        "index",
        "item",
        "tolist",
        "numpy",
        "array",
        "contains",
        "len_",
        "complex",
        "equal",
    )
)


def _pair(value: Any) -> list[int]:
    return [int(value), int(value)] if isinstance(value, int) else [int(v) for v in value]


def _image(x: Tensor) -> None:
    if x.dim() != 4:
        raise _Unknown(f"of a tensor of {x.dim()} dimensions")


def _conv(
    out: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> _Noted:
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
    return _Noted("conv", args, [input], {"weight": weight, "bias": bias})


def _dense(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> _Noted:
    if input.dim() != 2:
        raise _Unknown(f"of a tensor of {input.dim()} dimensions; flatten it to (batch, features) first")
    args: dict[str, JSON] = {"units": weight.shape[0], "bias": bias is not None}
    return _Noted("dense", args, [input], {"weight": weight, "bias": bias})


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
) -> _Noted:
    if training or running_mean is None or running_var is None:
        raise _Unknown("of the batch's own mean and variance; use track_running_stats=True")
    if input.dim() not in (2, 4):
        raise _Unknown(f"of a tensor of {input.dim()} dimensions")
    known = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    return _Noted("batch_norm", {}, [input], {**known, "eps": torch.tensor(float(eps))})


def _pool(
    op: str, out: Tensor, input: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool
) -> dict[str, JSON]:
    _image(input)
    kernel, padding = _pair(kernel), _pair(padding)
    stride = kernel if stride is None or stride == [] else _pair(stride)
    sizes = zip(input.shape[2:], kernel, stride, padding, strict=True)
    if ceil and list(out.shape[2:]) != [(n + 2 * p - k) // s + 1 for n, k, s, p in sizes]:
        raise _Unknown("with ceil_mode, which makes a difference for this size")
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
) -> _Noted:
    if _pair(dilation) != [1, 1]:
        raise _Unknown("with dilation")
    return _Noted("max_pool", _pool("max_pool", out, input, kernel_size, stride, padding, ceil_mode), [input])


def _avg_pool(
    out: Tensor,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> _Noted:
    args = _pool("avg_pool", out, input, kernel_size, stride, padding, ceil_mode)
    if divisor_override:
        raise _Unknown("with divisor_override")
    if not count_include_pad and any(args["padding"]):
        args["count_padding"] = False
    return _Noted("avg_pool", args, [input])


def _adaptive(out: Tensor, input: Tensor, output_size: Any) -> _Noted:
    _image(input)
    inside, outside = list(input.shape[2:]), list(out.shape[2:])
    if inside == outside:
        return _Noted("", {}, [input])
    if any(i % o for i, o in zip(inside, outside, strict=True)):
        raise _Unknown(f"to {outside} from {inside} pixels, which do not divide")
    window = [i // o for i, o in zip(inside, outside, strict=True)]
    return _Noted("avg_pool", {"kernel": window, "stride": window, "padding": [0, 0]}, [input])


def _mean(out: Tensor, input: Tensor, dim: Any = None, keepdim: bool = False, **rest: Any) -> _Noted:
    axes = sorted(d % input.dim() for d in ([dim] if isinstance(dim, int) else dim or ()))
    if input.dim() != 4 or axes != [2, 3]:
        raise _Unknown("over other axes than height and width")
    if not keepdim:
        return _Noted("global_pool", {}, [input])
    window = list(input.shape[2:])
    return _Noted("avg_pool", {"kernel": window, "stride": window, "padding": [0, 0]}, [input])


def _shaped(out: Tensor, input: Tensor, *rest: Any, **more: Any) -> _Noted:
    if out.shape == input.shape:
        return _Noted("", {}, [input])
    if tuple(out.shape) == (input.shape[0], math.prod(input.shape[1:])):
        return _Noted("flatten", {}, [input])
    raise _Unknown(f"to {tuple(out.shape[1:])}; only to (batch, features)")


def _indexed(out: Tensor, input: Tensor, at: Any) -> _Noted:
    every = at if isinstance(at, tuple) else (at,)
    if not all(i is Ellipsis or i == slice(None) or (isinstance(i, int) and n) for n, i in enumerate(every)):
        raise _Unknown("of a part")
    return _shaped(out, input)


def _same(out: Tensor, input: Tensor, *rest: Any, **more: Any) -> _Noted:
    if out.shape != input.shape or not (out.is_floating_point() and input.is_floating_point()):
        raise _Unknown
    return _Noted("", {}, [input])


def _dropout(
    out: Tensor, input: Tensor, p: float = 0.5, training: bool = True, *rest: Any, **more: Any
) -> _Noted:
    if training and p:
        raise _Unknown("in evaluation too; pass training=self.training")
    return _Noted("", {}, [input])


def _clip(out: Tensor, input: Tensor, min: Any = None, max: Any = None) -> _Noted:
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        raise _Unknown("to tensors")
    if min == 0 and max is None:
        return _Noted("relu", {}, [input])
    args: dict[str, JSON] = {"low": None if min is None else float(min)}
    return _Noted("clip", {**args, "high": None if max is None else float(max)}, [input])


def _hardtanh(
    out: Tensor, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, *rest: Any, **more: Any
) -> _Noted:
    return _clip(out, input, min_val, max_val)


def _prelu(out: Tensor, input: Tensor, weight: Tensor) -> _Noted:
    if weight.numel() != 1:
        raise _Unknown("with a slope for each channel; use one for all")
    slope = 0.0 if weight.is_meta else float(weight)
    return _Noted("function", {"name": "leaky_relu", "arguments": {"negative_slope": slope}}, [input])


def _function(name: str, *parameters: str) -> Callable[..., _Noted]:
    def noted(out: Tensor, input: Tensor, *rest: Any, **more: Any) -> _Noted:
        given = {**dict(zip((*parameters, "inplace"), rest, strict=False)), **more}
        given.pop("inplace", None)
        return _Noted("function", {"name": name, "arguments": given} if given else {"name": name}, [input])

    return noted


def _layer(op: str) -> Callable[..., _Noted]:
    return lambda out, input, *rest, **more: _Noted(op, {}, [input])


def _pad(out: Tensor, input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> _Noted:
    left, right, top, bottom = (*pad, *[0] * (4 - len(pad))) if len(pad) <= 4 else (-1, 0, 0, 0)
    _image(input)
    if mode != "constant" or value not in (None, 0) or min(left, right, top, bottom) < 0:
        raise _Unknown("with anything but zeros around an image")
    return _Noted("pad", {"padding": [int(top), int(bottom), int(left), int(right)]}, [input])


def _cat(out: Tensor, tensors: Any, dim: int = 0, **more: Any) -> _Noted:
    if dim % tensors[0].dim() != 1:
        raise _Unknown("along another axis than the channels")
    return _Noted("concat", {}, list(tensors))


def _softmax(out: Tensor, input: Tensor, dim: Any = None, *rest: Any, **more: Any) -> _Noted:
    if input.dim() != 2 or dim not in (1, -1, None):
        raise _Unknown("along another axis than the classes")
    return _Noted("softmax", {}, [input], {"logits": input})


def _affine(op: str) -> Callable[..., _Noted]:
    """+, −, · and / of a tensor and a constant (a number, or one number a channel); + of tensors."""

    def noted(out: Tensor, input: Any, other: Any, *, alpha: Any = 1) -> _Noted:
        first = isinstance(input, Tensor) and input.shape == out.shape
        data, constant = (input, other) if first else (other, input)
        if alpha != 1 or (not first and op == "div") or not isinstance(data, Tensor):
            raise _Unknown("of a constant and a tensor")
        if isinstance(constant, Tensor) and constant.shape == out.shape and out.dim() in (2, 4):
            if op != "add":
                raise _Unknown("of two tensors")
            return _Noted("add", {}, [data, constant])
        value = constant.detach() if isinstance(constant, Tensor) else torch.tensor(float(constant))
        channels = (out.shape[1], *[1] * (out.dim() - 2))
        fits = value.numel() == 1 or tuple(value.squeeze(0).shape) == channels
        if data.shape != out.shape or not fits or value.numel() not in (1, out.shape[1]):
            raise _Unknown(f"of the shapes {tuple(data.shape[1:])} and {tuple(value.shape)}")
        if op in ("add", "sub") and first and not value.is_meta and not value.any():
            return _Noted("", {}, [data])  # 0 + a, as Python's sum begins
        zero = torch.zeros(out.shape[1], device=value.device, dtype=value.dtype)
        value = zero + value.reshape(-1)
        scale = {"mul": value, "div": 1 / value, "add": zero + 1, "sub": zero + (1 if first else -1)}[op]
        shift = {"add": value, "sub": -value if first else value}.get(op, zero)
        plain = {"running_mean": zero, "running_var": zero + 1, "eps": torch.tensor(0.0)}
        return _Noted("batch_norm", {}, [data], {**plain, "weight": scale, "bias": shift})

    return noted


def _reversed(noted: Callable[..., _Noted]) -> Callable[..., _Noted]:
    return lambda out, input, other: noted(out, other, input)


_ELEMENTWISE: Mapping[str, Callable[..., _Noted]] = {
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

_BINARY: Mapping[str, Callable[..., _Noted]] = {
    **dict.fromkeys(("add", "iadd", "radd"), _affine("add")),
    **dict.fromkeys(("sub", "isub", "subtract"), _affine("sub")),
    "rsub": _reversed(_affine("sub")),
    **dict.fromkeys(("mul", "imul", "rmul", "multiply"), _affine("mul")),
    **dict.fromkeys(("div", "truediv", "itruediv", "divide", "true_divide"), _affine("div")),
}

_FUNCTIONS: Mapping[str, Callable[..., _Noted]] = {
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


def _without_storage(name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
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


# -- from nodes to an architecture --------------------------------------------------------------------


def _assembled(nodes: Sequence[_Node], last: int, shape: Shape) -> Traced:
    """The layers that lead to the output, simplified."""
    nodes = [replace(node, inputs=list(node.inputs)) for node in nodes]
    if last < 0:
        raise Untraceable("the model gives its input back, so there is nothing to deploy")
    users = _users(nodes, last)
    for index, node in enumerate(nodes):
        if index not in users:
            continue
        if node.op == "softmax":
            raise Untraceable(
                f"{node.name} is a softmax within the network, which cannot be deployed; remove it"
            )
        if node.op == "add":  # a + b + c is one sum, rounded once
            inner = [i for i in node.inputs if i >= 0 and nodes[i].op == "add" and users[i] == 1]
            if inner:
                terms = [nodes[i].inputs if i in inner else [i] for i in node.inputs]
                node.inputs = [i for term in terms for i in term]
                node.name = nodes[inner[0]].name
        if node.op == "flatten" and node.inputs[0] >= 0 and users[node.inputs[0]] == 1:
            pool = nodes[node.inputs[0]]
            if pool.op == "avg_pool" and pool.shape[1:] == (1, 1) and not any(pool.args["padding"]):
                before = shape if pool.inputs[0] < 0 else nodes[pool.inputs[0]].shape
                if list(before[1:]) == pool.args["kernel"]:
                    node.op, node.inputs, node.name = "global_pool", pool.inputs, pool.name
    kept = sorted(_users(nodes, last))
    place = {-1: -1, **{old: new for new, old in enumerate(kept)}}
    layers = [Layer(nodes[i].op, nodes[i].args, tuple(place[j] for j in nodes[i].inputs)) for i in kept]
    try:
        architecture = assemble(shape, layers)
    except Impossible as problem:
        raise Untraceable(f"the layers do not fit together: {problem}") from problem
    for layer, i in zip(architecture.layers, kept, strict=True):
        if layer.shape != nodes[i].shape:
            raise Untraceable(
                f"{nodes[i].name} gives the shape {nodes[i].shape}, where {layer.op} would give "
                f"{layer.shape}; it cannot be deployed"
            )
    return Traced(architecture, tuple(nodes[i].name for i in kept), tuple(nodes[i].tensors for i in kept))


def _users(nodes: Sequence[_Node], last: int) -> dict[int, int]:
    """Of the nodes that lead to the output: how many inputs of others each of them is."""
    users = {last: 0}
    for index in range(last, -1, -1):
        if index in users:
            for i in nodes[index].inputs:
                if i >= 0:
                    users[i] = users.get(i, 0) + 1
    return users
