"""Spreads and rates of outcomes from earlier records, for planning an ablation."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from decoder.config import DecoderConfig, digest
from orchestrator.plan.document import ArmEntry, PlanDocument, RecordingsEntry, RunEntry
from orchestrator.plan.plan import Plan
from orchestrator.spec.claims import is_share, is_value
from orchestrator.spec.configuration import Configuration, identity, n_steps_of
from orchestrator.stats.effects import Floats
from orchestrator.stats.run_values import learned_nothing
from orchestrator.store.ledger import config_of, read_history
from orchestrator.store.paths import Results
from orchestrator.store.record import Record

if TYPE_CHECKING:
    import pandas as pd

_MOST_CONFIGURATIONS = 60
_FEWEST_FREEDOM = 2  # a spread with fewer degrees of freedom is unknown


@dataclass(frozen=True)
class Prior:
    """A number that planning needs before the ablation has runs of its own.

    Attributes:
        value: for a spread, the standard deviation of the difference per seed between two arms,
            in the outcome's unit; for a rate, a share in [0, 1]. NaN if unknown.
        source: where the number comes from, as text for the user.
    """

    value: float
    source: str


def find_spreads(plan: Plan, recent: Sequence[Record], results: Results) -> dict[str, Prior]:
    """The spread of each outcome of a hypothesis; shares of runs need no spread.

    A spread is pooled over all pairs of configurations with common seeds. The configurations are
    those of the plan if enough of them are recorded, or else all that were trained on the same
    recordings. Without such records, it is the file's ``prior``.

    Args:
        recent: records of any ablation.
        results: the results folder, which holds the histories of these records.
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
    budget = float(min(n_steps_of(run.config) for run in plan.runs))
    own = {run_id: records[run_id] for run_id in records.keys() & plan.distinct.keys()}
    groups = [(own, "of this ablation"), (records, "on the same recordings")]
    tables = [(_records_table(plan, chosen, results), text) for chosen, text in groups if chosen]
    return {outcome: _spread_of(outcome, tables, budget, spec.prior) for outcome in outcomes}


def find_rates(plan: Plan, recent: Sequence[Record], results: Results) -> dict[str, Prior]:
    """The share of runs of the reference arms that collapse or diverge, for each hypothesis about
    such a share.

    It counts records of the reference arms' configurations on the same recordings, with any seed.
    The reference arms of an interaction or a main effect are all arms but those of the ``to``
    side. Without such records, the share is the file's ``prior``.

    Args:
        recent: records of any ablation.
        results: the results folder, which holds the histories of these records.
    """
    spec = plan.loaded.spec
    names = [name for name, claim in spec.hypotheses.items() if is_share(claim.outcome)]
    if not names:
        return {}
    wanted = {
        name: {part.arm_id for part in plan.loaded.compared[name] if part.side != 0}
        for name in names
    }
    table = _arms_table(plan, set().union(*wanted.values()), recent, results)
    rates = {}
    for name in names:
        outcome = spec.hypotheses[name].outcome
        events = []
        if table is not None:
            events = table.loc[table["planned_arm"].isin(wanted[name]), outcome].tolist()
        rates[name] = _rate(events, outcome, spec.prior)
    return rates


def find_stuck_arms(plan: Plan, recent: Sequence[Record], results: Results) -> dict[str, str]:
    """Hypothesis about the value of a metric → why an arm that it compares mostly learns nothing.

    It counts records of the arms' configurations on the same recordings, with any seed.

    Args:
        recent: records of any ablation.
        results: the results folder, which holds the histories of these records.
    """
    compared = {
        name: [part.arm_id for part in plan.loaded.compared[name]]
        for name, claim in plan.loaded.spec.hypotheses.items()
        if is_value(claim.outcome)
    }
    table = _arms_table(plan, set().union(*compared.values()), recent, results)
    if table is None:
        return {}
    stuck = table.assign(stuck=learned_nothing(table["outcome"], table["per"]))
    counts = stuck.groupby("planned_arm")["stuck"].agg(["sum", "size"])
    found = {}
    for name, arms in compared.items():
        bad = [
            f"{n} of {n_runs} of {arm}"
            for arm, n, n_runs in counts.itertuples()
            if arm in arms and 2 * n >= n_runs
        ]
        if bad:
            found[name] = (
                "recorded runs that collapsed, diverged or ended with a PER at chance: "
                f"{' and '.join(bad)}; a claim about 'collapsed' says whether decoders learn, and "
                "more steps let more of them"
            )
    return found


def _arms_table(
    plan: Plan, arms: Collection[str], recent: Sequence[Record], results: Results
) -> "pd.DataFrame | None":
    """The runs table of the records of some arms' configurations, with any seed; None without one.

    Its column ``planned_arm`` names the arm of the plan.
    """
    one_run = {run.arm_id: run for run in plan.runs if run.arm_id in arms}
    configs = {  # (recordings, configuration) → arm
        (run.data.fingerprint, _key(run.config)): arm for arm, run in one_run.items()
    }
    records, arm_of = {}, {}
    for record in recent if configs else ():
        config = config_of(record)
        if config is None or record["status"] == "failed":
            continue
        key = record["dataset"]["fingerprint"], _key(config)
        if key in configs:
            records[record["run_id"]] = record
            arm_of[record["run_id"]] = configs[key]
    if not records:
        return None
    table = _records_table(plan, records, results)
    return table.assign(planned_arm=table["run_id"].map(arm_of))


def _key(config: Configuration) -> str:
    """A key that is equal for equal configurations; of a command, for what can change a result."""
    if isinstance(config, DecoderConfig):
        return digest(config.model_dump(mode="json"))
    return digest(identity(config))


def pooled_spread(values: Floats) -> float:
    """Standard deviation of the differences per seed, pooled over all pairs of configurations.

    Args:
        values: (n_configurations, n_seeds), NaN for runs that were not trained.

    Returns:
        The standard deviation; NaN with fewer than two degrees of freedom.
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
    return Prior(math.nan, "unknown: no earlier records; give it under 'prior' in the file")


def _rate(events: list[int], outcome: str, prior: Mapping[str, float]) -> Prior:
    if events:
        share, n = sum(events) / len(events), len(events)
        return Prior(share, f"{sum(events)} of {n} earlier runs of the reference arms")
    if outcome in prior:
        return Prior(prior[outcome], "the prior stated in the file")
    return Prior(math.nan, "no record yet")


def _records_table(plan: Plan, records: Mapping[str, Record], results: Results) -> "pd.DataFrame":
    """The runs table of records of any ablation, with each configuration as an arm."""
    from orchestrator.tables.tables import runs_table  # pandas: not needed without records

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
        dataset=RecordingsEntry.model_validate(plan.runs[0].data),
        arms=tuple(ArmEntry(arm_id=arm_id, levels={}, in_design=False) for arm_id in chosen),
        runs=tuple(
            RunEntry(run_id=run_id, arm_id=arm_id, seed=seed, block=seed)
            for (arm_id, seed), run_id in runs.items()
        ),
    )
    histories = {run_id: read_history(results, run_id) for run_id in runs.values()}
    return runs_table(document, records, histories)
