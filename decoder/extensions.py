"""Loads the files of the user's that a configuration names, and fills in the parameters of parts.

A file is a program: it is run by `load_extensions`, and by nothing else. What it registers is known
in this process from then on, by the SHA-256 of the files. Where it is not known, as for whoever
reads a record, the entries of a configuration are taken as they are.
"""

import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from decoder.atomic import sha256_of
from decoder.complaints import did_you_mean, explain, yaml_text
from decoder.entries import KIND, used_parts
from decoder.errors import ConfigError, UserError
from decoder.parts import MODULES, Parameters, Part, collecting, from_json_values
from decoder.user_files import decode_text, read_bounded

if TYPE_CHECKING:
    from decoder.config import DecoderConfig

Parts = Mapping[str, Part]

_PREFIX = "decoder_extension_"  # of the names of modules
_loaded: dict[tuple[str, ...], dict[str, Part]] = {}  # SHA-256 of each file → what they register


def known_parts(extensions: Iterable[str], files: Mapping[str, str]) -> Parts | None:
    """What the files of a configuration register; None if this process has not loaded them."""
    return _loaded.get(tuple(files.get(name, "") for name in extensions))


@dataclass(frozen=True)
class UsedPart:
    """A part that the runs of a pack use, with the parameters of each run."""

    part: Part
    runs: tuple[Parameters, ...]


def used_by(configs: Iterable["DecoderConfig"]) -> tuple[UsedPart, ...]:
    """The parts that the runs of a pack use, in the order in which they are registered.

    Runs the files, if this process has not done so.

    Args:
        configs: of all runs; they use the same parts.

    Raises:
        ConfigError: see `load_extensions`.
    """
    configs = list(configs)
    names = used_parts(configs[0].parts) if configs else ()
    if not names:
        return ()
    parts = load_extensions(configs[0])
    return tuple(
        UsedPart(
            parts[name],
            tuple(parts[name].settings(grouped(config.parts)[name]) for config in configs),
        )
        for name in names
    )


