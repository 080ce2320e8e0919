"""An audit as a document for ``--json``."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

from orchestrator.history.audit.audit import Audit
from orchestrator.history.audit.findings import Finding
from orchestrator.history.audit.prepared_group import RunChanges
from orchestrator.history.audit.proposal import Proposal, spec_text
from orchestrator.history.audit.run_pairs import per_difference
from orchestrator.history.audit.setting_changes import SettingChange
from orchestrator.history.reading.document import RunDocument, run_document
from orchestrator.history.reading.record import non_finite_as_text

# `with` and `from` are keywords, so these two cannot be classes.
ChangeDocument = TypedDict(
    "ChangeDocument",
    {"setting": str, "path": str, "before": Any, "after": Any, "with": list[str]},
)
ProposalDocument = TypedDict(
    "ProposalDocument",
    {
        "from": str,
        "to": str,
        "settings": list[str],
        "left_out": list[str],
        "n_arms": int,
        "n_seeds": int,
        "n_steps": int,
        "power": float | None,
        "reasons": list[str],
        "spec": str,
    },
)


class NoProposalDocument(TypedDict):
    """Why there is no proposal."""

    none: str


class StepDocument(TypedDict):
    """One run and its changes from earlier runs."""

    run: str
    before: str
    changed: list[ChangeDocument]
    closest: str
    changed_from_closest: list[ChangeDocument]
    difference_from_closest: float | None


class AuditDocument(TypedDict):
    """An audit."""

    name: str
    source: str
    order_by: str
    runs: list[RunDocument]
    copies: dict[str, str]
    findings: list[dict[str, object]]
    steps: list[StepDocument]
    settings_not_counted: list[str]
    settings_without_effect: list[str]
    proposal: ProposalDocument | NoProposalDocument


def audit_document(audit: Audit) -> AuditDocument:
    """An audit as a document; numbers that are not finite are text."""
    group = audit.group
    document: AuditDocument = {
        "name": group.name,
        "source": group.source,
        "order_by": group.order,
        "runs": [run_document(run) for run in group.runs],
        "copies": dict(group.copies),
        "findings": [_finding(finding) for finding in audit.findings],
        "steps": [_step(one) for one in group.run_changes],
        "settings_not_counted": list(audit.neutral),
        "settings_without_effect": list(audit.without_effect),
        "proposal": _proposal(audit.proposal, group.name),
    }
    as_text: AuditDocument = non_finite_as_text(document)
    return as_text


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "kind": finding.kind,
        "weight": finding.weight.title,
        "title": finding.title,
        "details": list(finding.details),
        "runs": list(finding.runs),
        "figures": dict(finding.figures),
    }


def _step(one: RunChanges) -> StepDocument:
    gap = per_difference(one.closest, one.run)
    return {
        "run": one.run.name,
        "before": one.before.name,
        "changed": _changes(one.changes),
        "closest": one.closest.name,
        "changed_from_closest": _changes(one.from_closest),
        "difference_from_closest": None if math.isnan(gap) else gap,
    }


def _changes(changes: Sequence[SettingChange]) -> list[ChangeDocument]:
    return [
        {
            "setting": change.name,
            "path": change.key,
            "before": change.before,
            "after": change.after,
            "with": list(change.paths[1:]),
        }
        for change in changes
    ]


def _proposal(proposal: Proposal | str, group: str) -> ProposalDocument | NoProposalDocument:
    if isinstance(proposal, str):
        return {"none": proposal}
    return {
        "from": proposal.a,
        "to": proposal.b,
        "settings": [change.key for change in proposal.changes],
        "left_out": [change.name for change in proposal.left_out],
        "n_arms": proposal.n_arms,
        "n_seeds": proposal.n_seeds,
        "n_steps": proposal.n_steps,
        "power": proposal.power,
        "reasons": list(proposal.reasons),
        "spec": spec_text(proposal, "base.yaml", group),
    }
