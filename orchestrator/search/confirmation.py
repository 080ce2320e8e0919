"""The confirmation: the best candidates of a search, trained again on fresh seeds, and its results.

The best of many candidates is best partly by luck, so its score in the search is too good (the
optimism of selection). Its score on seeds that had no part in the choice is not. The claims
follow from the search file alone, before any of these runs exists: the best candidate against the
base, and arm against arm. Lower ranks are exploratory.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from orchestrator.plan.document import PlanDocument
from orchestrator.search.load import LoadedSearch
from orchestrator.search.schema import SearchSpec
from orchestrator.search.space import Params, configure
from orchestrator.search.study import ArmStudy, notes
from orchestrator.spec.arms import make_arms
from orchestrator.spec.configuration import identity
from orchestrator.spec.load import Loaded
from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.spec.units import noun
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.store.ledger import read_history, read_records, with_result
from orchestrator.store.mixing import select_for_report
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.tables import runs_table
from orchestrator.terminal import Say
from orchestrator.verdicts.values import arm_runs, values_of
from orchestrator.verdicts.verdicts import Verdict, decide

_FACTOR = "configuration"
_CONFIRMED = ("factors", "seeds", "hypotheses")  # what the winners decide


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
    one winner an arm, which stays unconfirmed.
    """
    winners: list[Winner] = []
    for study in studies:
        spec, arm = study.spec, study.arm.name
        distinct: dict[tuple[str, ...], FrozenTrial] = {}
        ended = study.trials(TrialState.COMPLETE)
        for trial in sorted(ended, key=lambda t: (spec.sign * t.values[0], t.number)):
            distinct.setdefault(tuple(notes(trial)["run_ids"]), trial)
        best = list(distinct.values())[: spec.confirm.best if spec.confirm else 1]
        winners += [
            Winner(level_name(spec, arm, rank), arm, rank, t.number, t.params, t.values[0])
            for rank, t in enumerate(best, 1)
        ]
    return winners


