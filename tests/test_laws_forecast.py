"""Laws that every early-termination engine keeps: they walk over every module of `vilfredo.forecast` that
`[stopper] use = …` can name, and over some that work together. A new engine is found by itself.

`PUBLISHED` is exempt from what the published engine is known to break; `BLIND` look at no curve or no
other goal; `FULL` end no training.
"""

from __future__ import annotations

import inspect
import itertools
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runs import Slope, new_run, plain
from vilfredo.budget import Budget
from vilfredo.executors.inline import Inline
from vilfredo.goal import Goal
from vilfredo.loop import Search
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.protocols import Stopper, Verdict
from vilfredo.spec import names
from vilfredo.spec.plan import GIVEN
from vilfredo.trial import Epoch, Failure, Halt, Key, State, Trial, Value, to_json

KNOWN: dict[str, Any] = {name: names.find("stopper", name) for name in names.known("stopper")}
ENGINES = {name: found for name, found in KNOWN.items() if hasattr(found, "revive")}
PUBLISHED = {"penguin"}
BLIND = {"penguin", "fixed", "never", "together"}
FULL = {"never", "resilience", "together"}
COMBINED: dict[str, dict[str, dict[str, Any]]] = {
    "genrace and resilience": {"genrace": {}, "resilience": {}},
    "asha, median and genrace": {"asha": {"pause": True}, "median": {}, "genrace": {}},
}
"""Engines under `together`, with options."""

if "penguin" in ENGINES:
    pytest.importorskip("scipy", reason="PENGUIN fits with SciPy")

MACS = Goal("macs", unit="count", stage="preview")
SETTINGS: dict[str, tuple[Goal, ...]] = {
    "error": (Goal("error", unit="fraction"),),
    "error and cost": (Goal("error", unit="fraction"), MACS),
    "rising": (Goal("reward", "max"),),
    "rising and cost": (MACS, Goal("reward", "max"), Goal("asi", "max", stage="preview")),
    "loss": (Goal("loss"),),
}
EPOCHS = 9


def make(name: str, goals: Sequence[Goal], **options: Any) -> Stopper:
    """A new engine, made as a spec makes it."""
    if name in COMBINED:
        stoppers = [make(one, goals, **given) for one, given in COMBINED[name].items()]
        together: Stopper = ENGINES["together"](goals, stoppers=stoppers)
        return together
    target = ENGINES[name]
    given = {"goals": goals, "seed": 0}
    wanted = names.parameters(target)
    made: Stopper = target(**{**{n: v for n, v in given.items() if n in wanted}, **options})
    return made


# -- networks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Net:
    """A network with its whole curve; `quality` in [0, 1] is what it comes to, less is better."""

    number: int
    val: tuple[float, ...]
    train: tuple[float, ...] | None
    cost: float

    def trial(self, goals: Sequence[Goal], upto: int, state: State = "paused", **changes: Any) -> Trial:
        """As it is known after `upto` epochs: metrics by the goals' names, previewed values, and the
        measured value where it is complete."""
        epochs = []
        watched = next(g for g in goals if g.stage == "measure")
        for row in range(upto):
            metrics = {}
            if row < len(self.val):
                metrics[f"val_{watched.name}"] = turned(watched, self.val[row])
            if self.train is not None and row < len(self.train):
                metrics[f"train_{watched.name}"] = turned(watched, self.train[row])
            epochs.append(Epoch(row + 1, metrics, 0.01))
        values = {}
        for goal in goals:
            if goal.stage == "preview":
                values[Key(goal.name)] = Value(self.cost if goal.sense == "min" else -self.cost)
            elif state == "complete" and upto and math.isfinite(self.val[upto - 1]):
                values[Key(goal.name)] = Value(turned(goal, self.val[upto - 1]))
        return replace(Trial(self.number, {}, state, epochs=tuple(epochs), values=values), **changes)


