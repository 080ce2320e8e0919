"""What `search` prints, as text and as JSON: its results, and its forecast."""

import signal
from dataclasses import asdict
from typing import Any

from rich.console import Console

from orchestrator.cli.trainer_view import say_trainer
from orchestrator.search.confirmation import is_confirmed
from orchestrator.search.driver import SearchOutcome
from orchestrator.search.forecast import SearchForecast
from orchestrator.search.load import LoadedSearch
from orchestrator.search.rebuild import RebuiltSearch
from orchestrator.spec.configuration import says_steps
from orchestrator.spec.promises import promised_less
from orchestrator.terminal import finite, print_table, say_to, time_text


def search_document(
    outcome: SearchOutcome | None, rebuilt: RebuiltSearch, folder: str
) -> dict[str, Any]:
    """The results of a search, as JSON.

    Args:
        outcome: of this call; None if only the report was rebuilt.
        rebuilt: what the report was made from.
        folder: of the report.
    """
    view, rows = rebuilt.view, rebuilt.confirmation.rows if rebuilt.confirmation else ()
    verdicts = rebuilt.confirmation.verdicts if rebuilt.confirmation else ()
    document: dict[str, Any] = {
        "name": view.spec.name,
        "summary": view.summary,
        "findings": list(view.findings),
        "best": [
            {
                **asdict(winner),
                "confirmed": is_confirmed(winner, rows),
                "places": [place._asdict() for place in rebuilt.places[winner.level]],
            }
            for winner in rebuilt.winners
        ],
        "confirmed": [asdict(row) for row in rows],
        "verdicts": {verdict.name: verdict.word for verdict in verdicts},
        "report": f"{folder}/report.html",
        "folder": folder,
    }
    if outcome is not None:
        document |= {"n_trained": outcome.n_trained, **asdict(outcome.counts)}
        document["exit_code"] = outcome.exit_code
    return dict(finite(document))


def print_search(console: Console, rebuilt: RebuiltSearch, folder: str) -> None:
    """Print the summary, the best settings, the confirmation, and where the report is."""
    view, say = rebuilt.view, say_to(console)
    say(view.summary)
    for warning in view.warnings:
        say(warning)
    for text in view.findings:
        say(text)
    console.print()
    for grid in (view.best, view.confirmed):
        if grid is not None:
            print_table(console, grid.header, grid.rows, numeric=grid.numeric)
    for answer in (*view.answers, *view.exploratory):
        say(f"{answer.name}: {answer.title.upper()}")
    say(f"report: {folder}/report.html")


def search_line(outcome: SearchOutcome, rebuilt: RebuiltSearch, folder: str) -> str:
    """How a call of `search` ended, in one line: candidates, confirmation, time, report."""
    counts = outcome.counts
    if outcome.signal_number is not None:
        ended = f"stopped by {signal.Signals(outcome.signal_number).name}"
    else:
        ended = "ended, some lack a result" if outcome.exit_code else "done"
    parts = [
        f"{rebuilt.view.spec.name}: {ended}",
        f"{counts.n_finished} of {outcome.n_candidates} candidates",
    ]
    if counts.n_to_confirm:
        parts.append(f"{counts.n_confirmed} of {counts.n_to_confirm} runs of the confirmation")
    return "; ".join([*parts, time_text(sum(outcome.seconds.values())), f"{folder}/report.html"])


def print_forecast(console: Console, loaded: LoadedSearch, cost: SearchForecast) -> None:
    """Print what a search would train, how long it takes, and what it would execute."""
    say = say_to(console)
    say(f"{cost.name}: {cost.n_candidates} candidates, {cost.n_runs} runs")
    for number, rungs in enumerate(cost.brackets):
        bracket = f"bracket {number}: " if len(cost.brackets) > 1 else ""
        at = ", ".join(f"{step:,}" for step in rungs)
        say(
            f"{bracket}candidates are compared at step {at}"
            if rungs
            else f"{bracket}no early stopping"
        )
    if says_steps(loaded.base):
        say(
            f"about {cost.search_steps:,} training steps ({cost.most_steps:,} without early "
            f"stopping), and {cost.confirm_steps:,} for the confirmation"
        )
    say_trainer(loaded.base, "search", promised_less(loaded.spec.trainer, {}), say)
    if cost.seconds is None:
        say(f"time: unknown ({cost.source})")
    else:
        say(f"time: about {time_text(cost.seconds)}, from {cost.source}")
