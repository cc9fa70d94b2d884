"""TENNLab network JSON: lossless both ways, and clear about what is wrong."""

import copy
import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo.spiking import NetworkError, SpikingNetwork, tennlab

DATA = Path(os.environ.get("VILFREDO_DATA", "nowhere"))
FILES = sorted(p for p in (DATA / "tennlab_networks").rglob("*") if p.is_file())


def example() -> dict:
    """An AND network, with a bit of everything that a file can have."""
    return {
        "Properties": {
            "node_properties": [
                {"name": "Leak", "type": 66, "index": 1, "size": 1, "min_value": 0, "max_value": 1},
                {"name": "Threshold", "type": 68, "index": 0, "size": 1, "min_value": 0.0, "max_value": 1.0},
            ],
            "edge_properties": [
                {"name": "Delay", "type": 73, "index": 1, "size": 1, "min_value": 1.0, "max_value": 15.0},
                {"name": "Weight", "type": 68, "index": 0, "size": 1, "min_value": 0.0, "max_value": 1.0},
                {"name": "Taps", "type": 68, "index": 2, "size": 2, "min_value": 0.0, "max_value": 1.0},
            ],
            "network_properties": [
                {"name": "Scale", "type": 73, "index": 0, "size": 2, "min_value": 0, "max_value": 9}
            ],
        },
        "Nodes": [
            {"id": 4294967295, "name": "A", "values": [1.0, 0.0], "coords": [0.5, 2]},
            {"id": 2, "name": "", "values": [0.1, 1.0], "colour": "red"},
            {"id": 1, "values": [1.0, 1.0]},
        ],
        "Edges": [
            {"from": 4294967295, "to": 1, "values": [0.5, 1.0, 0.25, 0.75]},
            {"from": 2, "to": 1, "values": [0.5, 3.0, 0.0, 1.0], "control_point": [0.1, 0.2]},
            {"from": 1, "to": 1, "values": [0.0, 15.0, 0.0, 1.0]},
        ],
        "Inputs": [4294967295, 2],
        "Outputs": [1],
        "Network_Values": [3, 4.0],
        "Associated_Data": {
            "other": {"proc_name": "risp", "mine": [None, True]},
            "proc_params": {"max_delay": 15},
        },
        "Comment": {"by": "hand"},
    }


def rendered(content) -> str:
    return json.dumps(content, sort_keys=True)


def test_example_both_ways(tmp_path):
    net = SpikingNetwork.from_tennlab(example())
    assert net.ids.tolist() == [4294967295, 2, 1]
    assert net.threshold.tolist() == [1.0, 0.1, 1.0]
    assert net.neurons["Leak"].tolist() == [0, 1, 1]
    assert net.synapses["Taps"].tolist() == [[0.25, 0.75], [0, 1], [0, 1]]
    assert net.names == {4294967295: "A", 2: ""}
    assert [p.kind for p in net.properties.neurons] == ["bool", "float"]
    assert rendered(net.to_tennlab()) == rendered(example())
    net.write(tmp_path / "net.json")
    assert json.loads((tmp_path / "net.json").read_text()) == example()
    assert SpikingNetwork.from_tennlab(tmp_path / "net.json") == net
    assert SpikingNetwork.from_tennlab(str(tmp_path / "net.json")) == net


@pytest.mark.skipif(not FILES, reason="needs tennlab_networks in $VILFREDO_DATA")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_published_files_both_ways(path):
    content = json.loads(path.read_text())
    net = SpikingNetwork.from_tennlab(path)
    assert rendered(net.to_tennlab()) == rendered(content)
    assert json.loads(tennlab.text(net)) == content


def test_networks_of_the_traces_both_ways():
    path = DATA / "risp" / "traces.json.gz"
    if not path.exists():
        pytest.skip("needs risp in $VILFREDO_DATA")
    with gzip.open(path, "rt") as file:
        traces = json.load(file)
    assert len(traces) == 60
    for trace in traces:
        net = SpikingNetwork.from_tennlab(trace["network"])
        assert rendered(net.to_tennlab()) == rendered(trace["network"])


