"""Layers in bytes give what torch gives, whatever their geometry; rounding in float32 gives what float64
does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilfredo.campaign import bytewise, packed
from vilfredo.campaign.golden import Golden
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Rescale, Step, output

needs_numba = pytest.mark.skipif(not bytewise.compiled, reason="compiled loops need Numba")
IMAGES = 3
SIZES = st.integers(1, 19)


def rescale(rng, channels, low, high, zero):
    multiplier = torch.from_numpy(rng.integers(1, 1 << 12, channels)).double()
    shift = torch.from_numpy(rng.integers(14, 22, channels)).double()
    return Rescale(multiplier, shift, zero, low, high)


def stored(signed):
    return Codes(-128, 127, 8) if signed else Codes(0, 255, 8)


def one_step(rng, step, shape, signed, zero):
    low = -128 if signed else 0
    x = torch.from_numpy(rng.integers(low, low + 256, (IMAGES, *shape))).float()
    network = Deployed((step,), shape, stored(signed), input_zero=zero)
    return Golden(network, x), x


def conv(seed, channels, filters, kernel, stride, padding, dilation, height, width, signed, bits):
    rng = np.random.default_rng(seed)
    zero = int(rng.integers(-20, 20)) if signed else 0
    top = 2 ** (bits - 1)
    weight = torch.from_numpy(rng.integers(-top, top, (filters, channels, *kernel))).float()
    out = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip((height, width), padding, dilation, kernel, stride, strict=True)
    ]
    if min(out) < 1:
        return None
    low, high = (-128, 127) if signed else (0, 255)
    step = Step(
        "conv",
        "conv",
        (-1,),
        (filters, *out),
        stored(signed),
        {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": 1},
        (zero,),
        weight,
        torch.from_numpy(rng.integers(-3000, 3000, filters)).float(),
        Codes(-top, top - 1, bits),
        finish=rescale(rng, filters, low, high, 0),
        accumulator=Codes(-(2**31), 2**31 - 1, 32),
        dtype=torch.float64,
    )
    return step, *one_step(rng, step, (channels, height, width), signed, zero)


PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@needs_numba
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=SIZES,
    filters=SIZES,
    kernel=PAIRS,
    stride=PAIRS,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=PAIRS,
    height=SIZES,
    width=st.integers(1, 35),
    signed=st.booleans(),
    bits=st.integers(2, 8),
)
@settings(max_examples=60, deadline=None)
def test_convolutions_with_faulty_weights_and_codes_are_those_of_torch(seed, signed, bits, **geometry):
    case = conv(seed, signed=signed, bits=bits, **geometry)
    if case is None:
        return
    step, golden, x = case
    rng = np.random.default_rng(seed)
    layer, least = golden.packed(0), golden.least(0)
    assert layer is not None
    assert least is not None
    # Faulty weights, and some codes other than those of the image that each row begins as.
    flat = step.weight.flatten().numpy().copy()
    index = rng.permutation(len(flat))[:5]
    change = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), len(index)) - flat[index]
    flat[index] += change
    image = np.array([0, 0, 2])
    row = rng.permutation(len(x[0].flatten()))[:4].astype(np.int32)
    byte = rng.integers(0, 256, len(row)).astype(np.uint8)
    low = -128 if signed else 0
    faulty = x[image].clone()
    faulty[1].view(-1)[torch.from_numpy(row).long()] = torch.from_numpy(byte).float() + low
    expected = output(
        Step(**{**vars(step), "weight": torch.from_numpy(flat).view(step.weight.shape)}), [faulty]
    )
    rows = packed.Rows(image, golden.bytes(-1), np.array([0, 0, len(row), len(row)]), row, byte)
    codes, counts = packed.convolved(
        layer.with_weights(index, change.astype(np.float64)), rows, golden.bytes(0).reshape(-1), image
    )
    found = torch.from_numpy(codes.reshape(3, -1)).float() + least
    assert torch.equal(found, expected.flatten(1))
    assert counts.tolist() == (expected != golden.codes(0)[image]).flatten(1).sum(1).tolist()


@needs_numba
@given(
    seed=st.integers(0, 2**32 - 1),
    features=st.integers(1, 70),
    filters=st.integers(1, 40),
    rows=st.integers(1, 40),
    signed=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_dense_layers_are_those_of_torch(seed, features, filters, rows, signed):
    rng = np.random.default_rng(seed)
    step = Step(
        "dense",
        "dense",
        (-1,),
        (filters,),
        Codes(-32768, 32767, 16),
        zeros=(3,),
        weight=torch.from_numpy(rng.integers(-128, 128, (filters, features))).float(),
        bias=None,
        weight_codes=Codes(-128, 127, 8),
        finish=rescale(rng, filters, -32768, 32767, 5),
        dtype=torch.float64,
    )
    golden, x = one_step(rng, step, (features,), signed, 3)
    layer = golden.packed(0)
    assert layer is not None
    image = rng.integers(0, IMAGES, rows)
    found = packed.multiplied(layer, packed.plain_rows(image, golden.bytes(-1)))
    assert torch.equal(found, output(step, [x[image]]))


@needs_numba
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 5),
    height=st.integers(3, 40),
    width=st.integers(3, 40),
    window=st.sampled_from([(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 1, 0), (3, 3, 0)]),
)
@settings(max_examples=40, deadline=None)
def test_greatest_codes_are_those_of_torch(seed, channels, height, width, window):
    kernel, stride, padding = window
    out = [(size + 2 * padding - kernel) // stride + 1 for size in (height, width)]
    args = {name: (n, n) for name, n in zip(("kernel", "stride", "padding"), window, strict=True)}
    step = Step("pool", "max_pool", (-1,), (channels, *out), stored(False), args)
    golden, x = one_step(np.random.default_rng(seed), step, (channels, height, width), False, 0)
    image = np.array([2, 0, 1])
    codes, counts = packed.pooled(
        *golden.window(0),
        packed.plain_rows(image, golden.bytes(-1)),
        golden.bytes(0).reshape(-1),
        np.arange(3),
    )
    expected = output(step, [x[image]])
    assert torch.equal(torch.from_numpy(codes.reshape(expected.shape)).float(), expected)
    assert counts.tolist() == (expected != golden.codes(0)).flatten(1).sum(1).tolist()


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 16),
    signed=st.booleans(),
    shift=st.integers(0, 25),
    magnitude=st.integers(0, 24),
)
@settings(max_examples=200, deadline=None)
def test_power_of_two_scales_round_alike_in_float32_and_float64(seed, bits, signed, shift, magnitude):
    rng = np.random.default_rng(seed)
    low = -(2 ** (bits - 1)) if signed else 0
    high = low + 2**bits - 1
    finish = Rescale(
        torch.ones(()).double(), torch.tensor(shift).double(), int(rng.integers(low, high + 1)), low, high
    )
    top = 2**magnitude
    sums = torch.from_numpy(np.append(rng.integers(-top, top + 1, 200), [-top, 1 - top, top - 1, top]))
    assert torch.equal(finish(sums.float()), finish(sums.double()))
