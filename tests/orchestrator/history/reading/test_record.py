"""`orchestrator.history.reading.record`: what is stored is read back as it was."""

import json
import math
import os
from pathlib import Path

import pytest
from imported_runs import only_run, per_rows, write_files

from orchestrator.history.reading.record import from_json, to_json


def test_values_that_are_not_finite_are_stored_and_read_back(tmp_path: Path) -> None:
    text = (
        '{"step": 1, "per": 1.0, "ctc_loss": NaN}\n'
        '{"step": 2, "per": "nan", "ctc_loss": Infinity}\n'
    )
    run = only_run(write_files(tmp_path / "run", {"metrics.jsonl": text}))
    assert math.isnan(run.history[0]["val_loss"])
    again = from_json(to_json(run))
    assert math.isinf(again.history[1]["val_loss"])
    assert again.pers() == [(1, 1.0)]


def test_names_that_no_terminal_can_hold_are_replaced(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\x1b[31m\xff"))
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(per_rows(1, 0.5))
    run = only_run(tmp_path)
    assert run.name == "run\ufffd[31m\ufffd"
    assert from_json(to_json(run)) == run


def test_a_record_written_by_an_older_version_is_read() -> None:
    record = {
        "schema": 1,
        "provenance": "imported",
        "name": "run2",
        "source": "/runs",
        "files": [
            {"path": "a.yaml", "role": "settings", "n_bytes": 9, "digest": "a0", "note": ""},
            {"path": "m.jsonl", "role": "course", "n_bytes": 98, "digest": "e6", "note": ""},
            {"path": "w.pt", "role": "refused", "n_bytes": 1, "digest": "", "note": "weights"},
        ],
        "settings": {"epsilon": 0.1, "seed": 10},
        "settings_from": "a.yaml",
        "mapped": {
            "codebase": "t15",
            "config": {"optim.epsilon": 0.1},
            "fields": {"epsilon": ["optim.epsilon"]},
            "taken": ["optim.beta1"],
            "without_effect": [],
            "problem": "",
        },
        "seed": 10,
        "seed_from": "seed",
        "history": [{"step": 0.0, "per": 1.0}, {"step": 300.0, "per": 0.2, "val_loss": "nan"}],
        "step_unit": "step",
        "n_restarts": 1,
        "evaluations": [{"path": "eval.json", "per": 0.19, "val_loss": None}],
        "outcome": "ok",
        "reasons": [],
        "n_planned": 300,
        "started": "",
        "changed": 1795829090.5,
        "trainer": "",
        "notes": ["m.jsonl: steps go back once (from 300): restarted"],
    }
    run = from_json(json.dumps(record).encode())
    assert run.final == (300, 0.2) and math.isnan(run.history[1]["val_loss"])
    assert run.curve_digests == {"e6"}
    assert run.evaluations[0].per == 0.19
    record["evaluations"][0]["split"] = ""  # which older versions did not know
    assert json.loads(to_json(run)) == record


def test_a_record_that_lacks_a_key_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="step_unit: this key is required"):
        from_json(b'{"schema": 1, "provenance": "imported", "name": "run2"}')
