"""Finds names of outcomes and metrics that a file's runs do not have."""

from collections.abc import Collection, Iterable

from orchestrator.spec.names import hint
from orchestrator.spec.schema import METRICS, OUTCOMES, AblationSpec
from orchestrator.spec.slips import outcome_hint
from orchestrator.spec.trainer import TrainerSection

_PLATEAU = "emitted_ratio and n_distinct"


def metrics_of(trainer: TrainerSection | None) -> tuple[str, ...]:
    """What an evaluation records: of our decoder, or as the trainer's metrics are mapped."""
    if trainer is None:
        return METRICS
    return tuple(name for name in trainer.metrics if name != "step")


def outcomes_of(trainer: TrainerSection | None) -> tuple[str, ...]:
    """What a claim may be about."""
    return OUTCOMES if trainer is None else trainer.outcomes


def check_outcomes(spec: AblationSpec) -> Iterable[str]:
    """Complaints about outcomes and metrics of claims, priors and criteria that do not exist."""
    trainer = spec.trainer
    outcomes, metrics = outcomes_of(trainer), metrics_of(trainer)
    named = {f"hypotheses.{name}.outcome": one.outcome for name, one in spec.hypotheses.items()}
    named |= {f"prior.{outcome}": outcome for outcome in spec.prior}
    if trainer is not None and spec.greedy is not None:
        named["greedy.outcome"] = spec.greedy.outcome
    for where, outcome in named.items():
        if outcome not in outcomes:
            yield f"{where}: '{outcome}' is not an outcome{mend(outcome, outcomes, trainer)}"
    for name, criterion in spec.criteria.items():
        metric, never = criterion.metric, criterion.never
        if metric is not None and metric not in metrics:
            yield (
                f"criteria.{name}.metric: '{metric}' is not a metric of an evaluation"
                f"{mend(metric, metrics, trainer)}"
            )
        if never is not None and never not in outcomes:
            yield f"criteria.{name}.never: '{never}' is not known{mend(never, outcomes, trainer)}"


def mend(name: str, known: Collection[str], trainer: TrainerSection | None) -> str:
    """What to write in place of a name that is no outcome or metric."""
    if trainer is None:
        return outcome_hint(name) or hint(name, known)
    if name in ("collapsed", "escape_step"):
        return f", since collapse is seen by {_PLATEAU}; map both under trainer.metrics"
    return f"{hint(name, known)}; outcomes of your trainer are named under trainer.metrics"
