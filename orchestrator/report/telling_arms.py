"""Which arms a report shows where there are too many to show all of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from orchestrator.plan.document import PlanDocument

MOST_IN_FIGURES = 105  # more arms make figures of many pages
SHOWN_IN_FIGURES = 42  # of more arms than that
MOST_IN_TABLES = 200  # a page with more rows and cards opens slowly


def arms_in_figures(plan: PlanDocument, arms: pd.DataFrame, worst: str = "") -> list[str] | None:
    """The arms that a figure shows, by name; None where it has room for all of them.

    Args:
        arms: the table of arms.
        worst: a column of it, of which the largest values matter most; "" shows the arms with the
            lowest final PER.
    """
    if len(arms) <= MOST_IN_FIGURES:
        return None
    return telling_arms(plan, arms, SHOWN_IN_FIGURES, worst)


def telling_arms(plan: PlanDocument, arms: pd.DataFrame, most: int, worst: str = "") -> list[str]:
    """Up to `most` arms, in the order of the plan: those that hypotheses compare, which take half
    of the places at most, and those with the lowest final PER, see `arms_in_figures`."""
    names: Sequence[str] = arms["arm"].tolist()
    if len(names) <= most:
        return list(names)
    asked = {part.arm_id for parts in plan.compared.values() for part in parts}
    column = -arms[worst] if worst else arms["per_mean"]
    values = column.to_numpy(dtype=float, na_value=np.nan)
    best = [names[at] for at in np.argsort(values, kind="stable")]  # NaN is last
    first = [name for name in names if name in asked][: most // 2]
    chosen = set([*first, *(name for name in best if name not in first)][:most])
    return [name for name in names if name in chosen]


def shown_text(n_shown: int, n_arms: int, worst: str = "") -> str:
    """The sentence that says which arms are shown; "" where all are.

    Args:
        worst: as words, what the arms that follow those compared have most of.
    """
    if n_shown == n_arms:
        return ""
    others = worst or "with the lowest final PER"
    return (
        f"{n_shown} of {n_arms:,} arms are shown: those that hypotheses compare, and those "
        f"{others}. All are in arms.csv."
    )
