"""The command `search`: try candidates, stop those that lag, confirm the best."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from decoder.errors import StorageError
from orchestrator.cli.options import (
    AddressOption,
    BackendChoice,
    BackendOption,
    DeviceOption,
    JsonOption,
    PackOption,
    ResultsOption,
    ThreadsOption,
    WorkersOption,
    handled,
    print_json,
)
from orchestrator.terminal import wide_output


@handled
def search(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The search's YAML file.")],
    results: ResultsOption = Path("results"),
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of the study, such as postgresql://...",
            show_default="study.db in the search's folder",
        ),
    ] = None,
    backend: BackendOption = BackendChoice.ray,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    max_runs_per_pack: PackOption = 16,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and train nothing.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option(help="With --dry-run: train a few steps where no record tells.")
    ] = True,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Rebuild tables, figures and report.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search settings: candidates by Optuna, in packs, stopped early, confirmed on fresh seeds."""
    from orchestrator.cli import search_views as views
    from orchestrator.execute.machine import choose_options
    from orchestrator.search.driver import open_books, run_search
    from orchestrator.search.forecast import forecast_search
    from orchestrator.search.rebuild import rebuild_search
    from orchestrator.search.spec import load_search
    from orchestrator.store.paths import Results
    from orchestrator.terminal import say_to

    loaded = load_search(spec)
    options = choose_options(backend.value, workers, threads, device, address, max_runs_per_pack)
    console = Console(stderr=True)
    own, name = Results(results).of_searches, loaded.spec.name
    if dry_run:
        seen = forecast_search(loaded, own, options, say_to(console), may_calibrate=calibrate)
        if as_json:
            print_json(seen.document())
        else:
            views.print_forecast(Console(), seen)
        return
    outcome = None
    if report_only:
        if storage is None and not own.study(name).exists():
            raise StorageError(
                f"{own.study(name)}: no search '{name}' was run into {results}; run it without "
                "--report-only first, or name another --results folder"
            )
        books = open_books(loaded, own, say_to(console), storage)
        found = rebuild_search(loaded, own, books, say_to(console))
        for book in books:
            book.close()
    else:
        outcome, found = run_search(loaded, Results(results), options, console, storage=storage)
    folder = str(own.ablation(name))
    if as_json:
        print_json(views.search_document(outcome, found, folder))
    else:
        views.print_search(wide_output(), found, loaded.spec.first, folder)
    if outcome is not None and outcome.exit_code:
        raise typer.Exit(outcome.exit_code)
