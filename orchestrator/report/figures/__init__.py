"""The figures of an ablation: each module gathers its data first and draws them afterwards."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from orchestrator.report.evaluation import ReportInput
from orchestrator.report.figures.changes import (
    EFFECTS_OF,
    MOST_CHANGES,
    changes_data,
    draw_changes,
)
from orchestrator.report.figures.collapse_map import collapse_data, draw_collapse
from orchestrator.report.figures.curves import Metric, curves_data, draw_curves
from orchestrator.report.figures.data_efficiency import draw_efficiency, efficiency_data
from orchestrator.report.figures.effects import MOST_EFFECTS, draw_effects, effects_data
from orchestrator.report.figures.greedy import draw_greedy, greedy_data
from orchestrator.report.figures.held_out import draw_held_out, held_out_data
from orchestrator.report.figures.interaction import draw_interaction, interaction_data
from orchestrator.report.figures.per_and_wer import clouds_data, draw_clouds
from orchestrator.report.figures.style import Drawn, Saved, save
from orchestrator.report.per_and_wer import per_and_wer
from orchestrator.report.prose import prose
from orchestrator.report.telling_arms import arms_in_figures, shown_text

__all__ = ["Drawn", "Saved", "draw_figures", "make_figures"]

# A figure, and a sentence that says what of the ablation it leaves out; None where it has no data.
_Made = tuple[Figure, str] | None
_Make = Callable[[], _Made]


def draw_figures(folder: Path, given: ReportInput) -> list[Saved]:
    """Save every figure of `make_figures` as SVG and PNG in `folder`.

    A figure that cannot be drawn is among the faults of `given`, and its old files are removed.
    """
    saved = []
    for planned in _planned(given):
        n_faults = len(given.faults.found)
        draw = partial(_saved, folder, *planned)
        one = given.faults.attempt(f"the figure '{planned[1]}'", draw, None)
        saved += [one] if one else []
        if len(given.faults.found) > n_faults:
            for kind in ("svg", "png"):
                (folder / f"{planned[0]}.{kind}").unlink(missing_ok=True)
    return saved


def _saved(folder: Path, name: str, title: str, caption: str, make: _Make) -> Saved | None:
    made = make()
    return save(made[0], folder, name, title, _joined(caption, made[1])) if made else None


def make_figures(given: ReportInput) -> list[Drawn]:
    """Draw every figure that the design and the data allow, in the order of the report."""
    drawn = []
    for name, title, caption, make in _planned(given):
        made = given.faults.attempt(f"the figure '{title}'", make, None)
        drawn += [Drawn(name, title, _joined(caption, made[1]), made[0])] if made else []
    return drawn


def _planned(given: ReportInput) -> Iterator[tuple[str, str, str, _Make]]:
    """(name, title, caption, how to draw it) of every figure that the design allows."""
    for name, make in _figures_of(given):
        title, caption = prose(f"figure_{name}", spec=given.plan.spec)
        yield name, title, caption, make


def _joined(caption: str, left_out: str) -> str:
    return f"{caption} {left_out}".strip()


def _figures_of(given: ReportInput) -> Iterator[tuple[str, _Make]]:
    plan, tables, spec = given.plan, given.tables, given.plan.spec
    has_history = not tables.history.empty
    if given.verdicts:
        yield "effects", lambda: _effects(given)
    if spec.design in EFFECTS_OF and has_history:
        yield "changes", lambda: _changes(given)
    if given.rounds:
        yield (
            "greedy",
            lambda: (
                draw_greedy(greedy_data(spec, plan.arms, tables.runs, given.rounds)),
                "",
            ),
        )
    if "wer" in tables.runs and tables.runs["wer"].notna().any():
        yield "per_and_wer", lambda: _per_and_wer(given)
    if not tables.held_out["days"].isna().all():
        yield "held_out", lambda: _held_out(given)
    if efficiency_data(plan, tables.runs, given.records):
        yield "data_efficiency", lambda: _efficiency(given)
    if spec.design == "fractional":  # it has too many arms to show each of them
        return
    # A trainer of the user's reports what it reports.
    is_ours = spec.trainer is None and plan.judged is None
    knows_endings = plan.judged is None or plan.judged.endings_known
    judged = tables.arms["n_escaped"].notna() | (tables.arms["n_diverged"] > 0)
    if knows_endings and (is_ours or judged.any()):
        yield "collapse_map", lambda: _collapse_map(given)
    if has_history:
        has_per, has_ratio = (
            is_ours or tables.history[name].notna().any() for name in ("per", "emitted_ratio")
        )
        if has_per and spec.design != "path":  # its figure of changes shows the arms
            yield "interaction", lambda: _interaction(given)
        if has_per:
            yield "per_curves", lambda: _curves("per", given)
        if has_ratio:
            yield "emitted_curves", lambda: _curves("emitted_ratio", given)


def _effects(given: ReportInput) -> _Made:
    n_claims = len(given.verdicts)
    left_out = f"The first {MOST_EFFECTS} of {n_claims:,} hypotheses; verdicts.csv has all."
    figure = draw_effects(effects_data(given.verdicts, given.floors))
    return figure, left_out if n_claims > MOST_EFFECTS else ""


def _changes(given: ReportInput) -> _Made:
    data = changes_data(given.plan, given.tables, given.floors)
    if not data.panels:
        return None
    n_changes = len(given.plan.spec.factors)
    left_out = f"Up to {MOST_CHANGES} of {n_changes:,} changes are shown."
    return draw_changes(data), left_out if n_changes > MOST_CHANGES else ""


def _collapse_map(given: ReportInput) -> _Made:
    arms = given.tables.arms
    only = arms_in_figures(given.plan, arms, worst="n_collapsed_or_diverged")
    figure = draw_collapse(collapse_data(given.plan, given.tables, only))
    return figure, _arms_text(given, only, "of which most runs collapsed or diverged")


def _interaction(given: ReportInput) -> _Made:
    only = arms_in_figures(given.plan, given.tables.arms)
    figure = draw_interaction(interaction_data(given.plan, given.tables, only))
    return figure, _arms_text(given, only)


def _curves(metric: Metric, given: ReportInput) -> _Made:
    only = arms_in_figures(given.plan, given.tables.arms)
    figure = draw_curves(curves_data(metric, given.plan, given.tables, only))
    return figure, _arms_text(given, only)


def _held_out(given: ReportInput) -> _Made:
    only = arms_in_figures(given.plan, given.tables.arms)
    data = held_out_data(given.tables.held_out, only)
    return (draw_held_out(data), _arms_text(given, only)) if data else None


def _per_and_wer(given: ReportInput) -> _Made:
    found = per_and_wer(given.plan, given.tables.runs)
    only = arms_in_figures(given.plan, given.tables.arms)
    data = clouds_data(found, only) if found else []
    return (draw_clouds(data), _arms_text(given, only)) if data else None


def _efficiency(given: ReportInput) -> _Made:
    data = efficiency_data(given.plan, given.tables.runs, given.records)
    return draw_efficiency(data), ""


def _arms_text(given: ReportInput, only: list[str] | None, others: str = "") -> str:
    n_arms = len(given.tables.arms)
    return shown_text(n_arms if only is None else len(only), n_arms, others)
