"""Which claims of an ablation are decided while others are open, by the rule of its verdicts."""

from collections.abc import Collection, Mapping

from orchestrator.plan.document import PlanDocument
from orchestrator.report.claim_states import ClaimProgress
from orchestrator.report.claims import make_answers
from orchestrator.store.mixing import mixed_claims
from orchestrator.store.record import Record
from orchestrator.tables.run_columns import HistoryRows
from orchestrator.tables.tables import runs_table
from orchestrator.verdicts.verdicts import Verdict, decide


def decided_claims(
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
    states: Mapping[str, ClaimProgress],
) -> dict[str, ClaimProgress]:
    """`states` with the verdicts that further runs cannot change.

    Supported and refuted claims stay so: runs that are missing elsewhere count as p = 1 in the
    correction, and later ones can only lower an adjusted p. That a claim is inconclusive is final
    when its margin is out of reach, or when no run of its family is missing, of claims that no look
    has settled, and no look is to come.

    Args:
        records, histories: of the runs that a report would use.
    """
    verdicts = decide(plan, runs_table(plan, records, histories), mixed_claims(plan, records))
    settled = {verdict.name for verdict in verdicts if _is_settled(verdict)}
    decided = [verdict for verdict in verdicts if _stays(verdict, states, settled)]
    answers = {
        answer.name: answer
        for exploratory in (False, True)
        for answer in make_answers(plan, decided, exploratory=exploratory)
    }
    return {name: state._replace(answer=answers.get(name)) for name, state in states.items()}


def _stays(verdict: Verdict, states: Mapping[str, ClaimProgress], settled: Collection[str]) -> bool:
    if verdict.name in settled:
        return True
    family = [states[name] for name in verdict.correction.names if name not in settled]
    is_whole = all(state.n_seeds == state.n_planned for state in family)
    return is_whole and verdict.next_look_seeds is None


def _is_settled(verdict: Verdict) -> bool:
    return verdict.word != "inconclusive" or verdict.reason == "out of reach"
