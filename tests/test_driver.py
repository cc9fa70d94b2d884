"""The interface that users of the TENNLab reference know, on small networks whose results can be seen."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("numba", reason="needs the extra spiking")

from vilfredo.faults.dead import Dead
from vilfredo.spiking import NetworkError, SpikingNetwork
from vilfredo.spiking.processors import risp, vrisp
from vilfredo.spiking.processors.driver import Spike

SEVEN = risp.PRESETS["risp_7"]


def chain(threshold: float = 3, weight: float = 4, delay: float = 2) -> SpikingNetwork:
    """Neuron 4 is the input, it excites 2, which excites 9, the output."""
    return SpikingNetwork.build(
        [(n, {"Threshold": threshold}) for n in (4, 9, 2)],
        [(4, 2, {"Weight": weight, "Delay": delay}), (2, 9, {"Weight": weight, "Delay": delay})],
        [4],
        [9],
    )


def loaded(params: Any = SEVEN, **changes: Any) -> risp.Processor:
    processor = risp.Processor({**params, **changes})
    assert processor.load_network(chain())
    return processor


def test_spikes_go_to_numbers_and_come_back_by_place() -> None:
    processor = loaded()
    processor.apply_spike(Spike(4, 1, 1.0))
    processor.apply_spikes([(4, 3, 1.0), (4, 3, 0.1)])
    processor.run(10)
    assert processor.output_counts() == [2]
    assert processor.output_count(0) == 2
    assert processor.output_vectors() == [[5, 7]]
    assert processor.output_vector(0) == [5, 7]
    assert processor.output_last_fires() == [7]
    assert processor.output_last_fire(0) == 7
    assert processor.neuron_counts() == [2, 2, 2]  # of 2, 4 and 9
    assert processor.neuron_vectors() == [[3, 5], [1, 3], [5, 7]]
    assert processor.neuron_last_fires() == [5, 3, 7]
    assert processor.total_neuron_counts() == 6
    assert processor.total_neuron_counts() == 0  # read once
    assert processor.total_neuron_accumulates() == 7
    assert processor.get_time() == 10
    assert processor.synapse_weights() == ([2, 4], [9, 2], [4, 4])


def test_results_are_of_the_last_run_but_charges_stay() -> None:
    processor = loaded()
    processor.apply_spikes([(4, 0, 1), (4, 7, 0.3)])
    processor.run(3)
    assert processor.neuron_vectors() == [[2], [0], []]
    processor.run(5)
    assert processor.neuron_vectors() == [[], [], [1]]
    assert processor.neuron_charges() == [0, 2, 0]
    processor.run(0)
    assert processor.output_counts() == [1]
    processor.run(1)
    assert processor.output_counts() == [0]
    assert processor.neuron_charges() == [0, 2, 0]
    processor.clear_activity()
    assert processor.neuron_charges() == [0, 0, 0]
    assert processor.get_time() == 0


def test_tracking() -> None:
    processor = loaded()
    assert processor.track_neuron_events(2, False)
    assert not processor.track_neuron_events(3)
    assert not processor.track_output_events(1)
    processor.apply_spike((4, 0, 1))
    processor.run(6)
    assert processor.neuron_vectors() == [[], [0], [4]]
    processor.track_all_neuron_events(False)
    assert processor.track_output_events(0)
    processor.apply_spike((4, 0, 1))
    processor.run(6)
    assert processor.neuron_vectors() == [[], [], [4]]
    assert processor.neuron_counts() == [1, 1, 1]


def test_networks_by_id() -> None:
    processor = risp.Processor(SEVEN)
    processor.load_networks([chain(), chain(delay=1)])
    for network in (0, 1):
        processor.apply_spike((4, 0, 1), network_id=network)
        processor.run(5, network_id=network)
    assert processor.output_vectors(0) == [[4]]
    assert processor.output_vectors(1) == [[2]]
    processor.clear(0)
    with pytest.raises(ValueError, match="network_id 0"):
        processor.output_counts(0)
    with pytest.raises(NetworkError, match="synapse 4 -> 2: its Weight is 8"):
        processor.load_networks([chain(), chain(weight=8)])
    with pytest.raises(ValueError, match="network_id 0"):
        processor.run(1)  # none of them was loaded
    with pytest.raises(NetworkError, match="from_tennlab"):
        processor.load_network({"Nodes": []})  # type: ignore[arg-type]


def test_inclusive_runs_and_thresholds() -> None:
    processor = loaded(run_time_inclusive=True)
    processor.apply_spike((4, 0, 1))
    processor.run(4)
    assert processor.output_vectors() == [[4]]
    assert processor.get_time() == 5
    strict = loaded(threshold_inclusive=False)
    strict.apply_spikes([(4, 0, 3), (4, 2, 4)], normalized=False)
    strict.run(9)
    assert strict.neuron_vectors() == [[4], [2], [6]]


def test_ravens_fire_one_step_later_but_deliver_in_time() -> None:
    processor = loaded(fire_like_ravens=True)
    processor.apply_spike((4, 0, 1))
    processor.run(1)
    assert processor.neuron_vectors() == [[], [], []]
    assert processor.neuron_charges() == [0, 7, 0]
    processor.run(5)
    assert processor.neuron_vectors() == [[2], [0], [4]]


def test_weights_from_a_list() -> None:
    given = {key: value for key, value in SEVEN.items() if key not in ("min_weight", "max_weight")}
    processor = risp.Processor({**given, "weights": [-2, 1, 5], "inputs_from_weights": True})
    processor.load_network(chain(threshold=5, weight=2))
    processor.apply_spikes([(4, 0, 1.0), (4, 1, 0.4), (4, 2, 0.0)])
    processor.apply_spike((4, 3, 2), normalized=False)
    processor.run(3)
    assert processor.neuron_vectors() == [[2], [0], []]
    assert processor.neuron_charges() == [0, -1, 0]
    with pytest.raises(ValueError, match="no index of the 3 weights"):
        processor.apply_spike((4, 0, 3), normalized=False)


def test_charges_that_are_not_whole_or_huge() -> None:
    """Unnormalised charges are taken as they are, in discrete networks, too."""
    processor = loaded()
    processor.apply_spike((4, 0, 1))
    processor.run(2)
    processor.apply_spikes([(4, 0, 2.5), (4, 1, 0.25), (4, 2, 0.25), (4, 4, -1e300)], normalized=False)
    processor.run(2)
    assert processor.neuron_vectors() == [[0], [], []]
    assert processor.neuron_charges() == [0, 2.75, 0]
    processor.run(3)
    assert processor.neuron_vectors() == [[2], [0], [0]]
    assert processor.neuron_charges() == [0, -7, 0]
    assert processor.total_neuron_accumulates() == 8
    processor.clear_activity()
    processor.apply_spike((4, 0, 1))
    processor.run(6)
    assert processor.output_counts() == [1]
    assert processor.total_neuron_accumulates() == 3


def test_vrisp_wraps() -> None:
    processor = vrisp.Processor({**vrisp.PRESETS["vrisp_127"], "leak_mode": "none"})
    one = SpikingNetwork.build([(0, {"Threshold": 127})], [(0, 0, {"Weight": 127, "Delay": 1})], [0], [0])
    processor.load_network(one)
    processor.apply_spikes([(0, 0, 100), (0, 0, 100)], normalized=False)
    processor.run(1)
    assert processor.neuron_charges() == [-56]
    processor.clear_activity()
    processor.apply_spike((0, 0, 1.0))
    processor.run(300)
    assert processor.output_counts() == [44]
    assert processor.output_last_fires() == [43]
    assert processor.total_neuron_counts() == 300
    with pytest.raises(ValueError, match="not below 128"):
        processor.apply_spike((0, 128, 1.0))
    with pytest.raises(ValueError, match="whole number"):
        processor.apply_spike((0, 0, 0.5), normalized=False)


def test_inputs_of_a_population() -> None:
    processor = risp.Processor(SEVEN)
    networks = [chain(), chain(delay=3)]
    common = processor.run_population(networks, [(4, 0, 1.0), (4, 5, 1.0)], 20, copies=2)
    assert common.counts.tolist() == [[[2], [2]], [[2], [2]]]
    assert common.first.tolist() == [[[4], [4]], [[6], [6]]]
    assert common.spikes.tolist() == [[6, 6], [6, 6]]
    assert common.synops.tolist() == [[4, 4], [4, 4]]
    assert common.steps == 20
    each = processor.run_population(networks, [[(4, 0, 1.0)], []], 20)
    assert each.counts.tolist() == [[[1]], [[0]]]
    assert each.first.tolist() == [[[4]], [[-1]]]
    assert processor.run_population(networks, [], 5).spikes.tolist() == [[0], [0]]
    assert processor.run_population(networks, [[4, 0, 1.0]], 5).spikes.tolist() == [[3], [2]]
    assert processor.run_population([], [], 5).counts.shape == (0, 1, 0)
    dead = processor.run_population(networks, [(4, 0, 1.0)], 9, copies=3, faults=[Dead(rate=1.0)])
    assert not dead.spikes.any()
    with pytest.raises(ValueError, match="3 lists of spikes for 2 networks"):
        processor.run_population(networks, [[], [], []], 5)
    with pytest.raises(ValueError, match="neuron 9, which is no input"):
        processor.run_population(networks, [(9, 0, 1.0)], 5)
    with pytest.raises(ValueError, match="copies"):
        processor.run_population(networks, [], 5, copies=0)
    with pytest.raises(NetworkError, match="neuron 4: its Threshold is 9"):
        processor.run_population([chain(threshold=9)], [], 5)


def test_what_a_processor_says_of_itself() -> None:
    processor = risp.Processor()
    assert processor.get_name() == "risp"
    assert processor.get_params()["max_weight"] == 127
    assert processor.get_processor_properties()["spike_value_factor"] == 127
    assert processor.get_network_properties()["edge_properties"][0] == {
        "name": "Delay", "type": 73, "index": 1, "size": 1, "min_value": 1, "max_value": 127,
    }  # fmt: skip
