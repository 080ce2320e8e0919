"""Numbers and verdicts as plain words: the only place where rates become percent."""

import math
from collections.abc import Mapping

from orchestrator.evidence import TEST_NAMES, Cell
from orchestrator.spec import Hypothesis, Outcome
from orchestrator.stats import Interval
from orchestrator.verdicts import Verdict

UNIT: Mapping[Outcome, str] = {"per": "PER points", "collapsed": "points", "escape_step": "steps"}
_NOUN: Mapping[Outcome, str] = {
    "per": "final PER",
    "collapsed": "runs collapsed",
    "escape_step": "steps to escape the blank plateau",
}
_NOT_A_NUMBER = "–"


def percent(rate: float, digits: int = 1) -> str:
    """A rate in [0, 1] as percent; a dash for NaN."""
    return _NOT_A_NUMBER if math.isnan(rate) else f"{_minus(f'{100 * rate:.{digits}f}')} %"


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits; a dash for NaN."""
    if math.isnan(value):
        return _NOT_A_NUMBER
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return _minus(text)


def p_value(p: float | None) -> str:
    """A p-value with two significant digits, never "0"."""
    if p is None or math.isnan(p):
        return _NOT_A_NUMBER
    if p < 0.0001:
        return "< .0001"
    return "1" if p >= 0.9995 else f"{p:.2g}".lstrip("0")


def amount(value: float, outcome: Outcome, signed: bool = True) -> str:
    """An effect in the outcome's unit, without naming it: points (of percent) or steps."""
    if not math.isfinite(value):
        return number(value)
    scaled = value if outcome == "escape_step" else 100 * value
    text = f"{abs(scaled):.{0 if outcome == 'escape_step' else 1}f}"
    if not signed:
        return text
    return text if not float(text) else f"{'+' if scaled > 0 else '−'}{text}"


def interval_text(interval: Interval, outcome: Outcome) -> str:
    """``+1.0 to +2.0``, or that there is none."""
    if not math.isfinite(interval.low):
        return "none"
    return f"{amount(interval.low, outcome)} to {amount(interval.high, outcome)}"


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
    """The verdict word with what qualifies it: ``refuted (equivalent)``, ``strongly supported``."""
    if verdict.word == "supported":
        return "supported, strongly" if verdict.strong else "supported"
    return f"{verdict.word} ({verdict.reason})" if verdict.reason != "undecided" else verdict.word


def first_sentence(verdict: Verdict) -> str:
    """What the runs showed: budget, data, effect, interval, counts; one sentence."""
    hypothesis, evidence = verdict.hypothesis, verdict.evidence
    slice_ = f", at {where_text(hypothesis)}" if hypothesis.where else ""
    within = f"Within {budget_text(evidence.n_steps)} on {verdict.data}{slice_}"
    if not evidence.differences:
        return f"{within}, no seed has a result in every arm compared."
    outcome, contrast = hypothesis.outcome, hypothesis.contrast
    shown = evidence.shown
    effect = f"{amount(shown.effect, outcome)} {UNIT[outcome]}"
    interval = (
        f"{interval_title(verdict)} {interval_text(shown.interval, outcome)}"
        if math.isfinite(shown.interval.low)
        else f"no interval from {_seeds(len(evidence.differences))}"
    )
    agreement = f"as claimed in {verdict.wins} of {len(evidence.differences)} seeds"
    if hypothesis.interaction is not None:
        other = hypothesis.interaction
        texts = [_cell_text(cell, verdict) for cell in evidence.cells]
        return (
            f"{within}, {contrast.to_level} against {contrast.from_level} ({contrast.factor}) gave "
            f"{texts[0]} against {texts[1]} {_NOUN[outcome]} with {other.to_level}, and {texts[2]} "
            f"against {texts[3]} with {other.from_level} ({other.factor}): a difference of "
            f"{effect} ({interval}), {agreement}."
        )
    to, reference = (_cell_text(cell, verdict) for cell in evidence.cells)
    return (
        f"{within}, {contrast.to_level} against {contrast.from_level} ({contrast.factor}) gave "
        f"{to} against {reference} {_NOUN[outcome]}: {effect} ({interval})"
        f"{'' if outcome == 'collapsed' else f', {agreement}'}."
    )


