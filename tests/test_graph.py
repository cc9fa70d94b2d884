"""What users' modules are traced to, and what is said of those that cannot be."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from user_networks import FAMILIES, Anything, conv, settled
from vilfredo.architecture import Architecture, Layer, assemble, macs, parameters
from vilfredo.nn.build import build
from vilfredo.nn.folding import SUMMING, Undeployable, outputs, parts, results
from vilfredo.nn.graph import Traced, Untraceable, trace


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


def again(traced: Traced, x: Tensor) -> Tensor:
    return outputs(traced.architecture.layers, traced.tensors, x)[-1]


def folded(traced: Traced, x: Tensor) -> Tensor:
    return results(parts(traced.architecture, traced.names, traced.tensors), x.double())[-1]


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_networks(name: str) -> None:
    model = settled(FAMILIES[name]())
    x = torch.randn(3, 3, 8, 8)
    traced = trace(model, (3, 8, 8))
    with torch.no_grad():
        assert torch.allclose(again(traced, x), model(x), atol=1e-5)
        assert torch.allclose(folded(traced, x).float(), model(x), atol=1e-4)
    if name != "nasnet":  # where one convolution is used twice: two layers
        assert parameters(traced.architecture) == sum(p.numel() for p in model.parameters())
    assert not {"batch_norm", "relu"} & {p.layer.op for p in parts(*plain(traced))}


def plain(traced: Traced) -> tuple[Architecture, tuple[str, ...], tuple[dict[str, Tensor], ...]]:
    return traced.architecture, traced.names, traced.tensors  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed: int) -> None:
    model = settled(Anything(seed), seed)
    x = torch.randn(3, 3, 8, 8)
    traced = trace(model, (3, 8, 8))
    with torch.no_grad():
        assert torch.allclose(folded(traced, x).float(), model(x), atol=1e-3, rtol=1e-3)
    meta = trace(copy.deepcopy(model).to("meta"), (3, 8, 8))
    assert meta.architecture == traced.architecture
    assert meta.names == traced.names


def test_names_are_those_of_the_user() -> None:
    traced = trace(settled(FAMILIES["resnet"]()), (3, 8, 8))
    assert traced.names[:8] == (
        *("stem.0", "stem.1", "stem.2", "blocks.0.conv1", "blocks.0.bn1", "blocks.0.relu"),
        *("blocks.0.conv2", "blocks.0.bn2"),
    )
    kept = [part.name for part in parts(*plain(traced))]
    assert kept == [
        *("stem.0", "blocks.0.conv1", "blocks.0.conv2", "blocks.0.add"),
        *("blocks.1.conv1", "blocks.1.conv2", "blocks.1.down.0", "blocks.1.add", "mean", "head"),
    ]


def test_a_network_of_ours_is_traced_to_its_architecture() -> None:
    same = {"filters": 4, "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1], "groups": 1, "bias": True}
    made = assemble(
        (2, 9, 9),
        [
            Layer("conv", same),
            Layer("batch_norm", {}, (0,)),
            Layer("relu", {}, (1,)),
            Layer("conv", {**same, "padding": [2, 2], "dilation": [2, 2]}, (2,)),
            Layer("clip", {"low": 0.0, "high": 6.0}, (3,)),
            Layer("function", {"name": "leaky_relu", "arguments": {"negative_slope": 0.1}}, (4,)),
            Layer("add", {}, (2, 4, 5)),
            Layer("pad", {"padding": [1, 0, 0, 2]}, (6,)),
            Layer("concat", {}, (7, 7)),
            Layer(
                "avg_pool",
                {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "count_padding": False},
                (8,),
            ),
            Layer("conv", {**same, "padding": [1, 0, 0, 0]}, (9,)),
            Layer("global_pool", {}, (10,)),
            Layer("dense", {"units": 7, "bias": True}, (11,)),
        ],
    )
    traced = trace(build(made, 3), (2, 9, 9))
    assert len(traced.names) == len(made.layers) + 1  # the border of the last convolution stands by itself
    assert [l.op for l in traced.architecture.layers if l.op != "pad"] == [
        l.op for l in made.layers if l.op != "pad"
    ]
    assert macs(traced.architecture) == macs(made)
    without = assemble((2, 9, 9), made.layers[:10])
    assert trace(build(without, 3, "meta"), (2, 9, 9)).architecture == without


def test_what_is_folded_and_what_is_not() -> None:
    """Into the layer before where nobody else looks at it; else a convolution of one pixel a channel."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)
            self.bn, self.pool, self.after = nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.BatchNorm2d(4)
            self.dense, self.flat, self.last = nn.Linear(36, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(36)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(self.first(x))
            y = torch.clamp(self.bn(y), max=2.0).clamp_(min=0)
            z = self.after(self.pool(y))
            z = self.last((z + self.pool(y)).flatten(1))
            return self.flat(self.dense(z))

    model = settled(Net())
    traced = trace(model, (3, 8, 8))
    made = parts(*plain(traced))
    assert [(p.name, p.layer.op) for p in made] == [
        *(
            ("first", "conv"),
            ("conv", "conv"),
            ("pool", "max_pool"),
            ("after", "conv"),
            ("pool_2", "max_pool"),
        ),
        *(("add", "add"), ("flatten", "flatten"), ("last", "dense"), ("dense", "dense")),
    ]
    assert (made[1].low, made[1].high) == (0.0, 2.0)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(folded(traced, x).float(), model(x), atol=1e-4)


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-1, 2), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(0.3), nn.GELU()),
        *(
            nn.GELU("tanh"),
            nn.SiLU(),
            nn.ELU(0.5),
            nn.Hardswish(),
            nn.Hardsigmoid(),
            nn.Softplus(2.0),
            nn.SELU(),
        ),
        *(
            nn.Mish(),
            nn.PReLU(),
            nn.CELU(0.7),
            nn.Softsign(),
            nn.LogSigmoid(),
            nn.Tanhshrink(),
            nn.Hardshrink(0.3),
        ),
        *(nn.Softshrink(0.2), nn.Identity(), nn.Dropout(), nn.Dropout2d()),
    ],
    ids=lambda a: type(a).__name__,
)
def test_activations(activation: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), activation, nn.Flatten()).eval()
    x = torch.randn(4, 2, 6, 6)
    traced = trace(model, (2, 6, 6))
    with torch.no_grad():
        assert torch.allclose(folded(traced, x).float(), model(x), atol=1e-5)
    assert {part.layer.op for part in parts(*plain(traced))} <= {"conv", "function", "flatten", *SUMMING}


