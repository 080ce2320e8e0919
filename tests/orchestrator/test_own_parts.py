"""An ablation with parts of the user's, from the file to the verdicts, and what runs the file."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result
from user_parts import GOOD

from decoder import extensions
from decoder.errors import ConfigError
from orchestrator.cli.app import app
from orchestrator.plan.contrasts import prove_contrasts
from orchestrator.search.load import load_search
from orchestrator.spec.load import load_spec

BASE = {
    "data": {"path": "synthetic:tiny", "batch_size": 8, "days_per_batch": 2},
    "model": {"n_units": 6, "n_layers": 1},
    "optim": {"lr_warmup_steps": 0},
    "train": {"n_steps": 3, "eval_every_steps": 1},
}
SPEC: dict[str, Any] = {
    "name": "parts",
    "question": "Does it help?",
    "base": "base.yaml",
    "extensions": ["my_parts.py"],
    "set": {"parts.frames.use": True},
    "factors": {
        "mix": {
            "off": {"parts.mix.use": False},
            "low": {"parts.mix.use": True, "parts.mix.p": 0.1},
            "high": {"parts.mix.use": True, "parts.mix.p": 0.5},
        }
    },
    "seeds": [1, 2],
    "hypotheses": {
        "helps": {
            "claim": "It helps.",
            "contrast": {"factor": "mix", "from": "low", "to": "high"},
            "outcome": "own_frames",
            "direction": "no_difference",
            "margin": 0.5,
        }
    },
    "criteria": {"some": {"metric": "own_frames", "above": 1.0}},
}
WriteFiles = Callable[..., Path]


@pytest.fixture(scope="module")
def write_files() -> WriteFiles:
    def write(folder: Path, text: str = GOOD, **changes: Any) -> Path:
        (folder / "my_parts.py").write_text(text)
        (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
        path = folder / "spec.yaml"
        path.write_text(yaml.safe_dump({**SPEC, **changes}, sort_keys=False))
        return path

    return write


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def problems(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_spec(path)
    return str(caught.value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, write_files: WriteFiles) -> Path:
    """The folder of an ablation that was run; its file of parts has gone since."""
    folder = tmp_path_factory.mktemp("trained")
    spec = write_files(folder)
    ran = call("run", spec, "--results", folder / "results", "--backend", "local", "--workers", "1")
    assert ran.exit_code == 0, ran.output
    (folder / "my_parts.py").unlink()
    return folder


def test_parameters_are_varied_in_a_pack_and_seen_in_contrasts(
    tmp_path: Path, write_files: WriteFiles
) -> None:
    loaded = load_spec(write_files(tmp_path))
    [proof] = prove_contrasts(loaded)
    assert proof.changed == {"parts.mix.p": (0.1, 0.5)}
    planned = call("plan", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--json")
    packs = json.loads(planned.stdout)["packs"]
    assert sorted(pack["n_runs"] for pack in packs) == [1, 1, 2, 2]


def test_mistakes_are_named_with_their_lines(tmp_path: Path, write_files: WriteFiles) -> None:
    factors = {"mix": {"a": {"parts.mix.p": 1.5}, "b": {"parts.mixx.p": 0.1}, "c": {"files.x": 1}}}
    text = problems(write_files(tmp_path, factors=factors, hypotheses={}))
    assert "factors.mix.a: parts.mix.p: must be below 1, but got 1.5" in text
    assert "factors.mix.b: 'parts.mixx.p' is not a config path; did you mean 'parts.mix.p'" in text
    assert "factors.mix.c: 'files.x' is not a config path" in text
    path = write_files(tmp_path, extensions=["my_parts.py", "other.py"])
    assert f"{path}:5: extensions: 'other.py': " in problems(path) or "other.py" in problems(path)


def test_a_metric_must_be_recorded_by_the_arms_it_is_asked_about(
    tmp_path: Path, write_files: WriteFiles
) -> None:
    text = problems(write_files(tmp_path, set={"parts.mix.shift": 2}))
    assert "hypotheses.helps.outcome: arm " in text and "criteria.some.metric: arm " in text
    assert text.count("set parts.frames.use to true") == 2
    wrong = {"helps": {**SPEC["hypotheses"]["helps"], "outcome": "own_frame"}}
    assert "did you mean 'own_frames'" in problems(write_files(tmp_path, hypotheses=wrong))


def test_a_search_varies_parameters_and_minimizes_a_metric(
    tmp_path: Path, write_files: WriteFiles
) -> None:
    write_files(tmp_path)
    search = {
        **{key: SPEC[key] for key in ("question", "base", "extensions", "seeds")},
        "name": "search",
        "set": {"parts.mix.use": True, "parts.frames.use": True},
        "space": {"parts.mix.p": {"uniform": [0.1, 0.5]}},
        "objectives": {"own_frames": "maximize"},
        "n_candidates": 2,
    }
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(search, sort_keys=False))
    loaded = load_search(path)
    assert list(loaded.spec.space) == ["parts.mix.p"]
    path.write_text(yaml.safe_dump({**search, "space": {"parts.mix.p": {"uniform": [0.1, 5.0]}}}))
    with pytest.raises(ConfigError, match=r"parts\.mix\.p: must be below 1"):
        load_search(path)


def test_a_run_ends_in_verdicts_on_a_metric_of_the_users(trained: Path) -> None:
    tables = trained / "results/ablations/parts"
    [row] = list(csv.DictReader((tables / "verdicts.csv").read_text().splitlines()))
    assert (row["outcome"], float(row["effect"])) == ("own_frames", 0.0)
    header = (tables / "runs.csv").read_text().splitlines()[0].split(",")
    assert "own_frames" in header


def test_nothing_after_the_ledger_runs_the_file(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file raises, and is not known in this process either."""
    monkeypatch.setattr(extensions, "_loaded", {})
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    (folder / "my_parts.py").write_text("raise SystemError('it ran')")
    monkeypatch.chdir(folder)
    one = min(path.parent.name for path in (folder / "results/runs").glob("*/record.json"))
    for words in (
        *("report parts", "report spec.yaml", "status parts", "status spec.yaml", "runs"),
        *(f"runs show {one}", "compare parts:low parts:high", "slurm spec.yaml --output -"),
    ):
        ran = call(*words.split(), "--results", "results")
        assert ran.exit_code == 0, (words, ran.output)
    assert not extensions._loaded
    assert "it ran" in call("plan", "spec.yaml", "--results", "results").output


