"""Strict YAML: scalars, duplicate keys, errors."""

from pathlib import Path

import pytest
import yaml

from decoder import yaml_nodes
from decoder.errors import ConfigError
from decoder.strict_yaml import load_yaml, parse_yaml


def load(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return load_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("12", 12),
        ("0x1f", 31),
        ("-7", -7),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("2023-08-11", "2023-08-11"),
        ("1:30", "1:30"),
        ("'1e-3'", "1e-3"),
        ("t15.2023.08.11", "t15.2023.08.11"),
    ],
)
def test_scalars_mean_what_they_look_like(tmp_path: Path, text: str, value: object) -> None:
    got = load(tmp_path, f"key: {text}\n")["key"]
    assert got == value and type(got) is type(value)


def test_a_repeated_key_is_refused_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"file.yaml:4: key 'b' appears twice \(first on line 2\)"
    ):
        load(tmp_path, "a:\n  b: 1\n  c: 2\n  b: 3\n")


def test_merge_keys_still_work(tmp_path: Path) -> None:
    text = "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n"
    assert load(tmp_path, text)["y"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\n", "not valid YAML"),
        ("- 1\n- 2\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("[1]: 2\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing.yaml: cannot be read"):
        load_yaml(tmp_path / "nothing.yaml")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb:\n\tc: 2\n", 3, "tab"),
        ("a: 1\nb: [1,\n  2\nc: 3\n", 2, "not closed"),
        ("a: 1\nb:2\nc: 3\n", 2, "colon without a space"),
        ("a: 1\nb: is it: so\n", 2, "quotes"),
        ("a: 1\nb: %x\n", 2, "quotes"),
        ("a: 1\nb: *x\n", 2, "anchor"),
        ("a: 1\nb: !x y\n", 2, "tags"),
        ("a:\n  b: 1\n c: 2\n", 3, "align"),
        ("a: 'x\nb: 2\n", 1, "quote that opens here"),
        ("a: {b: 1,\n    c: ${oc.env:HOME}/x}\n", 2, "needs quotes"),
    ],
)
def test_what_is_not_yaml_is_said_with_its_line_and_without_the_words_of_the_library(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert f"file.yaml:{line}: is not valid YAML: " in message and words in message
    assert "token" not in message and "expected" not in message and "scanning" not in message


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """PyYAML's parsers in C and in Python, which is used where the other is missing."""
    monkeypatch.setattr(yaml_nodes, "_PARSER", getattr(yaml, request.param))
    yaml_nodes.compose.cache_clear()
    return str(request.param)


def _bomb(width: int, depth: int, first: str, row: str) -> str:
    rows = [f"a0: &a0 {first}"]
    for k in range(1, depth):
        rows.append(f"a{k}: &a{k} " + row.format(", ".join([f"*a{k - 1}"] * width)))
    return "\n".join(rows)


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_bomb(9, 9, "[x, x]", "[{}]"), "50,000 values"),
        (_bomb(2, 40, "[x, x]", "[{}]"), "50,000 values"),
        (_bomb(9, 9, "{x: 1}", "{{<<: [{}]}}"), "50,000 values"),
        (_bomb(1, 400, "[x]", "[{}]"), "50 deep"),
        ("a: [" + "x, " * 50_000 + "]", "50,000 values"),
        ("a: " + "[" * 100_000, "50 deep"),
        ("a: " + "{b: " * 5_000, "50 deep"),
        ("- " * 5_000 + "x", "50 deep"),
        ("? " * 5_000 + "x", "50 deep"),
        ("a: &b [1, *b]", "*b"),
        ("a: !!int abc", "'abc'"),
        ("a: !!float x", "'x' is no number"),
        ("a: !!bool maybe", "'maybe'"),
        ("a: !!binary x", "tags"),
        ("a: !!timestamp x", "tags"),
        ("a: !!set {x}", "tags"),
        ("a: !!python/tuple [1]", "tags"),
        ("a: !!map [1]", "tags"),
        ("a: " + "9" * 401, "401 digits"),
        ("a: 0x" + "f" * 5_000, "digits"),
        ("<<: 1", "<<"),
        ("<<: [[1]]", "<<"),
        ("a: 1\n---\nb: 2", "second document"),
        ('a: "\\u202e"', "U+202E"),
        ('a: "\\x1b[31m"', "U+001B"),
        ('"\\x00": 1', "U+0000"),
        ("{[1]: 2}", "key must be text"),
        ("x" * 3_000, "top level"),
        (f"{'x' * 900}: 1\n{'x' * 900}: 2", "twice"),
    ],
)
def test_what_no_real_file_holds_is_refused_in_one_short_line(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    (problem,) = caught.value.problems
    assert words in problem and "\n" not in problem and len(problem) < 500


@pytest.mark.usefixtures("parser")
def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="file.yaml:1: "):
        load(tmp_path, 'a: "\\ud800"')


@pytest.mark.usefixtures("parser")
def test_tags_that_say_what_stands_there_are_read(tmp_path: Path) -> None:
    text = "a: !!int 7\nb: !!str 7\nc: !!float 7\nd: !!map {}\ne: !!seq []\nf: !!null ''\n"
    expected = {"a": 7, "b": "7", "c": 7.0, "d": {}, "e": [], "f": None}
    assert repr(load(tmp_path, text)) == repr(expected)


@pytest.mark.usefixtures("parser")
def test_numbers_at_the_ends_of_what_python_holds(tmp_path: Path) -> None:
    read = load(tmp_path, "a: 1e400\nb: -1e400\nc: 1e-400\nd: .nan\ne: -.inf\nf: 1_000\n")
    assert str(list(read.values())) == "[inf, -inf, 0.0, nan, -inf, 1000]"


@pytest.mark.usefixtures("parser")
def test_of_merged_mappings_the_first_wins_and_own_keys_win_over_all(tmp_path: Path) -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {a: 2, b: 2, c: 2}\nz: {b: 3, <<: [*x, *y]}\n"
    assert load(tmp_path, text)["z"] == {"a": 1, "b": 3, "c": 2}


@pytest.mark.usefixtures("parser")
def test_as_many_values_as_the_limit_are_read(tmp_path: Path) -> None:
    n = yaml_nodes.MOST_VALUES - 3  # the top, the key and the list
    values = load(tmp_path, f"a: [{', '.join(['1'] * n)}]")["a"]
    assert isinstance(values, list) and len(values) == n
    deep = yaml_nodes.MOST_DEPTH - 1
    assert load(tmp_path, f"a: {'[' * deep}{']' * deep}")["a"]


def test_files_of_other_programs_keep_their_tagged_values() -> None:
    text = 'a: !!python/tuple [1, 2]\nb: !mine {c: !x 3}\nd: "\\x1b"\n'
    assert parse_yaml(text, "x", plain=True) == {"a": [1, 2], "b": {"c": "3"}, "d": "\x1b"}
