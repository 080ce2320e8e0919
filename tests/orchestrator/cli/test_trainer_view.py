"""`plan`, `diff` and `search --dry-run` of a trainer of the user's, which none of them executes."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result
from user_trainer import SPEC, write_trainer

from orchestrator.cli.app import app


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_trainer(tmp_path, {"trainer/command": ["sh", "-c", "touch {out} {config}"]})


def test_plan_shows_the_command_and_executes_nothing(file: Path, tmp_path: Path) -> None:
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    shown = call("plan", file, "--results", tmp_path / "results")
    assert shown.exit_code == 0, shown.output
    assert "command: sh -c 'touch {out} {config}'" in shown.output
    assert "15 runs in 15 packs" in shown.output
    after = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    assert {path for path in after if path.parts[0] != "results"} == set(before)


def test_plan_as_json_says_what_is_promised_less(file: Path, tmp_path: Path) -> None:
    shown = call("plan", file, "--results", tmp_path / "results", "--json")
    document = json.loads(shown.stdout)
    assert len(document["promised_less"]) == 3
    assert document["arms"][-1]["arm_id"] == "repeat"
    assert document["forecast"]["cost"]["hours"] == pytest.approx(7.5)


def test_diff_shows_what_two_arms_change(file: Path) -> None:
    shown = call("diff", f"{file}:high+gru", f"{file}:low+cnn", "--json")
    found = {
        one["parameter"]: (one["a"], one["b"]) for one in json.loads(shown.stdout)["differences"]
    }
    assert found == {"lr": (0.01, 0.005), "kind": ("gru", "cnn")}


def test_a_dry_run_of_a_search_shows_the_command_and_executes_nothing(
    file: Path, tmp_path: Path
) -> None:
    search = tmp_path / "search.yaml"
    document = {
        "name": "tuned",
        "question": "Which rate?",
        "trainer": SPEC["trainer"],
        "space": {"lr": {"log": [0.001, 0.1]}},
        "n_candidates": 2,
        "seeds": [1],
    }
    search.write_text(yaml.safe_dump(document))
    shown = call("search", search, "--dry-run", "--results", tmp_path / "results")
    assert shown.exit_code == 0, shown.output
    assert "2 candidates, 2 runs" in shown.output
    assert not (tmp_path / "theirs" / "executed").exists()


def test_a_mistake_in_the_trainer_ends_with_its_line_and_exit_code_2(file: Path) -> None:
    file.write_text(file.read_text().replace("n_batches", "n_batch"))
    shown = call("plan", file)
    assert shown.exit_code == 2
    assert f"{file}:" in shown.output and "did you mean 'n_batches'" in shown.output
