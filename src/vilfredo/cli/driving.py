"""A search on its way, as `search` and `resume` show it: to its end or to Ctrl-C."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from vilfredo.cli.options import page_of, place_of, trial_place_of
from vilfredo.cli.outcome import noun, show_outcome
from vilfredo.cli.printing import console, shown, write
from vilfredo.cli.stopping import INTERRUPTED, Stop

if TYPE_CHECKING:
    from vilfredo.study import Study

NOTES = 5  # notes that the end of a search shows
PAUSE = 1.0  # seconds between two lines on the front of quick candidates
PATIENCE = 2.0  # seconds before it is said what takes so long


def drive(study: Study, report: str | None, plain: bool, stop: Stop) -> None:
    """Run the search to its end or to Ctrl-C."""
    stop.study = study
    from vilfredo import live

    run = study.run
    title = f"{run.name} · run {run.id}" if run.name else f"run {run.id}"
    plain = plain or live.is_plain(sys.stdout)
    stop.begun(study, plain)
    if plain:
        click.echo(f"{title} · budget {study.budget} · store {shown(study.store.path)}")
    _warm(study)
    if plain:
        _print_news(study)
    else:
        epochs = study.parts.problem.epochs
        with live.watching(study, title, epochs, console()):
            for _ in study:
                pass
    conclude(study, report, plain, stop)


def conclude(study: Study, report: str | None, plain: bool, stop: Stop) -> None:
    """Say what came of the search."""
    run = study.run
    stop.searching, stop.finished = False, run.status == "finished"
    show_outcome(study, plain)
    path = report or page_of(study)
    write(path, study.report())
    click.echo(f"Report: {shown(path)}")
    for note in (notes := study.notes())[:NOTES]:
        click.echo(f"Note: {note}")
    if len(notes) > NOTES:
        click.echo(f"and {len(notes) - NOTES} other notes: vilfredo failures {run.id}{place_of(study)}")
    if stop.asked and not stop.finished:
        click.echo(f"Stopped. Go on with: vilfredo resume {run.id}{place_of(study)}")
        raise click.exceptions.Exit(INTERRUPTED)
    click.echo(f"See one {noun(study)} with: vilfredo show TRIAL{trial_place_of(study)}")


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
