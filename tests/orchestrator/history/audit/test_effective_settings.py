"""`orchestrator.history.audit.effective_settings`: which settings can change a result."""

from collections.abc import Mapping
from typing import Any

import pytest
from imported_runs import AuditRuns, WriteRun


@pytest.mark.parametrize(
    "changes",
    [
        {"output_dir": "a/b", "gpu_number": "3", "batches_per_train_log": 7},
        {"num_dataloader_workers": 8, "wandb_project": "x", "save_best_checkpoint": False},
        {"use_specaug": False, "init_from_checkpoint": None},
        {"lr_max": "5e-3", "weight_decay": 1e-3},
        {"run_number": 7, "run_purpose": "warm-up", "meta": {"notes": "again"}},
        {"logs_path": "a/b", "prediction_file": "p.csv", "results_folder": "r", "sweep_id": 3},
        {"started_at": "2026-02-01", "training_date": "2026-02-01", "run_date": 20260201},
        {"idea": "the same as before, but without the lights"},
        {"dataset_dir": "/elsewhere/hdf5_data_final"},
    ],
)
def test_settings_that_cannot_change_a_result_do_not_count(
    write_run: WriteRun, audit_runs: AuditRuns, changes: Mapping[str, Any]
) -> None:
    first = {"dataset_dir": "../data/hdf5_data_final"} if "dataset_dir" in changes else {}
    write_run("run1", 0.2, **first)
    write_run("run2", 0.3, **changes)
    assert len(audit_runs().group.configurations) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 1e-8},
        {"log_transform": True},
        {"my_own_trick": 3},
        {"git_commit": "abc"},
        {"use_amp": False},
        {"model_name": "lstm"},
        {"pretrained_model_path": "a/weights"},
        {"run_length": 7},
        {"augmentation": "specaug then cutout"},
    ],
)
def test_settings_that_may_change_a_result_count(
    write_run: WriteRun, audit_runs: AuditRuns, changes: Mapping[str, Any]
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.3, **changes)
    group = audit_runs().group
    assert len(group.configurations) == 2
    assert len(group.run_changes[0].before.changes) == 1


def test_a_text_that_differs_in_every_run_is_a_label(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    for index in range(4):
        write_run(f"run{index}", 0.2 + index / 100, uuid=f"x{index}", git_commit=f"c{index % 2}")
    group = audit_runs().group
    assert group.labels == {"uuid"}
    assert len(group.configurations) == 2


def test_a_nested_name_counts_and_a_title_at_the_top_does_not(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2, title="first", loss={"name": "ctc"})
    write_run("run2", 0.3, title="second", loss={"name": "focal"})
    (change,) = audit_runs().group.run_changes[0].before.changes
    assert change.name == "loss.name"


def test_recordings_with_another_name_count(write_run: WriteRun, audit_runs: AuditRuns) -> None:
    write_run("run1", 0.2, dataset_dir="/a/hdf5_data_final")
    write_run("run2", 0.3, dataset_dir="/a/hdf5_data_2024")
    (change,) = audit_runs().group.run_changes[0].before.changes
    assert (change.key, change.before) == ("data", "hdf5_data_final")
