"""The figures of an ablation: each module gathers its data first and draws them afterwards."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures.changes import changes_data, draw_changes
from orchestrator.report.figures.collapse_map import collapse_data, draw_collapse
from orchestrator.report.figures.curves import curves_data, draw_curves
from orchestrator.report.figures.effects import draw_effects, effects_data
from orchestrator.report.figures.greedy import draw_greedy, greedy_data
from orchestrator.report.figures.interaction import draw_interaction, interaction_data
from orchestrator.report.figures.style import Drawn, Saved, save
from orchestrator.tables.tables import Tables
from orchestrator.verdicts.controls import NoiseFloor
from orchestrator.verdicts.greedy import Round
from orchestrator.verdicts.verdicts import Verdict

__all__ = ["Drawn", "Saved", "draw_figures", "make_figures"]

_CHANGES = {
    "leave_one_out": (
        "What each change is worth",
        "Effect of removing one change from the arm that has all of them, paired by seed, with its "
        "95 % interval.",
    ),
    "path": (
        "Along the path",
        "Top: every arm of the path, with its mean, 95 % t interval and seeds (rings). Below: the "
        "effect of each change when it was added, paired by seed, with its 95 % interval. In "
        "another order the same changes may have other effects.",
    ),
    "fractional": (
        "Main effects",
        "Mean over the arms at the second level minus the mean over the arms at the first level, "
        "paired by seed, with its 95 % interval. The table 'Aliased effects' lists the effects "
        "that each of these is mixed with.",
    ),
}
_EFFECTS = (
    "Effect of each hypothesis in the direction it claims, with its 95 % interval (thin line) and "
    "its one-sided 95 % bounds (thick line). The box contains the effects too small to matter. A "
    "claim is supported only if its estimate is at the right edge of the box or beyond it, and "
    "refuted if its thick line ends left of that edge. A claim of no difference is supported by a "
    "thick line inside the box."
)
_GREEDY = (
    "In each round, every remaining change is tried on top of those kept so far, and the one with "
    "the best mean is kept. The choice uses the same runs that are shown, so the figure is "
    "exploratory: the changes that were kept look better than they are."
)
_COLLAPSE = (
    "Runs that collapsed or diverged within the step budget, out of the runs that have a result."
)
_INTERACTION = (
    "Mean final PER with its 95 % t interval (cut at 0, and at 100 % or the highest seed), and "
    "every seed as a ring. A diverged run counts as 100 %."
)
_BAND = "Median over the seeds, and the band from the lowest to the highest seed."
_PER_CURVES = f"{_BAND} A cross marks where a run diverged; from there it counts as 100 %."
_EMITTED_CURVES = (
    f"{_BAND} The ratio is emitted phonemes over phonemes in the sentences. At or below the dotted "
    "line a decoder is on the blank plateau; it is also on the plateau while it emits at most {} "
    "distinct phonemes."
)


def draw_figures(
    folder: Path,
    plan: PlanDocument,
    tables: Tables,
    verdicts: Sequence[Verdict],
    floors: Mapping[str, NoiseFloor],
    rounds: Sequence[Round] = (),
) -> list[Saved]:
    """Save every figure of `make_figures` as SVG and PNG in `folder`."""
    return [
        save(drawn.figure, folder, drawn.name, drawn.title, drawn.caption)
        for drawn in make_figures(plan, tables, verdicts, floors, rounds)
    ]


def make_figures(
    plan: PlanDocument,
    tables: Tables,
    verdicts: Sequence[Verdict],
    floors: Mapping[str, NoiseFloor],
    rounds: Sequence[Round] = (),
) -> list[Drawn]:
    """Draw every figure that the design and the data allow, in the order of the report.

    Args:
        plan: the plan document.
        tables: the tables of the ablation.
        verdicts: one for each hypothesis.
        floors: outcome → noise floor.
        rounds: the rounds of a greedy path.
    """
    return [
        *_of_effects(plan, tables, verdicts, floors, rounds),
        # A fraction has too many arms to show each of them.
        *(_of_arms(plan, tables) if plan.spec.design != "fractional" else ()),
    ]


def _of_effects(
    plan: PlanDocument,
    tables: Tables,
    verdicts: Sequence[Verdict],
    floors: Mapping[str, NoiseFloor],
    rounds: Sequence[Round],
) -> Iterator[Drawn]:
    spec, arms = plan.spec, plan.arms
    if verdicts:
        figure = draw_effects(effects_data(verdicts, floors))
        yield Drawn("effects", "Effects and margins", _EFFECTS, figure)
    if spec.design in _CHANGES and not tables.history.empty:
        data = changes_data(spec, arms, tables.runs, tables.arms, floors)
        if data.panels:
            title, caption = _CHANGES[spec.design]
            caption += " The shaded band is the noise floor of two single runs."
            yield Drawn("changes", title, caption, draw_changes(data))
    if rounds:
        figure = draw_greedy(greedy_data(spec, arms, tables.runs, rounds))
        yield Drawn("greedy", "Greedy order of the changes", _GREEDY, figure)


def _of_arms(plan: PlanDocument, tables: Tables) -> Iterator[Drawn]:
    spec, arms, runs, history = plan.spec, plan.arms, tables.runs, tables.history
    figure = draw_collapse(collapse_data(spec, arms, tables.arms))
    yield Drawn("collapse_map", "Where runs collapse", _COLLAPSE, figure)
    if history.empty:
        return
    if spec.design != "path":  # its figure of changes shows the arms
        caption = _INTERACTION
        if spec.design == "factorial" and len(spec.factors) > 1:
            caption += " Lines that are not parallel indicate an interaction."
        figure = draw_interaction(interaction_data(spec, arms, runs, tables.arms))
        yield Drawn("interaction", "Final PER by arm", caption, figure)
    figure = draw_curves(curves_data("per", spec, arms, runs, history))
    yield Drawn("per_curves", "PER during training", _PER_CURVES, figure)
    figure = draw_curves(curves_data("emitted_ratio", spec, arms, runs, history))
    caption = _EMITTED_CURVES.format(spec.collapse.n_distinct)
    yield Drawn("emitted_curves", "Leaving the blank plateau", caption, figure)
