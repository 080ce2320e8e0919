"""How much outcomes differ from seed to seed: from earlier records, or as the file states it."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.plan.plan import Plan, digest
from orchestrator.spec.claims import is_share
from orchestrator.store.ledger import Record, any_records, read_history
from orchestrator.store.paths import Results

if TYPE_CHECKING:
    import pandas as pd

_MOST_RECORDS = 500
_MOST_CONFIGURATIONS = 60
_FEWEST_FREEDOM = 2  # degrees of freedom below which a spread says nothing

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Spread:
    """Standard deviation of the per-seed difference of an outcome between two arms.

    Attributes:
        value: in the outcome's unit; NaN if unknown.
        source: where it comes from, for people.
    """

    value: float
    source: str


def find_spreads(plan: Plan, results: Results) -> dict[str, Spread]:
    """The spread of each outcome that a hypothesis of the plan is about; shares need none.

    It is pooled over all pairs of configurations trained with common seeds: of the plan's own
    if enough of those are recorded, or else of all that were trained on the same recordings.
    Where records tell nothing, the file's ``prior`` is taken.
    """
    spec = plan.loaded.spec
    outcomes = dict.fromkeys(h.outcome for h in spec.hypotheses.values() if not is_share(h.outcome))
    if not outcomes:
        return {}
    fingerprints = {run.data.fingerprint for run in plan.runs}
    records = {
        record["run_id"]: record
        for record in any_records(results, _MOST_RECORDS)
        if record["status"] != "failed" and record["dataset"]["fingerprint"] in fingerprints
    }
    own = {run_id: records[run_id] for run_id in records.keys() & plan.distinct.keys()}
    groups = [(own, "of this ablation"), (records, "on the same recordings")]
    tables = [(records_table(plan, chosen, results), text) for chosen, text in groups if chosen]
    return {outcome: _spread_of(outcome, tables, spec.prior) for outcome in outcomes}


def pooled_spread(values: Values) -> float:
    """Standard deviation of per-seed differences, pooled over all pairs of configurations.

    Args:
        values: (n_configurations, n_seeds), NaN where not trained.

    Returns:
        NaN with fewer than two degrees of freedom in all.
    """
    squares, freedom = 0.0, 0
    for one, two in itertools.combinations(values, 2):
        differences = (one - two)[np.isfinite(one - two)]
        if len(differences) > 1:
            squares += float(((differences - differences.mean()) ** 2).sum())
            freedom += len(differences) - 1
    return math.sqrt(squares / freedom) if freedom >= _FEWEST_FREEDOM else math.nan


def _spread_of(
    outcome: str, tables: list[tuple["pd.DataFrame", str]], prior: Mapping[str, float]
) -> Spread:
    from orchestrator.tables.tables import restricted_steps

    for table, text in tables:
        column = (
            restricted_steps(table)
            if outcome == "escape_step"
            else table[outcome].to_numpy(dtype=float, na_value=math.nan)
        )
        wide = table.assign(value=column).pivot(index="arm", columns="seed", values="value")
        spread = pooled_spread(wide.to_numpy(dtype=float))
        if math.isfinite(spread):
            return Spread(spread, f"{len(table)} earlier records {text}")
    if outcome in prior:
        return Spread(prior[outcome], "the prior stated in the file")
    return Spread(math.nan, "unknown: no earlier records; state it under 'prior'")


def records_table(plan: Plan, records: Mapping[str, Record], results: Results) -> "pd.DataFrame":
    """The runs table of records of any ablations: one arm a configuration."""
    from orchestrator.tables.tables import (
        runs_table,  # pandas, for which a first plan need not wait
    )

    runs: dict[tuple[str, int], str] = {}
    for run_id, record in records.items():
        runs.setdefault((digest(record["config"]), record["seed"]), run_id)
    chosen = list(dict.fromkeys(arm_id for arm_id, _ in runs))[:_MOST_CONFIGURATIONS]
    runs = {key: run_id for key, run_id in runs.items() if key[0] in chosen}
    spec = plan.loaded.spec.model_dump(mode="json", by_alias=True)
    document = {
        "spec": {**spec, "looks": [], "seeds": sorted({seed for _, seed in runs})},
        "arms": [{"arm_id": arm_id, "levels": {}, "in_design": False} for arm_id in chosen],
        "runs": [
            {"run_id": run_id, "arm_id": arm_id, "seed": seed, "block": seed}
            for (arm_id, seed), run_id in runs.items()
        ],
    }
    histories = {run_id: read_history(results, run_id) for run_id in runs.values()}
    return runs_table(document, records, histories)
