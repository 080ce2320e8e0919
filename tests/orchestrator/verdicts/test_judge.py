"""The rule of a verdict at its limits, and what a verdict says of itself."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_claims import bare_plan, claim

from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.stats.effects import Interval
from orchestrator.verdicts.evidence import Assessment
from orchestrator.verdicts.rule import judge
from orchestrator.verdicts.verdicts import Verdict, decide

Pair = tuple[float, float]
INF = math.inf
CLEAR = 0.001  # a p-value below alpha
ALPHA = 0.05


def seen(
    effect: float,
    interval: Pair | None = None,
    bounds: Pair | None = None,
    simple: float = math.nan,
) -> Assessment:
    """An assessment, with intervals of no width if none are given."""
    interval, bounds = interval or (effect, effect), bounds or interval or (effect, effect)
    return Assessment(effect, Interval(*interval), Interval(*bounds), CLEAR, simple)


def judged(direction: str, *scenarios: Assessment, p: float = CLEAR) -> tuple[str, str, bool]:
    """The rule with a margin of one half, which sums of binary fractions can reach exactly."""
    hypothesis = Hypothesis.model_validate(claim(direction=direction, margin=0.5))
    return judge(hypothesis, scenarios, p, ALPHA)


UNDECIDED = ("inconclusive", "undecided", False)
GAPS = ("inconclusive", "gaps", False)


@pytest.mark.parametrize("direction", ["increase", "decrease", "either", "no_difference"])
def test_without_results_there_is_no_verdict(direction: str) -> None:
    assert judged(direction) == GAPS


def test_a_p_of_alpha_itself_supports_nothing() -> None:
    assert judged("no_difference", seen(0.0), p=ALPHA) == UNDECIDED
    assert judged("increase", seen(0.75), p=ALPHA) == UNDECIDED
    assert judged("either", seen(0.75), p=ALPHA) == UNDECIDED


def test_an_effect_of_the_margin_itself_is_a_difference() -> None:
    assert judged("increase", seen(0.5)) == ("supported", "", True)
    assert judged("decrease", seen(-0.5)) == ("supported", "", True)
    for effect in (0.5, -0.5):
        assert judged("either", seen(effect)) == ("supported", "", True)
        assert judged("no_difference", seen(effect, (-1, 1), (-1, 1))) == UNDECIDED


@pytest.mark.parametrize(
    ("interval", "strong"), [((-0.25, 0.25), True), ((-0.5, 0.25), False), ((-0.25, 0.5), False)]
)
def test_equality_is_strong_where_the_interval_lies_inside_the_margin(
    interval: Pair, strong: bool
) -> None:
    assert judged("no_difference", seen(0.0, interval)) == ("supported", "", strong)


@pytest.mark.parametrize("bounds", [(0.5, 1.0), (-1.0, -0.5)])
def test_equality_is_refuted_by_a_bound_at_the_margin(bounds: Pair) -> None:
    effect = sum(bounds) / 2
    assert judged("no_difference", seen(effect, bounds)) == ("refuted", "different", False)
    inner = [limit / 2 if abs(limit) == 0.5 else limit for limit in bounds]
    assert judged("no_difference", seen(effect, (inner[0], inner[1]))) == UNDECIDED


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((-0.25, 0.25), ("refuted", "equivalent", False)),
        ((-0.5, 0.25), ("refuted", "negligible", False)),
        ((-1.0, 0.0), ("refuted", "negligible", False)),
        ((-1.0, -0.125), ("refuted", "reversed", False)),
        ((-0.25, 0.5), UNDECIDED),
        ((-1.0, 0.5), UNDECIDED),
    ],
)
def test_a_bound_must_lie_below_the_margin_to_refute(
    bounds: Pair, verdict: tuple[str, str, bool]
) -> None:
    assert judged("increase", seen(0.0, bounds)) == verdict
    mirrored = (-bounds[1], -bounds[0])
    assert judged("decrease", seen(0.0, mirrored)) == verdict


@pytest.mark.parametrize("bounds", [(-1.0, 0.25), (-0.25, 1.0), (-0.5, 0.25), (-0.25, 0.5)])
def test_a_claim_in_either_direction_is_refuted_by_two_bounds_inside_the_margin(
    bounds: Pair,
) -> None:
    assert judged("either", seen(0.0, bounds)) == UNDECIDED
    assert judged("either", seen(0.0, (-0.25, 0.25))) == ("refuted", "equivalent", False)


# Two scenarios: runs failed, and each value that they could have had must give the verdict.


@pytest.mark.parametrize(
    ("direction", "scenarios", "verdict"),
    [
        ("no_difference", [seen(0.0), seen(0.5)], GAPS),
        ("no_difference", [seen(0.0), seen(0.0, (-1, 1))], ("supported", "", False)),
        ("no_difference", [seen(0.75), seen(0.0, (-1, 1))], GAPS),
        ("no_difference", [seen(-0.75), seen(0.0, (-1, 1))], GAPS),
        ("no_difference", [seen(0.75), seen(-0.75)], GAPS),
        ("no_difference", [seen(0.75), seen(0.5)], ("refuted", "different", False)),
        ("increase", [seen(0.75), seen(0.25, (-1, 1))], GAPS),
        ("increase", [seen(0.75), seen(0.75, (0, 1), (0.25, 1))], ("supported", "", False)),
        ("increase", [seen(0.75), seen(0.75, None, (-INF, 1))], ("supported", "", False)),
        ("increase", [seen(0.75, simple=0.75), seen(0.75, simple=0.25)], GAPS),
        ("increase", [seen(0.0), seen(0.0, (-0.25, 1))], GAPS),
        ("increase", [seen(0.0), seen(-0.75)], ("refuted", "negligible", False)),
        ("increase", [seen(-0.75), seen(0.25, (-1, 0.25))], ("refuted", "negligible", False)),
        ("increase", [seen(-0.75), seen(-1.0)], ("refuted", "reversed", False)),
        ("increase", [seen(-0.75), seen(0.25, (-1, 0.75))], GAPS),
        ("either", [seen(0.75), seen(-0.75)], GAPS),
        ("either", [seen(-0.75), seen(-0.5)], ("supported", "", True)),
    ],
)
def test_a_verdict_holds_in_every_scenario(
    direction: str, scenarios: list[Assessment], verdict: tuple[str, str, bool]
) -> None:
    assert judged(direction, *scenarios, p=CLEAR) == verdict
    assert judged(direction, *scenarios[::-1], p=CLEAR) == verdict


# A verdict on made-up runs ------------------------------------------------------------------


def decided(
    hypotheses: Mapping[str, Any],
    arms: Mapping[str, Sequence[Any]],
    mixed: Sequence[str] = (),
    **more: Any,
) -> dict[str, Verdict]:
    """Verdicts on arms named by their levels, such as ``sum+mean``; an entry is a PER or ending."""
    factors = ["loss", "other", "third", "fourth"][: next(iter(arms)).count("+") + 1]
    n_seeds = len(next(iter(arms.values())))
    spec = {
        "name": "t",
        "question": "?",
        "base": "b.yaml",
        "factors": {factor: {"sum": {}, "mean": {}} for factor in factors},
        "seeds": list(range(n_seeds)),
        "hypotheses": hypotheses,
        **more,
    }
    levels = {arm: dict(zip(factors, arm.split("+"), strict=True)) for arm in arms}
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "outcome": entry if isinstance(entry, str) else "ok",
            "per": entry if not isinstance(entry, str) else 1.0,
            "escape_step": math.nan if isinstance(entry, str) else 100.0,
            "n_steps": 400,
        }
        for arm, entries in arms.items()
        for seed, entry in enumerate(entries)
    ]
    plan = bare_plan(AblationSpec.model_validate(spec), levels)
    return {one.name: one for one in decide(plan, pd.DataFrame(rows), mixed)}


def differing(differences: Sequence[float]) -> dict[str, list[Any]]:
    """Two arms whose PER differs by this much in each seed."""
    return {"sum": [0.25] * len(differences), "mean": [0.25 + d for d in differences]}


def test_a_seed_wins_if_its_effect_has_the_claimed_direction_or_is_within_the_margin() -> None:
    arms = differing([0.5, 0.25, 0.0, -0.25])
    claims = {
        direction: claim(direction=direction, margin=0.25)
        for direction in ("increase", "decrease", "either", "no_difference")
    }
    wins = {name: verdict.wins for name, verdict in decided(claims, arms).items()}
    assert wins == {"increase": 2, "decrease": 1, "either": 2, "no_difference": 1}


def test_a_claimed_direction_is_kept_whatever_the_effect() -> None:
    down = decided({"h": claim(direction="decrease")}, differing([0.25, 0.125]))["h"]
    assert down.claimed_effect == -0.1875 and down.sign == -1
    assert down.claimed_interval.high == pytest.approx(-down.evidence.shown.interval.low)
    for direction in ("either", "no_difference"):
        arms = differing([-0.25, -0.125])
        verdict = decided({"h": claim(direction=direction)}, arms)["h"]
        assert verdict.claimed_effect == 0.1875 and verdict.sign == -1
        assert decided({"h": claim(direction=direction)}, differing([0.25, -0.25]))["h"].sign == 1


@pytest.mark.parametrize(
    ("endings", "mostly"),
    [
        (["collapsed", "missing", "missing", "missing"], True),
        (["collapsed", "missing", "missing", 0.25], True),
        (["collapsed", 0.25, 0.25, "missing"], False),
        (["missing", "missing", "missing", "missing"], False),
        (["failed", "failed", "failed", "failed"], False),
    ],
)
def test_half_of_the_runs_with_a_result_learned_nothing(endings: list[Any], mostly: bool) -> None:
    arms = {"sum": [0.25] * 4, "mean": endings}
    assert decided({"h": claim()}, arms)["h"].mostly_learned_nothing is mostly


def test_two_seeds_have_an_outlook_and_one_has_none() -> None:
    two = decided({"h": claim()}, differing([0.25, 0.125]))["h"]
    assert not math.isnan(two.outlook.power) and two.seeds_needed is not None
    one = decided({"h": claim()}, differing([0.25]))["h"]
    assert math.isnan(one.outlook.power) and math.isnan(one.detectable)
    assert one.seeds_needed is None


def test_the_outlook_counts_the_other_claims_of_the_family() -> None:
    arms = differing([0.25, 0.125, 0.1875, 0.25, 0.125])
    alone = decided({"h": claim()}, arms)["h"]
    together = decided({"h": claim(), "i": claim(), "j": claim()}, arms)["h"]
    assert together.detectable > 1.2 * alone.detectable


def test_the_outlook_of_an_interaction_of_shares_starts_from_the_last_arm() -> None:
    other = {"factor": "other", "from": "sum", "to": "mean"}
    hypothesis = claim(outcome="collapsed", margin=0.5, interaction=other)
    good, bad = [0.25] * 6, ["collapsed"] * 6

    def detectable(last: Sequence[Any]) -> float:
        arms = {"sum+sum": last, "mean+sum": good, "sum+mean": good, "mean+mean": bad}
        verdict = decided({"h": hypothesis}, arms)["h"]
        assert verdict.evidence.cells[-1].arm == "sum+sum"
        return verdict.detectable

    assert detectable(good) < 1 < detectable(["collapsed", *good[1:]])


def test_the_next_look_is_the_one_after_the_look_taken() -> None:
    looks = [{"seeds": n, "alpha": a} for n, a in ((4, 0.01), (6, 0.01), (8, 0.03))]
    rng = np.random.default_rng(0)
    noisy = list(0.2 * rng.standard_normal(8))
    for n_done, following in ((4, 6), (6, 8), (8, None)):
        arms = differing(noisy)
        arms["mean"] = [*arms["mean"][:n_done], *["missing"] * (8 - n_done)]
        verdict = decided({"h": claim()}, arms, looks=looks)["h"]
        assert verdict.word == "inconclusive" and verdict.next_look_seeds == following


def test_only_the_named_claims_mix_sources() -> None:
    verdicts = decided({"h": claim(), "i": claim()}, differing([0.25] * 3), mixed=["i"])
    assert (verdicts["h"].mixed, verdicts["h"].exploratory) == (False, False)
    assert (verdicts["i"].mixed, verdicts["i"].exploratory) == (True, True)


def test_the_slice_of_a_claim_holds_the_factors_that_its_arms_share() -> None:
    levels = ("sum", "mean")
    arms = {f"{a}+{b}+{c}": [0.25] * 3 for a in levels for b in levels for c in levels}
    other = {"factor": "other", "from": "sum", "to": "mean"}
    claims = {
        "interaction": claim(interaction=other, where={"third": "mean"}),
        "contrast": claim(where={"third": "mean", "other": "sum"}),
    }
    verdicts = decided(claims, arms)
    assert verdicts["interaction"].hypothesis.where == {"third": "mean"}
    assert verdicts["contrast"].hypothesis.where == {"third": "mean", "other": "sum"}


def test_no_factor_is_shared_by_the_arms_of_a_main_effect_over_a_fraction() -> None:
    levels = ("sum", "mean")
    arms = {
        f"{a}+{b}+{c}+{d}": [0.25] * 3
        for a in levels
        for b in levels
        for c in levels
        for d in levels
        if (a, b, c, d).count("mean") % 2 == 0
    }
    [main] = decided({"h": claim()}, arms, design="fractional").values()
    assert len(main.evidence.cells) == 8 and main.hypothesis.where == {}
