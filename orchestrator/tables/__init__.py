"""Tidy tables of runs, from records and histories, and an index of all recorded runs."""

from decoder.faces import lazy_face

__all__ = [
    "Cells",
    "HistoryRows",
    "NOTHING",
    "RunIndex",
    "RunRow",
    "Tables",
    "cells_table",
    "extended",
    "make_tables",
    "open_index",
    "outcome_values",
    "parquet_bytes",
    "parse_run_row",
    "record_cells",
    "result_columns",
    "runs_table",
    "varying_paths",
    "write_tables",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "breakdowns": ("NOTHING",),
        "index": (
            "RunIndex",
            "cells_table",
            "extended",
            "open_index",
            "parquet_bytes",
        ),
        "run_columns": (
            "HistoryRows",
            "result_columns",
        ),
        "run_row": (
            "Cells",
            "RunRow",
            "parse_run_row",
            "record_cells",
            "varying_paths",
        ),
        "tables": (
            "Tables",
            "make_tables",
            "outcome_values",
            "runs_table",
            "write_tables",
        ),
    },
)
