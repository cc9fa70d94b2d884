"""Whole-number networks: three computations agree bit for bit, whatever codes there are; accuracy stays."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from user_networks import FAMILIES, Anything, settled
from vilfredo.codes import span
from vilfredo.data import digits
from vilfredo.nn.deployed import Deployed, Rescale, Step, multiplied, output, run
from vilfredo.nn.folding import results
from vilfredo.nn.graph import trace
from vilfredo.nn.quality import agreement, quality
from vilfredo.nn.quantize import LOGITS, Scheme, fixed, planned, quantize, simulation

Whole = NDArray[np.int64]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


# -- an independent computation: int64, loops over the pixels of the kernel, Python's shifts -------------


def whole(t: Tensor) -> Whole:
    array = t.double().numpy()
    assert (array == np.rint(array)).all()
    return array.astype(np.int64)


def requantised(rescale: Rescale, sums: Whole) -> Whole:
    along = [1, -1] + [1] * (sums.ndim - 2)
    multiplier, shift = (whole(t).reshape(-1) for t in (rescale.multiplier, rescale.shift))
    multiplier, shift = multiplier.reshape(along), shift.reshape(along)
    assert (np.abs(sums.astype(object)) * multiplier < 2**52).all()
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    return np.clip(((sums * multiplier + half) >> shift) + rescale.zero, rescale.low, rescale.high)


def windows(x: Whole, step: Step, padding: tuple[int, int], fill: int) -> tuple[Whole, int, int]:
    """(n, c, h, w) to (places, n, c, oh, ow): what is at each place of the kernel."""
    (kh, kw), (sh, sw) = step.args["kernel"], step.args["stride"]
    dh, dw = step.args.get("dilation", (1, 1))
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=fill)
    oh = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    at = [
        x[:, :, i * dh : i * dh + (oh - 1) * sh + 1 : sh, j * dw : j * dw + (ow - 1) * sw + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    return np.stack(at), oh, ow


def convolved(step: Step, x: Whole) -> Whole:
    weight = whole(step.weight)
    groups = step.args["groups"]
    places, oh, ow = windows(x, step, tuple(step.args["padding"]), 0)
    out = np.zeros((len(x), len(weight), oh, ow), np.int64)
    per = len(weight) // groups
    for g in range(groups):
        channels = slice(g * weight.shape[1], (g + 1) * weight.shape[1])
        part = weight[g * per : (g + 1) * per].reshape(per, weight.shape[1], -1)
        out[:, g * per : (g + 1) * per] = np.einsum("pnchw,ocp->nohw", places[:, :, channels], part)
    return out if step.bias is None else out + whole(step.bias)[:, None, None]


def stepped(step: Step, arriving: list[Whole]) -> Whole:
    x, zero = arriving[0], step.zeros[0]
    if step.op == "conv":
        total = convolved(step, x - zero)
    elif step.op == "dense":
        total = (x - zero) @ whole(step.weight).T + (0 if step.bias is None else whole(step.bias))
    elif step.op == "max_pool":
        return windows(x, step, tuple(step.args["padding"]), -(2**40))[0].max(0)
    elif step.op == "avg_pool":
        total = windows(x - zero, step, tuple(step.args["padding"]), 0)[0].sum(0)
        total = total if step.shares is None else total * whole(step.shares)
    elif step.op == "global_pool":
        total = (x - zero).sum((2, 3))
    elif step.op == "add":
        terms = zip(arriving, step.zeros, step.factors, strict=True)
        total = sum((other - z) * int(factor) for other, z, factor in terms)
    elif step.op == "concat":
        parts = zip(arriving, step.zeros, step.rescales, strict=True)
        return np.concatenate([o if r is None else requantised(r, o - z) for o, z, r in parts], 1)
    elif step.op == "lookup":
        return whole(step.table)[x - step.table_low]
    elif step.op == "flatten":
        return x.reshape(len(x), -1)
    elif step.op == "pad":
        top, bottom, left, right = step.args["padding"]
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=zero)
    else:
        assert step.op == "clip"
        total = x - zero
    if step.accumulator is not None:
        low, high = span(step.accumulator)
        assert (total >= low).all()
        assert (total <= high).all()
    return total if step.finish is None else requantised(step.finish, total)


def reference(network: Deployed, x: Whole) -> list[Whole]:
    known: list[Whole] = []
    for step in network.steps:
        known.append(stepped(step, [x if i < 0 else known[i] for i in step.inputs]))
        low, high = span(step.codes)
        assert (known[-1] >= low).all()
        assert (known[-1] <= high).all()
    return known


# -- laws -------------------------------------------------------------------------------------------------


def agree(network: Deployed, codes: Tensor) -> None:
    """`run`, the simulation in float64 and the reference give the same bits at every step."""
    known = run(network, codes)
    wanted = reference(network, whole(codes))
    for step, one, two in zip(network.steps, known, wanted, strict=True):
        assert one.shape == two.shape
        assert one.shape[1:] == step.shape
        assert (whole(one) == two).all(), step.name
    simulated = simulation(network)(codes)
    assert simulated.dtype == torch.float64
    assert (whole(simulated) == wanted[-1]).all()


def extreme(network: Deployed, seed: int) -> Deployed:
    """Weights at the ends of what their cells hold: what faults may come to."""
    rng = torch.Generator().manual_seed(seed)
    steps = []
    for step in network.steps:
        if step.weight is not None:
            low, high = span(step.weight_codes)
            ends = torch.tensor([float(low), float(high)])
            sign = torch.randint(2, (len(step.weight), *[1] * (step.weight.dim() - 1)), generator=rng)
            each = torch.randint(2, step.weight.shape, generator=rng)
            step = replace(step, weight=ends[sign.expand_as(each) if seed % 2 else each])
        steps.append(step)
    return replace(network, steps=tuple(steps))


schemes = st.builds(
    Scheme,
    weights=st.integers(4, 16),
    activations=st.integers(4, 16),
    scales=st.sampled_from(["power_of_two", "real"]),
    per=st.sampled_from(["tensor", "channel"]),
    calibration=st.sampled_from(["max", "percentile", "mse"]),
    clip=st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000), scheme=schemes)
def test_three_computations_agree_bit_for_bit(seed: int, scheme: Scheme) -> None:
    model = settled(Anything(seed, size=6, depth=8), seed)
    rng = torch.Generator().manual_seed(seed)
    network = quantize(model, torch.randn(6, 3, 6, 6, generator=rng), scheme)
    low, high = span(network.input)
    ordinary = network.encode(torch.randn(3, 3, 6, 6, generator=rng) * 2)
    codes = torch.randint(low, high + 1, (3, 3, 6, 6), generator=rng).float()
    ends = torch.stack([torch.full((3, 6, 6), float(low)), torch.full((3, 6, 6), float(high))])
    agree(network, torch.cat([ordinary, codes, ends]))
    agree(extreme(network, seed), torch.cat([codes, ends]))


@pytest.mark.parametrize("scales", ["power_of_two", "real"])
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_networks(name: str, scales: str) -> None:
    model = settled(FAMILIES[name](), 1)
    x = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    network = quantize(model, x, Scheme(scales=scales))
    agree(network, network.encode(x[:4]))
    rows = quality(network, model, x)
    assert [row.name for row in rows] == [step.name for step in network.steps]
    assert rows[-1].sqnr > 20
    finer = quality(quantize(model, x, Scheme(12, 12, scales)), model, x)
    assert finer[-1].sqnr > rows[-1].sqnr + 12


@pytest.mark.parametrize(
    ("weights", "activations", "fan_in"), [(8, 8, 130), (9, 8, 300), (16, 16, 40), (4, 4, 90)]
)
def test_long_sums_are_exact_whatever_the_codes(weights: int, activations: int, fan_in: int) -> None:
    """All products of one sign and of the greatest size: partial sums as great as can be."""
    model = settled(nn.Sequential(nn.Conv2d(fan_in, 3, 3, padding=1), nn.Flatten(), nn.Linear(12, 4)))
    network = quantize(model, torch.rand(2, fan_in, 2, 2), Scheme(weights, activations))
    step = network.steps[0]
    wide = 9 * fan_in * 2 ** (weights - 1) * (2**activations - 1) >= 2**24
    assert (step.dtype == torch.float64) == wide
    assert bool(step.chunk) == (wide and weights < 12)
    step = replace(step, weight=torch.full_like(step.weight, step.weight_codes.low))
    network = replace(network, steps=(step, *network.steps[1:]))
    agree(network, torch.full((2, fan_in, 2, 2), network.input.high))
    x = torch.full((1, fan_in, 2, 2), network.input.high)
    fewer = multiplied(step, x, step.weight[:2])
    assert torch.equal(
        fewer.double() + step.bias[:2].double()[:, None, None],
        multiplied(step, x, step.weight, step.bias)[:, :2].double(),
    )


def test_a_flipped_accumulator_is_requantised_exactly() -> None:
    model = settled(FAMILIES["resnet"](), 2)
    for scheme in (Scheme(), Scheme(scales="real"), Scheme(16, 16, "real")):
        for step in quantize(model, torch.randn(8, 3, 8, 8), scheme).steps:
            if step.accumulator and isinstance(step.finish, Rescale):
                low, high = span(step.accumulator)
                channels = step.shape[0]
                sums = np.array(
                    [[low] * channels, [high] * channels, [low + 12345] * channels, [-1] * channels]
                )
                given = step.finish(torch.from_numpy(sums).double())
                assert (whole(given) == requantised(step.finish, sums)).all()
                assert given.dtype == torch.float32


@given(
    ratio=st.floats(2.0**-40, 2.0**10),
    bits=st.integers(6, 20),
    up=st.booleans(),
)
def test_multipliers_are_near_what_they_stand_for(ratio: float, bits: int, up: bool) -> None:
    multiplier, shift = (float(t) for t in fixed(torch.tensor(ratio, dtype=torch.float64), bits, up))
    assert multiplier == int(multiplier) <= 2**bits
    assert 0 <= shift <= 51
    if shift < 51 and ratio < 2.0 ** (bits - 1):
        assert multiplier / 2**shift == pytest.approx(ratio, rel=2.0 ** (1 - bits))
        assert not up or multiplier / 2**shift >= ratio


def test_rounding_is_half_up() -> None:
    rescale = Rescale(torch.tensor(1.0).double(), torch.tensor(2.0).double(), 0, -9, 9)
    sums = torch.tensor([[-7.0, -6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6, 7, 90, -90]])
    assert rescale(sums).tolist() == [[-2, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2, 2, 9, -9]]


# -- what the scheme says ---------------------------------------------------------------------------------


def test_power_of_two_scales_are_powers_of_two_and_shifts() -> None:
    model = settled(FAMILIES["nasnet"](), 3)
    network = quantize(model, torch.randn(16, 3, 8, 8), Scheme(6, 7))
    for step in network.steps:
        assert math.frexp(step.scale)[0] == 0.5
        assert step.zero == 0
        if step.weight is not None:
            assert (torch.frexp(step.weight_scale)[0] == 0.5).all()
            assert step.weight_codes.bits == 6
            assert (torch.frexp(step.finish.multiplier)[0] == 0.5).all()
            assert step is network.steps[-1] or (step.finish.multiplier == 1).all()
        assert step.codes.bits == (LOGITS if step is network.steps[-1] else 7)


def test_scales_per_tensor_and_channel() -> None:
    model = settled(FAMILIES["resnet"](), 3)
    x = torch.randn(16, 3, 8, 8)
    for scales in ("power_of_two", "real"):
        whole_layer = quantize(model, x, Scheme(scales=scales, per="tensor"))
        each = quantize(model, x, Scheme(scales=scales, per="channel"))
        for one, two in zip(whole_layer.steps, each.steps, strict=True):
            if one.weight is not None:
                assert one.weight_scale.dim() == 0
                assert two.weight_scale.shape == (len(two.weight),)
                assert one.weight.abs().max() <= one.weight_codes.high
                if two.op == "conv":
                    assert two.weight.abs().flatten(1).amax(1).min() > two.weight_codes.high / 2 - 1


def test_codes_are_unsigned_where_nothing_is_negative() -> None:
    model = settled(FAMILIES["resnet"](), 4)
    network = quantize(model, torch.randn(16, 3, 8, 8))
    signed = {step.name: step.codes.signed for step in network.steps}
    assert network.input.signed
    assert not signed["stem.0"]
    assert not signed["blocks.0.add"]
    assert signed["blocks.0.conv2"]
    assert signed["head"]
    assert quantize(model, torch.rand(16, 3, 8, 8)).input.signed is False
    real = quantize(model, torch.randn(16, 3, 8, 8), Scheme(scales="real"))
    assert {s.name: s.zero for s in real.steps}["stem.0"] == 0
    assert {s.name: s.zero for s in real.steps}["blocks.0.conv2"] != 0
    stem = real.steps[0]
    assert stem.finish.high == min(255, math.floor(6 / stem.scale + 0.5))  # ReLU6 is a clamp of its codes


def test_inputs_of_a_concatenation_share_a_scale_where_nobody_else_looks() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            c = self.c(x)
            return torch.cat([torch.relu(self.a(x)), self.b(x), c], 1).mean((2, 3)) + torch.cat(
                [c] * 3, 1
            ).mean((2, 3))

    for scales in ("power_of_two", "real"):
        model = settled(Fork(), 5)
        network = quantize(model, torch.randn(32, 2, 5, 5) * 3, Scheme(scales=scales))
        by_name = {step.name: step for step in network.steps}
        joined = by_name["cat"]
        assert joined.rescales[0] is None
        assert joined.rescales[1] is None
        assert by_name["a"].scale == by_name["b"].scale == joined.scale
        assert (by_name["c"].scale == joined.scale) == (joined.rescales[2] is None)
        agree(network, network.encode(torch.randn(8, 2, 5, 5) * 5))


def test_bits_of_single_layers() -> None:
    model = settled(FAMILIES["resnet"](), 4)
    network = quantize(model, torch.randn(8, 3, 8, 8), Scheme(layers={"blocks.0.conv1": 5, "head": 12}))
    bits = {s.name: (s.weight_codes.bits if s.weight_codes else 0, s.codes.bits) for s in network.steps}
    assert bits["stem.0"] == (8, 8)
    assert bits["blocks.0.conv1"] == (5, 5)
    assert bits["head"] == (12, LOGITS)


def test_clipping_restricts_to_what_was_seen() -> None:
    model = settled(FAMILIES["resnet"](), 4)
    x = torch.randn(8, 3, 8, 8)
    plain, clipped = (quantize(model, x, Scheme(clip=clip)) for clip in (False, True))
    tighter = [
        (a.finish.high, b.finish.high)
        for a, b in zip(plain.steps, clipped.steps, strict=True)
        if a.finish is not None
    ]
    assert all(b <= a for a, b in tighter)
    assert sum(b < a for a, b in tighter) >= 3
    wanted = results(planned(trace(model, (3, 8, 8))), x)
    for step, y in list(zip(clipped.steps, wanted, strict=True))[:-1]:
        assert (step.finish.high - step.zero) * step.scale <= float(y.max()) + step.scale / 2
        assert (step.finish.low - step.zero) * step.scale >= min(float(y.min()), 0.0) - step.scale / 2
    loud = run(clipped, clipped.encode(x * 3))
    assert any((t == s.finish.high).any() for t, s in zip(loud, clipped.steps, strict=True))


def test_channels_of_zeros_and_tiny_ones_beside_great_biases() -> None:
    model = settled(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.Flatten()))
    with torch.no_grad():
        model[0].weight[0] = 0
        model[0].weight[1] *= 1e-12
        model[0].bias[:2] = torch.tensor([3.0, -2.0])
        model[2].weight.zero_()
    x = torch.randn(8, 2, 5, 5)
    for scales in ("power_of_two", "real"):
        for per in ("tensor", "channel"):
            network = quantize(model, x, Scheme(scales=scales, per=per))
            agree(network, network.encode(x))
            assert network.steps[0].accumulator.bits == 32
            wanted = model(x).detach().double()
            assert (network.decode(run(network, network.encode(x))[-1]) - wanted).abs().max() < 0.01


# -- accuracy ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network for the digits, with test images and labels."""
    data = digits.load()
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU6(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 10),
    )
    x, y = (torch.from_numpy(np.array(a)) for a in (data.train.x, data.train.y))
    x, y = (x.float() - 5) / 6, y.long()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for epoch in range(6):
        for some in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[some]), y[some]).backward()
            optimizer.step()
    test = torch.from_numpy(np.array(data.test.x)).float()
    return model.eval(), (test - 5) / 6, torch.from_numpy(np.array(data.test.y)).long()


