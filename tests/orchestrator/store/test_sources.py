"""`orchestrator.store.sources`: which changes of the decoder make other runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import decoder
import orchestrator
from decoder import sources as decoder_sources
from decoder.sources import own_files
from orchestrator.store import sources
from orchestrator.store.sources import (
    changed_modules,
    decoder_sha256,
    raw_sha256,
    sha256_of_training,
    source_of,
    training_sha256,
)

PACKAGE = {
    "__init__.py": b"from decoder.faces import lazy_face\nif TYPE_CHECKING:\n"
    b"    from decoder.api import evaluate\nelse:\n    get = lazy_face('decoder', {'a': ('x',)})\n",
    "faces.py": b"",
    "api.py": b"X = 1\n",
    "train.py": b'"""Trains."""\nfrom decoder import optim\n\n\ndef train():\n'
    b'    """Really."""\n    from .noise import std\n    return std * 2\n',
    "optim.py": b"import decoder.data.store\nRATE: float = 0.1\n",
    "noise.py": b"std = 1.0  # of white noise\n",
    "data/__init__.py": b"",
    "data/store.py": b"import numpy\n",
    "data/packing.py": b"from decoder.data.store import numpy\n",
    "data/check.py": b"LIMIT = 3\n",
}


def changed(path: str, old: str, new: str) -> dict[str, bytes]:
    text = PACKAGE[path].decode()
    assert old in text
    return {**PACKAGE, path: text.replace(old, new, 1).encode()}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("noise.py", "of white noise", "of pink noise"),
        ("noise.py", "1.0  #", "1.0   \n\n#"),
        ("noise.py", "std = 1.0", "std = (1.0)"),
        ("train.py", "Trains.", "Learns."),
        ("train.py", '    """Really."""\n', ""),
        ("api.py", "1", "2"),
        ("data/check.py", "3", "4"),
        ("__init__.py", "('x',)", "('x', 'y')"),
        ("__init__.py", "import evaluate", "import evaluate, score"),
    ],
)
def test_what_has_no_effect_on_training_is_no_change(path: str, old: str, new: str) -> None:
    assert sha256_of_training(changed(path, old, new)) == sha256_of_training(PACKAGE)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("noise.py", "1.0", "2.0"),
        ("noise.py", "1.0", "1"),
        ("train.py", "* 2", "+ 2"),
        ("train.py", "return", "yield"),
        ("optim.py", "RATE", "SPEED"),
        ("optim.py", "0.1", "'0.1'"),
        ("data/store.py", "numpy", "numpy as np"),
        ("data/packing.py", "numpy", "scipy"),
        ("data/__init__.py", "", "X = 1"),
        ("__init__.py", "\n", "\nimport os\n"),
        ("train.py", "def", "def )"),
    ],
)
def test_what_training_imports_is_a_change(path: str, old: str, new: str) -> None:
    assert sha256_of_training(changed(path, old, new)) != sha256_of_training(PACKAGE)


def test_the_hash_of_a_package_does_not_depend_on_the_version_of_python() -> None:
    """The hash of this package under Python 3.11; 3.10, 3.12 and 3.13 give it too."""
    small = {"train.py": b"def f(a, *, b=None):\n    return f'{a!r:>3}', [], -1.0, not b\n"}
    assert sha256_of_training(small)[:16] == "fdbd2944c58bada5"


def test_the_training_loop_model_and_readers_count_and_the_tools_around_them_do_not() -> None:
    counted = sources._hashes(own_files())
    of_training = {"train.py", "augment.py", "config.py", "metrics.py", "model/gru.py"}
    assert of_training | {"data/packing.py", "data/t15.py"} <= counted.keys()
    around = {"__main__.py", "api.py", "importing.py", "collapse.py", "data/check.py"}
    assert not around & counted.keys()


def test_the_raw_hash_follows_every_source_file() -> None:
    hashes = {raw_sha256(PACKAGE), raw_sha256(changed("api.py", "1", "2"))}
    hashes.add(raw_sha256({**PACKAGE, "more.py": b""}))
    assert len(hashes) == 3
    assert raw_sha256(dict(reversed(PACKAGE.items()))) == raw_sha256(PACKAGE)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A git checkout of the small package, which `sources` takes for its own."""
    folder = tmp_path / "checkout" / "decoder"
    write(folder, PACKAGE)
    git(folder, "init", "-q")
    commit(folder)
    caches = (decoder_sha256, training_sha256, sources._files_at, sources._proven, sources._changed)
    for module in (sources, decoder_sources):
        monkeypatch.setattr(module, "package_folder", lambda: folder)
    for cache in caches:
        cache.cache_clear()
    yield folder
    for cache in caches:
        cache.cache_clear()


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "HEAD").strip()


