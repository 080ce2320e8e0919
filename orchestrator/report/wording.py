"""Verdicts as sentences."""

import math

from orchestrator.plan.judged import NOT_REGISTERED
from orchestrator.report.early_text import corrected_text, futility_text
from orchestrator.spec.claim_text import KEEPS_A_CLAIM
from orchestrator.spec.claims import TEST_NAMES, is_equivalence, is_share, is_value
from orchestrator.spec.schema import OWN_OUTCOMES, Hypothesis
from orchestrator.spec.units import (
    difference_text,
    interval_words,
    noun,
    number,
    p_value,
    percent,
    unit_of,
    value_text,
)
from orchestrator.verdicts.verdicts import Verdict

_AGREES = {
    "increase": "in the claimed direction",
    "decrease": "in the claimed direction",
    "either": "in this direction",
    "no_difference": "within the margin",
}


def contrast_text(hypothesis: Hypothesis) -> str:
    """``factor: from → to``; an interaction has two of them."""
    contrasts = [hypothesis.contrast]
    contrasts += [hypothesis.interaction] if hypothesis.interaction else []
    return " × ".join(f"{c.factor}: {c.from_level} → {c.to_level}" for c in contrasts)


def where_text(hypothesis: Hypothesis) -> str:
    """``factor = level, …`` of the slice that the contrast is restricted to; "" without one."""
    return ", ".join(f"{factor} = {level}" for factor, level in hypothesis.where.items())


def test_title(verdict: Verdict) -> str:
    """The name of the test."""
    return TEST_NAMES[verdict.evidence.test]


def budget_text(n_steps: tuple[int, int]) -> str:
    """``400 steps``, or the range if budgets differ."""
    low, high = n_steps
    return f"{low:,} steps" if low == high else f"{low:,} to {high:,} steps"


def verdict_title(verdict: Verdict) -> str:
    """The verdict and its qualifier: ``refuted (reversed)``, ``supported, strongly``."""
    title: str = verdict.word
    if verdict.word == "supported":
        title += ", strongly" * verdict.strong
    elif verdict.reason != "undecided":
        title += f" ({verdict.reason})"
    decided = verdict.word != "inconclusive"
    if decided and verdict.mostly_learned_nothing:
        title += ", among runs that mostly collapsed"
    return title


def label_text(verdict: Verdict) -> str:
    """What stands behind the word: ``exploratory``, that the claim was not registered, or ""."""
    declared = "exploratory" if verdict.hypothesis.exploratory else ""
    if verdict.unregistered:
        return ", ".join(filter(None, (NOT_REGISTERED, declared)))
    return "exploratory" if verdict.exploratory else ""


def correction_text(verdict: Verdict) -> str:
    """The correction of p: ``Holm over 4 claims``; "" for a single claim."""
    n_claims = verdict.n_family
    return f"{verdict.correction.method} over {n_claims} claims" if n_claims > 1 else ""


def blocking_text(verdict: Verdict) -> str:
    """The correlation of the two sides over the seeds, and the variance that pairing removes."""
    correlation, removed = verdict.evidence.pairing
    if math.isnan(correlation):
        return ""
    correlation = round(correlation, 2) or 0.0  # not −0
    effect = (
        f"removes {percent(removed, 0)} of" if removed >= 0 else f"adds {percent(-removed, 0)} to"
    )
    return (
        f"correlation over seeds {number(correlation, 2)}; pairing {effect} the variance of the "
        "difference"
    )


