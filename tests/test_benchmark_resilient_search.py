"""`benchmarks.resilient_search`: references as published, figures from known rows, all in tiny sizes."""

import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import resilient_figures as figures_of
from benchmarks import resilient_search as benchmark
from benchmarks.resilient_networks import Bottleneck, MobileNetV2Like, NASNetALike, NormalCell, ReductionCell
from benchmarks.resilient_training import SETTINGS, Network, dataset, file_name, macs, member, references

from vilfredo.nn.graph import trace
from vilfredo.nn.quantize import quantize
from vilfredo.spaces.chain import Chain
from vilfredo.trial import Key, Trial, Value

FOLDER = Path(os.environ.get("VILFREDO_DATA", "nowhere"))
needs_data = pytest.mark.skipif(
    not (FOLDER / "fashion_mnist").is_dir(), reason="$VILFREDO_DATA/fashion_mnist is not there"
)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("kind", [MobileNetV2Like, NASNetALike])
def test_references_are_small_and_can_be_deployed(kind, shape):
    torch.manual_seed(0)
    model = kind(shape, 10).eval()
    network = Network("reference", lambda seed: model)

    class Shape:
        input_shape = shape

    assert 1e6 < macs(network, Shape) < 2.5e6
    x = torch.randn(8, *shape)
    assert model(x).shape == (8, 10)
    traced = trace(model, shape)
    deployed = quantize(traced, x)
    depthwise = [s for s in deployed.steps if s.op == "conv" and s.args["groups"] > 1]
    assert all(s.args["groups"] == s.shape[0] for s in depthwise)
    assert len(depthwise) > 5


def test_mobilenet_follows_the_paper():
    model = MobileNetV2Like((3, 32, 32), 10)
    blocks = [m for m in model.body if isinstance(m, Bottleneck)]
    assert [b.residual for b in blocks].count(True) == 6
    for block in blocks[1:]:
        expand, project = block.body[0], block.body[-2]
        assert expand.out_channels == 6 * expand.in_channels
        assert expand.kernel_size == project.kernel_size == (1, 1)
        assert isinstance(block.body[-1], torch.nn.BatchNorm2d)  # a linear bottleneck: no activation after it


