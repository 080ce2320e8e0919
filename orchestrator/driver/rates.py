"""How often runs of the reference arms collapse or diverge: from earlier records, or as stated."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from decoder.config import DecoderConfig
from orchestrator.driver.spreads import records_table
from orchestrator.plan.plan import Plan, digest
from orchestrator.spec.claims import is_share
from orchestrator.spec.compared import compared_by_name
from orchestrator.store.ledger import Record, any_records
from orchestrator.store.paths import Results

_MOST_RECORDS = 500


@dataclass(frozen=True)
class EventRate:
    """Share of the runs of a hypothesis' reference arms that end as it is about.

    Attributes:
        value: in [0, 1]; NaN if unknown.
        source: where it comes from, for people.
    """

    value: float
    source: str


def find_rates(plan: Plan, results: Results) -> dict[str, EventRate]:
    """The rate for each hypothesis about shares of runs.

    From the records of its reference arms' configurations on the same recordings, on any seeds;
    of an interaction or a main effect those of every arm but the ``to`` side. Where there is no
    record, the file's ``prior`` is taken.
    """
    spec = plan.loaded.spec
    names = [name for name, claim in spec.hypotheses.items() if is_share(claim.outcome)]
    if not names:
        return {}
    cells = {arm.arm_id: arm.levels for arm in plan.loaded.arms if arm.in_design}
    parts = compared_by_name(spec, cells)
    wanted = {name: {part.arm_id for part in parts[name] if part.side != 0} for name in names}
    arms = set().union(*wanted.values())
    one_run = {run.arm_id: run for run in plan.runs if run.arm_id in arms}
    configs = {  # (recordings, configuration) → arm
        (run.data.fingerprint, digest(run.config.model_dump(mode="json"))): arm
        for arm, run in one_run.items()
    }
    records = {}
    arm_of = {}
    for record in any_records(results, _MOST_RECORDS):
        arm = configs.get(_identity(record), "")
        if arm and record["status"] != "failed":
            records[record["run_id"]] = record
            arm_of[record["run_id"]] = arm
    table = records_table(plan, records, results) if records else None
    found = {}
    for name in names:
        outcome = spec.hypotheses[name].outcome
        events = []
        if table is not None:
            of_arms = table["run_id"].map(arm_of).isin(wanted[name])
            events = table.loc[of_arms, outcome].tolist()
        found[name] = _rate(events, outcome, spec.prior)
    return found


def _identity(record: Record) -> tuple[str, str]:
    try:
        config = DecoderConfig.model_validate(record["config"])
    except ValidationError:
        return "", ""  # of another version
    return record["dataset"]["fingerprint"], digest(config.model_dump(mode="json"))


def _rate(events: list[int], outcome: str, prior: Mapping[str, float]) -> EventRate:
    if events:
        share, n = sum(events) / len(events), len(events)
        return EventRate(share, f"{sum(events)} of {n} earlier runs of the reference arms")
    if outcome in prior:
        return EventRate(prior[outcome], "the prior stated in the file")
    return EventRate(math.nan, "no record yet")
