"""The record of a run: its type, how it is made and written, and the checks when it is read.

A record carries a checksum over its content, and its run id is the hash of its configuration, seed
and recordings. Both are checked when it is read, and so are the types and ranges of its values.
Records from before there was a checksum have only the other two.
"""

import functools
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict  # what pydantic asks for below Python 3.12

from decoder.atomic import sha256_of
from decoder.config import DecoderConfig, canonical_json, run_id_of
from decoder.phonemes import N_CLASSES
from orchestrator.spec.configuration import identity, parse_document

SCHEMA = 1
# What stands before and after the checksum, at the end of the file.
_BEFORE, _AFTER = b',\n "record_sha256": "', b'"\n}\n'
_MOST_REPLICATES = 64  # that are tried for an older record, which does not say which one it is

_strict = with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
# A newer version may write more.
_open = with_config(ConfigDict(extra="allow", strict=True, allow_inf_nan=False))

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what a table can hold
Count = Annotated[int, Field(ge=0, lt=2**62)]
Amount = Annotated[float, Field(ge=0, le=1e18)]
_Norm = Annotated[float, Field(ge=0)]
_Pair = Annotated[list[Count], Field(min_length=2, max_length=2)]
_Triple = Annotated[list[Count], Field(min_length=3, max_length=3)]


@_strict
class RecordDataset(TypedDict):
    fingerprint: str
    path: str


@_strict
class RecordPack(TypedDict):
    pack_id: str
    n_runs: Annotated[int, Field(ge=1, lt=2**62)]


@_strict
class RecordTiming(TypedDict):
    """When a run ended, and how long it took.

    ``pack_seconds`` is the time of its pack up to then, ``run_seconds`` that divided by the number
    of runs in the pack, and ``finished_at`` the UTC time in ISO 8601.
    """

    pack_seconds: Amount
    run_seconds: Amount
    finished_at: str


@_open
class RecordCode(TypedDict, total=False):
    """The code of the decoder package; the git values are None outside a git checkout.

    ``training_sha256`` is missing in older records, see `orchestrator.store.sources`.
    """

    decoder_sha256: str
    training_sha256: str
    git_commit: str | None
    git_dirty: bool | None


@_open
class RecordEnvironment(TypedDict, total=False):
    """What a result was made with, see `orchestrator.store.provenance`."""

    python: str
    platform: str
    torch: str
    numpy: str
    code: RecordCode
    precision: str
    kernel: str  # of the recurrence
    driver: str  # of the GPU


class RecordHistory(TypedDict):
    """The part of a record by which its history is checked."""

    history_sha256: str
    n_history_rows: Count


@_strict
class RecordHeldOut(TypedDict):
    """As `decoder.pack.HeldOutSession`."""

    n_edits: Count
    n_reference: Count
    days: Whole | None


@_strict
class Record(TypedDict):
    """``record.json``: how one run ended.

    ``status`` is ``ok``, ``diverged`` (a result, see ``diverged_step``) or ``failed`` (not a
    result: ``error`` has the traceback, and the next ``run`` trains the run again). ``config`` is
    resolved. ``replicate`` is there if the run is a repetition of another. ``ending`` is there if a
    trainer of the user's made it, and says which rule decided how it ended. ``held_out`` is there
    if sessions are held out, and ``words`` if the run is decoded to words, see
    `decoder.pack.RunResult`. The other keys that are not required are missing in older records. The
    file ends with ``record_sha256``, see `sealed`.
    """

    schema: Whole
    run_id: str
    seed: Count
    config: dict[str, dict[str, Any]]
    dataset: RecordDataset
    numerics_version: Count
    status: Literal["ok", "diverged", "failed"]
    diverged_step: Count | None
    error: str | None
    n_steps_done: Count
    n_parameters: Count
    n_dropped_trials: Count
    pack: RecordPack
    timing: RecordTiming
    host: dict[str, str | Whole]
    environment: RecordEnvironment
    peak_memory_bytes: Count
    replicate: NotRequired[Count]
    grad_norm_quantiles: NotRequired[dict[str, _Norm] | None]
    per_session: NotRequired[dict[str, _Pair] | None]
    confusions: NotRequired[list[_Triple] | None]
    beam: NotRequired[dict[str, Amount] | None]
    n_skipped_steps: NotRequired[Count]
    ending: NotRequired[str]
    n_train_trials: NotRequired[Count]
    n_train_sessions: NotRequired[Count]
    held_out: NotRequired[dict[str, RecordHeldOut]]
    words: NotRequired[dict[str, str | Whole | Annotated[float, Field(ge=-1e9, le=1e9)] | None]]
    history_sha256: str
    n_history_rows: Count