def turned(goal: Goal, error: float) -> float:
    """An error in [0, 1] as a value of the goal: rewards to 200, losses to 7, errors as they are."""
    if goal.sense == "max":
        return 200.0 * (1.0 - error)
    return 7.0 * error if goal.name == "loss" else error


def population(count: int, epochs: int = EPOCHS, seed: int = 0, noise: float = 0.02) -> list[Net]:
    """Networks of all qualities, with power-law curves; the training curve says more than the other."""
    rng = np.random.default_rng(seed)
    nets = []
    steps = np.arange(1, epochs + 1)
    for number in range(count):
        final, drop, rate = rng.uniform(0.03, 0.5), rng.uniform(0.1, 0.4), rng.uniform(0.5, 1.5)
        clean = final + drop * (steps**-rate - epochs**-rate)
        val = np.clip(clean + rng.normal(0, noise, epochs), 0.001, 0.999)
        train = np.clip(0.9 * clean + rng.normal(0, noise / 10, epochs), 0.001, 0.999)
        nets.append(Net(number, tuple(val.tolist()), tuple(train.tolist()), float(rng.uniform(1, 9)) * 1e6))
    return nets


def finished(goals: Sequence[Goal], count: int, seed: int = 1, epochs: int = EPOCHS) -> list[Trial]:
    return [n.trial(goals, epochs, "complete") for n in population(count, epochs, seed)]


# -- what holds for every verdict -----------------------------------------------------------------


def judged(
    engine: Stopper, trial: Trial, peers: Sequence[Trial], goals: Sequence[Goal], epochs: int
) -> Verdict:
    """The verdict, after checking all that holds for any: no warning, nothing changed, sane contents."""
    before = frozen(trial), [id(p) for p in peers]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verdict = engine(trial, peers, epochs)
    assert (frozen(trial), [id(p) for p in peers]) == before, "the engine changed its arguments"
    assert verdict.action in ("go", "pause", "stop")
    watched = {g.name for g in goals}
    for name, value in verdict.forecast.items():
        assert name in watched, f"a forecast of {name}, which is no goal"
        assert type(value.mean) is float, "means are plain floats: they go into the log"
        assert type(value.sd) is float, "sds are plain floats: they go into the log"
        assert value.is_finite(), f"a forecast that is not finite: {value}"
        assert value.sd >= 0
        assert value.origin == "forecast"
    if verdict.action != "go":
        assert trial.epochs
        assert trial.epochs[-1].index < epochs, "halted after the last epoch"
        assert verdict.reason.strip(), "halted without a reason"
        assert len(verdict.reason) <= 160
        assert "\n" not in verdict.reason
        assert not re.search(r"\b(nan|inf)\b", verdict.reason), verdict.reason
    return verdict


def frozen(trial: Trial) -> str:
    return json.dumps(to_json(trial), sort_keys=True)


def revived(engine: Stopper, trials: Sequence[Trial]) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [int(n) for n in engine.revive(trials)]
    paused = {t.number for t in trials if t.state == "paused"}
    assert set(found) <= paused, f"revived {sorted(set(found) - paused)}, which are not paused"
    assert len(set(found)) == len(found), "revived twice in one breath"
    return found


@dataclass
class Replayed:
    trials: dict[int, Trial] = field(default_factory=dict)
    paid: int = 0  # epochs
    log: list[tuple[int, int, str, Any]] = field(default_factory=list)


