"""The command `compare`: compares results, and writes the comparison in the form asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from decoder.errors import ConfigError
from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json
from orchestrator.terminal import print_table, remarks, say_to, wide_output

if TYPE_CHECKING:
    from orchestrator.query.compare.comparison import Comparison


@handled
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="Ablations, searches, single arms (NAME:ARM), run ids with commas between, CSV "
            "tables, folders of runs, or names of imported groups. A is the reference.",
        ),
    ],
    metric: Annotated[
        str,
        typer.Option(help="A column of the runs or of a CSV table, or 'collapsed' or 'diverged'."),
    ] = "per",
    on: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Pair the arms that agree in these factors or settings.",
            show_default="what they share",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="session", help="Compare PER session by session.")
    ] = None,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed",
            help="Also compare arms of different code or data, without an interval.",
        ),
    ] = False,
    same_numerics: Annotated[
        bool,
        typer.Option(
            "--same-numerics", help="Count sources of equal numerics version as the same code."
        ),
    ] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a CSV table.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Parquet table.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Markdown table.")
    ] = None,
    latex: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a LaTeX table.")] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a figure: .png or .svg.")
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Compare results: both values, their difference with its interval, what else differs."""
    from decoder.atomic import write_atomically
    from orchestrator.query.compare import rendering
    from orchestrator.query.compare.comparison import ComparisonOptions
    from orchestrator.query.compare.named_sides import compare_named
    from orchestrator.store.paths import Results

    if by not in (None, "session"):
        raise ConfigError(f"--by: must be 'session', but got '{by}'")
    if figure is not None and figure.suffix not in (".png", ".svg"):
        raise ConfigError(f"--figure {figure}: must end in .png or .svg")
    names = tuple(name.strip() for name in on.split(",")) if on else ()
    options = ComparisonOptions(metric, names, by == "session", allow_mixed, same_numerics)
    say = remarks()
    comparison = compare_named(sides, Results(results), options, say)
    for path, render in (
        (csv, rendering.to_csv),
        (parquet, rendering.to_parquet),
        (markdown, rendering.to_markdown),
        (latex, rendering.to_latex),
    ):
        if path is not None:
            write_atomically(path, render(comparison))
            say(f"{path}: written")
    if figure is not None:
        from orchestrator.query.compare.figure import comparison_data, draw_comparison
        from orchestrator.report.figures.style import image_bytes

        drawn = draw_comparison(comparison_data(comparison))
        write_atomically(figure, image_bytes(drawn, figure.suffix.removeprefix(".")))
        say(f"{figure}: written")
    if as_json:
        print_json(
            {
                "sides": comparison.sides,
                "header": rendering.header_lines(comparison),
                "n_tested": comparison.n_tested,
                "lines": rendering.file_rows(comparison),
            }
        )
    else:
        print_comparison(wide_output(), comparison)


def print_comparison(console: Console, comparison: "Comparison") -> None:
    """Print the header of a comparison and its table."""
    from orchestrator.query.compare.rendering import header_lines, table

    for text in header_lines(comparison):
        say_to(console)(text)
    console.print()
    titles, rows = table(comparison)
    more = "--csv, --parquet and --markdown write them all"
    print_table(console, titles, [tuple(row) for row in rows], more=more)
