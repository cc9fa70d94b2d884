"""Sixteen numbers at a time, for the engine's kernels: what the compiler does not come to by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

WIDTH = 16
tools: Any = cgutils  # has no types


def primitive(code: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's `intrinsic`: for the types of its arguments `code` gives a signature, and what to write in
    LLVM."""
    made: Callable[..., Any] = intrinsic(code)
    return made


def _vector(number: Any) -> Any:
    kinds = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int16: ir.IntType(16)}
    return ir.VectorType(kinds[number], WIDTH)


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return _at(context, builder, kind, array, index, _vector(kind.dtype))


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


def _integers(bits: int, width: int = WIDTH) -> Any:
    return ir.VectorType(ir.IntType(bits), width)


def _splat(builder: Any, vector: Any, value: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(one, undefined, order)


def _taken(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    order = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(a, b, order)


def _function(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    return tools.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _at(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """Where an element of a flat array lies, as a pointer to `vector`."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _features() -> str:
    """What Numba thinks that this processor has."""
    features: str = cpu_target.target_context.codegen().magic_tuple()[2]
    return features


def quick_bytes() -> bool:
    """Whether this processor multiplies bytes four at a time (VNNI): only then do `dots` pay."""
    return "+avx512vnni" in _features() or "+avxvnni," in _features() + ","


def _dot(builder: Any, total: Any, x: Any, w: Any) -> Any:
    """`total` plus, lane by lane, the four products of unsigned bytes of x with signed bytes of w."""
    name, features = "llvm.x86.avx512.vpdpbusd", _features()
    if "+avx512vnni" in features:
        whole = _integers(32)
        return builder.call(_function(builder, f"{name}.512", whole, [whole] * 3), [total, x, w])
    if "+avxvnni," in features + ",":
        half = _integers(32, 8)
        function = _function(builder, f"{name}.256", half, [half] * 3)
        lower, upper = (
            builder.call(function, [_taken(builder, t, t, lanes) for t in (total, x, w)])
            for lanes in (range(8), range(8, 16))
        )
        return _taken(builder, lower, upper, range(16))
    for byte in range(4):
        shift = ir.Constant(_integers(32), [8 * byte] * WIDTH)
        left = ir.Constant(_integers(32), [24 - 8 * byte] * WIDTH)
        mine = builder.and_(builder.lshr(x, shift), ir.Constant(_integers(32), [255] * WIDTH))
        signed = builder.ashr(builder.shl(w, left), ir.Constant(_integers(32), [24] * WIDTH))
        total = builder.add(total, builder.mul(mine, signed))
    return total


@primitive
def dots(
    typingctx: Any,
    sums: Any,
    at: Any,
    pitch: Any,
    cells: Any,
    base: Any,
    offsets: Any,
    weights: Any,
    first_weight: Any,
    bias: Any,
    first_bias: Any,
    count: Any,
) -> Any:
    """`sums[at + o · pitch + k]` = `bias[first_bias + o]` + Σ_j cell · weight, o and k from 0 to 15, j up to
    `count`: of `cells[base + offsets[j] + k]`, four unsigned bytes, and `weights[first_weight + 16 · j + o]`,
    four signed ones. All arrays are flat, of int32."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, vector, long = signature.args[0], _integers(32), ir.IntType(64)
        sums, at, pitch, cells, base, offsets, weights, first_weight, bias, first_bias, count = args
        flat = {
            name: context.make_array(kind)(context, builder, array).data
            for name, array in (("offsets", offsets), ("weights", weights), ("bias", bias))
        }

        def number(name: str, index: Any) -> Any:
            return builder.load(builder.gep(flat[name], [index]), align=4)

        totals = []
        for o in range(WIDTH):
            start = number("bias", builder.add(first_bias, ir.Constant(long, o)))
            totals.append(tools.alloca_once(builder, vector))
            builder.store(_splat(builder, vector, start), totals[-1])
        with tools.for_range(builder, count) as loop:
            place = builder.add(base, builder.sext(number("offsets", loop.index), long))
            x = builder.load(_at(context, builder, kind, cells, place, vector), align=4)
            weight = builder.add(first_weight, builder.mul(loop.index, ir.Constant(long, WIDTH)))
            for o, total in enumerate(totals):
                one = _splat(builder, vector, number("weights", builder.add(weight, ir.Constant(long, o))))
                builder.store(_dot(builder, builder.load(total), x, one), total)
        for o, total in enumerate(totals):
            place = builder.add(at, builder.mul(pitch, ir.Constant(long, o)))
            builder.store(builder.load(total), _at(context, builder, kind, sums, place, vector), align=4)
        return context.get_dummy_value()

    ints = (sums, types.intp, types.intp, cells, types.intp, offsets, weights)
    return types.void(*ints, types.intp, bias, types.intp, types.intp), code


@primitive
def interleaved(
    typingctx: Any, cells: Any, at: Any, row: Any, a: Any, b: Any, c: Any, d: Any, keep: Any, rest: Any
) -> Any:
    """`cells[at + k]` = the bytes `row[a + k]`, `row[b + k]`, `row[c + k]`, `row[d + k]`, the first lowest;
    `rest` for k from `keep` to 15."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bytes_, vector = _integers(8), _integers(32)
        cell = None
        for byte, index in enumerate(args[3:7]):
            place = _at(context, builder, signature.args[2], args[2], index, bytes_)
            part = builder.zext(builder.load(place, align=1), vector)
            part = builder.shl(part, ir.Constant(vector, [8 * byte] * WIDTH))
            cell = part if cell is None else builder.or_(cell, part)
        limit = _splat(builder, vector, builder.trunc(args[7], ir.IntType(32)))
        inside = builder.icmp_signed("<", ir.Constant(vector, list(range(WIDTH))), limit)
        cell = builder.select(inside, cell, _splat(builder, vector, args[8]))
        place = _at(context, builder, signature.args[0], args[0], args[1], vector)
        builder.store(cell, place, align=4)
        return context.get_dummy_value()

    places = (types.intp,) * 5
    return types.void(cells, types.intp, row, *places, types.int32), code


@primitive
def requantised(
    typingctx: Any,
    sums: Any,
    at: Any,
    multiplier: Any,
    half: Any,
    scale: Any,
    zero: Any,
    low: Any,
    high: Any,
    least: Any,
    out: Any,
    to: Any,
) -> Any:
    """`out[to + k]` = the code of `sums[at + k]` less `least`, as a byte, k from 0 to 15: as
    `kernels.code`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, at, *numbers, least, out, to = args
        vector, reals = _integers(32), ir.VectorType(ir.DoubleType(), WIDTH)
        multiplier, half, scale, zero, low, high = (_splat(builder, reals, n) for n in numbers)
        total = builder.load(_at(context, builder, signature.args[0], sums, at, vector), align=4)
        value = builder.sitofp(total, reals)
        value = builder.fmul(builder.fadd(builder.fmul(value, multiplier), half), scale)
        value = builder.call(_function(builder, f"llvm.floor.v{WIDTH}f64", reals, [reals]), [value])
        value = builder.fadd(value, zero)
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
        whole = builder.sub(builder.fptosi(value, vector), _splat(builder, vector, least))
        place = _at(context, builder, signature.args[9], out, to, _integers(8))
        builder.store(builder.trunc(whole, _integers(8)), place, align=1)
        return context.get_dummy_value()

    reals = (types.float64,) * 6
    return types.void(sums, types.intp, *reals, types.int32, out, types.intp), code


@primitive
def different(typingctx: Any, a: Any, at: Any, b: Any, to: Any) -> Any:
    """Which bytes `a[at + k]` differ from `b[to + k]`, as bits k from 0 to 63."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _integers(8, 64)
        mine = builder.load(_at(context, builder, signature.args[0], args[0], args[1], vector), align=1)
        other = builder.load(_at(context, builder, signature.args[2], args[2], args[3], vector), align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", mine, other), ir.IntType(64))

    return types.int64(a, types.intp, b, types.intp), code


@primitive
def ones(typingctx: Any, mask: Any) -> Any:
    """How many bits are set."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), code


@primitive
def greatest_of_pairs(typingctx: Any, row: Any, a: Any, b: Any, out: Any, at: Any) -> Any:
    """`out[at + k]` = the greatest of the bytes `row[a + 2 k]`, `row[a + 2 k + 1]` and the same at b, k from
    0 to 15."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = _integers(8, 32)

        def greater(x: Any, y: Any) -> Any:
            return builder.select(builder.icmp_unsigned(">", x, y), x, y)

        upper, lower = (
            builder.load(_at(context, builder, signature.args[0], args[0], index, wide), align=1)
            for index in args[1:3]
        )
        both = greater(upper, lower)
        even, odd = (_taken(builder, both, both, range(begin, 32, 2)) for begin in (0, 1))
        place = _at(context, builder, signature.args[3], args[3], args[4], _integers(8))
        builder.store(greater(even, odd), place, align=1)
        return context.get_dummy_value()

    return types.void(row, types.intp, types.intp, out, types.intp), code
