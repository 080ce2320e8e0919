"""Training runs made outside this project: read from their folders, stored, and audited."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "audit.audit": ("Audit",),
        "audit.effective_settings": ("DATA",),
        "audit.findings": ("by_weight",),
        "audit.prepared_group": ("PreparedGroup", "prepare_group"),
        "audit.proposal": ("Proposal", "write_proposal"),
        "audit.report": (
            "RUN_TITLES",
            "audit_document",
            "markdown",
            "more_text",
            "proposal_lines",
            "reading_notes",
            "run_row",
        ),
        "audit.wording": ("count", "joined"),
        "reading.columns": (
            "EPOCH",
            "PER",
            "STEP",
            "allowed_range",
            "column_names",
            "percent_reason",
        ),
        "reading.files": ("decode",),
        "reading.folders": ("is_folder",),
        "reading.read_runs": ("Group", "read_group"),
        "reading.record": ("ImportedRun", "to_json"),
        "reading.store": ("ImportResult", "group_names", "read_imported"),
        "rows": ("PREFIX", "find_imported", "imported_row", "imported_rows"),
    },
)
