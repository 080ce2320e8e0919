"""Results folders with two made-up ablations that share arms, or differ in code or data."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.query.compare.comparison import Comparison, Options
from orchestrator.query.compare.readers import compare_named
from orchestrator.store.paths import Results

Keep = Callable[..., Results]
EFFECT = {"sum": 0.3, "mean": 0.4, "third": 0.5}


def spec(name: str, levels: Mapping[str, Any], seeds: int = 6) -> dict[str, Any]:
    """One factor, no claims."""
    return {
        "name": name,
        "question": "Which loss?",
        "factors": {"loss": dict(levels)},
        "seeds": list(range(seeds)),
    }


SUM: dict[str, Any] = {}
MEAN = {"loss.ctc_reduction": "mean"}
THIRD = {"loss.ctc_reduction": "mean", "optim.epsilon": 1e-8}


@pytest.fixture
def truth_of(truth: Any) -> Callable[[Mapping[str, str], str], Any]:
    """The PER of an arm goes by its level."""
    return lambda levels, arm: truth(per=EFFECT[levels["loss"]])


@pytest.fixture
def shared(tmp_path: Path, build: Any, keep: Keep, truth_of: Any) -> Results:
    """`one` has the arms sum and mean, `two` sum and third; the runs of sum are the same."""
    results = Results(tmp_path / "results")
    keep(results, build(spec("one", {"sum": SUM, "mean": MEAN}), truth_of))
    return keep(results, build(spec("two", {"sum": SUM, "third": THIRD}), truth_of))


@pytest.fixture
def other_code(tmp_path: Path, build: Any, keep: Keep, truth_of: Any) -> Results:
    """`one` and `two` have the same arms, trained by other sources of another numerics version."""
    results = Results(tmp_path / "results")
    keep(results, build(spec("one", {"sum": SUM, "mean": MEAN}), truth_of))
    again = build(spec("two", {"sum": SUM, "mean": MEAN}), truth_of)
    code = {"decoder_sha256": "b" * 64, "git_commit": "fedc9876", "git_dirty": False}
    environment = {"python": "3.11.9", "torch": "2.13.0", "code": code}
    return keep(results, again, "other", numerics_version=2, environment=environment)


def ignore(text: str) -> None:
    """Remarks are of no interest."""


@pytest.fixture
def beside() -> Callable[..., Comparison]:
    """`compare_named` with options by name."""

    def named(results: Results, *texts: str, **options: Any) -> Comparison:
        return compare_named(texts, results, Options(**options), ignore)

    return named
