import math

from orchestrator.stats import Interval
from orchestrator.units import difference_text, interval_words


def test_amounts_are_in_the_outcomes_unit_with_their_sign() -> None:
    assert difference_text(0.1234, "per") == "+12.3"
    assert difference_text(-0.05, "collapsed") == "−5.0"
    assert difference_text(-0.0001, "per") == "0.0"
    assert difference_text(-140.4, "escape_step") == "−140"
    assert difference_text(0.05, "per", signed=False) == "5.0"
    assert interval_words(Interval(-0.01, 0.02), "per") == "−1.0 to +2.0"
    assert interval_words(Interval(-math.inf, math.inf), "per") == "none"
