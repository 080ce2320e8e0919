"""`orchestrator.history.audit.check_repeats`: equal runs, spread, and seeds without effect."""

import pytest
from imported_runs import AuditRuns, WriteRun, by_kind, mentions


def test_equal_runs_that_differ_a_little_are_hardware_noise(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.200)
    write_run("run2", 0.202)
    findings = by_kind(audit_runs())
    assert "identical_pair_disagrees" not in findings
    assert findings["machine_noise"].figures["largest"] == pytest.approx(0.002)
    assert findings["machine_noise"].runs == ("run1", "run2")
    assert findings["spread"].figures["of"] == "same seed"
    assert mentions(findings["spread"].details, "true limit is higher")


def test_runs_that_repeat_exactly_give_no_spread(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.2)
    audited = audit_runs()
    assert audited.group.spreads.same is not None and audited.group.spreads.best is None
    findings = by_kind(audited)
    assert "spread" not in findings
    assert findings["no_spread"].figures == {"sd": None}
    assert "one seed agree exactly" in findings["no_spread"].title


def test_an_equal_run_that_collapsed_disagrees_whatever_the_spread(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 1.0)
    assert by_kind(audit_runs())["identical_pair_disagrees"].runs == ("run1", "run2")


def test_seeds_that_change_nothing_have_a_finding(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.2, seed=11)
    finding = by_kind(audit_runs())["seed_without_effect"]
    assert finding.runs == ("run1", "run2")
    assert mentions(finding.details, "seed 10", "seed 11")


def test_a_restart_is_named_where_equal_runs_disagree(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("a", 0.10)
    curve = write_run("b", 0.20) / "metrics.jsonl"
    curve.write_text(curve.read_text() * 2)
    finding = by_kind(audit_runs())["identical_pair_disagrees"]
    assert "b was restarted" in finding.details[0] and "a was restarted" not in finding.details[0]
