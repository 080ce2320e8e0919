"""`export`, the array script, and `import-runs` back: records of the very runs of the plan."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_command import SECTION, write_trainer
from typer.testing import CliRunner, Result

from decoder.__main__ import main as decoder_main
from decoder.atomic import sha256_of
from decoder.config import canonical_json
from decoder.exported import read_run
from orchestrator.cli.app import app
from orchestrator.execute.export import output_of, read_export, run_file
from orchestrator.store.ledger import read_history, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan

ON_MACHINE = ("pack", "timing", "host", "peak_memory_bytes", "record_sha256")
LOADED = {"data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2}}
BASE = {
    **LOADED,
    "model": {"n_units": 8, "n_layers": 1},
    "optim": {"lr_warmup_steps": 2},
    "train": {
        "n_steps": 6,
        "eval_every_steps": 2,
        "keep_weights": "final",
        "keep_logits": "both",
    },
}
CLAIM = {
    "claim": "The low rate is worse.",
    "contrast": {"factor": "rate", "from": "high", "to": "low"},
    "outcome": "per",
    "direction": "increase",
    "margin": 0.02,
}


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def records_of(root: Path, name: str) -> dict[str, Any]:
    results = Results(root)
    plan = read_plan(results, name)
    return read_records(results, plan.run_ids, lambda text: None)


def comparable(record: Any) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ON_MACHINE}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an ablation of two runs of our decoder, exported to ``exp``."""
    root = tmp_path_factory.mktemp("ours")
    (root / "base.yaml").write_text(json.dumps(BASE))
    spec = {
        "name": "tiny",
        "question": "Does the rate matter?",
        "base": "base.yaml",
        "factors": {"rate": {"high": {}, "low": {"optim.lr_max": 0.002}}},
        "seeds": [1],
        "hypotheses": {"h": CLAIM},
    }
    (root / "spec.yaml").write_text(json.dumps(spec))
    done = call("export", root / "spec.yaml", root / "exp", "--results", root / "results")
    assert done.exit_code == 0, done.output
    return root


@pytest.fixture(scope="module")
def trained(ours: Path) -> Path:
    """The same after every exported run was trained by ``python -m decoder train-run``."""
    export = read_export(ours / "exp")
    assert export is not None
    for run in export.runs:
        words = ["train-run", str(run_file(ours / "exp", run.run_id)), "--device", "cpu"]
        words += ["--output", str(output_of(ours / "exp", run.run_id))]
        words += ["--datasets", str(ours / "results/datasets")]
        assert decoder_main(words) == 0
    return ours


def test_results_come_back_as_the_records_that_run_makes(trained: Path) -> None:
    results, elsewhere = trained / "results", trained / "elsewhere"
    done = call("import-runs", trained / "exp", "--results", results, "--json")
    document = json.loads(done.stdout)
    assert len(document["new"]) == 2 and not document["refused"] and not document["open"]
    ran = ["run", trained / "spec.yaml", "--backend", "local", "--device", "cpu", "--json"]
    assert call(*ran, "--results", elsewhere).exit_code == 0
    here, there = (records_of(root, "tiny") for root in (results, elsewhere))
    assert here.keys() == there.keys() and len(here) == 2
    for run_id, record in here.items():
        assert comparable(record) == comparable(there[run_id])
        assert read_history(Results(results), run_id) == read_history(Results(elsewhere), run_id)
        assert (Results(results).run(run_id) / "weights.safetensors").is_file()
        for name in ("logits.npz", "test_logits.npz"):
            logits = [Results(root).run(run_id) / name for root in (results, elsewhere)]
            assert logits[0].read_bytes() == logits[1].read_bytes()
            assert logits[0].with_suffix(".json").is_file()
    again = json.loads(call(*ran, "--results", results).stdout)
    assert (again["n_trained"], again["n_recorded"]) == (0, 2)
    known = json.loads(call("import-runs", trained / "exp", "--results", results, "--json").stdout)
    assert len(known["known"]) == 2 and not known["new"]


def test_the_plan_is_locked_before_the_runs_are_submitted(ours: Path) -> None:
    lock = json.loads((ours / "results/ablations/tiny/lock.json").read_text())
    assert list(lock["hypotheses"]) == ["h"]
    plan = read_plan(Results(ours / "results"), "tiny")
    export = read_export(ours / "exp")
    assert export is not None and {run.run_id for run in export.runs} == set(plan.run_ids)
    assert not plan.lock_changed


