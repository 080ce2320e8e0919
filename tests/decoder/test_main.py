"""`python -m decoder`: signals end it in order, and it trains a run and keeps its weights."""

import argparse
import json
import signal
from pathlib import Path

import pytest

from decoder import __main__ as command
from decoder.config import load_config
from decoder.weights import read_weights


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_command_clean_up_and_gives_its_exit_code(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    def evaluate(options: argparse.Namespace) -> None:
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(number)

    monkeypatch.setitem(command._COMMANDS, "evaluate", evaluate)
    with pytest.raises(SystemExit) as caught:
        command.main(["evaluate", "--checkpoint", "weights.safetensors"])
    assert caught.value.code == 128 + number and cleaned == [number]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    document = {
        "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
        "model": {"n_units": 8, "n_layers": 1},
        "train": {"n_steps": 40, "eval_every_steps": 1},
    }
    path.write_text(json.dumps(document))
    return path


def test_a_run_is_trained_and_its_weights_are_kept_for_others_to_start_from(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "start"
    words = ["train", str(config), "--output", str(output), "--device", "cpu"]
    words += ["--datasets", str(tmp_path / "datasets"), "--set", "train.n_steps=2"]
    words += ["--set", "optim.frozen=[day]"]
    assert command.main(words) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(output / "weights.safetensors")
    assert said.err.count("PER") == 2
    kept = read_weights(output)
    assert kept.config is not None and kept.sessions is not None
    assert kept.facts["step"] == kept.config.train.n_steps == 2
    assert kept.config.optim.frozen == ("day",) and len(kept.sessions) == kept.n_days == 2
    assert kept.config.model == load_config(config).model
    assert {path.name for path in output.iterdir()} == {"weights.safetensors", "weights.json"}
    assert command.main(words) == 2
    assert str(output) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"), [("train.n_steps", "PATH=VALUE"), ("train.n_step=2", "train.n_steps")]
)
def test_a_change_that_is_none_is_one_message(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    words = ["train", str(config), "--output", str(tmp_path / "start"), "--set", given]
    assert command.main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line and not (tmp_path / "start").exists()
