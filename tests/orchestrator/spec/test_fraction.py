"""`orchestrator.spec.fraction`: resolution and aliases, against the design matrix itself."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.errors import ConfigError
from orchestrator.spec.fraction import LETTERS, FractionalDesign, fractional

Columns = dict[str, np.ndarray[Any, Any]]


def columns_of(design: FractionalDesign) -> Columns:
    """±1 of every main effect and two-factor interaction, over the arms."""
    matrix = 2 * np.array(list(design.rows())) - 1  # (n_arms, n_factors)
    main = {name: matrix[:, index] for index, name in enumerate(design.factors)}
    pairs = {
        f"{one} × {two}": main[one] * main[two]
        for one, two in itertools.combinations(design.factors, 2)
    }
    return {**main, **pairs}


def brute_force_aliases(columns: Columns) -> dict[str, set[str]]:
    return {
        effect: {
            other
            for other, values in columns.items()
            if other != effect and abs(int(values @ column)) == len(column)
        }
        for effect, column in columns.items()
    }


def brute_force_resolution(design: FractionalDesign) -> int:
    """The fewest factors whose product is constant over the arms."""
    matrix = 2 * np.array(list(design.rows())) - 1
    k = matrix.shape[1]
    for size in range(1, k + 1):
        for chosen in itertools.combinations(range(k), size):
            if abs(int(matrix[:, chosen].prod(axis=1).sum())) == len(matrix):
                return size
    return k + 1


@given(k=st.integers(4, 9), extra=st.integers(0, 2))
def test_resolution_and_aliases_are_those_of_the_matrix(k: int, extra: int) -> None:
    fewest = math.ceil(math.log2(2 * k))
    n_arms = 2 ** min(fewest + extra, k - 1)
    design = fractional(tuple(f"f{i}" for i in range(k)), None, n_arms)
    rows = list(design.rows())
    assert len(set(rows)) == len(rows) == design.n_arms == n_arms
    assert tuple([0] * k) in rows  # the base is one of the arms
    assert design.resolution == brute_force_resolution(design) >= 4
    found = {effect: set(others) for effect, others in design.aliases.items()}
    assert found == brute_force_aliases(columns_of(design))


@pytest.mark.parametrize(
    ("k", "n_arms", "resolution", "n_aliased_pairs"),
    # Box, Hunter and Hunter, table 6.22 and Montgomery, appendix: the standard fractions.
    [(4, 8, 4, 3), (5, 16, 5, 0), (6, 16, 4, 9), (6, 32, 6, 0), (7, 16, 4, 21), (7, 32, 4, 3),
     (7, 64, 7, 0), (8, 16, 4, 42), (8, 32, 4, 9), (8, 64, 5, 0), (9, 32, 4, 18)],
)  # fmt: skip
def test_the_search_finds_the_standard_fractions(
    k: int, n_arms: int, resolution: int, n_aliased_pairs: int
) -> None:
    design = fractional(tuple(LETTERS[:k]), None, n_arms)
    assert design.resolution == resolution
    assert sum(len(others) for others in design.aliases.values()) == 2 * n_aliased_pairs


@given(signs=st.tuples(*[st.sampled_from("+-")] * 2))
def test_generators_as_written_make_the_matrix(signs: tuple[str, str]) -> None:
    texts = (f"E={signs[0]}ABC".replace("+", ""), f"F = {signs[1]} BCD")
    design = fractional(("a", "b", "c", "d", "e", "f"), texts, None)
    columns = columns_of(design)
    factor = {"+": 1, "-": -1}
    assert (columns["e"] == factor[signs[0]] * columns["a"] * columns["b"] * columns["c"]).all()
    assert (columns["f"] == factor[signs[1]] * columns["b"] * columns["c"] * columns["d"]).all()
    document = design.document()
    assert set(map(len, (word.strip("-") for word in document.defining_relation))) == {4}
    assert len(document.defining_relation) == 3
    assert document.resolution == "IV"
    assert document.aliases["a × b"] == ("c × e",)


def test_the_letter_i_is_left_out() -> None:
    design = fractional(tuple(f"f{i}" for i in range(9)), None, None)
    assert list(design.document().letters) == list("ABCDEFGHJ")


@pytest.mark.parametrize(
    ("generators", "texts"),
    [
        (("E=AB",), (" III ", "(f0 × f1 × f4 ")),
        (("E=ABC", "F=ABCD"), (" III ", "(f3 × f4 × f5 ")),  # their product is DEF
        (("E:ABC",), ("'E:ABC'", "E=ABC")),
        (("E=AAB",), ("'E=AAB'",)),
        (("E=ABZ",), ("'E=ABZ'", " Z,", "A to F")),
        (("E=ABC", "E=ABD"), (": E ",)),
        (("E=ABC", "F=ABE"), ("'F=ABE'", " E,")),
    ],
)
def test_generators_that_do_not_fit_are_refused(
    generators: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        fractional(tuple(f"f{i}" for i in range(6)), generators, None)
    (problem,) = caught.value.problems
    assert problem.startswith("fraction.generators: ")
    for text in texts:
        assert text in problem


@pytest.mark.parametrize("n_arms", [8, 24, 64, 128])
def test_numbers_of_arms_that_do_not_fit_are_refused(n_arms: int) -> None:
    with pytest.raises(ConfigError, match=rf"fraction.n_arms: .* 16 to 32 .* {n_arms}$"):
        fractional(tuple("abcdef"), None, n_arms)
