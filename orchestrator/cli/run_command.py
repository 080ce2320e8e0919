"""The commands `run`, `report` and `status`: train an ablation, report it, count its runs."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.options import (
    AddressOption,
    BackendChoice,
    BackendOption,
    DeviceOption,
    JsonOption,
    PackOption,
    ProfileOption,
    ResultsOption,
    SpecArgument,
    ThreadsOption,
    WorkersOption,
    handled,
    is_file_name,
    print_json,
    say_results,
)
from orchestrator.terminal import remarks

_started = time.monotonic()


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
    """Train the runs of an ablation that are not recorded, and write its verdicts and report."""
    from orchestrator.cli import run_view as views
    from orchestrator.driver.run import run_ablation
    from orchestrator.execute.machine import choose_options
    from orchestrator.spec.load import load_spec
    from orchestrator.store.paths import Results

    loaded = load_spec(spec, profile)
    options = choose_options(backend.value, workers, threads, device, address, max_runs_per_pack)
    say_results(results)
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


@handled
def report(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|SPEC", help="Name or file of an ablation that was run before."
        ),
    ],
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Rebuild the tables, verdicts, figures and report of an ablation from its records."""
    from orchestrator.cli import run_view as views
    from orchestrator.driver.reporting import rebuild_report
    from orchestrator.store.ledger import with_result
    from orchestrator.store.paths import Results
    from orchestrator.store.plan_file import read_plan

    store, ablation = Results(results), _ablation_name(name)
    document = read_plan(store, ablation)
    say_results(results)
    n_recorded = len(with_result(rebuild_report(store, document, remarks())))
    n_runs, folder = len(document.run_ids), store.ablation(ablation)
    verdicts = views.read_verdicts(folder)
    if as_json:
        seen = {"name": ablation, "n_runs": n_runs, "n_recorded": n_recorded}
        print_json({**seen, "folder": str(folder), "verdicts": verdicts})
    else:
        counts = f"{n_recorded} of {n_runs} runs recorded"
        views.print_report(Console(), verdicts, counts, folder)


@handled
def status(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One ablation; without it, all of them.")
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Count the planned, recorded, diverged, failed and running runs of each ablation."""
    from orchestrator.cli import run_view as views
    from orchestrator.store.paths import Results

    ablation = None if name is None else _ablation_name(name)
    rows = views.status_rows(Results(results), ablation, remarks())
    if as_json:
        print_json(rows)
    else:
        views.print_status(Console(), rows)


def _ablation_name(text: str) -> str:
    """The name of an ablation, from its name or its YAML file."""
    if is_file_name(text):
        from orchestrator.spec.load import load_spec

        return load_spec(Path(text)).spec.name
    return text
