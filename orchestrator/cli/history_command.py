"""The commands `import-runs` and `audit`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json
from orchestrator.terminal import remarks, wide_output

SourceArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs, one folder each.")
]

NameOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Name of the group in the store.")
]


@handled
def import_runs(
    folder: SourceArgument,
    name: NameOption = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Read runs that were trained elsewhere into the store, and list what could not be read."""
    from orchestrator.history.audit import listing
    from orchestrator.history.reading import store
    from orchestrator.store.paths import Results

    done = store.import_runs(Results(results), folder, name)
    if as_json:
        print_json(listing.import_document(done))
    else:
        listing.print_import(wide_output(), done)


@handled
def audit(
    what: Annotated[
        str, typer.Argument(metavar="NAME|FOLDER", help="A group imported before, or a folder.")
    ],
    name: NameOption = None,
    results: ResultsOption = Path("results"),
    propose: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ablation to run next.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to.", show_default="audit.md in the store"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what earlier runs show, what they do not, and what would settle the most."""
    from decoder.atomic import write_atomically
    from decoder.errors import ConfigError
    from orchestrator.history.audit import listing
    from orchestrator.history.audit.audit import audit as find
    from orchestrator.history.audit.audit import document
    from orchestrator.history.audit.proposal import Proposal, write_proposal
    from orchestrator.history.reading import store
    from orchestrator.history.reading.folders import is_folder
    from orchestrator.store.paths import Results

    place = Results(results)
    if Path(what).name != what and not is_folder(Path(what)):
        raise ConfigError(f"{what}: is no folder; name the folder of runs, or an imported group")
    if is_folder(Path(what)):
        done = store.import_runs(place, Path(what), name)
        group, name = done.group, done.name
    else:
        group, name = store.read_imported(place, what, remarks()), what
    found = find(name, group)
    path = report if report is not None else place.imported(name) / "audit.md"
    write_atomically(path, listing.markdown(found).encode("utf-8", "replace"))
    if as_json:
        print_json({**document(found), "report": str(path)})
    else:
        listing.print_audit(wide_output(), found, str(path))
    if propose is not None:
        if not isinstance(found.proposal, Proposal):
            raise ConfigError(f"--propose: {found.proposal}")
        base = write_proposal(propose, found.proposal, name)
        typer.echo(f"{propose}: the ablation, with {base.name} beside it; `plan` it next", err=True)
