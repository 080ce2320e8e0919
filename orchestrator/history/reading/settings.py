"""The settings of a run: files that may hold them, which file counts, and the seed."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from decoder.atomic import sha256_of
from decoder.errors import ConfigError
from decoder.import_forks import FORKS
from decoder.import_tables import T12, T15
from decoder.interpolation import follow
from decoder.plain_pickle import Refused, read_plain_pickle
from decoder.strict_yaml import parse_yaml
from orchestrator.history.reading.columns import last_part, number_of
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    Role,
    RunFile,
    decode,
    json_value,
    printable,
)
from orchestrator.history.reading.folders import RunFolder
from orchestrator.history.reading.record import Settings

_MOST_YAML_BYTES = 512 << 10
_MOST_VALUES = 20_000
_DEPTH = 30
_LARGEST_INTEGER = 2**63  # of a setting
_FEWEST_KNOWN = 2  # settings of known trainers in a file whose name does not say settings
_KNOWN = {last_part(key) for key in (*T15, *T12)} | set(FORKS)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SEEDS = {
    *("seed", "randomseed", "rngseed", "globalseed"),
    *("modelseed", "torchseed", "manualseed", "seedeverything"),
}
_SEED_IN_NAME = re.compile(r"(?:^|[^a-z])seed[_=-]?(\d{1,9})(?!\d)", re.IGNORECASE)


@dataclass
class RunSettings:
    """The settings of one run, as far as its files state them.

    Attributes:
        values: dotted name → plain value; empty if nothing could be read.
        nested: the same values, nested as they were written; whole numbers are ints, and texts
            such as "1e-3" are numbers.
        source: the file that counts, relative to the root; "" if there is none.
        seed: None if it is not stated.
        seed_from: the setting that states the seed, or "the folder's name".
        files: how each file that may hold settings was used.
        notes: which file counts, and where files disagree.
    """

    values: dict[str, Any] = field(default_factory=dict)
    nested: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    seed: int | None = None
    seed_from: str = ""
    files: list[FileNote] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_settings(folder: RunFolder) -> RunSettings:
    """Read every settings file of a run, and decide which one counts.

    First comes a file whose name says that its settings were used (``config_used``,
    ``resolved``), then one that the trainer wrote (``args``, ``checkpoint/args.yaml``,
    ``.hydra/config.yaml``), then other names; of equal names the newest file. Files that share
    no key with it add their settings.
    """
    settings = RunSettings()
    files = [file for file in (*folder.files, *folder.inherited) if _may_hold_settings(file)]
    for file in sorted(files, key=_rank):
        try:
            nested, digest = read_mapping(file)
            if not _is_settings(file, nested):
                settings.files.append(file.note("not read", "holds no known setting"))
                continue
            values = flatten_settings(nested)
        except (Refused, ConfigError, OSError, ValueError, TypeError, RecursionError) as error:
            role: Role = "refused" if isinstance(error, Refused) else "unreadable"
            text = str(error).removeprefix(f"{file.path}: ").replace(f"{file.path}:", "line ")
            text = printable(" ".join(text.split())[:300])
            settings.files.append(file.note(role, text))
            continue
        settings.files.append(file.note("settings", digest=digest))
        _add(settings, file.name, _writable(nested), values)
    if folder.inherited and settings.source:
        settings.notes.append(
            f"its settings are those of the folder above ({settings.source}), because its name "
            "is that of a repeat"
        )
    settings.seed, settings.seed_from = _find_seed(settings, folder)
    return settings


def part_of_folder(
    folder: RunFolder,
    name: str,
    curves: Collection[str],
    others: Collection[str],
    settings: RunSettings,
) -> RunFolder:
    """The part of a folder that is one of several runs in it.

    It has the files that bear the run's name. Other settings of the folder are those of all runs
    if the names of these are seeds; else it is not known whose they are, and they are left out.

    Args:
        folder: that holds several runs.
        name: of the run within the folder.
        curves: paths of its learning curves.
        others: paths of the learning curves of the other runs.
        settings: of the whole folder.
    """
    seed = re.search(r"(?:^|[^a-z])seed[_=-]?(\d{1,9})$", name, re.IGNORECASE)
    bears_name = re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.IGNORECASE)
    free = [file for file in folder.files if file.name in curves or file.name not in others]
    own = [
        file
        for file in free
        if file.name in curves or bears_name.search(file.name.removeprefix(f"{folder.name}/"))
    ]
    part = RunFolder(folder.path, f"{folder.name}/{printable(name)}", own, notes=[*folder.notes])
    if seed:
        shared = folder.settings_files()
        part.files = [file for file in free if file not in shared]
        part.inherited, part.repeat = [*shared, *folder.inherited], int(seed[1])
    elif settings.source and not any(
        file.name not in curves and _may_hold_settings(file) for file in own
    ):
        part.notes.append(
            f"the settings in {settings.source} are not used: several runs wrote into this folder, "
            "and nothing says whose they are"
        )
    return part


def flatten_settings(nested: Settings) -> dict[str, Any]:
    """Dotted name → plain value; lists of plain values stay whole.

    Raises:
        ValueError: there are more values, or deeper nesting, than settings have.
    """
    flat: dict[str, Any] = {}
    n_values = 0
    for key, value in _leaves(nested, "", 0):
        n_values += max(1, len(value)) if isinstance(value, list) else 1
        if n_values > _MOST_VALUES:
            raise ValueError(f"holds more than {_MOST_VALUES:,} values; settings have fewer")
        flat[key] = value
    return flat


def _leaves(value: Any, key: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEPTH:
        raise ValueError(f"is nested more than {_DEPTH} levels deep; settings are not")
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else printable(str(name)), depth + 1)
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
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return f"a whole number of {value.bit_length() * 0.30103:.0f} digits"
    if value is None or isinstance(value, bool | int | float):
        return value
    return {} if isinstance(value, Mapping) else _valid_utf8(str(value)[:2000])


def _valid_utf8(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _writable(value: Any) -> Any:
    """A copy of a nested value that a file can hold, with numbers for texts such as "1e-3"."""
    if isinstance(value, Mapping):
        return {printable(str(key)): _writable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(inner) for inner in value]
    if isinstance(value, str):
        is_number = len(value) < 50 and _NUMBER.fullmatch(value)
        value = number_of(value) if is_number else _valid_utf8(value)
    value = _scalar(value) if isinstance(value, int) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_mapping(file: RunFile) -> tuple[dict[str, Any], str]:
    """The mapping in a settings file, with interpolations followed, and the digest of the file.

    Raises:
        Refused: a pickle that holds more than plain values.
        OSError, ValueError, ConfigError: the file cannot be read, or holds no mapping.
    """
    limit = _MOST_YAML_BYTES if file.kind == "yaml" else MOST_SETTINGS_BYTES
    if file.n_bytes > limit:
        raise ValueError(f"has {file.n_bytes:,} bytes; settings have at most {limit:,}")
    content = file.read_bytes()
    if file.kind == "pickle":
        return read_plain_pickle(content), sha256_of(content)
    text = decode(content)
    if not text.strip():
        raise ValueError("is empty")
    if file.kind == "json":
        value = json_value(text)
    elif file.kind == "toml":
        value = tomllib.loads(text)
    else:
        value = parse_yaml(text, str(file.path), plain=True)
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping of names to values, but is a {type(value).__name__}")
    named = _unwrap({printable(str(key)): inner for key, inner in value.items()})
    # Whatever depends on the machine that trained stays as it is written.
    return follow(named, file.name, None, lambda key: True), sha256_of(content)


def _unwrap(value: dict[str, Any]) -> dict[str, Any]:
    """W&B's ``{name: {desc:, value:}}`` as ``{name: value}``."""
    wrapped = {k: v["value"] for k, v in value.items() if isinstance(v, dict) and "value" in v}
    if not wrapped or 2 * len(wrapped) < len(value):
        return value
    return {key: inner for key, inner in wrapped.items() if key != "_wandb"}


