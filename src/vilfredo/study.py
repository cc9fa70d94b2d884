"""A study: one run in a store with the problem it is about. The Python face of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vilfredo import artifacts, pareto
from vilfredo.budget import Budget, parse, to_json
from vilfredo.executors import forkserver
from vilfredo.executors.state import UNGUARDED, Broken
from vilfredo.goal import Goal
from vilfredo.loop import Running, Search, failures
from vilfredo.protocols import Problem, Space, Work
from vilfredo.savings import Savings, savings
from vilfredo.spec import Parts, Spec, SpecError, build, read
from vilfredo.spec.build import TESTED
from vilfredo.spec.text import toml
from vilfredo.store import Run, Status, Store
from vilfredo.trial import JSON, Failure, Split, Trial

if TYPE_CHECKING:
    from vilfredo.spiking.network import SpikingNetwork


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands; times in seconds. `savings` is what early termination came to so far."""

    phase: str
    told: int
    budget: Budget
    elapsed: float
    eta: float | None
    running: tuple[Running, ...]
    failures: Mapping[str, int]
    savings: Savings


@dataclass(frozen=True)
class Pick:
    """A trial chosen from a front, and a way to its trained network."""

    trial: Trial
    study: Study

    def load_model(self) -> Any:
        """The trained model (see `Study.load_model`)."""
        return self.study.load_model(self.trial)


