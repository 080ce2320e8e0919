"""Limits for values that are read from JSON or a pickle, as `decoder.yaml_nodes` has for YAML."""

import json
from pathlib import Path
from typing import Any

from decoder.complaints import yaml_text
from decoder.errors import ConfigError
from decoder.harmless import harmful_character
from decoder.user_files import decode_text
from decoder.yaml_nodes import MOST_DEPTH, MOST_VALUES

_MOST_BITS = 1000  # of a whole number, as of the 300 digits that YAML may have
# What the parser says → what a user does about it.
_MENDS = {
    "trailing comma": "a comma stands before the bracket that closes; remove it",
    "property name": "a name in double quotes must stand here; remove comments, and a comma "
    "before }",
    "Expecting value": "a value must stand here: text in double quotes, a number, true, false or "
    "null; remove comments, and a comma before ]",
    "Expecting ','": "a comma or the bracket that closes is missing before this",
    "Expecting ':'": "a colon is missing after the name",
    "Extra data": "more follows after the end; keep one object",
    "Unterminated string": "the quote that opens here is not closed",
    "escape": "a backslash begins a special character; write two backslashes, or a path with /",
    "control character": "text has a line break or a tab; write \\n or \\t",
}


def parse_json(content: bytes, path: Path) -> Any:
    """The value of a JSON file that a user names.

    Raises:
        ConfigError: it is not JSON in UTF-8, repeats a key, or see `check_values`.
    """
    text = decode_text(content, str(path))
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ConfigError(f"{path}: is nested more than {MOST_DEPTH} deep") from None
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{path}: is not valid JSON: {json_mistake(error)}") from None
    check_values(value, str(path))
    return value


def json_mistake(error: ValueError | ConfigError) -> str:
    """What is wrong with a text that is no JSON, where, and how to mend it, in one line."""
    said = " ".join(str(error).split())
    if not isinstance(error, json.JSONDecodeError):
        return said
    mend = next((mend for words, mend in _MENDS.items() if words in said), error.msg)
    return f"line {error.lineno}, column {error.colno}: {mend}"


def check_values(value: Any, where: str) -> None:
    """Check nested plain values that somebody else wrote.

    Args:
        where: the start of every error message, usually a file.

    Raises:
        ConfigError: they are too many or nested too deep, a number is too long, or a text has
            characters that change what a terminal shows.
    """
    waiting, n_values = [(value, 0)], 0
    while waiting:
        one, depth = waiting.pop()
        n_values += 1
        if n_values > MOST_VALUES:
            raise ConfigError(f"{where}: has more than {MOST_VALUES:,} values")
        if depth > MOST_DEPTH:
            raise ConfigError(f"{where}: is nested more than {MOST_DEPTH} deep")
        if isinstance(one, dict):
            waiting += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple):
            waiting += [(part, depth + 1) for part in one]
        elif isinstance(one, int) and one.bit_length() > _MOST_BITS:
            raise ConfigError(f"{where}: has a whole number of {one.bit_length()} bits")
        elif isinstance(one, str) and (character := harmful_character(one)):
            raise ConfigError(
                f"{where}: the text {yaml_text(one)} has the character {character}, which changes "
                "what a terminal or editor shows; remove it"
            )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    once = dict(pairs)
    if len(once) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ConfigError(f"key {yaml_text(twice)} appears twice; keep one of them")
    return once
