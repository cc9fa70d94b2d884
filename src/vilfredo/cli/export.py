"""`vilfredo export`: a trial's network for use elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vilfredo.cli.options import opened, output_option, run_option, store_option
from vilfredo.cli.printing import shown

if TYPE_CHECKING:
    from vilfredo.spiking.network import SpikingNetwork
    from vilfredo.spiking.program import Program
    from vilfredo.study import Study


@click.command()
@click.argument("trial", type=int)
@run_option
@store_option
@output_option("--onnx", help="An ONNX graph (needs the onnx extra).")
@output_option("--torch", help="A torch.export program (.pt2): graph and weights.")
@output_option("--tennlab", help="Of a spiking network: TENNLab JSON.")
@output_option("--nir", help="Of a spiking network: a NIR graph.")
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
    with opened(store, run) as study:
        if tennlab or nir:
            _export_spiking(study, trial, tennlab, nir)
        if onnx or torch:
            from vilfredo import export as exporting

            network = exporting.network(study, trial)
    for path, name in ((onnx, "to_onnx"), (torch, "to_torch")):
        if path:
            getattr(exporting, name)(network, path)
            click.echo(f"{shown(path)}: {network.summary}")


def _export_spiking(study: Study, trial: int, tennlab: str | None, nir: str | None) -> None:
    network = study.spiking(study.run.trial(trial))
    if tennlab:
        network.write(tennlab)
        click.echo(f"{shown(tennlab)}: {network.size} neurons, {len(network.source)} synapses")
    if nir:
        from vilfredo.spiking import nir as graphs

        for loss in graphs.write(network, nir, _program(network)):
            click.echo(f"Note: {loss}")
        click.echo(shown(nir))


def _program(network: SpikingNetwork) -> Program | None:
    """What its processor makes of it; None if that is more than a program."""
    from vilfredo.simulate import processor

    try:
        return processor(network).program(network)
    except ValueError:
        return None
