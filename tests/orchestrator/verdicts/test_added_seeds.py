"""`orchestrator.verdicts.verdicts`: seeds added after looking have no part in a locked verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pytest
from made_claims import bare_plan, claim

from orchestrator.plan.document import PlanDocument, SeedsAdded
from orchestrator.report.wording import explain
from orchestrator.verdicts.verdicts import Verdict, decide

SEEDS = (4, 0, 7, 1, 5, 2, 6, 3)
FOUR = (7, 1, 5, 2)  # neither the first seeds of the file nor sorted
# Seed → how much worse the mean is. Four seeds leave it open; with the others it is clear.
WORSE = {7: 0.02, 1: 0.22, 5: 0.01, 2: 0.19, 4: 0.2, 0: 0.21, 6: 0.19, 3: 0.2}


def made(
    seeds: Sequence[int],
    names: Sequence[str] = ("h",),
    locks: Mapping[str, SeedsAdded] | None = None,
    looks: Sequence[Mapping[str, Any]] = (),
) -> PlanDocument:
    """A plan with a claim of each name, all about the same arms."""
    spec = {
        "name": "t",
        "question": "?",
        "base": "b.yaml",
        "factors": {"loss": {"sum": {}, "mean": {}}},
        "seeds": list(seeds),
        "looks": list(looks),
        "hypotheses": {name: claim() for name in names},
    }
    plan = bare_plan(spec, {level: {"loss": level} for level in ("sum", "mean")})
    return plan.model_copy(update={"seeds_added": locks or {}})


def runs_of(seeds: Sequence[int]) -> pd.DataFrame:
    rows = [
        (arm, seed, "ok", 0.3 + (arm == "mean") * WORSE[seed], 0, 100.0, 400)
        for arm in ("sum", "mean")
        for seed in seeds
    ]
    columns = ["arm", "seed", "outcome", "per", "collapsed", "escape_step", "n_steps"]
    return pd.DataFrame(rows, columns=columns).astype({"collapsed": "Int64", "n_steps": "Int64"})


def added(locked: Sequence[int] = FOUR, looks: Any = ()) -> SeedsAdded:
    return SeedsAdded(locked=tuple(locked), looks=looks, n_added=len(SEEDS) - len(locked))


def facts(verdict: Verdict) -> tuple[object, ...]:
    return (
        verdict.word,
        verdict.evidence.differences,
        verdict.evidence.shown,
        verdict.p_adjusted,
        verdict.alpha,
        verdict.look,
    )


def test_the_verdict_is_that_of_the_locked_seeds_and_all_seeds_are_shown_beside_it() -> None:
    (alone,) = decide(made(FOUR), runs_of(FOUR))
    (every,) = decide(made(SEEDS), runs_of(SEEDS))
    assert (alone.word, every.word) == ("inconclusive", "supported")
    (verdict,) = decide(made(SEEDS, locks={"h": added()}), runs_of(SEEDS))
    assert facts(verdict) == facts(alone) and not verdict.exploratory
    assert verdict.on_all_seeds is not None
    assert facts(verdict.on_all_seeds) == facts(every) and verdict.on_all_seeds.exploratory
    text = explain(verdict)
    for fact in ("Inconclusive", "4 seeds were added", "all 8 seeds", "supported", "looks planned"):
        assert fact in text
    assert "added" not in explain(alone)


def test_added_seeds_without_runs_take_nothing_from_the_verdict() -> None:
    (alone,) = decide(made(FOUR), runs_of(FOUR))
    (verdict,) = decide(made(SEEDS, locks={"h": added()}), runs_of(SEEDS[:-2]))
    assert facts(verdict) == facts(alone)
    assert verdict.on_all_seeds is not None and not verdict.on_all_seeds.evidence.scenarios
    assert "12 of 16 runs" in explain(verdict)


def test_the_looks_of_the_lock_decide_at_their_alpha_whatever_the_file_plans_now() -> None:
    old = [{"seeds": 2, "alpha": 0.01}, {"seeds": 4, "alpha": 0.04}]
    new = [{"seeds": 2, "alpha": 0.02}, {"seeds": 4, "alpha": 0.02}, {"seeds": 8, "alpha": 0.01}]
    (alone,) = decide(made(FOUR, looks=old), runs_of(FOUR))
    in_order = (*FOUR, *(seed for seed in SEEDS if seed not in FOUR))
    plan = made(in_order, locks={"h": added(looks=made(FOUR, looks=old).spec.looks)}, looks=new)
    (verdict,) = decide(plan, runs_of(SEEDS))
    assert facts(verdict) == facts(alone)
    assert (verdict.look, verdict.n_looks, verdict.alpha) == (2, 2, 0.04)
    assert verdict.evidence.bound_error == pytest.approx(0.04)
    assert verdict.next_look_seeds is None
    assert verdict.on_all_seeds is not None and verdict.on_all_seeds.alpha == 0.01


def test_each_claim_of_a_family_brings_the_p_value_of_its_own_seeds() -> None:
    (short,) = decide(made(FOUR), runs_of(FOUR))
    (long,) = decide(made(SEEDS), runs_of(SEEDS))
    plan = made(SEEDS, names=("a", "b"), locks={"a": added()})
    first, second = decide(plan, runs_of(SEEDS))
    assert (first.evidence.p, second.evidence.p) == (short.evidence.p, long.evidence.p)
    assert second.p_adjusted == pytest.approx(2 * long.evidence.p)  # Holm: the smaller p, twice
    assert first.p_adjusted == pytest.approx(short.evidence.p)
    assert second.on_all_seeds is None and second.added is None


def test_a_claim_with_fewer_looks_than_another_is_decided_once_by_its_own() -> None:
    looks = [{"seeds": 4, "alpha": 0.01}, {"seeds": 8, "alpha": 0.04}]
    plan = made((*FOUR, 4, 0, 6, 3), names=("a", "b"), locks={"a": added()}, looks=looks)
    first, second = decide(plan, runs_of(SEEDS))
    assert (first.look, first.n_looks, first.alpha) == (1, 1, 0.05)
    assert (second.look, second.n_looks) == (2, 2)


def test_a_claim_that_needs_more_seeds_says_how_they_can_be_added() -> None:
    (alone,) = decide(made(FOUR), runs_of(FOUR))
    assert alone.seeds_needed is not None and alone.seeds_needed > 4
    assert "looks planned" in explain(alone) and "fresh seeds" in explain(alone)
    plan = made(FOUR).model_copy(update={"lock_changed": ("h",)})
    assert "looks planned" not in explain(decide(plan, runs_of(FOUR))[0])
