"""`orchestrator.cli.runs_view`: curves and sizes in characters."""

import math

import pytest
from rich.console import Console

from decoder.pack import HISTORY_COLUMNS, WORD_COLUMNS
from orchestrator.cli.runs_view import _print_curves, size_text, sparkline, value_cell


def test_a_curve_spans_the_bars_and_marks_what_is_not_finite() -> None:
    assert sparkline([0.0, 7.0, 3.5]) == "▁█▅"
    assert sparkline([1.0, math.nan, 1.0]) == "▁×▁"
    assert sparkline([]) == ""


def test_a_long_curve_is_drawn_as_means_of_neighbours() -> None:
    assert sparkline([0, 0, 7, 7, 0, 0], width=3) == "▁█▁"
    assert len(sparkline(list(range(1000)), width=48)) <= 48


def test_word_errors_are_shown_where_they_are_known_and_counts_are_not() -> None:
    base = dict.fromkeys((*HISTORY_COLUMNS, *WORD_COLUMNS, "per_held_out"), 0.5)
    known = [{**base, "wer": value} for value in (math.nan, 0.25, math.nan, 0.125)]
    console = Console(width=200)
    with console.capture() as shown:
        _print_curves(console, known)
    rows = {line.split()[0]: line for line in shown.get().splitlines() if line.strip()}
    assert rows["wer"].split()[1:4] == ["█▁", "0.25", "→"]
    assert rows["per_held_out"].split()[1] == "▁▁▁▁"
    assert not set(rows) & {"n_word_edits", "n_reference_words"}


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_300_000, "12.3 MB"), (5e15, "5000.0 TB")],
)
def test_sizes_have_a_unit(n_bytes: float, text: str) -> None:
    assert size_text(n_bytes) == text


def test_values_are_written_as_in_files() -> None:
    cells = [value_cell(v) for v in (None, True, 1e-8, [1, 2], "gru")]
    assert cells == ["–", "true", "1e-08", "[1, 2]", "gru"]