class Study:
    """One run. Iterating over it starts the search, or resumes it, and yields each trial as it is told.

    Reading (`trials`, `front`, `best`, `report`, …) works at any time, also from another process. What
    needs the problem (iterating, `load_model`, layers) raises `SpecError` for a run that was made from
    a Python object unless that object is given again.

    `close`, or the end of a `with` block, closes the store's file.
    """

    def __init__(self, store: Store, run: Run, parts: Parts | None) -> None:
        self.store = store
        self.run = run
        self._parts = parts
        self._search: Search | None = None
        self._stopping = False

    @classmethod
    def open(
        cls,
        path: str | Path = "vilfredo.db",
        run: int | str | None = None,
        problem: Problem | None = None,
        readonly: bool = False,
    ) -> Study:
        """An existing run, by id or name (None: the newest). Raises `StoreError` if there is none."""
        store = Store.open(path, create=False, readonly=readonly)
        try:
            found = store.run(run)
            parts = None
            if problem is not None:
                parts = build(Spec.from_json(found.spec), problem)
            return cls(store, found, parts)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Close the store's file; the study cannot be used any more. Raises `StoreError` only if the
        disk fails."""
        self.store.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def goals(self) -> Sequence[Goal]:
        return self.run.goals

    @property
    def parts(self) -> Parts:
        """The objects of this run, built from its spec when first needed. Raises `SpecError`."""
        if self._parts is None:
            spec = Spec.from_json(self.run.spec)
            if spec.problem is None:
                call = f"vilfredo.resume({str(self.store.path)!r}, {self.run.id}, problem=…)"
                source = f"run {self.run.id} of {self.store.path.name}"
                text = f"it was made from a Python object, which is needed for this; in Python: {call}"
                raise SpecError(source, [("", text)])
            self._parts = build(spec)
        return self._parts

    @property
    def budget(self) -> Budget:
        """What the run may spend in all: its spec's budget, or the last one that `extend` gave."""
        extended = self.run.events("budget")
        return parse(extended[-1][2]) if extended else Spec.from_json(self.run.spec).budget

    # -- searching --------------------------------------------------------------------------------

    def warm(self) -> None:
        """Compile what this run's problem compiles on first use, where the search computes in this process.
        Iterating does so too."""
        warm = getattr(self.parts.problem, "warm", None)
        if warm is not None and Spec.from_json(self.run.spec).executor.use == "inline":
            warm()

    def __iter__(self) -> Iterator[Trial]:
        parts = self.parts
        self.warm()
        self._stopping = False
        with self.run.lock():
            self.run.set_status("running")
            status: Status = "interrupted"
            try:
                self.run.clean()
                self._search = Search(
                    parts.problem,
                    parts.optimizer(),
                    parts.executor(),
                    self.run,
                    budget=self.budget,
                    seed=self.run.seed,
                    stopper=parts.stopper() if parts.stopper else None,
                    confirm=parts.confirm,
                    initial=self._initial(parts),
                    retries=parts.retries,
                    quota=parts.quota,
                )
                if self._stopping:  # asked for while the workers started
                    self._search.stop()
                yield from self._search
                status = "finished" if self._search.phase == "finished" else "interrupted"
            except Exception:
                status = "failed"
                raise
            finally:
                self.run.set_status(status)

    def _initial(self, parts: Parts) -> list[Work]:
        """The user's present network first, then the front of an earlier run."""
        works = [Work(genome, operator="earlier run") for genome in self.run.settings.get("start", ())]
        baseline = getattr(parts.problem, "baseline", None)
        return works if baseline is None else [Work(baseline, operator="baseline"), *works]

    def stop(self) -> None:
        """End the iteration soon. What runs is stopped; resumed, it goes on from its checkpoint."""
        self._stopping = True
        if self._search is not None:
            self._search.stop()

    @property
    def started(self) -> bool:
        """Whether the search of this process has begun: its workers are there."""
        return self._search is not None

    def extend(self, budget: Budget | str | int) -> None:
        """Give the run another budget, counted from its very beginning; takes effect when it is resumed."""
        self.run.append_event("budget", to_json(parse(budget)))

    @property
    def elapsed(self) -> float:
        """Wall seconds of the run over all its sessions, as far as its trials know."""
        if self._search is not None:
            return self._search.elapsed
        return max((t.told_at for t in self.run.trials(epochs=False)), default=0.0)

    def progress(self) -> Progress:
        """Where the search of this process stands; of a run that is only read, how it ended."""
        search = self._search
        known = list(search.trials.values()) if search else self.run.trials()
        budget = self.budget
        elapsed = search.elapsed if search else max((t.told_at for t in known), default=0.0)
        told = search.counted if search else sum(t.state != "rejected" for t in known)
        share = budget.spent(told, elapsed)
        recorded = self.run.description.get("epochs", 0)
        epochs = self._parts.problem.epochs if self._parts else recorded if isinstance(recorded, int) else 0
        return Progress(
            phase=search.phase if search else self.run.status,
            told=told,
            budget=budget,
            elapsed=elapsed,
            eta=elapsed * (1 / share - 1) if 0 < share < 1 and (told > 1 or budget.seconds) else None,
            running=tuple(search.running.values()) if search else (),
            failures={kind: len(found) for kind, found in failures(known).items()},
            savings=savings(known, epochs),
        )

    # -- reading ----------------------------------------------------------------------------------

    def notes(self) -> list[str]:
        """What happened without harm to any value, each text once: a full disk, a damaged checkpoint, a
        stopper that finds no metric to go by."""
        return list(dict.fromkeys(str(data["note"]) for _, _, data in self.run.events("note")))

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        if self._search is not None:
            return [trial for _, trial in sorted(self._search.trials.items())]
        return self.run.trials()

    def front(self, split: Split = "validation") -> list[Trial]:
        """The feasible trials that no other dominates, sorted by the first ranked goal."""
        return pareto.front(self.trials(), self.goals, split)

    def failures(self) -> dict[str, list[tuple[int, Failure]]]:
        """Failed trials by kind of failure: (trial number, failure)."""
        return failures(self.trials())

    def best(self, which: str = "knee") -> Pick:
        """The front's knee, or its best trial in one goal. Raises `ValueError` for an empty front or
        a goal that the run does not have."""
        front = self.front()
        if not front:
            raise ValueError(
                f"the front of run {self.run.id} is empty: no trial is complete within the limits"
            )
        table, _, _ = pareto.points(front, self.goals)
        ranked = [g.name for g in self.goals if g.ranked]
        if which == "knee":
            return Pick(front[pareto.knee(table)], self)
        if which not in ranked:
            raise ValueError(
                f"there is no ranked goal {which!r}; choose 'knee' or one of {', '.join(ranked)}"
            )
        return Pick(front[int(table[:, ranked.index(which)].argmin())], self)

    def load_model(self, trial: Trial | int) -> Any:
        """The trained model of a trial, from its artifact: a `torch.nn.Module`. A spiking network is its
        genome and needs none (see `spiking`).

        Raises `ValueError` if the trial left none, or it is gone, removed or not copied with the store.
        """
        known = self.run.trial(trial) if isinstance(trial, int) else trial
        if self.run.description.get("kind") == "spiking":
            return self.spiking(known)
        if known.artifact is None or not Path(known.artifact.path).exists():
            where = known.artifact.path if known.artifact else ""
            gone = f": {where} is gone, to keep the quota, or was not copied with the store" if where else ""
            raise ValueError(f"trial {known.number} of run {self.run.id} has no stored weights{gone}")
        weights, epochs = artifacts.read(known.artifact)
        problem = self.parts.problem
        upto = epochs[-1].index if epochs else None
        work = Work(known.genome, trial=known.number, fidelity=None if upto == problem.epochs else upto)
        training = problem.train(work, known.seed, weights, {})
        try:
            next(training)
        except StopIteration as end:
            return end.value
        raise ValueError(f"the weights of trial {known.number} are of an unfinished training; resume the run")

    def layers(self, trials: Iterable[Trial]) -> dict[int, Sequence[Mapping[str, JSON]]]:
        """The layers of each trial's network, for drawing; empty where there is none or no problem."""
        try:
            problem = self.parts.problem
        except (SpecError, OSError):
            return {}
        found: dict[int, Sequence[Mapping[str, JSON]]] = {}
        for trial in trials:
            try:
                found[trial.number] = problem.layers(trial.genome)
            except ValueError:  # Impossible: it has none
                continue
        return found

    def deployed(self, trials: Iterable[Trial]) -> dict[int, str]:
        """In which numbers each trial's network was deployed before it was measured, in words; without those
        that were measured as they were trained."""
        try:
            scheme_of = getattr(self.parts.problem, "scheme_of", None)
        except (SpecError, OSError):
            return {}
        if scheme_of is None:
            return {}
        found = {}
        for trial in trials:
            try:
                scheme = scheme_of(trial.genome)
            except ValueError:  # Impossible: it is no network
                continue
            if scheme is not None:
                found[trial.number] = str(scheme)
        return found

    def spiking(self, trial: Trial) -> SpikingNetwork:
        """The spiking network of a trial, with processor and task in its data as in a TENNLab file. Raises
        `ValueError` for a run of other networks."""
        made = getattr(self.parts.problem, "network", None)
        if self.run.description.get("kind") != "spiking" or made is None:
            raise ValueError(
                f"run {self.run.id} searches no spiking networks, so trial {trial.number} is none"
            )
        network: SpikingNetwork = made(trial.genome)
        about = self.run.description
        names = {"proc_name": "processor", "app_name": "task", "sim_time": "window"}
        other = {name: about[key] for name, key in names.items()}
        return replace(network, data={"other": other, "proc_params": about["parameters"]})

    def report(self) -> str:
        """The report of the run: one HTML page that needs nothing else."""
        from vilfredo.report.page import ReportData, important, render

        run, trials = self.run, self.trials()
        by_number = {t.number: t for t in trials}
        spec = Spec.from_json(run.spec)
        shown = [by_number[n] for n in important(trials, self.goals)]
        file = f"{run.name or 'run'}.toml"
        return render(
            ReportData(
                title=run.name or f"run {run.id}",
                goals=tuple(self.goals),
                trials=tuple(trials),
                description=run.description,
                layers=self.layers(shown),
                deployed=self.deployed(shown),
                environment=run.environment,
                spec=toml(spec),
                commands=(f"vilfredo search {file}",) if spec.problem else (),
                seed=run.seed,
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                status=run.status,
                epochs=self._epochs(),
            )
        )

    def _epochs(self) -> int:
        """Of a full training; 0 if the problem cannot be had."""
        try:
            return self.parts.problem.epochs
        except (SpecError, OSError):
            return 0