def explain(verdict: Verdict) -> str:
    """Why the rule gives this word, with the numbers it looked at; one sentence."""
    hypothesis, outcome = verdict.hypothesis, verdict.hypothesis.outcome
    word = verdict_title(verdict).capitalize()
    if verdict.exploratory:
        word += ", exploratory (the hypothesis was altered after it was locked)"
    margin = f"{amount(hypothesis.margin, outcome, signed=False)} {UNIT[outcome]}"
    if verdict.word == "supported":
        sure = "the whole interval is" if verdict.strong else "the estimate is"
        return f"{word}: {_p_text(verdict)}, and {sure} at or beyond the margin of {margin}."
    bound = verdict.claimed_bounds.high
    direction = hypothesis.direction
    if verdict.reason == "equivalent":
        return (
            f"{word}: the one-sided 95 % bounds, "
            f"{interval_text(verdict.evidence.shown.bounds, outcome)}, lie inside ±{margin}, so "
            "any difference is smaller than what was said to matter"
            f"{_worst_case(verdict)}."
        )
    if verdict.word == "refuted":
        other_way = ", so the effect goes the other way" if verdict.reason == "reversed" else ""
        return (
            f"{word}: the one-sided 95 % upper bound of the claimed {direction} is "
            f"{amount(bound, outcome, signed=bound < 0)}{other_way}, below the margin of {margin}"
            f"{_worst_case(verdict)}."
        )
    if not verdict.evidence.scenarios:
        return f"{word}: {_gaps(verdict)}, and no verdict is drawn from arms with gaps."
    if verdict.reason == "gaps":
        return (
            f"{word}: {_gaps(verdict)}, and no word holds both for the best and for the worst "
            "those runs could have been."
        )
    return f"{word}: {_why_undecided(verdict, margin)}; {_outlook(verdict, margin)}."


def _p_text(verdict: Verdict) -> str:
    p, adjusted = verdict.evidence.p, verdict.p_adjusted
    text = f"{test_title(verdict)} p = {p_value(p)}"
    if verdict.n_family > 1:
        text += f" and {p_value(adjusted)} after Holm over {verdict.n_family} claims"
    side = "below" if adjusted is not None and adjusted < verdict.alpha else "not below"
    return f"{text}, {side} α = {p_value(verdict.alpha)}".replace("= <", "<")


def _why_undecided(verdict: Verdict, margin: str) -> str:
    outcome = verdict.hypothesis.outcome
    bound = verdict.claimed_bounds.high
    rest = (
        f"the one-sided 95 % upper bound of the claimed {verdict.hypothesis.direction}, "
        f"{amount(bound, outcome, signed=False)}, is not"
        if math.isfinite(bound)
        else f"{_seeds(len(verdict.evidence.differences))} rule nothing out"
    )
    if verdict.claimed_effect >= verdict.hypothesis.margin:
        return f"the estimate reaches the margin of {margin}, but {_p_text(verdict)}"
    return f"{_p_text(verdict)}; the estimate is short of {margin}, but {rest}"


def _outlook(verdict: Verdict, margin: str) -> str:
    """What the seeds at hand could have found, and how many it would take."""
    outcome, n_seeds = verdict.hypothesis.outcome, len(verdict.evidence.differences)
    seeds = _seeds(n_seeds)
    if math.isnan(verdict.detectable):
        return "the spread seen does not tell how many seeds it would take"
    full = f" under the full correction for {verdict.n_family} claims" * (verdict.n_family > 1)
    if math.isinf(verdict.detectable):
        found = f"{seeds} find no effect with 80 % power{full}"
    else:
        size = f"{amount(verdict.detectable, outcome, signed=False)} {UNIT[outcome]}"
        found = f"{seeds} find effects from about {size} with 80 % power{full}"
    if verdict.seeds_needed is None:
        return f"{found}, and {margin} would take more than 1,000"
    return f"{found}, and {margin} would take about {verdict.seeds_needed}"


def _worst_case(verdict: Verdict) -> str:
    if len(verdict.evidence.scenarios) < 2:
        return ""
    return f" ({_gaps(verdict)}; the word holds for the best and the worst they could have been)"


def _gaps(verdict: Verdict) -> str:
    cells = verdict.evidence.cells
    planned, present = sum(c.n_planned for c in cells), sum(c.n for c in cells)
    kinds = [
        f"{n} {kind}"
        for n, kind in (
            (sum(cell.n_failed for cell in cells), "failed"),
            (sum(cell.n_missing for cell in cells), "not recorded"),
        )
        if n
    ]
    return f"{present} of {planned} runs have a result ({', '.join(kinds)})"


def _cell_text(cell: Cell, verdict: Verdict) -> str:
    """The raw figure of one arm, over the seeds that have a result in every arm compared."""
    n_seeds = len(verdict.evidence.differences)
    if verdict.hypothesis.outcome == "collapsed":
        diverged = f" ({cell.n_diverged} diverged)" if cell.n_diverged else ""
        return f"{round(cell.mean * n_seeds)} of {n_seeds}{diverged}"
    if verdict.hypothesis.outcome == "per":
        return percent(cell.mean)
    never = cell.n - cell.n_escaped
    return f"{cell.mean:,.0f}" + (f" ({never} of {cell.n} never)" if never else "")


def _seeds(n_seeds: int) -> str:
    return f"{n_seeds} seed{'s' * (n_seeds != 1)}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
