"""`orchestrator.history.audit.report`: the Markdown page holds everything, names as text."""

import yaml
from imported_runs import AuditRuns, WriteRun, by_name

from orchestrator.history.audit.audit import Audit, audit
from orchestrator.history.audit.proposal import Proposal
from orchestrator.history.audit.report import markdown
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
