"""`decoder.exported`: one exported run trains to the numbers of `train_pack`, and its result is
sealed."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from decoder import DecoderConfig, open_recordings, override, train_pack
from decoder.__main__ import main
from decoder.config import resolve, run_id
from decoder.errors import ConfigError, DataError
from decoder.exported import ExportedRun, read_result, read_run, train_run
from decoder.pack import RunResult

SMALL = {
    "data.path": "synthetic:tiny", "data.batch_size": 8, "data.days_per_batch": 2,
    "model.n_units": 16, "model.n_layers": 1, "optim.lr_warmup_steps": 2,
    "train.n_steps": 12, "train.eval_every_steps": 4, "train.keep_weights": "final",
}  # fmt: skip
CONFIG = resolve(override(DecoderConfig(), SMALL))
ON_MACHINE = ("pack_seconds", "peak_memory_bytes")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, datasets: Path) -> Path:
    """The file of a run of seed 3."""
    print_ = open_recordings(CONFIG, datasets).fingerprint
    run = ExportedRun(run_id(CONFIG, 3, print_), 3, 0, print_, CONFIG)
    path = tmp_path_factory.mktemp("runs") / "run.json"
    path.write_text(json.dumps(run.document()))
    return path


@pytest.fixture(scope="module")
def alone(datasets: Path) -> RunResult:
    """The same run, trained by the library."""
    (result,) = train_pack([CONFIG], datasets, seed=3, device="cpu")
    return result


def facts(result: RunResult) -> dict[str, Any]:
    return {name: value for name, value in asdict(result).items() if name not in ON_MACHINE}


def test_an_exported_run_trains_to_the_numbers_of_the_library(
    exported: Path, datasets: Path, alone: RunResult, tmp_path: Path, capsys: Any
) -> None:
    words = ["train-run", str(exported), "--output", str(tmp_path), "--datasets", str(datasets)]
    assert main([*words, "--device", "cpu"]) == 0
    ended = read_result(tmp_path / "result.json")
    assert facts(ended.result) == facts(alone)
    assert ended.run == read_run(exported)
    assert len(ended.environment["code"]["decoder_sha256"]) == 64
    assert (tmp_path / "weights" / ended.run.run_id / "weights.safetensors").is_file()
    assert not (tmp_path / "checkpoint").exists()
    before = (tmp_path / "result.json").read_bytes()
    capsys.readouterr()
    assert main(words) == 0  # not trained again
    assert "already" in capsys.readouterr().err
    assert (tmp_path / "result.json").read_bytes() == before


def test_a_signal_stops_the_run_in_order_and_the_next_call_goes_on(
    exported: Path, datasets: Path, alone: RunResult, tmp_path: Path
) -> None:
    def stop(text: str) -> None:
        if text.startswith("step 4 "):
            os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(SystemExit) as caught:
        train_run(exported, tmp_path, datasets, stop, device="cpu")
    assert caught.value.code == 128 + signal.SIGUSR1
    assert (tmp_path / "checkpoint").is_dir() and not (tmp_path / "result.json").exists()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    ended = train_run(exported, tmp_path, datasets, lambda text: None, device="cpu")
    assert ended is not None and facts(ended) == facts(alone)


def test_other_recordings_are_refused(exported: Path, tmp_path: Path) -> None:
    other = override(CONFIG, {"data.sessions": list(open_sessions(tmp_path)[:1])})
    print_ = open_recordings(CONFIG, tmp_path).fingerprint
    run = ExportedRun(run_id(other, 3, print_), 3, 0, print_, other)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run.document()))
    with pytest.raises(DataError, match=print_):
        train_run(path, tmp_path / "out", tmp_path, lambda text: None)


def open_sessions(datasets: Path) -> tuple[str, ...]:
    return tuple(open_recordings(CONFIG, datasets).sessions)


def test_an_altered_file_is_refused(exported: Path, tmp_path: Path) -> None:
    document = json.loads(exported.read_text())
    for change in ({"seed": 4}, {"schema": 2}, {"more": 1}):
        path = tmp_path / "run.json"
        path.write_text(json.dumps({**document, **change}))
        with pytest.raises(ConfigError, match="run.json"):
            read_run(path)


def test_an_altered_or_incomplete_result_is_refused(
    exported: Path, datasets: Path, tmp_path: Path
) -> None:
    train_run(exported, tmp_path, datasets, lambda text: None, device="cpu")
    path = tmp_path / "result.json"
    whole = path.read_text()
    for text in (whole.replace('"ok"', '"diverged"'), whole[:-40], "{}", "[1]"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="result.json"):
            read_result(path)


def test_numbers_that_are_not_finite_read_back(exported: Path, tmp_path: Path) -> None:
    from decoder.exported import _sealed

    row = {"step": 1, "train_loss": float("inf"), "per": float("nan"), "n_edits": 3}
    result = RunResult("x", "diverged", (row,), 1, 2, 0, 1.0, 1, 5)
    path = tmp_path / "result.json"
    path.write_bytes(_sealed(read_run(exported), result))
    (back,) = read_result(path).result.history
    assert back["train_loss"] == float("inf") and back["per"] != back["per"]
    assert back["n_edits"] == 3 and isinstance(back["n_edits"], int)
