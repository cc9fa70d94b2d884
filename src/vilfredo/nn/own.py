"""Users' own networks: whether they fit the data, what they consist of, where they come from."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vilfredo.trial import JSON


class Misfit(ValueError):
    """What a user's code gave is no network for this data; one sentence."""


def fitting(model: Any, shape: tuple[int, ...], outputs: int, maker: str) -> nn.Module:
    """The network, if it is one from (batch, *shape) to (batch, outputs). Raises `Misfit`."""
    if not isinstance(model, nn.Module):
        raise Misfit(f"{maker} returned {type(model).__name__}; it must return a torch.nn.Module")
    running: list[str] = []  # modules, from the outermost to the one that raised

    def enter(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, _: running.append(f"{name} ({type(module).__name__})" if name else "")

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        running.pop()

    hooks = [part.register_forward_pre_hook(enter(name)) for name, part in model.named_modules()]
    hooks += [part.register_forward_hook(leave) for part in model.modules()]
    try:
        with torch.no_grad():
            given = _tried(model, torch.zeros(2, *shape))
    except Exception as problem:
        first = (str(problem).splitlines() or [""])[0]
        layer = f"layer {running[-1]}: " if running and running[-1] else ""
        raise Misfit(
            f"the network of {maker} cannot take inputs of shape (2, {', '.join(map(str, shape))}): "
            f"{layer}{type(problem).__name__}: {first}; give it data of the shape that it was made for"
        ) from problem
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(given, Tensor):
        raise Misfit(f"the network of {maker} gives {type(given).__name__}; it must give one tensor")
    if tuple(given.shape) != (2, outputs):
        raise Misfit(
            f"the network of {maker} gives the shape {tuple(given.shape)} for 2 inputs of {tuple(shape)}; "
            f"the data has {outputs} outputs, so it must be (2, {outputs})"
        )
    return model


def leaves(model: nn.Module, shape: tuple[int, ...]) -> list[dict[str, JSON]]:
    """The leaf modules in the order in which they run: `op` (their type), `args` (name and settings),
    `inputs`, `shape` of the output without the batch, `parameters`.

    What a leaf takes is known where that is another leaf's output as it is; else it is drawn after the
    leaf that ran before it.
    """
    rows: list[dict[str, JSON]] = []
    results: list[Tensor] = []  # kept, so that no two of them share a place in memory

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def ran(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            rows.append(
                {
                    "op": type(module).__name__,
                    "args": {"name": name, "settings": module.extra_repr()},
                    "inputs": [i for t in inputs for i, r in enumerate(results) if r is t] or [len(rows) - 1],
                    "shape": list(output.shape[1:]),
                    "parameters": sum(p.numel() for p in module.parameters()),
                }
            )
            results.append(output)

        return ran

    hooks = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if not any(module.children())
    ]
    try:
        with torch.no_grad():
            _tried(model, torch.zeros(1, *shape))
    finally:
        for handle in hooks:
            handle.remove()
    return rows


def _tried(model: nn.Module, x: Tensor) -> Any:
    """The output in evaluation mode; the network is left in training mode, as new ones are."""
    model.eval()
    try:
        return model(x)
    finally:
        model.train()


def origin(thing: Any) -> str:
    """Where a function or class comes from, "package.module:name"; of a module, its class."""
    if isinstance(thing, nn.Module):
        thing = type(thing)
    thing = plain(thing)
    return f"{thing.__module__}:{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def plain(function: Any) -> Any:
    """The function within partial applications; of a callable object, its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__module__") else type(function)


def imported(text: str) -> Any:
    """What "package.module:name" names. Raises `ValueError`, one sentence."""
    module, _, name = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as problem:
        raise ValueError(
            f"cannot find the baseline {text!r} ({problem}); name it 'package.module:name'"
        ) from problem
    return found


def takes_two(maker: Callable[..., Any]) -> bool:
    """Whether it is to be called as `maker(input_shape, outputs)`: it needs arguments, and these would do."""
    try:
        signature = inspect.signature(maker)
    except (TypeError, ValueError):  # some builtins have none
        return True
    needed = [
        p
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return len(needed) > 0
