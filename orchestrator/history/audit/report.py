"""The audit as a Markdown page, and the lines and rows that the terminal shows too."""

import re
from collections.abc import Iterator, Sequence

from orchestrator.history.audit.audit import Audit
from orchestrator.history.audit.check_runs import unread_files
from orchestrator.history.audit.findings import by_weight
from orchestrator.history.audit.prepared_group import PreparedGroup
from orchestrator.history.audit.proposal import Proposal, spec_text
from orchestrator.history.audit.run_pairs import per_difference
from orchestrator.history.audit.wording import (
    changes_text,
    count,
    environment,
    joined,
    moved,
    per_text,
    points,
)
from orchestrator.history.reading.record import ImportedRun

RUN_TITLES = (
    *("run", "outcome", "seed", "last PER", "best PER", "last step", "settings"),
    *("evaluations", "restarts"),
)
_MOST_NAMES = 30
_MOST_CHANGES = 20


class _Markdown(str):
    """Text that is Markdown already."""


def markdown(audit: Audit) -> str:
    """The audit as a Markdown page; names and values in it are text, whatever they hold."""
    templates = environment(
        finalize=lambda value: value if isinstance(value, _Markdown) else _escape(str(value))
    )
    templates.filters["row"] = lambda cells: _Markdown(f"| {' | '.join(map(_escape, cells))} |")
    templates.filters["trusted"] = _Markdown
    group, proposal, spread = audit.group, audit.proposal, audit.group.spreads.best
    spec = ""
    if isinstance(proposal, Proposal):
        spec = spec_text(proposal, "base.yaml", group.name).rstrip()
    return templates.get_template("audit.md.j2").render(
        group=group,
        n_runs=count(len(group.runs), "run"),
        n_configurations=count(len(group.configurations), "configuration"),
        findings=by_weight(audit.findings),
        proposal=proposal_lines(proposal),
        spec=spec,
        run_titles=RUN_TITLES,
        runs=[run_row(run) for run in group.runs],
        changes=list(_change_rows(group)),
        notes=list(reading_notes(group.runs)),
        neutral=joined(audit.neutral, _MOST_NAMES),
        labels=joined(sorted(group.labels), _MOST_NAMES),
        without_effect=joined(audit.without_effect, _MOST_NAMES),
        spread=spread,
        sd=points(spread.sd) if spread else "",
    )


def proposal_lines(proposal: Proposal | str) -> list[str]:
    """The proposal in sentences."""
    if isinstance(proposal, str):
        return [proposal]
    return [proposal.summary, *proposal.reasons]


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


def _change_rows(group: PreparedGroup) -> Iterator[tuple[str, ...]]:
    for one in group.run_changes:
        pairs = [(one.before, one.changes)]
        if one.closest is not one.before:
            pairs.append((one.closest, one.from_closest))
        for other, changes in pairs:
            what = changes_text(changes, _MOST_CHANGES) if changes else "no setting that counts"
            gap = per_difference(other, one.run)
            yield one.run.name, other.name, what, "" if gap != gap else moved(gap)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", " ".join(text.split()))
