"""Rungs, brackets and the candidates that continue, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.rungs import brackets_of, expected_share, next_bracket, survivors
from orchestrator.search.schema import Stopping

ASHA = Stopping(method="asha", min_steps=100, reduction_factor=2)
HYPERBAND = Stopping(method="hyperband", min_steps=10, reduction_factor=3)


def test_rungs_grow_by_the_factor_and_lie_at_evaluations_below_the_budget() -> None:
    [bracket] = brackets_of(ASHA, 400, 20)
    assert bracket.rungs == (100, 200)
    [bracket] = brackets_of(Stopping(method="asha", min_steps=33, reduction_factor=3), 400, 20)
    assert bracket.rungs == (40, 100, 300)


def test_without_early_stopping_there_is_one_bracket_without_rungs() -> None:
    assert brackets_of(Stopping(), 400, 20)[0].rungs == ()


def test_hyperband_has_a_bracket_for_every_first_rung_and_one_that_never_stops() -> None:
    brackets = brackets_of(HYPERBAND, 90, 10)
    assert [b.rungs for b in brackets] == [(10, 30), (30,), ()]
    # Li et al., table 1, for eta 3 and s_max 2: 9, 5 and 3 candidates.
    assert [b.share for b in brackets] == pytest.approx([9 / 17, 5 / 17, 3 / 17])


def test_batches_give_every_bracket_its_share() -> None:
    brackets = brackets_of(HYPERBAND, 90, 10)
    taken: dict[int, int] = {}
    for _ in range(17):
        chosen = next_bracket(brackets, taken).number
        taken[chosen] = taken.get(chosen, 0) + 1
    assert taken == {0: 9, 1: 5, 2: 3}


def test_the_best_half_of_all_candidates_continues() -> None:
    batch = {5: 0.9, 6: 0.3, 7: 0.5}
    assert survivors(batch, [], 2, 1) == {6, 7}
    assert survivors(batch, [0.1, 0.2, 0.4], 2, 1) == {6}
    assert survivors(batch, [0.1, 0.2, 0.4], 2, -1) == {5, 7}
    assert survivors(batch, [0.1] * 9, 3, 1) == frozenset()


def test_of_equal_scores_the_earlier_candidate_continues() -> None:
    assert survivors({1: 0.5, 2: 0.5, 3: 0.5}, [0.5], 2, 1) == {1}


@given(
    values=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    seen=st.lists(st.floats(0, 1), max_size=12),
    factor=st.integers(2, 4),
)
def test_no_stopped_candidate_is_better_than_one_that_continues(
    values: list[float], seen: list[float], factor: int
) -> None:
    batch = dict(enumerate(values))
    kept = survivors(batch, seen, factor, 1)
    assert len(kept) <= -(-(len(values) + len(seen)) // factor)
    stopped = [value for number, value in batch.items() if number not in kept]
    assert not kept or not stopped or max(batch[number] for number in kept) <= min(stopped)


def test_the_expected_share_of_halving_at_a_quarter_and_at_half_of_the_budget() -> None:
    [bracket] = brackets_of(ASHA, 400, 20)
    assert expected_share(bracket, 400, 2) == pytest.approx((100 + 50 + 50) / 400)
