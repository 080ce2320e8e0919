"""The figure of which settings matter: the importance of each by PED-ANOVA."""

from collections.abc import Mapping

import optuna
import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.figures.style import look, percent_axis, styled
from orchestrator.search.figures.shared import arm_panels
from orchestrator.search.samplers import distribution_of, no_experimental_warnings
from orchestrator.search.schema import SearchSpec
from orchestrator.search.settings import from_cell
from orchestrator.search.space import Space

# With fewer candidates the best quarter is too small to say anything.
MIN_CANDIDATES = 16
_QUANTILE = 0.25


def importances(spec: SearchSpec, space: Space, candidates: pd.DataFrame) -> dict[str, float]:
    """Each setting's share of the importance, the largest first; empty below `MIN_CANDIDATES`.

    Watanabe, Bansal and Hutter, PED-ANOVA (2023): for each setting, the distance between its
    density among the best quarter of the candidates and its density among all. Stopped candidates
    are included, so all scores are taken at the last step that every candidate reached. Settings
    that are not always active are left out.
    """
    tried = candidates[candidates["common_figure"].notna()]
    paths = [p for p in space if not space[p].when and tried[p].nunique(dropna=False) > 1]
    if len(tried) < MIN_CANDIDATES or not paths or tried["common_figure"].nunique() < 2:
        return {}
    distributions = {path: distribution_of(space[path]) for path in paths}
    with no_experimental_warnings():
        study = optuna.create_study(direction=spec.objectives[spec.first])
        for row in tried.to_dict("records"):
            params = {path: from_cell(space[path], row[path]) for path in paths}
            study.add_trial(
                optuna.create_trial(
                    params=params, distributions=distributions, value=float(row["common_figure"])
                )
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_QUANTILE)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


@styled
def draw_importance(arms: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the shares of each arm as bars, the most important setting on top."""
    figure, panels = arm_panels(list(arms), [0.3 + 0.35 * len(one) for one in arms.values()])
    for axes, shares in zip(panels, arms.values(), strict=True):
        paths, lengths = zip(*reversed(list(shares.items())), strict=True)
        axes.barh(paths, lengths, 0.55, color=look(0).colour)
        for row, length in enumerate(lengths):
            text = f" {100 * length:.0f} %"
            axes.annotate(text, (length, row), va="center", ha="left", fontsize=8.5)
        axes.set_xlim(0, 1.08)
        axes.grid(False, axis="y")
        percent_axis(axes, "x")
    panels[-1].set_xlabel("share of the importance of all settings (PED-ANOVA)")
    return figure
