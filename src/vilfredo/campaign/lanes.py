"""Sixteen numbers at a time, for the engine's kernels: what the compiler does not come to by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

WIDTH = 16


def primitive(code: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's `intrinsic`: for the types of its arguments `code` gives a signature, and what to write in
    LLVM."""
    made: Callable[..., Any] = intrinsic(code)
    return made


def _vector(number: Any) -> Any:
    kinds = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int16: ir.IntType(16)}
    return ir.VectorType(kinds[number], WIDTH)


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Where an element of a flat array lies, as a pointer to a vector."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _vector(kind.dtype).as_pointer())


def _load(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return builder.load(_place(context, builder, kind, array, index), align=kind.dtype.bitwidth // 8)


def _store(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> None:
    builder.store(vector, _place(context, builder, kind, array, index), align=kind.dtype.bitwidth // 8)


@primitive
def add_product(typingctx: Any, total: Any, at: Any, factors: Any, base: Any, value: Any) -> Any:
    """`total[at + k] += value · factors[base + k]` for k from 0 to 15; flat arrays of one type."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, _, other, *_ = signature.args
        vector = _vector(kind.dtype)
        one = builder.insert_element(
            ir.Constant(vector, ir.Undefined), args[4], ir.Constant(ir.IntType(32), 0)
        )
        order = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), None)
        all_ = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), order)
        product = builder.fmul(all_, _load(context, builder, other, args[2], args[3]), flags=("contract",))
        before = _load(context, builder, kind, args[0], args[1])
        after = builder.fadd(before, product, flags=("contract",))
        _store(context, builder, kind, args[0], args[1], after)
        return context.get_dummy_value()

    return types.void(total, types.intp, factors, types.intp, total.dtype), code


@primitive
def beyond(typingctx: Any, total: Any, at: Any, down: Any, up: Any, base: Any) -> Any:
    """Which of `total[at + k]` are below `down[base + k]` or above `up[base + k]`, as bits k from 0 to 15."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, _, lower, upper, _ = signature.args
        vector = _vector(kind.dtype)
        mine = _load(context, builder, kind, args[0], args[1])
        least = builder.sitofp(_load(context, builder, lower, args[2], args[4]), vector)
        most = builder.sitofp(_load(context, builder, upper, args[3], args[4]), vector)
        below = builder.fcmp_ordered("<", mine, least)
        above = builder.fcmp_ordered(">", mine, most)
        return builder.zext(builder.bitcast(builder.or_(below, above), ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(total, types.intp, down, up, types.intp), code


@primitive
def clear(typingctx: Any, total: Any, at: Any) -> Any:
    """`total[at + k] = 0` for k from 0 to 15."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, _ = signature.args
        _store(context, builder, kind, args[0], args[1], ir.Constant(_vector(kind.dtype), None))
        return context.get_dummy_value()

    return types.void(total, types.intp), code


@primitive
def first(typingctx: Any, mask: Any) -> Any:
    """The number of the lowest bit that is set; there is one."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code
