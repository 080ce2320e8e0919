"""CSV that people open in a spreadsheet, which runs cells such as ``=HYPERLINK(…)`` as formulas.

Our own machine-read files (``history.csv``, learning curves) hold numbers only and are written
where they are read.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# What a spreadsheet may run: the first characters that OWASP lists ("CSV Injection"), also in full
# width. Quotes before them are ours, or like ours, so that every escape can be undone.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20].", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d[\d_,.]*|\.\d+|inf|nan)(?:e[-+]?\d+)?\s?%?", re.IGNORECASE)


def escaped(cell: str) -> str:
    """A cell that a spreadsheet shows as text: with ``'`` before a formula. Numbers stay."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def unescaped(cell: str) -> str:
    """What `escaped` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV; an empty cell for a missing value, JSON for lists and mappings."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(escaped, columns))
    for row in rows:
        writer.writerow(_cell(row[name]) for name in columns)
    return out.getvalue()


def frame_csv(table: "pd.DataFrame") -> str:
    """A table as CSV, without its index."""
    from pandas.api.types import is_numeric_dtype

    safe = table.rename(columns=lambda name: escaped(str(name)))
    for name in safe.columns:
        if not is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(lambda v: escaped(v) if isinstance(v, str) else v)
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    return json.dumps(value) if isinstance(value, list | dict) else value
