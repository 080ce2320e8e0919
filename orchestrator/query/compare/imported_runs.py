"""Sides from runs trained elsewhere: a folder of them, or an earlier import."""

from pathlib import Path

from orchestrator.history.audit.effective_settings import DATA
from orchestrator.history.audit.prepared_group import prepare_group
from orchestrator.history.reading.read_runs import Group, read_group
from orchestrator.history.reading.record import ImportedRun
from orchestrator.history.reading.store import read_imported
from orchestrator.history.rows import imported_row
from orchestrator.query.compare.sides import Side, SideArm
from orchestrator.spec.names import listed
from orchestrator.store.paths import Results
from orchestrator.tables.run_row import RunRow, parse_run_row
from orchestrator.terminal import Say


def read_imported_runs(text: str, results: Results, say: Say) -> Side | None:
    """The side that the name of an import, or a folder of runs, stands for; else None.

    Raises:
        ConfigError, StorageError: it cannot be read.
    """
    if "/" not in text and (results.root / "imported" / text / "group.json").is_file():
        return side_of_group(text, read_imported(results, text, say))
    folder = Path(text)
    return side_of_group(folder.name or text, read_group(folder)) if folder.is_dir() else None


def side_of_group(label: str, group: Group) -> Side:
    """Imported runs, one arm per configuration as `audit` groups them; copies count once.

    An unfinished run has no result, whatever its last PER. Runs without settings are left out,
    unless no run has any.
    """
    prepared = prepare_group(label, group)
    arms = []
    for arm in prepared.configurations:
        config = {name: value for name, value in arm.settings.whole.items() if name != DATA}
        name = arm.runs[0].name + (f" and {len(arm.runs) - 1} more" if len(arm.runs) > 1 else "")
        arms.append(SideArm(name, {}, config, None, tuple(map(_row, arm.runs))))
    placed = {run.name for arm in prepared.configurations for run in arm.runs}
    left_out = [run.name for run in prepared.runs if run.name not in placed]
    remarks = [f"{copy} is a copy of {of} and left out" for copy, of in prepared.copies.items()]
    if left_out and not arms:  # names are all that tells them apart, so none is a repeat
        arms = [SideArm(run.name, {}, {}, None, (_row(run),)) for run in prepared.runs]
        remarks.append("no run has settings; each is an arm of its own")
    elif left_out:
        remarks.append(f"{listed(left_out)}: without settings, left out")
    unfinished = [run.name for run in prepared.runs if run.outcome == "unfinished"]
    remarks += [f"{listed(unfinished)}: unfinished, without a result"] if unfinished else []
    return Side(label, tuple(arms), None, tuple(remarks))


def _row(run: ImportedRun) -> RunRow:
    """A run; without a known final PER it has no result."""
    row = parse_run_row(imported_row(run, f"{run.source}/{run.name}"))
    if run.compared_per is None or run.outcome == "unfinished":
        return row._replace(outcome="missing")
    return row._replace(outcome="ok" if run.outcome == "unknown" else run.outcome)
