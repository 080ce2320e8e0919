"""The command `serve`: shows a results folder in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import choose_results, handled
from orchestrator.terminal import remarks


@handled
def serve(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="[RESULTS]",
            callback=choose_results,
            help="The results folder.",
            show_default="results here, or else of the project",
        ),
    ] = Path("results"),
    host: Annotated[
        str, typer.Option(help="The address to listen on; one that others reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="SWEEPS_TOKEN",
            show_envvar=False,
            help="What a visitor must know; SWEEPS_TOKEN in the environment hides it from `ps`.",
            show_default="none on this machine; elsewhere one is made",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="One more host name by which browsers reach it; may be repeated.",
        ),
    ] = None,
) -> None:
    """Show ablations, searches, judgements and runs of a results folder in a browser.

    It reads the files and changes none, also while a sweep writes them.
    """
    from orchestrator.serve.server import serve_results
    from orchestrator.store.paths import Results

    names = allow_host or ()
    serve_results(Results(results), remarks(), host=host, port=port, token=token, names=names)
