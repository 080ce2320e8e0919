"""A decoder of the user's: gets a file of all trials' log-posteriors, gives sentences back."""

import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np

from decoder.data.sentences import normalise
from decoder.errors import DataError
from decoder.harmless import harmless
from decoder.logits import LogitTrial, write_logits
from decoder.words.evaluate import WordTrial

LOGITS, SENTENCES = "{logits}", "{sentences}"
_INPUT_NAME, _OUTPUT_NAME = "logits.npz", "sentences.csv"
_MOST_SENTENCE_BYTES = 10_000  # of one trial, in the answer
_SHOWN_BYTES = 4_000  # of what the command prints, its end
_HEADER = ["id", "text"]
# A process that ends a group of others when its standard input closes.
_ENDS_GROUP = (
    "import os, signal, sys; group = int(sys.argv[1]); sys.stdin.read(); "
    "os.killpg(group, signal.SIGKILL)"
)


def decode_by_command(
    trials: Sequence[WordTrial], command: Sequence[str], seconds: float
) -> list[str]:
    """The sentence of each trial by a command of the user's, in the order of the trials.

    The command is started once, by its words and without a shell. ``{logits}`` in a word becomes
    the path of the file of log-posteriors, which is that of `decoder.logits.write_logits` without
    labels: ``logits`` (sum of P, 41) float16 in the order that the language model of the official
    T15 code reads, ``offsets`` (n + 1,), ``session``, ``block``, ``trial``. ``{sentences}`` becomes
    the path of the file that the command writes: UTF-8, the header ``id,text``, then a line for
    each trial, with its position from 0 and its sentence. Lines may stand in any order.

    Args:
        trials: may be empty, and then nothing is started.
        command: the program and its arguments.
        seconds: after which the command and what it started are killed. So they are if this
            process is killed.

    Returns:
        Sentences after `decoder.data.sentences.normalise`.

    Raises:
        DataError: the command cannot be started, fails, takes too long, or its answer is not as
            described; says what it printed last.
        StorageError: the log-posteriors cannot be written.
    """
    if not trials:
        return []
    with tempfile.TemporaryDirectory(prefix="words-") as name:
        given, answer = Path(name) / _INPUT_NAME, Path(name) / _OUTPUT_NAME
        none = np.zeros(0, np.int64)
        write_logits(
            given,
            [LogitTrial(one.log_probs, none, *one[2:]) for one in trials],
            {"split": "validation", "n_trials": len(trials)},
        )
        argv = [
            word.replace(LOGITS, str(given)).replace(SENTENCES, str(answer)) for word in command
        ]
        printed = _run(argv, seconds)
        return _read(answer, len(trials), f"evaluation.words.command: {argv[0]}", printed)


def _run(argv: Sequence[str], seconds: float) -> str:
    """Run the command; → the end of what it printed."""
    what = f"evaluation.words.command: {harmless(' '.join(argv))[:300]}"
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{what}: cannot be started: {error}") from None
    assert process.stdout is not None
    tail = bytearray()
    reader = threading.Thread(target=_keep_end, args=(process.stdout, tail), daemon=True)
    reader.start()
    try:
        with _ended_with_this_process(process.pid):
            code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it, or what it left behind
        process.wait()
        reader.join(5)
    printed = _shown(tail)
    if code is None:
        raise DataError(f"{what}: was ended after {seconds:g} seconds{printed}")
    if code:
        raise DataError(f"{what}: ended with exit code {code}{printed}")
    return printed


@contextmanager
def _ended_with_this_process(group: int) -> Iterator[None]:
    """A context in which a process group is killed if this process ends in any way."""
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _ENDS_GROUP, str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watcher.kill()
        watcher.communicate()


def _keep_end(stream: IO[bytes], tail: bytearray) -> None:
    """Read a stream to its end, close it, and keep the last bytes."""
    with stream, suppress(OSError):
        while chunk := os.read(stream.fileno(), 1 << 16):
            tail += chunk
            del tail[:-_SHOWN_BYTES]


def _shown(tail: bytearray) -> str:
    text = bytes(tail).decode("utf-8", "replace").strip()
    return f"; it printed last: {text[-1500:]}" if text else "; it printed nothing"


def _read(path: Path, n_trials: int, what: str, printed: str) -> list[str]:
    """The sentences of an answer, checked."""
    most = n_trials * _MOST_SENTENCE_BYTES
    wanted = f"a file '{SENTENCES}' of UTF-8 text with the header id,text and {n_trials} lines"
    try:
        if not path.is_file() or path.is_symlink():
            raise DataError(f"{what}: wrote no {wanted}{printed}")
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise DataError(f"{what}: wrote more than {most:,} bytes, but must write {wanted}")
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{what}: must write {wanted}, but: {error}{printed}") from None
    rows = [row for row in rows if row]
    if not rows or rows[0] != _HEADER:
        raise DataError(f"{what}: must write {wanted}, but the first line is {rows[:1]}")
    found: dict[int, str] = {}
    for row in rows[1:]:
        position = int(row[0]) if row[0].isascii() and row[0].isdigit() else -1
        if len(row) != 2 or not 0 <= position < n_trials or position in found:
            raise DataError(
                f"{what}: must write {wanted}, each with a position from 0 to {n_trials - 1} once "
                f"and a sentence, but a line is {harmless(','.join(row))[:200]!r}"
            )
        found[position] = normalise(row[1])
    missing = [i for i in range(n_trials) if i not in found]
    if missing:
        raise DataError(
            f"{what}: must write {wanted}, but {len(missing)} are missing, the first of which is "
            f"{missing[0]}{printed}"
        )
    return [found[i] for i in range(n_trials)]
