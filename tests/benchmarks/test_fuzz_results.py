"""`benchmarks/fuzzing/results.py` on few cases: no fault, and no damaged value used."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["results", "older"])
def test_commands_on_damaged_results_neither_fail_nor_use_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from fuzzing import results, runner

    kinds: dict[str, Any] = {kind.name: kind for kind in results.KINDS}
    made = (runner.make_case(kinds[name], index, 3, tmp_path) for index in range(8))
    assert {kinds[name].run(path) for path in made} <= {"ok", "refused"}


def test_a_value_that_no_checksum_guards_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from fuzzing import results, runner

    from orchestrator.store.paths import Results

    (kind,) = (kind for kind in results.KINDS if kind.name == "results")
    monkeypatch.setattr(results, "DAMAGES", (lambda path, draw: None,))
    path = runner.make_case(kind, 1, 3, tmp_path)
    assert kind.run(path) == "ok"
    stored = Results(path / "results")
    one = next(iter(stored.runs.glob("*/record.json")))
    record, rows = results._sound(False).values[one.parent.name]
    monkeypatch.setitem(
        results._sound(False).values, one.parent.name, ({**record, "n_steps_done": 79}, rows)
    )
    with pytest.raises(AssertionError, match=one.parent.name):
        kind.run(path)
