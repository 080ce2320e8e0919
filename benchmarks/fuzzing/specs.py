"""Damaged specifications, searches and configurations, read as `run`, `search` and `diff` do."""

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import yaml

from fuzzing.from_schema import Drawn
from fuzzing.mutate import damaged_text, damaged_tree, odd_file
from fuzzing.runner import Kind, said
from orchestrator.cli.schema_command import FileKind, schema_of
from orchestrator.plan.differences import find_differences, read_configuration
from orchestrator.plan.document import plan_document
from orchestrator.plan.plan import make_plan
from orchestrator.plan.recordings import Recordings
from orchestrator.search.load import load_search
from orchestrator.spec.load import load_spec

SHIPPED = Path(__file__).parents[2] / "ablations"
_DATA = Recordings("0" * 16, "synthetic:tiny", Path(), ("s",), 8, 8, 16, 41, 20)


def _shipped(kind: FileKind) -> list[Path]:
    if kind is FileKind.decoder:
        return sorted((SHIPPED / "base").glob("*.yaml"))
    files = sorted(SHIPPED.glob("*.yaml"))
    return [one for one in files if ("search" in one.stem) == (kind is FileKind.search)]


def made_of(kind: FileKind) -> Callable[[random.Random, Path], Path]:
    """A function that draws a file: damaged text, damaged values, or out of its schema."""

    @functools.cache
    def sources() -> tuple[list[str], list[Any], dict[str, Any]]:
        texts = [path.read_text(encoding="utf-8") for path in _shipped(kind)]
        return texts, [yaml.safe_load(text) for text in texts], schema_of(kind)

    def make(draw: random.Random, folder: Path) -> Path:
        texts, trees, schema = sources()
        path, way = folder / "file.yaml", draw.random()
        if way < 0.02:
            return odd_file(draw, path)
        if way < 0.45:
            content = damaged_text(draw, draw.choice(texts))
        elif way < 0.75:
            tree = draw.choice(trees)
            if draw.random() < 0.4:  # fewer names that have to agree: more is read to the end
                tree = {k: v for k, v in tree.items() if k not in ("hypotheses", "criteria")}
            content = _dumped(damaged_tree(draw, tree))
        else:
            content = _dumped(Drawn(draw, schema, draw.choice((0, 0, 0.03, 0.3))).document())
        if draw.random() < 0.05:
            content = damaged_text(draw, content.decode("utf-8", "replace"))
        path.write_bytes(content)
        return path

    return make


def _dumped(tree: Any) -> bytes:
    """YAML in which shared values are written out."""
    try:
        text = yaml.dump(tree, Dumper=_FastDumper, sort_keys=False, allow_unicode=True)
    except UnicodeEncodeError:  # lone surrogates, which only the slow one writes
        text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return str(text).encode("utf-8", "surrogatepass")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _FastDumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_spec(path: Path) -> Literal["ok", "refused"]:
    """What `plan` does before it looks at recordings, and `diff` of the first arm."""
    return said(lambda: _plan(path))


def read_search(path: Path) -> Literal["ok", "refused"]:
    """What `search` does before it looks at recordings."""
    return said(lambda: load_search(path))


def read_config(path: Path) -> Literal["ok", "refused"]:
    """What `diff` and `run` do with a decoder configuration."""
    return said(lambda: _differ(path))


def _plan(path: Path) -> None:
    loaded = load_spec(path)
    plan = make_plan(loaded, {arm.arm_id: _DATA for arm in loaded.arms}, 2)
    plan_document(plan)
    read_configuration(f"{path}:{loaded.arms[0].arm_id}")


def _differ(path: Path) -> None:
    one = read_configuration(str(path))
    find_differences(one.config, read_configuration(str(SHIPPED / "base/t15_small.yaml")).config)


KINDS = (
    Kind("specs", made_of(FileKind.ablation), read_spec),
    Kind("searches", made_of(FileKind.search), read_search),
    Kind("configs", made_of(FileKind.decoder), read_config),
)
