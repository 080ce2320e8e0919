import math
from typing import Any

import pytest

from orchestrator.report import wording
from orchestrator.tables.tables import make_tables
from orchestrator.verdicts.verdicts import decide


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


def test_without_a_record_no_budget_is_named(twelve_arms: Any) -> None:
    verdicts = decide(twelve_arms.plan, make_tables(twelve_arms.plan, {}, {}).runs)
    assert verdicts
    for verdict in verdicts:
        text = wording.first_sentence(verdict)
        assert text.startswith(f"On {verdict.data}, ") and "steps" not in text


def test_numbers_keep_their_digits() -> None:
    assert wording.number(1234.5) == "1,234"
    assert wording.number(0.012345) == "0.0123"
    assert wording.number(math.inf) == "∞"


def test_the_corrected_p_is_the_one_compared_with_alpha(twelve_arms: Any) -> None:
    verdicts = decide(twelve_arms.plan, make_tables(*twelve_arms).runs)
    corrected = [verdict for verdict in verdicts if verdict.n_family > 1]
    below = [verdict for verdict in corrected if " is below α" in wording.explain(verdict)]
    assert below
    for verdict in below:
        text = wording.explain(verdict)
        p, raw = (wording.p_value(value) for value in (verdict.p_adjusted, verdict.evidence.p))
        assert text.index(f"{p} after") < text.index(f"{raw} before") < text.index("is below α")
