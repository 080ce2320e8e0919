"""`orchestrator.store.record`: an altered record is found, by checksum, type, range or run id."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from decoder.config import DecoderConfig, resolve, run_id
from decoder.pack import Run, RunResult
from orchestrator.store.ledger import make_record
from orchestrator.store.record import Damaged, Record, parse_record, sealed

CONFIG = resolve(DecoderConfig())
FINGERPRINT = "f" * 16
RUN_ID = run_id(CONFIG, 3, FINGERPRINT)


@pytest.fixture
def record(make_result: Callable[..., RunResult]) -> Record:
    short = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"n_steps": 6000})})
    return make_record(
        RUN_ID, CONFIG, 3, {"fingerprint": FINGERPRINT, "path": "synthetic:tiny"},
        {"pack_id": "p" * 16, "n_runs": 4}, make_result(Run(RUN_ID, short)),
        {"hostname": "here", "pid": 7}, {"python": "3"},
    )[0]  # fmt: skip


def older(record: Any) -> bytes:
    """The record as versions without a checksum wrote it."""
    return json.dumps(record, indent=1).encode()


def test_a_record_is_read_with_and_without_its_checksum(record: Record) -> None:
    assert parse_record(sealed(record), RUN_ID) == record
    assert parse_record(older(record), RUN_ID) == record


def test_the_checksum_holds_for_the_same_content_in_another_layout(record: Record) -> None:
    document = json.loads(sealed(record))
    assert list(document)[-1] == "record_sha256"
    assert parse_record(json.dumps(document).encode(), RUN_ID) == record
    document["n_parameters"] += 1
    with pytest.raises(Damaged, match="checksum"):
        parse_record(json.dumps(document).encode(), RUN_ID)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_a_number_that_no_record_holds_is_found(number: str, record: Record) -> None:
    altered = sealed(record).replace(b'"lr_max": 0.005', b'"lr_max": ' + number.encode())
    assert altered != sealed(record)
    for content in (altered, altered[: altered.rindex(b",")] + b"}"):  # without its checksum
        with pytest.raises(Damaged):
            parse_record(content, RUN_ID)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inner:
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from places(one, (*path, key))


def test_every_changed_value_is_found_by_the_checksum(record: Record) -> None:
    whole = json.loads(sealed(record))
    n_changed = 0
    for path in places(whole):
        document = json.loads(sealed(record))
        at = document
        for key in path[:-1]:
            at = at[key]
        old = at[path[-1]]
        at[path[-1]] = 17 if old != 17 else 18
        if isinstance(old, str):
            at[path[-1]] = old + "x"
        with pytest.raises(Damaged):
            parse_record(json.dumps(document).encode(), RUN_ID)
        n_changed += 1
    assert n_changed > 100


def test_every_flipped_bit_is_found(record: Record) -> None:
    content = sealed(record)
    rng = random.Random(0)
    for _ in range(300):
        at, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        altered = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        try:
            assert parse_record(altered, RUN_ID) == record  # white space at most
            assert altered.translate(None, b" \n\t\r") == content.translate(None, b" \n\t\r")
        except Damaged:
            continue


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("seed",), 4),
        (("seed",), -1),
        (("seed",), True),
        (("seed",), 10**400),
        (("config", "augment", "white_noise_std"), 0.5),
        (("config", "model", "n_units"), "many"),
        (("config", "model", "flavour"), 3),
        (("config", "train"), {}),
        (("dataset", "fingerprint"), "e" * 16),
        (("numerics_version",), 7),
        (("status",), "diverged"),
        (("status",), "failed"),
        (("status",), "fine"),
        (("diverged_step",), 5),
        (("error",), "Traceback"),
        (("n_steps_done",), 10**9),
        (("n_steps_done",), 1e30),
        (("n_parameters",), -3),
        (("pack", "n_runs"), 0),
        (("timing", "run_seconds"), -1.0),
        (("timing", "pack_seconds"), float("nan")),
        (("timing", "pack_seconds"), 1e300),
        (("timing", "finished_at"), "yesterday"),
        (("host", "pid"), 2**64),
        (("environment", "code"), None),
        (("environment",), None),
        (("peak_memory_bytes",), -1),
        (("grad_norm_quantiles",), {"p50": float("nan")}),
        (("per_session",), {"day": [-1, 5]}),
        (("per_session",), {"day": [1, 5, 5]}),
        (("confusions",), [[-5, 99, -1]]),
        (("confusions",), [[3, 99, 1]]),
        (("confusions",), [[3, 4]]),
        (("beam",), {"per": -0.5}),
        (("n_skipped_steps",), "0"),
        (("surprise",), 1),
    ],
)
def test_what_cannot_be_true_is_found_in_records_without_a_checksum(
    record: Record, path: tuple[str, ...], value: Any
) -> None:
    document = json.loads(older(record))
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(Damaged):
        parse_record(older(document), RUN_ID)


def test_the_configuration_of_a_newer_version_is_kept_where_the_checksum_is_right(
    record: Record,
) -> None:
    newer = json.loads(older(record))
    newer["config"]["model"]["flavour"] = ["vanilla"]
    assert parse_record(sealed(newer), RUN_ID) == newer


def test_a_repetition_is_known_by_its_number_and_found_where_older_records_lack_it(
    make_result: Callable[..., RunResult],
) -> None:
    identity = run_id(CONFIG, 3, FINGERPRINT, 2)
    record, _ = make_record(
        identity, CONFIG, 3, {"fingerprint": FINGERPRINT, "path": "synthetic:tiny"},
        {"pack_id": "p" * 16, "n_runs": 4}, make_result(Run(identity, CONFIG)),
        {"hostname": "here"}, {}, 2,
    )  # fmt: skip
    assert parse_record(sealed(record), identity)["replicate"] == 2
    del record["replicate"]
    assert parse_record(older(record), identity) == record
    record["replicate"] = 1
    with pytest.raises(Damaged, match="run id"):
        parse_record(sealed(record), identity)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"[" * 100_000, b"\xff", b"1" * 5000])
def test_what_is_no_record_at_all_is_found(content: bytes) -> None:
    with pytest.raises(Damaged):
        parse_record(content, RUN_ID)
