"""`orchestrator.history.audit.prepared_group`: the order of runs, and the closest earlier run."""

import pytest
from imported_runs import AuditRuns, WriteRun


def test_a_variant_of_the_baseline_is_compared_with_the_baseline_and_not_with_the_run_before(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.3, epsilon=1e-8)
    write_run("run3", 0.25, weight_decay=0.1)
    last = audit_runs().group.run_changes[-1]
    assert (last.before.a.name, len(last.before.changes)) == ("run2", 2)
    assert (last.closest.a.name, len(last.closest.changes)) == ("run1", 1)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("run10_b", "run9_a", "exp2"), "numbers"),
        (("2025-03-02_b", "2025-03-01_a", "2025-01-09_c"), "time stamps"),
        (("final", "final_v2", "best"), "last change"),
    ],
)
def test_the_order_is_stated_with_what_it_is_based_on(
    write_run: WriteRun, audit_runs: AuditRuns, names: tuple[str, ...], order: str
) -> None:
    for index, name in enumerate(names):
        write_run(name, 0.2, epsilon=0.1 * (index + 1))
    group = audit_runs().group
    assert order in group.order
    if order != "last change":
        assert [run.name for run in group.runs] == list(reversed(names))


def test_what_a_job_printed_is_a_copy_of_the_run_that_logged_the_same(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    printed = [write_run(name, per) for name, per in (("run1", 0.2), ("run2", 0.3))]
    for folder in printed:
        job = folder.parent / f"job_{folder.name}"
        job.mkdir()
        curve = (folder / "metrics.jsonl").read_text().replace('"name"', '"host"')
        (job / "metrics.jsonl").write_text(curve)
    group = audit_runs().group
    assert group.copies == {"job_run1": "run1", "job_run2": "run2"}
    assert [run.name for run in group.runs] == ["run1", "run2"]