def test_a_changed_file_trains_other_runs(
    trained: Path, tmp_path: Path, write_files: WriteFiles
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)

    def recorded(text: str) -> int:
        spec = write_files(folder, text)
        planned = call("plan", spec, "--results", folder / "results", "--json")
        return int(json.loads(planned.stdout)["n_recorded"])

    assert recorded(GOOD) == 6
    spec = [folder / "spec.yaml", "--results", folder / "results"]
    assert "changed (" not in call("plan", *spec).output
    assert recorded(GOOD + "\n# changed\n") == 0
    said = call("plan", *spec).output
    assert "changed (my_parts.py) since 6 recorded runs" in " ".join(said.split())


def test_a_worker_refuses_a_file_that_changed_since_the_plan(
    tmp_path: Path, write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decoder.pack import Pack, Run
    from decoder.train import train

    loaded = load_spec(write_files(tmp_path))
    config = next(arm.config for arm in loaded.arms if arm.levels["mix"] == "low")
    monkeypatch.setattr(extensions, "_loaded", {})  # as in the process of a worker
    (tmp_path / "my_parts.py").write_text(GOOD + "\n# changed\n")
    pack: Any = Pack("pack", 1, (Run("run", config),))
    with pytest.raises(ConfigError, match="has changed since the run was planned"):
        next(train(pack, None, device="cpu"))  # type: ignore[arg-type]
