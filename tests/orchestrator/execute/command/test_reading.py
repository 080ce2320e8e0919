"""`orchestrator.execute.command.reading`: a course that grows, in files of every kind."""

from pathlib import Path

import pytest
from tiny_events import event, simple

from orchestrator.execute.command.reading import CourseReader
from orchestrator.spec.trainer import MetricSource

METRICS = {"per": MetricSource(name="val/per")}


def rows(reader: CourseReader) -> list[tuple[float, float]]:
    return [(row["step"], row["per"]) for row in reader.course.history()]


def test_only_what_has_grown_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    reader = CourseReader(str(path), METRICS)
    reader.look()  # it is not there yet
    assert not rows(reader) and "is not there" in reader.held()
    path.write_text("step,val/per\n1,0.5\n2,0.")
    reader.look()
    assert rows(reader) == [(1, 0.5)]
    with path.open("a") as file:
        file.write("25\n")
    reader.look()
    assert rows(reader) == [(1, 0.5), (2, 0.25)] and reader.course.n_values == 2


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"  # as Lightning does when a column is added
    reader = CourseReader(str(path), METRICS)
    path.write_text("step,val/per\n1,0.5\n")
    reader.look()
    path.write_text("step,loss,val/per\n1,3.0,0.5\n2,2.0,0.25\n")
    reader.look()
    assert rows(reader) == [(1, 0.5), (2, 0.25)]
    path.write_text("step,loss,val/per\n1,3.0,0.125\n")
    reader.look()
    assert rows(reader) == [(1, 0.125)]


def test_the_end_reads_everything_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("step 1 val/per 0.5\nstep 2 val/per 0.25")
    reader = CourseReader(str(path), METRICS)
    reader.finish(whole=False)
    assert rows(reader) == [(1, 0.5)]
    reader.finish(whole=True)
    assert rows(reader) == [(1, 0.5), (2, 0.25)]


def test_files_of_a_pattern_are_read_one_after_the_other(tmp_path: Path) -> None:
    for version, text in enumerate(("step,val/per\n1,0.5\n2,0.4\n", "step,val/per\n2,0.3\n3,0.2")):
        (tmp_path / f"version_{version}").mkdir()
        (tmp_path / f"version_{version}" / "metrics.csv").write_text(text)
    reader = CourseReader(str(tmp_path / "version_*" / "metrics.csv"), METRICS)
    reader.finish(whole=True)
    assert rows(reader) == [(1, 0.5), (2, 0.3), (3, 0.2)]


def test_a_folder_holds_events(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.out.tfevents.1.host"
    path.parent.mkdir()
    reader = CourseReader(str(tmp_path), METRICS)
    second = event(20, simple("val/per", 0.25), simple("loss", 1.0))
    path.write_bytes(event(10, simple("val/per", 0.5)) + second[:-3])
    reader.look()
    assert rows(reader) == [(10, 0.5)]
    with path.open("ab") as file:
        file.write(second[-3:])
    reader.look()
    assert rows(reader) == [(10, 0.5), (20, 0.25)]
    assert "loss" in reader.held()


def test_damaged_events_are_an_error_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="byte 0"):
        CourseReader(str(tmp_path), METRICS).finish(whole=True)


def test_metrics_that_were_never_reported_are_named_with_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,val/per\n1,0.5\n")
    reader = CourseReader(str(path), METRICS)
    reader.finish(whole=True)
    assert reader.lacks() == ""
    reader = CourseReader(str(path), {**METRICS, "wer": MetricSource(name="val/wer")})
    reader.finish(whole=True)
    assert reader.course.lacking == ("wer",)
    assert "'val/wer' (wer)" in reader.lacks() and "val/per" in reader.lacks()


def test_event_files_are_read_oldest_first(tmp_path: Path) -> None:
    names = ("b/events.out.tfevents.100.host", "a/events.out.tfevents.200.host", "a/log")
    for step, name in enumerate(names, 1):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(event(step, simple("val/per", step / 8)))
    reader = CourseReader(str(tmp_path), METRICS)
    reader.look()
    assert rows(reader) == [(1, 0.125), (2, 0.25)]
