"""The rules of a report: how verdicts are decided and how runs are counted."""

from collections.abc import Iterator, Sequence

import pandas as pd

from orchestrator.report.grids import budgets, listed
from orchestrator.spec.claim_text import looks_text
from orchestrator.spec.claims import (
    families_of,
    is_equivalence,
    plans_looks,
    shares_bounds,
    stops_early,
)
from orchestrator.spec.endings import RULES
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.promises import promised_less
from orchestrator.spec.units import p_value, percent
from orchestrator.stats.effects import EXACT_LOG_RANK, EXACT_SIGN_FLIPS
from orchestrator.verdicts.verdicts import Verdict

_LOCKED = (
    "Claims, margins, seeds, budgets and α are hashed and stored before their runs start; a "
    "hypothesis that is written or changed later is exploratory."
)


_NOT_LOCKED = (
    "The hypotheses were written when the runs existed, so no lock was possible: every verdict is "
    "labelled 'not registered before the runs'."
)
_SAME_DRAWS = (
    "Arms of one shape have the same initial weights, trials, noise and dropout masks under the "
    "same seed, so effects are differences within a seed. Arms that differ in batch size, width, "
    "patches, cut or smoothing have the same seed but not all the same random draws."
)
_SAME_BLOCK = (
    "Effects are differences within a block. Whether the runs of a block share more than its "
    "number, such as initial weights or the order of the trials, is not proven; if they do not, "
    "pairing saves nothing and costs degrees of freedom."
)


def make_rules(
    spec: AblationSpec, verdicts: Sequence[Verdict], runs: pd.DataFrame, *, judged: bool = False
) -> tuple[str, ...]:
    """The rules that apply to an ablation, one sentence or a few each.

    Args:
        spec: the ablation.
        verdicts: one per hypothesis.
        runs: the runs table.
        judged: whether the runs existed before the hypotheses.
    """
    return (
        *(_of_verdicts(spec, verdicts, _pairing(spec, judged)) if verdicts else ()),
        *_of_runs(spec, runs),
        *_of_trainer(spec),
        *_of_hypotheses(spec),
        *_of_criteria(spec),
        *((_NOT_LOCKED if judged else _LOCKED,) if verdicts else ()),
    )


_BOUNDS = {  # whether claims share them
    False: "They share the 5 % error of each refuting bound in the same proportions.",
    True: (
        "They also share the 5 % error of the refuting bounds, and so do the claims of a family, "
        "by Holm's method."
    ),
}


def _pairing(spec: AblationSpec, judged: bool) -> tuple[str, ...]:
    """What runs of one seed or block share."""
    return promised_less(spec.trainer, spec.extra_arms) or (
        (_SAME_BLOCK if judged else _SAME_DRAWS),
    )


def _of_verdicts(
    spec: AblationSpec, verdicts: Sequence[Verdict], pairing: Sequence[str]
) -> Iterator[str]:
    level, sure = f"α = {p_value(spec.alpha)}", "95 % "
    if plans_looks(spec):
        level, sure = "the α of its look", ""
    yield (
        f"Supported: the Holm-adjusted p is below {level} and the estimate is at "
        "least the margin. Strongly: the whole 95 % interval is at or beyond the margin, too."
    )
    yield (
        f"Refuted: the one-sided {sure}upper bound of the claimed effect is below the margin; of a "
        "claim in either direction, both bounds lie inside ± the margin. The "
        "refutation is 'equivalent' if both one-sided bounds lie inside ± the margin, 'reversed' "
        "if the upper bound is below zero, else 'negligible'. A large p alone refutes nothing."
    )
    yield "Inconclusive: neither supported nor refuted."
    yield from pairing
    yield (
        "Tests are two-sided. Means of PER, other metrics and steps to escape: Student's t of the "
        "paired differences with Johnson's correction for skewness; the 95 % interval and the "
        "one-sided bounds are those of the same test, so p is below .05 exactly where the interval "
        "excludes 0. Shares of runs: Boschloo's exact test with the Newcombe–Wilson interval and "
        "exact bounds; differences of differences and averages of shares: Clopper–Pearson limits. "
        "An interval of shares is approximate, so it may exclude 0 where the test does not."
    )
    if any(verdict.evidence.test in ("sign_flip", "log_rank") for verdict in verdicts):
        yield (
            "Permutation tests, which a claim has on request or from its lock, are exact: "
            f"sign-flip for up to {EXACT_SIGN_FLIPS} seeds, log-rank for up to {EXACT_LOG_RANK} "
            "runs per arm; with more, they use a fixed Monte-Carlo sample. The lowest p that they "
            "can reach depends on the number of seeds alone, so the interval beside them may "
            "exclude 0 although p is not below .05."
        )


