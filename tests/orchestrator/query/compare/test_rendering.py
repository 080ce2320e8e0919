"""`orchestrator.query.compare.rendering`: the same comparison in five forms."""

import csv
import io

import pyarrow.parquet as pq
import pytest
from stored_pairs import compare_stored

from orchestrator.query.compare import rendering
from orchestrator.query.compare.comparison import Comparison, ComparisonOptions, compare_sides
from orchestrator.query.compare.sides import Side, SideArm, make_arm
from orchestrator.store.paths import Results
from orchestrator.tables.run_row import RunRow


def arm(name: str, values: list[float], first: int, epsilon: float, last: str = "ok") -> SideArm:
    """Runs with seeds from 0 on; `last` is the outcome of the last run."""
    runs = [
        RunRow(
            f"run{first + seed}",
            last if seed == len(values) - 1 else "ok",
            seed,
            f"id{first}",
            results={"per": per},
            settings={"optim.epsilon": epsilon},
        )
        for seed, per in enumerate(values)
    ]
    return make_arm(name, {"loss": name}, runs)


@pytest.fixture
def comparison() -> Comparison:
    """Two arms that are paired by seed, two of the same runs, and one without a partner."""
    same = arm("sum", [0.3, 0.32, 0.34], 0, 0.1)
    before = arm("mean", [0.4, 0.41, 0.44, 0.45, 0.52, 1.0], 10, 0.1, "collapsed")
    after = arm("mean", [0.42, 0.43, 0.47, 0.46, 0.55, 1.0], 20, 1e-8, "diverged")
    alone = arm("third", [0.5], 30, 0.1, "failed")
    sides = [Side("one", (same, before)), Side("two", (same, after, alone))]
    return compare_sides(sides, ComparisonOptions())


def test_the_table_has_values_difference_interval_and_other_differences(
    comparison: Comparison,
) -> None:
    titles, rows = rendering.table(comparison)
    assert len(titles) == 8 and titles[1:3] == ["one", "two"]
    by_arm = {row[0]: row[1:] for row in rows}
    assert by_arm["sum"][:5] == ["32.0 % (3 runs)", "32.0 % (3 runs)", "0.0", "–", "–"]
    before, after, difference, interval, p, method, others = by_arm["mean"]
    assert (before, after) == ("53.7 % (6 runs, 1 collapsed)", "55.5 % (6 runs, 1 diverged)")
    assert (difference, interval, p) == ("+1.8", "+0.3 to +3.1", ".031")
    assert "6 seeds" in method and others == "optim.epsilon 0.1 → 1e-08"
    alone = by_arm["third"]
    assert alone[0] == "–" and alone[2:5] == ["–", "–", "–"] and "two" in alone[5]


def test_the_header_names_both_sides_the_joins_and_what_is_not_recorded(
    comparison: Comparison,
) -> None:
    title, nature, joins, *remarks = rendering.header_lines(comparison)
    assert title.startswith("Final PER") and "one" in title and "two" in title
    assert "1 comparison " in nature
    assert "configuration" in joins and "factors loss" in joins
    assert ["code" in remarks[0], "data" in remarks[1], len(remarks)] == [True, True, 2]


def test_csv_and_parquet_hold_the_same_numbers(comparison: Comparison) -> None:
    table = pq.read_table(io.BytesIO(rendering.to_parquet(comparison))).to_pylist()
    text = rendering.to_csv(comparison).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(table) == 3
    for row, record in zip(rows, table, strict=True):
        assert row["mean_a"] == ("" if record["mean_a"] is None else repr(record["mean_a"]))
        assert row["test"] == (record["test"] or "")
    assert table[0]["difference"] == 0.0 and table[0]["low"] is None
    assert table[0]["n_same_runs"] == 3 and table[2]["arm_a"] is None


def test_files_have_common_differences_in_every_row(shared: Results) -> None:
    (record,) = rendering.file_rows(compare_stored(shared, "one:mean", "two:third"))
    assert record["differs"] == "optim.epsilon 0.1 → 1e-08"
    assert record["low"] < record["difference"] < record["high"]


def test_markdown_has_a_line_per_row(comparison: Comparison) -> None:
    table = [
        line
        for line in rendering.to_markdown(comparison).decode().splitlines()
        if line.startswith("|")
    ]
    assert len(table) == 5
    assert {line.count("|") for line in table} == {table[0].count("|")}


def test_latex_has_rules_and_escaped_signs(comparison: Comparison) -> None:
    text = rendering.to_latex(comparison).decode()
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    assert r"53.7 \% (6 runs, 1 collapsed)" in text
    body = text[text.index("midrule") :].splitlines()[1:4]
    assert {line.count("&") for line in body} == {text.splitlines()[6].count("&")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        ("x → y", r"x $\to$ y"),
        ("−0.5", r"$-$0.5"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("{#$^~}", r"\{\#\$\textasciicircum{}\textasciitilde{}\}"),
        ("café 脳", "café ?"),
    ],
)
def test_latex_sets_text_as_it_is_written(text: str, expected: str) -> None:
    assert rendering.latex_text(text) == expected
