from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import StorageError
from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.faults import Faults
from orchestrator.report.figures import make_figures
from orchestrator.report.rebuild import rebuild

Build = Callable[..., Any]


def broken(*_: object, **__: object) -> Any:
    return 1 // 0


@pytest.fixture
def made(build: Build, truth: Any, two_arm_spec: dict[str, Any]) -> Any:
    return build({**two_arm_spec, "criteria": CRITERIA}, lambda *_: truth())


CRITERIA = {"decodes": {"metric": "per", "below": 0.5}}


def test_a_broken_figure_is_a_line_in_both_pages_and_one_remark(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild(tmp_path, *made)
    whole = {path.name for path in (tmp_path / "figures").iterdir()}
    monkeypatch.setattr("orchestrator.report.figures.draw_interaction", broken)
    said: list[str] = []
    rebuild(tmp_path, *made, said.append)
    assert len(said) == 1
    assert "Final PER by arm" in said[0] and "ZeroDivisionError" in said[0]
    assert "test_faults.py, line" in said[0]
    left = {path.name for path in (tmp_path / "figures").iterdir()}
    assert whole - left == {"interaction.svg", "interaction.png"}
    for page in ("report.md", "report.html"):
        text = (tmp_path / page).read_text()
        assert text.count("ZeroDivisionError") == 3  # at the top, and at the end with its traceback
        assert "What could not be made" in text and "Limits" in text


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("evaluation.criteria_table", "criteria.csv"),
        ("evaluation.verdicts_table", "verdicts.csv"),
        ("evaluation.find_unasked", "Seen, not asked"),
        ("evaluation.evaluate", "success criteria"),
        ("rebuild.write_answer", "verdicts.json"),
        ("view.arms_grid", "Evidence"),
        ("view.make_cards", "list of arms"),
        ("claims.explain", "answer on 'h'"),
        ("view.machine_grid", "Environment and timing"),
    ],
)
def test_whatever_else_breaks_the_pages_are_there_and_say_so(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, what: str
) -> None:
    monkeypatch.setattr(f"orchestrator.report.{target}", broken)
    monkeypatch.setattr("orchestrator.report.rebuild.draw_figures", lambda *_: [])
    said: list[str] = []
    rebuild(tmp_path, *made, said.append)
    assert [what in one for one in said] == [True] * len(said) and said
    assert "states no hypothesis" not in (tmp_path / "report.md").read_text()
    for page in ("report.md", "report.html"):
        assert (tmp_path / page).read_text().count("division or modulo by zero") == 3 * len(said)


def test_a_full_disk_still_ends_the_report(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Any:
        raise StorageError("no space left")

    monkeypatch.setattr("orchestrator.report.figures.draw_collapse", full)
    with pytest.raises(StorageError, match="no space"):
        make_figures(evaluate_records(*made))


def test_without_anyone_to_tell_a_fault_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    assert faults.attempt("the table", broken, 7) == 7
    assert "ZeroDivisionError" in caplog.text and len(faults.found) == 1
