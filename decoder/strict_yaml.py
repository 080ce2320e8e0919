"""A YAML loader that refuses duplicate keys and reads ``1e-3`` as a number and ``no`` as text.

Plain ``yaml.safe_load`` follows YAML 1.1: the last of two equal keys wins, ``1e-3`` is text and
``no`` is false. This loader follows the core schema of YAML 1.2 for booleans and floats.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from decoder.errors import ConfigError


class StrictLoader(yaml.SafeLoader):
    """A separate safe loader, so that the library's own resolvers are not changed."""


_FLOAT = re.compile(
    r"^[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
    r"|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
)
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$|^0x[0-9a-fA-F]+$")
_TAG = "tag:yaml.org,2002:"

StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in (_TAG + "null", _TAG + "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver(
    _TAG + "bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
StrictLoader.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))
StrictLoader.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))


def _construct_mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _TAG + "merge":
            continue  # merged mappings may be overridden; a key that is not a scalar fails below
        key = loader.construct_object(key_node)
        line = key_node.start_mark.line + 1
        if key in seen:
            raise ConfigError(
                f"{loader.name}:{line}: key '{key}' appears twice (first on line {seen[key]}); "
                "keep one of them"
            )
        seen[key] = line
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file whose top level is a mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    loader = StrictLoader(text)
    loader.name = str(path)
    try:
        document = loader.get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_what_is_wrong(error, text)}") from None
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        raise ConfigError(
            f"{path}: the top level must be a mapping of keys to values (key: value), but "
            f"{_kind(document)}"
        )
    return document


# What the library says → what a user does about it.
_MENDS: Mapping[str, str] = {
    "\\t": "a tab stands where only spaces may; indent with spaces",
    "mapping values are not allowed": "a second ': ' in one line; put text that has a ': ' in "
    "quotes, and each key on a line of its own",
    "could not find expected ':'": "a key has no ': ' after it, or its text goes on in the next "
    "line; write key: value, with a space after the colon",
    "expected ',' or": "a bracket that opens here is not closed, or a comma is missing in it",
    "expected <block end>": "this line is indented otherwise than its neighbours; align the keys "
    "of one mapping",
    "cannot start any token": "text must not begin with this character; put it in quotes",
    "found undefined alias": "text that begins with * names an anchor; put it in quotes",
    "unexpected end of stream": "a quote that opens here is not closed",
    "found unhashable key": "a key must be text or a number, without brackets",
    "could not determine a constructor": "tags that begin with ! are not read; leave them out",
}


def _what_is_wrong(error: yaml.YAMLError, text: str) -> str:
    """The line, and what stands there, in the words of a user's file."""
    said = " ".join(str(error).split())
    mark = getattr(error, "problem_mark", None)
    mend = next((mend for words, mend in _MENDS.items() if words in said), None)
    if mark is None:
        return f": is not valid YAML: {said}"
    lines = text.splitlines()
    line = min(mark.line, max(0, len(lines) - 1))
    opened = getattr(error, "context_mark", None)
    if opened is not None and ("expected ',' or" in said or "end of stream" in said):
        line = opened.line
    elif (
        (":'" in said or "mapping values" in said)
        and line
        and re.match(r"\s*[\w.-]+:\S", lines[line - 1])
    ):
        line, mend = line - 1, "a colon without a space after it; write key: value"
    shown = lines[line].strip() if lines else ""
    reason = mend or getattr(error, "problem", None) or said
    return f":{line + 1}: is not valid YAML: {reason} (the line is: {shown})"


def _kind(document: Any) -> str:
    if document is None:
        return "the file is empty"
    if isinstance(document, list):
        return "it is a list; remove the dashes in front of the keys"
    return f"it is the value {document}; write a space after each colon"
