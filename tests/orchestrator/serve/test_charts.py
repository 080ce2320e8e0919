"""`orchestrator.serve.charts`: coordinates, ticks and gaps of curves."""

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.serve.charts import HEIGHT, WIDTH, Curve, make_charts, number_text


def rows(*pers: float) -> list[dict[str, float]]:
    return [{"step": 10.0 * (n + 1), "per": per} for n, per in enumerate(pers)]


def test_a_curve_by_hand() -> None:
    (chart,) = make_charts([Curve("this run", rows(1.0, 0.5, 0.0), 0)])
    assert chart.title == "PER"
    assert chart.lines[0].path == "M46.0 10.0L198.0 88.0L350.0 166.0"
    assert [tick.text for tick in chart.y_ticks] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert [tick.text for tick in chart.x_ticks] == ["10", "15", "20", "25", "30"]
    assert "this run ends at 0.0 %" in chart.label


def test_a_value_that_is_not_finite_is_a_gap_and_a_lone_one_a_dot() -> None:
    (chart,) = make_charts([Curve("r", rows(0.5, math.nan, 0.4, math.inf, 0.3, 0.2), 0)])
    assert [part.count("L") for part in chart.lines[0].path.split("M")[1:]] == [0, 0, 1]
    assert chart.lines[0].path.count("h0.01") == 2
    assert chart.lines[0].last == "20.0 %"


def test_faint_curves_lie_behind_and_a_metric_of_some_runs_has_a_chart() -> None:
    other = [{**row, "wer": 0.9} for row in rows(0.9, 0.8)]
    charts = make_charts([Curve("this", rows(0.5, 0.4), 0), Curve("peer", other, None)])
    assert [chart.title for chart in charts] == ["PER", "wer"]
    assert [line.style for line in charts[0].lines] == [None, 0]
    assert "peer" not in charts[0].label


def test_without_a_finite_value_there_is_no_chart() -> None:
    assert make_charts([Curve("r", rows(math.nan, math.inf), 0), Curve("s", [], 1)]) == []


def test_peaks_of_a_long_curve_stay() -> None:
    values = [0.5] * 5000
    values[1234], values[4321] = 0.9, 0.1
    (chart,) = make_charts([Curve("r", rows(*values), 0)])
    ys = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", chart.lines[0].path)]
    assert (min(ys), max(ys)) == (10.0, 166.0) and len(ys) < 400


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=40))
def test_every_point_lies_inside_whatever_the_values(values: list[float]) -> None:
    for chart in make_charts([Curve("r", rows(*values), 0)]):
        for line in chart.lines:
            for x, y in re.findall(r"[ML](\S+) (\S+?)(?=[MLh]|$)", line.path):
                assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT
        assert len(chart.y_ticks) <= 12


def test_numbers_as_text() -> None:
    assert number_text("per", 0.1234) == "12.3 %"
    assert number_text("lr", 0.00012345) == "0.0001234"
    assert number_text("per", None) == number_text("lr", math.nan) == "–"
