"""The line of each claim, its drawing, and the block for a paper."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from orchestrator.report.claims import make_answers
from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.intervals import effect_limits, small_intervals
from orchestrator.report.paper import paper_text
from orchestrator.report.rebuild import rebuild

Build = Callable[..., Any]


def test_each_claim_has_one_line_with_word_effect_drawing_and_seeds(
    twelve_arms: Any, tmp_path: Path
) -> None:
    given = evaluate_records(*twelve_arms)
    answers = make_answers(given.plan, given.verdicts, exploratory=False)
    assert len(answers) == len(given.verdicts)
    for answer, verdict in zip(answers, given.verdicts, strict=True):
        assert (answer.word, answer.n_seeds) == (verdict.word, len(verdict.evidence.differences))
        assert answer.drawing is not None and answer.effect.split()[0] in answer.finding
    rebuild(tmp_path, *twelve_arms)
    html = (tmp_path / "report.html").read_text()
    lines = re.findall(r'<details class="answer (\w+)">\s*<summary>(.*?)</summary>', html, re.S)
    assert [word for word, _ in lines] == [answer.word for answer in answers]
    for (_, line), answer in zip(lines, answers, strict=True):
        assert line.count('<svg class="interval"') == 1 and f"{answer.n_seeds} seed" in line
    assert html.index("</summary>") < html.index("<img"), "the claims come before any figure"


def test_a_drawing_puts_effect_margin_and_interval_where_they_are(twelve_arms: Any) -> None:
    verdicts = evaluate_records(*twelve_arms).verdicts
    drawings = small_intervals(verdicts)
    assert list(sorted(drawings)) == sorted(verdict.name for verdict in verdicts)
    for verdict in verdicts:
        drawn = drawings[verdict.name]
        of_one = [v for v in verdicts if v.hypothesis.outcome == verdict.hypothesis.outcome]
        low, high = effect_limits(of_one)

        def at(value: float, low: float = low, high: float = high) -> float:
            return 7 + 186 * (min(max(value, low), high) - low) / (high - low)

        margin = verdict.hypothesis.margin
        assert drawn.margin[0] == pytest.approx(at(-margin), abs=0.06)
        assert sum(drawn.margin) == pytest.approx(at(margin), abs=0.11)
        assert drawn.zero == pytest.approx(at(0), abs=0.06)
        assert drawn.interval == pytest.approx([at(v) for v in verdict.claimed_interval], abs=0.06)
        [x] = re.findall(r"^M([\d.]+) ", drawn.marker)
        assert float(x) == pytest.approx(at(verdict.claimed_effect), abs=0.06)
        ends = (*verdict.claimed_interval, *verdict.claimed_bounds)
        assert bool(drawn.arrows) == any(v < low or v > high for v in ends)


def test_drawings_are_well_formed_for_any_outcome(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    for number, spread in enumerate((0.0, 0.3)):
        made = build(two_arm_spec, lambda *_, spread=spread: truth(spread=spread))
        folder = tmp_path / str(number)
        rebuild(folder, *made)
        html = (folder / "report.html").read_text()
        drawn = re.findall(r'<svg class="interval".*?</svg>', html)
        assert len(drawn) == 1
        assert "nan" not in drawn[0] and "inf" not in drawn[0]
        assert ElementTree.fromstring(drawn[0]).tag == "svg"


def test_a_claim_without_a_result_has_no_drawing(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    given = evaluate_records(made.plan, {}, {})
    [answer] = make_answers(given.plan, given.verdicts, exploratory=False)
    assert (answer.drawing, answer.effect, answer.n_seeds) == (None, "", 0)
    rebuild(tmp_path, made.plan, {}, {})
    assert "<svg" not in (tmp_path / "report.html").read_text()


def test_the_block_for_a_paper_has_design_seeds_test_correction_data_and_software(
    twelve_arms: Any, tmp_path: Path
) -> None:
    given = evaluate_records(*twelve_arms)
    text = paper_text(given)
    spec = given.plan.spec
    for seed in spec.seeds:
        assert re.search(rf"\b{seed}\b", text)
    for factor, levels in spec.factors.items():
        assert factor in text and all(level in text for level in levels)
    for name in spec.hypotheses:
        assert re.search(rf"^{name}: ", text, flags=re.M)
    assert "Holm over" in text and f"{len(given.plan.runs)} runs" in text
    assert "4f1d9b27c0a853e6" in text and "2.13.0" in text and "0123abcd" in text
    assert given.plan.spec_hash in text
    rebuild(tmp_path, *twelve_arms)
    page = (tmp_path / "report.html").read_text()
    assert text.splitlines()[1].replace("'", "&#39;") in page
    assert text.splitlines()[1] in (tmp_path / "report.md").read_text()
