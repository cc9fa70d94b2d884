"""The reference's own suite of RISP and VRISP, and traces recorded on it."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba", reason="needs the extra spiking")

import tennlab_tools as tools
from vilfredo.spiking import SpikingNetwork
from vilfredo.spiking.processors import risp

TRACES = Path(os.environ.get("VILFREDO_DATA", "")) / "risp/traces.json.gz"
MISSING = "needs $VILFREDO_DATA/risp"


@pytest.mark.parametrize(("folder", "complete"), [("testing", 51), ("vrisp_testing", 43)])
def test_suite(folder: str, complete: int) -> None:
    if tools.archive() is None:
        pytest.skip(MISSING)
    cases = tools.cases(folder)
    assert len(cases) == complete
    wrong = [case.name for case in cases if tools.output(case, tools.PROCESSORS[folder]) != case.expected]
    assert wrong == []


def test_traces() -> None:
    if not TRACES.is_file():
        pytest.skip(MISSING)
    traces: list[dict[str, Any]] = json.loads(gzip.decompress(TRACES.read_bytes()))
    assert len(traces) == 60
    for trace in traces:
        document = trace["network"]
        processor = risp.Processor(document["Associated_Data"]["proc_params"])
        processor.load_network(SpikingNetwork.from_tennlab(document))
        for run in trace["runs"]:
            processor.apply_spikes(
                [(document["Inputs"][i], time, value) for i, time, value in run["spikes_in"]]
            )
            processor.run(run["duration"])
            assert processor.neuron_vectors() == run["neuron_vectors"], trace["seed"]
            assert processor.output_vectors() == run["output_vectors"]
            assert processor.neuron_counts() == run["neuron_counts"]
            assert processor.output_counts() == run["output_counts"]
            assert processor.neuron_charges() == run["neuron_charges"]  # floats, too: to the last bit
