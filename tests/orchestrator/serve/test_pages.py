"""The pages of `serve`: what they show of a results folder, and that they change nothing in it."""

import json
import os
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.serve import snapshot
from orchestrator.store.paths import Results

from .conftest import HOSTILE, Client, Serve, run_ids, tree


@pytest.fixture(autouse=True)
def always_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request reads the folder."""
    monkeypatch.setattr(snapshot, "_SECONDS", 0.0)
    monkeypatch.setattr(snapshot, "_PATIENCE", 0.0)


class Page(HTMLParser):
    """The tags of a page and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs), attrs
        self.links += [value for name, value in attrs if name in ("href", "src") and value]


def every_page(client: Client) -> dict[str, str]:
    """Address → text of the first pages that links lead to from the start, files left out."""
    seen: dict[str, str] = {}
    waiting = ["/"]
    while waiting and len(seen) < 40:
        path = waiting.pop(0)
        if path in seen or path.startswith(("/files/", "data:", "#", "/style", "/live")):
            continue
        answer = client.get(path)
        assert answer.status == 200, path
        seen[path] = answer.text
        waiting += [link for link in Page(answer.text).links if link.startswith("/")]
    return seen


def test_the_list_names_sweeps_with_state_progress_and_verdicts(
    serve: Serve, imported: Results
) -> None:
    text = serve(imported).get("/").text
    assert re.search(r'href="/ablations/two">two</a>\s*<span class="badge done">done', text)
    assert "12 of 12 runs" in text
    assert 'class="badge supported">✔ supported</span> <span>h</span>' in text
    assert 'href="/imported/others"' in text and "All 14 recorded" in text


def test_a_sweep_shows_claims_arms_files_and_its_report(serve: Serve, reported: Results) -> None:
    client = serve(reported)
    text = client.get("/ablations/two").text
    assert "The mean is worse." in text and "6 collapsed · 6 ok" in text
    for file in ("report.html", "verdicts.csv", "figures/effects.svg"):
        assert f'href="/files/ablations/two/{file}"' in text
    report = client.get("/files/ablations/two/report.html")
    folder = reported.ablation("two")
    assert report.body == (folder / "report.html").read_bytes()
    assert report.headers["content-security-policy"].startswith("sandbox")


def test_a_run_shows_its_curves_with_those_of_other_seeds_behind(
    serve: Serve, reported: Results
) -> None:
    run_id = run_ids(reported, "sum")[0]
    text = serve(reported).get(f"/run/{run_id}").text
    first = re.search(r"<figcaption>PER</figcaption>(.*?)</figure>", text, re.DOTALL)
    assert first is not None
    assert first[1].count('class="line peer"') == 5 and first[1].count('class="line s0"') == 1
    assert "optim.lr_max" in text and "0123abcd" in text
    assert f'href="/files/runs/{run_id}/record.json"' in text


def test_chosen_runs_are_compared_by_settings_values_and_curves(
    serve: Serve, reported: Results
) -> None:
    one, other = run_ids(reported, "sum")[0], run_ids(reported, "mean")[0]
    text = serve(reported).get(f"/compare?run={one}&run={other}&run=nonsense&run={one}").text
    differ = re.search(r"Settings that differ</h2>(.*?)<h2>", text, re.DOTALL)
    assert differ is not None
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', differ[1])
    assert rows == [("loss.ctc_reduction", "none_then_mean", "mean")]
    assert '<th scope="row">outcome</th><td>ok</td><td>collapsed</td>' in text
    assert (
        'class="line s0"' in text
        and 'class="line s1"' in text
        and "There is no run nonsense" in text
    )


