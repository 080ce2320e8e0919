"""Opens pages in a headless Chromium; tests that use it are skipped where there is none."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
AXE = os.environ.get("AXE_CORE", "")  # the file axe.min.js of the package axe-core
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
needs_axe = pytest.mark.skipif(not Path(AXE).is_file(), reason="AXE_CORE names no axe.min.js")
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def opened(page: Path, folder: Path, *arguments: str) -> str:
    """The document of a page after it was opened and its scripts have run."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=500,900", *arguments]
    done = subprocess.run(
        [*command, page.resolve().as_uri()], capture_output=True, text=True, timeout=120
    )
    return done.stdout


def answer_of(page: Path, folder: Path, script: str, *arguments: str, before: str = "") -> Any:
    """What `script` gives to ``answer`` in a page that may run it, as JSON.

    Args:
        before: a script that runs before those of the page.
    """
    text = _POLICY.sub(lambda _: f"<script>{before}</script>", page.read_text(), count=1)
    asked = (
        "<script>const answer = (value) => { const out = document.createElement('pre'); "
        "out.id = 'answer'; out.textContent = JSON.stringify(value); document.body.append(out); };"
        f"\n(async () => {{ {script} }})();</script></body>"
    )
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "asked.html"
    copy.write_text(text.replace("</body>", asked))
    shown = opened(copy, folder, "--virtual-time-budget=20000", *arguments)
    [found] = re.findall(r'<pre id="answer">(.*?)</pre>', shown, flags=re.S)
    return json.loads(html.unescape(found))


def violations(page: Path, folder: Path, *arguments: str) -> list[str]:
    """What axe-core finds in a page with everything unfolded: impact, rule and the elements."""
    axe = Path(AXE).read_text().replace("</script", "<\\/script")
    script = (
        "for (const one of document.querySelectorAll('details')) one.open = true;"
        "const found = await axe.run(document, {resultTypes: ['violations']});"
        "answer(found.violations.map((v) => "
        "`${v.impact} ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html).join(' ')}`));"
    )
    found: list[str] = answer_of(page, folder, script, *arguments, before=axe)
    return found
