"""What `search` prints: how it ended, what it will cost; as text and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from orchestrator.search.driver import SearchOutcome
from orchestrator.search.forecast import SearchForecast
from orchestrator.search.rebuild import Rebuilt
from orchestrator.search.report_view import settings_text
from orchestrator.spec.units import value_text
from orchestrator.terminal import finite, print_table, say_to, time_text


def search_document(outcome: SearchOutcome | None, found: Rebuilt, folder: str) -> dict[str, Any]:
    """How a search stands, as JSON.

    Args:
        outcome: of this call; None where only the report was rebuilt.
        found: what the report was made from.
        folder: where it lies.
    """
    rows = found.confirmation.rows if found.confirmation else ()
    verdicts = found.confirmation.verdicts if found.confirmation else ()
    document: dict[str, Any] = {
        "name": found.view.name,
        "summary": found.view.summary,
        "findings": list(found.view.findings),
        "best": [asdict(winner) for winner in found.winners],
        "confirmed": [asdict(row) for row in rows],
        "verdicts": {verdict.name: verdict.word for verdict in verdicts},
        "report": f"{folder}/report.html",
    }
    if outcome is not None:
        document |= {"n_trained": outcome.n_trained, **asdict(outcome.counts)}
        document["exit_code"] = outcome.exit_code
    return dict(finite(document))


def print_search(console: Console, found: Rebuilt, first: str, folder: str) -> None:
    """The summary, the confirmed candidates, what they say, and where the report is.

    Args:
        console: where to.
        found: what the report was made from.
        first: the first objective.
        folder: the search's.
    """
    say = say_to(console)
    say(found.view.summary)
    for warning in found.view.warnings:
        say(warning)
    if found.view.confirmed is not None:
        print_table(console, found.view.confirmed.header, found.view.confirmed.rows,
                    numeric=found.view.confirmed.numeric)  # fmt: skip
    else:
        for winner in found.winners:
            figure = value_text(winner.figure, first)
            say(f"{winner.level}: {figure} with {settings_text(winner.params)}")
    for text in found.view.findings:
        say(text)
    for answer in (*found.view.answers, *found.view.explored):
        say(f"{answer.name}: {answer.title.upper()}")
    say(f"report: {folder}/report.html")


def print_forecast(console: Console, seen: SearchForecast) -> None:
    """What a search will cost."""
    say = say_to(console)
    say(f"{seen.name}: {seen.n_candidates} candidates, {seen.n_runs} runs")
    for number, rungs in enumerate(seen.brackets):
        bracket = f"bracket {number}: " if len(seen.brackets) > 1 else ""
        at = ", ".join(f"{step:,}" for step in rungs)
        say(f"{bracket}judged at step {at}" if rungs else f"{bracket}nothing is stopped early")
    say(
        f"about {seen.search_steps:,} training steps, {seen.most_steps:,} if nothing were stopped; "
        f"{seen.confirm_steps:,} more to confirm"
    )
    if seen.seconds is None:
        say(f"time: not known ({seen.source})")
    else:
        say(f"time: about {time_text(seen.seconds)} from {seen.source}")
