"""Results folders with two made-up ablations that share arms, or differ in code or data."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from decoder.atomic import sha256_of
from orchestrator.query.compare.comparison import Comparison, ComparisonOptions
from orchestrator.query.compare.named_sides import compare_named
from orchestrator.store.paths import Results
from orchestrator.store.record import Record, sealed

Keep = Callable[..., Results]
PER = {"sum": 0.3, "mean": 0.4, "third": 0.5}
SUM: dict[str, Any] = {}
MEAN = {"loss.ctc_reduction": "mean"}
THIRD = {"loss.ctc_reduction": "mean", "optim.epsilon": 1e-8}


def spec(name: str, levels: Mapping[str, Any], seeds: int = 6) -> dict[str, Any]:
    """One factor, no claims."""
    return {
        "name": name,
        "question": "Which loss?",
        "factors": {"loss": dict(levels)},
        "seeds": list(range(seeds)),
    }


def ignore(text: str) -> None:
    """Remarks do not matter."""


def no_remarks(text: str) -> None:
    """No remark is expected."""
    raise AssertionError(text)


def compare_stored(results: Results, *texts: str, **options: Any) -> Comparison:
    """`compare_named` with options by name."""
    return compare_named(texts, results, ComparisonOptions(**options), ignore)


def change_record(results: Results, which: str, **values: Any) -> None:
    """Replace these fields of a record, and give it a checksum that fits."""
    path = results.record(which)
    record = {**json.loads(path.read_bytes()), **values}
    record.pop("record_sha256", None)
    path.write_bytes(sealed(cast(Record, record)))


def change_history(results: Results, which: str, old: str, new: str) -> None:
    """Replace every `old` in the history of a run, and give its record a checksum that fits."""
    rows = results.history(which).read_text().replace(old, new).encode()
    results.history(which).write_bytes(rows)
    change_record(results, which, history_sha256=sha256_of(rows))


def records_of(results: Results) -> dict[str, dict[str, Any]]:
    """Run id → its record, in order of run id."""
    paths = sorted(results.runs.glob("*/record.json"))
    return {path.parent.name: json.loads(path.read_bytes()) for path in paths}


@pytest.fixture
def truth_of(truth: Any) -> Callable[[Mapping[str, str], str], Any]:
    """The PER of an arm depends on its level."""
    return lambda levels, arm: truth(per=PER[levels["loss"]])


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
