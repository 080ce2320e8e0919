"""Runs trained elsewhere as a side: a folder of them, or one that was imported before."""

from pathlib import Path

from orchestrator.history.audit.effective_settings import DATA, EffectiveSettings
from orchestrator.history.audit.prepared_group import prepare_group
from orchestrator.history.reading.read_runs import Group, read_group
from orchestrator.history.reading.record import ImportedRun
from orchestrator.history.reading.store import read_imported
from orchestrator.history.rows import imported_row
from orchestrator.query.compare.sides import Row, Side, SideArm
from orchestrator.query.compare.stored import Store
from orchestrator.terminal import Say


def read_foreign_runs(text: str, store: Store, say: Say) -> Side | None:
    """The side that a name of imported runs, or a folder of runs, stands for; else None.

    Args:
        text: the name or the folder.
        store: the results folder.
        say: receives a line for each record that cannot be read.

    Raises:
        ConfigError, StorageError: it cannot be read.
    """
    if "/" not in text and (store.results.root / "imported" / text / "group.json").is_file():
        return side_of_group(text, read_imported(store.results, text, say))
    folder = Path(text)
    return side_of_group(folder.name or text, read_group(folder)) if folder.is_dir() else None


def side_of_group(label: str, group: Group) -> Side:
    """Imported runs, one arm a configuration as `audit` sees it; copies of a run count once.

    An unfinished run has no result, whatever its last PER.
    """
    prepared = prepare_group(label, group.source, group.runs, group.remarks)
    arms = [_arm(one.runs, one.settings) for one in prepared.configurations]
    without = [run.name for run in prepared.runs if not run.settings]
    remarks = [f"{copy} is a copy of {of} and left out" for copy, of in prepared.copies.items()]
    remarks += [f"{', '.join(without)}: without settings, left out"] if without else []
    unfinished = [run.name for run in prepared.runs if run.outcome == "unfinished"]
    remarks += [f"{', '.join(unfinished)}: unfinished, without a result"] if unfinished else []
    return Side(label, "imported", tuple(arms), None, tuple(remarks))


def _arm(runs: tuple[ImportedRun, ...], settings: EffectiveSettings) -> SideArm:
    config = {name: value for name, value in settings.whole.items() if name != DATA}
    name = runs[0].name + (f" and {len(runs) - 1} more" if len(runs) > 1 else "")
    return SideArm(name, {}, config, None, tuple(_row(run) for run in runs))


def _row(run: ImportedRun) -> Row:
    """Its row; a run of which no final PER is known has no result."""
    row = imported_row(run, f"{run.source}/{run.name}")
    if run.compared_per is None or run.outcome == "unfinished":
        return {**row, "outcome": "missing"}
    return {**row, "outcome": "ok" if run.outcome == "unknown" else run.outcome}
