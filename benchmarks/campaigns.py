"""How a campaign gains from workers: the same faults in one process and in several.

The network and images are those of `benchmarks.faults`, trained for one epoch on 4,000 images; a campaign
draws `--faults` single flips of weights, other ones in each round, after all processes have run some.

`rate.N` are faults a second on the wall with N workers, `speedup.N` is the ratio to one worker of the same
round (medians of rounds). On a machine that does other work beside, the wall says little; then look at
processor time: `cpu.N` are milliseconds of all processes together for one fault, `coordinator.N` of the
process that deals out the work and counts, which no number of workers makes less; `busy.N` is how much
processor time all of them got a second. `ceiling` is the number of workers that one coordinator keeps busy:
cpu less coordinator, over coordinator. `own_mib` is what a worker has for itself (unique set size),
`shared_mib` the arrays that all have in common; `start_seconds` is the processor time of a worker until it
has run its first faults. `identical` is 1 if all records are the same for every number of workers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import psutil
import torch

from benchmarks import report
from benchmarks.faults import IMAGES, trained
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.run import Campaign, Results, finish
from vilfredo.campaign.workers import shared
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.nn.quantize import quantize

MIB = 2.0**20


def spent(process: psutil.Process) -> float:
    """Seconds of the processor so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def crew() -> list[psutil.Process]:
    """The workers of this process."""
    children = psutil.Process().children()
    return [p for p in children if "resource_tracker" not in " ".join(p.cmdline())]


def measured(train_size: int, faults: int, rounds: int, workers: Sequence[int]) -> dict[str, float]:
    """The figures."""
    torch.set_num_threads(1)
    module, calibration, x, y = trained(train_size, 1)
    network = quantize(module, calibration)
    engine = Engine(network, network.encode(x[:IMAGES]))
    labels = y[:IMAGES].numpy()
    figures: dict[str, list[float]] = defaultdict(list)
    same = True

    def campaign(seed: int) -> Campaign:
        return Campaign(BitFlip(0.0), error=0.0, budget=faults, seed=seed)

    numbers = [1, *(n for n in workers if n > 1)]
    found: dict[int, list[Results]] = {}
    for number in numbers:
        with shared([engine], number) as (there,):
            finish(there, labels, Campaign(BitFlip(0.0), error=0.0, budget=512, seed=999))
            if number > 1:
                figures["start_seconds"] += [spent(p) for p in crew()]
            for seed in range(rounds):
                others = crew()
                before = time.perf_counter(), time.process_time(), sum(map(spent, others))
                found.setdefault(number, []).append(finish(there, labels, campaign(seed)))
                wall = time.perf_counter() - before[0]
                mine, theirs = time.process_time() - before[1], sum(map(spent, others)) - before[2]
                figures[f"rate.{number}"].append(faults / wall)
                figures[f"cpu.{number}"].append((mine + theirs) / faults * 1e3)
                figures[f"busy.{number}"].append((mine + theirs) / wall)
                if number > 1:
                    figures[f"speedup.{number}"].append(
                        figures[f"rate.{number}"][-1] / figures["rate.1"][seed]
                    )
                    figures[f"coordinator.{number}"].append(mine / faults * 1e3)
                    figures["ceiling"].append(theirs / max(mine, 1e-9))
            if number > 1:
                figures["own_mib"] += [p.memory_full_info().uss / MIB for p in crew()]
                figures["shared_mib"] = [there.shared_bytes / MIB]  # type: ignore[attr-defined]
    for number in numbers[1:]:
        for one, other in zip(found[1], found[number], strict=True):
            same &= bool(np.array_equal(one.records, other.records))
    flat: dict[str, float] = {}
    for name, values in figures.items():
        flat |= report.summary(name, values)
    return flat | {"identical": float(same), "faults": float(faults), "rounds": float(rounds)}


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--train", type=int, default=4000, help="images that the network is trained on")
    parser.add_argument("--faults", type=int, default=2000, help="of a campaign")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", default="2", help="numbers of workers beside 1, such as 2,4,8")
    options = parser.parse_args()
    workers = [int(part) for part in options.workers.split(",")]
    report.write(options.json, measured(options.train, options.faults, options.rounds, workers))


if __name__ == "__main__":
    main()