def replay(
    engine: Stopper, nets: Sequence[Net], goals: Sequence[Goal], epochs: int, fresh: Any = None
) -> Replayed:
    """A search over these networks, one at a time, as the loop would do it: a halted network has the
    forecast as its value, a revived one goes on before a new one starts.

    Where `fresh` makes new engines, now and then a verdict is compared with that of a new one.
    """
    done = Replayed()

    def train(net: Net, begin: int) -> None:
        for epoch in range(begin + 1, epochs + 1):
            done.paid += 1
            trial = net.trial(goals, epoch)
            peers = list(done.trials.values())
            verdict = judged(engine, trial, peers, goals, epochs)
            if fresh is not None and done.paid % 7 == 0:
                assert judged(fresh(), trial, peers, goals, epochs) == verdict, "a new engine says otherwise"
                assert judged(engine, trial, peers, goals, epochs) == verdict, "asked again it says otherwise"
            said = {n: (v.mean, v.sd) for n, v in verdict.forecast.items()}
            done.log.append((net.number, epoch, verdict.action, said))
            if verdict.action != "go":
                state: State = "paused" if verdict.action == "pause" else "stopped"
                told = net.trial(goals, epoch, state)
                halt = Halt(epoch, verdict.action, verdict.reason, verdict.forecast)
                values = {Key(n): v for n, v in verdict.forecast.items()}
                done.trials[net.number] = replace(told.with_values(values), halts=(halt,))
                return
        done.trials[net.number] = net.trial(goals, epochs, "complete")

    by_number = {n.number: n for n in nets}
    for net in [*nets, None]:
        for _ in range(len(nets) * epochs + 1):
            found = revived(engine, list(done.trials.values()))
            if fresh is not None and done.paid % 5 == 0:
                again = revived(fresh(), list(done.trials.values()))
                assert again == found, "a new engine revives others"
            if not found:
                break
            train(by_number[found[0]], done.trials[found[0]].epochs[-1].index)
        else:
            pytest.fail("revived and paused without end")
        if net is not None:
            train(net, 0)
    return done


# -- the laws -------------------------------------------------------------------------------------


@pytest.fixture(params=sorted({*ENGINES, *COMBINED}))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(ENGINES))
def single(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(SETTINGS))
def goals(request: pytest.FixtureRequest) -> tuple[Goal, ...]:
    return SETTINGS[request.param]


def test_the_engines_of_the_folder_are_found() -> None:
    assert {"penguin", "fixed", "median", "asha", "hyperband", "never"} <= set(ENGINES)


@pytest.mark.parametrize("known", sorted(KNOWN))
def test_what_a_spec_can_name_is_an_engine(known: str) -> None:
    target = KNOWN[known]
    here = f"`[stopper] use = {known!r}` finds the class {target.__name__} of vilfredo/forecast/{known}.py"
    assert hasattr(target, "revive"), f"{here}, which is no engine: give the helper or its file another name"
    assert "__call__" in vars(target), f"{here}, which cannot be called"
    assert target.__doc__, f"{here}, which has no docstring"


def test_options_are_json_with_defaults(single: str) -> None:
    """Whatever is not filled by the program has a default that a spec could say."""
    given = GIVEN["stopper"]
    defaults = {}
    for option, parameter in names.parameters(ENGINES[single]).items():
        if option in given:
            continue
        assert parameter.default is not inspect.Parameter.empty, f"the option {option} has no default"
        if parameter.default is not None:
            defaults[option] = parameter.default
    assert json.loads(json.dumps(defaults, allow_nan=False)) is not None
    _, wrong = names.check(ENGINES[single], json.loads(json.dumps(defaults)), given)
    assert not wrong


