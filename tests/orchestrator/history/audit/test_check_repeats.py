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


def test_one_configuration_and_course_with_evaluations_far_apart_is_named(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    for name, per in (("run1", 0.91), ("run2", 0.20)):
        folder = write_run(name, 0.2, run_number=name, run_purpose="try it once more, greedily")
        curve = (folder / "metrics.jsonl").read_text().replace(name, "x")
        (folder / "metrics.jsonl").write_text(curve)
        (folder / "eval_test.json").write_text(f'{{"avg_PER": {per}, "split": "test"}}')
        (folder / "eval_competition.json").write_text('{"avg_PER": 2.8, "split": "competition"}')
    audited = audit_runs()
    findings = by_kind(audited)
    assert not audited.group.copies and len(audited.group.configurations) == 1
    finding = findings["evaluations_disagree"]
    assert finding.runs == ("run1", "run2")
    assert finding.figures["difference"] == pytest.approx(0.71)
    assert finding.figures["split"] == "test"
    assert mentions(finding.details, "91.0 %", "20.0 %")
    assert "same_course" not in findings and "identical_pair_disagrees" not in findings


def test_evaluations_that_agree_leave_equal_runs_copies(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    for name in ("run1", "run2"):
        folder = write_run(name, 0.2)
        curve = (folder / "metrics.jsonl").read_text().replace(name, "x")
        (folder / "metrics.jsonl").write_text(curve)
        (folder / "eval_test.json").write_text('{"avg_PER": 0.2}')
    audited = audit_runs()
    assert audited.group.copies == {"run2": "run1"}
    assert "evaluations_disagree" not in by_kind(audited)


def test_a_run_without_a_course_is_not_compared_with_the_course_of_its_equal(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.24)
    alone = write_run("run2", 0.24)
    (alone / "metrics.jsonl").unlink()
    (alone / "eval_val.json").write_text('{"avg_PER": 0.2}')
    assert "identical_pair_disagrees" not in by_kind(audit_runs())
