"""`orchestrator.query.compare.figure`: the data it gathers, and the drawing."""

from stored_pairs import compare_stored

from orchestrator.query.compare.figure import comparison_data, draw_comparison
from orchestrator.report.figures.style import image_bytes
from orchestrator.store.paths import Results


def test_every_row_is_drawn(shared: Results) -> None:
    data = comparison_data(compare_stored(shared, "one", "two"))
    assert [row.label for row in data.rows] == ["sum", "mean", "third"]
    assert all(row.note for row in data.rows)
    same, *alone = (row.compared.difference for row in data.rows)
    assert same is not None and same.value == 0.0 and alone == [None, None]
    assert data.n_left_out == 0


def test_mixed_arms_are_marked(other_code: Results) -> None:
    data = comparison_data(compare_stored(other_code, "one", "two", allow_mixed=True))
    assert all("code" in row.note for row in data.rows)


def test_the_drawing_shows_means_runs_and_interval(shared: Results) -> None:
    figure = draw_comparison(comparison_data(compare_stored(shared, "one:mean", "two:third")))
    means, differences = figure.axes
    assert sorted(len(line.get_xdata()) for line in means.lines) == [0, 0, 1, 1, 6, 6]
    low, high = next(line.get_xdata() for line in differences.lines if line.get_linewidth() == 1.6)
    assert low < high
    assert image_bytes(figure, "png").startswith(b"\x89PNG")
    assert b"<svg" in image_bytes(figure, "svg")
