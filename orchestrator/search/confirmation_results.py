"""Results of a confirmation: each score in the search and on fresh seeds, and the base's."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.search.confirmation import FACTOR, Winner, confirmation_ablation, level_name
from orchestrator.search.load import LoadedSearch
from orchestrator.search.space import Params
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.store.ledger import read_history, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.tables import Tables, make_tables
from orchestrator.terminal import Say
from orchestrator.verdicts.values import arm_runs, values_of
from orchestrator.verdicts.verdicts import Verdict, decide

_CONFIRMED = ("factors", "seeds", "hypotheses")  # what the winners decide


@dataclass(frozen=True)
class Confirmed:
    """A winner, or the base, on the fresh seeds.

    Attributes:
        level: ``best_1``, ``base``, ...
        arm: its arm.
        rank: 0 for the base.
        candidate: number of the trial; None for the base.
        params: its settings.
        search_figure: its score in the search; NaN for the base, which was no candidate.
        mean: on the fresh seeds with a result; NaN if there is none.
        interval: 95 %, Student's t over the seeds.
        n_seeds: fresh seeds with a result.
        gap: `mean` minus `search_figure`: the optimism of selection, where smaller is better.
        difference: winner minus base, mean over the seeds; NaN for the base.
        difference_interval: its 95 % interval, paired by seed.
    """

    level: str
    arm: str
    rank: int
    candidate: int | None
    params: Params
    search_figure: float
    mean: float
    interval: Interval
    n_seeds: int
    gap: float
    difference: float
    difference_interval: Interval


class Confirmation(NamedTuple):
    """The confirmation of a search.

    Attributes:
        plan: its plan document.
        tables: its tables.
        verdicts: one a claim.
        rows: base and winners, arm by arm.
    """

    plan: PlanDocument
    tables: Tables
    verdicts: Sequence[Verdict]
    rows: tuple[Confirmed, ...]


def read_confirmation(
    loaded: LoadedSearch, results: Results, winners: Sequence[Winner], say: Say
) -> Confirmation | None:
    """The confirmation of these winners; None before it is planned.

    Args:
        loaded: the search.
        results: ledger and folders; of searches.
        winners: of the studies as they stand; a confirmation of other winners does not count.
        say: receives a line for each record that cannot be trusted.
    """
    name = loaded.spec.name
    if loaded.spec.confirm is None or not results.plan(name).exists() or not winners:
        return None
    plan = read_plan(results, name)
    wanted = confirmation_ablation(loaded, winners).spec
    if any(getattr(plan.spec, key) != getattr(wanted, key) for key in _CONFIRMED):
        return None
    run_ids = plan.run_ids
    records = read_records(results, run_ids, say, move_aside=False)
    histories = {run_id: read_history(results, run_id) for run_id in with_result(records)}
    tables = make_tables(plan, records, histories)
    rows = _rows(loaded, plan, tables.runs, winners)
    return Confirmation(plan, tables, decide(plan, tables.runs), rows)


def confirmations_table(rows: Sequence[Confirmed]) -> pd.DataFrame:
    """One row a configuration: the fields of `Confirmed`, each setting as a column."""
    plain_rows = []
    for row in rows:
        plain = asdict(row)
        del plain["params"]
        for key in ("interval", "difference_interval"):
            low, high = plain.pop(key)
            plain |= {f"{key}_low": low, f"{key}_high": high}
        plain_rows.append(plain | row.params)
    return pd.DataFrame(plain_rows)


def _rows(
    loaded: LoadedSearch, plan: PlanDocument, runs: pd.DataFrame, winners: Sequence[Winner]
) -> tuple[Confirmed, ...]:
    outcome, seeds = loaded.spec.first, plan.spec.seeds
    level_of = {arm.arm_id: arm.levels[FACTOR] for arm in plan.arms}
    values = {
        level_of[arm]: values_of(outcome, own, math.inf).values
        for arm, own in arm_runs(runs, seeds, [outcome]).items()
    }
    rows = []
    for arm in loaded.arms:
        level = level_name(loaded.spec, arm.name, 0)
        base = Winner(level, arm.name, 0, -1, {}, math.nan)
        own = [winner for winner in winners if winner.arm == arm.name]
        rows += [_row(one, values[one.level], values[level]) for one in (base, *own)]
    return tuple(rows)


def _row(winner: Winner, values: stats.Floats, base: stats.Floats) -> Confirmed:
    seen = values[np.isfinite(values)]
    mean = float(seen.mean()) if len(seen) else math.nan
    difference, interval = math.nan, Interval(-math.inf, math.inf)
    both = np.isfinite(values) & np.isfinite(base)
    if winner.rank and both.any():
        difference = float((values - base)[both].mean())
        interval = stats.paired_t((values - base)[both])
    return Confirmed(
        level=winner.level,
        arm=winner.arm,
        rank=winner.rank,
        candidate=winner.number if winner.rank else None,
        params=winner.params,
        search_figure=winner.figure,
        mean=mean,
        interval=stats.paired_t(seen),
        n_seeds=len(seen),
        gap=mean - winner.figure,
        difference=difference,
        difference_interval=interval,
    )
