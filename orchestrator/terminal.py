"""Printing for every command: lines, tables, durations and JSON."""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from decoder.harmless import harmless

if TYPE_CHECKING:
    from rich.console import Console

Say = Callable[[str], None]  # prints one remark for the user; the text has no line end

MOST_ROWS = 60
_WIDE = 220  # characters


def say_to(console: "Console") -> Say:
    """A function that prints each text on its own line, without markup or wrapping.

    Texts quote files and names: characters that change what a terminal shows become escapes.
    """

    def say(text: str) -> None:
        console.print(harmless(text), markup=False, highlight=False, soft_wrap=True)

    return say


def remarks() -> Say:
    """A function that prints each text as a line on standard error."""
    from rich.console import Console

    return say_to(Console(stderr=True))


def wide_output(*, stderr: bool = False) -> "Console":
    """Standard output or error; if it is not a terminal, it is wide enough for tables of runs."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDE)


def print_table(
    console: "Console",
    titles: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    numeric: Sequence[bool] | None = None,
    most_rows: int = MOST_ROWS,
    more: str = "--json lists them all",
) -> None:
    """Print rows under titles, with numbers aligned to the right; nothing if there are no rows.

    Args:
        console: where to print.
        titles: one title per column.
        rows: the cells, one tuple per row.
        numeric: which columns hold numbers; None decides from the first row.
        most_rows: number of rows to print; further rows are only counted.
        more: tells the reader how to see further rows.
    """
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        is_number = numeric[index] if numeric else isinstance(rows[0][index], int | float)
        table.add_column(title, justify="right" if is_number else "left", overflow="fold")
    for row in rows[:most_rows]:
        table.add_row(*(escape(harmless(str(value))) for value in row))
    console.print(table)
    if len(rows) > most_rows:
        say_to(console)(f"… and {len(rows) - most_rows} more; {more}")
    console.print()


def time_text(seconds: float) -> str:
    """A duration as text, such as ``45 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def finite(value: Any) -> Any:
    """A value that JSON can hold: numbers that are not finite become None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def json_text(value: Any) -> str:
    """Indented JSON in which numbers that are not finite are null."""
    write = functools.partial(json.dumps, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        return write(value)
    except ValueError:  # a number is not finite; most documents have none
        return write(finite(value))
