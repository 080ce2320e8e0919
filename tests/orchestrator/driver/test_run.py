"""`orchestrator.driver.run`: what is not recorded is trained once, then reported."""

import json
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_ablation import Rebuilds

from decoder.errors import ConfigError, StorageError
from decoder.pack import Pack, Progress, RunResult
from orchestrator.driver.run import Outcome, run_ablation
from orchestrator.execute import recording
from orchestrator.execute.backends import (
    Backend,
    Execution,
    PackEvent,
    PackFailed,
    RayUnavailableError,
    local,
)
from orchestrator.execute.machine import Options
from orchestrator.plan.recordings import PrepareData
from orchestrator.spec.load import Loaded
from orchestrator.store import provenance
from orchestrator.store.ledger import Record, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.index import open_index

OnEvent = Callable[[PackEvent], None]


@pytest.fixture
def go(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    rebuilt: Rebuilds,
    describe: PrepareData,
) -> Callable[..., Outcome]:
    """Runs the small ablation with a pretended backend."""

    def run(train: Backend | None, changes: Any = None, **chosen: Any) -> Outcome:
        return run_ablation(
            load(changes),
            results,
            replace(options, **chosen),
            console,
            backend=train,
            describe=describe,
            rebuild=rebuilt,
        )

    return run


class Counting:
    """A backend that notes which runs it is given."""

    def __init__(self, inner: Backend) -> None:
        self.inner, self.run_ids, self.executions = inner, list[str](), list[Execution]()

    def __call__(self, packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        self.run_ids += [run.run_id for pack in packs for run in pack.runs]
        self.executions.append(execution)
        self.inner(packs, execution, on_event)


def records_of(results: Results, name: str = "question") -> dict[str, Record]:
    return read_records(results, read_plan(results, name).run_ids, print)


def test_every_planned_run_is_recorded_and_handed_to_the_report(
    go: Callable[..., Outcome], results: Results, backend: Backend, rebuilt: list[Any]
) -> None:
    outcome = go(backend)
    assert (outcome.exit_code, outcome.n_runs, outcome.n_trained) == (0, 12, 12)
    ((folder, document, records, histories),) = rebuilt
    assert folder == results.ablation("question")
    assert records.keys() == histories.keys() == set(document.run_ids)
    assert document == read_plan(results, "question")
    record = next(iter(records.values()))
    assert record["environment"]["code"]["decoder_sha256"] == provenance.decoder_sha256()
    assert record["host"]["device"] == "cpu"
    assert results.lock("question").exists()


def test_a_finished_ablation_trains_nothing_and_rebuilds(
    go: Callable[..., Outcome], backend: Backend, rebuilt: list[Any]
) -> None:
    go(backend)
    counting = Counting(backend)
    outcome = go(counting)
    assert (outcome.exit_code, outcome.n_recorded, outcome.n_trained) == (0, 12, 0)
    assert counting.executions == []
    assert rebuilt[0] == rebuilt[1]


def test_a_run_leaves_the_index_of_the_store_up_to_date(
    go: Callable[..., Outcome], results: Results, backend: Backend
) -> None:
    go(backend)
    kept = results.index.stat().st_mtime_ns
    assert set(open_index(results, print).column("run_id")) == set(records_of(results))
    assert results.index.stat().st_mtime_ns == kept, "it was made anew"


def test_recorded_runs_without_the_weights_asked_for_are_told(
    go: Callable[..., Outcome], backend: Backend, console: Console
) -> None:
    go(backend)
    again = go(backend, {"set": {"train.keep_weights": "final"}})
    assert again.n_trained == 0
    told = " ".join(console.export_text().split())
    assert "12 recorded runs have no weights, although train.keep_weights asks for them" in told


def test_the_plan_is_on_disk_before_the_first_run(
    go: Callable[..., Outcome], backend: Backend, results: Results
) -> None:
    def look(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        assert results.plan("question").exists()
        assert results.lock("question").exists()
        assert json.loads(results.driver("question").read_text())["n_running"] == 0
        backend(packs, execution, on_event)

    assert go(look).exit_code == 0


def test_another_ablation_finds_shared_runs_done(
    go: Callable[..., Outcome], backend: Backend
) -> None:
    go(backend)
    counting = Counting(backend)
    outcome = go(counting, {"name": "later", "seeds": [2, 3]})
    assert (outcome.n_runs, outcome.n_trained, len(counting.run_ids)) == (8, 4, 4)


def test_a_damaged_record_is_done_again_alone(
    go: Callable[..., Outcome], backend: Backend, results: Results, console: Console
) -> None:
    go(backend)
    victim = next(iter(records_of(results)))
    results.record(victim).write_text("{")
    counting = Counting(backend)
    assert go(counting).n_trained == 1
    assert counting.run_ids == [victim]
    assert f"{victim}/record.json: " in console.export_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_recorded_and_the_next_run_finishes(
    go: Callable[..., Outcome], backend: Backend, rebuilt: list[Any], number: int
) -> None:
    def interrupted(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        backend(packs[:1], execution, on_event)
        signal.raise_signal(number)
        pytest.fail("the signal must end the backend")

    outcome = go(interrupted)
    assert outcome.exit_code == 128 + number
    assert 0 < outcome.n_recorded < outcome.n_runs
    assert len(rebuilt[0][2]) == outcome.n_recorded  # a report of k of N runs
    counting = Counting(backend)
    finished = go(counting)
    assert finished.exit_code == 0
    assert len(counting.run_ids) == outcome.n_runs - outcome.n_recorded


def test_a_signal_during_a_record_lets_it_be_finished(
    go: Callable[..., Outcome], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recording.write_run

    def signalled(*args: Any) -> bool:
        monkeypatch.setattr(recording, "write_run", whole)
        signal.raise_signal(signal.SIGTERM)
        return whole(*args)

    monkeypatch.setattr(recording, "write_run", signalled)
    outcome = go(backend)
    assert outcome.exit_code == 143
    assert outcome.n_recorded == outcome.n_trained == 2  # both runs of the first pack


def test_failed_runs_are_recorded_reported_and_tried_again(
    go: Callable[..., Outcome], backend: Backend, results: Results, rebuilt: list[Any]
) -> None:
    def one_fails(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        ids = tuple(run.run_id for run in packs[0].runs)
        on_event(PackEvent(packs[0].pack_id, PackFailed(ids, "Traceback\nMemoryError", 3)))
        backend(packs[1:], execution, on_event)

    outcome = go(one_fails)
    assert (outcome.exit_code, outcome.n_failed, outcome.n_recorded) == (4, 2, 10)
    _, _, records, histories = rebuilt[0]
    assert (len(records), len(histories)) == (12, 10)
    failed = [record for record in records.values() if record["status"] == "failed"]
    assert failed[0]["error"] == "Traceback\nMemoryError"
    counting = Counting(backend)
    assert go(counting).exit_code == 0
    assert sorted(counting.run_ids) == sorted(record["run_id"] for record in failed)


def test_a_diverged_run_is_a_result(
    go: Callable[..., Outcome], make_result: Callable[..., RunResult], results: Results
) -> None:
    def diverge(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        for pack in packs:
            ended = [make_result(run, "diverged") for run in pack.runs]
            on_event(PackEvent(pack.pack_id, Progress(3, {}, ended)))

    outcome = go(diverge)
    assert (outcome.exit_code, outcome.n_failed) == (0, 0)
    assert {record["status"] for record in records_of(results).values()} == {"diverged"}


def test_a_full_disk_ends_the_run_and_a_later_one_goes_on(
    go: Callable[..., Outcome], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> bool:
        raise StorageError("results/runs/x: no room on the device; 10 bytes are needed")

    monkeypatch.setattr(recording, "write_run", full)
    with pytest.raises(StorageError, match="no room"):
        go(backend)
    monkeypatch.undo()


def test_checkpoints_go_once_every_run_is_recorded(
    go: Callable[..., Outcome], backend: Backend, results: Results
) -> None:
    def leaves_some(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        (execution.checkpoint_dir / packs[0].pack_id).mkdir(parents=True)
        backend(packs, execution, on_event)

    go(leaves_some)
    assert not results.checkpoints("question").exists()


def test_the_backend_is_told_how_to_train(
    go: Callable[..., Outcome], backend: Backend, results: Results
) -> None:
    counting = Counting(backend)
    go(counting, n_workers=3, threads=2)
    (execution,) = counting.executions
    assert (execution.n_workers, execution.threads_per_worker, execution.device) == (3, 2, "cpu")
    assert execution.dataset_dir == Path("datasets/ffff")
    assert execution.checkpoint_dir == results.checkpoints("question")
    assert execution.weights_dir == results.runs


def test_where_ray_cannot_start_the_packs_are_trained_in_process(
    go: Callable[..., Outcome],
    backend: Backend,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestrator.execute.backends import ray_tune

    def no_ray(execution: Execution) -> AbstractContextManager[Backend]:
        raise RayUnavailableError("ray: cannot be imported")

    monkeypatch.setattr(ray_tune, "ray_session", no_ray)
    monkeypatch.setattr(local, "train_locally", backend)
    outcome = go(None, backend="ray")
    assert outcome.exit_code == 0
    assert "Ray cannot be used (ray: cannot be imported)" in console.export_text()
    with pytest.raises(ConfigError):  # a cluster asked for by address is not replaced
        go(None, {"name": "other", "seeds": [9]}, backend="ray", address="somewhere:1")


def test_an_error_of_a_pack_is_no_reason_to_leave_ray(
    go: Callable[..., Outcome],
    make_result: Callable[..., RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestrator.execute.backends import ray_tune

    def late(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        raise ConfigError("something about the pack")

    monkeypatch.setattr(ray_tune, "ray_session", lambda execution: nullcontext(late))
    with pytest.raises(ConfigError, match="about the pack"):
        go(None, backend="ray")


def test_timing_is_kept_apart_for_every_call(
    go: Callable[..., Outcome], backend: Backend, results: Results
) -> None:
    go(backend)
    go(backend)
    calls = json.loads(results.timing("question").read_text())["calls"]
    assert [call["n_trained"] for call in calls] == [12, 0]
    assert set(calls[0]["seconds"]) == {"set_up", "data", "training", "reporting", "ledger"}


def test_records_of_other_sources_are_used_and_said_aloud(
    go: Callable[..., Outcome],
    backend: Backend,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go(backend)
    monkeypatch.setattr(provenance, "decoder_sha256", lambda: "0" * 64)
    assert go(backend).n_trained == 0
    assert "12 of 12 recorded runs were made by other decoder sources" in console.export_text()


def test_an_altered_hypothesis_is_handed_on_as_such(
    go: Callable[..., Outcome], backend: Backend, console: Console, rebuilt: list[Any]
) -> None:
    go(backend)
    go(backend, {"hypotheses/weak_hurts/margin": 0.001})
    assert rebuilt[0][1].lock_changed == ()
    assert rebuilt[1][1].lock_changed == ("weak_hurts",)
    text = console.export_text()
    assert "has changed since 'question' was last run" in text
    assert "labelled exploratory" in text


def test_what_cannot_be_decided_is_named_before_anything_is_trained(
    go: Callable[..., Outcome], backend: Backend, console: Console
) -> None:
    said: list[str] = []

    def train(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        said.append(console.export_text(clear=False))
        backend(packs, execution, on_event)

    go(train)
    assert "untestable: weak_hurts: with 3 seeds" in said[0]


def test_controls_are_runs_of_their_own(
    go: Callable[..., Outcome], backend: Backend, rebuilt: list[Any]
) -> None:
    """Fresh seeds and repetitions of one arm: new runs, blocked with the seeds of the file."""
    cell = {"noise": "official", "rate": "high"}
    controls = {
        "fresh": {"levels": cell, "seed_offset": 100},
        "again": {"levels": cell, "replicate": 1},
        "once_more": {"levels": cell, "replicate": 2},
    }
    counting = Counting(backend)
    outcome = go(counting, {"extra_arms": controls})
    assert outcome.n_runs == outcome.n_trained == 12 + 9
    document = rebuilt[-1][1]
    runs = {(run.arm_id, run.block): run for run in document.runs}
    assert [runs["fresh", seed].seed for seed in (0, 1, 2)] == [100, 101, 102]
    assert [runs["again", seed].seed for seed in (0, 1, 2)] == [0, 1, 2]
    of_seed_0 = {runs[arm, 0].run_id for arm in ("official+high", *controls)}
    assert len(of_seed_0) == 4
    assert all(len(of_seed_0.intersection(p.run_ids)) < 2 for p in document.packs)
    arms = {arm.arm_id: arm for arm in document.arms}
    assert (arms["fresh"].seed_offset, arms["again"].replicate) == (100, 1)
    assert {arms[name].parent for name in controls} == {"official+high"}
