"""Strict YAML: scalars, duplicate keys, errors."""

from pathlib import Path

import pytest

from decoder.errors import ConfigError
from decoder.strict_yaml import load_yaml


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
