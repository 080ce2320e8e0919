"""Each package has a face: the names that other packages use, sorted, loaded on first use."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "orchestrator"
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def foreign_imports() -> Iterator[tuple[Path, str, str]]:
    """(file, package, name) for every name that a file imports from another package."""
    for path in sorted(ROOT.rglob("*.py")):
        own, *rest = path.relative_to(ROOT).parts
        if not rest and own.startswith("__"):
            continue  # the face of the whole, and the entry point
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            top, _, below = node.module.partition(".")
            package = below.partition(".")[0]
            if top != "orchestrator" or package in ("", own) or package not in PACKAGES:
                continue
            folder = ROOT / below.replace(".", "/")
            for alias in node.names:
                is_module = (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
                if not is_module:
                    yield path.relative_to(ROOT), package, alias.name


def test_what_other_packages_use_is_in_the_face_of_the_package() -> None:
    faces = {name: importlib.import_module(f"orchestrator.{name}") for name in PACKAGES}
    missing = {
        f"{package}: {name} (used by {path})"
        for path, package, name in foreign_imports()
        if name not in getattr(faces[package], "__all__", ())
    }
    assert not missing


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_is_a_sentence_and_sorted_names_that_load(package: str) -> None:
    face = importlib.import_module(f"orchestrator.{package}")
    assert face.__doc__ and face.__doc__.strip().endswith(".")
    names = getattr(face, "__all__", [])
    assert names == sorted(names)
    assert all(getattr(face, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = face.no_such_name


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_of_a_face_is_hidden_by_a_module(package: str) -> None:
    face = importlib.import_module(f"orchestrator.{package}")
    modules = {path.stem for path in (ROOT / package).iterdir()}
    assert not modules & set(getattr(face, "__all__", ()))
