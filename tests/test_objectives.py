"""Objectives: exact where they count, in range where they measure, and every file of them under one law."""

from __future__ import annotations

import importlib
import math
import pkgutil
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vilfredo import architecture, objectives
from vilfredo.architecture import Layer, assemble
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.goal import KNOWN, Goal
from vilfredo.nn.build import build
from vilfredo.objectives import energy, error, latency, macs, parameters, train_seconds, weight_bytes
from vilfredo.objectives.candidate import Candidate, Examples, evaluated
from vilfredo.objectives.operations import operations
from vilfredo.seeds import generator
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.macro import Macro
from vilfredo.trial import Value

CONV = {"filters": 4, "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]}
NETWORK = assemble(
    (1, 8, 8),
    [
        Layer("conv", CONV),
        Layer("batch_norm", {}, (0,)),
        Layer("relu", {}, (1,)),
        Layer("flatten", {}, (2,)),
        Layer("dense", {"units": 10}, (3,)),
    ],
)
PARAMETERS = 4 * 9 + 4 + 2 * 4 + 256 * 10 + 10
MACS = 64 * 4 * 9 + 2560


def examples(x: Tensor, y: Tensor) -> Examples:
    shape = (1, -1, *[1] * (x.dim() - 2))
    zero, one = torch.zeros(x.shape[1]).reshape(shape), torch.ones(x.shape[1]).reshape(shape)
    targets = (y.mean(0), y.std(0)) if y.is_floating_point() else (torch.empty(0), torch.empty(0))
    return Examples(x, y, zero, one, *targets)


def candidate(**changes: Any) -> Candidate:
    stream = torch.Generator().manual_seed(0)
    x = torch.randint(0, 17, (50, 1, 8, 8), generator=stream, dtype=torch.uint8)
    y = torch.randint(0, 10, (50,), generator=stream)
    given: dict[str, Any] = {
        "examples": examples(x, y),
        "train_seconds": 2.5,
        "faults": (BitFlip(1e-3),),
        **changes,
    }
    return Candidate(given.pop("model", build(NETWORK, 1)), (1, 8, 8), 10, **given)


LEAVES = {
    module.name: importlib.import_module(f"vilfredo.objectives.{module.name}")
    for module in pkgutil.iter_modules(objectives.__path__)
}
EXPECTED: dict[str, Any] = {  # every leaf has an example here; a new one without fails the law
    "error": lambda v: 0.5 < v.mean <= 1 and 0 <= v.sd < 0.1,
    "parameters": lambda v: v == Value(PARAMETERS),
    "macs": lambda v: v == Value(MACS),
    "weight_bytes": lambda v: v == Value(4 * PARAMETERS),
    "latency": lambda v: 1e-7 < v.mean < 1 and v.n >= 5,
    "energy": lambda v: v.origin == "estimated" and v.low < v.mean < v.high,
    "train_seconds": lambda v: v == Value(2.5),
    "ccr": lambda v: 0 < v.mean < 1 and 0 < v.sd < 0.3 and v.n == 20,
    "resilience_mean": lambda v: 0 < v.mean < 0.5 and 0 < v.sd < 0.1 and v.n == 20,
    "resilience_q05": lambda v: 0 <= v.mean < 0.5 and v.n == 20,
    "resilience_worst": lambda v: 0 <= v.mean < 0.5 and v.n == 20,
    "asi": lambda v: v == Value(2 / (256 + 10)),
    "adcr": lambda v: v == Value((64 + 256 + 36) / 2304 + (256 + 10 + 2560) / 2560),
}


@pytest.mark.parametrize("name", sorted(n for n, m in LEAVES.items() if hasattr(m, "objective")))
def test_law_of_objectives(name: str) -> None:
    """Each declares a goal of its own name, gives a finite value for an example, and leaves the network and
    the process's random stream as they were; one of the preview stage needs no storage."""
    leaf: Any = LEAVES[name]
    assert isinstance(leaf.GOAL, Goal)
    assert leaf.GOAL.name == name
    assert name not in KNOWN or replace(leaf.GOAL, unit=KNOWN[name].unit) == KNOWN[name]
    model = build(NETWORK, 1).train()
    weights = {n: t.clone() for n, t in model.state_dict().items()}
    stream, threads = torch.random.get_rng_state(), torch.get_num_threads()
    value = leaf.objective(candidate(model=model))
    assert isinstance(value, Value)
    assert value.is_finite()
    assert EXPECTED[name](value)
    assert all(torch.equal(t, weights[n]) for n, t in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.equal(stream, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    if leaf.GOAL.stage == "preview":
        empty = candidate(model=build(NETWORK, device="meta"), examples=None)
        assert leaf.objective(empty) == value


def test_every_leaf_has_an_example() -> None:
    assert {n for n, m in LEAVES.items() if hasattr(m, "objective")} == set(EXPECTED)


# -- multiply-accumulates ---------------------------------------------------------------------------


class Own(nn.Module):
    """A network of parts put together by a function, as people write them."""

    def __init__(self, function: Any, **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))


ATTENTION = 6 * 8 * 24 + 2 * 6 * 6 * 8 + 6 * 8 * 8
OWN: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    "grouped conv": (nn.Conv2d(6, 8, 3, groups=2, stride=2, padding=1), (6, 9, 9), 25 * 8 * 3 * 9),
    "depthwise conv": (nn.Conv2d(6, 6, 3, groups=6, bias=False), (6, 9, 9), 49 * 6 * 9),
    "dilated conv": (nn.Conv2d(2, 3, 3, dilation=2), (2, 9, 9), 25 * 3 * 2 * 9),
    "transposed conv": (nn.ConvTranspose2d(6, 8, (3, 2), groups=2, stride=2), (6, 9, 9), 81 * 6 * 4 * 6),
    "conv in 1 dimension": (nn.Conv1d(6, 8, 3), (6, 9), 7 * 8 * 6 * 3),
    "conv in 3 dimensions": (nn.Conv3d(2, 8, 3), (2, 9, 8, 7), 7 * 6 * 5 * 8 * 2 * 27),
    "dense over a sequence": (nn.Linear(7, 3, bias=False), (4, 7), 4 * 21),
    "functional dense": (Own(lambda s, x: F.linear(x, s.w, s.b), w=weight(5, 7), b=weight(5)), (7,), 35),
    "functional conv": (Own(lambda s, x: F.conv2d(x, s.w), w=weight(4, 2, 3, 3)), (2, 5, 5), 9 * 4 * 18),
    "matmul": (Own(lambda s, x: x @ s.w @ s.w.T, w=weight(7, 5)), (6, 7), 2 * 6 * 35),
    "einsum": (Own(lambda s, x: torch.einsum("bij,kj->bik", x, s.w), w=weight(5, 7)), (6, 7), 6 * 35),
    "matmul of activations": (Own(lambda s, x: x @ x.transpose(1, 2)), (6, 7), 6 * 6 * 7),
    "attention": (
        Own(lambda s, x: s.a(x, x, x)[0], a=nn.MultiheadAttention(8, 2, batch_first=True)),
        (6, 8),
        ATTENTION,
    ),
    "residual with pools": (
        Own(
            lambda s, x: s.d(F.adaptive_avg_pool2d(F.relu(s.n(s.c(x))) + x, 1).flatten(1)),
            c=nn.Conv2d(4, 4, 3, padding=1),
            n=nn.BatchNorm2d(4),
            d=nn.Linear(4, 3),
        ),
        (4, 6, 6),
        36 * 4 * 36 + 12,
    ),
}
BEYOND_FVCORE = {
    "fused attention": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (6, 8),
        ATTENTION + 2 * 6 * 8 * 16,
    ),
    "lstm": (
        Own(lambda s, x: s.r(x)[0], r=nn.LSTM(5, 7, num_layers=2, batch_first=True)),
        (6, 5),
        6 * 4 * 7 * (5 + 7 + 7 + 7),
    ),
    "gru": (
        Own(lambda s, x: s.r(x)[0], r=nn.GRU(5, 7, bidirectional=True, batch_first=True)),
        (6, 5),
        2 * 6 * 3 * 7 * (5 + 7),
    ),
    "matrix times vector": (Own(lambda s, x: x[0] @ s.w, w=weight(5)), (3, 5), 15),
}