@given(st.data())
def test_any_network_both_ways(data):
    numbers = data.draw(st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=6))
    finite = st.floats(allow_nan=False, allow_infinity=False)
    some = st.lists(st.sampled_from(numbers), unique=True) if numbers else st.just([])
    pairs = st.tuples(st.sampled_from(numbers), st.sampled_from(numbers)) if numbers else st.nothing()
    edges = data.draw(st.lists(pairs, unique=True, max_size=9)) if numbers else []
    net = SpikingNetwork.build(
        [(number, {"Threshold": data.draw(finite)}) for number in numbers],
        [(a, b, {"Weight": data.draw(finite), "Delay": data.draw(st.integers(1, 9))}) for a, b in edges],
        data.draw(some),
        data.draw(some),
        names={n: data.draw(st.text(max_size=3)) for n in data.draw(some)},
        coordinates={n: (data.draw(finite),) for n in data.draw(some)},
    )
    content = json.loads(tennlab.text(net))
    again = SpikingNetwork.from_tennlab(content)
    assert again.to_tennlab() == content == net.to_tennlab()
    assert (again.ids == net.ids).all()
    assert again.names == net.names
    if numbers:
        assert (again.threshold == net.threshold).all()
    if edges:
        assert (again.weight == net.weight).all()


def test_a_network_without_properties_gets_spanning_ones():
    net = SpikingNetwork.build([(0, {"Threshold": 2}), (1, {"Threshold": 0.5})], [], [0], [1], values=(3.0,))
    pack = net.to_tennlab()["Properties"]
    assert pack["node_properties"] == [
        {"name": "Threshold", "type": 68, "index": 0, "size": 1, "min_value": 0.5, "max_value": 2.0}
    ]
    assert SpikingNetwork.from_tennlab(net.to_tennlab()).values == (3.0,)


def test_what_is_changed_is_written():
    net = SpikingNetwork.from_tennlab(example())
    smaller = SpikingNetwork.build(
        [(2, {"Threshold": 1.0, "Leak": 0})], [], [2], [2],
        properties=net.properties, extras=net.extras, values=net.values,
    )  # fmt: skip
    assert smaller.to_tennlab()["Nodes"] == [{"id": 2, "values": [1.0, 0.0], "colour": "red"}]
    assert smaller.to_tennlab()["Comment"] == {"by": "hand"}


def change(*keys, to):
    """The example with one thing changed; `...` removes it."""

    def changed():
        content = copy.deepcopy(example())
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        if to is ...:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = to
        return content

    return changed


