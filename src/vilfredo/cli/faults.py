"""`vilfredo faults`: faults in a trained network and which of them hurt."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vilfredo.cli.mistakes import Mistake
from vilfredo.cli.options import opened, run_option, store_option
from vilfredo.cli.printing import columns, console, echo_json, shown, write
from vilfredo.cli.stopping import INTERRUPTED

if TYPE_CHECKING:
    from vilfredo.inject import Injection, News

EVERY = 10.0  # seconds between two lines on the same part, without a live view


@click.command()
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
    multiple=True,
    default=["bit_flip"],
    show_default="bit_flip",
    help="bit_flip, stuck_bit, burst, stuck, gaussian, lognormal, dead. May be given several times.",
)
@click.option(
    "--site", metavar="SITE,…", help="weights, biases, activations, accumulators, inputs.  [default: weights]"
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
@click.option(
    "--critical",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of N numbers drawn at random, find the critical bits by halving.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that compute, for what takes long; the results are the same.",
)
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
        with opened(store, run) as study:
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
    for line in () if quiet else findings.told(found, options["worst"], columns):
        click.echo(line)
    if quiet:
        echo_json(findings.as_json(found, options["worst"]))
    elif options["json_file"]:
        import json

        write(options["json_file"], json.dumps(findings.as_json(found, options["worst"]), indent=2) + "\n")
        click.echo(f"Numbers: {shown(options['json_file'])}")
    if options["report"]:
        write(options["report"], findings.page(found, options["worst"], _command()))
        click.echo(f"Report: {shown(options['report'])}", err=quiet)
    if stopped:
        again = (
            "go on with the same command" if options["log"] else "with --log FILE it could be gone on with"
        )
        click.echo(f"Stopped; what is told was known by then; {again}.", err=True)
        raise click.exceptions.Exit(INTERRUPTED)


def _inject(work: Injection, plain: bool, quiet: bool) -> bool:
    """Do the work, with a line on where it stands; whether Ctrl-C ended it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if plain:
            stage, said = "", 0.0
            for news in work:
                now = time.monotonic()
                if not quiet and (news.stage != stage or now > said + EVERY):
                    click.echo(_standing(news), err=True)
                    stage, said = news.stage, now
            return False
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console(), transient=True) as bar:
            task = None
            stage = ""
            for news in work:
                if task is None or news.stage != stage:  # each part has its own speed
                    if task is not None:
                        bar.remove_task(task)
                    task, stage = bar.add_task("", total=None), news.stage
                bar.update(task, description=_words(news), completed=news.done, total=news.of or None)
        return False
    except KeyboardInterrupt:
        return True
    finally:
        signal.signal(signal.SIGTERM, before)


def _words(news: News) -> str:
    from vilfredo.units import show

    if news.interval is None:
        return news.stage
    known, half = show(news.interval.value, "fraction"), news.interval.half * 100
    return f"{news.stage}: critical {known} ± {half:.2g}"


def _standing(news: News) -> str:
    """A line of a terminal without a live view."""
    if not news.done:
        return f"{_words(news)} …"
    about = "" if news.interval is None else "about "  # a sample ends when it is large enough
    return f"{_words(news)}, {news.done:,} of {about}{news.of:,} …"


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
