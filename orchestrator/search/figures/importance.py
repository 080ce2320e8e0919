"""The figure of the importance of each setting."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from orchestrator.report.figures.style import look, percent_axis, styled
from orchestrator.search.figures.shared import arm_panels
from orchestrator.search.importance import Importance


@styled
def draw_importance(arms: Mapping[str, Sequence[Importance]]) -> Figure:
    """Draw the shares of each arm as bars, the most important setting on top."""
    figure, panels = arm_panels(list(arms), [0.3 + 0.35 * len(one) for one in arms.values()])
    for axes, shares in zip(panels, arms.values(), strict=True):
        paths, lengths = zip(*reversed(shares), strict=True)
        axes.barh(paths, lengths, 0.55, color=look(0).colour)
        for row, length in enumerate(lengths):
            text = f" {100 * length:.0f} %"
            axes.annotate(text, (length, row), va="center", ha="left", fontsize=8.5)
        axes.set_xlim(0, 1.08)
        axes.grid(False, axis="y")
        percent_axis(axes, "x")
    panels[-1].set_xlabel("share of the importance of all settings (PED-ANOVA)")
    return figure
