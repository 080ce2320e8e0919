"""`orchestrator.history.audit.check_runs`: copied curves, checkpoints, best against last PER."""

from dataclasses import replace
from pathlib import Path

import pytest
from imported_runs import AuditRuns, WriteRun, by_kind, mentions

from orchestrator.history.audit.audit import audit
from orchestrator.history.reading.read_runs import read_group


def test_a_learning_curve_under_other_settings_is_no_copy_but_a_contradiction(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    first, second = write_run("run1", 0.2), write_run("run2", 0.3, epsilon=1e-8)
    (second / "metrics.jsonl").write_bytes((first / "metrics.jsonl").read_bytes())
    audited = audit_runs()
    assert not audited.group.copies
    finding = by_kind(audited)["same_course"]
    assert finding.runs == ("run1", "run2")
    assert mentions(finding.details, "epsilon 0.1 → 1e-08")


def test_a_run_that_started_from_weights_has_a_finding(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.1, init_from_checkpoint=True, init_checkpoint_path="run1/best")
    finding = by_kind(audit_runs())["from_checkpoint"]
    assert finding.runs == ("run2",)
    assert mentions(finding.details, "init_from_checkpoint", "True")


@pytest.mark.parametrize("old_record", [False, True])
def test_a_log_that_loads_a_checkpoint_has_a_finding_in_older_records_too(
    write_run: WriteRun, tmp_path: Path, old_record: bool
) -> None:
    folder = write_run("run1", 0.2)
    (folder / "training_log").write_text(
        "Loaded model from checkpoint: old/best\n"
        "Val batch 0: PER (avg): 1.0000 CTC Loss (avg): 9.0 time: 1.0\n"
    )
    group = read_group(tmp_path / "runs")
    (run,) = group.runs
    if old_record:
        run = replace(run, notes=("run1/training_log: began from the checkpoint old/best",))
    finding = by_kind(audit("runs", group._replace(runs=(run,))))["from_checkpoint"]
    assert mentions(finding.details, "run1/training_log", "old/best")


def test_pairs_in_another_order_by_best_and_by_last_per_are_named(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.20)
    path = write_run("run2", 0.21, epsilon=0.2) / "metrics.jsonl"
    old, new = '"step": 200, "per": 0.33', '"step": 200, "per": 0.15'
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    finding = by_kind(audit_runs())["best_or_final"]
    assert finding.weight == "weakens conclusions"
    assert mentions(finding.details, "opposite orders", "run1 and run2")
