"""`orchestrator.driver.run`: runs that are not recorded are trained once, then reported."""

import io
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_ablation import Rebuilds

from decoder.errors import ConfigError, StorageError
from decoder.pack import HistoryRow, Pack, Progress, RunResult
from orchestrator.cli.runs_view import print_details
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.execute.backends import (
    Backend,
    Execution,
    PackEvent,
    PackFailed,
    RayUnavailableError,
    local,
)
from orchestrator.execute.machine import Options
from orchestrator.plan.recordings import PrepareData, Recordings
from orchestrator.query.runs import find_run
from orchestrator.report.source_grids import data_grid
from orchestrator.spec.load import Loaded
from orchestrator.store import mixing, provenance, sources, under_way
from orchestrator.store.ledger import read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.record import Record
from orchestrator.store.sources import source_of, training_sha256
from orchestrator.tables.index import open_index
from orchestrator.tables.tables import make_tables

OnEvent = Callable[[PackEvent], None]


def test_the_log_of_a_failed_run_lies_with_it_until_it_has_a_result(
    go: Callable[..., AblationOutcome], results: Results, backend: Backend
) -> None:
    def fail(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        for index, pack in enumerate(packs):
            run_ids = tuple(run.run_id for run in pack.runs)
            failed = PackFailed(run_ids, "Traceback", 3, "it printed this" if not index else "")
            on_event(PackEvent(pack.pack_id, failed))

    assert go(fail).exit_code == 4
    logs = list(results.runs.glob("*/failed.log"))
    assert logs and {log.read_text() for log in logs} == {"it printed this"}
    [log, *_] = logs
    details = find_run(results, log.parent.name, print)
    assert details.log == log
    console = Console(record=True, width=400, file=io.StringIO())
    print_details(console, details)
    assert str(log) in console.export_text()
    assert go(backend).exit_code == 0
    assert not list(results.runs.glob("*/failed.log"))
    assert find_run(results, log.parent.name, print).log is None


@pytest.fixture
def go(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    rebuilt: Rebuilds,
    describe: PrepareData,
) -> Callable[..., AblationOutcome]:
    """Runs the small ablation with a backend that pretends to train."""

    def run(
        train: Backend | None,
        changes: Any = None,
        run_allows_mixed: bool = False,
        run_is_strict: bool = False,
        hours: float | None = None,
        **chosen: Any,
    ) -> AblationOutcome:
        # As on Ray, a backend that pretends gets all packs in one call.
        of_all = {"backend": "ray"} if train else {}
        return run_ablation(
            load(changes),
            results,
            replace(options, **{**of_all, **chosen}),
            console,
            backend=train,
            describe=describe,
            rebuild=rebuilt,
            allow_mixed=run_allows_mixed,
            strict=run_is_strict,
            hours=hours,
        )

    return run


class Counting:
    """A backend that notes the runs it receives."""

    def __init__(self, inner: Backend) -> None:
        self.inner, self.run_ids, self.executions = inner, list[str](), list[Execution]()

    def __call__(self, packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        self.run_ids += [run.run_id for pack in packs for run in pack.runs]
        self.executions.append(execution)
        self.inner(packs, execution, on_event)


def records_of(results: Results, name: str = "question") -> dict[str, Record]:
    return read_records(results, read_plan(results, name).run_ids, print)


def test_every_planned_run_is_recorded_and_reported(
    go: Callable[..., AblationOutcome], results: Results, backend: Backend, rebuilt: list[Any]
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
    go: Callable[..., AblationOutcome], backend: Backend, rebuilt: list[Any]
) -> None:
    go(backend)
    counting = Counting(backend)
    outcome = go(counting)
    assert (outcome.exit_code, outcome.n_recorded, outcome.n_trained) == (0, 12, 0)
    assert counting.executions == []
    assert rebuilt[0] == rebuilt[1]


def test_a_run_leaves_the_index_of_the_store_up_to_date(
    go: Callable[..., AblationOutcome], results: Results, backend: Backend
) -> None:
    go(backend)
    kept = results.index.stat().st_mtime_ns
    assert set(open_index(results, print).column("run_id")) == set(records_of(results))
    assert results.index.stat().st_mtime_ns == kept, "the index was written again"


@pytest.mark.parametrize(
    "keep", [{"keep_weights": "final"}, {"keep_logits": "validation"}, {"keep_logits": "test"}]
)
def test_a_remark_counts_recorded_runs_without_the_weights_or_logits_that_the_file_asks_for(
    keep: dict[str, str], go: Callable[..., AblationOutcome], backend: Backend, console: Console
) -> None:
    go(backend)
    again = go(backend, {"set": {f"train.{name}": value for name, value in keep.items()}})
    assert again.n_trained == 0
    (remark,) = [line for line in console.export_text().splitlines() if "train.keep_" in line]
    assert f"train.{next(iter(keep))}" in remark
    assert remark.startswith("12 ")


def test_remarks_on_the_recordings_are_said_once_and_stand_in_the_plan_and_the_report(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    backend: Backend,
    rebuilt: Rebuilds,
    data_info: Recordings,
) -> None:
    remark = "1 of 2 sessions have no validation trials"
    data = replace(data_info, remarks=(remark,))
    loaded = load()
    run_ablation(
        loaded,
        results,
        options,
        console,
        backend=backend,
        describe=lambda arms, folder, say: {arm.arm_id: data for arm in arms},
        rebuild=rebuilt,
    )
    said = [line for line in console.export_text().splitlines() if remark in line]
    assert len(said) == 1 and said[0].startswith("synthetic:tiny: ")
    plan = read_plan(results, "question")
    assert plan.dataset.remarks == (remark,)
    _, _, records, histories = rebuilt[0]
    runs = make_tables(plan, records, histories).runs
    assert ("remark on the recordings", remark) in data_grid(plan, runs).rows


def test_the_plan_is_on_disk_before_the_first_run(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    def look(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        assert results.plan("question").exists()
        assert results.lock("question").exists()
        assert json.loads(results.driver("question").read_text())["n_running"] == 0
        backend(packs, execution, on_event)

    assert go(look).exit_code == 0


def test_another_ablation_does_not_train_shared_runs_again(
    go: Callable[..., AblationOutcome], backend: Backend
) -> None:
    go(backend)
    counting = Counting(backend)
    outcome = go(counting, {"name": "later", "seeds": [2, 3]})
    assert (outcome.n_runs, outcome.n_trained, len(counting.run_ids)) == (8, 4, 4)


def test_only_the_run_of_a_damaged_record_is_trained_again(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results, console: Console
) -> None:
    go(backend)
    victim = next(iter(records_of(results)))
    results.record(victim).write_text("{")
    counting = Counting(backend)
    assert go(counting).n_trained == 1
    assert counting.run_ids == [victim]
    assert str(results.record(victim)) in console.export_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_recorded_and_the_next_run_finishes(
    go: Callable[..., AblationOutcome], backend: Backend, rebuilt: list[Any], number: int
) -> None:
    def interrupted(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        backend(packs[:1], execution, on_event)
        signal.raise_signal(number)
        pytest.fail("the signal did not end the backend")

    outcome = go(interrupted)
    assert outcome.exit_code == 128 + number
    assert 0 < outcome.n_recorded < outcome.n_runs
    assert len(rebuilt[0][2]) == outcome.n_recorded, "the report has the recorded runs"
    counting = Counting(backend)
    finished = go(counting)
    assert finished.exit_code == 0
    assert len(counting.run_ids) == outcome.n_runs - outcome.n_recorded


class SignallingHistory(tuple[HistoryRow, ...]):
    """A history that sends SIGTERM to this process the first time it is read."""

    sent = False

    def __iter__(self) -> Iterator[HistoryRow]:
        if not SignallingHistory.sent:
            SignallingHistory.sent = True
            signal.raise_signal(signal.SIGTERM)
        return super().__iter__()


def test_a_signal_while_a_record_is_made_lets_the_records_of_its_pack_be_written(
    go: Callable[..., AblationOutcome], make_result: Callable[..., RunResult]
) -> None:
    def signalling(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        results = [make_result(run, n_runs=len(packs[0].runs)) for run in packs[0].runs]
        first = replace(results[0], history=SignallingHistory(results[0].history))
        on_event(PackEvent(packs[0].pack_id, Progress(60, {}, [first, *results[1:]])))
        pytest.fail("the signal did not end the backend")

    SignallingHistory.sent = False
    outcome = go(signalling)
    assert SignallingHistory.sent and outcome.exit_code == 143
    assert outcome.n_recorded == outcome.n_trained == 2, "both runs of the first pack"


def test_failed_runs_are_recorded_reported_and_retried(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results, rebuilt: list[Any]
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
    go: Callable[..., AblationOutcome], make_result: Callable[..., RunResult], results: Results
) -> None:
    def diverge(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        for pack in packs:
            ended = [make_result(run, "diverged") for run in pack.runs]
            on_event(PackEvent(pack.pack_id, Progress(3, {}, ended)))

    outcome = go(diverge)
    assert (outcome.exit_code, outcome.n_failed) == (0, 0)
    assert {record["status"] for record in records_of(results).values()} == {"diverged"}


def test_a_ledger_that_cannot_be_written_ends_the_call_and_a_later_call_continues(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    def without_room(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        results.runs.write_bytes(b"")  # a file stands where the folder of runs belongs
        backend(packs, execution, on_event)

    with pytest.raises(StorageError, match=str(results.runs)):
        go(without_room)
    results.runs.unlink()
    assert go(backend).exit_code == 0


def test_checkpoints_are_deleted_when_every_run_is_recorded(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    def leaves_some(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        (execution.checkpoint_dir / packs[0].pack_id).mkdir(parents=True)
        backend(packs, execution, on_event)

    go(leaves_some)
    assert not results.checkpoints("question").exists()


def test_the_backend_receives_the_options_and_folders(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    counting = Counting(backend)
    go(counting, n_workers=3, threads=2)
    (execution,) = counting.executions
    assert (execution.n_workers, execution.threads_per_worker, execution.device) == (3, 2, "cpu")
    assert execution.dataset_dir == Path("datasets/ffff")
    assert execution.checkpoint_dir == results.checkpoints("question")
    assert execution.weights_dir == results.runs


def test_where_ray_cannot_start_the_packs_are_trained_in_process(
    go: Callable[..., AblationOutcome],
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
    assert "ray: cannot be imported" in console.export_text()
    with pytest.raises(ConfigError):  # a cluster that was asked for by address is not replaced
        go(None, {"name": "other", "seeds": [9]}, backend="ray", address="somewhere:1")


def test_after_an_error_of_a_pack_the_packs_are_not_trained_in_process(
    go: Callable[..., AblationOutcome],
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
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    go(backend)
    go(backend)
    calls = json.loads(results.timing("question").read_text())["calls"]
    assert [call["n_trained"] for call in calls] == [12, 0]
    assert set(calls[0]["seconds"]) == {"set_up", "data", "training", "reporting", "ledger"}


def trained_elsewhere(results: Results, n: int = 12, sha256: str = "0" * 64) -> list[str]:
    """Make the first `n` records those of other source code, of which nothing but a hash is known.

    Returns:
        Their run ids.
    """
    run_ids = sorted(records_of(results))[:n]
    for run_id in run_ids:
        record = records_of(results)[run_id]
        code = {"decoder_sha256": sha256, "git_commit": "f00d" * 10, "git_dirty": False}
        record["environment"]["code"] = code
        results.record(run_id).write_text(json.dumps(record))
    return run_ids


def test_runs_of_other_source_code_are_trained_again_and_their_records_are_kept(
    go: Callable[..., AblationOutcome],
    backend: Backend,
    console: Console,
    results: Results,
    rebuilt: list[Any],
) -> None:
    go(backend)
    others = trained_elsewhere(results, 5)
    before = {run_id: results.record(run_id).read_bytes() for run_id in others}
    counting = Counting(backend)
    outcome = go(counting)
    assert sorted(counting.run_ids) == others and outcome.n_trained == 5
    assert (outcome.exit_code, outcome.n_recorded) == (0, 12)
    (remark,) = [line for line in console.export_text().splitlines() if "f00df00df0" in line]
    assert remark.startswith("5 of 12 ") and "--allow-mixed" in remark
    for run_id in others:
        former = results.former(run_id, source_of({"decoder_sha256": "0" * 64}))
        assert (former / "record.json").read_bytes() == before[run_id]
        code = records_of(results)[run_id]["environment"]["code"]
        assert code["training_sha256"] == training_sha256()
    assert go(backend).n_trained == 0
    assert {"allow_mixed": False}.items() <= rebuilt[-1][1].model_dump().items()


def test_allow_mixed_uses_runs_of_other_source_code_and_the_plan_records_it(
    go: Callable[..., AblationOutcome], backend: Backend, console: Console, results: Results
) -> None:
    go(backend)
    trained_elsewhere(results, 5)
    outcome = go(backend, run_allows_mixed=True)
    assert (outcome.n_trained, outcome.n_recorded, outcome.exit_code) == (0, 12, 0)
    assert read_plan(results, "question").allow_mixed
    assert [line for line in console.export_text().splitlines() if line.startswith("5 of 12 ")]


def test_results_come_back_when_a_change_of_the_source_code_is_undone(
    go: Callable[..., AblationOutcome],
    backend: Backend,
    results: Results,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go(backend)
    before = {run_id: results.record(run_id).read_bytes() for run_id in records_of(results)}
    with monkeypatch.context() as changed:
        for module in (sources, provenance):
            changed.setattr(module, "decoder_sha256", lambda: "c" * 64)
        for module in (sources, mixing, provenance, under_way):
            changed.setattr(module, "training_sha256", lambda: "d" * 64)
        assert go(backend).n_trained == 12
        assert go(backend).n_trained == 0
    assert go(backend).n_trained == 0
    assert {run_id: results.record(run_id).read_bytes() for run_id in before} == before


def test_a_failure_to_train_again_leaves_the_former_record(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    go(backend)
    (run_id,) = trained_elsewhere(results, 1)

    def fail(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        on_event(PackEvent(packs[0].pack_id, PackFailed((run_id,), "no memory", 1), {}))

    outcome = go(fail)
    assert (outcome.exit_code, outcome.n_failed, outcome.n_recorded) == (4, 1, 11)
    former = results.former(run_id, source_of({"decoder_sha256": "0" * 64}))
    assert json.loads((former / "record.json").read_text())["status"] == "ok"


def test_strict_refuses_another_minor_version_of_pytorch_before_anything_is_written(
    go: Callable[..., AblationOutcome], backend: Backend, console: Console, results: Results
) -> None:
    go(backend)
    for run_id in sorted(records_of(results))[:5]:
        record = records_of(results)[run_id]
        record["environment"]["torch"] = "2.1.3+cpu"
        results.record(run_id).write_text(json.dumps(record))
    assert go(backend).n_trained == 0
    assert "2.1 (5 runs)" in console.export_text()
    results.plan("question").unlink()
    with pytest.raises(ConfigError, match="2.1 \\(5 runs\\).*--strict"):
        go(backend, run_is_strict=True)
    assert not results.plan("question").exists()


def test_strict_refuses_to_train_on_another_device_than_the_records(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    go(backend)
    run_ids = sorted(records_of(results))
    for run_id in run_ids:
        record = records_of(results)[run_id]
        record["host"]["device"] = "NVIDIA H100 80GB HBM3"
        results.record(run_id).write_text(json.dumps(record))
    assert go(backend, run_is_strict=True, device="cpu").n_trained == 0
    shutil.rmtree(results.run(run_ids[0]))
    with pytest.raises(ConfigError, match="cpu \\(now\\)"):
        go(backend, run_is_strict=True, device="cpu")


def test_checkpoints_of_other_source_code_are_not_continued(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    seen: list[bool] = []
    folder = results.checkpoints("question") / "pack"

    def train(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        seen.append(folder.exists())
        folder.mkdir(exist_ok=True)  # and nothing is recorded, as if it was killed

    go(train)
    go(train)
    (folder.parent / "sources").write_text("e" * 64)
    go(train)
    assert seen == [False, True, False]


def test_records_say_what_their_runs_were_computed_with(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    def on_gpu(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        def add_kernel(event: PackEvent) -> None:
            if isinstance(event.what, Progress):
                ended = [replace(result, kernel="fused") for result in event.what.finished]
                event = replace(event, what=replace(event.what, finished=ended))
            on_event(event)

        backend(packs, execution, add_kernel)

    go(on_gpu)
    for record in records_of(results).values():
        assert record["environment"]["kernel"] == "fused"
        assert record["environment"]["precision"] == "float32"
        assert record["environment"]["torch"] and record["pack"]["n_runs"] == 2


def test_packs_with_checkpoints_are_not_cut_anew_by_other_options(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results
) -> None:
    seen: list[dict[str, list[str]]] = []

    def stop(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        seen.append({pack.pack_id: [run.run_id for run in pack.runs] for pack in packs})
        folder = execution.checkpoint_dir / packs[0].pack_id
        folder.mkdir(exist_ok=True)
        (folder / "step-000000020.json").touch()
        raise StorageError("the plug was pulled")

    for chosen in ({}, {"max_runs_per_pack": 1, "n_workers": 5}):
        with pytest.raises(StorageError):
            go(stop, **chosen)
    first, second = seen
    under_way = next(iter(first))
    assert second[under_way] == first[under_way] and len(first[under_way]) == 2
    assert sorted(map(len, second.values())) == [1] * 10 + [2]
    assert {pack.pack_id for pack in read_plan(results, "question").packs} == second.keys()
    assert go(backend).n_trained == 12
    assert not results.checkpoints("question").exists()


def test_the_plan_names_an_altered_hypothesis(
    go: Callable[..., AblationOutcome], backend: Backend, console: Console, rebuilt: list[Any]
) -> None:
    go(backend)
    go(backend, {"hypotheses/weak_hurts/margin": 0.001})
    assert rebuilt[0][1].lock_changed == ()
    assert rebuilt[1][1].lock_changed == ("weak_hurts",)
    text = console.export_text()
    assert rebuilt[1][1].spec_file in text and "'weak_hurts'" in text


def test_seeds_added_after_a_run_are_said_once_and_stand_in_the_plan(
    go: Callable[..., AblationOutcome], backend: Backend, console: Console, results: Results
) -> None:
    go(backend)
    assert go(backend, {"seeds": [0, 1, 2, 3, 4]}).n_trained == 8
    plan = read_plan(results, "question")
    assert plan.lock_changed == ()
    added = plan.seeds_added["weak_hurts"]
    assert (added.locked, added.n_added) == ((0, 1, 2), 2)
    (line,) = [line for line in console.export_text().splitlines() if "weak_hurts" in line]
    assert "only_when_slow" in line and "2 seeds were added" in line and "looks planned" in line


def test_untestable_hypotheses_are_named_before_training(
    go: Callable[..., AblationOutcome], backend: Backend, console: Console
) -> None:
    said: list[str] = []

    def train(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        said.append(console.export_text(clear=False))
        backend(packs, execution, on_event)

    words = {"claim": "Weak noise makes no difference.", "test": "exact"}
    go(train, {f"hypotheses/weak_hurts/{key}": value for key, value in words.items()})
    assert "untestable: weak_hurts: " in said[0]
    assert "caution: weak_hurts: " in said[0] and "no_difference" in said[0]


def test_controls_are_separate_runs(
    go: Callable[..., AblationOutcome], backend: Backend, rebuilt: list[Any]
) -> None:
    """Fresh seeds and repetitions of an arm are new runs, paired by the seeds of the file."""
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


def test_a_limit_of_time_stops_in_order_and_the_next_call_goes_on(
    go: Callable[..., AblationOutcome], backend: Backend, results: Results, console: Console
) -> None:
    def first_then_wait(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        backend(packs[:1], execution, on_event)
        time.sleep(30)

    started = time.monotonic()
    stopped = go(first_then_wait, hours=3.0 / 3600)
    assert time.monotonic() - started < 20
    assert stopped.exit_code == 128 + signal.SIGALRM
    assert stopped.left_over is not None
    assert stopped.n_recorded + stopped.left_over.n_runs == stopped.n_runs
    assert set(stopped.left_over.undecided) == {"weak_hurts", "only_when_slow"}
    said = console.export_text(clear=False)
    assert f"{stopped.left_over.n_runs} runs in {len(stopped.left_over.order)} packs" in said
    first = set(read_records(results, read_plan(results, "question").run_ids, lambda _: None))

    counting = Counting(backend)
    done = go(counting, hours=1.0)
    assert (done.exit_code, done.left_over) == (0, None)
    assert first.isdisjoint(counting.run_ids)
    assert len(counting.run_ids) == stopped.left_over.n_runs


def test_without_a_limit_nothing_is_said_of_one(
    go: Callable[..., AblationOutcome], backend: Backend, console: Console
) -> None:
    assert go(backend).left_over is None
    assert "time limit" not in console.export_text()
