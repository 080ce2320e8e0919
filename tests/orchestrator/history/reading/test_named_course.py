"""`orchestrator.history.reading.named_course`: named values of a file that grows."""

import math

import pytest

from decoder.errors import ConfigError
from orchestrator.history.reading.named_course import NamedCourse

NAMES = {"per": "PER (avg)", "wer": "WER(5gram)"}


def test_a_log_is_read_line_by_line_as_it_grows() -> None:
    course = NamedCourse("log", NAMES)
    assert course.feed("2026-02-01 10:00:00,1: Val batch 0: PER (avg): 1.2 CTC Loss (avg): 9") == []
    rows = course.feed(" WER(5gram): 81.50%\nVal batch 50: PER (avg): 0.8 WER(5gram): nan% (n=0)\n")
    assert rows[0] == {"step": 0, "per": 1.2, "wer": pytest.approx(0.815)}
    assert rows[1]["step"] == 50 and math.isnan(rows[1]["wer"])
    assert course.feed("Val batch 100: PER (avg): 0.5") == []
    assert course.end() == [{"step": 100, "per": 0.5}]
    assert (course.unit, course.n_rows, course.remarks) == ("step", 3, [])


def test_a_value_without_a_step_of_its_own_has_the_step_mentioned_last() -> None:
    course = NamedCourse("log", {"acc": "phon acc", "per": "err"})
    rows = course.feed("iter 300 loss=2.5\n  phon  acc = .61\nerr: 0.4\nerrata: 9\n")
    assert rows == [{"step": 300, "acc": 0.61}, {"step": 300, "per": 0.4}]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("csv", "epoch;val/err;lm\n1;52,0;x\n2;41;\n"),
        ("jsonl", '{"epoch": 1, "val": {"err": 52.0}}\n{"epoch": 2, "val": {"err": "41"}}\n'),
    ],
)
def test_tables_are_read_by_their_own_names(kind: str, text: str) -> None:
    name = "val/err" if kind == "csv" else "val.err"
    course = NamedCourse(kind, {"per": name}, in_percent=["per"])  # type: ignore[arg-type]
    rows = [row for sign in text for row in course.feed(sign)]
    assert [row["step"] for row in rows][-1] == 2 and rows[-1]["per"] == pytest.approx(0.41)
    assert course.unit == "epoch"


def test_a_table_without_the_column_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"PER \(avg\).*step, per"):
        NamedCourse("csv", NAMES).feed("step,per\n")


def test_lines_that_hold_no_object_or_no_number_are_remarked_on() -> None:
    course = NamedCourse("jsonl", {"per": "per"})
    rows = course.feed('warming up\n{"step": 1, "per": "high"}\n{"step": 2, "per": 0.5}\n')
    assert rows == [{"step": 2, "per": 0.5}]
    assert "line 1" in course.remarks[0] and "high" in course.remarks[1]
