"""`orchestrator.cli.compare_view`: what `compare` prints."""

import io

from rich.console import Console
from stored_pairs import compare_stored

from orchestrator.cli.compare_view import print_comparison
from orchestrator.query.compare.rendering import header_lines, table
from orchestrator.store.paths import Results


def test_the_header_and_the_whole_table_are_printed(shared: Results) -> None:
    comparison = compare_stored(shared, "one", "two")
    printed = io.StringIO()
    print_comparison(Console(file=printed, width=220), comparison)
    lines = printed.getvalue().splitlines()
    header = header_lines(comparison)
    assert lines[: len(header)] == header
    titles, rows = table(comparison)
    shown = [line.split() for line in lines[len(header) :] if line.strip()]
    assert shown == [" ".join(cells).split() for cells in (titles, *rows)]
