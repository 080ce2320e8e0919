"""The commands `import-runs` and `audit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json
from orchestrator.terminal import remarks, wide_output

if TYPE_CHECKING:
    from orchestrator.execute.export import Export
    from orchestrator.store.paths import Results

NameOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Name of the imported group.")
]


@handled
def import_runs(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A folder with one subfolder per run, or that of an export."
        ),
    ],
    name: NameOption = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Import runs that were trained elsewhere, and list what could not be read."""
    from orchestrator.cli import history_view
    from orchestrator.execute.export import read_export
    from orchestrator.history.reading import store
    from orchestrator.store.paths import Results

    exported = read_export(folder)
    if exported is not None:
        _bring_back(Results(results), folder, exported, name, as_json=as_json)
        return
    result = store.import_runs(Results(results), folder, name)
    if as_json:
        print_json(store.import_document(result))
    else:
        history_view.print_import(wide_output(), result)


def _bring_back(
    results: "Results", folder: Path, exported: "Export", name: str | None, *, as_json: bool
) -> None:
    """Make records of the results of an export."""
    from decoder.errors import ConfigError
    from orchestrator.driver.reporting import renew_index
    from orchestrator.execute.exported_results import bring_back, exported_document

    if name is not None:
        raise ConfigError(f"--as: {folder} is an export of '{exported.name}'; leave --as out")
    back = bring_back(results, folder, exported)
    renew_index(results)
    if as_json:
        print_json(exported_document(exported, back))
        return
    say = remarks()
    for run_id, why in back.refused.items():
        say(f"run {run_id} is not taken: {why}")
    counts = f"{len(back.new)} brought back, {len(back.known)} known, {len(back.open_)} open"
    refused = f", {len(back.refused)} refused" if back.refused else ""
    typer.echo(f"{exported.name}: {len(exported.runs)} runs exported: {counts}{refused}")
    typer.echo(f"`report {exported.name}` has what they show; `run` trains what is missing")


@handled
def audit(
    what: Annotated[
        str, typer.Argument(metavar="NAME|FOLDER", help="An imported group, or a folder of runs.")
    ],
    name: NameOption = None,
    results: ResultsOption = Path("results"),
    propose: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the proposed ablation to this file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the report to this file.",
            show_default="audit.md in the store",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report what earlier runs show and do not show, and propose the ablation to run next."""
    from decoder.atomic import write_atomically
    from decoder.errors import ConfigError
    from orchestrator.cli import history_view
    from orchestrator.history.audit import audit as audits
    from orchestrator.history.audit.proposal import Proposal, write_proposal
    from orchestrator.history.audit.report import audit_document, markdown
    from orchestrator.history.reading import store
    from orchestrator.history.reading.folders import is_folder
    from orchestrator.store.paths import Results

    place = Results(results)
    if is_folder(Path(what)):
        imported = store.import_runs(place, Path(what), name)
        group, name = imported.group, imported.name
    elif Path(what).name != what:
        raise ConfigError(f"{what}: is no folder; name the folder of runs, or an imported group")
    else:
        group, name = store.read_imported(place, what, remarks()), what
    audited = audits.audit(name, group)
    path = report if report is not None else place.imported(name) / "audit.md"
    write_atomically(path, markdown(audited).encode("utf-8", "replace"))
    if as_json:
        print_json({**audit_document(audited), "report": str(path)})
    else:
        history_view.print_audit(wide_output(), audited, str(path))
    if propose is not None:
        if not isinstance(audited.proposal, Proposal):
            raise ConfigError(f"--propose: {audited.proposal}")
        base = write_proposal(propose, audited.proposal, name)
        typer.echo(
            f"{propose}: the ablation, with its base {base.name} in the same folder; check it "
            "with `plan`",
            err=True,
        )
