"""A comparison as text: cells for people, columns for programs, in five forms."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from orchestrator.query.compare.comparison import Comparison, Line
from orchestrator.query.compare.effects import Figure
from orchestrator.query.runs import csv_text
from orchestrator.spec.units import (
    difference_text,
    interval_words,
    noun,
    p_value,
    unit_of,
    value_text,
)
from orchestrator.terminal import finite, print_table, say_to

Row = dict[str, Any]

_WAYS = {"configuration": "the same configuration", "columns": "", "only arms": "being alone"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
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
    """What is compared, that it is a description, what differs throughout, what to know."""
    first, *others = comparison.sides
    metric = comparison.options.metric
    n = comparison.n_tested
    lines = [
        f"{_capital(noun(metric))} of {', '.join(others)} beside {first}",
        "A description, not a verdict: nothing here was declared before the runs. "
        + (
            f"p is adjusted for {n} comparison{'s' * (n != 1)} (Benjamini–Hochberg)."
            if n
            else "Nothing was tested."
        ),
    ]
    lines += _joined_by(comparison)
    test = shared_test(comparison)
    if test:
        lines.append(f"Every difference: {test}.")
    for label, differences in comparison.common.items():
        if differences:
            told = "; ".join(str(difference) for difference in differences)
            lines.append(f"In every pair of {first} and {label}: {told}.")
    mixed = dict.fromkeys(
        f"Not pooled: {m.what} differs ({line.a_label}: {m.a}; {line.b_label}: {m.b})"
        for line in comparison.lines
        for m in line.mixed
    )
    return lines + [*mixed] + list(comparison.remarks)


def _joined_by(comparison: Comparison) -> list[str]:
    """How arms were put together, and how many so."""
    pairs = Counter(
        dict.fromkeys(
            (line.b_label, line.a_arm, line.b_arm, line.way, line.columns)
            for line in comparison.lines
            if line.effect is not None
        )
    )
    ways = Counter((way, columns) for *_, way, columns in pairs)
    if set(ways) == {("only arms", ())}:
        return []
    told = [
        " ".join([f"{n} by", *filter(None, (_WAYS.get(way, way), ", ".join(columns)))])
        for (way, columns), n in ways.items()
    ]
    return [f"Arms are joined: {'; '.join(told)}."]


def shared_test(comparison: Comparison) -> str | None:
    """What was done with every two arms, if that is one thing and no arm stands alone."""
    tests = {_how(line) for line in comparison.lines}
    return tests.pop() if len(tests) == 1 and len(comparison.lines) > 1 else None


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows, without columns that say nothing, or the same thing as the header."""
    names, rows = titles(comparison), cells(comparison)
    said = {"how"} if shared_test(comparison) else set()
    kept = [
        at
        for at, name in enumerate(names)
        if name not in said and any(row[at] not in ("", "–") for row in rows)
    ]
    return [names[at] for at in kept], [[row[at] for at in kept] for row in rows]


def titles(comparison: Comparison) -> list[str]:
    """Of the columns of `cells`."""
    first, *others = comparison.sides
    several = len(others) > 1
    unit = unit_of(comparison.options.metric)
    return [
        "arm",
        *(("session",) if comparison.options.by_session else ()),
        *(("with",) if several else ()),
        first,
        "the other" if several else others[0],
        f"difference ({unit})",
        "95 % interval",
        "p",
        "how",
        "also differs in",
    ]


def cells(comparison: Comparison) -> list[list[str]]:
    """One row a line, as text."""
    metric = comparison.options.metric
    several = len(comparison.sides) > 2
    rows = []
    for line in comparison.lines:
        row = [arm_text(line)]
        row += [line.session or "all"] if comparison.options.by_session else []
        row += [line.b_label] if several else []
        row += [figure_text(figure, metric) for figure in (line.a, line.b)]
        rows.append([*row, *_effect_cells(line, metric)])
    return rows


def arm_text(line: Line) -> str:
    """The arm, by both names where they differ."""
    if line.a_arm == line.b_arm or line.b_arm is None:
        return line.a_arm or ""
    return line.b_arm if line.a_arm is None else f"{line.a_arm} ↔ {line.b_arm}"


def figure_text(figure: Figure | None, metric: str) -> str:
    """``25.0 % (6 runs, 1 collapsed)``."""
    if figure is None:
        return "–"
    counts = [f"{figure.n} run{'s' * (figure.n != 1)}"]
    named = (("collapsed", figure.n_collapsed), ("diverged", figure.n_diverged))
    counts += [f"{n} {what}" for what, n in named if n and metric != what]
    counts += [f"{figure.n_gaps} without"] if figure.n_gaps else []
    return f"{value_text(figure.mean, metric)} ({', '.join(counts)})"


