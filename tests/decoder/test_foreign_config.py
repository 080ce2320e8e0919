"""Configuration files of other trainers: read as their trainers read them, merged, followed."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import ConfigError
from decoder.foreign_config import merge, parse_foreign, read_foreign, without_wandb


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "n: 3\nrate: 1e-3\nflag: yes\nbetas: !!python/tuple [0.9, 0.99]"),
        ("a.json", '{"n": 3, "rate": 0.001, "flag": true, "betas": [0.9, 0.99]}'),
        ("a.toml", "n = 3\nrate = 1e-3\nflag = true\nbetas = [0.9, 0.99]"),
        ("a.yml", "\ufeffn: 3\nrate: 1e-3\nflag: On\nbetas:\n- 0.9\n- 0.99\n".encode("utf-16")),
        ("a.yml", "n: 3\nrate: 1e-3\nflag: On\nbetas: [0.9, 0.99]  # ß".encode("utf-16-le")),
        ("a.yml", "n: 3\nrate: 1e-3\nflag: On\nbetas: [0.9, 0.99]  # ß".encode("utf-16-be")),
        ("args", pickle.dumps({"n": 3, "rate": 0.001, "flag": True, "betas": [0.9, 0.99]})),
    ],
)
def test_each_kind_of_file_gives_the_same_settings(
    name: str, content: str | bytes, tmp_path: Path
) -> None:
    expected = {"n": 3, "rate": 0.001, "flag": True, "betas": [0.9, 0.99]}
    assert read_foreign(written(tmp_path / name, content)) == expected


def test_a_comment_in_latin_1_is_read(tmp_path: Path) -> None:
    content = "# évaluation tous les 500 pas\nname: señal\nn: 3".encode("latin-1")
    assert read_foreign(written(tmp_path / "a.yaml", content)) == {"name": "señal", "n": 3}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", 'out: "C:\\Users\\x"'),
        ("a.yaml", 'out: "D:\\data"'),
        ("a.json", '{"out": "D:\\data"}'),
    ],
)
def test_a_windows_path_in_double_quotes_is_refused_with_what_to_write(
    name: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="a path with /"):
        read_foreign(written(tmp_path / name, text))
    single = written(tmp_path / "b.yaml", "out: 'C:\\Users\\x'")
    assert read_foreign(single) == {"out": "C:\\Users\\x"}


@pytest.mark.parametrize("content", [b"[1]", b"", b"a: 1\na: 2", b"\x00\x01", b"a: \xff\xfe\x00"])
def test_what_is_no_mapping_of_settings_is_refused(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", content)
    with pytest.raises(ConfigError, match="a.yaml"):
        read_foreign(path)


def test_changes_are_merged_into_the_base_before_interpolations_are_followed(
    tmp_path: Path,
) -> None:
    base = written(tmp_path / "base.yaml", "n: 10\ndecay: ${n}\nbox: {a: 1, l: [1, 2]}\nout: x")
    change = written(tmp_path / "c.yaml", "n: 20\nbox: {b: '${decay}', l: [3]}\nout: null")
    expected = {"n": 20, "decay": 20, "box": {"a": 1, "l": [3], "b": 20}, "out": None}
    assert read_foreign(change, base) == expected
    more = written(tmp_path / "d.json", json.dumps({"n": 30}))
    assert read_foreign(more, [base, change])["box"] == {"a": 1, "l": [3], "b": 30}
    with pytest.raises(ConfigError, match=r"c\.yaml: box\.b"):
        read_foreign(change)


def test_merging_changes_neither_side() -> None:
    base: dict[str, Any] = {"a": {"b": 1}}
    change: dict[str, Any] = {"a": {"c": {"d": 2}}}
    assert merge(base, change) == {"a": {"b": 1, "c": {"d": 2}}}
    assert (base, change) == ({"a": {"b": 1}}, {"a": {"c": {"d": 2}}})


def test_a_variable_is_read_from_the_environment_that_is_given(tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", "out: ${oc.env:WHERE}\nlog: ${oc.env:ABSENT,here}")
    assert read_foreign(path, environment={"WHERE": "/x"}) == {"out": "/x", "log": "here"}
    with pytest.raises(ConfigError, match="WHERE, which is not set"):
        read_foreign(path, environment={})
    assert read_foreign(path, environment=None)["log"] == "${oc.env:ABSENT,here}"


def test_interpolations_are_kept_where_a_file_is_only_parsed() -> None:
    assert parse_foreign(b"a: ${b}", "x.yaml") == {"a": "${b}"}


def test_the_values_of_a_wandb_file_lose_their_wrapping() -> None:
    wrapped = {"lr": {"desc": None, "value": 0.1}, "_wandb": {"value": {"cli": 1}}}
    assert without_wandb(wrapped) == {"lr": 0.1}
    other = {"lr": {"value": 0.1, "min": 0}, "n": {"value": 2}}
    assert without_wandb(other) == other
