"""Networks trained on data, users' own modules and baselines among them."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vilfredo.data import dataset, digits
from vilfredo.data.dataset import Dataset, Part, Sizes
from vilfredo.goal import goal
from vilfredo.objectives import energy, weight_bytes
from vilfredo.objectives.candidate import Candidate
from vilfredo.problems.supervised import Supervised
from vilfredo.protocols import Impossible, Snapshot, Work
from vilfredo.seeds import generator
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.macro import Macro
from vilfredo.spaces.parameters import Choice, Float, Int, Parameters
from vilfredo.trial import Genome, Value

DIGITS = digits.load(train_size=300, validation_size=100)
GENOME: Genome = {
    "layers": [
        {"op": "conv", "filters": 8, "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]},
        {"op": "batch_norm"},
        {"op": "relu"},
        {"op": "max_pool", "kernel": [2, 2]},
        {"op": "dropout", "rate": 0.1},
    ],
    "training": {
        "optimizer": "adam",
        "lr": 0.005,
        "weight_decay": 1e-5,
        "batch_size": 32,
        "schedule": "cosine",
    },
}


def finish(
    problem: Supervised, work: Work, seed: int = 1, resume: Any = None
) -> tuple[list[Snapshot], nn.Module, dict[str, np.ndarray[Any, Any]]]:
    training = problem.train(work, seed, resume, {})
    shots: list[Snapshot] = []
    last: Any = {}
    while True:
        try:
            shots.append(next(training))
        except StopIteration as end:
            return shots, end.value, last
        checkpoint = shots[-1].checkpoint
        assert checkpoint is not None
        last = checkpoint()


def without_latency(values: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if name != "latency"}


# -- networks of a space ------------------------------------------------------------------------------


def test_from_a_genome_to_values() -> None:
    problem = Supervised(DIGITS, Chain(), ["error", "latency", "parameters", "macs"], epochs=5)
    work = Work(GENOME)
    previewed = problem.preview(work)
    assert set(previewed) == {"parameters", "macs"}
    shots, model, _ = finish(problem, work)
    assert [s.index for s in shots] == [1, 2, 3, 4, 5]
    assert isinstance(model, nn.Module)
    assert not model.training
    values = problem.measure(work, model, 1)
    assert set(values) == {"error", "latency"}
    assert values["error"].mean == pytest.approx(shots[-1].metrics["val_error"])
    assert values["error"].mean < 0.3
    assert problem.quiet == {"latency"}
    only = problem.measure(Work(GENOME, goals=frozenset({"macs"})), model, 1)
    assert only == {"macs": previewed["macs"]}
    tested = problem.measure(Work(GENOME, split="test", goals=frozenset({"error"})), model, 1)
    assert tested["error"] != values["error"]


def test_a_stopped_training_goes_on_as_if_it_had_not_been() -> None:
    problem = Supervised(DIGITS, goals=["error"], epochs=4)
    shots, model, whole = finish(problem, Work(GENOME))
    first, _, half = finish(problem, Work(GENOME, fidelity=2))
    rest, again, full = finish(problem, Work(GENOME), resume=half)
    assert [s.metrics for s in first + rest] == [s.metrics for s in shots]
    assert all(np.array_equal(whole[name], full[name]) for name in whole)
    nothing, loaded, _ = finish(problem, Work(GENOME), resume=whole)
    assert nothing == []
    for one in (again, loaded):
        assert problem.measure(Work(GENOME), one, 1) == problem.measure(Work(GENOME), model, 1)
    early, stopped, _ = finish(problem, Work(GENOME, fidelity=2), resume=half)
    assert early == []
    measured = problem.measure(Work(GENOME), stopped, 1)["error"].mean
    assert measured == pytest.approx(first[-1].metrics["val_error"])


def test_same_seed_same_result_also_in_another_process_of_the_problem() -> None:
    problem = Supervised(DIGITS, Macro(), goals=["error"], epochs=1)
    genome = problem.space.sample(generator(3))
    finish(problem, Work(genome))
    sent = pickle.dumps(problem)
    assert len(sent) < 2 * sum(
        p.x.nbytes + p.y.nbytes for p in (DIGITS.train, DIGITS.validation, DIGITS.test)
    )
    one, two = finish(problem, Work(genome), 5), finish(pickle.loads(sent), Work(genome), 5)
    assert [s.metrics for s in one[0]] == [s.metrics for s in two[0]]
    assert all(np.array_equal(one[2][name], two[2][name]) for name in one[2])
    other = finish(problem, Work(genome), 6)
    assert [s.metrics for s in one[0]] != [s.metrics for s in other[0]]


def test_what_the_report_is_told() -> None:
    problem = Supervised(DIGITS, Chain(), epochs=3, lr=0.01)
    told = problem.describe()
    assert json.loads(json.dumps(told)) == told
    assert told["kind"] == "supervised"
    assert told["data"]["name"] == "digits"
    assert told["space"]["use"] == "Chain"
    assert told["training"]["lr"] == 0.01
    rows = problem.layers(GENOME)
    assert [r["op"] for r in rows][-1] == "dense"
    assert rows[-1]["shape"] == [10]
    assert problem.layers({"layers": "none"}) == []


def test_impossible_genomes_are_told_in_the_preview() -> None:
    problem = Supervised(DIGITS, Chain(max_parameters=10), goals=["error"])
    with pytest.raises(Impossible):
        problem.preview(Work(GENOME))


# -- objectives -----------------------------------------------------------------------------------------


def half(candidate: Candidate) -> float:
    return candidate.input_shape[1] / 2


def test_objectives_of_ones_own_and_with_options() -> None:
    problem = Supervised(
        DIGITS,
        goals=[goal("size", stage="preview"), goal("half"), "energy"],
        objectives={
            "size": functools.partial(weight_bytes.objective, bits=8),
            "half": half,
            "energy": functools.partial(energy.objective, bits=8),
        },
    )
    previewed = problem.preview(Work(GENOME))
    assert set(previewed) == {"size", "energy"}
    assert previewed["size"].mean == 8 * 9 + 2 * 8 + 128 * 10 + 10  # batch norm makes up for the bias
    assert previewed["energy"].origin == "estimated"
    assert problem.measure(Work(GENOME), nn.Identity(), 0) == {"half": Value(4.0)}
    assert problem.quiet == set()


def test_an_objective_that_gives_no_number() -> None:
    nonsense: Any = {"error": lambda c: "low"}
    problem = Supervised(DIGITS, goals=["error"], objectives=nonsense)
    with pytest.raises(ValueError, match="the objective of 'error' gave str; it must give a Value"):
        problem.measure(Work(GENOME), nn.Identity(), 0)


def test_train_seconds_are_for_the_clock() -> None:
    problem = Supervised(DIGITS, goals=["train_seconds"])
    assert problem.measure(Work(GENOME), nn.Identity(), 0) == {}


# -- users' own modules ---------------------------------------------------------------------------------


def perceptron(params: Mapping[str, Any], input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    size = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size, params["units"]), nn.ReLU(), nn.Linear(params["units"], outputs)
    )


OWN = Parameters(
    {
        "units": Int(8, 64, log=True),
        "lr": Float(1e-3, 1e-1, log=True),
        "optimizer": Choice(("adam", "sgd")),
        "momentum": Float(0.0, 0.9, when={"optimizer": "sgd"}),
    }
)
MINE: Genome = {"units": 32, "lr": 0.01, "optimizer": "adam", "momentum": 0.5}


def test_a_users_module_is_searched_like_any_network() -> None:
    problem = Supervised(DIGITS, OWN, ["error", "macs", "parameters"], module=perceptron, epochs=6)
    assert problem.preview(Work(MINE)) == {
        "macs": Value(64 * 32 + 320),
        "parameters": Value(65 * 32 + 330),
    }
    shots, model, whole = finish(problem, Work(MINE))
    assert shots[-1].metrics["val_error"] < 0.15
    _, _, mark = finish(problem, Work(MINE, fidelity=3))
    _, _, again = finish(problem, Work(MINE), resume=mark)
    assert all(np.array_equal(whole[name], again[name]) for name in whole)
    assert problem.measure(Work(MINE), model, 1)["error"].mean == pytest.approx(
        shots[-1].metrics["val_error"]
    )
    other = finish(problem, Work({**MINE, "lr": 0.001}))[0]
    assert other[-1].metrics != shots[-1].metrics
    rows = problem.layers(MINE)
    assert [r["op"] for r in rows] == ["Flatten", "Linear", "ReLU", "Linear"]
    assert [r["inputs"] for r in rows] == [[-1], [0], [1], [2]]
    assert rows[1]["args"]["name"] == "1"
    assert rows[1]["shape"] == [32]
    assert problem.describe()["module"].endswith(":perceptron")
    with pytest.raises(Impossible, match="units"):
        problem.preview(Work({**MINE, "units": 1000}))
    assert pickle.loads(pickle.dumps(problem)).preview(Work(MINE)) == problem.preview(Work(MINE))


class LeNet(nn.Module):
    """What a user has today."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Linear(6 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        return self.classifier(x.flatten(1))  # type: ignore[no-any-return]