def records(comparison: Comparison) -> list[Row]:
    """One row a line for programs: numbers as they are, None where there is none."""
    found = []
    for line in comparison.lines:
        effect = line.effect
        row: Row = {
            "metric": comparison.options.metric,
            "side_a": line.a_label,
            "side_b": line.b_label,
            "arm_a": line.a_arm,
            "arm_b": line.b_arm,
            "session": line.session,
            "joined_by": line.way or None,
            "joined_on": ", ".join(line.columns) or None,
        }
        for letter, figure in (("a", line.a), ("b", line.b)):
            row |= {
                f"mean_{letter}": figure and figure.mean,
                f"sd_{letter}": figure and figure.spread,
                f"n_{letter}": figure and figure.n,
                f"n_collapsed_{letter}": figure and figure.n_collapsed,
                f"n_diverged_{letter}": figure and figure.n_diverged,
                f"n_without_{letter}": figure and figure.n_gaps,
            }
        row |= {
            "difference": effect and effect.difference,
            "low": effect and effect.interval.low,
            "high": effect and effect.interval.high,
            "p": effect and effect.p,
            "p_adjusted": line.p_adjusted,
            "test": effect and effect.test,
            "n_pairs": effect and effect.n_pairs,
            "n_same_runs": effect and effect.n_same,
            "mixed": ", ".join(mixture.what for mixture in line.mixed) or None,
            "differs": "; ".join(str(d) for d in _all_differences(comparison, line)) or None,
        }
        found.append({name: finite(value) for name, value in row.items()})
    return found


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "sides": list(comparison.sides),
        "header": header_lines(comparison),
        "n_tested": comparison.n_tested,
        "lines": records(comparison),
    }


def to_csv(comparison: Comparison) -> bytes:
    """`records` as CSV."""
    rows = records(comparison)
    return csv_text(list(rows[0]), rows).encode()


def to_parquet(comparison: Comparison) -> bytes:
    """`records` as Parquet, columns without any value as text."""
    rows = records(comparison)
    arrays = {}
    for name in rows[0]:
        array = pa.array([row[name] for row in rows])
        arrays[name] = array.cast(pa.string()) if pa.types.is_null(array.type) else array
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer)
    return buffer.getvalue()


def to_markdown(comparison: Comparison) -> str:
    """Header and table as Markdown."""
    head = [*header_lines(comparison)]
    names, cells_of_rows = table(comparison)
    rows = [names, *cells_of_rows]
    body = ["| " + " | ".join(_markdown(cell) for cell in row) + " |" for row in rows]
    body.insert(1, "|" + "---|" * len(rows[0]))
    return "\n\n".join([*(_markdown(text) for text in head), "\n".join(body)]) + "\n"


def to_latex(comparison: Comparison) -> str:
    """A table with rules of the booktabs package; it needs no other."""
    first, *notes = (latex_text(text) for text in header_lines(comparison))
    names, rows = table(comparison)
    spec = "".join("r" if name in ("95 % interval", "p") else "l" for name in names)
    body = [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in rows]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{first}. {' '.join(_sentence(note) for note in notes)}}}",
            rf"  \begin{{tabular}}{{{spec}}}",
            r"    \toprule",
            "    " + " & ".join(latex_text(name) for name in names) + r" \\",
            r"    \midrule",
            *(f"    {line}" for line in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is written; a sign outside Latin-1 and our own becomes ``?``."""
    return "".join(
        _LATEX.get(sign) or (sign if ord(sign) < 256 and sign.isprintable() else "?")
        for sign in text
    )


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Header and table on a terminal."""
    say = say_to(console)
    for text in header_lines(comparison):
        say(text)
    console.print()
    names, rows = table(comparison)
    more = "--csv, --parquet and --markdown give them all"
    print_table(console, names, [tuple(row) for row in rows], more=more)


def _effect_cells(line: Line, metric: str) -> list[str]:
    if line.effect is None:
        return ["–", "–", "–", _how(line), ""]
    effect = line.effect
    differs = "; ".join(str(difference) for difference in line.differences)
    return [
        difference_text(effect.difference, metric),
        interval_words(effect.interval, metric).replace("none", "–"),
        p_value(line.p_adjusted),
        _how(line),
        differs,
    ]


def _how(line: Line) -> str:
    """The test, or why there is none."""
    if line.effect is None:
        return f"only in {line.a_label if line.b_arm is None else line.b_label}"
    if line.mixed:
        return "not pooled: " + ", ".join(mixture.what for mixture in line.mixed)
    return line.effect.test


def _all_differences(comparison: Comparison, line: Line) -> Sequence[Any]:
    common = comparison.common.get(line.b_label, ()) if line.effect else ()
    return [*common, *line.differences]


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
