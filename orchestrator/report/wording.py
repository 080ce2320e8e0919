"""Verdicts as sentences."""

import math

from orchestrator.spec.claims import TEST_NAMES, is_share
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


def contrast_text(hypothesis: Hypothesis) -> str:
    """``factor: from → to``, and the second contrast of an interaction."""
    contrasts = [hypothesis.contrast]
    contrasts += [hypothesis.interaction] if hypothesis.interaction else []
    return " × ".join(f"{c.factor}: {c.from_level} → {c.to_level}" for c in contrasts)


def where_text(hypothesis: Hypothesis) -> str:
    """``factor = level, …`` of the slice the contrast is made in; empty if it has none."""
    return ", ".join(f"{factor} = {level}" for factor, level in hypothesis.where.items())


def test_title(verdict: Verdict) -> str:
    """The test's name, by which a reader finds it."""
    return TEST_NAMES[verdict.evidence.test]


def interval_title(verdict: Verdict) -> str:
    """How the 95 % interval was made."""
    return f"95 % {verdict.evidence.interval_name}"


def budget_text(n_steps: tuple[int, int] | None) -> str:
    """``400 steps``, or the range where arms differ."""
    if n_steps is None:
        return "an unknown number of steps"
    low, high = n_steps
    return f"{low:,} steps" if low == high else f"{low:,} to {high:,} steps"


def verdict_title(verdict: Verdict) -> str:
    """The verdict word with what qualifies it: ``refuted (reversed)``, ``supported, strongly``."""
    if verdict.word == "supported":
        return "supported, strongly" if verdict.strong else "supported"
    return f"{verdict.word} ({verdict.reason})" if verdict.reason != "undecided" else verdict.word


def correction_text(verdict: Verdict) -> str:
    """What p was adjusted for: ``Holm over 4 claims``; empty for a claim on its own."""
    n_claims = verdict.n_family
    return f"{verdict.correction.method} over {n_claims} claims" if n_claims > 1 else ""


def blocking_text(verdict: Verdict) -> str:
    """What the shared seeds did: the correlation of the arms over them, and what it saved."""
    correlation, saved = verdict.evidence.pairing
    if math.isnan(correlation):
        return ""
    effect = (
        f"saved {percent(saved, 0)} of the" if saved >= 0 else f"cost {percent(-saved, 0)} more"
    )
    return f"correlation over seeds {number(correlation, 2)}; blocking {effect} runs"


def first_sentence(verdict: Verdict) -> str:
    """What the runs showed: budget, data, effect, interval, counts; one sentence."""
    hypothesis, evidence = verdict.hypothesis, verdict.evidence
    slice_ = f", at {where_text(hypothesis)}" if hypothesis.where else ""
    within = f"Within {budget_text(evidence.n_steps)} on {verdict.data}{slice_}"
    if not evidence.differences:
        return f"{within}, no seed has a result in every arm compared."
    outcome, contrast = hypothesis.outcome, hypothesis.contrast
    shown, n_seeds = evidence.shown, len(evidence.differences)
    effect = f"{difference_text(shown.effect, outcome)} {unit_of(outcome)}"
    interval = (
        f"{interval_title(verdict)} {interval_words(shown.interval, outcome)}"
        if math.isfinite(shown.interval.low)
        else f"no interval from {_seeds(n_seeds)}"
    )
    how = "within the margin" if hypothesis.direction == "none" else "as claimed"
    agreement = f"{how} in {verdict.wins} of {n_seeds} seeds"
    sides = [_side_text(verdict, side) for side in range(1 + evidence.cells[-1].side)]
    levels = (
        f"{contrast.to_level} against {contrast.from_level} ({contrast.factor}{_averaged(verdict)})"
    )
    if hypothesis.interaction is not None:
        other = hypothesis.interaction
        return (
            f"{within}, {levels} gave {sides[0]} against {sides[1]} {noun(outcome)} with "
            f"{other.to_level}, and {sides[2]} against {sides[3]} with {other.from_level} "
            f"({other.factor}): a difference of {effect} ({interval}), {agreement}."
        )
    return (
        f"{within}, {levels} gave {sides[0]} against {sides[1]} {noun(outcome)}: {effect} "
        f"({interval}){'' if is_share(outcome) else f', {agreement}'}."
    )


