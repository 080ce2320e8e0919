"""`orchestrator.spec.profiles`: the same question at another size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.spec.load import load_spec

FULL = {"seeds": [5, 6], "set": {"train.n_steps": 100}}


def test_a_profile_replaces_whole_keys_and_has_a_name_of_its_own(
    write_spec: Callable[..., Path],
) -> None:
    path = write_spec({"set": {"optim.beta1": 0.8}, "profiles": {"full": FULL}})
    small, full = load_spec(path), load_spec(path, "full")
    assert (small.spec.name, small.spec.seeds) == ("question", (0, 1, 2))
    assert (full.spec.name, full.spec.seeds) == ("question-full", (5, 6))
    assert full.spec.set == {"train.n_steps": 100}
    assert full.spec.factors == small.spec.factors


@pytest.mark.parametrize(
    ("profiles", "wanted", "expected"),
    [
        ({"full": FULL}, "ful", "did you mean 'full'"),
        ({}, "full", "(defined: none)"),
        ({"full": {"sseds": [1]}}, None, "profiles.full: 'sseds' is no key a profile can replace"),
        ({"full": {"name": "other"}}, None, "'name' is no key"),
        ({"full": [1]}, None, "profiles.full: must map keys"),
        ([1], None, "profiles: must map names"),
        ({"full": {"seeds": ["a"]}}, "full", "seeds.0: must be a valid integer"),
    ],
)
def test_a_profile_that_cannot_be_is_named(
    write_spec: Callable[..., Path], profiles: Any, wanted: str | None, expected: str
) -> None:
    path = write_spec({"profiles": profiles})
    with pytest.raises(ConfigError) as caught:
        load_spec(path, wanted)
    [problem] = caught.value.problems
    assert problem.startswith(f"{path}: ") and expected in problem