def first_sentence(verdict: Verdict) -> str:
    """The result in one or two sentences: budget, data, values, effect, interval, counts."""
    hypothesis, evidence = verdict.hypothesis, verdict.evidence
    slice_ = f", at {where_text(hypothesis)}" if hypothesis.where else ""
    budget = f"Within {budget_text(evidence.n_steps)} on" if evidence.n_steps else "On"
    within = f"{budget} {verdict.data}{slice_}"
    if not evidence.differences:
        return f"{within}, no seed has a result in every arm that is compared."
    outcome, contrast = hypothesis.outcome, hypothesis.contrast
    shown, n_seeds = evidence.shown, len(evidence.differences)
    effect = f"{difference_text(shown.effect, outcome)} {unit_of(outcome)}"
    interval = (
        f"95 % interval {interval_words(shown.interval, outcome)}, {evidence.interval_name}"
        if math.isfinite(shown.interval.low)
        else f"no interval from {_seeds(n_seeds)}"
    )
    agreement = f"; it is {_AGREES[hypothesis.direction]} in {verdict.wins} of {n_seeds} seeds"
    sides = [_side_text(verdict, side) for side in range(1 + evidence.cells[-1].side)]
    levels = (
        f"{contrast.to_level} versus {contrast.from_level} ({contrast.factor}{_averaged(verdict)})"
    )
    if hypothesis.interaction is not None:
        other = hypothesis.interaction
        return (
            f"{within}, {levels} gave {sides[0]} versus {sides[1]} {noun(outcome)} with "
            f"{other.to_level}, and {sides[2]} versus {sides[3]} with {other.from_level} "
            f"({other.factor}). The difference of differences is {effect} ({interval}){agreement}."
            f"{_at_chance(verdict)}"
        )
    return (
        f"{within}, {levels} gave {sides[0]} versus {sides[1]} {noun(outcome)}. The difference is "
        f"{effect} ({interval}){'' if is_share(outcome) else agreement}.{_at_chance(verdict)}"
    )


def _at_chance(verdict: Verdict) -> str:
    """How many runs of each arm learned nothing, for claims about the value of a metric."""
    outcome, cells = verdict.hypothesis.outcome, verdict.evidence.cells
    stuck = [cell for cell in cells if cell.n_learned_nothing]
    if not stuck or not is_value(outcome):
        return ""
    counts = " and ".join(f"{c.n_learned_nothing} of {c.n_with_result} of {c.arm}" for c in stuck)
    text = f" Runs that learned nothing (on the blank plateau, diverged, or at chance): {counts}."
    if verdict.mostly_learned_nothing:
        text += (
            " Whether a decoder learns at all is a claim about 'collapsed'; how well it decodes "
            "needs more steps, or settings with which most runs learn."
        )
    return text


def explain(verdict: Verdict) -> str:
    """The reason for the verdict in one sentence, with the numbers it depends on.

    Further sentences give the effect corrected for stopping at a look, and say what seeds that were
    added after the lock show.
    """
    return _decision(verdict) + corrected_text(verdict) + _on_all_seeds(verdict)


def _decision(verdict: Verdict) -> str:
    outcome = verdict.hypothesis.outcome
    word = verdict_title(verdict).capitalize() + _label(verdict)
    margin = (
        f"{difference_text(verdict.hypothesis.margin, outcome, signed=False)} {unit_of(outcome)}"
    )
    if verdict.word == "supported":
        return f"{word}: {_why_supported(verdict, margin)}{_worst_case(verdict)}."
    if verdict.word == "refuted":
        return f"{word}: {_why_refuted(verdict, margin)}{_worst_case(verdict)}."
    if not verdict.evidence.scenarios:
        return f"{word}: {_gaps(verdict)}, and a verdict needs a record of every run."
    if verdict.reason == "gaps":
        return (
            f"{word}: {_gaps(verdict)}, and the verdict would not be the same with the best and "
            f"with the worst {_could_have_been(verdict)}."
        )
    outlook = (
        f"the next look is at {verdict.next_look_seeds} seeds"
        if verdict.next_look_seeds is not None
        else futility_text(verdict)
        if verdict.reason == "out of reach"
        else _outlook(verdict, margin)
    )
    return f"{word}: {_why_undecided(verdict, margin)}; {outlook}."


def _on_all_seeds(verdict: Verdict) -> str:
    """What happened to the list of seeds, and the exploratory result on all of them."""
    every = verdict.on_all_seeds
    if verdict.added is None or every is None:
        return ""
    if not every.evidence.scenarios:
        shown = f"{_gaps(every)}, so there is no such result yet"
    else:
        outcome, effect = every.hypothesis.outcome, every.evidence.shown
        shown = (
            f"the effect on all {_seeds(len(every.evidence.differences))} is "
            f"{difference_text(effect.effect, outcome)} {unit_of(outcome)} (95 % interval "
            f"{interval_words(effect.interval, outcome)}; {_p_text(every)}), which would be "
            f"{verdict_title(every)}"
        )
    return f" {verdict.added.sentence}: {shown}; {KEEPS_A_CLAIM}."


def _label(verdict: Verdict) -> str:
    label = ""
    if verdict.unregistered:
        label += f", {NOT_REGISTERED}"
    if verdict.altered:
        label += ", exploratory (the hypothesis was written or changed after its runs existed)"
    elif verdict.mixed:
        label += ", exploratory (it compares runs of different decoder source code)"
    elif verdict.hypothesis.exploratory:
        label += ", exploratory"
    if verdict.n_looks > 1:
        label += f", look {verdict.look} of {verdict.n_looks}"
    return label


