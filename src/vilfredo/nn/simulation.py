"""Deployed networks as modules of ordinary layers: for other tools, and as a second opinion."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from vilfredo.nn.deployed import Deployed, Step, finished, sums


def simulation(network: Deployed, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A module of ordinary layers: codes (n, *input_shape) in, the last step's codes out, in `dtype`.

    Every convolution is an `nn.Conv2d` and every dense layer an `nn.Linear` by the name of its step, whose
    weights are whole numbers and whose results are accumulators; the finish follows as a module of its own.
    In float64 it agrees with `deployed.run` bit for bit, for whole numbers.
    """
    return _Simulation(network, dtype)


class _Simulation(nn.Module):
    def __init__(self, network: Deployed, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.steps = dtype, network.steps
        self.finish = nn.ModuleList()
        self.names: list[str] = []
        for step in network.steps:
            holder: nn.Module = self
            *path, name = [_free(part) for part in step.name.split(".")]
            for part in path:
                if part not in holder._modules:
                    holder.add_module(part, nn.Module())
                holder = holder.get_submodule(part)
            while name in holder._modules or hasattr(holder, name):
                name += "_"
            holder.add_module(name, _module(step, dtype))
            self.names.append(".".join([*path, name]))
            self.finish.append(_Finish(step, dtype))

    def forward(self, x: Tensor) -> Tensor:
        known = {-1: x.to(self.dtype)}
        for index, (step, name, finish) in enumerate(zip(self.steps, self.names, self.finish, strict=True)):
            known[index] = finish(self.get_submodule(name)(*[known[i] for i in step.inputs]))
        return known[len(self.steps) - 1]


def _free(name: str) -> str:
    """The name, changed if modules have something of that name themselves."""
    return f"{name}_" if hasattr(nn.Module, name) or name in ("finish", "steps", "names", "dtype") else name


class _Operation(nn.Module):
    """A step without weights, before its finish."""

    def __init__(self, step: Step, dtype: torch.dtype) -> None:
        super().__init__()
        self.step, self.dtype = replace(step, dtype=dtype), dtype

    def forward(self, *arriving: Tensor) -> Tensor:
        return sums(self.step, list(arriving)).to(self.dtype)


class _Finish(nn.Module):
    def __init__(self, step: Step, dtype: torch.dtype) -> None:
        super().__init__()
        self.step, self.dtype = step, dtype

    def forward(self, sums: Tensor) -> Tensor:
        return finished(self.step, sums).to(self.dtype)


def _module(step: Step, dtype: torch.dtype) -> nn.Module:
    weight, bias, args = step.weight, step.bias, step.args
    if weight is None:
        return _Operation(step, dtype)
    has = bias is not None
    module: nn.Module
    with torch.device("meta"):  # no random numbers are drawn for weights that are there already
        if step.op == "dense":
            module = nn.Linear(weight.shape[1], weight.shape[0], has)
        else:
            kernel, stride, padding, dilation = (
                tuple(args[name]) for name in ("kernel", "stride", "padding", "dilation")
            )
            inside, groups = weight.shape[1] * args["groups"], args["groups"]
            module = nn.Conv2d(inside, len(weight), kernel, stride, padding, dilation, groups, has)
    held = {"weight": weight, "bias": bias} if bias is not None else {"weight": weight}
    module.load_state_dict({name: t.to(dtype) for name, t in held.items()}, assign=True)
    if step.zeros[0]:
        module.register_forward_pre_hook(lambda _, arriving: (arriving[0] - step.zeros[0],))
    return module.requires_grad_(False)
