"""The command `compare`: results held beside each other, and written in the form asked for."""

from pathlib import Path
from typing import Annotated

import typer

from decoder.errors import ConfigError
from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json
from orchestrator.terminal import remarks, wide_output

FileOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")]


@handled
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="Ablations, searches, NAME:ARM, run ids with commas between, CSV tables, "
            "folders of runs or names of imported ones.",
        ),
    ],
    metric: Annotated[
        str, typer.Option(help="A column of the runs, collapsed, diverged, or of a table.")
    ] = "per",
    on: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Factors or settings to join arms on.",
            show_default="what they share",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="session", help="Tell PER session by session.")
    ] = None,
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="Show other code or data too, without an interval."),
    ] = False,
    same_numerics: Annotated[
        bool,
        typer.Option("--same-numerics", help="Sources of one numerics version are the same code."),
    ] = False,
    csv: FileOption = None,
    parquet: FileOption = None,
    markdown: FileOption = None,
    latex: FileOption = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it: .png or .svg.")
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Hold results beside each other: both figures, difference, interval, what else differs."""
    from decoder.atomic import write_atomically
    from orchestrator.query.compare import rendering
    from orchestrator.query.compare.comparison import Options
    from orchestrator.query.compare.readers import compare_named
    from orchestrator.store.paths import Results

    if by not in (None, "session"):
        raise ConfigError(f"--by: must be 'session', but got '{by}'")
    if figure is not None and figure.suffix not in (".png", ".svg"):
        raise ConfigError(f"--figure {figure}: must end in .png or .svg")
    names = tuple(name.strip() for name in on.split(",")) if on else ()
    options = Options(metric, names, by == "session", allow_mixed, same_numerics)
    say = remarks()
    found = compare_named(sides, Results(results), options, say)
    for path, render in (
        (csv, rendering.to_csv),
        (parquet, rendering.to_parquet),
        (markdown, lambda c: rendering.to_markdown(c).encode()),
        (latex, lambda c: rendering.to_latex(c).encode()),
    ):
        if path is not None:
            write_atomically(path, render(found))
            say(f"{path}: written")
    if figure is not None:
        from orchestrator.query.compare.figure import comparison_data, draw_comparison
        from orchestrator.report.figures.style import image_bytes

        drawn = draw_comparison(comparison_data(found))
        write_atomically(figure, image_bytes(drawn, figure.suffix.removeprefix(".")))
        say(f"{figure}: drawn")
    if as_json:
        print_json(rendering.document(found))
        return
    rendering.print_comparison(wide_output(), found)
