"""The command `runs`: ask the store, look at one run, make room."""

from pathlib import Path
from typing import Annotated

import typer

from decoder.errors import ConfigError
from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json
from orchestrator.terminal import remarks, wide_output

_SHOWN = 60  # rows on a terminal unless --limit says otherwise

runs_app = typer.Typer(help="List, filter, show and export runs; make room.")

WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR", help="Such as \"optim.epsilon == 0.1 and outcome == 'collapsed'\"."
    ),
]


@runs_app.callback(invoke_without_command=True)
@handled
def runs(
    context: typer.Context,
    where: WhereOption = None,
    sort: Annotated[str | None, typer.Option(metavar="COLUMN", help="Smallest first.")] = None,
    descending: Annotated[bool, typer.Option("--descending", help="Largest first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most runs.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="What to tell; 'all' for everything.",
            show_default="what varies",
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write .csv, .parquet or .json.")
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """List the runs of the store, whichever ablation they belong to."""
    if context.invoked_subcommand is not None:
        return
    from orchestrator.cli import runs_view
    from orchestrator.query.runs import export_runs, list_runs
    from orchestrator.store.paths import Results

    chosen = [name.strip() for name in columns.split(",")] if columns else []
    listing = list_runs(
        Results(results),
        remarks(),
        where=where,
        sort=sort,
        descending=descending,
        limit=limit,
        columns=chosen or (["all"] if export else []),
    )
    if export is not None:
        export_runs(export, listing)
        typer.echo(f"{export}: {len(listing.rows)} runs, {len(listing.columns)} columns", err=True)
    if as_json:
        print_json(runs_view.listing_document(listing))
    elif export is None:
        runs_view.print_listing(wide_output(), listing, _SHOWN if limit is None else limit)


@runs_app.command()
@handled
def show(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN_ID", help="Or how it begins; imported/GROUP/NAME.")
    ],
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Show one run: how it ended, its curves, what was set, where it was made, who uses it."""
    from orchestrator.cli import runs_view
    from orchestrator.history.rows import PREFIX, find_imported
    from orchestrator.query.runs import find_run
    from orchestrator.store.paths import Results

    say = remarks()
    if run_id.startswith(PREFIX):
        foreign = find_imported(Results(results), run_id, say)
        if as_json:
            print_json(runs_view.foreign_document(foreign))
        else:
            runs_view.print_foreign(wide_output(), foreign)
        return
    found = find_run(Results(results), run_id, say)
    if as_json:
        print_json(runs_view.found_document(found))
    else:
        runs_view.print_found(wide_output(), found)


@runs_app.command()
@handled
def prune(
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Those of packs that are done.")
    ] = False,
    weights: Annotated[bool, typer.Option("--weights", help="Weights kept of runs.")] = False,
    where: WhereOption = None,
    keep_best: Annotated[
        int, typer.Option(min=0, help="Keep the weights of so many runs a data set, by final PER.")
    ] = 0,
    older_than: Annotated[
        float, typer.Option(min=0.0, metavar="DAYS", help="Only what is older.")
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; else it is only listed.")] = False,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """List checkpoints and weights that may go, and with --yes remove them; records stay."""
    from orchestrator.cli import runs_view
    from orchestrator.query.pruning import Rule, find_removable, remove
    from orchestrator.store.paths import Results

    if not checkpoints and not weights:
        raise ConfigError("runs prune: nothing was named; add --checkpoints, --weights or both")
    if not weights and (where is not None or keep_best):
        raise ConfigError("runs prune: --where and --keep-best choose weights; add --weights")
    rule = Rule(checkpoints, weights, where, keep_best, older_than)
    folder = Results(results)
    items = find_removable(folder, rule, remarks())
    if yes:
        remove(folder, items)
    if as_json:
        print_json(runs_view.removable_document(items, yes))
    else:
        runs_view.print_removable(wide_output(), items, yes)
