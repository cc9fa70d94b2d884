"""Vectors of lanes for Numba: the few instructions that the lane kernels are made of, on every machine.

A vector holds one number of each of W lanes and lives in registers. W is 8, 16, 32 or 64: the number of bits
of the masks in use (an array of unsigned integers given along as `masks`, of which only the type counts); a
mask says with bit k whether something is so in lane k. Left to itself, the compiler would keep what one
neuron gets from all its synapses in memory, and make whole vectors of truth values of the masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

from vilfredo.spiking.kernels.jit import jit


def primitive(code: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's `intrinsic`: for the types of its arguments `code` gives a signature, and what to write in
    LLVM."""
    made: Callable[..., Any] = intrinsic(code)
    return made


class Vector(types.Type):
    """W numbers of one type."""

    def __init__(self, number: Any, width: int) -> None:
        self.number, self.width = number, width
        super().__init__(name=f"Vector({number}, {width})")


def _element(number: Any) -> Any:
    return ir.DoubleType() if number == types.float64 else ir.IntType(number.bitwidth)


@register_model(Vector)
class _Model(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        kind = ir.VectorType(_element(fe_type.number), fe_type.width)
        super().__init__(dmm, fe_type, kind)  # type: ignore[no-untyped-call]


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Vector) -> Any:
    """Where an element of a flat array lies, as a pointer to a vector."""
    data = context.make_array(array_type)(context, builder, array).data
    there = builder.gep(data, [index])
    return builder.bitcast(there, context.get_value_type(kind).as_pointer())


def _bits(builder: Any, mask: Any, width: int) -> Any:
    """A mask as W truth values."""
    if mask.type.width > width:
        mask = builder.trunc(mask, ir.IntType(width))
    return builder.bitcast(mask, ir.VectorType(ir.IntType(1), width))


def _mask(builder: Any, truth: Any) -> Any:
    """W truth values as a mask."""
    return builder.zext(builder.bitcast(truth, ir.IntType(truth.type.count)), ir.IntType(64))


def _zero(context: Any, kind: Vector) -> Any:
    return ir.Constant(context.get_value_type(kind), None)


@primitive
def zero(typingctx: Any, values: Any, masks: Any) -> Any:
    """W zeros of the type of `values`."""
    kind = Vector(values.dtype, masks.dtype.bitwidth)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _zero(context, kind)

    return kind(values, masks), code


@primitive
def load(typingctx: Any, values: Any, index: Any, masks: Any) -> Any:
    """W elements of a flat array, from `index` on."""
    kind = Vector(values.dtype, masks.dtype.bitwidth)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[1], kind)
        return builder.load(place, align=max(1, values.dtype.bitwidth // 8))

    return kind(values, types.intp, masks), code


@primitive
def store(typingctx: Any, values: Any, index: Any, vector: Any) -> Any:
    """The reverse of `load`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[1], vector)
        builder.store(args[2], place, align=max(1, values.dtype.bitwidth // 8))
        return context.get_dummy_value()

    return types.void(values, types.intp, vector), code


@primitive
def item(typingctx: Any, values: Any, index: Any) -> Any:
    """Element `index` ≥ 0 of a flat array: without a look at whether the index is negative."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        stored = builder.load(builder.gep(data, [args[1]]))
        return context.data_model_manager[values.dtype].from_data(builder, stored)

    return values.dtype(values, types.intp), code


@primitive
def splat(typingctx: Any, value: Any, vector: Any) -> Any:
    """One number in all lanes of a vector like this one."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(vector)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), vector.width), None)
        return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order)

    return vector(vector.number, vector), code


@primitive
def add(typingctx: Any, a: Any, b: Any) -> Any:
    """a + b; integers wrap."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args) if a.number == types.float64 else builder.add(*args)

    return a(a, a), code


@primitive
def subtract(typingctx: Any, a: Any, b: Any) -> Any:
    """a − b; integers wrap."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(*args) if a.number == types.float64 else builder.sub(*args)

    return a(a, a), code


@primitive
def scale(typingctx: Any, a: Any, factor: Any) -> Any:
    """a · factor in floating point; integers stay as they are."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if a.number != types.float64:
            return args[0]
        kind = context.get_value_type(a)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), args[1], ir.Constant(ir.IntType(32), 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), a.width), None)
        return builder.fmul(args[0], builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order))

    return a(a, types.float64), code


@primitive
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """The larger one in each lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare = builder.fcmp_ordered if a.number == types.float64 else builder.icmp_signed
        return builder.select(compare(">", *args), *args)

    return a(a, a), code


@primitive
def where(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """`a` in the lanes of the mask, `b` in the others."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(_bits(builder, args[0], a.width), args[1], args[2])

    return a(types.uint64, a, a), code


@primitive
def add_where(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """a + b in the lanes of the mask, `a` in the others."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = (builder.fadd if a.number == types.float64 else builder.add)(args[1], args[2])
        return builder.select(_bits(builder, args[0], a.width), whole, args[1])

    return a(types.uint64, a, a), code


@primitive
def at_least(typingctx: Any, a: Any, b: Any) -> Any:
    """The mask of a ≥ b."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare = builder.fcmp_ordered if a.number == types.float64 else builder.icmp_signed
        return _mask(builder, compare(">=", *args))

    return types.uint64(a, a), code


@primitive
def reaches(typingctx: Any, able: Any, a: Any, b: Any) -> Any:
    """The mask of a ≥ b within a mask. (One `and` less far away than with `at_least`: truth values need not
    become a number and truth values again before they select anything.)"""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare = builder.fcmp_ordered if a.number == types.float64 else builder.icmp_signed
        truth = builder.and_(compare(">=", args[1], args[2]), _bits(builder, args[0], a.width))
        return _mask(builder, truth)

    return types.uint64(types.uint64, a, a), code


@primitive
def differ(typingctx: Any, a: Any, b: Any) -> Any:
    """The mask of a ≠ b."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare = builder.fcmp_ordered if a.number == types.float64 else builder.icmp_signed
        return _mask(builder, compare("!=", *args))

    return types.uint64(a, a), code


@primitive
def between(typingctx: Any, a: Any, low: Any, count: Any) -> Any:
    """The mask of low ≤ a < low + count, integers only; 0 ≤ low, 0 < count."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _mask(builder, builder.icmp_unsigned("<", builder.sub(args[0], args[1]), args[2]))

    return types.uint64(a, a, a), code


@primitive
def wrapped(typingctx: Any, a: Any) -> Any:
    """The lowest 8 bits of integers, with sign; floating-point numbers stay as they are."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if a.number == types.float64 or a.number.bitwidth == 8:
            return args[0]
        narrow = builder.trunc(args[0], ir.VectorType(ir.IntType(8), a.width))
        return builder.sext(narrow, context.get_value_type(a))

    return a(a), code


@primitive
def lowest(typingctx: Any, mask: Any) -> Any:
    """The number of the lowest bit that is set in a mask that is not 0."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), code


@primitive
def take(typingctx: Any, counter: Any) -> Any:
    """Element 0 of an int64 array, and one more for whoever asks next, from whichever thread."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), code


@jit(error_model="numpy")
def aligned(count: int, like: Any) -> Any:
    """A flat array of zeros that begins where a cache line does."""
    raw = np.zeros(count + 64 // like.itemsize, like.dtype)
    skip = (-raw.ctypes.data % 64) // like.itemsize
    return raw[skip : skip + count]