def count(model: nn.Module, shape: tuple[int, ...]) -> int:
    return int(macs.objective(Candidate(model, shape, 0)).mean)


@pytest.mark.parametrize("name", [*OWN, *BEYOND_FVCORE])
def test_macs_of_users_modules(name: str) -> None:
    model, shape, expected = {**OWN, **BEYOND_FVCORE}[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count(model, shape) == expected


def fvcore_macs(model: nn.Module, x: Tensor) -> int:
    """What fvcore counts for products; its total has norms, adaptive pools and upsampling besides."""
    analysis = pytest.importorskip("fvcore.nn", reason="fvcore is not installed").FlopCountAnalysis
    with warnings.catch_warnings(), evaluated(model):
        warnings.simplefilter("ignore")
        counts = analysis(model, x).unsupported_ops_warnings(False).tracer_warnings("none").by_operator()
    products = ("conv", "linear", "addmm", "matmul", "bmm", "einsum")
    assert set(counts) <= {*products, "batch_norm", "layer_norm", "adaptive_avg_pool2d"}
    return int(sum(counts[p] for p in products))


@pytest.mark.parametrize("name", OWN)
def test_macs_of_users_modules_agree_with_fvcore(name: str) -> None:
    model, shape, expected = OWN[name]
    assert fvcore_macs(model, torch.randn(1, *shape)) == expected


@pytest.mark.parametrize("space", [Chain(), Macro()], ids=["chain", "macro"])
def test_macs_of_twenty_random_networks_agree_with_fvcore(space: Any) -> None:
    bound = space.bind((3, 16, 16), 10)
    for number in range(20):
        described = bound.decode(bound.sample(generator(number, "macs"))).architecture
        network = build(described, number)
        counted = count(network, (3, 16, 16))
        assert counted == fvcore_macs(network, torch.randn(1, 3, 16, 16))
        assert counted == architecture.macs(described)
        assert counted == count(build(described, device="meta"), (3, 16, 16))


def test_an_operation_knows_what_moves() -> None:
    (conv, dense) = operations(build(NETWORK, 1), torch.randn(1, 1, 8, 8))
    assert (conv.macs, conv.reads, conv.writes) == (64 * 4 * 9, 64, 256)
    assert (dense.macs, dense.reads, dense.writes) == (2560, 256, 10)


# -- the others ---------------------------------------------------------------------------------------


def test_shared_weights_count_once() -> None:
    layer = nn.Linear(5, 5)
    assert parameters.objective(Candidate(nn.Sequential(layer, layer), (5,), 5)) == Value(30)


def test_weight_bytes_are_packed() -> None:
    model = nn.Linear(3, 1, bias=False)
    assert [weight_bytes.objective(Candidate(model, (3,), 1), bits=b).mean for b in (32, 8, 4, 1)] == [
        12,
        3,
        2,
        1,
    ]
    with pytest.raises(ValueError, match="0 bits hold nothing"):
        weight_bytes.objective(candidate(), bits=0)


def test_energy_follows_its_constants() -> None:
    model = nn.Linear(100, 10, bias=False)
    value = energy.objective(Candidate(model, (100,), 10))
    arithmetic, bytes_moved = 1000 * 4.6e-12, 4 * (1000 + 100 + 10)
    assert value.mean == pytest.approx(arithmetic + bytes_moved * 100e-12 / 8)
    assert value.low == pytest.approx(arithmetic + bytes_moved * 10e-12 / 8)
    assert value.high == pytest.approx(arithmetic + bytes_moved * 2.6e-9 / 8)
    narrow = energy.objective(Candidate(model, (100,), 10), bits=8)
    assert narrow.mean == pytest.approx(1000 * 0.23e-12 + bytes_moved / 4 * 100e-12 / 8)
    large = energy.objective(Candidate(nn.Linear(1000, 1000, bias=False), (1000,), 1000))
    assert large.mean == pytest.approx(1e6 * 4.6e-12 + 4e6 * 1.95e-9 / 8 + 8000 * 100e-12 / 8)
    with pytest.raises(ValueError, match="no energy constants for 5 bits; choose 8, 16, 32"):
        energy.objective(candidate(), bits=5)


def test_a_larger_batch_takes_longer_and_is_counted_as_one_run() -> None:
    one = latency.objective(candidate())
    many = latency.objective(candidate(), batch=256)
    assert many.mean > one.mean
    assert one.origin == "measured"
    with pytest.raises(ValueError, match="batch of 0"):
        latency.objective(candidate(), batch=0)


class Fixed(nn.Module):
    """Gives what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_error_of_classes_is_the_fraction_that_is_wrong() -> None:
    outputs = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 0])]
    y = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 1, 2])
    value = error.objective(Candidate(Fixed(), (4,), 4, examples=examples(outputs, y)))
    assert value.mean == 0.2
    assert value.sd == pytest.approx(math.sqrt(0.2 * 0.8 / 10))
    broken = error.objective(Candidate(Fixed(), (4,), 4, examples=examples(outputs * math.nan, y)))
    assert math.isnan(broken.mean)


def test_error_of_targets_is_in_units_of_the_naive_prediction() -> None:
    stream = torch.Generator().manual_seed(0)
    y = 50 + 7 * torch.randn(2000, 2, generator=stream)
    nothing = examples(torch.zeros(2000, 2), y)
    value = error.objective(Candidate(Fixed(), (2,), 2, "regression", nothing))
    assert value.mean == pytest.approx(1, abs=0.01)
    assert 0 < value.sd < 0.05
    perfect = examples((y - y.mean(0)) / y.std(0), y)
    assert error.objective(Candidate(Fixed(), (2,), 2, "regression", perfect)).mean < 1e-5


def test_error_without_examples() -> None:
    with pytest.raises(ValueError, match="needs examples"):
        error.objective(candidate(examples=None))


def test_train_seconds_that_nobody_knows_are_not_finite() -> None:
    assert not train_seconds.objective(Candidate(Fixed(), (1,), 1)).is_finite()
