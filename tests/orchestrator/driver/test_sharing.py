"""Several drivers in one results folder: each run is trained once, and nothing waits for ever."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_ablation import Rebuilds, WriteSpec, pretend
from stored_pairs import change_record

from decoder.owners import this_process
from decoder.processes import process_start, this_machine
from orchestrator.cli.run_view import status_rows
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.driver.shared_work import WorkPlace, work_place
from orchestrator.execute.machine import Options
from orchestrator.plan.recordings import PrepareData
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.reservation_files import STALE_SECONDS, Driver
from orchestrator.store.reservations import reserving
from orchestrator.store.sources import training_sha256
from orchestrator.store.under_way import sources_of_checkpoints
from orchestrator.tables.tables import make_tables

SCRIPT = Path(__file__).with_name("pretending_driver.py")
Start = Callable[..., subprocess.Popen[str]]


class Events(list[tuple[str, int, str]]):
    """What the drivers noted: (kind, pid, what)."""

    @classmethod
    def of(cls, results: Results) -> "Events":
        path = results.root.with_suffix(".events")
        lines = path.read_text().splitlines() if path.exists() else []
        return cls((kind, int(pid), what) for kind, pid, what in (x.split(" ", 2) for x in lines))

    def trained(self) -> Counter[str]:
        return Counter(what for kind, _, what in self if kind == "train")

    def by(self, kind: str) -> list[int]:
        return [pid for one, pid, _ in self if one == kind]


def wait_for(results: Results, kind: str, n: int = 1) -> None:
    deadline = time.monotonic() + 60
    while len(Events.of(results).by(kind)) < n:
        assert time.monotonic() < deadline, f"no {kind}: {Events.of(results)}"
        time.sleep(0.02)


@pytest.fixture
def start(write_spec: WriteSpec, results: Results) -> Iterator[Start]:
    """Starts a driver of the small ablation with changes."""
    started: list[subprocess.Popen[str]] = []

    def launch(seconds: float, *flags: str, **changes: Any) -> subprocess.Popen[str]:
        spec = write_spec(changes)
        spec = spec.rename(spec.with_name(f"{len(started)}.yaml"))
        command = [sys.executable, str(SCRIPT), str(spec), str(results.root), str(seconds)]
        started.append(
            subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True, bufsize=1)
        )
        return started[-1]

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def left_over(results: Results) -> list[Path]:
    """What is reserved after the next driver has removed what dead ones left."""
    with reserving(results, "next"):
        pass
    return list(results.reservations.iterdir())


def codes(*processes: subprocess.Popen[str]) -> list[int]:
    return [process.wait(timeout=90) for process in processes]


@pytest.fixture
def alone(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    describe: PrepareData,
    rebuilt: Rebuilds,
) -> Callable[..., AblationOutcome]:
    """Runs the small ablation in this process, in another folder unless one is given."""

    def run(
        of: Results | None = None, share: bool = False, train: Any = pretend, **changes: Any
    ) -> AblationOutcome:
        return run_ablation(
            load(changes),
            of or Results(results.root.with_name("alone")),
            replace(options, max_runs_per_pack=2),
            console,
            backend=train,
            describe=describe,
            rebuild=rebuilt,
            share_work=share,
        )

    return run


def tables_of(results: Results, name: str) -> dict[str, Any]:
    """The tables of an ablation, without what depends on when and in which process it ran."""
    plan = read_plan(results, name)
    records = read_records(results, plan.run_ids, print)
    histories = {run_id: read_history(results, run_id) for run_id in records}
    tables = make_tables(plan, records, histories)
    own = ("seconds", "pid", "finished", "pack", "host")
    runs = tables.runs.drop(columns=[c for c in tables.runs if any(word in c for word in own)])
    return {"runs": runs.to_json(), "arms": tables.arms.to_json(), "n": len(records)}


def test_two_ablations_at_once_train_what_they_share_once(
    start: Start, results: Results, alone: Callable[..., AblationOutcome]
) -> None:
    other = {"name": "other", "seeds": [1, 2, 3]}
    first, second = start(0.1), start(0.1, **other)
    assert codes(first, second) == [0, 0]
    trained = Events.of(results).trained()
    assert len(trained) == 16 and set(trained.values()) == {1}
    assert {first.pid, second.pid} == set(Events.of(results).by("train"))
    alone()
    alone(**other)
    for name in ("question", "other"):
        assert tables_of(results, name) == tables_of(Results(results.root.with_name("alone")), name)
    assert left_over(results) == []


def test_processes_that_share_the_work_take_the_same_looks_though_one_is_killed(
    start: Start, results: Results, alone: Callable[..., AblationOutcome]
) -> None:
    steps = {"seeds": {"start": 4, "max": 8, "step": 2}}
    first, second = start(0.1, "share", **steps), start(0.1, "share", **steps)
    wait_for(results, "train", 4)
    first.kill()
    assert codes(second) == [0]
    assert alone(**steps).exit_code == 0

    def looks(of: Results) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in of.ablation("question").glob("looks/*/*")}

    assert len(looks(results)) > 1
    assert looks(results) == looks(Results(results.root.with_name("alone")))


def test_the_runs_of_a_killed_driver_are_taken_over_by_the_one_that_waits(
    start: Start, results: Results
) -> None:
    first = start(30.0)
    wait_for(results, "start")
    second = start(0.02, name="other")
    assert second.stderr is not None
    said = ""
    while f"are being trained by process {first.pid}" not in said:
        said = second.stderr.readline()
        assert said, "it ended"
    assert "2 runs" in said and "ablation 'question'" in said
    (row,) = [row for row in status_rows(results, "other", print)]
    assert (row["n_recorded"], row["n_elsewhere"], row["n_running"]) == (10, 2, 0)
    first.kill()
    first.wait()
    assert codes(second) == [0]
    trained = Events.of(results).trained()
    assert len(trained) == 12 and set(trained.values()) == {1}
    assert set(Events.of(results).by("train")) == {second.pid}
    third = start(0.0)
    assert codes(third) == [0]
    assert Events.of(results).trained() == trained, "nothing is trained again"
    assert left_over(results) == []


def test_processes_share_the_work_of_one_ablation_and_one_of_them_may_be_killed(
    start: Start, results: Results, alone: Callable[..., AblationOutcome]
) -> None:
    victim = start(60.0, "share")
    wait_for(results, "start")
    refused = start(0.0, name="question")
    differing = start(0.0, "share", seeds=[0, 1])
    assert codes(refused, differing) == [5, 2]
    reasons = [what for kind, _, what in Events.of(results) if kind == "refused"]
    assert any("--share-work" in reason for reason in reasons)
    assert any("seeds is [0, 1, 2] there, [0, 1] here" in reason for reason in reasons)
    others = [start(0.5, "share"), start(0.5, "share")]
    wait_for(results, "start", 2)
    victim.kill()
    victim.wait()
    assert codes(*others) == [0, 0]
    trained = Events.of(results).trained()
    assert len(trained) == 12 and set(trained.values()) == {1}
    assert set(Events.of(results).by("train")) <= {other.pid for other in others}
    assert Events.of(results).by("report"), "whoever records the last run reports"
    alone()
    assert tables_of(results, "question") == tables_of(
        Results(results.root.with_name("alone")), "question"
    )
    assert left_over(results) == []


def test_who_finds_nothing_left_leaves_the_rest_to_the_others(
    start: Start, results: Results, alone: Callable[..., AblationOutcome], rebuilt: Rebuilds
) -> None:
    slow = start(2.0, "share", "quiet")
    wait_for(results, "start")
    outcome = alone(results, share=True)
    assert (outcome.exit_code, outcome.n_recorded, outcome.n_trained) == (0, 10, 10)
    assert (outcome.n_elsewhere, outcome.is_reported, rebuilt) == (2, False, [])
    assert codes(slow) == [0]
    assert Events.of(results).by("report") == [slow.pid]


ELSEWHERE = Driver("t" * 16, "node7", 4711, "another machine", "17", "2026", "ablations", "night")


def reserve_elsewhere(results: Results, run_ids: list[str], driver: Driver = ELSEWHERE) -> Path:
    """Reservations that a driver of another machine made just now."""
    results.reservations.mkdir(parents=True, exist_ok=True)
    own = results.reservations / f"driver-{driver.token}"
    own.write_bytes(driver.to_json())
    for run_id in run_ids:
        os.link(own, results.reservations / f"{run_id}.0")
    return own


def of_this_process(token: str) -> Driver:
    """A driver that shares the work of the small ablation, and lives."""
    me = os.getpid()
    here = replace(ELSEWHERE, machine=this_machine(), pid=me, started=process_start(me) or "")
    return replace(here, token=token, name="question", shares=True)


def test_a_run_that_another_process_records_while_this_one_ends_does_not_count_as_missing(
    results: Results, alone: Callable[..., AblationOutcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone()
    kept = Results(results.root.with_name("alone"))
    victim = read_plan(kept, "question").run_ids[0]
    own = reserve_elsewhere(results, [victim], of_this_process("a" * 16))
    ask = WorkPlace.trained_elsewhere

    def ask_late(place: WorkPlace, run_ids: Collection[str]) -> set[str]:
        if own.exists():  # the other process records its run, and ends
            shutil.copytree(kept.run(victim), results.run(victim))
            own.unlink()
            (results.reservations / f"{victim}.0").unlink()
        return ask(place, run_ids)

    monkeypatch.setattr(WorkPlace, "trained_elsewhere", ask_late)
    outcome = alone(results, share=True)
    assert (outcome.exit_code, outcome.n_recorded, outcome.n_trained) == (0, 12, 11)
    assert outcome.is_reported


def test_checkpoints_stay_while_another_process_shares_the_work(
    results: Results, alone: Callable[..., AblationOutcome]
) -> None:
    other = of_this_process("b" * 16)
    joined = f"joined-ablations-question-{other.token}"

    def train(packs: Any, execution: Any, on_event: Any) -> None:
        pretend(packs, execution, on_event)
        if not (results.reservations / f"{joined}.0").exists():
            reserve_elsewhere(results, [joined], other)

    assert alone(results, share=True, train=train).n_recorded == 12
    assert sources_of_checkpoints(results, "question") == training_sha256()
    assert alone(results, share=True).exit_code == 0, "whoever joins now finds the same sources"
    (results.reservations / f"{joined}.0").unlink()
    assert alone(results, share=True).exit_code == 0
    assert not results.checkpoints("question").exists()


@pytest.mark.parametrize("share", [False, True])
def test_the_runs_of_another_machine_are_taken_over_when_its_heartbeat_is_old(
    results: Results, alone: Callable[..., AblationOutcome], share: bool
) -> None:
    alone(Results(results.root.with_name("planned")))
    run_ids = read_plan(Results(results.root.with_name("planned")), "question").run_ids
    driver = replace(ELSEWHERE, name="question", shares=True) if share else ELSEWHERE
    own = reserve_elsewhere(results, list(run_ids)[:3], driver)
    seen: list[int] = []

    def train(packs: Any, execution: Any, on_event: Any) -> None:
        pretend(packs, execution, on_event)
        seen.append(sum(len(pack.runs) for pack in packs))
        if sum(seen) == 9:
            os.utime(own, (time.time() - STALE_SECONDS - 5,) * 2)

    outcome = alone(results, share=share, train=train)
    assert (outcome.exit_code, outcome.n_trained, outcome.is_reported) == (0, 12, True)
    assert sum(seen) == 12, "each run once"
    assert left_over(results) == []


def test_a_run_that_failed_in_another_driver_is_not_tried_again_by_the_same_call(
    results: Results, alone: Callable[..., AblationOutcome], console: Console
) -> None:
    alone()
    kept = Results(results.root.with_name("alone"))
    victim = read_plan(kept, "question").run_ids[0]
    own = reserve_elsewhere(results, [victim])

    def train(packs: Any, execution: Any, on_event: Any) -> None:
        assert victim not in {run.run_id for pack in packs for run in pack.runs}
        pretend(packs, execution, on_event)
        if own.exists():  # the other driver records a failure, and ends
            shutil.copytree(kept.run(victim), results.run(victim))
            change_record(results, victim, status="failed", error="no power")
            own.unlink()
            (results.reservations / f"{victim}.0").unlink()

    outcome = alone(results, train=train)
    assert (outcome.exit_code, outcome.n_recorded, outcome.n_failed) == (4, 11, 1)
    assert "no power" in console.export_text()
    assert alone(results).exit_code == 0, "the next call tries it"


def test_a_process_that_shares_the_work_removes_what_killed_ones_left(results: Results) -> None:
    folder = results.ablation("question")
    folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = this_process()
    left, live = (
        folder / f".plan.json.tmp-{owner}-01234567"
        for owner in (mine._replace(pid=ended.pid, started=1), mine)
    )
    left.write_text("half of a pl")
    live.write_text("half of a pl")
    with work_place(results, "question", print, share=True):
        assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == [live.name]
