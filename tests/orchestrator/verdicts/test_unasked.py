"""`orchestrator.verdicts.unasked`: effects that no hypothesis asked about."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_claims import bare_plan, claim

from orchestrator.stats import effects as stats
from orchestrator.verdicts.controls import NoiseFloor
from orchestrator.verdicts.unasked import Unasked, find_unasked

SEEDS = 6
BASE = np.array([0.30, 0.31, 0.29, 0.32, 0.28, 0.30])
WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.0, 0.0])


def found_in(arms: dict[str, Any], floor: float = 0.0, **spec: Any) -> tuple[Unasked, ...]:
    """The effects found in arms named by signs: ``"+-"`` has A on and B off."""
    level = {"+": "on", "-": "off"}
    document = {
        "name": "t",
        "question": "?",
        "base": "b.yaml",
        "factors": {factor: {"off": {}, "on": {}} for factor in "AB"},
        "seeds": list(range(SEEDS)),
        **spec,
    }
    plan = bare_plan(document, {arm: {"A": level[arm[0]], "B": level[arm[1]]} for arm in arms})
    rows = [
        {
            "arm": arm,
            "block": seed,
            "outcome": value if isinstance(value, str) else "ok",
            "per": 0.97 if isinstance(value, str) else value,
            "collapsed": int(isinstance(value, str)),
            "escape_step": 100.0,
            "n_steps": 400,
        }
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    noise = NoiseFloor("per", floor * np.sqrt(SEEDS), "seeds", 5, None, 0)
    return find_unasked(plan, pd.DataFrame(rows), {"per": noise})


def test_a_difference_that_no_claim_compares_is_seen() -> None:
    arms = {"--": BASE, "+-": BASE + WOBBLE, "-+": BASE + WOBBLE - 0.1, "++": BASE - 0.1}
    by_change = {(one.factor, one.from_arm, one.to_arm): one for one in found_in(arms)}
    assert set(by_change) == {("B", "--", "-+"), ("B", "+-", "++")}
    one = by_change["B", "--", "-+"]
    assert (one.from_level, one.to_level, one.outcome, one.n_seeds) == ("off", "on", "per", 6)
    assert one.effect == pytest.approx(-0.1)
    assert one.interval == pytest.approx(stats.paired_interval(WOBBLE - 0.1))
    # Holm over four pairs in PER and four in collapse.
    ps = [stats.studentized(d) for d in (WOBBLE, WOBBLE - 0.1, -0.1 - WOBBLE, -WOBBLE)]
    assert one.p_adjusted == pytest.approx(stats.holm([*ps, 1, 1, 1, 1])[1])


def test_what_a_claim_compares_is_asked_about_in_its_outcome_alone() -> None:
    arms = {"--": BASE, "+-": BASE, "-+": ["collapsed"] * 6, "++": ["collapsed"] * 6}
    contrast = {"factor": "B", "from": "off", "to": "on"}
    about_per = claim(contrast=contrast, where={"A": "off"})
    found = found_in(arms, hypotheses={"h": about_per})
    assert {(one.outcome, one.from_arm) for one in found} == {
        ("collapsed", "--"),
        ("collapsed", "+-"),
    }
    about_collapse = {**about_per, "outcome": "collapsed", "margin": 0.5}
    found = found_in(arms, hypotheses={"h": about_collapse})
    assert [(one.outcome, one.from_arm) for one in found] == [("collapsed", "+-")]


def test_arms_that_learned_nothing_are_not_compared_in_per() -> None:
    stuck = 0.93 + WOBBLE
    arms = {"--": BASE, "+-": stuck, "-+": BASE, "++": stuck}
    assert found_in(arms) == ()


def test_differences_within_the_noise_floor_are_not_listed() -> None:
    arms = {
        "--": BASE,
        "+-": BASE + 0.02 + 0.1 * WOBBLE,
        "-+": BASE,
        "++": BASE + 0.02 + 0.1 * WOBBLE,
    }
    assert len(found_in(arms)) == 2
    assert found_in(arms, floor=0.03) == ()


def test_a_fraction_has_no_pairs_that_differ_in_one_factor() -> None:
    arms = {"--": BASE, "++": BASE + 0.2 + 0.1 * WOBBLE}
    assert found_in(arms, design="paired") == ()
