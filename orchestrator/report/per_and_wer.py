"""Whether PER stands for WER: how far both put the arms, and the runs of an arm, in one order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.grids import Grid, titled_grid
from orchestrator.report.prose import prose
from orchestrator.spec.units import number
from orchestrator.stats.rank_agreement import (
    FEWEST_BLOCKS,
    FEWEST_UNITS,
    Agreement,
    between_units,
    within_groups,
)
from orchestrator.stats.run_values import COUNTED, learned_nothing

# PER stands for WER if tau is surely above this: then three of four pairs are in the same order.
STANDS_FROM = 0.5
COLUMNS = ("per", "wer")


class PerAndWer(NamedTuple):
    """Final PER and WER of the runs that have both.

    Attributes:
        runs: rows of the runs table with both, without those that learned nothing.
        between: agreement over the means of arms that are no repetition of another arm.
        within: agreement over the runs of each arm, paired by block; an arm trained again with
            the same seeds, which may be equal to the bit, is left out.
        n_learned_nothing: runs with both that are left out: they have the worst of both, so they
            agree whatever PER and WER say of decoders that work.
    """

    runs: pd.DataFrame
    between: Agreement
    within: Agreement
    n_learned_nothing: int


def per_and_wer(plan: PlanDocument, runs: pd.DataFrame) -> PerAndWer | None:
    """Compare the two outcomes; None unless some runs have both.

    Args:
        runs: `orchestrator.tables.tables.runs_table`.
    """
    if not set(COLUMNS) <= set(runs.columns):
        return None
    values = runs[list(COLUMNS)].to_numpy(dtype=float, na_value=np.nan)
    both = runs["outcome"].isin(COUNTED).to_numpy() & np.isfinite(values).all(axis=1)
    wrecked = learned_nothing(runs["outcome"], values[:, 0])
    kept = runs[both & ~wrecked]
    if not both.any():
        return None
    repeats = {arm.arm_id for arm in plan.arms if arm.seed_offset or arm.replicate}
    again = kept["arm"].isin({arm.arm_id for arm in plan.arms if arm.replicate})
    means = kept[~kept["arm"].isin(repeats)].groupby("arm", sort=False)[list(COLUMNS)].mean()
    return PerAndWer(
        kept,
        between_units(means["per"], means["wer"]),
        within_groups(*(kept[~again][name].to_numpy() for name in (*COLUMNS, "arm", "block"))),
        int((both & wrecked).sum()),
    )


def agreement_notes(found: PerAndWer) -> tuple[str, ...]:
    """What the agreement says, in sentences."""
    return prose(
        "per_and_wer",
        between=found.between,
        within=found.within,
        n_left_out=found.n_learned_nothing,
        fewest_arms=FEWEST_UNITS,
        fewest_seeds=FEWEST_BLOCKS,
        stands_from=STANDS_FROM,
        word=stands_word(found.between),
    )


def stands_word(between: Agreement) -> str:
    """``yes``, ``no``, ``partly`` or ``open``; "" with too few arms to claim anything."""
    low, high = between.interval
    if between.n_units < FEWEST_UNITS or np.isnan(between.tau):
        return ""
    if low >= STANDS_FROM:
        return "yes"
    if high < STANDS_FROM:
        return "no"
    return "partly" if low > 0 else "open"


def agreement_grid(found: PerAndWer) -> Grid:
    """One row over the means of arms, one over the runs within arms."""
    rows: Sequence[tuple[str, Agreement, str, int]] = (
        ("means of arms", found.between, "arms", FEWEST_UNITS),
        ("runs of the same arm", found.within, "seeds", FEWEST_BLOCKS),
    )
    return titled_grid(
        [
            {
                "pairs of": what,
                "Kendall's τ": number(one.tau, 2),
                "95 % interval": f"{number(one.interval.low, 2)} to {number(one.interval.high, 2)}"
                if one.n_units >= fewest
                else f"none below {fewest} {unit}",
                "same order": f"{one.n_alike:,} of {one.n_pairs:,} pairs",
                "opposite order": f"{one.n_opposed:,}",
                "independent units": f"{one.n_units} {unit}",
            }
            for what, one, unit, fewest in rows
        ],
        ("pairs of",),
    )
