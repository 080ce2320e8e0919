"""Faults of processes and of files: each is done for real, and then `run` is called again."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import pytest
from fault_table import HOSTILE, N_RUNS, N_STEPS, Ablation, call, row, write_ablation

from decoder.pack import Pack, Progress
from orchestrator.execute.backends import Execution, PackEvent, local

HERE = Path(__file__).parents[1]
WITH_ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


class Story(NamedTuple):
    """What happened to one results folder.

    Attributes:
        while_held: what a second driver got beside one that was alive, and its seconds of CPU.
        pid: the first driver, which was killed.
        at_kill: the outcomes recorded when it was killed, and the times of their records.
        damaged: the newest checkpoint, of which half was left; and the step of the one before.
        stops: signal → what the driver that received it gave, with the runs recorded then.
        first_steps: the steps that the first stopped driver reported first for each pack.
        after: what the last call gave.
        at_end: as `at_kill`.
    """

    ablation: Ablation
    while_held: tuple[Any, float]
    pid: int
    at_kill: dict[str, tuple[Any, int]]
    damaged: tuple[Path, int]
    stops: dict[str, tuple[Any, int, str]]
    first_steps: dict[str, int]
    after: Any
    at_end: dict[str, tuple[Any, int]]


def recorded(ablation: Ablation) -> dict[str, tuple[Any, int]]:
    return {
        run_id: (outcome, ablation.results.record(run_id).stat().st_mtime_ns)
        for run_id, outcome in ablation.outcomes().items()
    }


def stopped_with_a_pack_in_progress(process: subprocess.Popen[str], ablation: Ablation) -> bool:
    """Stop a driver; whether it has recorded a run and is half through another."""
    process.send_signal(signal.SIGSTOP)
    steps = [int(path.stem[5:]) for path in ablation.checkpoints()]
    # Runs that diverge make two steps; the folder of a pack outlives its record for a moment.
    is_there = len(steps) == 2 and 5 < steps[1] < N_STEPS - 5 and len(ablation.outcomes()) >= 1
    if not is_there:
        process.send_signal(signal.SIGCONT)
    return is_there


def run_until(
    ablation: Ablation, number: signal.Signals, n_new: int, seen: dict[str, int] | None = None
) -> tuple[Any, int, str]:
    """Call `run`, and send this process a signal when so many more runs are recorded.

    It comes at the first step of a pack, so that one is in progress.
    """
    before = len(ablation.outcomes())
    train = local.train_locally

    def train_until(
        packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
    ) -> None:
        def note(event: PackEvent) -> None:
            assert isinstance(event.what, Progress)
            if seen is not None and event.what.step:
                seen.setdefault(event.pack_id, event.what.step)
            on_event(event)
            if not event.what.finished and len(ablation.outcomes()) >= before + n_new:
                os.kill(os.getpid(), number)

        train(packs, replace(execution, report_every_seconds=1e-9), note)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "train_locally", train_until)
        done = ablation.run("--json")
    return done, len(ablation.outcomes()), (ablation.folder / "report.md").read_text()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, sound: Path) -> Iterator[Story]:
    ablation = write_ablation(tmp_path_factory.mktemp("story"), sound)
    process = subprocess.Popen(
        [sys.executable, str(HERE / "saving_driver.py"), *ablation.command()],
        env=WITH_ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not stopped_with_a_pack_in_progress(process, ablation):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        started = time.process_time()
        second = ablation.run()
        while_held = second, time.process_time() - started
    finally:
        process.kill()
        process.communicate()
    at_kill = recorded(ablation)
    *_, before, newest = ablation.checkpoints()
    tensors = newest.with_suffix(".safetensors")
    os.truncate(tensors, tensors.stat().st_size // 2)
    first_steps: dict[str, int] = {}
    stops = {
        "SIGINT": run_until(ablation, signal.SIGINT, 1, first_steps),
        "SIGHUP": run_until(ablation, signal.SIGHUP, 1),
    }
    after = ablation.run("--json")
    yield Story(
        ablation, while_held, process.pid, at_kill, (tensors, int(before.stem[5:])),
        stops, first_steps, after, recorded(ablation),
    )  # fmt: skip


@row("the driver is killed")
def test_after_a_kill_no_run_is_lost_or_repeated_and_all_end_as_if_undisturbed(
    story: Story, trained: Ablation
) -> None:
    assert 1 <= len(story.at_kill) < N_RUNS
    assert story.after.exit_code == 0, story.after.output
    assert {run_id: story.at_end[run_id] for run_id in story.at_kill} == story.at_kill
    assert {run_id: what for run_id, (what, _) in story.at_end.items()} == trained.outcomes()
    trained_after = json.loads(story.after.stdout)["n_trained"]
    assert trained_after == N_RUNS - story.stops["SIGHUP"][1]
    folder = story.ablation.results
    left = [path for path in folder.root.rglob("*") if ".tmp" in path.name or "step-" in path.name]
    assert left == [] and list(folder.reservations.iterdir()) == []


@row("Ctrl-C, a termination signal, SIGUSR1, or a terminal that closes")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_keeps_what_is_recorded_and_no_verdict_comes_from_arms_with_gaps(
    story: Story, name: str, code: int
) -> None:
    done, n_recorded, report = story.stops[name]
    assert done.exit_code == code, done.output
    assert len(story.at_kill) < n_recorded < N_RUNS
    assert f"{n_recorded} of {N_RUNS} runs" in report
    verdicts = json.loads(done.stdout)["verdicts"]
    assert [(one["verdict"], one["reason"]) for one in verdicts] == [("inconclusive", "gaps")]


@row("a checkpoint is damaged")
def test_half_a_checkpoint_is_said_and_the_one_before_is_used(story: Story) -> None:
    path, step_before = story.damaged
    said = story.stops["SIGINT"][0].stderr.replace("\n", "")
    assert path.name in said and "it is skipped" in said
    assert story.first_steps[path.parent.name] == step_before


@row("two drivers of one ablation")
def test_a_second_driver_is_refused_at_once_with_process_and_host_of_the_first(
    story: Story,
) -> None:
    second, cpu_seconds = story.while_held
    assert second.exit_code == 5 and cpu_seconds < 2
    assert f"process {story.pid} on {socket.gethostname()}" in second.stderr.splitlines()[-1]


@row("a run diverges")
def test_runs_that_overflow_are_results_with_their_step(trained: Ablation) -> None:
    diverged = trained.ids("diverged")
    records = [json.loads(trained.results.record(run_id).read_text()) for run_id in diverged]
    assert [record["diverged_step"] for record in records] == [2] * (N_RUNS // 2)
    (counts,) = json.loads(call("status", "--results", trained.results.root, "--json").stdout)
    assert (counts["n_recorded"], counts["n_diverged"], counts["n_failed"]) == (
        N_RUNS,
        N_RUNS // 2,
        0,
    )


@row("hostile text in a name, claim, question or traceback")
def test_hostile_words_are_text_in_the_report(trained: Ablation) -> None:
    page = (trained.folder / "report.html").read_text()
    assert "<script>alert(1)" not in page and page.count("&lt;script&gt;alert(1)") >= 2
    assert page.count("<script") == 1  # the page's own
    assert 'src="http' not in page and 'href="http' not in page
    lines = (trained.folder / "report.md").read_text().splitlines()
    assert HOSTILE not in "\n".join(line for line in lines if line[:4] != "    ")  # code


@row("the disk is full")
@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="no disk can be mounted for a test without mount namespaces",
)
def test_a_full_disk_ends_in_one_line_and_room_lets_it_go_on(
    trained: Ablation, tmp_path: Path
) -> None:
    copy = trained.copy(tmp_path)
    for run_id in (copy.ids("ok")[0], copy.ids("diverged")[0]):
        copy.forget(run_id)
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, HERE / "small_disk.py", copy.spec, copy.results.root],
        env=WITH_ONE_THREAD, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    code, lines = found["full"]
    assert code == 5
    assert str(copy.results.runs) in lines[-1] and "bytes" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert found["kept_all"] and found["left_over"] == []
    assert found["free"] == [0, 2] and found["n_outcomes"] == N_RUNS


class Mended(NamedTuple):
    """A results folder with many kinds of damage, and what the next `run` gave."""

    ablation: Ablation
    ids: dict[str, str]
    done: Any
    others: list[Any]


def flip(path: Path, n_bytes: int = 1) -> None:
    """Flip the lowest bit of bytes in the middle of a file."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + n_bytes] = bytes(b ^ 1 for b in content[middle : middle + n_bytes])
    path.write_bytes(content)