def _why_supported(verdict: Verdict, margin: str) -> str:
    sure = "the whole interval is" if verdict.strong else "the estimate is"
    if is_equivalence(verdict.hypothesis):
        return f"{_p_text(verdict)}, and {sure} inside ±{margin}"
    return f"{_p_text(verdict)}, and {sure} at or beyond the margin of {margin}"


def _why_refuted(verdict: Verdict, margin: str) -> str:
    outcome, bounds = verdict.hypothesis.outcome, verdict.claimed_bounds
    if verdict.reason == "different":
        low, high = verdict.evidence.shown.bounds
        side, bound = ("lower", low) if low > 0 else ("upper", high)
        return (
            f"the {_bound_name(verdict)} {side} bound of the effect is "
            f"{difference_text(bound, outcome)}, beyond the margin of {margin}, so there is a "
            "difference that matters"
        )
    if verdict.reason == "equivalent":
        return (
            f"the {_bound_name(verdict)} bounds, "
            f"{interval_words(verdict.evidence.shown.bounds, outcome)}, lie inside ±{margin}, so "
            f"any difference is too small to matter{_unseen(verdict)}"
        )
    other_way = ", and the effect goes the other way" if verdict.reason == "reversed" else ""
    return (
        f"the {_bound_name(verdict)} upper bound of the {_claimed_change(verdict)} is "
        f"{difference_text(bounds.high, outcome, signed=bounds.high < 0)}, below the margin of "
        f"{margin}{other_way}{_unseen(verdict)}"
    )


def _claimed_change(verdict: Verdict) -> str:
    direction = verdict.hypothesis.direction
    return "difference" if direction == "either" else f"claimed {direction}"


def _bound_name(verdict: Verdict) -> str:
    return f"one-sided {number(100 * (1 - verdict.evidence.bound_error))} %"


def _unseen(verdict: Verdict) -> str:
    """The failure rate that so few seeds without a failure cannot exclude."""
    cells = verdict.evidence.cells
    if verdict.hypothesis.outcome != "per" or any(c.n_collapsed + c.n_diverged for c in cells):
        return ""
    n_seeds = len(verdict.evidence.differences)
    return (
        f" (if runs do not fail: {_seeds(n_seeds)} without a failure do not exclude a failure rate "
        f"of up to {percent(1 - 0.05 ** (1 / n_seeds), 0)})"
    )


def _p_text(verdict: Verdict) -> str:
    p, adjusted = verdict.evidence.p, verdict.p_adjusted
    text = f"p = {p_value(p)} ({test_title(verdict)})"
    if verdict.n_family > 1:
        text = (
            f"p = {p_value(adjusted)} after {correction_text(verdict)} ({p_value(p)} before; "
            f"{test_title(verdict)})"
        )
    side = "below" if adjusted is not None and adjusted < verdict.alpha else "not below"
    return f"{text} is {side} α = {p_value(verdict.alpha)}".replace("= <", "<")


def _why_undecided(verdict: Verdict, margin: str) -> str:
    outcome, direction = verdict.hypothesis.outcome, verdict.hypothesis.direction
    bounds = verdict.claimed_bounds
    if not math.isfinite(bounds.high) and outcome == "escape_step" and verdict.evidence.n_steps:
        rest = (
            f"runs that did not escape within {budget_text(verdict.evidence.n_steps)} could have "
            "taken any number of steps, so no effect is excluded"
        )
    elif not math.isfinite(bounds.high):
        rest = f"no effect is excluded by {_seeds(len(verdict.evidence.differences))}"
    elif direction in ("no_difference", "either"):
        equal = direction == "no_difference"
        lie, outside = ("lie neither", " nor entirely outside") if equal else ("do not lie", "")
        rest = (
            f"the {_bound_name(verdict)} bounds, "
            f"{interval_words(verdict.evidence.shown.bounds, outcome)}, {lie} "
            f"inside ±{margin}{outside}"
        )
    else:
        rest = (
            f"the {_bound_name(verdict)} upper bound of the {_claimed_change(verdict)}, "
            f"{difference_text(bounds.high, outcome, signed=False)}, is not"
        )
    if direction == "no_difference":
        return f"{_p_text(verdict)}, and {rest}"
    if verdict.claimed_effect >= verdict.hypothesis.margin:
        simple, other = verdict.sign * verdict.evidence.shown.simple, verdict.hypothesis.interaction
        if other is not None and simple < verdict.hypothesis.margin:
            return (
                f"the difference of differences reaches the margin of {margin}, but with "
                f"{other.to_level} alone the {_claimed_change(verdict)} is "
                f"{difference_text(simple, outcome)}, and the claim needs both"
            )
        return f"the estimate reaches the margin of {margin}, but {_p_text(verdict)}"
    return f"{_p_text(verdict)}; the estimate is below the margin of {margin}, but {rest}"


