"""Messages for users: bounded in number and length, and harmless on a terminal."""

import pickle

import pytest

from decoder.errors import MOST_PROBLEMS, ConfigError
from decoder.harmless import harmful_character, harmless


def test_mistakes_after_the_first_hundred_are_counted() -> None:
    problems = ConfigError([f"mistake {k}" for k in range(1_234)]).problems
    assert problems[:MOST_PROBLEMS] == tuple(f"mistake {k}" for k in range(MOST_PROBLEMS))
    assert problems[MOST_PROBLEMS:] == (f"and at least {1_234 - MOST_PROBLEMS:,} more mistakes",)


def test_a_long_mistake_keeps_its_beginning_and_its_end() -> None:
    (problem,) = ConfigError("file: " + "x" * 10**6 + "; mend it").problems
    assert len(problem) < 2_100
    assert problem.startswith("file: ") and problem.endswith("; mend it")


def test_an_error_survives_the_way_between_processes() -> None:
    error = ConfigError(["a\x1b", *map(str, range(500))])
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("\x00\x07\r\x9b", "\\x00\\x07\\r\\x9b"),
        ("é \N{PILE OF POO}\tb\n", "é \N{PILE OF POO}\tb\n"),
    ],
)
def test_characters_that_change_what_a_terminal_shows_become_escapes(text: str, shown: str) -> None:
    assert harmless(text) == shown
    assert (harmful_character(text) is None) == (text == shown)
    assert ConfigError(text).problems == (shown,)
