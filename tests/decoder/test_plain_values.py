"""Limits for values from JSON, and for those of an official trainer's file as a whole."""

from pathlib import Path

import pytest

from decoder.errors import ConfigError
from decoder.importing import import_file
from decoder.plain_values import parse_json

FILE = Path("args.json")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "50 deep"),
        (b"[" * 60 + b"]" * 60, "50 deep"),
        (b"[" + b"1," * 60_000 + b"1]", "50,000 values"),
        (b'{"a": 1' + b"0" * 400 + b"}", "bits"),
        (b'{"a": 1' + b"0" * 5_000 + b"}", "not valid JSON"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b'{"a": "\\u001b[2J"}', "U+001B"),
        (b'{"\\u202e": 1}', "U+202E"),
        (b'{"a": "\\ud800"}', "U+D800"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
        (b"{", "not valid JSON"),
    ],
)
def test_what_no_real_file_holds_is_refused_in_one_short_line(content: bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_json(content, FILE)
    (problem,) = caught.value.problems
    assert problem.startswith("args.json") and words in problem
    assert "\n" not in problem and len(problem) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "b": 2,}', ["line 2, column 9", "comma"]),
        ('{"a": 1} // old', ["line 1, column 10", "one object"]),
        ("{'a': 1}", ["line 1, column 2", "double quotes"]),
        ('{"a": [1, None]}', ["line 1, column 11", "null"]),
        ('{"a": "C:\\Users"}', ["column 10", "two backslashes"]),
        ('{"a": 1 "b": 2}', ["column 9", "comma"]),
    ],
)
def test_a_mistake_in_json_is_placed_with_what_mends_it(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_json(text.encode(), FILE)
    (problem,) = caught.value.problems
    assert all(word in problem for word in words) and "char " not in problem


def test_plain_values_are_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, null, 0.5]}', FILE) == {"a": [1, None, 0.5]}


@pytest.mark.parametrize("name", ["rnn_args.yaml", "args.json"])
def test_the_arguments_of_an_official_trainer_are_bounded_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for value, word in (("1" + "0" * 12, "n_units"), ("1" + "0" * 400, name)):
        path.write_text('{"model": {"n_units": ' + value + '}, "num_training_batches": 9}')
        with pytest.raises(ConfigError, match=word):
            import_file(path)
