"""The line of a YAML file that a complaint is about."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import yaml

from decoder.errors import ConfigError
from decoder.user_files import read_text
from decoder.yaml_nodes import Node, YamlMistake, compose

_MOST_LINES = 200  # complaints; a person reads the first few


def with_lines(problems: Iterable[str], path: Path, first: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Complaints with the line they are about: ``file: a.b: text`` → ``file:7: a.b: text``.

    The line is that of the deepest key on the path. A text that goes on with a key path from
    there, or with a key in quotes, is about that key. A complaint without a path is about the line
    of the one key in the file that it names, or has no line.

    Args:
        problems: complaints, each ``file: key.path: text``; those about other files stay.
        path: the file, which is read again.
        first: keys of a mapping that replaces keys of the file, such as a profile.
    """
    try:
        root = compose(read_text(path))
    except (ConfigError, YamlMistake, yaml.YAMLError):
        return tuple(problems)
    start = f"{path}: "
    return tuple(
        f"{path}:{line}: {text.removeprefix(start)}"
        if index < _MOST_LINES
        and text.startswith(start)
        and (line := _line(root, text.removeprefix(start), first))
        else text
        for index, text in enumerate(problems)
    )


def _line(root: Node | None, complaint: str, first: tuple[str, ...]) -> int | None:
    place, _, text = complaint.partition(": ")
    quoted = re.match(r"'([^']*)'", text)
    more = quoted[1] if quoted else text.partition(": ")[0]
    over = root
    for key in first:
        over = next((node for name, _, node in _entries(over) if name == key), None)
    found = max(
        (_deepest(node, place, more) for node in (over, root) if node is not None),
        key=lambda pair: pair[0],
        default=(0, None),
    )[1]
    return found or _only_mention(root, complaint)


def _deepest(node: Node | None, path: str, more: str, done: int = 0) -> tuple[int, int | None]:
    """How many characters of a key path lead into a node, and the line they lead to.

    Args:
        more: a key path that may go on where `path` ends.
    """
    if not path:
        path, more = more, ""
    best: tuple[int, int | None] = (done, None)
    for name, line, value in _entries(node):
        if path and (path == name or path.startswith(f"{name}.")):
            left = path[len(name) + 1 :]
            reached, deeper = _deepest(value, left, more, done + len(name) + 1)
            best = max(best, (reached, deeper or line), key=lambda pair: pair[0])
    return best


def _entries(node: Node | None) -> Iterator[tuple[str, int, Node]]:
    """Name, line and value of each entry of a mapping or list, merged mappings included."""
    if node is None:
        return
    if node.kind == "list":
        for index, value in enumerate(node.items):
            yield str(index), value.line, value
    if node.kind == "mapping":
        for key, value in node.pairs():
            if key.tag == "merge":
                for one in value.items if value.kind == "list" else [value]:
                    yield from _entries(one)
            elif key.kind == "scalar":
                yield key.text, key.line, value
                if key.tag == "float":  # complaints write the number in its shortest form
                    yield re.sub(r"e([-+])0+", r"e\1", repr(float(key.text))), key.line, value


def _only_mention(root: Node | None, complaint: str) -> int | None:
    """The line of the first dotted name in a complaint that is a key of the file just once."""
    words = re.findall(r"[\w-]+(?:\.[\w-]+)+", complaint)
    lines = _lines_of_keys(root) if words and root is not None else {}
    return next((found[0] for word in words if len(found := lines.get(word, ())) == 1), None)


@lru_cache(maxsize=1)
def _lines_of_keys(root: Node) -> Mapping[str, tuple[int, ...]]:
    """Key → the lines where it stands, without repetitions."""
    lines: dict[str, set[int]] = {}
    waiting, met = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in met:
            continue  # an alias
        met.add(id(node))
        for name, line, value in _entries(node):
            lines.setdefault(name, set()).add(line)
            waiting.append(value)
    return {name: tuple(found) for name, found in lines.items()}