def factory(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), outputs))


@pytest.mark.parametrize(
    "baseline", [LeNet, LeNet(), factory, f"{__name__}:LeNet", f"{__name__}:factory", GENOME]
)
def test_a_baseline_is_trained_and_measured_like_all_others(baseline: Any) -> None:
    problem = Supervised(DIGITS, goals=["error", "parameters", "macs"], baseline=baseline, epochs=3, lr=0.01)
    problem = pickle.loads(pickle.dumps(problem))
    assert problem.baseline is not None
    assert json.loads(json.dumps(problem.baseline)) == problem.baseline
    work = Work(problem.baseline, operator="baseline")
    assert set(problem.preview(work)) == {"parameters", "macs"}
    one, model, weights = finish(problem, work)
    two = finish(problem, work)[0]
    assert [s.metrics for s in one] == [s.metrics for s in two]
    assert problem.measure(work, model, 1)["error"].mean < 0.5
    assert finish(problem, work, resume=weights)[0] == []
    assert len(problem.layers(problem.baseline)) >= 2
    assert problem.preview(Work(GENOME))["parameters"].mean > 0  # the space is as it was


def test_a_baseline_beside_a_users_module() -> None:
    problem = Supervised(DIGITS, OWN, ["parameters"], module=perceptron, baseline=LeNet)
    assert problem.baseline == {"module": f"{__name__}:LeNet"}
    assert problem.preview(Work(problem.baseline))["parameters"].mean == 60 + 970
    with pytest.raises(Impossible):
        problem.preview(Work({"module": "os:system"}))


