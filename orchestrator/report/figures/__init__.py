"""The figures of an ablation: each module gathers its data first and draws them afterwards."""

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from orchestrator.report.evaluation import ReportInput
from orchestrator.report.figures.changes import EFFECTS_OF, changes_data, draw_changes
from orchestrator.report.figures.collapse_map import collapse_data, draw_collapse
from orchestrator.report.figures.curves import curves_data, draw_curves
from orchestrator.report.figures.effects import draw_effects, effects_data
from orchestrator.report.figures.greedy import draw_greedy, greedy_data
from orchestrator.report.figures.interaction import draw_interaction, interaction_data
from orchestrator.report.figures.style import Drawn, Saved, save
from orchestrator.report.prose import prose

__all__ = ["Drawn", "Saved", "draw_figures", "make_figures"]


def draw_figures(folder: Path, given: ReportInput) -> list[Saved]:
    """Save every figure of `make_figures` as SVG and PNG in `folder`."""
    return [
        save(drawn.figure, folder, drawn.name, drawn.title, drawn.caption)
        for drawn in make_figures(given)
    ]


def make_figures(given: ReportInput) -> list[Drawn]:
    """Draw every figure that the design and the data allow, in the order of the report."""
    made = []
    for name, figure in _draw(given):
        title, caption = prose(f"figure_{name}", spec=given.plan.spec)
        made.append(Drawn(name, title, caption, figure))
    return made


def _draw(given: ReportInput) -> Iterator[tuple[str, Figure]]:
    plan, tables, spec = given.plan, given.tables, given.plan.spec
    has_history = not tables.history.empty
    if given.verdicts:
        yield "effects", draw_effects(effects_data(given.verdicts, given.floors))
    if spec.design in EFFECTS_OF and has_history:
        data = changes_data(plan, tables, given.floors)
        if data.panels:
            yield "changes", draw_changes(data)
    if given.rounds:
        yield "greedy", draw_greedy(greedy_data(spec, plan.arms, tables.runs, given.rounds))
    if spec.design == "fractional":  # it has too many arms to show each of them
        return
    yield "collapse_map", draw_collapse(collapse_data(plan, tables))
    if has_history:
        if spec.design != "path":  # its figure of changes shows the arms
            yield "interaction", draw_interaction(interaction_data(plan, tables))
        yield "per_curves", draw_curves(curves_data("per", plan, tables))
        yield "emitted_curves", draw_curves(curves_data("emitted_ratio", plan, tables))
