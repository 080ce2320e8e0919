"""Imported runs as documents for ``--json``."""

from typing import TypedDict

from orchestrator.history.reading.record import ImportedRun
from orchestrator.history.reading.store import ImportResult


class RunDocument(TypedDict):
    """One run; PER is a rate, and a value is None where it is not known."""

    name: str
    outcome: str
    reasons: list[str]
    seed: int | None
    n_evaluations: int
    last_step: float | None
    step_unit: str
    n_planned: int | None
    final_per: float | None
    best_per: float | None
    best_step: float | None
    n_restarts: int
    settings_from: str
    codebase: str
    notes: list[str]


class FileDocument(TypedDict):
    """One file of a run, and how it was used."""

    path: str
    role: str
    n_bytes: int
    note: str


class ReadRunDocument(RunDocument):
    """One run with its files."""

    files: list[FileDocument]


class ImportDocument(TypedDict):
    """The result of an import."""

    name: str
    source: str
    folder: str
    n_runs: int
    new: list[str]
    changed: list[str]
    unchanged: list[str]
    renamed: dict[str, str]
    gone: list[str]
    remarks: list[str]
    runs: list[ReadRunDocument]


def run_document(run: ImportedRun) -> RunDocument:
    """One run as a document."""
    best_step, best_per = run.best or (None, None)
    return {
        "name": run.name,
        "outcome": run.outcome,
        "reasons": list(run.reasons),
        "seed": run.seed,
        "n_evaluations": len(run.pers()),
        "last_step": run.last_step,
        "step_unit": run.step_unit,
        "n_planned": run.n_planned,
        "final_per": run.final[1] if run.final else None,
        "best_per": best_per,
        "best_step": best_step,
        "n_restarts": run.n_restarts,
        "settings_from": run.settings_from,
        "codebase": run.mapped.codebase,
        "notes": list(run.notes),
    }


def import_document(result: ImportResult) -> ImportDocument:
    """The result of an import as a document."""
    return {
        "name": result.name,
        "source": result.group.source,
        "folder": str(result.folder),
        "n_runs": len(result.group.runs),
        "new": list(result.new),
        "changed": list(result.changed),
        "unchanged": list(result.unchanged),
        "renamed": dict(result.renamed),
        "gone": list(result.gone),
        "remarks": list(result.group.remarks),
        "runs": [
            {
                **run_document(run),
                "files": [
                    {"path": n.path, "role": n.role, "n_bytes": n.n_bytes, "note": n.note}
                    for n in run.files
                ],
            }
            for run in result.group.runs
        ],
    }
