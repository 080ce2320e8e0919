"""A YAML reader that refuses duplicate keys and reads ``1e-3`` as a number and ``no`` as text.

Plain ``yaml.safe_load`` follows YAML 1.1: the last of two equal keys wins, ``1e-3`` is text and
``no`` is false. This reader follows the core schema of YAML 1.2 for booleans and floats. Files may
hold anything: see `decoder.user_files` and `decoder.yaml_nodes` for the limits.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from decoder.complaints import yaml_text
from decoder.errors import ConfigError
from decoder.harmless import harmful_character
from decoder.user_files import read_text
from decoder.yaml_nodes import MOST_DEPTH, Node, YamlMistake, compose

_MOST_DIGITS = 300  # of a whole number: every float64 can be written with fewer
_INT = re.compile(r"[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F]+)")
_INVALID = "is not valid YAML: "
_MOST_SHOWN = 100  # characters of a line in a message


def load_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file whose top level is a mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, is too large or nested too deep, repeats a
            key, has characters that change what a terminal shows, or is not a mapping.
    """
    document = parse_yaml(read_text(path), str(path))
    if not isinstance(document, dict):
        raise ConfigError(
            f"{path}: the top level must be a mapping of keys to values (key: value), but "
            f"{_kind(document)}"
        )
    return document


def parse_yaml(text: str, where: str, *, plain: bool = False) -> Any:
    """The value of a YAML document.

    Args:
        text: without control characters, see `decoder.user_files.decode_text`.
        where: the start of every error message, usually a file.
        plain: for files of other programs: whether to read tagged values (``!!python/tuple``) as
            the plain values they consist of and ``yes``, ``no``, ``on``, ``off`` as true and false,
            as PyYAML and OmegaConf do, and to let characters pass that change what a terminal
            shows.

    Raises:
        ConfigError: see `load_yaml`.
    """
    try:
        node = compose(text)
        return None if node is None else _Reader(plain).value(node)
    except YamlMistake as mistake:
        raise ConfigError(f"{where}:{mistake.line}: {mistake.reason}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}{_what_is_wrong(error, text)}") from None


class _Reader:
    """Turns nodes into values."""

    def __init__(self, plain: bool) -> None:
        self._plain = plain
        self._known: dict[int, Any] = {}  # an alias has the value of its anchor

    def value(self, node: Node) -> Any:
        """The value of a node.

        Raises:
            YamlMistake: a tag does not fit, a key is repeated, or a character does harm.
        """
        if node.kind == "scalar":
            return self._scalar(node)
        if id(node) not in self._known:
            if node.tag not in ("", "map" if node.kind == "mapping" else "seq"):
                self._refuse_tag(node)
            is_mapping = node.kind == "mapping"
            self._known[id(node)] = (
                self._mapping(node) if is_mapping else [self.value(item) for item in node.items]
            )
        return self._known[id(node)]

    def _mapping(self, node: Node) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        for key_node, value_node in node.pairs():
            if key_node.tag == "merge":
                for part in self._merged(value_node):
                    merged |= part
                continue
            if key_node.kind != "scalar":
                raise YamlMistake(
                    key_node.line, f"{_INVALID}a key must be text or a number, without brackets"
                )
            key = key_node.text if key_node.tag == "word" else self._scalar(key_node)
            if key in lines:
                raise YamlMistake(
                    key_node.line,
                    f"key {_shown(key)} appears twice (first on line {lines[key]}); keep one of "
                    "them",
                )
            lines[key] = key_node.line
            own[key] = self.value(value_node)
        return merged | own

    def _merged(self, node: Node) -> list[dict[Any, Any]]:
        """The mappings that ``<<`` names, the one that wins last."""
        parts = node.items if node.kind == "list" else [node]
        if any(part.kind != "mapping" for part in parts):
            raise YamlMistake(node.line, f"{_INVALID}<< takes a mapping, or a list of mappings")
        return [self.value(part) for part in reversed(parts)]

    def _scalar(self, node: Node) -> Any:
        text = node.text
        match node.tag:
            case "word" if self._plain:
                return text.lower() in ("yes", "on")
            case "str" | "word":
                if not self._plain and (character := harmful_character(text)):
                    raise YamlMistake(
                        node.line,
                        f"the text has the character {character}, which changes what a terminal "
                        "or editor shows; remove it",
                    )
                return text
            case "null" | "merge":
                return None if node.tag == "null" else text
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if _INT.fullmatch(text):
                return _whole_number(node)
            case "float":
                return self._float(node)
        self._refuse_tag(node)
        return text

    def _float(self, node: Node) -> float:
        word = node.text.lower()
        if word.lstrip("+-") in (".inf", ".nan"):
            return float(word.replace(".", ""))
        try:
            return float(node.text.replace("_", ""))
        except ValueError:
            raise YamlMistake(node.line, f"{_shown(node.text)} is no number") from None

    def _refuse_tag(self, node: Node) -> None:
        if not self._plain:
            got = f", but this is {_shown(node.text)}" if node.tag in ("int", "bool") else ""
            raise YamlMistake(
                node.line, f"{_INVALID}tags that begin with ! are not read{got}; leave them out"
            )


