"""Quantised networks and faults in a supervised search: whose error counts, what resilience comes to."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vilfredo.data import digits
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.gaussian import Gaussian
from vilfredo.goal import Goal, goal
from vilfredo.nn.deployed import run
from vilfredo.nn.quantize import Scheme, quantize
from vilfredo.objectives import ccr, resilience_mean, resilience_q05, resilience_worst, weight_bytes
from vilfredo.objectives.candidate import Candidate
from vilfredo.problems.supervised import Supervised
from vilfredo.protocols import Work
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.parameters import Int, Parameters
from vilfredo.spec.build import build
from vilfredo.spec.read import SpecError
from vilfredo.spec.read import read as read_spec
from vilfredo.study import search
from vilfredo.trial import FEATURE

DIGITS = digits.load(train_size=400, validation_size=200)
GENOME: dict[str, Any] = {
    "layers": [
        {"op": "conv", "filters": 8, "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]},
        {"op": "batch_norm"},
        {"op": "relu"},
        {"op": "max_pool", "kernel": [2, 2]},
    ],
    "training": {
        "optimizer": "adam",
        "lr": 0.01,
        "weight_decay": 1e-5,
        "batch_size": 32,
        "schedule": "cosine",
    },
}
FLIPS = BitFlip(3e-3)
ALL = ("error", "ccr", "resilience_mean", "resilience_q05", "resilience_worst")


def problem(goals: Any = ALL, **options: Any) -> Supervised:
    if goals is ALL:
        options.setdefault("faults", [FLIPS])
    return Supervised(DIGITS, Chain(), goals, epochs=3, **options)


@functools.cache
def trained() -> nn.Module:
    training = problem(("error",)).train(Work(GENOME), 1, None, {})
    while True:
        try:
            next(training)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def measured(work: Work | None = None, **options: Any) -> dict[str, Any]:
    return dict(problem(**options).measure(work or Work(GENOME), trained(), 5))


def test_the_error_of_a_quantised_network_is_that_of_its_whole_numbers() -> None:
    for bits in (4, 8):
        made = problem(("error",), bits=bits)
        found = made.measure(Work(GENOME), trained(), 0)["error"].mean
        part = DIGITS.validation
        shape = (1, -1, 1, 1)
        mean, std = (torch.from_numpy(a).reshape(shape) for a in (DIGITS.mean, DIGITS.std))
        x, y = torch.from_numpy(part.x).float().sub(mean).div(std), torch.from_numpy(part.y)
        first = torch.from_numpy(DIGITS.train.x[:256]).float().sub(mean).div(std)
        network = quantize(trained(), first, Scheme(bits, bits))
        wrong = (network.decode(run(network, network.encode(x))[-1]).argmax(1) != y).double().mean()
        assert found == pytest.approx(float(wrong), abs=1e-9)
    plain = problem(("error",)).measure(Work(GENOME), trained(), 0)["error"].mean
    assert plain < 0.2
    assert abs(measured(bits=8, goals=("error",))["error"].mean - plain) < 0.02


def test_goals_of_resilience_agree_with_one_another() -> None:
    found = measured(bits=8, faults=[FLIPS], copies=40)
    worst, q05, mean = (found[f"resilience_{n}"].mean for n in ("worst", "q05", "mean"))
    assert 0 <= worst <= q05 <= mean <= 1
    assert worst < mean
    clean = 1 - found["error"].mean
    assert clean - found["ccr"].mean - 1e-9 <= mean <= clean + found["ccr"].mean + 1e-9
    assert found["ccr"].n == 40
    assert 0 < found["ccr"].sd < found["ccr"].mean


def test_without_faults_nothing_changes() -> None:
    found = measured(bits=8, faults=[BitFlip(0.0), Gaussian(0.0)])
    assert found["ccr"] == type(found["ccr"])(0.0, 0.0, 20)
    assert found["resilience_worst"].mean == pytest.approx(1 - found["error"].mean)


def test_the_same_perturbations_for_all_that_share_a_noise() -> None:
    one = measured(bits=8, faults=[FLIPS])
    assert one == measured(bits=8, faults=[FLIPS])
    other = measured(Work(GENOME, noise=1), bits=8, faults=[FLIPS])
    assert other["error"] == one["error"]
    assert other["ccr"] != one["ccr"]
    assert measured(bits=8, faults=[FLIPS], seed=3)["ccr"] != one["ccr"]


def test_a_network_that_is_not_quantised_is_run_in_float32() -> None:
    found = measured(faults=[BitFlip(1e-4, bits="exponent")], copies=10)
    assert found["ccr"].mean > measured(faults=[BitFlip(1e-4, bits="mantissa")], copies=10)["ccr"].mean


def test_each_goal_may_have_faults_of_its_own() -> None:
    goals = [Goal("weights"), Goal("activations")]
    flips = {"weights": BitFlip(1e-2), "activations": BitFlip(1e-4, "activations", transient=True)}
    given = {name: functools.partial(ccr.objective, faults=(fault,)) for name, fault in flips.items()}
    found = measured(goals=goals, objectives=given, bits=8)
    assert found["weights"].mean > found["activations"].mean > 0


def test_genes_say_how_a_candidate_is_quantised() -> None:
    space = Chain(bits=(4, 8), scales=("power_of_two", "real"), activation_clip=(False, True))
    made = Supervised(DIGITS, space, ("error", "weight_bytes"), epochs=1)
    rng = np.random.default_rng(0)
    sizes = {}
    for _ in range(40):
        genome = made.space.sample(rng)
        size = made.preview(Work(genome))["weight_bytes"].mean
        whole = Supervised(DIGITS, Chain(), ("parameters",), epochs=1)
        plain = {**genome, "training": GENOME["training"]}
        parameters = whole.preview(Work(plain))["parameters"].mean
        sizes.setdefault(genome["training"]["bits"], []).append(size / parameters)
    assert set(sizes) == {4, 8}
    assert np.median(sizes[4]) < np.median(sizes[8]) < 2


def test_a_study_says_in_which_numbers_networks_were_measured(tmp_path: Path) -> None:
    space = Chain(max_layers=1, bits=(4, 8), activation_clip=(False, True))
    searched = Supervised(DIGITS, space, ("error",), epochs=1)
    study = search(searched, budget=4, store=tmp_path / "s.db", workers=0)
    for trial in study.trials():
        genes = trial.genome["training"]
        words = f"{genes['bits']} bits, power-of-two scales, one per channel"
        if genes["activation_clip"]:
            words += ", activations clipped"
        assert study.deployed([trial]) == {trial.number: words}
        assert words in study.report()
    plain = search(
        Supervised(DIGITS, Chain(max_layers=1), ("error",), epochs=1),
        budget=1,
        store=tmp_path / "s.db",
        workers=0,
    )
    assert plain.deployed(plain.trials()) == {}


def test_layers_may_have_bits_of_their_own() -> None:
    genome = {**GENOME, "layers": [{**GENOME["layers"][0], "bits": 4}, *GENOME["layers"][1:]]}
    made = Supervised(DIGITS, Chain(layer_bits=(4, 8)), ("error", "weight_bytes"), epochs=1, bits=8)
    model = made._network(genome, 0)
    small = made.preview(Work(genome))["weight_bytes"].mean
    large = problem(("weight_bytes",), bits=8).preview(Work(GENOME))["weight_bytes"].mean
    conv = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert large - small == conv.weight.numel() / 2


def test_weight_bytes_follow_the_scheme() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 10))
    candidate = Candidate(model, (1, 8, 8), 10)
    assert weight_bytes.objective(candidate).mean == 4 * sum(p.numel() for p in model.parameters())
    quantised = Candidate(model, (1, 8, 8), 10, scheme=Scheme(8, 8, layers={"3": 4}))
    assert weight_bytes.objective(quantised).mean == 4 * 9 + 4 * 4 + 1440 / 2 + 4 * 10


def test_topology_comes_with_goals_of_resilience() -> None:
    assert any(n.startswith(FEATURE) for n in problem(faults=[FLIPS]).preview(Work(GENOME)))
    assert not any(n.startswith(FEATURE) for n in problem(("error", "macs")).preview(Work(GENOME)))


def test_gains_of_the_weights_come_with_the_last_epoch() -> None:
    made = problem(bits=8, gains=True)
    shots = list(made.train(Work(GENOME), 1, None, {}))
    plain = list(problem(bits=8).train(Work(GENOME), 1, None, {}))
    found = [name for name in shots[-1].metrics if name.startswith(FEATURE)]
    assert any("gains.margin" in name for name in found)
    assert any("probe.single_weights" in name for name in found)
    assert [{n: m for n, m in s.metrics.items() if n not in found} for s in shots] == [
        s.metrics for s in plain
    ]


@pytest.mark.long
def test_a_search_that_forecasts_resilience_measures_fewer_and_the_whole_front(tmp_path: Any) -> None:
    path = tmp_path / "spec.toml"
    text = SPEC.replace("trials = 3", "trials = 24").replace("bits = 8", "bits = 8\ngains = true")
    held = next(line for line in text.splitlines() if line.startswith("held"))
    path.write_text(text.replace(held + "\n", "") + '[stopper]\nuse = "resilience"\nunsure = 0.9\n')
    first: dict[int, str] = {}
    study = search(read_spec(path), store=tmp_path / "runs.db")
    for trial in study:
        value = trial.value("ccr")
        if value is not None:
            first.setdefault(trial.number, value.origin)
    assert list(first.values()).count("measured") >= 12
    assert "forecast" in first.values()
    assert study.front()
    for trial in study.front():
        assert trial.value("ccr").origin == "measured"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bits": 3}, "bits"),
        ({"bits": 17}, "bits"),
        ({"scales": "log"}, "scales"),
        ({"copies": 0}, "copies is 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        problem(**options)


def test_goals_of_resilience_need_faults() -> None:
    with pytest.raises(ValueError, match="'ccr' needs faults"):
        problem(("ccr",))
    for module in (ccr, resilience_mean, resilience_q05, resilience_worst):
        none = functools.partial(module.objective, images=0)
        with pytest.raises(ValueError, match="needs copies and images of at least 1"):
            measured(goals=[Goal("mine")], objectives={"mine": none}, faults=[FLIPS])


SPEC = """
[problem]
data = { use = "digits", train_size = 300, validation_size = 100 }
epochs = 1
bits = 8
faults = [{ use = "bit_flip", rate = 1e-3 }]
copies = 5