def test_an_old_record_is_proven_the_same_by_its_raw_hash(checkout: Path) -> None:
    code = {"decoder_sha256": raw_sha256(PACKAGE), "git_commit": None}
    assert source_of(code) == training_sha256() == sha256_of_training(PACKAGE)


def test_an_old_record_is_proven_the_same_by_its_commit(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD").strip()
    write(checkout, changed("noise.py", "of white noise", "in units of the features"))
    commit(checkout)
    old = {"decoder_sha256": raw_sha256(PACKAGE), "git_commit": first, "git_dirty": False}
    assert old["decoder_sha256"] != decoder_sha256()
    assert source_of(old) == training_sha256()
    assert source_of({**old, "git_commit": None}) == f"raw-{raw_sha256(PACKAGE)}"


def test_a_commit_whose_files_are_not_those_of_the_record_proves_nothing(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD").strip()
    old = {"decoder_sha256": "0" * 64, "git_commit": first, "git_dirty": True}
    assert source_of(old) == f"raw-{'0' * 64}" and changed_modules(old) is None
    for strange in ("--output=x", "HEAD", "f" * 40, None):
        assert source_of({**old, "git_commit": strange}) == f"raw-{'0' * 64}"
    assert not (checkout / "x").exists()


def test_the_modules_that_changed_since_a_commit_are_named(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD").strip()
    write(checkout, changed("noise.py", "1.0", "2.0"))
    (checkout / "api.py").write_text("X = 3\n")
    (checkout / "optim.py").write_text("RATE: float = 0.1\nimport decoder.data.check\n")
    old = {"decoder_sha256": raw_sha256(PACKAGE), "git_commit": first}
    assert changed_modules(old) == ("data/check.py", "noise.py", "optim.py")
    assert source_of(old) == sha256_of_training(PACKAGE) != training_sha256()


def test_a_record_of_no_known_code_is_of_other_sources() -> None:
    assert source_of({}) == source_of({}) != training_sha256()


@pytest.fixture
def run_copy(tmp_path: Path) -> Callable[[], str]:
    """Runs a small ablation with a copy of both packages, and returns what it prints."""
    for package in (decoder, orchestrator):
        assert package.__file__ is not None
        folder = Path(package.__file__).parent
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder, tmp_path / folder.name, ignore=ignore)
    base = {
        "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
        "model": {"n_units": 4, "n_layers": 1},
        "optim": {"lr_warmup_steps": 1},
        "train": {"n_steps": 3, "eval_every_steps": 1},
    }
    spec = {
        "name": "small",
        "question": "Does noise matter?",
        "base": "base.yaml",
        "factors": {"noise": {"official": {}, "weak": {"augment.white_noise_std": 0.25}}},
        "seeds": [0],
    }
    for name, document in (("base", base), ("small", spec)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "run", "small.yaml", "--backend", "local"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return done.stderr + done.stdout

    return run


def test_a_changed_comment_retrains_nothing_and_a_changed_constant_everything(
    run_copy: Callable[[], str], tmp_path: Path
) -> None:
    assert "2 trained now" in run_copy()
    loop = tmp_path / "decoder" / "train.py"
    loop.write_text(f"# A comment at the top.\n{loop.read_text()}\n\n# And one below.\n")
    assert "0 trained now" in run_copy()
    assert "CHECKPOINT_PAUSE = 30.0" in loop.read_text()
    loop.write_text(loop.read_text().replace("CHECKPOINT_PAUSE = 30.0", "CHECKPOINT_PAUSE = 31.0"))
    assert "2 trained now" in run_copy()
