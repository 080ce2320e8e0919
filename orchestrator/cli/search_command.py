"""The command `search`: it tries candidates, stops the worst early, and confirms the best."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from decoder.errors import StorageError
from orchestrator.cli.options import (
    AddressOption,
    BackendChoice,
    BackendOption,
    DeviceOption,
    GpusOption,
    GraceOption,
    HangOption,
    JsonOption,
    NotifyOption,
    PackOption,
    ResultsOption,
    TensorboardOption,
    ThreadsOption,
    WorkersOption,
    handled,
    print_json,
    say_results,
    say_threads,
)
from orchestrator.terminal import remarks, say_to, wide_output

if TYPE_CHECKING:
    from orchestrator.search.load import LoadedSearch
    from orchestrator.store.paths import Results


@handled
def search(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The search's YAML file.")],
    results: ResultsOption = Path("results"),
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of the Optuna study, such as postgresql://...",
            show_default="study.db in the search's folder",
        ),
    ] = None,
    backend: BackendOption = BackendChoice.ray,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    max_runs_per_pack: PackOption = 16,
    gpus_per_pack: GpusOption = None,
    hang_minutes: HangOption = 10.0,
    grace_seconds: GraceOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the search would cost, and train nothing.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            help="With --dry-run: train a few steps to measure the speed if no record shows it."
        ),
    ] = True,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only rebuild tables, figures and report.")
    ] = False,
    tensorboard: TensorboardOption = False,
    notify: NotifyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for the best settings with Optuna, and confirm them on fresh seeds.

    Candidates train in packs, and the worst are stopped early. Running a search again continues it.
    """
    from orchestrator.cli.search_views import (
        print_forecast,
        print_search,
        search_document,
        search_line,
    )
    from orchestrator.driver.notify import command_line, notifying
    from orchestrator.execute.machine import choose_options
    from orchestrator.search.database_url import database_errors
    from orchestrator.search.driver import run_search
    from orchestrator.search.forecast import forecast_search
    from orchestrator.search.load import load_search
    from orchestrator.store.paths import Results

    loaded = load_search(spec)
    options = choose_options(
        backend.value,
        workers,
        threads,
        device,
        address,
        max_runs_per_pack,
        gpus_per_pack=gpus_per_pack,
        hang_minutes=hang_minutes,
        grace_seconds=grace_seconds,
    )
    command = command_line(notify) if notify is not None else ()
    say_results(results)
    say_threads(options)
    console = Console(stderr=True)
    own = Results(results).of_searches
    if dry_run:
        cost = forecast_search(loaded, own, options, say_to(console), may_calibrate=calibrate)
        if as_json:
            print_json(cost._asdict())
        else:
            print_forecast(Console(), loaded, cost)
        return
    with database_errors(storage):
        if report_only:
            report_search(loaded, own, storage, as_json=as_json)
            return
        with notifying(command, "search", loaded.spec.name, remarks()) as notifier:
            outcome, rebuilt = run_search(
                loaded,
                Results(results),
                options,
                console,
                storage=storage,
                tensorboard=tensorboard,
                notifier=notifier,
            )
            folder = str(own.ablation(loaded.spec.name))
            summary = search_line(outcome, rebuilt, folder)
            notifier.ended(
                summary, outcome.exit_code, n_trained=outcome.n_trained, **asdict(outcome.counts)
            )
    if as_json:
        print_json(search_document(outcome, rebuilt, folder))
    else:
        print_search(wide_output(), rebuilt, folder)
        say_to(wide_output())(summary)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def report_search(
    loaded: "LoadedSearch", results: "Results", storage: str | None = None, *, as_json: bool
) -> None:
    """Rebuild the tables, figures and report of a search, and print what `search` prints.

    Raises:
        StorageError: there is no study of it.
    """
    from orchestrator.cli.search_views import print_search, search_document
    from orchestrator.search.rebuild import rebuild_search
    from orchestrator.search.study import open_studies

    name, say = loaded.spec.name, remarks()
    if storage is None and not results.study(name).exists():
        raise StorageError(
            f"{results.study(name)}: there is no study of the search '{name}' in {results.root}; "
            "run the search first, name another --results folder, or, if its study lies in another "
            "database, use search FILE --report-only --storage URL"
        )
    studies = open_studies(loaded, results, say, storage)
    rebuilt = rebuild_search(loaded, results, studies, say)
    for study in studies:
        study.close()
    folder = str(results.ablation(name))
    if as_json:
        print_json(search_document(None, rebuilt, folder))
    else:
        print_search(wide_output(), rebuilt, folder)