def explain(verdict: Verdict) -> str:
    """Why the rule gives this word, with the numbers it looked at; one sentence."""
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
        return f"{word}: {_gaps(verdict)}, and no verdict is drawn from arms with gaps."
    if verdict.reason == "gaps":
        return (
            f"{word}: {_gaps(verdict)}, and no word holds both for the best and for the worst "
            f"{_could_have_been(verdict)}."
        )
    outlook = (
        f"the next look is at {verdict.next_look_seeds} seeds"
        if verdict.next_look_seeds is not None
        else _outlook(verdict, margin)
    )
    return f"{word}: {_why_undecided(verdict, margin)}; {outlook}."


def _label(verdict: Verdict) -> str:
    label = ""
    if verdict.altered:
        label += ", exploratory (the hypothesis was written or altered after runs that decide it)"
    elif verdict.exploratory:
        label += ", exploratory"
    if verdict.n_looks > 1:
        label += f", look {verdict.look} of {verdict.n_looks}"
    return label


def _why_supported(verdict: Verdict, margin: str) -> str:
    sure = "the whole interval is" if verdict.strong else "the estimate is"
    if verdict.hypothesis.direction == "none":
        return f"{_p_text(verdict)}, and {sure} inside ±{margin}"
    return f"{_p_text(verdict)}, and {sure} at or beyond the margin of {margin}"


def _why_refuted(verdict: Verdict, margin: str) -> str:
    outcome, bounds = verdict.hypothesis.outcome, verdict.claimed_bounds
    if verdict.reason == "different":
        low, high = verdict.evidence.shown.bounds
        side, bound = ("lower", low) if low > 0 else ("upper", high)
        return (
            f"the {_bound_name(verdict)} {side} bound of the effect is "
            f"{difference_text(bound, outcome)}, beyond the margin of {margin} that was to mean "
            "no difference"
        )
    if verdict.reason == "equivalent":
        return (
            f"the {_bound_name(verdict)} bounds, "
            f"{interval_words(verdict.evidence.shown.bounds, outcome)}, lie inside ±{margin}, so "
            f"any difference is smaller than what was said to matter{_unseen(verdict)}"
        )
    other_way = ", so the effect goes the other way" if verdict.reason == "reversed" else ""
    return (
        f"the {_bound_name(verdict)} upper bound of the claimed {verdict.hypothesis.direction} is "
        f"{difference_text(bounds.high, outcome, signed=bounds.high < 0)}{other_way}, below the "
        f"margin of {margin}{_unseen(verdict)}"
    )


def _bound_name(verdict: Verdict) -> str:
    return f"one-sided {number(100 * (1 - verdict.evidence.bound_error))} %"


def _unseen(verdict: Verdict) -> str:
    """How often runs may fail that have not failed yet, which no mean over so few seeds shows."""
    cells = verdict.evidence.cells
    if verdict.hypothesis.outcome != "per" or any(c.n_collapsed + c.n_diverged for c in cells):
        return ""
    n_seeds = len(verdict.evidence.differences)
    return (
        f" (as long as runs train: {_seeds(n_seeds)} without a failure leave a failure rate of up "
        f"to {percent(1 - 0.05 ** (1 / n_seeds), 0)} open)"
    )


def _p_text(verdict: Verdict) -> str:
    p, adjusted = verdict.evidence.p, verdict.p_adjusted
    text = f"{test_title(verdict)} p = {p_value(p)}"
    if verdict.n_family > 1:
        text += f" and {p_value(adjusted)} after {correction_text(verdict)}"
    side = "below" if adjusted is not None and adjusted < verdict.alpha else "not below"
    return f"{text}, {side} α = {p_value(verdict.alpha)}".replace("= <", "<")


