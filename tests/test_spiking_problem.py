"""Spiking networks as a problem: goals, common random numbers, the same scores however they are computed."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("gymnasium")
pytest.importorskip("sklearn")

from vilfredo.faults.dead import Dead
from vilfredo.faults.gaussian import Gaussian
from vilfredo.goal import Goal, goal
from vilfredo.problems.spiking import Spiking
from vilfredo.protocols import BatchProblem, Impossible, Work
from vilfredo.spaces.spiking import Spiking as Space
from vilfredo.spec import SpecError, build, read
from vilfredo.spiking import scores as scoring
from vilfredo.spiking.decoders.winner_takes_all import WinnerTakesAll
from vilfredo.spiking.encoders.flip_flop import FlipFlop
from vilfredo.spiking.processors import caspian, danna2, mrdanna, risp, vrisp
from vilfredo.spiking.tasks.acrobot import Acrobot
from vilfredo.spiking.tasks.cartpole import Cartpole
from vilfredo.spiking.tasks.iris import Iris
from vilfredo.study import search
from vilfredo.trial import Failure, Genome, Value

PROCESSORS: dict[str, Any] = {
    "risp": risp,
    "vrisp": vrisp,
    "caspian": caspian,
    "danna2": danna2,
    "mrdanna": mrdanna,
}
FLOAT = {
    "discrete": False,
    "min_weight": -1,
    "max_weight": 1,
    "min_threshold": 0.1,
    "max_threshold": 1,
    "min_potential": -1,
    "max_delay": 15,
}


def problem(task: Any = None, goals: Any = None, processor: Any = None, **options: Any) -> Spiking:
    given = {"faults": [Gaussian(sd=0.2)], "copies": 4, "episodes": 3, "steps": 60, **options}
    task = Iris() if task is None else task
    names = goals or ["reward" if isinstance(task, Cartpole | Acrobot) else "error", "synapses"]
    return Spiking(
        Space(starting_nodes=4, starting_edges=40),
        names,
        task,
        processor or risp.Processor({**risp.Processor.DEFAULTS, "max_delay": 12}),
        FlipFlop(),
        WinnerTakesAll(),
        **given,
    )


def genomes(made: Spiking, count: int, seed: int = 0) -> list[Genome]:
    rng = np.random.default_rng(seed)
    found: list[Genome] = []
    while len(found) < count:
        genome = made.space.sample(rng)
        try:
            made.network(genome)
        except Impossible:
            continue
        found.append(genome)
    return found


def measured(made: Spiking, works: list[Work]) -> list[dict[str, Value]]:
    found = made.evaluate_many(works, [0] * len(works))
    assert not any(isinstance(values, Failure) for values in found)
    return [dict(values) for values in found if not isinstance(values, Failure)]


ALL = ["error", "neurons", "synapses", "timesteps", "synops", "spikes", "energy", "latency"]
RESILIENCE = ["resilience_mean", "resilience_q05", "resilience_worst"]


def test_it_is_a_batch_problem_and_plain_data():
    made = problem()
    assert isinstance(made, BatchProblem)
    assert made.epochs == 0
    again = pickle.loads(pickle.dumps(made))
    work = Work(genomes(made, 1)[0])
    assert measured(again, [work]) == measured(made, [work])
    json.dumps(made.describe())


def test_all_goals_have_values():
    made = problem(goals=[*ALL, *RESILIENCE])
    work = Work(genomes(made, 1)[0])
    sizes, values = made.preview(work), measured(made, [work])[0]
    assert {*sizes, *values} == {*ALL, *RESILIENCE}
    assert set(sizes) == {"neurons", "synapses", "timesteps"}
    assert values["energy"].low < values["energy"].mean < values["energy"].high  # type: ignore[operator]
    assert values["energy"].origin == "estimated"
    assert values["resilience_worst"].mean <= values["resilience_q05"].mean <= values["resilience_mean"].mean
    assert sizes["timesteps"].mean == 24


def test_goals_that_are_asked_for_only():
    made = problem(goals=["error", "synops", *RESILIENCE])
    genome = genomes(made, 1)[0]
    some = measured(made, [Work(genome, goals=frozenset({"synops"}))])[0]
    assert set(some) == {"synops"}
    assert some["synops"] == measured(made, [Work(genome)])[0]["synops"]


@pytest.mark.parametrize("task", [Iris(), Cartpole("easy"), Cartpole("hard")], ids=["iris", "easy", "hard"])
@pytest.mark.parametrize("name", sorted(PROCESSORS))
def test_together_is_what_alone_is(name, task, monkeypatch):
    """In lanes and in the compiled loop a network does what it does with an engine of its own."""
    made = problem(task, processor=PROCESSORS[name].Processor(), copies=3, steps=40)
    networks = [made.network(genome) for genome in genomes(made, 4)]
    together = made.scores(networks)
    monkeypatch.setattr(type(made.setup.processor), "lanes", False)
    alone = made.scores(networks)
    for a, b in zip(together, alone, strict=True):
        assert a.clean.tolist() == b.clean.tolist()
        assert a.faulty.tolist() == b.faulty.tolist()
        assert (a.spikes, a.synops, a.inferences) == (b.spikes, b.synops, b.inferences)
    assert len({tuple(s.clean) for s in together}) > 1 or len({s.spikes for s in together}) > 1


def test_float_networks_are_scored_one_by_one():
    made = problem(processor=risp.Processor(FLOAT), goals=["error", *RESILIENCE], copies=2)
    values = measured(made, [Work(genome) for genome in genomes(made, 2)])
    assert all(0 <= v["error"].mean <= 1 for v in values)


def test_an_environment_without_compiled_loop():
    made = problem(Acrobot(), goals=["reward", "resilience_mean"], steps=12, episodes=2, copies=2)
    values = measured(made, [Work(genome) for genome in genomes(made, 2)])
    assert all(v["reward"].mean == -12 for v in values)


def test_error_and_resilience_are_of_the_same_answers():
    made = problem(goals=["error", *RESILIENCE], faults=[Gaussian(sd=0.0)])
    for values in measured(made, [Work(genome) for genome in genomes(made, 5)]):
        for name in RESILIENCE:
            assert values[name].mean == pytest.approx(1 - values["error"].mean)


def test_dead_networks_score_like_silence():
    made = problem(Cartpole("easy"), goals=["reward", *RESILIENCE], faults=[Dead(rate=1.0)])
    genome = genomes(made, 1)[0]
    silent = {"neurons": genome["neurons"], "synapses": []}
    values, nothing = measured(made, [Work(genome), Work(silent)])
    assert values["resilience_mean"].mean == pytest.approx(nothing["reward"].mean)


def test_all_networks_meet_the_same_episodes_and_perturbations():
    made = problem(Cartpole("easy"), goals=["reward", "resilience_mean"])
    genome = genomes(made, 1)[0]
    first, other = measured(made, [Work(genome), Work(dict(genome))])
    assert first == other
    assert measured(made, [Work(genome)])[0] == first
    renewed = measured(made, [Work(genome, noise=1)])[0]
    tested = measured(made, [Work(genome, split="test")])[0]
    episodes = [made._seed("episode", "validation", 0, 0, n) for n in range(3)]
    fresh = [made._seed("episode", "test", 0, 0, n) for n in range(3)]
    assert not set(episodes) & set(fresh)
    assert {renewed["reward"].mean, tested["reward"].mean} != {first["reward"].mean}


def test_samples_of_the_test_split_are_others():
    made = problem(goals=["error"])
    work = Work(genomes(made, 1)[0])
    scores = made.scores([made.network(work.genome)], "test")
    assert len(scores[0].clean) == 45
    assert len(made.scores([made.network(work.genome)])[0].clean) == 105


def test_what_cannot_reach_an_output_is_not_counted():
    genome = {
        "neurons": [[n, 1] for n in range(13)],
        "synapses": [[0, 8, 5, 1], [0, 11, 5, 1], [11, 12, 5, 1]],
    }
    sizes = problem(goals=["error", "neurons", "synapses"]).preview(Work(genome))
    assert (sizes["synapses"].mean, sizes["neurons"].mean) == (1, 11)
    sizes = problem(goals=["error", "neurons", "synapses"], prune=False).preview(Work(genome))
    assert (sizes["synapses"].mean, sizes["neurons"].mean) == (3, 13)


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize(
    ("task", "options", "most"),
    [
        (Iris(), {}, 23),  # what comes later than the window is no use
        (Iris(), {"window": 30}, 29),
        (Iris(), {"max_delay": 6}, 6),
        (Cartpole(), {"max_delay": 6}, 6),
        (Cartpole(), {}, math.inf),
    ],
)
def test_delays_are_bounded(name, task, options, most):
    processor = PROCESSORS[name].Processor()
    own = next(p.high for p in processor.properties.synapses if p.name == "Delay")
    space = problem(task, processor=processor, **options).space
    assert next(p.high for p in space.synapses if p.name == "Delay") == min(own, most)


def test_a_network_that_the_processor_cannot_hold_is_impossible():
    made = problem()
    genome = {"neurons": [[n, 1] for n in range(11)], "synapses": [[0, 8, 500, 1]]}
    with pytest.raises(Impossible, match="synapse 0 -> 8: its Weight is 500"):
        made.preview(Work(genome))


def test_the_drawing_has_neurons_synapses_and_spikes():
    made = problem(Cartpole("easy"))
    drawn = made.layers(genomes(made, 1)[0])[0]
    assert drawn["op"] == "spiking network"
    assert len(drawn["neurons"]) == len(drawn["raster"])
    assert drawn["steps"] == drawn["window"] * round(drawn["steps"] / drawn["window"])
    assert sum(map(len, drawn["raster"])) == sum(row[5] for row in drawn["neurons"]) > 0
    json.dumps(drawn)


def test_it_draws_what_it_scores(monkeypatch):
    made = problem(Cartpole("easy"), goals=["reward", "spikes"], episodes=1)
    monkeypatch.setattr(scoring, "SHOWN", 10**6)
    genome = genomes(made, 1)[0]
    seed = made._seed("episode", "validation", 0, 0, 0)
    drawn = scoring.portrait(made.setup, made.network(genome), seed)
    values = measured(made, [Work(genome)])[0]
    assert drawn["steps"] == values["reward"].mean * 24
    assert sum(map(len, drawn["raster"])) == pytest.approx(values["spikes"].mean * values["reward"].mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goals": ["accuracy"]}, "nothing computes the goal 'accuracy' here; known: error, neurons"),
        ({"goals": ["reward"]}, "nothing computes the goal 'reward' here"),
        ({"goals": ["resilience_mean"], "faults": []}, "needs faults, such as faults = \\['gaussian'\\]"),
        ({"copies": 0}, "copies is 0; it must be at least 1"),
        ({"copy_episodes": 4}, "copy_episodes is 4; it must be from 1 to 3"),
        ({"window": 10}, "FlipFlop of number 0 needs 22 timesteps, the network runs only 10"),
        ({"task": object()}, "object lacks"),
        ({"steps": 0}, "steps is 0"),
        ({"max_delay": 0}, "max_delay is 0; delays of risp are 1 or more"),
    ],
)
def test_what_does_not_go_together_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        problem(**options)


def test_goals_may_be_limits():
    made = problem(goals=[Goal("error", max=0.5), goal("energy", max="1 uJ"), goal("synapses", ranked=False)])
    assert [g.stage for g in made.goals] == ["measure", "measure", "preview"]


SPEC: dict[str, Any] = {
    "problem": {
        "use": "spiking",
        "task": "iris",
        "processor": {"use": "risp", "max_delay": 15},
        "encoder": {"use": "flip_flop", "spikes": 4},
        "decoder": "winner_takes_all",
        "faults": [{"use": "gaussian", "sd": 0.1}, {"use": "dead", "rate": 0.01}],
        "copies": 3,
    },
    "space": "spiking",
    "goals": ["error", "synapses", "resilience_mean"],
    "optimizer": {"use": "eons", "population_size": 10, "selection": "pareto"},
    "executor": "inline",
    "budget": 20,
    "seed": 5,
}


def test_a_spec_names_all_parts():
    parts = build(read(SPEC))
    made = parts.problem
    assert isinstance(made, Spiking)
    assert made.seed == 5
    assert made.setup.processor.params.max_delay == 15
    assert made.setup.processor.params.max_weight == 127
    assert [type(fault).__name__ for fault in made.faults] == ["Gaussian", "Dead"]
    assert parts.confirm == 1


def test_what_a_spec_does_not_say_suits_spiking_networks():
    few = {name: SPEC[name] for name in ("problem", "goals")}
    spec = read({**few, "space": {"starting_nodes": 2}})
    assert (spec.space.use, spec.optimizer.use, spec.executor.use) == ("spiking", "eons", "inline")
    assert spec.space.options == {"starting_nodes": 2}
    assert spec.optimizer.options["selection"] == "pareto"
    assert read(few, {"optimizer.use": "nsga2"}).optimizer.options == {}
    assert read(few, {"executor.use": "local", "executor.workers": 2}).executor.use == "local"
    assert build(spec).optimizer().ask(1, np.random.default_rng(0))


def test_a_problem_in_python_has_the_same(tmp_path):
    made = problem(goals=["error", "synapses", "resilience_mean"])
    with search(made, budget=50, store=tmp_path / "store.db") as study:
        parts = study.parts
        assert (type(parts.optimizer()).__name__, type(parts.executor()).__name__) == ("Eons", "Inline")
        assert parts.confirm == 1
        assert len(list(study)) >= 50
    with search(made, budget=5, optimizer="random", workers=2, store=tmp_path / "store.db") as study:
        parts = study.parts
        assert type(parts.optimizer()).__name__ == "Random"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("problem.task", "cartpol", "there is no task 'cartpol'; did you mean 'cartpole'"),
        ("problem.task", {"use": "cartpole", "setting": "esy"}, "there is no setting 'esy'"),
        ("problem.task", {"use": "cartpole", "steps": "many"}, "must be a whole number"),
        ("problem.processor", "rsip", "did you mean 'risp'"),
        ("problem.processor", {"use": "risp", "max_wieght": 3}, "no parameter 'max_wieght'; did you mean"),
        ("problem.encoder", {"use": "flip_flop", "spiks": 3}, "unknown option; did you mean 'spikes'"),
        ("problem.faults", [{"use": "gaussian", "sd": -1}], "sd"),
        ("problem.faults", ["gausian"], "did you mean 'gaussian'"),
        ("problem.decoder", 7, "must be a name or a table"),
        ("problem.copies", "many", "must be a whole number"),
    ],
)
def test_mistakes_in_a_spec_are_named(path, value, message):
    with pytest.raises(SpecError, match=message):
        read(SPEC, {path: value})


def test_a_part_that_is_missing_is_named():
    table = {name: value for name, value in SPEC["problem"].items() if name != "decoder"}
    with pytest.raises(SpecError, match=r"problem\.decoder: is missing; known: first_to_fire"):
        read({**SPEC, "problem": table})


def test_another_space_is_refused():
    with pytest.raises(SpecError, match="needs a space of spiking networks"):
        build(read({**SPEC, "space": {"use": "parameters", "x": {"float": [0, 1]}}}))
