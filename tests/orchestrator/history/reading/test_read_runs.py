"""`orchestrator.history.reading.read_runs`: whole run folders, and folders that are damaged."""

import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from imported_runs import by_name, mentions, only_run, per_rows, write_files

from orchestrator.history.reading.read_runs import read_group
from orchestrator.history.reading.record import ImportedRun, from_json, to_json


def roles(run: ImportedRun) -> dict[str, str]:
    """File name → role."""
    return {note.path.rpartition("/")[2]: note.role for note in run.files}


def test_a_t15_run_is_read_with_its_checkpoint_settings(group: Path) -> None:
    run = by_name(read_group(group))["run1_baseline"]
    assert (run.trainer, run.seed, run.outcome, run.n_planned) == ("t15", 10, "ok", 1000)
    assert run.started == "2025-03-01 09:00:00"
    assert run.final == (999, 0.2)
    assert run.mapped.codebase == "t15"
    assert run.mapped.config["augment.white_noise_std"] == 1.0
    assert run.mapped.fields["beta0"] == ("optim.beta1",)
    assert roles(run) == {
        "args.yaml": "settings",
        "best_checkpoint": "refused",
        "train_val_trials.json": "not read",
        "training_log": "course",
        "val_metrics.pkl": "refused",
    }
    assert run.history[0] == {
        "step": 0,
        "train_loss": 30.0,
        "grad_norm": 12.34,
        "per": 1.0,
        "val_loss": 25.0,
    }


def test_a_t12_run_is_read_from_pickled_args_and_what_it_printed(
    t12_run: Callable[..., Path],
) -> None:
    run = only_run(t12_run(seed=4))
    assert (run.trainer, run.seed, run.outcome) == ("t12", 4, "ok")
    assert run.settings["whiteNoiseSD"] == 0.8
    assert run.mapped.config["optim.lr_max"] == 0.02
    assert run.final == (999, pytest.approx(0.21))
    assert mentions(run.notes, "slurm-123.out", "'cer'")
    assert roles(run)["trainingStats"] == "not read"  # the log has the same PERs with steps


def test_a_t12_run_without_a_log_has_the_arrays_of_its_trainer(tmp_path: Path) -> None:
    stats = {"testLoss": np.linspace(3, 1, 4), "testCER": np.array([12.5, 1, 0.6, 0.4])}
    root = tmp_path / "speechBaseline4"
    args = {"nBatch": 400, "nUnits": 8, "nLayers": 1, "lrStart": 0.02, "seed": 3, "batchSize": 4}
    files = {"args": pickle.dumps(args), "trainingStats": pickle.dumps(stats)}
    run = only_run(write_files(root, files))  # the folder itself, not the one above
    assert run.pers() == [(0, 12.5), (100, 1), (200, 0.6), (300, 0.4)]
    assert (run.outcome, run.seed, run.history[3]["val_loss"]) == ("ok", 3, 1)
    assert mentions(run.notes, "trainingStats", "every 100 batches")


def test_a_folder_with_only_the_settings_of_one_run_is_a_record(tmp_path: Path) -> None:
    root = write_files(tmp_path / "one", {"args": pickle.dumps({"nUnits": 8, "seed": 1})})
    assert (only_run(root).outcome, only_run(root).seed) == ("unknown", 1)


def test_a_folder_without_runs_says_what_it_holds(tmp_path: Path) -> None:
    found = read_group(write_files(tmp_path / "none", {"a.png": "x", "b.py": "y"}))
    assert found.runs == () and mentions(found.remarks, "a.png", "b.py")


def test_args_that_would_run_code_are_refused_by_name(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    root = write_files(
        tmp_path / "run", {"args": pickle.dumps({"a": Evil()}), "m.jsonl": per_rows(1, 0.5)}
    )
    run = only_run(root)
    assert not (tmp_path / "made").exists()
    (note,) = [note for note in run.files if note.role == "refused"]
    assert "posix.mkdir" in note.note
    assert run.settings == {}


def test_numbers_written_as_text_are_mapped_as_numbers(tmp_path: Path, group: Path) -> None:
    args = yaml.safe_load((group / "run1_baseline" / "checkpoint" / "args.yaml").read_text())
    args |= {"lr_max": "5e-3", "num_training_batches": 1000.0}
    root = write_files(
        tmp_path / "run", {"args.json": json.dumps(args), "m.jsonl": per_rows(1, 0.5)}
    )
    run = only_run(root)
    assert run.mapped.config["optim.lr_max"] == 0.005
    assert run.mapped.config["train.n_steps"] == 1000


_TOKENS = (b"nan", b"Infinity", b"-1", b"null", b"[]", b"\xff", b"\x00", b"\n", b'"', b"9" * 30) + (
    b"\\ud800", b"!!python/name:os.system ", b"&a", b"*a", b": ", b"- ",
)  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes deleted, and some replaced by unusual ones."""
    made = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(made) + 1)
        if rng.random() < 0.5:
            made[at : at + rng.randrange(6)] = rng.choice(_TOKENS)
        else:
            del made[at : at + rng.randrange(1, 40)]
    return bytes(made)


def test_damaged_files_of_every_kind_never_stop_an_import(
    group: Path, t12_run: Callable[..., Path], tmp_path: Path
) -> None:
    rng = random.Random(5)
    whole = {path.name: path.read_bytes() for path in group.rglob("*") if path.is_file()}
    whole |= {path.name: path.read_bytes() for path in t12_run().iterdir()}
    root = tmp_path / "damaged"
    for index in range(120):
        names = rng.sample(sorted(whole), 4)
        write_files(root / f"run{index}", {name: damaged(whole[name], rng) for name in names})
    found = read_group(root)
    assert len(found.runs) > 60
    for run in found.runs:
        assert to_json(from_json(to_json(run))) == to_json(run)
