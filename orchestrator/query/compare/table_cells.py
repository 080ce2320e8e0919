"""Headers and cells of a CSV table, within limits on its size."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from decoder.errors import ConfigError, StorageError
from decoder.plain_pickle import looks_like_pickle
from decoder.user_files import read_bounded
from orchestrator.history.reading.files import decode
from orchestrator.tables.csv_cells import unescaped

# Exports of trackers have hundreds of columns, some with whole lists; 22 MiB take 14 s and 650 MiB.
_MOST_BYTES, _MOST_ROWS, _MOST_COLUMNS = 32 << 20, 50_000, 2_000
_LONGEST_CELL = 20_000  # characters


def read_cells(path: Path) -> tuple[list[str], list[list[str]], bool]:
    """Headers, cells, and whether numbers may have a decimal comma.

    Lines that begin with ``#``, empty lines, a byte order mark, and columns without a header are
    skipped; a header that comes twice gets a number.

    Raises:
        ConfigError: there is no such file, it is too large, or has no header or no row below it.
        StorageError: its content is no table.
    """
    text = _table_text(path)
    if text.count("\n") > 2 * _MOST_ROWS:
        raise ConfigError(_too_many(path, f"{text.count(chr(10)):,} lines"))
    first = next((line for line in text.splitlines() if not _is_empty(line)), "")
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise StorageError(f"{path}: cannot be read as a table: {error}") from None
    rows = [(line, row) for line, row in lines if not _is_empty(" ".join(row))]
    _check_size(path, rows)
    titles, *cells = [row for _, row in rows] or [[]]
    if not cells:
        raise ConfigError(f"{path}: holds no table; it needs a header and one row per run")
    kept = [at for at, title in enumerate(titles) if title.strip()]
    headers: list[str] = []
    n_named = Counter[str]()
    for at in kept:
        title = " ".join(_text(titles[at]).split())
        n_named[title] += 1
        headers.append(f"{title} #{n_named[title]}" if n_named[title] > 1 else title)
    texts = [[_text(row[at]) if at < len(row) else "" for at in kept] for row in cells]
    return headers, texts, delimiter != ","


def _table_text(path: Path) -> str:
    """The text of a file, which must be a file of a table's size, in any usual encoding.

    Raises:
        ConfigError: it is anything else.
        StorageError: it is no text.
    """
    content = read_bounded(path, _MOST_BYTES, "leave out columns that are not compared")
    if looks_like_pickle(content) or content.startswith((b"PK\x03\x04", b"PAR1", b"\x89")):
        raise StorageError(f"{path}: is no text; save the table as CSV")
    return decode(content).replace("\0", "")


def _check_size(path: Path, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Refuse a table that no one keeps of runs."""
    if len(rows) - 1 > _MOST_ROWS:
        raise ConfigError(_too_many(path, f"{len(rows) - 1:,} rows"))
    for line, row in rows:
        if len(row) > _MOST_COLUMNS:
            raise ConfigError(
                f"{path}: line {line} has {len(row):,} cells, but at most {_MOST_COLUMNS:,} are "
                "read; leave out columns that are not compared"
            )
        at = max(range(len(row)), key=lambda at: len(row[at]))
        if len(row[at]) > _LONGEST_CELL:
            raise ConfigError(
                f"{path}: line {line}: cell {at + 1} has {len(row[at]):,} characters, but at most "
                f"{_LONGEST_CELL:,} are read; shorten it"
            )


def _too_many(path: Path, count: str) -> str:
    return (
        f"{path}: has {count}, but at most {_MOST_ROWS:,} runs are compared; give it one row per "
        "run, not per step"
    )


def _text(cell: str) -> str:
    """A cell without our escape, with control characters replaced, which a terminal would obey."""
    text = unescaped(cell.strip())
    if text.isprintable():
        return text.strip()
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text).strip()


def _is_empty(line: str) -> bool:
    """Whether a line has no cell, or is a comment."""
    return not line.strip(" ,;\t\r\n") or line.lstrip().startswith("#")
