"""The audit of a group of imported runs: its findings in order, its steps, and what to run next."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.history.audit.comparisons import comparison_findings, difference
from orchestrator.history.audit.conduct import conduct_findings
from orchestrator.history.audit.counting import data_seed_keys, is_neutral
from orchestrator.history.audit.limits import limit_findings
from orchestrator.history.audit.lineup import Lineup, Step, line_up
from orchestrator.history.audit.proposal import Proposal, propose, spec_text
from orchestrator.history.audit.repeats import repeat_findings
from orchestrator.history.audit.telling import WEIGHTS, Finding
from orchestrator.history.audit.unread import unread_findings
from orchestrator.history.reading.reading import Group
from orchestrator.history.reading.record import ForeignRun, finite
from orchestrator.history.reading.settings import seed_keys


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        lineup: the runs, in order.
        findings: the heaviest first.
        uncounted: settings that differ between runs but cannot change a result, by their names.
        without_effect: settings that differ but on which the official trainer does not act.
        proposal: what to run next, or why nothing is proposed.
    """

    lineup: Lineup
    findings: tuple[Finding, ...]
    uncounted: tuple[str, ...]
    without_effect: tuple[str, ...]
    proposal: Proposal | str


def audit(name: str, group: Group) -> Audit:
    """Audit a group of runs."""
    lineup = line_up(name, group.source, group.runs, group.remarks)
    findings = [
        *repeat_findings(lineup),
        *comparison_findings(lineup),
        *limit_findings(lineup),
        *conduct_findings(lineup),
        *unread_findings(lineup),
    ]
    varying = _varying(lineup.runs)
    acted = {key for run in lineup.runs for key in run.mapped.without_effect}
    return Audit(
        lineup,
        tuple(sorted(findings, key=lambda finding: finding.weight)),
        tuple(key for key in varying if is_neutral(key) or key in lineup.labels),
        tuple(key for key in varying if key in acted and not is_neutral(key)),
        propose(lineup),
    )


def _varying(runs: Sequence[ForeignRun]) -> list[str]:
    """Settings that differ between any two runs, seeds left out."""
    seeds = {
        key for run in runs for key in (*seed_keys(run.settings), *data_seed_keys(run.settings))
    }
    told = [run for run in runs if run.settings]
    keys = dict.fromkeys(key for run in told for key in run.settings)
    return [
        key
        for key in keys
        if key not in seeds and len({repr(run.settings.get(key)) for run in told}) > 1
    ]


def document(found: Audit) -> dict[str, Any]:
    """The audit as JSON."""
    lineup, proposal = found.lineup, found.proposal
    told = {
        "name": lineup.name,
        "source": lineup.source,
        "order_by": lineup.order,
        "runs": [run_document(run) for run in lineup.runs],
        "copies": dict(lineup.copies),
        "findings": [
            {**asdict(finding), "weight": WEIGHTS[finding.weight]} for finding in found.findings
        ],
        "steps": [step_document(step) for step in lineup.steps],
        "settings_not_counted": list(found.uncounted),
        "settings_without_effect": list(found.without_effect),
        "proposal": (
            {"none": proposal}
            if isinstance(proposal, str)
            else {
                "from": proposal.a,
                "to": proposal.b,
                "settings": [change.key for change in proposal.changes],
                "left_out": [change.name for change in proposal.left_out],
                "n_arms": proposal.n_arms,
                "n_seeds": proposal.n_seeds,
                "n_steps": proposal.n_steps,
                "power": proposal.power,
                "reasons": list(proposal.reasons),
                "spec": spec_text(proposal, "base.yaml", lineup.name),
            }
        ),
    }
    return dict(finite(told))


def run_document(run: ForeignRun) -> dict[str, Any]:
    """One run as a row."""
    return {
        "name": run.name,
        "outcome": run.outcome,
        "reasons": list(run.reasons),
        "seed": run.seed,
        "n_evaluations": len(run.pers()),
        "last_step": run.last_step,
        "step_unit": run.step_unit,
        "n_planned": run.n_planned,
        "final_per": run.final[1] if run.final else None,
        "best_per": run.best[1] if run.best else None,
        "best_step": run.best[0] if run.best else None,
        "n_restarts": run.n_restarts,
        "settings_from": run.settings_from,
        "codebase": run.mapped.codebase,
        "notes": list(run.notes),
    }


def step_document(step: Step) -> dict[str, Any]:
    """One step with everything that changed in it."""
    gap = difference(step.closest, step.run)
    return {
        "run": step.run.name,
        "before": step.before.name,
        "changed": [_change(change) for change in step.changes],
        "closest": step.closest.name,
        "changed_from_closest": [_change(change) for change in step.from_closest],
        "difference_from_closest": None if math.isnan(gap) else gap,
    }


def _change(change: Any) -> dict[str, Any]:
    return {
        "setting": change.name,
        "path": change.key,
        "before": change.before,
        "after": change.after,
        "with": list(change.paths[1:]),
    }
