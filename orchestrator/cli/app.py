"""The command line: its commands, and exit codes as told.

Everything heavy is imported inside the commands, so that help and mistakes come at once.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from decoder.errors import ConfigError
from orchestrator.cli.compare_command import compare
from orchestrator.cli.history_command import audit, import_runs
from orchestrator.cli.import_command import import_config
from orchestrator.cli.options import (
    AddressOption,
    BackendChoice,
    BackendOption,
    DeviceOption,
    JsonOption,
    PackOption,
    ResultsOption,
    SpecArgument,
    ThreadsOption,
    WorkersOption,
    handled,
    print_json,
)
from orchestrator.cli.runs_command import runs_app
from orchestrator.cli.schema_command import schema
from orchestrator.cli.search_command import search
from orchestrator.terminal import remarks

_started = time.monotonic()

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # A shell completes by the first word, so only the installed command can offer it.
    add_completion=Path(sys.argv[0]).stem == "orchestrator",
)
data_app = typer.Typer(help="Make and check recordings.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(runs_app, name="runs")


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
    """Asks what a change does to a speech-BCI phoneme decoder, and answers."""


ProfileOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="One of the file's profiles.")
]


@app.command()
@handled
def run(
    spec: SpecArgument,
    profile: ProfileOption = None,
    results: ResultsOption = Path("results"),
    backend: BackendOption = BackendChoice.ray,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    max_runs_per_pack: PackOption = 16,
    as_json: JsonOption = False,
) -> None:
    """Train what an ablation lacks, and write its verdicts and report."""
    from orchestrator.cli import views
    from orchestrator.driver.run import run_ablation
    from orchestrator.execute.machine import choose_options
    from orchestrator.spec.load import load_spec
    from orchestrator.store.paths import Results

    loaded = load_spec(spec, profile)
    options = choose_options(backend.value, workers, threads, device, address, max_runs_per_pack)
    outcome = run_ablation(
        loaded,
        Results(results),
        options,
        Console(stderr=True),
        set_up_seconds=time.monotonic() - _started,
    )
    verdicts = views.read_verdicts(outcome.folder)
    if as_json:
        print_json(views.outcome_document(outcome, verdicts))
    else:
        views.print_outcome(Console(), outcome, verdicts)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


@app.command()
@handled
def plan(
    spec: SpecArgument,
    profile: ProfileOption = None,
    results: ResultsOption = Path("results"),
    backend: BackendOption = BackendChoice.ray,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    max_runs_per_pack: PackOption = 16,
    calibrate: Annotated[
        bool, typer.Option(help="Train a few steps where no record tells the cost.")
    ] = True,
    seeds: Annotated[
        str | None, typer.Option(metavar="4,6,10", help="Weigh up other numbers of seeds.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what would run, what it costs, what it can find and what cannot be decided."""
    from orchestrator.cli import plan_view
    from orchestrator.driver.preview import preview
    from orchestrator.execute.machine import choose_options
    from orchestrator.spec.load import load_spec
    from orchestrator.store.paths import Results

    loaded = load_spec(spec, profile)
    options = choose_options(backend.value, workers, threads, device, None, max_runs_per_pack)
    seen = preview(
        loaded,
        Results(results),
        options,
        remarks(),
        calibrate=calibrate,
        n_seeds=_numbers("--seeds", seeds),
    )
    if as_json:
        print_json(plan_view.preview_document(seen))
    else:
        plan_view.print_preview(Console(), seen)


@app.command()
@handled
def report(
    name: Annotated[str, typer.Argument(metavar="NAME|SPEC", help="An ablation run before.")],
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Rebuild tables, verdicts, figures and report from the records."""
    from orchestrator.cli import views
    from orchestrator.driver.run import rebuild_report
    from orchestrator.store.paths import Results
    from orchestrator.store.plan_file import read_plan

    folder = Results(results)
    ablation = _ablation_name(name)
    document = read_plan(folder, ablation)
    records = rebuild_report(folder, ablation, document, remarks())
    verdicts = views.read_verdicts(folder.ablation(ablation))
    seen = views.report_document(folder, ablation, document, records, verdicts)
    if as_json:
        print_json(seen)
    else:
        views.print_report(Console(), seen)


@app.command()
@handled
def status(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One ablation; all if left out.")
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Count planned, recorded, failed and running runs, for each ablation."""
    from orchestrator.cli import views
    from orchestrator.store.paths import Results

    rows = views.status_rows(
        Results(results),
        None if name is None else _ablation_name(name),
        remarks(),
    )
    if as_json:
        print_json(rows)
    else:
        views.print_status(Console(), rows)


@app.command()
@handled
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A decoder file, or SPEC.yaml:arm.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    name: Annotated[
        str | None,
        typer.Option("--as-ablation", metavar="NAME", help="Write the leave-one-out of it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to.", show_default="standard output"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how two decoder configurations differ, or write the ablation that tells what matters."""
    from orchestrator.cli import views
    from orchestrator.plan import differences as d
    from orchestrator.plan.leave_one_out import write_ablation

    one, two = d.read_configuration(a), d.read_configuration(b)
    found = d.find_differences(one.config, two.config)
    if name is not None:
        text = d.as_ablation(name, one, two, found, output.parent if output else Path.cwd())
        if output is None:
            typer.echo(text, nl=False)
            return
        write_ablation(output, text)
        typer.echo(f"{output}: {len(found)} differences; `plan` it, then `run` it", err=True)
    elif output is not None:
        raise ConfigError("--output: goes with --as-ablation; add that, or redirect")
    if as_json:
        print_json(d.differences_document(one, two, found))
    elif name is None:
        views.print_differences(Console(), one.label, two.label, found)


@data_app.command("make")
@handled
def data_make(
    path: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    recipe: Annotated[str, typer.Option(help="Name of a synthetic recipe.")] = "small",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the recordings.", show_default="the recipe's")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="t15 or t12.", show_default="the recipe's")
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", help="As everywhere; here PATH alone says where.")
    ] = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Write synthetic recordings in the layout of the T15 or T12 data set."""
    from orchestrator.cli import views

    made = views.make_data(path, recipe, seed, layout)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made['path']}: {made['recipe']} recordings, seed {made['seed']}")


@data_app.command("check")
@handled
def data_check(
    path: Annotated[str, typer.Argument(help="A folder of recordings, or synthetic:NAME.")],
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Read every trial of a folder, and say what is there or what is wrong with it."""
    from orchestrator.cli import views
    from orchestrator.store.paths import Results

    found = views.check_data(path, Results(results), remarks())
    if as_json:
        print_json(found)
    else:
        views.print_check(Console(), found)


# Commands are listed in the order of their becoming known: these after `run`, `plan`, ...
app.command()(search)
app.command()(compare)
app.command("import-config")(import_config)
app.command("import-runs")(import_runs)
app.command()(audit)
app.command()(schema)


def _numbers(option: str, text: str | None) -> list[int]:
    """Whole numbers of at least 1, in the order given."""
    numbers = [part.strip() for part in text.split(",")] if text else []
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise ConfigError(f"{option} {text}: must be numbers of at least 1, such as 4,6,10")
    return [int(number) for number in numbers]


def _ablation_name(text: str) -> str:
    """The name of an ablation given by its name or by its YAML file."""
    if text.endswith((".yaml", ".yml")) or "/" in text:
        from orchestrator.spec.load import load_spec

        return load_spec(Path(text)).spec.name
    return text