def test_what_was_altered_or_made_by_other_numerics_is_not_taken(
    trained: Path, tmp_path: Path
) -> None:
    export = read_export(trained / "exp")
    assert export is not None
    first, second = (run.run_id for run in export.runs)
    subprocess.run(["cp", "-r", trained / "exp", tmp_path / "exp"], check=True)
    one, other = (output_of(tmp_path / "exp", i) / "result.json" for i in (first, second))
    one.write_text(one.read_text().replace('"status": "ok"', '"status": "diverged"'))
    document = json.loads(other.read_text())
    document.pop("sha256")
    document["numerics_version"] += 1
    document["sha256"] = sha256_of(canonical_json(document).encode())
    other.write_text(json.dumps(document))
    done = call("import-runs", tmp_path / "exp", "--results", tmp_path / "results", "--json")
    refused = json.loads(done.stdout)["refused"]
    assert "checksum" in refused[first] and "numerics version" in refused[second]
    assert not with_result(read_records(Results(tmp_path / "results"), refused, lambda t: None))


def test_results_of_other_code_are_records_of_other_code(trained: Path, tmp_path: Path) -> None:
    export = read_export(trained / "exp")
    assert export is not None
    subprocess.run(["cp", "-r", trained / "exp", tmp_path / "exp"], check=True)
    for run in export.runs:
        path = output_of(tmp_path / "exp", run.run_id) / "result.json"
        document = json.loads(path.read_text())
        document.pop("sha256")
        document["environment"]["code"] = {"decoder_sha256": "f" * 64, "git_commit": None}
        document["sha256"] = sha256_of(canonical_json(document).encode())
        path.write_text(json.dumps(document))
    results = Results(tmp_path / "results")
    done = call("import-runs", tmp_path / "exp", "--results", results.root, "--json")
    new = json.loads(done.stdout)["new"]
    for record in read_records(results, new, lambda text: None).values():
        assert record["environment"]["code"]["decoder_sha256"] == "f" * 64
        assert "training_sha256" not in record["environment"]["code"]


def test_recorded_runs_are_not_exported_again_unless_all_are_asked_for(
    trained: Path, tmp_path: Path
) -> None:
    results = trained / "results"
    call("import-runs", trained / "exp", "--results", results)
    done = call("export", trained / "spec.yaml", tmp_path / "more", "--results", results)
    assert done.exit_code == 2 and "--all" in done.stderr
    words = ["--all", "--at-once", "1", "--gpus", "1", "--json", "--results", results]
    done = call("export", trained / "spec.yaml", tmp_path / "more", *words)
    assert len(json.loads(done.stdout)["runs"]) == 2
    script = (tmp_path / "more/array.sbatch").read_text()
    assert "#SBATCH --array=0-1%1\n#SBATCH --time" in script
    assert "#SBATCH --gpus-per-task=1\n" in script


def test_a_folder_of_another_ablation_and_a_group_name_are_refused(ours: Path) -> None:
    document = json.loads((ours / "spec.yaml").read_text())
    (ours / "other.yaml").write_text(json.dumps({**document, "name": "other"}))
    words = ["--results", ours / "results"]
    done = call("export", ours / "other.yaml", ours / "exp", *words)
    assert done.exit_code == 2 and "'tiny'" in done.stderr
    done = call("import-runs", ours / "exp", "--as", "group", *words)
    assert done.exit_code == 2 and "--as" in done.stderr
    done = call("export", ours / "spec.yaml", ours / "more", "--time", "soon", *words)
    assert done.exit_code == 2 and "soon" in done.stderr


def test_recordings_of_a_relative_folder_are_found_from_the_exported_one(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ours)
    (folder,) = (ours / "results/datasets").glob("synthetic-tiny-*")
    own = str(folder.relative_to(ours))
    document = json.loads((ours / "spec.yaml").read_text())
    spec = {**document, "name": "own", "set": {"data.path": own}}
    (ours / "own.yaml").write_text(json.dumps(spec))
    done = call("export", ours / "own.yaml", tmp_path / "exp", "--results", tmp_path / "results")
    assert done.exit_code == 0, done.output
    export = read_export(tmp_path / "exp")
    assert export is not None
    monkeypatch.chdir(tmp_path)
    for listed in export.runs:
        run = read_run(run_file(tmp_path / "exp", listed.run_id))
        assert run.data == str(folder) and run.config.data.path == own


