"""`orchestrator.cli.app`: commands, JSON, exit codes, no tracebacks."""

import io
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest
from rich.console import Console
from small_ablation import BASE, SPEC, pretend
from typer.testing import CliRunner, Result

from decoder.errors import StorageError
from decoder.pack import Pack
from orchestrator.cli import run_view
from orchestrator.cli.app import app
from orchestrator.driver.run import AblationOutcome
from orchestrator.execute.backends import Backend, Execution, PackEvent, PackFailed, local
from orchestrator.store.paths import Results

WriteSpec = Callable[..., Path]
OnEvent = Callable[[PackEvent], None]


def call(*arguments: str | Path) -> Result:
    """One command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def spawn(*arguments: str | Path) -> subprocess.Popen[str]:
    """One command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    """Training is instant."""
    monkeypatch.setattr(local, "train_locally", backend)


@pytest.fixture
def run(write_spec: WriteSpec, results: Results, pretended: None) -> Callable[..., Result]:
    def command(*arguments: str) -> Result:
        where = ("--results", results.root, "--backend", "local")
        return call("run", write_spec(), *where, *arguments)

    return command


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of one small ablation and its report; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    for name, document in (("base", BASE), ("question", SPEC)):
        (folder / f"{name}.yaml").write_text(json.dumps(document))
    where = ("--results", folder / "results", "--backend", "local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "train_locally", pretend)
        assert call("run", folder / "question.yaml", *where).exit_code == 0
    return Results(folder / "results")


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], "torch ray pandas numpy h5py matplotlib pydantic"),
        (["status", "--results", "nowhere"], "torch ray pandas matplotlib h5py"),
    ],
)
def test_light_commands_load_nothing_heavy(
    arguments: list[str], forbidden: str, tmp_path: Path
) -> None:
    code = (
        "import sys\nfrom orchestrator.cli.app import app\n"
        f"try: app({arguments})\nexcept SystemExit: pass\n"
        f"print('loaded:', [m for m in {forbidden.split()} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.stdout.endswith("loaded: []\n")


def test_a_plan_on_prepared_recordings_needs_neither_torch_nor_ray(
    write_spec: WriteSpec, results: Results
) -> None:
    arguments = ["plan", str(write_spec()), "--results", str(results.root), "--no-calibrate"]
    call(*arguments)
    code = (
        "import sys\nfrom orchestrator.cli.app import app\n"
        f"try: app({arguments})\nexcept SystemExit as end: print('exit', end.code)\n"
        "print('loaded:', [m for m in ('torch', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("exit 0\nloaded: []\n")


def test_mistakes_of_a_file_come_in_lines_within_two_seconds(write_spec: WriteSpec) -> None:
    path = write_spec({"sseds": [1], "seeds": [1, 1], "set": {"optim.lr_max": "1e-3"}})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = spawn("run", path)
    out, err = process.communicate(timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # On a busy machine two seconds on the clock say nothing.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert (process.returncode, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(re.match(rf"{path}:\d+: ", line) for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [["rnu"], ["run"], ["run", "x.yaml", "--wokers", "2"], ["run", "x.yaml", "--workers", "0"]],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2


def test_a_plan_says_what_seeds_added_after_a_run_decide_and_beforehand_how_to_add_them(
    run: Callable[..., Result], write_spec: WriteSpec, results: Results
) -> None:
    where = ("--results", results.root, "--no-calibrate")
    before = call("plan", write_spec(), *where, "--seeds", "3,5").stdout
    assert "until the first run" in before and "looks planned" in before
    run()
    after = call("plan", write_spec({"seeds": [0, 1, 2, 3]}), *where).stdout
    assert "1 seed was added" in after and "from 3 seeds" in after and "from 4 seeds" not in after
    path = write_spec({"seeds": [0, 1, 5, 2]})
    document = json.loads(call("plan", path, *where, "--json").stdout)
    assert document["lock_changed"] == []
    assert document["seeds_added"]["weak_hurts"] == {
        "locked": [0, 1, 2],
        "looks": [],
        "steps": None,
        "n_added": 1,
    }
    assert {p["hypothesis"]: p["n_seeds"] for p in document["power"]}["weak_hurts"] == 3
    report = call("report", "question", "--results", results.root)
    assert "added" not in report.stdout, "the plan of the last run has the seeds of the lock"


@pytest.mark.parametrize("command", ["run", "plan", "report"])
def test_a_missing_file_exits_2_with_one_line(command: str, tmp_path: Path) -> None:
    result = call(command, tmp_path / "nowhere.yaml", "--results", tmp_path)
    assert result.exit_code == 2
    assert (
        result.stderr == f"{tmp_path / 'nowhere.yaml'}: cannot be read: No such file or directory\n"
    )


def test_run_with_json_prints_json_alone(run: Callable[..., Result]) -> None:
    result = run("--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["n_runs"], document["n_trained"], document["exit_code"]) == (12, 12, 0)
    assert "12 runs" in result.stderr, "progress goes to standard error"


def test_run_prints_verdicts_report_and_time(tmp_path: Path) -> None:
    row = {
        **{"hypothesis": "weak_hurts", "verdict": "supported", "exploratory": True},
        **{"claim": "Weak noise raises PER.", "finding": "By 3 points, [bold]so"},
        **{"decision": "Supported: its p is small."},
        **{"effect": 0.25, "n_seeds": 3, "detectable_effect": math.inf, "arms": '[{"n": 3}]'},
    }
    table = pd.DataFrame([row]).assign(seeds_needed=pd.array([None], dtype="Int64"))
    table.to_parquet(tmp_path / "verdicts.parquet")
    (tmp_path / "verdicts.json").write_text('{"answer": "Noise did it."}')
    outcome = AblationOutcome("question", 12, 12, 0, 0, None, {"training": 61.0}, tmp_path)
    verdicts = run_view.read_verdicts(tmp_path)
    listed = run_view.outcome_document(outcome, verdicts)["verdicts"]
    unknown = {"detectable_effect": None, "seeds_needed": None}
    assert listed == [{**row, **unknown, "arms": [{"n": 3}]}]
    console = Console(record=True, width=200, file=io.StringIO())
    run_view.print_outcome(console, outcome, verdicts)
    text = console.export_text()
    assert text.startswith("Noise did it.") and "weak_hurts: SUPPORTED (exploratory)" in text
    assert "By 3 points, [bold]so\n    Supported: its p is small." in text
    assert "12 of 12 runs" in text
    assert str(tmp_path / "report.html") in text.replace("\n", "")
    assert "training 1 min 01 s" in text


def test_runs_that_failed_for_good_exit_4(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, results: Results
) -> None:
    def fail(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        for pack in packs:
            ids = tuple(run.run_id for run in pack.runs)
            on_event(PackEvent(pack.pack_id, PackFailed(ids, "Killed", 3)))

    monkeypatch.setattr(local, "train_locally", fail)
    assert run().exit_code == 4
    (row,) = json.loads(call("status", "--results", results.root, "--json").stdout)
    assert (row["n_planned"], row["n_recorded"], row["n_failed"]) == (12, 0, 12)


def test_a_full_disk_exits_5_with_one_line(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        raise StorageError("results/x: no room on the device; 1,234 bytes are needed")

    monkeypatch.setattr(local, "train_locally", full)
    result = run()
    assert result.exit_code == 5
    assert result.stderr.splitlines()[-1] == (
        "results/x: no room on the device; 1,234 bytes are needed"
    )


def test_a_bug_shows_its_traceback(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(local, "train_locally", broken)
    assert isinstance(run().exception, ZeroDivisionError)


def test_status_counts_the_runs_of_each_ablation(finished: Results, results: Results) -> None:
    assert json.loads(call("status", "--results", results.root, "--json").stdout) == []
    assert call("status", "--results", results.root).stdout.count("\n") == 1
    (row,) = json.loads(call("status", "--results", finished.root, "--json").stdout)
    assert row == {
        "name": "question", "n_planned": 12, "n_recorded": 12, "n_diverged": 0,
        "n_failed": 0, "n_running": 0, "n_elsewhere": 0, "n_steps_done": 0,
        "n_steps_to_train": 0, "driver": None, "kind": "ablation", "n_not_needed": 0,
    }  # fmt: skip
    assert "question" in call("status", "question", "--results", finished.root).stdout


@pytest.mark.parametrize("command", ["report", "status"])
def test_an_ablation_that_was_never_run_exits_2_and_names_those_that_were(
    finished: Results, command: str
) -> None:
    result = call(command, "queston", "--results", finished.root)
    assert result.exit_code == 2
    assert "queston" in result.stderr and "question" in result.stderr
    assert call(command, "../question", "--results", finished.root).exit_code == 2


def test_report_rebuilds_from_the_ledger_by_name_or_file(
    finished: Results, results: Results, write_spec: WriteSpec
) -> None:
    shutil.copytree(finished.root, results.root)
    folder = results.ablation("question")
    first = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    for name in ("question", write_spec()):
        result = call("report", name, "--results", results.root, "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["n_recorded"] == 12
        again = {path.name: path.read_bytes() for path in folder.glob("*.*")}
        assert again == first and "report.md" in first


def test_plan_shows_runs_contrasts_and_untestable_hypotheses(
    write_spec: WriteSpec, results: Results
) -> None:
    exact = {f"hypotheses/{name}/test": "exact" for name in ("weak_hurts", "only_when_slow")}
    arguments = ("plan", write_spec(exact), "--results", results.root, "--no-calibrate")
    document = json.loads(call(*arguments, "--json").stdout)
    assert (document["n_runs"], document["n_recorded"]) == (12, 0)
    assert len(document["arms"]) == 4
    assert sum(pack["n_to_train"] for pack in document["packs"]) == 12
    assert document["contrasts"][0]["changed"] == {"augment.white_noise_std": [1.0, 0.25]}
    assert set(document["untestable"]) == {"weak_hurts", "only_when_slow"}  # three seeds
    text = call(*arguments).stdout
    assert "noise=weak · rate=low" in text
    assert "untestable: weak_hurts: " in " ".join(text.split())
    assert not results.ablations.exists() and not results.runs.exists()


def test_data_is_made_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    made = call("data", "make", folder, "--recipe", "tiny", "--seed", "5", "--json")
    assert json.loads(made.stdout) == {
        "path": str(folder),
        "recipe": "tiny",
        "layout": "t15",
        "seed": 5,
    }
    summary = json.loads(call("data", "check", folder, "--json").stdout)
    assert (summary["n_features"], len(summary["sessions"]), summary["fit"]) == (16, 2, True)
    text = call("data", "check", folder).stdout
    assert str(folder) in "".join(text.split()) and "16 features" in " ".join(text.split())
    again = call("data", "make", folder, "--recipe", "tiny")
    assert again.exit_code == 5 and str(folder) in again.stderr
    (tmp_path / "file").touch()
    nowhere = call("data", "make", tmp_path / "file" / "x", "--recipe", "tiny")
    assert nowhere.exit_code == 5 and str(tmp_path / "file") in nowhere.stderr


def test_t12_data_is_made_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    made = call("data", "make", folder, "--recipe", "tiny", "--layout", "t12", "--json")
    assert json.loads(made.stdout)["layout"] == "t12"
    assert len(list((folder / "train").glob("t12.*.mat"))) == 2
    result = call("data", "check", folder, "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert (summary["layout"], len(summary["sessions"]), summary["n_features"]) == ("T12", 2, 256)
    assert (summary["patch_size"], summary["patch_stride"], summary["fit"]) == (32, 4, True)
    text = " ".join(call("data", "check", folder).stdout.split())
    for fact in ("T12", "2 sessions", "256 features", "32 bins every 4"):
        assert fact in text
    assert call("data", "make", tmp_path / "x", "--layout", "t13").exit_code == 2


def test_data_check_names_the_words_without_a_pronunciation(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    call("data", "make", folder, "--recipe", "tiny")
    known = " ".join(call("data", "check", folder).stdout.split())
    assert "each has a pronunciation" in known
    with h5py.File(sorted(folder.glob("*/data_val.hdf5"))[0], "r+") as file:
        file["trial_0000"].attrs["sentence_label"] = "xqzv and xqzv"
    shown = call("data", "check", folder)
    text = " ".join(shown.stdout.split())
    assert shown.exit_code == 0
    for fact in ("1 of these", "said 2 times", "2 times in val: xqzv"):
        assert fact in text
    summary = json.loads(call("data", "check", folder, "--json").stdout)
    assert (summary["words"]["n_lacking"], summary["words"]["lacking"]) == (1, ["xqzv"])
    assert summary["total"]["n_other_transcriptions"] == 1


def test_data_check_accepts_the_name_of_a_recipe(results: Results) -> None:
    result = call("data", "check", "synthetic:tiny", "--results", results.root, "--json")
    assert json.loads(result.stdout)["n_classes"] == 41
    assert call("data", "check", "synthetic:tinny", "--results", results.root).exit_code == 2


def test_data_check_exits_3_where_it_says_unfit_and_shows_the_sessions(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    call("data", "make", folder, "--recipe", "tiny")
    with h5py.File(sorted(folder.glob("*/data_train.hdf5"))[0], "r+") as file:
        for group in file.values():
            kept = group["input_features"][:15]
            del group["input_features"]
            group["input_features"] = kept
            group.attrs["n_time_steps"] = 15
    shown = call("data", "check", folder)
    assert shown.exit_code == 3 and "not fit for training" in " ".join(shown.stdout.split())
    as_json = call("data", "check", folder, "--json")
    assert as_json.exit_code == 3 and json.loads(as_json.stdout)["fit"] is False


def test_an_unknown_recipe_exits_2_with_the_nearest_name(tmp_path: Path) -> None:
    result = call("data", "make", tmp_path / "x", "--recipe", "smal")
    assert result.exit_code == 2
    assert "'small'" in result.stderr


def test_unfit_recordings_exit_3_without_a_traceback(
    tmp_path: Path, write_spec: WriteSpec, results: Results
) -> None:
    folder = tmp_path / "recordings"
    call("data", "make", folder, "--recipe", "tiny")
    victim = sorted(folder.glob("*/data_train.hdf5"))[0]
    with h5py.File(victim, "r+") as file:
        file["trial_0000"]["input_features"][0, 0] = float("nan")
    for arguments in (
        ("data", "check", folder),
        ("run", write_spec({}, {"data/path": str(folder)}), "--results", results.root),
    ):
        result = call(*arguments)
        assert result.exit_code == 3
        assert str(victim) in result.stderr and "trial_0000" in result.stderr


def test_a_run_stopped_by_a_signal_is_finished_by_the_next_call(
    write_spec: WriteSpec, results: Results, tmp_path: Path
) -> None:
    """A process trains and receives SIGTERM; a call in this process trains the other runs."""
    path = write_spec()
    arguments = ("run", path, "--results", results.root, "--backend", "local", "--json")
    process = spawn(*arguments)
    while process.poll() is None and len(list(results.runs.glob("*/record.json"))) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    stopped = json.loads(out)
    assert 2 <= stopped["n_recorded"] < 12
    assert (
        f"{stopped['n_recorded']} of 12 runs"
        in (results.ablation("question") / "report.md").read_text()
    )
    before = {path: path.stat().st_mtime_ns for path in results.runs.glob("*/record.json")}

    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    finished = json.loads(result.stdout)
    assert finished["n_trained"] == 12 - stopped["n_recorded"]
    assert [row["hypothesis"] for row in finished["verdicts"]] == ["weak_hurts", "only_when_slow"]
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