def test_runs_are_filtered_sorted_and_paged(
    serve: Serve, imported: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.serve import views

    monkeypatch.setattr(views, "PER_PAGE", 4)
    client = serve(imported)

    def ids(query: str) -> list[str]:
        return re.findall(r'name="run" value="([^"]*)"', client.get(f"/runs?{query}").text)

    assert len(ids("")) == 4 and "page 1 of 4" in client.get("/runs").text
    every = [one for page in range(1, 5) for one in ids(f"page={page}")]
    assert len(set(every)) == 14
    assert ids("page=99") == ids("page=4") == every[12:]
    assert ids("page=-1") == ids("page=%F3") == ids("page=") == ids("page=1")
    collapsed = [*ids("outcome=collapsed&page=1"), *ids("outcome=collapsed&page=2")]
    assert sorted(collapsed) == sorted(run_ids(imported, "mean"))
    assert set(ids("sweep=imported/others")) < set(every)
    assert ids("sweep=ablations/none") == []
    seeds = [run_ids(imported, arm)[5] for arm in ("sum", "mean")]
    assert set(ids("sweep=ablations/two&sort=-seed")[:2]) == set(seeds)
    assert ids(f"text={every[3][:9]}") == [every[3]]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/run/nothing", "/run/../../etc/passwd", "/run/", "/ablations/none", "/runs/x",
     "/ablations/..%2F..", "/searches/two", "/compare/x", "/files/", "/files/../../../etc/passwd",
     "/files/%2e%2e/%2e%2e/etc/passwd", "/files//etc/passwd", "/files/runs/..%2f..%2fx.json",
     "/files/runs/%00.json", "/../pyproject.toml", "/%2e%2e/x", "/files/datasets/x/manifest.json"],
)  # fmt: skip
def test_an_unknown_address_is_a_page_that_says_404(
    serve: Serve, reported: Results, path: str
) -> None:
    answer = serve(reported).get(path)
    assert answer.status == 404
    assert "<h1>404 Not Found</h1>" in answer.text and b"root:" not in answer.body


def test_hostile_names_and_contents_are_text_on_every_page(serve: Serve, imported: Results) -> None:
    plan = json.loads(imported.plan("two").read_bytes())
    plan["question"] = f"Why {HOSTILE}?"
    del plan["plan_sha256"]
    imported.plan("two").write_text(json.dumps(plan))
    (imported.ablations / HOSTILE.replace("/", "_")).mkdir()
    shutil.copy(imported.plan("two"), imported.ablations / HOSTILE.replace("/", "_") / "plan.json")
    run = imported.run(run_ids(imported, "sum")[0])
    (run / "failed.log").write_text(f"a\x1b[31m log {HOSTILE}\n")
    pages = every_page(serve(imported))
    assert any("Why" in text for text in pages.values())
    assert any("a\\x1b[31m log" in text for text in pages.values())
    for path, text in pages.items():
        assert Page(text).tags.count("script") == 1, path
        assert "<script>alert" not in text and "\u202e" not in text and "\x1b" not in text, path
    assert sum("&lt;script&gt;alert" in text for text in pages.values()) > 3


def test_nothing_in_the_folder_changes_even_where_it_may_not_be_written(
    serve: Serve, imported: Results
) -> None:
    before = tree(imported.root)
    every_page(serve(imported))
    assert tree(imported.root) == before


