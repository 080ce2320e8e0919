"""A comparison as text and files: header, table, CSV, Parquet, Markdown, LaTeX, JSON."""

import math
from collections import Counter

import pyarrow as pa

from orchestrator.query.compare.comparison import Comparison, ComparisonRow
from orchestrator.query.compare.effects import ArmSummary, MeanDifference
from orchestrator.spec.units import (
    difference_text,
    interval_words,
    noun,
    p_value,
    unit_of,
    value_text,
)
from orchestrator.tables.csv_cells import csv_text
from orchestrator.tables.index import parquet_bytes
from orchestrator.terminal import finite

FileRow = dict[str, str | int | float | None]  # a row of a file: column → value

_JOINED_BY = {
    "configuration": "the same configuration",
    "columns": "",
    "only arms": "being the only arms",
}
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": r"$-$",
    "–": "--",
    "→": r"$\to$",
    "↔": r"$\leftrightarrow$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "’": "'",
}


def header_lines(comparison: Comparison) -> list[str]:
    """What is compared and how, what differs in every pair, and what a reader should know."""
    first, *others = comparison.sides
    metric = noun(comparison.options.metric)
    n = comparison.n_tested
    p_text = f"p is adjusted for {n} comparison{'s' * (n != 1)} (Benjamini–Hochberg)."
    lines = [
        f"{metric[:1].upper()}{metric[1:]} of {', '.join(others)} compared with {first}",
        "This is a description, not a verdict: the comparison was not declared before the runs. "
        + (p_text if n else "Nothing was tested."),
    ]
    lines += _joins_text(comparison)
    test = _shared_method(comparison)
    if test:
        lines.append(f"Every difference: {test}.")
    for label, differences in comparison.common.items():
        if differences:
            listing = "; ".join(map(str, differences))
            lines.append(f"In every pair of {first} and {label}: {listing}.")
    not_pooled = dict.fromkeys(
        f"Not pooled: {m.name} differs ({row.a_label}: {m.a}; {row.b_label}: {m.b})"
        for row in comparison.rows
        for m in row.mismatches
    )
    return [*lines, *not_pooled, *comparison.remarks]


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows, without columns that are empty or repeat the header."""
    first, *others = comparison.sides
    several = len(others) > 1
    metric = comparison.options.metric
    rows = comparison.rows
    effects = [row.difference for row in rows]
    columns = [
        ("arm", [arm_text(row) for row in rows]),
        ("session", [row.session or "" for row in rows]),
        ("compared with" if several else "", [row.b_label for row in rows]),
        (first, [_summary_text(row.a, metric) for row in rows]),
        ("other side" if several else others[0], [_summary_text(row.b, metric) for row in rows]),
        (
            f"difference ({unit_of(metric)})",
            [difference_text(effect.value, metric) if effect else "–" for effect in effects],
        ),
        ("95 % interval", [_interval_text(effect, metric) for effect in effects]),
        ("p", [p_value(row.p_adjusted) for row in rows]),
        ("" if _shared_method(comparison) else "method", [method(row) for row in rows]),
        ("other differences", ["; ".join(map(str, row.others)) for row in rows]),
    ]
    shown = [(title, cells) for title, cells in columns if title and set(cells) - {"", "–"}]
    by_row = zip(*(cells for _, cells in shown), strict=True)
    return [title for title, _ in shown], [list(cells) for cells in by_row]


def arm_text(row: ComparisonRow) -> str:
    """The name of the arm; both names where they differ."""
    if row.a_arm == row.b_arm or row.b_arm is None:
        return row.a_arm or ""
    return row.b_arm if row.a_arm is None else f"{row.a_arm} ↔ {row.b_arm}"


def method(row: ComparisonRow) -> str:
    """The test, or why there is none."""
    if row.difference is None:
        return f"only in {row.a_label if row.b_arm is None else row.b_label}"
    if row.mismatches:
        return "not pooled: " + ", ".join(mismatch.name for mismatch in row.mismatches)
    return row.difference.test


def file_rows(comparison: Comparison) -> list[FileRow]:
    """The rows for programs: numbers as they are, None where there is none."""
    return [_file_row(comparison, row) for row in comparison.rows]


def to_csv(comparison: Comparison) -> bytes:
    """`file_rows` as CSV."""
    rows = file_rows(comparison)
    return csv_text(list(rows[0]), rows).encode("utf-8", "replace")


def to_parquet(comparison: Comparison) -> bytes:
    """`file_rows` as Parquet; a column without any value has the type text."""
    table = pa.Table.from_pylist(file_rows(comparison))
    types = {
        field.name: pa.string() if pa.types.is_null(field.type) else field.type
        for field in table.schema
    }
    return parquet_bytes(table.cast(pa.schema(types)))


def to_markdown(comparison: Comparison) -> bytes:
    """Header and table as Markdown."""
    titles, rows = table(comparison)
    body = ["| " + " | ".join(map(_markdown, row)) + " |" for row in (titles, *rows)]
    body.insert(1, "|" + "---|" * len(titles))
    head = map(_markdown, header_lines(comparison))
    return ("\n\n".join([*head, "\n".join(body)]) + "\n").encode()


def to_latex(comparison: Comparison) -> bytes:
    """A table with the rules of the booktabs package; it needs no other package."""
    import pandas as pd  # takes 0.3 s

    first, *notes = (latex_text(text) for text in header_lines(comparison))
    sentences = " ".join(note if note.endswith(".") else f"{note}." for note in notes)
    titles, rows = table(comparison)
    spec = "".join("r" if title in ("95 % interval", "p") else "l" for title in titles)
    head, *body = ([latex_text(cell) for cell in cells] for cells in (titles, *rows))
    text = (
        pd.DataFrame(body, columns=head)
        .style.hide(axis="index")
        .to_latex(
            caption=f"{first}. {sentences}",
            column_format=spec,
            hrules=True,
            position_float="centering",
        )
    )
    return f"% needs \\usepackage{{booktabs}}\n{text}".encode()


def latex_text(text: str) -> str:
    """Text for LaTeX; a sign that is neither Latin-1 nor one of ours becomes ``?``."""
    return "".join(
        _LATEX.get(sign) or (sign if ord(sign) < 256 and sign.isprintable() else "?")
        for sign in text
    )


def _joins_text(comparison: Comparison) -> list[str]:
    """By what arms were joined, and how many pairs of each kind."""
    pairs = dict.fromkeys(
        (row.b_label, row.a_arm, row.b_arm, row.joined_by, row.columns)
        for row in comparison.rows
        if row.difference is not None
    )
    kinds = Counter((by, columns) for *_, by, columns in pairs)
    if set(kinds) == {("only arms", ())}:
        return []
    texts = [
        " ".join([f"{n} by", *filter(None, (_JOINED_BY.get(by, by), ", ".join(columns)))])
        for (by, columns), n in kinds.items()
    ]
    return [f"Arms are joined: {'; '.join(texts)}."]


def _shared_method(comparison: Comparison) -> str | None:
    """The method of every row if it is the same, so that the header can name it once."""
    methods = {method(row) for row in comparison.rows}
    return methods.pop() if len(methods) == 1 and len(comparison.rows) > 1 else None


def _interval_text(effect: MeanDifference | None, metric: str) -> str:
    if effect is None or math.isinf(effect.interval.low):
        return "–"
    return interval_words(effect.interval, metric)


def _summary_text(arm: ArmSummary | None, metric: str) -> str:
    """``25.0 % (6 runs, 1 collapsed)``."""
    if arm is None:
        return "–"
    counts = [f"{arm.n} run{'s' * (arm.n != 1)}"]
    named = (("collapsed", arm.n_collapsed), ("diverged", arm.n_diverged))
    counts += [f"{n} {what}" for what, n in named if n and metric != what]
    counts += [f"{arm.n_without} without a value"] if arm.n_without else []
    return f"{value_text(arm.mean, metric)} ({', '.join(counts)})"


def _file_row(comparison: Comparison, row: ComparisonRow) -> FileRow:
    effect = row.difference
    differs = [*(comparison.common.get(row.b_label, ()) if effect else ()), *row.others]
    cells: FileRow = {
        "metric": comparison.options.metric,
        "side_a": row.a_label,
        "side_b": row.b_label,
        "arm_a": row.a_arm,
        "arm_b": row.b_arm,
        "session": row.session,
        "joined_by": row.joined_by or None,
        "joined_on": ", ".join(row.columns) or None,
    }
    cells |= {
        f"{field}_{letter}": arm and getattr(arm, field)
        for letter, arm in (("a", row.a), ("b", row.b))
        for field in ArmSummary._fields
        if field != "values"
    }
    cells |= {
        "difference": effect and effect.value,
        "low": effect and effect.interval.low,
        "high": effect and effect.interval.high,
        "p": effect and effect.p,
        "p_adjusted": row.p_adjusted,
        "test": effect and effect.test,
        "n_pairs": effect and effect.n_pairs,
        "n_same_runs": effect and effect.n_same,
        "mixed": ", ".join(mismatch.name for mismatch in row.mismatches) or None,
        "differs": "; ".join(map(str, differs)) or None,
    }
    return {name: finite(value) for name, value in cells.items()}


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