def _outlook(verdict: Verdict, margin: str) -> str:
    """What this number of seeds can detect, and how many seeds the margin needs."""
    outcome, n_seeds = verdict.hypothesis.outcome, len(verdict.evidence.differences)
    seeds = _seeds(n_seeds)
    if math.isnan(verdict.detectable):
        return "too few seeds have a result to estimate how many it would take"
    equal = is_equivalence(verdict.hypothesis)
    power = "with 80 % power"
    if verdict.n_family > 1:
        power += f" when corrected for all {verdict.n_family} claims"
    if math.isinf(verdict.detectable):
        can = f"cannot {'show equivalence' if equal else 'detect any effect'}"
    else:
        size = f"{difference_text(verdict.detectable, outcome, signed=False)} {unit_of(outcome)}"
        can = f"can show equivalence within ±{size}" if equal else f"can detect effects from {size}"
    task = "showing equivalence within ±" if equal else "detecting an effect of "
    needed = "more than 1,000" if verdict.seeds_needed is None else f"about {verdict.seeds_needed}"
    text = f"{seeds} {can} {power}, and {task}{margin} would take {needed} seeds"
    more = verdict.seeds_needed is not None and verdict.seeds_needed > n_seeds
    keeps = more and not verdict.exploratory and verdict.added is None
    return f"{text} ({KEEPS_A_CLAIM})" if keeps else text


def _worst_case(verdict: Verdict) -> str:
    if len(verdict.evidence.scenarios) < 2:
        return ""
    holds = f"the verdict is the same with the best and with the worst {_could_have_been(verdict)}"
    return f" ({_gaps(verdict)}; {holds})"


def _could_have_been(verdict: Verdict) -> str:
    if verdict.hypothesis.outcome in OWN_OUTCOMES:
        return "result that those runs could have had"
    return "value of any run in their place"


def _gaps(verdict: Verdict) -> str:
    cells = verdict.evidence.cells
    planned, present = sum(c.n_planned for c in cells), sum(c.n for c in cells)
    metric = verdict.hypothesis.outcome not in OWN_OUTCOMES
    kinds = [
        f"{n} {kind}"
        for n, kind in (
            (sum(cell.n_failed for cell in cells), "failed"),
            (sum(cell.n_missing for cell in cells), "not recorded"),
            (metric * sum(cell.n_diverged for cell in cells), "diverged, hence without a value"),
        )
        if n
    ] or ["the others do not report it"]
    return f"{present} of {planned} runs have a result ({', '.join(kinds)})"


def _averaged(verdict: Verdict) -> str:
    n_arms = sum(cell.side == 0 for cell in verdict.evidence.cells)
    return f", each the average of {n_arms} arms" if n_arms > 1 else ""


def _side_text(verdict: Verdict, side: int) -> str:
    """The value of one side, over the seeds that have a result in every arm compared."""
    cells = [cell for cell in verdict.evidence.cells if cell.side == side]
    outcome, n_seeds = verdict.hypothesis.outcome, len(verdict.evidence.differences)
    mean = sum(cell.mean for cell in cells) / len(cells)
    if is_share(outcome):
        n_runs, n_diverged = n_seeds * len(cells), sum(cell.n_diverged for cell in cells)
        diverged = f" ({n_diverged} diverged)" if n_diverged and outcome == "collapsed" else ""
        return f"{round(mean * n_runs)} of {n_runs}{diverged}"
    if outcome != "escape_step":
        return value_text(mean, outcome)
    n = sum(cell.n for cell in cells)
    never = n - sum(cell.n_escaped for cell in cells)
    return f"{mean:,.0f}" + (f" ({never} of {n} never)" if never else "")


def _seeds(n_seeds: int) -> str:
    return f"{n_seeds} seed{'s' * (n_seeds != 1)}"