class Does(nn.Module):
    """One function, as a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        *(lambda x: x.relu(), lambda x: x.clamp(0, 6), lambda x: torch.clip(x, -1), lambda x: x.sigmoid_()),
        *(lambda x: F.hardtanh(x, -2, 2), lambda x: F.leaky_relu(x, 0.3), lambda x: x.reshape(len(x), -1)),
        *(lambda x: 2 - x, lambda x: x * 3, lambda x: x / 255.0, lambda x: 0.5 + x, lambda x: sum([x, x, x])),
        *(
            lambda x: x - torch.tensor([1.0, 2.0]).view(1, 2, 1, 1),
            lambda x: x.add(x),
            lambda x: x.detach().clone(),
        ),
        *(lambda x: F.adaptive_avg_pool2d(x, 3), lambda x: x.mean((2, 3)), lambda x: x.mean((2, 3), True)),
        *(lambda x: F.pad(x, (1, 2)), lambda x: torch.concat((x, x), 1), lambda x: x[:, :, :]),
        *(lambda x: F.max_pool2d(x, 2, ceil_mode=True), lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0]),
        *(lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1) if x.shape[1] == 2 else x.sum(),),
    ],
)
def test_functions(function: object) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), Does(function), nn.Flatten()).eval()
    x = torch.randn(4, 2, 6, 6)
    with torch.no_grad():
        if "squeeze" in function.__code__.co_names:  # step by step through shapes that there are not
            with pytest.raises(Untraceable, match="squeeze"):
                trace(model, (2, 6, 6))
            return
        assert torch.allclose(folded(trace(model, (2, 6, 6)), x).float(), model(x), atol=1e-5)


def test_the_softmax_at_the_end_is_left_out() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.LogSoftmax(dim=1)).eval()
    assert [l.op for l in trace(model, (1, 2, 2)).architecture.layers] == ["flatten", "dense"]
    with pytest.raises(Untraceable, match="softmax"):
        trace(nn.Sequential(*model, nn.Linear(3, 3)), (1, 2, 2))


def test_computed_weights_and_shapes_in_control_flow() -> None:
    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] > 4 and x.dim() == 4:
                x = self.conv(x)
            assert x.shape[1] == 3
            return x.view(x.shape[0], -1)

    model = Flow().eval()
    x = torch.randn(2, 2, 6, 6)
    assert torch.allclose(again(trace(model, (2, 6, 6)), x), model(x), atol=1e-5)


def test_the_model_stays_as_it_was() -> None:
    model = FAMILIES["resnet"]().train()
    model.stem.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    trace(model, (3, 8, 8))
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert not model.stem.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape[1]).view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), Gate()), r"1 \(Gate\) looks at its data while it runs"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(192, 4)), r"1 \(LSTM\) uses "),
        (nn.Sequential(nn.GroupNorm(1, 3)), r"0 \(GroupNorm\) uses group_norm"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.PixelShuffle(2)), r"1 \(PixelShuffle\) uses pixel_shuffle"),
        (nn.Sequential(nn.ConvTranspose2d(3, 3, 2)), "conv_transpose2d"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding_mode="reflect", padding=1)), "anything but zeros"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4)), "a slope for each channel; use one for all"),
        (nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), "ceil_mode"),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), "dilation"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3)), "do not divide"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "use track_running_stats=True"),
        (nn.Sequential(Does(lambda x: F.dropout(x))), "pass training=self.training"),
        (nn.Sequential(Does(lambda x: x * x)), "mul .of two tensors"),
        (nn.Sequential(Does(lambda x: x.flip(1))), "uses flip"),
        (nn.Sequential(Does(lambda x: torch.ones(2, 3))), "not computed from the input by functions"),
        (nn.Sequential(Does(lambda x: x.item())), "looks at its data"),
        (nn.Sequential(Does(lambda x: (x, x))), "gives a tuple; it must give one tensor"),
        (nn.Sequential(nn.Linear(8, 2)), "flatten it to"),
        (nn.Sequential(nn.Conv2d(2, 4, 3)), r"0 \(Conv2d\) fails for an input of shape \(3, 8, 8\)"),
        (nn.Identity(), "nothing to deploy"),
        (nn.Sequential(nn.LazyConv2d(3, 3)), "lazy layers"),
        (torch.jit.script(nn.ReLU()), "scripted"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), Noise()), "take randomness out"),
        (torch.relu, "only a torch.nn.Module"),
    ],
)
def test_what_cannot_be_traced(model: nn.Module, said: str) -> None:
    with pytest.raises(Untraceable, match=said) as caught:
        trace(model, (3, 8, 8))
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there() -> None:
    traced = trace(conv(3, 4).to("meta"), (3, 8, 8))
    with pytest.raises(Undeployable, match=r"0 has no weights .*; load the trained ones"):
        parts(*plain(traced))
    model = conv(3, 4)
    model[0].weight.data[0] = torch.nan
    with pytest.raises(Undeployable, match="0 has weights that are not finite"):
        parts(*plain(trace(model, (3, 8, 8))))


def test_the_meta_device_needs_no_compiler() -> None:
    """Previews trace networks without storage, in every worker; loading torch's compiler takes seconds."""
    code = """
import sys
sys.path.insert(0, "tests")
import torch
from user_networks import FAMILIES
from vilfredo.nn.graph import trace
for family in FAMILIES.values():
    with torch.device("meta"):
        model = family()
    trace(torch.nn.Sequential(model, torch.nn.GELU(), torch.nn.Softmax(1)), (3, 8, 8))
assert "torch._dynamo" not in sys.modules
"""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr
