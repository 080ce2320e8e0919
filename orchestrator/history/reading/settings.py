"""A run's settings: the files that hold them, which of several wins, and the seed among them."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from decoder.atomic import sha256_of
from decoder.errors import ConfigError
from decoder.import_forks import FORKS
from decoder.import_tables import T12, T15, squeeze
from decoder.plain_pickle import Refused, read_plain_pickle
from decoder.strict_yaml import StrictLoader
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    Role,
    course_by_name,
    decode,
    evaluation_by_name,
    settings_by_name,
    shown,
)
from orchestrator.history.reading.folders import Found, RunFolder

_MOST_YAML_BYTES = 512 << 10
_MOST_VALUES = 20_000
_DEPTH = 30
_FEWEST_KNOWN = 2  # names that a file must share with known trainers if its own name says nothing
_KNOWN = {squeeze(key.rpartition(".")[2]) for key in (*T15, *T12)} | set(FORKS)
_SEEDS = {squeeze(name) for name in ("seed", "random_seed", "rng_seed", "global_seed")} | {
    squeeze(name) for name in ("model_seed", "torch_seed", "manual_seed", "seed_everything")
}
_SEED_IN_NAME = re.compile(r"(?:^|[^a-z])seed[_=-]?(\d{1,9})(?!\d)", re.IGNORECASE)


@dataclass
class Settings:
    """What a run was told to do, as far as its files say.

    Attributes:
        values: dotted name → plain value; empty if nothing could be read.
        nested: the same as it was written.
        source: the file that won, relative to the root; "" if there is none.
        seed: the run's seed; None if it is not stated. `seed_from` says where it was found.
        files: what became of each file that may hold settings.
        notes: which file won over which, and what else needs saying.
    """

    values: dict[str, Any] = field(default_factory=dict)
    nested: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    seed: int | None = None
    seed_from: str = ""
    files: list[FileNote] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Read:
    """One settings file that could be read."""

    path: str
    rank: tuple[int, float, str]
    nested: dict[str, Any]
    values: dict[str, Any]


class _PlainLoader(StrictLoader):
    """Takes what Python objects were made of (``!!python/tuple``) as plain values, and no more."""


def _plain(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return str(node.value)


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)
_PlainLoader.add_multi_constructor("!", _plain)


def read_settings(folder: RunFolder, root: Path) -> Settings:
    """Read every settings file of a run, and decide which one counts.

    A file that says of itself what was used (``config_used``, ``resolved``) wins, then one the
    trainer wrote (``args``, ``checkpoint/args.yaml``, ``.hydra/config.yaml``), then other names;
    among equals the newest. Files that share no key with the winner add to it.
    """
    settings = Settings()
    read: list[_Read] = []
    for found in [*folder.files, *folder.inherited]:
        if not _may_hold_settings(found):
            continue
        name = relative(found.path, root)
        try:
            content = _content(found)
            nested = parse_settings(found, content)
            if not _is_settings(found, nested):
                settings.files.append(
                    FileNote(name, "not read", found.n_bytes, "", "holds no known setting")
                )
                continue
            values = flatten_settings(nested)
        except (Refused, ConfigError, OSError, ValueError, TypeError, RecursionError) as error:
            role: Role = "refused" if isinstance(error, Refused) else "unreadable"
            text = shown(" ".join(str(error).removeprefix(f"{found.path}: ").split())[:300])
            settings.files.append(FileNote(name, role, found.n_bytes, "", text))
            continue
        settings.files.append(FileNote(name, "settings", found.n_bytes, sha256_of(content)))
        rank = (_rank(found), -found.changed, name)
        read.append(_Read(name, rank, _writable(nested), values))
    if read:
        _choose(settings, sorted(read, key=lambda one: one.rank))
    if folder.inherited and settings.source:
        settings.notes.append(
            f"its settings are those of the folder above ({settings.source}), as its name is "
            "that of a repeat"
        )
    _find_seed(settings, folder)
    return settings


def relative(path: Path, root: Path) -> str:
    """A path as it is told: below the root, with ``/``."""
    return shown(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path))


def flatten_settings(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name → plain value; lists of plain values stay whole.

    Raises:
        ValueError: more values, or deeper nesting, than settings have.
    """
    flat: dict[str, Any] = {}
    n_values = 0
    for key, value in _leaves(nested, "", 0):
        n_values += len(value) if isinstance(value, list) else 1
        if n_values > _MOST_VALUES:
            raise ValueError(f"holds more than {_MOST_VALUES:,} values; settings have fewer")
        flat[key] = value
    return flat


def _leaves(value: Any, key: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEPTH:
        raise ValueError(f"is nested more than {_DEPTH} deep; settings are not")
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else shown(str(name)), depth + 1)
    elif isinstance(value, list | tuple) and any(isinstance(v, dict | list) for v in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}.{index}", depth + 1)
    elif isinstance(value, list | tuple):
        if len(value) > _MOST_VALUES:
            raise ValueError(f"holds a list of {len(value):,} values; settings have fewer")
        yield key, [_scalar(inner) for inner in value]
    else:
        yield key, _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return _whole(value[:2000])
    if value is None or isinstance(value, bool | int | float):
        return value
    return {} if isinstance(value, Mapping) else _whole(str(value)[:2000])


