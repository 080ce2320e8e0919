"""The figures of an ablation: each module gathers its data first and draws them afterwards."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures.changes import changes_data, draw_changes
from orchestrator.report.figures.collapse_map import collapse_data, draw_collapse
from orchestrator.report.figures.curves import curves_data, draw_curves
from orchestrator.report.figures.effects import draw_effects, effects_data
from orchestrator.report.figures.greedy import draw_greedy, greedy_data
from orchestrator.report.figures.interaction import draw_interaction, interaction_data
from orchestrator.report.figures.style import Saved, save
from orchestrator.tables.tables import Tables
from orchestrator.verdicts.controls import NoiseFloor
from orchestrator.verdicts.greedy import Round
from orchestrator.verdicts.verdicts import Verdict

__all__ = ["NamedFigure", "Saved", "draw_figures", "make_figures"]

_CHANGES = {
    "leave_one_out": (
        "What each change is worth",
        "What happens to the arm with all changes when one of them is taken out, paired by seed, "
        "with its 95 % interval.",
    ),
    "path": (
        "Along the path",
        "Above, every arm of the path: mean, 95 % t interval and seeds (rings). Below, what each "
        "change did when it was added, paired by seed, with its 95 % interval; another order "
        "may share the effects out differently.",
    ),
    "fractional": (
        "Main effects",
        "Mean over the arms at the second level minus that at the first, taken per seed, with "
        "its 95 % interval. The table of aliases says what each cannot be told from.",
    ),
}


class NamedFigure(NamedTuple):
    """A figure in memory.

    Attributes:
        name: file name without its ending.
        title: for the report's heading.
        caption: how to read it, in one or two sentences.
        figure: the drawing.
    """

    name: str
    title: str
    caption: str
    figure: Figure


def draw_figures(
    folder: Path,
    plan: PlanDocument,
    tables: Tables,
    verdicts: Sequence[Verdict],
    floors: Mapping[str, NoiseFloor],
    rounds: Sequence[Round] = (),
) -> list[Saved]:
    """Save every figure of `make_figures` in `folder`, as SVG and PNG."""
    return [
        save(made.figure, folder, made.name, made.title, made.caption)
        for made in make_figures(plan, tables, verdicts, floors, rounds)
    ]


def make_figures(
    plan: PlanDocument,
    tables: Tables,
    verdicts: Sequence[Verdict],
    floors: Mapping[str, NoiseFloor],
    rounds: Sequence[Round] = (),
) -> Iterator[NamedFigure]:
    """Draw every figure that the design and the data allow, in the order of the report.

    Args:
        plan: the plan document.
        tables: its tables.
        verdicts: its verdicts.
        floors: outcome → noise floor.
        rounds: of its greedy path.
    """
    spec, arms = plan.spec, plan.arms
    if verdicts:
        figure = draw_effects(effects_data(verdicts, floors))
        caption = (
            "Effect of each hypothesis in the direction it claims, with its 95 % interval (thin) "
            "and its one-sided 95 % bounds (thick). The box spans effects too small to matter: "
            "support needs an estimate at or right of its right edge, refutation a thick line "
            "that ends left of it. A claim of no difference is supported by a thick line inside "
            "its box."
        )
        yield NamedFigure("effects", "Effects and margins", caption, figure)
    if spec.design in _CHANGES and not tables.history.empty:
        data = changes_data(spec, arms, tables.runs, tables.arms, floors)
        if data.panels:
            title, caption = _CHANGES[spec.design]
            caption += " The band is the noise floor of two single runs."
            yield NamedFigure("changes", title, caption, draw_changes(data))
    if rounds:
        figure = draw_greedy(greedy_data(spec, arms, tables.runs, rounds))
        caption = (
            "From the base, each round tries every change that is left on top of those kept, and "
            "keeps the one with the best mean. Chosen by looking at the same runs, so it is "
            "exploratory: the kept ones look better than they are."
        )
        yield NamedFigure("greedy", "The path by greedy effect", caption, figure)
    if spec.design == "fractional":  # is read by its effects, not by its many arms
        return
    figure = draw_collapse(collapse_data(spec, arms, tables.arms))
    caption = "Runs collapsed or diverged within the step budget, of the runs with a result."
    yield NamedFigure("collapse_map", "Where runs collapse", caption, figure)
    if tables.history.empty:
        return
    if spec.design != "path":  # whose staircase has said it
        figure = draw_interaction(interaction_data(spec, arms, tables.runs, tables.arms))
        caption = (
            "Mean final PER with its 95 % t interval (cut at 0 and 100 %, or the top seed), and "
            "every seed as a ring. A diverged run counts as 100 %."
        )
        if spec.design == "factorial" and len(spec.factors) > 1:
            caption += " Lines that are not parallel are interactions."
        yield NamedFigure("interaction", "Final PER by arm", caption, figure)
    band = "Median seed, and the band from the best to the worst seed"
    figure = draw_curves(curves_data("per", spec, arms, tables.runs, tables.history))
    caption = f"{band}. After a cross the diverged run counts as 100 %."
    yield NamedFigure("per_curves", "PER during training", caption, figure)
    figure = draw_curves(curves_data("emitted_ratio", spec, arms, tables.runs, tables.history))
    caption = (
        f"{band}. Emitted phonemes over phonemes in the sentence: at or below the dotted line a "
        "decoder is on the blank plateau. Above it, it is there too while it emits at most "
        f"{spec.collapse.n_distinct} distinct phonemes."
    )
    yield NamedFigure("emitted_curves", "Leaving the blank plateau", caption, figure)
