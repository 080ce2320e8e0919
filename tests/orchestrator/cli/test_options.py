"""`orchestrator.cli.options`: which results folder a command uses, and that it says so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shipped import ABLATIONS
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.execute.backends import Backend, local

WriteSpec = Callable[..., Path]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend) -> Path:
    """A checkout of this project, and training that is instant."""
    folder = tmp_path / "project"
    (folder / "ablations" / "base").mkdir(parents=True)
    (folder / "orchestrator").mkdir()
    (folder / "orchestrator" / "__init__.py").touch()
    monkeypatch.setattr(local, "train_locally", backend)
    return folder


def test_a_file_anywhere_has_its_results_in_the_project_and_each_command_finds_them(
    project: Path, write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, results = write_spec(), project / "results"
    monkeypatch.chdir(project / "ablations")
    done = call("run", path, "--backend", "local", "--json")
    assert done.exit_code == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.split()[-1] == str(results)]
    assert line == done.stderr.splitlines()[0]
    assert Path(json.loads(done.stdout)["folder"]) == results / "ablations" / "question"
    for name in ("question", path):
        report = call("report", name, "--json")
        assert report.exit_code == 0 and report.stderr.split()[-1] == str(results)
    (row,) = json.loads(call("status", "--json").stdout)
    assert row["name"] == "question" and row["n_recorded"] == 12
    assert len(json.loads(call("runs", "--json").stdout)) == 12


def test_the_file_leads_to_the_project_if_the_working_directory_does_not(
    project: Path, write_spec: WriteSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_spec()
    for file in (path, path.with_name("base.yaml")):
        file.rename(project / "ablations" / file.name)
    monkeypatch.chdir(tmp_path)
    file = Path("project") / "ablations" / path.name
    for command in ("run", "report"):
        assert call(command, file, *["--backend", "local"][: 2 * (command == "run")]).exit_code == 0
    assert (project / "results" / "ablations" / "question" / "report.md").is_file()
    assert not (tmp_path / "results").exists()


def test_a_folder_that_is_named_is_used(
    project: Path, write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    done = call("run", write_spec(), "--backend", "local", "--results", "../elsewhere")
    assert done.exit_code == 0 and not (project / "results").exists()
    assert str(project / "../elsewhere") in done.stderr
    assert (project.parent / "elsewhere" / "ablations" / "question" / "plan.json").is_file()


def test_a_search_says_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("search", ABLATIONS / "lr_search.yaml", "--report-only", "--results", "mine")
    assert done.exit_code == 5 and str(tmp_path / "mine") in done.stderr.splitlines()[0]


@pytest.mark.parametrize("options", [("--backend", "ray"), ("--address", "head:6379")])
def test_shared_work_is_trained_without_ray(
    write_spec: WriteSpec, tmp_path: Path, options: tuple[str, str]
) -> None:
    done = call("run", write_spec(), "--results", tmp_path / "r", "--share-work", *options)
    assert done.exit_code == 2 and "--share-work" in done.stderr
    assert not (tmp_path / "r").exists()
