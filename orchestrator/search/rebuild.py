"""Rebuilds tables, figures and report of a search from its studies and the ledger."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.report.faults import Faults
from orchestrator.report.pages import write_pages
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.search.confirmation import (
    Confirmation,
    Confirmed,
    Winner,
    best_table,
    confirmations_table,
    find_winners,
    read_confirmation,
)
from orchestrator.search.figures import draw_search_figures
from orchestrator.search.kept import keep_search
from orchestrator.search.load import LoadedSearch
from orchestrator.search.report_view import SearchView, make_search_view, winner_places
from orchestrator.search.settings import Place
from orchestrator.search.study import ArmStudy
from orchestrator.search.tables import SearchTables, make_search_tables
from orchestrator.store.ledger import read_records
from orchestrator.store.mixing import mixed_text
from orchestrator.store.paths import Results
from orchestrator.tables.tables import write_tables
from orchestrator.terminal import Say

TEMPLATES = Path(__file__).parent / "templates"


class RebuiltSearch(NamedTuple):
    """What `rebuild_search` made; no confirmation before it is planned.

    `places` has the level of the best candidate of each arm → the places of its settings.
    """

    tables: SearchTables
    winners: tuple[Winner, ...]
    confirmation: Confirmation | None
    view: SearchView
    places: Mapping[str, list[Place]]


def rebuild_search(
    loaded: LoadedSearch, results: Results, studies: Sequence[ArmStudy], say: Say
) -> RebuiltSearch:
    """Write a search's tables, figures and report again; the same records give the same bytes.

    A figure or part that cannot be made is a line in the report, and all others are there. The
    search's own folder receives ``search.json``; ``candidates``, ``best``, ``rungs``,
    ``confirmations``, ``runs`` and ``verdicts`` (CSV and Parquet); ``figures/``, ``report.md`` and
    ``report.html``.

    Raises:
        StorageError: a file cannot be written.
    """
    folder = results.ablation(loaded.spec.name)
    keep_search(loaded, results)
    tables = make_search_tables(loaded, results, studies, say)
    winners = find_winners(studies)
    confirmation = read_confirmation(loaded, results, winners, say)
    named = {"candidates": tables.candidates, "rungs": tables.rungs}
    rows: Sequence[Confirmed] = ()
    if confirmation is not None:
        rows = confirmation.rows
        named["confirmations"] = confirmations_table(rows)
        named["runs"] = confirmation.runs
        named["verdicts"] = verdicts_table(confirmation.verdicts)
    named["best"] = best_table(studies, winners, rows)
    write_tables(folder, named)
    faults = Faults(say)
    figures = draw_search_figures(folder / "figures", loaded, tables, winners, rows, faults)
    run_ids = [one for ids in tables.candidates["run_ids"] for one in ids.split()]
    mixed = mixed_text(read_records(results, run_ids, say, move_aside=False))
    view = make_search_view(
        loaded, tables.candidates, winners, confirmation, figures, faults, mixed
    )
    write_pages(folder, "search_report", view, templates=TEMPLATES)
    places = {winner.level: winner_places(loaded, winner) for winner in winners}
    return RebuiltSearch(tables, tuple(winners), confirmation, view, places)