NODES, EDGES = ("Properties", "node_properties"), ("Properties", "edge_properties")
MALFORMED = [
    (change("Nodes", to=...), "the network has no 'Nodes'"),
    (change("Properties", to=...), "the network has no 'Properties'"),
    (change("Network_Values", to=...), "the network has no 'Network_Values'"),
    (change("Edges", to={}), "'Edges' must be a list, not {}"),
    (change("Associated_Data", to=[]), "'Associated_Data' must be an object"),
    (change(*NODES, to=...), "'Properties' has no list 'node_properties'"),
    (change("Properties", "extra", to=[]), "'Properties' has a list 'extra' that is not known"),
    (change(*NODES, 0, to=7), r"node_properties\[0\] must be an object, not 7"),
    (change(*NODES, 0, "type", to=...), r"node_properties\[0\] has no 'type'"),
    (change(*NODES, 0, "type", to=70), r"\(Leak\) has the type 70; known are 73 \(int\), 68 \(float\)"),
    (change(*NODES, 0, "type", to="I"), r'\(Leak\) has the type "I"'),
    (change(*NODES, 0, "unit", to="V"), r"node_properties\[0\] has 'unit', which is not known"),
    (change(*NODES, 0, "size", to=0), r"\(Leak\) has the size 0"),
    (change(*NODES, 0, "index", to=-1), r"\(Leak\) has the index -1"),
    (change(*NODES, 0, "index", to=3), "node_properties: 'Leak' has the index 3 where 1 is free next"),
    (change(*EDGES, 1, "index", to=1), "index 1 where 0 is free next"),
    (change(*NODES, 0, "name", to="Threshold"), "there are two properties 'Threshold'"),
    (change(*NODES, 0, "name", to=3), r"node_properties\[0\] has the name 3"),
    (change(*NODES, 0, "min_value", to=float("nan")), r"\(Leak\): its min_value is NaN"),
    (change(*NODES, 0, "min_value", to=2), r"\(Leak\): its min_value 2 is above its max_value 1"),
    (change("Nodes", 0, to=3), "node 0 of the list must be an object, not 3"),
    (change("Nodes", 0, "id", to=...), "node 0 of the list has no 'id'"),
    (change("Nodes", 0, "id", to=-1), "node 0 of the list: its 'id' is -1, not a whole number"),
    (change("Nodes", 0, "id", to=2**32), "node 0 of the list: its 'id' is 4294967296"),
    (change("Nodes", 0, "id", to="A"), "node 0 of the list: its 'id' is \"A\""),
    (change("Nodes", 0, "id", to=2), "neuron 2 is there twice"),
    (change("Nodes", 1, "values", to=...), "neuron 2: its 'values' are missing, not a list"),
    (change("Nodes", 1, "values", to=[1.0]), "neuron 2 has 1 values; its properties are 2 values long"),
    (change("Nodes", 1, "values", to=[1.0, "0"]), 'neuron 2: one of its values is "0", not a finite number'),
    (change("Nodes", 1, "values", 0, to=float("inf")), "neuron 2: one of its values is Infinity"),
    (change("Nodes", 1, "values", 0, to=2**60), "neuron 2: one of its values is 1152921504606846976"),
    (change("Nodes", 1, "name", to=3), "neuron 2: its name is 3, not a text"),
    (change("Nodes", 0, "coords", to="far"), "its 'coords' are \"far\", not a list"),
    (change("Edges", 0, "to", to=9), "the synapse from 4294967295 to 9: there is no neuron 9"),
    (change("Edges", 0, "from", to=...), "edge 0 of the list has no 'from'"),
    (change("Edges", 0, "from", to=2), "there are two synapses from neuron 2 to neuron 1"),
    (change("Edges", 1, "values", to=[1, 1, 1, 1, 1]), "the synapse from 2 to 1 has 5 values; .* are 4"),
    (change("Inputs", 0, to=7), r"Inputs\[0\] is 7, but there is no neuron 7"),
    (change("Outputs", 0, to="out"), r"Outputs\[0\] is \"out\", not the number of a neuron"),
    (change("Outputs", to=[1, 1]), "neuron 1 is listed twice among the outputs"),
    (change("Network_Values", to=[3]), "the network has 1 values; its properties are 2 values long"),
]


@pytest.mark.parametrize(("content", "sentence"), MALFORMED, ids=[sentence for _, sentence in MALFORMED])
def test_faults_are_named(content, sentence):
    with pytest.raises(NetworkError, match=sentence) as problem:
        SpikingNetwork.from_tennlab(content())
    assert "\n" not in str(problem.value)


FILES_THAT_ARE_NONE = [
    (b"{", "net.json: it is not JSON: Expecting property name .* line 1"),
    (b"[1, 2]", "net.json: it is no network: a JSON object is needed"),
    (b"\xff\xfe\x00", "net.json: it is not JSON but a binary file"),
    (b'{"Nodes": NaN}', "net.json: it holds NaN, which is no number of JSON"),
    (b"{}", "net.json: the network has no 'Properties'"),
    (b"[" * 100_000, "net.json: it is nested too deeply"),
]


@pytest.mark.parametrize(("content", "sentence"), FILES_THAT_ARE_NONE, ids=lambda x: str(x)[:20])
def test_files_that_are_none(content, sentence, tmp_path):
    path = tmp_path / "net.json"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=sentence):
        SpikingNetwork.from_tennlab(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        SpikingNetwork.from_tennlab(tmp_path / "nothing.json")


def test_data_that_are_not_json_are_not_written(tmp_path):
    net = SpikingNetwork.build([], [], [], [], data={"other": {"mine": object()}})
    with pytest.raises(NetworkError, match="the network's data are not JSON"):
        net.write(tmp_path / "net.json")
