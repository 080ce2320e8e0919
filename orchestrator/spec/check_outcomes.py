"""Finds names of outcomes and metrics that a file's runs do not have."""

from collections.abc import Collection, Iterable, Sequence

from decoder.config import DecoderConfig
from decoder.entries import OWN_METRIC, own_metrics
from decoder.pack import HELD_OUT_COLUMNS, HELD_OUT_WORD_COLUMNS, WORD_COLUMNS
from orchestrator.spec.arms import Arm
from orchestrator.spec.compared import compared_by_name
from orchestrator.spec.configuration import Configuration
from orchestrator.spec.names import hint, listed
from orchestrator.spec.schema import METRICS, OUTCOMES, SOME_METRICS, AblationSpec
from orchestrator.spec.slips import outcome_hint
from orchestrator.spec.trainer import TrainerSection

_PLATEAU = "emitted_ratio and n_distinct"


def metrics_of(
    trainer: TrainerSection | None, base: Configuration | None = None
) -> tuple[str, ...]:
    """What an evaluation records: of our decoder, or as the trainer's metrics are mapped.

    Args:
        base: a configuration of our decoder, with the metrics that its extensions register.
    """
    if trainer is None:
        return (*METRICS, *own_metrics(base.parts if isinstance(base, DecoderConfig) else {}))
    return tuple(name for name in trainer.metrics if name != "step")


def check_outcomes(spec: AblationSpec, base: Configuration | None) -> Iterable[str]:
    """Complaints about outcomes and metrics of claims, priors and criteria that do not exist.

    Args:
        base: the configuration that the file starts from; None if it cannot be read.
    """
    trainer, metrics = spec.trainer, metrics_of(spec.trainer, base)
    outcomes = tuple(dict.fromkeys((*OUTCOMES, *metrics))) if trainer is None else trainer.outcomes
    named = {f"hypotheses.{name}.outcome": one.outcome for name, one in spec.hypotheses.items()}
    named |= {f"prior.{outcome}": outcome for outcome in spec.prior}
    if trainer is not None and spec.greedy is not None:
        named["greedy.outcome"] = spec.greedy.outcome
    for where, outcome in named.items():
        if base is None and outcome.startswith(OWN_METRIC):
            continue  # what registers it could not be read
        if outcome not in outcomes:
            yield f"{where}: '{outcome}' is not an outcome{mend(outcome, outcomes, trainer)}"
    for name, criterion in spec.criteria.items():
        metric, never = criterion.metric, criterion.never
        if base is None and (metric or "").startswith(OWN_METRIC):
            continue
        if metric is not None and metric not in metrics:
            yield (
                f"criteria.{name}.metric: '{metric}' is not a metric of an evaluation"
                f"{mend(metric, metrics, trainer)}"
            )
        if never is not None and never not in outcomes:
            yield f"criteria.{name}.never: '{never}' is not known{mend(never, outcomes, trainer)}"


def check_own_metrics(spec: AblationSpec, arms: Sequence[Arm]) -> Iterable[str]:
    """Complaints about arms that do not record a metric that is asked about them.

    Metrics of the user's, of sessions held out and of words are only recorded by some arms.
    """
    recorded = {
        arm.arm_id: (
            *own_metrics(arm.config.parts, used=True),
            *_recorded_by(arm.config),
        )
        for arm in arms
        if isinstance(arm.config, DecoderConfig)
    }
    configs = {arm.arm_id: arm.config for arm in arms if isinstance(arm.config, DecoderConfig)}
    cells = {arm.arm_id: arm.levels for arm in arms if arm.in_design}
    asked = [
        (f"hypotheses.{name}.outcome", spec.hypotheses[name].outcome, [s.arm_id for s in sides])
        for name, sides in compared_by_name(spec, cells).items()
    ]
    asked += [
        (f"criteria.{name}.metric", one.metric or "", list(one.arms or recorded))
        for name, one in spec.criteria.items()
    ]
    for where, metric, of_arms in asked:
        if spec.trainer is None and metric in SOME_METRICS:
            lacking = [arm for arm in of_arms if metric not in recorded.get(arm, ())]
            if lacking:
                reason = _why_not_recorded(metric, configs[lacking[0]])
                yield f"{where}: arm {lacking[0]} does not record '{metric}', {reason}"
        if metric.startswith(OWN_METRIC):
            name = metric.removeprefix(OWN_METRIC)
            lacking = [arm for arm in of_arms if metric not in recorded.get(arm, ())]
            if lacking:
                yield (
                    f"{where}: arm {lacking[0]} does not record '{metric}'; set parts.{name}.use "
                    "to true for every arm, for example under 'set'"
                )


def _recorded_by(config: DecoderConfig) -> tuple[str, ...]:
    """The metrics that only some configurations record, and this one does."""
    holds_out, to_words = config.data.held_out_sessions is not None, config.evaluation.words.is_on
    return (
        *(HELD_OUT_COLUMNS if holds_out else ()),
        *(WORD_COLUMNS if to_words else ()),
        *(HELD_OUT_WORD_COLUMNS if holds_out and to_words else ()),
    )


def _why_not_recorded(metric: str, config: DecoderConfig) -> str:
    """Why a configuration does not record a metric that others do, and how to mend it."""
    if metric not in HELD_OUT_COLUMNS and not config.evaluation.words.is_on:
        return (
            "since it is not decoded to words; set evaluation.words.decoder to beam or command "
            "for every arm, for example under 'set'"
        )
    return (
        "since it holds out no sessions; set data.held_out_sessions for every arm, for example "
        "under 'set'"
    )


def mend(name: str, known: Collection[str], trainer: TrainerSection | None) -> str:
    """What to write in place of a name that is no outcome or metric."""
    if trainer is None:
        return outcome_hint(name) or hint(name, known)
    if name in ("collapsed", "escape_step"):
        return f", since collapse is seen by {_PLATEAU}; map both under trainer.metrics"
    return f" (allowed: {listed(known)}); name others of your trainer's under trainer.metrics"
