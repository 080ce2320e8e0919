"""The page of a report in a real browser: what its script does, and that it stays inert."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import answer_of, needs_axe, needs_chromium, opened, violations

from orchestrator.report.rebuild import rebuild

Build = Callable[..., Any]
DARK = "--blink-settings=preferredColorScheme=0"
EVIL = '"><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page(twelve_arms: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    rebuild(folder, *twelve_arms)
    return folder / "report.html"


@pytest.fixture(scope="module")
def evil(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    claim = {**two_arm_spec["hypotheses"]["h"], "claim": f"=1+1 {EVIL}"}
    extra = {"mine": {"set": {"optim.epsilon": 1e-8}, "note": EVIL}}
    spec = {**two_arm_spec, "question": EVIL, "hypotheses": {"h": claim}, "extra_arms": extra}
    folder = tmp_path_factory.mktemp("evil")
    rebuild(
        folder, *build(spec, lambda levels, _: truth(status={1: "failed"} if not levels else {}))
    )
    return folder / "report.html"


TABLE = "document.querySelector('[aria-label=\"All arms\"] > table')"


def test_a_table_sorts_by_number_in_both_directions(page: Path, tmp_path: Path) -> None:
    script = f"""
      const table = {TABLE};
      const heads = [...table.tHead.rows[0].cells];
      const at = heads.findIndex((h) => h.textContent === 'final PER');
      const column = () => [...table.tBodies[0].rows].map((r) => r.cells[at].textContent);
      const out = [column()];
      for (let i = 0; i < 2; i++) {{
        heads[at].querySelector('button').click();
        out.push(column(), heads[at].getAttribute('aria-sort'));
      }}
      answer(out);
    """
    before, rising, up, falling, down = answer_of(page, tmp_path, script)
    numbers = [float(text.removesuffix(" %")) for text in rising]
    assert sorted(before) == sorted(rising) and len(set(numbers)) > 3
    assert numbers == sorted(numbers) and (up, down) == ("ascending", "descending")
    assert [float(text.removesuffix(" %")) for text in falling] == numbers[::-1]


def test_a_table_copies_as_csv_and_as_latex(page: Path, tmp_path: Path) -> None:
    script = f"""
      const out = [];
      const keep = {{ writeText: async (text) => {{ out.push(text); }} }};
      Object.defineProperty(navigator, 'clipboard', {{ value: keep }});
      const table = {TABLE};
      const tools = table.parentElement.previousElementSibling;
      for (const tool of tools.querySelectorAll('button')) tool.click();
      out.push(table.tBodies[0].rows.length, table.tHead.rows[0].cells.length);
      const block = document.querySelector('pre');
      block.previousElementSibling.querySelector('button').click();
      out.push(block.textContent);
      answer(out);
    """
    csv, latex, n_rows, n_columns, copied, block = answer_of(page, tmp_path, script)
    lines = csv.splitlines()
    assert len(lines) == n_rows + 1 and lines[0].startswith("arm,runs,final PER,")
    assert latex.count(r"\\") == n_rows + 1 and latex.count("&") == (n_rows + 1) * (n_columns - 1)
    assert r"\%" in latex and not re.search(r"(?<!\\)[%#_]", latex)
    assert copied == block and "Correction: Holm" in copied


def test_hostile_words_run_nothing_even_without_the_policy(evil: Path, tmp_path: Path) -> None:
    assert "owned" not in re.findall(r"<title>(.*?)</title>", opened(evil, tmp_path))[0]
    script = "answer([document.title, document.querySelectorAll('img[src=x]').length])"
    title, n_images = answer_of(evil, tmp_path, script)
    assert "owned" not in title and n_images == 0


def test_a_name_that_looks_like_a_formula_is_copied_as_text(page: Path, tmp_path: Path) -> None:
    script = """
      const out = [];
      const keep = { writeText: async (text) => out.push(text) };
      Object.defineProperty(navigator, 'clipboard', { value: keep });
      const table = document.querySelector('.scroll > table');
      table.tBodies[0].rows[0].cells[0].textContent = '=HYPERLINK("x")';
      table.tBodies[0].rows[0].cells[1].textContent = '−2.5';
      table.parentElement.previousElementSibling.querySelector('button').click();
      answer(out[0].split('\\n')[1]);
    """
    assert answer_of(page, tmp_path, script).startswith('"\'=HYPERLINK(""x"")",-2.5')


def test_its_own_script_runs_under_the_policy_of_the_page(page: Path, tmp_path: Path) -> None:
    shown = opened(page, tmp_path)
    n_tables = shown.count("<tbody>")
    assert n_tables and shown.count(">Copy CSV</button>") == n_tables
    assert 'class="sort"' in shown


def test_nothing_but_tables_is_wider_than_a_narrow_window(page: Path, tmp_path: Path) -> None:
    script = """
      for (const one of document.querySelectorAll('details')) one.open = true;
      const root = document.documentElement;
      answer([root.scrollWidth, root.clientWidth]);
    """
    scrolled, client = answer_of(page, tmp_path, script)
    assert 0 < scrolled <= client


@needs_axe
@pytest.mark.parametrize("scheme", [(), (DARK,)], ids=["light", "dark"])
def test_axe_finds_nothing_serious(page: Path, tmp_path: Path, scheme: tuple[str, ...]) -> None:
    found = violations(page, tmp_path, *scheme)
    assert not [one for one in found if one.startswith(("serious", "critical"))]
