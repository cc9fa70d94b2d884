"""What a network computes: its multiply-accumulates and the tensors that they read and write.

The network is run once on one input and every operation that reaches PyTorch's dispatcher is seen there,
so that modules of any kind count, functional calls and attention included. Whatever is no product of
tensors (batch norm, pooling, activations, additions, softmax) has no multiply-accumulates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vilfredo.objectives.candidate import evaluated


@dataclass(frozen=True, slots=True)
class Operation:
    """One product of tensors. `reads` and `writes` count numbers; weights are not among the `reads`."""

    name: str
    macs: int
    reads: int
    writes: int


def operations(model: nn.Module, x: Tensor) -> tuple[Operation, ...]:
    """The products in one forward pass of `model` in evaluation mode over `x`.

    `model` and `x` may be on the meta device. Counts are for the whole of `x`: pass one input. Raises what
    the model raises.
    """
    found: list[Operation] = []
    with evaluated(model), torch.no_grad(), _decomposed(), _Counter(model, found):
        model(x)
    return tuple(found)


def _matmul(args: tuple[Any, ...], out: Tensor, first: int) -> int:
    return out.numel() * int(args[first].shape[-1])


def _vector(args: tuple[Any, ...], out: Tensor, first: int) -> int:
    return int(args[first].numel())


def _convolution(args: tuple[Any, ...], out: Tensor, first: int) -> int:
    """Each place of the output (of a transposed convolution: of the input) takes the whole kernel once.

    The weight is (out, in / groups, *kernel), or (in, out / groups, *kernel) if transposed.
    """
    x, weight = args[0], args[1]
    transposed = bool(args[6])
    places = x.shape if transposed else out.shape
    batch = int(x.shape[0]) if x.dim() == weight.dim() else 1
    spatial = math.prod(int(n) for n in places[-(weight.dim() - 2) :])
    return batch * int(weight.numel()) * spatial


def _attention(args: tuple[Any, ...], out: Tensor, first: int) -> int:
    """Scaled dot products (..., queries, keys) and the values weighted by them."""
    query, key, value = args[0], args[1], args[2]
    pairs = math.prod(query.shape[:-1]) * int(key.shape[-2])
    return int(pairs * (query.shape[-1] + value.shape[-1]))


_aten = torch.ops.aten
_FORMULAS: Mapping[Any, tuple[Callable[[tuple[Any, ...], Tensor, int], int], int]] = {
    _aten.mm: (_matmul, 0),
    _aten.bmm: (_matmul, 0),
    _aten.addmm: (_matmul, 1),
    _aten.baddbmm: (_matmul, 1),
    _aten._addmm_activation: (_matmul, 1),
    _aten.mv: (_vector, 0),
    _aten.addmv: (_vector, 1),
    _aten.dot: (_vector, 0),
    _aten.convolution: (_convolution, 0),
    _aten._scaled_dot_product_flash_attention: (_attention, 0),
    _aten._scaled_dot_product_flash_attention_for_cpu: (_attention, 0),
    _aten._scaled_dot_product_efficient_attention: (_attention, 0),
    _aten._scaled_dot_product_cudnn_attention: (_attention, 0),
    _aten._scaled_dot_product_fused_attention_overrideable: (_attention, 0),
}


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, model: nn.Module, found: list[Operation]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = found
        self.weights = {_memory(p) for p in model.parameters()} | {_memory(b) for b in model.buffers()}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is None:
            with self:  # a composite operation shows its parts; a basic one says NotImplemented
                result = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        out = result[0] if isinstance(result, tuple) else result
        count, first = formula
        tensors = [t for t in args[first:] if isinstance(t, Tensor)]
        reads = sum(t.numel() for t in tensors if _memory(t) not in self.weights)
        self.found.append(Operation(str(func.overloadpacket), count(args, out, first), reads, out.numel()))
        return result


def _memory(tensor: Tensor) -> int:
    """Equal for a tensor and its views (a transposed weight is still the weight)."""
    return int(tensor.untyped_storage()._cdata)


@contextmanager
def _decomposed() -> Iterator[None]:
    """Without the fused kernels (attention's fast path, whole recurrent networks) that hide products."""
    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)  # `backends.mkldnn.flags` does it too, but warns of other flags
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(fused)