def search(
    problem: str | Path | Mapping[str, JSON] | Spec | Problem | Callable[..., Any],
    *,
    space: Space | Mapping[str, JSON] | None = None,
    goals: Sequence[str | Goal] | None = None,
    budget: Budget | str | int | None = None,
    workers: int | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    seed: int | None = None,
    confirm: int | None = None,
    optimizer: str | None = None,
    stopper: str | Sequence[str] | None = None,
    epochs: int | None = None,
    start: str | None = None,
    changes: Mapping[str, JSON] | None = None,
) -> Study:
    """A new study. Nothing runs before it is iterated over:

    >>> study = search("digits", budget=20)          # doctest: +SKIP
    >>> for trial in study: print(trial.number)      # doctest: +SKIP

    `problem` is a packaged spec's name, the path of a TOML file, a mapping of that form, a problem
    object such as `Supervised(…)`, or a function `f(params) -> {goal: value}` together with `space`
    and `goals`. `stopper` names an engine that ends hopeless trainings early ("genrace"), or several that
    work together. `workers=0` evaluates in this process. `start` ("STORE" or "STORE:RUN") begins with the
    front of an earlier run. `changes` are further entries of the spec by path (`{"executor.deadline":
    "10min"}`). Raises `SpecError`, which lists every mistake.
    """
    parallel = None if workers is None else ("inline" if workers == 0 else "local")
    changed: dict[str, JSON] = {
        "name": name,
        "seed": seed,
        "budget": budget,
        "confirm": confirm,
        "optimizer.use": optimizer,
        "stopper.use": stopper,
        "executor.use": parallel,
        "executor.workers": workers or None,
        "store.path": None if store is None else str(store),
        "start": start,
        **(changes or {}),
    }
    if isinstance(problem, str | Path | Mapping | Spec):
        changed |= {"goals": None if goals is None else list(goals), "problem.epochs": epochs}
        spec = read(problem, changed)
        made = None
    else:
        made = _object(problem, space, goals, epochs)
        changed["executor.use"] = parallel or "inline"
        if confirm is None:  # a function has no test set
            changed["confirm"] = 1 if made.describe().get("kind") in TESTED else 0
        usual = getattr(made, "usual", {})
        spec = read({"optimizer": usual["optimizer"]} if "optimizer" in usual else {}, changed, bare=True)
    return create(spec, made)


