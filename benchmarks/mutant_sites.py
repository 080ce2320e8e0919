"""Makes the mutants of a module: the operators of mutmut and two more, and which mutants count.

mutmut itself leaves out decorated functions and whatever runs at import. Here both are included, so
properties, cached functions, defaults and constants are mutated too.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators

_PROSE = re.compile(
    r"^\W*\w+(\W+\w+){2,}|^['\"][ ,.;:]+\w|\w[ ,.;:]+['\"]$"
)  # three words, or a part
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
_TEST_FIELDS = (cst.If, cst.CompIf, cst.While)
_NEGATED = (cst.Name, cst.Attribute, cst.Call)


class Mutant(NamedTuple):
    """One change of one module.

    Attributes:
        path: the module, relative to the root.
        function: qualified name of the function or method, or of the class; ``<module>`` at the
            top level.
        before, after: the lines that change, without indentation.
        lines: first and last line of the statement that changes.
        at_import: whether the change takes effect only when the module is imported again.
        excluded: the rule that leaves it out, or an empty string.
        start, n_lines, text: replace `n_lines` lines from index `start` on by `text`.
    """

    path: str
    function: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    lines: tuple[int, int]
    at_import: bool
    excluded: str
    start: int
    n_lines: int
    text: str

    @property
    def key(self) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
        """What identifies it, however the mutants are numbered or the lines move."""
        return self.path, self.function, self.before, self.after

    def source(self, original: str) -> str:
        """The whole mutated module."""
        lines = original.splitlines(keepends=True)
        lines[self.start : self.start + self.n_lines] = [self.text]
        return "".join(lines)


def mutants_of(root: Path, path: str) -> list[Mutant]:
    """Every mutant of one module, each different source once."""
    source = (root / path).read_text()
    wrapper = MetadataWrapper(cst.parse_module(source))
    module, seen, made = wrapper.module, {source}, []
    pieces = [module.code_for_node(statement) for statement in module.body]
    body = "".join(pieces)
    head, tail = source.split(body)
    finder = _Finder()
    wrapper.visit(finder)
    for change in finder.changes:
        index = module.body.index(change.statement)
        piece = module.code_for_node(change.statement.deep_replace(change.node, change.new))
        mutated = "".join((head, *pieces[:index], piece, *pieces[index + 1 :], tail))
        if mutated not in seen and _compiles(piece):
            seen.add(mutated)
            made.append(_mutant(path, source, mutated, change))
    return made


class _Change(NamedTuple):
    node: cst.CSTNode
    new: Any  # a node
    statement: Any  # the one at the top level
    function: str
    lines: tuple[int, int]
    at_import: bool
    excluded: str


def _mutant(path: str, source: str, mutated: str, change: _Change) -> Mutant:
    old, new = source.splitlines(keepends=True), mutated.splitlines(keepends=True)
    start = _n_common(old, new)
    rest = _n_common(old[start:][::-1], new[start:][::-1])
    end, new_end = len(old) - rest, len(new) - rest
    return Mutant(
        path=path,
        function=change.function,
        before=tuple(line.strip() for line in old[start:end]),
        after=tuple(line.strip() for line in new[start:new_end]),
        lines=change.lines,
        at_import=change.at_import,
        excluded=change.excluded,
        start=start,
        n_lines=end - start,
        text="".join(new[start:new_end]),
    )


def _n_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Number of first lines that are the same."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _swapped_name(node: cst.Call) -> Iterator[cst.Call]:
    """``max`` for ``min``, ``all`` for ``any``, as functions and as methods."""
    if isinstance(node.func, cst.Name) and node.func.value in _SWAPPED:
        yield node.with_changes(func=cst.Name(_SWAPPED[node.func.value]))
    if isinstance(node.func, cst.Attribute) and node.func.attr.value in _SWAPPED:
        attr = cst.Name(_SWAPPED[node.func.attr.value])
        yield node.with_changes(func=node.func.with_changes(attr=attr))


def _negated_condition(node: Any) -> Iterator[cst.CSTNode]:
    """``if not x`` for ``if x``, where x holds no operator that other mutants change."""
    if isinstance(node.test, _NEGATED):
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), node.test))


_OPERATORS: Sequence[tuple[Any, Callable[[Any], Iterable[cst.CSTNode]]]] = (
    *mutation_operators,
    (cst.Call, _swapped_name),
    (_TEST_FIELDS, _negated_condition),
)


class _Finder(cst.CSTVisitor):
    """Collects the changes of every node, each with the rule that leaves it out, if any does."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[_Change] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Call) and _calls(node, "len", "isinstance"):
            return True  # such a call without its argument always raises
        for kinds, operator in _OPERATORS:
            if isinstance(node, kinds):
                for new in operator(node):
                    self._add(node, new)
        return True

    def _add(self, node: cst.CSTNode, new: cst.CSTNode) -> None:
        chain = list(self._ancestors(node))
        functions = [i for i, (n, _) in enumerate(chain) if isinstance(n, cst.FunctionDef)]
        runs_later = any(chain[i][1] is chain[i][0].body for i in functions)  # type: ignore[attr-defined]
        names = [n.name.value for n, _ in chain if isinstance(n, cst.FunctionDef | cst.ClassDef)]
        if functions:  # the outermost function, in its classes
            names = [
                n.name.value
                for n, _ in chain[functions[-1] :]
                if isinstance(n, cst.FunctionDef | cst.ClassDef)
            ]
        self.changes.append(
            _Change(
                node,
                new,
                chain[-2][0] if len(chain) > 1 else node,
                ".".join(reversed(names)) or "<module>",
                self._lines(node, chain),
                not runs_later,
                _rule(node, new, chain),
            )
        )

    def _ancestors(self, node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
        """Each ancestor with the child that leads to the node, the nearest first."""
        child = node
        while not isinstance(child, cst.Module):
            parent = self.get_metadata(ParentNodeProvider, child)
            yield parent, child
            child = parent

    def _lines(
        self, node: cst.CSTNode, chain: Sequence[tuple[cst.CSTNode, cst.CSTNode]]
    ) -> tuple[int, int]:
        """The lines of the simple statement around the node, or of the head of a compound one."""
        statement = next(
            (
                n
                for n in (node, *(n for n, _ in chain))
                if isinstance(n, cst.SimpleStatementLine | cst.BaseCompoundStatement)
            ),
            node,
        )
        here = self.get_metadata(PositionProvider, statement)
        if isinstance(statement, cst.SimpleStatementLine) or statement is node:
            last = here.end.line if isinstance(statement, cst.SimpleStatementLine) else None
        else:
            last = self.get_metadata(PositionProvider, node).end.line
        return here.start.line, last or here.start.line


def _rule(
    node: cst.CSTNode, new: cst.CSTNode, chain: Sequence[tuple[cst.CSTNode, cst.CSTNode]]
) -> str:
    """The rule that leaves a change out; empty if it counts."""
    parents = [n for n, _ in chain]
    if any(isinstance(n, cst.Annotation) for n in (node, *parents)) or _is_typing(node, new, chain):
        return "types"
    if any(isinstance(n, cst.Decorator) for n in parents):
        return "decorators"
    if any(isinstance(n, cst.Raise) for n in parents):
        return "messages"
    if any(isinstance(n, cst.Assert) and child is n.msg for n, child in chain):
        return "messages"
    if any(_is_prose(n) for n in _replaced(node, new)):
        return "messages"
    if any(isinstance(n, cst.FormattedString) for n in parents) and _holds_space(node):
        return "messages"
    if any(isinstance(n, cst.Arg) and _is_strict(n) for n in (*_replaced(node, new), *parents)):
        return "strict"
    return ""


def _replaced(node: cst.CSTNode, new: cst.CSTNode) -> list[cst.CSTNode]:
    """The node, or what a change of a call or an assignment replaces or drops in it."""
    if isinstance(node, cst.Call) and isinstance(new, cst.Call) and node.func is new.func:
        kept = {id(arg) for arg in new.args}
        dropped = [arg for arg in node.args if id(arg) not in kept]
        return [*dropped, *(arg.value for arg in dropped)]
    if isinstance(node, cst.Assign | cst.AnnAssign) and node.value is not None:
        return [node.value]
    return [node]


def _is_prose(node: cst.CSTNode) -> bool:
    """Whether a string is text to be read (three words, or part of a sentence), not a value."""
    if isinstance(node, cst.ConcatenatedString):
        return _is_prose(node.left) or _is_prose(node.right)
    if isinstance(node, cst.FormattedString):
        texts = (p for p in node.parts if isinstance(p, cst.FormattedStringText))
        return any(" " in text.value for text in texts)
    return isinstance(node, cst.SimpleString) and bool(_PROSE.search(node.value))


def _holds_space(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleString) and " " in node.value


def _is_strict(arg: cst.Arg) -> bool:
    return arg.keyword is not None and arg.keyword.value == "strict"


def _calls(node: cst.Call, *names: str) -> bool:
    return isinstance(node.func, cst.Name) and node.func.value in names


def _is_typing(
    node: cst.CSTNode, new: cst.CSTNode, chain: Sequence[tuple[cst.CSTNode, cst.CSTNode]]
) -> bool:
    """Whether only a type changes: in an alias such as ``X = Literal["a"]``, or in a cast."""
    for n, child in ((node, node), *chain):
        if isinstance(n, cst.Call) and _calls(n, "cast", "TypeVar"):
            first = n.args[0] if n.args else None
            changed = _replaced(node, new) if n is node else [child]
            if any(part is first for part in changed):
                return True
    assigned = next((n for n in (node, *(n for n, _ in chain)) if isinstance(n, cst.Assign)), None)
    at_top = not any(isinstance(n, cst.FunctionDef | cst.ClassDef) for n, _ in chain)
    return at_top and assigned is not None and isinstance(assigned.value, cst.Subscript)