@pytest.mark.parametrize("scales", ["power_of_two", "real"])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_accuracy_on_digits(trained: tuple[nn.Module, Tensor, Tensor], scales: str, per: str) -> None:
    model, x, y = trained
    for bits, calibration, loss in ((16, "max", 0.0), (8, "max", 0.01), (8, "mse", 0.01), (4, "mse", 0.1)):
        network = quantize(model, x[:100], Scheme(bits, bits, scales, per, calibration))
        found = agreement(network, model, x, y)
        assert found.trained > 0.93
        assert found.deployed >= found.trained - loss - 0.003
        assert found.same >= 1 - loss - 0.003
    assert agreement(network, model, x).same == found.same
    assert math.isnan(agreement(network, model, x).trained)


def test_quality_of_layers(trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, _ = trained
    rows = quality(quantize(model, x[:100]), model, x[:100])
    assert [row.name for row in rows] == ["0", "3", "4", "7", "8", "9"]
    assert all(25 < row.sqnr < 80 for row in rows)
    assert all(row.saturated == 0 for row in rows)
    assert (rows[0].weight_bits, rows[0].bits, rows[0].accumulator) == (8, 8, 32)
    narrow = quality(quantize(model, x[:1]), model, x[:100])
    assert max(row.saturated for row in narrow) > 0
    with pytest.raises(ValueError, match="was not made of this model"):
        quality(quantize(model[:4], x[:9]), model, x[:9])


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": 3}, "weights is 3; it must be a whole number of bits from 4 to 16"),
        ({"activations": 17}, "activations is 17; it must be"),
        ({"weights": 8.0}, "weights is 8.0"),
        ({"activations": True}, "activations is True"),
        ({"layers": {"conv": 2}}, r"layers\['conv'\] is 2"),
        ({"scales": "log"}, "scales is 'log'; it must be power_of_two or real"),
        ({"per": "row"}, "per is 'row'; it must be tensor or channel"),
        ({"calibration": "kl"}, "calibration is 'kl'; it must be max or percentile or mse"),
    ],
)
def test_schemes_that_there_are_not(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Scheme(**options)


def test_what_does_not_fit() -> None:
    model = settled(FAMILIES["resnet"]())
    traced = trace(model, (3, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(4, 3, 9, 9\); this network takes \(n, 3, 8, 8\)"):
        quantize(traced, torch.zeros(4, 3, 9, 9))
    with pytest.raises(ValueError, match="n from 1"):
        quantize(traced, torch.zeros(0, 3, 8, 8))
    with pytest.raises(ValueError, match="samples hold numbers that are not finite"):
        quantize(traced, torch.full((1, 3, 8, 8), torch.nan))
    with pytest.raises(ValueError, match="no layer is called 'body'; layers with weights are stem"):
        quantize(traced, torch.zeros(1, 3, 8, 8), Scheme(layers={"body": 8}))
    with pytest.raises(ValueError, match=r"stem.* has no weights"):
        quantize(trace(FAMILIES["resnet"]().to("meta"), (3, 8, 8)), torch.zeros(1, 3, 8, 8))
    loud = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
    loud[0].weight.data[:] = 3e38
    with pytest.raises(ValueError, match="0 gives numbers that are not finite; train"):
        quantize(loud, torch.full((1, 1, 2, 2), 1e30))


def test_all_samples_alike() -> None:
    """Nothing but zeros, and nothing but one number, have scales too."""
    model = settled(FAMILIES["resnet"]())
    for value in (0.0, 2.0):
        network = quantize(model, torch.full((2, 3, 8, 8), value))
        agree(network, network.encode(torch.randn(2, 3, 8, 8)))


def test_simulation_has_the_users_layers() -> None:
    model = settled(FAMILIES["mobilenet"]())
    network = quantize(model, torch.randn(4, 3, 8, 8))
    module = simulation(network)
    state = torch.random.get_rng_state()
    assert torch.equal(torch.random.get_rng_state(), state)
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert list(layers) == [s.name for s in network.steps if s.weight is not None]
    assert all(m.weight.dtype == torch.float64 and not m.weight.requires_grad for m in layers.values())
    x = network.encode(torch.randn(4, 3, 8, 8))
    narrow = simulation(network, torch.float32)(x)
    assert torch.equal(narrow, run(network, x)[-1])


def test_a_step_alone() -> None:
    network = quantize(settled(FAMILIES["resnet"]()), torch.randn(4, 3, 8, 8))
    x = network.encode(torch.randn(4, 3, 8, 8))
    assert torch.equal(output(network.steps[0], [x]), run(network, x)[0])
