"""`orchestrator.query.conditions`: a condition holds as written, and nothing in it is executed."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.errors import ConfigError
from orchestrator.query.conditions import check_against, parse_condition

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


ROWS = [ROW, {**ROW, "outcome": "ok", "ablations": [], "seed": 4, "optim.grad_clip": 10.0}]


@pytest.mark.parametrize(
    ("text", "holds", "mend"),
    [
        ("ablations == 'one'", "no run", "write 'one' in ablations"),
        ("per < 1 and ablations == 'one'", "no run", "write 'one' in ablations"),
        ("'one' == ablations", "no run", "write 'one' in ablations"),
        ("ablations != 'one'", "every run", "write 'one' not in ablations"),
        ("ablations in ['one', 'x']", "no run", "'one' in ablations or 'x' in ablations"),
        ("ablations not in ['a', 'b']", "every run", "'a' not in ablations and 'b' not in"),
        ("seed == '3'", "no run", "seed == 3, without quotes"),
        ("outcome == 3", "no run", "outcome == 'collapsed'"),
        ("loss.zero_infinity == 0", "no run", "loss.zero_infinity == false"),
        ("optim.grad_clip == 'x'", "no run", "optim.grad_clip == 10.0"),
        ("3 in seed", "no run", "seed == 3"),
    ],
)
def test_a_comparison_that_can_match_nothing_or_everything_is_refused_with_what_to_write(
    text: str, holds: str, mend: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_against(parse_condition(text, ROW), ROWS)
    message = str(caught.value)
    assert message.startswith("--where: character ") and holds in message and mend in message


@pytest.mark.parametrize(
    "text",
    [
        "'one' in ablations",
        "ablations == []",
        "seed in [3, '3']",
        "optim.grad_clip == null",
        "outcome == 'ok'",
        "outcome != 'never'",
        "per == seed",
        "per == 0.5",
        "(seed > 1) == true",
    ],
)
def test_a_comparison_that_may_match_is_left_alone(text: str) -> None:
    assert check_against(parse_condition(text, ROW), ROWS) is None


def test_a_text_that_no_run_has_is_remarked_on_with_the_texts_there_are() -> None:
    assert "'collapsed'" in str(check_against(parse_condition("outcome == 'collapse'", ROW), ROWS))
    remark = str(check_against(parse_condition("outcome == 'zzz'", ROW), ROWS))
    assert "'zzz'" in remark and "collapsed, ok" in remark
