"""A spiking network: what it is made from, what is refused, equality and pickling."""

import math
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo.spiking import NetworkError, Properties, Property, SpikingNetwork

PROPERTIES = Properties(
    (Property("Threshold", "int", 0, 127),),
    (Property("Weight", "int", -127, 127), Property("Delay", "int", 1, 15, 1)),
)
NEURONS = [(0, {"Threshold": 1}), (5, {"Threshold": 2})]
SYNAPSES = [(0, 5, {"Weight": 1, "Delay": 2})]
GENOME = {"neurons": [[0, 1], [1, 2], [7, 3]], "synapses": [[0, 7, -4, 2], [7, 1, 5, 1], [7, 7, 6, 15]]}


def network(neurons=NEURONS, synapses=SYNAPSES, inputs=(0,), outputs=(5,), **rest) -> SpikingNetwork:
    return SpikingNetwork.build(neurons, synapses, inputs, outputs, **rest)


def of_arrays(**changes) -> SpikingNetwork:
    arrays = {
        "ids": [3, 1],
        "neurons": {"Threshold": [1, 2]},
        "source": [0],
        "target": [1],
        "synapses": {"Weight": [1], "Delay": [1]},
        "inputs": [0],
        "outputs": [1],
    }
    return SpikingNetwork(**(arrays | changes))


def test_rows_become_arrays():
    net = network(names={5: "out"})
    assert net.size == 2
    assert net.ids.tolist() == [0, 5]
    assert net.threshold.tolist() == [1, 2]
    assert (net.source.tolist(), net.target.tolist()) == ([0], [1])  # positions, not numbers
    assert (net.weight.tolist(), net.delay.tolist()) == ([1], [2])
    assert (net.inputs.tolist(), net.outputs.tolist()) == ([0], [1])
    assert {net.ids.dtype, net.source.dtype, net.inputs.dtype} == {np.dtype(np.int64)}
    assert {net.threshold.dtype, net.weight.dtype} == {np.dtype(np.float64)}


def test_a_network_of_nothing():
    net = SpikingNetwork.build([], [], [], [], properties=PROPERTIES)
    assert net.size == 0
    assert net.threshold.shape == net.weight.shape == (0,)


def test_a_property_of_several_places():
    pack = Properties((Property("Taps", "float", 0, 1, 0, 2),))
    net = SpikingNetwork.build([(0, {"Taps": (0.5, 1.0)})], [], [0], [], properties=pack)
    assert net.neurons["Taps"].shape == (1, 2)
    with pytest.raises(NetworkError, match=r"'Taps' has the shape \(1, 3\); its size is said to be 2"):
        SpikingNetwork.build([(0, {"Taps": (0.5, 1.0, 0.1)})], [], [0], [], properties=pack)


def test_the_network_is_frozen_and_does_not_share_what_can_be_written_to():
    mine = np.array([1.0, 2.0])
    net = of_arrays(neurons={"Threshold": mine})
    mine[0] = 100
    assert net.threshold.tolist() == [1, 2]
    for array in (net.ids, net.source, net.target, net.inputs, net.outputs, net.threshold, net.weight):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
    with pytest.raises(FrozenInstanceError):
        net.ids = np.arange(2)


NAN, INF = float("nan"), math.inf
FAULTS = [
    (lambda: network([*NEURONS, (5, {"Threshold": 3})]), "neuron 5 is there twice"),
    (lambda: network([*NEURONS, (-1, {"Threshold": 3})]), "neuron -1: a neuron's number cannot be negative"),
    (lambda: network([*NEURONS, (0.5, {"Threshold": 3})]), "neuron 0.5: a neuron's number must be a whole"),
    (lambda: network([*NEURONS, (7, {"Threshold": NAN})]), "neuron 7: its Threshold is nan, not a finite"),
    (lambda: network([*NEURONS, (7, {})]), "neuron 7 has no Threshold"),
    (lambda: network([*NEURONS, (7, {"Threshold": 1, "Leek": 1})]), "neuron 7 has 'Leek', which is no"),
    (lambda: network([*NEURONS, (7, {"Threshold": "3"})]), "neuron 7: its Threshold is '3', not a number"),
    (lambda: network(synapses=SYNAPSES * 2), "there are two synapses from neuron 0 to neuron 5"),
    (lambda: network(synapses=[(0, 6, {})]), "the synapse from 0 to 6: there is no neuron 6"),
    (lambda: network(synapses=[(0, 5, {"Weight": -INF})]), "the synapse from 0 to 5: its Weight is -inf"),
    (lambda: network(synapses=[*SYNAPSES, (5, 5, {"Weight": 1})]), "the synapse from 5 to 5 has no Delay"),
    (lambda: network(inputs=[4]), "input number 0: there is no neuron 4"),
    (lambda: network(outputs=[5, 9]), "output number 1: there is no neuron 9"),
    (lambda: network(inputs=[0, 0]), "neuron 0 is listed twice among the inputs"),
    (lambda: network(names={9: "x"}), "there is a name for neuron 9, but no such neuron"),
    (lambda: network(coordinates={9: (1.0,)}), "there is a place for neuron 9, but no such neuron"),
    (lambda: network(values=(NAN,)), "the network's own values hold nan"),
    (lambda: of_arrays(ids=[3, 3]), "neuron 3 is there twice"),
    (lambda: of_arrays(ids=[3, -2]), "neuron -2: a neuron's number cannot be negative"),
    (lambda: of_arrays(ids=[3, 1.5]), "the network's ids are not all whole numbers"),
    (lambda: of_arrays(ids=[[3, 1]]), "the network's ids have 2 dimensions"),
    (lambda: of_arrays(neurons={"Threshold": [1]}), r"'Threshold' has the shape \(1,\) for 2 neurons"),
    (lambda: of_arrays(neurons={"Threshold": ["a", "b"]}), "values of 'Threshold' are not all numbers"),
    (lambda: of_arrays(synapses={"Weight": [1, 2]}), r"'Weight' has the shape \(2,\) for 1 synapses"),
    (lambda: of_arrays(target=[1, 0]), "1 sources but 2 targets"),
    (lambda: of_arrays(target=[2]), "synapse 0 ends at position 2, but there are 2 neurons"),
    (lambda: of_arrays(source=[-1]), "synapse 0 begins at position -1"),
    (lambda: of_arrays(outputs=[2]), "the outputs list position 2, but there are 2 neurons"),
    (lambda: of_arrays(outputs=[1, 1]), "neuron 1 is listed twice among the outputs"),
    (lambda: of_arrays(properties=PROPERTIES, neurons={}), "'Threshold' is declared, but no neuron has"),
    (lambda: of_arrays(properties=PROPERTIES, neurons={"Leak": [0, 1]}), "'Leak' is not among the network's"),
]


