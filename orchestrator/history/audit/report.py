"""The audit as a Markdown page and for ``--json``, and the lines and rows of the terminal."""

import re
from collections.abc import Iterator, Sequence

from orchestrator.history.audit.audit import Audit
from orchestrator.history.audit.check_runs import unread_files
from orchestrator.history.audit.findings import Finding, by_weight
from orchestrator.history.audit.prepared_group import RunChanges
from orchestrator.history.audit.proposal import Proposal, spec_text
from orchestrator.history.audit.setting_changes import SettingChange
from orchestrator.history.audit.wording import environment, per_text
from orchestrator.history.reading.record import ImportedRun, non_finite_as_text, run_document

MOST_LISTED = 500  # runs, changes and remarks on a page, which opens slowly with more
RUN_TITLES = (
    *("run", "outcome", "seed", "last PER", "best PER", "last step", "settings"),
    *("evaluations", "restarts"),
)


class _Markdown(str):
    """Text that is Markdown already."""


def markdown(audit: Audit) -> str:
    """The audit as a Markdown page; names and values in it are text, whatever they hold."""
    templates = environment(
        finalize=lambda value: value if isinstance(value, _Markdown) else _escape(str(value))
    )
    templates.filters["row"] = lambda cells: _Markdown(f"| {' | '.join(map(_escape, cells))} |")
    templates.filters["trusted"] = _Markdown
    spec = ""
    if isinstance(audit.proposal, Proposal):
        spec = spec_text(audit.proposal, "base.yaml", audit.group.name).rstrip()
    runs, changes = audit.group.runs, audit.group.run_changes
    notes = list(reading_notes(runs))
    return templates.get_template("audit.md.j2").render(
        audit=audit,
        group=audit.group,
        findings=by_weight(audit.findings),
        proposal=proposal_lines(audit.proposal),
        spec=spec,
        run_titles=RUN_TITLES,
        runs=[run_row(run) for run in runs[:MOST_LISTED]],
        run_changes=changes[:MOST_LISTED],
        notes=notes[:MOST_LISTED],
        left_out={
            "runs": more_text(len(runs), MOST_LISTED),
            "changes": more_text(len(changes), MOST_LISTED),
            "notes": more_text(len(notes), MOST_LISTED),
        },
    )


def more_text(n_all: int, most: int) -> str:
    """The sentence below a list that shows `most` of its entries; "" if it shows all."""
    return f"… and {n_all - most:,} more; `audit --json` has all." if n_all > most else ""


def proposal_lines(proposal: Proposal | str) -> list[str]:
    """The proposal in sentences."""
    return [proposal] if isinstance(proposal, str) else list(proposal.sentences)


def run_row(run: ImportedRun) -> tuple[str, ...]:
    """A run's cells under `RUN_TITLES`; a dash for a value that is not known."""
    last_step = "" if run.last_step is None else f"{run.last_step:,.0f}"
    cells = (
        run.name,
        run.outcome,
        "" if run.seed is None else str(run.seed),
        "" if run.final is None else per_text(run.final[1]),
        "" if run.best is None else per_text(run.best[1]),
        last_step + f" {run.step_unit}s" * (bool(last_step) and run.step_unit != "step"),
        run.settings_from.rpartition("/")[2],
        str(len(run.pers())),
        str(run.n_restarts),
    )
    return tuple(cell or "–" for cell in cells)


def reading_notes(runs: Sequence[ImportedRun]) -> Iterator[str]:
    """One line for each decision about a run, and for each kind of file that was not read."""
    for run in runs:
        for reason in run.reasons:
            yield f"{run.name}: {run.outcome}: {reason}"
        for note in run.notes:
            yield f"{run.name}: {note.removeprefix(f'{run.name}/')}"
    yield from unread_files(runs, lambda note: note.role in ("unreadable", "refused", "not read"))


def audit_document(audit: Audit) -> dict[str, object]:
    """The audit for ``--json``; numbers that are not finite are text."""
    group = audit.group
    document: dict[str, object] = non_finite_as_text(
        {
            "name": group.name,
            "source": group.source,
            "order_by": group.order,
            "runs": [run_document(run) for run in group.runs],
            "copies": dict(group.copies),
            "findings": [_finding_document(finding) for finding in audit.findings],
            "steps": [_step_document(one) for one in group.run_changes],
            "settings_not_counted": list(audit.neutral),
            "settings_without_effect": list(audit.without_effect),
            "proposal": _proposal_document(audit.proposal, group.name),
        }
    )
    return document


def _finding_document(finding: Finding) -> dict[str, object]:
    return {
        "kind": finding.kind,
        "weight": finding.weight,
        "title": finding.title,
        "details": list(finding.details),
        "runs": list(finding.runs),
        "figures": dict(finding.figures),
    }


def _step_document(one: RunChanges) -> dict[str, object]:
    before, closest = one
    return {
        "run": closest.b.name,
        "before": before.a.name,
        "changed": _change_documents(before.changes),
        "closest": closest.a.name,
        "changed_from_closest": _change_documents(closest.changes),
        "difference_from_closest": closest.gap,
    }


def _change_documents(changes: Sequence[SettingChange]) -> list[dict[str, object]]:
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


def _proposal_document(proposal: Proposal | str, group: str) -> dict[str, object]:
    if isinstance(proposal, str):
        return {"none": proposal}
    return {
        "from": proposal.pair.a.name,
        "to": proposal.pair.b.name,
        "settings": [change.key for change in proposal.changes],
        "left_out": [change.name for change in proposal.left_out],
        "n_arms": proposal.n_arms,
        "n_seeds": len(proposal.ablation.seeds),
        "n_steps": int(proposal.pair.a.mapped.config["train.n_steps"]),
        "power": proposal.power,
        "reasons": list(proposal.sentences[1:]),
        "spec": spec_text(proposal, "base.yaml", group),
    }


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", " ".join(text.split()))
