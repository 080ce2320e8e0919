"""Which settings matter: PED-ANOVA over every candidate, at the last step that all reached."""

import warnings
from typing import NamedTuple

import optuna
import pandas as pd

from orchestrator.search.schema import SearchSpec
from orchestrator.search.space import Space
from orchestrator.search.study import distribution_of

# Below so many candidates the best quarter is a handful, and tells nothing.
MIN_CANDIDATES = 16
_QUANTILE = 0.25


class Importance(NamedTuple):
    """How much of the difference between the best quarter and all the others a setting carries.

    Attributes:
        path: the setting.
        share: in [0, 1]; over all settings they add up to 1.
    """

    path: str
    share: float


def importances(spec: SearchSpec, space: Space, candidates: pd.DataFrame) -> list[Importance]:
    """The settings of one arm, the most important first; none below `MIN_CANDIDATES`.

    Watanabe, Bansal and Hutter, PED-ANOVA (2023): for each setting, how far its density among
    the best quarter is from its density among all. Stopped candidates count as well, so every
    figure is the one at the last step that all candidates reached. Settings that are not always
    active are left out.

    Args:
        spec: the search file.
        space: of the arm.
        candidates: rows of the arm in the table of candidates.
    """
    tried = candidates[candidates["common_figure"].notna()]
    paths = [p for p in space if not space[p].when and tried[p].nunique() > 1]
    if len(tried) < MIN_CANDIDATES or not paths or tried["common_figure"].nunique() < 2:
        return []
    distributions = {path: distribution_of(space[path]) for path in paths}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction=spec.objectives[spec.first])
        for row in tried.to_dict("records"):
            study.add_trial(
                optuna.create_trial(
                    params={str(path): row[path] for path in paths},
                    distributions=distributions,
                    value=float(row["common_figure"]),
                )
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_QUANTILE)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return [Importance(path, float(share)) for path, share in found.items()]
