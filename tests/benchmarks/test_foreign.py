"""`benchmarks/fuzzing`, `recordings.py` and `foreign.py`: damaged files are read or refused."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "n"), [("hdf5", 16), ("mat", 10), ("csv", 12), ("folders", 4)])
def test_damaged_files_of_others_are_read_or_refused(
    name: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from fuzzing import foreign, recordings, runner

    kinds: dict[str, Any] = {kind.name: kind for kind in recordings.KINDS + foreign.KINDS}
    ends = [
        kinds[name].run(runner.make_case(kinds[name], index, 1, tmp_path)) for index in range(n)
    ]
    assert set(ends) <= {"ok", "refused"} and ends.count("ok") > 0
    if name != "folders":  # where damage is noted in the records
        assert ends.count("refused") > 0


def test_one_index_makes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from fuzzing import foreign, recordings, runner

    for kind in recordings.KINDS + foreign.KINDS:
        made = []
        for folder in (tmp_path / "a", tmp_path / "b"):
            root = runner.make_case(kind, 5, 1, folder)
            files = [root, *root.rglob("*")] if root.is_dir() else [root]
            made.append([path.read_bytes() for path in sorted(files) if path.is_file()])
        assert made[0] == made[1], kind.name
