"""`orchestrator.driver` of a user's trainer whose runs are pretended: ids, cost, changed code."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_ablation import history_row
from user_trainer import write_trainer

from decoder.pack import Progress, RunResult
from orchestrator.driver.preview import Preview, make_preview
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.machine import Options
from orchestrator.spec.configuration import Pack
from orchestrator.spec.load import load_spec
from orchestrator.spec.promises import promised_less
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.paths import Results

SECONDS = 40.0


def pretend(
    packs: Iterable[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
) -> None:
    """A backend in which a command ends at once and its per follows from its run id."""
    for pack in packs:
        (run,) = pack.runs
        per = int(run.run_id[:4], 16) / 65536
        result = RunResult(run.run_id, "ok", (history_row(20, per),), 20, 0, 0, SECONDS, 1, 0)
        on_event(PackEvent(pack.pack_id, Progress(20, {}, [result]), {"device": "cpu"}))


@pytest.fixture
def run(
    results: Results, options: Options, console: Console, rebuilt: Any
) -> Callable[[Path], AblationOutcome]:
    def call(file: Path) -> AblationOutcome:
        return run_ablation(
            load_spec(file), results, options, console, backend=pretend, rebuild=rebuilt
        )

    return call


@pytest.fixture
def see(results: Results, options: Options) -> Callable[..., tuple[Preview, list[str]]]:
    def call(file: Path) -> tuple[Preview, list[str]]:
        said: list[str] = []
        return make_preview(load_spec(file), results, options, said.append, calibrate=True), said

    return call


def test_recorded_runs_are_read_back_and_not_trained_again(
    run: Any, results: Results, tmp_path: Path
) -> None:
    file = write_trainer(tmp_path)
    first = run(file)
    assert (first.n_runs, first.n_trained, first.n_failed) == (15, 15, 0)
    again = run(write_trainer(tmp_path, {"trainer/hours": 2.0, "trainer/gpus": 0.5}))
    assert (again.n_recorded, again.n_trained) == (15, 0)
    names = [path.name for path in results.runs.iterdir()]
    records = read_records(results, names, print, full=True)
    assert len(records) == 15
    (record, *_) = records.values()
    assert record["config"]["train"] == {"n_steps": 20}
    assert record["config"]["settings"]["model.n_units"] == 8


def test_cost_is_bounded_by_hours_before_the_first_run_and_then_measured(
    run: Any, see: Any, tmp_path: Path
) -> None:
    file = write_trainer(tmp_path)
    before, _ = see(file)
    assert before.forecast.cost.hours == pytest.approx(15 * 0.5)
    run(file)
    after, _ = see(write_trainer(tmp_path, {"seeds": [0, 1, 2, 3]}))
    assert set(after.forecast.pack_seconds.values()) == {SECONDS}
    assert not (tmp_path / "theirs" / "executed").exists()


def test_changed_code_is_said_and_its_runs_are_others(run: Any, see: Any, tmp_path: Path) -> None:
    file = write_trainer(tmp_path)
    run(file)
    seen, said = see(file)
    assert (len(with_result(seen.records)), said) == (15, [])
    (tmp_path / "theirs" / "train.py").write_text("pass\n")
    seen, said = see(file)
    assert seen.records == {}
    (text,) = said
    assert "train.py" in text and "15" in text


def test_what_is_promised_less_names_the_seed_and_the_repeat(tmp_path: Path) -> None:
    def said(changes: dict[str, Any]) -> str:
        spec = load_spec(write_trainer(tmp_path, changes)).spec
        return " ".join(promised_less(spec.trainer, spec.extra_arms))

    assert "(seed)" in said({}) and "arm repeat" in said({})
    assert "not measured" in said({"trainer/repeat": False})
    assert "differ from" in said({"trainer/pass": "flags"}) and "differ from" not in said({})
    mapped = {"per": "a", "emitted_ratio": "b", "n_distinct": "c"}
    assert "Collapse" in said({}) and "Collapse" not in said({"trainer/metrics": mapped})


def test_recordings_that_change_after_runs_are_said_with_their_cost(
    run: Any, see: Any, tmp_path: Path
) -> None:
    file = write_trainer(tmp_path)
    run(file)
    (tmp_path / "data" / "trials.bin").write_bytes(b"01234")
    (changed,) = see(file)[0].changed_data
    assert len(changed.run_ids) == 15
    assert "data: 1 file, 5 bytes" in changed.changes
    assert changed.seconds == pytest.approx(15 * SECONDS)


def test_a_metric_that_is_read_elsewhere_after_its_runs_makes_a_claim_exploratory(
    run: Any, see: Any, tmp_path: Path
) -> None:
    run(write_trainer(tmp_path))
    harmless = write_trainer(tmp_path, {"trainer/metrics": {"per": "PER", "wer": "WER"}})
    assert see(harmless)[0].lock_changed == ()
    other = write_trainer(tmp_path, {"trainer/metrics": {"per": "PER (best)"}})
    assert see(other)[0].lock_changed == ("lower",)
