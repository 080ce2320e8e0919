"""`orchestrator.driver.notify`: what a command is told, and that it disturbs nothing."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_ablation import history_row, result_of

from decoder.errors import ConfigError, StorageError
from decoder.pack import Pack, Progress
from orchestrator.driver.notify import Notifier, command_line, notifying
from orchestrator.driver.run import run_ablation
from orchestrator.execute.backends import Execution, PackEvent, PackFailed
from orchestrator.execute.machine import Options
from orchestrator.execute.stopping import Stopped
from orchestrator.store.paths import Results

APPEND = "import sys, pathlib; pathlib.Path(sys.argv[1]).open('ab').write(sys.stdin.buffer.read())"


def appending(path: Path) -> tuple[str, ...]:
    """A command that appends its standard input to a file."""
    return (sys.executable, "-c", APPEND, str(path))


def lines_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_each_notice_is_one_line_of_json_in_the_order_of_events(tmp_path: Path) -> None:
    said: list[str] = []
    with notifying(appending(tmp_path / "told"), "ablation", "question", said.append) as notifier:
        notifier.decided("weak_hurts", "supported", finding="two\nlines", look=2, p=float("nan"))
        notifier.ended("question: done", 0, n_runs=12)
    first, last = lines_in(tmp_path / "told")
    assert (first["event"], first["kind"], first["name"]) == ("decided", "ablation", "question")
    assert (first["hypothesis"], first["verdict"], first["look"]) == ("weak_hurts", "supported", 2)
    assert (first["finding"], first["p"]) == ("two\nlines", None)
    assert (last["event"], last["exit_code"], last["n_runs"]) == ("ended", 0, 12)
    assert said == []


def test_a_command_that_hangs_is_killed_and_said_and_later_ones_run(tmp_path: Path) -> None:
    said: list[str] = []
    again, told = tmp_path / "again", tmp_path / "told"
    script = f"test -e {again} || {{ touch {again}; sleep 60; }}; cat >> {told}"
    notifier = Notifier(("sh", "-c", script), "search", "hunt", said.append, seconds=0.5)
    started = time.monotonic()
    notifier.decided("a", "refuted")
    assert time.monotonic() - started < 0.3, "telling does not wait"
    time.sleep(1)
    notifier.decided("b", "refuted")
    notifier.close()
    assert time.monotonic() - started < 10
    assert len(said) == 1 and "killed" in said[0]
    assert [line["hypothesis"] for line in lines_in(told)] == ["b"]


def test_what_cannot_be_told_in_time_is_counted_in_one_line() -> None:
    said: list[str] = []
    notifier = Notifier(("sleep", "60"), "ablation", "question", said.append, seconds=0.4)
    for name in "abcdef":
        notifier.decided(name, "refuted")
    started = time.monotonic()
    notifier.close()
    assert time.monotonic() - started < 3
    assert "killed" in said[0]
    assert any(f" {n} notices" in said[-1] for n in (4, 5))


def test_a_command_that_fails_is_one_line_with_its_last_error(tmp_path: Path) -> None:
    said: list[str] = []
    with notifying(
        ("sh", "-c", "echo no route >&2; exit 3"), "ablation", "question", said.append
    ) as notifier:
        notifier.ended("done", 0)
    assert len(said) == 1
    assert "exit code 3" in said[0] and "no route" in said[0]


def test_a_command_removed_meanwhile_is_one_line() -> None:
    said: list[str] = []
    with notifying(("/nowhere/at-all",), "ablation", "question", said.append) as notifier:
        notifier.ended("done", 0)
    assert len(said) == 1 and "/nowhere/at-all" in said[0]


def test_a_command_is_split_into_words_and_no_shell_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "a b; touch x"
    text = shlex.join(appending(path))
    assert command_line(text) == appending(path)
    with notifying(command_line(text), "ablation", "q", lambda said: None) as notifier:
        notifier.ended("done", 0)
    assert path.is_file() and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "  ", "mail 'me", "/no/such/program me", "true\0"])
def test_a_command_that_cannot_be_run_is_refused_before_anything_trains(text: str) -> None:
    with pytest.raises(ConfigError, match="--notify"):
        command_line(text)


@pytest.mark.parametrize(
    ("error", "code"), [(StorageError("no room\nfor it"), 5), (Stopped(2), 130), (OSError("x"), 1)]
)
def test_an_error_that_ends_a_sweep_is_told_with_its_exit_code(
    tmp_path: Path, error: BaseException, code: int
) -> None:
    with (
        pytest.raises(type(error)),
        notifying(appending(tmp_path / "told"), "ablation", "q", lambda said: None),
    ):
        raise error
    (line,) = lines_in(tmp_path / "told")
    assert (line["event"], line["exit_code"]) == ("ended", code)
    assert "for it" not in line["text"]


def test_runs_that_failed_for_good_are_told_with_arm_and_seed(
    tmp_path: Path, load: Any, results: Results, options: Options, console: Any, describe: Any,
    rebuilt: Any,
) -> None:  # fmt: skip
    def fail(
        packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
    ) -> None:
        for pack in packs:
            ids = tuple(run.run_id for run in pack.runs)
            on_event(PackEvent(pack.pack_id, PackFailed(ids, "Trace\nKilled", 3)))

    with notifying(appending(tmp_path / "told"), "ablation", "question", print) as notifier:
        run_ablation(
            load(), results, options, console, backend=fail, describe=describe, rebuild=rebuilt,
            notifier=notifier,
        )  # fmt: skip
    lines = lines_in(tmp_path / "told")
    runs = [run for line in lines for run in line["runs"]]
    assert {line["event"] for line in lines} == {"failed"}
    assert {line["error"] for line in lines} == {"Killed"}
    assert len({run["run_id"] for run in runs}) == 12
    assert {run["seed"] for run in runs} == {0, 1, 2}
    assert len({run["arm"] for run in runs}) == 4


def test_a_claim_is_told_when_it_is_decided_and_not_again(
    tmp_path: Path, load: Any, results: Results, options: Options, console: Any, describe: Any,
    backend: Any,
) -> None:  # fmt: skip
    def nearly_equal(
        packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
    ) -> None:
        for pack in packs:
            finished = [
                replace(
                    result_of(run), history=(history_row(60, 0.3 + int(run.run_id[:2], 16) / 1e5),)
                )
                for run in pack.runs
            ]
            on_event(PackEvent(pack.pack_id, Progress(60, {}, finished), {"device": "none"}))

    def run() -> None:
        with notifying(appending(tmp_path / "told"), "ablation", "question", print) as notifier:
            run_ablation(
                load(), results, options, console,
                backend=nearly_equal, describe=describe, notifier=notifier,
            )  # fmt: skip

    run()
    lines = lines_in(tmp_path / "told")
    told = {line["hypothesis"]: line["verdict"] for line in lines}
    assert told == {"weak_hurts": "refuted", "only_when_slow": "refuted"}
    assert lines[0]["claim"] == "Weak noise raises PER."
    run()
    assert lines_in(tmp_path / "told") == lines
