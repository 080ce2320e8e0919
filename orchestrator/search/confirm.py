"""The price of choosing: winners and base once more, on fresh seeds, as an ablation of their own.

The best of many candidates is best partly by luck, so its figure in the search flatters it. On
seeds that had no part in the choice it does not. The claims are made from the search file alone,
before any of these runs exists: the first of the ranking against the base, and arm against arm.
The lower ranks are looked through without a claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from decoder.config import identity
from orchestrator.search.schema import SearchSpec
from orchestrator.search.space import configure
from orchestrator.search.spec import LoadedSearch, Tuned
from orchestrator.search.study import Book
from orchestrator.spec.arms import make_arms
from orchestrator.spec.load import Loaded
from orchestrator.spec.schema import AblationSpec, Changes, Hypothesis
from orchestrator.spec.units import noun

FACTOR = "configuration"


@dataclass(frozen=True)
class Winner:
    """One of the best candidates of an arm.

    Attributes:
        level: its name in the confirmation, see `level_name`.
        arm: the arm it was found in.
        rank: 1 for the best by the search's own figure.
        number: of its trial.
        params: its values.
        figure: the search's figure of the first objective.
    """

    level: str
    arm: str
    rank: int
    number: int
    params: Changes
    figure: float


def level_name(spec: SearchSpec, arm: str, rank: int) -> str:
    """``best_1``, or ``base`` for rank 0; with the arm in front where there are several."""
    name = f"best_{rank}" if rank else "base"
    return f"{arm}.{name}" if spec.arms else name


def find_winners(spec: SearchSpec, tuned: Tuned, book: Book) -> list[Winner]:
    """The best candidates of an arm that were trained to the end, each configuration once.

    Equal figures are ranked by who was proposed first.
    """
    assert spec.confirm is not None
    found: dict[tuple[str, ...], FrozenTrial] = {}
    ended = book.trials(TrialState.COMPLETE)
    for trial in sorted(ended, key=lambda t: (spec.sign * t.values[0], t.number)):
        found.setdefault(tuple(trial.user_attrs["run_ids"]), trial)
    return [
        Winner(
            level_name(spec, tuned.name, rank), tuned.name, rank,
            trial.number, trial.params, trial.values[0],
        )
        for rank, trial in enumerate(list(found.values())[: spec.confirm.best], 1)
    ]  # fmt: skip


def confirmation(loaded: LoadedSearch, winners: Sequence[Winner]) -> Loaded:
    """The ablation that compares winners with the base, and with each other.

    Args:
        loaded: the search.
        winners: of all arms.
    """
    spec = loaded.spec
    assert spec.confirm is not None
    changes = {tuned.name: tuned.changes for tuned in loaded.arms}
    levels = {level_name(spec, name, 0): dict(own) for name, own in changes.items()}
    levels |= {w.level: {**changes[w.arm], **w.params} for w in winners}
    ablation = AblationSpec(
        name=spec.name,
        question=spec.question,
        base=spec.base,
        factors={FACTOR: levels},
        seeds=spec.confirm.seeds,
        hypotheses=_claims(loaded, winners),
        collapse=spec.collapse,
        alpha=spec.alpha,
    )
    return Loaded(ablation, loaded.base, loaded.path, make_arms(ablation, loaded.base))


def _claims(loaded: LoadedSearch, winners: Sequence[Winner]) -> dict[str, Hypothesis]:
    """The claims that can be made; none about a winner that is what it is compared with."""
    spec = loaded.spec
    assert spec.confirm is not None
    bases = {tuned.name: identity(tuned.config) for tuned in loaded.arms}
    configs = {tuned.name: tuned.config for tuned in loaded.arms}
    own = {w.level: identity(configure(configs[w.arm], w.params, where=w.level)) for w in winners}
    better = "lower" if spec.sign > 0 else "higher"
    claims = {}
    for winner in winners:
        if own[winner.level] == bases[winner.arm]:
            continue
        which = "The best candidate" if winner.rank == 1 else f"Candidate {winner.rank} by rank"
        of_arm = f" of {winner.arm}" if spec.arms else ""
        claims[winner.level] = _hypothesis(
            f"{which}{of_arm} has a {better} {noun(spec.first)} than the base it was tuned from.",
            level_name(spec, winner.arm, 0),
            winner.level,
            spec,
            "decrease" if spec.sign > 0 else "increase",
            spec.confirm.margin,
            exploratory=winner.rank > 1,
        )
    for name, claim in spec.hypotheses.items():
        one, other = (level_name(spec, a, 1) for a in (claim.from_arm, claim.to_arm))
        if one in own and other in own and own[one] != own[other]:
            claims[name] = _hypothesis(
                claim.claim, one, other, spec, claim.direction, claim.margin, family="arms"
            )
    return claims


def _hypothesis(
    claim: str,
    from_level: str,
    to_level: str,
    spec: SearchSpec,
    direction: str,
    margin: float,
    *,
    family: str = "confirmation",
    exploratory: bool = False,
) -> Hypothesis:
    return Hypothesis.model_validate(
        {
            "claim": claim,
            "contrast": {"factor": FACTOR, "from": from_level, "to": to_level},
            "outcome": spec.first,
            "direction": direction,
            "margin": margin,
            "family": family,
            "exploratory": exploratory,
        }
    )