@pytest.mark.parametrize(("make", "sentence"), FAULTS, ids=[sentence for _, sentence in FAULTS])
def test_faults_are_named(make, sentence):
    with pytest.raises(NetworkError, match=sentence) as problem:
        make()
    assert "\n" not in str(problem.value)


def test_a_genome_is_a_network():
    net = SpikingNetwork.from_genome(GENOME, PROPERTIES, 1, 1)
    same = SpikingNetwork.build(
        [(0, {"Threshold": 1}), (1, {"Threshold": 2}), (7, {"Threshold": 3})],
        [
            (0, 7, {"Weight": -4, "Delay": 2}),
            (7, 1, {"Weight": 5, "Delay": 1}),
            (7, 7, {"Weight": 6, "Delay": 15}),
        ],
        [0],
        [1],
        properties=PROPERTIES,
    )
    assert net == same
    assert net.inputs.tolist() == [0]
    assert net.outputs.tolist() == [1]


def test_a_genome_without_synapses_or_neurons():
    net = SpikingNetwork.from_genome({"neurons": [[0, 1], [1, 1]], "synapses": []}, PROPERTIES, 1, 1)
    assert net.weight.shape == (0,)
    empty = SpikingNetwork.from_genome({"neurons": [], "synapses": []}, PROPERTIES, 0, 0)
    assert empty.size == 0


BAD_GENOMES = [
    ({}, "the genome has no list 'neurons'"),
    ({"neurons": [[0, 1], [1, 1]]}, "the genome has no list 'synapses'"),
    (GENOME | {"neurons": [[0, 1]]}, "the genome lacks neuron 1, an output"),
    (GENOME | {"neurons": [[1, 1]]}, "the genome lacks neuron 0, an input"),
    (GENOME | {"neurons": [[0, 1], [1, 1]]}, "the synapse from 0 to 7: there is no neuron 7"),
    (GENOME | {"neurons": [[0, 1], [1, 1], [1, 2], [7, 1]]}, "neuron 1 is there twice"),
    (
        GENOME | {"neurons": [[0, 1], [1], [7, 1]]},
        r"neuron 1 of the genome is \[1\], not \[number, Threshold\]",
    ),
    (GENOME | {"neurons": [[0, 1], [1, NAN], [7, 1]]}, "neuron 1: its Threshold is nan"),
    (GENOME | {"neurons": [[0, 1], [1, "2"], [7, 1]]}, "neuron 1 of the genome is"),
    (GENOME | {"neurons": [[0, 1], [1, 10**400], [7, 1]]}, "neuron 1 of the genome is"),
    (GENOME | {"neurons": [[0, 1], [1, 1], [1.5, 1]]}, "neuron 2 of the genome is"),
    (GENOME | {"neurons": [[0, 1], [1, 1], 7]}, "neuron 2 of the genome is 7"),
    (GENOME | {"synapses": [[0, 1, 1]]}, r"synapse 0 of the genome is .* not \[from, to, Weight, Delay\]"),
    (GENOME | {"synapses": [[0, 1, 1, 1], [0, 1, 2, 2]]}, "two synapses from neuron 0 to neuron 1"),
    (GENOME | {"synapses": [[0, None, 1, 1]]}, "synapse 0 of the genome is"),
]


@pytest.mark.parametrize(("genome", "sentence"), BAD_GENOMES, ids=[sentence for _, sentence in BAD_GENOMES])
def test_faults_of_genomes_are_named(genome, sentence):
    with pytest.raises(NetworkError, match=sentence):
        SpikingNetwork.from_genome(genome, PROPERTIES, 1, 1)


def test_equality_is_of_content_in_order():
    net = network()
    assert net == network()
    assert hash(net) == hash(network())
    assert net != network(names={0: "in"})
    assert net != network(NEURONS[::-1])
    assert net != network(synapses=[(0, 5, {"Weight": 1, "Delay": 3})])
    assert net != replace(net, data={"other": {}})
    assert net != "network"
    assert net == replace(net)


def test_pickling_keeps_all_and_stays_read_only():
    net = network(names={5: "out"}, properties=PROPERTIES, data={"other": {"a": [1]}})
    again = pickle.loads(pickle.dumps(net))
    assert again == net
    for array in (again.ids, again.threshold, again.weight, again.inputs):
        assert not array.flags.writeable


@given(st.integers(0, 2**31), st.sampled_from(["int", "float", "bool"]))
def test_draws_are_in_range(seed, kind):
    low, high = (0, 1) if kind == "bool" else (-3, 4)
    value = Property("X", kind, low, high).draw(np.random.default_rng(seed))
    assert low <= value <= high
    assert kind == "float" or value == int(value)