def grouped(parts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``NAME.PARAMETER`` → value as NAME → PARAMETER → value."""
    found: dict[str, dict[str, Any]] = {}
    for path, value in parts.items():
        name, _, parameter = path.partition(".")
        found.setdefault(name, {})[parameter] = value
    return found


def load_extensions(config: "DecoderConfig") -> Parts:
    """Run the files that a configuration names, once in a process.

    Returns:
        Name → part.

    Raises:
        ConfigError: a file is missing, has changed since the configuration was read, fails, or
            registers what no configuration could name.
    """
    known = known_parts(config.extensions, config.files)
    if known is not None:
        return known
    contents = {}
    for written, place in config.extensions.items():
        contents[Path(place)] = content = _read(Path(place), written, "")
        expected = config.files.get(written, "")
        if sha256_of(content) != expected:
            raise ConfigError(
                f"{place}: has changed since the run was planned (SHA-256 {expected[:12]}..., now "
                f"{sha256_of(content)[:12]}...), and a changed file is another run; call the "
                "command again, or restore the file"
            )
    return _load(contents)


def read_entries(nested: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """The content of a configuration file, with its list of extensions read and run.

    Args:
        nested: the content. `extensions` is a list of files, as a person writes it, or a mapping,
            as a program writes a whole configuration.
        folder: where relative paths start.
        where: the start of every error message, with a colon if it is not empty.

    Raises:
        ConfigError: see `load_extensions`.
    """
    given = nested.get("extensions")
    if not given:
        return dict(nested)
    if isinstance(given, Mapping):
        places, expected = dict(given), dict(nested.get("files") or {})
    else:
        _check_list(given, folder, where)
        places = {name: place_of(name, folder) for name in given}
        expected = {}
    contents = {Path(place): _read(Path(place), name, where) for name, place in places.items()}
    hashes = {
        name: sha256_of(content) for name, content in zip(places, contents.values(), strict=True)
    }
    for name, sha256 in hashes.items():
        if expected.get(name, sha256) != sha256:
            raise ConfigError(
                f"{where}files.{name}: the file's SHA-256 is {sha256}, but the configuration "
                f"says {expected[name]}; restore the file, or remove the line"
            )
    if known_parts(places, hashes) is None:
        _load(contents)
    files = {**(nested.get("files") or {}), **hashes}
    return {**nested, "extensions": places, "files": files}


def place_of(written: str, folder: Path) -> str:
    """The absolute path of a file of parts, the same for every way to write it."""
    return os.path.abspath(folder / written)  # noqa: PTH100 - without "..", links as they are


def _check_list(given: Any, folder: Path, where: str) -> None:
    if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
        raise ConfigError(
            f"{where}extensions: must be a list of Python files, but got {yaml_text(given)}; "
            "write for example [my_parts.py]"
        )
    places = [place_of(name, folder) for name in given]
    twice = [name for index, name in enumerate(given) if places[index] in places[:index]]
    if twice:
        raise ConfigError(f"{where}extensions: '{twice[0]}' is listed twice; keep one of them")


def filled_parts(nested: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The content of a configuration with every parameter of every part.

    Args:
        nested: with `extensions` and `files` as mappings; `parts` may be nested or flat.

    Returns:
        The content; and what is wrong with it, as ``parts.NAME.PARAMETER: text``.
    """
    given = nested.get("parts") or {}
    if not isinstance(given, Mapping):
        return dict(nested), [f"parts: must be a mapping, but got {yaml_text(given)}"]
    extensions, files = nested.get("extensions") or {}, nested.get("files") or {}
    flat, problems = _flat(given)
    if not isinstance(extensions, Mapping):
        problems.append(
            "extensions: files of parts run only where an ablation, a search or a configuration of "
            "ours is planned or trained, and not here; remove them"
        )
        return {**nested, "parts": flat, "extensions": {}}, problems
    if not extensions:
        problems += [
            f"parts.{name}: no file registers a part; name it as extensions: [FILE.py]"
            for name in grouped(flat)
        ]
        return {**nested, "parts": flat}, problems
    parts = known_parts(extensions, files)
    if parts is None:
        return {**nested, "parts": flat}, problems
    of_parts = grouped(flat)
    filled: dict[str, Any] = {}
    for name in of_parts.keys() - parts.keys():
        problems.append(
            f"parts: unknown part '{name}'{did_you_mean(name, parts)} (registered: "
            f"{', '.join(parts) or 'none'})"
        )
    for name, part in parts.items():
        own = of_parts.get(name, {})
        try:
            values = from_json_values(part.fields, own).model_dump(mode="json")
            filled |= {f"{name}.{parameter}": value for parameter, value in values.items()}
        except ValidationError as error:
            keys: dict[tuple[str, ...], list[str]] = {
                (): [field for field in part.fields.model_fields if field != KIND]
            }
            problems += [
                f"parts.{name}.{text}".replace(".top level: ", ": ")
                for text in explain(error, own, keys)
            ]
    return {**nested, "parts": filled}, problems


def _flat(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    flat: dict[str, Any] = {}
    problems = []
    for name, values in given.items():
        if isinstance(values, Mapping):
            flat |= {f"{name}.{parameter}": value for parameter, value in values.items()}
        elif "." in str(name):
            flat[str(name)] = values
        else:
            problems.append(
                f"parts.{name}: must be a mapping of its parameters, but got {yaml_text(values)}; "
                "write {use: true} to use it"
            )
    return flat, problems


def check_parts(config: "DecoderConfig") -> list[str]:
    """What is wrong with the parts that a configuration uses together."""
    used = used_parts(config.parts)
    encoders = [name for name in used if config.parts.get(f"{name}.{KIND}") == "encoder"]
    problems = []
    if len(encoders) > 1:
        problems.append(
            f"parts: {' and '.join(encoders)} are encoders, and a decoder has one; set use: false "
            "for all but one of them"
        )
    if encoders and config.model.inter_ctc_layers:
        problems.append(
            f"parts.{encoders[0]}: an encoder of yours has no layers for model.inter_ctc_layers "
            f"({list(config.model.inter_ctc_layers)}); set it to []"
        )
    return problems


def has_modules(config: "DecoderConfig") -> bool:
    """Whether a configuration uses a part with weights."""
    return any(config.parts.get(f"{n}.{KIND}") in MODULES for n in used_parts(config.parts))


def _read(place: Path, written: str, where: str) -> bytes:
    try:
        return read_bounded(place, mend="an extension is a Python file")
    except ConfigError as error:
        raise ConfigError(f"{where}extensions: '{written}': {error}") from None


def _load(contents: Mapping[Path, bytes]) -> Parts:
    """Run files, and keep what they register."""
    parts: dict[str, Part] = {}
    with collecting() as collected, _importable(contents):
        for place, content in contents.items():
            _run(place, content)
    for part in collected:
        if part.name in parts:
            other = parts[part.name]
            raise ConfigError(
                f"{part.where}: {other.file}:{other.line} registers this name too; rename one"
            )
        parts[part.name] = part
    _loaded[tuple(sha256_of(content) for content in contents.values())] = parts
    return parts


def _run(place: Path, content: bytes) -> None:
    """Run the content of a file as a module, which others of its group can import by its stem."""
    text = decode_text(content, str(place))
    module = ModuleType(f"{_PREFIX}{sha256_of(content)[:12]}_{place.stem}")
    module.__file__ = str(place)
    sys.modules[module.__name__] = module  # where classes look up the names of their module
    sys.modules.setdefault(place.stem, module)
    try:
        exec(compile(text, str(place), "exec"), module.__dict__)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(explain_crash(error, str(place), "cannot be loaded")) from None


@contextmanager
def _importable(contents: Mapping[Path, bytes]) -> Iterator[None]:
    """A context in which files may import each other, and nothing else that stands beside them.

    What they import from their own folders would not be part of a run's identity.
    """
    folders = list(dict.fromkeys(str(place.parent) for place in contents))
    before, path = set(sys.modules), list(sys.path)
    sys.path[:0] = folders
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
        new = {name: sys.modules[name] for name in set(sys.modules) - before}
        _check_imported(new, contents, folders)
    finally:
        sys.path[:], sys.dont_write_bytecode = path, bytecode
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and _is_inside(file, folders) and not name.startswith(_PREFIX):
                del sys.modules[name]


def _check_imported(
    new: Mapping[str, ModuleType], contents: Mapping[Path, bytes], folders: Iterable[str]
) -> None:
    for module in new.values():
        file = getattr(module, "__file__", None)
        if file and _is_inside(file, folders) and Path(file) not in contents:
            named = Path(file).name
            raise ConfigError(
                f"{file}: an extension imports it, but it is not part of a run's identity, so a "
                f"change in it would not be seen; list it too, before the file that imports it: "
                f"extensions: [{named}, ...]"
            )


def _is_inside(file: str, folders: Iterable[str]) -> bool:
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return not installed and any(Path(file).is_relative_to(folder) for folder in folders)


def explain_crash(error: BaseException, file: str, what: str, line: int | None = None) -> str:
    """An error inside a file of the user's in one line: ``file:line: what: Type: text``.

    Args:
        line: to name if the error has no line in this file.
    """
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}:{error.lineno}: {what}: {error.msg}; correct the file"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    at = frames[-1].lineno if frames else line
    text = " ".join(str(error).split())
    return f"{file}{'' if at is None else f':{at}'}: {what}: {type(error).__name__}: {text}"
