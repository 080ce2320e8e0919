"""`import-config`: the configuration alone on standard output, nothing lost in silence."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from decoder.config import load_config
from decoder.importing import import_mapping
from orchestrator.cli.app import app

ARGS: dict[str, Any] = {"nUnits": 12, "lrStart": 0.02, "lrEnd": 0.01, "seqLen": 150}


@pytest.fixture
def args(tmp_path: Path) -> Path:
    path = tmp_path / "args.yaml"
    path.write_text(yaml.safe_dump(ARGS))
    return path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["import-config", *map(str, arguments)])


def test_standard_output_is_a_configuration_that_loads(args: Path, tmp_path: Path) -> None:
    done = call(args, "--data", "/recordings")
    assert done.exit_code == 0
    (tmp_path / "ours.yaml").write_text(done.stdout)
    config = load_config(tmp_path / "ours.yaml")
    assert config.data.path == "/recordings"
    assert (config.model.n_units, config.optim.lr_min) == (12, 0.01)
    for word in ("nUnits", "no effect there", "seqLen", "the official value", "l2_decay"):
        assert word in done.stderr


def test_a_file_is_written_once_and_names_what_was_not_taken_over(
    args: Path, tmp_path: Path
) -> None:
    args.write_text(yaml.safe_dump({**ARGS, "nUnit": 3}))
    output = tmp_path / "ours.yaml"
    done = call(args, "--output", output)
    assert done.exit_code == 0 and "did you mean 'nUnits'" in done.stdout
    assert "# Not taken over: nUnit: 3" in output.read_text()
    assert load_config(output).model.n_units == 12
    again = call(args, "--output", output)
    assert again.exit_code == 2 and "exists already" in again.stderr


def test_what_is_unsupported_ends_with_2_and_no_file_unless_given_up(tmp_path: Path) -> None:
    args, output = tmp_path / "rnn_args.yaml", tmp_path / "ours.yaml"
    args.write_text(yaml.safe_dump({"num_training_batches": 5, "early_stopping": True}))
    refused = call(args, "--output", output)
    assert refused.exit_code == 2 and not output.exists()
    assert "early_stopping" in refused.stderr and "--without early_stopping" in refused.stderr
    done = call(args, "--output", output, "--without", "early_*")
    assert done.exit_code == 0
    assert "# Not taken over: early_stopping: True" in output.read_text()


def test_json_holds_the_configuration_and_what_became_of_every_key(args: Path) -> None:
    document = json.loads(call(args, "--json").stdout)
    imported = import_mapping(ARGS, "args")
    assert document["codebase"] == "t12" and document["complete"]
    assert document["config"] == imported.config.model_dump(mode="json")
    told = {entry["key"]: entry["outcome"] for entry in document["entries"]}
    assert told["nUnits"] == "mapped" and told["seqLen"] == "no effect"


def test_a_pickle_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "args").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    done = call(tmp_path / "args")
    assert done.exit_code == 2 and len(done.stderr.strip().splitlines()) == 1


def test_a_file_without_readable_recordings_says_that_they_are_to_be_named(
    args: Path, tmp_path: Path
) -> None:
    done = call(args)
    assert "data.path names synthetic recordings" in done.stderr
    assert "# data.path names synthetic recordings" in done.stdout
    named = call(args, "--data", "/mine", "--output", tmp_path / "mine.yaml")
    assert "synthetic" not in named.stderr + (tmp_path / "mine.yaml").read_text()


def test_a_file_of_ours_is_printed_without_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: {n_units: 8}\n")
    done = call(tmp_path / "base.yaml")
    assert done.exit_code == 0 and done.stderr == "read as ours; nothing had to be translated\n"
