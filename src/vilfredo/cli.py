"""The command line. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vilfredo.inject import Injection, News
    from vilfredo.simulate import Simulation
    from vilfredo.spiking.network import SpikingNetwork
    from vilfredo.spiking.program import Program
    from vilfredo.study import Study
    from vilfredo.trial import Trial, Value

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
DEFAULT_STORE = "vilfredo.db"
HALTED = 40  # halted networks that are listed
NOTES = 5  # notes that the end of a search shows
PAUSE = 1.0  # seconds between two lines on the front of quick candidates
PATIENCE = 2.0  # seconds before it is said what takes so long

F = TypeVar("F", bound=Callable[..., Any])


class Mistake(click.ClickException):
    """What a user can mend: a sentence, no traceback, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"vilfredo: {self.format_message()}", err=True, file=file)


class Commands(click.Group):
    """Mistakes of the user become one sentence; bugs keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except ValueError as problem:
            if ctx.params.get("traceback"):
                raise
            raise Mistake(str(problem)) from problem
        except OSError as problem:
            if ctx.params.get("traceback"):
                raise
            place = f"{problem.filename}: " if problem.filename else ""
            raise Mistake(f"{place}{problem.strerror or problem}") from problem

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from vilfredo.spec.names import near

            raise click.UsageError(
                f"there is no command {args[0]!r}; {near(args[0], self.list_commands(ctx))}", ctx
            ) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vilfredo", prog_name="vilfredo")
@click.option("--traceback", is_flag=True, help="Show where a mistake was found in the program.")
def main(traceback: bool) -> None:
    """Find the Pareto set of neural networks for your data and your hardware.

    Start with: vilfredo search digits
    """


def store_option(function: F) -> F:
    return click.option(
        "--store",
        metavar="PATH",
        default=DEFAULT_STORE,
        envvar="VILFREDO_STORE",
        show_default=True,
        help="The file that keeps the runs.",
    )(function)


def run_option(function: F) -> F:
    return click.option(
        "--run", "run", metavar="RUN", help="Number or name of the run; the newest if not given."
    )(function)


# -- searching ------------------------------------------------------------------------------------


@main.command()
@click.argument("spec")
@click.option("--budget", metavar="BUDGET", help="A time (10min, 2h) or a number of trials (200).")
@click.option("--goals", metavar="A,B,…", help="Goals, separated by commas: error,latency.")
@click.option("--workers", type=click.IntRange(min=0), help="Worker processes; 0: compute in this one.")
@click.option("--seed", type=click.IntRange(min=0), help="Where all random numbers come from.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of full training.")
@click.option("--confirm", type=click.IntRange(min=0), help="Training seeds to confirm the front with.")
@click.option(
    "--optimizer", metavar="NAME", help="How candidates are chosen: steady, nsga2, lemonade, random."
)
@click.option("--stopper", metavar="NAME", help="Who ends hopeless trainings early: genrace, …; never.")
@click.option("--space", metavar="NAME", help="Which networks are searched: chain, macro, morph.")
@click.option(
    "--processor", metavar="NAME", help="Of spiking networks: risp, vrisp, caspian, danna2, mrdanna."
)
@click.option("--name", help="What to call the run.")
@click.option("--start", metavar="STORE[:RUN]", help="Begin with the front of an earlier run.")
@click.option("--store", metavar="PATH", envvar="VILFREDO_STORE", help="The file that keeps the runs.")
@click.option("--report", metavar="FILE", help="Where the report goes.  [default: vilfredo-RUN.html]")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live view.")
def search(
    spec: str,
    goals: str | None,
    workers: int | None,
    epochs: int | None,
    optimizer: str | None,
    stopper: str | None,
    space: str | None,
    processor: str | None,
    store: str | None,
    report: str | None,
    plain: bool,
    **rest: Any,
) -> None:
    """Search as SPEC says: a TOML file, or a packaged spec: digits, fashion_mnist and resilient for trained
    networks; cartpole, iris, wine, breast_cancer and others (docs/tasks.md) for spiking ones."""
    with _interruptible() as stop:
        from vilfredo.spec import read
        from vilfredo.study import create

        named = None if goals is None else [name.strip() for name in goals.split(",") if name.strip()]
        changes = {
            **rest,
            "goals": named,
            "executor.use": None if workers is None else "local" if workers else "inline",
            "executor.workers": workers or None,
            "problem.epochs": epochs,
            "optimizer.use": optimizer,
            "stopper.use": stopper,
            "space.use": space,
            "problem.processor.use": processor,
            "store.path": store,
        }
        with create(read(spec, changes)) as study:
            _drive(study, report, plain, stop)


@main.command()
@click.argument("run", required=False)
@store_option
@click.option("--budget", metavar="BUDGET", help="A new budget, counted from the run's very beginning.")
@click.option("--report", metavar="FILE", help="Where the report goes.  [default: vilfredo-RUN.html]")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live view.")
def resume(run: str | None, store: str, budget: str | None, report: str | None, plain: bool) -> None:
    """Go on with RUN (the newest, if not given): nothing finished is lost or done again."""
    with _interruptible() as stop:
        from vilfredo.study import Study

        with Study.open(store, run) as study:
            study.parts  # noqa: B018  # what is missing is said before anything is changed or begun
            if budget is not None:
                study.extend(budget)
            elif study.run.status == "finished":
                click.echo(f"Run {study.run.id} is finished; --budget gives it more to spend.", err=True)
                stop.begun(study, plain)
                _conclude(study, report, plain, stop)
                return
            _drive(study, report, plain, stop)


def _drive(study: Study, report: str | None, plain: bool, stop: Stop) -> None:
    """Run the search to its end or to Ctrl-C."""
    stop.study = study
    from vilfredo import live

    run = study.run
    title = f"{run.name} · run {run.id}" if run.name else f"run {run.id}"
    plain = plain or live.is_plain(sys.stdout)
    stop.begun(study, plain)
    if plain:
        click.echo(f"{title} · budget {study.budget} · store {_shown(study.store.path)}")
    _warm(study)
    if plain:
        _print_news(study)
    else:
        epochs = study.parts.problem.epochs
        with live.watching(study, title, epochs, _console()):
            for _ in study:
                pass
    _conclude(study, report, plain, stop)


def _conclude(study: Study, report: str | None, plain: bool, stop: Stop) -> None:
    """Say what came of the search."""
    run = study.run
    stop.searching, stop.finished = False, run.status == "finished"
    _outcome(study, plain)
    path = report or f"vilfredo-{run.id}.html"
    _write(path, study.report())
    click.echo(f"Report: {_shown(path)}")
    for note in (notes := study.notes())[:NOTES]:
        click.echo(f"Note: {note}")
    if len(notes) > NOTES:
        click.echo(f"and {len(notes) - NOTES} other notes: vilfredo failures {run.id}{_place(study)}")
    place = _place(study)
    if stop.asked and not stop.finished:
        click.echo(f"Stopped. Go on with: vilfredo resume {run.id}{place}")
        raise click.exceptions.Exit(INTERRUPTED)
    click.echo(f"See one {_noun(study)} with: vilfredo show TRIAL{place}")


def _warm(study: Study) -> None:
    """What is compiled on first use is compiled before the search's time begins."""
    from threading import Timer

    text = "The simulation is being compiled; after changes of the program only, up to a minute …"
    said = Timer(PATIENCE, lambda: click.echo(text, err=True))
    said.daemon = True
    said.start()
    try:
        study.warm()
    finally:
        said.cancel()


