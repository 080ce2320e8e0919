"""Trains one exported run: a file with a configuration and a seed in, a sealed result out.

``python -m orchestrator export`` writes such files, and ``import-runs`` brings the results back.
"""

import json
import math
import os
import platform
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from decoder.atomic import sha256_of, write_atomically
from decoder.config import (
    NUMERICS_VERSION,
    DecoderConfig,
    canonical_json,
    parse_config,
    resolve,
    run_id,
)
from decoder.data.files import Say
from decoder.errors import ConfigError, DataError
from decoder.life import ask_to_stop, is_asked_to_stop
from decoder.pack import HistoryRow, Pack, Run, RunResult
from decoder.plain_values import parse_json
from decoder.sources import decoder_sha256, git_state
from decoder.user_files import read_bounded

SCHEMA = 1
RESULT_NAME = "result.json"
_MOST_BYTES = 1 << 28
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)
_KEYS = {
    *("schema", "run_id", "seed", "replicate", "fingerprint", "config"),
    *("data", "start_file"),
}


@dataclass(frozen=True)
class ExportedRun:
    """One run, as a file of its own.

    Attributes:
        config: its configuration, resolved.
        replicate: as in `decoder.config.run_id`.
        fingerprint: of the recordings that it was planned for.
        data: where these lie, from any working directory.
        start_file: where the file of ``train.start_from`` lies likewise; None without one.
        word_files: file that words are decoded with, as written → where it lies likewise.
    """

    run_id: str
    seed: int
    replicate: int
    fingerprint: str
    config: DecoderConfig
    data: str
    start_file: str | None = None
    word_files: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "seed": self.seed,
            "replicate": self.replicate,
            "fingerprint": self.fingerprint,
            "config": self.config.model_dump(mode="json"),
            "data": self.data,
            "start_file": self.start_file,
            **({"word_files": dict(self.word_files)} if self.word_files else {}),
        }


class Ended(NamedTuple):
    """How one exported run ended, as its result file says.

    Attributes:
        numerics_version: of the decoder that trained it.
        host: the machine and process.
        environment: versions of Python and packages, and the code of the decoder.
        finished_at: UTC time in ISO 8601.
    """

    run: ExportedRun
    result: RunResult
    numerics_version: int
    host: Mapping[str, str | int]
    environment: Mapping[str, Any]
    finished_at: str


def read_run(path: Path) -> ExportedRun:
    """Read the file of one run.

    Raises:
        ConfigError: it cannot be read, was altered, or belongs to another version of the decoder.
    """
    return _parse_run(parse_json(read_bounded(path, _MOST_BYTES, "export again"), path), path)


def _parse_run(document: Any, path: Path) -> ExportedRun:
    if (
        not isinstance(document, dict)
        or document.get("schema") != SCHEMA
        or set(document) - {"word_files"} != _KEYS
    ):
        raise ConfigError(f"{path}: is no exported run; `python -m orchestrator export` writes one")
    config = parse_config(document["config"], str(path))
    run = ExportedRun(
        str(document["run_id"]),
        int(document["seed"]),
        int(document["replicate"]),
        str(document["fingerprint"]),
        config,
        str(document["data"]),
        document["start_file"] and str(document["start_file"]),
        {str(text): str(path) for text, path in document.get("word_files", {}).items()},
    )
    if run_id(resolve(config), run.seed, run.fingerprint, run.replicate) != run.run_id:
        raise ConfigError(
            f"{path}: its run id is not that of its configuration, seed and recordings; it was "
            "altered, or exported for a decoder of another version: export it again with this one"
        )
    return run