@pytest.fixture(scope="module")
def mended(trained: Ablation, tmp_path_factory: pytest.TempPathFactory) -> Mended:
    copy = trained.copy(tmp_path_factory.mktemp("mended"))
    at = copy.results
    ok, diverged = copy.ids("ok"), copy.ids("diverged")
    ids = {
        **{"digit": ok[0], "half": ok[1], "bit": ok[2], "pipe": ok[3]},
        **{"folder": diverged[0], "link": diverged[1], "status": diverged[2]},
    }
    text = at.record(ids["digit"]).read_text()
    at.record(ids["digit"]).write_text(text.replace('"n_steps_done": 40', '"n_steps_done": 41'))
    os.truncate(at.record(ids["half"]), at.record(ids["half"]).stat().st_size // 2)
    flip(at.history(ids["bit"]))
    at.record(ids["pipe"]).unlink()
    os.mkfifo(at.record(ids["pipe"]))
    at.record(ids["folder"]).unlink()
    at.record(ids["folder"]).mkdir()
    at.record(ids["link"]).rename(at.root / "elsewhere.json")
    at.record(ids["link"]).symlink_to(at.root / "nowhere.json")
    text = at.record(ids["status"]).read_text()
    at.record(ids["status"]).write_text(text.replace('"diverged"', '"ok"'))
    at.index.write_bytes(b"no table")
    at.index_checksum.unlink()
    os.mkfifo(at.index_checksum)
    (store,) = (path.parent for path in at.datasets.glob("*/manifest.json"))
    flip(store / "train_features.f32", 4096)
    flip(store / "arrays.safetensors")
    others = [
        call(*words, "--results", at.root, "--json")
        for words in (("status",), ("runs",), ("report", "question"))
    ]
    return Mended(copy, ids, copy.run("--json"), others)


@row("packed recordings are damaged, or their files changed")
def test_damaged_features_are_packed_again_and_never_trained_on(
    mended: Mended, trained: Ablation
) -> None:
    assert "pack" in mended.done.stderr
    for name in ("train_features.f32", "arrays.safetensors", "manifest.json"):
        (whole,) = trained.results.datasets.glob(f"*/{name}")
        again = mended.ablation.results.datasets / whole.parent.name / name
        assert again.read_bytes() == whole.read_bytes()
    assert mended.ablation.outcomes() == trained.outcomes()


@row("a record or history is altered, cut short, or does not parse")
def test_only_the_runs_of_damaged_records_train_again(mended: Mended, trained: Ablation) -> None:
    assert mended.done.exit_code == 0, mended.done.output
    assert json.loads(mended.done.stdout)["n_trained"] == len(mended.ids)
    assert mended.ablation.outcomes() == trained.outcomes()


@row("a record or history is altered, cut short, or does not parse")
@row("a folder, a named pipe, a socket or a link stands in the place of a file")
@pytest.mark.parametrize("what", ["digit", "half", "bit", "pipe", "folder", "link", "status"])
def test_each_kind_of_damage_is_said_and_set_aside(mended: Mended, what: str) -> None:
    folder = mended.ablation.results.run(mended.ids[what])
    assert any(".corrupt" in path.name for path in folder.iterdir())
    said = "".join(result.stderr for result in (*mended.others, mended.done)).replace("\n", "")
    assert mended.ids[what] in said


@row("the index of runs is damaged")
@row("a folder, a named pipe, a socket or a link stands in the place of a file")
def test_questions_to_a_damaged_store_are_answered_from_what_is_sound(mended: Mended) -> None:
    status, runs, report = mended.others
    assert [result.exit_code for result in mended.others] == [0, 0, 0], report.output
    assert len(json.loads(runs.stdout)) <= N_RUNS
    assert mended.ablation.results.index_checksum.is_file()


@row("recordings changed since runs were recorded")
def test_a_changed_byte_in_the_recordings_is_named_before_anything_trains(
    trained: Ablation, sound: Path, tmp_path: Path
) -> None:
    copy = trained.copy(tmp_path)
    victim = sorted(sound.glob("*/data_train.hdf5"))[0]
    whole = victim.read_bytes()
    try:
        with h5py.File(victim, "r+") as file:
            file["trial_0000/input_features"][0, 0] += 1.0
        done = copy.run()
    finally:
        victim.write_bytes(whole)
    assert done.exit_code == 3
    said = done.stderr.replace("\n", " ")
    assert f"altered: {victim.relative_to(sound)}" in said
    assert f"{N_RUNS} recorded runs train again" in said
    assert copy.outcomes() == trained.outcomes()


@row("Ray is missing or broken")
@pytest.mark.parametrize("error", ["ImportError", "TypeError"])  # as of other versions of protobuf
def test_without_ray_the_same_plan_is_trained_into_the_same_ledger(
    trained: Ablation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    copy = trained.copy(tmp_path)
    copy.forget(copy.ids("ok")[0])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ray.py").write_text(f"raise {error}('libray is damaged')")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    command = copy.command("--json")
    command[command.index("local")] = "ray"
    done = call(*command)
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "libray is damaged" in said and "trained in this process instead" in said
    assert json.loads(done.stdout)["n_trained"] == 1
    assert copy.outcomes() == trained.outcomes()