def _print_news(study: Study) -> None:
    """Run the search, a line for each trial that is new, goes on or is confirmed with all training seeds;
    where many are computed together, a line a second at most, while the front changes."""
    from vilfredo import live, pareto
    from vilfredo.protocols import BatchProblem

    confirm = study.parts.confirm
    known = {trial.number: trial for trial in study.trials()}
    many = isinstance(study.parts.problem, BatchProblem)
    front, fresh, causes = pareto.front(list(known.values()), study.goals), {}, set[str]()
    said = 0.0
    for trial in study:
        before, known[trial.number] = known.get(trial.number), trial
        news = live.is_news(trial, before, confirm)
        if many and news and not trial.confirmed:
            news = trial.failure is not None and trial.failure.message not in causes
            causes.add(trial.failure.message if trial.failure else "")
        if news:
            click.echo(live.line(trial, study.goals, study.elapsed))
        if not many or trial.confirmed:
            continue
        fresh[trial.number] = trial
        if study.elapsed - said >= PAUSE:
            found = pareto.front([*front, *fresh.values()], study.goals)
            if [t.number for t in found] != [t.number for t in front]:
                click.echo(live.summary(len(known), found, study.goals, study.elapsed))
            front, said = found, study.elapsed
            fresh.clear()


class Stop:
    """Ctrl-C (SIGINT) or SIGTERM: while the search runs, the first one asks it to stop cleanly; any other
    is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = False
        self.searching = False
        self.finished = False
        self.study: Study | None = None
        self._plain = True

    def begun(self, study: Study, plain: bool) -> None:
        self.study, self._plain, self.searching = study, plain, True
        if self.asked:
            raise KeyboardInterrupt

    def on_signal(self, number: int, frame: object) -> None:
        again, self.asked = self.asked, True
        if again or self.study is None or not self.searching or not self.study.started:
            raise KeyboardInterrupt  # there is nothing that would have to be ended cleanly
        self.study.stop()
        if self._plain:
            click.echo("Stopping; Ctrl-C again to stop at once.", err=True)

    def said(self) -> str:
        """What became of the run, and how to go on."""
        if self.study is None:
            return "Stopped before anything was begun."
        run, place = self.study.run.id, _place(self.study)
        if self.finished:
            return f"Stopped; the search is finished. Its report: vilfredo report {run}{place}"
        return f"Stopped at once. Go on with: vilfredo resume {run}{place}"


@contextmanager
def _interruptible() -> Iterator[Stop]:
    """Signals are heard from here on, so also while the program still loads what it needs."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.on_signal) for number in numbers]
    try:
        yield stop
    except click.exceptions.Exit:
        raise
    except BaseException as problem:
        # While modules are loaded the interrupt may come out as an error of one of them.
        if not isinstance(problem, KeyboardInterrupt) and not (stop.asked and stop.study is None):
            raise
        click.echo(stop.said(), err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _outcome(study: Study, plain: bool) -> None:
    from vilfredo import live
    from vilfredo.units import duration

    progress = study.progress()
    told = f"{progress.told} candidate{'' if progress.told == 1 else 's'} in {duration(progress.elapsed)}"
    failed = sum(progress.failures.values())
    if failed:
        told += f", {failed} failed (see: vilfredo failures {study.run.id}{_place(study)})"
    click.echo(f"{told}.")
    _show_front(study, plain or live.is_plain(sys.stdout))


def _show_front(study: Study, plain: bool) -> None:
    """The front, and what early termination came to if there was any."""
    from vilfredo import pareto

    trials = study.trials()
    front = pareto.front(trials, study.goals)
    _show_members(study, front, trials, plain)
    accounts = _accounts(study, trials)
    for text in accounts:
        click.echo(text)
    if accounts:
        click.echo(f"Who was halted, and why: vilfredo stopped {study.run.id}{_place(study)}")


def _accounts(study: Study, trials: Sequence[Trial]) -> list[str]:
    from vilfredo import live, savings

    checked = savings.calibrations(savings.checks(trials, study.goals), study.goals)
    return live.accounts(savings.savings(trials, _epochs(study)), checked, study.goals)


def _epochs(study: Study) -> int:
    """Of full training, as the run says without its problem being built; 0 if it does not."""
    epochs = study.run.description.get("epochs")
    return epochs if isinstance(epochs, int) else 0


def _show_members(study: Study, front: Sequence[Trial], trials: Sequence[Trial], plain: bool) -> None:
    from vilfredo import live, pareto

    if not front:
        if not any(t.state in pareto.ALIVE for t in trials):
            click.echo("The front is empty: no candidate is complete yet.")
            return
        limits = [g.name for g in study.goals if g.max is not None or g.min is not None]
        why = f" within the limits on {', '.join(limits)}" if limits else ""
        click.echo(f"The front is empty: no candidate is{why or ' ranked'}.")
        return
    tested = _tested(study, {t.confirmed for t in front})
    click.echo(f"The front: {len(front)} {_noun(study)}{'' if len(front) == 1 else 's'}{tested}.")
    forecast = sum(any(v.origin == "forecast" for v in _values(study, t)) for t in front)
    if forecast:
        verb = "is" if forecast == 1 else "are"
        click.echo(f"{forecast} of them {verb} there by a forecast (fc.), not measured after full training.")
    if plain:
        _echo_rows(live.cells(front, study.goals))
    else:
        console = _console()
        console.print(live.front_table(front, study.goals, width=console.width))


def _tested(study: Study, seeds: Collection[int]) -> str:
    """On what, or with how many training seeds each, the members of a front were tested."""
    least, most = min(seeds), max(seeds)
    if not most:
        return ""
    times = f"{least} to {most}" if least < most else str(most)
    if study.run.description.get("kind") != "spiking":
        return f", tested with {times} training seed{'' if times == '1' else 's'}"
    often = "" if times == "1" else f" ({times} times)"
    what = "on fresh episodes" if study.run.description.get("episodes") else "on the test samples"
    return f", tested {what}{often}"


def _values(study: Study, trial: Trial) -> list[Value]:
    found = [trial.value(goal.name) for goal in study.goals]
    return [value for value in found if value is not None]


def _echo_rows(rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> None:
    """A table in plain text; the columns with a name in `left`, and the last one, begin at the left."""
    for line in _rows(rows, left):
        click.echo(line)


def _rows(rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> Iterator[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [
            cell.ljust(w) if name in left else cell.rjust(w)
            for name, cell, w in zip(rows[0][:-1], row[:-1], widths, strict=True)
        ]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _noun(study: Study) -> str:
    return "candidate" if study.run.description.get("kind") == "function" else "network"


# -- reading --------------------------------------------------------------------------------------


@main.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def runs(store: str, as_json: bool) -> None:
    """List the runs of a store."""
    from vilfredo.store import Store

    with Store.open(store, create=False, readonly=True) as opened:
        found = opened.runs()
    if as_json:
        from dataclasses import asdict

        _echo_json([asdict(info) for info in found])
        return
    rows = [["run", "name", "begun", "status", "trials", "failed"]]
    for info in found:
        begun = info.created[:16].replace("T", " ")
        rows.append([str(info.id), info.name, begun, info.status, str(info.trials), str(info.failures)])
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


@main.command()
@click.argument("run", required=False)
@store_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--plain", is_flag=True, help="No colours, no fitting to the terminal.")
def front(run: str | None, store: str, as_json: bool, plain: bool) -> None:
    """Show the front of RUN (the newest, if not given)."""
    from vilfredo import live

    with _open(store, run) as study:
        if as_json:
            _echo_json([_as_json(study, trial) for trial in study.front()])
        else:
            _show_front(study, plain or live.is_plain(sys.stdout))


def _as_json(study: Study, trial: Any) -> dict[str, Any]:
    from dataclasses import asdict

    def values(split: Any) -> dict[str, Any]:
        found = {goal.name: trial.value(goal.name, split) for goal in study.goals}
        return {name: asdict(value) for name, value in found.items() if value is not None}

    return {
        "trial": trial.number,
        "state": trial.state,
        "confirmed": trial.confirmed,
        "parents": list(trial.parents),
        "operator": trial.operator,
        "halts": [asdict(halt) for halt in trial.halts],
        "values": values("validation"),
        "test": values("test"),
        "genome": dict(trial.genome),
        "artifact": trial.artifact.path if trial.artifact else None,
    }


@main.command()
@click.argument("trial", type=int)
@run_option
@store_option
@click.option("--traceback", is_flag=True, help="Also the traceback of what failed.")
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
def show(trial: int, run: str | None, store: str, traceback: bool, as_json: bool) -> None:
    """Show TRIAL: ancestry, curve, layers, every value with its origin."""
    import shutil

    from vilfredo.sheet import sheet
    from vilfredo.trial import to_json

    with _open(store, run) as study:
        known = study.run.trial(trial)
        if as_json:
            _echo_json(to_json(known))
            return
        width = shutil.get_terminal_size().columns
        layers = study.layers([known]).get(trial, ())
        without = "" if layers else _no_layers(study)
        trials = {t.number: t for t in study.run.trials(epochs=False)}
        text = sheet(known, trials, study.goals, layers, no_layers=without, traceback=traceback, width=width)
    click.echo(text)


def _no_layers(study: Study) -> str:
    """Why the layers of a network cannot be shown; empty where there may just be none."""
    if study.run.description.get("kind") == "function":
        return ""
    try:
        study.parts  # noqa: B018
    except (ValueError, OSError) as problem:
        return f"not shown: {' '.join(str(problem).split())}"
    return ""


@main.command()
@click.argument("run", required=False)
@store_option
@click.option("--all", "everybody", is_flag=True, help=f"All of them, not only the latest {HALTED}.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table; all of them.")
@click.option("--plain", is_flag=True, help="No colours, no fitting to the terminal.")
def stopped(run: str | None, store: str, everybody: bool, as_json: bool, plain: bool) -> None:
    """List who was stopped or paused early in RUN: when, why, what was forecast and measured later."""
    from vilfredo import live
    from vilfredo.savings import savings

    with _open(store, run) as study:
        trials = study.trials()
    found = savings(trials, _epochs(study))
    if as_json:
        _echo_json(_halts_as_json(study, trials))
        return
    if not found.halted:
        click.echo(f"No {_noun(study)} of run {study.run.id} was stopped or paused early.")
        return
    kinds = {"stopped": found.stopped, "paused": found.paused, "trained in full later": found.revived}
    split = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    click.echo(f"{found.halted} {_noun(study)}{'' if found.halted == 1 else 's'} halted early: {split}.")
    for text in _accounts(study, trials):
        click.echo(text)
    halted = [t for t in reversed(trials) if t.halts]
    listed = halted if everybody else halted[:HALTED]
    if listed:
        click.echo("")
        rows = live.halt_cells(listed, study.goals)
        if plain or live.is_plain(sys.stdout):
            _echo_rows(rows, left=("was", "now"))
        else:
            _console().print(live.halt_table(rows))
    if len(listed) < len(halted):
        click.echo(f"and {len(halted) - len(listed)} before them (--all)")


def _halts_as_json(study: Study, trials: Sequence[Trial]) -> dict[str, Any]:
    from dataclasses import asdict

    from vilfredo.savings import calibrations, checks, savings

    found, checked = savings(trials, _epochs(study)), checks(trials, study.goals)
    shares = {"share": found.share, "net_seconds": found.net_seconds, "engine_share": found.engine_share}
    halts = [{"trial": t.number, "state": t.state, **asdict(halt)} for t in trials for halt in t.halts]
    return {
        "savings": {**asdict(found), **shares},
        "calibration": [asdict(row) for row in calibrations(checked, study.goals)],
        "checks": [asdict(row) for row in checked],
        "halts": halts,
    }


@main.command()
@click.argument("run", required=False)
@store_option
def failures(run: str | None, store: str) -> None:
    """Count the failed trials of RUN by cause, and say what else was noted."""
    from collections import Counter

    with _open(store, run) as study:
        found, notes = study.failures(), study.notes()
    for note in notes:
        click.echo(f"Note: {note}")
    if not found:
        click.echo(f"No trial of run {study.run.id} failed.")
        return
    for kind, rows in sorted(found.items(), key=lambda item: -len(item[1])):
        click.echo(f"{kind}: {len(rows)}")
        messages = Counter(failure.message for _, failure in rows)
        for message, count in messages.most_common(5):
            numbers = [str(number) for number, failure in rows if failure.message == message]
            listed = ", ".join(numbers[:8]) + (", …" if count > 8 else "")
            first = (message.strip().splitlines() or [""])[0]
            click.echo(f"  {count} × {first} (trial {listed})")
        if len(messages) > 5:
            click.echo(f"  and {len(messages) - 5} other messages")
    click.echo("A traceback: vilfredo show TRIAL --traceback")


@main.command()
@click.argument("run", required=False)
@store_option
@click.option("-o", "--output", metavar="FILE", help="Where to write it.  [default: vilfredo-RUN.html]")
def report(run: str | None, store: str, output: str | None) -> None:
    """Write the report of RUN: one HTML page that works offline."""
    with _open(store, run) as study:
        path = output or f"vilfredo-{study.run.id}.html"
        _write(path, study.report())
    click.echo(_shown(path))


@main.command()
@click.argument("trial", type=int)
@run_option
@store_option
@click.option("--onnx", metavar="FILE", help="An ONNX graph (needs the onnx extra).")
@click.option("--torch", metavar="FILE", help="A torch.export program (.pt2): graph and weights.")
@click.option("--tennlab", metavar="FILE", help="Of a spiking network: TENNLab JSON.")
@click.option("--nir", metavar="FILE", help="Of a spiking network: a NIR graph.")
def export(
    trial: int,
    run: str | None,
    store: str,
    onnx: str | None,
    torch: str | None,
    tennlab: str | None,
    nir: str | None,
) -> None:
    """Write the network of TRIAL for use elsewhere."""
    if not (onnx or torch or tennlab or nir):
        raise click.UsageError(
            "say what to write: --onnx or --torch FILE; --tennlab or --nir for spiking ones"
        )
    with _open(store, run) as study:
        if tennlab or nir:
            _export_spiking(study, trial, tennlab, nir)
        if onnx or torch:
            from vilfredo import export as exporting

            network = exporting.network(study, trial)
    for path, name in ((onnx, "to_onnx"), (torch, "to_torch")):
        if path:
            getattr(exporting, name)(network, path)
            click.echo(f"{_shown(path)}: {network.summary}")


def _export_spiking(study: Study, trial: int, tennlab: str | None, nir: str | None) -> None:
    network = study.spiking(study.run.trial(trial))
    if tennlab:
        network.write(tennlab)
        click.echo(f"{_shown(tennlab)}: {network.size} neurons, {len(network.source)} synapses")
    if nir:
        from vilfredo.spiking import nir as graphs

        for loss in graphs.write(network, nir, _program(network)):
            click.echo(f"Note: {loss}")
        click.echo(_shown(nir))


def _program(network: SpikingNetwork) -> Program | None:
    """What its processor makes of it; None if that is more than a program."""
    from vilfredo.simulate import processor

    try:
        return processor(network).program(network)
    except ValueError:
        return None


# -- spiking networks -----------------------------------------------------------------------------


@main.command()
@click.argument("network")
@run_option
@store_option
@click.option("--processor", metavar="NAME", help="risp, vrisp, caspian, …  [default: as the file says]")
@click.option(
    "--spikes",
    metavar="SPIKES",
    help="0@0,1@3=0.5 or a file of them: neuron, timestep, value.  [default: one into each input at 0; "
    "of a trial what its task gives]",
)
@click.option("--steps", type=click.IntRange(min=1), help="Timesteps.  [default: as the file says, or 50]")
@click.option("--seed", type=click.IntRange(min=0), help="Of the processor's random numbers, if it has any.")
@click.option("--rows", type=click.IntRange(min=1), default=60, show_default=True, help="Neurons shown.")
@click.option("--svg", metavar="FILE", help="Write the raster as a picture, too.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a raster.")
@click.option("--plain", is_flag=True, help="No colours, ASCII only.")
def simulate(
    network: str,
    run: str | None,
    store: str,
    processor: str | None,
    spikes: str | None,
    steps: int | None,
    seed: int | None,
    rows: int,
    svg: str | None,
    as_json: bool,
    plain: bool,
) -> None:
    """Run the spiking network NETWORK and show who fires when.

    NETWORK is a file, TENNLab JSON or a NIR graph (.nir), or the number of a trial, whose network is shown at
    its task unless there are --spikes.
    """
    from vilfredo import simulate as simulating

    problem: Any = None
    if network.isdecimal() and not Path(network).exists():
        with _open(store, run) as study:
            title, found = f"trial {network}", study.spiking(study.run.trial(int(network)))
            problem = study.parts.problem
    else:
        title = Path(network).name
        found, notes = simulating.read(network)
        for note in notes:
            click.echo(f"Note: {note}", err=True)
    chosen = simulating.processor(found, processor, seed)
    if problem is not None and spikes is None:
        done = simulating.play(found, chosen, problem.setup, problem.drawing, steps)
    else:
        given = simulating.parse(spikes, found)
        done = simulating.simulate(found, chosen, given, steps or simulating.steps_of(found))
    if svg:
        from vilfredo.spiking.raster import svg as picture

        _write(svg, picture(done.raster(200), title=title))
    if as_json:
        _echo_json(done.as_json())
        return
    _show_simulation(title, done, rows, plain)
    if svg:
        click.echo(f"Picture: {_shown(svg)}")


def _show_simulation(title: str, done: Simulation, rows: int, plain: bool) -> None:
    import shutil

    from vilfredo.spiking.raster import lines
    from vilfredo.units import between, show

    net = done.network
    parts = f"{_count(net.size, 'neuron')}, {_count(len(net.source), 'synapse')}"
    click.echo(f"{title} · {parts} · {done.processor} · {_count(done.steps, 'timestep')}")
    plain = plain or "utf" not in (sys.stdout.encoding or "").lower().replace("-", "")
    colours = {"input": "blue", "output": "yellow"}
    for role, line in lines(done.raster(rows), shutil.get_terminal_size((100, 24)).columns, plain):
        click.echo(line if plain else click.style(line, fg=colours.get(role or ""), dim=role is None))
    if done.task:
        window = _count(done.steps // len(done.scores), "timestep")
        total = f"reward {sum(done.scores):g}" if done.rewarded else f"{sum(done.scores):g} right"
        click.echo(f"{done.task}: {_count(len(done.scores), 'inference')} of {window} each, {total}")
    inputs, outputs = done.counts(done.inputs), done.counts(done.outputs)
    click.echo(
        f"{_count(done.counts(), 'spike')}, {inputs} of inputs, {outputs} of outputs; "
        f"{_count(done.synops, 'synaptic operation')}"
    )
    for number in done.outputs:
        times = done.spikes[number]
        name = f" {net.names[number]}" if net.names.get(number) else ""
        when = f", the first at {times[0]}, the last at {times[-1]}" if times else ""
        click.echo(f"output {number}{name}: {_count(len(times), 'spike')}{when}")
    energy, seconds = done.cost.energy, done.cost.seconds
    click.echo(
        f"{done.chip}, estimated: {show(energy.mean, 'J')} ({between(energy.low, energy.high, 'J')}), "
        f"{show(seconds.mean, 's')} ({between(seconds.low, seconds.high, 's')})"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# -- faults ---------------------------------------------------------------------------------------


@main.command()
@click.argument("network")
@run_option
@store_option
@click.option("--weights", metavar="FILE", help="Of a function's network: its weights, safetensors.")
@click.option("--data", metavar="DATA", help="digits, …; FILE.npz; table,path=FILE.csv,target=COLUMN.")
@click.option(
    "--inputs",
    type=click.Choice(["standardised", "unit", "raw"]),
    default="standardised",
    show_default=True,
    help="What the network was trained on: (x - mean) / std of the training part, pixels from 0 to 1, or "
    "inputs as they are stored.",
)
@click.option("--mean", metavar="A,B,…", help="With --std: pixels from 0 to 1 were normalised by these.")
@click.option("--std", metavar="A,B,…")
@click.option(
    "--split", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True
)
@click.option("--images", type=click.IntRange(min=1), default=256, show_default=True, help="How many.")
@click.option(
    "--form",
    type=click.Choice(["whole", "float32", "float16", "bfloat16"]),
    default="whole",
    show_default=True,
    help="Whole numbers of --bits, or a floating-point format.",
)
@click.option("--bits", type=click.IntRange(4, 16), help="Of whole numbers.  [default: 8, or the trial's]")
@click.option(
    "--scales", type=click.Choice(["power-of-two", "real"]), help="[default: power-of-two, or the trial's]"
)
@click.option(
    "--per",
    type=click.Choice(["channel", "tensor"]),
    help="Scales of weights.  [default: channel, or the trial's]",
)
@click.option("--clip", is_flag=True, help="Compare with activations kept within the range of the data.")
@click.option(
    "--fault",
    metavar="KIND[,OPTION=VALUE,…]",
    default="bit_flip",
    show_default=True,
    help="bit_flip, stuck_bit, burst, stuck, gaussian, lognormal, dead.",
)
@click.option(
    "--site", metavar="SITE", help="weights, activations, accumulators, inputs.  [default: weights]"
)
@click.option("--layers", metavar="A,B,…", help="Only faults in these layers.")
@click.option("--ber", metavar="RATE,…", multiple=True, help="Many faults at once: each bit with this rate.")
@click.option("--copies", type=click.IntRange(min=1), default=20, show_default=True, help="For each rate.")
@click.option("--budget", type=click.IntRange(min=0), help="Single faults at most.  [default: 10000]")
@click.option("--margin", type=float, default=0.01, show_default=True, help="Half an interval's width.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of all intervals.")
@click.option("--exhaustive", is_flag=True, help="Try every single fault.")
@click.option(
    "--threshold",
    type=float,
    default=0.0,
    help="A fault is critical if it changes the class of this share of images.  [default: of one image]",
)
@click.option("--worst", type=click.IntRange(min=0), default=3, show_default=True, help="How many to list.")
@click.option(
    "--hunt",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    help="Injections of a search for them.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--log", metavar="FILE", help="Keeps what was tried; the same command goes on from there.")
@click.option("--report", metavar="FILE", help="A page with all of it.")
@click.option("--json", "json_file", metavar="FILE", help="All numbers; - for the terminal.")
@click.option("--plain", is_flag=True, help="No colours, no live view.")
def faults(network: str, run: str | None, store: str, plain: bool, **options: Any) -> None:
    """Put faults into the trained NETWORK and say which hurt.

    NETWORK is a trial's number, or a network of your own: FILE.py:NAME or package.module:NAME, a function
    (input_shape, outputs) that makes it, with its --weights, or the network itself.
    """
    from vilfredo import findings, inject, live
    from vilfredo.subject import dataset, of_module, of_trial

    for name in ("log", "report", "json_file"):  # before what may take hours
        path = options[name]
        if path not in (None, "-") and not Path(path).expanduser().parent.is_dir():
            option = name.removesuffix("_file")
            raise Mistake(f"--{option} is {path}, but there is no folder {Path(path).parent}; make it first")
    data = None if options["data"] is None else dataset(options["data"])
    if network.isdecimal():
        for name in ("weights", "mean", "std"):
            if options[name] is not None:
                raise Mistake(f"--{name} is for networks of your own; trial {network} has its own")
        with _open(store, run) as study:
            subject = of_trial(study, int(network), data)
    elif ":" not in network:
        raise Mistake(
            f"{network!r} is no network; give a trial's number, FILE.py:NAME or package.module:NAME"
        )
    elif data is None:
        raise Mistake(
            "--data is missing: which images is the network to be tried on? for example --data digits"
        )
    else:
        scale = inject.scale(options["mean"], options["std"])
        subject = of_module(network, data, options["weights"], options["inputs"], scale)
    order = inject.order(options, subject.scheme)
    work = inject.Injection(subject, order, options["log"])
    found, quiet = work.findings, options["json_file"] == "-"
    for line in () if quiet else findings.begun(found):
        click.echo(line)
    stopped = _inject(work, plain or quiet or live.is_plain(sys.stdout), quiet)
    for line in () if quiet else findings.told(found, options["worst"], _rows):
        click.echo(line)
    if quiet:
        _echo_json(findings.as_json(found, options["worst"]))
    elif options["json_file"]:
        import json

        _write(options["json_file"], json.dumps(findings.as_json(found, options["worst"]), indent=2) + "\n")
        click.echo(f"Numbers: {_shown(options['json_file'])}")
    if options["report"]:
        _write(options["report"], findings.page(found, options["worst"], _command()))
        click.echo(f"Report: {_shown(options['report'])}", err=quiet)
    if stopped:
        again = (
            "go on with the same command" if options["log"] else "with --log FILE it could be gone on with"
        )
        click.echo(f"Stopped; what is told was known by then; {again}.", err=True)
        raise click.exceptions.Exit(INTERRUPTED)


def _inject(work: Injection, plain: bool, quiet: bool) -> bool:
    """Do the work, with a line on where it stands; whether Ctrl-C ended it."""
    from vilfredo.units import show

    def text(news: News) -> str:
        known = "" if news.interval is None else f": critical {show(news.interval.value, 'fraction')}"
        spread = "" if news.interval is None else f" ± {news.interval.half * 100:.2g}"
        return f"{news.stage}{known}{spread}"

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if plain:
            stage = ""
            for news in work:
                if news.stage != stage and not quiet:
                    click.echo(f"{news.stage} …", err=True)
                stage = news.stage
            return False
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=_console(), transient=True) as bar:
            task = bar.add_task("", total=None)
            for news in work:
                bar.update(task, description=text(news), completed=news.done, total=news.of or None)
        return False
    except KeyboardInterrupt:
        return True
    finally:
        signal.signal(signal.SIGTERM, before)


def _command() -> str:
    """The command as it was given, from what click made of it."""
    context = click.get_current_context()
    parts = ["vilfredo", *context.command_path.split()[1:]]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        if isinstance(parameter, click.Argument):
            parts.append(str(value))
        elif value is True:
            parts.append(parameter.opts[0])
        else:
            for one in value if isinstance(value, tuple) else [value]:
                parts += [parameter.opts[0], str(one)]
    return shlex.join(parts)


# -- this machine ---------------------------------------------------------------------------------


@main.command()
@store_option
def doctor(store: str) -> None:
    """Say what is found on this machine, what is wrong, and what to do about it."""
    from vilfredo.doctor import examine

    bad = 0
    for finding in examine(store):
        bad += finding.level == "wrong"
        mark = {"good": "ok   ", "note": "note ", "wrong": "WRONG"}[finding.level]
        click.echo(f"{mark}  {finding.what}: {finding.text}")
        if finding.advice:
            click.echo(f"       → {finding.advice}")
    if bad:
        raise click.exceptions.Exit(1)


# -- small things ---------------------------------------------------------------------------------


def _open(store: str, run: str | None) -> Study:
    from vilfredo.study import Study

    return Study.open(store, run, readonly=True)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def _echo_json(data: Any) -> None:
    import json

    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def _write(path: str, text: str) -> None:
    """Whole or not at all."""
    target = Path(path).expanduser()
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _shown(path: str | Path) -> str:
    """A path as short as it can be said from here."""
    absolute = Path(path).expanduser().absolute()
    try:
        return str(absolute.relative_to(Path.cwd()))
    except ValueError:
        return str(absolute)


def _place(study: Study) -> str:
    """The option that leads to the study's store, where that is not the default."""
    path = study.store.path
    usual = os.environ.get("VILFREDO_STORE", DEFAULT_STORE)
    return "" if path == Path(usual).absolute() else f" --store {shlex.quote(_shown(path))}"
