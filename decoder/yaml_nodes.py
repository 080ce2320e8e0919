"""YAML text → nodes with their lines, within limits of size and depth.

PyYAML parses. Its composer and constructor are not used, since they follow aliases and nesting
without limit.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import yaml

# Far above any real file: 10,000 levels of one factor are 40,000 values.
MOST_VALUES = 50_000  # an alias counts as much as what it repeats
MOST_DEPTH = 50

TAG = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), "null"),
    **dict.fromkeys(("true", "True", "TRUE", "false", "False", "FALSE"), "bool"),
    "<<": "merge",
    **{spelt: "word" for w in ("yes", "no", "on", "off") for spelt in (w, w.title(), w.upper())},
}


@dataclass(slots=True, eq=False)
class Node:
    """A part of a YAML file.

    Attributes:
        tag: ``null``, ``bool``, ``int``, ``float``, ``str``, ``merge``, or ``word`` (a text that
            was true or false before YAML 1.2) for a scalar; else the tag that the file writes,
            which is empty for most lists and mappings.
        line: the line it begins in, counted from 1.
        text: of a scalar.
        items: of a list; of a mapping keys and values in turn.
    """

    kind: Literal["scalar", "list", "mapping"]
    tag: str
    line: int
    text: str = ""
    items: list["Node"] = field(default_factory=list)

    def pairs(self) -> Iterator[tuple["Node", "Node"]]:
        """Keys and values of a mapping."""
        return zip(self.items[::2], self.items[1::2], strict=True)


class YamlMistake(Exception):
    """What is wrong with a text, and the line of it, counted from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line, self.reason = line, reason


# The parser in C is ten times as fast, and PyYAML's wheels have it.
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=2)  # of a file and its base: read for the values, then for the lines
def compose(text: str) -> Node | None:
    """The only document in a text; None if it is empty.

    Callers share the nodes, and aliases do; nobody changes them.

    Raises:
        YamlMistake: the text holds several documents, or more than the limits allow.
        yaml.YAMLError: the text is not YAML.
    """
    parser, composer = _PARSER(text), _Composer()
    try:
        while (event := parser.get_event()) is not None:
            composer.take(event)
    finally:
        parser.dispose()
    return composer.root


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end was not reached yet.

    Attributes:
        anchor: its name, by which aliases repeat it.
        n_before: values that were counted before it.
        height: how many levels are nested in it so far.
    """

    node: Node
    anchor: str | None
    n_before: int
    height: int = 0


class _Composer:
    """Builds nodes from the parser's events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[_Open] = []
        # Anchor → node, its values and its height.
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._n_values = 0

    def take(self, event: Any) -> None:
        """Go on with the next event."""
        line = event.start_mark.line + 1
        match event:
            case yaml.ScalarEvent():
                self._n_values += 1
                node = Node("scalar", _tag_of(event), line, event.value)
                if event.anchor is not None:
                    self._anchors[event.anchor] = node, 1, 0
                self._add(node, 0, line)
            case yaml.AliasEvent():
                anchor = str(event.anchor)
                if anchor not in self._anchors:
                    raise YamlMistake(line, _undefined(anchor, self._open))
                node, n_values, height = self._anchors[anchor]
                self._n_values += n_values
                self._add(node, height, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._n_values += 1
                kind: Literal["list", "mapping"] = (
                    "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
                )
                tag = "" if event.tag in (None, "!") else event.tag.removeprefix(TAG)
                if event.anchor is not None:  # until its end it cannot be repeated
                    self._anchors.pop(event.anchor, None)
                self._open.append(_Open(Node(kind, tag, line), event.anchor, self._n_values - 1))
                self._check(0, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._open.pop()
                if done.anchor is not None:
                    n_values = self._n_values - done.n_before
                    self._anchors[done.anchor] = done.node, n_values, done.height + 1
                self._add(done.node, done.height + 1, line)
            case yaml.DocumentStartEvent() if self.root is not None:
                raise YamlMistake(line, "a second document begins here; keep one, without ---")

    def _add(self, node: Node, height: int, line: int) -> None:
        self._check(height, line)
        if self._open:
            parent = self._open[-1]
            parent.node.items.append(node)
            if height > parent.height:
                parent.height = height
        else:
            self.root = node

    def _check(self, height: int, line: int) -> None:
        if self._n_values > MOST_VALUES:
            raise YamlMistake(
                line,
                f"the file has more than {MOST_VALUES:,} values (an alias counts as what it "
                "repeats); leave some out",
            )
        if len(self._open) + height > MOST_DEPTH:
            raise YamlMistake(line, f"lists and mappings are nested more than {MOST_DEPTH} deep")


def _tag_of(event: Any) -> str:
    """The tag of a scalar, without the prefix of YAML's own tags."""
    if event.tag not in (None, "!"):
        return str(event.tag).removeprefix(TAG)
    text = event.value
    if not event.implicit[0]:
        return "str"
    if (word := _WORDS.get(text)) is not None:
        return word
    if text[0] in "+-.0123456789":
        if _INT.fullmatch(text):
            return "int"
        if _FLOAT.fullmatch(text):
            return "float"
    return "str"


def _undefined(anchor: str, opened: list[_Open]) -> str:
    shown = anchor if len(anchor) <= 40 else f"{anchor[:40]}..."
    if any(one.anchor == anchor for one in opened):
        return f"is not valid YAML: *{shown} stands inside of what it repeats"
    return (
        "is not valid YAML: text that begins with * names an anchor, but there is no "
        f"&{shown}; put it in quotes"
    )
