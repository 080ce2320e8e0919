"""Trains one run with the user's own training script, and follows it to its end."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from decoder.atomic import storage_error, write_atomically
from decoder.life import is_asked_to_stop, show_sign
from decoder.pack import Progress, RunResult
from decoder.regular import read_json
from orchestrator.execute.backends.types import Execution
from orchestrator.execute.command.course import Course
from orchestrator.execute.command.files import RunFiles
from orchestrator.execute.command.logs import LOGS, log_end, log_parts, remove_log, rename_log
from orchestrator.execute.command.outcome import Ending, TrainerFailed, fault_of, judge
from orchestrator.execute.command.process import TrainerProcess, end_marked
from orchestrator.execute.command.reading import CourseReader
from orchestrator.spec.configuration import CommandConfig, Pack, n_steps_of

_STATE = "trainer.json"
_WAIT_SECONDS = 0.1
_LOOK_SECONDS = 0.5  # between two looks at a course, at least
_LOOK_SHARE = 0.05  # of the time that looking may take
_SHOWN_LINES = 25  # of stderr, in the text of a failure


def train_command(pack: Pack, execution: Execution) -> Iterator[Progress]:
    """Train the one run of a pack with the command of its configuration.

    A run that was stopped, or whose machine failed, goes on by the words of ``resume``, if there
    are any; otherwise it starts from the beginning. If this process is asked to stop, the trainer
    is ended, and there is no result.

    Yields:
        Progress with each new evaluation, and at the end the result.

    Raises:
        TrainerFailed: the trainer failed; the rules are `orchestrator.execute.command.outcome`'s.
        MachineFault: the machine failed; a second call may go on.
        ConfigError: the base or the folder of the trainer cannot be used.
        StorageError: the run's own files cannot be written.
    """
    (run,) = pack.runs  # commands share no pack
    assert isinstance(run.config, CommandConfig) and execution.weights_dir is not None
    folder = execution.weights_dir.resolve() / run.run_id
    files = RunFiles(run.run_id, run.config, pack.seed, folder)
    show_sign(0)
    if is_asked_to_stop():
        return
    end_marked(folder)  # what a worker left that was killed together with its keeper
    attempt = _prepare(files)
    reader = CourseReader(files.course, run.config.trainer.metrics)
    if reader.is_stdout:
        reader.take(_printed_before(folder))
    yield from _follow(files, attempt, reader, execution)


@dataclass(frozen=True)
class _Attempt:
    """One start of the trainer.

    Attributes:
        number: from 1; above 1 it goes on.
        seconds: what the attempts before it took.
    """

    number: int = 1
    seconds: float = 0.0


def _prepare(files: RunFiles) -> _Attempt:
    """Write the files of an attempt; it goes on where the last one was, if it can."""
    before = _read_state(files.folder)
    goes_on = files.config.trainer.resume is not None and before is not None and files.out.exists()
    try:
        if goes_on and before is not None:
            attempt = _Attempt(before.number + 1, before.seconds)
            for name in LOGS:
                rename_log(files.folder / name, _numbered(files.folder / name, before.number))
        else:
            attempt = _Attempt()
            files.start_afresh()
            for name in LOGS:
                for path in files.folder.glob(f"{Path(name).stem}*.log*"):
                    remove_log(path)
    except OSError as error:
        raise storage_error(error, files.folder, 0) from None
    _write_state(files.folder, attempt)
    return attempt


def _follow(
    files: RunFiles, attempt: _Attempt, reader: CourseReader, execution: Execution
) -> Iterator[Progress]:
    """Run the trainer to its end."""
    trainer = files.config.trainer
    started = time.monotonic() - attempt.seconds
    limit = math.inf if trainer.hours is None else 3600 * trainer.hours
    try:
        process = TrainerProcess(
            files.words(resumes=attempt.number > 1),
            files.cwd,
            files.environment(execution.threads_per_worker),
            files.folder,
            reads_stdout=reader.is_stdout,
        )
    except OSError as error:
        ending = Ending("machine", f"cannot be started: {error.strerror or error}")
        words = files.words(resumes=attempt.number > 1)
        raise fault_of(ending, f"the command: {words}\n{ending}") from None
    is_over = False
    with process:
        live = _Live(files.run_id, reader, execution.report_every_seconds)
        while not process.wait(_WAIT_SECONDS):
            seconds = time.monotonic() - started
            if is_asked_to_stop():
                process.end()
                _write_state(files.folder, replace(attempt, seconds=seconds))
                return
            if process.error is not None:
                raise storage_error(process.error, files.folder, 0)
            if is_over := seconds > limit:
                process.end()
                break
            reader.take(process.stdout_blocks())
            yield from live.progress()
    seconds = time.monotonic() - started
    assert process.ended is not None
    if process.error is not None:
        raise storage_error(process.error, files.folder, 0)
    reader.take(process.stdout_blocks())
    unread = ""
    try:
        reader.finish(whole=process.ended.code == 0)
    except (OSError, ValueError) as error:
        unread = f"{files.course} cannot be read: {error}"
    errors = log_end(files.folder / "stderr.log", _SHOWN_LINES)
    ending = judge(
        process.ended.code,
        reader.course,
        errors,
        unread or reader.held(),
        over_hours=trainer.hours if is_over else None,
    )
    if ending.rule == "machine":
        _write_state(files.folder, replace(attempt, seconds=seconds))
        raise fault_of(ending, _text(ending, files, errors))
    (files.folder / _STATE).unlink(missing_ok=True)
    if not ending.is_result:
        raise TrainerFailed(ending, _text(ending, files, errors))
    result = result_of(files, reader, ending, seconds, process.ended.peak_bytes)
    odd = [reader.course.unlikely(), reader.lacks()]
    remarks = [f"run {files.run_id}: {text}" for text in odd if text]
    if process.ended.n_left:
        n_left = process.ended.n_left
        what = "1 process, which is" if n_left == 1 else f"{n_left} processes, which are"
        remarks.append(f"run {files.run_id}: its trainer left {what} ended")
    yield Progress(result.n_steps_done, live.newest(), (result,), remarks)


def result_of(
    files: RunFiles, reader: CourseReader, ending: Ending, seconds: float, peak_bytes: int
) -> RunResult:
    """The result of a run that ended `Ending.is_result`, from its whole course."""
    diverged = ending.rule == "not finite"
    return RunResult(
        run_id=files.run_id,
        status="diverged" if diverged else "ok",
        history=reader.course.history(),
        n_steps_done=steps_done(files.config, reader.course, ending),
        n_parameters=0,
        n_dropped_trials=0,
        pack_seconds=seconds,
        n_runs_in_pack=1,
        peak_memory_bytes=peak_bytes,
        device="",  # the trainer chooses it
        ending=str(ending),
    )


def steps_done(config: CommandConfig, course: Course, ending: Ending) -> int:
    """The steps that a run took, as far as its course says so; never more than it is to take."""
    n_steps = n_steps_of(config)
    if ending.rule == "not finite":
        return min(ending.step, n_steps)
    # Without a mapped step, what the course counts may be something else, such as epochs.
    return min(course.last_step, n_steps) if "step" in config.trainer.metrics else n_steps


class _Live:
    """What a course says while it grows.

    Args:
        report_every_seconds: how often the step is reported between evaluations.
    """

    def __init__(self, run_id: str, reader: CourseReader, report_every_seconds: float) -> None:
        self._run_id, self._reader = run_id, reader
        self._every = report_every_seconds
        self._n_values = 0
        self._n_rows = 0
        self._next_look = 0.0
        self._next_report = time.monotonic() + report_every_seconds

    def progress(self) -> Iterator[Progress]:
        """Look at the course, if it is time to, and give what is new."""
        show_sign(self._reader.course.step)
        now = time.monotonic()
        if now < self._next_look:
            return
        with suppress(OSError, ValueError):  # it is being written; at the end it must be readable
            self._reader.look()
        course = self._reader.course
        latest = self.newest() if course.n_values != self._n_values else {}
        if latest or now >= self._next_report:
            self._next_report = now + self._every
            yield Progress(course.step or course.last_step, latest)
        self._n_values = course.n_values
        took = time.monotonic() - now
        self._next_look = time.monotonic() + max(_LOOK_SECONDS, took / _LOOK_SHARE)

    def newest(self) -> dict[str, dict[str, float]]:
        """Run id → its newest evaluation, if there is one that was not given before."""
        history = self._reader.course.history()
        if len(history) == self._n_rows:
            return {}
        self._n_rows = len(history)
        return {self._run_id: history[-1]} if history else {}


def _text(ending: Ending, files: RunFiles, errors: list[str]) -> str:
    """A failure in words, with the end of what the trainer wrote to stderr; the rule is last."""
    lines = [f"  {line}" for line in errors]
    return "\n".join(
        [
            f"the trainer of run {files.run_id} in {files.cwd}; {files.folder}/stdout.log and "
            "stderr.log have what it printed",
            *(["the end of stderr:", *lines] if lines else []),
            str(ending),
        ]
    )


def printed(folder: Path) -> Iterator[bytes]:
    """What all attempts of a run printed, as far as it is kept."""
    yield from _printed_before(folder)
    yield from log_parts(folder / LOGS[0])


def _printed_before(folder: Path) -> Iterator[bytes]:
    """What earlier attempts printed."""
    number = 1
    while (path := _numbered(folder / LOGS[0], number)).exists():
        yield from log_parts(path)
        yield b"\n"
        number += 1


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.stem}.{number}{log.suffix}")


def _read_state(folder: Path) -> _Attempt | None:
    """The attempt that was under way; None if there was none."""
    try:
        return _Attempt(**read_json(folder / _STATE))
    except (OSError, ValueError, TypeError):
        return None


def _write_state(folder: Path, attempt: _Attempt) -> None:
    text = json.dumps({"number": attempt.number, "seconds": attempt.seconds})
    write_atomically(folder / _STATE, text.encode())
