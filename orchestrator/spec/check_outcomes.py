"""Finds names of outcomes and metrics that a file's runs do not have."""

from collections.abc import Collection, Iterable, Mapping

from decoder.config import DecoderConfig
from decoder.entries import OWN_METRIC, own_metrics
from decoder.pack import HELD_OUT_COLUMNS, HELD_OUT_WORD_COLUMNS, WORD_COLUMNS
from orchestrator.spec.arms import Arm
from orchestrator.spec.compared import compared_by_name
from orchestrator.spec.configuration import Configuration
from orchestrator.spec.names import hint, listed
from orchestrator.spec.schema import METRICS, OUTCOMES, AblationSpec
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


def check_own_metrics(spec: AblationSpec, arms: Iterable[Arm]) -> Iterable[str]:
    """Complaints about arms that do not record a metric that is asked about them, or whose PER is
    of other trials than that of the arms they are compared with."""
    configs = {arm.arm_id: arm.config for arm in arms if isinstance(arm.config, DecoderConfig)}
    cells = {arm.arm_id: arm.levels for arm in arms if arm.in_design}
    compared = {
        f"hypotheses.{name}": (spec.hypotheses[name].outcome, [side.arm_id for side in sides])
        for name, sides in compared_by_name(spec, cells).items()
    }
    asked = {f"{where}.outcome": one for where, one in compared.items()}
    asked |= {
        f"criteria.{name}.metric": (one.metric or "", list(one.arms or configs))
        for name, one in spec.criteria.items()
    }
    for where, (metric, of_arms) in asked.items():
        for arm in of_arms:
            if arm in configs and (lacking := unrecorded(metric, configs[arm])):
                yield f"{where}: arm {arm} {lacking} for every arm, for example under 'set'"
                break
    for where, (_, of_arms) in compared.items():
        held_out = {arm: configs[arm].data.held_out_sessions for arm in of_arms if arm in configs}
        yield from (f"{where}: {text}" for text in of_other_trials(held_out))
    for where, (outcome, of_arms) in compared.items():
        if outcome in WORD_COLUMNS:
            words = {arm: configs[arm].evaluation.words for arm in of_arms if arm in configs}
            halves = {arm: one.is_tuned for arm, one in words.items() if one.is_on}
            yield from (f"{where}: {text}" for text in _of_other_halves(halves))


def unrecorded(metric: str, config: DecoderConfig) -> str | None:
    """Why the runs of a configuration do not record a metric that others do, and what to set.

    Metrics of the user's, of words and of sessions held out are only recorded by some runs.

    Returns:
        ``does not record '...'; set ...``; None if they do record it.
    """
    if metric in (*WORD_COLUMNS, *HELD_OUT_WORD_COLUMNS) and not config.evaluation.words.is_on:
        return (
            f"does not record '{metric}', since it is not decoded to words; set "
            "evaluation.words.decoder to beam or command"
        )
    held_out = (*HELD_OUT_COLUMNS, *HELD_OUT_WORD_COLUMNS)
    if metric in held_out and config.data.held_out_sessions is None:
        return (
            f"does not record '{metric}', since it holds out no sessions; set "
            "data.held_out_sessions"
        )
    if metric.startswith(OWN_METRIC) and metric not in own_metrics(config.parts, used=True):
        name = metric.removeprefix(OWN_METRIC)
        return f"does not record '{metric}'; set parts.{name}.use to true"
    return None


def of_other_trials(held_out: Mapping[str, object]) -> Iterable[str]:
    """A complaint about arms that are compared, but do not hold out the same sessions.

    Args:
        held_out: arm → its ``data.held_out_sessions``.
    """
    for arm, sessions in held_out.items():
        first = next(iter(held_out))
        if sessions != held_out[first]:
            yield (
                f"arms {first} and {arm} do not hold out the same sessions, so their PER is of "
                "other trials; give the arms that are compared the same data.held_out_sessions"
            )
            return


def _of_other_halves(tuned: Mapping[str, bool]) -> Iterable[str]:
    """A complaint about arms of which one reports the words of all trials, and one of half."""
    if len(set(tuned.values())) == 2:
        half, whole = (next(arm for arm in tuned if tuned[arm] == is_half) for is_half in (1, 0))
        yield (
            f"arm {half} chooses weights of its words on half of the trials and reports the other "
            f"half, but arm {whole} reports all; state every weight of evaluation.words in both, "
            "or none in either"
        )


def mend(name: str, known: Collection[str], trainer: TrainerSection | None) -> str:
    """What to write in place of a name that is no outcome or metric."""
    if trainer is None:
        return outcome_hint(name) or hint(name, known)
    if name in ("collapsed", "escape_step"):
        return f", since collapse is seen by {_PLATEAU}; map both under trainer.metrics"
    return f" (allowed: {listed(known)}); name others of your trainer's under trainer.metrics"
