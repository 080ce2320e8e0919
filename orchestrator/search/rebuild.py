"""Everything after a search's study and the ledger, in one go: tables, figures, report."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.report.pages import write_pages
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.search.confirm import Winner, find_winners
from orchestrator.search.drawing import draw_search
from orchestrator.search.outcome import Confirmation, confirmations_table, read_confirmation
from orchestrator.search.report_view import SearchView, make_search_view
from orchestrator.search.spec import LoadedSearch
from orchestrator.search.study import Book
from orchestrator.search.tables import SearchTables, make_search_tables
from orchestrator.store.paths import Results
from orchestrator.tables.tables import write_tables
from orchestrator.terminal import Say


class Rebuilt(NamedTuple):
    """What `rebuild_search` made.

    Attributes:
        tables: the tables.
        winners: of all arms, those that ended; the best first.
        confirmation: what is left of them on fresh seeds; None while there is none.
        view: the report in words.
        paths: every file written, the reports last.
    """

    tables: SearchTables
    winners: tuple[Winner, ...]
    confirmation: Confirmation | None
    view: SearchView
    paths: tuple[Path, ...]


def rebuild_search(
    loaded: LoadedSearch, results: Results, books: Sequence[Book], say: Say
) -> Rebuilt:
    """Write a search's tables, figures and report anew.

    The same study and records give the same bytes.

    Args:
        loaded: the search.
        results: ledger and folders; of searches. The search's own gets ``candidates``,
            ``rungs``, ``confirmations``, ``runs`` and ``verdicts`` (CSV and Parquet),
            ``figures/``, ``report.md`` and ``report.html``.
        books: the study of each arm.
        say: receives a line for each record that cannot be trusted.

    Raises:
        StorageError: a file cannot be written.
    """
    folder = results.ablation(loaded.spec.name)
    tables = make_search_tables(loaded, results, books, say)
    winners: list[Winner] = []
    for tuned, book in zip(loaded.arms, books, strict=True):
        winners += find_winners(loaded.spec, tuned, book) if loaded.spec.confirm else []
    found = read_confirmation(loaded, results, winners, say)
    named = {"candidates": tables.candidates, "rungs": tables.rungs}
    if found is not None:
        named["confirmations"] = confirmations_table(found.rows)
        named["runs"] = found.tables.runs
        named["verdicts"] = verdicts_table(found.verdicts)
    paths = write_tables(folder, named)
    figures = draw_search(folder / "figures", loaded, tables, winners, found.rows if found else ())
    paths += [path for figure in figures for path in (figure.svg, figure.png)]
    view = make_search_view(loaded, tables.candidates, winners, found, figures)
    paths += write_pages(folder, "search", view)
    return Rebuilt(tables, tuple(winners), found, view, tuple(paths))