def test_a_folder_that_was_copied_from_elsewhere_is_shown(
    serve: Serve, imported: Results, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(imported.root, copy)
    (copy / "ablations" / "two" / "driver.json").write_text(
        json.dumps({"pid": 1, "host": "gone", "since": "2026-01-01T00:00:00+00:00"})
    )
    shutil.rmtree(imported.root)
    text = serve(Results(copy)).get("/").text
    assert 'badge done">done' in text and "process 1" not in text


def test_runs_and_sweeps_appear_and_go_while_others_write(serve: Serve, reported: Results) -> None:
    client = serve(reported)
    lost = run_ids(reported, "sum")[2]
    assert "12 of 12 runs" in client.get("/").text
    reported.record(lost).rename(reported.run(lost) / "aside")
    text = client.get("/").text
    assert "11 of 12 runs" in text and "interrupted" in text
    assert "not recorded yet" in client.get(f"/run/{lost}").text
    (reported.run(lost) / "aside").rename(reported.record(lost))
    assert "12 of 12 runs" in client.get("/").text
    shutil.rmtree(reported.ablation("two"))
    assert client.get("/ablations/two").status == 404
    assert client.get(f"/run/{lost}").status == 200


def test_a_driver_that_trains_now_is_named_and_its_lock_is_left_alone(
    serve: Serve, reported: Results
) -> None:
    from orchestrator.store.locks import driver_seat

    client = serve(reported)
    with driver_seat(reported, "two", lambda text: None) as seat:
        seat.tell(3, 30, 120)
        text = client.get("/ablations/two").text
        assert 'badge running">running' in text and f"process {os.getpid()}" in text
        assert "25 % of the steps" in text
    assert 'badge done">done' in client.get("/ablations/two").text
    with driver_seat(reported, "two", lambda text: None):
        pass


@pytest.mark.parametrize(
    "damage", ["plan", "record", "verdicts", "fifo", "group", "study", "index"]
)
def test_a_damaged_file_spoils_nothing_else(
    serve: Serve, imported: Results, damage: str, tmp_path: Path
) -> None:
    one = run_ids(imported, "sum")[0]
    folder = imported.ablation("two")
    (folder / "verdicts.parquet").touch()
    if damage == "plan":
        (folder / "plan.json").write_text("{")
    elif damage == "record":
        imported.record(one).write_text("{")
    elif damage == "verdicts":
        (folder / "verdicts.parquet").write_bytes(b"PAR1nonsense")
    elif damage == "fifo":
        for path in (folder / "verdicts.parquet", imported.record(one), imported.history(one)):
            path.unlink()
            os.mkfifo(path)
        os.mkfifo(imported.run(one) / "stdout.log")
    elif damage == "group":
        next((imported.root / "imported/others").glob("good*.json")).write_text("[")
    elif damage == "index":
        imported.index.write_bytes(b"x")
        imported.index_checksum.write_bytes(b"x")
    else:
        (imported.root / "searches/hunt").mkdir(parents=True)
        (imported.root / "searches/hunt/study.db").write_bytes(b"not a database")
    client = serve(imported)
    pages = every_page(client)
    missing = {"/ablations/two", "/imported/others"} - pages.keys()
    assert not missing
    if damage == "plan":
        assert "badge unreadable" in pages["/"]
    if damage in ("record", "fifo"):
        assert "11 of 12 runs" in pages["/"]
    if damage == "study":
        assert "hunt" in pages["/"]


def test_links_to_outside_show_nothing_of_what_they_lead_to(
    serve: Serve, imported: Results, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    one = run_ids(imported, "sum")[0]
    shutil.move(imported.run(one), outside / one)
    imported.run(one).symlink_to(outside / one)
    shutil.move(imported.root / "imported/others", outside / "others")
    (imported.root / "imported/others").symlink_to(outside / "others")
    client = serve(imported)
    text = client.get("/").text
    assert "11 of 12 runs" in text and "others" not in text
    assert "not recorded yet" in client.get(f"/run/{one}").text
    assert client.get(f"/files/runs/{one}/record.json").status == 404
    assert client.get("/imported/others").status == 404
    shutil.move(imported.runs, outside / "runs")
    imported.runs.symlink_to(outside / "runs")
    assert "0 of 12 runs" in client.get("/").text


def test_an_empty_folder_says_that_nothing_was_run(serve: Serve, tmp_path: Path) -> None:
    client = serve(Results(tmp_path))
    assert "Nothing has been run" in client.get("/").text
    assert "0 runs" in client.get("/runs").text
    assert client.get("/compare").status == 200


def test_ten_thousand_requests_worth_of_state_is_read_once_in_two_seconds(
    serve: Serve, reported: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_SECONDS", 60.0)
    n_reads: list[Any] = []
    read = snapshot.Watched._read
    monkeypatch.setattr(snapshot.Watched, "_read", lambda self: (n_reads.append(0), read(self))[1])
    client = serve(reported)
    started = time.monotonic()
    for _ in range(50):
        assert client.get("/").status == 200
    assert len(n_reads) == 1
    assert time.monotonic() - started < 20
