"""The engine on small networks: what it answers and what it refuses. `test_laws_engine` has the rest."""

import numpy as np
import pytest
import torch

from deployed_networks import IMAGES, network
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.hits import held, place
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.campaign.plain import plain
from vilfredo.codes import Codes, floats
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.dead import Dead
from vilfredo.faults.stuck import Stuck
from vilfredo.nn.deployed import run

FLIP = BitFlip(site="weights", count=1)


@pytest.fixture(scope="module")
def example():
    net, x = network(3, "whole", "real", 3)
    return net, x, Engine(net, x)


def at(step, site, index, detail, image=None, fault=FLIP):
    image = None if image is None else np.array(image, np.int64)
    return Hit(fault, step, site, np.array(index, np.int64), np.array(detail), image)


def weighted(net):
    return [i for i, step in enumerate(net.steps) if step.weight is not None]


def test_without_faults_it_is_the_network(example):
    net, x, engine = example
    right = run(net, x)[-1]
    assert torch.equal(engine.golden, right)
    assert torch.equal(engine.classes, right.argmax(1))
    assert engine.classes.dtype == torch.int64
    (answer,) = engine.outputs([Injection(())])
    assert torch.equal(answer, right)
    assert list(engine.outputs([])) == []
    assert engine.classes_under([]).shape == (0, IMAGES)
    nothing = at(weighted(net)[0], "weights", [], [])
    assert torch.equal(next(engine.outputs([Injection((nothing,))])), right)


def test_answers_are_those_of_each_injection_alone_and_in_order(example):
    net, x, engine = example
    rng = np.random.default_rng(0)
    found = []
    for _ in range(700):  # more than go together, of all layers in any order
        step = int(rng.choice(weighted(net)))
        size = net.steps[step].weight.numel()
        found.append(Injection((at(step, "weights", [rng.integers(size)], [1 << rng.integers(8)]),)))
    outputs = list(engine.outputs(found))
    classes = engine.classes_under(found)
    for k in range(0, 700, 41):
        assert torch.equal(outputs[k], plain(net, x, found[k]))
    assert np.array_equal(classes, torch.stack(outputs).argmax(2).numpy())
    assert torch.equal(engine.golden, run(net, x)[-1])


def test_a_transient_fault_is_in_its_image_only(example):
    net, _, engine = example
    step = weighted(net)[-1]
    hit = at(step, "weights", [0, 1], [64, 64], image=[1, 1])
    (answer,) = engine.outputs([Injection((hit,))])
    assert torch.equal(answer[[0, 2, 3, 4]], engine.golden[[0, 2, 3, 4]])


def test_a_dead_network_gives_zeros(example):
    net, x, engine = example
    size = int(np.prod(net.steps[-1].shape))
    hit = at(len(net.steps) - 1, "neurons", range(size), np.zeros(size), fault=Dead(1.0))
    (answer,) = engine.outputs([Injection((hit,))])
    assert (answer == net.steps[-1].zero).all()
    size = x[0].numel()
    hit = at(INPUT, "neurons", range(size), np.zeros(size), fault=Dead(1.0))
    (answer,) = engine.outputs([Injection((hit,))])
    assert torch.equal(answer, run(net, torch.full_like(x, net.input_zero))[-1])


def test_cells_hold_what_their_bits_can():
    whole = Codes(-127, 127, 8)
    assert held(np.array([-300.0, -127.6, 0.5, 1.5, 200]), whole).tolist() == [-128, -128, 0, 2, 127]
    assert held(np.array([-3.0, 300.0]), Codes(0, 200, 8)).tolist() == [0, 255]
    assert held(np.array([0.3, -9.0]), Codes(-1.0, 1.0)).tolist() == [0.3, -1.0]
    small = held(np.array([1 + 2.0**-11, 1e9, np.nan]), floats("float16"))
    assert small[0] == 1.0
    assert small[1] == np.inf
    assert np.isnan(small[2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_goes_where_it_goes_in_a_plain_run(value):
    class Becomes(Stuck):
        def apply(self, values, codes, detail):
            return np.full_like(values, value)

    fault = Becomes(1.0)
    net, x = network(5, "float32", "real", 2)
    engine = Engine(net, x)
    for step in weighted(net):
        for image in (None, [2]):
            injection = Injection((at(step, "weights", [1], [0], image, fault),))
            (answer,) = engine.outputs([injection])
            right = plain(net, x, injection)
            assert torch.equal(answer.isnan(), right.isnan())
            assert torch.equal(answer.isinf(), right.isinf())
            classes = engine.classes_under([injection])[0]
            assert np.array_equal(classes, right.argmax(1).numpy())


@pytest.mark.parametrize(
    ("hit", "message"),
    [
        (at(99, "weights", [0], [1]), "there is no step 99"),
        (at(-2, "weights", [0], [1]), "there is no step -2"),
        (at(INPUT, "weights", [0], [1]), "the network's input has no weights"),
        (at(0, "thresholds", [0], [1]), r"step 0 \(.*\) has no thresholds"),
        (at(0, "activations", [10**6], [1]), "there is no activations number 1000000; they go from 0 to"),
        (at(0, "activations", [-1], [1]), "there is no activations number -1"),
        (at(0, "activations", [0, 10**6], [1, 1]), "there is no activations number 1000000"),
        (at(0, "activations", [0], [1], [IMAGES]), f"there is no image {IMAGES}; they go from 0 to 4"),
        (at(0, "activations", [0, 1], [1]), "one detail"),
        (at(0, "weights", [10**6], [1]), "there is no weights number 1000000"),
    ],
)
def test_places_that_are_not_there_are_named_in_one_sentence(example, hit, message):
    net, x, engine = example
    for run_ in (
        lambda i: list(engine.outputs([i])),
        lambda i: engine.classes_under([i]),
        lambda i: plain(net, x, i),
    ):
        with pytest.raises(ValueError, match=message) as problem:
            run_(Injection((hit,)))
        assert "\n" not in str(problem.value)


def test_inputs_of_another_shape_are_refused(example):
    net, x, _ = example
    with pytest.raises(ValueError, match="this network takes"):
        Engine(net, x[:, :, 1:])
    with pytest.raises(ValueError, match="this network takes"):
        Engine(net, x[:0])


def test_every_site_has_its_place(example):
    net, x, _ = example
    assert place(net, INPUT, "inputs") == (tuple(x.shape[1:]), net.input)
    step = weighted(net)[0]
    assert place(net, step, "accumulators")[1] == net.steps[step].accumulator
    assert place(net, step, "neurons")[0] == net.steps[step].shape
