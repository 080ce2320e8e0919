"""`orchestrator.serve.file_answers`: whole files, parts, and what a browser may do with them."""

import base64
import hashlib
from pathlib import Path

import pytest

from orchestrator.serve import file_answers
from orchestrator.store.paths import Results

from .conftest import Serve

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def with_file(store: Results) -> Results:
    (store.ablation("two") / "notes.txt").write_bytes(CONTENT)
    (store.ablation("two") / "t.parquet").write_bytes(b"PAR1")
    return store


ADDRESS = "/files/ablations/two/notes.txt"


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=255990-", 206, 255990, 256000),
        ("bytes=-7", 206, 255993, 256000),
        ("bytes=-999999999", 206, 0, 256000),
        ("bytes=5-999999999", 206, 5, 256000),
        ("bytes=0-1,5-9", 200, 0, 256000),
        ("lines=1-2", 200, 0, 256000),
        ("bytes=-", 200, 0, 256000),
        ("bytes=" + "9" * 60 + "-", 200, 0, 256000),
    ],
)
def test_one_part_can_be_asked_for_and_what_is_not_understood_gives_the_whole(
    serve: Serve, with_file: Results, asked: str, status: int, start: int, stop: int
) -> None:
    answer = serve(with_file).get(ADDRESS, Range=asked)
    assert (answer.status, answer.body) == (status, CONTENT[start:stop])
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/256000"


def test_a_part_beyond_the_end_is_refused(serve: Serve, with_file: Results) -> None:
    client = serve(with_file)
    for asked in ("bytes=256000-", "bytes=9-3", "bytes=-0"):
        answer = client.get(ADDRESS, Range=asked)
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */256000")


def test_head_has_the_length_and_no_body(serve: Serve, with_file: Results) -> None:
    answer = serve(with_file).get(ADDRESS, "HEAD")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "256000")


def test_text_stays_text_and_tables_are_downloaded(serve: Serve, with_file: Results) -> None:
    client = serve(with_file)
    assert client.get(ADDRESS).headers["content-type"] == "text/plain; charset=utf-8"
    headers = client.get("/files/ablations/two/t.parquet").headers
    assert headers["content-disposition"] == "attachment"
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_a_file_of_many_gigabytes_is_sent_in_blocks(serve: Serve, with_file: Results) -> None:
    path = with_file.ablation("two") / "huge.log"
    with path.open("wb") as file:
        file.truncate(2**40)
    client = serve(with_file)
    answer = client.get("/files/ablations/two/huge.log", Range="bytes=1000000000000-1000000000009")
    assert (answer.status, answer.body) == (206, bytes(10))
    assert client.get("/files/ablations/two/huge.log", "HEAD").headers["content-length"] == str(
        2**40
    )


def test_a_page_runs_the_scripts_of_our_reports_and_no_others(
    serve: Serve, with_file: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.js").write_text("alert(1)")
    monkeypatch.setattr(file_answers, "TEMPLATES", tmp_path)
    file_answers._report_scripts.cache_clear()
    for name in ("report.html", "figure.svg"):
        (with_file.ablation("two") / name).write_text("x")
    client = serve(with_file)
    page = client.get("/files/ablations/two/report.html").headers["content-security-policy"]
    figure = client.get("/files/ablations/two/figure.svg").headers["content-security-policy"]
    file_answers._report_scripts.cache_clear()
    digest = base64.b64encode(hashlib.sha256(b"alert(1)").digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page and "default-src 'none'" in page
    assert page.startswith("sandbox ") and "allow-same-origin" not in page
    assert figure.startswith("sandbox;") and "script-src" not in figure


def test_descriptors_are_closed(serve: Serve, with_file: Results) -> None:
    client = serve(with_file)
    client.get(ADDRESS)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        for method in ("GET", "HEAD"):
            client.get(ADDRESS, method)
            client.get(ADDRESS, method, Range="bytes=999999999-")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
