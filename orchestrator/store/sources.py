"""Which source code trained a run: a hash of the modules that training imports.

Comments, docstrings and formatting do not change it, nor do modules that training does not import.
"""

import ast
import functools
import hashlib
import io
import re
import subprocess
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from decoder.sources import Files, decoder_sha256, own_files, package_folder, raw_sha256

# Training starts in the first. The second makes the features that it reads; the fingerprint of
# recordings, which is part of every run id, covers their files but not what is made of them.
_ENTRY_POINTS = ("train.py", "data/packing.py")
_PACKAGE = "decoder"
# Before a raw hash that stands for sources of which nothing else is known.
UNPROVEN = "raw-"


@functools.cache
def training_sha256() -> str:
    """SHA-256 of what training imports from the decoder package, see `sha256_of_training`."""
    return sha256_of_training(own_files())


def source_of(code: Mapping[str, Any]) -> str:
    """An id of the sources that trained a run; sources with one id are proven to be the same.

    It is `sha256_of_training` where that is known. A record from before there was one has it too
    if its raw hash is that of the present files, or if its commit is at hand and has that raw hash.
    Otherwise the id is the raw hash itself, so that only records with an equal one are the same.

    Args:
        code: the entry ``environment.code`` of a record.
    """
    raw, known = code.get("decoder_sha256"), code.get("training_sha256")
    if raw is not None and raw == decoder_sha256():
        return training_sha256()
    return str(known) if known else _proven(raw, str(code.get("git_commit"))) or f"{UNPROVEN}{raw}"


@functools.cache
def _proven(raw: str | None, commit: str) -> str | None:
    files = _files_of(raw, commit)
    return None if files is None else sha256_of_training(files)


def changed_modules(code: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The modules of training that differ between a record and the present files.

    Returns:
        Their paths in the package; None if the sources of the record are not at hand.
    """
    return _changed(code.get("decoder_sha256"), str(code.get("git_commit")))


@functools.cache
def _changed(raw: str | None, commit: str) -> tuple[str, ...] | None:
    files = _files_of(raw, commit)
    if files is None:
        return None
    then, now = _hashes(files), _hashes(own_files())
    return tuple(sorted(path for path in then.keys() | now if then.get(path) != now.get(path)))


def sha256_of_training(files: Files) -> str:
    """SHA-256 of the modules that training imports, without comments, docstrings and formatting.

    It does not depend on the version of Python. A module that cannot be parsed counts as it is.

    Args:
        files: every source file of the package.
    """
    lines = [f"{path}\0{digest}\n" for path, digest in sorted(_hashes(files).items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files_of(raw: str | None, commit: str) -> Files | None:
    """The source files of a commit; None unless they are those with this raw hash."""
    files = _files_at(commit)
    return files if files and raw_sha256(files) == raw else None


@functools.cache
def _files_at(commit: str) -> Files | None:
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return None
    command = ["git", "-C", str(package_folder()), "archive", "--format=tar", commit, "--", "."]
    try:
        packed = subprocess.run(command, capture_output=True, timeout=30, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            found = {}
            for member in archive:
                content = archive.extractfile(member) if member.name.endswith(".py") else None
                if content is not None:
                    found[member.name.removeprefix("./")] = content.read()
            return found
    except (OSError, subprocess.SubprocessError, tarfile.TarError):
        return None


def _hashes(files: Files) -> dict[str, str]:
    """Path → hash, for the modules that training imports, directly or through others."""
    hashes: dict[str, str] = {}
    waiting = deque(path for path in _ENTRY_POINTS if path in files)
    while waiting:
        path = waiting.popleft()
        if path in hashes:
            continue
        try:
            tree = ast.parse(files[path])
        except (SyntaxError, ValueError):
            hashes[path] = hashlib.sha256(files[path]).hexdigest()
            continue
        hashes[path] = hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()
        for name in _imports(tree, path):
            waiting.extend(candidate for candidate in _paths(name) if candidate in files)
    return hashes


def _paths(name: str) -> Iterator[str]:
    """The files that may run when a module is imported: it, and the packages that it is in."""
    parts = name.split(".")[1:]
    for n in range(len(parts) + 1):
        above = "/".join(parts[:n])
        yield f"{above}/__init__.py" if above else "__init__.py"
    if parts:
        yield f"{'/'.join(parts)}.py"


def _imports(tree: ast.Module, path: str) -> Iterator[str]:
    """The names in the package that a module imports, anywhere in it, as ``decoder.a.b``."""
    package = [_PACKAGE, *Path(path).parent.parts]
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] == _PACKAGE)
        waiting += _with_effect(ast.iter_child_nodes(node))


def _plain(value: Any) -> Any:
    """A syntax tree as tuples, without what has no effect, and without empty fields.

    `ast.dump` differs between versions of Python, which have different empty fields.
    """
    if isinstance(value, list):
        return tuple(_plain(one) for one in _with_effect(value))
    if isinstance(value, ast.Constant):
        return ("Constant", repr(value.value))
    if isinstance(value, ast.AST):
        fields = ((name, _plain(part)) for name, part in ast.iter_fields(value))
        return (type(value).__name__, *(field for field in fields if field[1] not in (None, ())))
    return value


def _with_effect(nodes: Iterable[Any]) -> Iterator[Any]:
    """Leave out docstrings, imports for type checkers alone, and the list of names of a face."""
    for node in nodes:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_face = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _with_effect(node.orelse)
        elif not (is_text or (is_face and ast.unparse(node.value.func) == "lazy_face")):
            yield node
