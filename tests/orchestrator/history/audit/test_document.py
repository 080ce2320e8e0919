"""`orchestrator.history.audit.document`: the audit as JSON, with the keys scripts rely on."""

import json

from imported_runs import AuditRuns, WriteRun

from orchestrator.history.audit.audit import Audit
from orchestrator.history.audit.document import audit_document


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
