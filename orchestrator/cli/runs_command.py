"""The command `runs`: lists runs, shows one, and removes files that are no longer needed."""

from pathlib import Path
from typing import Annotated

import typer

from decoder.document import print_document
from decoder.errors import ConfigError
from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json
from orchestrator.terminal import MOST_ROWS, remarks, wide_output

runs_app = typer.Typer(help="List, filter, show and export runs; remove files no longer needed.")

WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR",
        help="Only runs that meet a condition, such as "
        "\"optim.epsilon == 0.1 and outcome == 'collapsed'\".",
    ),
]


@runs_app.callback(invoke_without_command=True)
@handled
def runs(
    context: typer.Context,
    where: WhereOption = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort by a column, smallest first.")
    ] = None,
    descending: Annotated[bool, typer.Option("--descending", help="Sort largest first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Show at most this many runs.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Columns to show; 'all' shows every one.",
            show_default="the settings in which the runs differ",
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the runs to a .csv, .parquet or .json file."),
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """List the runs of the store, whichever ablation they belong to."""
    if context.invoked_subcommand is not None:
        return
    from orchestrator.cli.runs_view import print_listing
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
        print_json(listing.rows)
    elif export is None:
        print_listing(wide_output(), listing, limit or MOST_ROWS)


@runs_app.command()
@handled
def show(
    run_id: Annotated[
        str,
        typer.Argument(
            metavar="RUN_ID",
            help="An id, or its first characters; imported/GROUP/NAME for an imported run.",
        ),
    ],
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Show one run: outcome, training curves, settings, origin, and the ablations that use it."""
    from orchestrator.cli import runs_view
    from orchestrator.history.reading.record import to_json
    from orchestrator.history.rows import PREFIX, find_imported
    from orchestrator.query.runs import find_run
    from orchestrator.store.paths import Results

    say = remarks()
    if run_id.startswith(PREFIX):
        imported = find_imported(Results(results), run_id, say)
        if as_json:
            print_document(to_json(imported).decode())
        else:
            runs_view.print_imported_run(wide_output(), imported)
        return
    details = find_run(Results(results), run_id, say)
    if as_json:
        print_json(
            {
                "record": details.record,
                "history": details.history,
                "row": details.cells,
                "from_default": details.from_default,
                "ablations": [use._asdict() for use in details.uses],
                "log": details.log and str(details.log),
                "printed": {str(log): [*lines] for log, lines in details.printed.items()},
            }
        )
    else:
        runs_view.print_details(wide_output(), details)


@runs_app.command()
@handled
def prune(
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Checkpoints of packs that are finished.")
    ] = False,
    weights: Annotated[bool, typer.Option("--weights", help="Weights of runs.")] = False,
    logits: Annotated[bool, typer.Option("--logits", help="Logits of runs.")] = False,
    where: WhereOption = None,
    keep_best: Annotated[
        int,
        typer.Option(min=0, help="Per data set, this many runs of lowest final PER keep theirs."),
    ] = 0,
    older_than: Annotated[
        float, typer.Option(min=0.0, metavar="DAYS", help="Only files older than this.")
    ] = 0.0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove the files; without it they are only listed.")
    ] = False,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """List files that are no longer needed; --yes removes them, but never records."""
    from orchestrator.cli.runs_view import print_removable
    from orchestrator.query.pruning import PruningRule, find_removable, remove
    from orchestrator.store.paths import Results

    if not (checkpoints or weights or logits):
        raise ConfigError(
            "runs prune: nothing is chosen; add --checkpoints, --weights, --logits or several"
        )
    if not (weights or logits) and (where is not None or keep_best):
        raise ConfigError(
            "runs prune: --where and --keep-best choose weights and logits; add --weights or "
            "--logits"
        )
    folder = Results(results)
    rule = PruningRule(checkpoints, weights, where, keep_best, older_than, logits)
    items = find_removable(folder, rule, remarks())
    if yes:
        remove(folder, items)
    if as_json:
        n_bytes = sum(item.n_bytes for item in items)
        files = [{**item._asdict(), "path": str(item.path)} for item in items]
        print_json({"removed": yes, "n_bytes": n_bytes, "files": files})
    else:
        print_removable(wide_output(), items, yes)
