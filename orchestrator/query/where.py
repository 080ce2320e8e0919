"""Conditions on runs, such as ``optim.epsilon == 0.1 and outcome == 'collapsed'``: read, not run.

The text is parsed as a Python expression, of which comparisons, ``and``, ``or``, ``not``, ``in``,
numbers, texts, lists, ``null``, ``true``, ``false`` and the names of columns are understood and
nothing else; no part of it is ever executed.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError

Row = Mapping[str, Any]
Value = Callable[[Row], Any]

_WORDS = {"null": None, "true": True, "false": False}
_ORDER: Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_UNDERSTOOD = "comparisons (== != < <= > >= in), and, or, not, lists, null and names of columns"


class Condition(NamedTuple):
    """A condition that was understood.

    Attributes:
        names: the columns it speaks of, in the order of the text.
        holds: whether a row, with those columns, meets it.
    """

    names: tuple[str, ...]
    holds: Callable[[Row], bool]


def parse_condition(text: str, columns: Collection[str], where: str = "--where") -> Condition:
    """Understand a condition.

    A value that is missing (``null``) equals ``null`` alone, and is neither below nor above
    anything.

    Args:
        text: the condition.
        columns: every name it may use.
        where: named at the front of complaints.

    Raises:
        ConfigError: what is not understood, and at which character of the text; of an unknown
            name the nearest one. `Condition.holds` raises it where a text is ordered with a number.
    """
    reader = _Reader(columns, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of texts that look like escapes
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(text.strip(), mode="eval")
        value = reader.read(tree.body)
    except SyntaxError as error:
        raise ConfigError(
            f"{where}: character {error.offset or 1}: {error.msg}; understood are {_UNDERSTOOD}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}: cannot be read ({error}); write a shorter one") from None
    return Condition(tuple(dict.fromkeys(reader.names)), lambda row: bool(value(row)))


class _Reader:
    """Turns nodes of the syntax tree into functions of a row, and notes the columns."""

    def __init__(self, columns: Collection[str], where: str) -> None:
        self._columns, self._where = columns, where
        self.names: list[str] = []

    def read(self, node: ast.expr) -> Value:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.read(value) for value in values]
                every = all if isinstance(op, ast.And) else any
                return lambda row: every(part(row) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.read(operand)
                return lambda row: not inner(row)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return lambda row: -number
            case ast.Compare():
                return self._compare(node)
            case ast.Constant(value=str() | int() | float() | None as constant):
                return lambda row: constant
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                items = [self.read(element) for element in elements]
                return lambda row: [item(row) for item in items]
            case ast.Name() | ast.Attribute():
                return self._name(node)
        raise self._complaint(node, f"this is not understood; {_UNDERSTOOD} are")

    def _name(self, node: ast.Name | ast.Attribute) -> Value:
        parts: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            parts.insert(0, at.attr)
            at = at.value
        if not isinstance(at, ast.Name):
            raise self._complaint(node, "this is no name of a column")
        name = ".".join([at.id, *parts])
        if name not in self._columns:
            if name.lower() in _WORDS:
                word = _WORDS[name.lower()]
                return lambda row: word
            hint = did_you_mean(name, self._columns) or f"; a text needs quotes: '{name}'"
            raise self._complaint(node, f"there is no '{name}'{hint}")
        self.names.append(name)
        return lambda row: row[name]

    def _compare(self, node: ast.Compare) -> Value:
        sides = [self.read(side) for side in (node.left, *node.comparators)]
        links = [
            self._link(op, left, right, node)
            for op, left, right in zip(node.ops, sides, sides[1:], strict=False)
        ]
        return lambda row: all(link(row) for link in links)

    def _link(self, op: ast.cmpop, left: Value, right: Value, node: ast.expr) -> Value:
        match op:
            case ast.Eq() | ast.Is():
                return lambda row: _same(left(row), right(row))
            case ast.NotEq() | ast.IsNot():
                return lambda row: not _same(left(row), right(row))
            case ast.In():
                return lambda row: _holds(right(row), left(row))
            case ast.NotIn():
                return lambda row: not _holds(right(row), left(row))
        sign, ordered = _ORDER[type(op)]

        def compare(row: Row) -> bool:
            a, b = left(row), right(row)
            if a is None or b is None:
                return False
            whole = isinstance(a, list | dict) or isinstance(b, list | dict)
            if whole or isinstance(a, str) != isinstance(b, str):
                raise self._complaint(node, f"{a!r} {sign} {b!r}: these have no order")
            return bool(ordered(a, b))

        return compare

    def _complaint(self, node: ast.expr, text: str) -> ConfigError:
        return ConfigError(f"{self._where}: character {node.col_offset + 1}: {text}")


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _holds(container: Any, value: Any) -> bool:
    """Whether a list has the value, or a text the part."""
    if isinstance(container, str):
        return isinstance(value, str) and value in container
    return isinstance(container, list | dict) and any(_same(value, item) for item in container)
