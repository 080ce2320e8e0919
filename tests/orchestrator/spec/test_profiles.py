"""`orchestrator.spec.profiles`: the same question at another size."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.spec.load import load_spec

FULL = {"seeds": [5, 6], "set": {"train.n_steps": 100}}


def test_a_profile_replaces_whole_keys_and_is_stored_under_its_own_name(
    write_spec: Callable[..., Path],
) -> None:
    path = write_spec({"set": {"optim.beta1": 0.8}, "profiles": {"full": FULL}})
    small, full = load_spec(path), load_spec(path, "full")
    assert (small.spec.name, small.spec.seeds) == ("question", (0, 1, 2))
    assert (full.spec.name, full.spec.seeds) == ("question-full", (5, 6))
    assert full.spec.set == {"train.n_steps": 100}
    assert full.spec.factors == small.spec.factors


@pytest.mark.parametrize(
    ("profiles", "wanted", "where", "names"),
    [
        ({"full": FULL}, "ful", "profiles", ("'ful'", "'full'")),
        ({}, "full", "profiles", ("'full'", "none")),
        ({"full": {"sseds": [1]}}, None, "profiles.full", ("'sseds'", "'seeds'")),
        ({"full": {"name": "other"}}, None, "profiles.full", ("'name'",)),
        ({"full": [1]}, None, "profiles.full", ("[1]",)),
        ([1], None, "profiles", ("[1]",)),
        ({"full": {"seeds": ["a"]}}, "full", "seeds.0", ("'a'",)),
    ],
)
def test_mistake_in_a_profile_is_located_and_named(
    write_spec: Callable[..., Path],
    profiles: Any,
    wanted: str | None,
    where: str,
    names: tuple[str, ...],
) -> None:
    path = write_spec({"profiles": profiles})
    with pytest.raises(ConfigError) as caught:
        load_spec(path, wanted)
    [problem] = caught.value.problems
    assert re.match(rf"{path}:6\d: {re.escape(where)}: ", problem)
    for name in names:
        assert name in problem
