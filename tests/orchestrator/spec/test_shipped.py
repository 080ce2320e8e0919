"""`orchestrator.spec.shipped`: what ships is found in a checkout and in an installed package."""

import fnmatch
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from shipped import ABLATIONS, BASES, EXAMPLES, QUESTIONS, ROOT, SEARCHES, TRAINERS

from orchestrator.spec import shipped
from orchestrator.spec.shipped import project_above, shipped_ablations


@pytest.fixture
def not_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The code lies in ``site``, which comes first on the path."""
    site = tmp_path / "lib" / "site"
    site.mkdir(parents=True)
    monkeypatch.setattr(shipped, "_CHECKOUT", site)
    monkeypatch.syspath_prepend(site)
    shipped_ablations.cache_clear()
    yield site
    shipped_ablations.cache_clear()


def test_a_checkout_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    for folder in (ROOT, ROOT / "docs", ROOT / "ablations" / "base", ROOT / "not" / "there"):
        assert project_above(folder) == ROOT
    assert project_above(tmp_path) is None


def test_a_checkout_has_its_own_ablations() -> None:
    assert shipped_ablations() == ABLATIONS


def test_an_installed_package_has_them_where_pip_put_its_data_files(
    not_a_checkout: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "share" / "speech-bci-sweeps" / "ablations"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "t15_small.yaml").touch()
    info = not_a_checkout / "speech_bci_sweeps-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: speech-bci-sweeps\nVersion: 9.9\n")
    names = ("q.yaml", "base/gone.yaml", "base/t15_small.yaml")
    lines = [f"../../share/speech-bci-sweeps/ablations/{name},," for name in names]
    (info / "RECORD").write_text("\n".join(lines))
    assert shipped_ablations() == folder.resolve()


def test_a_package_without_them_has_no_such_folder(not_a_checkout: Path) -> None:
    info = not_a_checkout / "speech_bci_sweeps-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: speech-bci-sweeps\nVersion: 9.9\n")
    assert shipped_ablations() is None


def test_every_file_that_ships_is_part_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaged = project["tool"]["setuptools"]["data-files"]
    for path in (*BASES, *QUESTIONS, *SEARCHES, *TRAINERS, *EXAMPLES):
        inside = path.relative_to(ROOT)
        (patterns,) = [p for at, p in packaged.items() if at.endswith(f"/{inside.parent}")]
        assert any(fnmatch.fnmatch(str(inside), pattern) for pattern in patterns)
