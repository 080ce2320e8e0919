"""Claims as sentences: what would count for and against them, and words that contradict them."""

import re
from collections.abc import Collection, Mapping

from orchestrator.spec.claims import (
    TEST_NAMES,
    Test,
    bound_error,
    choose_test,
    corrections_of,
    exact_test,
    is_equivalence,
    looks_of,
    plans_looks,
    shares_bounds,
)
from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.spec.units import difference_text, noun, number, p_value, unit_of

_VERBS = {"increase": "rises", "decrease": "falls", "either": "changes", "no_difference": "changes"}
_SUBJECTS = {
    "collapsed": "the share of runs that collapse",
    "diverged": "the share of runs that diverge",
    "escape_step": "the number of steps to escape the blank plateau",
}
# Words of a claim that there is a difference, and of a claim that there is none.
_DIFFERENCE = re.compile(
    r"\b(depend|matter|change|affect|influence|differ|alter|decide|drive)(s|ed|ent|ing)?\b", re.I
)
_NEGATED = re.compile(
    r"\b(no|not|nor|never|neither|without|hardly|barely|little|less than|within|nothing)\b"
    r"|n't\b|n’t\b|\bindependent",
    re.I,
)
_NO_DIFFERENCE = re.compile(
    r"\b(no (effect|difference|change|influence)|equivalent|equally|indifferent|inert"
    r"|(does|do|has|have) (not|no|n't) (matter|depend|change|affect|influence|differ)\w*"
    r"|(is|are|ends? at|gives?|reach(es)?|leaves?|stays?|remains?) the same|is independent)\b",
    re.I,
)

_MOST_LOOKS_NAMED = 3

KEEPS_A_CLAIM = (
    "more seeds decide a claim only as looks planned before its first run, or as fresh seeds of "
    "an ablation with a new name"
)


def what_counts(
    spec: AblationSpec,
    exact_locked: Collection[str] = (),
    locked: Mapping[str, AblationSpec] | None = None,
) -> dict[str, str]:
    """Hypothesis → when it is supported, refuted and inconclusive, with the numbers.

    Args:
        spec: the ablation.
        exact_locked: hypotheses that keep the exact test of their lock.
        locked: hypothesis → the ablation with the seeds and looks of its lock, where they differ.
    """
    of = locked or {}
    return {
        name: _what_counts(
            of.get(name, spec),
            name,
            (exact_test if name in exact_locked else choose_test)(one, spec.design),
        )
        for name, one in spec.hypotheses.items()
    }


def mismatched_claims(spec: AblationSpec) -> dict[str, str]:
    """Hypothesis → why its words seem to contradict its direction, for those that do."""
    found = {name: direction_caution(one) for name, one in spec.hypotheses.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def _what_counts(spec: AblationSpec, name: str, test: Test) -> str:
    hypothesis = spec.hypotheses[name]
    outcome, direction, other = hypothesis.outcome, hypothesis.direction, hypothesis.interaction
    margin = f"{difference_text(hypothesis.margin, outcome, signed=False)} {unit_of(outcome)}"
    sure = dict.fromkeys(number(100 * (1 - bound_error(spec, look))) for look in looks_of(spec))
    bound = f"one-sided {_few_of(list(sure))} %"
    levels = f"from {hypothesis.contrast.from_level} to {hypothesis.contrast.to_level}"
    effect = f"{_SUBJECTS.get(outcome, noun(outcome))} {_VERBS[direction]}"
    p, shared = _p_condition(spec, name, test), _shared_bounds(spec, name)
    if is_equivalence(hypothesis):
        less = "by less than"
        if other is not None:
            less = f"with {other.to_level} as with {other.from_level}, to less than"
        return (
            f"Supported if {effect} {levels} {less} {margin} either way, with {p}; refuted if a "
            f"{bound} bound puts the difference at {margin} or more{shared}; otherwise "
            "inconclusive."
        )
    bounded: str = direction
    if other is not None:
        bounded = f"difference between the two {direction}s"
        same_way = ", in the same direction," if direction == "either" else ""
        levels += (
            f" with {other.to_level}, and{same_way} by as much more than with {other.from_level}"
        )
    refuted = (
        f"both {bound} bounds lie inside ±{margin}"
        if direction == "either"
        else f"the {bound} upper bound of the {bounded} is below {margin}"
    )
    return (
        f"Supported if {effect} by at least {margin} {levels}, with {p}; refuted if "
        f"{refuted}{shared}; otherwise inconclusive."
    )


def direction_caution(hypothesis: Hypothesis) -> str | None:
    """Why the words of a claim seem to contradict its direction; None if they do not."""
    says_none = _NO_DIFFERENCE.search(hypothesis.claim)
    if is_equivalence(hypothesis):
        says_some = _DIFFERENCE.search(hypothesis.claim)
        if says_some and not _NEGATED.search(hypothesis.claim):
            return (
                f"its claim says '{says_some[0]}', but direction: no_difference is supported when "
                "the effect is smaller than the margin; for an effect in either direction write "
                "direction: either"
            )
    elif says_none:
        return (
            f"its claim says '{says_none[0]}', but direction: {hypothesis.direction} is supported "
            "when the effect is at least the margin; for a claim of no effect write direction: "
            "no_difference"
        )
    return None


def looks_text(spec: AblationSpec) -> str:
    """The level of each look; of many looks, of the first and the last."""
    levels = [f"p < {p_value(look.alpha)} at {look.seeds} seeds" for look in looks_of(spec)]
    if len(levels) <= _MOST_LOOKS_NAMED:
        return " or ".join(levels)
    between = f"a level of its own at each of {len(levels) - 2} looks between"
    return f"{levels[0]}, {between}, or {levels[-1]}"


def _shared_bounds(spec: AblationSpec, name: str) -> str:
    """That the claims of a family share the error of the bounds, where seeds train in steps."""
    (correction,) = [one for one in corrections_of(spec) if name in one.names]
    n_claims = len(correction.names)
    shares = shares_bounds(spec) and correction.method == "Holm" and n_claims > 1
    return f" (the bound before Holm over {n_claims} claims)" if shares else ""


def _few_of(numbers: list[str]) -> str:
    if len(numbers) > _MOST_LOOKS_NAMED:
        low, *_, high = sorted(numbers, key=float)
        return f"{low} to {high}"
    return " or ".join(numbers)


def _p_condition(spec: AblationSpec, name: str, test: Test) -> str:
    """``p < .05 (paired t, 6 seeds, Holm over 3 claims)``, for each look."""
    (correction,) = [one for one in corrections_of(spec) if name in one.names]
    looks = looks_text(spec)
    if not plans_looks(spec):
        (look,) = looks_of(spec)
        n_seeds = look.seeds
        looks = f"p < {p_value(look.alpha)} from {n_seeds} seed{'s' * (n_seeds != 1)}"
    n_claims = len(correction.names)
    over = f", {correction.method} over {n_claims} claims" if n_claims > 1 else ""
    return f"{looks} ({TEST_NAMES[test]}{over})"
