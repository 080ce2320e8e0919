"""What `compare` prints."""

from rich.console import Console

from orchestrator.query.compare.comparison import Comparison
from orchestrator.query.compare.rendering import header_lines, table
from orchestrator.terminal import print_table, say_to


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the header of a comparison and its table."""
    say = say_to(console)
    for text in header_lines(comparison):
        say(text)
    console.print()
    titles, rows = table(comparison)
    more = "--csv, --parquet and --markdown write them all"
    print_table(console, titles, [tuple(row) for row in rows], more=more)