[space]
use = "chain"
max_layers = 6

[goals]
error = {}
ccr = { images = 100 }
held = { use = "ccr", faults = { use = "stuck", rate = 0.01 }, copies = 3 }
parameters = {}

[budget]
trials = 3
"""


def test_a_spec_names_faults_of_problems_and_of_goals(tmp_path: Any) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    trials = list(search(read_spec(path), store=tmp_path / "runs.db"))
    for trial in trials:
        assert trial.state == "complete", trial.failure
        for name, copies in (("ccr", 5), ("held", 3)):
            value = trial.value(name)
            assert value is not None
            assert value.n == copies


def test_limits_on_resilience_are_shares(tmp_path: Any) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC.replace("error = {}", 'error = {}\nresilience_mean = { min = "90 %" }'))
    parts = build(read_spec(path))
    found = next(g for g in parts.problem.goals if g.name == "resilience_mean")
    assert (found.min, found.unit, found.sense) == (0.9, "fraction", "max")


def test_a_wrong_fault_of_a_goal_is_named_by_its_place(tmp_path: Any) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC.replace("rate = 0.01", "rate = 1.5"))
    with pytest.raises(SpecError, match=r"goals\.held\.faults.*1\.5"):
        list(search(read_spec(path), store=tmp_path / "runs.db"))


def test_an_own_network_that_cannot_be_traced_says_which_layer() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.odd = nn.Sequential(nn.Conv2d(1, 10, 3), nn.GroupNorm(2, 10), nn.AdaptiveAvgPool2d(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.flatten(self.odd(x), 1)

    made = Supervised(
        DIGITS, Parameters({"n": Int(1, 2)}), ("error",), epochs=1, bits=8, module=lambda p, i, o: Odd()
    )
    with pytest.raises(ValueError, match=r"odd\.1"):
        made.measure(Work({"n": 1}), Odd().eval(), 0)


def test_known_goals_keep_their_sense() -> None:
    assert goal("ccr").sense == "min"
    assert goal("resilience_q05").sense == "max"
