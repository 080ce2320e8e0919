"""Errors by session and by phoneme, and their grids in the report, worked by hand."""

import math
from typing import Any, cast

import pandas as pd
import pytest

from orchestrator.report.error_grids import choices_grid, errors_grid, sessions_grid
from orchestrator.store.record import Record
from orchestrator.tables.breakdowns import NOTHING, confusions_table, sessions_table

RUNS = pd.DataFrame(
    [
        {"run_id": "r1", "arm": "base", "seed": 1, "outcome": "ok"},
        {"run_id": "r2", "arm": "base", "seed": 2, "outcome": "ok"},
        {"run_id": "r3", "arm": "other", "seed": 1, "outcome": "collapsed"},
        {"run_id": "r4", "arm": "other", "seed": 2, "outcome": "failed"},
    ]
)
AA, AE = 1, 2


def record(**breakdowns: Any) -> Record:
    """A record of which a table of errors reads these parts."""
    return cast(Record, breakdowns)


RECORDS = {
    # 10 reference phonemes per run: AA 6, AE 4
    "r1": record(
        per_session={"day1": [1, 6], "day2": [2, 4]},
        confusions=[[AA, AA, 5], [AA, AE, 1], [AE, AE, 3], [AE, 0, 1], [0, AA, 1]],
    ),
    "r2": record(
        per_session={"day1": [3, 6], "day2": [0, 4]},
        confusions=[[AA, AA, 4], [AA, AE, 2], [AE, AE, 4], [0, AA, 1]],
    ),
    "r3": record(per_session={"day1": [6, 6], "day2": [4, 4]}, confusions=[[AA, 0, 6], [AE, 0, 4]]),
    "r4": record(per_session=None, confusions=None),
}


def test_sessions_are_listed_per_run() -> None:
    table = sessions_table(RUNS, RECORDS)
    assert len(table) == 6
    first = table.iloc[0]
    assert (first["arm"], first["session"], first["n_edits"], first["n_reference"]) == (
        *("base", "day1"),
        *(1, 6),
    )
    assert first["per"] == 1 / 6


def test_confusions_are_summed_over_the_seeds_of_an_arm() -> None:
    table = confusions_table(RUNS, RECORDS).set_index(["arm", "reference", "emitted"])
    assert table.loc[("base", "AA", "AE"), "n"] == 3
    assert table.loc[("base", "AA", "AE"), "share"] == 3 / 12
    assert table.loc[("base", "AE", NOTHING), "share"] == 1 / 8
    assert table.loc[("base", NOTHING, "AA"), "share"] == 2 / 20  # of all reference phonemes
    assert table.loc[("other", "AA", NOTHING), "share"] == 1.0


def test_records_without_a_breakdown_leave_the_tables_empty() -> None:
    older = {run_id: record() for run_id in RECORDS}
    assert sessions_table(RUNS, older).empty and confusions_table(RUNS, older).empty
    assert errors_grid(confusions_table(RUNS, older)) is None
    assert sessions_grid(sessions_table(RUNS, older)) is None


def test_the_report_shows_kinds_of_errors_and_the_commonest_confusions() -> None:
    grid = errors_grid(confusions_table(RUNS, RECORDS))
    assert grid is not None
    base, other = grid.rows
    # base: 20 reference phonemes, 1 deleted, 2 inserted, 3 substituted
    assert base == ("base", "5.0 %", "10.0 %", "15.0 %", "AA → AE (15.0 %), AE → – (5.0 %)")
    assert other[:4] == ("other", "100.0 %", "0.0 %", "0.0 %")


def test_sessions_are_pooled_over_seeds_and_many_sessions_are_summarised() -> None:
    table = sessions_table(RUNS, RECORDS)
    grid = sessions_grid(table)
    assert grid is not None and grid.header == ("arm", "day1", "day2")
    assert grid.rows[0] == ("base", "33.3 %", "25.0 %")  # 4 of 12, 2 of 8
    copies = [table.assign(session=table["session"] + f".{i}") for i in range(4)]
    many = sessions_grid(pd.concat(copies))
    assert many is not None and many.header == ("arm", "lowest", "median session", "highest")
    assert many.rows[0] == ("base", "25.0 % (day2.0)", "29.2 %", "33.3 % (day1.0)")


@pytest.mark.parametrize(("beam", "n_columns"), [(math.nan, 4), (0.2, 5)])
def test_beam_search_has_a_column_only_if_it_was_used(beam: float, n_columns: int) -> None:
    arm = {"arm": "base", "per_mean": 0.25, "best_per_mean": 0.24}
    arms = pd.DataFrame([{**arm, "selection_optimism_mean": -0.004, "per_beam_mean": beam}])
    grid = choices_grid(arms)
    assert grid is not None and len(grid.header) == n_columns
    assert grid.rows[0][:4] == ("base", "25.0 %", "24.0 %", "−0.4")
    assert (
        choices_grid(arms.assign(selection_optimism_mean=math.nan, per_beam_mean=math.nan)) is None
    )
