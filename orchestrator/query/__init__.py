"""Questions to the store: list, filter, compare and prune runs."""

from decoder.faces import lazy_face

__all__ = [
    "Comparison",
    "ComparisonOptions",
    "Listing",
    "PruningRule",
    "Removable",
    "RunDetails",
    "compare_named",
    "comparison_data",
    "draw_comparison",
    "export_runs",
    "find_removable",
    "find_run",
    "header_lines",
    "list_runs",
    "remove",
    "table",
    "to_parquet",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "compare.comparison": (
            "Comparison",
            "ComparisonOptions",
        ),
        "compare.figure": (
            "comparison_data",
            "draw_comparison",
        ),
        "compare.named_sides": ("compare_named",),
        "compare.rendering": (
            "header_lines",
            "table",
            "to_parquet",
        ),
        "pruning": (
            "PruningRule",
            "Removable",
            "find_removable",
            "remove",
        ),
        "runs": (
            "Listing",
            "RunDetails",
            "export_runs",
            "find_run",
            "list_runs",
        ),
    },
)
