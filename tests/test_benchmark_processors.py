"""The benchmark of spiking networks, quickly: every part, every check; no speeds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from benchmarks import processors

ROOT = Path(processors.__file__).parents[1]


def test_quick_end_to_end(tmp_path):
    path = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.processors", "--quick", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())
    for size in processors.SIZES:
        assert figures[f"steps_per_s.{size}"] > 0
        assert 0 < figures[f"firing_share.{size}"] < 0.2
    for peer in processors.PEERS:
        if f"speedup.{peer}" in figures:
            assert "not installed" in figures[f"speedup.{peer}"]
            continue
        for size in processors.DELAY_1:
            assert figures[f"speedup.{peer}.{size}"] > 0
    if (ROOT / "benchmarks" / "population.py").exists():
        assert {"env_steps_per_s", "env_steps_per_s_64_copies", "two_core_scaling"} <= figures.keys()


@pytest.mark.parametrize("size", ["100x1k", "1000x10k"])
def test_the_network_is_the_one_described(size):
    neurons, synapses, positive, seed, _ = processors.SIZES[size]
    net = processors.network(neurons, synapses, positive, seed)
    pace = net.inputs
    assert (net.size, len(net.source), len(pace)) == (neurons, synapses, neurons // 20)
    into = np.isin(net.target, pace)
    assert (net.source[into] == net.target[into]).all()  # only their own loops
    assert sorted(net.target[into]) == sorted(pace)
    assert (net.weight[into] == 7).all()
    assert net.delay[into].min() >= 3
    assert net.delay[into].max() <= 11
    assert (net.threshold[pace] == 7).all()
    assert set(np.delete(net.threshold, pace)) == {5, 6, 7}
    assert len(set(zip(net.source, net.target, strict=True))) == synapses
    rest = ~into
    assert set(np.abs(net.weight[rest])) == set(range(1, 8))
    assert set(net.delay[rest]) == set(range(1, 16))
    assert abs((net.weight[rest] > 0).mean() - positive) < 0.05


@pytest.mark.parametrize("peer", ["snntorch", "spikingjelly"])
@pytest.mark.parametrize("matrix", ["dense", "sparse"])
def test_peers_spike_as_we_do(peer, matrix):
    pytest.importorskip(peer)
    torch = pytest.importorskip("torch")
    net = processors.network(200, 2_000, 0.4, 3, delay=1)
    ours = processors.Ours(net)
    ours.begin()
    ours(300)
    with torch.inference_mode():
        _, counts = processors.PEERS[peer](net, matrix)(300)
    assert counts.tolist() == ours.counts().tolist()
    assert counts.sum() > 200 * 300 * 0.05