def train_run(
    path: Path,
    output: Path,
    datasets_dir: Path,
    say: Say,
    *,
    data: str | None = None,
    device: str | None = None,
    checkpoint_every_seconds: float = 20.0,
) -> RunResult | None:
    """Train one exported run and write its result; a run that has one is not trained again.

    After SIGTERM, SIGHUP, SIGUSR1 or Ctrl-C the run writes a checkpoint at its next step, and the
    next call goes on from there.

    Args:
        path: the file of the run.
        output: gets ``result.json``, the checkpoint while it trains, and weights if the
            configuration keeps them.
        datasets_dir: keeps packed recordings.
        data: where the recordings lie on this machine; None takes `ExportedRun.data`.
        device: a torch device; None takes the GPU if there is one.

    Returns:
        The result; None if the run was asked to stop.

    Raises:
        ConfigError: see `read_run`.
        DataError: the recordings are not those that the run was planned for.
        StorageError: a folder cannot be written.
    """
    run = read_run(path)
    if (output / RESULT_NAME).is_file():
        say(f"{output / RESULT_NAME}: the run has a result already")
        return read_result(output / RESULT_NAME).result

    from decoder.data.prepare import prepare  # numpy and h5py
    from decoder.determinism import fix_workspace
    from decoder.train import train

    fix_workspace()
    own = run.config.data
    place = data or run.data
    needs_sentences = run.config.evaluation.words.is_on
    dataset = prepare(
        place,
        own.sessions,
        own.feature_subset,
        datasets_dir,
        say,
        needs_sentences=needs_sentences,
    )
    if dataset.fingerprint != run.fingerprint:
        raise DataError(
            f"{place}: has the fingerprint {dataset.fingerprint}, but {path} was "
            f"planned for {run.fingerprint}; name its recordings with --data, or export it again"
        )
    pack = Pack(run.run_id, run.seed, (Run(run.run_id, run.config),))
    ended: RunResult | None = None
    with _stopping_in_order():
        for event in train(
            pack,
            dataset,
            device=device,
            checkpoint_dir=output / "checkpoint",
            checkpoint_every_seconds=checkpoint_every_seconds,
            weights_dir=output / "weights",
            start_files=_start_files(run),
        ):
            for text in event.remarks:
                say(text)
            for row in event.latest.values():
                say(
                    f"step {row['step']:,.0f} of {run.config.train.n_steps:,}: PER {row['per']:.4f}"
                )
            ended = next(iter(event.finished), ended)
    if ended is not None:
        write_atomically(output / RESULT_NAME, _sealed(run, ended))
    return ended


def _start_files(run: ExportedRun) -> dict[str, Path]:
    written = run.config.train.start_from
    files = {text: Path(path) for text, path in run.word_files.items()}
    if written is not None and run.start_file is not None:
        files[written] = Path(run.start_file)
    return files


@contextmanager
def _stopping_in_order() -> Iterator[None]:
    """Let signals ask the training to stop, and let the block end with the exit code of one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        ask_to_stop()

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        was_asked = is_asked_to_stop()
        ask_to_stop(False)
    if received and was_asked:
        raise SystemExit(128 + received[0])


def _sealed(run: ExportedRun, result: RunResult) -> bytes:
    document = {
        "schema": SCHEMA,
        "run": run.document(),
        "result": _plain(asdict(result)),
        "numerics_version": NUMERICS_VERSION,
        "host": {
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            **_slurm_job(),
        },
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "torch": _version("torch"),
            "numpy": _version("numpy"),
            "code": {
                "decoder_sha256": decoder_sha256(),
                "git_commit": git_state().commit,
                "git_dirty": git_state().is_dirty,
            },
        },
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    document["sha256"] = sha256_of(canonical_json(document).encode())
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"


def _slurm_job() -> dict[str, str]:
    job = os.environ.get("SLURM_JOB_ID")
    return {"slurm_job": job} if job else {}


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def read_result(path: Path) -> Ended:
    """Read what `train_run` wrote.

    Raises:
        ConfigError: it cannot be read, is incomplete, or was altered.
    """
    content = read_bounded(path, _MOST_BYTES, "train the run again")
    try:
        document = json.loads(content)  # a history may hold more values than a user's file
        checksum = document.pop("sha256")
        if checksum != sha256_of(canonical_json(document).encode()):
            raise ConfigError(f"{path}: does not match its checksum; remove it and train again")
        result = dict(document["result"])
        return Ended(
            _parse_run(document["run"], path),
            RunResult(
                **{
                    **result,
                    "history": tuple(map(_numbers, result["history"])),
                    "grad_norm_quantiles": _numbers(result["grad_norm_quantiles"]),
                    "per_session": {n: tuple(p) for n, p in result["per_session"].items()},
                    "confusions": tuple(tuple(triple) for triple in result["confusions"]),
                }
            ),
            int(document["numerics_version"]),
            dict(document["host"]),
            dict(document["environment"]),
            str(document["finished_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path}: is no result of an exported run ({type(error).__name__}: {error}); remove it "
            "and train the run again"
        ) from None


def _plain(value: Any) -> Any:
    """A copy that JSON can hold: numbers that are not finite become text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _numbers(row: Mapping[str, Any]) -> HistoryRow:
    """Name → number, where text stands for a number that is not finite."""
    return {n: float(value) if isinstance(value, str) else value for n, value in row.items()}
