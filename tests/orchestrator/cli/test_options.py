"""`orchestrator.cli.options`: which results folder a command uses, and that it says so."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from shipped import ABLATIONS
from typer.testing import CliRunner, Result

from orchestrator.cli import options
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


def test_every_command_that_prints_json_prints_nothing_else() -> None:
    commands = [*app.registered_commands]
    commands += [
        c for group in app.registered_groups for c in group.typer_instance.registered_commands
    ]
    calls = [command.callback for command in commands if command.callback is not None]
    with_json = [call for call in calls if "as_json" in inspect.signature(call).parameters]
    assert len(with_json) > 10
    assert all(hasattr(call, "__wrapped__") for call in with_json)  # by `handled`


def test_what_training_prints_is_not_in_the_document(
    project: Path,
    write_spec: WriteSpec,
    backend: Backend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train_loudly(*arguments: Any) -> None:
        print("(raylet) The node has been marked dead")
        backend(*arguments)

    monkeypatch.setattr(local, "train_locally", train_loudly)
    monkeypatch.chdir(tmp_path)
    done = call("run", write_spec(), "--results", tmp_path / "r", "--backend", "local", "--json")
    assert json.loads(done.stdout)["n_recorded"] == 12
    assert "marked dead" in done.stderr


def test_an_ablation_of_differences_is_in_the_json(
    write_spec: WriteSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec()
    other = json.loads((tmp_path / "base.yaml").read_text())
    other["optim"]["lr_max"] = 0.001
    (tmp_path / "other.yaml").write_text(json.dumps(other))
    monkeypatch.chdir(tmp_path)
    done = call("diff", "base.yaml", "other.yaml", "--as-ablation", "why", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["differences"]) == 1
    assert yaml.safe_load(document["ablation"])["name"] == "why"


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


@pytest.mark.parametrize(("is_terminal", "said"), [(False, False), (True, False), (True, True)])
def test_changed_recordings_are_accepted_by_the_option_or_by_a_person(
    is_terminal: bool, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return said

    monkeypatch.setattr(options.typer, "confirm", confirm)
    for stream in (options.sys.stdin, options.sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    assert options.accepting(True)("what changed") is True
    assert not asked
    assert options.accepting(False)("what changed") is said
    assert len(asked) == is_terminal


@pytest.mark.parametrize("options", [("--backend", "ray"), ("--address", "head:6379")])
def test_shared_work_is_trained_without_ray(
    write_spec: WriteSpec, tmp_path: Path, options: tuple[str, str]
) -> None:
    done = call("run", write_spec(), "--results", tmp_path / "r", "--share-work", *options)
    assert done.exit_code == 2 and "--share-work" in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("option", ["--hours", "--grace-seconds"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e10", "-1"])
def test_a_time_that_no_timer_takes_is_refused(option: str, value: str) -> None:
    refused = call("run", "absent.yaml", option, value)
    assert refused.exit_code == 2 and isinstance(refused.exception, SystemExit)
    assert option in refused.output
