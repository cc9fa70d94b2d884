"""`vilfredo simulate` as a person uses it."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("numba")

from vilfredo import simulate
from vilfredo.cli import main
from vilfredo.spiking import NetworkError, SpikingNetwork
from vilfredo.spiking.processors.risp import Processor

PARAMS = {
    "min_weight": -7,
    "max_weight": 7,
    "min_threshold": 1,
    "max_threshold": 7,
    "min_potential": -7,
    "max_delay": 15,
    "discrete": True,
}


def network(**data) -> SpikingNetwork:
    """Two inputs of which both must fire for the output to fire, three timesteps later."""
    about = {"other": {"proc_name": "risp", "sim_time": 20}, "proc_params": PARAMS} | data
    return SpikingNetwork.build(
        [(0, {"Threshold": 1}), (1, {"Threshold": 7}), (5, {"Threshold": 6})],
        [(0, 5, {"Weight": 3, "Delay": 3}), (1, 5, {"Weight": 3, "Delay": 3})],
        [0, 1],
        [5],
        names={1: "right", 5: "both"},
        properties=Processor(PARAMS).properties,
        data={key: value for key, value in about.items() if value is not None},
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "70")
    network().write("both.json")
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["simulate", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_one_spike_into_each_input(folder):
    *found, costs = run("both.json").splitlines()
    assert found == [
        "both.json · 3 neurons, 2 synapses · risp · 20 timesteps",
        "in  0        │··················· 1",
        "in  1 right  │··················· 1",
        "out 5 both   ···│················ 1",
        "             '         '",
        "             0         10",
        "3 spikes, 2 of inputs, 1 of outputs; 2 synaptic operations",
        "output 5 both: 1 spike, the first at 3, the last at 3",
    ]
    assert costs.startswith("RISP on an FPGA, estimated: ")


def test_spikes_that_are_given(folder):
    out = run("both.json", "--spikes", "0@2,right@2=1,1@9=0.5", "--steps", "12", "--plain")
    assert "in  0        ..|......... 1" in out
    assert "in  1 right  ..|......... 1" in out  # 0.5 is a charge of 3, below its threshold
    assert "out 5 both   .....|...... 1" in out
    assert out.splitlines()[1:6] == [line for line in out.splitlines()[1:6] if line.isascii()]


@pytest.mark.parametrize(
    "content",
    [
        "0@2 right@2\n# and later\n0@5=0.9, 1@5  # both\n",
        '[[0, 2], ["right", 2, 1], [0, 5, 0.9], [1, 5, 1.0]]',
    ],
)
def test_spikes_of_a_file(folder, content):
    (folder / "spikes.txt").write_text(content)
    found = json.loads(run("both.json", "--spikes", "spikes.txt", "--json"))
    assert found["given"] == [[0, 2, 1.0], [1, 2, 1.0], [0, 5, 0.9], [1, 5, 1.0]]
    assert found["spikes"] == {"0": [2, 5], "1": [2, 5], "5": [5, 8]}


def test_json_for_programs(folder):
    found = json.loads(run("both.json", "--json"))
    assert found["counts"] == {"0": 1, "1": 1, "5": 1}
    assert (found["inputs"], found["outputs"]) == ([0, 1], [5])
    assert (found["steps"], found["synops"], found["processor"]) == (20, 2, "risp")
    assert found["names"] == {"1": "right", "5": "both"}
    assert found["params"]["spike_value_factor"] == 7
    assert 0 < found["energy_joules"]["low"] < found["energy_joules"]["typical"]


def test_a_picture_beside_it(folder):
    assert run("both.json", "--svg", "net.svg").splitlines()[-1] == "Picture: net.svg"
    assert ElementTree.parse("net.svg").getroot().get("aria-label", "").startswith("both.json: 3 spikes")


def test_a_nir_graph(folder):
    pytest.importorskip("nir")
    from vilfredo.spiking import nir

    nir.write(network(), "both.nir")
    assert json.loads(run("both.nir", "--json"))["spikes"] == {"0": [0], "1": [0], "5": [3]}


def test_another_processor(folder):
    bare = SpikingNetwork.build(
        [(0, {"Threshold": 1}), (1, {"Threshold": 1})], [(0, 1, {"Weight": 3, "Delay": 2})], [0], [1]
    )
    bare.write("bare.json")
    content = json.loads((folder / "bare.json").read_text())
    content["Properties"] = Processor().get_network_properties()
    (folder / "bare.json").write_text(json.dumps(content))
    assert json.loads(run("bare.json", "--processor", "risp", "--json"))["spikes"] == {"0": [0], "1": [2]}
    assert "does not say which processor it is for" in run("bare.json", code=2)


def test_a_seed_is_of_the_processors_noise(folder):
    noisy = PARAMS | {"discrete": False, "noisy_stddev": 2.0}
    loud = SpikingNetwork.build(
        [(0, {"Threshold": 4}), (5, {"Threshold": 4})],
        [(0, 5, {"Weight": 4, "Delay": 1})],
        [0],
        [5],
        properties=Processor(noisy).properties,
        data={"other": {"proc_name": "risp"}, "proc_params": noisy},
    )
    loud.write("noisy.json")
    spikes = ",".join(f"0@{t}=0.5" for t in range(40))
    seen = {run("noisy.json", "--spikes", spikes, "--seed", str(seed), "--json") for seed in (1, 2, 3)}
    assert len({str(json.loads(out)["spikes"]) for out in seen}) > 1
    first = run("noisy.json", "--spikes", spikes, "--seed", "1", "--json")
    assert first in seen


WRONG = [
    (["nothing.json"], "nothing.json is no file; give"),
    (["both.json", "--spikes", "2@0"], "spike to neuron 2, which is not in the network"),
    (["both.json", "--spikes", "5@0"], "spike to neuron 5, which is no input; inputs are 0, 1"),
    (["both.json", "--spikes", "0@-1"], "spike to neuron 0 at time -1, which is in the past"),
    (["both.json", "--spikes", "0@0=2"], r"its value 2.0 is not from 0 to 1"),
    (["both.json", "--spikes", "0@0=nan"], "its value nan is not a finite number"),
    (["both.json", "--spikes", "0@x"], "'0@x' is no spike; one is NEURON@TIMESTEP=VALUE"),
    (["both.json", "--spikes", "0@1.5"], "'0@1.5' is no spike"),
    (["both.json", "--spikes", "left@0"], "no neuron is called 'left'"),
    (["both.json", "--spikes", "0"], "--spikes: '0' is neither spikes such as 0@0,1@3=0.5 nor a file"),
    (["both.json", "--spikes", "bad.txt"], "bad.txt: 'x@y' is no spike"),
    (["both.json", "--spikes", "bad.json"], "bad.json: it is not JSON"),
    (["both.json", "--spikes", "odd.json"], r"odd.json: spikes in JSON are [[neuron, timestep, value], …]"),
    (["both.json", "--spikes", "half.json"], "half.json: spike to neuron 0 at time 0.5, which is no whole"),
    (["both.json", "--processor", "rips"], "did you mean 'risp'?"),
    (["both.json", "--steps", "0"], "0 is not in the range x>=1"),
    (["broken.json"], "broken.json: the network has no 'Properties'"),
    (["limits.json"], "neuron 0: its Threshold is 9, not within 1 to 7"),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_mistakes_are_one_sentence(folder, arguments, sentence):
    (folder / "bad.txt").write_text("0@1 x@y")
    (folder / "bad.json").write_text("[[0, 1}")
    (folder / "odd.json").write_text("[1, 2]")
    (folder / "half.json").write_text("[[0, 0.5]]")
    (folder / "broken.json").write_text("{}")
    content = network().to_tennlab()
    content["Nodes"][0]["values"] = [9]
    (folder / "limits.json").write_text(json.dumps(content))
    out = run(*arguments, code=2)
    assert sentence in out
    assert "Traceback" not in out


def test_names_that_two_neurons_have():
    twins = SpikingNetwork.build(
        [(i, {"Threshold": 1}) for i in (0, 1)], [], [0, 1], [1], names={0: "in", 1: "in"}
    )
    with pytest.raises(NetworkError, match="the neurons 0, 1 are all called 'in'; use a number"):
        simulate.parse("in@0", twins)


@pytest.mark.parametrize("sim_time", [None, 0, -3, 2.5, "long", True])
def test_steps_where_the_file_says_nothing_useful(sim_time):
    assert simulate.steps_of(network(other={"proc_name": "risp", "sim_time": sim_time})) == simulate.STEPS


def test_a_processor_that_draws_nothing_has_no_seed():
    with pytest.raises(ValueError, match="caspian draws no random numbers"):
        simulate.processor(network(), "caspian", seed=1)
