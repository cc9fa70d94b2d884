"""Relevance and the indices, against sums by hand and a loop over single neurons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vilfredo import topology
from vilfredo.architecture import Architecture, Layer, assemble
from vilfredo.nn.build import build
from vilfredo.objectives import adcr, asi
from vilfredo.objectives.candidate import Candidate
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.macro import Macro

IMAGE = (1, 12, 12)
SPACES = (
    Chain(max_macs=2_000_000, max_parameters=100_000).bind(IMAGE, 10),
    Macro(nodes=(3, 4), filters=(4, 8)).bind(IMAGE, 10),
)


def conv(filters: int, kernel: int = 3, inputs: Sequence[int] = (-1,), **args: Any) -> Layer:
    square = {"kernel": [kernel, kernel], "stride": [1, 1], "padding": [kernel // 2, kernel // 2]}
    return Layer("conv", {"filters": filters, **square, **args}, tuple(inputs))


def layer(op: str, inputs: Sequence[int], **args: Any) -> Layer:
    return Layer(op, args, tuple(inputs))


def drawn(count: int = 12) -> list[Architecture]:
    rng = np.random.default_rng(1)
    return [space.decode(space.sample(rng)).architecture for space in SPACES for _ in range(count)]


CHAIN = assemble(
    (3, 8, 8),
    [
        conv(4, bias=False),
        layer("batch_norm", [0]),
        layer("relu", [1]),
        layer("max_pool", [2], kernel=[2, 2], stride=[2, 2]),
        layer("flatten", [3]),
        layer("dense", [4], units=10),
    ],
)
BRANCHES = assemble(
    (3, 8, 8),
    [
        conv(4),
        layer("relu", [0]),
        conv(4, inputs=[1]),
        layer("add", [1, 2]),
        conv(12, 1, inputs=[3]),
        layer("concat", [3, 4]),
        layer("global_pool", [5]),
        layer("dense", [6], units=10),
    ],
)


# -- relevance ------------------------------------------------------------------------------------


def by_neuron(architecture: Architecture) -> list[np.ndarray]:
    """The same by a walk from neuron to neuron, one at a time: (channels, height, width) of each layer."""
    layers = architecture.layers
    shapes = [l.shape if len(l.shape) == 3 else (l.shape[0], 1, 1) for l in layers]
    found = [np.zeros(shape) for shape in shapes]
    found[-1] += 1 / found[-1].size
    for index in reversed(range(len(layers))):
        now = layers[index]
        width = sum(shapes[i][0] if i >= 0 else architecture.input[0] for i in now.inputs)
        offset = 0
        for source in now.inputs:
            channels = shapes[source][0] if source >= 0 else architecture.input[0]
            if source >= 0:
                for place in itertools.product(*map(range, shapes[index])):
                    value = found[index][place]
                    if value:
                        hand_back(now, place, value, found[source], offset, len(now.inputs))
            offset += channels
        assert offset == width
    return found


def hand_back(now: Layer, place: tuple[int, ...], value: float, to: np.ndarray, offset: int, n: int) -> None:
    channels, height, width = to.shape
    c, y, x = place
    if now.op in ("conv", "max_pool", "avg_pool"):
        (kh, kw), (sh, sw), (ph, pw) = (
            now.args["kernel"],
            now.args["stride"],
            now.args.get("padding", (0, 0)),
        )
        cells = [
            (a, b)
            for a in range(y * sh - ph, y * sh - ph + kh)
            for b in range(x * sw - pw, x * sw - pw + kw)
            if 0 <= a < height and 0 <= b < width
        ]
        which = range(channels) if now.op == "conv" else [c]
        for channel in which:
            for a, b in cells:
                to[channel, a, b] += value / len(cells) / len(which)
    elif now.op == "concat":
        if offset <= c < offset + channels:
            to[c - offset, y, x] += value
    elif now.op == "add":
        to[place] += value / n
    elif now.op == "global_pool":
        to[c] += value / (height * width)
    elif now.op == "dense":
        to += value / to.size
    elif now.op == "flatten":
        to.reshape(-1)[c] += value
    else:
        to[place] += value


@pytest.mark.parametrize("number", range(6))
def test_it_is_what_a_walk_over_neurons_gives(number: int) -> None:
    small = Chain(max_layers=6, filters=(2, 3), units=(4,), kernels=(1, 2, 3)).bind((2, 6, 6), 3)
    wired = Macro(nodes=(3, 3), filters=(2, 3)).bind((2, 6, 6), 3)
    rng = np.random.default_rng(number)
    for space in (small, wired):
        architecture = space.decode(space.sample(rng)).architecture
        for ours, slow in zip(topology.relevance(architecture), by_neuron(architecture), strict=True):
            np.testing.assert_allclose(ours, slow.sum(axis=0), atol=1e-12)
    for architecture in (CHAIN, BRANCHES):
        for ours, slow in zip(topology.relevance(architecture), by_neuron(architecture), strict=True):
            np.testing.assert_allclose(ours, slow.sum(axis=0), atol=1e-12)


def test_every_layer_of_a_chain_carries_all_of_it() -> None:
    for architecture in drawn():
        if not any(len(l.inputs) > 1 for l in architecture.layers):
            for map in topology.relevance(architecture):
                assert map.sum() == pytest.approx(1)
                assert map.min() >= 0


def test_branches_divide_it() -> None:
    sums = [float(map.sum()) for map in topology.relevance(BRANCHES)]
    # The concat's 4 + 12 channels, then the add's two branches.
    assert sums[5] == pytest.approx(1)
    assert sums[4] == pytest.approx(12 / 16)
    assert sums[3] == pytest.approx(1)
    assert sums[2] == pytest.approx(1 / 2)
    assert sums[1] == pytest.approx(1)


def test_pixels_that_no_window_reaches_have_none() -> None:
    strided = assemble((1, 5, 5), [conv(2), conv(3, 1, inputs=[0], stride=[2, 2]), layer("global_pool", [1])])
    map = topology.relevance(strided)[0]
    assert map[::2, ::2].sum() == pytest.approx(1)
    assert map[1::2].sum() == 0


def test_a_border_gets_none_however_it_is_made() -> None:
    ends = [layer("global_pool", [-1]), layer("dense", [-1], units=3)]
    tail = [Layer(l.op, l.args, (i,)) for l, i in zip(ends, (1, 2), strict=True)]
    wide = assemble((2, 6, 6), [conv(4), conv(3, 3, inputs=[0], padding=[0, 2, 1, 1]), *tail])
    tail = [Layer(l.op, l.args, (i,)) for l, i in zip(ends, (2, 3), strict=True)]
    padded = assemble(
        (2, 6, 6),
        [
            conv(4),
            layer("pad", [0], padding=[0, 2, 1, 1]),
            conv(3, 3, inputs=[1], padding=[0, 0]),
            *tail,
        ],
    )
    np.testing.assert_allclose(topology.relevance(wide)[0], topology.relevance(padded)[0])
    assert topology.asi(wide) == pytest.approx(topology.asi(padded))


# -- what is stored, and the indices --------------------------------------------------------------


def test_norms_and_activations_fold_into_their_layer() -> None:
    nodes = topology.stored(CHAIN)
    assert [n.op for n in nodes] == ["conv", "max_pool", "dense"]
    assert [n.neurons for n in nodes] == [256, 64, 10]
    assert [n.weights for n in nodes] == [4 * 27, 0, 640]
    assert [n.fan_in for n in nodes] == [27, 0, 64]
    # What two layers need is stored for itself.
    bare = assemble((3, 8, 8), [conv(4), layer("relu", [0]), layer("add", [0, 1])])
    assert [n.op for n in topology.stored(bare)] == ["conv", "relu", "add"]


def test_asi_of_a_chain_is_layers_by_neurons() -> None:
    assert topology.asi(CHAIN) == pytest.approx(3 / (256 + 64 + 10))
    weighted = sum(n.neurons / 330 * n.mean for n in topology.stored(CHAIN))
    assert topology.asi(CHAIN) == pytest.approx(weighted)


def test_asi_of_branches() -> None:
    shares = {0: 1, 2: 1 / 2, 3: 1, 4: 12 / 16, 5: 1, 6: 1, 7: 1}
    neurons = {0: 256, 2: 256, 3: 256, 4: 768, 5: 1024, 6: 16, 7: 10}
    assert topology.asi(BRANCHES) == pytest.approx(sum(shares.values()) / sum(neurons.values()))


def test_weight_asi() -> None:
    # Each weight reaches one of 4 channels, or one of 10 outputs.
    assert topology.weight_asi(CHAIN) == pytest.approx((108 / 4 + 640 / 10) / 748)


def test_adcr_by_hand() -> None:
    first = (192 + 256 + 108) / (256 * 27)
    last = (64 + 10 + 640) / 640
    assert topology.adcr(CHAIN) == pytest.approx(first + last)
    assert topology.adcr(CHAIN, 16) == pytest.approx(2 * (first + last))
    mixed = (192 + 256 + 108 / 2) / (256 * 27) + (64 + 10 + 320) / 640
    assert topology.adcr(CHAIN, 4, 8) == pytest.approx(mixed)


def test_objectives_give_the_same() -> None:
    for architecture in (CHAIN, BRANCHES):
        model = build(architecture, device="meta")
        candidate = Candidate(model, architecture.input, 10)
        assert asi.objective(candidate).mean == pytest.approx(topology.asi(architecture))
        assert adcr.objective(candidate).mean == pytest.approx(topology.adcr(architecture))


def test_a_network_without_layers() -> None:
    empty = Architecture((4,), ())
    assert topology.relevance(empty) == ()
    assert topology.asi(empty) == topology.weight_asi(empty) == topology.adcr(empty) == 0.0


# -- features -------------------------------------------------------------------------------------


def test_features_are_finite_and_the_same_for_all() -> None:
    names = set(topology.features(CHAIN))
    for architecture in [*drawn(), CHAIN, BRANCHES]:
        found = topology.features(architecture)
        assert set(found) == names
        assert all(type(v) is float and math.isfinite(v) for v in found.values()), found
        assert all(math.isfinite(v) for v in topology.indices(architecture).values())


def test_features_by_hand() -> None:
    found = topology.features(BRANCHES)
    assert found["paths"] == pytest.approx(math.log(4))
    assert found["skips_add"] == pytest.approx(math.log(2))
    assert found["parameters"] == pytest.approx(math.log(108 + 144 + 48 + 160))
    assert found["path"] == pytest.approx(math.log(1 + 0.5 + 1 + 0.75 + 1 + 1 + 1))
    assert found["shrinking"] == 0.0
    assert topology.features(CHAIN)["shrinking"] == pytest.approx(math.log(4))


def test_settings() -> None:
    settings = {"lr": 0.01, "bits": 4, "scales": "real", "clip": True, "momentum": 0.9, "colour": "blue"}
    found = topology.features(CHAIN, settings)
    assert found["lr"] == pytest.approx(math.log(0.01))
    assert found["bits"] == 4
    assert found["scales_power_of_two"] == 0.0
    assert found["clip"] == 1.0
    assert found["momentum"] == 0.9
    assert "colour" not in found
    assert found["adcr"] == pytest.approx(math.log(topology.adcr(CHAIN, 4)))
