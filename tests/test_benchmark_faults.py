"""The faults benchmark compares like with like: same faults, same arithmetic, time per fault."""

import numpy as np
import pytest
import torch
from benchmarks import faults

from vilfredo.campaign.engine import Engine
from vilfredo.campaign.plain import plain
from vilfredo.nn.quantize import Scheme, quantize
from vilfredo.nn.simulation import simulation


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    made = faults.model().eval()
    x = torch.randn(faults.IMAGES, 1, 28, 28)
    network = quantize(made, x[:16], Scheme(scales="power_of_two"))
    return network, network.encode(x)


def test_the_network_has_the_parameters_that_are_said():
    assert sum(p.numel() for p in faults.model().parameters()) == 147_722


def test_flips_are_uniform_over_weights_and_the_same_for_the_same_seed(case):
    network, _ = case
    steps = faults.weighted(network)
    made = faults.flips(network, steps, list(range(8)), 2000, np.random.default_rng(1))
    again = faults.flips(network, steps, list(range(8)), 2000, np.random.default_rng(1))
    assert all(a.hits[0].index == b.hits[0].index for a, b in zip(made, again, strict=True))
    sizes = np.array([network.steps[s].weight.numel() for s in steps])
    counts = np.array([sum(i.hits[0].step == s for i in made) for s in steps])
    assert np.abs(counts / 2000 - sizes / sizes.sum()).max() < 0.05
    for injection in made:
        hit = injection.hits[0]
        assert 0 <= hit.index[0] < network.steps[hit.step].weight.numel()


def test_all_ways_give_the_same_outputs(case):
    network, x = case
    rng = np.random.default_rng(2)
    engine = Engine(network, x)
    loop = faults.Plain(network, simulation(network, torch.float32), x)
    cases = faults.flips(network, faults.weighted(network), list(range(8)), 3, rng)
    cases += faults.masks(network, 1e-4, 1, rng)
    for injection, ours in zip(cases, engine.outputs(cases), strict=True):
        assert torch.equal(ours, loop(injection))
    assert torch.equal(loop(cases[0]), plain(network, x, cases[0]))


def test_pytorchfi_gives_the_same_outputs(case):
    pytest.importorskip(
        "pytorchfi", reason="PyTorchFI is installed by make install, without what it asks for"
    )
    network, x = case
    rng = np.random.default_rng(3)
    engine = Engine(network, x)
    tool = faults.PyTorchFI(network, simulation(network, torch.float32), x)
    (injection,) = faults.flips(network, faults.weighted(network), list(range(8)), 1, rng)
    assert torch.equal(next(engine.outputs([injection])), tool.weight(injection))
    (injection,) = faults.neurons(network, 1, rng)
    assert torch.equal(next(engine.outputs([injection])), tool.neuron(injection))


def test_the_engine_gets_all_faults_and_the_others_a_part_of_them(case):
    network, x = case
    rng = np.random.default_rng(4)
    drawn = []

    def injections():
        drawn.append(faults.flips(network, faults.weighted(network), [0], 5, rng))
        return drawn[-1]

    got = []
    loop = faults.Plain(network, simulation(network, torch.float32), x)

    def peer(injection):
        got.append(injection)
        return loop(injection)

    seconds, compared, equal = faults.compared(
        Engine(network, x), injections, {"pytorchfi": (peer, 3), "plain": (loop, 1)}, 2, rng
    )
    assert (compared, equal) == (8, 8)
    assert {name: len(values) for name, values in seconds.rounds.items()} == dict.fromkeys(
        ("ours", "small", "pytorchfi", "plain"), 2
    )
    assert {name: len(values) for name, values in seconds.single.items()} == {"pytorchfi": 6, "plain": 2}
    for mine, part in zip(drawn[1:], (got[1:4], got[4:]), strict=True):
        assert all(any(injection is one for one in mine) for injection in part)


def test_speedups_are_medians_of_paired_rounds():
    seconds = faults.Seconds(
        {
            "ours": [1.0, 2.0, 1.0],
            "small": [2.0, 2.0, 2.0],
            "pytorchfi": [10.0, 60.0, 20.0],
            "plain": [5.0, 5.0, 5.0],
        },
        {"pytorchfi": [0.5] * 100},
    )
    found = faults.figures("conv", seconds)
    assert found["speedup_conv"] == 20
    assert (found["speedup_conv.low"], found["speedup_conv.high"]) == (10, 30)
    assert found["speedup_plain_conv"] == 5
    assert found["speedup_small_conv"] == 10
    assert found["ms.conv.pytorchfi.q95"] == 500
    assert found["ms.conv.ours"] == 1000
