"""Are slow candidates at a disadvantage where many workers run at once, and what does waiting cost?

A simulation of events, no network is trained: 16 workers, candidates are NAS-Bench-Macro networks, and
evaluating one takes a time in proportion to its FLOPs (14 times longer for the largest than for the
smallest). Times are in units of the mean over the table.

* `parent_time_ratio.<name>`: on a flat landscape (all goals equal), the mean evaluation time of the chosen
  parents over that of all finished trials; mean over seeds, `.sd` over seeds, `.sem` of the mean. Without
  bias it is 1. For Optuna, which does not tell parents, it is that of the population they are drawn from.
* `too_late_share.<name>`: of the finished trials, those that finish too late ever to become a parent,
  whatever their values. In Optuna's NSGA-II these are the trials whose generation was closed before
  they finished; in `steady` those that are not in the population once they are told on a flat landscape.
* `time_to_95.<name>`: on the real goals, the median over seeds of the simulated time until 95 % of the final
  hypervolume of `steady` is reached, `.reached` the share of the seeds that got there (the others count with
  all the time they had); `time_to_95_ratio.<name>` is that time over `steady`'s.
* `busy.<name>`: the share of the workers' time that is spent on evaluations.

`steady_unscreened` is `steady` with `proposals=1`: a plain asynchronous genetic algorithm.
"""

from __future__ import annotations

import heapq
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks import report
from benchmarks.landscapes import Array, Landscape, macro
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Optimizer, Work
from vilfredo.seeds import generator
from vilfredo.trial import Genome, Key, Trial, Value

WORKERS = 16


@dataclass
class Run:
    """What a simulated run came to; times are simulated."""

    points: list[tuple[float, ...]] = field(default_factory=list)  # in the order of finishing
    ends: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)  # evaluation time of each finished trial
    parents: list[float] = field(default_factory=list)  # evaluation time of each chosen parent
    too_late: int = 0


class Player(Protocol):
    """An optimizer in the simulation. `ask` returns None where it wants to wait."""

    def ask(self, number: int) -> tuple[Genome, list[int]] | None: ...  # genome, parents
    def tell(self, number: int, point: tuple[float, ...]) -> bool: ...  # True: too late to be a parent


class Ours:
    def __init__(self, landscape: Landscape, seed: int, make: Callable[..., Optimizer]) -> None:
        self.goals = landscape.goals
        self.seed = seed
        self.optimizer = make(landscape.space, landscape.ranked)
        self.running: dict[int, Work] = {}

    def ask(self, number: int) -> tuple[Genome, list[int]] | None:
        asked = self.optimizer.ask(1, generator(self.seed, "ask", number), list(self.running.values()))
        if not asked:
            return None
        self.running[number] = asked[0]
        return asked[0].genome, list(asked[0].parents)

    def tell(self, number: int, point: tuple[float, ...]) -> bool:
        work = self.running.pop(number)
        values = {Key(goal): Value(v) for goal, v in zip(self.goals, point, strict=True)}
        trial = Trial(
            number, work.genome, "complete", work.parents, work.operator,
            generation=work.generation, values=values,
        )  # fmt: skip
        self.optimizer.tell(trial)
        return isinstance(self.optimizer, Steady) and number not in self.optimizer._living


