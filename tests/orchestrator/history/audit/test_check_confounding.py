"""`orchestrator.history.audit.check_confounding`: what no comparison can separate."""

from imported_runs import AuditRuns, WriteRun, by_kind, mentions


def test_settings_that_only_change_together_are_one_group(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.3, epsilon=0.2, weight_decay=0.1)
    write_run("run3", 0.25, epsilon=0.3, weight_decay=0.2)
    finding = by_kind(audit_runs())["never_apart"]
    assert finding.figures["groups"] == [["epsilon", "weight_decay"]]


def test_a_run_without_a_result_tests_no_setting_alone(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("a", 0.10)
    folder = write_run("b", 0.11, epsilon=1e-8)
    write_run("c", 0.12, lr_max=0.002, lr_max_day=0.002, epsilon=1e-4, weight_decay=0.01)
    before = audit_runs()
    assert set(before.group.tested_alone) == {"optim.epsilon"}
    listed = ("epsilon (b and a)", "epsilon (a and b)")
    details = by_kind(before)["confounded"].details
    assert any(mentions(details, "c changed", runs) for runs in listed)
    (folder / "metrics.jsonl").unlink()
    after = audit_runs()
    assert not after.group.tested_alone
    assert not any(mentions(by_kind(after)["confounded"].details, runs) for runs in listed)