# -- tables and regression ------------------------------------------------------------------------------


def house_prices(rows: int = 400) -> Dataset:
    """A made-up table: three columns of very different scales, and a price."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)) * [1, 100, 0.01] + [0, 1000, 5]
    z = (x - x.mean(0)) / x.std(0)
    y = 200_000 + 50_000 * (z[:, 0] - 0.5 * z[:, 1] + 0.3 * z[:, 2] ** 2)
    whole = Part(x.astype(np.float32), y.astype(np.float32))
    return dataset.make("prices", whole, None, Sizes(), task="regression")


def test_regression_on_a_table() -> None:
    data = house_prices()
    problem = Supervised(data, Chain(), ["error", "macs", "latency"], epochs=25, lr=0.01)
    genome = {**GENOME, "layers": [{"op": "dense", "units": 32}, {"op": "relu"}]}
    assert problem.preview(Work(genome))["macs"].mean == 3 * 32 + 32
    shots, model, _ = finish(problem, Work(genome))
    last = shots[-1].metrics
    assert last["val_error"] < 0.4
    assert last["val_rmse"] == pytest.approx(last["val_error"] * float(data.target_std[0]))
    values = problem.measure(Work(genome), model, 1)
    assert values["error"].mean == pytest.approx(last["val_error"], rel=1e-4)
    assert 0 < values["error"].sd < 0.1
    assert problem.describe()["targets"]["std"] == pytest.approx([float(data.target_std[0])])


def test_a_constant_prediction_has_error_one() -> None:
    data = house_prices()

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 1)

    value = Supervised(data, goals=["error"]).measure(Work(GENOME), Mean(), 0)["error"]
    assert value.mean == pytest.approx(1, abs=0.2)


def test_random_networks_of_a_space_on_a_table() -> None:
    problem = Supervised(house_prices(120), Chain(), ["error", "parameters"], epochs=1)
    rng = generator(2)
    for _ in range(5):
        work = Work(problem.space.sample(rng))
        assert problem.preview(work)["parameters"].mean > 0
        assert len(finish(problem, work)[0]) == 1


# -- what is wrong ----------------------------------------------------------------------------------------


def no_module(params: Any, input_shape: Any, outputs: Any) -> Any:
    return "a network"


def three_classes(params: Any, input_shape: Any, outputs: Any) -> nn.Module:
    return factory(input_shape, 3)


def two_tensors(params: Any, input_shape: Any, outputs: Any) -> nn.Module:
    return nn.LSTM(8, 8)


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return x, x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "there is no device 'gpu'; choose 'cpu', 'cuda'"),
        ({"device": "meta"}, "cannot train on device 'meta'"),
        (
            {"goals": ["eror"]},
            r"nothing computes the goal 'eror'; did you mean 'error'\? known are adcr, asi",
        ),
        ({"goals": ["candidate"]}, "nothing computes the goal 'candidate'"),
        ({"goals": []}, "has no goals"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"lr": -1}, "lr is -1"),
        ({"optimizer": "lion"}, "optimizer is 'lion'"),
        ({"augment": "blur"}, "augment is 'blur'"),
        ({"module": perceptron}, "Chain describes networks itself"),
        ({"space": OWN}, "Parameters describes no networks; give module"),
        ({"space": OWN, "module": no_module}, "no_module returned str; it must return a torch.nn.Module"),
        (
            {"space": OWN, "module": three_classes},
            r"gives the shape \(2, 3\) for 2 inputs of \(1, 8, 8\); the data has 10 outputs",
        ),
        ({"baseline": 3}, "the baseline 3 is int; it must be a torch.nn.Module"),
        ({"baseline": "nowhere:Net"}, "cannot find the baseline 'nowhere:Net'"),
        ({"baseline": "LeNet"}, "cannot find the baseline 'LeNet'"),
        ({"baseline": f"{__name__}:Missing"}, "cannot find the baseline"),
        ({"baseline": lambda shape, outputs: None}, "returned NoneType"),
        ({"baseline": Twice}, "gives tuple; it must give one tensor"),
        ({"baseline": nn.Linear(3, 10)}, r"inputs of shape \(2, 1, 8, 8\): RuntimeError.*; give it data"),
        ({"baseline": {"layers": 3}}, "the baseline is no genome of the space"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Supervised(DIGITS, **{"goals": ["error"], **options})


def test_augmentation_of_a_table_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="augment is 'shift', but prices holds no images"):
        Supervised(house_prices(), augment="shift")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="PyTorch finds no CUDA GPU here; use device = 'cpu'"):
        Supervised(DIGITS, device="cuda")


def test_data_that_is_none() -> None:
    wrong: Any = "digits"
    with pytest.raises(ValueError, match="data is str, not a Dataset"):
        Supervised(wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_training_on_a_gpu_resumes_too() -> None:
    problem = Supervised(DIGITS, goals=["error", "latency"], epochs=4, device="cuda", augment="shift")
    shots, model, whole = finish(problem, Work(GENOME))
    first, _, mark = finish(problem, Work(GENOME, fidelity=2))
    rest, _, full = finish(problem, Work(GENOME), resume=mark)
    assert [s.metrics for s in first + rest] == [s.metrics for s in shots]
    assert all(np.array_equal(whole[name], full[name]) for name in whole)
    assert problem.measure(Work(GENOME), model, 1)["error"].mean < 0.3