Foreign = Callable[..., Path]


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    """Exports an ablation of two runs of a trainer that is not ours; gives its folder."""

    def make(script: str | None = None, **section: Any) -> Path:
        write_trainer(tmp_path / "theirs", *([script] if script else []))
        spec = {
            "name": "foreign",
            "question": "Does it matter?",
            "trainer": {**SECTION, "cwd": "theirs", "repeat": False, **section},
            "factors": {"rate": {"high": {}, "low": {"per": 60.0}}},
            "seeds": [3],
            "hypotheses": {"h": CLAIM},
        }
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
        done = call("export", tmp_path / "spec.yaml", tmp_path / "exp", "--results", tmp_path / "r")
        assert done.exit_code == 0, done.output
        return tmp_path

    return make


def task(root: Path, number: int) -> subprocess.Popen[bytes]:
    """One task of the array, without SLURM."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("SLURM_")}
    return subprocess.Popen(
        ["bash", str(root / "exp/array.sbatch")],
        env={**environment, "SLURM_ARRAY_TASK_ID": str(number)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_a_command_is_exported_with_its_words_and_comes_back_as_run_records_it(
    foreign: Foreign,
) -> None:
    root = foreign()
    export = read_export(root / "exp")
    assert export is not None and export.kind == "command"
    document = json.loads(run_file(root / "exp", export.runs[0].run_id).read_text())
    assert document["argv"][:2] == [sys.executable, "train.py"]
    for number in range(2):
        assert task(root, number).wait() == 0
    back = json.loads(call("import-runs", root / "exp", "--results", root / "r", "--json").stdout)
    assert len(back["new"]) == 2 and not back["refused"]
    ran = ["run", root / "spec.yaml", "--backend", "local", "--json", "--results"]
    assert json.loads(call(*ran, root / "r").stdout)["n_trained"] == 0
    assert json.loads(call(*ran, root / "other").stdout)["n_trained"] == 2
    here, there = (records_of(root / name, "foreign") for name in ("r", "other"))
    assert here.keys() == there.keys()
    for run_id, record in here.items():
        assert record["environment"] == {}
        unknown = {"environment": {}}  # of the machine that trained it
        assert comparable(record) == comparable(there[run_id]) | unknown
        histories = [Results(root / name).history(run_id) for name in ("r", "other")]
        assert histories[0].read_bytes() == histories[1].read_bytes()


def test_a_command_that_fails_or_whose_code_changed_is_not_taken(foreign: Foreign) -> None:
    root = foreign("sys.stderr.write('no such card')\nsys.exit(3)\n")
    assert task(root, 0).wait() == 3
    assert task(root, 0).wait() == 0  # it has ended, and is not tried again
    words = ["import-runs", root / "exp", "--results", root / "r", "--json"]
    back = json.loads(call(*words).stdout)
    (why,) = back["refused"].values()
    assert "exit code" in why and "no such card" in why and len(back["open"]) == 1
    (root / "theirs/train.py").write_text("# other\n")
    (why,) = json.loads(call(*words).stdout)["refused"].values()
    assert "train.py" in why and "changed since the export" in why


def test_a_signal_ends_a_task_in_order_and_the_next_one_resumes(foreign: Foreign) -> None:
    script = (
        "import time\nout = json.load(open(sys.argv[1]))['out']\n"
        "if sys.argv[2:] == ['again']:\n"
        "    line = 'Val batch 300: PER (avg): 0.2 CTC Loss (avg): 1.0 time: 0.1'\n"
        "    open(out + '/log.txt', 'a').write(line + chr(10))\n"
        "else:\n    open(out + '/ready', 'w').close()\n    time.sleep(60)\n"
    )
    root = foreign(script, resume=[sys.executable, "train.py", "{config}", "again"])
    first = task(root, 0)
    export = read_export(root / "exp")
    assert export is not None
    folder = output_of(root / "exp", export.runs[0].run_id)
    until = time.monotonic() + 30
    while not (folder / "out/ready").exists():
        assert time.monotonic() < until and first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGUSR1)
    assert first.wait(timeout=30) == 143
    assert not (folder / "ended").exists()
    assert task(root, 0).wait(timeout=30) == 0
    assert (folder / "ended").read_text().split()[0] == "0"
    assert task(root, 7).wait() == 2  # the list has no such line
