"""The line of a YAML file that a complaint is about."""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import yaml

from decoder.errors import ENOUGH_PROBLEMS, ConfigError
from decoder.user_files import read_text
from decoder.yaml_nodes import Node, YamlMistake, compose

_MOST_CHARACTERS = 1000  # of a complaint in which the place is looked for


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
    if root is None:
        return tuple(problems)
    start, places = f"{path}: ", _Places(root, first)
    return tuple(
        f"{path}:{line}: {text.removeprefix(start)}"
        if index <= ENOUGH_PROBLEMS
        and text.startswith(start)
        and (line := places.line(text.removeprefix(start)[:_MOST_CHARACTERS]))
        else text
        for index, text in enumerate(problems)
    )


class _Places:
    """Finds the line that a complaint is about.

    Args:
        first: see `with_lines`.
    """

    def __init__(self, root: Node, first: tuple[str, ...]) -> None:
        self._entries: dict[int, dict[str, list[tuple[int, Node]]]] = {}
        self._root = root
        over: Node | None = root
        for key in first:
            over = next((node for _, node in self._named(over, key)), None)
        self._tops = [node for node in (over, root) if node is not None]

    def line(self, complaint: str) -> int | None:
        """The line that a complaint is about; None if it is not known."""
        place, _, text = complaint.partition(": ")
        quoted = re.match(r"'([^']*)'", text)
        more = quoted[1] if quoted else text.partition(": ")[0]
        found = max((self._deepest(top, place, more) for top in self._tops), key=lambda one: one[0])
        return found[1] or self._only_mention(complaint)

    def _deepest(self, node: Node, path: str, more: str, done: int = 0) -> tuple[int, int | None]:
        """How many characters of a key path lead into a node, and the line they lead to.

        Args:
            more: a key path that may go on where `path` ends.
        """
        if not path:
            path, more = more, ""
        best: tuple[int, int | None] = (done, None)
        ends = [found.start() for found in re.finditer(r"\.", path)] + [len(path)] * bool(path)
        for end in ends:
            for line, value in self._named(node, path[:end]):
                reached, deeper = self._deepest(value, path[end + 1 :], more, done + end + 1)
                best = max(best, (reached, deeper or line), key=lambda one: one[0])
        return best

    def _named(self, node: Node | None, name: str) -> list[tuple[int, Node]]:
        """Line and value of each entry of this name."""
        if node is None:
            return []
        if id(node) not in self._entries:
            entries: dict[str, list[tuple[int, Node]]] = {}
            for known, line, value in _entries(node):
                entries.setdefault(known, []).append((line, value))
            self._entries[id(node)] = entries
        return self._entries[id(node)].get(name, [])

    def _only_mention(self, complaint: str) -> int | None:
        """The line of the first dotted name in a complaint that is a key of the file just once."""
        words = re.findall(r"[\w-]+(?:\.[\w-]+)+", complaint)
        lines = self._lines_of_keys if words else {}
        return next((min(lines[word]) for word in words if len(lines.get(word, ())) == 1), None)

    @cached_property
    def _lines_of_keys(self) -> dict[str, set[int]]:
        """Key → the lines where it stands."""
        lines: dict[str, set[int]] = {}
        waiting, met = [self._root], set[int]()
        while waiting:
            node = waiting.pop()
            if id(node) in met:
                continue  # an alias
            met.add(id(node))
            for name, line, value in _entries(node):
                lines.setdefault(name, set()).add(line)
                waiting.append(value)
        return lines


def _entries(node: Node) -> Iterator[tuple[str, int, Node]]:
    """Name, line and value of each entry of a mapping or list, merged mappings included."""
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
