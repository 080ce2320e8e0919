"""The command line: which commands there are, in the order in which a user meets them.

Commands import what is heavy when they are called, so that help and mistakes come at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.compare_command import compare
from orchestrator.cli.data_command import data_app
from orchestrator.cli.diff_command import diff
from orchestrator.cli.export_command import export
from orchestrator.cli.history_command import audit, import_runs
from orchestrator.cli.import_command import import_config
from orchestrator.cli.judge_command import judge
from orchestrator.cli.plan_command import plan
from orchestrator.cli.run_command import report, run, status
from orchestrator.cli.runs_command import runs_app
from orchestrator.cli.schema_command import schema
from orchestrator.cli.search_command import search
from orchestrator.cli.serve_command import serve
from orchestrator.cli.slurm_command import slurm

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # A shell completes by the first word, so only the installed command can offer it.
    add_completion=Path(sys.argv[0]).stem == "orchestrator",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from orchestrator.store.provenance import version_of

        typer.echo(version_of("speech-bci-sweeps") or "unknown: the package is not installed")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Find out what a change does to a speech-BCI phoneme decoder."""


app.command()(run)
app.command()(plan)
app.command()(report)
app.command()(status)
app.command()(diff)
app.command()(search)
app.command()(compare)
app.command()(judge)
app.command("import-config")(import_config)
app.command("import-runs")(import_runs)
app.command()(audit)
app.add_typer(data_app, name="data")
app.add_typer(runs_app, name="runs")
app.command()(serve)
app.command()(slurm)
app.command()(export)
app.command()(schema)
