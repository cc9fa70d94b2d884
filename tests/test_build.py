"""Architectures as modules."""

from __future__ import annotations

import pytest
import torch

from vilfredo import architecture
from vilfredo.architecture import Architecture, Layer, Shape, assemble
from vilfredo.nn.build import build
from vilfredo.protocols import Impossible
from vilfredo.seeds import generator
from vilfredo.spaces.chain import Chain

CONV = Layer("conv", {"filters": 6, "kernel": [3, 2], "stride": [1, 1], "padding": [1, 1], "groups": 2})
POOL = Layer("max_pool", {"kernel": [2, 2], "stride": [2, 2]})


def chain(shape: Shape, *layers: Layer) -> Architecture:
    return assemble(shape, [Layer(l.op, l.args, (i - 1,)) for i, l in enumerate(layers)])


def branched() -> Architecture:
    """Every operation once, with two branches that meet in `add` and `concat`."""
    same = {"filters": 4, "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]}
    return assemble(
        (2, 9, 9),
        [
            Layer("conv", same),
            Layer("batch_norm", {}, (0,)),
            Layer("relu", {}, (1,)),
            Layer("conv", {**same, "groups": 2, "bias": False}, (2,)),
            Layer("tanh", {}, (3,)),
            Layer("add", {}, (2, 4, 2)),
            Layer("concat", {}, (5, -1, 0)),
            Layer("avg_pool", {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1]}, (6,)),
            Layer("max_pool", {"kernel": [2, 1], "stride": [1, 1]}, (7,)),
            Layer("identity", {}, (8,)),
            Layer("global_pool", {}, (9,)),
            Layer("flatten", {}, (8,)),
            Layer("concat", {}, (10, 11)),
            Layer("dense", {"units": 7}, (12,)),
            Layer("batch_norm", {}, (13,)),
            Layer("sigmoid", {}, (14,)),
            Layer("dropout", {"rate": 0.5}, (15,)),
            Layer("dense", {"units": 3, "bias": False}, (16,)),
        ],
    )


def test_every_operation_gives_the_shape_that_the_architecture_says() -> None:
    described = branched()
    network = build(described, 3).eval()
    seen: list[tuple[int, ...]] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape[1:])))
    assert network(torch.randn(2, 2, 9, 9)).shape == (2, 3)
    assert seen == [layer.shape for layer in described.layers]
    assert sum(p.numel() for p in network.parameters()) == architecture.parameters(described)


def test_torch_fx_and_export_read_it() -> None:
    network = build(branched(), 3).eval()
    x = torch.randn(2, 2, 9, 9)
    assert torch.equal(torch.fx.symbolic_trace(network)(x), network(x))
    exported = torch.export.export(network, (x,))
    assert torch.allclose(exported.module()(x), network(x))


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = build(branched(), 3), build(branched(), 3), build(branched(), 4)
    assert torch.equal(before, torch.random.get_rng_state())
    a, b, c = (dict(n.state_dict()) for n in (first, again, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["layers.0.weight"], c["layers.0.weight"])
    assert list(a)[:3] == ["layers.0.weight", "layers.0.bias", "layers.1.weight"]


def test_on_the_meta_device_nothing_is_stored() -> None:
    network = build(branched(), device="meta")
    assert all(p.is_meta for p in network.parameters())
    assert network.eval()(torch.empty(1, 2, 9, 9, device="meta")).shape == (1, 3)


def test_random_networks_of_a_space() -> None:
    space = Chain().bind((3, 12, 10), 5)
    for number in range(20):
        design = space.decode(space.sample(generator(number)))
        network = build(design.architecture, number)
        assert network(torch.randn(2, 3, 12, 10)).shape == (2, 5)
        assert sum(p.numel() for p in network.parameters()) == architecture.parameters(design.architecture)


def test_a_layer_nobody_knows() -> None:
    with pytest.raises(Impossible, match="no layer is called 'warp'"):
        build(Architecture((3,), (Layer("warp", {}, (-1,), (3,)),)))


def test_no_layers_at_all() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(build(chain((3,)))(x), x)
