"""Imports run one way, and what must be light is light."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEED_TRITON = {
    *(f"decoder.model.fused.{name}" for name in ("gru_kernels", "patch_kernels", "triton_steps")),
    *(f"decoder.{name}_kernels" for name in ("ctc", "input", "optim")),
}


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def decoder_modules() -> list[str]:
    files = sorted((ROOT / "decoder").rglob("*.py"))
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    absent = set() if importlib.util.find_spec("triton") else NEED_TRITON
    loadable = [n for n in names if not n.endswith("__main__") and n not in absent]
    return [name.removesuffix(".__init__") for name in loadable]


def test_the_decoder_loads_neither_ray_nor_pandas_nor_matplotlib() -> None:
    loaded = modules_loaded_by("import " + ", ".join(decoder_modules()))
    assert "torch" in loaded
    assert not loaded & {"ray", "pandas", "matplotlib", "optuna", "orchestrator"}


@pytest.mark.parametrize(
    "module",
    [
        "tables.tables",
        "stats.effects",
        "verdicts.verdicts",
        "report.rebuild",
        "store.ledger",
        "plan.plan",
        "serve.server",
    ],
)
def test_what_comes_after_the_ledger_needs_neither_torch_nor_ray(module: str) -> None:
    assert not modules_loaded_by(f"import orchestrator.{module}") & {"torch", "ray"}


def test_what_writes_event_files_loads_nothing_for_it_until_it_is_asked() -> None:
    loaded = modules_loaded_by("import orchestrator.driver.run, orchestrator.search.driver")
    assert not loaded & {"torch", "tensorboardX", "tensorboard"}


def test_the_command_line_starts_without_heavy_libraries() -> None:
    loaded = modules_loaded_by("import orchestrator.cli.app")
    assert not loaded & {"torch", "ray", "pandas", "matplotlib", "scipy", "optuna"}


def test_only_the_modules_named_after_ray_import_it() -> None:
    importers = set()
    for path in [*(ROOT / "decoder").rglob("*.py"), *(ROOT / "orchestrator").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.partition(".")[0] == "ray" for name in names):
                importers.add(path.relative_to(ROOT).as_posix())
    backends = "orchestrator/execute/backends"
    names = ("ray_nodes", "ray_start", "ray_tune", "ray_watch")
    assert importers == {f"{backends}/{name}.py" for name in names}


def test_the_decoder_never_imports_the_orchestrator() -> None:
    for path in (ROOT / "decoder").rglob("*.py"):
        assert "orchestrator" not in {
            (node.module or "").partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }, path
