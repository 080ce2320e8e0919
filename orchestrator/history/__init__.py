"""Training runs made outside this project: read from their folders, stored, and audited."""

from decoder.faces import lazy_face

__all__ = [
    "Audit",
    "DATA",
    "EPOCH",
    "Group",
    "ImportResult",
    "ImportedRun",
    "PREFIX",
    "Proposal",
    "RUN_TITLES",
    "STEP",
    "audit_document",
    "by_weight",
    "column_names",
    "count",
    "find_imported",
    "import_document",
    "imported_row",
    "imported_rows",
    "is_folder",
    "joined",
    "markdown",
    "prepare_group",
    "proposal_lines",
    "read_group",
    "read_imported",
    "reading_notes",
    "run_row",
    "to_json",
    "write_proposal",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "audit.audit": ("Audit",),
        "audit.document": ("audit_document",),
        "audit.effective_settings": ("DATA",),
        "audit.findings": ("by_weight",),
        "audit.prepared_group": ("prepare_group",),
        "audit.proposal": (
            "Proposal",
            "write_proposal",
        ),
        "audit.report": (
            "RUN_TITLES",
            "markdown",
            "proposal_lines",
            "reading_notes",
            "run_row",
        ),
        "audit.wording": (
            "count",
            "joined",
        ),
        "reading.columns": (
            "EPOCH",
            "STEP",
            "column_names",
        ),
        "reading.document": ("import_document",),
        "reading.folders": ("is_folder",),
        "reading.read_runs": (
            "Group",
            "read_group",
        ),
        "reading.record": (
            "ImportedRun",
            "to_json",
        ),
        "reading.store": (
            "ImportResult",
            "read_imported",
        ),
        "rows": (
            "PREFIX",
            "find_imported",
            "imported_row",
            "imported_rows",
        ),
    },
)