def confirmation_ablation(loaded: LoadedSearch, winners: Sequence[Winner]) -> Loaded:
    """The ablation that compares winners with the base and with each other."""
    spec = loaded.spec
    assert spec.confirm is not None
    changes = {arm.name: arm.changes for arm in loaded.arms}
    levels = {level_name(spec, name, 0): dict(own) for name, own in changes.items()}
    levels |= {w.level: {**changes[w.arm], **w.params} for w in winners}
    ablation = AblationSpec(
        name=spec.name,
        question=spec.question,
        base=spec.base,
        trainer=spec.trainer,
        factors={_FACTOR: levels},
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
        contrast = {"factor": _FACTOR, "from": base, "to": level}
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


@dataclass(frozen=True)
class Confirmed:
    """A winner, or the base, on the fresh seeds.

    Attributes:
        level: ``best_1``, ``base``, ...
        arm: its arm.
        rank: 0 for the base.
        candidate: number of the trial; None for the base.
        params: its settings.
        search_figure: its score in the search; NaN for the base, which was no candidate.
        mean: on the fresh seeds with a result; NaN if there is none.
        interval: 95 %, Student's t over the seeds.
        n_seeds: fresh seeds with a result.
        gap: `mean` minus `search_figure`: the optimism of selection, where smaller is better.
        difference: winner minus base, mean over the seeds; NaN for the base.
        difference_interval: its 95 % interval, paired by seed.
    """

    level: str
    arm: str
    rank: int
    candidate: int | None
    params: Params
    search_figure: float
    mean: float
    interval: Interval
    n_seeds: int
    gap: float
    difference: float
    difference_interval: Interval


class Confirmation(NamedTuple):
    """The confirmation of a search.

    Attributes:
        plan: its plan document.
        runs: its table of runs.
        verdicts: one a claim.
        rows: base and winners, arm by arm.
    """

    plan: PlanDocument
    runs: pd.DataFrame
    verdicts: Sequence[Verdict]
    rows: tuple[Confirmed, ...]


def read_confirmation(
    loaded: LoadedSearch, results: Results, winners: Sequence[Winner], say: Say
) -> Confirmation | None:
    """The confirmation of these winners; None before it is planned, or if others were confirmed."""
    name = loaded.spec.name
    if loaded.spec.confirm is None or not results.plan(name).exists() or not winners:
        return None
    plan = read_plan(results, name)
    wanted = confirmation_ablation(loaded, winners).spec
    if any(getattr(plan.spec, key) != getattr(wanted, key) for key in _CONFIRMED):
        return None
    run_ids = plan.run_ids
    every = read_records(results, run_ids, say, move_aside=False)
    records = select_for_report(every, allow_mixed=False).used
    histories = {run_id: read_history(results, run_id) for run_id in with_result(records)}
    runs = runs_table(plan, records, histories)
    return Confirmation(plan, runs, decide(plan, runs), _rows(loaded, plan, runs, winners))


def best_table(
    studies: Iterable[ArmStudy], winners: Sequence[Winner], rows: Sequence[Confirmed]
) -> pd.DataFrame:
    """One row a winner: its place among the candidates, its settings, its runs in the search."""
    runs = {
        (study.arm.name, trial.number): " ".join(notes(trial).get("run_ids", ()))
        for study in studies
        for trial in study.trials(TrialState.COMPLETE)
    }
    plain = [
        {
            **asdict(winner),
            "confirmed": is_confirmed(winner, rows),
            "run_ids": runs[winner.arm, winner.number],
            "params": None,
            **winner.params,
        }
        for winner in winners
    ]
    fields = ("level", "arm", "rank", "number", "figure", "confirmed", "run_ids")
    table = pd.DataFrame(
        plain, columns=list(dict.fromkeys((*fields, *(k for p in plain for k in p))))
    )
    return table.drop(columns="params", errors="ignore").rename(columns={"number": "candidate"})


def is_confirmed(winner: Winner, rows: Iterable[Confirmed]) -> bool:
    """Whether a winner has a result on fresh seeds."""
    return any(row.level == winner.level and row.n_seeds > 0 for row in rows)


def confirmations_table(rows: Sequence[Confirmed]) -> pd.DataFrame:
    """One row a configuration: the fields of `Confirmed`, each setting as a column."""
    plain_rows = []
    for row in rows:
        plain = asdict(row)
        del plain["params"]
        for key in ("interval", "difference_interval"):
            low, high = plain.pop(key)
            plain |= {f"{key}_low": low, f"{key}_high": high}
        plain_rows.append(plain | row.params)
    return pd.DataFrame(plain_rows)


def _rows(
    loaded: LoadedSearch, plan: PlanDocument, runs: pd.DataFrame, winners: Sequence[Winner]
) -> tuple[Confirmed, ...]:
    outcome, seeds = loaded.spec.first, plan.spec.seeds
    level_of = {arm.arm_id: arm.levels[_FACTOR] for arm in plan.arms}
    values = {
        level_of[arm]: values_of(outcome, own, math.inf).values
        for arm, own in arm_runs(runs, seeds, [outcome]).items()
    }
    rows = []
    for arm in loaded.arms:
        level = level_name(loaded.spec, arm.name, 0)
        base = Winner(level, arm.name, 0, -1, {}, math.nan)
        own = [winner for winner in winners if winner.arm == arm.name]
        rows += [_row(one, values[one.level], values[level]) for one in (base, *own)]
    return tuple(rows)


def _row(winner: Winner, values: stats.Floats, base: stats.Floats) -> Confirmed:
    seen = values[np.isfinite(values)]
    differences = (values - base)[np.isfinite(values - base)] if winner.rank else seen[:0]
    mean, difference = (float(v.mean()) if len(v) else math.nan for v in (seen, differences))
    return Confirmed(
        level=winner.level,
        arm=winner.arm,
        rank=winner.rank,
        candidate=winner.number if winner.rank else None,
        params=winner.params,
        search_figure=winner.figure,
        mean=mean,
        interval=stats.paired_t(seen),
        n_seeds=len(seen),
        gap=mean - winner.figure,
        difference=difference,
        difference_interval=stats.paired_interval(differences),
    )
