import math

import pytest

from orchestrator.spec.schema import SOME_METRICS
from orchestrator.spec.units import (
    RATES,
    difference_text,
    interval_words,
    noun,
    unit_of,
    value_text,
)
from orchestrator.stats.effects import Interval


@pytest.mark.parametrize(
    ("value", "outcome", "text"),
    [
        (0.0234, "per", "+2.3"),
        (-0.5, "collapsed", "−50.0"),
        (-79.6, "escape_step", "−80"),
        (12_345.6, "escape_step", "+12,346"),
        (0.012345, "val_loss", "+0.0123"),
        (-0.0001, "per", "0.0"),
        (0.0, "escape_step", "0"),
        (math.nan, "per", "–"),
        (-math.inf, "per", "−∞"),
        (math.inf, "escape_step", "+∞"),
    ],
)
def test_differences_carry_their_sign_in_the_unit_of_the_outcome(
    value: float, outcome: str, text: str
) -> None:
    assert difference_text(value, outcome) == text
    assert difference_text(value, outcome, signed=False) == text.lstrip("+−")


def test_an_interval_without_ends_is_none() -> None:
    assert interval_words(Interval(-math.inf, math.inf), "per") == "none"
    assert interval_words(Interval(-0.01, 0.02), "per") == "−1.0 to +2.0"


def test_outcomes_and_metrics_have_names_and_units() -> None:
    assert (noun("per"), unit_of("per")) == ("final PER", "PER points")
    assert (noun("val_loss"), unit_of("val_loss")) == ("final val_loss", "val_loss")
    assert unit_of("diverged") == unit_of("blank_fraction") == "points"
    assert (
        value_text(0.5, "blank_fraction") == "50.0 %" and value_text(0.5, "entropy_nats") == "0.5"
    )


def test_error_rates_of_any_trainer_are_rates_and_other_names_are_numbers() -> None:
    rates = ["per", "wer", "cer", "wer_5gram", "per_beam", "collapsed", "clipped_share"]
    assert [name for name in rates if name not in RATES] == []
    assert [name for name in ("percentage", "werewolf", "val_loss", "step") if name in RATES] == []
    assert value_text(0.205, "wer_5gram") == "20.5 %"
    assert (noun("wer"), unit_of("wer")) == ("final WER", "WER points")
    assert (unit_of("wer_held_out"), unit_of("per_held_out")) == ("WER points", "PER points")
    assert [name for name in SOME_METRICS if name in RATES and "_" in noun(name)] == []
