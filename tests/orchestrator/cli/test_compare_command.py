"""The command `compare`: what it prints, every output file, JSON, exit codes."""

import io
import json
from pathlib import Path

from rich.console import Console
from stored_pairs import compare_stored
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.cli.compare_command import print_comparison
from orchestrator.query.compare.rendering import header_lines, table
from orchestrator.store.paths import Results


def call(results: Results, *arguments: str | Path) -> Result:
    return CliRunner().invoke(
        app, ["compare", *map(str, arguments), "--results", str(results.root)]
    )


def test_every_form_is_written(shared: Results, tmp_path: Path) -> None:
    files = {
        "--csv": tmp_path / "c.csv",
        "--parquet": tmp_path / "c.parquet",
        "--markdown": tmp_path / "c.md",
        "--latex": tmp_path / "c.tex",
        "--figure": tmp_path / "c.svg",
    }
    done = call(shared, "one", "two", *(part for pair in files.items() for part in pair))
    assert done.exit_code == 0, done.output
    assert all(path.stat().st_size > 100 for path in files.values())
    assert "verdict" in done.stdout and "same runs" in done.stdout


def test_json_is_all_there_is_on_standard_output(shared: Results) -> None:
    done = call(shared, "one:mean", "two:third", "--json")
    document = json.loads(done.stdout)
    assert document["sides"] == ["one:mean", "two:third"]
    assert document["n_tested"] == 1
    assert document["lines"][0]["n_pairs"] == 6


def test_mistakes_exit_2_in_a_line(shared: Results, other_code: Results) -> None:
    for arguments, named in (
        (("one", "two", "--by", "day"), "'day'"),
        (("one", "two", "--figure", "x.pdf"), "x.pdf"),
        (("one", "two"), "--allow-mixed"),
    ):
        done = call(other_code, *arguments)
        assert done.exit_code == 2
        assert named in done.stderr and len(done.stderr.splitlines()) == 1


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