def test_nasnet_follows_the_paper():
    x = torch.randn(2, 12, 8, 8)
    normal = NormalCell(12, 12, 5, 1)
    assert normal(x, x).shape == (2, 30, 8, 8)
    assert ReductionCell(12, 12, 5, 1)(x, x).shape == (2, 20, 4, 4)
    # Twice applied separable convolutions: five in a normal cell, five in a reduction cell.
    for cell, kernels in ((normal, [3, 3, 3, 5, 5]), (ReductionCell(12, 12, 5, 1), [3, 5, 5, 7, 7])):
        convolutions = [m for m in cell.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
        assert sorted(c.kernel_size[0] for c in convolutions) == sorted(2 * kernels)


def rows():
    """Two seeds; found networks have a fifth of the references' changed answers under weight faults, a tenth
    with a remedy, and as many under faults of activations."""
    table = {}
    for network, weights in (("mobilenetv2", 0.1), ("found_mobilenetv2", 0.02)):
        for scheme, factor in (("power_of_two", 1.0), ("real", 0.5)):
            for remedy in (*figures_of.REMEDIES, "design"):
                if network == "mobilenetv2" and remedy == "design":
                    continue
                less = 1.0 if remedy == "none" or network == "mobilenetv2" else 0.5
                table["cifar10", network, scheme, remedy] = [
                    {
                        "clean": 0.62 if network == "mobilenetv2" and remedy == "both" else 0.6,
                        "ccr.weights": weights * factor * less * step,
                        "accuracy.weights": 0.5,
                        "ccr.activations": 0.1,
                        "accuracy.activations": 0.5,
                    }
                    for step in (0.8, 1.2)
                ]
    return table


def test_figures_from_known_rows():
    facts = {"macs.cifar10.mobilenetv2": 100, "macs.cifar10.found_mobilenetv2": 90}
    figures = figures_of.comparisons(rows(), facts)
    assert figures["ccr_ratio_none.cifar10.mobilenetv2.weights.real"] == pytest.approx(5)
    assert figures["ccr_ratio_both.cifar10.mobilenetv2.weights.real"] == pytest.approx(10)
    assert figures["ccr_ratio.cifar10.mobilenetv2.weights.power_of_two"] == pytest.approx(10)
    assert figures["ccr_ratio.cifar10.mobilenetv2.activations.real"] == pytest.approx(1)
    assert figures["ccr_ratio.cifar10.mobilenetv2.weights.real.least"] == pytest.approx(10)
    assert figures["macs_share_most"] == pytest.approx(0.9)
    assert figures["accuracy_gap_most"] == 0
    assert figures["ccr_ratio_remedied.cifar10.mobilenetv2.weights.real"] == pytest.approx(10)
    assert figures["accuracy_gap_most_remedied"] == pytest.approx(0.02)
    assert figures["accuracy_gap_most_both"] == pytest.approx(0.02)  # the reference gains by its remedies
    assert figures["ccr_ratio_share_of_3"] == 0.5
    pairs = figures_of.schemes(rows())
    assert pairs["schemes.weights"] == pytest.approx(2)
    assert pairs["schemes.weights.low"] == pytest.approx(2)
    assert pairs["schemes.activations.cifar10.mobilenetv2"] == pytest.approx(1)
    means = figures_of.summaries(rows())
    assert means["ccr.cifar10.mobilenetv2.weights.real.none"] == pytest.approx(0.05)
    assert means["ccr.cifar10.mobilenetv2.weights.real.none.high"] == pytest.approx(0.06)
    assert means["clean.cifar10.mobilenetv2.real.none"] == pytest.approx(0.6)


def test_intervals():
    assert figures_of.interval([2.0]) == (2.0, 2.0)
    low, high = figures_of.interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(
        4.303 / math.sqrt(3), rel=1e-3
    )  # Student's t with two degrees of freedom
    figures = figures_of.ratio("r", [0.2, 0.2], [0.0, 0.0])  # nothing changed: counts as one in ten thousand
    assert figures["r"] == pytest.approx(2000)


def test_the_least_harmed_of_the_accurate_is_chosen():
    network = Network("finalist", lambda seed: torch.nn.Linear(2, 2))
    a, b, c = ({"layers": [n]} for n in range(3))
    rows = ((a, 0.90, 0.5), (b, 0.85, 0.2), (c, 0.70, 0.1))
    known = [benchmark.Finalist(network, *row) for row in rows]

    def same(finalist):
        return finalist.accuracy

    def worse(finalist):
        return finalist.accuracy - 0.02

    assert benchmark.best(known, 0.88, same) == a
    assert benchmark.best(known, 0.85, same) == b
    assert benchmark.best(known, 0.5, same) == c
    assert benchmark.best(known, 0.99, same) == a
    assert benchmark.best(known, 0.85, worse) == a  # the one with less harm was accurate by luck


def test_finalists_are_resilient_and_not_far_from_the_best(monkeypatch, tmp_path):
    plan = benchmark.Plan(finalists=3)
    measure = benchmark.Measure(SETTINGS["cifar10"], plan, tmp_path)
    row = {"clean": 0.9, "ccr.weights": 0.1, "ccr.activations": 0.1}
    monkeypatch.setattr(benchmark.Measure, "row", lambda *_: row)
    space = Chain(activation_clip=(False, True), weight_clip=(0, 0.1)).bind((1, 8, 8), 10)

    def trial(number, error, harm):
        values = {Key("error"): Value(error), Key("weights"): Value(harm), Key("activations"): Value(harm)}
        genome = {"layers": [{"op": "dense", "units": number + 1}], "training": hyper}
        return Trial(number, genome, "complete", values=values)

    hyper = {"optimizer": "adam", "lr": 1e-3, "weight_decay": 1e-5, "batch_size": 32, "schedule": "cosine"}
    hyper |= {"activation_clip": True, "weight_clip": 0.1}
    trials = [trial(0, 0.1, 0.9), trial(1, 0.15, 0.1), trial(2, 0.14, 0.5), trial(3, 0.4, 0.01)]
    chosen = benchmark.finalists(measure, space, trials)
    assert [f.genome["layers"][0]["units"] - 1 for f in chosen] == [1, 2, 0]
    assert (chosen[0].accuracy, chosen[0].harm) == (0.9, pytest.approx(0.01))
    assert benchmark.again(measure, chosen[0]) == pytest.approx(0.9)


def test_remedies_are_those_of_the_design_or_follow_one_rule(monkeypatch, tmp_path):
    """The limit is the smallest that costs at most a point; nothing but the accuracy is looked at."""
    accuracy = {0.0: 0.6, 0.02: 0.58, 0.03: 0.591, 0.05: 0.61, 0.1: 0.6}
    measure = benchmark.Measure(SETTINGS["cifar10"], benchmark.Plan(), tmp_path)
    monkeypatch.setattr(
        benchmark.Measure, "_row", lambda self, network, seed, clip, *rest: {"clean": accuracy[clip]}
    )
    network = Network("found", lambda seed: torch.nn.Linear(2, 2), (0.05, True))
    assert measure.clips(network, "design") == (0.05, True)
    assert measure.clips(network, "none") == (0.0, False)
    assert measure.clips(network, "activation_clip") == (0.0, True)
    assert measure.clips(network, "both") == (0.03, True)
    accuracy |= {0.03: 0.5, 0.05: 0.5, 0.1: 0.5}
    assert measure.clips(network, "both") == (0.1, True)  # the largest where all cost too much


def test_the_start_is_of_the_space():
    space = benchmark.chain(2_000_000).bind((3, 32, 32), 10)
    network = member("start", space, benchmark.START)
    assert network.clips == (0.03, True)


def test_weights_are_known_by_what_they_are_trained_on():
    setting = SETTINGS["fashion_mnist"]

    class Data:
        input_shape, outputs = (1, 28, 28), 10

    one, two = references(Data)
    names = {file_name(n, setting, seed, clip) for n in (one, two) for seed in (0, 1) for clip in (0.0, 0.1)}
    assert len(names) == 8
    assert file_name(one, setting, 0, 0.0) in names


@needs_data
@pytest.mark.long
def test_all_of_it_in_tiny_sizes(tmp_path):
    arguments = ["--data", "fashion_mnist", "--seeds", "2", "--trials", "3", "--search-epochs", "1"]
    arguments += ["--finalists", "2", "--weight-copies", "2", "--weight-images", "40", "--epochs", "1"]
    arguments += ["--activation-copies", "1", "--activation-images", "40", "--train-size", "200"]
    arguments += ["--validation-size", "100", "--test-size", "100", "--folder", str(tmp_path / "cache")]
    first = benchmark.main([*arguments, "--json", str(tmp_path / "one.json")])
    again = benchmark.main(arguments)  # all of it is known
    assert first == again
    written = json.loads((tmp_path / "one.json").read_text())
    assert written["plan.seeds"] == 2
    assert written["macs_share_most"] <= 1
    assert {f"ccr_ratio.fashion_mnist.{r}.weights.real.low" for r in ("mobilenetv2", "nasneta")} <= set(
        written
    )
    assert written["search_trials.fashion_mnist"] == 3
    assert len(dataset(SETTINGS["fashion_mnist"]).test) == 2_000
