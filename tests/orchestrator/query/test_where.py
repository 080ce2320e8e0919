"""`orchestrator.query.where`: conditions mean what they say, and nothing in them is executed."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.errors import ConfigError
from orchestrator.query.where import parse_condition

ROW: dict[str, Any] = {
    "optim.epsilon": 0.1,
    "optim.grad_clip": None,
    "loss.zero_infinity": False,
    "model.inter_ctc_layers": [2, 4],
    "outcome": "collapsed",
    "per": 0.25,
    "seed": 3,
    "ablations": ["one", "two"],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim.epsilon == 0.1 and outcome == 'collapsed'", True),
        ("optim.epsilon == 0.1 and outcome == 'ok'", False),
        ("outcome == 'ok' or seed == 3", True),
        ("not (outcome == 'ok' or seed == 3)", False),
        ("seed in [1, 2, 3] and seed not in (4, 5)", True),
        ("0.2 <= per < 0.3", True),
        ("0.25 < per < 0.3", False),
        ("optim.grad_clip == null", True),
        ("optim.grad_clip is not None", False),
        ("optim.grad_clip < 10 or optim.grad_clip >= 10", False),
        ("loss.zero_infinity == false", True),
        ("loss.zero_infinity", False),
        ("loss.zero_infinity == 0", False),
        ("model.inter_ctc_layers == [2, 4]", True),
        ("'two' in ablations", True),
        ("'laps' in outcome", True),
        ("per > -1", True),
        ("  seed != 4 ", True),
        (r"outcome == '\d'", False),
    ],
)
def test_a_condition_holds_as_written(text: str, expected: bool) -> None:
    assert parse_condition(text, ROW).holds(ROW) is expected


def test_it_says_which_columns_it_needs() -> None:
    condition = parse_condition("seed > 1 and (per < 1 or seed == 0)", ROW)
    assert condition.names == ("seed", "per")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim.epsilo == 0.1", "character 1: there is no 'optim.epsilo'; did you mean 'optim.e"),
        ("seed == 1 and epsilon == 0.1", "character 15: .* did you mean 'optim.epsilon'"),
        ("seed = 3", "character .*understood are"),
        ("seed == 3 &&", "character"),
        ("__import__('os').system('true')", "character 1: this is not understood"),
        ("(lambda: 1)()", "character 1: this is not understood"),
        ("[x for x in [1]]", "character 1: this is not understood"),
        ("outcome.__class__ == 1", "there is no 'outcome.__class__'"),
        ("seed ** 99999 == 1", "character 1: this is not understood"),
        ("f'{seed}' == '3'", "character 1: this is not understood"),
        ("(1).real == 1", "this is no name of a column"),
        ("", "character"),
        ("not " * 3000 + "seed", "cannot be read|character"),
        ("seed == 3\0", "cannot be read|character"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_condition(text, ROW)


@pytest.mark.parametrize("text", ["outcome < 3", "3 > ablations", "seed < [1]", "ablations < [1]"])
def test_ordering_what_has_no_order_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="character 1: .* these have no order"):
        parse_condition(text, ROW).holds(ROW)


PARTS = st.sampled_from(
    ["seed", "per", "outcome", "ablations", "null", "1", "'a'", "[1, 2]", "(", ")", "and", "or"]
    + ["not", "in", "==", "<", ".", ",", "-", "*", "lambda:", "`", "\\", "\n", "f''", "=", "is"]
)


@given(st.lists(PARTS, max_size=9))
def test_any_text_is_understood_or_refused(parts: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_condition(" ".join(parts), ROW).holds(ROW) in (True, False)