def test_defaults_on_the_page_are_the_constructors(single: str) -> None:
    """`docs/spec.md` has a table of each engine's options: | `option` | type | `default` | meaning |."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "spec.md").read_text("utf-8")
    title = f'### `use = "{single}"`\n'
    assert title in page
    section = page.split(title)[1].split("\n##")[0]
    for option, parameter in names.parameters(ENGINES[single]).items():
        rows = [
            row for row in section.splitlines() if row.startswith("|") and f"`{option}`" in row.split("|")[1]
        ]
        if option in GIVEN["stopper"] or parameter.default in (None, ""):
            continue
        assert rows, f"no row for {option} in the section of {single}"
        cells = rows[0].split("|")
        place = [part.strip() for part in cells[1].split(",")].index(f"`{option}`")
        said = re.findall(r"`([^`]*)`", cells[3])[place]
        default = parameter.default
        assert json.loads(said) == (list(default) if isinstance(default, tuple) else default), option


def test_replayed_searches(name: str, goals: tuple[Goal, ...]) -> None:
    """Sound verdicts all along, which depend on the arguments alone; everybody ends; no endless revival."""
    nets = population(16, seed=3)
    done = replay(make(name, goals), nets, goals, EPOCHS, fresh=lambda: make(name, goals))
    assert len(done.trials) == 16
    assert done.paid <= 16 * EPOCHS
    again = replay(make(name, goals), nets, goals, EPOCHS)
    assert again.log == done.log
    if name in ("never", "together"):
        assert done.paid == 16 * EPOCHS


@pytest.mark.parametrize("options", [{"pause": True}, {"resume": True}, {"resume": False}])
def test_replayed_searches_with_and_without_pauses(name: str, options: dict[str, Any]) -> None:
    if name in COMBINED or not set(options) <= set(names.parameters(ENGINES[name])):
        pytest.skip(f"{name} has no option {next(iter(options))}")
    for goals in (SETTINGS["error"], SETTINGS["rising and cost"]):
        done = replay(make(name, goals, **options), population(24, seed=5), goals, EPOCHS)
        states = {t.state for t in done.trials.values()}
        assert "complete" in states
        if options == {"resume": False}:
            assert "paused" not in states


def test_it_saves_epochs(name: str) -> None:
    """On many networks of different quality, every engine but those of `FULL` saves something."""
    goals = SETTINGS["error"]
    nets = population(40, epochs=20, seed=8, noise=0.005)
    done = replay(make(name, goals), nets, goals, 20)
    if name not in FULL:
        assert done.paid < 40 * 20


def test_forecasts_are_not_wild(name: str, goals: tuple[Goal, ...]) -> None:
    """Within what was seen, and half its range beyond."""
    if name in PUBLISHED:
        pytest.skip("the published engine forecasts whatever lies in [0, 100]")
    peers = finished(goals, 12)
    watched = next(g for g in goals if g.stage == "measure")
    seen = [e.metrics[f"val_{watched.name}"] for p in peers for e in p.epochs]
    engine = make(name, goals)
    for net in population(6, seed=9):
        for epoch in range(1, EPOCHS):
            trial = net.trial(goals, epoch)
            own = [e.metrics[f"val_{watched.name}"] for e in trial.epochs]
            low, high = min(seen + own), max(seen + own)
            verdict = judged(engine, trial, peers, goals, EPOCHS)
            for value in verdict.forecast.values():
                assert low - 0.5 * (high - low) <= value.mean <= high + 0.5 * (high - low)


def test_the_last_epoch_is_never_halted(name: str, goals: tuple[Goal, ...]) -> None:
    peers = finished(goals, 10)
    engine = make(name, goals)
    worst = Net(50, (0.99,) * EPOCHS, (0.99,) * EPOCHS, 1e9)
    for epochs in (EPOCHS, EPOCHS - 2, 1):
        assert judged(engine, worst.trial(goals, EPOCHS), peers, goals, epochs).action == "go"


def test_who_is_cheapest_is_kept(name: str) -> None:
    """With several goals nobody dominates the cheapest network, however bad its error."""
    if name in BLIND:
        pytest.skip(f"{name} looks at one goal at most")
    for goals in (SETTINGS["error and cost"], SETTINGS["rising and cost"]):
        peers = finished(goals, 20)
        halted = [replace(n.trial(goals, 3, "paused"), number=n.number + 100) for n in population(9, seed=4)]
        engine = make(name, goals)
        cheap = Net(500, (0.97,) * EPOCHS, (0.96,) * EPOCHS, 10.0)
        for epoch in range(1, EPOCHS):
            verdict = judged(engine, cheap.trial(goals, epoch), [*peers, *halted], goals, EPOCHS)
            assert verdict.action == "go", f"{verdict.action} after epoch {epoch}: {verdict.reason}"


# -- hostile curves -------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
HOSTILE: dict[str, tuple[tuple[float, ...], tuple[float, ...] | None]] = {
    "nothing but nan": ((NAN,) * EPOCHS, (NAN,) * EPOCHS),
    "nothing but inf": ((INF,) * EPOCHS, (INF,) * EPOCHS),
    "minus inf": ((-INF,) * EPOCHS, (-INF,) * EPOCHS),
    "nan in between": (
        (0.5, NAN, 0.4, NAN, 0.3, NAN, 0.2, NAN, 0.2),
        (NAN, 0.5, NAN, 0.4, NAN, 0.3, NAN, 0.2, NAN),
    ),
    "nan at last": (
        (0.5, 0.4, 0.3, NAN, NAN, NAN, NAN, NAN, NAN),
        (0.5, 0.4, 0.3, NAN, NAN, NAN, NAN, NAN, NAN),
    ),
    "inf in between": (
        (0.5, 0.4, INF, 0.3, -INF, 0.3, 0.2, 0.2, 0.2),
        (0.5, INF, 0.3, 0.3, 0.3, 0.3, 0.2, 0.2, 0.2),
    ),
    "constant": ((0.5,) * EPOCHS, (0.5,) * EPOCHS),
    "all zero": ((0.0,) * EPOCHS, (0.0,) * EPOCHS),
    "all one": ((1.0,) * EPOCHS, (1.0,) * EPOCHS),
    "spikes": (
        (0.5, 0.9, 0.1, 0.99, 0.0, 1.0, 0.2, 0.9, 0.1),
        (0.5, 0.4, 0.9, 0.3, 0.2, 0.99, 0.1, 0.1, 0.9),
    ),
    "huge": ((1e300, 1e250, 1e200, 1e300, 1e300, 1e100, 1e300, 1e308, 1e308), (1e300,) * EPOCHS),
    "tiny": ((1e-300,) * EPOCHS, (5e-324,) * EPOCHS),
    "negative": ((-3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0, -9.5, -9.9), (-3.0,) * EPOCHS),
    "no training curve": ((0.5, 0.4, 0.35, 0.32, 0.3, 0.29, 0.285, 0.28, 0.28), None),
    "training curve ends": ((0.5, 0.4, 0.35, 0.32, 0.3, 0.29, 0.285, 0.28, 0.28), (0.5, 0.4)),
    "growing error": (
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_curves(name: str, kind: str) -> None:
    """In training, among the peers, and both, with one goal and with several."""
    val, train = HOSTILE[kind]
    for goals in (SETTINGS["error"], SETTINGS["rising and cost"], SETTINGS["loss"]):
        engine = make(name, goals)
        kinds: tuple[State, ...] = ("complete", "stopped", "paused", "complete", "complete", "complete")
        bad = [Net(100 + i, val, train, 1e6 * i).trial(goals, EPOCHS - i, s) for i, s in enumerate(kinds)]
        good = finished(goals, 9)
        own = Net(200, val, train, 4e6)
        fine = replace(population(1, seed=77)[0], number=201)
        for peers in ([], good, bad, [*good, *bad]):
            for net in (own, fine):
                for epoch in (1, 2, 3, 5, EPOCHS - 1, EPOCHS):
                    judged(engine, net.trial(goals, epoch), peers, goals, EPOCHS)
            revived(engine, peers)


def oddities(goals: Sequence[Goal]) -> list[Trial]:
    """Peers of every kind that a log may hold."""
    net = population(1, seed=6)[0]
    watched = next(g for g in goals if g.stage == "measure")
    forecast = {Key(watched.name): Value(turned(watched, 0.3), turned(watched, 0.01), 1, "forecast")}
    failure = Failure("exception", "no luck")
    return [
        net.trial(goals, 3, "failed", number=300, failure=failure),
        Trial(301, {}, "failed", failure=failure),
        Trial(302, {}, "rejected", values={Key("macs"): Value(1e12)}),
        Trial(303, {}, "complete"),
        Trial(304, {}, "complete", values={Key(watched.name): Value(turned(watched, 0.2))}),
        Trial(305, {}, "complete", epochs=tuple(Epoch(i, {}) for i in range(1, EPOCHS + 1))),
        Trial(306, {}, "stopped", epochs=(Epoch(1, {"something": 1.0}),)),
        Trial(307, {}, "paused"),
        net.trial(goals, 4, "paused", number=308).with_values(forecast),
        net.trial(goals, 4, "stopped", number=309).with_values(forecast),
        net.trial(goals, 1, "complete", number=310),
        net.trial(goals, 2, "paused", number=311),
        Trial(312, {}, "complete", epochs=net.trial(goals, EPOCHS).epochs),
        net.trial(goals, EPOCHS, "complete", number=313, confirmed=2).with_values(
            {Key(watched.name, repeat=1): Value(turned(watched, 0.31))}
        ),
    ]


def test_peers_of_every_kind(name: str, goals: tuple[Goal, ...]) -> None:
    odd = oddities(goals)
    engine = make(name, goals)
    for peers in ([], odd, [*odd, *finished(goals, 8)], *([p] for p in odd)):
        for epoch in range(1, EPOCHS + 1):
            judged(engine, population(1, seed=12)[0].trial(goals, epoch, number=400), peers, goals, EPOCHS)
        revived(engine, peers)


def test_trials_without_a_curve(name: str, goals: tuple[Goal, ...]) -> None:
    """No epoch yet, no metric at all, or the metrics of nobody's goal: no forecast of it."""
    engine = make(name, goals)
    for epochs in ((), (Epoch(1, {}),), tuple(Epoch(i, {"mood": 0.5}) for i in range(1, 6))):
        for peers in ([], finished(goals, 8)):
            verdict = judged(engine, Trial(500, {}, "paused", epochs=epochs), peers, goals, EPOCHS)
            assert not verdict.forecast
            assert verdict.action == "go" or name == "fixed"


