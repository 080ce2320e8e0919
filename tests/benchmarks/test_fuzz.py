"""`benchmarks/fuzz.py`: what its runner counts, and that it finds a fault again by its index."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest

WORDS = ("ok", "refused", "raises", "slow", "hangs", "dies", "greedy")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from fuzzing import runner

    return runner


def _make(draw: random.Random, folder: Path) -> Path:
    path = folder / "input"
    path.write_text(WORDS[int(folder.name.rpartition("-")[2]) % len(WORDS)])
    return path


def _run(path: Path) -> Literal["ok", "refused"]:
    word = path.read_text()
    if word == "raises":
        raise ValueError("\ud800\x1b[31m")
    if word == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "greedy":
        bytearray(1 << 36)
    start = time.process_time()
    while word == "slow" and time.process_time() - start < 0.45:
        pass
    time.sleep(90 if word == "hangs" else 0)
    return "refused" if word == "refused" else "ok"


def test_every_way_to_end_is_counted_and_every_fault_is_kept(runner: Any, tmp_path: Path) -> None:
    kind, said = runner.Kind("words", _make, _run, seconds=0.4), list[str]()
    tally = runner.fuzz(kind, range(8), seed=3, folder=tmp_path, say=said.append)
    words = [runner.make_case(kind, i, 3, tmp_path / "again").read_text() for i in range(8)]
    expected = {"raises": "traceback", "hangs": "hang", "dies": "crash", "greedy": "traceback"}
    assert set(words) == set(WORDS)
    assert [case.outcome for case in tally.cases] == [expected.get(word, word) for word in words]
    faults = [index for index, word in enumerate(words) if word not in ("ok", "refused")]
    assert {f"words-{index}" for index in faults} == {
        path.name for path in tmp_path.iterdir() if (path / "fault.txt").exists()
    }
    assert len(said) == len(faults)
    document = tally.document()
    assert document["indices"] == faults
    assert sum(document["faults"].values()) == len(faults)
    assert any("SIGKILL" in fault for fault in document["faults"])


def test_the_command_writes_its_counts_and_fails_only_on_faults(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/fuzz.py", "--configs", "3", "--children", "1"]
    command += ["--keep", str(tmp_path / "kept"), "--output", str(tmp_path / "counts.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (counts,) = json.loads((tmp_path / "counts.json").read_text())
    assert counts["kind"] == "configs" and counts["n"] == counts["ok"] + counts["refused"] == 3
