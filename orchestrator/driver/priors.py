"""What earlier records say about an ablation that has not run: spreads and rates of outcomes."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from decoder.config import DecoderConfig, digest
from orchestrator.plan.document import ArmEntry, PlanDocument, RunEntry, recordings_entry
from orchestrator.plan.plan import Plan
from orchestrator.spec.claims import is_share
from orchestrator.store.ledger import Record, read_history
from orchestrator.store.paths import Results

if TYPE_CHECKING:
    import pandas as pd

_MOST_CONFIGURATIONS = 60
_FEWEST_FREEDOM = 2  # degrees of freedom below which a spread says nothing

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Prior:
    """A number that planning needs before the ablation has runs of its own.

    Attributes:
        value: of an outcome's spread, the standard deviation of the per-seed difference between
            two arms, in the outcome's unit; of a rate, a share in [0, 1]. NaN if unknown.
        source: where it comes from, for people.
    """

    value: float
    source: str


def find_spreads(plan: Plan, recent: Sequence[Record], results: Results) -> dict[str, Prior]:
    """The spread of each outcome that a hypothesis is about; shares of runs need none.

    It is pooled over all pairs of configurations trained with common seeds: those of the plan,
    if enough of them are recorded, or else all that were trained on the same recordings. Without
    such records the file's ``prior`` is used.

    Args:
        plan: the plan.
        recent: records of any ablation.
        results: where their histories are.
    """
    spec = plan.loaded.spec
    outcomes = dict.fromkeys(h.outcome for h in spec.hypotheses.values() if not is_share(h.outcome))
    if not outcomes:
        return {}
    fingerprints = {run.data.fingerprint for run in plan.runs}
    records = {
        record["run_id"]: record
        for record in recent
        if record["status"] != "failed" and record["dataset"]["fingerprint"] in fingerprints
    }
    budget = float(min(run.config.train.n_steps for run in plan.runs))
    own = {run_id: records[run_id] for run_id in records.keys() & plan.distinct.keys()}
    groups = [(own, "of this ablation"), (records, "on the same recordings")]
    tables = [(_records_table(plan, chosen, results), text) for chosen, text in groups if chosen]
    return {outcome: _spread_of(outcome, tables, budget, spec.prior) for outcome in outcomes}


def find_rates(plan: Plan, recent: Sequence[Record], results: Results) -> dict[str, Prior]:
    """How often runs of the reference arms collapse or diverge, for each hypothesis about that.

    It counts the records of the reference arms' configurations on the same recordings, with any
    seed; for an interaction or a main effect, of every arm but those of the ``to`` side. Without
    such records the file's ``prior`` is used.

    Args:
        plan: the plan.
        recent: records of any ablation.
        results: where their histories are.
    """
    spec = plan.loaded.spec
    names = [name for name, claim in spec.hypotheses.items() if is_share(claim.outcome)]
    if not names:
        return {}
    wanted = {
        name: {part.arm_id for part in plan.loaded.compared[name] if part.side != 0}
        for name in names
    }
    arms = set().union(*wanted.values())
    one_run = {run.arm_id: run for run in plan.runs if run.arm_id in arms}
    configs = {  # (recordings, configuration) → arm
        (run.data.fingerprint, digest(run.config.model_dump(mode="json"))): arm
        for arm, run in one_run.items()
    }
    records = {}
    arm_of = {}
    for record in recent:
        arm = configs.get(_identity(record), "")
        if arm and record["status"] != "failed":
            records[record["run_id"]] = record
            arm_of[record["run_id"]] = arm
    table = _records_table(plan, records, results) if records else None
    found = {}
    for name in names:
        outcome = spec.hypotheses[name].outcome
        events = []
        if table is not None:
            of_arms = table["run_id"].map(arm_of).isin(wanted[name])
            events = table.loc[of_arms, outcome].tolist()
        found[name] = _rate(events, outcome, spec.prior)
    return found


def pooled_spread(values: Floats) -> float:
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
    outcome: str,
    tables: list[tuple["pd.DataFrame", str]],
    budget: float,
    prior: Mapping[str, float],
) -> Prior:
    from orchestrator.tables.tables import outcome_values

    for table, text in tables:
        valued = table.assign(value=outcome_values(table, outcome, budget))
        wide = valued.pivot(index="arm", columns="seed", values="value")
        spread = pooled_spread(wide.to_numpy(dtype=float))
        if math.isfinite(spread):
            return Prior(spread, f"{len(table)} earlier records {text}")
    if outcome in prior:
        return Prior(prior[outcome], "the prior stated in the file")
    return Prior(math.nan, "unknown: no earlier records; state it under 'prior'")


def _rate(events: list[int], outcome: str, prior: Mapping[str, float]) -> Prior:
    if events:
        share, n = sum(events) / len(events), len(events)
        return Prior(share, f"{sum(events)} of {n} earlier runs of the reference arms")
    if outcome in prior:
        return Prior(prior[outcome], "the prior stated in the file")
    return Prior(math.nan, "no record yet")


def _identity(record: Record) -> tuple[str, str]:
    try:
        config = DecoderConfig.model_validate(record["config"])
    except ValidationError:
        return "", ""  # of another version
    return record["dataset"]["fingerprint"], digest(config.model_dump(mode="json"))


def _records_table(plan: Plan, records: Mapping[str, Record], results: Results) -> "pd.DataFrame":
    """The runs table of records of any ablation; each configuration is an arm."""
    from orchestrator.tables.tables import runs_table  # pandas: a first plan need not wait for it

    runs: dict[tuple[str, int], str] = {}
    for run_id, record in records.items():
        runs.setdefault((digest(record["config"]), record["seed"]), run_id)
    chosen = list(dict.fromkeys(arm_id for arm_id, _ in runs))[:_MOST_CONFIGURATIONS]
    runs = {key: run_id for key, run_id in runs.items() if key[0] in chosen}
    spec = plan.loaded.spec
    seeds = tuple(sorted({seed for _, seed in runs}))
    document = PlanDocument(
        name=spec.name,
        question=spec.question,
        spec_file=str(plan.loaded.path),
        spec=spec.model_copy(update={"looks": (), "seeds": seeds}),
        spec_hash="",
        dataset=recordings_entry(plan.runs[0].data),
        arms=tuple(ArmEntry(arm_id=arm_id, levels={}, in_design=False) for arm_id in chosen),
        runs=tuple(
            RunEntry(run_id=run_id, arm_id=arm_id, seed=seed, block=seed)
            for (arm_id, seed), run_id in runs.items()
        ),
    )
    histories = {run_id: read_history(results, run_id) for run_id in runs.values()}
    return runs_table(document, records, histories)
