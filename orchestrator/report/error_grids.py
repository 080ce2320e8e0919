"""The tables of a report about errors, sessions, ensembles, and the choice of the evaluation."""

import pandas as pd

from orchestrator.report.grids import Grid, make_grid, numbers, texts, titled_grid
from orchestrator.spec.units import difference_text, percent
from orchestrator.tables.breakdowns import NOTHING

_MOST_SESSIONS = 6  # with one column per session
_N_CONFUSIONS = 3  # listed per arm
_FREQUENT = "most frequent errors, as shares of all phonemes"


def errors_grid(confusions: pd.DataFrame) -> Grid | None:
    """One row per arm: shares of phonemes deleted, inserted and substituted, and frequent errors.

    None if no record has confusions.
    """
    if confusions.empty:
        return None
    rows = []
    for arm, of_arm in confusions.groupby("arm", sort=False):
        n_reference = of_arm.loc[of_arm["reference"] != NOTHING, "n"].sum()
        wrong = of_arm[of_arm["reference"] != of_arm["emitted"]]
        inserted = wrong["reference"] == NOTHING
        deleted = wrong["emitted"] == NOTHING
        kinds = {"deleted": deleted, "inserted": inserted, "substituted": ~deleted & ~inserted}
        most = wrong[~inserted].nlargest(_N_CONFUSIONS, "n")
        frequent = ", ".join(
            f"{pair['reference']} → {pair['emitted']} ({percent(pair['n'] / n_reference)})"
            for pair in most.to_dict("records")
        )
        rows.append(
            {
                "arm": str(arm),
                **{k: percent(wrong.loc[of, "n"].sum() / n_reference) for k, of in kinds.items()},
                _FREQUENT: frequent or "none",
            }
        )
    return titled_grid(rows, ("arm", _FREQUENT))


def ensembles_grid(ensembles: pd.DataFrame) -> Grid | None:
    """One row per arm and size of `orchestrator.tables.ensembles`; None if there are none."""
    if ensembles.empty:
        return None
    has_words = bool(ensembles["wer"].notna().any())
    rows = [
        {
            "arm": row["arm"],
            "seeds averaged": f"{row['n_members']} of {row['n_seeds']}",
            "PER": percent(row["per"]),
            "95 % of subsets": "–"
            if row["n_subsets"] == 1
            else f"{percent(row['per_low'])} to {percent(row['per_high'])}",
            "subsets": str(row["n_subsets"]),
            **({"WER": percent(row["wer"])} if has_words else {}),
        }
        for row in ensembles.to_dict("records")
    ]
    return titled_grid(rows, ("arm",))


def sessions_grid(sessions: pd.DataFrame) -> Grid | None:
    """One row per arm: PER by session over all seeds, or its range if there are many sessions.

    None if no record has sessions, or if there is only one session.
    """
    names = list(dict.fromkeys(sessions["session"]))
    if len(names) < 2:
        return None
    sums = sessions.groupby(["arm", "session"], sort=False)[["n_edits", "n_reference"]].sum()
    per = (sums["n_edits"] / sums["n_reference"]).unstack("session")
    per = per.loc[list(dict.fromkeys(sessions["arm"])), names]
    if len(names) <= _MOST_SESSIONS:
        columns = (*texts("arm"), *numbers(*names))
        return make_grid(columns, [(str(arm), *map(percent, row)) for arm, row in per.iterrows()])
    rows = [
        {
            "arm": str(arm),
            "lowest": f"{percent(row.min())} ({row.idxmin()})",
            "median session": percent(row.median()),
            "highest": f"{percent(row.max())} ({row.idxmax()})",
        }
        for arm, row in per.iterrows()
    ]
    return titled_grid(rows, ("arm",))


def choices_grid(arms: pd.DataFrame) -> Grid | None:
    """One row per arm: final PER, PER of the best evaluation with its optimism, beam search.

    None if no record has more than the final PER.
    """
    has_beams = arms["per_beam_mean"].notna().any()
    if not has_beams and arms["selection_optimism_mean"].isna().all():
        return None
    cells = {
        "arm": arms["arm"],
        "final PER": arms["per_mean"].map(percent),
        "best evaluation": arms["best_per_mean"].map(percent),
        "optimism of choosing the best evaluation, PER points": arms["selection_optimism_mean"].map(
            lambda value: difference_text(value, "per")
        ),
    }
    if has_beams:
        cells["final PER with beam search"] = arms["per_beam_mean"].map(percent)
    arm, *others = cells
    columns = (*texts(arm), *numbers(*others))
    return make_grid(columns, list(zip(*cells.values(), strict=True)))
