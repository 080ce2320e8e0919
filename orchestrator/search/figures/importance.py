"""How important each setting is, as bars."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from orchestrator.report.figures.style import WIDTH, look, new_figure, percent_axis, styled


class ImportanceData(NamedTuple):
    """Arm → (setting, share), the most important first; shares of an arm add up to 1."""

    arms: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]


def importance_data(found: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> ImportanceData:
    """Gather the arms that have enough candidates."""
    return ImportanceData(
        tuple((arm, tuple((p, s) for p, s in shares)) for arm, shares in found if shares)
    )


@styled
def draw_importance(data: ImportanceData) -> Figure:
    """Draw `data`, one panel an arm."""
    sizes = [len(shares) for _, shares in data.arms]
    figure = new_figure(WIDTH, 0.6 + sum(0.35 * n + 0.3 for n in sizes))
    panels = figure.subplots(len(sizes), 1, squeeze=False, sharex=True, height_ratios=sizes)[:, 0]
    for axes, (arm, shares) in zip(panels, data.arms, strict=True):
        if len(data.arms) > 1:
            axes.set_title(arm, loc="left")
        names = [path for path, _ in reversed(shares)]
        axes.barh(names, [share for _, share in reversed(shares)], 0.55, color=look(0).colour)
        for row, (_, share) in enumerate(reversed(shares)):
            axes.annotate(
                f" {100 * share:.0f} %", (share, row), va="center", ha="left", fontsize=8.5
            )
        axes.set_xlim(0, 1.08)
        axes.grid(False, axis="y")
        percent_axis(axes, "x")
    panels[-1].set_xlabel("share of what tells the best quarter from the others (PED-ANOVA)")
    return figure