def test_full_trainings_of_one_epoch_or_none(name: str, goals: tuple[Goal, ...]) -> None:
    engine = make(name, goals)
    for epochs in (0, 1, 2):
        peers = finished(goals, 8, epochs=max(epochs, 1))
        for net in population(3, epochs=2, seed=14):
            for epoch in range(1, max(epochs, 1) + 1):
                judged(engine, net.trial(goals, epoch, number=500 + net.number), peers, goals, epochs)
        revived(engine, peers)


def test_epochs_that_do_not_begin_with_one(name: str) -> None:
    """Records that were lost: indices with gaps."""
    goals = SETTINGS["error"]
    engine = make(name, goals)
    net = population(1, seed=15)[0]
    for gaps in ((3, 4, 5), (1, 4, 8), (8,), (2, 4, 6, 8)):
        trial = net.trial(goals, EPOCHS)
        trial = replace(trial, number=600, epochs=tuple(trial.epochs[i - 1] for i in gaps))
        odd = replace(trial, number=601, state="complete")
        for peers in ([], [odd], [*finished(goals, 9), odd, replace(odd, number=602, state="paused")]):
            judged(engine, trial, peers, goals, EPOCHS)
            revived(engine, peers)


numbers = st.one_of(
    st.floats(0, 1), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, 0.5, NAN])
)
curve = st.lists(numbers, min_size=EPOCHS, max_size=EPOCHS).map(tuple)


