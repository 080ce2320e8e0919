"""Takes the looks of an ablation: each once, when every run that it needs is complete."""

from collections.abc import Callable, Collection

from orchestrator.plan.document import PlanDocument
from orchestrator.plan.looks import (
    LookDecision,
    decided_texts,
    next_look,
    rule_of_looks,
    runs_wanted,
)
from orchestrator.spec.claims import look_seeds
from orchestrator.spec.names import listed
from orchestrator.store.ledger import read_history, read_records, with_result
from orchestrator.store.look_files import with_looks, write_look
from orchestrator.store.mixing import mixed_claims, select_present
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.terminal import Say


def take_looks(
    results: Results,
    document: PlanDocument,
    say: Say,
    *,
    tried: Collection[str] = (),
    tell: Callable[[LookDecision], None] = lambda decision: None,
) -> PlanDocument:
    """Take every look whose runs are complete, and record what it decides.

    Decisions that are recorded stand; a record that cannot be trusted is renamed, and its look is
    taken again. A look counts complete seeds only, of all arms that it needs.

    Args:
        say: receives a line for each look that is taken, and for each file that is renamed.
        tried: ids of runs that were trained as often as they may be; one of them that failed counts
            as complete, as a gap, unless the last look would leave a claim inconclusive for it.
            Other failed runs are trained again before their look.
        tell: receives the decision of each look that is taken, once it is recorded.

    Returns:
        The document with what all looks up to now decided.

    Raises:
        StorageError: a record cannot be read, or a decision not written.
    """
    document = with_looks(results, document, move_aside=say)
    while next_look(document) is not None:
        wanted = runs_wanted(document)
        every = read_records(results, sorted(wanted), say, move_aside=False)
        records = select_present(every, allow_mixed=document.allow_mixed).used
        done = with_result(records)
        failed = (records.keys() - done) & set(tried)
        if wanted - done - failed:
            break
        decision = _decide(results, document, records)
        if decision is None:
            break
        if failed and any(one.state == "inconclusive" for one in decision.claims.values()):
            say(
                f"the last look waits for {len(failed)} run{'s' * (len(failed) != 1)} that failed, "
                "as it might decide more with a result; call `run` again to try again"
            )
            break
        write_look(results, document, decision)
        _say_look(document, decision, failed, say)
        tell(decision)
        taken = (*document.looks_taken, decision)
        document = document.model_copy(update={"looks_taken": taken})
    return document


def _decide(
    results: Results, document: PlanDocument, records: dict[str, Record]
) -> LookDecision | None:
    """What the next look decides, from the records of the runs that it needs."""
    # pandas: imported here, so that an ablation without looks need not wait for it.
    from orchestrator.tables.tables import runs_table
    from orchestrator.verdicts.sequential import take_look

    rule = rule_of_looks(document)
    assert rule is not None
    histories = {run_id: read_history(results, run_id) for run_id in with_result(records)}
    runs = runs_table(document, records, histories)
    taken = document.looks_taken
    return take_look(
        document.model_copy(update={"spec": rule, "seeds_added": {}}),
        runs,
        mixed_claims(document, records),
        len(taken),
        taken[-1] if taken else None,
    )


def _say_look(
    document: PlanDocument, decision: LookDecision, failed: Collection[str], say: Say
) -> None:
    rule = rule_of_looks(document)
    assert rule is not None
    taken = document.looks_taken
    texts = decided_texts(taken[-1] if taken else None, decision)
    n_looks = len(look_seeds(rule))
    say(f"look {decision.look} of {n_looks}, {decision.n_seeds} seeds: {'; '.join(texts)}")
    gaps = [
        name
        for name, parts in document.compared.items()
        if decision.claims[name].look == decision.look
        and {part.arm_id for part in parts}
        & {run.arm_id for run in document.runs if run.run_id in failed}
    ]
    if gaps:
        say(
            f"{len(failed)} run{'s' * (len(failed) != 1)} of this look failed for good, so it "
            f"could decide {listed(gaps)} only if the best and the worst possible values agree"
        )
