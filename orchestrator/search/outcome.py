"""What a confirmation found: the search's figure, the confirmed one, the gap, and the base."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.search.confirm import FACTOR, Winner, confirmation, level_name
from orchestrator.search.spec import LoadedSearch
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
        arm: the arm it was found in.
        rank: 0 for the base.
        candidate: number of the trial; None for the base.
        params: its settings.
        search_figure: what the search saw; NaN for the base, which had no part in it.
        mean: on the fresh seeds; NaN while a run is missing.
        interval: 95 %, Student's t over the seeds.
        n_seeds: fresh seeds with a result.
        gap: confirmed minus search's figure; positive where smaller is better means flattered.
        difference: winner minus base, mean over the seeds; NaN for the base.
        difference_interval: its 95 % interval, paired by seed.
    """

    level: str
    arm: str
    rank: int
    candidate: int | None
    params: Mapping[str, Any]
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
    """The confirmation of these winners; None while there is none.

    Args:
        loaded: the search.
        results: ledger and folders; of searches.
        winners: of the study as it stands; others than those confirmed have none yet.
        say: receives a line for each record that cannot be trusted.
    """
    name = loaded.spec.name
    if loaded.spec.confirm is None or not results.plan(name).exists() or not winners:
        return None
    plan = read_plan(results, name)
    wanted = confirmation(loaded, winners).spec
    if any(getattr(plan.spec, key) != getattr(wanted, key) for key in _CONFIRMED):
        return None
    run_ids = plan.run_ids
    records = read_records(results, run_ids, say, move_aside=False)
    histories = {run_id: read_history(results, run_id) for run_id in with_result(records)}
    tables = make_tables(plan, records, histories)
    rows = _rows(loaded, plan, tables.runs, winners)
    return Confirmation(plan, tables, decide(plan, tables.runs), rows)


def confirmations_table(rows: Sequence[Confirmed]) -> pd.DataFrame:
    """One row a configuration, its settings as columns."""
    found = []
    for row in rows:
        plain = asdict(row)
        params = plain.pop("params")
        for key in ("interval", "difference_interval"):
            low, high = plain.pop(key)
            plain |= {f"{key}_low": low, f"{key}_high": high}
        found.append(plain | dict(params))
    return pd.DataFrame(found)


def _rows(
    loaded: LoadedSearch, plan: PlanDocument, runs: pd.DataFrame, winners: Sequence[Winner]
) -> tuple[Confirmed, ...]:
    spec = plan.spec
    outcome = loaded.spec.first
    level_of = {arm.arm_id: arm.levels[FACTOR] for arm in plan.arms}
    values = {
        level_of[arm]: values_of(outcome, own, math.inf).values
        for arm, own in arm_runs(runs, spec.seeds, [outcome]).items()
    }
    rows = []
    for tuned in loaded.arms:
        base = values[level_name(loaded.spec, tuned.name, 0)]
        rows.append(_row(level_name(loaded.spec, tuned.name, 0), tuned.name, None, base, base))
        rows += [
            _row(winner.level, winner.arm, winner, values[winner.level], base)
            for winner in winners
            if winner.arm == tuned.name
        ]
    return tuple(rows)


def _row(
    level: str, arm: str, winner: Winner | None, values: stats.Floats, base: stats.Floats
) -> Confirmed:
    seen = values[np.isfinite(values)]
    mean = float(seen.mean()) if len(seen) else math.nan
    difference, interval = math.nan, Interval(-math.inf, math.inf)
    both = np.isfinite(values) & np.isfinite(base)
    if winner is not None and both.any():
        difference = float((values - base)[both].mean())
        interval = stats.paired_t((values - base)[both])
    figure = winner.figure if winner else math.nan
    return Confirmed(
        level=level,
        arm=arm,
        rank=winner.rank if winner else 0,
        candidate=winner.number if winner else None,
        params=winner.params if winner else {},
        search_figure=figure,
        mean=mean,
        interval=stats.paired_t(seen),
        n_seeds=len(seen),
        gap=mean - figure,
        difference=difference,
        difference_interval=interval,
    )
