"""The figures of a search: each module gathers its data first and draws them afterwards.

In every module `objective` is the first one, `arms` are names, `settings` the dimensions of an
arm's space, and `candidates` the table of candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.faults import Faults
from orchestrator.report.figures.style import Saved, save
from orchestrator.search.confirmation import Confirmed, Winner
from orchestrator.search.figures.curves import curves_data, draw_curves
from orchestrator.search.figures.importance import draw_importance, importances
from orchestrator.search.figures.pareto import draw_pareto, pareto_data
from orchestrator.search.figures.score_panels import draw_scores, progress_data, settings_data
from orchestrator.search.figures.settings_together import (
    contour_data,
    draw_contour,
    draw_parallel,
    parallel_data,
)
from orchestrator.search.figures.shared import Objective, Setting
from orchestrator.search.load import LoadedSearch
from orchestrator.search.settings import to_cell
from orchestrator.search.space import Space
from orchestrator.search.tables import SearchTables

__all__ = ["draw_search_figures"]


def draw_search_figures(
    folder: Path,
    loaded: LoadedSearch,
    tables: SearchTables,
    winners: Sequence[Winner],
    confirmed: Sequence[Confirmed],
    faults: Faults,
) -> list[Saved]:
    """Draw every figure that the data allow, as SVG and PNG, in the order of the report.

    One that cannot be drawn is left out, and is one of the `faults`.
    """
    spec, candidates = loaded.spec, tables.candidates
    tried = set(candidates.loc[candidates["state"].isin(["finished", "stopped"]), "arm"])
    spaces = {arm.name: arm.space for arm in loaded.arms if arm.name in tried}
    if not spaces:
        return []
    objective, names = Objective(spec.first, spec.sign), list(spaces)
    settings = {
        arm: [
            Setting(path, d.is_log, tuple(str(to_cell(d, choice)) for choice in d.choice or ()))
            for path, d in space.items()
        ]
        for arm, space in spaces.items()
    }
    measured = [row for row in confirmed if row.n_seeds]
    saved: list[Saved] = []

    def keep(draw: Callable[[], Figure | None], name: str, title: str, caption: str) -> None:
        def make() -> Saved | None:
            figure = draw()
            return save(figure, folder, name, title, caption) if figure else None

        one = faults.attempt(f"the figure '{title}'", make, None)
        saved.extend([one] if one else [])

    shown = {
        (row.arm, f"best {row.rank}" if row.rank else "base"): row.mean
        for row in measured
        if row.rank < 2
    }
    keep(
        lambda: draw_scores(objective, progress_data(objective, names, candidates, shown), 1),
        "progress", "Progress of the search",
        "Each mark is a candidate's score where it ended. The staircase is the best score so far "
        "among candidates trained to the end. Horizontal lines are means on fresh seeds, which "
        "had no part in the choice.",
    )  # fmt: skip
    bases = [row.mean for row in measured if row.rank == 0]
    base = bases[0] if len(bases) == 1 else None
    keep(
        lambda: draw_scores(objective, settings_data(settings, candidates, base), 2),
        "settings", "Score against each setting",
        "Each mark is a candidate's score where it ended. Candidates that were stopped early had "
        "fewer steps to learn, so compare them only with each other. A seed that diverged scores "
        "the worst possible value.",
    )  # fmt: skip
    if len(spec.objectives) == 2:
        keep(
            lambda: draw_pareto(spec.objectives, pareto_data(spec.objectives, names, candidates)),
            "pareto", "Both objectives",
            "Candidates trained to the end. No other candidate is better in both objectives than "
            "one on the Pareto front. The first objective alone decides which candidates are "
            "confirmed.",
        )  # fmt: skip
    for arm, own in settings.items():
        suffix, of_arm = (f"_{arm}", f" ({arm})") if spec.arms else ("", "")
        best = [winner.number for winner in winners if winner.arm == arm]
        if len(own) > 1:
            keep(
                partial(_parallel, objective, arm, own, candidates, best),
                f"parallel{suffix}", f"All settings together{of_arm}",
                "Each line is a candidate, coloured by its score at the last step that all "
                "candidates reached. Bold lines are the best candidates at the end of the budget.",
            )  # fmt: skip
        numbers = [setting for setting in own if not setting.choices]
        for x, y in list(pairwise(numbers))[:1]:
            keep(
                partial(_contour, objective, arm, x, y, candidates),
                f"contour{suffix}", f"Two settings together{of_arm}",
                "Scores at the last step that all candidates reached, interpolated linearly "
                "between the candidates; uncertain where there are few.",
            )  # fmt: skip
    keep(
        lambda: _importance(loaded, spaces, candidates),
        "importance", "Importance of the settings",
        "PED-ANOVA (Watanabe, Bansal and Hutter 2023) at the last step that all candidates "
        "reached: how much each setting separates the best quarter of the candidates from "
        "all. It shows where the best candidates lie, not by how much the score changes.",
    )  # fmt: skip
    if not tables.curves.empty:
        ranks = {(winner.arm, winner.number): winner.rank for winner in winners}
        rungs = sorted(set(map(int, tables.rungs["step"])))
        keep(
            lambda: draw_curves(objective, curves_data(names, tables, ranks), rungs),
            "courses", "Learning curves",
            "Mean over the seeds. Thick lines are the best candidates. A curve that ends in an "
            "open circle was stopped early. Dotted lines are the rungs, where candidates are "
            "compared.",
        )  # fmt: skip
    return saved


def _parallel(
    objective: Objective,
    arm: str,
    settings: Sequence[Setting],
    candidates: pd.DataFrame,
    best: Sequence[int],
) -> Figure:
    return draw_parallel(objective, parallel_data(arm, settings, candidates, best))


def _contour(
    objective: Objective, arm: str, x: Setting, y: Setting, candidates: pd.DataFrame
) -> Figure | None:
    data = contour_data(arm, x, y, candidates)
    return None if data is None else draw_contour(objective, data)


def _importance(
    loaded: LoadedSearch, spaces: Mapping[str, Space], candidates: pd.DataFrame
) -> Figure | None:
    shares = {
        arm: own
        for arm, space in spaces.items()
        if (own := importances(loaded.spec, space, candidates[candidates["arm"] == arm]))
    }
    return draw_importance(shares) if shares else None
