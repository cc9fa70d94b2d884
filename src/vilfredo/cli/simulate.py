"""`vilfredo simulate`: a spiking network and who fires when."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vilfredo.cli.mistakes import Mistake
from vilfredo.cli.options import opened, output_option, run_option, store_option
from vilfredo.cli.printing import count, echo_json, shown, write

if TYPE_CHECKING:
    from vilfredo.simulate import Simulation


@click.command()
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
@output_option("--svg", help="Write the raster as a picture, too.")
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
        with opened(store, run) as study:
            title, found = f"trial {network}", study.spiking(study.run.trial(int(network)))
            problem = study.parts.problem
    elif not Path(network).is_file():
        what = "is a folder" if Path(network).is_dir() else "is no file"
        raise Mistake(f"{network} {what}; give a file, TENNLab JSON or a NIR graph, or the number of a trial")
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

        write(svg, picture(done.raster(200), title=title))
    if as_json:
        echo_json(done.as_json())
        return
    _show_simulation(title, done, rows, plain)
    if svg:
        click.echo(f"Picture: {shown(svg)}")


def _show_simulation(title: str, done: Simulation, rows: int, plain: bool) -> None:
    import shutil

    from vilfredo.spiking.raster import lines
    from vilfredo.units import between, show

    net = done.network
    parts = f"{count(net.size, 'neuron')}, {count(len(net.source), 'synapse')}"
    click.echo(f"{title} · {parts} · {done.processor} · {count(done.steps, 'timestep')}")
    plain = plain or "utf" not in (sys.stdout.encoding or "").lower().replace("-", "")
    colours = {"input": "blue", "output": "yellow"}
    for role, line in lines(done.raster(rows), shutil.get_terminal_size((100, 24)).columns, plain):
        click.echo(line if plain else click.style(line, fg=colours.get(role or ""), dim=role is None))
    if done.task:
        window = count(done.steps // len(done.scores), "timestep")
        total = f"reward {sum(done.scores):g}" if done.rewarded else f"{sum(done.scores):g} right"
        click.echo(f"{done.task}: {count(len(done.scores), 'inference')} of {window} each, {total}")
    inputs, outputs = done.counts(done.inputs), done.counts(done.outputs)
    click.echo(
        f"{count(done.counts(), 'spike')}, {inputs} of inputs, {outputs} of outputs; "
        f"{count(done.synops, 'synaptic operation')}"
    )
    for number in done.outputs:
        times = done.spikes[number]
        name = f" {net.names[number]}" if net.names.get(number) else ""
        when = f", the first at {times[0]}, the last at {times[-1]}" if times else ""
        click.echo(f"output {number}{name}: {count(len(times), 'spike')}{when}")
    energy, seconds = done.cost.energy, done.cost.seconds
    click.echo(
        f"{done.chip}, estimated: {show(energy.mean, 'J')} ({between(energy.low, energy.high, 'J')}), "
        f"{show(seconds.mean, 's')} ({between(seconds.low, seconds.high, 's')})"
    )