@pytest.mark.parametrize("engine_name", sorted({*ENGINES, *COMBINED}))
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes where an engine fails in many ways
    report_multiple_bugs=False,
)
@given(
    which=st.sampled_from(sorted(SETTINGS)),
    own=st.tuples(curve, st.none() | curve),
    others=st.lists(
        st.tuples(curve, st.none() | curve, st.sampled_from(["complete", "paused", "stopped"])), max_size=7
    ),
    upto=st.integers(1, EPOCHS),
)
def test_whatever_the_numbers(engine_name: str, which: str, own: Any, others: Any, upto: int) -> None:
    goals = SETTINGS[which]
    peers = finished(goals, 5)
    for i, (val, train, state) in enumerate(others):
        part = EPOCHS if state == "complete" else 1 + i
        peers.append(Net(100 + i, val, train, 1e6 * i).trial(goals, part, state))
    engine = make(engine_name, goals)
    trial = Net(200, *own, 3e6).trial(goals, upto)
    first = judged(engine, trial, peers, goals, EPOCHS)
    assert judged(engine, trial, peers, goals, EPOCHS) == first
    revived(engine, peers)


# -- in the real loop -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Single(Slope):
    """The same walk with one goal."""

    @property
    def goals(self) -> Sequence[Goal]:
        return (Goal("error"),)

    def preview(self, work: Any) -> Mapping[str, Value]:
        return {}


