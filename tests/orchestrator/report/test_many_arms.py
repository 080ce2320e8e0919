"""Reports of ablations with many arms, or with hardly any results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.figures import make_figures
from orchestrator.report.figures.grouping import facets
from orchestrator.report.pages import write_pages
from orchestrator.report.telling_arms import shown_text, telling_arms
from orchestrator.report.view import make_view

Build = Callable[..., Any]


def levels(n: int, **more: Any) -> dict[str, Any]:
    """An ablation of one factor with `n` levels, of which the last two are compared."""
    claim = {
        "claim": "The last is worse.",
        "contrast": {"factor": "epsilon", "from": f"e{n - 2}", "to": f"e{n - 1}"},
        "outcome": "per",
        "direction": "increase",
        "margin": 0.02,
    }
    return {
        "name": "many",
        "question": "Which?",
        "factors": {"epsilon": {f"e{i}": {"optim.epsilon": (i + 1) / 1e5} for i in range(n)}},
        "seeds": [0, 1],
        "hypotheses": {"h": claim} if n > 1 else {},
        **more,
    }


def rising(truth: Any) -> Callable[..., Any]:
    """Arms whose PER rises with their number, so that e0 is the best."""
    return lambda _, arm: truth(per=0.2 + int(arm[1:]) / 1000, spread=0.0001)


def test_a_hundred_levels_are_drawn_in_parts_that_have_room_for_their_names(
    build: Build, truth: Any
) -> None:
    made = build(levels(100), rising(truth))
    parts = facets(made.plan.spec, made.plan.arms)
    assert [len(part.x_levels) for part in parts] == [10] * 10
    assert sorted(arm for part in parts for arm in part.arms.values()) == sorted(
        arm.arm_id for arm in made.plan.arms
    )
    given = evaluate_records(*made)
    figures = {drawn.name: drawn for drawn in make_figures(given)}
    assert set(figures) == {
        "effects", "collapse_map", "interaction", "per_curves", "emitted_curves"
    }  # fmt: skip
    assert not given.faults.found
    assert len(figures["per_curves"].figure.axes) == 10


def test_fifteen_levels_stay_in_one_part(build: Build, truth: Any) -> None:
    made = build(levels(15), rising(truth))
    assert [len(part.x_levels) for part in facets(made.plan.spec, made.plan.arms)] == [15]


def test_of_too_many_arms_the_compared_and_the_best_are_shown(
    build: Build, truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.report.telling_arms.MOST_IN_FIGURES", 8)
    monkeypatch.setattr("orchestrator.report.telling_arms.SHOWN_IN_FIGURES", 5)
    monkeypatch.setattr("orchestrator.report.view.MOST_IN_TABLES", 4)
    criteria = {"decodes": {"metric": "per", "below": 0.5}}
    given = evaluate_records(*build(levels(9, criteria=criteria), rising(truth)))
    names = telling_arms(given.plan, given.tables.arms, 5)
    assert names == ["e0", "e1", "e2", "e7", "e8"]
    figures = {drawn.name: drawn for drawn in make_figures(given)}
    assert "5 of 9 arms" in figures["interaction"].caption
    assert "arms.csv" in figures["per_curves"].caption
    [axes] = figures["interaction"].figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == names
    write_pages(tmp_path, "report", make_view(given, []))
    html = (tmp_path / "report.html").read_text()
    assert html.count('<details class="card">') == 4
    assert html.count("4 of 9 arms") == 2  # at the criteria and at the table of arms
    assert "5 more arms are in arms.csv" in html


def test_arms_without_a_result_come_last(build: Build, truth: Any) -> None:
    made = build(levels(6), rising(truth))
    failed = {run.run_id for run in made.plan.runs if run.arm_id in ("e0", "e1")}
    records = {run: record for run, record in made.records.items() if run not in failed}
    given = evaluate_records(made.plan, records, made.histories)
    assert telling_arms(given.plan, given.tables.arms, 4) == ["e2", "e3", "e4", "e5"]
    assert shown_text(6, 6) == ""


def test_a_long_table_is_cut_and_links_to_its_file(
    build: Build, truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.report.view.MOST_ROWS", 3)
    monkeypatch.setattr("orchestrator.report.view._MOST_FAILURES", 2)
    diverged = {0: "diverged", 1: "diverged"}
    made = build(levels(6), lambda *_: truth(status=diverged))
    write_pages(tmp_path, "report", make_view(evaluate_records(*made), []))
    html, markdown = ((tmp_path / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert 'The first 3 of 6 rows; all are in <a href="plan.json">plan.json</a>.' in html
    assert "The first 3 of 6 rows; all are in [plan.json](plan.json)." in markdown
    assert 'The first 2 of 12 such runs; all are in <a href="runs.csv">' in html
    assert html.count("diverged after") == 2


def test_a_long_list_of_seeds_is_cut(build: Build, truth: Any, tmp_path: Path) -> None:
    spec = levels(2, seeds=list(range(60)))
    made = build(spec, lambda *_: truth(status=dict.fromkeys(range(60), "missing")))
    write_pages(tmp_path, "report", make_view(evaluate_records(*made), []))
    assert "8, 9, … (60 in all)" in (tmp_path / "report.md").read_text()


def nothing_finite(histories: dict[str, list[dict[str, float]]]) -> None:
    for rows in histories.values():
        for row in rows:
            row.update(per=float("nan"), emitted_ratio=float("nan"), val_loss=float("nan"))


@pytest.mark.parametrize("status", ["ok", "failed", "missing", "diverged", "not finite", "empty"])
@pytest.mark.parametrize(("n_levels", "n_seeds"), [(1, 3), (3, 1), (3, 2)])
def test_no_ending_of_the_runs_breaks_a_part_of_the_report(
    build: Build, truth: Any, n_levels: int, n_seeds: int, status: str, tmp_path: Path
) -> None:
    spec = levels(n_levels, seeds=list(range(n_seeds)))
    ended = status if status in ("failed", "missing", "diverged") else "ok"
    made = build(spec, lambda *_: truth(status=dict.fromkeys(range(n_seeds), ended)))
    if status == "not finite":
        nothing_finite(made.histories)
    if status == "empty":
        made.histories.update(dict.fromkeys(made.histories, []))
    given = evaluate_records(*made)
    figures = make_figures(given)
    write_pages(tmp_path, "report", make_view(given, []))
    assert not given.faults.found
    assert "collapse_map" in {drawn.name for drawn in figures}
