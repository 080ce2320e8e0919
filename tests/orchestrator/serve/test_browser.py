"""The pages in a real browser, Chromium: while a sweep trains, and with hostile contents."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.serve import snapshot
from orchestrator.store.paths import Results

from .conftest import Serve, run_ids

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
# Whatever of these runs changes the title of the page.
ATTACK = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "</pre></textarea></svg></title>\"'><svg onload=\"document.title='owned'\">"
)


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., str]:
    """The document that Chromium makes of a page once its scripts have run for a while."""

    def dom(port: int, path: str, seconds: float = 2.0) -> str:
        assert CHROMIUM is not None
        done = subprocess.run(
            [
                CHROMIUM,
                *("--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,844"),
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--virtual-time-budget={1000 * seconds:.0f}",
                *("--dump-dom", f"http://localhost:{port}{path}"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout

    return dom


def title(document: str) -> str:
    found = re.search(r"<title>(.*?)</title>", document)
    return found[1] if found else ""


def test_nothing_hostile_runs_on_any_page(
    serve: Serve, reported: Results, browse: Callable[..., str]
) -> None:
    plan = json.loads(reported.plan("two").read_bytes())
    plan["question"] = ATTACK
    del plan["plan_sha256"]
    reported.plan("two").write_text(json.dumps(plan))
    run_id = run_ids(reported, "sum")[0]
    (reported.run(run_id) / "failed.log").write_text(ATTACK)
    report = reported.ablation("two") / "report.html"
    report.write_text(f"<title>a report</title>{ATTACK}")
    (reported.ablation("two") / "figures" / "effects.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><title>a figure</title>'
        "<script>document.querySelector('title').textContent='owned'</script></svg>"
    )
    port = serve(reported).port
    expected = {
        "/": "Sweeps",
        "/ablations/two": "two",
        f"/run/{run_id}": f"Run {run_id}",
        "/files/ablations/two/report.html": "a report",
        "/files/ablations/two/figures/effects.svg": "a figure",
    }
    seen = {path: browse(port, path) for path in expected}
    assert {path: title(document) for path, document in seen.items()} == expected
    assert "document.title='owned'" in seen["/"], "it is shown as text"


def test_a_page_renews_itself_where_it_is_live(
    serve: Serve, reported: Results, browse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_SECONDS", 0.0)
    monkeypatch.setattr(snapshot, "_PATIENCE", 0.0)
    lost, read, n_reads = run_ids(reported, "sum")[0], snapshot.Watched._read, []

    def read_and_lose(watched: snapshot.Watched) -> Any:
        n_reads.append(0)
        if len(n_reads) == 2:
            reported.record(lost).unlink()
        return read(watched)

    monkeypatch.setattr(snapshot.Watched, "_read", read_and_lose)
    document = browse(serve(reported).port, "/", seconds=12)
    assert len(n_reads) >= 2
    assert "11 of 12 runs" in document and "12 of 12 runs" not in document


def test_a_sweep_is_watched_from_its_first_run_to_its_verdict(
    serve: Serve, write_spec: Callable[..., Path], results: Results, browse: Callable[..., str]
) -> None:
    spec = write_spec(
        {"question": f"Is it {ATTACK}?", "seeds": [0, 1], "hypotheses/only_when_slow": ...},
        {"train/n_steps": 400, "train/eval_every_steps": 20},
    )
    results.root.mkdir()
    port = serve(results).port
    assert "Nothing has been run" in browse(port, "/")
    command = [sys.executable, "-m", "orchestrator", "run", str(spec), "--backend", "local"]
    training = subprocess.Popen(
        [*command, "--results", str(results.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while not results.plan("question").exists() and training.poll() is None:
            time.sleep(0.05)
        time.sleep(snapshot._SECONDS)
        during: list[str] = []
        watching = threading.Thread(target=lambda: during.append(browse(port, "/")))
        watching.start()
        watching.join()
        assert training.wait(200) == 0
    finally:
        training.kill()
        training.wait()
    assert title(during[0]) == "Sweeps" and "badge running" in during[0]
    time.sleep(snapshot._SECONDS)
    after = browse(port, "/ablations/question")
    assert "badge done" in after and "8 of 8 runs" in after and "weak_hurts" in after
    assert "document.title='owned'" in after and title(after) == "question"
    run_id = next(path.name for path in results.runs.iterdir() if path.name[0] != ".")
    assert "<figcaption>PER</figcaption>" in browse(port, f"/run/{run_id}")