def _whole(text: str) -> str:
    """Text without halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _writable(value: Any) -> Any:
    """A nested value that `flatten_settings` found to be of a size, with text that is whole."""
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, Mapping):
        return {shown(str(key)): _writable(inner) for key, inner in value.items()}
    return [_writable(inner) for inner in value] if isinstance(value, list | tuple) else value


def parse_settings(found: Found, content: bytes) -> dict[str, Any]:
    """The mapping in a settings file.

    Raises:
        Refused: a pickle of more than plain values.
        ValueError, ConfigError: it cannot be read, or is no mapping.
    """
    if found.kind == "pickle":
        return read_plain_pickle(content)
    text = decode(content)
    if not text.strip():
        raise ValueError("is empty")
    if found.kind == "json":
        value = json.loads(text)
    elif found.kind == "toml":
        value = tomllib.loads(text)
    else:
        value = _parse_yaml(text, str(found.path))
    if not isinstance(value, dict):
        raise ValueError(f"holds no mapping of names to values but a {type(value).__name__}")
    return _unwrap({shown(str(key)): inner for key, inner in value.items()})


def _parse_yaml(text: str, name: str) -> Any:
    try:
        loader = _PlainLoader(text)
    except yaml.YAMLError as error:
        raise ValueError(f"is no text that YAML allows: {' '.join(str(error).split())}") from None
    loader.name = name
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" on line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(f"is not valid YAML{line}: {problem}") from None
    finally:
        loader.dispose()


def _unwrap(value: dict[str, Any]) -> dict[str, Any]:
    """W&B's ``{name: {desc:, value:}}`` as ``{name: value}``."""
    wrapped = {k: v["value"] for k, v in value.items() if isinstance(v, dict) and "value" in v}
    if not wrapped or 2 * len(wrapped) < len(value):
        return value
    return {key: inner for key, inner in wrapped.items() if key != "_wandb"}


def _content(found: Found) -> bytes:
    limit = _MOST_YAML_BYTES if found.kind == "yaml" else MOST_SETTINGS_BYTES
    if found.n_bytes > limit:
        raise ValueError(f"has {found.n_bytes:,} bytes, more than settings have ({limit:,})")
    return found.path.read_bytes()


def _may_hold_settings(found: Found) -> bool:
    if found.kind == "json":
        by_name = settings_by_name(found.path)
        return by_name or not (course_by_name(found.path) or evaluation_by_name(found.path))
    return found.kind in ("yaml", "toml", "pickle")


def _is_settings(found: Found, nested: Mapping[str, Any]) -> bool:
    if found.kind == "pickle" or settings_by_name(found.path):
        return bool(nested)
    names = {squeeze(key.rpartition(".")[2]) for key in flatten_settings(nested)}
    return len(names & _KNOWN) >= _FEWEST_KNOWN


def _rank(found: Found) -> int:
    stem, parents = found.path.stem.lower(), {part.lower() for part in found.path.parts[:-1]}
    if re.search(r"used|resolved|effective|actual", stem):
        return 0
    if found.kind == "pickle" or ".hydra" in parents:
        return 1
    if stem.startswith("args") and parents & {"checkpoint", "checkpoints"}:
        return 1
    if "args" in stem:
        return 2
    if "wandb" in parents:
        return 4
    return 3 if settings_by_name(found.path) else 5


def _choose(settings: Settings, read: Sequence[_Read]) -> None:
    """The first counts; others add what shares no key with it, or are told to differ."""
    winner, *others = read
    settings.source, settings.nested = winner.path, dict(winner.nested)
    settings.values = dict(winner.values)
    for other in others:
        shared = settings.values.keys() & other.values.keys()
        if not shared and not settings.nested.keys() & other.nested.keys():
            settings.nested |= other.nested
            settings.values |= other.values
            settings.notes.append(f"settings of {other.path} are added to those of {winner.path}")
            continue
        unequal = sorted(k for k in shared if settings.values[k] != other.values[k])
        if unequal:
            told = ", ".join(
                f"{k} ({settings.values[k]!r} against {other.values[k]!r})" for k in unequal[:5]
            )
            more = f" and {len(unequal) - 5} more" if len(unequal) > 5 else ""
            settings.notes.append(
                f"{winner.path} wins over {other.path}, which says otherwise of {told}{more}"
            )
        else:
            settings.notes.append(f"{winner.path} wins over {other.path}; they agree")


def seed_keys(values: Mapping[str, Any]) -> list[str]:
    """The settings that are seeds of the run, the one nearest to the top first."""
    keys = [
        key
        for key in values
        if squeeze(key.rpartition(".")[2]) in _SEEDS and not key.lower().startswith("data")
    ]
    return sorted(keys, key=lambda key: (key.count("."), key))


def _find_seed(settings: Settings, folder: RunFolder) -> None:
    if folder.repeat is not None and (folder.inherited or not seed_keys(settings.values)):
        settings.seed, settings.seed_from = folder.repeat, "the folder's name"
        return
    for key in seed_keys(settings.values):
        value = settings.values[key]
        if isinstance(value, bool) or not isinstance(value, int):
            continue
        if value < 0:
            settings.notes.append(f"{key} is {value}: no seed was set")
            return
        settings.seed, settings.seed_from = value, key
        return
    match = _SEED_IN_NAME.search(folder.name)
    if match:
        settings.seed, settings.seed_from = int(match.group(1)), "the folder's name"
