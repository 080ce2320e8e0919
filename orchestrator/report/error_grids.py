"""A report's tables of where errors lie, and of what choosing or searching would change."""

import pandas as pd

from orchestrator.report.grids import Grid, make_grid
from orchestrator.spec.units import difference_text, percent
from orchestrator.tables.breakdowns import NOTHING

_MOST_SESSIONS = 6  # with a column each
_N_CONFUSIONS = 3  # most frequent ones listed


def errors_grid(confusions: pd.DataFrame) -> Grid | None:
    """One row an arm: shares of phonemes deleted, inserted, substituted, and the commonest.

    None where no record tells them.
    """
    if confusions.empty:
        return None
    rows = []
    for arm, of_arm in confusions.groupby("arm", sort=False):
        n_reference = of_arm.loc[of_arm["reference"] != NOTHING, "n"].sum()
        wrong = of_arm[of_arm["reference"] != of_arm["emitted"]]
        inserted = wrong["reference"] == NOTHING
        deleted = wrong["emitted"] == NOTHING
        shares = [
            wrong.loc[kind, "n"].sum() / n_reference
            for kind in (deleted, inserted, ~deleted & ~inserted)
        ]
        most = wrong[~inserted].nlargest(_N_CONFUSIONS, "n")
        commonest = ", ".join(
            f"{pair['reference']} → {pair['emitted']} ({percent(pair['n'] / n_reference)})"
            for pair in most.to_dict("records")
        )
        rows.append((str(arm), *map(percent, shares), commonest or "none"))
    columns = (
        ("arm", False),
        ("deleted", True),
        ("inserted", True),
        ("substituted", True),
        ("commonest, as a share of all phonemes", False),
    )
    return make_grid(columns, rows)


def sessions_grid(sessions: pd.DataFrame) -> Grid | None:
    """One row an arm: PER by session over all seeds, or the span of them where they are many.

    None where no record tells them, or there is one session only.
    """
    names = list(dict.fromkeys(sessions["session"]))
    if len(names) < 2:
        return None
    sums = sessions.groupby(["arm", "session"], sort=False)[["n_edits", "n_reference"]].sum()
    per = (sums["n_edits"] / sums["n_reference"]).unstack("session")
    per = per.loc[list(dict.fromkeys(sessions["arm"])), names]
    if len(names) <= _MOST_SESSIONS:
        columns = [("arm", False), *((name, True) for name in names)]
        return make_grid(columns, [(str(arm), *map(percent, row)) for arm, row in per.iterrows()])
    rows = [
        (
            str(arm),
            f"{percent(row.min())} ({row.idxmin()})",
            percent(row.median()),
            f"{percent(row.max())} ({row.idxmax()})",
        )
        for arm, row in per.iterrows()
    ]
    columns = [("arm", False), ("lowest", True), ("median session", True), ("highest", True)]
    return make_grid(columns, rows)


def choices_grid(arms: pd.DataFrame) -> Grid | None:
    """One row an arm: final PER, the best evaluation's, what choosing it flatters, beam search.

    None where no record tells more than the final PER.
    """
    beams = arms["per_beam_mean"].notna().any()
    if not beams and arms["selection_optimism_mean"].isna().all():
        return None
    columns = [
        ("arm", False),
        ("final PER", True),
        ("best evaluation", True),
        ("flattered by, PER points", True),
    ]
    columns += [("final PER with beam search", True)] if beams else []
    rows = []
    for row in arms.to_dict("records"):
        flattered = difference_text(row["selection_optimism_mean"], "per")
        cells = (row["arm"], percent(row["per_mean"]), percent(row["best_per_mean"]), flattered)
        rows.append((*cells, percent(row["per_beam_mean"])) if beams else cells)
    return make_grid(columns, rows)
