import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.cards import Card, make_cards
from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.rebuild import rebuild
from orchestrator.tables.tables import make_tables

Build = Callable[..., Any]

CRITERIA = {"low": {"metric": "per", "below": 0.5}, "stable": {"never": "diverged"}}
EXTRA = {
    "fresh": {"levels": {"loss": "mean"}, "seed_offset": 100},
    "again": {"levels": {"loss": "mean"}, "replicate": 1},
    "mine": {"set": {"optim.epsilon": 1e-8}, "note": "My own."},
}


@pytest.fixture(scope="module")
def made(build: Build, truth: Any, two_arm_spec: dict[str, Any]) -> Any:
    """Arm "mean" diverges with seed 1; its controls do not."""
    spec = {**two_arm_spec, "criteria": CRITERIA, "extra_arms": EXTRA}
    return build(spec, lambda _, arm: truth(status={1: "diverged"} if arm == "mean" else {}))


def cards_of(made: Any) -> dict[str, Card]:
    return {card.arm: card for card in make_cards(evaluate_records(*made))}


def test_a_card_lists_what_differs_from_its_parent(made: Any) -> None:
    cards = cards_of(made)
    changes = cards["mean"].changes
    assert changes is not None and changes.header[1] == "in sum"
    assert changes.rows == (("loss.ctc_reduction", "none_then_mean", "mean"),)
    assert cards["sum"].changes is None
    assert "sum" in cards["mean"].origin and "1 parameter" in cards["mean"].origin
    assert cards["mine"].note == "My own."


def test_a_control_says_what_it_repeats_and_on_which_seeds(made: Any) -> None:
    cards = cards_of(made)
    assert "mean on fresh seeds (100, 101, 102)" in cards["fresh"].origin
    assert "mean" in cards["again"].origin and "same seeds (0, 1, 2)" in cards["again"].origin


def test_values_not_yet_trained_come_from_the_plan(made: Any) -> None:
    (_, card, *_) = make_cards(evaluate_records(made.plan, {}, {}))
    assert card.changes is not None and card.curve is None
    assert card.changes.rows == (("loss.ctc_reduction", "as in the base", "mean"),)


def test_the_summary_counts_outcomes_and_criteria(made: Any) -> None:
    cards = cards_of(made)
    assert re.fullmatch(
        r"PER \d+\.\d % · 2 ok, 1 diverged · ✘ 0 of 2 criteria", cards["mean"].summary
    )
    assert cards["sum"].summary.endswith("· 3 ok · ✔ 2 of 2 criteria")
    assert "3 ok" in cards["sum"].metrics.values()


def test_the_small_curve_stays_in_its_box_and_ends_at_the_final_median(made: Any) -> None:
    curve = cards_of(made)["sum"].curve
    assert curve is not None
    points = [tuple(map(float, point.split(","))) for point in curve.line.split()]
    assert all(0 <= x <= 100 and 0 <= y <= 30 for x, y in points)
    runs = make_tables(*made).runs
    median = runs.loc[runs["arm"] == "sum", "per"].median()
    assert points[-1] == pytest.approx((100.0, 30 * (1 - median)), abs=0.06)
    assert len(curve.band.split()) == 2 * len(points)


def test_a_page_of_many_arms_says_how_many_cards_it_leaves_out(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.report.view.MOST_IN_TABLES", 2)
    rebuild(tmp_path, *made)
    html = (tmp_path / "report.html").read_text()
    assert html.count('<details class="card">') == 2
    assert "3 more arms" in html


def test_report_separates_what_was_explored_and_shows_criteria_and_controls(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    claim = two_arm_spec["hypotheses"]["h"]
    spec = {
        **two_arm_spec,
        "seeds": [0, 1, 2, 3, 4, 5],
        "criteria": CRITERIA,
        "extra_arms": EXTRA,
        "hypotheses": {
            "h": claim,
            "found": {**claim, "claim": "Found by looking.", "exploratory": True},
        },
        "looks": [{"seeds": 4, "alpha": 0.01}, {"seeds": 6, "alpha": 0.04}],
    }
    made = build(spec, lambda levels, _: truth(per=0.6 if levels.get("loss") == "mean" else 0.3))
    paths = rebuild(tmp_path, *made)
    assert {"criteria.csv", "criteria.parquet"} <= {path.name for path in paths}
    text = (tmp_path / "report.md").read_text()
    first, explored = text.split("### Exploratory hypotheses")
    assert "The mean is worse." in first and "Found by looking." not in first
    assert "Found by looking." in explored.split("## ")[0]
    assert "p, Holm" in text and "p, BH" in text
    assert "✔ pass" in text and "✘ fail" in text
    assert "look 1 of 2" in text
    floor = re.search(r"Noise floor of final PER: .*?±([\d.]+) PER points", text)
    assert floor and 0 < float(floor[1]) < 30
    assert "6 differences between an arm and its repetition on fresh seeds" in text
    html = (tmp_path / "report.html").read_text()
    assert html.count('<details class="card">') == html.count('<svg class="curve"') == 5
