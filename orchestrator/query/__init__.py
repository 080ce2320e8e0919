"""Questions to the store: list, filter, compare and prune runs."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "compare.comparison": ("Comparison", "ComparisonOptions"),
        "compare.figure": ("comparison_data", "draw_comparison"),
        "compare.named_sides": ("compare_named",),
        "compare.rendering": ("header_lines", "table", "to_parquet"),
        "judge.claims_file": ("is_claims_file", "load_claims"),
        "judge.judge": ("judge_runs",),
        "pruning": ("PruningRule", "Removable", "find_removable", "remove"),
        "runs": ("Listing", "RunDetails", "export_runs", "find_run", "list_runs"),
    },
)
