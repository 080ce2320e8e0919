"""`decoder.plain_pickle`: plain values are read, everything else is refused."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from decoder.plain_pickle import Refused, looks_like_pickle, read_plain_pickle

ARGS = {"lrStart": 0.02, "seed": 0, "bidirectional": True, "notes": None, "layers": [1, (2, "ä")]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_args_are_read_in_every_protocol(protocol: int) -> None:
    content = pickle.dumps(ARGS, protocol)
    assert read_plain_pickle(content) == ARGS
    assert looks_like_pickle(content)


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mknod, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(
    protocol: int, tmp_path: Path
) -> None:
    target = tmp_path / "made"
    with pytest.raises(Refused, match=r"asks for posix\.mknod"):
        read_plain_pickle(pickle.dumps({"args": Touch(target)}, protocol))
    assert not target.exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"lr": np.float64(0.1)}, "asks for"),
        (OrderedDict(a=1), r"asks for collections\.OrderedDict"),
        ({"a": {1, 2}}, "more than plain values"),
        ([1, 2], "not hold a mapping"),
        ({1: 2}, "not hold a mapping of names"),
    ],
)
def test_everything_but_a_mapping_of_plain_values_is_refused(value: object, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read_plain_pickle(pickle.dumps(value))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04r\xff\xff\xff\x7f",  # asks for a memo of two billion entries
        pickle.dumps(ARGS)[:-4],
        b"",
        b"\x80\x04K\x01",
        b"\x80\x04" + b"(" * 1000 + b".",
    ],
)
def test_a_damaged_or_greedy_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(Refused):
        read_plain_pickle(content)


def test_a_pickle_too_large_for_settings_is_refused() -> None:
    with pytest.raises(Refused, match="bytes"):
        read_plain_pickle(pickle.dumps({"a": "x" * (1 << 21)}))
