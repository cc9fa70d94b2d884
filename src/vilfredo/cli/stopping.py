"""Ctrl-C: a search ends cleanly at the first, at once at the second."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from vilfredo.cli.options import place_of

if TYPE_CHECKING:
    from vilfredo.study import Study

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


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
        run, place = self.study.run.id, place_of(self.study)
        if self.finished:
            return f"Stopped; the search is finished. Its report: vilfredo report {run}{place}"
        return f"Stopped at once. Go on with: vilfredo resume {run}{place}"


@contextmanager
def interruptible() -> Iterator[Stop]:
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