def _of_runs(spec: AblationSpec, runs: pd.DataFrame) -> Iterator[str]:
    collapse, n_steps = spec.collapse, budgets(runs)
    if _judges(spec):
        yield (
            "A diverged run counts as collapsed, with a PER of 100 %, and as never escaped. A "
            "collapsed run keeps its measured PER."
        )
    else:
        yield "A diverged run counts with an error rate of 100 %."
    if (runs["outcome"] == "diverged").any():
        yield (
            "Means of metrics that are no error rates (emitted / target, blank fraction, gradient "
            "norm) leave diverged runs out, because these have no final value."
        )
    if len(n_steps) > 1:
        yield (
            f"Steps to escape are cut at {n_steps[0]:,} steps in the tables of arms, the smallest "
            "budget of all arms, so that arms can be compared. A hypothesis cuts them at the "
            "smallest budget of the arms that it compares."
        )
    if not _judges(spec):
        return
    yield (
        "A decoder is on the blank plateau while its emitted length is at most "
        f"{percent(collapse.emitted_ratio, 0)} of the target length, or while it emits at most "
        f"{collapse.n_distinct} distinct phonemes. A run is collapsed if its last "
        f"{collapse.n_evaluations} evaluations are all on the plateau. It escapes at the first "
        "evaluation after the last one on the plateau."
    )


def _judges(spec: AblationSpec) -> bool:
    """Whether collapse is judged: by our decoder always."""
    return spec.trainer is None or "collapsed" in spec.trainer.outcomes


def _of_trainer(spec: AblationSpec) -> Iterator[str]:
    """How runs of a trainer of the user's end."""
    if spec.trainer is not None:
        rules = "; ".join(f"'{rule}': {text}" for rule, text in RULES.items())
        yield f"The first of these rules that applies decides how a run ended. {rules}."
        yield (
            "The final value of a metric is that of the last evaluation; an evaluation that was "
            "cut short is none."
        )


def _of_hypotheses(spec: AblationSpec) -> Iterator[str]:
    hypotheses = spec.hypotheses.values()
    for family, names in families_of(spec).items():
        yield f"Corrected together (family {family}): {listed(names)}."
    if any(map(is_equivalence, hypotheses)):
        yield (
            "A claim of no difference is supported if two one-sided tests place the effect inside "
            "± the margin, and refuted if the effect is shown to be at least the margin."
        )
    if any(hypothesis.exploratory for hypothesis in hypotheses):
        yield (
            "Exploratory hypotheses are corrected together by Benjamini–Hochberg, separately from "
            "the confirmatory ones."
        )
    if plans_looks(spec):
        yield (
            f"The planned looks share α: {looks_text(spec)}. {_BOUNDS[shares_bounds(spec)]} "
            "A claim that is decided at one look keeps its verdict; between looks nothing is "
            "tested."
        )
    if stops_early(spec):
        yield (
            "An arm that no open claim compares is trained with no further seeds, so arms have "
            "different numbers of runs. A run that is not needed is no failure."
        )


def _of_criteria(spec: AblationSpec) -> Iterator[str]:
    if spec.criteria:
        rising = (
            " Only emitted_ratio and n_distinct must rise to it, after the run has left the blank "
            "plateau for good, because an untrained decoder emits many phonemes."
        )
        yield (
            "A diverged run fails every criterion, except for a value that it reached before it "
            f"diverged. A metric reaches a value by falling to it.{rising * _judges(spec)}"
        )