def searched(path: Any, problem: Slope, stopper: str, cuts: Sequence[int], budget: int = 28) -> list[Any]:
    """The trials of a search that is left after each of `cuts` told trials and then resumed."""
    run = new_run(path, problem, seed=7)
    for cut in [*cuts, None]:
        search = Search(
            problem,
            NSGA2(problem.space, problem.goals, population=8),
            Inline(problem),
            run,
            budget=Budget(trials=budget),
            seed=7,
            confirm=1,
            stopper=make(stopper, problem.goals),
        )
        for _ in itertools.islice(search, cut):
            pass
    return [plain(trial) for trial in run.trials()]


@pytest.mark.parametrize("problem", [Slope(epochs=6), Single(epochs=6)], ids=["two goals", "one goal"])
def test_a_resumed_search_equals_an_uninterrupted_one(name: str, problem: Slope, tmp_path: Any) -> None:
    """Law 1 with early termination: synchronous, whichever the engine, wherever it is cut."""
    whole = searched(tmp_path / "whole.db", problem, name, [])
    assert len(whole) == 28
    for number, cuts in enumerate([[1], [3, 0, 11, 9], [29, 4]]):
        assert searched(tmp_path / f"cut{number}.db", problem, name, cuts) == whole


def test_the_front_of_a_search_is_trained_in_full(name: str, tmp_path: Any) -> None:
    """A forecast never stays in the front: its members are complete, measured and confirmed."""
    from vilfredo import pareto
    from vilfredo.trial import from_json

    problem = Slope(epochs=6)
    found = searched(tmp_path / "run.db", problem, name, [])
    unknown = {"seconds": {}, "attempts": [], "told_at": 0.0, "artifact": None}
    trials = [from_json({**data, **unknown, "epochs": [[*e, 0.0] for e in data["epochs"]]}) for data in found]
    front = pareto.front(trials, problem.goals)
    assert front
    for trial in front:
        assert trial.state == "complete"
        assert trial.confirmed == 1
        value = trial.value("error")
        assert value is not None
        assert value.origin == "measured"


def test_who_has_nothing_to_go_by_says_so(name: str) -> None:
    """Metrics of no goal: everybody goes on, with a remark that names the metrics (`fixed` and `never` look
    at nothing, `resilience` at goals under faults, `together` asks nobody here)."""
    goals = SETTINGS["error"]
    trial = Trial(3, {}, "paused", epochs=tuple(Epoch(k, {"perplexity": 9.0 / k}) for k in range(1, 6)))
    verdict = make(name, goals)(trial, finished(goals, 9), EPOCHS)
    if name in ("never", "together"):
        assert verdict == Verdict()
    elif name not in ("fixed", "resilience"):
        assert verdict.action == "go"
        assert "perplexity" in verdict.reason
