"""The command line: a command is the file of its name, what several share stands in a file beside them.

What is slow to import is imported by the command that needs it.
"""

from __future__ import annotations

import click

from vilfredo.cli import (
    doctor,
    export,
    failures,
    faults,
    front,
    report,
    resume,
    runs,
    search,
    show,
    simulate,
    stopped,
)
from vilfredo.cli.commands import Commands
from vilfredo.cli.stopping import INTERRUPTED

__all__ = ["INTERRUPTED", "main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vilfredo", prog_name="vilfredo")
@click.option("--traceback", is_flag=True, help="Show where a mistake was found in the program.")
def main(traceback: bool) -> None:
    """Find the Pareto set of neural networks for your data and your hardware.

    Start with: vilfredo search digits
    """


for _command in (
    search.search,
    resume.resume,
    runs.runs,
    front.front,
    show.show,
    stopped.stopped,
    failures.failures,
    report.report,
    export.export,
    simulate.simulate,
    faults.faults,
    doctor.doctor,
):
    main.add_command(_command)
