import math

import pytest

from orchestrator.report import wording


def test_rates_become_percent_and_gaps_a_dash() -> None:
    assert wording.percent(0.2046) == "20.5 %"
    assert wording.percent(math.nan) == "–"
    assert wording.percent(-0.03, 0) == "−3 %"


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.03125, ".031"), (1.0, "1"), (1e-9, "< .0001"), (0.25, ".25"), (None, "–"), (0.05, ".05")],
)
def test_p_is_never_zero_and_has_two_digits(p: float | None, text: str) -> None:
    assert wording.p_value(p) == text


def test_budgets_that_differ_become_a_range() -> None:
    assert wording.budget_text((400, 400)) == "400 steps"
    assert wording.budget_text((400, 2000)) == "400 to 2,000 steps"


def test_numbers_keep_their_digits() -> None:
    assert wording.number(1234.5) == "1,234"
    assert wording.number(0.012345) == "0.0123"
    assert wording.number(math.inf) == "∞"
