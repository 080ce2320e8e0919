"""Conditions on runs, such as ``optim.epsilon == 0.1 and outcome == 'collapsed'``.

The text is parsed as a Python expression and never executed. It may hold comparisons, ``and``,
``or``, ``not``, ``in``, numbers, texts, lists, ``null``, ``true``, ``false`` and column names.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue

from decoder.complaints import did_you_mean, yaml_text
from decoder.errors import ConfigError
from orchestrator.tables.run_row import Cells

Expression = Callable[[Cells], JsonValue]

_WORDS: Mapping[str, JsonValue] = {"null": None, "true": True, "false": False}
_ORDER: Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_MOST_VALUES = 12  # listed of a column
_ALLOWED = "comparisons (== != < <= > >= in), and, or, not, lists, null and column names"


class Condition(NamedTuple):
    """A parsed condition.

    Attributes:
        names: the columns it reads, in the order of the text.
        holds: whether a row that has those columns meets it.
        equalities: its comparisons of a column with constants by ``==``, ``!=`` and ``in``.
    """

    names: tuple[str, ...]
    holds: Callable[[Cells], bool]
    equalities: tuple["Equality", ...] = ()


class Equality(NamedTuple):
    """A comparison of a column with a constant, at a character of the text.

    `sign` is ``==``, ``!=``, ``in``, ``not in``, or ``has`` and ``has not`` where the column stands
    to the right of ``in``.
    """

    name: str
    sign: str
    value: JsonValue
    character: int


def parse_condition(text: str, columns: Collection[str]) -> Condition:
    """Parse a condition.

    A missing value (``null``) equals only ``null``, and is neither less nor greater than anything.

    Args:
        text: the condition.
        columns: every name it may use.

    Raises:
        ConfigError: what cannot be parsed and the character where it stands; for an unknown name,
            the nearest known one. `Condition.holds` raises it where values have no order, such
            as a text and a number.
    """
    parser = _Parser(columns)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # a backslash in a text
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(text.strip(), mode="eval")
        expression = parser.parse(tree.body)
    except SyntaxError as error:
        place = error.offset or 1
        raise ConfigError(
            f"--where: character {place}: {error.msg}; allowed are {_ALLOWED}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"--where: cannot be parsed ({error}); write a shorter one") from None
    names = tuple(dict.fromkeys(parser.names))
    return Condition(names, lambda row: bool(expression(row)), tuple(parser.equalities))


def check_against(condition: Condition, rows: Sequence[Cells]) -> str | None:
    """Find comparisons that can hold for no run, or that hold for every run.

    Args:
        condition: from `parse_condition`.
        rows: every row that it is about, with the columns it reads.

    Returns:
        A remark on values that no row has, with those there are; None without one.

    Raises:
        ConfigError: a column is compared with a value of a kind that it never holds, such as a
            list with a text.
    """
    remarks = []
    for name, sign, value, character in condition.equalities:
        present = [row[name] for row in rows if row[name] is not None]
        kinds = {_kind(one) for one in present}
        values = value if sign in ("in", "not in") and isinstance(value, list) else [value]
        if not present or None in values:
            continue
        if sign in ("has", "has not"):
            possible = not kinds <= {"numbers", "true or false"}
        else:
            possible = bool(kinds.intersection(map(_kind, values)))
        if not possible:
            holds = "every run" if sign in ("!=", "not in", "has not") else "no run"
            raise ConfigError(
                f"--where: character {character}: {name} holds {' or '.join(sorted(kinds))}, so "
                f"this comparison is true of {holds}; "
                f"write {_mend(name, sign, values, kinds, present)}"
            )
        if sign == "==" and isinstance(value, str) and value not in present:
            there = sorted({one for one in present if isinstance(one, str)})
            listed = f" (there are: {', '.join(there[:_MOST_VALUES])})"
            hint = did_you_mean(value, there) or listed
            remarks.append(f"--where: no run has {name} == {yaml_text(value)}{hint}")
    return "; ".join(remarks) or None


def _kind(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "numbers"
    return "lists" if isinstance(value, list) else "mappings" if isinstance(value, dict) else "text"


def _mend(
    name: str, sign: str, values: Sequence[JsonValue], kinds: set[str], present: Sequence[JsonValue]
) -> str:
    """What to write in place of a comparison with values of another kind."""
    negated = sign in ("!=", "not in", "has not")
    if "lists" in kinds:
        word = "not in" if negated else "in"
        parts = [f"{yaml_text(value)} {word} {name}" for value in values]
        return (" and " if negated else " or ").join(parts)
    hint = ", without quotes" if "numbers" in kinds and isinstance(values[0], str) else ""
    return f"for example {name} {'!=' if negated else '=='} {yaml_text(present[0])}{hint}"


class _Parser:
    """Turns nodes of the syntax tree into functions of a row, and notes the columns they read."""

    def __init__(self, columns: Collection[str]) -> None:
        self._columns = columns
        self.names: list[str] = []
        self.equalities: list[Equality] = []

    def parse(self, node: ast.expr) -> Expression:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.parse(value) for value in values]
                every = all if isinstance(op, ast.And) else any
                return lambda row: every(part(row) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.parse(operand)
                return lambda row: not inner(row)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return lambda row: -number
            case ast.Compare():
                return self._comparison(node)
            case ast.Constant(value=str() | int() | float() | None as constant):
                return lambda row: constant
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                items = [self.parse(element) for element in elements]
                return lambda row: [item(row) for item in items]
            case ast.Name() | ast.Attribute():
                return self._name(node)
        raise _error(node, f"this is not allowed; allowed are {_ALLOWED}")

    def _name(self, node: ast.Name | ast.Attribute) -> Expression:
        name = ast.unparse(node)
        if not all(part.isidentifier() for part in name.split(".")):
            raise _error(node, "this is not a column name")
        if name in self._columns:
            self.names.append(name)
            return lambda row: row[name]
        if name.lower() in _WORDS:
            word = _WORDS[name.lower()]
            return lambda row: word
        hint = did_you_mean(name, self._columns) or f"; put a text in quotes: '{name}'"
        raise _error(node, f"there is no column '{name}'{hint}")

    def _comparison(self, node: ast.Compare) -> Expression:
        nodes = (node.left, *node.comparators)
        operands = [self.parse(operand) for operand in nodes]
        for op, left, right in zip(node.ops, nodes, nodes[1:], strict=False):
            self._note_equality(op, left, right)
        links = [
            _link(op, left, right, node)
            for op, left, right in zip(node.ops, operands, operands[1:], strict=False)
        ]
        return lambda row: all(link(row) for link in links)

    def _note_equality(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> None:
        signs = {ast.Is: "==", ast.Eq: "==", ast.NotEq: "!=", ast.IsNot: "!="}
        signs |= {ast.In: "in", ast.NotIn: "not in"}
        sign = signs.get(type(op))
        column, other = (left, right) if self._is_column(left) else (right, left)
        has_column = any(self._is_column(node) for node in ast.walk(other))
        if sign is None or not self._is_column(column) or has_column:
            return
        if column is right and sign in ("in", "not in"):
            sign = {"in": "has", "not in": "has not"}[sign]
        value = self.parse(other)({})  # a constant, or a list of constants
        place = column.col_offset + 1
        self.equalities.append(Equality(ast.unparse(column), sign, value, place))

    def _is_column(self, node: ast.AST) -> bool:
        named = isinstance(node, ast.Name | ast.Attribute)
        return named and ast.unparse(node) in self._columns


def _link(
    op: ast.cmpop, left: Expression, right: Expression, node: ast.expr
) -> Callable[[Cells], bool]:
    """One comparison of a chain such as ``0.2 <= per < 0.3``."""
    match op:
        case ast.Eq() | ast.Is():
            return lambda row: _equal(left(row), right(row))
        case ast.NotEq() | ast.IsNot():
            return lambda row: not _equal(left(row), right(row))
        case ast.In():
            return lambda row: _contains(right(row), left(row))
        case ast.NotIn():
            return lambda row: not _contains(right(row), left(row))
    sign, ordered = _ORDER[type(op)]

    def in_order(row: Cells) -> bool:
        a, b = left(row), right(row)
        if a is None or b is None:
            return False
        nested = isinstance(a, list | dict) or isinstance(b, list | dict)
        if nested or isinstance(a, str) != isinstance(b, str):
            raise _error(node, f"{yaml_text(a)} {sign} {yaml_text(b)}: these have no order")
        return bool(ordered(a, b))

    return in_order


def _error(node: ast.expr, text: str) -> ConfigError:
    return ConfigError(f"--where: character {node.col_offset + 1}: {text}")


def _equal(a: JsonValue, b: JsonValue) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _contains(container: JsonValue, value: JsonValue) -> bool:
    """Whether a list has the value, or a text the part."""
    if isinstance(container, str):
        return isinstance(value, str) and value in container
    return isinstance(container, list | dict) and any(_equal(value, item) for item in container)
