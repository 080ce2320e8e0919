"""The command `judge`, and `report`, `status` and `compare` on what it leaves behind."""

import json
from pathlib import Path

import pytest
from shipped import ABLATIONS
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app

EXAMPLES = ABLATIONS / "judged"
LABEL = "not registered before the runs"


def call(root: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--results", str(root)])


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A results folder with the judgement of the published T12 seeds, and what was printed."""
    root = tmp_path_factory.mktemp("results")
    claims, table = EXAMPLES / "t12_seeds.yaml", EXAMPLES / "t12_seeds.csv"
    return root, call(root, "judge", claims, table)


def test_the_published_t12_seeds_are_judged_with_the_label(judged: tuple[Path, Result]) -> None:
    root, done = judged
    assert done.exit_code == 0, done.output
    assert f"lower-per: SUPPORTED ({LABEL})" in done.stdout
    assert "caveat: not recorded" in done.stdout
    row = json.loads((root / "judged" / "t12_seeds" / "verdicts.json").read_text())
    verdict = row["verdicts"]["lower-per"]
    assert verdict["effect"] == pytest.approx(-0.02038, abs=1e-5)
    assert verdict["registered"] is False


def test_report_makes_the_same_pages_again(judged: tuple[Path, Result]) -> None:
    root, _ = judged
    page = root / "judged" / "t12_seeds" / "report.html"
    before = page.read_bytes()
    page.unlink()
    for name in ("t12_seeds", EXAMPLES / "t12_seeds.yaml"):
        done = call(root, "report", name)
        assert done.exit_code == 0, done.output
        assert f"SUPPORTED ({LABEL})" in done.stdout and "18 of 18 runs" in done.stdout
        assert page.read_bytes() == before


def test_status_counts_a_judgement_beside_ablations(judged: tuple[Path, Result]) -> None:
    root, _ = judged
    for words in (("status", "t12_seeds", "--json"), ("status", "--json")):
        (row,) = json.loads(call(root, *words).stdout)
        assert (row["kind"], row["n_planned"], row["n_recorded"]) == ("judgement", 18, 18)
    assert "t12_seeds" in call(root, "status").stdout


def test_compare_takes_the_arms_of_a_judgement(judged: tuple[Path, Result]) -> None:
    root, _ = judged
    done = call(root, "compare", "t12_seeds:gru", "t12_seeds:transformer", "--json")
    (line,) = json.loads(done.stdout)["lines"]
    assert line["n_pairs"] == 9
    assert call(root, "runs").exit_code == 0


def test_a_judgement_is_no_source_of_another(judged: tuple[Path, Result]) -> None:
    root, _ = judged
    done = call(root, "judge", EXAMPLES / "t12_seeds.yaml", "t12_seeds")
    assert done.exit_code == 2 and "t12_seeds.csv" in done.stderr


def test_the_made_up_table_stays_open_and_names_the_warmup(tmp_path: Path) -> None:
    names = [EXAMPLES / f"lab_runs.{ending}" for ending in ("yaml", "csv")]
    done = call(tmp_path, "judge", *names, "--json")
    document = json.loads(done.stdout)
    (row,) = document["verdicts"]
    assert (row["verdict"], row["reason"]) == ("inconclusive", "gaps")
    assert any("lr_warmup_steps 0 → 500" in text for text in row["caveats"])
    assert document["registered"] is False and document["n_runs"] == 8
    assert "Made up" in names[1].read_text()


def test_a_mistake_in_the_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text((EXAMPLES / "t12_seeds.yaml").read_text().replace("block:", "blok:"))
    done = call(tmp_path, "judge", path, EXAMPLES / "t12_seeds.csv")
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 2  # the first names the folder
    assert "blok" in done.stderr
