"""What a page says of each claim: one line with its verdict, and the sentences behind it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from orchestrator.plan.document import PlanDocument
from orchestrator.report.faults import Faults
from orchestrator.report.intervals import SmallInterval, small_intervals
from orchestrator.report.wording import explain, first_sentence, label_text, verdict_title
from orchestrator.spec.claim_text import what_counts
from orchestrator.spec.units import difference_text, interval_words, unit_of
from orchestrator.verdicts.verdicts import Verdict

MOST_CLAIMS = 200  # of a page, which opens slowly with more


class Answer(NamedTuple):
    """One hypothesis: its verdict, two sentences that explain it, and what would have counted.

    Attributes:
        caveats: what else differs between the arms of runs that existed before.
        effect: with its unit; "" where no seed has a result in every arm compared.
        interval: of the effect, as text.
        n_seeds: seeds with a result in every arm compared.
        look: the look that settled it; None without looks, or while a further one may decide.
        drawing: interval and margin; None without an effect.
    """

    name: str
    claim: str
    what_counts: str
    word: str
    title: str
    finding: str
    decision: str
    caveats: tuple[str, ...] = ()
    effect: str = ""
    interval: str = ""
    n_seeds: int = 0
    look: int | None = None
    drawing: SmallInterval | None = None


def make_answers(
    plan: PlanDocument, verdicts: Sequence[Verdict], *, exploratory: bool
) -> tuple[Answer, ...]:
    """Put the verdicts on confirmatory or on exploratory claims into words."""
    rules, drawings = _rules_of_claims(plan), small_intervals(verdicts)
    chosen = [verdict for verdict in verdicts if verdict.hypothesis.exploratory == exploratory]
    return tuple(_answer(verdict, rules, drawings) for verdict in chosen)


def attempt_answers(
    plan: PlanDocument, verdicts: Sequence[Verdict], faults: Faults, *, exploratory: bool
) -> tuple[Answer, ...]:
    """`make_answers` for the first `MOST_CLAIMS` claims; one that has no words is left out."""
    rules: dict[str, str] = faults.attempt(
        "what counts for each claim", lambda: _rules_of_claims(plan), {}
    )
    drawings: dict[str, SmallInterval] = faults.attempt(
        "the drawings of the intervals", lambda: small_intervals(verdicts), {}
    )
    answers = [
        faults.attempt(
            f"the answer on '{verdict.name}'", partial(_answer, verdict, rules, drawings), None
        )
        for verdict in verdicts[:MOST_CLAIMS]
        if verdict.hypothesis.exploratory == exploratory and rules
    ]
    return tuple(answer for answer in answers if answer is not None)


def _rules_of_claims(plan: PlanDocument) -> dict[str, str]:
    """Hypothesis → what counts as its support."""
    return what_counts(
        plan.spec,
        plan.exact_locked,
        {name: added.as_locked(plan.spec) for name, added in plan.seeds_added.items()},
    )


def _answer(
    verdict: Verdict, rules: Mapping[str, str], drawings: Mapping[str, SmallInterval]
) -> Answer:
    outcome, shown = verdict.hypothesis.outcome, verdict.evidence.shown
    n_seeds = len(verdict.evidence.differences)
    return Answer(
        name=verdict.name,
        claim=" ".join(verdict.hypothesis.claim.split()),
        what_counts=rules[verdict.name],
        word=verdict.word,
        title=", ".join(filter(None, (verdict_title(verdict), label_text(verdict)))),
        finding=first_sentence(verdict),
        decision=explain(verdict),
        caveats=verdict.caveats,
        effect=f"{difference_text(shown.effect, outcome)} {unit_of(outcome)}" if n_seeds else "",
        interval=interval_words(shown.interval, outcome) if n_seeds else "",
        n_seeds=n_seeds,
        look=verdict.look if verdict.n_looks > 1 and verdict.is_settled else None,
        drawing=drawings.get(verdict.name),
    )
