"""How much one file may ask for: refused before it is made, and allowed far above any use."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import MOST_PROBLEMS, ConfigError
from orchestrator.spec.limits import MOST_RUNS
from orchestrator.spec.load import Loaded, load_spec

Problems = Callable[..., tuple[str, ...]]
NO_CLAIMS = {"hypotheses": ...}


@contextmanager
def cpu_seconds(most: float) -> Iterator[None]:
    """Fails if the block takes more CPU time: wall time says little on a busy machine."""
    start = time.process_time()
    yield
    assert time.process_time() - start < most


def _levels(n: int) -> dict[str, Any]:
    return {f"l{k}": {"optim.weight_decay": k * 1e-3} for k in range(n)}


@pytest.mark.parametrize(
    ("changes", "place", "count"),
    [
        ({"factors/rate": _levels(10_001)}, "factors.rate", "10,000"),
        ({"seeds": list(range(10_001))}, "seeds", "10,000"),
        ({"seeds": list(range(9_000)), "factors/rate": _levels(30)}, "seeds", "540,000 runs"),
        ({f"factors/f{k}": _levels(30) for k in range(9)}, "factors", "arms"),
        ({f"factors/f{k}": {"a": {}, "b": {}} for k in range(199)}, "factors", "200"),
        ({"set": {f"x.y{k}": 1 for k in range(201)}}, "set", "200"),
        ({"exclude": [{"noise": "weak"}] * 1001}, "exclude", "1,000"),
        ({"extra_arms": {"a": {"replicate": 10**9}}}, "extra_arms.a.replicate", "at most 10000"),
        ({"question": "x" * 10_001}, "question", "10000 characters"),
        ({"collapse": {"n_evaluations": 10**12}}, "collapse.n_evaluations", "1e+09"),
    ],
)
def test_a_file_that_asks_for_too_much_is_refused_at_once_with_the_limit(
    problems: Problems, changes: dict[str, Any], place: str, count: str
) -> None:
    with cpu_seconds(2):
        found = problems(NO_CLAIMS | changes)
    hits = [problem for problem in found if f": {place}: " in problem]
    assert hits and count in hits[0] and all(len(problem) < 600 for problem in found)


def test_as_many_mistakes_as_a_file_can_hold_take_no_longer_than_a_hundred(
    problems: Problems,
) -> None:
    for changes in (
        {"factors/rate": {f"l{k}": {"optim.lr_mx": k} for k in range(9_000)}},
        {"factors/rate": {f"l{k}": {"optim.lr_max": -1} for k in range(9_000)}},
        {"factors/rate": {f"l{k}": 5 for k in range(9_000)}},
        {f"nonsense{k}": 1 for k in range(20_000)},
        {"exclude": [{"nois": f"w{k}"} for k in range(1000)]},
        {"seeds": ["x"] * 10_000},
    ):
        with cpu_seconds(2.5):
            found = problems(NO_CLAIMS | changes)
        assert len(found) <= MOST_PROBLEMS + 1
        assert "more mistakes" in found[-1]


def test_arms_that_the_decoder_refuses_are_not_all_tried(problems: Problems) -> None:
    levels = {f"l{k}": {"optim.lr_max": 1e-9 * (k + 1)} for k in range(3_000)}
    with cpu_seconds(2):
        found = problems(NO_CLAIMS | {"factors/rate": levels})
    assert "optim.lr_min" in found[0] and len(found) == MOST_PROBLEMS + 1


def test_ten_thousand_runs_are_allowed(load: Callable[..., Loaded]) -> None:
    loaded = load(NO_CLAIMS | {"factors/rate": _levels(50), "seeds": list(range(100))})
    assert len(loaded.arms) * len(loaded.spec.seeds) == 10_000 <= MOST_RUNS / 10


def test_a_fault_of_the_base_names_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").mkdir()
    spec = "name: x\nquestion: x\nbase: {}\nfactors: {{}}\nseeds: [1]\n"
    for base in ("base.yaml", "x" * 5_000, "/dev/zero", "a/" * 400 + "b.yaml"):
        (tmp_path / "spec.yaml").write_text(spec.format(base))
        with pytest.raises(ConfigError) as caught:
            load_spec(tmp_path / "spec.yaml")
        assert any("base" in problem for problem in caught.value.problems)


def test_a_number_of_seeds_with_thousands_of_digits_is_no_list(problems: Problems) -> None:
    [problem] = problems(NO_CLAIMS | {"seeds": "9" * 5_000})
    assert "seeds" in problem and len(problem) < 400
