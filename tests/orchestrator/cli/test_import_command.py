"""`import-config`: a configuration that loads, and a remark for every key of the file."""

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
    for key in ("nUnits", "seqLen", "l2_decay"):
        assert key in done.stderr


def test_a_file_is_written_once_and_names_the_keys_that_were_not_imported(
    args: Path, tmp_path: Path
) -> None:
    args.write_text(yaml.safe_dump({**ARGS, "nUnit": 3, "extra_head": None}))
    output = tmp_path / "ours.yaml"
    refused = call(args, "--output", output)
    assert refused.exit_code == 2 and "'nUnits'" in refused.stderr and not output.exists()
    done = call(args, "--output", output, "--without", "nUnit")
    assert done.exit_code == 0
    for key in ("nUnit: 3", "extra_head: None"):
        assert any(line.startswith("#") and key in line for line in output.read_text().splitlines())
    assert load_config(output).model.n_units == 12
    again = call(args, "--output", output)
    assert again.exit_code == 2 and str(output) in again.stderr


def test_an_unsupported_key_ends_with_2_and_no_file_unless_it_is_left_out(tmp_path: Path) -> None:
    args, output = tmp_path / "rnn_args.yaml", tmp_path / "ours.yaml"
    args.write_text(yaml.safe_dump({"num_training_batches": 5, "early_stopping": True}))
    refused = call(args, "--output", output)
    assert refused.exit_code == 2 and not output.exists()
    assert "early_stopping" in refused.stderr and "--without early_stopping" in refused.stderr
    done = call(args, "--output", output, "--without", "early_*")
    assert done.exit_code == 0
    assert "early_stopping: True" in output.read_text().splitlines()[1]


def test_an_override_file_is_read_on_top_of_its_bases(tmp_path: Path) -> None:
    base, more, changes = (tmp_path / f"{name}.yaml" for name in ("base", "more", "changes"))
    base.write_text(
        "num_training_batches: 50\nlr_decay_steps: ${num_training_batches}\nlr_max: 0.002"
    )
    more.write_text("lr_max: 0.003\nmodel: {n_layers: 2, rnn_dropout: 0.1}")
    changes.write_text("num_training_batches: 70\nmodel: {n_layers: 3}")
    done = call(changes, "--base", base, "--base", more, "--json")
    config = json.loads(done.stdout)["config"]
    assert done.exit_code == 0
    assert (config["train"]["n_steps"], config["optim"]["lr_decay_steps"]) == (70, 70)
    assert (config["model"]["n_layers"], config["model"]["rnn_dropout"]) == (3, 0.1)
    assert config["optim"]["lr_max"] == 0.003
    assert "--base" not in done.stderr and "--base" in call(changes, "--json").stderr


def test_a_variable_that_is_not_set_matters_only_where_the_key_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = tmp_path / "args.yaml"
    args.write_text(
        "num_training_batches: 5\noutput_dir: ${oc.env:C_OUT}/runs\n"
        "dataset: {dataset_dir: '${oc.env:C_DATA}'}"
    )
    monkeypatch.delenv("C_OUT", raising=False)
    monkeypatch.delenv("C_DATA", raising=False)
    refused = call(args, "--json")
    assert refused.exit_code == 2 and "C_DATA" in refused.stderr and "C_OUT" not in refused.stderr
    monkeypatch.setenv("C_DATA", "/recordings")
    assert json.loads(call(args, "--json").stdout)["config"]["data"]["path"] == "/recordings"


def test_json_holds_the_configuration_and_the_outcome_of_every_key(args: Path) -> None:
    document = json.loads(call(args, "--json").stdout)
    imported = import_mapping(ARGS, "args")
    assert document["codebase"] == "t12" and document["complete"]
    assert document["config"] == imported.config.model_dump(mode="json")
    outcomes = {entry["key"]: entry["outcome"] for entry in document["entries"]}
    assert outcomes["nUnits"] == "mapped" and outcomes["seqLen"] == "no effect"
    assert set(document["entries"][0]) == {"key", "value", "outcome", "fields", "note"}


def test_a_pickle_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "args").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    done = call(tmp_path / "args")
    assert done.exit_code == 2 and len(done.stderr.strip().splitlines()) == 1


def test_without_readable_recordings_there_is_a_hint_to_set_them(
    args: Path, tmp_path: Path
) -> None:
    done = call(args)
    assert "data.path" in done.stderr.splitlines()[-1] and "--data" in done.stderr
    assert any(line.startswith("#") and "data.path" in line for line in done.stdout.splitlines())
    named = call(args, "--data", "/mine", "--output", tmp_path / "mine.yaml")
    assert "synthetic" not in named.stderr + (tmp_path / "mine.yaml").read_text()


def test_a_file_of_ours_needs_no_table(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: {n_units: 8}\n")
    done = call(tmp_path / "base.yaml")
    assert done.exit_code == 0 and len(done.stderr.splitlines()) == 1 and "ours" in done.stderr
