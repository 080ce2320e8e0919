"""Pages and figures of an ablation, from its tables and verdicts."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "claim_states": ("ClaimProgress", "open_claims"),
        "claim_verdicts": ("decided_claims",),
        "claims": ("Answer", "make_answers"),
        "evaluation": ("ReportInput", "evaluate_records", "named_tables"),
        "faults": ("Faults",),
        "figures": ("make_figures",),
        "figures.style": (
            "COLOURS",
            "FAINT",
            "INK",
            "Saved",
            "WIDTH",
            "image_bytes",
            "look",
            "new_figure",
            "percent_axis",
            "save",
            "signed",
            "styled",
            "wrap",
        ),
        "grids": ("Grid", "changes_text", "make_grid", "numbers", "texts"),
        "live": ("Failure", "Live", "LiveCurve", "live_curves", "write_live_page"),
        "pages": ("write_pages",),
        "prose": ("TEMPLATES", "environment"),
        "source_grids": ("data_grid", "machine_grid"),
        "verdict_rows": ("VerdictRow", "decided_since", "read_verdicts"),
        "verdict_table": ("verdicts_table",),
    },
)
