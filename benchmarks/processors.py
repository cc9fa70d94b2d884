"""How fast spiking networks run: one network on one core, beside snnTorch and SpikingJelly, and populations.

Three parts, all with fixed seeds, all through the interface that users have (`processors.risp.Processor`).
Time in the first two is the processor time of the one thread that everything runs in, ours and the peers', so
that whatever else the machine is doing weighs little; `cpu_share` is its part of the time on the wall.

**One network.** No leak; 5 % of the neurons are pacemakers: one self-loop of weight 7 and delay 3 to 11, no
other input, threshold 7; the others have thresholds 5 to 7. Random distinct synapses of delay 1 to 15 and
weight 1 to 7, positive with probability 0.4 (10,000 neurons: 0.32). Charges stay above min_potential, −7. One
spike into each pacemaker to start. `steps_per_s.*`: timesteps per second, `synops_per_s.*`: deliveries per
second, `firing_share.*`: the share of the neurons that fires in a step.

**Beside peers.** The same networks with all delays 1, which is what a layer with a recurrent matrix is there.
All three compute the same numbers, and the spikes of each neuron are asserted to be equal. `speedup.*` is the
median of the ratios of repetitions, one after the other. The peers run as fast as they can be brought to: one
thread, `inference_mode`, no surrogate gradients, dense or sparse matrix, whichever is faster
(`delay_1.matrix.*`), and nothing in the loop but product, neurons, clip and counting. What is in other words:

* snnTorch fires strictly above its threshold: `Leaky(beta=1, threshold=T − 0.5, reset_mechanism="zero")`. The
  charge of those that fired is reset when the next step begins.
* SpikingJelly has one threshold for all neurons and fires at it. So charges of a neuron of threshold T are in
  units of T / 210, and 210 is everybody's threshold (5, 6 and 7 divide it: all stays whole):
  `IFNode(v_threshold=210.0, v_reset=0.0)`.
* Neither clips: after each step the charges are clamped at −7 (or what is −7 in those units).

**Populations** in closed loops are in `benchmarks.population`; its figures are among these.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from vilfredo.spiking import SpikingNetwork
from vilfredo.spiking.processors import risp

# name: neurons, synapses, share of positive weights, seed, timesteps of a repetition (about 10 ms)
SIZES = {
    "100x1k": (100, 1_000, 0.4, 1, 200_000),
    "1000x10k": (1_000, 10_000, 0.4, 0, 30_000),
    "10000x1M": (10_000, 1_000_000, 0.32, 0, 400),
}
DELAY_1 = ("100x1k", "1000x10k")
PARAMETERS = {
    "discrete": True,
    "min_weight": -7,
    "max_weight": 7,
    "min_threshold": 5,
    "max_threshold": 7,
    "min_potential": -7,
    "max_delay": 15,
    "leak_mode": "none",
}
UNIT = 210.0


def network(
    neurons: int, synapses: int, positive: float, seed: int, delay: int | None = None
) -> SpikingNetwork:
    """As said above; with `delay` all synapses have that one. The pacemakers are the inputs."""
    rng = np.random.default_rng(seed)
    pacemakers, others = neurons // 20, synapses - neurons // 20
    places = rng.choice(neurons * (neurons - pacemakers), others, replace=False, shuffle=False)
    source, target = np.divmod(places, neurons - pacemakers)
    weight = rng.integers(1, 8, others) * np.where(rng.random(others) < positive, 1, -1)
    delays = rng.integers(1, 16, others)
    threshold = rng.integers(5, 8, neurons)
    threshold[:pacemakers] = 7
    own = np.arange(pacemakers)
    delays = np.concatenate([rng.integers(3, 12, pacemakers), delays])
    ids = rng.permutation(neurons)  # pacemakers are anywhere
    return SpikingNetwork(
        ids=ids,
        neurons={"Threshold": threshold.astype(float)},
        source=np.concatenate([own, source]),
        target=np.concatenate([own, target + pacemakers]),
        synapses={
            "Weight": np.concatenate([np.full(pacemakers, 7), weight]).astype(float),
            "Delay": (delays if delay is None else np.full(synapses, delay)).astype(float),
        },
        inputs=own,
        outputs=own[:1],
    )


class Ours:
    """A network on RISP, one core; nothing but counts is asked for."""

    def __init__(self, net: SpikingNetwork) -> None:
        self.processor = risp.Processor(PARAMETERS)
        self.processor.load_network(net)
        self.processor.track_all_neuron_events(False)
        self.start = [(int(number), 0, 1.0) for number in net.ids[net.inputs]]
        self.order = net.ids  # counts come by number

    def begin(self) -> None:
        """From rest: one spike into each pacemaker."""
        self.processor.clear_activity()
        self.processor.apply_spikes(self.start)

    def __call__(self, steps: int) -> float:
        """Go on for so many steps; the seconds that they took."""
        began = time.thread_time()
        self.processor.run(steps)
        return time.thread_time() - began

    def counts(self) -> NDArray[np.int64]:
        """How often each neuron fired in the last run."""
        return np.array(self.processor.neuron_counts())[self.order]


def alone(name: str, quick: bool) -> dict[str, float]:
    """One network of this size: after 1,000 steps from rest, repetitions of about 10 ms."""
    neurons, synapses, positive, seed, steps = SIZES[name]
    net = network(neurons, synapses, positive, seed)
    fan_out = np.bincount(net.source, minlength=neurons)
    run = Ours(net)
    repetitions, steps = (3, 20) if quick else (51, steps)
    run.begin()
    run(20 if quick else 1_000)
    per_second, fired, delivered = [], 0, 0
    for _ in range(repetitions):
        per_second.append(steps / run(steps))
        counts = run.counts()
        fired += int(counts.sum())
        delivered += int(counts @ fan_out)
    whole = steps * repetitions
    found = report.summary(f"steps_per_s.{name}", per_second)
    found[f"synops_per_s.{name}"] = delivered / whole * found[f"steps_per_s.{name}"]
    found[f"firing_share.{name}"] = fired / whole / neurons
    return found


def beside(name: str, peer: str, quick: bool) -> dict[str, float | str]:
    """Us and a peer on one network of delay 1, in turns."""
    import torch

    net = network(*SIZES[name][:4], delay=1)
    steps, repetitions = (50, 2) if quick else (1_000, 15)
    many = steps if quick else 50 * steps  # ours would be over before the clock has ticked
    ours = Ours(net)
    ours.begin()
    ours(steps)
    expected = ours.counts()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            theirs = {kind: PEERS[peer](net, kind) for kind in ("dense", "sparse")}
            spent: dict[str, list[float]] = {kind: [] for kind in theirs}
            for kind, run in [*theirs.items()] * 3:
                seconds, counts = run(steps)
                assert (counts == expected).all(), f"{peer} ({kind}) spikes otherwise"
                spent[kind].append(seconds)
            best = min(spent, key=lambda kind: min(spent[kind]))
            pairs = []
            for _ in range(repetitions):
                seconds, counts = theirs[best](steps)
                assert (counts == expected).all()
                pairs.append((ours(many) / many, seconds / steps))
    finally:
        torch.set_num_threads(threads)
    return {
        **report.summary(f"speedup.{peer}.{name}", [theirs / ours for ours, theirs in pairs]),
        f"delay_1.steps_per_s.{peer}.{name}": 1 / float(np.median([theirs for _, theirs in pairs])),
        f"delay_1.steps_per_s.{name}": 1 / float(np.median([ours for ours, _ in pairs])),
        f"delay_1.firing_share.{name}": float(expected.sum()) / steps / net.size,
        f"delay_1.matrix.{peer}.{name}": best,
    }


def _matrix(net: SpikingNetwork, scale: NDArray[np.float64], kind: str):  # type: ignore[no-untyped-def]
    """Weights (to, from) as a tensor; the incoming ones of each neuron times its `scale`."""
    import warnings

    import torch

    weights = np.zeros((net.size, net.size), np.float32)
    weights[net.target, net.source] = net.weight * scale[net.target]
    tensor = torch.from_numpy(weights)
    if kind == "dense":
        return tensor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that CSR is in beta
        return tensor.to_sparse_csr()


Run = Callable[[int], tuple[float, NDArray[np.int64]]]


def snntorch(net: SpikingNetwork, kind: str) -> Run:
    """A recurrent layer of `Leaky` that does not leak."""
    import torch
    from snntorch import Leaky

    weights = _matrix(net, np.ones(net.size), kind)
    threshold = torch.from_numpy(net.threshold.astype(np.float32) - 0.5)
    neurons = Leaky(beta=1.0, threshold=threshold, reset_mechanism="zero", surrogate_disable=True)
    start = torch.zeros(net.size)
    start[torch.from_numpy(net.inputs.copy())] = 7.0

    def run(steps: int) -> tuple[float, NDArray[np.int64]]:
        counts, charge, arriving = torch.zeros(net.size), torch.zeros(net.size), start
        began = time.thread_time()
        for _ in range(steps):
            spikes, charge = neurons(arriving, charge)
            charge.clamp_(min=-7.0)
            counts += spikes
            arriving = torch.mv(weights, spikes)
        seconds = time.thread_time() - began
        return seconds, counts.numpy().astype(np.int64)

    return run


def spikingjelly(net: SpikingNetwork, kind: str) -> Run:
    """A recurrent layer of `IFNode`, charges in units of the threshold / 210."""
    import torch
    from spikingjelly.activation_based import functional, neuron

    scale = UNIT / net.threshold
    weights = _matrix(net, scale, kind)
    floor = torch.from_numpy((-7 * scale).astype(np.float32))
    neurons = neuron.IFNode(v_threshold=UNIT, v_reset=0.0).eval()
    start = torch.zeros(net.size)
    start[torch.from_numpy(net.inputs.copy())] = 7 * UNIT / 7

    def run(steps: int) -> tuple[float, NDArray[np.int64]]:
        functional.reset_net(neurons)
        counts, arriving = torch.zeros(net.size), start
        began = time.thread_time()
        for _ in range(steps):
            spikes = neurons(arriving)
            neurons.v.clamp_(min=floor)
            counts += spikes
            arriving = torch.mv(weights, spikes)
        seconds = time.thread_time() - began
        return seconds, counts.numpy().astype(np.int64)

    return run


PEERS: dict[str, Callable[[SpikingNetwork, str], Run]] = {"snntorch": snntorch, "spikingjelly": spikingjelly}


def figures(quick: bool = False) -> dict[str, float | str]:
    """All of it. `quick`: every part and every check, in seconds; the speeds mean nothing then."""
    found: dict[str, float | str] = {}
    wall, processor = time.perf_counter(), time.thread_time()
    for name in SIZES:
        found |= alone(name, quick)
    for peer in PEERS:
        if importlib.util.find_spec(peer) is None:
            found[f"speedup.{peer}"] = "not installed: pip install --no-deps " + peer
            continue
        for name in DELAY_1:
            found |= beside(name, peer, quick)
    found["cpu_share"] = (time.thread_time() - processor) / (time.perf_counter() - wall)
    if importlib.util.find_spec("benchmarks.population") is None:
        return found
    population = importlib.import_module("benchmarks.population")
    return found | population.measure(quick)


if __name__ == "__main__":
    parser = report.arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds; checks all, measures nothing")
    options = parser.parse_args()
    report.write(options.json, figures(options.quick))