class Optuna:
    def __init__(self, landscape: Landscape, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.NSGAIISampler(population_size=20, seed=seed)
        self.study = optuna.create_study(directions=["minimize"] * len(landscape.goals), sampler=sampler)
        self.storage = self.study._storage
        self.names = list(landscape.parameters)
        self.running: dict[int, Any] = {}

    def _parents(self, generation: int) -> list[int] | None:
        """Numbers of the parents of a generation; None before they are chosen."""
        chosen = self.storage.get_study_system_attrs(self.study._study_id)
        ids = chosen.get(f"NSGAIISampler:parent:{generation}")
        return None if ids is None else [self.storage.get_trial_number_from_id(i) for i in ids]

    def _generation(self, trial: Any) -> int:
        attributes = self.storage.get_trial_system_attrs(trial._trial_id)
        return int(attributes["NSGAIISampler:generation"])

    def ask(self, number: int) -> tuple[Genome, list[int]]:
        trial = self.study.ask()
        assert trial.number == number
        self.running[number] = trial
        genome = {name: trial.suggest_int(name, 0, 2) for name in self.names}
        return genome, self._parents(self._generation(trial)) or []

    def tell(self, number: int, point: tuple[float, ...]) -> bool:
        trial = self.running.pop(number)
        self.study.tell(trial, list(point))
        return self._parents(self._generation(trial) + 1) is not None


PLAYERS: Mapping[str, Callable[[Landscape, int], Player]] = {
    "steady": lambda landscape, seed: Ours(landscape, seed, Steady),
    "steady_unscreened": lambda landscape, seed: Ours(
        landscape, seed, lambda space, goals: Steady(space, goals, proposals=1)
    ),
    "nsga2": lambda landscape, seed: Ours(landscape, seed, NSGA2),
    "optuna_nsga2": Optuna,
}


def simulate(name: str, seed: int, trials: int, flat: bool) -> Run:
    landscape = macro()
    player = PLAYERS[name](landscape, seed)
    scale = mean_time()
    found = Run()
    running: list[tuple[float, int]] = []
    started: dict[int, tuple[tuple[float, ...], float]] = {}
    clock = 0.0
    while len(found.ends) < trials:
        while len(running) < WORKERS and len(started) < trials:
            asked = player.ask(len(started))
            if asked is None:
                break
            genome, parents = asked
            found.parents += [started[parent][1] for parent in parents]
            point = landscape.evaluate(genome)
            started[len(started)] = point, point[1] / scale
            heapq.heappush(running, (clock + point[1] / scale, len(started) - 1))
        clock, number = heapq.heappop(running)
        point, took = started[number]
        found.points.append(point)
        found.ends.append(clock)
        found.took.append(took)
        found.too_late += player.tell(number, (1.0,) * len(point) if flat else point)
    return found


def mean_time() -> float:
    """Mean FLOPs over the table: every choice is equally frequent, and FLOPs are a sum over the choices."""
    landscape = macro()
    genomes = [{f"g{i}": int(k) for i, k in enumerate(np.base_repr(n, 3).zfill(8))} for n in range(3**8)]
    return float(np.mean([landscape.evaluate(genome)[1] for genome in genomes]))


def job(task: tuple[str, int, int, bool]) -> tuple[str, int, bool, Run]:
    name, seed, trials, flat = task
    return name, seed, flat, simulate(name, seed, trials, flat)


def runs(seeds: int, trials: int, processes: int) -> Iterator[tuple[str, int, bool, Run]]:
    tasks = [
        (name, seed, trials, flat) for flat in (True, False) for name in PLAYERS for seed in range(seeds)
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(job, tasks, chunksize=2)


def figures(seeds: int, trials: int, processes: int) -> dict[str, float | str]:
    found: dict[str, float | str] = {"seeds": seeds, "trials": trials, "workers": WORKERS}
    ratios: dict[str, list[float]] = {name: [] for name in PLAYERS}
    late: dict[str, list[float]] = {name: [] for name in PLAYERS}
    busy: dict[str, list[float]] = {name: [] for name in PLAYERS}
    curves: dict[str, list[tuple[Array, Array]]] = {name: [] for name in PLAYERS}
    landscape = macro()
    for name, _, flat, run in runs(seeds, trials, processes):
        if flat:
            ratios[name].append(float(np.mean(run.parents) / np.mean(run.took)))
            late[name].append(run.too_late / len(run.ends))
        else:
            curves[name].append((np.array(run.ends), landscape.progress(np.array(run.points))))
            busy[name].append(sum(run.took) / (WORKERS * run.ends[-1]))
    for name in PLAYERS:
        found[f"parent_time_ratio.{name}"] = float(np.mean(ratios[name]))
        spread = float(np.std(ratios[name], ddof=1)) if seeds > 1 else 0.0
        found[f"parent_time_ratio.{name}.sd"] = spread
        found[f"parent_time_ratio.{name}.sem"] = spread / float(np.sqrt(seeds))
        found[f"too_late_share.{name}"] = float(np.mean(late[name]))
        found[f"busy.{name}"] = float(np.mean(busy[name]))
        found[f"final_hv.{name}"] = float(np.mean([curve[-1] for _, curve in curves[name]]))
    target = 0.95 * float(found["final_hv.steady"])
    for name in PLAYERS:
        reached = [bool((curve >= target).any()) for _, curve in curves[name]]
        times = [
            float(ends[np.argmax(curve >= target)] if there else ends[-1])
            for (ends, curve), there in zip(curves[name], reached, strict=True)
        ]
        found[f"time_to_95.{name}"] = float(np.median(times))
        found[f"time_to_95.{name}.reached"] = float(np.mean(reached))
    for name in PLAYERS:
        found[f"time_to_95_ratio.{name}"] = float(found[f"time_to_95.{name}"]) / float(
            found["time_to_95.steady"]
        )
    return found


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 20))
    options = parser.parse_args()
    report.write(options.json, figures(options.seeds, options.trials, options.processes))


if __name__ == "__main__":
    # The processes of the pool take over the environment: one thread of BLAS each.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    main()
