"""What came of a run, in lines: the front, and what early termination saved."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import click

from vilfredo.cli.options import place_of
from vilfredo.cli.printing import console, echo_rows

if TYPE_CHECKING:
    from vilfredo.study import Study
    from vilfredo.trial import Trial, Value


def show_outcome(study: Study, plain: bool) -> None:
    from vilfredo import live
    from vilfredo.units import duration

    progress = study.progress()
    told = f"{progress.told} candidate{'' if progress.told == 1 else 's'} in {duration(progress.elapsed)}"
    failed = sum(progress.failures.values())
    if failed:
        told += f", {failed} failed (see: vilfredo failures {study.run.id}{place_of(study)})"
    click.echo(f"{told}.")
    show_front(study, plain or live.is_plain(sys.stdout))


def show_front(study: Study, plain: bool) -> None:
    """The front, and what early termination came to if there was any."""
    from vilfredo import pareto

    trials = study.trials()
    front = pareto.front(trials, study.goals)
    _show_members(study, front, trials, plain)
    accounts = accounts_of(study, trials)
    for text in accounts:
        click.echo(text)
    if accounts:
        click.echo(f"Who was halted, and why: vilfredo stopped {study.run.id}{place_of(study)}")


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
    click.echo(f"The front: {len(front)} {noun(study)}{'' if len(front) == 1 else 's'}{tested}.")
    forecast = sum(any(v.origin == "forecast" for v in _values(study, t)) for t in front)
    if forecast:
        verb = "is" if forecast == 1 else "are"
        click.echo(f"{forecast} of them {verb} there by a forecast (fc.), not measured after full training.")
    if plain:
        echo_rows(live.cells(front, study.goals))
    else:
        screen = console()
        screen.print(live.front_table(front, study.goals, width=screen.width))


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


def accounts_of(study: Study, trials: Sequence[Trial]) -> list[str]:
    from vilfredo import live, savings

    checked = savings.calibrations(savings.checks(trials, study.goals), study.goals)
    return live.accounts(savings.savings(trials, full_epochs(study)), checked, study.goals)


def full_epochs(study: Study) -> int:
    """Of full training, as the run says without its problem being built; 0 if it does not."""
    epochs = study.run.description.get("epochs")
    return epochs if isinstance(epochs, int) else 0


def noun(study: Study) -> str:
    return "candidate" if study.run.description.get("kind") == "function" else "network"
