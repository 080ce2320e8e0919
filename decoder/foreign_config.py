"""Reads the configuration file of any trainer, as that trainer reads it.

One reader for everything that is not ours: `decoder.importing`, imported runs, and trainers that
are run as a command. It takes what other programs write (Latin-1, tags such as ``!!python/tuple``,
``yes`` for true) and follows interpolations as OmegaConf does.
"""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from decoder.errors import ConfigError
from decoder.interpolation import follow
from decoder.plain_pickle import Refused, looks_like_pickle, read_plain_pickle
from decoder.plain_values import check_values, parse_json
from decoder.strict_yaml import parse_yaml
from decoder.user_files import decode_text, read_bounded, utf_16


def read_foreign(
    path: Path | str,
    base: Path | str | Sequence[Path | str] | None = None,
    environment: Mapping[str, str] | None = os.environ,
    may_stay: Callable[[str], bool] = lambda key: False,
) -> dict[str, Any]:
    """The settings in a configuration file, with interpolations followed.

    Args:
        path: YAML, JSON, TOML, or the T12 trainer's ``args``, a pickle of plain values.
        base: the file that `path` only changes a part of, or several, each of which changes the
            one before; merged as OmegaConf does, before interpolations are followed.
        environment, may_stay: see `decoder.interpolation.follow`.

    Raises:
        ConfigError: a file cannot be read, holds no mapping, or is any other pickle, which is
            never opened; or an interpolation leads nowhere.
    """
    followed = follow(read_written(path, base), str(path), environment, may_stay)
    check_values(followed, str(path))
    return followed


def read_written(
    path: Path | str, base: Path | str | Sequence[Path | str] | None = None
) -> dict[str, Any]:
    """What `read_foreign` reads, with interpolations as they are written.

    Raises:
        ConfigError: a file cannot be read, holds no mapping, or is any other pickle.
    """
    bases = [base] if isinstance(base, Path | str) else base or ()
    merged: dict[str, Any] = {}
    for file in (*bases, path):
        merged = merge(merged, parse_foreign(read_bounded(Path(file)), str(file)))
    return merged


def parse_foreign(content: bytes, where: str) -> dict[str, Any]:
    """The mapping in a configuration file as it is written, interpolations included.

    Args:
        content: of the file.
        where: its name, whose end says which kind it is; the start of every error message.

    Raises:
        ConfigError: see `read_foreign`.
    """
    if looks_like_pickle(content):
        document = _unpickle(content, where)
    elif where.lower().endswith(".json"):
        document = parse_json(_utf8(content, where), Path(where))
    elif where.lower().endswith(".toml"):
        document = _parse_toml(decode_text(_utf8(content, where), where), where)
    else:
        document = parse_yaml(decode_text(_utf8(content, where), where), where, plain=True)
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list | tuple) else "a single value"
        raise ConfigError(
            f"{where}: the top level must be a mapping of keys to values, but it is "
            f"{'empty' if document is None else kind}"
        )
    return document


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested configuration with changes; lists are replaced, mappings are merged."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        is_part = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = merge(old, value) if is_part else value  # type: ignore[arg-type]
    return merged


def without_wandb(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a W&B file: ``{name: {desc:, value:}}`` as ``{name: value}``."""
    is_wrapped = values and all(
        isinstance(value, dict) and "value" in value and value.keys() <= {"value", "desc"}
        for value in values.values()
    )
    if not is_wrapped:
        return values
    return {name: value["value"] for name, value in values.items() if name != "_wandb"}


def _utf8(content: bytes, where: str) -> bytes:
    """A text in UTF-8, UTF-16, or else in Latin-1, as UTF-8."""
    encoding = utf_16(content)
    if not encoding and b"\0" in content:
        return content  # binary: `decode_text` says so
    try:
        return content.decode(encoding or "utf-8-sig").encode()
    except UnicodeDecodeError:
        return content if encoding else content.decode("latin-1").encode()


def _unpickle(content: bytes, where: str) -> Any:
    try:
        return read_plain_pickle(content)
    except Refused as reason:
        raise ConfigError(
            f"{where}: is a pickle and {reason}; if you trust it, convert it: "
            "json.dump(dict(pickle.load(open('args', 'rb'))), open('args.json', 'w'))"
        ) from None


def _parse_toml(text: str, where: str) -> Any:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: is not valid TOML: {' '.join(str(error).split())}") from None
