"""`orchestrator.history.audit.setting_changes`: settings that change together are one change."""

from imported_runs import AuditRuns, WriteRun


def test_settings_that_follow_each_other_are_one_change(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.3, lr_max=0.002, lr_max_day=0.002)
    (sweep,) = audit_runs().group.sweeps
    assert sweep.change.paths == ("optim.lr_max", "optim.lr_max_day")


def test_learning_rates_with_different_values_are_two_changes(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.3, lr_max=0.002, lr_max_day=0.001)
    (one,) = audit_runs().group.run_changes
    assert [change.key for change in one.before.changes] == ["optim.lr_max", "optim.lr_max_day"]
