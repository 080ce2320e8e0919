"""The packages of the orchestrator import one way: each only what stands to its right."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "orchestrator"
ORDER = (
    ("cli",),
    ("notebook", "serve"),
    ("search", "query"),
    ("driver",),
    ("report",),
    ("verdicts",),
    ("tables", "execute", "history"),
    ("store",),
    ("plan",),
    ("stats",),
    ("spec",),
    ("terminal",),
)
FLOOR = {package: floor for floor, packages in enumerate(ORDER) for package in packages}


def imports() -> Iterator[tuple[Path, str, str]]:
    """(file, its package, imported package), imports inside functions included."""
    for path in sorted(ROOT.rglob("*.py")):
        package = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            for module in modules:
                if module.startswith("orchestrator."):
                    yield path, package, module.split(".")[1]


def test_each_package_imports_only_what_stands_to_its_right() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {imported}"
        for path, package, imported in imports()
        if package in FLOOR and imported != package and FLOOR[imported] <= FLOOR[package]
    ]
    assert not wrong


def test_every_package_has_its_place() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders | {"notebook", "terminal"} == set(FLOOR)
