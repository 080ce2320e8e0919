"""`orchestrator.history.audit.check_sweeps`: settings tested alone, or none."""

import json
from pathlib import Path

import pytest
import yaml
from imported_runs import BASE, AuditRuns, WriteRun, by_kind, mentions, write_files


def test_without_a_setting_tested_alone_there_is_one_finding(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.3, epsilon=0.2, weight_decay=0.1)
    write_run("run3", 0.25, epsilon=0.3, weight_decay=0.2)
    findings = by_kind(audit_runs())
    assert "one_thing" not in findings
    assert "3 configurations" in findings["no_clean_pair"].title


def test_evaluation_files_are_compared_without_a_learning_curve(
    tmp_path: Path, audit_runs: AuditRuns
) -> None:
    for name, noise, per in (("a", 0.8, 0.20), ("b", 1.2, 0.22)):
        args = yaml.safe_dump({**BASE, "white_noise_std": noise})
        evaluation = json.dumps({"avg_PER": per})
        write_files(tmp_path / "runs" / name, {"args.yaml": args, "eval_val.json": evaluation})
    finding = by_kind(audit_runs())["one_thing"]
    (comparison,) = finding.figures["comparisons"]
    assert comparison["largest_difference"] == pytest.approx(0.02)
    assert comparison["more_than_chance"] is None
    assert mentions(finding.details, "2.0 points apart")


def test_one_setting_changed_without_a_per_is_no_contradiction(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    for name, rate in (("run1", 0.1), ("run2", 0.2)):
        folder = write_run(name, 0.2, epsilon=rate)
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    finding = by_kind(audit_runs())["no_clean_pair"]
    assert mentions(finding.details, "run1", "run2", "epsilon")
    assert "both have a PER" in finding.title
