"""`orchestrator.query.conditions`: a condition holds as written, and nothing in it is executed."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.errors import ConfigError
from orchestrator.query.conditions import parse_condition

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


def test_a_condition_names_the_columns_it_reads() -> None:
    condition = parse_condition("seed > 1 and (per < 1 or seed == 0)", ROW)
    assert condition.names == ("seed", "per")


@pytest.mark.parametrize(
    ("text", "character", "name"),
    [
        ("optim.epsilo == 0.1", 1, "optim.epsilon"),
        ("seed == 1 and epsilon == 0.1", 15, "optim.epsilon"),
        ("__import__('os').system('true')", 1, ""),
        ("(lambda: 1)()", 1, ""),
        ("[x for x in [1]]", 1, ""),
        ("outcome.__class__ == 1", 1, "outcome.__class__"),
        ("seed ** 99999 == 1", 1, ""),
        ("f'{seed}' == '3'", 1, ""),
        ("(1).real == 1", 1, ""),
        ("outcome == ok", 12, "'ok'"),
        ("", 1, ""),
    ],
)
def test_a_condition_that_cannot_be_parsed_is_refused_with_its_place(
    text: str, character: int, name: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^--where: character {character}: .*{name}"):
        parse_condition(text, ROW)


@pytest.mark.parametrize(
    "text", ["not " * 3000 + "seed", "seed == 3\0", "seed = 3", "seed == 3 &&"]
)
def test_a_text_that_python_cannot_parse_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="^--where: "):
        parse_condition(text, ROW)


@pytest.mark.parametrize("text", ["outcome < 3", "3 > ablations", "seed < [1]", "ablations < [1]"])
def test_comparing_values_that_have_no_order_is_refused(text: str) -> None:
    condition = parse_condition(text, ROW)
    with pytest.raises(ConfigError, match="^--where: character 1: "):
        condition.holds(ROW)


PARTS = st.sampled_from(
    ["seed", "per", "outcome", "ablations", "null", "1", "'a'", "[1, 2]", "(", ")", "and", "or"]
    + ["not", "in", "==", "<", ".", ",", "-", "*", "lambda:", "`", "\\", "\n", "f''", "=", "is"]
)


@given(st.lists(PARTS, max_size=9))
def test_any_text_is_parsed_or_refused(parts: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_condition(" ".join(parts), ROW).holds(ROW) in (True, False)