def create(spec: Spec, problem: Problem | None = None) -> Study:
    """A new run of `spec` in its store (see `search`)."""
    if forkserver.importing:  # before there is a run that nobody wanted
        raise Broken(UNGUARDED)
    parts = build(spec, problem)
    settings: dict[str, JSON] = {}
    if spec.start:
        settings["start"] = [dict(t.genome) for t in front_of(spec.start)]
    store = Store.open(parts.store)
    try:
        run = store.create(
            name=spec.name,
            seed=spec.seed,
            spec=spec.to_json(),
            description=parts.problem.describe(),
            goals=parts.problem.goals,
            settings=settings,
        )
        return Study(store, run, parts)
    except BaseException:
        store.close()
        raise


def resume(
    path: str | Path = "vilfredo.db",
    run: int | str | None = None,
    *,
    problem: Problem | None = None,
    budget: Budget | str | int | None = None,
) -> Study:
    """An earlier study, to be gone on with by iterating over it; `budget` replaces its own."""
    study = Study.open(path, run, problem)
    try:
        if budget is not None:
            study.extend(budget)
        return study
    except BaseException:
        study.close()
        raise


def front(study: Study | str | Path | Iterable[Trial], goals: Sequence[Goal] | None = None) -> list[Trial]:
    """The front of a study, of the newest run in a store, or of trials together with their goals."""
    if isinstance(study, str | Path):
        with Study.open(study) as opened:
            return opened.front()
    if isinstance(study, Study):
        return study.front()
    if goals is None:
        raise ValueError("give the goals with the trials: front(trials, goals)")
    return pareto.front(study, goals)


def _object(
    problem: Problem | Callable[..., Any],
    space: Space | Mapping[str, JSON] | None,
    goals: Sequence[str | Goal] | None,
    epochs: int | None,
) -> Problem:
    if hasattr(problem, "train") and hasattr(problem, "measure"):
        if space is not None or goals is not None or epochs is not None:
            raise ValueError("a problem object has its own space, goals and epochs; set them there")
        return problem  # type: ignore[return-value]
    if space is None or goals is None:
        raise ValueError("a function needs space=… and goals=[…] beside it")
    from vilfredo.problems.function import Function

    if isinstance(space, Mapping):
        from vilfredo.spaces.parameters import from_mapping

        space = from_mapping(space)
    return Function(problem, space, goals, epochs=epochs or 0)


def front_of(source: str) -> list[Trial]:
    """The front of "STORE" or "STORE:RUN" (a run's id or name)."""
    path, run = source, None
    if not Path(source).exists() and ":" in source:
        path, run = source.rsplit(":", 1)
    with Store.open(path, readonly=True, create=False) as store:
        found = store.run(int(run) if run and run.isdigit() else run)
        return pareto.front(found.trials(), found.goals)
