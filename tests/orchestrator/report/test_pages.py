import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.pages import escape_markdown
from orchestrator.report.rebuild import rebuild

Build = Callable[..., Any]
Evil = tuple[Path, list[Path]]
EVIL = "<script>alert(1)</script> | `x` ![i](http://evil/x.png) <img src=http://evil/y.png>"


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "data", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def evil(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Evil:
    """A report on hostile words, with a failed run whose traceback holds a script."""
    hypotheses = {"h": {**two_arm_spec["hypotheses"]["h"], "claim": f"Claim {EVIL}"}}
    spec = {
        **two_arm_spec,
        "question": f"Question {EVIL}\n\n# not a heading",
        "hypotheses": hypotheses,
        "extra_arms": {"mine": {"set": {"optim.epsilon": 1e-8}, "note": EVIL}},
    }
    made = build(spec, lambda levels, _: truth(status={1: "failed"} if not levels else {}))
    folder = tmp_path_factory.mktemp("evil")
    return folder, rebuild(folder, *made)


def test_the_folder_holds_what_the_readme_promises(evil: Evil) -> None:
    folder, paths = evil
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {path.relative_to(folder).as_posix() for path in paths}
    tables = {
        f"{n}.{e}" for n in ("runs", "arms", "history", "verdicts") for e in ("csv", "parquet")
    }
    assert tables | {"report.md", "report.html", "figures/effects.svg"} <= files


def test_the_page_loads_nothing_and_runs_nothing(evil: Evil) -> None:
    html = (evil[0] / "report.html").read_text()
    page = Page(html)
    assert page.tags.count("script") == 1
    [script] = re.findall(r"<script>(.*?)</script>", html, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == f"'sha256-{digest}'"
    assert not re.search(r"fetch|XMLHttp|import|https?:", script)
    assert not re.search(r"<[^>]* on[a-z]+=", html)
    assert page.tags.count("img") == 5
    assert all(re.match(r"data:image/svg\+xml;base64,|#[\w-]+$", a) for a in page.addresses)
    assert "url(" not in html and "@import" not in html
    assert page.text.count("<script>alert(1)</script>") >= 4  # shown as the text it is


def test_markdown_shows_hostile_words_as_text(evil: Evil) -> None:
    text = (evil[0] / "report.md").read_text()
    code = [line for line in text.splitlines() if line.startswith("    ")]
    prose = [line for line in text.splitlines() if not line.startswith("    ")]
    assert any("<script>" in line for line in code), "the traceback is code"
    assert not any("<" in line for line in prose)
    assert not re.search(r"(?<!\\)!\[[^\]]*\]\((?!figures/)", "\n".join(prose))
    assert not any(line.startswith("# not") for line in prose)
    tables = [line for line in prose if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "loss" in line}
    assert tables and widths <= {4, 14}


def test_code_blocks_follow_a_blank_line_outside_any_list(evil: Evil) -> None:
    lines = (evil[0] / "report.md").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("    Traceback"))
    assert lines[first - 1] == "" and "failed after" in lines[first - 2]


def test_figures_of_the_markdown_exist(evil: Evil) -> None:
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (evil[0] / "report.md").read_text())
    links = [link for link in links if "evil" not in link]
    assert len(links) == 5 and all((evil[0] / link).is_file() for link in links)


def test_a_second_rebuild_gives_the_same_bytes(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    first = rebuild(tmp_path / "a", *made)
    contents = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in first}
    second = rebuild(tmp_path / "b", *made)
    assert contents == {p.relative_to(tmp_path / "b"): p.read_bytes() for p in second}


def test_the_report_gives_its_answer_before_the_evidence(twelve_arms: Any, tmp_path: Path) -> None:
    rebuild(tmp_path, *twelve_arms)
    text = (tmp_path / "report.md").read_text()
    headings = re.findall(r"^## (.*)$", text, flags=re.M)
    assert headings == [
        "Answer",
        "Evidence",
        "Arm by arm",
        "What was varied",
        "For a paper",
        "How it was decided",
        "Data and budget",
        "Runs that did not reach their budget",
        "Limits",
        "Environment and timing",
    ]
    answer = text.split("## Answer")[1].split("## Evidence")[0]
    for hypothesis in twelve_arms.plan.spec.hypotheses.values():
        assert hypothesis.claim in answer
    assert "78 of 78 runs" in text
    limits = text.split("## Limits")[1].split("## Environment")[0]
    assert "400 steps" in limits and "synthetic" in limits and "every 20 steps" in limits
    assert "4f1d9b27c0a853e6" in text and "0123abcd, changed" in text


def test_an_unfinished_ablation_says_how_far_it_is(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda *_: truth(status={2: "missing"}))
    rebuild(tmp_path, *made)
    text = (tmp_path / "report.md").read_text()
    assert "4 of 6 runs" in text
    assert [verdict.reason for verdict in evaluate_records(*made).verdicts] == ["gaps"]


def test_an_ablation_without_runs_or_claims_still_reports(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build({**two_arm_spec, "hypotheses": {}}, lambda *_: truth())
    rebuild(tmp_path, made.plan, {}, {})
    assert not evaluate_records(made.plan, {}, {}).verdicts
    text = (tmp_path / "report.md").read_text()
    assert "0 of 6 runs" in text and "– steps" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b*c", r"a\_b\*c"),
        ("a\nb\tc", "a b c"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("x|y", r"x\|y"),
        ("a\x1b[0m\x07", r"a\[0m"),
    ],
)
def test_markdown_text_is_escaped(text: str, expected: str) -> None:
    assert escape_markdown(text) == expected


def other_sources(made: Any, n: int) -> None:
    """Make the first `n` records those of other source code."""
    for run_id in sorted(made.records)[:n]:
        code = {"decoder_sha256": "b" * 64, "git_commit": "0123abcd"}
        made.records[run_id]["environment"] = {"torch": "2.11.0", "code": code}


def test_runs_of_other_source_code_are_left_out_unless_the_plan_allows_them(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    other_sources(made, 2)
    given = evaluate_records(*made)
    assert sorted(given.left_out) == sorted(made.records)[:2] and len(given.records) == 4
    assert (given.tables.runs["outcome"] == "missing").sum() == 2
    assert [(v.word, v.mixed, v.exploratory) for v in given.verdicts] == [
        ("inconclusive", False, False)
    ]
    rebuild(tmp_path, *made)
    above = (tmp_path / "report.md").read_text().split("## Answer")[0]
    assert "2 of 6 recorded runs" in above and "left out" in above


def test_mixed_claims_are_exploratory_and_the_report_says_so_above_the_answer(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    other_sources(made, 2)
    made = made._replace(plan=made.plan.model_copy(update={"allow_mixed": True}))
    given = evaluate_records(*made)
    assert (given.left_out, len(given.records)) == ({}, 6)
    assert [(v.mixed, v.exploratory, v.altered) for v in given.verdicts] == [(True, True, False)]
    rebuild(tmp_path, *made)
    above, below = (tmp_path / "report.md").read_text().split("## Answer")
    assert "2 of 6 recorded runs" in above and "--allow-mixed" in above
    assert "2.11 (2 runs), 2.13 (4 runs)" in above
    assert ", exploratory** · " in below


def test_runs_that_all_come_from_one_other_source_are_not_mixed(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    other_sources(made, 6)
    given = evaluate_records(*made)
    assert (given.left_out, [v.mixed for v in given.verdicts]) == ({}, [False])
    rebuild(tmp_path, *made)
    assert "> **Note.**" not in (tmp_path / "report.md").read_text()
