"""The best candidates of a search, and the ablation that trains them again on fresh seeds.

The best of many candidates is best partly by luck, so its score in the search is too good (the
optimism of selection). Its score on seeds that had no part in the choice is not. The claims
follow from the search file alone, before any of these runs exists: the best candidate against the
base, and arm against arm. Lower ranks are exploratory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from decoder.config import identity
from orchestrator.search.load import LoadedSearch
from orchestrator.search.schema import SearchSpec
from orchestrator.search.space import Params, configure
from orchestrator.search.study import ArmStudy, notes
from orchestrator.spec.arms import make_arms
from orchestrator.spec.load import Loaded
from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.spec.units import noun

FACTOR = "configuration"


@dataclass(frozen=True)
class Winner:
    """One of the best candidates of an arm.

    Attributes:
        level: its name in the confirmation, see `level_name`.
        arm: its arm.
        rank: 1 for the best score in the search.
        number: of its trial.
        params: its settings.
        figure: its score in the search, of the first objective.
    """

    level: str
    arm: str
    rank: int
    number: int
    params: Params
    figure: float


def level_name(spec: SearchSpec, arm: str, rank: int) -> str:
    """``best_1``, or ``base`` for rank 0; after the arm's name if the search has arms."""
    name = f"best_{rank}" if rank else "base"
    return f"{arm}.{name}" if spec.arms else name


def find_winners(studies: Iterable[ArmStudy]) -> list[Winner]:
    """The best candidates of every arm that were trained to their end, each configuration once.

    Of equal scores the candidate proposed first ranks first. A search without a confirmation has
    no winners.
    """
    winners: list[Winner] = []
    for study in studies:
        spec, arm = study.spec, study.arm.name
        distinct: dict[tuple[str, ...], FrozenTrial] = {}
        ended = study.trials(TrialState.COMPLETE)
        for trial in sorted(ended, key=lambda t: (spec.sign * t.values[0], t.number)):
            distinct.setdefault(tuple(notes(trial)["run_ids"]), trial)
        best = list(distinct.values())[: spec.confirm.best if spec.confirm else 0]
        winners += [
            Winner(level_name(spec, arm, rank), arm, rank, t.number, t.params, t.values[0])
            for rank, t in enumerate(best, 1)
        ]
    return winners


def confirmation_ablation(loaded: LoadedSearch, winners: Sequence[Winner]) -> Loaded:
    """The ablation that compares winners with the base and with each other.

    Args:
        loaded: the search.
        winners: of all arms.
    """
    spec = loaded.spec
    assert spec.confirm is not None
    changes = {arm.name: arm.changes for arm in loaded.arms}
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
    """The claims that can be decided; none that compares a configuration with itself."""
    spec = loaded.spec
    assert spec.confirm is not None
    configs = {arm.name: arm.config for arm in loaded.arms}
    bases = {name: identity(config) for name, config in configs.items()}
    own = {w.level: identity(configure(configs[w.arm], w.params, where=w.level)) for w in winners}
    better, direction = ("lower", "decrease") if spec.sign > 0 else ("higher", "increase")
    claims = {}

    def claim(name: str, base: str, level: str, **more: object) -> None:
        contrast = {"factor": FACTOR, "from": base, "to": level}
        claims[name] = Hypothesis.model_validate(
            {"contrast": contrast, "outcome": spec.first, **more}
        )

    for winner in winners:
        if own[winner.level] == bases[winner.arm]:
            continue
        # Confirmations on disk are found by these words: another wording is another claim.
        which = "The best candidate" if winner.rank == 1 else f"Candidate {winner.rank} by rank"
        what = f"has a {better} {noun(spec.first)} than the base it was tuned from."
        claim(
            winner.level,
            level_name(spec, winner.arm, 0),
            winner.level,
            claim=f"{which}{f' of {winner.arm}' if spec.arms else ''} {what}",
            direction=direction,
            margin=spec.confirm.margin,
            family="confirmation",
            exploratory=winner.rank > 1,
        )
    for name, asked in spec.hypotheses.items():
        one, other = (level_name(spec, arm, 1) for arm in (asked.from_arm, asked.to_arm))
        if one in own and other in own and own[one] != own[other]:
            claim(
                name, one, other, claim=asked.claim, direction=asked.direction,
                margin=asked.margin, family="arms",
            )  # fmt: skip
    return claims
