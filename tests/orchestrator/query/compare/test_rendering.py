"""`orchestrator.query.compare.rendering`: the same comparison in five forms."""

import csv
import io
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.query.compare import rendering
from orchestrator.query.compare.comparison import Comparison, Options, compare
from orchestrator.query.compare.sides import Side, SideArm, make_arm
from orchestrator.store.paths import Results

Beside = Callable[..., Comparison]


def arm(name: str, values: list[float], first: int, epsilon: float, **last: Any) -> SideArm:
    """Runs with seeds from 0 on, of which the last may have ended otherwise."""
    runs = [
        {
            "run_id": f"run{first + seed}",
            "seed": seed,
            "outcome": "ok",
            "per": per,
            "optim.epsilon": epsilon,
            "config_id": f"id{first}",
        }
        for seed, per in enumerate(values)
    ]
    runs[-1] |= last
    return make_arm(name, {"loss": name}, runs)


@pytest.fixture
def found() -> Comparison:
    """Two arms that are paired by seed, two of the same runs, one alone on either side."""
    same = arm("sum", [0.3, 0.32, 0.34], 0, 0.1)
    before = arm("mean", [0.4, 0.41, 0.44, 0.45, 0.52, 1.0], 10, 0.1, outcome="collapsed")
    after = arm("mean", [0.42, 0.43, 0.47, 0.46, 0.55, 1.0], 20, 1e-8, outcome="diverged")
    alone = arm("third", [0.5], 30, 0.1, outcome="failed")
    sides = [
        Side("one", "ablation", (same, before)),
        Side("two", "ablation", (same, after, alone)),
    ]
    return compare(sides, Options())


GOLDEN = """\
Final PER of two beside one
A description, not a verdict: nothing here was declared before the runs. p is adjusted for \
1 comparison (Benjamini–Hochberg).
Arms are joined: 1 by the same configuration; 1 by factors loss.
No side tells which code it was made with.
No side tells which data it was made with.

arm    one                           two                          difference (PER points)  \
95 % interval  p     how                               also differs in
sum    32.0 % (3 runs)               32.0 % (3 runs)              0.0                      \
–              –     same runs
mean   53.7 % (6 runs, 1 collapsed)  55.5 % (6 runs, 1 diverged)  +1.8                     \
+0.6 to +3.1   .062  paired t over 6 seeds; sign-flip  optim.epsilon 0.1 → 1e-08
third  –                             – (0 runs, 1 without)        –                        \
–              –     only in two
"""


def test_the_terminal_table_stays_as_it_is(found: Comparison) -> None:
    console = Console(file=io.StringIO(), width=220)
    rendering.print_comparison(console, found)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert "\n".join(lines).strip() + "\n" == GOLDEN


def test_csv_and_parquet_hold_the_same_numbers(found: Comparison) -> None:
    table = pq.read_table(io.BytesIO(rendering.to_parquet(found))).to_pylist()
    text = rendering.to_csv(found).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(table) == 3
    for row, record in zip(rows, table, strict=True):
        assert row["mean_a"] == ("" if record["mean_a"] is None else repr(record["mean_a"]))
        assert row["test"] == (record["test"] or "")
    assert table[0]["difference"] == 0.0 and table[0]["low"] is None
    assert table[0]["n_same_runs"] == 3 and table[2]["arm_a"] is None


def test_differences_go_whole_into_the_files(shared: Results, beside: Beside) -> None:
    (record,) = rendering.records(beside(shared, "one:mean", "two:third"))
    assert record["differs"] == "optim.epsilon 0.1 → 1e-08"
    assert record["low"] < record["difference"] < record["high"]


def test_markdown_has_a_row_a_line(found: Comparison) -> None:
    table = [line for line in rendering.to_markdown(found).splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert {line.count("|") for line in table} == {table[0].count("|")}


def test_latex_has_rules_and_escapes_what_it_must(found: Comparison) -> None:
    text = rendering.to_latex(found)
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