@_strict
class _OnDisk(Record):
    record_sha256: NotRequired[str]


_RECORD = TypeAdapter(_OnDisk)


class Damaged(Exception):
    """A record or history on disk is incomplete or was altered; the text says how."""


def sealed(record: Record) -> bytes:
    """The content of ``record.json``: the record as JSON, and a checksum of that at its end.

    The checksum is the SHA-256 of the record as JSON with an indent of one space, up to its last
    value. So it holds for the same content in another layout.
    """
    body = _body(record)
    return body + _BEFORE + sha256_of(body).encode() + _AFTER


def parse_record(content: bytes, run_id: str) -> Record:
    """Read what `sealed`, or an earlier version without a checksum, wrote.

    Args:
        run_id: the run that the file belongs to.

    Raises:
        Damaged: it is no record, one of another run, or altered.
    """
    try:
        on_disk = _RECORD.validate_json(content)
    except ValidationError as error:
        raise Damaged(f"is not a valid record ({first_mistake(error)})") from None
    if on_disk["run_id"] != run_id or on_disk["schema"] != SCHEMA:
        raise Damaged(f"is the record of run {on_disk['run_id']}, schema {on_disk['schema']}")
    checksum = on_disk.pop("record_sha256", None)
    record = cast(Record, on_disk)
    if checksum is not None and not _has_checksum(content, checksum):
        raise Damaged("does not match its checksum")
    problem = next(_contradictions(record), None) or _foreign_id(record, checksum is not None)
    if problem:
        raise Damaged(problem)
    return record


def first_mistake(error: ValidationError) -> str:
    """The place and the text of the first mistake in a file."""
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _body(record: Any) -> bytes:
    return json.dumps(record, indent=1, allow_nan=False).encode().removesuffix(b"\n}")


def _has_checksum(content: bytes, checksum: str) -> bool:
    body, _, end = content.rpartition(_BEFORE)
    if body and end == checksum.encode() + _AFTER and sha256_of(body) == checksum:
        return True
    try:  # another layout: JSON keeps the order of the keys
        document = json.loads(content)
        del document["record_sha256"]
        return sha256_of(_body(document)) == checksum
    except ValueError:  # a number that is infinite as a float, or of thousands of digits
        return False


def _contradictions(record: Record) -> Iterator[str]:
    """What cannot be true of a run, although each value is possible by itself."""
    status, step = record["status"], record["diverged_step"]
    n_steps = record["config"].get("train", {}).get("n_steps")
    if type(n_steps) is not int or max(record["n_steps_done"], step or 0) > n_steps:
        yield f"has done {record['n_steps_done']} of {n_steps!r} steps"
    if (status == "diverged") != (step is not None):
        yield f"has status '{status}' and diverged_step {step}"
    if (status == "failed") != (record["error"] is not None):
        yield f"has status '{status}' and {'no' if record['error'] is None else 'an'} error"
    if any(pair[0] >= N_CLASSES or pair[1] >= N_CLASSES for pair in record.get("confusions") or ()):
        yield f"has confusions of classes above {N_CLASSES - 1}"
    try:
        datetime.fromisoformat(record["timing"]["finished_at"])
    except ValueError:
        yield f"was finished at '{record['timing']['finished_at']}'"


def _foreign_id(record: Record, has_checksum: bool) -> str:
    """What is wrong if the run id is not that of configuration, seed and recordings.

    A configuration that cannot be read here is that of another version if there is a checksum.
    """
    text = _identity_text(to_json(record["config"]))
    if text is None:
        return "" if has_checksum else "has a configuration that is not valid"
    of_run = (text, record["seed"], record["dataset"]["fingerprint"])
    known = record.get("replicate", 0)
    # Older records do not say which repetition they are; nearly all are none.
    tried = range(known, known + 1 if has_checksum or known else _MOST_REPLICATES)
    version = record["numerics_version"]
    if any(run_id_of(*of_run, replicate, version) == record["run_id"] for replicate in tried):
        return ""
    return "has a run id that does not belong to its configuration, seed and recordings"


@functools.lru_cache(maxsize=4096)
def _identity_text(config: bytes) -> str | None:
    """The identity of a configuration as JSON; the runs of an arm share it. None if not valid."""
    try:
        return canonical_json(identity(DecoderConfig.model_validate_json(config)))
    except ValidationError:
        command = parse_document(from_json(config))
        return None if command is None else canonical_json(identity(command))
