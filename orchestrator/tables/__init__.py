"""Tidy tables of runs, from records and histories, and an index of all recorded runs."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "breakdowns": ("NOTHING",),
        "csv_cells": ("csv_text", "unescaped"),
        "ensemble_words": ("EnsembleWords",),
        "ensembles": ("ensembles_table",),
        "index": ("RunIndex", "cells_table", "extended", "open_index", "parquet_bytes"),
        "run_columns": ("FINAL_COLUMNS", "HistoryRows", "result_columns"),
        "run_row": (
            "Cells",
            "RunRow",
            "SETTINGS",
            "parse_run_row",
            "record_cells",
            "varying_paths",
        ),
        "tables": ("Tables", "make_tables", "outcome_values", "runs_table", "write_tables"),
    },
)