def _may_hold_settings(file: RunFile) -> bool:
    if file.kind == "json":
        return file.is_named("settings") or not file.is_named("curve", "evaluation")
    return file.kind in ("yaml", "toml", "pickle")


def _is_settings(file: RunFile, nested: Settings) -> bool:
    if file.is_named("settings"):
        return bool(nested)
    return len({last_part(key) for key in flatten_settings(nested)} & _KNOWN) >= _FEWEST_KNOWN


def _rank(file: RunFile) -> tuple[int, float, str]:
    """A sort key that puts the file whose settings count first, see `read_settings`."""
    stem, parents = file.path.stem.lower(), {part.lower() for part in file.path.parts[:-1]}
    by_trainer = stem.startswith("args") and parents & {"checkpoint", "checkpoints"}
    ranks = (
        re.search(r"used|resolved|effective|actual", stem),
        file.kind == "pickle" or ".hydra" in parents or by_trainer,
        "args" in stem,
        file.is_named("settings") and "wandb" not in parents,
        "wandb" in parents,
        True,
    )
    rank = next(rank for rank, holds in enumerate(ranks) if holds)
    return rank, -file.changed, file.name


def _add(settings: RunSettings, name: str, nested: Settings, values: Settings) -> None:
    """Use the first file; another file adds its settings if it shares no key, else is noted."""
    shared = settings.values.keys() & values.keys()
    if not shared and not settings.nested.keys() & nested.keys():
        settings.nested |= nested
        settings.values |= values
        if settings.source:
            settings.notes.append(f"settings of {name} are added to those of {settings.source}")
        settings.source = settings.source or name
        return
    unequal = sorted(k for k in shared if settings.values[k] != values[k])
    text = "they agree"
    if unequal:
        text = "they differ in " + ", ".join(
            f"{k} ({settings.values[k]!r}, not {values[k]!r})" for k in unequal[:5]
        )
        text += f" and {len(unequal) - 5} more" if len(unequal) > 5 else ""
    settings.notes.append(f"{settings.source} is used, not {name}; {text}")


def seed_keys(values: Settings) -> list[str]:
    """The settings that are seeds of the run, the least nested first."""
    keys = [
        key for key in values if last_part(key) in _SEEDS and not key.lower().startswith("data")
    ]
    return sorted(keys, key=lambda key: (key.count("."), key))


def _find_seed(settings: RunSettings, folder: RunFolder) -> tuple[int | None, str]:
    """The seed, and where it is from: a repeat's own name, else a setting, else the name."""
    of_name = "the folder's name"
    keys = seed_keys(settings.values)
    if folder.repeat is not None and (folder.inherited or not keys):
        return folder.repeat, of_name
    for key in keys:
        value = settings.values[key]
        if isinstance(value, int) and not isinstance(value, bool):
            if value >= 0:
                return value, key
            settings.notes.append(f"{key} is {value}: no seed was set")
            return None, ""
    match = _SEED_IN_NAME.search(folder.name)
    return (int(match[1]), of_name) if match else (None, "")
