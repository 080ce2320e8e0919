"""The evidence of the runs on one hypothesis: effect, intervals, p-value and gaps."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from orchestrator.spec.claims import (
    Test,
    choose_test,
    exact_test,
    is_equivalence,
    is_share,
    sign_of,
)
from orchestrator.spec.compared import Compared
from orchestrator.spec.schema import Design, Hypothesis
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval, Pairing
from orchestrator.stats.run_values import Bools, learned_nothing, least_budget
from orchestrator.stats.shares import (
    Share,
    boschloo,
    contrast_bounds,
    share_bounds,
    share_contrast,
    share_contrast_p,
    share_contrast_tost,
    share_tost,
)
from orchestrator.verdicts.values import ArmRuns, Values, imputed, values_of


@dataclass(frozen=True)
class ComparedArm:
    """One of the arms that a hypothesis compares.

    Attributes:
        arm: the arm's id.
        weight: its weight in the effect: +1 or -1, or a fraction of that.
        side: its side of the comparison: 0 is ``to``, 1 is ``from``; an interaction has four.
        n: runs with a value of the outcome.
        n_planned: runs in the plan.
        n_failed: infrastructure failures.
        n_missing: runs that are not recorded yet.
        n_collapsed, n_diverged: runs that ended this way. `n` includes diverged runs, except for
            metrics other than PER.
        n_escaped: runs that left the blank plateau for good.
        n_learned_nothing: runs that collapsed, diverged, or ended with a PER at chance.
        mean: mean of the outcome (steps to escape cut at the budget) over the seeds that have a
            result in every arm compared; NaN if there is none.
    """

    arm: str
    weight: float
    side: int
    n: int
    n_planned: int
    n_failed: int
    n_missing: int
    n_collapsed: int
    n_diverged: int
    n_escaped: int
    n_learned_nothing: int
    mean: float

    @property
    def n_with_result(self) -> int:
        """Runs that are recorded and did not fail for other reasons than their numbers."""
        return self.n_planned - self.n_failed - self.n_missing


class Assessment(NamedTuple):
    """An effect with its intervals and p-value, for ``to`` minus ``from``, in the outcome's unit.

    Attributes:
        effect: the effect; for an interaction, the difference of differences.
        interval: 95 % interval.
        bounds: one-sided bounds, 95 % each unless looks share the error. A side is infinite if
            runs that never escaped leave the steps to escape unbounded there.
        p: p-value of the effect. For an interaction, the larger of the p-values of the
            interaction and of `simple`, because a claim of "only there" claims both.
        simple: for an interaction, the effect of the contrast at the interaction's ``to`` level;
            NaN otherwise.
    """

    effect: float
    interval: Interval
    bounds: Interval
    p: float
    simple: float = math.nan


@dataclass(frozen=True)
class Evidence:
    """The evidence on one hypothesis.

    Attributes:
        cells: the arms compared, ``to`` side first.
        differences: seed → effect in that seed, over the seeds without a gap.
        shown: the effect as measured, over those seeds.
        scenarios: the assessments to which the rule is applied. Normally `shown` alone; if runs
            failed, two assessments with the best and the worst values that the failed runs could
            have had for the claim. Empty while planned runs are missing.
        test: the test that gave the p-value.
        interval_name: the method that gave the intervals.
        n_steps: smallest and largest step budget of the arms.
        spread: standard deviation of `differences`; NaN below two seeds.
        pairing: correlation of the two sides over the seeds, and what blocking saved; NaN for an
            interaction.
        bound_error: error of each one-sided bound.
        is_of_shares: whether the effect is a difference of shares of runs.
    """

    cells: tuple[ComparedArm, ...]
    differences: Mapping[int, float]
    shown: Assessment
    scenarios: tuple[Assessment, ...]
    test: Test
    interval_name: str
    n_steps: tuple[int, int] | None
    spread: float
    pairing: Pairing
    bound_error: float
    is_of_shares: bool = False

    @property
    def p(self) -> float:
        """The largest p-value of all scenarios; 1 if no verdict can be drawn."""
        return max((scenario.p for scenario in self.scenarios), default=1.0)

    @property
    def spread_of_effect(self) -> float:
        """Standard deviation of the effect in one seed.

        Of values it is `spread`. Of shares it follows from the rates, with half a run of each
        ending added (Jeffreys's prior), since few runs often end alike.
        """
        if not self.is_of_shares:
            return self.spread
        rates = [(cell.mean * cell.n + 0.5) / (cell.n + 1) for cell in self.cells]
        parts = zip(self.cells, rates, strict=True)
        return math.sqrt(sum(cell.weight**2 * rate * (1 - rate) for cell, rate in parts))


class _Question(NamedTuple):
    hypothesis: Hypothesis
    test: Test
    weights: tuple[float, ...]
    bound_error: float


def gather(
    hypothesis: Hypothesis,
    parts: Sequence[Compared],
    runs: Mapping[str, ArmRuns],
    seeds: Sequence[int],
    *,
    design: Design,
    bound_error: float,
    exact: bool,
) -> Evidence:
    """Collect the evidence on one hypothesis from the first ``len(seeds)`` runs of each arm.

    Args:
        hypothesis: the claim.
        parts: the arms compared, see `orchestrator.spec.compared.compared`.
        runs: arm → its runs, see `orchestrator.verdicts.values.arm_runs`.
        seeds: the seeds to use, in the order of the runs.
        design: the design of the ablation.
        bound_error: error of each one-sided bound.
        exact: whether the claim was locked with the exact test, before there were others.
    """
    outcome = hypothesis.outcome
    weights = tuple(part.weight for part in parts)
    choose = exact_test if exact else choose_test
    question = _Question(hypothesis, choose(hypothesis, design), weights, bound_error)
    simple = _simple_question(question, parts, lambda alone: choose(alone, design))
    arms = [runs[part.arm_id].first(len(seeds)) for part in parts]
    budgets = np.concatenate([arm.columns["n_steps"] for arm in arms])
    budgets = budgets[np.isfinite(budgets)]
    # Escape is judged up to the same step in every arm.
    budget = least_budget(budgets)
    seen = [values_of(outcome, arm, budget) for arm in arms]
    contributions = _effects(seen, weights)
    complete = np.isfinite(contributions)
    whole = [Values(v.values[complete], v.escaped[complete]) for v in seen]
    shown = _assess_both(question, simple, whole)
    if any((arm.outcome == "missing").any() for arm in arms):
        scenarios: tuple[Assessment, ...] = ()
    elif complete.all():
        scenarios = (shown,)
    else:
        towards = [sign_of(hypothesis) * weight for weight in weights]
        against = [-sign for sign in towards]
        scenarios = tuple(
            _assess_both(question, simple, imputed(outcome, seen, signs, budget))
            for signs in (towards, against)
        )
    effects = contributions[complete]
    return Evidence(
        cells=tuple(
            _cell(part, arm, values, complete)
            for part, arm, values in zip(parts, arms, seen, strict=True)
        ),
        differences=dict(zip(np.array(seeds)[complete].tolist(), effects.tolist(), strict=True)),
        shown=shown,
        scenarios=scenarios,
        test=question.test,
        interval_name=_interval_name(hypothesis, len(parts)),
        n_steps=(int(budgets.min()), int(budgets.max())) if len(budgets) else None,
        spread=float(effects.std(ddof=1)) if len(effects) > 1 else math.nan,
        pairing=_pairing(hypothesis, parts, whole),
        bound_error=bound_error,
        is_of_shares=is_share(outcome),
    )


def _simple_question(
    question: _Question, parts: Sequence[Compared], choose: Callable[[Hypothesis], Test]
) -> _Question | None:
    """The contrast alone, at the ``to`` level of the interaction.

    None without an interaction, and for a claim that the interaction makes no difference, which
    claims nothing about the contrast alone.
    """
    hypothesis = question.hypothesis
    if hypothesis.interaction is None or is_equivalence(hypothesis):
        return None
    alone = hypothesis.model_copy(update={"interaction": None})
    weights = tuple(part.weight for part in parts if part.side < 2)  # these parts come first
    return _Question(alone, choose(alone), weights, question.bound_error)


def _assess_both(
    question: _Question, simple: _Question | None, cells: Sequence[Values]
) -> Assessment:
    """The assessment of a question, with the simple effect that the claim of an interaction
    includes."""
    whole = _assess(question, cells)
    if simple is None:
        return whole
    alone = _assess(simple, cells[: len(simple.weights)])
    return whole._replace(p=max(whole.p, alone.p), simple=alone.effect)


def _assess(question: _Question, cells: Sequence[Values]) -> Assessment:
    """Effect, intervals and p-value of arms that have a value for every seed."""
    differences = _effects(cells, question.weights)
    if not len(differences) or not np.isfinite(differences).all():
        nothing = Interval(-math.inf, math.inf)
        return Assessment(math.nan, nothing, nothing, 1.0)
    effect = float(differences.mean())
    if is_share(question.hypothesis.outcome):
        shares = [Share(int(cell.values.sum()), len(cell.values)) for cell in cells]
        interval = share_contrast(shares, question.weights)
        bounds = (
            share_bounds(shares[0], shares[1], question.bound_error)
            if len(shares) == 2
            else contrast_bounds(shares, question.weights, question.bound_error)
        )
        return Assessment(effect, interval, bounds, _share_p(question, shares, differences))
    interval = stats.paired_interval(differences)
    bounds = stats.paired_bounds(differences, question.bound_error)
    is_cut = question.hypothesis.outcome == "escape_step"
    if is_cut:
        bounds = _open_where_cut(bounds, question.weights, cells)
    if question.test == "tost":
        cut = is_cut and not all(math.isfinite(bound) for bound in bounds)
        p = 1.0 if cut else stats.tost_paired(differences, question.hypothesis.margin)
    elif question.test == "log_rank":
        p = _log_rank(cells)
    elif question.test == "sign_flip":
        p = stats.sign_flip(differences)
    elif is_cut and len(cells) == 2 and not stats.has_spread(differences):
        p = _log_rank(cells)  # evaluations are coarse, so steps without a spread are common
    else:
        p = stats.studentized(differences)
    return Assessment(effect, interval, bounds, p)


def _log_rank(cells: Sequence[Values]) -> float:
    to, reference = cells
    return stats.log_rank(to.values, to.escaped, reference.values, reference.escaped)


def _open_where_cut(
    bounds: Interval, weights: Sequence[float], cells: Sequence[Values]
) -> Interval:
    """Make a bound infinite if a run on its side never escaped: it could take any number of
    steps."""
    never = [weight for weight, cell in zip(weights, cells, strict=True) if not cell.escaped.all()]
    low = -math.inf if any(weight < 0 for weight in never) else bounds.low
    high = math.inf if any(weight > 0 for weight in never) else bounds.high
    return Interval(low, high)


def _share_p(question: _Question, shares: Sequence[Share], differences: stats.Floats) -> float:
    margin = question.hypothesis.margin
    if question.test == "boschloo":
        return boschloo(shares[0], shares[1])
    if question.test == "tost_shares":
        return share_tost(shares[0], shares[1], margin)
    if question.test == "tost_contrast":
        return share_contrast_tost(shares, question.weights, margin)
    if question.test == "share_contrast":
        return share_contrast_p(shares, question.weights)
    return stats.sign_flip(differences)


def _effects(cells: Sequence[Values], weights: Sequence[float]) -> stats.Floats:
    """The effect in each seed: the weighted sum over the arms."""
    return np.asarray(weights) @ np.stack([cell.values for cell in cells])  # (n_seeds,)


def _pairing(hypothesis: Hypothesis, parts: Sequence[Compared], cells: Sequence[Values]) -> Pairing:
    """Correlation of the two sides over the seeds; for a fraction, of the sides' averages."""
    if hypothesis.interaction is not None:
        return Pairing(math.nan, math.nan)
    sides = [
        sum(abs(p.weight) * c.values for p, c in zip(parts, cells, strict=True) if p.side == side)
        for side in (0, 1)
    ]
    return stats.pairing(sides[0], sides[1])


def _cell(part: Compared, runs: ArmRuns, seen: Values, complete: Bools) -> ComparedArm:
    present = seen.values[complete]
    return ComparedArm(
        arm=part.arm_id,
        weight=part.weight,
        side=part.side,
        n=int(np.isfinite(seen.values).sum()),
        n_planned=len(runs.outcome),
        n_failed=_count(runs, "failed"),
        n_missing=_count(runs, "missing"),
        n_collapsed=_count(runs, "collapsed"),
        n_diverged=_count(runs, "diverged"),
        n_escaped=int(seen.escaped.sum()),
        n_learned_nothing=int(learned_nothing(runs.outcome, runs.columns["per"]).sum()),
        mean=float(present.mean()) if len(present) else math.nan,
    )


def _count(runs: ArmRuns, outcome: Literal["failed", "missing", "collapsed", "diverged"]) -> int:
    return int((runs.outcome == outcome).sum())


def _interval_name(hypothesis: Hypothesis, n_arms: int) -> str:
    if is_share(hypothesis.outcome):
        return "Newcombe–Wilson" if n_arms == 2 else f"Newcombe–Wilson, {n_arms} arms"
    restricted = ", restricted steps" if hypothesis.outcome == "escape_step" else ""
    return f"skewness-corrected paired t{restricted}"
