"""How every figure looks and how it is saved: palette, fonts, the same bytes for the same data."""

import io
import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.lines import Line2D

from decoder.atomic import write_atomically
from orchestrator.spec.units import percent, scale_of

P = ParamSpec("P")

# Okabe and Ito's palette without its yellow, which is invisible on white. Each colour has its own
# line style and marker, so that a print in grey can be read too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)), (0, (3, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
N_LOOKS = len(COLOURS) * len(LINES)  # styles of `look`, all different
INK, FAINT, HAIR = "#222222", "#6b6b6b", "#d9d9d9"

WIDTH = 7.4  # inches: the report's column at 100 dpi
_PNG_DPI = 160
_FEWEST_CHARACTERS = 2  # in a line of a level's name, however narrow its place
MOST_UPRIGHT = 20  # more levels along x have their names written upwards

_RC: Any = {  # keys are checked by Matplotlib itself
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": HAIR,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # names are text, whatever they hold
    "svg.fonttype": "path",
    "svg.hashsalt": "speech-bci-sweeps",
}


class LevelStyle(NamedTuple):
    """Colour, line style and marker of the n-th level."""

    colour: str
    line: Any
    marker: str


class Drawn(NamedTuple):
    """A figure in memory.

    Attributes:
        name: file name without its ending.
        title: heading in the report.
        caption: how to read the figure, in a few sentences.
        figure: the Matplotlib figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure


class Saved(NamedTuple):
    """A figure on disk: its name and words as in `Drawn`, and its two files."""

    name: str
    title: str
    caption: str
    svg: Path
    png: Path


def look(index: int) -> LevelStyle:
    """Style of the n-th level; the same combination comes back only after 35 levels."""
    return LevelStyle(
        COLOURS[index % len(COLOURS)], LINES[index % len(LINES)], MARKERS[index % len(MARKERS)]
    )


def level_line(index: int, label: str) -> Line2D:
    """The n-th level's line, for a legend."""
    style = look(index)
    return Line2D(
        [], [], color=style.colour, linestyle=style.line, marker=style.marker,
        markersize=4.5, label=label,
    )  # fmt: skip


def legend_above(figure: Figure, handles: Sequence[Line2D], title: str | None) -> None:
    """A legend in rows of six, above everything else in the figure."""
    figure.legend(
        handles=handles,
        title=title,
        loc="outside upper left",
        ncols=min(len(handles), 6),
        frameon=False,
        alignment="left",
        borderaxespad=0.2,
        handlelength=3,
    )


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let `draw` build its figure in the report's style, without changing Matplotlib's settings."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_RC):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (size in inches) with a layout that keeps its parts from overlapping."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str, title: str, caption: str) -> Saved:
    """Write ``NAME.svg`` and ``NAME.png``; the same figure gives the same bytes.

    The layout is computed for the SVG only and kept for the PNG; it takes half of the time.
    """
    paths = {}
    for kind in ("svg", "png"):
        paths[kind] = folder / f"{name}.{kind}"
        write_atomically(paths[kind], image_bytes(figure, kind))
        figure.set_layout_engine("none")
    return Saved(name, title, caption, paths["svg"], paths["png"])


def image_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as ``svg`` or ``png``; the same figure gives the same bytes."""
    metadata = {"svg": {"Date": None}, "png": {"Software": None}}[kind]
    buffer = io.BytesIO()
    with matplotlib.rc_context(_RC):
        if kind == "png" and isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine):
            # `savefig` draws twice, the first time for a layout that is there already.
            figure.set(dpi=_PNG_DPI, facecolor="white")
            FigureCanvasAgg(figure).print_png(buffer, metadata=metadata)
        else:
            figure.savefig(buffer, format=kind, dpi=_PNG_DPI, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def fill_rows(widths: Sequence[float], most: float) -> list[list[int]]:
    """Fill rows with parts, in order: the indices of each row, which is up to `most` units wide."""
    rows: list[list[int]] = [[]]
    for index, width in enumerate(widths):
        if rows[-1] and sum(widths[i] for i in rows[-1]) + width > most:
            rows.append([])
        rows[-1].append(index)
    return rows


def panels(part: SubFigure, widths: Sequence[float], total: float, sharey: bool) -> list[Axes]:
    """Axes side by side, each of them `widths` units wide; the row is `total` units wide."""
    spare = total - sum(widths)
    ratios = [*widths, spare] if spare > 0.01 else list(widths)
    axes = part.subplots(1, len(ratios), squeeze=False, sharey=sharey, width_ratios=ratios)[0]
    for empty in axes[len(widths) :]:
        empty.axis("off")
    return list(axes[: len(widths)])


def name_levels(axes: Axes, levels: Sequence[str], total: float) -> None:
    """Label the levels along x; long names are broken to fit when `total` levels fill a row."""
    if total > MOST_UPRIGHT:
        axes.set_xticks(range(len(levels)), [wrap(level, 40) for level in levels], rotation=90)
        return
    axes.set_xticks(range(len(levels)), level_names(levels, total))


def level_names(levels: Sequence[str], total: float) -> list[str]:
    """The levels as `name_levels` writes them."""
    n_characters = max(_FEWEST_CHARACTERS, int((WIDTH - 0.9) / total / 0.075))
    return [wrap(level, n_characters) for level in levels]


def wrap(text: str, width: int) -> str:
    """Break a long name into lines, if possible after one of ``_ + = - .``.

    A number such as 0.1 or 1e-8 stays whole; a word much longer than `width` is split.
    """
    lines = [""]
    for part in re.findall(r"(?:\d[.]\d|\de[-+]\d|[^-_.+=])+[-_.+=]*|[-_.+=]+", text):
        pieces = -(-len(part) // width) if len(part) > 1.4 * width else 1
        size = -(-len(part) // pieces)
        for start in range(0, len(part), size):
            piece = part[start : start + size]
            if lines[-1] and len(lines[-1]) + len(piece) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


def percent_axis(axes: Axes, which: str, digits: int = 0) -> None:
    """Label the axis of a rate in percent, with as many decimals as its ticks need.

    Args:
        digits: decimals of every label, at least.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: percent(value, max(digits, _decimals(100 * value))))


def _decimals(value: float) -> int:
    """The fewest decimals, at most two, that show a number as it is."""
    return next((n for n in (0, 1) if abs(value - round(value, n)) < 1e-6), 2)


def forest_axes(axes: Axes, names: Sequence[str], outcome: str) -> None:
    """One named row per effect, from the top, on an axis in the unit of the outcome."""
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    scale = scale_of(outcome)
    axes.xaxis.set_major_formatter(lambda value, _: signed(scale * value))


def shown_interval(low: float, high: float, seeds: Sequence[float]) -> tuple[float, float]:
    """The interval of a PER, cut at 0, and at 1 or at the highest seed if that is above 1."""
    return max(low, 0.0), min(high, max(1.0, *seeds) if seeds else 1.0)


def label_right(axes: Axes, y: float, text: str) -> None:
    """Write a label to the right of the axes, at the height `y`."""
    axes.annotate(
        text,
        (1, y),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=INK,
    )


def signed(value: float) -> str:
    """A number on an axis of differences, with its sign."""
    return f"{value:+.10g}".replace("-", "−") if round(value, 9) else "0"
