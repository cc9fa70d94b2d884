"""Many networks in a closed loop: `python -m benchmarks.population --json FILE`.

100 networks of 20 neurons (8 inputs, 2 outputs) and 60 random synapses on RISP with weights ±127, thresholds
1 to 127 and delays 1 to 15 balance a pole on a cart (setting "easy", flip-flop encoder, 24 timesteps for each
step of the environment), all in one compiled call. Of `CANDIDATES` random networks they are those that keep
the pole up longest, and the weights of each the best of `ROUNDS` rounds of 16 mutants: untrained ones let it
fall within ten steps or so. An episode that ended is begun anew, so that every lane makes the same number of
steps; all of them are counted, none of those of lanes that wait.

* `env_steps_per_s`: one episode at a time of each network, on one core.
* `env_steps_per_s_64_copies`: 64 copies of each network with 10 % Gaussian variation of the weights, each
  copy with an episode of its own, on one core.
* `two_core_scaling`: the latter on two cores through one; each repetition measures both, one after the other.
* `episode_steps`, `episode_steps_64_copies`: mean length of an episode that ended; `firing`: share of neurons
  that fire in a timestep.
* `compile_s`: the first call, compiled anew or loaded from the disk.

Each is the median over `--repeats`, with range.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numba
import numpy as np

from benchmarks import report
from vilfredo.spiking import coding, pole
from vilfredo.spiking.decoders.winner_takes_all import WinnerTakesAll
from vilfredo.spiking.encoders.encoder import Code
from vilfredo.spiking.encoders.flip_flop import FlipFlop
from vilfredo.spiking.kernels import cartpole, lanes
from vilfredo.spiking.network import Floats, SpikingNetwork
from vilfredo.spiking.processors.risp import Processor
from vilfredo.spiking.program import Program

NETWORKS, NEURONS, SYNAPSES, COPIES = 100, 20, 60, 64
CANDIDATES, ROUNDS, MUTANTS = 4000, 6, 16
WEIGHT = 127
PARAMS = {
    "min_weight": -WEIGHT,
    "max_weight": WEIGHT,
    "min_threshold": 0,
    "max_threshold": WEIGHT,
    "min_potential": -WEIGHT,
    "max_delay": 15,
    "leak_mode": "none",
    "discrete": True,
}
SETTING = pole.SETTINGS["easy"]


def network(rng: np.random.Generator) -> SpikingNetwork:
    """One at random."""
    pairs = np.sort(rng.choice(NEURONS * NEURONS, SYNAPSES, replace=False))
    synapses = [
        (
            int(pair) // NEURONS,
            int(pair) % NEURONS,
            {"Weight": int(rng.integers(-WEIGHT, WEIGHT + 1)), "Delay": int(rng.integers(1, 16))},
        )
        for pair in pairs
    ]
    neurons = [(i, {"Threshold": int(rng.integers(1, WEIGHT + 1))}) for i in range(NEURONS)]
    return SpikingNetwork.build(neurons, synapses, range(8), (8, 9), properties=Processor(PARAMS).properties)


def codes() -> tuple[Code, ...]:
    """Flip-flop, in charges of the processor."""
    return tuple(
        replace(code, charge=code.charge * WEIGHT) for code in coding.codes(FlipFlop(), SETTING.ranges, 24)
    )


def play(
    programs: list[Program], weights: list[Floats] | None, steps: int, restart: bool = True, repeat: int = 1
) -> tuple[float, cartpole.Episodes]:
    """Seconds of the compiled call, and what came of it."""
    population = lanes.pack(programs, weights, repeat=repeat)
    starts = pole.starts(range(population.lanes), pole.SPREADS["gymnasium"])
    reading = WinnerTakesAll().reading(2, 24)
    began = time.perf_counter()
    found = cartpole.episodes(population, codes(), reading, SETTING, starts, steps, restart=restart)
    return time.perf_counter() - began, found


def trained(programs: list[Program], rng: np.random.Generator, rounds: int) -> list[Program]:
    """The weights of each that keep the pole up longest, of some rounds of mutants."""
    for _ in range(rounds):
        mutants = []
        for program in programs:
            change = rng.normal(0, WEIGHT / 2, (MUTANTS, SYNAPSES)) * (rng.random((MUTANTS, SYNAPSES)) < 0.2)
            change[0] = 0
            mutants.append(np.clip(np.rint(program.weight + change), -WEIGHT, WEIGHT))
        _, found = play(programs, mutants, 1000, restart=False, repeat=4)
        best = found.steps.reshape(len(programs), MUTANTS, 4).sum(axis=2).argmax(axis=1)
        programs = [
            replace(program, weight=rows[k]) for program, rows, k in zip(programs, mutants, best, strict=True)
        ]
    return programs


def measure(quick: bool = False) -> dict[str, float | str]:
    """All figures; `quick` with fewer steps and repetitions."""
    repeats = 5 if quick else 11
    rng = np.random.default_rng(0)
    processor = Processor(PARAMS)
    threads = numba.get_num_threads()
    candidates = [processor.program(network(rng)) for _ in range(CANDIDATES // 4 if quick else CANDIDATES)]
    compile_s, _ = play(candidates[:1], None, 1)
    _, trial = play(candidates, None, 1000, restart=False, repeat=4)
    best = np.argsort(-trial.steps.sum(axis=1), kind="stable")[:NETWORKS]
    programs = trained([candidates[i] for i in best], rng, 2 if quick else ROUNDS)
    weights = [
        np.clip(np.rint(p.weight * (1 + rng.normal(0, 0.1, (COPIES, SYNAPSES)))), -WEIGHT, WEIGHT)
        for p in programs
    ]
    alone, together, scaling = [], [], []
    few, many = (4000, 100) if quick else (10_000, 300)
    try:
        for _ in range(repeats):
            numba.set_num_threads(1)
            seconds, one = play(programs, None, few)
            alone.append(float(one.steps.sum()) / seconds)
            seconds, copies = play(programs, weights, many)
            together.append(float(copies.steps.sum()) / seconds)
            if threads > 1 and (os.cpu_count() or 1) > 1:
                numba.set_num_threads(2)
                both, _ = play(programs, weights, many)
                scaling.append(seconds / both)
    finally:
        numba.set_num_threads(threads)
    spikes = sum(int(counts.sum()) for counts in one.counts)
    return {
        **report.summary("env_steps_per_s", alone),
        **report.summary("env_steps_per_s_64_copies", together),
        **report.summary("two_core_scaling", scaling),
        "episode_steps": float(one.steps.sum() / one.ended.sum()),
        "episode_steps_64_copies": float(copies.steps.sum() / copies.ended.sum()),
        "firing": spikes / float(one.timesteps.sum() * NEURONS),
        "compile_s": compile_s,
    }


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps and repetitions")
    options = parser.parse_args()
    report.write(options.json, measure(options.quick))


if __name__ == "__main__":
    main()
