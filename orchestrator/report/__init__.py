"""Pages and figures of an ablation, from its tables and verdicts."""

from decoder.faces import lazy_face

__all__ = [
    "Answer",
    "COLOURS",
    "FAINT",
    "Grid",
    "INK",
    "ReportInput",
    "Saved",
    "WIDTH",
    "changes_text",
    "data_grid",
    "evaluate_records",
    "image_bytes",
    "look",
    "machine_grid",
    "make_answer",
    "make_figures",
    "make_grid",
    "named_tables",
    "new_figure",
    "percent_axis",
    "save",
    "signed",
    "styled",
    "verdicts_table",
    "wrap",
    "write_pages",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
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
        "grids": (
            "Grid",
            "changes_text",
            "data_grid",
            "machine_grid",
            "make_grid",
        ),
        "pages": ("write_pages",),
        "rebuild": (
            "evaluate_records",
            "named_tables",
        ),
        "verdict_table": ("verdicts_table",),
        "view": (
            "Answer",
            "ReportInput",
            "make_answer",
        ),
    },
)
