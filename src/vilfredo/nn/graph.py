"""What a trained `torch.nn.Module` computes, as an `Architecture` and its weights.

The module runs once on made-up data while every function that touches what came from the input is noted
(`torch.overrides.TorchFunctionMode`). So Python's control flow may depend on shapes and settings, weights may
be computed (weight norm), and a module of the user's own is no obstacle; what depends on the data cannot be
followed and is refused. What was noted is computed again and compared with what the module gave.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vilfredo.architecture import Architecture, Layer, Shape, assemble
from vilfredo.nn.folding import outputs
from vilfredo.nn.functions import FUNCTIONS, Noted, Unknown, without_storage
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
                f"made of a tensor{_line()}), so it has no fixed graph; replace that by layers"
            )
        given = without_storage(name, func, args, kwargs) if arriving[0].is_meta else None
        if given is None:
            given = func(*args, **kwargs)
        made = [t for t in tree_leaves(given) if isinstance(t, Tensor)]
        if not made:
            return given  # a shape, a type, a device
        self.alive += made
        before = next((self.refused[id(t)] for t in arriving if id(t) in self.refused), "")
        try:
            if name not in FUNCTIONS or not isinstance(given, Tensor) or before:
                raise Unknown
            noted = FUNCTIONS[name](given, *args, **kwargs)
        except (Unknown, TypeError) as unknown:
            why = str(unknown) if isinstance(unknown, Unknown) else ""
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

    def _note(self, noted: Noted, given: Tensor, name: str) -> None:
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


# -- from nodes to an architecture --------------------------------------------------------------------


def _line() -> str:
    """Which line of the model's own code is at work: ", in net.py, line 12"; "" if it has none."""
    ours, torchs = Path(__file__).parent, Path(torch.__file__).parent
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_file() and ours not in file.parents and torchs not in file.parents:
            return f", in {file.name}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


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
