"""The evidence on one claim, from runs whose numbers are given."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import made_claims
import numpy as np
import pytest

from orchestrator.spec.compared import Compared
from orchestrator.spec.schema import Hypothesis
from orchestrator.stats import effects as stats
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
from orchestrator.verdicts.evidence import Evidence, gather
from orchestrator.verdicts.values import ArmRuns

NEVER = GAP = math.nan
INTERACTION = {"factor": "norm", "from": "off", "to": "on"}
PAIR = (Compared("to", 1, 0), Compared("from", -1, 1))
FOUR = (
    Compared("to, on", 1, 0),
    Compared("from, on", -1, 1),
    Compared("to, off", -1, 2),
    Compared("from, off", 1, 3),
)
# As in a fraction: each side has two arms.
EIGHT = tuple(
    Compared(f"{side}{half}", sign / 2, side)
    for side, sign in enumerate((1, -1, -1, 1))
    for half in "ab"
)


def arm(values: Sequence[Any], column: str = "per", n_steps: float = 400.0) -> ArmRuns:
    """An arm with these numbers; a name stands for a run that ended so, and has no number."""
    outcome = np.array([v if isinstance(v, str) else "ok" for v in values])
    numbers = np.array([math.nan if isinstance(v, str) else v for v in values], dtype=float)
    columns = {"per": np.full(len(values), 0.5), "escape_step": np.full(len(values), 10.0)}
    steps = np.where(outcome == "missing", math.nan, n_steps)
    return ArmRuns(outcome, {**columns, "n_steps": steps, column: numbers})


def events(n_collapsed: int, n: int = 6) -> ArmRuns:
    return arm(["collapsed"] * n_collapsed + [0.3] * (n - n_collapsed))


def evidence(
    parts: Sequence[Compared], arms: Sequence[ArmRuns], n_seeds: int | None = None, **given: Any
) -> Evidence:
    """The evidence on a claim; `given` are keys of its file entry or arguments of `gather`."""
    how = {"design": "factorial", "bound_error": 0.05, "exact": False}
    how.update({name: given.pop(name) for name in tuple(given) if name in how})
    if len(parts) > 2 and "interaction" not in given:
        given["interaction"] = INTERACTION
    hypothesis = Hypothesis.model_validate(made_claims.claim(**given))
    runs = {part.arm_id: one for part, one in zip(parts, arms, strict=True)}
    seeds = range(10, 10 + (n_seeds or len(arms[0].outcome)))
    return gather(hypothesis, parts, runs, seeds, **how)  # type: ignore[arg-type]


# What the runs are ---------------------------------------------------------------------------


def test_the_runs_of_an_arm_are_counted_by_how_they_ended() -> None:
    to = arm([0.3, 0.95, "collapsed", "failed", "failed", "diverged", "missing", 0.2])
    cell = evidence(PAIR, [to, arm([0.5] * 8)], n_seeds=7).cells[0]
    assert (cell.arm, cell.weight, cell.side) == ("to", 1, 0)
    assert (cell.n_planned, cell.n_failed, cell.n_missing, cell.n_with_result) == (7, 2, 1, 4)
    assert (cell.n_collapsed, cell.n_diverged, cell.n_escaped) == (1, 1, 3)
    assert cell.n_learned_nothing == 3  # one collapsed, one diverged, one is at chance


def test_the_effect_is_taken_over_the_seeds_without_a_gap() -> None:
    found = evidence(PAIR, [arm([0.5, 0.9, 0.7]), arm([0.25, "failed", 0.2])])
    assert found.differences == {10: 0.25, 12: pytest.approx(0.5)}
    assert found.shown.effect == pytest.approx(0.375)
    assert found.spread == pytest.approx(0.25 / math.sqrt(2))
    assert [cell.mean for cell in found.cells] == pytest.approx([0.6, 0.225])
    one = evidence(PAIR, [arm([0.5, "failed"]), arm([0.25, 0.3])])
    assert math.isnan(one.spread) and one.differences == {10: 0.25}


def test_the_step_budgets_are_a_range_and_unknown_before_the_first_run() -> None:
    arms = [arm([0.5] * 2, n_steps=400), arm([0.3] * 2, n_steps=300)]
    assert evidence(PAIR, arms).n_steps == (300, 400)
    nothing = evidence(PAIR, [arm(["missing"] * 2)] * 2)
    assert nothing.n_steps is None
    assert nothing.shown.interval == (-math.inf, math.inf) == nothing.shown.bounds
    assert nothing.shown.p == 1.0 and math.isnan(nothing.shown.effect)
    assert all(math.isnan(cell.mean) for cell in nothing.cells)


def test_without_scenarios_the_p_value_is_one() -> None:
    found = evidence(PAIR, [arm([0.5, 0.6, 0.55, "missing"]), arm([0.2, 0.21, 0.2, 0.2])])
    assert found.scenarios == () and found.shown.p < 0.05
    assert found.p == 1.0


def test_a_run_with_an_infinite_metric_leaves_no_verdict() -> None:
    to, reference = (arm(v, "val_loss") for v in ([1.0, 2.5, math.inf], [0.5, 1.0, 1.0]))
    found = evidence(PAIR, [to, reference], outcome="val_loss")
    assert found.differences == {10: 0.5, 11: 1.5}
    for scenario in found.scenarios:
        assert scenario.p == 1.0 and math.isnan(scenario.effect)
        assert scenario.interval == scenario.bounds == (-math.inf, math.inf)


# Failed runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "order"), [("increase", 1), ("decrease", -1)])
def test_failed_runs_of_both_sides_take_the_best_and_then_the_worst_values_for_the_claim(
    direction: str, order: int
) -> None:
    arms = [arm(["failed", 0.5, 0.5]), arm([0.5, 0.5, "failed"])]
    found = evidence(PAIR, arms, direction=direction)
    assert found.shown.effect == 0.0
    # At the highest, 1 - .5, 0, and .5 - 0; at the lowest, 0 - .5, 0 and .5 - 1.
    assert [s.effect for s in found.scenarios][::order] == pytest.approx([1 / 3, -1 / 3])


def test_the_simple_effect_of_an_interaction_is_in_each_scenario_of_a_failed_run() -> None:
    arms = [arm([0.75, 0.75, "failed"]), arm([0.5] * 3), arm([0.5] * 3), arm([0.5] * 3)]
    found = evidence(FOUR, arms)
    assert found.shown.simple == 0.25
    assert [s.simple for s in found.scenarios] == pytest.approx([1 / 3, 0.0])


# Intervals and tests -------------------------------------------------------------------------


def test_two_shares_have_newcombes_interval_and_exact_bounds_and_tests() -> None:
    arms = [events(5), events(1)]
    to, reference = Share(5, 6), Share(1, 6)
    found = evidence(PAIR, arms, outcome="collapsed", bound_error=0.01)
    assert found.shown.effect == pytest.approx(4 / 6)
    assert found.shown.interval == share_contrast([to, reference], [1, -1])
    assert found.shown.bounds == share_bounds(to, reference, 0.01)
    assert (found.test, found.p) == ("boschloo", boschloo(to, reference))
    assert found.bound_error == 0.01 and found.interval_name == "Newcombe–Wilson"
    equal = evidence(PAIR, arms, outcome="collapsed", direction="no_difference", margin=0.9)
    assert (equal.test, equal.p) == ("tost_shares", share_tost(to, reference, 0.9))
    assert equal.p < 1


def test_four_shares_are_a_contrast_with_the_bounds_of_one() -> None:
    shares, weights = [Share(n, 6) for n in (5, 1, 2, 3)], [1, -1, -1, 1]
    arms = [events(share.n_events) for share in shares]
    found = evidence(FOUR, arms, outcome="collapsed", bound_error=0.01)
    assert found.shown.bounds == contrast_bounds(shares, weights, 0.01)
    assert found.interval_name == "Newcombe–Wilson, 4 arms"
    equal = evidence(FOUR, arms, outcome="collapsed", direction="no_difference", margin=1.9)
    assert equal.test == "tost_contrast"
    assert equal.p == share_contrast_tost(shares, weights, 1.9) < 1


def test_an_interaction_of_shares_locked_with_the_exact_test_flips_the_signs_of_the_seeds() -> None:
    # Every seed has an effect of 1 or 2, so 2 of the 64 signs are as extreme.
    found = evidence(
        FOUR, [events(6), events(0), events(0), events(3)], outcome="collapsed", exact=True
    )
    assert found.test == "sign_flip"
    assert sorted(found.differences.values()) == [1, 1, 1, 2, 2, 2]
    assert found.p == pytest.approx(2 / 64)


def test_steps_are_named_restricted_and_no_difference_of_them_has_two_t_tests() -> None:
    arms = [arm([20, 40, 50], "escape_step"), arm([10, 45, 40], "escape_step")]
    how: Mapping[str, Any] = {"outcome": "escape_step", "direction": "no_difference", "margin": 50}
    found = evidence(PAIR, arms, **how)
    assert found.p == pytest.approx(stats.tost_paired([10, -5, 10], 50)) and found.p < 0.05
    assert found.interval_name == "skewness-corrected paired t, restricted steps"
    arms[0] = arm([20, 40, NEVER], "escape_step")
    assert evidence(PAIR, arms, **how).p == 1.0
    assert evidence(PAIR, [arm([0.5] * 2)] * 2).interval_name == "skewness-corrected paired t"


@pytest.mark.parametrize(
    ("never", "low", "high"),
    [((), False, False), ((0,), False, True), ((1,), True, False), ((0, 1), True, True)],
)
@pytest.mark.parametrize("parts", [PAIR, EIGHT])
def test_a_bound_is_open_on_the_side_of_an_arm_in_which_a_run_never_escaped(
    parts: Sequence[Compared], never: Sequence[int], low: bool, high: bool
) -> None:
    last = [NEVER if part.side in never else 30.0 + 5 * i**2 for i, part in enumerate(parts)]
    arms = [arm([10.0, 20.0 + i**2, x], "escape_step") for i, x in enumerate(last)]
    how = {"design": "fractional"} if parts is EIGHT else {}
    bounds = evidence(parts, arms, outcome="escape_step", **how).shown.bounds
    assert (bounds.low == -math.inf, bounds.high == math.inf) == (low, high)


# Interactions --------------------------------------------------------------------------------


def test_the_p_value_of_an_interaction_is_that_of_its_simple_effect_if_that_is_larger() -> None:
    arms = [events(4), events(2), events(0), events(6)]
    found = evidence(FOUR, arms, outcome="collapsed")
    alone = boschloo(Share(4, 6), Share(2, 6))
    assert share_contrast_p([Share(n, 6) for n in (4, 2, 0, 6)], [1, -1, -1, 1]) < alone
    assert found.p == alone and found.shown.simple == pytest.approx(2 / 6)
    assert np.isnan(found.pairing).all()


def test_the_simple_effect_in_a_fraction_is_a_contrast_of_all_arms_of_its_two_sides() -> None:
    counts = (4, 5, 2, 3, 0, 0, 6, 6)
    arms = [events(n) for n in counts]
    found = evidence(EIGHT, arms, outcome="collapsed", design="fractional")
    shares = [Share(n, 6) for n in counts]
    alone = share_contrast_p(shares[:4], [0.5, 0.5, -0.5, -0.5])
    assert share_contrast_p(shares, [part.weight for part in EIGHT]) < alone
    assert found.p == alone and found.shown.simple == pytest.approx(2 / 6)


def test_only_an_interaction_with_a_direction_has_a_simple_effect() -> None:
    arms = [arm([0.5, 0.6]), arm([0.5, 0.5]), arm([0.5, 0.5]), arm([0.5, 0.5])]
    assert evidence(FOUR, arms).shown.simple == pytest.approx(0.05)
    assert math.isnan(evidence(FOUR, arms, direction="no_difference").shown.simple)
    assert math.isnan(evidence(PAIR, arms[:2]).shown.simple)


def test_the_sides_of_a_fraction_are_paired_by_their_averages() -> None:
    parts = [part for part in EIGHT if part.side < 2]
    to, reference = [0.2, 0.4, 0.6], [0.3, 0.2, 0.7]
    wobble = np.array([0.1, -0.05, 0.02])
    sides = [np.array(to), np.array(reference)]
    arms = [arm(list(side + sign * wobble)) for side in sides for sign in (1, -1)]
    found = evidence(parts, arms, design="fractional", interaction=None)
    assert found.pairing == pytest.approx(stats.pairing(to, reference))
    assert found.pairing.correlation == pytest.approx(np.corrcoef(to, reference)[0, 1])
