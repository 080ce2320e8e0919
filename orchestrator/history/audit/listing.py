"""What `import-runs` and `audit` print: for the terminal, and the audit as a Markdown report."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from orchestrator.history.audit.audit import Audit, run_document
from orchestrator.history.audit.proposal import Proposal, spec_text
from orchestrator.history.audit.telling import (
    WEIGHTS,
    changes_text,
    count,
    joined,
    moved,
    per_text,
    points,
)
from orchestrator.history.audit.unread import files_text
from orchestrator.history.reading.record import ForeignRun
from orchestrator.history.reading.store import Import
from orchestrator.terminal import print_table, say_to

_RUN_TITLES = (
    "run",
    "outcome",
    "seed",
    "last PER",
    "best PER",
    "last step",
    "settings",
    "evaluations",
    "restarts",
)


def import_document(done: Import) -> dict[str, Any]:
    """An import as JSON."""
    return {
        "name": done.name,
        "source": done.group.source,
        "folder": str(done.folder),
        "n_runs": len(done.group.runs),
        "new": list(done.new),
        "changed": list(done.changed),
        "unchanged": list(done.unchanged),
        "renamed": dict(done.renamed),
        "gone": list(done.gone),
        "remarks": list(done.group.remarks),
        "runs": [
            {
                **run_document(run),
                "files": [
                    {"path": n.path, "role": n.role, "n_bytes": n.n_bytes, "note": n.note}
                    for n in run.files
                ],
            }
            for run in done.group.runs
        ],
    }


def print_import(console: Console, done: Import) -> None:
    """What was read, and everything that was not."""
    say = say_to(console)
    print_table(console, _RUN_TITLES, [_row(run) for run in done.group.runs])
    for line in notes_of(done.group.runs):
        say(line)
    for remark in done.group.remarks:
        say(remark)
    for old, new in done.renamed.items():
        say(f"{old}: is called {new} now")
    if done.gone:
        say(f"no longer there, records kept: {joined(done.gone)}")
    say(
        f"{done.name}: {count(len(done.group.runs), 'run')} read ({len(done.new)} new, "
        f"{len(done.changed)} changed, {len(done.unchanged)} as before); "
        f"next: python -m orchestrator audit {done.name}"
    )


def notes_of(runs: Sequence[ForeignRun]) -> Iterator[str]:
    """One line for each thing that was decided of a run, and for each kind of file not read."""
    for run in runs:
        for reason in run.reasons:
            yield f"{run.name}: {run.outcome}: {reason}"
        for note in run.notes:
            yield f"{run.name}: {note.removeprefix(f'{run.name}/')}"
    yield from files_text(runs, lambda note: note.role in ("unreadable", "refused", "not read"))


def _row(run: ForeignRun) -> tuple[str, ...]:
    return (
        run.name,
        run.outcome,
        "–" if run.seed is None else str(run.seed),
        "–" if run.final is None else per_text(run.final[1]),
        "–" if run.best is None else per_text(run.best[1]),
        "–"
        if run.last_step is None
        else f"{run.last_step:,.0f}" + f" {run.step_unit}s" * (run.step_unit != "step"),
        run.settings_from.rpartition("/")[2] or "–",
        str(len(run.pers())),
        str(run.n_restarts),
    )


def print_audit(console: Console, found: Audit, report: str) -> None:
    """Every finding with its sentences, the proposal, and where the report lies."""
    say, lineup = say_to(console), found.lineup
    say(
        f"{lineup.name}: {count(len(lineup.runs), 'run')} of "
        f"{count(len(lineup.arms), 'configuration')}, in the order of {lineup.order}"
    )
    for weight, title in WEIGHTS.items():
        findings = [finding for finding in found.findings if finding.weight == weight]
        if findings:
            console.print(f"\n[bold]{escape(title.upper())}[/bold]")
        for finding in findings:
            say(f"\n{finding.title}")
            for detail in finding.details:
                say(f"    {detail}")
    console.print("\n[bold]WHAT TO RUN NEXT[/bold]\n")
    for line in proposal_lines(found.proposal):
        say(line)
    say(f"\nreport: {report}")


def proposal_lines(proposal: Proposal | str) -> list[str]:
    """The proposal in sentences."""
    if isinstance(proposal, str):
        return [proposal]
    arms = f"{count(proposal.n_arms, 'arm')} × {count(proposal.n_seeds, 'seed')}"
    head = (
        f"The ablation that would settle the most: {arms} = {proposal.n_arms * proposal.n_seeds} "
        f"runs of {proposal.n_steps:,} steps, every change from {proposal.a} to {proposal.b} taken "
        "out while the others stay."
        if len(proposal.changes) > 1
        else f"The ablation that would settle the most: {arms} of {proposal.n_steps:,} steps, the "
        f"one change from {proposal.a} to {proposal.b} on fresh seeds."
    )
    return [head, *proposal.reasons]


def markdown(found: Audit) -> str:
    """The audit as a report."""
    lineup = found.lineup
    lines = [
        f"# Audit of {_md(lineup.name)}",
        "",
        f"{count(len(lineup.runs), 'run')} of {count(len(lineup.arms), 'configuration')}, read "
        f"from `{lineup.source.replace('`', '')}`, in the order of {lineup.order}.",
        "",
    ]
    for weight, title in WEIGHTS.items():
        findings = [finding for finding in found.findings if finding.weight == weight]
        lines += [f"## {title.capitalize()}", ""] if findings else []
        for finding in findings:
            lines += [f"**{_md(finding.title)}**", ""]
            lines += [f"- {_md(detail)}" for detail in finding.details]
            lines += [""] if finding.details else []
    lines += ["## What to run next", ""]
    for line in proposal_lines(found.proposal):
        lines += [_md(line), ""]
    if isinstance(found.proposal, Proposal):
        lines += [
            "```yaml",
            spec_text(found.proposal, "base.yaml", lineup.name).rstrip(),
            "```",
            "",
        ]
    lines += [*_runs_table(lineup.runs), *_steps_table(found), *_reading(found), *_method(found)]
    return "\n".join(lines)


def _runs_table(runs: Sequence[ForeignRun]) -> list[str]:
    rows = [f"| {' | '.join(_md(cell) for cell in _row(run))} |" for run in runs]
    rule = f"|{'---|' * len(_RUN_TITLES)}"
    return ["## Runs", "", f"| {' | '.join(_RUN_TITLES)} |", rule, *rows, ""]


def _steps_table(found: Audit) -> list[str]:
    lines = [
        "## Steps",
        "",
        "What each run changed from the one before it and, where that is another one, from the "
        "earlier run closest to it.",
        "",
        "| run | from | changed | PER |",
        "|---|---|---|---|",
    ]
    for step in found.lineup.steps:
        pairs = [(step.before, step.changes)]
        if step.closest is not step.before:
            pairs.append((step.closest, step.from_closest))
        for other, changes in pairs:
            told = changes_text(changes, 20) if changes else "nothing that counts"
            gap = ""
            if other.counted is not None and step.run.counted is not None:
                gap = moved(step.run.counted - other.counted)
            cells = (step.run.name, other.name, told, gap)
            lines.append(f"| {' | '.join(_md(cell) for cell in cells)} |")
    return [*lines, ""]


def _reading(found: Audit) -> list[str]:
    notes = list(notes_of(found.lineup.runs))
    return ["## What was read, and how", "", *(f"- {_md(note)}" for note in notes), ""]


def _method(found: Audit) -> list[str]:
    spread = found.lineup.spreads.best
    lines = [
        "## How this was told",
        "",
        "- A run counts with the PER of its last evaluation, one that diverged with 100 %; runs "
        "that did not reach their planned end are in no comparison of ends.",
        "- Two runs are of one configuration when every setting that counts is equal, the seed "
        "aside. Settings that are off and settings that are not there count as equal. What has no "
        "effect at the value of another setting, or follows another by its nature (the learning "
        "rate of the day layers that of the rest), is no difference of its own.",
    ]
    if found.uncounted:
        lines.append(
            f"- These differ but cannot change a result: {_md(joined(found.uncounted, 30))}."
        )
    if found.lineup.labels:
        labels = joined(sorted(found.lineup.labels), 30)
        lines.append(
            f"- These are another text in every run and taken to be mere names: {_md(labels)}."
        )
    if found.without_effect:
        lines.append(
            "- These differ but the official trainer does not act on them (a fork may): "
            f"{_md(joined(found.without_effect, 30))}."
        )
    if spread is not None:
        lines.append(
            "- What chance makes: the 97.5 % quantile of Student's t with "
            f"{count(spread.freedom, 'degree')} of freedom, times the standard deviation of "
            f"{points(spread.sd)}, times √(1/n + 1/m) for means of n and m runs. It takes PERs to "
            "vary normally, and alike in all configurations."
        )
    return [*lines, ""]


def _md(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", " ".join(text.split()))
