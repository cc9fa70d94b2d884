"""Shape arithmetic and counts, against numbers worked out by hand and against PyTorch."""

import json

import numpy as np
import pytest

from vilfredo import architecture
from vilfredo.architecture import Layer, assemble, infer
from vilfredo.protocols import Impossible
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.macro import Macro


def conv(filters, kernel, padding=0, stride=1, **more):
    args = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 2, **more}
    return "conv", {"filters": filters, **args}


def chain(input, *ops):
    return assemble(input, [Layer(op, args, (i - 1,)) for i, (op, args) in enumerate(ops)])


POOL = ("max_pool", {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]})


def test_lenet_5_has_the_known_counts():
    # 6 5x5 and 16 5x5 filters, then 120, 84 and 10 units: 61,706 parameters, 416,520 MACs.
    lenet = chain(
        (1, 28, 28),
        conv(6, 5, padding=2),
        ("relu", {}),
        POOL,
        conv(16, 5),
        ("relu", {}),
        POOL,
        ("flatten", {}),
        ("dense", {"units": 120}),
        ("dense", {"units": 84}),
        ("dense", {"units": 10}),
    )
    shapes = [layer.shape for layer in lenet.layers]
    assert shapes[2:7] == [(6, 14, 14), (16, 10, 10), (16, 10, 10), (16, 5, 5), (400,)]
    assert architecture.parameters(lenet) == 61_706
    assert architecture.macs(lenet) == 117_600 + 240_000 + 48_000 + 10_080 + 840


def test_branches_add_and_concatenate():
    built = assemble(
        (4, 6, 6),
        [
            Layer(*conv(4, 3, padding=1, bias=False)),
            Layer("add", {}, (-1, 0)),
            Layer("concat", {}, (-1, 0, 1)),
            Layer("batch_norm", {}, (2,)),
            Layer("global_pool", {}, (3,)),
            Layer("concat", {}, (4, 4)),
        ],
    )
    assert [layer.shape for layer in built.layers] == [
        (4, 6, 6),
        (4, 6, 6),
        (12, 6, 6),
        (12, 6, 6),
        (12,),
        (24,),
    ]
    assert architecture.parameters(built) == 4 * 4 * 9 + 24


def test_groups_divide_the_work():
    depthwise = chain((8, 10, 10), conv(8, 3, padding=1, groups=8))
    assert architecture.parameters(depthwise) == 8 * (9 + 1)
    assert architecture.macs(depthwise) == 8 * 100 * 9


@pytest.mark.parametrize(
    ("op", "args", "shapes", "message"),
    [
        (*conv(4, 5), [(1, 4, 4)], "does not fit into 4 pixels"),
        (*conv(4, 3), [(7,)], "needs an image"),
        (*conv(4, 3, groups=2), [(3, 8, 8)], "in 2 groups"),
        (*conv(4, 3, stride=0), [(3, 8, 8)], "stride 0"),
        ("max_pool", {"kernel": [2, 2], "stride": [2, 2], "padding": [2, 0]}, [(1, 8, 8)], "half its kernel"),
        ("dense", {"units": 3}, [(1, 8, 8)], "flatten it first"),
        ("global_pool", {}, [(8,)], "needs an image"),
        ("add", {}, [(8,), (9,)], "equal shapes"),
        ("concat", {}, [(1, 8, 8), (1, 4, 4)], "equal heights"),
        ("relu", {}, [(8,), (8,)], "one input, not 2"),
        ("relu", {}, [], "takes inputs"),
        ("lstm", {}, [(8,)], "no layer is called 'lstm'"),
    ],
)
def test_what_does_not_fit_is_impossible(op, args, shapes, message):
    with pytest.raises(Impossible, match=message):
        infer(op, args, shapes)


def test_layers_come_before_those_that_use_them():
    with pytest.raises(Impossible, match="not before it"):
        assemble((3,), [Layer("relu", {}, (1,)), Layer("relu", {}, (0,))])


def test_layers_are_json_for_drawings():
    built = chain((1, 8, 8), conv(4, 3), ("flatten", {}))
    rows = architecture.layers(built)
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["shape"] == [4, 6, 6]
    assert sum(row["parameters"] for row in rows) == architecture.parameters(built)
    assert sum(row["macs"] for row in rows) == architecture.macs(built)


@pytest.mark.parametrize(
    "space",
    [
        Chain().bind((1, 8, 8), 10),
        Chain().bind((3, 32, 32), 4),
        Chain(kernels=(1, 2, 3, 4, 7)).bind((2, 3, 9), 3),
        Chain().bind((6,), 2),
        Macro().bind((1, 28, 28), 10),
        Macro(nodes=(2, 6), filters=(3, 5)).bind((3, 1, 5), 2),
    ],
    ids=lambda space: f"{type(space).__name__} {space.input}",
)
def test_pytorch_agrees_on_shapes_and_parameters(space):
    torch = pytest.importorskip("torch")
    from vilfredo.nn.build import build

    rng = np.random.default_rng(3)
    for _ in range(10):
        built = space.decode(space.sample(rng)).architecture
        network = build(built, device="meta").eval()
        shapes = {}
        for index, module in enumerate(network.layers):
            module.register_forward_hook(
                lambda m, i, output, index=index, shapes=shapes: shapes.update(
                    {index: tuple(output.shape[1:])}
                )
            )
        network(torch.empty(2, *built.input, device="meta"))
        assert shapes == {index: layer.shape for index, layer in enumerate(built.layers)}
        assert sum(p.numel() for p in network.parameters()) == architecture.parameters(built)
