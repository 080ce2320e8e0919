"""`benchmarks/fuzz_results.py` on few cases: no traceback, no hang, no damaged value used."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "fuzz_results.py"


@pytest.mark.parametrize("older", [False, True])
def test_commands_on_damaged_results_neither_fail_nor_hang_nor_use_them(older: bool) -> None:
    spec = importlib.util.spec_from_file_location("fuzz_results", PATH)
    assert spec is not None and spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    counts, found = fuzz.fuzz_results(8, 3, report_every=1000, older=older)
    assert counts["cases"] == 8
    assert counts["tracebacks"] == counts["hangs"] == 0, "\n".join(found)
    assert older or counts["damaged values used"] == 0, "\n".join(found)
