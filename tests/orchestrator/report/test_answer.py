"""`orchestrator.report.answer`: the one-line answer, and ``verdicts.json``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.answer import answer_document, one_line_answer, write_answer
from orchestrator.report.evaluation import ReportInput, evaluate_records


@pytest.fixture(scope="module")
def given(twelve_arms: Any) -> ReportInput:
    return evaluate_records(*twelve_arms)


def test_the_answer_names_the_factor_its_effect_and_the_best_arm(given: ReportInput) -> None:
    line = one_line_answer(given)
    assert "\n" not in line
    best = given.tables.runs.groupby("arm")["per"].mean().idxmin()
    strongest = max(
        (v for v in given.verdicts if v.word == "supported"),
        key=lambda v: v.claimed_effect / v.hypothesis.margin,
    )
    contrast = strongest.hypothesis.contrast
    for fact in (contrast.factor, contrast.from_level, contrast.to_level, str(best)):
        assert fact in line


def test_without_a_supported_claim_the_answer_counts_the_words(given: ReportInput) -> None:
    refuted = [v for v in given.verdicts if v.word == "refuted"]
    line = one_line_answer(given._replace(verdicts=refuted))
    assert "did it" not in line and f"{len(refuted)} refuted" in line
    assert "did it" not in one_line_answer(given._replace(verdicts=()))


def test_exploratory_and_equivalence_claims_are_no_answer(given: ReportInput) -> None:
    altered = [replace(v, altered=True) for v in given.verdicts]
    assert "did it" not in one_line_answer(given._replace(verdicts=altered))


def test_the_json_file_has_the_answer_the_words_and_what_no_one_asked(
    given: ReportInput, tmp_path: Path
) -> None:
    path = write_answer(tmp_path / "verdicts.json", given)
    document = json.loads(path.read_bytes())
    assert document == json.loads(json.dumps(answer_document(given)))
    assert document["answer"] == one_line_answer(given)
    assert {n: v["verdict"] for n, v in document["verdicts"].items()} == {
        v.name: v.word for v in given.verdicts
    }
    assert len(document["seen_not_asked"]) == len(given.unasked) > 0
