"""`orchestrator.history.audit.report`: the page holds everything; the JSON keeps its keys."""

import json

import pytest
import yaml
from imported_runs import AuditRuns, WriteRun, by_name

from orchestrator.history.audit.audit import Audit, audit
from orchestrator.history.audit.proposal import Proposal
from orchestrator.history.audit.report import audit_document, markdown
from orchestrator.history.reading.read_runs import Group
from orchestrator.spec.schema import AblationSpec


def escaped(text: str) -> str:
    return text.replace("_", "\\_")


def test_the_page_names_every_run_every_finding_and_the_settings_that_do_not_count(
    planted: Audit,
) -> None:
    text = markdown(planted)
    assert text.startswith("# Audit of planted\n")
    for run in planted.group.runs:
        assert f"| {escaped(run.name)} |" in text
    for finding in planted.findings:
        assert f"**{escaped(finding.title)}**" in text
    assert planted.neutral == ("gpu_number", "output_dir")
    assert "gpu\\_number and output\\_dir" in text


def test_the_proposal_stands_in_the_page_as_yaml(planted: Audit) -> None:
    assert isinstance(planted.proposal, Proposal)
    _, _, rest = markdown(planted).partition("```yaml\n")
    document = yaml.safe_load(rest.partition("\n```")[0])
    assert AblationSpec.model_validate(document) == planted.proposal.ablation


def test_markup_in_a_name_is_text(write_run: WriteRun, audit_runs: AuditRuns) -> None:
    write_run("run1 <b>|*x*", 0.2)
    run = by_name(Group("", audit_runs().group.runs, ()))["run1 <b>|*x*"]
    text = markdown(audit("[g](x)", Group("/a_b", (run,), ("a # b",))))
    assert "# Audit of \\[g\\](x)\n" in text
    assert "| run1 \\<b\\>\\|\\*x\\* |" in text
    assert "a \\# b" in text


def test_the_document_is_json_and_keeps_its_keys(planted: Audit) -> None:
    document = json.loads(json.dumps(audit_document(planted), allow_nan=False))
    assert set(document) == {
        *("name", "source", "order_by", "runs", "copies", "findings", "steps"),
        *("settings_not_counted", "settings_without_effect", "proposal"),
    }
    finding = document["findings"][0]
    assert set(finding) == {"kind", "weight", "title", "details", "runs", "figures"}
    assert finding["weight"] == "overturns conclusions"
    assert set(document["steps"][0]) == {
        *("run", "before", "changed", "closest", "changed_from_closest"),
        "difference_from_closest",
    }
    change = document["steps"][1]["changed"][0]
    assert set(change) == {"setting", "path", "before", "after", "with"}
    assert {"from", "to", "settings", "n_arms", "spec"} <= set(document["proposal"])


def test_without_a_proposal_the_document_says_why(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    audited = audit_runs()
    assert audit_document(audited)["proposal"] == {"none": audited.proposal}


def test_a_page_of_many_runs_shows_the_first_and_counts_the_others(
    planted: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = markdown(planted)
    assert "has all" not in whole
    monkeypatch.setattr("orchestrator.history.audit.report.MOST_LISTED", 2)
    page, n_runs = markdown(planted), len(planted.group.runs)
    assert f"… and {n_runs - 2} more; `audit --json` has all." in page
    table = page.split("## Changes")[0].replace("\\_", "_")
    shown = [run.name for run in planted.group.runs if f"\n| {run.name} |" in table]
    assert shown == [run.name for run in planted.group.runs[:2]]
