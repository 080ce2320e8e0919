"""Whatever a file holds, it is read or refused with a bounded message, and soon."""

import copy
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from user_trainer import ARGS, SPEC, write_trainer

from decoder.config import load_config
from decoder.errors import MOST_PROBLEMS, ConfigError
from orchestrator.plan.differences import read_configuration
from orchestrator.search.load import load_search
from orchestrator.spec.load import load_spec

ABLATIONS = Path(__file__).parents[3] / "ablations"
READERS: dict[str, Callable[[Path], object]] = {
    "blank_collapse.yaml": load_spec,
    "lr_search.yaml": load_search,
    "base/t15_small.yaml": load_config,
    "base/t12_small.yaml": lambda path: read_configuration(str(path)),
}
TEXTS = {name: (ABLATIONS / name).read_text(encoding="utf-8") for name in READERS}


def _read_ablation_of_a_trainer(path: Path) -> None:
    write_trainer(path.parent)
    load_spec(path)


def _read_base_of_a_trainer(path: Path) -> None:
    ablation = write_trainer(path.parent)
    (path.parent / "theirs" / "args.yaml").write_bytes(path.read_bytes())
    load_spec(ablation)


READERS |= {"trainer": _read_ablation_of_a_trainer, "args": _read_base_of_a_trainer}
TEXTS |= {"trainer": yaml.safe_dump(SPEC, sort_keys=False), "args": ARGS}
TREES = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
FEW = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Words with a meaning to YAML, to a terminal, to a reference, or to a file system.
words = st.sampled_from(
    ["&a ", "*a", "<<: *a", "!!int ", "!!set {x}", "? ", "- ", ": ", "[", "{", "}", '"', "'", "|"]
    + ["---\n", "\t", "\x00", "\x1b[2J", "\u202e", '"\\ud800"', "9" * 500, "1e400", ".nan"]
    + ["${optim.lr_max}", "${", "../", "/dev/zero", "\ufeff", "é", "\N{PILE OF POO}"]
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    words,
    st.sampled_from([10**8, 2**31, 10**400, 1e306]),
)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain, inner, max_size=4),
    max_leaves=8,
)


def _is_read_or_refused(read: Callable[[Path], object], path: Path) -> None:
    start = time.process_time()
    try:
        read(path)
    except ConfigError as error:
        assert 0 < len(error.problems) <= MOST_PROBLEMS + 1
        for problem in error.problems:
            assert len(problem) < 2_100
            unsafe = {c for c in problem if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
            assert unsafe <= {"\t", "\n"} and "\u202e" not in problem
    assert time.process_time() - start < 2


def _places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = tree.items() if isinstance(tree, dict) else ()
    entries = enumerate(tree) if isinstance(tree, list) else entries
    return [place for key, one in entries for place in [(*at, key), *_places(one, (*at, key))]]


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@FEW
def test_a_file_with_a_few_other_characters(name: str, tmp_path: Path, data: st.DataObject) -> None:
    text = TEXTS[name]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.sampled_from([0, 0, 1, 5, 60]))
        text = text[:start] + data.draw(words | st.text(max_size=3)) + text[start + length :]
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _is_read_or_refused(READERS[name], path)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@FEW
def test_a_file_with_other_values_at_some_keys(
    name: str, tmp_path: Path, data: st.DataObject
) -> None:
    tree = copy.deepcopy(TREES[name])
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, last = data.draw(st.sampled_from(_places(tree)))
        at = tree
        for key in parents:
            at = at[key]
        if data.draw(st.booleans()):
            at[last] = data.draw(values)
        elif isinstance(at, dict):
            at[data.draw(plain)] = at.pop(last)
        else:
            at *= data.draw(st.integers(0, 3))
        if not _places(tree):
            break
    path = tmp_path / "file.yaml"
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _is_read_or_refused(READERS[name], path)


def _joined(parts: list[str]) -> bytes:
    return "".join(parts).encode()


@pytest.mark.parametrize("name", READERS)
@given(content=st.binary(max_size=60) | st.lists(words, max_size=12).map(_joined))
@FEW
def test_a_file_of_anything(name: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    _is_read_or_refused(READERS[name], path)
