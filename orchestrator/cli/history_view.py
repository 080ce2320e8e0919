"""What `import-runs` and `audit` print in a terminal."""

from rich.console import Console
from rich.markup import escape

from orchestrator.history.audit.audit import Audit
from orchestrator.history.audit.findings import by_weight
from orchestrator.history.audit.report import (
    RUN_TITLES,
    more_text,
    proposal_lines,
    reading_notes,
    run_row,
)
from orchestrator.history.audit.wording import count, joined
from orchestrator.history.reading.store import ImportResult
from orchestrator.terminal import Say, print_table, say_to

_MOST_LINES = 60  # runs and remarks in a terminal


def print_import(console: Console, result: ImportResult) -> None:
    """The runs that were read, and everything that was not."""
    say, runs = say_to(console), result.group.runs
    print_table(console, RUN_TITLES, [run_row(run) for run in runs[:_MOST_LINES]])
    _say_more(say, len(runs))
    notes = [*reading_notes(runs), *result.group.remarks]
    for line in notes[:_MOST_LINES]:
        say(line)
    _say_more(say, len(notes))
    for old, new in result.renamed.items():
        say(f"{old}: is now named {new}")
    if result.gone:
        say(f"folders that no longer exist; their records are kept: {joined(result.gone)}")
    say(
        f"{result.name}: {count(len(runs), 'run')} read ({len(result.new)} new, "
        f"{len(result.changed)} changed, {len(result.unchanged)} unchanged); "
        f"next: python -m orchestrator audit {result.name}"
    )


def print_audit(console: Console, audit: Audit, report: str) -> None:
    """Every finding with its details, the proposal, and the path of the report."""
    say, group = say_to(console), audit.group
    say(
        f"{group.name}: {count(len(group.runs), 'run')} of "
        f"{count(len(group.configurations), 'configuration')}, in the order of {group.order}"
    )
    for weight, findings in by_weight(audit.findings).items():
        console.print(f"\n[bold]{escape(weight.upper())}[/bold]")
        for finding in findings:
            say(f"\n{finding.title}")
            for detail in finding.details:
                say(f"    {detail}")
    console.print("\n[bold]WHAT TO RUN NEXT[/bold]\n")
    for line in proposal_lines(audit.proposal):
        say(line)
    say(f"\nreport: {report}")


def _say_more(say: Say, n_all: int) -> None:
    if text := more_text(n_all, _MOST_LINES):
        say(text)
