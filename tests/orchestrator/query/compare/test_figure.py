"""`orchestrator.query.compare.figure`: what is gathered, and that it can be drawn."""

import math
from collections.abc import Callable

from orchestrator.query.compare.comparison import Comparison
from orchestrator.query.compare.figure import comparison_data, draw_comparison
from orchestrator.report.figures.style import image_bytes
from orchestrator.store.paths import Results


def test_every_line_is_a_row(shared: Results, beside: Callable[..., Comparison]) -> None:
    data = comparison_data(beside(shared, "one", "two"))
    assert [row.label for row in data.rows] == ["sum", "mean", "third"]
    assert [row.note for row in data.rows] == ["same runs", "stands alone", "stands alone"]
    assert data.rows[0].difference == 0.0 and math.isnan(data.rows[1].difference)
    assert data.n_left_out == 0


def test_mixed_arms_are_marked(other_code: Results, beside: Callable[..., Comparison]) -> None:
    data = comparison_data(beside(other_code, "one", "two", allow_mixed=True))
    assert {row.note for row in data.rows} == {"not pooled: code"}


def test_the_drawing_shows_means_runs_and_interval(
    shared: Results, beside: Callable[..., Comparison]
) -> None:
    figure = draw_comparison(comparison_data(beside(shared, "one:mean", "two:third")))
    means, differences = figure.axes
    assert sorted(len(line.get_xdata()) for line in means.lines) == [0, 0, 1, 1, 6, 6]
    low, high = next(line.get_xdata() for line in differences.lines if line.get_linewidth() == 1.6)
    assert low < high
    assert image_bytes(figure, "png").startswith(b"\x89PNG")
    assert b"<svg" in image_bytes(figure, "svg")
