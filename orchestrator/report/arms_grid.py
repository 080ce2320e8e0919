"""The table of a report with one row per arm."""

import pandas as pd

from decoder.pack import WORD_COLUMNS
from orchestrator.report.arm_results import arm_results, further_means
from orchestrator.report.grids import Grid, titled_grid
from orchestrator.spec.units import noun, number, percent, value_text


def arms_grid(arms: pd.DataFrame, cut_at: int | None) -> Grid:
    """One row per arm.

    Args:
        arms: the table of arms.
        cut_at: the least step budget of all arms, at which steps to escape are cut, where budgets
            differ; else None.
    """
    cut = "" if cut_at is None else f" (cut at {cut_at:,})"
    results, further = arm_results(arms).values(), further_means(arms)
    # The table of words has these.
    further = {name: means for name, means in further.items() if name not in WORD_COLUMNS[1:]}
    judged = any(arm.n_escaped is not None for arm in results)
    rows = []
    for arm in results:
        cells = {
            "arm": arm.arm,
            "runs": str(arm.n),
            "final PER": percent(arm.per_mean),
            "95 % t interval": arm.interval or "–",
            "median": percent(arm.per_median),
            **{noun(name): value_text(means[arm.arm], name) for name, means in further.items()},
            "collapsed": str(arm.n_collapsed),
            "diverged": str(arm.n_diverged),
            "no result": str(arm.n_gaps),
            "escaped": "–" if arm.n_escaped is None else f"{arm.n_escaped}/{arm.n}",
            f"steps to escape{cut}": number(arm.escape_step_mean),
            "emitted / target": number(arm.emitted_ratio_mean, 2),
        }
        rows.append(cells)
    empty = {title for title in rows[0] if all(row[title] in ("–", "") for row in rows)}
    # A trainer of the user's reports what it reports.
    left_out = set() if judged else {*empty, "collapsed", "escaped"}
    known = [{title: row[title] for title in row if title not in left_out} for row in rows]
    return titled_grid(known, ("arm",))