def _whole_number(node: Node) -> int:
    text = node.text.replace("_", "")
    if len(text) > _MOST_DIGITS:
        raise YamlMistake(
            node.line, f"the number has {len(text):,} digits, more than any setting needs"
        )
    return int(text, 16 if "x" in text else 10)


def _shown(value: Any) -> str:
    return yaml_text(value) if isinstance(value, str) else f"'{yaml_text(value)}'"


# What the parser says → what a user does about it.
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
    "maximum nesting depth": f"lists and mappings are nested more than {MOST_DEPTH} deep",
    "unexpected end of stream": "a quote that opens here is not closed",
    **dict.fromkeys(
        ("unknown escape character", "hexdecimal number", "expected escape sequence"),
        "a backslash in double quotes begins a special character; write the text in single quotes, "
        "or a path with /",
    ),
}
_IN_BRACKETS = 'an interpolation within { } or [ ] needs quotes around it; write "${...}"'
# What the parser in C says in other words.
_IN_C: Mapping[str, str] = {
    "did not find expected key": "expected <block end>",
    "did not find expected '-' indicator": "expected <block end>",
}


def _what_is_wrong(error: yaml.YAMLError, text: str) -> str:
    """The line, and what stands there, in the words of a user's file."""
    said = " ".join(str(error).split())
    said += "".join(f" {ours}" for theirs, ours in _IN_C.items() if theirs in said)
    mark = getattr(error, "problem_mark", None)
    mend = next((mend for words, mend in _MENDS.items() if words in said), None)
    if mark is None:
        return f": is not valid YAML: {said}"
    lines = text.splitlines()
    line = min(mark.line, max(0, len(lines) - 1))
    if lines and lines[line][: mark.column + 1].lstrip(" ").startswith("\t"):
        mend = _MENDS["\\t"]
    opened = getattr(error, "context_mark", None)
    if opened is not None and ("expected ',' or" in said or "end of stream" in said):
        line = opened.line
        if "${" in lines[mark.line if mark.line < len(lines) else line]:
            line, mend = min(mark.line, len(lines) - 1), _IN_BRACKETS
    elif (
        (":'" in said or "mapping values" in said)
        and line
        and re.match(r"\s*[\w.-]+:\S", lines[line - 1])
    ):
        line, mend = line - 1, "a colon without a space after it; write key: value"
    shown = lines[line].strip() if lines else ""
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
    reason = mend or getattr(error, "problem", None) or said
    return f":{line + 1}: is not valid YAML: {reason} (the line is: {shown})"


def _kind(document: Any) -> str:
    if document is None:
        return "the file is empty"
    if isinstance(document, list):
        return "it is a list; remove the dashes in front of the keys"
    return f"it is the value {yaml_text(document)}; write a space after each colon"
