"""The halves that choose weights and that are reported."""

from hypothesis import given
from hypothesis import strategies as st

from decoder.words.halves import Place, halves_of

PLACES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 9)),
    max_size=40,
    unique=True,
)


def test_blocks_go_to_the_halves_in_turn_over_all_sessions() -> None:
    places = [Place("a", block, n) for block in (1, 2, 5) for n in range(2)]
    places += [Place("b", block, n) for block in (3, 4) for n in range(2)]
    assert halves_of(places).reported == (0, 1, 4, 5, 8, 9)
    assert halves_of(places).tuned == (2, 3, 6, 7)


def test_a_session_of_one_block_is_cut_into_two_runs_of_trials() -> None:
    places = [Place("a", 7, n) for n in range(5)]
    assert halves_of(places) == ((0, 1, 2), (3, 4))
    assert halves_of(places[:1]) == ((0,), ())
    assert halves_of([]) == ((), ())


@given(PLACES, st.randoms(use_true_random=False))
def test_every_trial_is_in_one_half_and_the_order_given_has_no_effect(
    given_places: list[tuple[str, int, int]], random: object
) -> None:
    places = [Place(*one) for one in given_places]
    halves = halves_of(places)
    assert sorted(halves.reported + halves.tuned) == list(range(len(places)))
    mixed = list(places)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    again = halves_of(mixed)
    assert [mixed[i] for i in again.tuned] == [places[i] for i in halves.tuned]


@given(PLACES)
def test_a_block_is_never_in_both_halves_unless_its_session_has_no_other(
    given_places: list[tuple[str, int, int]],
) -> None:
    places = [Place(*one) for one in given_places]
    blocks = [{places[i][:2] for i in half} for half in halves_of(places)]
    for session, block in blocks[0] & blocks[1]:
        assert {one.block for one in places if one.session == session} == {block}
