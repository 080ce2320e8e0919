"""The weights of a run lie beside its record, and evaluate to the recorded PER."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoder.__main__ import main
from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.data.prepare import prepare
from decoder.pack import Pack, Run
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.backends.local import train_locally
from orchestrator.store.paths import Results

SETTINGS: dict[str, Any] = {
    "data.path": "synthetic:tiny",
    "data.batch_size": 6,
    "data.days_per_batch": 2,
    "model.n_units": 8,
    "model.n_layers": 1,
    "train.n_steps": 4,
    "train.eval_every_steps": 2,
    "train.keep_weights": "best",
}


def test_weights_lie_beside_the_record_and_evaluate_to_its_per(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    dataset = prepare("synthetic:tiny", None, None, results.datasets)
    config = resolve(override(DecoderConfig(), SETTINGS, "test"))
    name = run_id(config, 1, dataset.fingerprint)
    events: list[PackEvent] = []
    on_event: Callable[[PackEvent], None] = events.append
    execution = Execution(
        dataset_dir=dataset.path,
        checkpoint_dir=tmp_path / "checkpoints",
        n_workers=1,
        device="cpu",
        weights_dir=results.runs,
    )
    train_locally([Pack("pack", 1, (Run(name, config),))], execution, on_event)
    [result] = [r for event in events for r in event.what.finished]  # type: ignore[union-attr]
    best = min(result.history, key=lambda row: (row["per"], row["val_loss"]))
    assert sorted(path.name for path in results.run(name).iterdir()) == [
        "weights.json",
        "weights.safetensors",
    ]
    [recordings] = results.datasets.glob("synthetic-tiny-*")
    where = ["--checkpoint", str(results.run(name)), "--data", str(recordings)]
    assert main(["evaluate", *where, "--device", "cpu", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["all"]["n_edits"] == best["n_edits"]
    assert document["all"]["per"] == best["per"] == document["said_by_checkpoint"]["per"]
