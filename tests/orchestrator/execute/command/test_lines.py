"""`orchestrator.execute.command.lines`: logs, CSV and JSON lines, whole or still growing."""

import math
from typing import Any

import pytest

from orchestrator.execute.command.course import Course
from orchestrator.execute.command.lines import LineReader
from orchestrator.spec.trainer import MetricSource

OFFICIAL = {"step": "Val batch", "per": "PER (avg)", "val_loss": "CTC Loss (avg)"}


def read(text: str | list[bytes], metrics: dict[str, Any], *, finish: bool = True) -> Course:
    sources = {
        name: MetricSource.model_validate({"name": given} if isinstance(given, str) else given)
        for name, given in metrics.items()
    }
    course = Course(name for name in sources if name != "step")
    lines = LineReader(course, sources)
    lines.take([text.encode()] if isinstance(text, str) else text)
    if finish:
        lines.finish()
    return course


def rows(course: Course, *names: str) -> list[tuple[float, ...]]:
    return [tuple(row[name] for name in ("step", *names)) for row in course.history()]


def test_the_log_of_the_official_trainer() -> None:
    text = (
        "2025-07-01 12:00:00,123 INFO: Train batch 199: loss: 55.10 grad norm: 9.20 time: 0.071\n"
        "2025-07-01 12:00:01,123 INFO: Running test after training batch: 200\n"
        "2025-07-01 12:00:09,123 INFO: Val batch 200: PER (avg): 0.4512 CTC Loss (avg): 33.1234 "
        "WER(5gram): 24.50% time: 8.123\n"
        "2025-07-01 12:00:09,123 INFO: t15.2023.08.11 val PER: 0.4100\n"
    )
    metrics = {
        **OFFICIAL,
        "train_loss": "loss",
        "grad_norm": "grad norm",
        "wer": {"name": "WER(5gram)", "unit": "percent"},
    }
    assert rows(read(text, metrics), "per", "val_loss", "wer") == [(200, 0.4512, 33.1234, 0.245)]
    course = read(text, {name: given for name, given in metrics.items() if name != "step"})
    (row,) = course.history()  # the steps are found: 199 and 200
    assert (row["step"], row["train_loss"], row["grad_norm"]) == (200, 55.1, 9.2)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("loss 0.5", 0.5),
        ("loss: .5e-1", 0.05),
        ("loss=-1.25E+2 lr=1", -125.0),
        ("loss: 1,234.5 s", 1234.5),
        ("loss : nan", math.nan),
        ("loss: -inf,", -math.inf),
        ("\x1b[1mloss:\x1b[0m 3%", 3.0),
        ("[loss: 7]", 7.0),
        ("loss: nanny", None),
        ("loss: 0,231", None),  # a decimal comma, or two numbers
        ("loss: 1.2.3", None),
        ("val_loss: 2", None),
        ("lossy 2", None),
        ("loss: two", None),
    ],
)
def test_a_number_after_the_name(line: str, value: float | None) -> None:
    history = read(f"epoch 3 {line}\n", {"val_loss": "loss"}).history()
    if value is None:
        assert not history
    else:
        assert history[0]["step"] == 3
        assert history[0]["val_loss"] == pytest.approx(value, nan_ok=True)


def test_the_most_exact_name_of_a_step_is_taken() -> None:
    course = read("epoch 2 | global step 4,000 | step: 400 | per 0.5\n", {"per": "per"})
    assert rows(course, "per") == [(400, 0.5)]


def test_a_table_with_the_columns_in_any_order_and_empty_cells() -> None:
    text = 'wer,epoch,"val/per",step\n,0,0.5,100\n40.0,1,0.25,200\n'
    metrics = {"per": "val/per", "wer": {"name": "wer", "unit": "percent"}}
    first, last = rows(read(text, metrics), "per", "wer")
    assert first[:2] == (100, 0.5) and math.isnan(first[2])
    assert last == (200, 0.25, 0.4)


def test_a_table_with_other_separators_and_its_own_name_of_the_step() -> None:
    text = "batches_done;PER\n10;0.5\n20;0.25\n"
    assert rows(read(text, {"step": "batches_done", "per": "PER"}), "per") == [
        (10, 0.5),
        (20, 0.25),
    ]


def test_objects_nested_or_not_among_lines_of_a_log() -> None:
    text = (
        'starting {"per": 9}\n{"_step": 5, "val": {"per": 0.5}, "note": "x"}\n'
        '{"_step": 10, "val/per": NaN, "flag": true}\n{broken\n'
    )
    course = read(text, {"per": "val/per"})
    assert rows(course, "per")[0] == (5, 0.5) and len(course.history()) == 2
    assert math.isnan(course.history()[1]["per"])


def test_an_unfinished_line_waits_for_its_end() -> None:
    course = read([b"step 1 per 0.5\nstep 2 per 0.", b""], {"per": "per"}, finish=False)
    assert rows(course, "per") == [(1, 0.5)]
    blocks = [b"step 1 p", b"er 0.5\nstep 2 per 0.", b"25\r", "step 3 per 0.1 µ".encode()[:-1]]
    assert rows(read(blocks, {"per": "per"}, finish=False), "per") == [(1, 0.5), (2, 0.25)]


def test_a_progress_bar_is_many_lines() -> None:
    text = "".join(f"\r{i}%| step {i} loss={1 / (i + 1):.3f}" for i in range(100)) + "\n"
    course = read(text, {"train_loss": "loss"})
    assert len(course.history()) == 100 and course.history()[-1]["train_loss"] == 0.01


def test_a_table_may_follow_a_log() -> None:
    text = "loading data, 5 files\nstep,per\n1,0.5\n"
    assert rows(read(text, {"per": "per"}), "per") == [(1, 0.5)]
