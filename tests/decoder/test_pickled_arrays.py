"""`decoder.pickled_arrays`: arrays of numbers, read without resolving a name."""

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoder.pickled_arrays import read_pickled_arrays
from decoder.plain_pickle import Refused


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_lists_of_numbers_are_read_at_every_protocol(protocol: int) -> None:
    made = {
        "testCER": np.array([1.0, 0.5, np.nan]),
        "big": np.array([1.5, 2.0], ">f4"),
        "counts": np.arange(3),
        "plain": [1, 2.5],
        "numbers": [np.float64(0.25)],
        "matrix": np.ones((2, 2)),
        "text": "x",
    }
    read = read_pickled_arrays(pickle.dumps(made, protocol))
    assert read.keys() == {"testCER", "big", "counts", "plain", "numbers"}
    assert read["testCER"][:2] == [1.0, 0.5] and np.isnan(read["testCER"][2])
    assert (read["big"], read["counts"]) == ([1.5, 2.0], [0.0, 1.0, 2.0])
    assert (read["plain"], read["numbers"]) == ([1.0, 2.5], [0.25])


def test_numpy_before_version_2_wrote_other_names() -> None:
    content = pickle.dumps({"a": np.array([0.5])}, 0).replace(b"numpy._core", b"numpy.core")
    assert read_pickled_arrays(content) == {"a": [0.5]}


class _Runs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


def test_what_asks_for_anything_else_is_refused_and_not_run(tmp_path: Path) -> None:
    content = pickle.dumps({"a": np.ones(2), "b": _Runs(tmp_path / "made")})
    with pytest.raises(Refused, match="posix.mkdir"):
        read_pickled_arrays(content)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [[1, 2], {"a": np.array(["x"], object)}, "text"])
def test_what_holds_no_numbers_by_name_is_refused(value: Any) -> None:
    with pytest.raises(Refused):
        read_pickled_arrays(pickle.dumps(value))


def test_one_array_under_many_names_takes_no_memory_beyond_its_limit() -> None:
    array = np.ones(100_000, np.int8)
    with pytest.raises(Refused, match="memory"):
        read_pickled_arrays(pickle.dumps({str(at): array for at in range(50)}))


def test_damaged_files_are_refused_or_read() -> None:
    rng = random.Random(3)
    whole = pickle.dumps({"testLoss": np.ones(5), "testCER": np.ones(5)})
    n_refused = 0
    for _ in range(300):
        made = bytearray(whole)
        made[rng.randrange(len(made))] = rng.randrange(256)
        try:
            read_pickled_arrays(bytes(made[: rng.randrange(len(made) // 2, len(made) + 1)]))
        except Refused:
            n_refused += 1
    assert n_refused > 200
