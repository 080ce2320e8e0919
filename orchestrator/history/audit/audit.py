"""The audit of a group of imported runs: its findings in order, and what to run next."""

from dataclasses import dataclass

from decoder.neutral_settings import is_neutral
from orchestrator.history.audit.check_confounding import check_confounding
from orchestrator.history.audit.check_repeats import check_repeats
from orchestrator.history.audit.check_runs import check_runs
from orchestrator.history.audit.check_sweeps import check_sweeps
from orchestrator.history.audit.effective_settings import all_seed_keys
from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup, prepare_group
from orchestrator.history.audit.proposal import Proposal, propose
from orchestrator.history.reading.read_runs import Group

_CHECKS = (check_repeats, check_sweeps, check_confounding, check_runs)


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        group: the runs, in order, with their changes.
        findings: the heaviest first.
        neutral: names of settings that differ between runs but cannot change a result.
        without_effect: names of settings that differ but that the official trainer ignores.
        proposal: what to run next, or why nothing is proposed.
    """

    group: PreparedGroup
    findings: tuple[Finding, ...]
    neutral: tuple[str, ...]
    without_effect: tuple[str, ...]
    proposal: Proposal | str


def audit(name: str, group: Group) -> Audit:
    """Audit a group of runs, which gets this name."""
    prepared = prepare_group(name, group)
    findings = [finding for check in _CHECKS for finding in check(prepared)]
    settings = [run.settings for run in prepared.runs if run.settings]
    seeds = {key for one in settings for key in all_seed_keys(one)}
    varying = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if key not in seeds and len({repr(one.get(key)) for one in settings}) > 1
    ]
    ignored = {key for run in prepared.runs for key in run.mapped.without_effect}
    return Audit(
        prepared,
        tuple(finding for weight in Weight for finding in findings if finding.weight is weight),
        tuple(key for key in varying if is_neutral(key) or key in prepared.labels),
        tuple(key for key in varying if key in ignored and not is_neutral(key)),
        propose(prepared),
    )
