"""What the page of one sweep shows: its claims, its arms, and its files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.report.verdict_rows import VerdictRow
from orchestrator.serve.charts import number_text
from orchestrator.serve.snapshot import Snapshot
from orchestrator.serve.sweeps import Sweep
from orchestrator.serve.views import value_text
from orchestrator.spec.units import difference_text, unit_of

MOST_ARMS = 200
_OUTCOMES = ("ok", "collapsed", "diverged", "failed", "missing", "not needed")


class ArmLine(NamedTuple):
    """An arm: how its runs ended, and the mean of their final PER."""

    arm: str
    counts: Mapping[str, int]
    per: str
    changes: str


class ClaimLine(NamedTuple):
    """A claim with its verdict, and the sentences of the report."""

    name: str
    word: str
    strong: bool
    exploratory: bool
    claim: str
    effect: str
    finding: str
    decision: str


class SweepPage(NamedTuple):
    """One sweep in full.

    Attributes:
        outcomes: the outcomes that its arms have.
        files: of its folder, relative to the results folder.
    """

    claims: list[ClaimLine]
    arms: list[ArmLine]
    outcomes: list[str]
    n_arms: int
    report: str
    files: list[str]


def sweep_page(state: Snapshot, sweep: Sweep, files: Sequence[str]) -> SweepPage:
    """What the page of a sweep shows.

    Args:
        files: those of its folder that can be shown.
    """
    arms = _arms(state, sweep)
    present = [name for name in _OUTCOMES if any(arm.counts.get(name) for arm in arms)]
    folder = f"{sweep.kind}/{sweep.name}"
    report = "report.html" if "report.html" in files else "audit.md" if "audit.md" in files else ""
    return SweepPage(
        [_claim(row) for row in sweep.verdicts],
        arms,
        present,
        len(sweep.plan.arms) if sweep.plan is not None else 0,
        f"{folder}/{report}" if report else "",
        [f"{folder}/{file}" for file in files],
    )


def _arms(state: Snapshot, sweep: Sweep) -> list[ArmLine]:
    if sweep.plan is None:
        return []
    runs: dict[str, list[str]] = {}
    for run in sweep.plan.runs:
        runs.setdefault(run.arm_id, []).append(run.run_id)
    outcome_of = {**state.outcome_of, **dict.fromkeys(sweep.not_needed, "not needed")}
    per_of = state.column("per")
    lines = []
    for arm in sweep.plan.arms[:MOST_ARMS]:
        of_arm = runs.get(arm.arm_id, ())
        values = [per_of.get(run_id) for run_id in of_arm]
        pers = [float(per) for per in values if isinstance(per, int | float)]
        mean = sum(pers) / len(pers) if pers else None
        counts = Counter(outcome_of[run_id] for run_id in of_arm)
        changes = ", ".join(f"{path} = {value_text('', v)}" for path, v in arm.changes.items())
        lines.append(ArmLine(arm.arm_id, counts, number_text("per", mean), changes))
    return lines


def _claim(row: VerdictRow) -> ClaimLine:
    outcome, effect = str(row.get("outcome") or ""), row.get("effect")
    text = ""
    if isinstance(effect, int | float):
        text = f"{difference_text(float(effect), outcome)} {unit_of(outcome)}"
    return ClaimLine(
        str(row["hypothesis"]),
        str(row["verdict"]),
        bool(row.get("strong")),
        bool(row.get("exploratory")),
        str(row.get("claim") or ""),
        text,
        str(row.get("finding") or ""),
        str(row.get("decision") or ""),
    )