def _why_undecided(verdict: Verdict, margin: str) -> str:
    outcome, direction = verdict.hypothesis.outcome, verdict.hypothesis.direction
    bounds = verdict.claimed_bounds
    if not math.isfinite(bounds.high) and outcome == "escape_step" and verdict.evidence.n_steps:
        rest = (
            f"runs that never escaped could have taken any longer than "
            f"{budget_text(verdict.evidence.n_steps)}, so nothing is ruled out"
        )
    elif not math.isfinite(bounds.high):
        rest = f"{_seeds(len(verdict.evidence.differences))} rule nothing out"
    elif direction == "none":
        rest = (
            f"the {_bound_name(verdict)} bounds, {interval_words(bounds, outcome)}, lie neither "
            f"inside ±{margin} nor wholly beyond it"
        )
    else:
        rest = (
            f"the {_bound_name(verdict)} upper bound of the claimed {direction}, "
            f"{difference_text(bounds.high, outcome, signed=False)}, is not"
        )
    if direction == "none":
        return f"{_p_text(verdict)}, and {rest}"
    if verdict.claimed_effect >= verdict.hypothesis.margin:
        simple, other = verdict.sign * verdict.evidence.shown.simple, verdict.hypothesis.interaction
        if other is not None and simple < verdict.hypothesis.margin:
            return (
                f"the difference of differences reaches the margin of {margin}, but with "
                f"{other.to_level} alone the claimed {direction} is "
                f"{difference_text(simple, outcome)}, and the claim needs both"
            )
        return f"the estimate reaches the margin of {margin}, but {_p_text(verdict)}"
    return f"{_p_text(verdict)}; the estimate is short of {margin}, but {rest}"


def _outlook(verdict: Verdict, margin: str) -> str:
    """What the seeds at hand could have found, and how many it would take."""
    outcome, n_seeds = verdict.hypothesis.outcome, len(verdict.evidence.differences)
    seeds = _seeds(n_seeds)
    if math.isnan(verdict.detectable):
        return "the spread seen does not tell how many seeds it would take"
    equal = verdict.hypothesis.direction == "none"
    full = f" under the full correction for {verdict.n_family} claims" * (verdict.n_family > 1)
    if math.isinf(verdict.detectable):
        found = f"{seeds} {'show no equality' if equal else 'find no effect'} with 80 % power{full}"
    else:
        size = difference_text(verdict.detectable, outcome, signed=False)
        what = f"equality to within {size}" if equal else f"effects from about {size}"
        verb = "show" if equal else "find"
        found = f"{seeds} {verb} {what} {unit_of(outcome)} with 80 % power{full}"
    task = f"to show it to within {margin}" if equal else f"to tell {margin} from none"
    if verdict.seeds_needed is None:
        return f"{found}, and {task} would take more than 1,000"
    return f"{found}, and {task} would take about {verdict.seeds_needed}"


def _worst_case(verdict: Verdict) -> str:
    if len(verdict.evidence.scenarios) < 2:
        return ""
    holds = f"the word holds for the best and the worst {_could_have_been(verdict)}"
    return f" ({_gaps(verdict)}; {holds})"


def _could_have_been(verdict: Verdict) -> str:
    if verdict.hypothesis.outcome in OWN_OUTCOMES:
        return "those runs could have been"
    return "value seen in any run, put in their place"


def _gaps(verdict: Verdict) -> str:
    cells = verdict.evidence.cells
    planned, present = sum(c.n_planned for c in cells), sum(c.n for c in cells)
    metric = verdict.hypothesis.outcome not in OWN_OUTCOMES
    kinds = [
        f"{n} {kind}"
        for n, kind in (
            (sum(cell.n_failed for cell in cells), "failed"),
            (sum(cell.n_missing for cell in cells), "not recorded"),
            (metric * sum(cell.n_diverged for cell in cells), "diverged and so without a value"),
        )
        if n
    ]
    return f"{present} of {planned} runs have a result ({', '.join(kinds)})"


def _averaged(verdict: Verdict) -> str:
    n_arms = sum(cell.side == 0 for cell in verdict.evidence.cells)
    return f", each the average of {n_arms} arms" if n_arms > 1 else ""


def _side_text(verdict: Verdict, side: int) -> str:
    """The raw figure of one side, over the seeds that have a result in every arm compared."""
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
